"""How the cost of every stage grows: processor seconds and peak memory at 1, 2, 4 and 8 times.

    python benchmarks/growth.py [--base 1000] [--times 1 2 4 8] [--stages NAME ...]
        [--folder DIR] [--json] [--plot docs/growth.png]

Each stage is a command in a process of its own that has all libraries already, on drawn photographs
of 160 x 120 pixels, two thirds labelled, three of an individual, one in a hundred a copy and one a
near-duplicate of another. For the catalogue, the labelled are its list, and the others the season.
Embeddings are drawn too, of 128 dimensions, so that stages after the network are measured on what a
good network gives; `embed` runs a small one. Processor seconds count all threads; a machine that is
busy changes them little. The exponent is the p of a + b n^p through the first, the last but one and
the last; what every start costs (a) counts for nothing. 1 is linear, 2 is quadratic. None is shown
of what grows by less than half a second.
"""

import argparse
import importlib
import json
import math
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import IO, Any

import numpy as np
import werkzeug.serving
from machine import machine
from PIL import Image

from kitbox.cli import app
from kitbox.workspace import Workspace

LIBRARIES = (
    "albumentations", "cv2", "faiss", "jinja2", "matplotlib.pyplot", "onnxruntime",
    "scipy.cluster.hierarchy", "scipy.sparse.csgraph", "sklearn.decomposition",
    "sklearn.linear_model", "timm", "torch", "torchvision",
)  # fmt: skip
_LEAST_GROWTH = 0.5
WIDTH, HEIGHT, DIM = 160, 120, 128
TASKS = {
    "labels": 'gallery = "train"\nanswers = "labels"\nk = 5\nmetric = "label_map"',
    "images": 'gallery = "train"\nanswers = "images"\nk = 20',
    "clusters": 'gallery = "test"\nanswers = "clusters"\nmetric = "ari"',
}
SETTINGS = """name = "{task}"
[images]
root = "{data}"
train_list = "train.csv"
image_column = "Image"
label_column = "Id"
train_folder = "train"
test_folder = "test"
unknown_label = "new"
[task]
{settings}
[threshold]
rule = "best"
[submission]
header = ["Image", "Id"]
layout = "joined"
[holdout]
share = 0.2
unknown_share = 0.2
seed = 0
"""
PLUGIN = """from kitbox import Plugin

plugin = Plugin(backbone="resnet10t", image_size=32, weights="none", epochs=1, batch_size=128)
"""
CATALOGUE = "--catalogue ../whales.csv --with eyes --workspace ."
FROZEN = PLUGIN.replace("epochs=1", 'epochs=0, losses=(), embedding_dim=None, neck="none"')
# stage: the workspace and the command
STAGES: dict[str, tuple[str, str]] = {
    "data check": ("labels", "data check"),
    "data duplicates": ("labels", "data duplicates"),
    "data prepare": ("labels", "data prepare tiny"),
    "train, an epoch": ("labels", "train tiny --device cpu"),
    "embed": ("labels", "embed tiny --device cpu"),
    "duplicates by embeddings": ("labels", "data duplicates --by drawn"),
    "score labels": ("labels", "score drawn"),
    "score images": ("images", "score drawn"),
    "query_expansion": ("images", "ensemble drawn other --rerank query_expansion --submit"),
    "dba": ("images", "ensemble drawn other --rerank dba --submit"),
    "k_reciprocal": ("images", "ensemble drawn other --rerank k_reciprocal --submit"),
    "diffusion": ("images", "ensemble drawn other --rerank diffusion --submit"),
    "local_scaling": ("images", "ensemble drawn other --rerank local_scaling --submit"),
    "ensemble of labels": ("labels", "ensemble drawn other --submit"),
    "ensemble of images": ("images", "ensemble drawn other --submit"),
    "clusters": ("clusters", "ensemble drawn other --submit"),
    "neighbours": ("images", "neighbours drawn"),
    "lint": ("images", "submission lint submission.csv"),
    "report of data": ("labels", "report"),
    "report of results": ("labels", "report drawn other"),
    "identify": ("season", f"identify ../data/test {CATALOGUE} --device cpu"),
    "identify --audit": ("season", f"identify --audit {CATALOGUE} --device cpu"),
    "catalogue add": (
        "whales",
        "catalogue add ../confirmed.csv --pattern n-{number:06d}",
    ),
    "catalogue list": ("whales", "catalogue list"),
    "catalogue undo": ("whales", "catalogue undo"),
    "look": ("labels", "look --no-browser --port 0"),
    "look by embeddings": ("labels", "look drawn --no-browser --port 0"),
}


