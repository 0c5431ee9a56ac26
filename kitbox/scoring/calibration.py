"""Turns similarities into probabilities that an answer is right, as a holdout has shown them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kitbox.errors import KitboxError
from kitbox.records import Floats, Strings
from kitbox.scoring.metrics import Hits

Probabilities = NDArray[np.float64]

# Parts of the queries, of which each is told by a curve that the others gave.
_PARTS = 5
# So weak that it is none: beyond it a straight line through a few points runs off.
_UNPENALISED = 1e6


@dataclass(frozen=True)
class Calibration:
    """The logistic curve 1 / (1 + exp(−(slope·similarity + offset))); it never falls."""

    slope: float
    offset: float

    def of(self, similarity: Floats | Probabilities) -> Probabilities:
        """Return the probability of answers of any shape; of none (similarity -inf) it is 0."""
        there = np.isfinite(similarity)
        logits = self.slope * np.where(there, similarity, 0.0).astype(np.float64) + self.offset
        return np.where(there, 1 / (1 + np.exp(-np.clip(logits, -500, 500))), 0.0)


def fit(similarity: Floats, right: Hits) -> Calibration:
    """Return the curve through the similarities (n,) of answers that are right or wrong.

    Logistic regression on targets that are drawn in from 0 and 1 by as much as their number
    warrants (Platt, 1999), so that a few right answers make nothing certain.
    """
    if not len(similarity):
        raise KitboxError("no query of the holdout has an answer; similarity cannot be calibrated")
    from sklearn.linear_model import LogisticRegression  # takes a second to load

    count = int(right.sum())
    high, low = (count + 1) / (count + 2), 1 / (len(right) - count + 2)
    target = np.where(right, high, low)
    middle, spread = float(similarity.mean()), float(similarity.std())
    if not spread:
        return Calibration(0.0, _logit(float(target.mean())))
    # every answer counts as right with its target, and as wrong with what is left of 1
    rows = ((similarity.astype(np.float64) - middle) / spread)[:, None]
    model = LogisticRegression(C=_UNPENALISED).fit(
        np.concatenate([rows, rows]),
        np.repeat([1, 0], len(rows)),
        sample_weight=np.concatenate([target, 1 - target]),
    )
    slope = float(model.coef_[0, 0]) / spread
    if slope <= 0:  # the more alike, the less likely: they say nothing
        return Calibration(0.0, _logit(float(target.mean())))
    return Calibration(slope, float(model.intercept_[0]) - slope * middle)


def cross_fit(similarity: Floats, right: Hits, individuals: Strings) -> Probabilities:
    """Return probabilities (n, k) of answers, each by a curve that was fitted without its query.

    `right (n,)` tells of the first answers, on which curves are fitted. Queries of an individual
    are in one of five parts together. Raises KitboxError where all show the same one.
    """
    names, groups = np.unique(individuals, return_inverse=True)
    if len(names) < 2:
        raise KitboxError(
            "the holdout asks about one individual alone; similarity cannot be calibrated, "
            "use --by classifier"
        )
    from sklearn.model_selection import GroupKFold

    found = np.zeros(similarity.shape, dtype=np.float64)
    answered = np.isfinite(similarity[:, 0])
    for others, part in GroupKFold(min(_PARTS, len(names))).split(similarity, groups=groups):
        fitted = others[answered[others]]
        found[part] = fit(similarity[fitted, 0], right[fitted]).of(similarity[part])
    return found


def _logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))
