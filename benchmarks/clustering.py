"""Time to cluster, match and plan an epoch of divide and conquer, or to link a tree of clusters.

    python benchmarks/clustering.py [--images 25000] [--dim 512] [--individuals 5000] [--times 5]
    python benchmarks/clustering.py --tree average|components [--images 33000] [--dim 256]

Unit vectors around a centre for each individual; the number of photographs has a long tail. The
vectors move a little each epoch, as those of a network do. Prints seconds (median and spread) for
epochs that cluster again and for epochs that do not, and the share of images that changed cluster.

With `--tree`: seconds, processor seconds and memory of the tree of clusters, beside that of all
pairs where these fit, and the adjusted Rand index of the best of 200 cuts.
"""

import argparse
import resource
import statistics
import time

import numpy as np
from machine import machine

from kitbox import PK, Divide, Margin, Plugin
from kitbox.clusters import cluster_tree
from kitbox.records import Embeddings, Search, strings
from kitbox.retrieval.neighbour_graph import NeighbourGraph
from kitbox.samplers.planner import build_planner


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=25_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--individuals", type=int, default=5_000)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--tree", choices=("average", "components"))
    given = parser.parse_args()
    generator = np.random.default_rng(0)
    frequency = 1 / np.arange(1, given.individuals + 1) ** 0.7
    others = generator.choice(
        given.individuals, given.images - given.individuals, p=frequency / frequency.sum()
    )
    labels = np.concatenate([np.arange(given.individuals), others])
    centres = generator.standard_normal((given.individuals, given.dim), dtype=np.float32)
    vectors = centres[labels]
    if given.tree:
        vectors += 0.9 * generator.standard_normal(vectors.shape, dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        link_tree(vectors, labels, given.tree)
        return
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
    print(machine("faiss-cpu", "kitbox"))
    print(f"{given.images} x {given.dim}, 8 clusters, {len(batches)} batches in an epoch")
    for clusters_again, times in seconds.items():
        print(
            f"{'clustered again' if clusters_again else 'with the same clusters'}: "
            f"{statistics.median(times):.2f} s [{min(times):.2f}, {max(times):.2f}]"
        )
    print(f"images that moved to another cluster: {statistics.mean(moved):.0%}")


def link_tree(vectors: np.ndarray, labels: np.ndarray, by: str) -> None:
    from sklearn.metrics import adjusted_rand_score

    names = strings([f"{number:07}" for number in range(len(vectors))])
    graph = NeighbourGraph(Search("", names, names, names), Embeddings(names, vectors))
    print(f"{len(names)} x {vectors.shape[1]}, {len(set(labels.tolist()))} individuals, {by}")
    for limit in (0, len(names)):
        kind = "all pairs" if limit else "the nearest pairs of each"
        if limit > 20_000:
            break
        cluster_tree._MAX_IMAGES = limit
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        wall, processor = time.perf_counter(), time.process_time()
        tree = cluster_tree.link_queries(graph, by=by)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        scores = {
            float(at): adjusted_rand_score(labels, tree.cut(at)) for at in np.linspace(0, 1, 200)
        }
        best = max(scores, key=scores.__getitem__)
        print(
            f"{kind}: {wall:.1f} s, {processor:.1f} s of processors, {peak:.2f} GB at most "
            f"({before:.2f} GB before); best ARI {scores[best]:.4f} at {best:.3f}"
        )


if __name__ == "__main__":
    main()
