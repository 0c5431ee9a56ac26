"""Parts of the queries (individuals, clusters, cells of both) and sums over them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kitbox.records import Integers


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
