"""Agglomerative clustering that keeps constraints, on all pairs of images or on a sparse graph.

Both ways merge clusters that are each other's nearest. Average and single linkage are reducible (no
cluster comes nearer by a merge of others), also where a pair that must stay apart is infinitely far
away, so that the tree is that of the greedy algorithm, which always merges the two nearest clusters
(Bruynooghe, 1977; Murtagh, 1983).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kitbox.errors import KitboxError
from kitbox.records import Integers

# How similar two clusters are: as their pairs of images on average, or as their most similar pair.
Linkage = Literal["average", "components"]
Numbers = NDArray[np.float64]

# Two images of two clusters that merge, and how far apart the clusters are.
Merge = tuple[int, int, float]


@dataclass(frozen=True)
class Constraints:
    """Clusters that images start in, and what may not become of these.

    `start (n,)` numbers the first cluster of each image, from 0 without gaps. `apart (p, 2)` are
    pairs of first clusters that never end in one cluster, and `closed (c,)` marks those that merge
    with no other. Raises KitboxError for a cluster that should stay apart from itself.
    """

    start: Integers
    apart: Integers
    closed: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if len(self.closed) != int(self.start.max(initial=-1)) + 1:
            raise KitboxError(
                f"{self.start.max(initial=-1) + 1} clusters, {len(self.closed)} marks"
            )
        if (self.apart[:, 0] == self.apart[:, 1]).any():
            raise KitboxError("a cluster cannot stay apart from itself")

    @classmethod
    def none(cls, count: int) -> "Constraints":
        """Return those of images that nothing is known about."""
        return cls(np.arange(count), np.empty((0, 2), np.int64), np.zeros(count, np.bool_))

    @property
    def binding(self) -> bool:
        """Whether they rule out any clustering."""
        return bool(len(self.closed) < len(self.start) or len(self.apart) or self.closed.any())

    @property
    def anchored(self) -> int:
        """The number of images in closed clusters."""
        return int(self.closed[self.start].sum())

    def first_images(self) -> Integers:
        """Return the first image (c,) of each starting cluster."""
        return np.unique(self.start, return_index=True)[1]

    def merges(self) -> list[Merge]:
        """Return the merges of images that start in one cluster, at a distance of -inf."""
        first = self.first_images()[self.start]
        others = np.flatnonzero(first != np.arange(len(first)))
        return [(int(first[row]), int(row), -np.inf) for row in others]


def merge_all_pairs(distances: Numbers, constraints: Constraints, linkage: Linkage) -> list[Merge]:
    """Return the merges of images of which all distances are known.

    `distances` are in scipy's condensed order, n - 1 of the first image, then n - 2 of the second;
    they are overwritten. Takes n² time and no other memory. Of equal distances the first image
    counts.
    """
    return _NearestNeighbourChain(distances, constraints, linkage).run()


class _NearestNeighbourChain:
    """Follows nearest neighbours until two clusters are each other's, and merges these.

    A cluster is named by the first of its images that is left in `active`.
    """

    def __init__(self, distances: Numbers, constraints: Constraints, linkage: Linkage) -> None:
        self.distances, self.linkage = distances, linkage
        count = len(constraints.start)
        rows = np.arange(count, dtype=np.int64)
        # the distance of images i < j is at before[i] + j
        self.before = rows * (2 * count - rows - 1) // 2 - rows - 1
        self.sizes = np.ones(count, dtype=np.int64)
        self.active = rows
        self.merges = constraints.merges()
        for first, row, _ in self.merges:
            self._join(first, row)
        images = constraints.first_images()
        one, other = np.sort(images[constraints.apart], axis=1).T
        self.distances[self.before[one] + other] = np.inf
        self.active = self.active[~np.isin(self.active, images[constraints.closed])]

    def run(self) -> list[Merge]:
        chain: list[int] = []
        while len(self.active) > 1:
            if not chain:
                chain.append(int(self.active[0]))
            last = chain[-1]
            others = self.active[self.active != last]
            distances = self.distances[self._places(last, others)]
            place = int(np.argmin(distances))
            nearest, distance = int(others[place]), float(distances[place])
            if np.isinf(distance):  # it may join none of the others
                chain.pop()
                self.active = others
            elif len(chain) > 1 and self._between(last, chain[-2]) <= distance:
                one, other = sorted((last, chain[-2]))
                del chain[-2:]
                self.merges.append((one, other, distance))
                self._join(one, other)
            else:
                chain.append(nearest)
        return self.merges

    def _between(self, one: int, other: int) -> float:
        return float(self.distances[self.before[min(one, other)] + max(one, other)])

    def _places(self, image: int, others: Integers) -> Integers:
        smaller = others < image
        return np.where(smaller, self.before[others] + image, self.before[image] + others)

    def _join(self, one: int, other: int) -> None:
        """Give the cluster `one` the images of `other`."""
        self.active = self.active[self.active != other]
        rest = self.active[self.active != one]
        places = self._places(one, rest)
        near, far = self.distances[places], self.distances[self._places(other, rest)]
        if self.linkage == "average":
            weights = self.sizes[one], self.sizes[other]
            joined = (weights[0] * near + weights[1] * far) / (weights[0] + weights[1])
        else:
            apart = np.isinf(near) | np.isinf(far)
            joined = np.where(apart, np.inf, np.minimum(near, far))
        self.distances[places] = joined
        self.sizes[one] += self.sizes[other]


@dataclass(frozen=True)
class SparsePairs:
    """Some pairs of n images, first < second (p,), with their similarities (p,).

    All other pairs are as similar as `outside`; components do not join them.
    """

    first: Integers
    second: Integers
    similarity: Numbers
    outside: float


def merge_sparse(pairs: SparsePairs, constraints: Constraints, linkage: Linkage) -> list[Merge]:
    """Return the merges of images of which some similarities are known.

    The mean similarity of two clusters is exact where all their pairs are known. Clusters merge
    while they are at least as similar as the pairs outside. Each round merges all clusters that are
    each other's nearest; memory and the time of a round grow with the number of pairs.
    """
    return _SparseMerger(pairs, constraints, linkage).run()


class _SparseMerger:
    """Merges mutual neighbours round by round.

    `lo` < `hi` are the clusters of an edge, named by the smallest of the starting clusters in
    them. `value` is the sum of the similarities above `outside`, or the largest similarity.
    """

    def __init__(self, pairs: SparsePairs, constraints: Constraints, linkage: Linkage) -> None:
        self.average, self.outside = linkage == "average", pairs.outside
        self.count = len(constraints.closed)
        self.sizes = np.bincount(constraints.start, minlength=self.count)
        self.images = constraints.first_images()
        self.merges = constraints.merges()
        self.apart = np.unique(self._keys(*np.sort(constraints.apart, axis=1).T))
        value = np.asarray(pairs.similarity, dtype=np.float64)
        ends = constraints.start[np.stack([pairs.first, pairs.second])]
        free = ~constraints.closed[ends].any(axis=0)
        lo, hi = np.sort(ends[:, free], axis=0)
        self.lo, self.hi, self.value = self._reduced(
            lo, hi, value[free] - self.outside if self.average else value[free]
        )

    def run(self) -> list[Merge]:
        while len(self.lo):
            similarity = self._similarities()
            one, other, found = self._mutual(similarity)
            if not len(one):
                break
            images = self.images
            self.merges += [
                (int(images[a]), int(images[b]), 1 - float(s))
                for a, b, s in zip(one, other, found, strict=True)
            ]
            self._merge(one, other)
        return self.merges

    def _similarities(self) -> Numbers:
        if not self.average:
            return self.value
        mean = self.value / (self.sizes[self.lo] * self.sizes[self.hi])
        # pairs outside are more similar than these
        return np.where(self.value < 0, -np.inf, self.outside + mean)

    def _mutual(self, similarity: Numbers) -> tuple[Integers, Integers, Numbers]:
        """Return the clusters that are each other's most similar; of equals the first counts."""
        best = np.full(self.count, -np.inf)
        np.maximum.at(best, self.lo, similarity)
        np.maximum.at(best, self.hi, similarity)
        nearest = np.full(self.count, self.count, dtype=np.int64)
        for own, other in ((self.lo, self.hi), (self.hi, self.lo)):
            equal = (similarity == best[own]) & (similarity > -np.inf)
            np.minimum.at(nearest, own[equal], other[equal])
        itself = np.append(nearest, -1)[nearest] == np.arange(self.count)
        one = np.flatnonzero(itself & (nearest > np.arange(self.count)))
        return one, nearest[one], best[one]

    def _merge(self, one: Integers, other: Integers) -> None:
        self.sizes[one] += self.sizes[other]
        target = np.arange(self.count)
        target[other] = one
        moved = np.zeros(self.count, dtype=np.bool_)
        moved[one] = moved[other] = True
        if len(self.apart):
            self.apart = np.unique(
                self._keys(*np.sort(target[np.stack(np.divmod(self.apart, self.count))], axis=0))
            )
        touched = moved[self.lo] | moved[self.hi]
        ends = target[np.stack([self.lo[touched], self.hi[touched]])]
        differ = ends[0] != ends[1]
        lo, hi = np.sort(ends[:, differ], axis=0)
        parts = self._reduced(lo, hi, self.value[touched][differ])
        kept = (self.lo[~touched], self.hi[~touched], self.value[~touched])
        self.lo, self.hi, self.value = (
            np.concatenate([before, after]) for before, after in zip(kept, parts, strict=True)
        )

    def _reduced(
        self, lo: Integers, hi: Integers, value: Numbers
    ) -> tuple[Integers, Integers, Numbers]:
        """Return one edge for each pair of clusters that may merge."""
        keys = self._keys(lo, hi)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        starts = np.flatnonzero(np.diff(keys, prepend=-1))
        if not len(starts):
            return lo[:0], hi[:0], value[:0]
        reduce = np.add if self.average else np.maximum
        value, keys = reduce.reduceat(value[order], starts), keys[starts]
        allowed = ~np.isin(keys, self.apart)
        lo, hi = np.divmod(keys[allowed], self.count)
        differ = lo != hi
        return lo[differ], hi[differ], value[allowed][differ]

    def _keys(self, lo: Integers, hi: Integers) -> Integers:
        return np.asarray(lo * self.count + hi, dtype=np.int64)


def tree_of(merges: Sequence[Merge], count: int) -> Numbers:
    """Return the joins (m, 3) of merges in order of distance: two clusters and their distance.

    Clusters are numbered as in scipy: images from 0, then joins from `count` on.
    """
    ordered = sorted(merges, key=lambda merge: merge[2])
    parent = list(range(2 * count))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    joins = np.empty((len(ordered), 3))
    for number, (one, other, distance) in enumerate(ordered, count):
        left, right = sorted((root(one), root(other)))
        parent[left] = parent[right] = number
        joins[number - count] = left, right, distance
    return joins
