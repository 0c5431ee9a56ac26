"""Divide and conquer: images in clusters, and batches of one cluster for one slice's learner."""

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
from kitbox.samplers.batch_samplers import UNKNOWN, Batch, Planner, draw_batches

# The source's number of k-means iterations; 25,000 x 512 vectors take two seconds.
_ITERATIONS = 100


def cluster_vectors(vectors: Floats, count: int, seed: int) -> Integers:
    """Return the k-means cluster (n,) of each of `vectors (n, d)`, from 0; none of them is empty.

    By faiss, on all vectors, the same for the same seed. Where copies leave a cluster empty it
    takes the vector that lies furthest from the mean of its own. Raises KitboxError where there
    are fewer vectors than clusters.
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
    """Return `new (n,)` with its clusters renumbered so that most images keep their number of old.

    A Hungarian assignment on how many images each pair of clusters shares; the source took its
    inverse.
    """
    shared = np.zeros((count, count), dtype=np.int64)  # rows are new clusters, columns old ones
    np.add.at(shared, (new, old), 1)
    number_of = np.empty(count, dtype=np.int64)
    rows, columns = linear_sum_assignment(shared, maximize=True)
    number_of[rows] = columns
    return number_of[new]


def merge_single_label_clusters(vectors: Floats, clusters: Integers, labels: Integers) -> Integers:
    """Return clusters (n,) that have two labels each, as long as all images have.

    A cluster of one label has nothing to be told from: it joins the one whose mean is nearest and
    is left empty. The smallest goes first.
    """
    clusters = clusters.copy()
    while True:
        names, sizes = np.unique(clusters, return_counts=True)
        lone = [len(np.unique(labels[clusters == name])) == 1 for name in names]
        if len(names) == 1 or not any(lone):
            return clusters
        leaving = np.argmin(np.where(lone, sizes, len(clusters) + 1))
        means = np.stack([vectors[clusters == name].mean(axis=0) for name in names])
        distances = np.linalg.norm(means - means[leaving], axis=1)
        distances[leaving] = np.inf
        clusters[clusters == names[leaving]] = names[np.argmin(distances)]


class DividedPlanner:
    """Plans batches of one cluster each, and all images at the end (Sanakoyeu et al., CVPR 2019).

    In the first of every `divide.every` epochs the images are clustered anew by what the backbone
    sees. An image that is alone of its label in a cluster is learnt with the others; images of no
    known label are in no cluster.

    An epoch has as many batches as the undivided one, since the schedule must know that before
    there are clusters. They are dealt from a deck: each cluster's batches by the plugin's sampler,
    the clusters in turn and in proportion to their batches. Full coverage is a promise of passes:
    a pass ends, and another begins, when every image was shown, be it in less than an epoch or in
    more. An image alone in its cluster takes the place of several, so it is mostly in more.
    New clusters make a new deck of the batches in which an image still waits, most waiting first.
    """

    def __init__(self, labels: Integers, plugin: Plugin, seed: int, undivided: Planner) -> None:
        """Divide images of `labels (n,)`; `undivided` plans the epochs from undivided_from on."""
        assert plugin.divide is not None  # noqa: S101  the caller's reason to be here
        self._labels, self._plugin, self._divide = labels, plugin, plugin.divide
        self._seed, self._undivided = seed, undivided
        self._clusters: Integers | None = None
        self._waits = np.zeros(len(labels), dtype=np.bool_)
        self._deck: deque[tuple[int, Integers]] = deque()
        self._metrics: dict[str, float] = {}

    def steps(self, epoch: int) -> int:
        """Return how many batches an epoch will have: as many as undivided."""
        return self._undivided.steps(epoch)

    def required_vectors(self, epoch: int) -> str | None:
        """Return "pooled" where the epoch begins with new clusters."""
        if _reached(epoch, self._divide.undivided_from):
            return self._undivided.required_vectors(epoch)
        due = (epoch - 1) % self._divide.every == 0
        return "pooled" if due or self._clusters is None else None

    def plan(self, epoch: int, vectors: Floats | None) -> list[Batch]:
        """Return the batches of an epoch; their learner is the cluster, None from whole_from on."""
        if _reached(epoch, self._divide.undivided_from):
            batches = self._undivided.plan(epoch, vectors)
            self._metrics = self._undivided.metrics()
            return batches
        generator = np.random.default_rng([self._seed, epoch])
        self._metrics = {}
        if self.required_vectors(epoch):
            assert vectors is not None  # noqa: S101  as required_vectors() says
            self._cluster(vectors, generator)
        dealt = [self._deal(generator) for _ in range(self.steps(epoch))]
        whole = _reached(epoch, self._divide.whole_from)
        return [
            Batch(rows, self._labels[rows], learner=None if whole else learner)
            for learner, rows in dealt
        ]

    def metrics(self) -> dict[str, float]:
        """Return the share of images whose cluster is another one, where they are new."""
        return self._metrics

    def state(self) -> dict[str, object]:
        """Return clusters, waiting images and the deck."""
        return {
            "clusters": None if self._clusters is None else self._clusters.tolist(),
            "waiting": np.flatnonzero(self._waits).tolist(),
            "deck": [[learner, rows.tolist()] for learner, rows in self._deck],
            "undivided": self._undivided.state(),
        }

    def restore(self, state: dict[str, object]) -> None:
        """Take back clusters, waiting images and the deck."""
        kept = cast(dict[str, Any], state)
        clusters = kept["clusters"]
        self._clusters = None if clusters is None else np.array(clusters, dtype=np.int64)
        self._waits[:] = False
        self._waits[kept["waiting"]] = True
        self._deck = deque(
            (learner, np.array(rows, dtype=np.int64)) for learner, rows in kept["deck"]
        )
        self._undivided.restore(kept["undivided"])

    def _cluster(self, vectors: Floats, generator: np.random.Generator) -> None:
        """Put every image of a known label into a cluster, numbered as the last ones were."""
        known = np.flatnonzero(self._labels != UNKNOWN)
        vectors, count = vectors[known], self._divide.learners
        found = cluster_vectors(vectors, count, int(generator.integers(2**31)))
        found = merge_single_label_clusters(vectors, found, self._labels[known])
        if self._clusters is not None:
            old = self._clusters[known]
            found = renumber_clusters(old, found, count)
            self._metrics = {"clusters moved": float(np.mean(found != old))}
        self._clusters = np.full(len(self._labels), UNKNOWN, dtype=np.int64)
        self._clusters[known] = found
        self._deck.clear()

    def _deal(self, generator: np.random.Generator) -> tuple[int, Integers]:
        """Return the deck's next cluster and rows, of which at least one still waits."""
        while True:
            while not self._deck:
                self._fill(generator)
            learner, rows = self._deck.popleft()
            if self._waits[rows].any():
                self._waits[rows] = False
                return learner, rows

    def _fill(self, generator: np.random.Generator) -> None:
        """Fill the deck for the images that wait: for all, where the last pass has ended."""
        if not self._waits.any():
            self._waits = self._labels != UNKNOWN
        piles = [self._pile(learner, generator) for learner in range(self._divide.learners)]
        for learner, place in interleave([len(pile) for pile in piles]):
            self._deck.append((learner, piles[learner][place]))

    def _pile(self, learner: int, generator: np.random.Generator) -> list[Integers]:
        """Return a cluster's batches in which an image waits, those with most of them first."""
        members = np.flatnonzero(self._clusters == learner)
        if not self._waits[members].any():
            return []
        plugin = self._plugin
        places = draw_batches(self._labels[members], plugin.sampler, plugin.batch_size, generator)
        pile = [members[batch] for batch in places if self._waits[members[batch]].any()]
        return sorted(pile, key=lambda rows: -int(self._waits[rows].sum()))


def interleave(sizes: list[int]) -> list[tuple[int, int]]:
    """Return (pile, place) of all cards of piles of these sizes, each pile spread evenly."""
    spread = [
        ((place + 0.5) / size, pile, place)
        for pile, size in enumerate(sizes)
        for place in range(size)
    ]
    return [(pile, place) for _, pile, place in sorted(spread)]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let faiss have one thread: sums in one order, and no more slowly where cores are shared.

    So few means are not worth more; threads that wait for each other took several times as long.
    """
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def _reached(epoch: int, begin: int | None) -> bool:
    return begin is not None and epoch >= begin
