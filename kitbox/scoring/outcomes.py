"""What each metric must know of every query, so that it can be taken over any weighting of them.

A weight counts how often a query was drawn, with the other queries of its individual. A metric that
is not defined on what was drawn (no query that it counts) is NaN there.
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


@dataclass(frozen=True)
class Parts:
    """Disjoint parts of the queries, each within one group.

    `order (n,)` brings the queries of a part together, `starts (p,)` is where each begins, and
    `of_group (p, g)` is 1 where a part lies in a group.
    """

    order: Integers
    starts: Integers
    of_group: NDArray[np.float64]

    @classmethod
    def of(cls, numbers: Integers, of_group: NDArray[np.float64]) -> "Parts":
        """Return the parts of numbered queries (n,), whose groups `of_group (n, g)` marks."""
        order = np.argsort(numbers, kind="stable")
        starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
        return cls(order, starts, of_group[order[starts]])

    def sums(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum (r, p) of each part under each row of `weights (r, n)`."""
        return np.add.reduceat(weights[:, self.order], self.starts, axis=1)


def codes(*columns: NDArray[Any]) -> Integers:
    """Return numbers from 0 that rows share which agree in all columns, in the columns' order."""
    found = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        values, numbers = np.unique(column, return_inverse=True)
        found = np.unique(found * len(values) + numbers, return_inverse=True)[1]
    return found


def indicator(groups: Integers, *, even: bool = False) -> NDArray[np.float64]:
    """Return (n, g), 1 where a row lies in a group; `even` rounds g up to whole pairs."""
    width = int(groups.max(initial=0)) + 1
    width += even and width % 2
    return np.asarray(groups[:, None] == np.arange(width), dtype=np.float64)


class Outcome(Protocol):
    """How a metric went for the queries `query_ids (n,)`.

    `repeats` tells whether an individual may be drawn more than once.
    """

    query_ids: Strings
    repeats: ClassVar[bool] = True

    def over(self, weights: Numbers) -> Numbers:
        """Return the metric (r,) under each row of `weights (r, n)`, NaN where undefined.

        Needs several times the memory of `weights`; the caller draws in parts.
        """

    @property
    def value(self) -> float:
        """The metric over all queries, each counted once."""
        return float(self.over(np.ones((1, len(self.query_ids))))[0])

    @property
    def per_query(self) -> PerQuery | None:
        """Values (n,) whose mean is the metric, or None where it is no mean over queries."""
        return None

    def swapped(self, other: "Outcome", mask: Hits) -> "Outcome | None":  # noqa: ARG002
        """Return this outcome with the other's answers where `mask (n,)`.

        None where answers of two systems cannot stand side by side.
        """
        return None


@dataclass(frozen=True)
class Mean(Outcome):
    """A metric that is the mean of `values (n,)`, one for each query."""

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


@dataclass(frozen=True)
class GlobalPrecision(Outcome):
    """`metrics.global_average_precision` of `confidence`, `correct` and `answerable`, all (n,)."""

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
            self.confidence, self.correct, self.answerable, weights
        )

    def swapped(self, other: Outcome, mask: Hits) -> Self | None:
        """Return the answers with the other's where `mask`, each at its place in its own list.

        Confidences of two systems are on two scales; their places, from the most confident
        answer down, are on one, and say the same of each system alone.
        """
        if not isinstance(other, GlobalPrecision):
            return None
        return replace(
            self,
            confidence=np.where(mask, other._places, self._places),
            correct=np.where(mask, other.correct, self.correct),
        )

    @cached_property
    def _places(self) -> Numbers:
        """Minus the rank of each answer in the list of all, -inf where there is no answer."""
        order = np.argsort(-self.confidence, kind="stable")
        places = np.empty(len(order))
        places[order] = -np.arange(1.0, len(order) + 1)
        return np.where(self.confidence > -np.inf, places, -np.inf)


