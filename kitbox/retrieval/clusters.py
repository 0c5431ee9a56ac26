"""Clusters of similar images, by average linkage."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

from kitbox.errors import KitboxError
from kitbox.records import Embeddings, Integers
from kitbox.retrieval.neighbour_graph import Block, NeighbourGraph

# All pairs of this many images take 1.6 GB, twice over while they are linked.
_MAX_IMAGES = 20_000
# Images compared with all others at a time: of the most images, 20 MB of float32.
_ROWS = 256


@dataclass(frozen=True)
class ClusterTree:
    """The similarities at which clusters join, from single images up to one cluster.

    `images` is the number of images, `joins` scipy's linkage of cosine distances: None for fewer
    than two images.
    """

    images: int
    joins: NDArray[np.float64] | None

    @property
    def similarities(self) -> NDArray[np.float64]:
        """The mean similarities at which clusters join, falling."""
        return np.empty(0) if self.joins is None else 1 - self.joins[:, 2]

    @property
    def alone_above(self) -> NDArray[np.float64]:
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
        clusters = fcluster(self.joins, 1 - threshold, criterion="distance")
        _, first, number = np.unique(clusters, return_index=True, return_inverse=True)
        rank = np.empty(len(first), dtype=np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        return rank[number]


def link(embeddings: Embeddings) -> ClusterTree:
    """Return the tree of images under average linkage of their cosines.

    Two clusters are as similar as their pairs of images are on average (Sokal and Michener, 1958);
    a single pair of look-alikes does not chain two individuals. Takes n² time and memory.

    Raises KitboxError above 20,000 images.
    """
    vectors = embeddings.vectors
    return _tree(
        len(vectors),
        (
            (slice(start, start + _ROWS), vectors[start : start + _ROWS] @ vectors[start:].T)
            for start in range(0, len(vectors), _ROWS)
        ),
    )


def link_queries(graph: NeighbourGraph) -> ClusterTree:
    """Return the tree of a search's queries under average linkage of the graph's similarities.

    A pair that sees each other differently has the mean of both similarities. See `link`.
    """
    return _tree(len(graph.search.query_ids), graph.query_blocks())


def _tree(count: int, blocks: Iterator[Block]) -> ClusterTree:
    """Return the tree of images by blocks of their similarities to those from a row on."""
    if count > _MAX_IMAGES:
        raise KitboxError(
            f"{count} images are too many to cluster at once, at most {_MAX_IMAGES}; "
            "split them with images.group_column and task.within_group"
        )
    if count < 2:
        return ClusterTree(count, None)
    distances = np.empty(count * (count - 1) // 2, dtype=np.float64)
    begin = 0
    for _, similarities in blocks:
        for row, of_row in enumerate(similarities):
            end = begin + len(of_row) - row - 1
            distances[begin:end] = 1 - of_row[row + 1 :]
            begin = end
    return ClusterTree(count, linkage(np.maximum(distances, 0, out=distances), method="average"))
