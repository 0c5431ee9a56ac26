"""Similarities at which trees of clusters are cut, and at which images are anchored."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kitbox.clusters.cluster_tree import ClusterTree, cluster_trees
from kitbox.clusters.constraints import ANCHOR, Anchors, constraints_of, nearest_known
from kitbox.competition.settings import Competition
from kitbox.records import LabelledImages, Search, Strings
from kitbox.retrieval.neighbour_graph import NeighbourGraph
from kitbox.scoring import metrics
from kitbox.scoring.ground_truth import GroundTruth
from kitbox.scoring.thresholds import (
    Curve,
    FirstAnswers,
    best_candidate,
    candidates_between,
    fit_balanced,
    groups_of,
    threshold_with_share_below,
)

# By what clusters agree with individuals: adjusted Rand index, or adjusted mutual information.
Agreement = Literal["ari", "ami"]
AGREEMENTS: tuple[Agreement, ...] = ("ari", "ami")
# Thresholds of anchors that are tried; each takes a tree of its own.
_ANCHOR_LIMITS = 16


@dataclass(frozen=True)
class ClusterCuts:
    """Trees of the queries of each search, the similarities to cut them at, and how they agree.

    `thresholds` are group → similarity, those of anchors under `anchor:` and the group.
    """

    trees: Mapping[str, ClusterTree]
    thresholds: dict[str, float]
    evidence: dict[str, Any]


def fit_cuts(
    graphs: Sequence[NeighbourGraph],
    ground_truth: GroundTruth,
    competition: Competition,
    labelled: LabelledImages,
) -> ClusterCuts:
    """Return the trees of the holdout's queries, and where the rule of thresholds cuts them.

    With `task.anchors` queries are anchored to individuals of `labelled`, at the similarity of the
    best agreement. The evidence has the agreement by both measures, at the cut that is best for
    either, as a mean over groups.
    """
    task, rule = competition.task, competition.threshold
    searches = [graph.search for graph in graphs]
    anchors = nearest_known(graphs, labelled, competition) if task.anchors else {}
    fitted: dict[str, float] = {}
    if rule.rule == "fixed":
        assert rule.similarity is not None  # noqa: S101  checked with the settings
        fitted = {"": rule.similarity}
    elif anchors:
        fitted = fit_anchors(graphs, anchors, ground_truth, competition)
    constraints = constraints_of(searches, anchors=anchors, thresholds=fitted)
    trees = cluster_trees(graphs, task.linkage, constraints)
    match rule.rule:
        case "best" | "ami":
            fitted |= fit_best_cut(trees, searches, ground_truth, competition)
        case "balanced":
            fitted |= fit_balanced_cut(trees, searches, ground_truth, competition)
        case "share":
            assert rule.share is not None  # noqa: S101  checked with the settings
            fitted |= fit_cut_share(trees, rule.share, by_group=rule.by_group)
        case "fixed":
            pass
    evidence: dict[str, Any] = {}
    if rule.rule in ("best", "ami"):
        curves = {
            measure: _curves(trees, searches, ground_truth, competition, measure)
            for measure in AGREEMENTS
        }
        evidence["agreement"] = {
            measure: {other: round(_mean_at_best(curves[measure], curves[other]), 6)
                      for other in AGREEMENTS}
            for measure in AGREEMENTS
        }  # fmt: skip
    if anchors:
        evidence["anchored"] = sum(each.anchored for each in constraints.values())
    return ClusterCuts(trees, fitted, evidence)


def fit_anchors(
    graphs: Sequence[NeighbourGraph],
    anchors: Mapping[str, Anchors],
    ground_truth: GroundTruth,
    competition: Competition,
) -> dict[str, float]:
    """Return `anchor:` and group → the similarity from which on queries are anchored.

    It is the one at which the best cut of the other queries agrees best with the individuals; 16
    similarities are tried, of which the first anchors all queries and the last none.
    """
    parts: dict[str, list[tuple[NeighbourGraph, GroundTruth]]] = {}
    for graph, own in _by_search(graphs, ground_truth):
        name = graph.search.name if competition.threshold.by_group else ""
        parts.setdefault(name, []).append((graph, own))
    found = {}
    for name, pairs in parts.items():
        own_graphs = [graph for graph, _ in pairs]
        searches = [graph.search for graph in own_graphs]
        similarity = np.concatenate([anchors[search.name].similarity for search in searches])
        every = candidates_between(similarity)
        tried = every[np.unique(np.linspace(0, len(every) - 1, _ANCHOR_LIMITS).astype(np.int64))]
        scores = []
        for limit in tried.tolist():
            constraints = constraints_of(searches, anchors=anchors, thresholds={ANCHOR: limit})
            trees = cluster_trees(own_graphs, competition.task.linkage, constraints)
            curves = [
                curve
                for search, (_, own) in zip(searches, pairs, strict=True)
                for curve in _curves_of(trees[search.name], own, agreement_of(competition))
            ]
            scores.append(_best_of_mean(curves)[1])
        found[f"{ANCHOR}{name}"] = best_candidate(tried, np.array(scores))
    return found


def agreement_of(competition: Competition) -> Agreement:
    """Return by what the rule of thresholds measures the agreement of clusters."""
    return "ami" if competition.threshold.rule == "ami" else "ari"


def fit_best_cut(
    trees: Mapping[str, ClusterTree],
    searches: Sequence[Search],
    ground_truth: GroundTruth,
    competition: Competition,
) -> dict[str, float]:
    """Return group → the similarity at which its tree is cut to agree best with the individuals.

    By the adjusted Rand index, or by the adjusted mutual information with the rule "ami"; for one
    cut of all groups by its mean over them.
    """
    curves = _curves(trees, searches, ground_truth, competition, agreement_of(competition))
    return {name: _best_of_mean(of_name)[0] for name, of_name in curves.items()}


def fit_balanced_cut(
    trees: Mapping[str, ClusterTree],
    searches: Sequence[Search],
    ground_truth: GroundTruth,
    competition: Competition,
) -> dict[str, float]:
    """Return group → the similarity of the least mean of both error shares.

    The errors are images that stay alone though others show their individual, and images that
    join others though none does.
    """
    first = FirstAnswers.of_trees(trees, searches, ground_truth, competition)
    names = np.concatenate([np.full(len(search.query_ids), search.name) for search in searches])
    return fit_balanced(first, groups_of(names, competition))


def fit_cut_share(
    trees: Mapping[str, ClusterTree], share: float, *, by_group: bool = False
) -> dict[str, float]:
    """Return group → the similarity at which a `share` of the images are alone in their cluster."""
    alone = {name: tree.alone_above for name, tree in trees.items()}
    if not by_group:
        alone = {"": np.concatenate(list(alone.values()))}
    return {name: threshold_with_share_below(values, share) for name, values in alone.items()}


# The similarities of a tree's joins, falling, and the agreement after 0, 1 … of them.
_OfTree = tuple[Curve, Curve]


def _by_search(
    graphs: Sequence[NeighbourGraph], ground_truth: GroundTruth
) -> Iterator[tuple[NeighbourGraph, GroundTruth]]:
    start = 0
    for graph in graphs:
        end = start + len(graph.search.query_ids)
        yield graph, ground_truth.take(np.arange(start, end))
        start = end


def _curves(
    trees: Mapping[str, ClusterTree],
    searches: Sequence[Search],
    ground_truth: GroundTruth,
    competition: Competition,
    agreement: Agreement,
) -> dict[str, list[_OfTree]]:
    """Return group → the curves that share a cut: one of each group of a search's queries."""
    curves: dict[str, list[_OfTree]] = {}
    start = 0
    for search in searches:
        own = ground_truth.take(np.arange(start, start + len(search.query_ids)))
        start += len(search.query_ids)
        name = search.name if competition.threshold.by_group else ""
        curves.setdefault(name, []).extend(_curves_of(trees[search.name], own, agreement))
    return curves


