"""Divide and conquer: images in clusters, and batches of one cluster for one learner's slice."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import faiss
import numpy as np
from scipy.optimize import linear_sum_assignment

from kitbox.errors import KitboxError
from kitbox.plugin.plugin import Plugin
from kitbox.records import Floats, Integers
from kitbox.samplers.batch_samplers import UNKNOWN, Batch, Planner, VectorKind, draw_batches

# Iterations of k-means, as in the paper's code; 25,000 x 512 vectors take two seconds.
_ITERATIONS = 100


class DividedPlanner:
    """Plans batches of one cluster each, and of all images in the last epochs.

    The method is that of Sanakoyeu et al., CVPR 2019. In the first of every `divide.every` epochs
    the images are clustered again by the backbone's vectors. The only image of its label in a
    cluster is trained on as well; unknown images are in no cluster.

    An epoch has as many batches as an undivided one, since the schedule needs their number before
    there are clusters. The batches are taken from a queue: each cluster's batches are drawn by the
    plugin's sampler, and the clusters alternate in proportion to their numbers of batches. Full
    coverage holds for a pass, which ends when every image has been in a batch and may be shorter or
    longer than an epoch. It is mostly longer, since the only image of its label in a cluster is
    repeated within a batch. New clusters empty the queue; it is refilled with the batches that have
    images still unseen in this pass, those with most of them first.
    """

    def __init__(self, labels: Integers, plugin: Plugin, seed: int, undivided: Planner) -> None:
        """Divide images of `labels (n,)`; `undivided` plans the epochs from undivided_from on."""
        assert plugin.divide is not None  # noqa: S101  build_planner has checked it
        self._labels, self._plugin, self._divide = labels, plugin, plugin.divide
        self._seed, self._undivided = seed, undivided
        self._clusters: Integers | None = None
        self._unseen = np.zeros(len(labels), dtype=np.bool_)  # in this pass
        self._queue: deque[tuple[int, Integers]] = deque()
        self._metrics: dict[str, float] = {}

    def steps(self, epoch: int) -> int:
        """Return the number of batches of an epoch: as many as undivided."""
        return self._undivided.steps(epoch)

    def required_vectors(self, epoch: int) -> VectorKind | None:
        """Return "pooled" if the epoch begins with new clusters."""
        if _reached(epoch, self._divide.undivided_from):
            return self._undivided.required_vectors(epoch)
        due = (epoch - 1) % self._divide.every == 0
        return "pooled" if due or self._clusters is None else None

    def plan(self, epoch: int, vectors: Floats | None) -> list[Batch]:
        """Return the batches of an epoch; the learner is the cluster, None from whole_from on."""
        if _reached(epoch, self._divide.undivided_from):
            batches = self._undivided.plan(epoch, vectors)
            self._metrics = self._undivided.metrics()
            return batches
        generator = np.random.default_rng([self._seed, epoch])
        self._metrics = {}
        if self.required_vectors(epoch):
            assert vectors is not None  # noqa: S101  they are required
            self._cluster(vectors, generator)
        drawn = [self._next_batch(generator) for _ in range(self.steps(epoch))]
        whole = _reached(epoch, self._divide.whole_from)
        return [
            Batch(rows, self._labels[rows], learner=None if whole else learner)
            for learner, rows in drawn
        ]

    def metrics(self) -> dict[str, float]:
        """Return the share of images that moved to another cluster, if clusters are new."""
        return self._metrics

    def state(self) -> dict[str, object]:
        """Return clusters, unseen images and the queue."""
        return {
            "clusters": None if self._clusters is None else self._clusters.tolist(),
            "unseen": np.flatnonzero(self._unseen).tolist(),
            "queue": [[learner, rows.tolist()] for learner, rows in self._queue],
            "undivided": self._undivided.state(),
        }

    def restore(self, state: dict[str, object]) -> None:
        """Restore clusters, unseen images and the queue."""
        saved = cast(dict[str, Any], state)
        clusters = saved["clusters"]
        self._clusters = None if clusters is None else np.array(clusters, dtype=np.int64)
        self._unseen[:] = False
        self._unseen[saved["unseen"]] = True
        self._queue = deque(
            (learner, np.array(rows, dtype=np.int64)) for learner, rows in saved["queue"]
        )
        self._undivided.restore(saved["undivided"])

    def _cluster(self, vectors: Floats, generator: np.random.Generator) -> None:
        """Cluster the known images again, numbering clusters like the last ones."""
        known = np.flatnonzero(self._labels != UNKNOWN)
        vectors, count = vectors[known], self._divide.learners
        clusters = cluster_vectors(vectors, count, int(generator.integers(2**31)))
        clusters = merge_single_label_clusters(vectors, clusters, self._labels[known])
        if self._clusters is not None:
            old = self._clusters[known]
            clusters = renumber_clusters(old, clusters, count)
            self._metrics = {"clusters moved": float(np.mean(clusters != old))}
        self._clusters = np.full(len(self._labels), UNKNOWN, dtype=np.int64)
        self._clusters[known] = clusters
        self._queue.clear()

    def _next_batch(self, generator: np.random.Generator) -> tuple[int, Integers]:
        """Return the queue's next cluster and rows, of which at least one is still unseen."""
        while True:
            while not self._queue:
                self._refill(generator)
            learner, rows = self._queue.popleft()
            if self._unseen[rows].any():
                self._unseen[rows] = False
                return learner, rows

    def _refill(self, generator: np.random.Generator) -> None:
        """Queue batches for the unseen images, or for all images when a new pass begins."""
        if not self._unseen.any():
            self._unseen = self._labels != UNKNOWN
        batches = [self._batches_of(learner, generator) for learner in range(self._divide.learners)]
        for learner, index in interleave([len(each) for each in batches]):
            self._queue.append((learner, batches[learner][index]))

    def _batches_of(self, learner: int, generator: np.random.Generator) -> list[Integers]:
        """Return a cluster's batches that have unseen images, those with most of them first."""
        members = np.flatnonzero(self._clusters == learner)
        if not self._unseen[members].any():
            return []
        plugin = self._plugin
        drawn = draw_batches(self._labels[members], plugin.sampler, plugin.batch_size, generator)
        batches = [members[batch] for batch in drawn if self._unseen[members[batch]].any()]
        return sorted(batches, key=lambda rows: -int(self._unseen[rows].sum()))