@dataclass(frozen=True)
class Balanced(Outcome):
    """BAKS, BAUS or `both`: sqrt(BAKS · BAUS), as a mean over groups (data sets).

    All are (n,): the true `identity`, whether it is `known`, whether the answer is `correct` (for
    an unknown identity: whether it was called unknown), and the `group`. Where a group has no
    known or no unknown query, `both` is the factor that there is; a group that has nothing to
    count is left out of the mean. An individual that was drawn twice counts as two. Source:
    AnimalCLEF 2025 and wildlife-datasets.
    """

    query_ids: Strings
    identity: Strings
    known: Hits
    correct: Hits
    group: Strings
    which: Literal["both", "baks", "baus"] = "both"
    # each query's share of its identity (n, 2 g); kept over swaps, which change `correct` alone
    _shares: Numbers | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        answers = {"known": self.known, "correct": self.correct}
        _check_lengths(self.query_ids, identity=self.identity, group=self.group, **answers)
        if self._shares is None:
            identities = codes(self.group, self.known, self.identity)
            # columns 2 g and 2 g + 1 are the unknown and the known of group g
            halves = indicator(2 * codes(self.group) + self.known, even=True)
            shares = halves / np.bincount(identities)[identities][:, None]
            object.__setattr__(self, "_shares", shares)

    def over(self, weights: Numbers) -> Numbers:
        """Return the balanced accuracies (r,), identities that were not drawn left out."""
        shares = self._shares
        assert shares is not None  # noqa: S101
        halves = quotient(weights @ (shares * self.correct[:, None]), weights @ shares)
        baus, baks = halves[:, 0::2], halves[:, 1::2]
        if self.which != "both":
            return _mean_of_defined(baks if self.which == "baks" else baus)
        alone = np.where(np.isnan(baks), baus, baks)
        either = np.isnan(baks) | np.isnan(baus)
        return _mean_of_defined(np.where(either, alone, np.sqrt(baks * baus)))

    def swapped(self, other: Outcome, mask: Hits) -> Self | None:
        """Return the answers with the other's where `mask`."""
        if not isinstance(other, Balanced):
            return None
        return replace(self, correct=np.where(mask, other.correct, self.correct))


@dataclass(frozen=True)
class Clustering(Outcome):
    """Agreement of `cluster` and `identity`, both (n,): the mean over `group`s (data sets).

    `ari` is the adjusted Rand index over pairs of distinct queries: a query that was drawn twice
    is no pair with itself. `nmi` is the normalised mutual information. Groups without a query
    are left out of the mean. Clusters of two systems have nothing in common but their names, so
    that there is no swapping. An individual is not drawn twice: it would agree with itself.
    """

    repeats: ClassVar[bool] = False
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
        both, clusters, identities = self._levels
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
    def _levels(self) -> tuple[Parts, Parts, Parts]:
        """Cells (what agrees in cluster and identity), clusters and identities of each group."""
        columns = [(self.cluster, self.identity), (self.cluster,), (self.identity,)]
        both, clusters, identities = (
            Parts.of(codes(self.group, *column), self._of_group) for column in columns
        )
        return both, clusters, identities

    @cached_property
    def _of_group(self) -> Numbers:
        return indicator(codes(self.group))


def pool(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the outcome over the queries of several folds, each asked once.

    Clusters of different folds are kept apart as groups are. Raises KitboxError for outcomes of
    different metrics.
    """
    first = outcomes[0]
    kinds = {(type(outcome), getattr(outcome, "which", "")) for outcome in outcomes}
    if len(kinds) > 1:
        raise KitboxError("folds were scored by different metrics; score them by one")
    if isinstance(first, Clustering):
        outcomes = [
            replace(outcome, group=np.char.add(f"{number}/", outcome.group))  # type: ignore[type-var,attr-defined]
            for number, outcome in enumerate(outcomes, 1)
        ]
    columns: dict[str, Any] = {
        column.name: np.concatenate([getattr(outcome, column.name) for outcome in outcomes])
        for column in fields(first)  # type: ignore[arg-type]
        if isinstance(getattr(first, column.name), np.ndarray) and column.name != "_shares"
    }
    if isinstance(first, Balanced):
        columns["_shares"] = None
    return replace(first, **columns)  # type: ignore[type-var]


def _pairs(parts: Parts, weights: Numbers, itself: Numbers) -> Numbers:
    """Return the weight of pairs within a part (r, g), `itself (r, g)` the sum of w²."""
    pairs: Numbers = (parts.sums(weights) ** 2 @ parts.of_group - itself) / 2
    return pairs


def _entropy(parts: Parts, weights: Numbers, queries: Numbers) -> Numbers:
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


@dataclass(frozen=True)
class AreaUnderCurve(Outcome):
    """The chance that a marked query has a higher number than one that is not; a tie is half.

    `numbers` and `marked` are (n,).
    """

    query_ids: Strings
    numbers: Numbers
    marked: Hits

    def over(self, weights: Numbers) -> Numbers:
        """Return the area (r,), NaN where all or none of what was drawn is marked."""
        order = np.argsort(self.numbers, kind="stable")
        _, starts = np.unique(self.numbers[order], return_index=True)
        drawn, marked = weights[:, order], self.marked[order]
        high = np.add.reduceat(drawn * marked, starts, axis=1)
        low = np.add.reduceat(drawn * ~marked, starts, axis=1)
        below = np.cumsum(low, axis=1) - low / 2
        return quotient((high * below).sum(axis=1), high.sum(axis=1) * low.sum(axis=1))
