"""Thresholds of similarity below which answers are cut, fitted on ranked queries."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kitbox.clusters.cluster_tree import ClusterTree
from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError
from kitbox.records import (
    Integers,
    LabelledImages,
    Ranking,
    Search,
    Similarities,
    Strings,
    strings,
)
from kitbox.retrieval.ranking import query_thresholds
from kitbox.scoring import metrics
from kitbox.scoring.ground_truth import GroundTruth, relevance

Curve = NDArray[np.float64]

# A threshold below or above all similarities lies this far from them.
_BEYOND = 0.1
# Scores this close are equal but for the order of summation.
_ROUNDING = 1e-10
# Parts of the queries; each is cut at a threshold fitted on the others.
PARTS = 5


@dataclass(frozen=True)
class FirstAnswers:
    """What decides whether each query (q,) is answered as known, and whether it is `unknown`.

    Below its `similarity` to the first answer a query is answered as unknown: with the unknown
    label, with no match but itself, or alone in its cluster.
    """

    similarity: NDArray[np.floating]
    unknown: NDArray[np.bool_]

    @classmethod
    def of_ranking(
        cls, ranking: Ranking, ground_truth: GroundTruth, competition: Competition
    ) -> "FirstAnswers":
        """Return those of answers that are not yet cut."""
        return cls(
            _first_similarity(ranking, competition), unknown_queries(ground_truth, competition)
        )

    @classmethod
    def of_trees(
        cls,
        trees: Mapping[str, ClusterTree],
        searches: Sequence[Search],
        ground_truth: GroundTruth,
        competition: Competition,
    ) -> "FirstAnswers":
        """Return those of images that form clusters."""
        alone = np.concatenate([trees[search.name].alone_above for search in searches])
        return cls(alone, unknown_queries(ground_truth, competition))

    def errors(self, limits: NDArray[np.float64]) -> dict[str, Any]:
        """Return both errors at the thresholds (q,): their counts, and the mean of their shares."""
        answered_unknown = self.similarity < limits
        return _with_mean(
            {
                "known_queries": int((~self.unknown).sum()),
                "known_answered_unknown": int((answered_unknown & ~self.unknown).sum()),
                "unknown_queries": int(self.unknown.sum()),
                "unknown_answered_known": int((~answered_unknown & self.unknown).sum()),
            }
        )


def pool_errors(errors: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the errors over the queries of several folds."""
    counted = [name for name in errors[0] if name != "mean_share"]
    return _with_mean({name: sum(each[name] for each in errors) for name in counted})


def _with_mean(counts: dict[str, int]) -> dict[str, Any]:
    """Return error counts and the mean of both shares, None without queries of both kinds."""
    if not (counts["known_queries"] and counts["unknown_queries"]):
        return counts | {"mean_share": None}
    known = counts["known_answered_unknown"] / counts["known_queries"]
    unknown = counts["unknown_answered_known"] / counts["unknown_queries"]
    return counts | {"mean_share": round((known + unknown) / 2, 6)}


def unknown_queries(ground_truth: GroundTruth, competition: Competition) -> NDArray[np.bool_]:
    """Return which queries (q,) are of unknown individuals, or have no match in their gallery."""
    if competition.task.answers in ("labels", "label"):
        return np.asarray(ground_truth.expected == (competition.images.unknown_label or ""))
    return np.asarray(ground_truth.relevant <= int(competition.task.with_itself))


def fit_balanced(first: FirstAnswers, groups: Strings) -> dict[str, float]:
    """Return group → the threshold of the least mean of both error shares.

    The errors are known individuals answered as unknown, and unknown ones answered as known.
    `groups (q,)` are those that have thresholds of their own; one without queries of both kinds
    gets none, and takes that of the others. Raises KitboxError where no queries are of both kinds.
    """
    found = {
        name: _least_error(first.similarity[rows], first.unknown[rows])
        for name, rows in _by_group(groups)
        if len(np.unique(first.unknown[rows])) == 2
    }
    if not found and len(np.unique(first.unknown)) < 2:
        count = int(first.unknown.sum())
        raise KitboxError(
            f"the threshold 'balanced' needs queries of known and of unknown individuals; of the "
            f"holdout's {len(first.unknown)} queries {count} are of unknown ones; change "
            "holdout.unknown_share in kitbox.toml, or take --threshold best"
        )
    return found or {"": _least_error(first.similarity, first.unknown)}


def groups_of(groups: Strings, competition: Competition) -> Strings:
    """Return the groups (n,) that have thresholds of their own, '' where all queries share one."""
    return groups if competition.threshold.by_group else np.full(len(groups), "")


