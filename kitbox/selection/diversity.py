"""How far members agree about the queries that they answer rightly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from kitbox.scoring.metrics import PerQuery


@dataclass(frozen=True, kw_only=True)
class MemberAgreement:
    """How many queries two members answer rightly: both, one of them alone, or neither.

    `correlation` is that of the queries' values by a metric (Pearson), None where a member has the
    same value for all of them, or the metric is no mean over queries.
    """

    first: str
    second: str
    both: int
    first_alone: int
    second_alone: int
    neither: int
    correlation: float | None

    @property
    def queries(self) -> int:
        """The number of queries."""
        return self.both + self.first_alone + self.second_alone + self.neither

    @property
    def q(self) -> float | None:
        """Yule's Q: 1 for members that are right on the same queries, 0 for independent ones.

        (ad − bc) / (ad + bc) of both right a, neither d, and one alone b, c; below 0 where members
        are right on different queries. None where both products are 0. Source: Kuncheva and
        Whitaker, Measures of diversity in classifier ensembles, Machine Learning 51, 2003.
        """
        alike, apart = self.both * self.neither, self.first_alone * self.second_alone
        return None if alike + apart == 0 else (alike - apart) / (alike + apart)

    def as_json(self) -> dict[str, Any]:
        """Return the counts, Q and the correlation."""
        return {**vars(self), "q": self.q}


def agreements(
    hits: Mapping[str, PerQuery], values: Mapping[str, PerQuery | None]
) -> list[MemberAgreement]:
    """Return the agreement of each pair of members.

    `hits` has for each member 1 where its first answer to a query (n,) is right, else 0; `values`
    the values (m,) of the queries by a metric, or None.
    """
    found = []
    for first, second in combinations(hits, 2):
        a, b = hits[first] > 0, hits[second] > 0
        found.append(
            MemberAgreement(
                first=first,
                second=second,
                both=int((a & b).sum()),
                first_alone=int((a & ~b).sum()),
                second_alone=int((~a & b).sum()),
                neither=int((~a & ~b).sum()),
                correlation=_correlation(values[first], values[second]),
            )
        )
    return found


def any_right(hits: Sequence[PerQuery]) -> float:
    """Return the share of queries that at least one member answers rightly."""
    return float(np.mean(np.max(hits, axis=0) > 0))


def _correlation(a: PerQuery | None, b: PerQuery | None) -> float | None:
    if a is None or b is None or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])
