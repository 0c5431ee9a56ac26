"""The holdout's queries one by one: their answers, their nearest images, and what is right."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kitbox.competition.settings import Competition
from kitbox.records import Integers, Ranking, Strings, rows_of, strings
from kitbox.retrieval.ranking import rank_images
from kitbox.scoring.ground_truth import relevance
from kitbox.scoring.local_score import HoldoutAnswers, LocalScore

# Gallery images shown for each query.
NEAREST_SHOWN = 20
WRONG, RIGHT, UNSCORED = 0, 1, 2
# A query's value from which it is right where answers are scored in part.
_WHOLE = 1 - 1e-9


@dataclass(frozen=True)
class QueryClusters:
    """The cluster of each query: its `size (q,)`, and how many of it show the query's individual.

    `alike (q,)` counts the query itself; `together (q, 20)` says which of the nearest are in it.
    """

    size: Integers
    alike: Integers
    together: NDArray[np.bool_]


@dataclass(frozen=True)
class QueryResults:
    """Queries in the order of the truth, each column (q,) unless told otherwise.

    `near` holds the nearest gallery images (q, 20), `hits (q, 20)` which of them show the query's
    individual, `relevant` how many images of its gallery do. `value` is what `metric` gives the
    query, NaN where it does not count it; `outcome` is WRONG, RIGHT or OPEN. The metric is the
    competition's where that is a mean over queries. `clusters` are None for other answers.
    `first` is the similarity of the best answer, `first_right` whether it shows the individual,
    and `limits` the threshold it was held against, NaN where there is none. `answers (q, k)` are
    labels, None where answers are images; `kept` counts the nearest images that are answers.
    """

    query_ids: Strings
    images: Strings
    identity: Strings
    expected: Strings
    known: NDArray[np.bool_]
    relevant: Integers
    near: Ranking
    hits: NDArray[np.bool_]
    near_labels: Strings
    metric: str
    value: NDArray[np.float64]
    outcome: Integers
    first: NDArray[np.float32]
    first_right: NDArray[np.bool_]
    limits: NDArray[np.float64]
    answers: Strings | None
    kept: Integers
    clusters: QueryClusters | None

    def __len__(self) -> int:
        return len(self.query_ids)


def collect_results(
    found: HoldoutAnswers, score: LocalScore, competition: Competition
) -> QueryResults:
    """Return the queries with the very rankings that were scored."""
    task, known = competition.task, found.ground_truth
    near = rank_images(found.graphs, NEAREST_SHOWN)
    relevant = known.relevant - (1 if task.with_itself else 0)
    hits = relevance(near, known)
    label_of = known.label_of
    labels = np.array([label_of.get(image, "") for image in near.answers.ravel().tolist()])
    asks_labels = task.answers in ("labels", "label")
    unknown = competition.images.unknown_label or ""
    there = ~np.isin(known.expected, ["", unknown]) if asks_labels else np.asarray(relevant > 0)
    metric, value = _values(score, found, competition, hits)
    # a query that is among its own answers is the first of them
    first = 1 if task.with_itself else 0
    right = found.uncut.answers[:, 0] == known.expected if asks_labels else hits[:, 0]
    return QueryResults(
        known.query_ids,
        known.images,
        known.identity,
        known.expected,
        there,
        relevant,
        near,
        hits,
        labels.reshape(near.answers.shape).astype(np.str_),
        metric,
        value,
        _outcomes(found, competition, hits, there, value),
        found.uncut.similarity[:, first],
        np.asarray(right & there),
        found.limits,
        found.ranking.answers if asks_labels else None,
        _kept(found, competition),
        _clusters(found, near) if competition.task.answers == "clusters" else None,
    )


def _values(
    score: LocalScore, found: HoldoutAnswers, competition: Competition, hits: NDArray[np.bool_]
) -> tuple[str, NDArray[np.float64]]:
    """Return a metric and what it gives each query, NaN where it does not count it.

    The competition's, but where that is no mean over queries: whether the first answer is right,
    and of clusters the average precision of the nearest images.
    """
    ids, metric = found.ground_truth.query_ids, competition.metric
    outcome = score.outcomes[metric]
    if outcome.per_query is None and competition.task.answers == "clusters":
        metric = f"map_at_{NEAREST_SHOWN}"
        outcome = score.outcomes.get(metric, outcome)
    if outcome.per_query is None:
        if found.ranking.answers.size and competition.task.answers == "label":
            right = found.ranking.answers[:, 0] == found.ground_truth.expected
            return "accuracy", np.asarray(right, dtype=np.float64)
        return "recall_at_1", hits[:, 0].astype(np.float64)
    value = np.full(len(ids), np.nan)
    value[rows_of(outcome.query_ids, ids)] = outcome.per_query
    return metric, value


def _clusters(found: HoldoutAnswers, near: Ranking) -> QueryClusters:
    known, names = found.ground_truth, found.ranking.answers[:, 0]
    cluster_of = dict(zip(known.images.tolist(), names.tolist(), strict=True))
    own = zip(names.tolist(), known.individuals.tolist(), strict=True)
    pairs = [f"{name}\n{individual}" for name, individual in own]
    others = [cluster_of.get(image, "") for image in near.answers.ravel().tolist()]
    together = strings(others).reshape(near.answers.shape) == names[:, None]
    return QueryClusters(_counts(names), _counts(strings(pairs)), np.asarray(together))


def _counts(names: Strings) -> Integers:
    """Return how often each name (n,) is there."""
    _, number, counts = np.unique(names, return_inverse=True, return_counts=True)
    return counts[number].astype(np.int64)


def _outcomes(
    found: HoldoutAnswers,
    competition: Competition,
    hits: NDArray[np.bool_],
    there: NDArray[np.bool_],
    value: NDArray[np.float64],
) -> Integers:
    """Return whether each query's first answer is right; of matches, whether all are."""
    answers = competition.task.answers
    if answers in ("labels", "label"):
        right, asked = (
            found.ranking.answers[:, 0] == found.ground_truth.expected,
            found.ground_truth.expected != "",
        )
    elif answers == "matches":
        right, asked = value >= _WHOLE, ~np.isnan(value)
    else:
        right, asked = hits[:, 0], there
    return np.asarray(np.where(asked, np.where(right, RIGHT, WRONG), UNSCORED), dtype=np.int64)


