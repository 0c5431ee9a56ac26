"""Outcomes of the queries by each metric, from which it is computed under any weights of them.

A weight counts how often a query was drawn, with the other queries of its individual. A metric is
NaN where none of the queries that it counts was drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from kitbox.errors import KitboxError
from kitbox.records import Integers, Strings
from kitbox.scoring import metrics
from kitbox.scoring.metrics import Hits, Numbers, PerQuery, quotient


class Outcome(Protocol):
    """The outcome of the queries `query_ids (n,)` by a metric.

    `with_replacement`: an individual may be drawn more than once.
    """

    query_ids: Strings
    with_replacement: ClassVar[bool] = True

    def over(self, weights: Numbers) -> Numbers:
        """Return the metric (r,) under each row of `weights (r, n)`, NaN where undefined.

        Takes several times the memory of `weights`; the caller draws in blocks.
        """

    @property
    def value(self) -> float:
        """The metric over all queries, each counted once."""
        return float(self.over(np.ones((1, len(self.query_ids))))[0])

    @property
    def per_query(self) -> PerQuery | None:
        """Values (n,) whose mean is the metric, None where it is no mean over queries."""
        return None

    def swapped(self, other: "Outcome", mask: Hits) -> "Outcome | None":  # noqa: ARG002
        """Return this outcome with the other's answers where `mask (n,)`.

        None where answers of two systems cannot be mixed.
        """
        return None


@dataclass(frozen=True)
class Mean(Outcome):
    """A metric that is the mean of `values (n,)`, one of each query."""

    query_ids: Strings
    values: PerQuery

    def __post_init__(self) -> None:
        _check_lengths(self.query_ids, values=self.values)

    def over(self, weights: Numbers) -> Numbers:
        """Return the weighted means (r,)."""
        return quotient(weights @ self.values, weights.sum(axis=1))

    @property
    def per_query(self) -> PerQuery:
        """The values (n,)."""
        return self.values

    def swapped(self, other: Outcome, mask: Hits) -> Self | None:
        """Return these values with the other's where `mask`."""
        if not isinstance(other, Mean):
            return None
        return replace(self, values=np.where(mask, other.values, self.values))


@dataclass(frozen=True, kw_only=True)
class MeanOverIndividuals(Outcome):
    """The mean over individuals of the mean of `values (n,)`, one of each of their queries.

    `identity (n,)` is the individual of each query. One that was drawn twice counts as two.
    """

    query_ids: Strings
    values: PerQuery
    identity: Strings

    def __post_init__(self) -> None:
        _check_lengths(self.query_ids, values=self.values, identity=self.identity)

    def over(self, weights: Numbers) -> Numbers:
        """Return the means (r,) of the individuals that were drawn."""
        shares = self._shares
        return quotient(weights @ (shares * self.values), weights @ shares)

    def swapped(self, other: Outcome, mask: Hits) -> Self | None:
        """Return these values with the other's where `mask`."""
        if not isinstance(other, MeanOverIndividuals):
            return None
        return replace(self, values=np.where(mask, other.values, self.values))

    @cached_property
    def _shares(self) -> Numbers:
        """The share (n,) of each query in its individual."""
        codes = _codes(self.identity)
        return np.asarray(1 / np.bincount(codes)[codes])


