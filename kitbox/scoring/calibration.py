"""Calibration: from similarities to probabilities that an answer is right."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kitbox.errors import KitboxError
from kitbox.records import Floats, Similarities, Strings
from kitbox.scoring.metrics import Hits

Probabilities = NDArray[np.float64]

# Parts of the queries; each is calibrated by a curve fitted on the others.
_PARTS = 5
# So weak a penalty that it is none; without any, a curve through a few points diverges.
_UNPENALISED = 1e6


@dataclass(frozen=True)
class Calibration:
    """The logistic curve 1 / (1 + exp(−(slope·similarity + offset))), which never falls."""

    slope: float
    offset: float

    def probability(self, similarity: Similarities) -> Probabilities:
        """Return the probability of answers of any shape, 0 for none (similarity -inf)."""
        there = np.isfinite(similarity)
        logits = self.slope * np.where(there, similarity, 0.0).astype(np.float64) + self.offset
        return np.where(there, 1 / (1 + np.exp(-np.clip(logits, -500, 500))), 0.0)


def fit(similarity: Floats, right: Hits) -> Calibration:
    """Return the curve fitted to the similarities (n,) of answers that are `right (n,)` or wrong.

    Logistic regression on targets that lie the further within 0 and 1 the fewer they are (Platt,
    1999), so that a few right answers make nothing certain.
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
    # every answer counts as right with its target, and as wrong with the rest
    rows = ((similarity.astype(np.float64) - middle) / spread)[:, None]
    model = LogisticRegression(C=_UNPENALISED).fit(
        np.concatenate([rows, rows]),
        np.repeat([1, 0], len(rows)),
        sample_weight=np.concatenate([target, 1 - target]),
    )
    slope = float(model.coef_[0, 0]) / spread
    if slope <= 0:  # the more similar, the less likely: similarity is of no use
        return Calibration(0.0, _logit(float(target.mean())))
    return Calibration(slope, float(model.intercept_[0]) - slope * middle)


def cross_fit(similarity: Floats, right: Hits, individuals: Strings) -> Probabilities:
    """Return probabilities (n, k) of answers, each query's by a curve fitted without it.

    Curves are fitted on first answers, which are `right (n,)` or wrong. Queries of an individual
    are in one of five parts together. Raises KitboxError where all show the same one.
    """
    names, groups = np.unique(individuals, return_inverse=True)
    if len(names) < 2:
        raise KitboxError(
            "all queries of the holdout show one individual; similarity cannot be calibrated, "
            "use --by classifier"
        )
    from sklearn.model_selection import GroupKFold

    found = np.zeros(similarity.shape, dtype=np.float64)
    answered = np.isfinite(similarity[:, 0])
    for others, part in GroupKFold(min(_PARTS, len(names))).split(similarity, groups=groups):
        fitted = others[answered[others]]
        found[part] = fit(similarity[fitted, 0], right[fitted]).probability(similarity[part])
    return found


def _logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))