def _curves_of(tree: ClusterTree, own: GroundTruth, agreement: Agreement) -> Iterator[_OfTree]:
    for group in np.unique(own.groups):
        identity = np.where(own.groups == group, own.identity, "")
        yield tree.similarities, agreement_curve(tree, identity, agreement)


def _best_of_mean(curves: Sequence[_OfTree]) -> tuple[float, float]:
    """Return the threshold that is best for the mean of curves, and that mean."""
    candidates = candidates_between(np.concatenate([joins for joins, _ in curves]))
    values = np.mean([_at(curve, candidates) for curve in curves], axis=0)
    return best_candidate(candidates, values), float(values.max())


def _mean_at_best(
    fitted: Mapping[str, Sequence[_OfTree]], shown: Mapping[str, Sequence[_OfTree]]
) -> float:
    """Return the mean of the `shown` curves at the thresholds that are best for the `fitted`."""
    limits = {name: np.array([_best_of_mean(curves)[0]]) for name, curves in fitted.items()}
    return float(
        np.mean([_at(curve, limits[name]) for name, curves in shown.items() for curve in curves])
    )


def _at(curve: _OfTree, candidates: Curve) -> Curve:
    joins, agreement = curve
    return np.asarray(agreement[np.searchsorted(-joins, -candidates)])


