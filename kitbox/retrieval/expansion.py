"""Query expansion and its kin: re-ranking steps by the nearest neighbours of each image alone.

`QueryExpansion`, `DatabaseAugmentation` and `Subtraction` move vectors; what they leave are cosines
again, so that any other step can follow. `LocalScaling` and `ScoreNormalisation` raise or lower all
similarities of an image by one number.
"""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import scipy  # loads its parts when they are first used
from pydantic import Field

from kitbox.records import Embeddings, Floats, Integers, rows_of
from kitbox.retrieval import knn
from kitbox.retrieval.neighbour_graph import NeighbourGraph, SimilarityMap
from kitbox.retrieval.rerank_step import RerankStep, unit_rows


class QueryExpansion(RerankStep):
    """α-query expansion: each query moves towards its nearest gallery images.

    q becomes the unit vector of q + Σ max(0, cos)^α x over its `k` nearest gallery images x
    (Radenović, Tolias and Chum, 2018). With `alpha` 0 it is average query expansion (Chum et al.,
    2007), which lets far images count as much as near ones. The cosines of whitened vectors are
    small, so that α 3 hardly moves them: fit α anew after whitening, 1 is often right.
    """

    kind: ClassVar[str] = "query_expansion"
    keeps_cosines: ClassVar[bool] = True

    k: int = Field(default=2, ge=1)
    alpha: float = Field(default=3.0, ge=0)

    def apply(self, graph: NeighbourGraph) -> NeighbourGraph:
        """Return the graph of the moved queries in the same gallery."""
        return replace(graph, expanded=_moved_queries(graph, self.k, self.alpha, self.kind))


class DatabaseAugmentation(RerankStep):
    """Database-side augmentation: each image of both sides moves towards its gallery neighbours.

    As `QueryExpansion`, for gallery images too (Arandjelović and Zisserman, 2012; Gordo et al.,
    2017). An image is none of its own neighbours.
    """

    kind: ClassVar[str] = "dba"
    keeps_cosines: ClassVar[bool] = True

    k: int = Field(default=3, ge=1)
    alpha: float = Field(default=3.0, ge=0)

    def apply(self, graph: NeighbourGraph) -> NeighbourGraph:
        """Return the graph of the moved queries and the moved gallery."""
        query = _moved_queries(graph, self.k, self.alpha, self.kind)
        gallery = graph.gallery
        found = graph.within_gallery(self.k)
        moved = _moved(gallery, gallery, *found, self.alpha, self.kind)
        if graph.expanded is not None:
            return graph.moved(_with(graph.embeddings, moved), query)
        # a query that is in the gallery has moved in the same way on both sides
        return graph.moved(_with(_with(graph.embeddings, query), moved), None)


class Subtraction(RerankStep):
    """Negative embedding subtraction: each image moves away from the images most similar to it.

    x becomes the unit vector of x − β · mean of its `k` nearest others, `rounds` times. Others
    surely show none of the individuals that are searched for, so that what an image shares with
    them tells nobody apart (Yokoo, 2021, first of the Image Similarity Challenge).
    """

    kind: ClassVar[str] = "subtraction"
    keeps_cosines: ClassVar[bool] = True
    needs_others: ClassVar[bool] = True

    beta: float = Field(default=0.35, gt=0)
    k: int = Field(default=10, ge=1)
    rounds: int = Field(default=1, ge=1)

    def apply(self, graph: NeighbourGraph) -> NeighbourGraph:
        """Return the graph of the moved queries and the moved gallery."""
        assert graph.others is not None  # noqa: S101  checked before
        others = graph.embeddings.of(graph.others)
        embeddings, query = graph.embeddings, graph.query
        for image_ids in (graph.search.query_images, graph.search.gallery_images):
            embeddings = _with(embeddings, self._away(graph.embeddings.of(image_ids), others))
        return graph.moved(
            embeddings, None if graph.expanded is None else self._away(query, others)
        )

    def _away(self, moved: Embeddings, others: Embeddings) -> Embeddings:
        for _ in range(self.rounds):
            rows, _ = knn.nearest_rows(moved, others, min(self.k, len(others)))
            share = (rows >= 0).sum(axis=1, keepdims=True)
            weights = -self.beta * (rows >= 0) / np.maximum(share, 1)
            moved = _plus(moved, others, rows, weights.astype(np.float32), self.kind)
        return moved


