"""The members of an ensemble beside each other and beside the whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kitbox.report.queries import Queries
from kitbox.scoring import comparison
from kitbox.scoring.local import LocalScore

# Values this close are equal: the same queries, summed in another order.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Alone:
    """What one member scores by itself; `value (q,)` is of each query, NaN where not scored."""

    name: str
    weight: float
    score: LocalScore
    value: NDArray[np.float64]


def values(
    alone: Sequence[Alone], together: LocalScore, queries: Queries, metric: str
) -> dict[str, Any]:
    """Return the tables that compare members: a row each, and a row for each pair."""
    if not alone:
        return {"members_told": "", "member_heads": (), "member_rows": (), "duels": ()}
    shown = list(together.scores.by_metric)[:4]
    rows = [("together", "", *_scores(together, shown), "")]
    rows += [
        (
            one.name,
            f"{one.weight:g}",
            *_scores(one.score, shown),
            str(int((one.value > queries.value + _ROUNDING).sum())),
        )
        for one in alone
    ]
    return {
        "members_told": f"Each member alone on the same queries, and for how many of them it has "
        f"a better {queries.metric} than the ensemble. The order of the queries above can follow a "
        "member's gain over the others.",
        "member_heads": ("", "weight", *shown, "better than together"),
        "member_rows": rows,
        "duels": [_duel(a, b, metric) for a, b in combinations(alone, 2)],
    }


def _scores(score: LocalScore, shown: Sequence[str]) -> list[str]:
    found = score.scores.by_metric
    return [f"{found[name].value:.4f}" if name in found else "" for name in shown]


def _duel(a: Alone, b: Alone, metric: str) -> tuple[str, ...]:
    """Return on how many queries each of two is better, and the difference with its interval."""
    change = b.value - a.value
    change = change[~np.isnan(change)]
    found = comparison.compare(
        a.score.outcomes[metric], b.score.outcomes[metric], a.score.individuals, (a.name, b.name)
    )
    return (
        f"{a.name}, {b.name}",
        str(int((change < -_ROUNDING).sum())),
        str(int((np.abs(change) <= _ROUNDING).sum())),
        str(int((change > _ROUNDING).sum())),
        f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]",
    )
