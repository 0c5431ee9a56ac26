"""Exact nearest neighbours: kitbox's search against bare `faiss.knn` on the same vectors.

    python benchmarks/peers/search.py [--gallery 25000] [--queries 8000] [--dim 512] [-k 20]

Each side is a process that reads drawn vectors and times its search alone. kitbox's `nearest_rows`
orders equal similarities by image id and leaves each query's own image out; with image ids is
`nearest`, which gives the ids of what it finds.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rounds

SIDES = ("kitbox", "with image ids", "faiss.knn")


def draw(folder: Path, given: argparse.Namespace) -> None:
    """Write unit vectors, five photographs of an individual."""
    import numpy as np

    generator = np.random.default_rng(0)
    individuals = generator.standard_normal((given.gallery // 5 + 1, given.dim), dtype=np.float32)
    for side, count in (("gallery", given.gallery), ("query", given.queries)):
        vectors = individuals[generator.integers(0, len(individuals), count)]
        vectors += 1.5 * generator.standard_normal(vectors.shape, dtype=np.float32)
        np.save(folder / f"{side}.npy", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def search(given: argparse.Namespace) -> None:
    """Search once with a few queries, then with all; print the queries a second."""
    import numpy as np

    query, gallery = (np.load(given.folder / f"{side}.npy") for side in ("query", "gallery"))
    find: Callable[[int], Any]
    if given.only == "faiss.knn":
        import faiss

        def find(count: int) -> Any:
            return faiss.knn(query[:count], gallery, given.k, metric=faiss.METRIC_INNER_PRODUCT)
    else:
        from kitbox.records import Embeddings, strings
        from kitbox.retrieval import knn

        of_gallery = Embeddings(
            strings([f"g{row:07d}.jpg" for row in range(len(gallery))]), gallery
        )
        of_query = Embeddings(strings([f"q{row:07d}.jpg" for row in range(len(query))]), query)
        used = knn.nearest_rows if given.only == "kitbox" else knn.nearest

        def find(count: int) -> Any:
            return used(of_query.of(of_query.image_ids[:count]), of_gallery, given.k)

    find(64)
    began, worked = time.perf_counter(), time.process_time()
    find(len(query))
    clock, work = time.perf_counter() - began, time.process_time() - worked
    print(
        json.dumps({"queries/s": len(query) / clock, "queries/s of processor": len(query) / work})
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gallery", type=int, default=25_000)
    parser.add_argument("--queries", type=int, default=8_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("-k", type=int, default=20)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    rounds.add_options(parser)
    given = parser.parse_args()
    if given.only:
        search(given)
        return
    with tempfile.TemporaryDirectory() as temporary:
        draw(Path(temporary), given)
        line = rounds.machine(packages=("numpy", "faiss-cpu"))
        own = [__file__, "--folder", temporary, "-k", str(given.k), "--only"]
        sides = [rounds.kitbox_side(name, [*own, name]) for name in SIDES]
        taken = rounds.alternate(sides, given.rounds)
    rounds.show_figures(given, line, taken, ("queries/s", "queries/s of processor"), "kitbox")


if __name__ == "__main__":
    main()
