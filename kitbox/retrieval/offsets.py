"""Re-ranking steps that raise or lower all similarities of an image by one number."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
from pydantic import Field

from kitbox.records import Embeddings, Floats
from kitbox.retrieval import knn
from kitbox.retrieval.neighbour_graph import NeighbourGraph, SimilarityMap
from kitbox.retrieval.rerank_step import RerankStep


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


def _mean_cosine(images: Embeddings, gallery: Embeddings, k: int) -> Floats:
    """Return the mean cosine (n,) of images to their k nearest gallery images but themselves.

    It is 0 for an image that has none.
    """
    _, cosine = knn.nearest_rows(images, gallery, min(k, len(gallery)))
    found = np.isfinite(cosine)
    total = np.where(found, cosine, 0).sum(axis=1, dtype=np.float64)
    mean: Floats = (total / np.maximum(found.sum(axis=1), 1)).astype(np.float32)
    return mean
