"""How well a number tells unknown individuals from known ones: the area under the ROC curve."""

from dataclasses import dataclass

import numpy as np

from kitbox.records import Strings
from kitbox.scoring.metrics import Hits, Numbers, quotient
from kitbox.scoring.outcomes import Outcome


@dataclass(frozen=True)
class Separation(Outcome):
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
