"""Importing and exporting the embeddings of a large competition: seconds, peak memory.

    python benchmarks/exchange.py [--images 100000] [--dim 1024] [formats ...]

Random vectors under names with folder and suffix. Each step runs in a process of its own; its
seconds, and the memory that it takes beside mapped files, are those after all modules are loaded.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from stage_results import finish

FORMATS = ("npz", "npy", "parquet", "csv")
_ROWS = 4096


def image_ids(count: int) -> list[str]:
    return [f"{number:08x}.jpg" for number in range(count)]


def draw(folder: Path, count: int, dim: int) -> None:
    """Write the vectors that the steps begin with: .npy and its names."""
    generator = np.random.default_rng(0)
    with (folder / "drawn.npy").open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (count, dim)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, count, _ROWS):
            rows = min(_ROWS, count - start)
            file.write(generator.standard_normal((rows, dim), dtype=np.float32).tobytes())
    names = "".join(f"train/{name}\n" for name in image_ids(count))
    (folder / "drawn_ids.txt").write_text(names)


def as_csv(folder: Path, dim: int) -> None:
    """Write the drawn vectors as a CSV, which kitbox reads and does not write."""
    names = (folder / "drawn_ids.txt").read_text().split()
    vectors = np.load(folder / "drawn.npy", mmap_mode="r")
    with (folder / "out.csv").open("w") as file:
        file.write(",".join(["image", *(f"f{i}" for i in range(dim))]) + "\n")
        for name, row in zip(names, vectors, strict=True):
            file.write(f"{name},{','.join(f'{value:.6g}' for value in row.tolist())}\n")


def run(step: str, folder: Path, count: int, dim: int) -> None:
    from kitbox.embedding import imported_embeddings, vector_files, vector_output, vector_tables
    from kitbox.embedding.imported_embeddings import NamedImages
    from kitbox.embedding.vector_output import NamedVectors
    from kitbox.ensemble.meta_embedding import row_slices
    from kitbox.records import ImageSet, strings
    from kitbox.workspace import Workspace

    vector_tables.load_pyarrow("the benchmark reads Parquet")
    memory = Memory()
    began, cpu = time.perf_counter(), time.process_time()
    workspace, ids = Workspace(folder), image_ids(count)
    images = ImageSet(strings(ids), tuple(folder / "data" / "train" / name for name in ids))
    kind, _, what = step.partition(" ")
    if kind == "import":
        path = folder / what
        known, needed = NamedImages([images], folder / "data"), {"labelled": images.image_ids}
        opened = [vector_files.read(path)]
        name = what.replace(".", "_")
        finish(
            imported_embeddings.save(name, opened, known, needed, "nothing", frozenset(), workspace)
        )
    else:
        path = folder / f"out.{what}"
        embeddings = imported_embeddings.load("drawn_npy", workspace).of(images)
        blocks = (embeddings.vectors[rows] for rows in row_slices(count, dim))
        vectors = NamedVectors(ids=images.image_ids, dim=dim, blocks=blocks, beside={})
        form: Any = what
        finish(vector_output.write_vectors(path, form, vectors))
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    size = path.stat().st_size / 1e6
    print(
        f"| {step} | {seconds:.1f} s | {cpu:.1f} s | {size:,.0f} MB | {memory.peak():,.0f} MB |",
        flush=True,
    )


class Memory:
    """Watches the memory of this process beside mapped files, as Linux counts it."""

    def __init__(self) -> None:
        self._start = self._most = self._now()
        threading.Thread(target=self._watch, daemon=True).start()

    def peak(self) -> float:
        """Return the most MB so far above those of the start."""
        return max(self._most, self._now()) - self._start

    def _watch(self) -> None:
        while True:
            self._most = max(self._most, self._now())
            time.sleep(0.02)

    @staticmethod
    def _now() -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return sum(int(line.split()[1]) / 1e3 for line in lines if line.startswith("RssAnon:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("formats", nargs="*")
    given = parser.parse_args()
    if given.step:
        run(given.step, given.folder, given.images, given.dim)
        return
    formats = given.formats or list(FORMATS)
    print(f"{given.images:,} images × {given.dim}")
    print("| step | seconds | of a processor | file | peak memory |")
    print("|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder, given.images, given.dim)
        steps = ["import drawn.npy"]
        for form in formats:
            steps += [] if form == "csv" else [f"export {form}"]
            steps += [f"import out.{form}"]
        for step in steps:
            if step == "import out.csv":
                as_csv(folder, given.dim)
            sizes = ["--images", str(given.images), "--dim", str(given.dim)]
            arguments = ["--step", step, "--folder", str(folder), *sizes]
            subprocess.run([sys.executable, __file__, *arguments], check=True)


if __name__ == "__main__":
    main()
