"""Exact nearest neighbours: the gallery images most similar to each query."""

import time
from collections.abc import Sequence

import faiss
import numpy as np

from kitbox.errors import KitboxError
from kitbox.records import Embeddings, Floats, Integers, Neighbours, Strings

# Queries searched at a time: faiss's buffers stay below 100 MB for any gallery.
_ROWS = 4096
# Gallery numbers searched at a time: 256 MB of float32. A gallery on disk is never all in memory.
_GALLERY_BLOCK = 67_108_864
# faiss multiplies so many gallery rows at a time, on which the last bit of a product depends.
_FAISS_ROWS = 1024
# Products of fewer numbers take seconds on any processor.
_SECONDS_OF_WORK = 1e12
# Queries and gallery images by which a search is timed: a tenth of a second.
_TIMED_QUERIES, _TIMED_IMAGES = 256, 16 * _FAISS_ROWS
# Neighbours found at a time: 200 MB with their rows.
_PAIRS = 16_000_000


def nearest(query: Embeddings, gallery: Embeddings, k: int) -> Neighbours:
    """Return the k gallery images of highest cosine for each query, by `nearest_rows`.

    Rows with fewer than k neighbours end in '' and -inf.
    """
    rows, similarity = nearest_rows(query, gallery, k)
    # row -1 is the last one
    return Neighbours(query.image_ids, np.append(gallery.image_ids, "")[rows], similarity)


def nearest_rows(query: Embeddings, gallery: Embeddings, k: int) -> tuple[Integers, Floats]:
    """Return the gallery rows (q, k) of highest cosine, best first, and those cosines (q, k).

    Exact inner products by faiss, on a GPU where this faiss has one. A query never finds itself.
    Equal similarities are ordered by image id, so that the same embeddings give the same list in
    any gallery order. A query with fewer than k neighbours has row -1 and cosine -inf after them.

    Raises KitboxError for embeddings of different dimensions and for an empty gallery.
    """
    if query.dim != gallery.dim:
        raise KitboxError(f"queries have {query.dim} dimensions, the gallery {gallery.dim}")
    if not len(gallery):
        raise KitboxError("the gallery is empty")
    # rows in the order of ids: a stable sort by similarity then breaks ties by id
    order = np.argsort(gallery.image_ids, kind="stable")
    vectors = _OrderedRows(gallery.vectors, order)
    own = _places(query.image_ids, gallery.image_ids[order])
    nearest = np.full((len(query), k), -1, dtype=np.int64)
    similarity = np.full((len(query), k), -np.inf, dtype=np.float32)
    for start in range(0, len(query), _ROWS):
        rows = slice(start, start + _ROWS)
        found, places = _nearest_and_ties(query.vectors[rows], vectors, own[rows], k)
        by_id = np.argsort(places, axis=1, kind="stable")
        found, places = _along(found, by_id), _along(places, by_id)
        by_similarity = np.argsort(-found, axis=1, kind="stable")[:, :k]
        found, places = _along(found, by_similarity), _along(places, by_similarity)
        width = found.shape[1]
        similarity[rows, :width] = found
        nearest[rows, :width] = np.where(np.isneginf(found), -1, order[places])
    return nearest, similarity


def expected_seconds(query: Embeddings, gallery: Embeddings) -> float:
    """Return about how many seconds `nearest_rows` takes here, 0 where it can only be few.

    It is measured on some queries and images, once they have been read from disk.
    """
    if float(len(query)) * len(gallery) * gallery.dim < _SECONDS_OF_WORK:
        return 0.0
    some = np.ascontiguousarray(query.vectors[:_TIMED_QUERIES])
    part = np.ascontiguousarray(gallery.vectors[:_TIMED_IMAGES])
    began = time.perf_counter()
    _knn_of_block(some, part, min(20, len(part)))
    measured = time.perf_counter() - began
    return measured * (len(query) / len(some)) * (len(gallery) / len(part))


def _places(requested: Strings, ordered: Strings) -> Integers:
    """Return the row (n,) of each of the requested ids among ids in their order, -1 if it has none.

    It is what `rows_of` gives, which would sort millions of ids once more.
    """
    places = np.minimum(np.searchsorted(ordered, requested), len(ordered) - 1)
    return np.where(ordered[places] == requested, places, -1).astype(np.int64)


