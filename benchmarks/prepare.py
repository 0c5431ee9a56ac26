"""Speed of reading large photographs, from their files and prepared.

    python benchmarks/prepare.py [--count 200] [--rounds 5] [--json]

Generates photographs of 3000x1200 pixels. Then compares, side by side in one run and on one core:
the loader on the files, without and with augmentation; the loader on prepared images, with a cold
and a warm system cache; and decoding and resizing with OpenCV, Pillow and torchvision. Last, it
compares preparing with an epoch of the loader on the files, both with all cores. Readers are timed
by CPU time, so that other work on the machine does not count. The first epoch is timed by
wall-clock time, and with all cores both times are printed.
"""

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import joblib
import numpy as np
import torch
import torchvision
from machine import CORES, machine
from PIL import Image
from stage_results import finish
from torchvision.transforms.v2.functional import resize

from kitbox.files import digest_of_file
from kitbox.images import pixel_cache_writer
from kitbox.images.loader import ImageDataset, build_loader
from kitbox.images.preprocessing import InputSpec
from kitbox.records import ImageSet, strings
from kitbox.synthetic.fluke import draw_whale
from kitbox.synthetic.scene import draw_photograph
from kitbox.workspace import Workspace

HEIGHT, WIDTH = 1200, 3000
SIZES = ((160, 320), (480, 480), (620, 620))
BATCH = 32
SHARE = 20  # images that each reader reads in one round


def draw(folder: Path, number: int) -> Path:
    """Generate a photograph of one of twenty whales, with sensor noise."""
    rng = np.random.default_rng([7, number])
    subject = draw_whale(np.random.default_rng([8, number % 20]))
    pixels = draw_photograph(rng, subject, HEIGHT, WIDTH).pixels
    noisy = pixels + rng.normal(0, 4, pixels.shape)
    path = folder / f"{number:04d}.jpg"
    cv2.imwrite(str(path), np.clip(noisy, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90])
    return path


def prepare(workspace: Workspace, images: ImageSet, specs: list[InputSpec]) -> None:
    planned = pixel_cache_writer.plan(workspace, [images], specs)
    assert finish(pixel_cache_writer.fill(planned, workspace)) == []


def dataset_of(
    images: ImageSet, size, augmentation: str, workspace: Workspace | None
) -> ImageDataset:
    return ImageDataset(
        images,
        size,
        interpolation="bicubic",
        crop_margin=None,
        augmentation=augmentation,
        workspace=workspace,
    )


def items(rows: list[int], augmentation: str) -> list[list]:
    """Return batches of rows, with augmentation seeds where there is an augmentation."""
    rows = rows if augmentation == "none" else [(row, row) for row in rows]
    return [rows[at : at + BATCH] for at in range(0, len(rows), BATCH)]


def load(dataset: ImageDataset, rows: list[int]) -> int:
    """Load the images of some rows; return their number."""
    loader = build_loader(dataset, items(rows, dataset.augmentation_name), workers=0)
    return sum(len(places) for _, places in loader)


def shrink(size) -> int:
    """Return n, where 1/n is the scale that kitbox decodes at."""
    return max(n for n in (1, 2, 4, 8) if n <= min(HEIGHT / size[0], WIDTH / size[1]) / 2 or n == 1)


def opencv(path: Path, size, flag: int) -> None:
    pixels = cv2.cvtColor(cv2.imread(str(path), flag), cv2.COLOR_BGR2RGB)
    cv2.resize(pixels, (size[1], size[0]), interpolation=cv2.INTER_AREA)


