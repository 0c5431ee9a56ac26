"""Diffusion: similarity that spreads over the mutual nearest neighbours of a gallery."""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from pydantic import Field
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import LinearOperator, cg

from kitbox.errors import KitboxError
from kitbox.records import Embeddings
from kitbox.retrieval import knn
from kitbox.retrieval.neighbour_graph import Block, NeighbourGraph, Shortlist
from kitbox.retrieval.rerank_step import RerankStep, add_gains

# Unknowns solved for at a time; conjugate gradients hold five arrays of them, of float64.
_UNKNOWNS = 2_000_000
# The length of a residual at which conjugate gradients stop; no similarity is wrong by more.
_RESIDUAL = 1e-6


class Diffusion(RerankStep):
    """Diffusion on the mutual nearest neighbours of the gallery (Iscen et al., 2017).

    A(x, z) = max(0, cos)^γ for gallery images that are among the `k` nearest of each other, else 0;
    S = D^-½ A D^-½ with the sums D of its rows. A query's similarities y = max(0, cos)^γ to its `k`
    nearest gallery images spread to f = (1 − α) (I − α S)⁻¹ y, found by conjugate gradients for
    many queries together. The similarity is (1 − weight) cos + weight · f.

    f lies on the scale of y, so that queries can be compared. A query that is in its own gallery
    is no neighbour of itself.
    """

    kind: ClassVar[str] = "diffusion"

    k: int = Field(default=10, ge=1)
    alpha: float = Field(default=0.9, ge=0, lt=1)
    gamma: float = Field(default=3.0, gt=0)
    weight: float = Field(default=0.5, gt=0, lt=1)

    def apply(self, graph: NeighbourGraph) -> NeighbourGraph:
        """Return the graph with new similarities of the images that a query's similarity reaches.

        Raises KitboxError where conjugate gradients do not converge.
        """
        begun = graph.shortlist(self.k)
        spread = _spread_blocks(begun, _normalised(graph.gallery, self.k, self.gamma), self)
        weight = np.float32(self.weight)
        return add_gains(graph, ((rows, weight * f) for rows, f in spread), 1 - self.weight)


def _normalised(gallery: Embeddings, k: int, gamma: float) -> Any:
    """Return S (g, g), sparse; rows of images without a mutual neighbour are 0."""
    nearest, cosine = knn.nearest_rows(gallery, gallery, min(k, max(len(gallery) - 1, 1)))
    row, place = np.nonzero(nearest >= 0)
    column, values = nearest[row, place], np.maximum(cosine[row, place], 0).astype(np.float64)
    shape = (len(gallery), len(gallery))
    adjacent = csr_array((values**gamma, (row, column)), shape=shape)
    # of one pair both cosines are the same but for rounding
    mutual = adjacent.minimum(adjacent.T).tocsr()
    mutual.eliminate_zeros()
    degree = mutual.sum(axis=1)
    scale = diags_array(1 / np.sqrt(np.where(degree > 0, degree, 1)))
    return (scale @ mutual @ scale).tocsr()


def _spread_blocks(begun: Shortlist, normalised: Any, step: Diffusion) -> Iterator[Block]:
    """Yield f (rows, g) of some queries at a time, by their nearest gallery images."""
    images, alpha = normalised.shape[0], step.alpha
    size = max(_UNKNOWNS // max(images, 1), 1)
    for start in range(0, len(begun.rows), size):
        nearest = begun.rows[start : start + size]
        queries = len(nearest)
        row, place = np.nonzero(nearest >= 0)
        y = np.zeros((images, queries))
        cosine = begun.similarity[start : start + size][row, place].astype(np.float64)
        y[nearest[row, place], row] = np.maximum(cosine, 0) ** step.gamma

        def left(f: Any, queries: int = queries) -> Any:
            whole = f.reshape(images, queries)
            return (whole - alpha * (normalised @ whole)).ravel()

        system = LinearOperator((y.size, y.size), matvec=left, dtype=np.float64)
        # of (1 - α) f no number is wrong by more than the residual of the system
        f, failed = cg(system, (1 - alpha) * y.ravel(), rtol=0, atol=(1 - alpha) * _RESIDUAL)
        if failed:
            raise KitboxError(
                f"diffusion with alpha {alpha:g} does not converge", fix="choose a smaller alpha"
            )
        found = np.maximum(f.reshape(images, queries).T, 0)
        # what is less than the residual is rounding
        yield (
            slice(start, start + queries),
            np.where(found > _RESIDUAL, found, 0).astype(np.float32),
        )