def groups_of_answers(ranking: Ranking, labelled: LabelledImages) -> Strings:
    """Return the group (n,) of the label that is each query's first answer, '' if none.

    It stands for the query's own group where the test's list has no groups. Raises KitboxError
    where labelled images have none either.
    """
    if labelled.groups is None:
        raise KitboxError("threshold.by_group needs images.group_column")
    group_of = dict(zip(labelled.labels.tolist(), labelled.groups.tolist(), strict=True))
    return strings([group_of.get(str(label), "") for label in ranking.answers[:, 0]])


def fit_best(
    ranking: Ranking,
    ground_truth: GroundTruth,
    competition: Competition,
    groups: Strings | None = None,
) -> dict[str, float]:
    """Return group → the threshold of the best score by the competition's metric.

    By the rule "balanced" it is the one of the least mean of both error shares instead. It lies
    half-way between two similarities that occur; of thresholds that score the same, the middle one
    is taken. `groups (n,)` are those of the ground truth unless given.
    """
    groups = ground_truth.groups if groups is None else groups
    if competition.threshold.rule == "balanced":
        first = FirstAnswers.of_ranking(ranking, ground_truth, competition)
        return fit_balanced(first, groups_of(groups, competition))
    return {
        name: _best_threshold(_rows(ranking, rows), ground_truth.take(rows), competition)
        for name, rows in _by_group(groups_of(groups, competition))
    }


def cross_fit(
    ranking: Ranking,
    ground_truth: GroundTruth,
    competition: Competition,
    groups: Strings | None = None,
) -> NDArray[np.float64]:
    """Return for each query (n,) a threshold fitted without it.

    The queries of an individual are in one of five parts together; each part takes the threshold
    that is best on the others. Where one part has all queries, or all of unknown individuals that
    the rule "balanced" needs, it is fitted on all. `groups (n,)` are those of the ground truth
    unless given.
    """
    groups = ground_truth.groups if groups is None else groups
    unknown = unknown_queries(ground_truth, competition)
    kinds = 2 if competition.threshold.rule == "balanced" else 1
    part = parts_of(ground_truth.individuals)
    limits = np.empty(len(part), dtype=np.float64)
    for number in range(PARTS):
        scored, fitted = np.flatnonzero(part == number), np.flatnonzero(part != number)
        if len(np.unique(unknown[fitted])) < kinds:
            fitted = np.arange(len(part))
        if not len(scored):
            continue
        found = fit_best(
            _rows(ranking, fitted), ground_truth.take(fitted), competition, groups[fitted]
        )
        limits[scored] = query_thresholds(found, groups_of(groups[scored], competition))
    return limits


def parts_of(individuals: Strings) -> Integers:
    """Return the part (n,) of each query, 0 to 4, by a hash of its individual."""
    return np.array([_part_of(str(name)) for name in individuals], dtype=np.int64)


def fit_share(
    ranking: Ranking, groups: Strings, share: float, competition: Competition
) -> dict[str, float]:
    """Return group → the threshold below which the first answers of a `share` of queries lie.

    Winners found it by bisection; it is a quantile of the first answers' similarities, half-way to
    the next, so that the share is met to within half a query unless similarities are equal.
    """
    first = _first_similarity(ranking, competition)
    return {
        name: threshold_with_share_below(first[rows], share)
        for name, rows in _by_group(groups_of(groups, competition))
    }


def _first_similarity(ranking: Ranking, competition: Competition) -> Similarities:
    """Return the similarity (q,) of each query's first answer but itself, -inf for none."""
    place = 1 if competition.task.with_itself else 0
    if place == ranking.k:  # no query has another answer than itself
        return np.full(len(ranking.query_ids), -np.inf, dtype=np.float32)
    return ranking.similarity[:, place]


def _best_threshold(ranking: Ranking, ground_truth: GroundTruth, competition: Competition) -> float:
    match competition.metric.split("_at_")[0]:
        case "label_map":
            scores = _label_scores(ranking, ground_truth, competition)
        case "row_f1":
            scores = _match_scores(ranking, ground_truth, competition)
        case _:
            candidates = candidates_between(ranking.similarity[:, 0])
            return best_candidate(
                candidates, _balanced_scores(ranking, ground_truth, competition, candidates)
            )
    candidates = candidates_between(ranking.similarity)
    # each answer that reaches the threshold changes the score of its query by a step
    steps = np.diff(scores, axis=1).ravel()
    total = scores[:, 0].sum() + _sum_reaching(ranking.similarity.ravel(), steps, candidates)
    return best_candidate(candidates, total / len(scores))


def _label_scores(ranking: Ranking, ground_truth: GroundTruth, competition: Competition) -> Curve:
    """Return each query's 1 / rank (q, k + 1) when 0 … k answers reach the threshold.

    The unknown label stands after those answers.
    """
    k, reached, expected = ranking.k, np.arange(ranking.k + 1), ground_truth.expected
    hits = (ranking.answers == expected[:, None]) & (expected != "")[:, None]
    rank = np.where(hits.any(axis=1), hits.argmax(axis=1), k)[:, None]  # from 0; k: missing
    unknown = (expected == competition.images.unknown_label)[:, None]
    final = np.where(unknown, reached, rank + (reached <= rank))
    return np.where(final < k, 1.0 / (final + 1), 0.0)