def pillow(path: Path, size, scale: int) -> None:
    with Image.open(path) as image:
        if scale > 1:
            image.draft("RGB", (WIDTH // scale, HEIGHT // scale))
        np.array(image.resize((size[1], size[0]), Image.Resampling.BICUBIC))


def vision(path: Path, size) -> None:
    pixels = torchvision.io.decode_jpeg(torchvision.io.read_file(str(path)))
    resize(pixels, list(size), antialias=True)


def drop_from_cache(workspace: Workspace) -> None:
    """Drop the prepared pixels from the system's cache."""
    for path in workspace.pixel_cache.glob("*/pixels-*"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def readers(
    images: ImageSet, size, workspace: Workspace
) -> dict[str, Callable[[list[int]], object]]:
    """Return the readers by name; each takes the rows of images to read."""
    reduced = {1: 1, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4,
               8: cv2.IMREAD_REDUCED_COLOR_8}[shrink(size)]  # fmt: skip

    def each(read: Callable[[Path], None]) -> Callable[[list[int]], object]:
        return lambda rows: [read(images.paths[row]) for row in rows]

    def ours(augmentation: str, where: Workspace | None) -> Callable[[list[int]], object]:
        return partial(load, dataset_of(images, size, augmentation, where))

    return {
        "loader, files": ours("none", None),
        "loader, files, light": ours("light", None),
        "loader, prepared, first epoch": ours("none", workspace),
        "loader, prepared": ours("none", workspace),
        "loader, prepared, light": ours("light", workspace),
        "OpenCV, whole": each(partial(opencv, size=size, flag=cv2.IMREAD_COLOR)),
        f"OpenCV, 1/{shrink(size)}": each(partial(opencv, size=size, flag=reduced)),
        "Pillow, whole": each(partial(pillow, size=size, scale=1)),
        f"Pillow, 1/{shrink(size)}": each(partial(pillow, size=size, scale=shrink(size))),
        "torchvision": each(partial(vision, size=size)),
    }


def speeds(images: ImageSet, size, workspace: Workspace, rounds: int) -> dict[str, list[float]]:
    """Return images per second of each reader in each round, on one core."""
    chosen = readers(images, size, workspace)
    found: dict[str, list[float]] = {name: [] for name in chosen}
    for turn in range(rounds + 1):
        order = np.random.default_rng(turn).permutation(len(images))[:SHARE].tolist()
        for name, read in chosen.items():
            if name == "loader, prepared, first epoch":
                drop_from_cache(workspace)
            rows = order
            if "prepared" in name and "first" not in name:
                rows = order * 10  # enough images to time
                load(dataset_of(images, size, "none", workspace), order)
            # CPU time leaves out other work on the cores; the first epoch has to count disk waits
            clock = time.perf_counter if "first" in name else time.process_time
            began = clock()
            read(rows)
            seconds = clock() - began
            if turn:  # the first round loads libraries
                found[name].append(len(rows) / seconds)
    return found


def epoch(images: ImageSet, size, augmentation: str) -> None:
    batches = items(list(range(len(images))), augmentation)
    loader = build_loader(dataset_of(images, size, augmentation, None), batches, workers=CORES)
    assert sum(len(places) for _, places in loader) == len(images)
    loader._iterator._shutdown_workers()  # wait4 counts their CPU time only when they have ended


def spent_by(work: Callable[[], object]) -> tuple[float, float]:
    """Run work in a child process; return its wall-clock seconds and its CPU seconds."""
    began = time.perf_counter()
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    _, status, usage = os.wait4(child, 0)
    assert status == 0
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime


def epochs(images: ImageSet, size, folder: Path, rounds: int) -> dict[str, list[float]]:
    """Return seconds with all cores, for preparing and for epochs of the loader on the files."""
    found: dict[str, list[float]] = {}
    for turn in range(rounds):
        workspace = Workspace(folder / f"{size[0]}_{turn}")
        works = {
            "preparing": partial(prepare, workspace, images, [InputSpec(size, "bicubic", None)]),
            "epoch from files": partial(epoch, images, size, "none"),
            "epoch from files, light": partial(epoch, images, size, "light"),
        }
        for name, work in works.items():
            clock, processors = spent_by(work)
            found.setdefault(name, []).append(clock)
            found.setdefault(f"{name}, CPU time", []).append(processors)
    return found


def memory(images: ImageSet, folder: Path) -> tuple[float, float]:
    """Return the peak memory of a process before and after preparing for all sizes, in MB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    prepare(Workspace(folder), images, [InputSpec(size, "bicubic", None) for size in SIZES])
    return before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):8.1f}  ({min(values):.1f} to {max(values):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--folder", type=Path, help="for the photographs; default: a temporary folder"
    )
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    line = machine("kitbox", "Pillow", "opencv-python-headless", "torch", "torchvision")
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        joblib.Parallel(n_jobs=-1)(joblib.delayed(draw)(folder, n) for n in range(given.count))
        paths = tuple(sorted(folder.glob("*.jpg")))
        sizes = [path.stat().st_size / 1e3 for path in paths]
        images = ImageSet(
            strings([path.name for path in paths]),
            paths,
            digests=strings([digest_of_file(path) for path in paths]),
        )
        workspace = Workspace(folder / "store")
        prepare(workspace, images, [InputSpec(size, "bicubic", None) for size in SIZES])
        read = {size: speeds(images, size, workspace, given.rounds) for size in SIZES}
        spent = {size: epochs(images, size, folder, given.rounds) for size in SIZES}
        specs = [InputSpec(size, "bicubic", None) for size in SIZES]
        all_sizes = [
            spent_by(partial(prepare, Workspace(folder / f"all_{turn}"), images, specs))[1]
            for turn in range(given.rounds)
        ]
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as other:
            before, after = other.submit(memory, images, folder / "memory").result()
    if given.json:
        figures = {
            "machine": line,
            "images": given.count,
            "images_per_second_and_core": {f"{h}x{w}": read[h, w] for h, w in SIZES},
            "seconds_with_all_cores": {f"{h}x{w}": spent[h, w] for h, w in SIZES},
            "processor_seconds_for_all_sizes": all_sizes,
            "peak_memory_mb": {"imports": before, "preparing": after},
        }
        print(json.dumps(figures, indent=2))
        return
    print(line)
    print(f"{given.count} photographs of {WIDTH}x{HEIGHT}, {min(sizes):.0f} to {max(sizes):.0f} kB")
    for size in SIZES:
        print(f"\n{size[0]}x{size[1]}: images per second on one core, median (min to max)")
        direct = statistics.median(read[size]["loader, files"])
        for reader, values in read[size].items():
            ratio = statistics.median(values) / direct
            print(f"  {reader:32s} {spread(values):32s} × {ratio:.1f}")
        print(f"{size[0]}x{size[1]}: seconds for {given.count} images with {CORES} cores")
        for work, values in spent[size].items():
            print(f"  {work:32s} {spread(values)}")
    epoch_seconds = [statistics.median(spent[size]["epoch from files, CPU time"]) for size in SIZES]
    ratio = statistics.median(all_sizes) / sum(epoch_seconds)
    print(
        f"\npreparing all {len(SIZES)} sizes together: {spread(all_sizes)} s of CPU time,", end=""
    )
    print(f" × {ratio:.2f} of one epoch from files at each size")
    print(f"peak memory: {before:.0f} MB after the imports, {after:.0f} MB after preparing")


if __name__ == "__main__":
    main()
