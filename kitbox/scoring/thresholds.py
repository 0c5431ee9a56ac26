"""Finds the similarity below which an answer is no answer: the best, or one that makes a share."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError
from kitbox.records import Integers, LabelledImages, Ranking, Search, Strings, strings
from kitbox.retrieval.clusters import ClusterTree
from kitbox.retrieval.ranking import query_thresholds
from kitbox.scoring import metrics
from kitbox.scoring.ground_truth import GroundTruth, relevance

Curve = NDArray[np.float64]

# Thresholds that put all similarities on one side lie this far beyond them.
_BEYOND = 0.1
# Scores this close are equal: the same queries, summed in another order.
_ROUNDING = 1e-10
# Parts of the queries, of which each is scored by a threshold that the others gave.
PARTS = 5


def groups_of(groups: Strings, competition: Competition) -> Strings:
    """Return the name (n,) by which each query finds its threshold: '' where there is one."""
    return groups if competition.threshold.by_group else np.full(len(groups), "")


def groups_of_answers(ranking: Ranking, labelled: LabelledImages) -> Strings:
    """Return the group (n,) of the individual that each query's first answer names, '' if none.

    It stands for the query's own group where the test's list does not tell that. Raises KitboxError
    where labelled images have no groups either.
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
    """Return group → the threshold that scores best of all by the competition's metric.

    It lies half-way between two similarities that occur; of thresholds that score the same, the
    middle one. `groups (n,)` are those of the ground truth where none are given.
    """
    groups = ground_truth.groups if groups is None else groups
    return {
        name: _best_of_one(_rows(ranking, rows), ground_truth.take(rows), competition)
        for name, rows in _by_group(groups_of(groups, competition))
    }


def cross_fit(
    ranking: Ranking,
    ground_truth: GroundTruth,
    competition: Competition,
    groups: Strings | None = None,
) -> NDArray[np.float64]:
    """Return for each query (n,) a threshold that was fitted without the query.

    The queries of an individual are in one of five parts together; each part takes the threshold
    that is best on the others. Where one part has all queries, it is fitted on them. `groups (n,)`
    are those of the ground truth where none are given.
    """
    groups = ground_truth.groups if groups is None else groups
    part = parts_of(ground_truth.individuals)
    limits = np.empty(len(part), dtype=np.float64)
    for number in range(PARTS):
        scored, fitted = np.flatnonzero(part == number), np.flatnonzero(part != number)
        if not len(fitted):
            fitted = scored
        if not len(scored):
            continue
        found = fit_best(
            _rows(ranking, fitted), ground_truth.take(fitted), competition, groups[fitted]
        )
        limits[scored] = query_thresholds(found, groups_of(groups[scored], competition))
    return limits


def parts_of(individuals: Strings) -> Integers:
    """Return the part (n,) of each query, 0 to 4: queries of an individual are in one."""
    return np.array([_part_of(str(name)) for name in individuals], dtype=np.int64)


def fit_share(
    ranking: Ranking, groups: Strings, share: float, competition: Competition
) -> dict[str, float]:
    """Return group → the threshold below which the first answer of a `share` of queries lies.

    What winners found by bisection is a quantile of the first answers' similarities; half-way to
    the next, so that the share is met to within half a query, but for equal similarities.
    """
    place = 1 if competition.task.with_itself else 0
    first = ranking.similarity[:, place : place + 1]  # nothing, where a query has itself alone
    return {
        name: _with_below(first[rows].ravel(), share)
        for name, rows in _by_group(groups_of(groups, competition))
    }


def fit_best_cut(
    trees: Mapping[str, ClusterTree],
    searches: Sequence[Search],
    ground_truth: GroundTruth,
    competition: Competition,
) -> dict[str, float]:
    """Return group → the similarity at which cutting its tree agrees best with the individuals.

    By the adjusted Rand index, or for one cut of all groups by its mean over them.
    """
    curves: dict[str, list[tuple[Curve, Curve]]] = {}
    start = 0
    for search in searches:
        asked = ground_truth.take(np.arange(start, start + len(search.query_ids)))
        start += len(search.query_ids)
        found = trees[search.name]
        for group in np.unique(asked.groups):
            counted = np.where(asked.groups == group, asked.identity, "")
            curves.setdefault(search.name if competition.threshold.by_group else "", []).append(
                (found.similarities, _agreement(found, counted))
            )
    return {name: _best_together(of_name) for name, of_name in curves.items()}


