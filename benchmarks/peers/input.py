"""Reading a network's images: kitbox after `kitbox data prepare` against OpenCV and Pillow.

    python benchmarks/peers/input.py --images DIR [--size 160 320]

Each side is a process with one thread that reads all images of a size in batches, after a first
pass that warms up, and times itself. kitbox reads what it has prepared, and the files; OpenCV is
`imread` and `resize`, whole and decoded at a reduced scale, Pillow `open` and `resize`.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rounds

OURS = ("kitbox", "kitbox, files")
PEERS = ("OpenCV", "OpenCV, reduced", "Pillow")
BATCH = 64


def image_set(paths: list[Path]) -> Any:
    from kitbox.files import digest_of_file
    from kitbox.records import ImageSet, strings

    digests = strings([digest_of_file(path) for path in paths])
    return ImageSet(strings([path.name for path in paths]), tuple(paths), digests=digests)


def prepare(paths: list[Path], given: argparse.Namespace, folder: Path) -> None:
    from kitbox.images import pixel_cache_writer
    from kitbox.images.preprocessing import InputSpec
    from kitbox.workspace import Workspace

    workspace = Workspace(folder)
    specs = [InputSpec(tuple(given.size), "bicubic", None)]
    for _ in pixel_cache_writer.fill(
        pixel_cache_writer.plan(workspace, [image_set(paths)], specs), workspace
    ):
        pass


def kitbox_reader(
    paths: list[Path], given: argparse.Namespace, folder: Path | None
) -> Callable[[], int]:
    """Return what reads all images through kitbox's loader, prepared ones in a folder."""
    from kitbox.images.loader import ImageDataset, build_loader
    from kitbox.workspace import Workspace

    images = image_set(paths)
    rows = list(range(len(paths)))
    batches = [rows[at : at + BATCH] for at in range(0, len(rows), BATCH)]

    def read() -> int:
        dataset = ImageDataset(
            images, tuple(given.size), interpolation="bicubic", crop_margin=None,
            workspace=None if folder is None else Workspace(folder),
        )  # fmt: skip
        assert dataset.source == ("from their files" if folder is None else "all prepared")
        return sum(len(found) for _, found in build_loader(dataset, batches, workers=0))

    return read


def peer_reader(paths: list[Path], given: argparse.Namespace) -> Callable[[], int]:
    """Return what reads all images into batches through OpenCV or Pillow."""
    import numpy as np

    height, width = given.size
    if given.only == "Pillow":
        from PIL import Image

        def one(path: Path) -> Any:
            with Image.open(path) as image:
                return np.array(
                    image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
                )
    else:
        import cv2

        cv2.setNumThreads(1)
        flag = cv2.IMREAD_COLOR
        if given.only == "OpenCV, reduced":
            flag = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}.get(
                given.reduced, cv2.IMREAD_REDUCED_COLOR_8
            )

        def one(path: Path) -> Any:
            pixels = cv2.cvtColor(cv2.imread(str(path), flag), cv2.COLOR_BGR2RGB)
            return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)

    def read() -> int:
        count = 0
        for at in range(0, len(paths), BATCH):
            batch = np.stack([one(path) for path in paths[at : at + BATCH]])
            count += len(batch)
        return count

    return read


def time_reader(read: Callable[[], int]) -> None:
    """Read all images until a second of processor time has passed; print the speed."""
    read()
    began, worked, count = time.perf_counter(), time.process_time(), 0
    while not count or time.process_time() - worked < 1:
        count += read()
    clock, work = time.perf_counter() - began, time.process_time() - worked
    print(json.dumps({"images/s": count / clock, "images/s of processor": count / work}))


def draw(folder: Path, count: int) -> None:
    sys.path.append(str(Path(__file__).parents[1]))
    import prepare

    for number in range(count):
        prepare.draw(folder, number)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, help="default: drawn ones of 3000x1200 pixels")
    parser.add_argument("--size", type=int, nargs=2, default=(160, 320))
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument(
        "--reduced", type=int, default=0, help="also let OpenCV decode at 1/2, 1/4 or 1/8"
    )
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    rounds.add_options(parser)
    given = parser.parse_args()
    if given.only:
        paths = sorted(given.images.glob("*.jpg"))[: given.count]
        if given.only in OURS:
            prepared = given.folder if given.only == "kitbox" else None
            time_reader(kitbox_reader(paths, given, prepared))
        else:
            time_reader(peer_reader(paths, given))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = given.images or folder / "photographs"
        if given.images is None:
            images.mkdir()
            draw(images, given.count)
        paths = sorted(images.glob("*.jpg"))[: given.count]
        if not paths:
            raise SystemExit(f"there is no .jpg in {images}")
        line = rounds.machine(packages=("Pillow", "opencv-python-headless", "torch", "numpy"))
        prepare(paths, given, folder / "prepared")
        own = ["--images", str(images), "--folder", str(folder / "prepared")]
        peers = [name for name in PEERS if given.reduced or name != "OpenCV, reduced"]
        compared = [
            (rounds.kitbox_side if name in OURS else rounds.peer_side)(
                name,
                *(() if name in OURS else (None,)),
                [__file__, *sys.argv[1:], *own, "--only", name],
                environment={"OMP_NUM_THREADS": "1"},
            )
            for name in (*OURS, *peers)
        ]
        taken = rounds.alternate(compared, given.rounds)
    rounds.show_figures(given, line, taken, ["images/s of processor", "images/s"])


if __name__ == "__main__":
    main()
