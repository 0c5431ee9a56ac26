"""The base class of re-ranking steps, and what several steps share."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from kitbox.errors import KitboxError, more
from kitbox.method import Method
from kitbox.records import Embeddings, Floats, Strings, rows_of, strings
from kitbox.retrieval.knn import best_columns
from kitbox.retrieval.neighbour_graph import Block, NeighbourGraph, Shortlist, SimilarityMap

# Pairs held: 100 MB with their rows.
_PAIRS = 8_000_000
# Gallery images of a query that are kept however many queries there are.
_FEWEST = 100
# A pair's cosine by its two vectors takes as long as this many by a product of matrices.
_DENSE = 32


class RerankStep(Method):
    """A re-ranking step: from a graph to one whose queries and gallery are related otherwise.

    Its text, "dba:k=3,alpha=3", has every setting. A step `reads_cosines` unless it works on any
    similarities; `keeps_cosines` if it moves vectors and leaves similarities what
    cosines of vectors are; `needs_others` if it compares with images that surely show none of the
    individuals that are searched for.
    """

    noun: ClassVar[str] = "re-ranking step"
    reads_cosines: ClassVar[bool] = True
    keeps_cosines: ClassVar[bool] = False
    needs_others: ClassVar[bool] = False

    def __call__(self, graph: NeighbourGraph) -> NeighbourGraph:
        """Return the re-ranked graph; one without gallery or queries stays as it is.

        Raises KitboxError for a graph whose cosines an earlier step has replaced, and where the
        step needs others and the graph has none.
        """
        if self.reads_cosines and not graph.plain:
            raise KitboxError(
                f"the re-ranking step {self.kind} reads cosines, which an earlier step has "
                f"replaced; name {self.kind} before it"
            )
        if self.needs_others and (graph.others is None or not len(graph.others)):
            raise KitboxError(
                f"the re-ranking step {self.kind} needs images that surely show nobody who is "
                "searched for, and there are none; leave it out"
            )
        if not (len(graph.search.gallery_images) and len(graph.search.query_images)):
            return graph
        return self.apply(graph)

    @abstractmethod
    def apply(self, graph: NeighbourGraph) -> NeighbourGraph:
        """Return the re-ranked graph of a graph with queries and a gallery."""


def unit_rows(image_ids: Strings, rows: Floats, kind: str) -> Embeddings:
    """Return rows (n, d) as embeddings of unit length; the rows are changed.

    Raises KitboxError for an image whose row is zero, as a sum of opposite vectors is.
    """
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    bad = np.flatnonzero(~(lengths > 1e-6))
    if len(bad):
        raise KitboxError(
            f"{kind} leaves nothing of the embedding of image '{image_ids[bad[0]]}'"
            f"{more(len(bad) - 1)}",
            fix="choose another alpha, beta or k",
        )
    rows /= lengths[:, None]
    return Embeddings(image_ids, rows)


def nodes_of(graph: NeighbourGraph) -> Embeddings:
    """Return the images of a search, each once: the gallery, then queries that are not in it.

    An image that is query and gallery image has its vector as a query where a step has moved that.
    """
    gallery_ids = graph.search.gallery_images
    _, first = np.unique(graph.search.query_images, return_index=True)
    new = np.sort(first[~np.isin(graph.search.query_images[first], gallery_ids)])
    ids = strings(np.concatenate([gallery_ids, graph.search.query_images[new]]))
    if graph.expanded is None:
        return graph.embeddings.of(ids)
    query, vectors = graph.expanded, graph.gallery.vectors.copy()
    own = np.isin(query.image_ids, gallery_ids)
    if own.any():
        place = {name: row for row, name in enumerate(gallery_ids.tolist())}
        rows = [place[name] for name in query.image_ids[own].tolist()]
        vectors[rows] = query.vectors[own]
    return Embeddings(ids, np.concatenate([vectors, query.vectors[new]]))


def add_gains(graph: NeighbourGraph, gains: Iterator[Block], share: float) -> NeighbourGraph:
    """Return the graph of similarities share · cos + gain.

    `gains` yields rows of queries and what is added (rows, g) to each gallery image, 0 or more.
    Pairs with a gain make the shortlist; all others have share · cos. Of a query with more of them
    than the memory for all allows (8 million pairs, at least 100 a query) the most similar ones
    are kept, so that the nearest stay exact.
    """
    queries, gallery = graph.query.vectors, graph.gallery.vectors
    most = max(_PAIRS // max(len(queries), 1), _FEWEST)
    own = rows_of(graph.search.query_images, graph.search.gallery_images)
    parts = []
    for rows, gain in gains:
        gained = gain > 0
        itself = np.flatnonzero(own[rows] >= 0)
        gained[itself, own[rows][itself]] = False
        counts = gained.sum(axis=1)
        width = int(min(counts.max(initial=0), most, gain.shape[1]))
        cosine = _cosines(queries[rows], gallery, gained)
        values = np.where(gained, np.float32(share) * cosine + gain, -np.inf)
        columns = best_columns(values, width) if width else np.empty((len(gain), 0), np.int64)
        similarity = np.take_along_axis(values, columns, axis=1)
        columns = np.where(np.isneginf(similarity), -1, columns).astype(np.int32)
        parts.append((columns, similarity.astype(np.float32)))
    width = max((columns.shape[1] for columns, _ in parts), default=0)
    found = np.full((len(queries), width), -1, dtype=np.int64)
    similarity = np.full((len(queries), width), -np.inf, dtype=np.float32)
    start = 0
    while parts:
        columns, values = parts.pop(0)
        place = (slice(start, start + len(columns)), slice(columns.shape[1]))
        found[place], similarity[place] = columns, values
        start += len(columns)
    return graph.rerank(Shortlist(found, similarity), SimilarityMap.linear(share))


def _cosines(queries: Floats, gallery: Floats, wanted: np.ndarray) -> Floats:
    """Return cosines (q, g) where they are wanted, and 0 or cosines elsewhere."""
    row, column = np.nonzero(wanted)
    if len(row) * _DENSE > wanted.size:
        return queries @ gallery.T
    found = np.zeros(wanted.shape, dtype=np.float32)
    step = max(_PAIRS // max(queries.shape[1], 1), 1)
    for start in range(0, len(row), step):
        ones, others = row[start : start + step], column[start : start + step]
        found[ones, others] = np.einsum("pd,pd->p", queries[ones], gallery[others])
    return found
