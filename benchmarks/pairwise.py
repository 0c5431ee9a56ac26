"""How what compares photographs with each other grows: processor seconds, without any start.

    python benchmarks/pairwise.py [--images 1000 2000 4000 8000] [--only NAME ...]

Drawn unit vectors of 128 dimensions, three photographs of an individual; drawn hashes. Where there
are queries, a fifth of the photographs are searched among all. The exponent is log2 of what the
last doubling of the photographs multiplies the seconds by: 1 is linear, 2 is quadratic.
"""

import argparse
import math
import time
from collections.abc import Callable

import faiss
import numpy as np
from machine import machine

from kitbox.clusters import cluster_tree
from kitbox.dataset import label_errors, near_duplicates
from kitbox.images.file_index import Signatures
from kitbox.records import Embeddings, Search, strings
from kitbox.retrieval.neighbour_graph import NeighbourGraph
from kitbox.retrieval.rerankers import parse_step

DIM, BITS = 128, 6
STEPS = ("query_expansion", "dba", "local_scaling", "k_reciprocal", "diffusion", "sq8", "ivf_pq")


def tasks(images: int) -> dict[str, Callable[[], object]]:
    """Return what is measured, by name, on so many drawn photographs."""
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((images // 3 + 1, DIM), dtype=np.float32)
    vectors = centres[np.arange(images) // 3]
    vectors += np.float32(0.9) * generator.standard_normal(vectors.shape, dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = strings([f"{row:07}" for row in range(images)])
    embeddings = Embeddings(ids, vectors)
    labels = strings([f"w{row // 3}" for row in range(images)])
    graph = NeighbourGraph(Search("", ids[::5], ids[::5], ids), embeddings)
    signatures = Signatures(
        generator.integers(0, 256, (images, 8), dtype=np.uint8),
        generator.integers(0, 256, (images, 256), dtype=np.uint8),
    )
    found: dict[str, Callable[[], object]] = {
        "near-duplicates by hashes": lambda: near_duplicates.find_pairs(signatures, BITS),
        "duplicates by embeddings": lambda: label_errors.similar_pairs(embeddings, 0.9),
        "probable label errors": lambda: label_errors.find_suspects(embeddings, labels, None),
        "clusters": lambda: cluster_tree.link(embeddings),
        "exact search": lambda: graph.nearest(20),
    }
    return found | {text: lambda text=text: parse_step(text)(graph).nearest(20) for text in STEPS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 2000, 4000, 8000])
    parser.add_argument("--only", nargs="+", choices=list(tasks(9)))
    given = parser.parse_args()
    seconds: dict[str, list[float]] = {}
    for name in given.only or tasks(9):
        for images in given.images:
            measured = tasks(images)[name]
            began = time.process_time()
            measured()
            seconds.setdefault(name, []).append(time.process_time() - began)
        if name == next(iter(seconds)):
            print(
                f"{machine()}, {faiss.omp_get_max_threads()} threads\n\n"
                f"| | {' | '.join(f'{count:,}' for count in given.images)} | exponent |\n"
                f"{'|---' * (len(given.images) + 2)}|"
            )
        cells = " | ".join(f"{value:.2f} s" for value in seconds[name])
        doubled = given.images[-1] / given.images[-2]
        exponent = math.log(seconds[name][-1] / seconds[name][-2], doubled)
        print(f"| {name} | {cells} | {exponent:.1f} |", flush=True)


if __name__ == "__main__":
    main()