class _OrderedRows:
    """Vectors (g, d) in another order of rows, of which only a block is in memory at a time."""

    def __init__(self, vectors: Floats, order: Integers) -> None:
        self.vectors, self.order = vectors, order
        self.sorted = bool((order[1:] > order[:-1]).all())
        step = max(_GALLERY_BLOCK // vectors.shape[1] // _FAISS_ROWS, 1) * _FAISS_ROWS
        self.blocks = [slice(at, min(at + step, len(order))) for at in range(0, len(order), step)]
        if len(self.blocks) == 1:
            self.vectors, self.sorted = self[self.blocks[0]], True

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, rows: slice) -> Floats:
        part = self.vectors[rows] if self.sorted else self.vectors[self.order[rows]]
        return np.ascontiguousarray(part)


def best_columns(values: Floats, k: int) -> Integers:
    """Return the columns (q, k) of the largest values, best first; of equals the first."""
    if k == values.shape[1]:
        return np.argsort(-values, axis=1, kind="stable")
    least = np.partition(values, values.shape[1] - k, axis=1)[:, -k][:, None]
    chosen = values >= least
    tied = np.flatnonzero(chosen.sum(axis=1) > k)
    for row in tied:  # more than k reach the k-th value: keep the first of those that equal it
        equal = np.flatnonzero(values[row] == least[row])
        chosen[row, equal[k - (values[row] > least[row]).sum() :]] = False
    columns = np.nonzero(chosen)[1].reshape(len(values), k)
    order = np.argsort(-np.take_along_axis(values, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)


def _nearest_and_ties(
    query: Floats, gallery: _OrderedRows, own: Integers, k: int
) -> tuple[Floats, Integers]:
    """Return similarities and rows of at least the k nearest, and of all that tie with the k-th.

    faiss returns some of several equals, so all of them are searched for. A query's own row has
    similarity -inf.
    """
    width = k + 2  # itself, and one more to detect a tie
    while True:
        width = min(width, len(gallery))
        if len(query) > 1 and len(query) * width > _PAIRS:  # of many equals, all are looked at
            half = len(query) // 2
            parts = [
                _nearest_and_ties(query[rows], gallery, own[rows], k)
                for rows in (slice(None, half), slice(half, None))
            ]
            widest = max(found.shape[1] for found, _ in parts)
            return _padded([one for one, _ in parts], widest, -np.inf), _padded(
                [one for _, one in parts], widest, 0
            )
        found, places = _knn(query, gallery, width)
        found = np.where(places == own[:, None], -np.inf, found).astype(np.float32)
        if width == len(gallery):
            return found, places
        ranked = -np.sort(-found, axis=1)
        least = np.where(np.isfinite(ranked[:, -1]), ranked[:, -1], ranked[:, -2])
        if (least < ranked[:, k - 1]).all():
            return found, places
        width *= 2


def _padded(parts: Sequence[np.ndarray], width: int, value: float) -> np.ndarray:
    """Return arrays (q, w) one below the other, filled up to a width."""
    return np.concatenate(
        [
            np.pad(part, [(0, 0), (0, width - part.shape[1])], constant_values=value)
            for part in parts
        ]
    )


def _knn(query: Floats, gallery: _OrderedRows, k: int) -> tuple[Floats, Integers]:
    """Return inner products (q, k), best first, and gallery rows (q, k).

    The best of each block are merged: of equals those of an earlier block come first.
    """
    query = np.ascontiguousarray(query)
    parts: tuple[Floats, Integers] | None = None
    for rows in gallery.blocks:
        found, places = _knn_of_block(query, gallery[rows], min(k, rows.stop - rows.start))
        places += rows.start
        if parts is None:
            parts = found, places
            continue
        both = np.concatenate([parts[0], found], axis=1)
        best = np.argsort(-both, axis=1, kind="stable")[:, :k]
        parts = _along(both, best), _along(np.concatenate([parts[1], places], axis=1), best)
    assert parts is not None  # noqa: S101  a gallery has a row
    return parts


def _knn_of_block(query: Floats, gallery: Floats, k: int) -> tuple[Floats, Integers]:
    if hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus():
        return faiss.knn_gpu(
            faiss.StandardGpuResources(), query, gallery, k, metric=faiss.METRIC_INNER_PRODUCT
        )
    return faiss.knn(query, gallery, k, metric=faiss.METRIC_INNER_PRODUCT)


def _along(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    return np.take_along_axis(values, order, axis=1)
