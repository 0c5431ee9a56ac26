"""Whom images are taken to show, and the rule by which a guess becomes a pseudo-label."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kitbox.records import Strings

Shares = NDArray[np.float64]


@dataclass(frozen=True)
class Guesses:
    """The likeliest label (n,) of each image, '' for none, its probability and the next one's."""

    image_ids: Strings
    labels: Strings
    confidence: Shares
    second: Shares

    @property
    def gap(self) -> Shares:
        """By how much the likeliest label leads (n,)."""
        return self.confidence - self.second


@dataclass(frozen=True)
class Rule:
    """A guess counts above `threshold`, with a lead of at least `gap`.

    Of a label the `per_label` most confident images count; None: all of them.
    """

    threshold: float = 0.9
    gap: float = 0.0
    per_label: int | None = 10


def chosen(guesses: Guesses, rule: Rule, unknown: str | None) -> NDArray[np.bool_]:
    """Return which guesses (n,) count; one for nobody or for the unknown label never does.

    Of equally confident images of a label those that come first by id are taken.
    """
    sure = (guesses.confidence > rule.threshold) & (guesses.gap >= rule.gap)
    sure &= ~np.isin(guesses.labels, ["", unknown or ""])
    if rule.per_label is None:
        return sure
    rows = np.flatnonzero(sure)
    order = rows[
        np.lexsort((guesses.image_ids[rows], -guesses.confidence[rows], guesses.labels[rows]))
    ]
    _, starts, sizes = np.unique(guesses.labels[order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(starts, sizes)
    kept = np.zeros(len(sure), dtype=np.bool_)
    kept[order[place < rule.per_label]] = True
    return kept
