"""Turns neighbours into answers: images, or distinct labels with a place for the unknown."""

import numpy as np

from kitbox.records import Embeddings, ImageSet, Neighbours, Ranking, strings
from kitbox.retrieval.search import nearest

# Neighbours looked at for five distinct labels; doubled for as long as a row has too few.
_FIRST_LOOK = 64


def images(neighbours: Neighbours) -> Ranking:
    """Return the neighbours themselves as answers."""
    return Ranking(neighbours.query_ids, neighbours.gallery_ids, neighbours.similarity)


def labels(
    query: Embeddings, gallery: Embeddings, known: ImageSet, k: int, unknown_label: str | None
) -> Ranking:
    """Return the k nearest distinct labels of each query, each at its best image's similarity.

    `known` gives the labels of gallery images; images labelled `unknown_label` or without a label
    answer nothing. Rows have fewer than k answers only where the gallery has fewer labels.
    """
    assert known.labels is not None  # noqa: S101  the caller's labelled images
    named = known.labels != (unknown_label or "")
    gallery = gallery.of(np.intersect1d(gallery.image_ids, known.image_ids[named]))
    order = np.argsort(known.image_ids)
    gallery_labels = known.labels[order][np.searchsorted(known.image_ids[order], gallery.image_ids)]
    wanted = min(k, len(np.unique(gallery_labels)))
    look = _FIRST_LOOK
    while True:
        look = min(look, len(gallery))
        neighbours = nearest(query, gallery, look)
        ranking = _distinct(
            neighbours, dict(zip(gallery.image_ids, gallery_labels, strict=True)), k
        )
        found = (ranking.answers != "").sum(axis=1)
        if look == len(gallery) or (found >= wanted).all():
            return ranking
        look *= 2


def with_unknown(ranking: Ranking, unknown_label: str, threshold: float) -> Ranking:
    """Return the ranking with `unknown_label` put before the first answer below `threshold`.

    Where all k answers reach the threshold, the unknown is not among them.
    """
    above = ranking.similarity >= threshold
    place = above.sum(axis=1)[:, None]
    column = np.arange(ranking.k)[None, :]
    source = np.where(column > place, column - 1, column)
    answers = np.take_along_axis(ranking.answers, source, axis=1)
    similarity = np.take_along_axis(ranking.similarity, source, axis=1)
    return Ranking(
        ranking.query_ids,
        np.where(column == place, unknown_label, answers),
        np.where(column == place, np.float32(threshold), similarity).astype(np.float32),
    )


def _distinct(neighbours: Neighbours, label_of: dict[str, str], k: int) -> Ranking:
    """Keep the first neighbour of each label, and of those the first k."""
    queries, look = neighbours.gallery_ids.shape
    names, codes = np.unique(
        strings([label_of.get(str(name), "") for name in neighbours.gallery_ids.ravel()]),
        return_inverse=True,
    )
    # The first place of each (query, label): np.unique returns first occurrences.
    keys = np.repeat(np.arange(queries), look) * len(names) + codes.ravel()
    _, places = np.unique(keys, return_index=True)
    first = np.zeros(queries * look, dtype=np.bool_)
    first[places] = True
    first &= (names != "")[codes.ravel()]
    first = first.reshape(queries, look)
    rank = np.cumsum(first, axis=1) - 1
    rows, columns = np.nonzero(first & (rank < k))
    answers = np.full((queries, k), "", dtype=names.dtype)
    similarity = np.full((queries, k), -np.inf, dtype=np.float32)
    target = rank[rows, columns]
    answers[rows, target] = names[codes.reshape(queries, look)[rows, columns]]
    similarity[rows, target] = neighbours.similarity[rows, columns]
    return Ranking(neighbours.query_ids, answers, similarity)
