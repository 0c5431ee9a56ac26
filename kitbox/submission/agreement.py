"""How far local scores foretell the leaderboard, over the submissions that have both."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kitbox.submission.standing import Standing

Scores = NDArray[np.float64]
# With two, every line fits and every rank agrees.
FEWEST = 3


@dataclass(frozen=True)
class Agreement:
    """Correlations and errors over pairs of (local, leaderboard); None where undefined.

    `offset` is the mean of leaderboard minus local. `line_error` is the mean absolute error of a
    straight line through the other pairs, for each pair in turn; `mean_error` that of their mean.
    """

    pairs: int
    spearman: float | None
    pearson: float | None
    offset: float
    line_error: float
    mean_error: float

    def as_json(self) -> dict[str, Any]:
        """Return the fields."""
        return dict(vars(self))

    def __str__(self) -> str:
        side = "above" if self.offset >= 0 else "below"
        correlations = (
            "no correlation can be told from scores that are all the same"
            if self.spearman is None or self.pearson is None
            else f"Spearman {self.spearman:.2f}, Pearson {self.pearson:.2f}"
        )
        return (
            f"{self.pairs} submissions with both scores: {correlations}; the leaderboard lies "
            f"{abs(self.offset):.4g} {side} the local score on average, and a straight line from "
            f"the other submissions misses it by {self.line_error:.4g} (their mean alone by "
            f"{self.mean_error:.4g})"
        )


def pairs_of(standings: Iterable[Standing], metric: str) -> list[tuple[float, float]]:
    """Return (local, public) of every submission that has both by this metric.

    The same list under several names counts once.
    """
    found: dict[str, tuple[float, float]] = {}
    for standing in standings:
        local = standing.scores.get(metric)
        if local is not None and standing.public is not None:
            found[standing.sha256] = (float(local["value"]), standing.public)
    return list(found.values())


def measure(pairs: Sequence[tuple[float, float]]) -> Agreement | None:
    """Return how well the first of each pair foretells the second; None for fewer than three."""
    if len(pairs) < FEWEST:
        return None
    local, public = np.array(pairs, dtype=np.float64).T
    spearman, pearson = _correlations(local, public)
    return Agreement(
        pairs=len(pairs),
        spearman=spearman,
        pearson=pearson,
        offset=float((public - local).mean()),
        line_error=_left_out(local, public),
        mean_error=_left_out(np.zeros_like(local), public),
    )


def too_few(pairs: int) -> str:
    """Return the sentence for a leaderboard that cannot say yet what local scores are worth."""
    return (
        f"{pairs} of at least {FEWEST} submissions have a local and a leaderboard score: too few "
        "to say how far the one foretells the other; 'kitbox leaderboard record ID SCORE' adds one"
    )


def _correlations(local: Scores, public: Scores) -> tuple[float | None, float | None]:
    from scipy import stats

    if np.ptp(local) == 0 or np.ptp(public) == 0:
        return None, None
    rank = float(stats.spearmanr(local, public).statistic)
    # around zero: of 1450.1 and 1450.2 scipy would say that they are nearly constant
    line = float(stats.pearsonr(_centred(local), _centred(public)).statistic)
    return rank, line


def _centred(values: Scores) -> Scores:
    centred: Scores = values - values.mean()
    scaled: Scores = centred / np.abs(centred).max()
    return scaled


def _left_out(local: Scores, public: Scores) -> float:
    """Return the mean absolute error of leave-one-out least squares; a flat line for equal x."""
    errors = []
    for place in range(len(local)):
        x, y = np.delete(local, place), np.delete(public, place)
        spread = ((x - x.mean()) ** 2).sum()
        slope = ((x - x.mean()) * (y - y.mean())).sum() / spread if spread > 0 else 0.0
        errors.append(abs(y.mean() + slope * (local[place] - x.mean()) - public[place]))
    return float(np.mean(errors))
