"""The neighbour graph of a search: how similar its queries are to its gallery images.

Images, labels, matches and clusters are all ranked from it, so that a re-ranking step, which takes
a graph and returns one, moves them all.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kitbox.errors import KitboxError
from kitbox.records import Embeddings, Floats, Integers, Neighbours, Search, Strings, rows_of
from kitbox.retrieval import knn
from kitbox.retrieval.clusters import Pairs

# Rows of some queries, and their similarities (rows, n).
Block = tuple[slice, Floats]

# Similarities held at a time: 64 MB of float32.
_BLOCK_SIZE = 16_000_000


@dataclass(frozen=True)
class Shortlist:
    """Some gallery images of each query, and their similarities.

    `rows (q, s)` count the images of the search's gallery from 0, -1 where a query has fewer than
    s of them; `similarity (q, s) float32`.
    """

    rows: Integers
    similarity: Floats

    def __post_init__(self) -> None:
        if self.rows.shape != self.similarity.shape:
            raise KitboxError(
                f"a shortlist of {self.rows.shape} rows but {self.similarity.shape} similarities"
            )


@dataclass(frozen=True)
class NeighbourGraph:
    """The queries and the gallery images of a search, joined by their similarities.

    A similarity is the cosine of two `embeddings` unless `reranked` has it. Nothing is computed
    before it is asked for, and never all pairs at once. A query is no neighbour of itself.
    """

    search: Search
    embeddings: Embeddings
    reranked: Shortlist | None = None

    @property
    def query(self) -> Embeddings:
        """The embeddings of the query images (q, d)."""
        return self.embeddings.of(self.search.query_images)

    @property
    def gallery(self) -> Embeddings:
        """The embeddings of the gallery images (g, d)."""
        return self.embeddings.of(self.search.gallery_images)

    def nearest(self, k: int) -> Neighbours:
        """Return the k most similar gallery images of each query; equals are ordered by id.

        A row with fewer than k neighbours ends in '' and -inf.
        """
        found = self.shortlist(k)
        # row -1 is the last one
        gallery_ids = np.append(self.search.gallery_images, "")[found.rows]
        return Neighbours(self.search.query_images, gallery_ids, found.similarity)

    def shortlist(self, k: int) -> Shortlist:
        """Return the k nearest as rows of the gallery: what a re-ranking step begins with."""
        reranked, gallery_size = self.reranked, len(self.search.gallery_images)
        if not gallery_size:
            shape = (len(self.search.query_ids), k)
            return Shortlist(np.full(shape, -1), np.full(shape, -np.inf, dtype=np.float32))
        if reranked is None:
            return Shortlist(*knn.nearest_rows(self.query, self.gallery, k))
        # s of the k + s nearest may be re-ranked; that leaves the k nearest others
        width = k + reranked.rows.shape[1]
        found = Shortlist(*knn.nearest_rows(self.query, self.gallery, width))
        both = _joined(reranked, found, gallery_size)
        return _sorted(both, self.search.gallery_images, k)

    def blocks(self, gallery_ids: Strings) -> Iterator[Block]:
        """Yield the similarities (rows, g) of all queries to some gallery images, in their order.

        A query's similarity to itself is -inf.
        """
        queries, vectors = self.query.vectors, self.embeddings.of(gallery_ids).vectors
        own = rows_of(self.search.query_images, gallery_ids)
        reranked = self.reranked
        columns = None if reranked is None else self._columns(reranked, gallery_ids)
        for rows in row_blocks(len(queries), len(gallery_ids)):
            similarity: Floats = queries[rows] @ vectors.T
            if reranked is not None and columns is not None:
                row, place = np.nonzero(columns[rows] >= 0)
                similarity[row, columns[rows][row, place]] = reranked.similarity[rows][row, place]
            itself = np.flatnonzero(own[rows] >= 0)
            similarity[itself, own[rows][itself]] = -np.inf
            yield rows, similarity

    def query_pairs(self) -> Pairs | None:
        """Return the re-ranked pairs of queries, None without re-ranking.

        A pair has two similarities, one as each side sees the other, and takes their mean. There
        are pairs where queries are in their own gallery.
        """
        if self.reranked is None:
            return None
        queries = self.search.query_images
        columns = self._columns(self.reranked, queries)
        row, place = np.nonzero(columns >= 0)
        other = columns[row, place]
        keys = np.minimum(row, other) * len(queries) + np.maximum(row, other)
        pairs, of_pair, count = np.unique(keys, return_inverse=True, return_counts=True)
        first, second = np.divmod(pairs, max(len(queries), 1))
        vectors = self.query.vectors
        cosine = np.einsum("pd,pd->p", vectors[first], vectors[second])
        total = np.bincount(of_pair, self.reranked.similarity[row, place], len(pairs))
        # the side whose shortlist lacks the other sees the cosine
        return first, second, ((total + (2 - count) * cosine) / 2).astype(np.float32)

    def rerank(self, shortlist: Shortlist) -> "NeighbourGraph":
        """Return the graph with the similarities of a shortlist in place of its own.

        A query's own image in its shortlist does not count.
        """
        own = rows_of(self.search.query_images, self.search.gallery_images)
        rows = np.where(shortlist.rows == own[:, None], -1, shortlist.rows)
        reranked = Shortlist(rows, shortlist.similarity)
        if self.reranked is not None:
            reranked = _joined(reranked, self.reranked, len(self.search.gallery_images))
        return replace(self, reranked=reranked)

    def _columns(self, shortlist: Shortlist, image_ids: Strings) -> Integers:
        """Return where the images (q, s) of a shortlist stand among `image_ids`, -1 if nowhere."""
        place = rows_of(self.search.gallery_images, image_ids)
        return np.append(place, -1)[shortlist.rows]


# A re-ranking step: from a graph to the same one with other similarities in its shortlists.
Reranker = Callable[[NeighbourGraph], NeighbourGraph]


def neighbour_graphs(
    embeddings: Embeddings, searches: Sequence[Search], rerank: Reranker | None = None
) -> tuple[NeighbourGraph, ...]:
    """Return the graph of each search, re-ranked if a step is given."""
    graphs = [NeighbourGraph(search, embeddings) for search in searches]
    return tuple(graphs if rerank is None else [rerank(graph) for graph in graphs])


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Yield slices of rows, each of which times the columns is 16 million numbers at most."""
    step = max(_BLOCK_SIZE // max(columns, 1), 1)
    for start in range(0, rows, step):
        yield slice(start, start + step)


def _joined(first: Shortlist, second: Shortlist, gallery_size: int) -> Shortlist:
    """Return both shortlists side by side, without the images of the second that the first has."""
    offset = gallery_size * np.arange(len(first.rows))[:, None]
    keys = (first.rows + offset)[first.rows >= 0]
    rows = np.where(np.isin(second.rows + offset, keys), -1, second.rows)
    return Shortlist(
        np.concatenate([first.rows, rows], axis=1),
        np.concatenate([first.similarity, second.similarity], axis=1),
    )


def _sorted(shortlist: Shortlist, gallery_ids: Strings, k: int) -> Shortlist:
    """Return the k most similar images of each query, best first; equals are ordered by id."""
    similarity = np.where(shortlist.rows < 0, -np.inf, shortlist.similarity).astype(np.float32)
    rows = np.where(np.isneginf(similarity), -1, shortlist.rows)
    place = np.empty(len(gallery_ids) + 1, dtype=np.int64)
    place[np.argsort(gallery_ids, kind="stable")] = np.arange(len(gallery_ids))
    place[-1] = len(gallery_ids)  # of row -1
    order = np.lexsort((place[rows], -similarity))[:, :k]
    return Shortlist(
        np.take_along_axis(rows, order, axis=1), np.take_along_axis(similarity, order, axis=1)
    )
