"""k-reciprocal encoding: images are alike whose mutual neighbours are the same."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import scipy  # loads its parts when they are first used
from pydantic import Field

from kitbox.records import Embeddings, Floats, Integers, rows_of
from kitbox.retrieval import knn
from kitbox.retrieval.neighbour_graph import NeighbourGraph
from kitbox.retrieval.rerank_step import RerankStep, add_gains, nodes_of

# Minima summed at a time: about 100 MB with their places.
_TERMS = 2_000_000


class KReciprocal(RerankStep):
    """k-reciprocal encoding (Zhong, Zheng, Cao and Li, 2017).

    The images of a search, queries and gallery, are each described by their reciprocal neighbours:
    R(i) are the images that have i among their `k1` nearest and are among those of i, i itself, and
    the R(j, k1 / 2) of each j in R(i) of which two thirds lie in R(i). V(i, j) = exp(cos − 1) on
    them, with the sum 1; then V(i) becomes the mean of those of i and its k2 − 1 nearest. With the
    Jaccard similarity J = Σ min / Σ max of two rows of V, the similarity is
    λ cos + (1 − λ) J: pairs without a common neighbour have J = 0 and never more.

    The paper's 20, 6 and .3 suit individuals of many photographs. With two or three photographs
    each, `k1` is best at two to three times as many: 8, 2 and .5. V is sparse; pairs are found
    through lists of the images that share a neighbour, so that memory does not grow with the
    square of the images.
    """

    kind: ClassVar[str] = "k_reciprocal"
    written_as: ClassVar[Mapping[str, str]] = {"share": "lambda"}

    k1: int = Field(default=8, ge=1)
    k2: int = Field(default=2, ge=1)
    share: float = Field(default=0.5, gt=0, le=1)

    def apply(self, graph: NeighbourGraph) -> NeighbourGraph:
        """Return the graph with new similarities of the pairs that share a reciprocal neighbour."""
        nodes = nodes_of(graph)
        encoded = encode(nodes, self.k1, self.k2)
        gallery = np.arange(len(graph.search.gallery_images))
        queries = encoded[rows_of(graph.search.query_images, nodes.image_ids)]
        blocks = _jaccard_blocks(queries, scipy.sparse.csc_array(encoded[gallery]))
        gains = ((rows, np.float32(1 - self.share) * block) for rows, block in blocks)
        return add_gains(graph, gains, self.share)


def encode(nodes: Embeddings, k1: int, k2: int) -> Any:
    """Return the rows V (n, n) of k-reciprocal encoding, sparse and each of sum 1."""
    count = len(nodes)
    nearest, _ = knn.nearest_rows(nodes, nodes, max(1, min(max(k1, k2 - 1), count - 1)))
    mutual, half = _mutual(nearest[:, :k1]), _mutual(nearest[:, : round(k1 / 2)])
    # of how many images of R(j, k1 / 2) lie in R(i), where j is in R(i)
    shared = (mutual @ half.T).multiply(mutual).tocsr()
    sizes = half.sum(axis=1)
    shared.data = (3 * shared.data >= 2 * sizes[shared.indices]).astype(np.int32)
    reciprocal = (mutual + shared @ half).tocsr()
    reciprocal.eliminate_zeros()
    reciprocal.sort_indices()
    encoded = scipy.sparse.csr_array(
        (_weights(nodes, reciprocal), reciprocal.indices, reciprocal.indptr), shape=(count, count)
    )
    encoded = scipy.sparse.diags_array(1 / encoded.sum(axis=1)) @ encoded
    if k2 > 1:
        near = _adjacency(nearest[:, : k2 - 1]) + scipy.sparse.eye_array(count, dtype=np.int32)
        encoded = scipy.sparse.diags_array(1 / near.sum(axis=1)) @ (near @ encoded)
    return encoded.tocsr()


def _adjacency(nearest: Integers) -> Any:
    """Return the matrix (n, n) that is 1 where `nearest (n, k)` has a row, -1 being none."""
    row, place = np.nonzero(nearest >= 0)
    ones = np.ones(len(row), dtype=np.int32)
    shape = (len(nearest), len(nearest))
    return scipy.sparse.csr_array((ones, (row, nearest[row, place])), shape=shape)


def _mutual(nearest: Integers) -> Any:
    """Return the matrix (n, n) that is 1 for mutual neighbours, and for an image and itself."""
    adjacent = _adjacency(nearest)
    return (
        adjacent.multiply(adjacent.T) + scipy.sparse.eye_array(len(nearest), dtype=np.int32)
    ).tocsr()


def _weights(nodes: Embeddings, reciprocal: Any) -> Floats:
    """Return exp(cos − 1) of each entry of a sparse matrix."""
    row = np.repeat(np.arange(len(nodes)), np.diff(reciprocal.indptr))
    cosine = np.empty(len(row), dtype=np.float64)
    for start in range(0, len(row), max(_TERMS // nodes.dim, 1)):
        part = slice(start, start + max(_TERMS // nodes.dim, 1))
        one, other = nodes.vectors[row[part]], nodes.vectors[reciprocal.indices[part]]
        cosine[part] = np.einsum("pd,pd->p", one, other)
    return np.exp(cosine - 1)


def _jaccard_blocks(queries: Any, gallery: Any) -> Iterator[tuple[slice, Floats]]:
    """Yield the Jaccard similarities (rows, g) of sparse rows of sum 1.

    `gallery` is stored by columns: the list of gallery images that share each neighbour.
    """
    length = np.diff(gallery.indptr)
    terms = np.add.reduceat(
        np.append(length[queries.indices], 0), queries.indptr[:-1]
    )  # every row of V has an entry
    count, images = queries.shape[0], gallery.shape[0]
    start = 0
    while start < count:
        most = max(_TERMS // max(images, 1), 1)
        total = np.cumsum(terms[start : start + most])
        stop = start + max(int(np.searchsorted(total, _TERMS, side="right")), 1)
        rows = slice(start, min(stop, count))
        part = queries[rows]
        begins, lengths = gallery.indptr[part.indices], length[part.indices]
        ends = np.cumsum(lengths)
        place = np.arange(ends[-1]) + np.repeat(begins - ends + lengths, lengths)
        least = np.minimum(np.repeat(part.data, lengths), gallery.data[place])
        row = np.repeat(np.arange(part.shape[0]), np.diff(part.indptr))
        keys = np.repeat(row * images, lengths) + gallery.indices[place]
        shared = np.bincount(keys, least, part.shape[0] * images).reshape(part.shape[0], images)
        yield rows, (shared / (2 - shared)).astype(np.float32)
        start = rows.stop