@dataclass(frozen=True)
class GlobalAveragePrecision(Outcome):
    """`metrics.global_average_precision` of `confidence`, `correct` and `answerable`, all (n,).

    Of equal confidences the query whose id sorts first comes first. Source: Kaggle's convention, as
    GlobalAveragePrecision in the `delf` package of the competition's hosts has it.
    """

    query_ids: Strings
    confidence: Numbers
    correct: Hits
    answerable: Hits

    def __post_init__(self) -> None:
        answers = {"correct": self.correct, "answerable": self.answerable}
        _check_lengths(self.query_ids, confidence=self.confidence, **answers)

    def over(self, weights: Numbers) -> Numbers:
        """Return the global average precision (r,)."""
        return metrics.global_average_precision(
            self._negative_ranks, self.correct, self.answerable, weights
        )

    def swapped(self, other: Outcome, mask: Hits) -> Self | None:
        """Return the answers with the other's where `mask`, each by its rank in its own list.

        Confidences of two systems are on two scales. Ranks are on one, and each system alone has
        the same metric by them.
        """
        if not isinstance(other, GlobalAveragePrecision):
            return None
        return replace(
            self,
            confidence=np.where(mask, other._negative_ranks, self._negative_ranks),
            correct=np.where(mask, other.correct, self.correct),
        )

    @cached_property
    def _negative_ranks(self) -> Numbers:
        """Minus the rank of each answer by its confidence, -inf where there is no answer."""
        order = np.lexsort((self.query_ids, -self.confidence))
        ranks = np.empty(len(order))
        ranks[order] = -np.arange(1.0, len(order) + 1)
        return np.where(self.confidence > -np.inf, ranks, -np.inf)


@dataclass(frozen=True)
class AreaUnderCurve(Outcome):
    """The area under the ROC curve of `values (n,)` that tell `positive (n,)` queries from others.

    It is the probability that a positive query has a higher value than another; a tie counts half.
    """

    query_ids: Strings
    values: Numbers
    positive: Hits

    def over(self, weights: Numbers) -> Numbers:
        """Return the area (r,), NaN where all queries drawn are positive, or none."""
        order = np.argsort(self.values, kind="stable")
        _, starts = np.unique(self.values[order], return_index=True)
        drawn, positive = weights[:, order], self.positive[order]
        high = np.add.reduceat(drawn * positive, starts, axis=1)
        low = np.add.reduceat(drawn * ~positive, starts, axis=1)
        below = np.cumsum(low, axis=1) - low / 2
        return quotient((high * below).sum(axis=1), high.sum(axis=1) * low.sum(axis=1))


@dataclass(frozen=True, kw_only=True)
class BalancedAccuracy(Outcome):
    """BAKS, BAUS or `both`: sqrt(BAKS · BAUS), as a mean over groups (data sets).

    All are (n,): the true `identity`, whether it is `known`, whether the answer is `correct` (of
    an unknown identity: whether it was answered as unknown), and the `group`. Where a group has no
    known or no unknown query, `both` is the other factor alone, or 0 with `absent_is_zero`, as on
    the leaderboard; a group without any is left out of the mean. An individual that was drawn twice
    counts as two. Source: AnimalCLEF 2025 and wildlife-datasets.
    """

    query_ids: Strings
    identity: Strings
    known: Hits
    correct: Hits
    group: Strings
    which: Literal["both", "baks", "baus"] = "both"
    absent_is_zero: bool = False
    # each query's share of its identity (n, 2 g); kept in swaps, which change only `correct`
    _shares: Numbers | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        answers = {"known": self.known, "correct": self.correct}
        _check_lengths(self.query_ids, identity=self.identity, group=self.group, **answers)
        if self._shares is None:
            identities = _codes(self.group, self.known, self.identity)
            # columns 2 g and 2 g + 1 are the unknown and the known of group g
            halves = _indicator(2 * _codes(self.group) + self.known, even=True)
            shares = halves / np.bincount(identities)[identities][:, None]
            object.__setattr__(self, "_shares", shares)

    def over(self, weights: Numbers) -> Numbers:
        """Return the balanced accuracies (r,) of the identities that were drawn."""
        shares = self._shares
        assert shares is not None  # noqa: S101
        halves = quotient(weights @ (shares * self.correct[:, None]), weights @ shares)
        baus, baks = halves[:, 0::2], halves[:, 1::2]
        if self.which != "both":
            return _mean_of_defined(baks if self.which == "baks" else baus)
        alone = np.where(np.isnan(baks), baus, baks)
        either = np.isnan(baks) | np.isnan(baus)
        by_group = np.where(either, alone, np.sqrt(baks * baus))
        if self.absent_is_zero:  # absent from the queries, not only from those that were drawn
            there = np.asarray(shares.any(axis=0))
            by_group = np.where(there[0::2] & there[1::2], by_group, by_group * 0)
        return _mean_of_defined(by_group)

    @property
    def one_sided_groups(self) -> dict[str, str]:
        """Group → "known" or "unknown", of which it has no query."""
        found = {}
        for group in np.unique(self.group).tolist():
            known = self.known[self.group == group]
            if known.all() or not known.any():
                found[group] = "unknown" if known.all() else "known"
        return found

    def swapped(self, other: Outcome, mask: Hits) -> Self | None:
        """Return the answers with the other's where `mask`."""
        if not isinstance(other, BalancedAccuracy):
            return None
        return replace(self, correct=np.where(mask, other.correct, self.correct))


