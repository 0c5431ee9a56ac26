"""Neighbours in a large gallery on disk: recall, processor seconds and memory of each index.

    python benchmarks/large_gallery.py [--images 5000000] [--dim 128] [--queries 200]
        [--folder DIR] [INDEX ...]

An INDEX is a step as --rerank takes it; exact search is always measured. Five photographs of an
individual; individuals vary in 24 directions, photographs in all. Vectors are drawn once, into the
folder, and read there by a memory map. Each method runs in a process of its own. Memory is that of
the process without the pages of the file, which the system takes back when it needs them, at its
highest, beyond what Python and the image ids hold before.
"""

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path

import faiss
import numpy as np
from machine import machine

from kitbox.records import Embeddings, strings
from kitbox.retrieval import knn
from kitbox.retrieval.gallery_index import GalleryIndex, IndexedGallery
from kitbox.retrieval.rerankers import parse_step

ROWS, DIRECTIONS, K = 250_000, 24, 20


def draw(path: Path, images: int, dim: int) -> None:
    """Write unit vectors of `images` photographs."""
    generator = np.random.default_rng(0)
    basis = generator.standard_normal((DIRECTIONS, dim), dtype=np.float32) / np.float32(5)
    with path.with_suffix(".partial").open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (images, dim)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, images, ROWS):
            count = min(ROWS, images - start)
            individuals = generator.standard_normal((count // 5 + 1, DIRECTIONS), dtype=np.float32)
            vectors = np.repeat(individuals @ basis, 5, axis=0)[:count]
            vectors += np.float32(0.35) * generator.standard_normal((count, dim), dtype=np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors.tofile(file)
    path.with_suffix(".partial").rename(path)


def private_memory() -> float:
    """Return the gigabytes of this process that are no pages of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1e6


class Peak(threading.Thread):
    """The highest private memory while it runs, read ten times a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.before = self.highest = private_memory()

    def run(self) -> None:
        while True:
            self.highest = max(self.highest, private_memory())
            time.sleep(0.1)


def measure(name: str, path: Path, queries: int) -> None:
    vectors = np.load(path, mmap_mode="r")
    gallery = Embeddings(strings([f"{row:08}" for row in range(len(vectors))]), vectors)
    chosen = np.sort(np.random.default_rng(1).choice(len(vectors), queries, replace=False))
    query = gallery.of(gallery.image_ids[chosen])
    peak = Peak()
    peak.start()
    began = time.process_time()
    if name == "exact":
        rows, _ = knn.nearest_rows(query, gallery, K)
        np.save(path.with_suffix(f".{queries}.exact.npy"), rows)
        built = began
    else:
        step = parse_step(name)
        assert isinstance(step, GalleryIndex)
        index = IndexedGallery(step, gallery)
        built = time.process_time()
        rows, _ = index.nearest_rows(query, K)
    done = time.process_time()
    exact = np.load(path.with_suffix(f".{queries}.exact.npy"))
    recall = (exact[:, :, None] == rows[:, None, :]).any(axis=2).mean()
    milliseconds = 1000 * (done - built) / queries
    print(
        f"| {name} | {recall:.1%} | {built - began:.0f} s | {milliseconds:.2f} ms | "
        f"{peak.highest - peak.before:.2f} GB |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("indexes", nargs="*", default=["sq8", "ivf_pq"])
    parser.add_argument("--images", type=int, default=5_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as fresh:
        path = (given.folder or Path(fresh)) / f"{given.images}x{given.dim}.npy"
        if not path.exists():
            draw(path, given.images, given.dim)
        print(
            f"{machine('faiss-cpu')}, {faiss.omp_get_max_threads()} threads; "
            f"{given.images:,} x {given.dim}, {given.queries} queries\n\n"
            f"| index | recall@{K} | build | a query | memory |\n|---|---|---|---|---|",
            flush=True,
        )
        for name in ("exact", *given.indexes):
            child = os.fork()
            if not child:
                measure(name, path, given.queries)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            if status:
                raise SystemExit(f"{name} failed")


if __name__ == "__main__":
    main()