class LocalScaling(RerankStep):
    """Local scaling: a gallery image that is near to everything counts for less.

    The similarity is cos − (r(q) + r(x)) / 2, where r is the mean cosine of an image to its `k`
    nearest gallery images without itself: half of CSLS (Conneau et al., 2018), on the scale of
    cosines. r is measured in the gallery on both sides, so that it does not depend on which
    queries are asked together.
    """

    kind: ClassVar[str] = "local_scaling"

    k: int = Field(default=10, ge=1)

    def apply(self, graph: NeighbourGraph) -> NeighbourGraph:
        """Return the graph with an offset for each query and each gallery image."""
        gallery = graph.gallery
        lowered = [_mean_cosine(side, gallery, self.k) for side in (graph.query, gallery)]
        of_query, of_gallery = (np.float32(-0.5) * mean for mean in lowered)
        return replace(graph, outside=SimilarityMap(of_query, of_gallery))


class ScoreNormalisation(RerankStep):
    """Score normalisation: a query that is near to everything has lower similarities.

    β times the mean similarity of a query to its `k` nearest others is subtracted from all its
    similarities. Others surely show none of the individuals that are searched for (Yokoo et al.,
    2023, Video Similarity Challenge). It changes no query's order, but which answers reach a
    threshold.
    """

    kind: ClassVar[str] = "score_normalisation"
    reads_cosines: ClassVar[bool] = False
    needs_others: ClassVar[bool] = True

    beta: float = Field(default=1.0, gt=0)
    k: int = Field(default=3, ge=1)

    def apply(self, graph: NeighbourGraph) -> NeighbourGraph:
        """Return the graph with all similarities of each query lowered by one number."""
        assert graph.others is not None  # noqa: S101  checked before
        nearest = _mean_cosine(graph.query, graph.embeddings.of(graph.others), self.k)
        # others are in no shortlist
        curve = replace(graph.outside, of_query=None, of_gallery=None)
        lower = np.float32(self.beta) * curve.curve(nearest)
        reranked = graph.reranked
        if reranked is not None:
            reranked = replace(reranked, similarity=reranked.similarity - lower[:, None])
        return replace(graph, reranked=reranked, outside=graph.outside.minus(lower))


def _moved_queries(graph: NeighbourGraph, k: int, alpha: float, kind: str) -> Embeddings:
    shortlist = graph.shortlist(k)
    return _moved(graph.query, graph.gallery, shortlist.rows, shortlist.similarity, alpha, kind)


def _moved(
    images: Embeddings, gallery: Embeddings, rows: Integers, cosine: Floats, alpha: float, kind: str
) -> Embeddings:
    """Return images moved towards gallery images `rows (n, k)` by powers of their cosines."""
    weights = np.where(rows >= 0, np.maximum(cosine, 0) ** np.float32(alpha), 0)
    return _plus(images, gallery, rows, weights.astype(np.float32), kind)


def _plus(
    images: Embeddings, gallery: Embeddings, rows: Integers, weights: Floats, kind: str
) -> Embeddings:
    """Return the unit vectors of images and their weighted gallery images `rows (n, k)`."""
    count, k = rows.shape
    indices = (np.maximum(rows, 0).ravel(), np.arange(0, count * k + 1, k))
    summed = (
        scipy.sparse.csr_array((weights.ravel(), *indices), shape=(count, len(gallery)))
        @ gallery.vectors
    )
    summed += images.vectors
    return unit_rows(images.image_ids, summed, kind)


def _with(embeddings: Embeddings, moved: Embeddings) -> Embeddings:
    """Return embeddings with the vectors of some images in place of theirs."""
    vectors = embeddings.vectors.copy()
    vectors[rows_of(moved.image_ids, embeddings.image_ids)] = moved.vectors
    return Embeddings(embeddings.image_ids, vectors)


def _mean_cosine(images: Embeddings, gallery: Embeddings, k: int) -> Floats:
    """Return the mean cosine (n,) of images to their k nearest gallery images but themselves.

    It is 0 for an image that has none.
    """
    _, cosine = knn.nearest_rows(images, gallery, min(k, len(gallery)))
    found = np.isfinite(cosine)
    total = np.where(found, cosine, 0).sum(axis=1, dtype=np.float64)
    mean: Floats = (total / np.maximum(found.sum(axis=1), 1)).astype(np.float32)
    return mean