def _match_scores(ranking: Ranking, ground_truth: GroundTruth, competition: Competition) -> Curve:
    """Return each query's F1 (q, k + 1) when 0 … k answers reach the threshold."""
    task = competition.task
    hits = relevance(ranking, ground_truth, with_itself=task.with_itself)
    right = np.pad(np.cumsum(hits, axis=1), [(0, 0), (1, 0)])
    answers = (ranking.answers != "").sum(axis=1)[:, None]
    count = np.minimum(np.maximum(np.arange(ranking.k + 1), task.min_answers), answers)
    sizes = count + ground_truth.relevant[:, None]
    both = 2.0 * np.take_along_axis(right, count, axis=1)
    return np.where(sizes > 0, both / np.maximum(sizes, 1), 1.0)


def _least_error(similarity: NDArray[np.floating], unknown: NDArray[np.bool_]) -> float:
    """Return the threshold of the least mean of both error shares."""
    known, every = similarity[~unknown], similarity[unknown]
    candidates = candidates_between(similarity)
    missed = np.searchsorted(np.sort(known), candidates) / len(known)
    taken = 1 - np.searchsorted(np.sort(every), candidates) / len(every)
    return best_candidate(candidates, -(missed + taken))


def _balanced_scores(
    ranking: Ranking, ground_truth: GroundTruth, competition: Competition, candidates: Curve
) -> Curve:
    """Return the mean over groups of √(BAKS·BAUS) at each candidate threshold."""
    unknown_label = competition.images.unknown_label or ""
    first, right = ranking.similarity[:, 0], ranking.answers[:, 0] == ground_truth.expected
    identity = ground_truth.individuals
    curves = []
    for name in np.unique(ground_truth.groups):
        own = ground_truth.groups == name
        known = own & (ground_truth.expected != unknown_label)
        unknown = own & (ground_truth.expected == unknown_label)
        baks = _share_reaching(first[known], identity[known], right[known], candidates)
        # a query whose first answer does not reach the threshold is answered as unknown
        every = np.ones(unknown.sum(), dtype=np.bool_)
        baus = _share_reaching(-first[unknown], identity[unknown], every, -candidates)
        if known.any() and unknown.any():
            curves.append(np.sqrt(baks * baus))
        else:
            curves.append(baks if known.any() else baus)
    return np.asarray(np.mean(curves, axis=0))


def _share_reaching(
    similarity: NDArray[np.float32],
    identity: Strings,
    counted: metrics.Hits | np.bool_,
    candidates: Curve,
) -> Curve:
    """Return the share of queries that are `counted` and reach each candidate threshold.

    The mean over individuals of the share of their queries.
    """
    _, codes, counts = np.unique(identity, return_inverse=True, return_counts=True)
    return _sum_reaching(similarity, counted / counts[codes] / max(len(counts), 1), candidates)


def _sum_reaching(similarity: Similarities, weight: Curve, candidates: Curve) -> Curve:
    """Return the sum of the weights (n,) whose similarity (n,) reaches each candidate."""
    order = np.argsort(similarity, kind="stable")
    above = np.append(np.cumsum(weight[order][::-1])[::-1], 0.0)
    return np.asarray(above[np.searchsorted(similarity[order], candidates)])


def candidates_between(similarity: NDArray[np.floating]) -> Curve:
    """Return thresholds between all similarities that occur, and beyond both ends, rising."""
    values = np.unique(similarity[np.isfinite(similarity)].astype(np.float64))
    if not len(values):
        return np.zeros(1)
    middles = (values[1:] + values[:-1]) / 2
    return np.concatenate([[values[0] - _BEYOND], middles, [values[-1] + _BEYOND]])


def best_candidate(candidates: Curve, scores: Curve) -> float:
    """Return the middle one of the candidates that score best."""
    ties = np.flatnonzero(scores >= scores.max() - _ROUNDING)
    return float(candidates[ties[len(ties) // 2]])


def threshold_with_share_below(similarity: NDArray[np.floating], share: float) -> float:
    """Return the threshold whose share of similarities below it is nearest to `share`."""
    candidates = candidates_between(similarity)
    below = np.searchsorted(np.sort(similarity), candidates)
    return float(candidates[np.argmin(np.abs(below - share * len(similarity)))])


def _by_group(groups: Strings) -> list[tuple[str, Integers]]:
    return [(str(group), np.flatnonzero(groups == group)) for group in np.unique(groups)]


def _rows(ranking: Ranking, rows: Integers) -> Ranking:
    return Ranking(ranking.query_ids[rows], ranking.answers[rows], ranking.similarity[rows])


def _part_of(individual: str) -> int:
    return hashlib.sha256(f"threshold:{individual}".encode()).digest()[0] % PARTS
