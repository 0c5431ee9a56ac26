"""Turns similarities into answers: images, distinct labels, matches, and the unknown."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kitbox.errors import KitboxError
from kitbox.records import Embeddings, Floats, Integers, Ranking, Strings, rows_of
from kitbox.retrieval.knn import nearest

Similarity = Literal["best", "mean", "sum", "centre", "closeness"]
# The labels (l,) that are told of, and block by block of the queries its rows and similarities
# (rows, l); -inf where a label has no image but the query itself.
LabelSimilarities = tuple[Strings, Iterator[tuple[slice, Floats]]]

# Similarities held at a time: 64 MB of float32.
_HELD = 16_000_000
# Of the images of a label, this share lies outside its centre: the farthest, and at most these.
_TRIMMED = 0.25


def images(query: Embeddings, gallery: Embeddings, k: int) -> Ranking:
    """Return the k most similar gallery images of each query."""
    found = nearest(query, gallery, k)
    return Ranking(found.query_ids, found.gallery_ids, found.similarity)


def labels(
    query: Embeddings,
    gallery: Embeddings,
    gallery_labels: Strings,
    k: int,
    similarity: Similarity = "best",
    images: int = 1,
) -> Ranking:
    """Return the k most similar labels of each query, by `similarities`."""
    return top_labels(
        query.image_ids, similarities(query, gallery, gallery_labels, similarity, images), k
    )


def similarities(
    query: Embeddings,
    gallery: Embeddings,
    gallery_labels: Strings,
    similarity: Similarity = "best",
    images: int = 1,
) -> LabelSimilarities:
    """Return how similar each query is to each label; `gallery_labels (g,)` name the gallery.

    A label is as similar as its "best" image, as the "mean" or the "sum" of its best `images`
    images (of all, where it has fewer), or as its "centre": the mean of its images without the
    farthest quarter. "closeness" is `closeness` of the mean distance to all its images. A query
    that is in the gallery does not count for its own label. The maximum is what the happywhale
    winner took, the centre what several humpback winners did.
    """
    if query.dim != gallery.dim:
        raise KitboxError(f"queries have {query.dim} dimensions, the gallery {gallery.dim}")
    by_label = np.lexsort((gallery.image_ids, gallery_labels))
    names, starts = np.unique(gallery_labels[by_label], return_index=True)
    vectors = gallery.vectors[by_label]
    own = rows_of(query.image_ids, gallery.image_ids[by_label])
    centres = _centres(vectors, starts) if similarity == "centre" else None
    step = max(_HELD // max(len(vectors), 1), 1)

    def blocks() -> Iterator[tuple[slice, Floats]]:
        for start in range(0, len(query) if len(names) else 0, step):
            rows = slice(start, start + step)
            asked = (query.vectors[rows], own[rows], vectors, starts)
            if centres is None:
                yield rows, _to_images(*asked, images, similarity)
            else:
                yield rows, _to_centres(*asked, centres)

    return names, blocks()


def top_labels(query_ids: Strings, told: LabelSimilarities, k: int) -> Ranking:
    """Return the k labels of highest similarity of each query; of equals the first by name.

    Rows have fewer than k answers only where there are fewer labels.
    """
    names, blocks = told
    width = min(k, len(names))
    answers = np.full((len(query_ids), k), "", dtype=names.dtype)
    found = np.full((len(query_ids), k), -np.inf, dtype=np.float32)
    for rows, of_label in blocks:
        best = best_columns(of_label, width)
        found[rows, :width] = np.take_along_axis(of_label, best, axis=1)
        answers[rows, :width] = np.where(np.isneginf(found[rows, :width]), "", names[best])
    return Ranking(query_ids, answers, found)


def closeness(distance: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return 1 / (1 + log(1 + log(1 + d))) of Euclidean distances: 1 at 0, .574 at 2, falling.

    The tenth of Kaggle's humpback whales (Sanakoyeu, Pleskov and Shakhray, 2019) found that it
    makes distances of several networks fit to be averaged, better than softmax and 1 / (1 + d).
    """
    return np.asarray(1 / (1 + np.log1p(np.log1p(distance))))