def _kept(found: HoldoutAnswers, competition: Competition) -> Integers:
    """Return how many of the nearest images (q,) are answers."""
    rows = len(found.ground_truth.query_ids)
    if competition.task.answers == "clusters":
        return np.full(rows, NEAREST_SHOWN, dtype=np.int64)
    if competition.task.answers != "matches":
        return np.full(rows, min(competition.task.k, NEAREST_SHOWN), dtype=np.int64)
    given = (found.ranking.answers != "").sum(axis=1) - int(competition.task.with_itself)
    return np.asarray(np.clip(given, 0, NEAREST_SHOWN), dtype=np.int64)


@dataclass(frozen=True)
class ConfusedPair:
    """Two individuals of whom one was asked about and the other came first.

    `rows` are the queries, the most similar mistake first; `similarity` is that of the first.
    """

    labels: tuple[str, str]
    rows: tuple[int, ...]
    similarity: float


@dataclass(frozen=True)
class IndividualResult:
    """One individual: its gallery images, queries, right answers and mean value.

    `value` is None where the metric counts none of its queries; `confused` names the individual
    that most often came first instead, '' for nobody.
    """

    name: str
    gallery: int
    queries: int
    right: int
    value: float | None
    confused: str


def confused_pairs(queries: QueryResults) -> list[ConfusedPair]:
    """Return the confused pairs, those with the most queries first, then the most similar."""
    rows_of_pair: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in _mistaken(queries).tolist():
        one, other = sorted((str(queries.identity[row]), str(queries.near_labels[row, 0])))
        rows_of_pair[one, other].append(row)
    similarity = queries.near.similarity[:, 0]
    found = []
    for labels, rows in rows_of_pair.items():
        rows.sort(key=lambda row: -similarity[row])
        found.append(ConfusedPair(labels, tuple(rows), float(similarity[rows[0]])))
    return sorted(found, key=lambda pair: (-len(pair.rows), -pair.similarity, pair.labels))


def individual_results(queries: QueryResults) -> list[IndividualResult]:
    """Return every individual that was asked about, the worst first."""
    mistaken = set(_mistaken(queries).tolist())
    rows_of_name: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(queries.identity.tolist()):
        if name:
            rows_of_name[name].append(row)
    found = []
    for name, rows in rows_of_name.items():
        values = queries.value[rows]
        counted = values[~np.isnan(values)]
        others = [str(queries.near_labels[row, 0]) for row in rows if row in mistaken]
        found.append(
            IndividualResult(
                name,
                int(queries.relevant[rows].max()),
                int((queries.outcome[rows] != UNSCORED).sum()),
                int((queries.outcome[rows] == RIGHT).sum()),
                float(counted.mean()) if len(counted) else None,
                max(sorted(set(others)), key=others.count, default=""),
            )
        )
    return sorted(found, key=lambda one: (_rank(one.value), -one.queries, one.name))


def _rank(value: float | None) -> float:
    return np.inf if value is None else value


def _mistaken(queries: QueryResults) -> Integers:
    """Return the queries of someone whose nearest image shows someone else."""
    nearest = queries.near_labels[:, 0]
    named = (queries.identity != "") & (nearest != "")
    return np.flatnonzero(named & (nearest != queries.identity))
