"""Pairs of photographs on the shortlists of searches, and the signals of each pair."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from kitbox.fusion.probability_curve import Flags, Numbers
from kitbox.records import Integers, Strings
from kitbox.scoring.thresholds import parts_of

# The name of the first signal: the similarity of the whole ensemble.
WHOLE = "similarity"


@dataclass(frozen=True, kw_only=True)
class PairTable:
    """Pairs (p,) of a query and a photograph of its gallery, and their signals.

    `query (p,)` counts the queries of all searches from 0; pairs of a query are next to each
    other. `first (p,)` and `second (p,)` are image ids of the query and of the photograph.
    `reverse (p,)` is the row of the pair in the other direction, -1 where there is none. `signals`
    name the columns of `values (p, m)`, of which the first is the similarity of the whole ensemble
    and `local (m,)` are of local matchers: NaN where one of both photographs has no keypoints or
    the matcher's budget had ended, 0 where nothing was found or looked for. `next_outside (p,)` is
    the highest similarity that the query has beyond its list, -inf where nothing is there.
    `features` are further columns, for a classifier alone.
    """

    query: Integers
    first: Strings
    second: Strings
    reverse: Integers
    signals: tuple[str, ...]
    values: Numbers
    local: Flags
    next_outside: Numbers
    features: dict[str, Numbers] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.query)

    @property
    def whole(self) -> Numbers:
        """The similarity (p,) of the whole ensemble."""
        return self.values[:, 0]

    @property
    def without_keypoints(self) -> Flags:
        """Which pairs (p,) no local matcher compared, though there are some matchers."""
        if not self.local.any():
            return np.zeros(len(self), dtype=np.bool_)
        return np.asarray(np.isnan(self.values[:, self.local]).all(axis=1))

    def of_both_directions(self, values: Numbers) -> Numbers:
        """Return the mean of values (p,) of a pair and of its reverse, where it has one."""
        paired = self.reverse >= 0
        other = values[np.where(paired, self.reverse, 0)]
        return np.where(paired, (values + other) / 2, values)

    def ranks(self, column: int, how: str) -> Numbers:
        """Return the rank (p,) of each pair among those of its query by a signal, best 1.

        `how` is what equals get: "average", "max" or "min". Missing values (NaN) have rank NaN.
        """
        values = self.values[:, column]
        found = np.full(len(self), np.nan)
        rows = np.flatnonzero(~np.isnan(values))
        if not len(rows):
            return found
        order = rows[np.lexsort((-values[rows], self.query[rows]))]
        query, value = self.query[order], values[order]
        place = np.arange(len(order))
        new_query = np.append(True, query[1:] != query[:-1])
        new_value = new_query | np.append(True, value[1:] != value[:-1])
        begin = np.maximum.accumulate(np.where(new_query, place, 0))
        starts = np.flatnonzero(new_value)
        sizes = np.diff(np.append(starts, len(order)))
        best = np.repeat(place[starts] - begin[starts] + 1, sizes)
        worst = best + np.repeat(sizes, sizes) - 1
        found[order] = {"average": (best + worst) / 2, "max": worst, "min": best}[how]
        return found

    def with_whole(self, whole: Numbers) -> "PairTable":
        """Return the pairs with another similarity of the whole ensemble."""
        values = self.values.copy()
        values[:, 0] = whole
        return replace(self, values=values)


@dataclass(frozen=True)
class PairTruth:
    """What is known of pairs: whether both photographs show the `same (p,)` individual.

    Only `counted (p,)` pairs are known to show the same or not. `part_of_first (p,)` and
    `part_of_second (p,)` are the parts that hold the individuals; what is said of the pairs of one
    part is fitted on others.
    """

    same: Flags
    counted: Flags
    part_of_first: Integers
    part_of_second: Integers

    @classmethod
    def of_labels(
        cls, table: PairTable, label_of: dict[str, str], unknown_label: str | None
    ) -> "PairTruth":
        """Return the truth by image id → label; '' is an individual that nobody knows.

        A photograph of the unknown label differs from those of known individuals, and nothing is
        known of two such photographs. A photograph without individual is in a part of its own.
        """
        unnamed = ("", unknown_label or "")
        labels = [
            np.array([label_of.get(image, "") for image in ids.tolist()], dtype=np.str_)
            for ids in (table.first, table.second)
        ]
        named = [~np.isin(each, unnamed) for each in labels]
        listed = [each != "" for each in labels]
        parts = [
            _parts(np.where(is_named, each, ids))
            for is_named, each, ids in zip(named, labels, (table.first, table.second), strict=True)
        ]
        same = named[0] & named[1] & (labels[0] == labels[1])
        counted = (named[0] & listed[1]) | (named[1] & listed[0])
        return cls(np.asarray(same), np.asarray(counted), *parts)

    def touches(self, parts: tuple[int, ...]) -> Flags:
        """Return the pairs (p,) that have an individual of these parts on either side."""
        return np.isin(self.part_of_first, parts) | np.isin(self.part_of_second, parts)


def _parts(individuals: Strings) -> Integers:
    names, of_pair = np.unique(individuals, return_inverse=True)
    parts: NDArray[np.int64] = parts_of(names)
    return parts[of_pair]
