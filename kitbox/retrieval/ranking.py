"""Rankings: the best images or labels of every query of a competition's searches."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError, more
from kitbox.records import (
    LabelledImages,
    Ranking,
    Search,
    Strings,
    rows_of,
)
from kitbox.retrieval import label_similarity
from kitbox.retrieval.label_similarity import LabelSimilarities
from kitbox.retrieval.neighbour_graph import NeighbourGraph

# Group (or scenario) → the similarity below which an answer is cut; '' for all groups.
Thresholds = Mapping[str, float]


def rank(
    graphs: Sequence[NeighbourGraph],
    labelled: LabelledImages,
    competition: Competition,
    k: int | None = None,
) -> Ranking:
    """Return the k best answers of each query, by default as many as the competition takes.

    Answers are images of the galleries, or labels of `labelled` images that are in them; images
    of the unknown label or of none answer nothing. They are not yet cut at a threshold. Rows with
    fewer than k answers end in '' and -inf. Raises KitboxError where images are asked for and
    there are none to find.
    """
    task = competition.task
    width = k or task.k
    if task.answers in ("labels", "label"):
        measured = (measure_labels(graph, labelled, competition) for graph in graphs)
        return rank_labels(measured, width)
    ranking = rank_images(graphs, width)
    if not task.with_itself:
        return ranking
    own_images = np.concatenate([graph.search.query_images for graph in graphs])
    return prepend_itself(ranking, own_images)


def rank_images(graphs: Sequence[NeighbourGraph], k: int) -> Ranking:
    """Return the k most similar images of each query.

    A search without gallery finds nothing; raises KitboxError where none has one.
    """
    if not any(len(graph.search.gallery_images) for graph in graphs):
        raise KitboxError("the gallery is empty")
    parts = []
    for graph in graphs:
        found = graph.nearest(k)
        parts.append(Ranking(graph.search.query_ids, found.gallery_ids, found.similarity))
    return _concatenated(parts)


def rank_labels(measured: Iterable[LabelSimilarities], k: int) -> Ranking:
    """Return the k most similar labels of each query; of equals the first by name.

    Rows have fewer than k answers only where a search has fewer labels.
    """
    return _concatenated([_best_labels(each, k) for each in measured])


def measure_labels(
    graph: NeighbourGraph, labelled: LabelledImages, competition: Competition
) -> LabelSimilarities:
    """Return how similar queries are to known individuals, measured as the task says."""
    known, task = known_images(graph.search, labelled, competition), competition.task
    return label_similarity.measure(graph, known, task.label_similarity, task.label_images)


def known_images(
    search: Search, labelled: LabelledImages, competition: Competition
) -> LabelledImages:
    """Return the images of known individuals in a search's gallery."""
    unnamed = ["", competition.images.unknown_label or ""]
    named = labelled.take(~np.isin(labelled.labels, unnamed))
    return named.take(rows_of(named.image_ids, search.gallery_images) >= 0)


def apply_thresholds(
    ranking: Ranking, limits: NDArray[np.float64], competition: Competition
) -> Ranking:
    """Return the ranking cut at the threshold of each query, `limits (q,)`.

    Below it the unknown label takes the place of labels, and matches end.
    """
    if not competition.uses_threshold:
        return ranking
    task, unknown = competition.task, competition.images.unknown_label
    if task.answers == "matches":
        return drop_below(ranking, limits, task.min_answers)
    assert unknown is not None  # noqa: S101  a competition that decides labels has one
    return insert_unknown(ranking, unknown, limits)


def query_thresholds(thresholds: Thresholds, groups: Strings) -> NDArray[np.float64]:
    """Return the threshold of each query (n,) by its group.

    A group without one, which the holdout does not have, takes that of all groups, else the
    median of the others. Raises KitboxError where there is no threshold at all.
    """
    if not thresholds:
        raise KitboxError("there is no threshold; set threshold.rule in kitbox.toml")
    middle = float(np.median(list(thresholds.values())))
    unique, codes = np.unique(groups, return_inverse=True)
    limits = [thresholds.get(str(group), thresholds.get("", middle)) for group in unique]
    return np.array(limits, dtype=np.float64)[codes]


def insert_unknown(
    ranking: Ranking, unknown_label: str, limits: float | NDArray[np.float64]
) -> Ranking:
    """Return the ranking with `unknown_label` before the first answer below the threshold.

    `limits` is one threshold, or one for each query (q,). Where all k answers reach it, the unknown
    label is not among them.
    """
    limits = np.broadcast_to(np.asarray(limits, dtype=np.float64), len(ranking.query_ids))
    place = (ranking.similarity >= limits[:, None]).sum(axis=1)[:, None]
    column = np.arange(ranking.k)[None, :]
    source = np.where(column > place, column - 1, column)
    answers = np.take_along_axis(ranking.answers, source, axis=1)
    similarity = np.take_along_axis(ranking.similarity, source, axis=1)
    return Ranking(
        ranking.query_ids,
        np.where(column == place, unknown_label, answers),
        np.where(column == place, limits[:, None], similarity).astype(np.float32),
    )


def drop_below(ranking: Ranking, limits: float | NDArray[np.float64], fewest: int) -> Ranking:
    """Return the answers that reach the threshold, but at least the first `fewest`.

    `limits` is one threshold, or one for each query (q,). Rows end in '' and -inf after their last
    answer.
    """
    limits = np.broadcast_to(np.asarray(limits, dtype=np.float64), len(ranking.query_ids))
    stays = (ranking.similarity >= limits[:, None]) | (np.arange(ranking.k) < fewest)
    stays &= ranking.answers != ""
    return Ranking(
        ranking.query_ids,
        np.where(stays, ranking.answers, ""),
        np.where(stays, ranking.similarity, -np.inf).astype(np.float32),
    )


def prepend_itself(ranking: Ranking, query_images: Strings) -> Ranking:
    """Return the ranking with each query's own image first, and without the last answer.

    `query_images (q,)` are image ids, which are not always the ids of queries.
    """
    others, similarity = ranking.answers[:, :-1], ranking.similarity[:, :-1]
    itself = np.ones((len(query_images), 1), dtype=np.float32)
    return Ranking(
        ranking.query_ids,
        np.concatenate([query_images[:, None], others], axis=1),
        np.concatenate([itself, np.minimum(similarity, 1)], axis=1),
    )


def reorder(ranking: Ranking, query_ids: Strings) -> Ranking:
    """Return the rows of the given queries, in their order.

    Raises KitboxError for a query that was not ranked.
    """
    rows = rows_of(query_ids, ranking.query_ids)
    missing = query_ids[rows < 0]
    if len(missing):
        raise KitboxError(f"query '{missing[0]}' was not ranked{more(len(missing) - 1)}")
    return Ranking(query_ids, ranking.answers[rows], ranking.similarity[rows])


def _best_labels(measured: LabelSimilarities, k: int) -> Ranking:
    width = min(k, len(measured.labels))
    answers = np.full((len(measured.query_ids), k), "", dtype=measured.labels.dtype)
    similarity = np.full((len(measured.query_ids), k), -np.inf, dtype=np.float32)
    if width:
        best, found = measured.best_labels(width)
        similarity[:, :width] = found
        answers[:, :width] = np.where(np.isneginf(found), "", measured.labels[best])
    return Ranking(measured.query_ids, answers, similarity)


def _concatenated(parts: Sequence[Ranking]) -> Ranking:
    return Ranking(
        np.concatenate([part.query_ids for part in parts]),
        np.concatenate([part.answers for part in parts]),
        np.concatenate([part.similarity for part in parts]),
    )
