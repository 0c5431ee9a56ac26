"""Clusters of similar images, by average linkage or as components of a graph."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kitbox.clusters import linkage
from kitbox.clusters.constraints import cuts_of
from kitbox.clusters.linkage import Constraints, Linkage, Numbers, SparsePairs
from kitbox.records import Embeddings, Floats, Integers, Ranking, Search, strings
from kitbox.retrieval.neighbour_graph import Block, NeighbourGraph
from kitbox.retrieval.ranking import Thresholds, query_thresholds

# All pairs of this many images take 1.6 GB, twice over while they are linked.
_MAX_IMAGES = 20_000
# Nearest images of each that are linked where there are more: of 33,000, 40 MB.
_NEIGHBOURS = 100
# Images compared with all others at a time: of 20,000, 20 MB of float32.
_ROWS = 256
# Similarities that are looked through at a time: with their rows and columns, 60 MB.
_CELLS = 1_000_000
# Cosines of float32 vectors exceed 1 by less.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class ClusterTree:
    """The similarities at which clusters join, from single images up to one cluster or several.

    `images` is the number of images. `joins (m, 3)` are two clusters and their distance, which is
    1 - similarity, numbered and ordered as in scipy: None for fewer than two images. Images that
    start in one cluster join at -inf, clusters that never join are not there.
    """

    images: int
    joins: Numbers | None

    @property
    def similarities(self) -> Numbers:
        """The similarities at which clusters join, falling."""
        return np.empty(0) if self.joins is None else 1 - self.joins[:, 2]

    @property
    def alone_above(self) -> Numbers:
        """The similarity (n,) at which each image joins another; -inf for a single image."""
        first = np.full(self.images, -np.inf)
        if self.joins is not None:
            for side in self.joins[:, :2].T.astype(np.int64):
                leaf = side < self.images
                first[side[leaf]] = self.similarities[leaf]
        return first

    def cut(self, threshold: float) -> Integers:
        """Return the cluster (n,) of each image once all clusters as similar as this have joined.

        Clusters are numbered from 0 by their first image.
        """
        if self.joins is None:
            return np.zeros(self.images, dtype=np.int64)
        return self.after(int((self.joins[:, 2] <= 1 - threshold).sum()))

    def after(self, count: int) -> Integers:
        """Return the cluster (n,) of each image after the first `count` joins."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        if self.joins is None:
            return np.zeros(self.images, dtype=np.int64)
        sides = self.joins[:count, :2].astype(np.int64).T.ravel()
        nodes = np.tile(self.images + np.arange(count), 2)
        size = self.images + count
        joined = coo_array((np.ones(len(sides)), (sides, nodes)), shape=(size, size))
        _, clusters = connected_components(joined, directed=False)
        _, first, number = np.unique(
            clusters[: self.images], return_index=True, return_inverse=True
        )
        rank = np.empty(len(first), dtype=np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        return np.asarray(rank[number])


def link(embeddings: Embeddings) -> ClusterTree:
    """Return the tree of images under average linkage of their cosines.

    Two clusters are as similar as their pairs of images are on average (Sokal and Michener, 1958);
    a single pair of look-alikes does not chain two individuals. See `link_queries`.
    """
    vectors = embeddings.vectors
    blocks = (
        (slice(start, start + _ROWS), vectors[start : start + _ROWS] @ vectors[start:].T)
        for start in range(0, len(vectors), _ROWS)
    )
    return _tree(Constraints.none(len(vectors)), blocks, "average")


def link_queries(
    graph: NeighbourGraph, constraints: Constraints | None = None, by: Linkage = "average"
) -> ClusterTree:
    """Return the tree of a search's queries by the graph's similarities, within constraints.

    A pair that sees each other differently has the mean of both similarities. By "components" two
    clusters are as similar as their most similar pair of images (single linkage), and a union that
    the constraints rule out is left out.

    Up to 20,000 images take n² time and memory. Above, each image is linked to its 100 nearest
    alone, and all other pairs count as their mean similarity (as none, by "components"): memory is
    that of these pairs, the time of comparing all images is n².
    """
    count = len(graph.search.query_ids)
    return _tree(constraints or Constraints.none(count), graph.query_blocks(), by)


def cluster_trees(
    graphs: Sequence[NeighbourGraph],
    by: Linkage = "average",
    constraints: Mapping[str, Constraints] | None = None,
) -> dict[str, ClusterTree]:
    """Return for each search the tree in which its queries join into clusters.

    `constraints` are those of searches by their name.
    """
    given = constraints or {}
    return {
        graph.search.name: link_queries(graph, given.get(graph.search.name), by) for graph in graphs
    }


def cut_trees(
    trees: Mapping[str, ClusterTree],
    searches: Sequence[Search],
    thresholds: Thresholds,
    prefix: str | None = None,
) -> Ranking:
    """Return each query's cluster as its only answer: `prefix` and a number.

    {group} in it is the query's group; by default it is `cluster_{group}_`.
    """
    names: list[str] = []
    limits: list[float] = []
    for search in searches:
        limit = float(query_thresholds(cuts_of(thresholds), strings([search.name]))[0])
        usual = "cluster_{group}_" if search.name else "cluster_"
        begin = (prefix or usual).replace("{group}", search.name)
        numbers = trees[search.name].cut(limit)
        names += [f"{begin}{number}" for number in numbers]
        limits += [limit] * len(numbers)
    return Ranking(
        np.concatenate([search.query_ids for search in searches]),
        strings(names)[:, None],
        np.array(limits, dtype=np.float32)[:, None],
    )


def _tree(constraints: Constraints, blocks: Iterator[Block], by: Linkage) -> ClusterTree:
    """Return the tree of images by blocks of their similarities to those from a row on."""
    count = len(constraints.start)
    if count < 2:
        return ClusterTree(count, None)
    if count > _MAX_IMAGES:
        pairs = nearest_pairs(blocks, count, _NEIGHBOURS)
        merges = linkage.merge_sparse(pairs, constraints, by)
        return ClusterTree(count, linkage.tree_of(merges, count))
    distances = _distances(blocks, count)
    if constraints.binding:
        merges = linkage.merge_all_pairs(distances, constraints, by)
        return ClusterTree(count, linkage.tree_of(merges, count))
    from scipy.cluster import hierarchy

    method = "average" if by == "average" else "single"
    return ClusterTree(count, hierarchy.linkage(distances, method=method)[:, :3])


def _distances(blocks: Iterator[Block], count: int) -> Numbers:
    """Return 1 - similarity of all pairs, in scipy's condensed order."""
    distances = np.empty(count * (count - 1) // 2, dtype=np.float64)
    begin = 0
    for _, similarities in blocks:
        for row, of_row in enumerate(similarities):
            end = begin + len(of_row) - row - 1
            distances[begin:end] = 1 - of_row[row + 1 :]
            begin = end
    distances[(distances < 0) & (distances > -_ROUNDING)] = 0
    return distances


def nearest_pairs(blocks: Iterator[Block], count: int, neighbours: int) -> SparsePairs:
    """Return the pairs of each of `count` images with its nearest others.

    The pairs outside are as similar as they are on average.
    """
    width = min(neighbours, count - 1)
    nearest = _Nearest.none(count, width)
    total = 0.0
    for rows, similarities in blocks:
        start = rows.start
        size = len(similarities)
        # each pair once: images before or at the row are left out
        before = np.tri(size, similarities.shape[1], dtype=np.bool_)
        later = np.where(before, np.float32(-np.inf), similarities)
        total += float(similarities[:, size:].sum(dtype=np.float64))
        total += float(later[:, :size][np.triu_indices(size, 1)].sum(dtype=np.float64))
        own, rest = np.arange(start, start + size), np.arange(start, count)
        nearest.add(own, rest, later)
        nearest.add(rest, own, later.T)
    first, second, similarity = nearest.pairs()
    others = count * (count - 1) // 2 - len(first)
    if not others:
        return SparsePairs(first, second, similarity, float(similarity.min()))
    outside = (total - float(similarity.sum())) / others
    return SparsePairs(first, second, similarity, min(outside, 1.0))


@dataclass(frozen=True)
class _Nearest:
    """The nearest images (n, k) of each, the k-th last, and their similarities.

    -1 and -inf where there are fewer so far.
    """

    images: NDArray[np.int32]
    similarity: Floats

    @classmethod
    def none(cls, count: int, width: int) -> "_Nearest":
        shape = (count, width)
        return cls(np.full(shape, -1, np.int32), np.full(shape, -np.inf, np.float32))

    def add(self, rows: Integers, columns: Integers, similarity: Floats) -> None:
        """Take the nearest of `columns (c,)` to `rows (r,)`, by their similarities (r, c)."""
        step = max(_CELLS // max(len(columns), 1), 1)
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            self._add(rows[part], columns, similarity[part])

    def _add(self, rows: Integers, columns: Integers, similarity: Floats) -> None:
        width = self.images.shape[1]
        # most columns are farther than what a row has already
        nearer = similarity > self.similarity[rows, -1:]
        counts = nearer.sum(axis=1)
        touched = np.flatnonzero(counts)
        if not len(touched):
            return
        row, column = np.nonzero(nearer[touched])
        counts = counts[touched]
        place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        found = _Nearest.none(len(touched), int(counts.max()))
        found.images[row, place] = columns[column]
        found.similarity[row, place] = similarity[touched[row], column]
        own = rows[touched]
        both = np.concatenate([self.similarity[own], found.similarity], axis=1)
        images = np.concatenate([self.images[own], found.images], axis=1)
        # the last of the nearest stands last
        best = np.argpartition(-both, width - 1, axis=1)[:, :width]
        self.images[own] = np.take_along_axis(images, best, axis=1)
        self.similarity[own] = np.take_along_axis(both, best, axis=1)

    def pairs(self) -> tuple[Integers, Integers, Numbers]:
        """Return each pair once, the smaller row first."""
        count = len(self.images)
        row, place = np.nonzero(self.similarity > -np.inf)
        other = self.images[row, place].astype(np.int64)
        keys, chosen = np.unique(
            np.minimum(row, other) * count + np.maximum(row, other), return_index=True
        )
        first, second = np.divmod(keys, count)
        return first, second, self.similarity[row, place][chosen].astype(np.float64)