@dataclass(frozen=True, kw_only=True)
class ClusterAgreement(Outcome):
    """Agreement of `cluster` and `identity`, both (n,): the mean over `group`s (data sets).

    `ari` is the adjusted Rand index over pairs of distinct queries: a query that was drawn twice
    is no pair with itself. `nmi` is the normalised mutual information. Groups without a query
    are left out of the mean. Clusters of two systems share nothing but their names and cannot be
    swapped. An individual is not drawn twice, because it would agree with itself.
    """

    with_replacement: ClassVar[bool] = False
    query_ids: Strings
    cluster: Strings
    identity: Strings
    group: Strings
    which: Literal["ari", "nmi"] = "ari"

    def __post_init__(self) -> None:
        _check_lengths(
            self.query_ids, cluster=self.cluster, identity=self.identity, group=self.group
        )

    def over(self, weights: Numbers) -> Numbers:
        """Return the agreement (r,)."""
        queries = weights @ self._of_group
        both, clusters, identities = self._partitions
        if self.which == "ari":
            # Σ over i < j of wᵢ·wⱼ is ((Σw)² − Σw²) / 2
            itself = weights**2 @ self._of_group
            found = metrics.adjusted_rand_index(
                _pairs(both, weights, itself),
                _pairs(clusters, weights, itself),
                _pairs(identities, weights, itself),
                (queries**2 - itself) / 2,
            )
        else:
            found = metrics.normalised_mutual_information(
                _entropy(both, weights, queries),
                _entropy(clusters, weights, queries),
                _entropy(identities, weights, queries),
            )
        return _mean_of_defined(np.where(queries > 0, found, np.nan))

    @cached_property
    def _partitions(self) -> "tuple[_Parts, _Parts, _Parts]":
        """The cells (equal in cluster and identity), clusters and identities of each group."""
        columns = [(self.cluster, self.identity), (self.cluster,), (self.identity,)]
        both, clusters, identities = (
            _Parts.of(_codes(self.group, *column), self._of_group) for column in columns
        )
        return both, clusters, identities

    @cached_property
    def _of_group(self) -> Numbers:
        return _indicator(_codes(self.group))


def take(outcome: Outcome, rows: Integers) -> Outcome:
    """Return the outcome of some queries alone."""
    columns: dict[str, Any] = {
        column.name: getattr(outcome, column.name)[rows]
        for column in fields(outcome)  # type: ignore[arg-type]
        if isinstance(getattr(outcome, column.name), np.ndarray) and column.name != "_shares"
    }
    if isinstance(outcome, BalancedAccuracy):
        columns["_shares"] = None
    return replace(outcome, **columns)  # type: ignore[type-var]


def stitch(outcomes: Sequence[Outcome], part: Integers) -> Outcome:
    """Return the outcome whose queries take part `part (n,)` of outcomes of the same queries.

    Queries of number i have the answers of outcome i. Where answers of two systems cannot be
    mixed, as those of clusters, the parts are kept apart like groups, and queries come in the order
    of the parts.
    """
    mixed: Outcome | None = outcomes[0]
    for number, outcome in enumerate(outcomes[1:], 1):
        mixed = None if mixed is None else mixed.swapped(outcome, part == number)
    if mixed is not None:
        return mixed
    rows = [np.flatnonzero(part == number) for number in range(len(outcomes))]
    return pool([take(outcome, own) for outcome, own in zip(outcomes, rows, strict=True)])


