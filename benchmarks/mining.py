"""Time to mine the triplets of an epoch by hardness.

    python benchmarks/mining.py [--images 25000] [--dim 512] [--individuals 5000] [--times 5]

Random unit vectors. Each individual with at least two photographs is an anchor once; its negative
is searched among the photographs of all others. Prints seconds (median and spread) and peak memory.
"""

import argparse
import resource
import statistics
import time

import numpy as np
from machine import machine

from kitbox.samplers.hardness_sequencing import mine_triplets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=25_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--individuals", type=int, default=5_000)
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((given.images, given.dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = generator.integers(given.individuals, size=given.images)
    anchors = int((np.bincount(labels) > 1).sum())
    hardness = np.linspace(0, 1, anchors)
    print(machine("numpy", "kitbox"))
    seconds = []
    for _ in range(given.times):
        began = time.perf_counter()
        mine_triplets(vectors, labels, hardness, generator)
        seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{anchors} anchors among {given.images} x {given.dim}: {statistics.median(seconds):.2f} s "
        f"[{min(seconds):.2f}, {max(seconds):.2f}], {peak:.2f} GiB in total"
    )


if __name__ == "__main__":
    main()
