"""Whole commands: --help compared with importing typer, a cached ensemble with faiss alone.

    python benchmarks/commands.py --workspace DIR PLUGIN PLUGIN

The plugins must be trained and embedded in the workspace. Prints the median of several runs.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

KITBOX = [sys.executable, "-m", "kitbox"]


def seconds(command: list[str], rounds: int, folder: Path) -> float:
    """Return the median wall-clock seconds of a command."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("plugins", nargs="+")
    given = parser.parse_args()
    workspace = given.workspace.resolve()
    kitbox_help = seconds([*KITBOX, "--help"], 9, workspace)
    import_typer = seconds([sys.executable, "-c", "import typer"], 9, workspace)
    ratio = kitbox_help / import_typer
    print(
        f"kitbox --help {kitbox_help:.3f} s, import typer {import_typer:.3f} s: {ratio:.2f} times"
    )
    ensemble = seconds([*KITBOX, "ensemble", *given.plugins, "--submit"], 3, workspace)
    knn = subprocess.run(
        [sys.executable, "-c", KNN, str(workspace), *given.plugins],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    imports = seconds([sys.executable, "-c", "import torch, faiss"], 3, workspace)
    print(f"cached ensemble --submit {ensemble:.2f} s")
    print(f"importing torch and faiss alone {imports:.2f} s")
    print(f"the two calls of faiss.knn alone: {knn}")


KNN = """
import sys, time
from pathlib import Path
import faiss, numpy as np
from kitbox.cli.terminal import follow, load_collection, open_workspace
from kitbox.ensemble import members
from kitbox.ensemble.ensemble import Ensemble
from kitbox.ensemble.meta_embedding import assemble
from kitbox.plugin import discovery
workspace, competition = open_workspace(Path(sys.argv[1]))
collection = load_collection(workspace, competition)
plugins = [discovery.load(name, workspace) for name in sys.argv[2:]]
parts = []
for group, sets in ((members.for_holdout, [collection.labelled]),
                    (members.for_submission, [collection.labelled, collection.test])):
    ensemble = Ensemble(members=group(workspace, plugins, None, collection), collection=collection,
                        competition=competition, workspace=workspace)
    found = follow(assemble(ensemble, sets, sets[0].image_ids))
    query = (collection.holdout.query if len(sets) == 1 else collection.test).image_ids
    q = found.embeddings.of(query).vectors
    g = found.embeddings.vectors
    began = time.perf_counter()
    faiss.knn(np.ascontiguousarray(q), np.ascontiguousarray(g), 21,
              metric=faiss.METRIC_INNER_PRODUCT)
    parts.append(f"{len(q)} x {len(g)} x {g.shape[1]} {time.perf_counter() - began:.3f} s")
print("; ".join(parts))
"""


if __name__ == "__main__":
    main()
