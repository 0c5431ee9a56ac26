"""Time to cluster, match and plan an epoch of divide and conquer.

    python benchmarks/clustering.py [--images 25000] [--dim 512] [--individuals 5000] [--times 5]

Unit vectors around a centre for each individual; the number of photographs has a long tail. The
vectors move a little each epoch, as those of a network do. Prints seconds (median and spread) for
epochs that cluster again and for epochs that do not, and the share of images that changed cluster.
"""

import argparse
import os
import platform
import statistics
import time

import faiss
import numpy as np

import kitbox
from kitbox import PK, Divide, Margin, Plugin
from kitbox.samplers.planner import build_planner


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=25_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--individuals", type=int, default=5_000)
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    generator = np.random.default_rng(0)
    frequency = 1 / np.arange(1, given.individuals + 1) ** 0.7
    others = generator.choice(
        given.individuals, given.images - given.individuals, p=frequency / frequency.sum()
    )
    labels = np.concatenate([np.arange(given.individuals), others])
    centres = generator.standard_normal((given.individuals, given.dim), dtype=np.float32)
    vectors = centres[labels]
    plugin = Plugin(
        backbone="resnet50",
        image_size=224,
        embedding_dim=128,
        losses=(Margin(mining="closest"),),
        sampler=PK(images_per_label=4),
        batch_size=80,
        epochs=2 * given.times,
        divide=Divide(learners=8, every=2),
    )
    planner = build_planner(plugin, labels, 0)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    moved = []
    for epoch in range(1, plugin.epochs + 1):
        noise = generator.standard_normal(vectors.shape, dtype=np.float32)
        vectors = vectors + 0.1 * noise
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        clusters_again = planner.required_vectors(epoch) is not None
        began = time.perf_counter()
        batches = planner.plan(epoch, unit if clusters_again else None)
        seconds[clusters_again].append(time.perf_counter() - began)
        moved += planner.metrics().values()
    print(
        f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores, "
        f"faiss {faiss.__version__}, kitbox {kitbox.__version__}"
    )
    print(f"{given.images} x {given.dim}, 8 clusters, {len(batches)} batches in an epoch")
    for clusters_again, times in seconds.items():
        print(
            f"{'clustered again' if clusters_again else 'with the same clusters'}: "
            f"{statistics.median(times):.2f} s [{min(times):.2f}, {max(times):.2f}]"
        )
    print(f"images that moved to another cluster: {statistics.mean(moved):.0%}")


if __name__ == "__main__":
    main()