def fit_cut_share(
    trees: Mapping[str, ClusterTree], share: float, *, by_group: bool = False
) -> dict[str, float]:
    """Return group → the similarity at which a `share` of the images are clusters of their own."""
    alone = {name: tree.alone_above for name, tree in trees.items()}
    together = alone if by_group else {"": np.concatenate(list(alone.values()))}
    return {name: _with_below(values, share) for name, values in together.items()}


def _best_of_one(ranking: Ranking, ground_truth: GroundTruth, competition: Competition) -> float:
    match competition.metric.split("_at_")[0]:
        case "label_map":
            worth = _worth_of_labels(ranking, ground_truth, competition)
        case "row_f1":
            worth = _worth_of_matches(ranking, ground_truth, competition)
        case _:
            tried = _between(ranking.similarity[:, 0])
            return _best(tried, _balanced_curve(ranking, ground_truth, competition, tried))
    tried = _between(ranking.similarity)
    gained = _reaching(ranking.similarity.ravel(), np.diff(worth, axis=1).ravel(), tried)
    return _best(tried, (worth[:, 0].sum() + gained) / len(worth))


def _worth_of_labels(
    ranking: Ranking, ground_truth: GroundTruth, competition: Competition
) -> Curve:
    """Return each query's 1 / rank (q, k + 1) when 0 … k answers reach the threshold.

    The unknown label stands after those answers.
    """
    k, reached = ranking.k, np.arange(ranking.k + 1)
    hits = (ranking.answers == ground_truth.expected[:, None]) & (ground_truth.expected != "")[
        :, None
    ]
    rank = np.where(hits.any(axis=1), hits.argmax(axis=1), k)[:, None]  # from 0; k: not there
    is_unknown = (ground_truth.expected == competition.images.unknown_label)[:, None]
    final = np.where(is_unknown, reached, rank + (reached <= rank))
    return np.where(final < k, 1.0 / (final + 1), 0.0)


def _worth_of_matches(
    ranking: Ranking, ground_truth: GroundTruth, competition: Competition
) -> Curve:
    """Return each query's F1 (q, k + 1) when 0 … k answers reach the threshold."""
    task = competition.task
    hits = relevance(ranking, ground_truth, with_itself=task.with_itself)
    right = np.pad(np.cumsum(hits, axis=1), [(0, 0), (1, 0)])
    there = (ranking.answers != "").sum(axis=1)[:, None]
    count = np.minimum(np.maximum(np.arange(ranking.k + 1), task.min_answers), there)
    sizes = count + ground_truth.relevant[:, None]
    both = 2.0 * np.take_along_axis(right, count, axis=1)
    return np.where(sizes > 0, both / np.maximum(sizes, 1), 1.0)


def _balanced_curve(
    ranking: Ranking, ground_truth: GroundTruth, competition: Competition, tried: Curve
) -> Curve:
    """Return the mean over groups of √(BAKS·BAUS) with the unknown answered at each threshold."""
    unknown = competition.images.unknown_label or ""
    first, right = ranking.similarity[:, 0], ranking.answers[:, 0] == ground_truth.expected
    identity = ground_truth.individuals
    curves = []
    for name in np.unique(ground_truth.groups):
        here = ground_truth.groups == name
        known = here & (ground_truth.expected != unknown)
        strange = here & (ground_truth.expected == unknown)
        hit = _mean_reaching(first[known], identity[known], right[known], tried)
        # what does not reach the threshold is called unknown
        each = np.ones(strange.sum(), dtype=np.bool_)
        called = _mean_reaching(-first[strange], identity[strange], each, -tried)
        if known.any() and strange.any():
            curves.append(np.sqrt(hit * called))
        else:
            curves.append(hit if known.any() else called)
    return np.asarray(np.mean(curves, axis=0))


