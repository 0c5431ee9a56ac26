"""Diffusion: similarity that spreads over the mutual nearest neighbours of a gallery."""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import scipy  # loads its parts when they are first used
from pydantic import Field

from kitbox.errors import KitboxError
from kitbox.records import Embeddings
from kitbox.retrieval import knn
from kitbox.retrieval.neighbour_graph import Block, NeighbourGraph, Shortlist
from kitbox.retrieval.rerank_step import RerankStep, add_gains

# Unknowns solved for together, and pairs of queries and gallery images held: some 100 MB.
_UNKNOWNS = 500_000
_HELD = 4_000_000
# The length of an error at which conjugate gradients stop; no similarity is wrong by more.
_ERROR = 1e-6


class Diffusion(RerankStep):
    """Diffusion on the mutual nearest neighbours of the gallery (Iscen et al., 2017).

    A(x, z) = max(0, cos)^γ for gallery images that are among the `k` nearest of each other, else 0;
    S = D^-½ A D^-½ with the sums D of its rows. A query's similarities y = max(0, cos)^γ to its `k`
    nearest gallery images spread to f = (1 − α) (I − α S)⁻¹ y among its `size` nearest. The
    similarity is (1 − weight) cos + weight · f; f is 0 beyond those.

    f lies on the scale of y, so that queries can be compared. A query that is in its own gallery
    is no neighbour of itself. The systems of many queries are solved together by conjugate
    gradients.
    """

    kind: ClassVar[str] = "diffusion"

    k: int = Field(default=10, ge=1)
    alpha: float = Field(default=0.9, ge=0, lt=1)
    gamma: float = Field(default=3.0, gt=0)
    size: int = Field(default=500, ge=1)
    weight: float = Field(default=0.5, gt=0, lt=1)

    def apply(self, graph: NeighbourGraph) -> NeighbourGraph:
        """Return the graph with new similarities of the images that a query's similarity reaches.

        Raises KitboxError where conjugate gradients do not converge.
        """
        images = len(graph.search.gallery_images)
        near = graph.shortlist(min(max(self.size, self.k), images))
        spread = _spread_blocks(near, _normalised(graph.gallery, self.k, self.gamma), self)
        weight = np.float32(self.weight)
        return add_gains(graph, ((rows, weight * f) for rows, f in spread), 1 - self.weight)


def _normalised(gallery: Embeddings, k: int, gamma: float) -> Any:
    """Return S (g, g), sparse; rows of images without a mutual neighbour are 0."""
    nearest, cosine = knn.nearest_rows(gallery, gallery, min(k, max(len(gallery) - 1, 1)))
    row, place = np.nonzero(nearest >= 0)
    column, values = nearest[row, place], np.maximum(cosine[row, place], 0).astype(np.float64)
    shape = (len(gallery), len(gallery))
    adjacent = scipy.sparse.csr_array((values**gamma, (row, column)), shape=shape)
    # of one pair both cosines are the same but for rounding
    mutual = adjacent.minimum(adjacent.T).tocsr()
    mutual.eliminate_zeros()
    degree = mutual.sum(axis=1)
    scale = scipy.sparse.diags_array(1 / np.sqrt(np.where(degree > 0, degree, 1)))
    return (scale @ mutual @ scale).tocsr()


def _spread_blocks(near: Shortlist, normalised: Any, step: Diffusion) -> Iterator[Block]:
    """Yield f (rows, g) of some queries at a time, by their nearest gallery images, best first."""
    images, width = normalised.shape[0], near.rows.shape[1]
    count = max(min(_UNKNOWNS // width, _HELD // images), 1)
    for start in range(0, len(near.rows), count):
        rows = slice(start, min(start + count, len(near.rows)))
        found = np.zeros((rows.stop - start, images), dtype=np.float32)
        query, place = np.nonzero(near.rows[rows] >= 0)
        image = near.rows[rows][query, place]
        similarity = near.similarity[rows][query, place].astype(np.float64)
        begun = np.where(place < step.k, np.maximum(similarity, 0) ** step.gamma, 0)
        system = _own_systems(query, image, normalised, found.shape)
        found[query, image] = _solved(system, begun, step.alpha)
        yield rows, found


def _own_systems(query: Any, image: Any, normalised: Any, shape: tuple[int, int]) -> Any:
    """Return S among the images of each query: one block for each on the diagonal.

    `query (n,)` and `image (n,)` are the unknowns of all systems.
    """
    unknowns = len(query)
    unknown_of = np.full(shape, -1, dtype=np.int32)
    unknown_of[query, image] = np.arange(unknowns)
    lengths = np.diff(normalised.indptr)[image]
    ends = np.cumsum(lengths)
    entry = np.arange(lengths.sum()) + np.repeat(normalised.indptr[image] - ends + lengths, lengths)
    other = unknown_of[np.repeat(query, lengths), normalised.indices[entry]]
    one, kept = np.repeat(np.arange(unknowns), lengths), other >= 0
    values = normalised.data[entry[kept]]
    return scipy.sparse.csr_array((values, (one[kept], other[kept])), shape=(unknowns, unknowns))


def _solved(system: Any, begun: Any, alpha: float) -> Any:
    """Return f of (I − α S) f = (1 − α) y, without what is less than rounding."""
    left = (scipy.sparse.eye_array(system.shape[0]) - alpha * system).tocsr()
    # the error of f is the residual divided by 1 - α at most
    f, failed = scipy.sparse.linalg.cg(left, (1 - alpha) * begun, rtol=0, atol=(1 - alpha) * _ERROR)
    if failed:
        raise KitboxError(
            f"diffusion with alpha {alpha:g} does not converge", fix="choose a smaller alpha"
        )
    return np.where(f > _ERROR, f, 0)