def best_columns(values: Floats, k: int) -> Integers:
    """Return the columns (q, k) of the largest values, best first; of equals the first."""
    if k == values.shape[1]:
        return np.argsort(-values, axis=1, kind="stable")
    least = np.partition(values, values.shape[1] - k, axis=1)[:, -k][:, None]
    chosen = values >= least
    tied = np.flatnonzero(chosen.sum(axis=1) > k)
    for row in tied:  # more than k reach the k-th value: the first of those that equal it stay
        equal = np.flatnonzero(values[row] == least[row])
        chosen[row, equal[k - (values[row] > least[row]).sum() :]] = False
    columns = np.nonzero(chosen)[1].reshape(len(values), k)
    order = np.argsort(-np.take_along_axis(values, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)


def insert_unknown(
    ranking: Ranking, unknown_label: str, threshold: float | NDArray[np.float64]
) -> Ranking:
    """Return the ranking with `unknown_label` put before the first answer below `threshold`.

    One threshold, or one for each query. Where all k answers reach it, the unknown is not among
    them.
    """
    limit = np.broadcast_to(np.asarray(threshold, dtype=np.float64), len(ranking.query_ids))
    place = (ranking.similarity >= limit[:, None]).sum(axis=1)[:, None]
    column = np.arange(ranking.k)[None, :]
    source = np.where(column > place, column - 1, column)
    answers = np.take_along_axis(ranking.answers, source, axis=1)
    similarity = np.take_along_axis(ranking.similarity, source, axis=1)
    return Ranking(
        ranking.query_ids,
        np.where(column == place, unknown_label, answers),
        np.where(column == place, limit[:, None], similarity).astype(np.float32),
    )


def drop_below(ranking: Ranking, threshold: float | NDArray[np.float64], least: int) -> Ranking:
    """Return the answers that reach the threshold, but always the first `least`.

    Rows end in '' and -inf after their last answer.
    """
    limit = np.broadcast_to(np.asarray(threshold, dtype=np.float64), len(ranking.query_ids))
    kept = (ranking.similarity >= limit[:, None]) | (np.arange(ranking.k) < least)
    kept &= ranking.answers != ""
    return Ranking(
        ranking.query_ids,
        np.where(kept, ranking.answers, ""),
        np.where(kept, ranking.similarity, -np.inf).astype(np.float32),
    )


def prepend_itself(ranking: Ranking, images: Strings) -> Ranking:
    """Return the ranking with each query's own image first, and the last answer left out.

    `images (q,)` are the queries' image ids, which are not always how queries are called.
    """
    others, similarity = ranking.answers[:, :-1], ranking.similarity[:, :-1]
    itself = np.ones((len(images), 1), dtype=np.float32)
    return Ranking(
        ranking.query_ids,
        np.concatenate([images[:, None], others], axis=1),
        np.concatenate([itself, np.minimum(similarity, 1)], axis=1),
    )


def _to_images(
    queries: Floats,
    own: Integers,
    vectors: Floats,
    starts: Integers,
    images: int,
    similarity: Similarity,
) -> Floats:
    """Return the similarity (q, labels) to the best images of each label; -inf for none.

    `starts` is where each label begins in `vectors`, `own (q,)` the row of the query itself or -1.
    """
    each = queries @ vectors.T
    hidden = np.flatnonzero(own >= 0)
    each[hidden, own[hidden]] = -np.inf
    if similarity == "best":
        found: Floats = np.maximum.reduceat(each, starts, axis=1)
        return found
    if similarity == "closeness":
        return _of_all(each, starts)
    return _of_several(each, starts, images, mean=similarity == "mean")


def _of_several(each: Floats, starts: Integers, images: int, *, mean: bool) -> Floats:
    """Return the sum or mean (q, labels) of the best `images` similarities of each label."""
    sizes = np.diff(starts, append=each.shape[1])
    found = np.empty((len(each), len(starts)), dtype=np.float32)
    for size in np.unique(sizes).tolist():  # labels of one size stand in one block
        alike = np.flatnonzero(sizes == size)
        best = each[:, starts[alike][:, None] + np.arange(size)]
        if size > images:
            best = np.partition(best, size - images, axis=2)[:, :, -images:]
        there = best > -np.inf
        count = there.sum(axis=2)
        # in float64 the order of the terms does not show, so that equals stay equal
        total = np.where(there, best, 0).sum(axis=2, dtype=np.float64)
        total /= np.maximum(count, 1) if mean else 1
        found[:, alike] = np.where(count > 0, total, -np.inf)
    return found


def _of_all(each: Floats, starts: Integers) -> Floats:
    """Return the closeness (q, labels) by the mean distance to all images of each label."""
    there = each > -np.inf
    count = np.add.reduceat(there, starts, axis=1, dtype=np.int64)
    # of unit rows d² = 2 − 2 cos, right to 3e-4 even between copies; the query itself adds nothing
    distance = np.sqrt(np.maximum(2 - 2 * np.where(there, each, 1), 0))
    total = np.add.reduceat(distance, starts, axis=1, dtype=np.float64)
    found = closeness(total / np.maximum(count, 1))
    return np.where(count > 0, found, -np.inf).astype(np.float32)


def _to_centres(
    queries: Floats, own: Integers, vectors: Floats, starts: Integers, centres: Floats
) -> Floats:
    """Return the similarity (q, labels) to each label's centre, a query's own without itself."""
    found: Floats = queries @ centres.T
    for row in np.flatnonzero(own >= 0):
        label = int(np.searchsorted(starts, own[row], side="right")) - 1
        of_label = np.arange(*np.append(starts, len(vectors))[label : label + 2])
        others = vectors[of_label[of_label != own[row]]]
        centre = _centres(others, np.zeros(min(len(others), 1), dtype=np.int64))
        found[row, label] = queries[row] @ centre[0] if len(others) else -np.inf
    return found


def _centres(vectors: Floats, starts: Integers) -> Floats:
    """Return the unit centre of each label: the mean of its rows without the farthest quarter."""
    sizes = np.diff(starts, append=len(vectors))
    label_of = np.repeat(np.arange(len(starts)), sizes)
    means = _unit(np.add.reduceat(vectors, starts, axis=0))
    near = np.einsum("nd,nd->n", vectors, means[label_of])
    by_label = np.lexsort((-near, label_of))
    place = np.arange(len(vectors)) - np.repeat(starts, sizes)
    kept = np.zeros(len(vectors), dtype=np.bool_)
    kept[by_label] = place < np.repeat(sizes - np.floor(_TRIMMED * sizes).astype(int), sizes)
    return _unit(np.add.reduceat(np.where(kept[:, None], vectors, 0), starts, axis=0))


def _unit(rows: Floats) -> Floats:
    unit: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit
