"""Pairs of photographs that local matchers look at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kitbox.fusion.probability_curve import Flags
from kitbox.keypoints.match_settings import MatchSettings
from kitbox.records import Integers, Strings, rows_of

# Image ids (p,) of both photographs of the pairs that each matcher looks at, the nearest first.
MatcherPairs = Mapping[MatchSettings, tuple[Strings, Strings]]


@dataclass(frozen=True, eq=False)
class PairSet:
    """The pairs of `image_ids (n,)` that each matcher may look at, whatever their order.

    `codes` are those of `pair_codes`.
    """

    image_ids: Strings
    codes: Mapping[MatchSettings, Integers]

    @classmethod
    def of(cls, image_ids: Strings, pairs: MatcherPairs) -> "PairSet":
        """Return the set of some pairs."""
        return cls(
            image_ids,
            {settings: np.unique(pair_codes(image_ids, *both)) for settings, both in pairs.items()},
        )

    def holds(self, settings: MatchSettings, first: Strings, second: Strings) -> Flags:
        """Return which pairs (p,) a matcher may look at."""
        codes = self.codes.get(settings, np.empty(0, dtype=np.int64))
        return np.asarray(np.isin(pair_codes(self.image_ids, first, second), codes))


def pair_codes(image_ids: Strings, first: Strings, second: Strings) -> Integers:
    """Return a number (p,) of each pair, equal in both orders; its images are among the ids."""
    rows = np.stack([rows_of(first, image_ids), rows_of(second, image_ids)])
    return np.asarray(rows.min(axis=0) * len(image_ids) + rows.max(axis=0), dtype=np.int64)


def joined_pairs(every: Sequence[MatcherPairs]) -> dict[MatchSettings, tuple[Strings, Strings]]:
    """Return the pairs of several ensembles by matcher, one ensemble after the other."""
    matchers = dict.fromkeys(settings for pairs in every for settings in pairs)
    return {
        settings: (
            np.concatenate([pairs[settings][0] for pairs in every if settings in pairs]),
            np.concatenate([pairs[settings][1] for pairs in every if settings in pairs]),
        )
        for settings in matchers
    }
