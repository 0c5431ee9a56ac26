"""Calibration of one signal: a strictly increasing curve from its values to probabilities."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kitbox.retrieval.neighbour_graph import curve_values
from kitbox.scoring import calibration

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]

# Isotonic regression needs about so many pairs of one individual; below, a logistic curve is used.
FEWEST_POSITIVES = 100
# By this share of what is left to 0 and 1 a curve still rises where it would be flat.
_TIE = 1e-3
# The curve ends so many times the range of the values beyond them.
_BEYOND = 10.0
# Steps of isotonic regression that are this close are one.
_ROUNDING = 1e-9
# Where no value is known, a curve rises between these.
_WIDE = 1000.0
# What a probability is between.
BOUNDS = (0.0, 1.0)
# Points of a logistic curve between the lowest and the highest value.
_POINTS = 65


@dataclass(frozen=True)
class ProbabilityCurve:
    """A strictly increasing, piecewise linear curve through the knots `x (k,)`, `y (k,)`.

    All y lie between 0 and 1. Beyond the first and the last knot it bends towards 0 and 1, and
    reaches neither.
    """

    x: Numbers
    y: Numbers

    def probability(self, values: NDArray[np.floating]) -> Numbers:
        """Return the probability of values of any shape, NaN where a value is missing."""
        found = curve_values(np.asarray(values, dtype=np.float64), self.x, self.y, BOUNDS)
        return np.where(np.isnan(values), np.nan, found)


def fit_curve(values: NDArray[np.floating], same: Flags) -> ProbabilityCurve:
    """Return the curve fitted to the values (n,) of pairs that are the `same (n,)` or not.

    From 100 pairs of one individual on it is isotonic regression: through the middle of each of
    its steps, as WildFusion (Cermak et al., 2024) draws it. With fewer it is logistic (Platt,
    1999). Both are fitted to Platt's targets, (n₁ + 1) / (n₁ + 2) and 1 / (n₀ + 2), so that no
    pair is certain. What is flat rises by a small slope, so that the order of values is kept; a
    signal that is constant, that falls, or that has pairs of one kind only is flat throughout.
    Missing values (NaN) do not count.
    """
    present = ~np.isnan(values)
    x, right = np.asarray(values[present], dtype=np.float64), same[present]
    positives = int(right.sum())
    high, low = (positives + 1) / (positives + 2), 1 / (len(right) - positives + 2)
    mean = (positives * high + (len(right) - positives) * low) / max(len(right), 1)
    if not len(x):
        return ProbabilityCurve(np.array([-_WIDE, _WIDE]), np.array([0.25, 0.75]))
    if np.ptp(x) == 0 or positives in (0, len(right)):
        return _with_ends(*_flat(x, mean))
    if positives >= FEWEST_POSITIVES:
        return _with_ends(*_isotonic(x, np.where(right, high, low)))
    fitted = calibration.fit(x.astype(np.float32), right)
    if not fitted.slope:
        return _with_ends(*_flat(x, mean))
    points = np.linspace(x.min(), x.max(), _POINTS)
    rising = (points - points[0]) / (points[-1] - points[0])
    y = fitted.probability(points)
    # a curve that is 1 to the last digit still rises
    return _with_ends(points, (1 - 1e-6) * y + 1e-6 * (low + (high - low) * rising))


def base_rate(same: Flags) -> float:
    """Return the share of pairs that are the same, between 0 and 1 even where all or none are."""
    return float((same.sum() + 1) / (len(same) + 2))


def logit(probability: Numbers) -> Numbers:
    """Return log(p / (1 − p))."""
    return np.asarray(np.log(probability) - np.log1p(-probability))


def _isotonic(x: Numbers, target: Numbers) -> tuple[Numbers, Numbers]:
    """Return the middle of each step of isotonic regression, and both ends of the values."""
    from sklearn.isotonic import IsotonicRegression  # takes a second to load

    fitted = IsotonicRegression(out_of_bounds="clip").fit(x, target)
    edges, heights = fitted.X_thresholds_, fitted.y_thresholds_
    # the thresholds are the first and the last value of each step; rounding makes no step
    starts = np.flatnonzero(np.append(True, np.diff(heights) > _ROUNDING))
    ends = np.append(starts[1:] - 1, len(heights) - 1)
    middles, y = (edges[starts] + edges[ends]) / 2, heights[starts]
    lowest, highest = float(x.min()), float(x.max())
    if lowest < middles[0]:
        middles, y = np.append(lowest, middles), np.append(y[0] * (1 - _TIE), y)
    if highest > middles[-1]:
        middles, y = np.append(middles, highest), np.append(y, y[-1] + _TIE * (1 - y[-1]))
    return middles, y


def _flat(x: Numbers, height: float) -> tuple[Numbers, Numbers]:
    """Return the ends of a line that rises by a little around `height`."""
    lowest, highest = float(x.min()), float(x.max())
    if lowest == highest:
        return np.array([lowest]), np.array([height])
    return (
        np.array([lowest, highest]),
        np.array([height * (1 - _TIE), height + _TIE * (1 - height)]),
    )


def _with_ends(x: Numbers, y: Numbers) -> ProbabilityCurve:
    """Return the curve with a knot far below and far above, half-way to 0 and to 1."""
    span = _BEYOND * (float(x[-1] - x[0]) or 1.0)
    return ProbabilityCurve(
        np.concatenate([[x[0] - span], x, [x[-1] + span]]),
        np.concatenate([[y[0] / 2], y, [(1 + y[-1]) / 2]]),
    )