def _reached(epoch: int, begin: int | None) -> bool:
    return begin is not None and epoch >= begin


def cluster_vectors(vectors: Floats, count: int, seed: int) -> Integers:
    """Return the k-means cluster (n,), from 0, of each of `vectors (n, d)`; no cluster is empty.

    faiss computes them on all vectors; the same seed gives the same clusters. A cluster that is
    empty because of duplicates gets the vector that is furthest from the mean of its own. Raises
    KitboxError if there are fewer vectors than clusters.
    """
    if len(vectors) < count:
        raise KitboxError(
            f"divide.learners = {count}, but only {len(vectors)} images show a known individual; "
            "lower it"
        )
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    means = faiss.Kmeans(
        vectors.shape[1],
        count,
        niter=_ITERATIONS,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=len(vectors),
    )
    with _one_thread():
        means.train(vectors)
        distances, nearest = means.index.search(vectors, 1)
    clusters = nearest[:, 0].astype(np.int64)
    for empty in np.setdiff1d(np.arange(count), clusters):
        can_leave = np.bincount(clusters)[clusters] > 1
        clusters[np.argmax(np.where(can_leave, distances[:, 0], -1))] = empty
    return clusters


def renumber_clusters(old: Integers, new: Integers, count: int) -> Integers:
    """Return clusters `new (n,)` renumbered so that most images keep their number in `old (n,)`.

    A Hungarian assignment maximises the number of images that paired clusters share; the paper's
    code uses its inverse.
    """
    shared = np.zeros((count, count), dtype=np.int64)  # rows are new clusters, columns old ones
    np.add.at(shared, (new, old), 1)
    number_of = np.empty(count, dtype=np.int64)
    rows, columns = linear_sum_assignment(shared, maximize=True)
    number_of[rows] = columns
    return number_of[new]


def merge_single_label_clusters(vectors: Floats, clusters: Integers, labels: Integers) -> Integers:
    """Return clusters (n,) of two labels or more each, unless all images have one label.

    A cluster of a single label has no negatives: it is merged into the one with the nearest mean
    and left empty, the smallest first.
    """
    clusters = clusters.copy()
    while True:
        numbers, sizes = np.unique(clusters, return_counts=True)
        single = [len(np.unique(labels[clusters == number])) == 1 for number in numbers]
        if len(numbers) == 1 or not any(single):
            return clusters
        leaving = np.argmin(np.where(single, sizes, len(clusters) + 1))
        means = np.stack([vectors[clusters == number].mean(axis=0) for number in numbers])
        distances = np.linalg.norm(means - means[leaving], axis=1)
        distances[leaving] = np.inf
        clusters[clusters == numbers[leaving]] = numbers[np.argmin(distances)]


def interleave(sizes: list[int]) -> list[tuple[int, int]]:
    """Return (group, index) of every item of groups of these sizes, each group spread evenly."""
    spread = [
        ((index + 0.5) / size, group, index)
        for group, size in enumerate(sizes)
        for index in range(size)
    ]
    return [(group, index) for _, group, index in sorted(spread)]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit faiss to one thread, so that sums have a fixed order.

    With so few means, several threads on shared cores took several times as long.
    """
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