def _mean_reaching(
    similarity: NDArray[np.float32],
    identity: Strings,
    counted: metrics.Hits | np.bool_,
    tried: Curve,
) -> Curve:
    """Return, averaged over individuals, the share of queries `counted` that reach thresholds."""
    _, codes, counts = np.unique(identity, return_inverse=True, return_counts=True)
    return _reaching(similarity, counted / counts[codes] / max(len(counts), 1), tried)


def _reaching(similarity: NDArray[np.float32], weight: Curve, tried: Curve) -> Curve:
    """Return the sum of the weights (n,) whose similarity (n,) reaches each threshold."""
    order = np.argsort(similarity, kind="stable")
    above = np.append(np.cumsum(weight[order][::-1])[::-1], 0.0)
    return np.asarray(above[np.searchsorted(similarity[order], tried)])


def _best_together(curves: Sequence[tuple[Curve, Curve]]) -> float:
    """Return the threshold of the best mean, of (levels falling, value after 0, 1 … levels)."""
    tried = _between(np.concatenate([levels for levels, _ in curves]))
    each = [value[np.searchsorted(-levels, -tried)] for levels, value in curves]
    return _best(tried, np.mean(each, axis=0))


def _agreement(tree: ClusterTree, identity: Strings) -> Curve:
    """Return the adjusted Rand index after 0, 1 … all joins; identity '' does not count."""
    shown = [Counter([name] if name else []) for name in identity.tolist()]
    sizes = [len(of_one) for of_one in shown]
    both, clusters = [0], [0]  # pairs within a cluster: of one individual, of any
    for left, right in [] if tree.joins is None else tree.joins[:, :2].astype(int).tolist():
        fewer, others = sorted((shown[left], shown[right]), key=len)
        both.append(both[-1] + sum(count * others[name] for name, count in fewer.items()))
        clusters.append(clusters[-1] + sizes[left] * sizes[right])
        others.update(fewer)
        shown.append(others)
        sizes.append(sizes[left] + sizes[right])
    named = sum(sizes[: tree.images])
    of_one = np.unique(identity[identity != ""], return_counts=True)[1]
    identities, pairs = (of_one * (of_one - 1)).sum() / 2, named * (named - 1) / 2
    return metrics.adjusted_rand_index(
        *(np.asarray(number, dtype=np.float64) for number in (both, clusters, identities, pairs))
    )


def _between(similarity: NDArray[np.floating]) -> Curve:
    """Return thresholds between all similarities that occur, and beyond both ends, rising."""
    values = np.unique(similarity[np.isfinite(similarity)].astype(np.float64))
    if not len(values):
        return np.zeros(1)
    middles = (values[1:] + values[:-1]) / 2
    return np.concatenate([[values[0] - _BEYOND], middles, [values[-1] + _BEYOND]])


def _best(tried: Curve, curve: Curve) -> float:
    ties = np.flatnonzero(curve >= curve.max() - _ROUNDING)
    return float(tried[ties[len(ties) // 2]])


def _with_below(similarity: NDArray[np.floating], share: float) -> float:
    """Return the threshold that has as near as can be to a `share` of similarities below it."""
    tried = _between(similarity)
    below = np.searchsorted(np.sort(similarity), tried)
    return float(tried[np.argmin(np.abs(below - share * len(similarity)))])


def _by_group(names: Strings) -> list[tuple[str, Integers]]:
    return [(str(name), np.flatnonzero(names == name)) for name in np.unique(names)]


def _rows(ranking: Ranking, rows: Integers) -> Ranking:
    return Ranking(ranking.query_ids[rows], ranking.answers[rows], ranking.similarity[rows])


def _part_of(name: str) -> int:
    return hashlib.sha256(f"threshold:{name}".encode()).digest()[0] % PARTS