def draw(folder: Path, count: int) -> None:
    """Write photographs, their lists, embeddings and the three workspaces."""
    data = folder / "data"
    labelled = count * 2 // 3
    for name in ("train", "test"):
        (data / name).mkdir(parents=True)
    rows, names = ["Image,Id"], []
    individuals = [number // 3 for number in range(labelled)]
    individuals += [number % (labelled // 3 + 1) for number in range(count - labelled)]
    for number, individual in enumerate(individuals):
        side = "train" if number < labelled else "test"
        path = data / side / f"{number:07d}.jpg"
        before = data / side / f"{number - 1:07d}.jpg"
        if number % 100 == 1 and before.exists():
            path.write_bytes(before.read_bytes())
        elif number % 100 == 52 and before.exists():
            Image.open(before).save(path, quality=80)
        else:
            draw_image(number).save(path, quality=90)
        names.append(path.name)
        if side == "train":
            rows.append(f"{path.name},w_{individual:06d}")
    (data / "train.csv").write_text("\n".join(rows) + "\n")
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((max(individuals) + 1, DIM), dtype=np.float32)
    for name in ("drawn", "other"):
        noise = generator.standard_normal((count, DIM), dtype=np.float32)
        vectors = centres[individuals] + 0.9 * noise
        np.savez(folder / f"{name}.npz", names=np.array(names), vectors=vectors)
    for task, settings in TASKS.items():
        workspace = folder / task
        (workspace / "plugins").mkdir(parents=True)
        text = SETTINGS.format(task=task, data=data, settings=settings)
        if task != "labels":
            text = text.replace('unknown_label = "new"\n', "")
        (workspace / "kitbox.toml").write_text(text)
        (workspace / "plugins" / "tiny.py").write_text(PLUGIN)
        for name in ("drawn", "other"):
            given = f"embeddings import ../{name}.npz --name {name} --learned-from nothing"
            run(workspace, given)
    draw_catalogue(folder, individuals, labelled)


def draw_catalogue(folder: Path, individuals: list[int], labelled: int) -> None:
    """Write the list of a catalogue, confirmations of its season, and its two workspaces.

    One of them has identified one photograph, so that the season can be added to its catalogue.
    """
    rows, confirmed = ["image,individual"], ["image,individual,confirmed"]
    for number, individual in enumerate(individuals):
        if number < labelled:
            rows.append(f"data/train/{number:07d}.jpg,w_{individual:06d}")
        else:
            new = individual > individuals[labelled - 1]
            name = f"new {individual}" if new else f"w_{individual:06d}"
            confirmed.append(f"data/test/{number:07d}.jpg,,{name}")
    (folder / "whales.csv").write_text("\n".join(rows) + "\n")
    (folder / "confirmed.csv").write_text("\n".join(confirmed) + "\n")
    for name in ("season", "whales"):
        (folder / name / "plugins").mkdir(parents=True)
        (folder / name / "plugins" / "eyes.py").write_text(FROZEN)
    run(folder / "whales", f"identify ../data/test/{labelled:07d}.jpg {CATALOGUE} --device cpu")


def draw_image(number: int) -> Image.Image:
    """Draw blocks of random colours with noise, by number."""
    generator = np.random.default_rng(number)
    blocks = generator.integers(20, 235, (6, 8, 3)).astype(np.uint8)
    coarse = np.asarray(Image.fromarray(blocks).resize((WIDTH, HEIGHT), Image.Resampling.NEAREST))
    noisy = coarse + generator.normal(0, 5, (HEIGHT, WIDTH, 1))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def run(workspace: Path, command: str) -> tuple[float, float]:
    """Run a command; return its processor seconds and its peak memory in GB."""
    with tempfile.TemporaryFile("w+") as output:
        _, status, used = os.wait4(start(workspace, command, output), 0)
        check_end(status, command, output)
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6


def start(workspace: Path, command: str, output: IO[str]) -> int:
    """Return the process that runs a command, which has all libraries already.

    A server returns as soon as it would serve.
    """
    child = os.fork()
    if child:
        return child
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    os.chdir(workspace)
    sys.argv = ["kitbox", *command.split()]
    status = 1
    try:
        app.main()
        status = 0
    except SystemExit as stopped:
        status = int(stopped.code or 0)
    except BaseException:  # the parent prints it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def check_end(status: int, command: str, output: IO[str]) -> None:
    """Stop where a command has failed, with what it printed."""
    if status:
        output.seek(0)
        sys.exit(f"kitbox {command}: {output.read()[-3000:]}")


def load_libraries() -> None:
    """Import what commands import, and let no server serve."""
    for name in LIBRARIES:
        importlib.import_module(name)
    werkzeug.serving.BaseWSGIServer.serve_forever = lambda *_, **__: None


def exponent(costs: list[float]) -> float | None:
    """Return p of a cost a + b n^p through the first, the last but one and the last of doublings.

    None where it grows by less than `_LEAST_GROWTH` seconds, which other work on a machine changes.
    """
    if len(costs) < 3 or costs[-1] - costs[0] < _LEAST_GROWTH:
        return None
    ratio = (costs[-1] - costs[0]) / max(costs[-2] - costs[0], 1e-9)
    doublings = len(costs) - 1
    powers = np.linspace(0.05, 4, 396)
    ratios = (2 ** (doublings * powers) - 1) / (2 ** ((doublings - 1) * powers) - 1)
    return float(powers[np.abs(ratios - ratio).argmin()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=int, default=1000, help="photographs at 1 times")
    parser.add_argument("--times", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--stages", nargs="+", choices=STAGES, metavar="NAME")
    parser.add_argument("--folder", type=Path, help="where photographs are drawn, and kept")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    costs: dict[str, dict[str, list[float]]] = {}
    load_libraries()
    with tempfile.TemporaryDirectory() as fresh:
        for times in given.times:
            folder = (given.folder or Path(fresh)).resolve() / str(given.base * times)
            if not folder.exists():
                draw(folder, given.base * times)
            for stage in given.stages or STAGES:
                workspace, command = STAGES[stage]
                if "submission.csv" in command:
                    [written, *_] = (folder / workspace).glob("submissions/*/submission.csv")
                    command = command.replace("submission.csv", str(written))
                # each stage draws the pictures of its pages itself
                Workspace(folder / workspace).thumbnails.unlink(missing_ok=True)
                seconds, memory = run(folder / workspace, command)
                row = costs.setdefault(stage, {"seconds": [], "gigabytes": []})
                row["seconds"].append(round(seconds, 2))
                row["gigabytes"].append(round(memory, 3))
                print(f"{times} x, {stage}: {seconds:.2f} s, {memory:.2f} GB", file=sys.stderr)
    counts = [given.base * times for times in given.times]
    line = machine("kitbox", "torch", "faiss-cpu")
    if given.json:
        print(json.dumps({"machine": line, "photographs": counts, "stages": costs}, indent=2))
    else:
        print(f"{line}; photographs: {', '.join(map(str, counts))}\n")
        print(table(costs, counts))
    if given.plot:
        plot(costs, counts, given.plot)


def table(costs: dict[str, dict[str, list[float]]], counts: list[int]) -> str:
    """Return costs as a Markdown table."""
    rows = [
        f"| stage | {' | '.join(f'{count:,}' for count in counts)} | exponent | peak memory |",
        "|---" * (len(counts) + 3) + "|",
    ]
    for stage, cost in costs.items():
        power = exponent(cost["seconds"])
        cells = [f"{seconds:.1f} s" for seconds in cost["seconds"]]
        memory = f"{cost['gigabytes'][0]:.2f} to {cost['gigabytes'][-1]:.2f} GB"
        shown = "" if power is None else f"{power:.1f}"
        rows.append(f"| {stage} | {' | '.join(cells)} | {shown} | {memory} |")
    return "\n".join(rows)


def plot(costs: dict[str, dict[str, list[float]]], counts: list[int], path: Path) -> None:
    """Draw the seconds of each stage, and beside them a straight line to the last."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = 6
    figure, axes = pyplot.subplots(
        math.ceil(len(costs) / columns), columns, figsize=(14, 10), squeeze=False
    )
    every: list[Any] = list(axes.flat)
    for axis, (stage, cost) in zip(every, costs.items(), strict=False):
        seconds, power = cost["seconds"], exponent(cost["seconds"])
        straight = np.array(counts) / counts[-1] * (seconds[-1] - seconds[0])
        straight += seconds[-1] - straight[-1]
        axis.plot(counts, straight, ":", color="#888888")
        axis.plot(counts, seconds, "o-", color="#1f5f8b", markersize=4)
        axis.set_title(stage, fontsize=9)
        if power is not None:
            axis.text(0.05, 0.88, f"n^{power:.1f}", transform=axis.transAxes, fontsize=9)
        axis.set_ylim(0, max(1.15 * max(seconds), 1))
        axis.set_xticks([0, counts[-1] // 2, counts[-1]])
        axis.tick_params(labelsize=8)
    for axis in every[len(costs) :]:
        axis.axis("off")
    figure.supxlabel("photographs", fontsize=11)
    figure.supylabel("processor seconds; dotted: a straight line of the same rise", fontsize=11)
    figure.tight_layout()
    figure.savefig(path, dpi=72)


if __name__ == "__main__":
    main()
