"""Paired comparison of two systems on the same queries."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kitbox.errors import KitboxError
from kitbox.records import Integers, Strings
from kitbox.scoring.bootstrap import bootstrap_interval, number_individuals
from kitbox.scoring.metrics import Numbers, PerQuery
from kitbox.scoring.outcomes import Outcome

PERMUTATIONS = 10_000
# Where each swap computes the metric anew: enough to tell p = 0.05 from p = 0.03.
FEWER_PERMUTATIONS = 1_000
LEVEL = 0.05
_SEED = 0
# Swaps drawn at a time: a byte each, and eight where they are multiplied.
_BLOCK_SIZE = 4_000_000
# Differences this close are equal but for the order of summation.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class QueryChange:
    """The value of a query by the first system and by the second."""

    query_id: str
    before: float
    after: float


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The score of the second of two systems minus that of the first, with a paired 95 % interval.

    `p` is two-sided: how often a difference as large arises when each individual's two outcomes
    are assigned to the systems at random; None where outcomes cannot be exchanged. `before` and
    `after (n,)` are the queries' values where the metric is their mean, else None.
    """

    names: tuple[str, str]
    value: float
    low: float
    high: float
    p: float | None
    query_ids: Strings
    before: PerQuery | None = None
    after: PerQuery | None = None

    @property
    def significant(self) -> bool:
        """Whether it is more than noise: the interval is clear of 0, and p, if any, is small."""
        return not self.low <= 0 <= self.high and (self.p is None or self.p < LEVEL)

    @property
    def sentence(self) -> str:
        """Which system is better and by how much, or that no difference is shown."""
        if self.significant:
            return f"{self._better()}{self._p_value()}"
        a, b = self.names
        value = f"{b} - {a} is {_bracketed(self.value, self.low, self.high)}{self._p_value()}"
        if not self.low <= 0 <= self.high:
            reason = f"the interval is clear of 0, but p is not below {LEVEL}"
        elif self.p is not None and self.p < LEVEL:
            reason = f"p is below {LEVEL}, but the interval contains 0"
        else:
            reason = "the interval contains 0"
        return f"no difference is shown: {value}; {reason}"

    def largest_changes(
        self, n: int
    ) -> tuple[tuple[QueryChange, ...], tuple[QueryChange, ...]] | None:
        """Return the n queries that gained most and the n that lost most, the largest first.

        Queries that did not change are in neither. None where the metric is no mean over queries.
        """
        before, after = self.before, self.after
        if before is None or after is None:
            return None
        gained, lost = (
            tuple(
                QueryChange(str(self.query_ids[row]), float(before[row]), float(after[row]))
                for row in _largest(change, n)
            )
            for change in (after - before, before - after)
        )
        return gained, lost

    def as_json(self) -> dict[str, Any]:
        """Return the names, the numbers and the sentence."""
        return {
            "names": list(self.names),
            "difference": self.value,
            "low": self.low,
            "high": self.high,
            "p": self.p,
            "queries": len(self.query_ids),
            "sentence": self.sentence,
        }

    def _better(self) -> str:
        a, b = self.names
        if self.value >= 0:
            return f"{b} is better than {a} by {_bracketed(self.value, self.low, self.high)}"
        return f"{a} is better than {b} by {_bracketed(-self.value, -self.high, -self.low)}"

    def _p_value(self) -> str:
        if self.p is None:
            return ""
        return ", p < 0.001" if self.p < 0.001 else f", p = {self.p:.3f}"


def compare(
    a: Outcome, b: Outcome, individuals: Mapping[str, str], names: tuple[str, str] = ("A", "B")
) -> Difference:
    """Return how much better b is than a, by one metric on the same queries in the same order.

    The interval draws the same individuals (query id → individual) for both. p is taken from
    random swaps of the individuals' outcomes: (c + 1) / (m + 1) where c of m swaps differ at least
    as much (Phipson and Smyth, 2010). Raises KitboxError where queries or metrics differ, or where
    there is nothing to compare.
    """
    _check_pair(a, b, names)
    value = b.value - a.value
    if np.isnan(value):
        raise KitboxError(
            f"the metric counts none of the {len(a.query_ids)} queries; nothing to compare"
        )
    clusters = number_individuals(a.query_ids, individuals)
    low, high = bootstrap_interval(
        value,
        lambda weights: b.over(weights) - a.over(weights),
        clusters,
        with_replacement=a.with_replacement,
    )
    before, after = a.per_query, b.per_query
    if before is None or after is None:
        swapped = _swaps(a, b, clusters)
    else:
        change = np.bincount(clusters, after - before).astype(np.float64)
        swapped = _sign_flips(change) / len(clusters)
    return Difference(
        names=names,
        value=value,
        low=low,
        high=high,
        p=_share(swapped, value),
        query_ids=a.query_ids,
        before=before,
        after=after,
    )


def _sign_flips(change: PerQuery) -> Numbers:
    """Return the sum of changes (m,) under random swaps, each of which turns some signs."""
    generator = np.random.default_rng(_SEED)
    moved = change[change != 0]  # the sign of 0 makes no difference
    rows = max(_BLOCK_SIZE // max(len(moved), 1), 1)
    parts = []
    for begin in range(0, PERMUTATIONS, rows):
        size = (min(rows, PERMUTATIONS - begin), len(moved))
        flipped = generator.integers(0, 2, size=size, dtype=np.bool_) @ moved
        parts.append(moved.sum() - 2 * flipped)
    return np.concatenate(parts)


def _swaps(a: Outcome, b: Outcome, clusters: Integers) -> Numbers | None:
    """Return b − a under random swaps of clusters (n,), None where outcomes cannot be swapped."""
    generator = np.random.default_rng(_SEED)
    differences = []
    for _ in range(FEWER_PERMUTATIONS):
        mask = generator.integers(0, 2, size=int(clusters.max()) + 1, dtype=np.bool_)[clusters]
        left, right = a.swapped(b, mask), b.swapped(a, mask)
        if left is None or right is None:
            return None
        differences.append(right.value - left.value)
    return np.array(differences)


def _share(differences: Numbers | None, observed: float) -> float | None:
    """Return the share of differences that are at least as large as the observed one."""
    if differences is None:
        return None
    as_large = np.abs(differences) >= abs(observed) - _ROUNDING
    return float((as_large.sum() + 1) / (len(differences) + 1))


def _largest(change: PerQuery, n: int) -> Integers:
    """Return the rows of the n largest changes above 0, largest first; of equals the earlier."""
    order = np.argsort(-change, kind="stable")
    return order[change[order] > 0][:n]


def _check_pair(a: Outcome, b: Outcome, names: tuple[str, str]) -> None:
    if type(a) is not type(b):
        raise KitboxError(
            f"{names[0]} and {names[1]} were scored by different metrics; score both by one"
        )
    if not len(a.query_ids) and not len(b.query_ids):
        raise KitboxError(f"{names[0]} and {names[1]} have no query; nothing to compare")
    if np.array_equal(a.query_ids, b.query_ids):
        return
    shorter = min(len(a.query_ids), len(b.query_ids))
    differ = np.flatnonzero(a.query_ids[:shorter] != b.query_ids[:shorter])
    row = int(differ[0]) if len(differ) else shorter
    found = " but ".join(
        f"'{ids[row]}' in {name}" if row < len(ids) else f"missing in {name}"
        for ids, name in ((a.query_ids, names[0]), (b.query_ids, names[1]))
    )
    raise KitboxError(f"query {row + 1} is {found}; score both on the same holdout")


def _bracketed(value: float, low: float, high: float) -> str:
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"