def pool(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the outcome over the queries of several folds, which have no query in common.

    Clusters of different folds are kept apart like groups. Raises KitboxError for outcomes of
    different metrics.
    """
    first = outcomes[0]
    kinds = {(type(outcome), getattr(outcome, "which", "")) for outcome in outcomes}
    if len(kinds) > 1:
        raise KitboxError("folds were scored by different metrics; score them by one")
    if isinstance(first, ClusterAgreement):
        outcomes = [
            replace(outcome, group=np.char.add(f"{number}/", outcome.group))  # type: ignore[type-var,attr-defined]
            for number, outcome in enumerate(outcomes, 1)
        ]
    columns: dict[str, Any] = {
        column.name: np.concatenate([getattr(outcome, column.name) for outcome in outcomes])
        for column in fields(first)  # type: ignore[arg-type]
        if isinstance(getattr(first, column.name), np.ndarray) and column.name != "_shares"
    }
    if isinstance(first, BalancedAccuracy):
        columns["_shares"] = None
    return replace(first, **columns)  # type: ignore[type-var]


@dataclass(frozen=True)
class _Parts:
    """A partition of the queries, each part within one group.

    `order (n,)` sorts the queries by part, `starts (p,)` is where each part begins, and
    `of_group (p, g)` is 1 where a part lies in a group.
    """

    order: Integers
    starts: Integers
    of_group: NDArray[np.float64]

    @classmethod
    def of(cls, numbers: Integers, of_group: NDArray[np.float64]) -> "_Parts":
        """Return the parts of queries that share a number (n,), in groups `of_group (n, g)`."""
        order = np.argsort(numbers, kind="stable")
        starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
        return cls(order, starts, of_group[order[starts]])

    def sums(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum (r, p) of each part under each row of `weights (r, n)`."""
        return np.add.reduceat(weights[:, self.order], self.starts, axis=1)


def _pairs(parts: _Parts, weights: Numbers, itself: Numbers) -> Numbers:
    """Return the weight of pairs within a part (r, g), `itself (r, g)` the sum of w²."""
    pairs: Numbers = (parts.sums(weights) ** 2 @ parts.of_group - itself) / 2
    return pairs


def _entropy(parts: _Parts, weights: Numbers, queries: Numbers) -> Numbers:
    """Return log N − Σ s·log s / N (r, g), N the `queries (r, g)`; 0 where nothing was drawn."""
    sizes = parts.sums(weights)
    each = sizes * np.log(np.where(sizes > 0, sizes, 1.0))
    number = np.where(queries > 0, queries, 1.0)
    entropy: Numbers = np.log(number) - each @ parts.of_group / number
    return entropy


def _mean_of_defined(by_group: Numbers) -> Numbers:
    """Return the mean (r,) of the groups (r, g) that are not NaN."""
    return quotient(np.nansum(by_group, axis=1), (~np.isnan(by_group)).sum(axis=1))


def _check_lengths(query_ids: Strings, **columns: np.ndarray[Any, Any]) -> None:
    for name, column in columns.items():
        if len(column) != len(query_ids):
            raise KitboxError(f"{len(query_ids)} queries but {len(column)} of {name}")


def _codes(*columns: NDArray[Any]) -> Integers:
    """Return a number from 0 of each row, equal where rows agree in all columns."""
    found = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        values, numbers = np.unique(column, return_inverse=True)
        found = np.unique(found * len(values) + numbers, return_inverse=True)[1]
    return found


def _indicator(groups: Integers, *, even: bool = False) -> NDArray[np.float64]:
    """Return (n, g): 1 where a row lies in a group; `even` rounds g up to an even number."""
    width = int(groups.max(initial=0)) + 1
    width += even and width % 2
    return np.asarray(groups[:, None] == np.arange(width), dtype=np.float64)
