"""Results of the holdout's queries one by one: answers, nearest images, and which are right."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kitbox.competition.settings import Competition
from kitbox.records import Integers, Ranking, Similarities, Strings, rows_of, strings
from kitbox.retrieval.ranking import rank_images
from kitbox.scoring.ground_truth import relevance
from kitbox.scoring.local_score import HoldoutAnswers, LocalScore
from kitbox.scoring.outcomes import MeanOverIndividuals

# Gallery images shown for each query.
NEAREST_SHOWN = 20
WRONG, RIGHT, UNSCORED = 0, 1, 2
# A query is right from this score on if its answers are scored in part.
_FULL_SCORE = 1 - 1e-9


@dataclass(frozen=True, kw_only=True)
class QueryClusters:
    """The cluster of each query: `size (q,)`, and how many of it show the query's individual.

    `same_individual (q,)` counts the query itself; `has_nearest (q, 20)` marks which of the nearest
    images are in the cluster.
    """

    size: Integers
    same_individual: Integers
    has_nearest: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class QueryResults:
    """Results of queries in the order of the ground truth; columns are (q,) unless stated.

    `labels` are '' for a query of an unknown individual; `expected` are the right answers.
    `relevant` is the number of gallery images of the query's individual, `nearest` has the nearest
    gallery images (q, 20), `nearest_labels` their labels, and `hits (q, 20)` marks those of the
    query's individual.

    `values` are each query's score by `metric`, NaN if it is not scored; `outcomes` are WRONG,
    RIGHT or UNSCORED. The metric is that of the competition if it is a mean over queries.

    `first_similarity` is that of the best answer, `first_is_right` whether it shows the individual,
    and `thresholds` the least similarity of an answer, NaN if there is no threshold.
    `answers (q, k)` are labels, None if answers are images; `answer_counts` is the number of
    nearest images that are answers. `clusters` are None unless answers are clusters.
    """

    query_ids: Strings
    images: Strings
    labels: Strings
    expected: Strings
    known: NDArray[np.bool_]
    relevant: Integers
    nearest: Ranking
    nearest_labels: Strings
    hits: NDArray[np.bool_]
    metric: str
    values: NDArray[np.float64]
    outcomes: Integers
    first_similarity: Similarities
    first_is_right: NDArray[np.bool_]
    thresholds: NDArray[np.float64]
    answers: Strings | None
    answer_counts: Integers
    clusters: QueryClusters | None

    def __len__(self) -> int:
        return len(self.query_ids)


def collect_results(
    answers: HoldoutAnswers, score: LocalScore, competition: Competition
) -> QueryResults:
    """Return the results of queries, from the same rankings that were scored."""
    task, known = competition.task, answers.ground_truth
    nearest = rank_images(answers.graphs, NEAREST_SHOWN)
    relevant = known.relevant - (1 if task.with_itself else 0)
    hits = relevance(nearest, known)
    label_of = known.label_of
    labels = np.array([label_of.get(image, "") for image in nearest.answers.ravel().tolist()])
    answers_are_labels = task.answers in ("labels", "label")
    unknown = competition.images.unknown_label or ""
    is_known = (
        ~np.isin(known.expected, ["", unknown]) if answers_are_labels else np.asarray(relevant > 0)
    )
    metric, values = _query_scores(score, answers, competition, hits)
    # a query that is among its own answers is the first of them
    first = 1 if task.with_itself else 0
    right = answers.uncut.answers[:, 0] == known.expected if answers_are_labels else hits[:, 0]
    return QueryResults(
        query_ids=known.query_ids,
        images=known.images,
        labels=known.identity,
        expected=known.expected,
        known=is_known,
        relevant=relevant,
        nearest=nearest,
        nearest_labels=labels.reshape(nearest.answers.shape).astype(np.str_),
        hits=hits,
        metric=metric,
        values=values,
        outcomes=_outcomes(answers, competition, hits, is_known, values),
        first_similarity=answers.uncut.similarity[:, first],
        first_is_right=np.asarray(right & is_known),
        thresholds=answers.limits,
        answers=answers.ranking.answers if answers_are_labels else None,
        answer_counts=_answer_counts(answers, competition),
        clusters=_clusters(answers, nearest) if task.answers == "clusters" else None,
    )


def _query_scores(
    score: LocalScore, answers: HoldoutAnswers, competition: Competition, hits: NDArray[np.bool_]
) -> tuple[str, NDArray[np.float64]]:
    """Return a metric and each query's score by it, NaN if it does not count the query.

    The metric is that of the competition. If that is no mean over queries, it is whether the first
    answer is right, and for clusters the average precision of the nearest images.
    """
    ids, metric = answers.ground_truth.query_ids, competition.metric
    outcome = score.outcomes[metric]
    if isinstance(outcome, MeanOverIndividuals):
        values = np.full(len(ids), np.nan)
        values[rows_of(outcome.query_ids, ids)] = outcome.values
        return metric, values
    if outcome.per_query is None and competition.task.answers == "clusters":
        metric = f"map_at_{NEAREST_SHOWN}"
        outcome = score.outcomes.get(metric, outcome)
    if outcome.per_query is None:
        if answers.ranking.answers.size and competition.task.answers == "label":
            right = answers.ranking.answers[:, 0] == answers.ground_truth.expected
            return "right_answer", np.asarray(right, dtype=np.float64)
        return "recall_at_1", hits[:, 0].astype(np.float64)
    values = np.full(len(ids), np.nan)
    values[rows_of(outcome.query_ids, ids)] = outcome.per_query
    return metric, values


def _outcomes(
    answers: HoldoutAnswers,
    competition: Competition,
    hits: NDArray[np.bool_],
    known: NDArray[np.bool_],
    values: NDArray[np.float64],
) -> Integers:
    """Return whether each query's first answer is right, or all its answers if they are matches."""
    kind, truth = competition.task.answers, answers.ground_truth
    if kind in ("labels", "label"):
        right, scored = answers.ranking.answers[:, 0] == truth.expected, truth.expected != ""
    elif kind == "matches":
        right, scored = values >= _FULL_SCORE, ~np.isnan(values)
    else:
        right, scored = hits[:, 0], known
    return np.asarray(np.where(scored, np.where(right, RIGHT, WRONG), UNSCORED), dtype=np.int64)


