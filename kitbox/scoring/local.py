"""The local score: the competition's own task, asked of the holdout."""

from dataclasses import dataclass

import numpy as np

from kitbox.competition.settings import Competition
from kitbox.records import Embeddings, Holdout, ImageSet, Ranking, Scores, Strings
from kitbox.retrieval import answers, search
from kitbox.scoring import metrics
from kitbox.scoring.bootstrap import score
from kitbox.scoring.metrics import PerQuery

# Ranks at which image retrieval is reported beside the competition's own metric.
_IMAGE_K = 20
# Thresholds tried for the unknown individual: quantiles of the similarities that occur.
_THRESHOLDS = 401


@dataclass(frozen=True)
class LocalScore:
    """Scores on the holdout, and the similarity below which an individual is called unknown."""

    scores: Scores
    threshold: float | None


def evaluate(embeddings: Embeddings, holdout: Holdout, competition: Competition) -> LocalScore:
    """Score embeddings on the holdout by the competition's metric, and by image retrieval.

    The competition's metric comes first. Image retrieval counts the queries whose individual is
    elsewhere in the gallery. The threshold for unknown individuals is the best on the holdout.
    """
    task, unknown = competition.task, competition.images.unknown_label
    query = embeddings.of(holdout.query.image_ids)
    gallery = embeddings.of(holdout.gallery.image_ids)
    ranks = {_IMAGE_K, task.k} if task.answers == "images" else {_IMAGE_K}
    by_image = _image_metrics(query, gallery, holdout, unknown, sorted(ranks))
    threshold = None
    own: dict[str, PerQuery] = {}
    if task.answers == "labels":
        ranking = answers.labels(query, gallery, holdout.train, task.k, unknown)
        if unknown is not None:
            threshold = best_threshold(ranking, holdout.query_answers, unknown, task.k)
            ranking = answers.with_unknown(ranking, unknown, threshold)
        truth = holdout.query_answers
        own[competition.metric] = metrics.label_average_precision_at_k(ranking, truth, task.k)
    values = own | by_image
    first = competition.metric
    names = [first, *(name for name in values if name != first)]
    return LocalScore(Scores({name: score(values[name]) for name in names}), threshold)


def best_threshold(ranking: Ranking, truth: Strings, unknown_label: str, k: int) -> float:
    """Return the similarity that scores best as threshold for the unknown, by MAP@k over labels.

    Of thresholds that score the same, the middle one.
    """
    finite = ranking.similarity[np.isfinite(ranking.similarity)]
    quantiles = np.quantile(finite, np.linspace(0, 1, _THRESHOLDS))
    candidates = np.append(quantiles, finite.max() + 1)  # the last calls everyone unknown
    hits = ranking.answers == truth[:, None]
    rank = np.where(hits.any(axis=1), hits.argmax(axis=1), k)  # from 0; k: not among them
    is_unknown = truth == unknown_label
    scores = np.empty(len(candidates))
    for i, threshold in enumerate(candidates):
        place = (ranking.similarity >= threshold).sum(axis=1)
        final = np.where(is_unknown, place, rank + (place <= rank))
        scores[i] = np.where(final < k, 1.0 / (final + 1), 0.0).mean()
    best = np.flatnonzero(scores == scores.max())
    return float(candidates[best[len(best) // 2]])


def _image_metrics(
    query: Embeddings,
    gallery: Embeddings,
    holdout: Holdout,
    unknown: str | None,
    ranks: list[int],
) -> dict[str, PerQuery]:
    """Return image metrics of the queries whose individual occurs elsewhere in the gallery."""
    neighbours = search.nearest(query, gallery, max(ranks))
    relevant, total = relevance(neighbours.gallery_ids, holdout.query, holdout.gallery, unknown)
    relevant, total = relevant[total > 0], total[total > 0]
    values = {f"map_at_{n}": metrics.average_precision_at_k(relevant, total, n) for n in ranks}
    recalls = sorted({1, 5, *ranks})
    return values | {f"recall_at_{n}": metrics.recall_at_k(relevant, n) for n in recalls}


def relevance(
    answer_ids: Strings, query: ImageSet, gallery: ImageSet, unknown: str | None
) -> tuple[metrics.Hits, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Return which answers (q, k) show the query's individual, and how many of the gallery do.

    An image of unknown label matches nothing, a query never itself.
    """
    assert query.labels is not None and gallery.labels is not None  # noqa: S101, PT018
    label_of = dict(zip(gallery.image_ids, gallery.labels, strict=True))
    nobody = {"", unknown or ""}
    found = np.array(
        [[label_of.get(answer, "") for answer in row] for row in answer_ids], dtype=np.str_
    ).reshape(answer_ids.shape)
    known = ~np.isin(query.labels, list(nobody))
    relevant = (found == query.labels[:, None]) & known[:, None]
    names, counts = np.unique(gallery.labels, return_counts=True)
    count_of = dict(zip(names, counts, strict=True))
    itself = np.isin(query.image_ids, gallery.image_ids)
    total = np.array([count_of.get(label, 0) for label in query.labels], dtype=np.int64) - itself
    return relevant, np.where(known, total, 0)
