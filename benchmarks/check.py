"""Data check and near-duplicate search on many small images: seconds and peak memory.

    python benchmarks/check.py [--count 100000] [--folder DIR] [--json]

The images are 160 x 120 pixels of blocks and noise. One in a hundred is a copy of another, and one
in a hundred is another that was compressed again. Images that are already in the folder are reused.
Each step runs in a process of its own; in "second" runs every file is already in the index. Memory
is the peak of the process and of its children.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from machine import machine
from PIL import Image

SIZE = (160, 120)


def draw(folder: Path, count: int) -> None:
    """Write `count` images of a quarter as many individuals, and their list."""
    train = folder / "train"
    train.mkdir(parents=True, exist_ok=True)
    (folder / "test").mkdir(exist_ok=True)
    rows = ["Image,Id"]
    for number in range(count):
        path = train / f"{number:06d}.jpg"
        rows.append(f"{path.name},w_{number // 4}")
        if path.exists():
            continue
        before = train / f"{number - 1:06d}.jpg"
        if number % 100 == 1:
            path.write_bytes(before.read_bytes())
        elif number % 100 == 2:
            Image.open(before).save(path, quality=80)
        else:
            draw_image(number).save(path, quality=90)
    (folder / "train.csv").write_text("\n".join(rows) + "\n")


def draw_image(number: int) -> Image.Image:
    """Draw blocks of random colours with noise, by number."""
    generator = np.random.default_rng(number)
    blocks = generator.integers(20, 235, (6, 8, 3)).astype(np.uint8)
    coarse = np.asarray(Image.fromarray(blocks).resize(SIZE, Image.Resampling.NEAREST))
    noisy = coarse + generator.normal(0, 5, (SIZE[1], SIZE[0], 1))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def measure(name: str, code: str, workspace: Path) -> dict[str, object]:
    """Return the seconds and peak memory of one step, run in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", SETUP + code + REPORT, str(workspace)],
        check=True, capture_output=True, text=True, cwd=Path(__file__).parent,
    )  # fmt: skip
    return {"step": name, **json.loads(done.stdout.splitlines()[-1])}


SETUP = """
import json, resource, sys, time
from pathlib import Path
from kitbox.competition import lists, settings
from kitbox.dataset import data_check, near_duplicates
from kitbox.dataset.collection import collect
from kitbox.images import file_index
from kitbox.workspace import find_workspace
from stage_results import finish

workspace = find_workspace(Path(sys.argv[1]))
competition = settings.load(workspace)
began = time.perf_counter()
"""
CHECK = "found = len(finish(data_check.check(workspace, competition)).findings)"
COLLECT = "found = len(finish(collect(workspace, competition)).labelled)"
NEAR_DUPLICATES = """
inspection = finish(file_index.inspect(lists.read(competition).labelled, workspace))
bits = competition.holdout.near_duplicate_bits
began = time.perf_counter()
found = len(near_duplicates.find_pairs(inspection.signatures, bits))
"""
REPORT = """
seconds = time.perf_counter() - began
peak = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(json.dumps({"seconds": round(seconds, 2), "peak_mb": round(peak / 1024), "found": found}))
"""  # noqa: E501


def main() -> None:
    from kitbox.competition import presets
    from kitbox.workspace import Workspace

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="a folder to write the images to, or to reuse")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as fresh:
        folder = given.folder or Path(fresh) / "data"
        draw(folder, given.count)
        workspace = Path(fresh) / "workspace"
        presets.init(Workspace(workspace), "humpback", folder)
        rows = [
            measure(name, code, workspace)
            for name, code in (
                ("check, first", CHECK),
                ("check, second", CHECK),
                ("near-duplicates alone", NEAR_DUPLICATES),
                ("collect, second", COLLECT),
            )
        ]
    line = machine()
    if given.json:
        print(json.dumps({"machine": line, "images": given.count, "rows": rows}, indent=2))
        return
    print(f"{given.count} images of {SIZE[0]} x {SIZE[1]} pixels; {line}")
    print(f"{'':24}{'seconds':>9}{'peak MB':>9}{'found':>8}")
    for row in rows:
        name, seconds, peak, found = row.values()
        print(f"{name:24}{seconds:9}{peak:9}{found:8}")


if __name__ == "__main__":
    main()