def agreement_curve(tree: ClusterTree, identity: Strings, agreement: Agreement = "ari") -> Curve:
    """Return the agreement after 0, 1 … all joins; identity (n,) '' does not count."""
    counts = np.unique(identity[identity != ""], return_counts=True)[1]
    curve = _RandCurve(counts) if agreement == "ari" else _InformationCurve(counts)
    members = [Counter([label] if label else []) for label in identity.tolist()]
    for left, right in [] if tree.joins is None else tree.joins[:, :2].astype(int).tolist():
        fewer, others = sorted((members[left], members[right]), key=len)
        shared = [(count, others[label]) for label, count in fewer.items() if others[label]]
        curve.join(sum(fewer.values()), sum(others.values()), shared)
        others.update(fewer)
        members.append(others)
    return curve.values()


class _RandCurve:
    """Numbers of pairs as clusters join: those of one individual, and any."""

    def __init__(self, counts: NDArray[np.int64]) -> None:
        self.counts = counts
        self.both, self.clusters = [0], [0]

    def join(self, size: int, other: int, shared: list[tuple[int, int]]) -> None:
        self.both.append(self.both[-1] + sum(one * two for one, two in shared))
        self.clusters.append(self.clusters[-1] + size * other)

    def values(self) -> Curve:
        named = self.counts.sum()
        identities, pairs = (self.counts * (self.counts - 1)).sum() / 2, named * (named - 1) / 2
        numbers = (self.both, self.clusters, identities, pairs)
        return metrics.adjusted_rand_index(
            *(np.asarray(number, dtype=np.float64) for number in numbers)
        )


class _InformationCurve:
    """Entropies as clusters join, and the mutual information to expect by chance.

    Σ s·log s over clusters, and over parts of one individual, change by the clusters that join;
    so does the expectation, which is a sum over clusters.
    """

    def __init__(self, counts: NDArray[np.int64]) -> None:
        self.total = int(counts.sum())
        self.identities = float(_terms(counts).sum())
        self.clusters, self.both = [0.0], [0.0]
        self.expectation = metrics.ExpectedInformation(counts)
        self.expected = [self.total * self.expectation.of(1)]

    def join(self, size: int, other: int, shared: list[tuple[int, int]]) -> None:
        gained = _term(size + other) - _term(size) - _term(other)
        self.clusters.append(self.clusters[-1] + gained)
        parts = sum(_term(one + two) - _term(one) - _term(two) for one, two in shared)
        self.both.append(self.both[-1] + parts)
        of = self.expectation.of
        self.expected.append(self.expected[-1] + of(size + other) - of(size) - of(other))

    def values(self) -> Curve:
        def entropy(terms: list[float] | float) -> Curve:
            number = max(self.total, 1)
            return np.asarray(np.log(number) - np.asarray(terms, dtype=np.float64) / number)

        return metrics.adjusted_mutual_information(
            entropy(self.both),
            entropy(self.clusters),
            entropy(self.identities),
            np.array(self.expected),
        )


def _term(size: int) -> float:
    return float(size * np.log(size)) if size else 0.0


def _terms(sizes: NDArray[np.int64]) -> Curve:
    return np.asarray(sizes * np.log(np.maximum(sizes, 1)))