def _answer_counts(answers: HoldoutAnswers, competition: Competition) -> Integers:
    """Return how many of the nearest images (q,) are answers."""
    rows = len(answers.ground_truth.query_ids)
    if competition.task.answers in ("clusters", "pairs"):
        return np.full(rows, NEAREST_SHOWN, dtype=np.int64)
    if competition.task.answers != "matches":
        return np.full(rows, min(competition.task.k, NEAREST_SHOWN), dtype=np.int64)
    counts = (answers.ranking.answers != "").sum(axis=1) - int(competition.task.with_itself)
    return np.asarray(np.clip(counts, 0, NEAREST_SHOWN), dtype=np.int64)


def _clusters(answers: HoldoutAnswers, nearest: Ranking) -> QueryClusters:
    known, names = answers.ground_truth, answers.ranking.answers[:, 0]
    cluster_of = dict(zip(known.images.tolist(), names.tolist(), strict=True))
    pairs = [
        f"{name}\n{individual}"
        for name, individual in zip(names.tolist(), known.individuals.tolist(), strict=True)
    ]
    others = [cluster_of.get(image, "") for image in nearest.answers.ravel().tolist()]
    has_nearest = strings(others).reshape(nearest.answers.shape) == names[:, None]
    return QueryClusters(
        size=_count_equal(names),
        same_individual=_count_equal(strings(pairs)),
        has_nearest=np.asarray(has_nearest),
    )


def _count_equal(values: Strings) -> Integers:
    """Return how often each of the values (n,) occurs."""
    _, number, counts = np.unique(values, return_inverse=True, return_counts=True)
    return counts[number].astype(np.int64)


@dataclass(frozen=True)
class ConfusedPair:
    """Two labels of which one came first for queries of the other.

    `rows` are these queries, the most similar mistake first; `similarity` is that of the first.
    """

    labels: tuple[str, str]
    rows: tuple[int, ...]
    similarity: float


@dataclass(frozen=True, kw_only=True)
class IndividualResult:
    """One individual: its gallery images, scored queries, right answers and mean score.

    `score` is None if the metric counts none of its queries; `confused_with` is the label that most
    often came first instead, '' if there is none.
    """

    label: str
    gallery_images: int
    queries: int
    right: int
    score: float | None
    confused_with: str


def confused_pairs(results: QueryResults) -> list[ConfusedPair]:
    """Return the confused pairs, those with the most queries first, then the most similar."""
    rows_of_pair: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in _mistaken_rows(results).tolist():
        one, other = sorted((str(results.labels[row]), str(results.nearest_labels[row, 0])))
        rows_of_pair[one, other].append(row)
    similarity = results.nearest.similarity[:, 0]
    pairs = []
    for labels, rows in rows_of_pair.items():
        rows.sort(key=lambda row: -similarity[row])
        pairs.append(ConfusedPair(labels, tuple(rows), float(similarity[rows[0]])))
    return sorted(pairs, key=lambda pair: (-len(pair.rows), -pair.similarity, pair.labels))


def individual_results(results: QueryResults) -> list[IndividualResult]:
    """Return the results of all individuals of the queries, the worst first."""
    mistaken = set(_mistaken_rows(results).tolist())
    rows_of_label: dict[str, list[int]] = defaultdict(list)
    for row, label in enumerate(results.labels.tolist()):
        if label:
            rows_of_label[label].append(row)
    individuals = []
    for label, rows in rows_of_label.items():
        values = results.values[rows]
        scored = values[~np.isnan(values)]
        others = [str(results.nearest_labels[row, 0]) for row in rows if row in mistaken]
        individuals.append(
            IndividualResult(
                label=label,
                gallery_images=int(results.relevant[rows].max()),
                queries=int((results.outcomes[rows] != UNSCORED).sum()),
                right=int((results.outcomes[rows] == RIGHT).sum()),
                score=float(scored.mean()) if len(scored) else None,
                confused_with=max(sorted(set(others)), key=others.count, default=""),
            )
        )
    return sorted(individuals, key=lambda one: (_sort_key(one.score), -one.queries, one.label))


def _sort_key(score: float | None) -> float:
    return np.inf if score is None else score


def _mistaken_rows(results: QueryResults) -> Integers:
    """Return the rows of labelled queries whose nearest image has another label."""
    nearest = results.nearest_labels[:, 0]
    labelled = (results.labels != "") & (nearest != "")
    return np.flatnonzero(labelled & (nearest != results.labels))
