"""95 % intervals of a mean over queries, by resampling the queries."""

import numpy as np

from kitbox.errors import KitboxError
from kitbox.records import Score
from kitbox.scoring.metrics import PerQuery

RESAMPLES = 2000
_SEED = 0
# numbers drawn at a time: 32 MB of indices
_CHUNK = 4_000_000


def score(values: PerQuery) -> Score:
    """Return the mean of per-query values with its percentile interval (Efron, 1979).

    The queries are drawn with replacement 2000 times, always the same draws, so that two runs
    give the same interval. Raises KitboxError where there is no query.
    """
    if not len(values):
        raise KitboxError("no query of the holdout has a match in the gallery; nothing to score")
    generator = np.random.default_rng(_SEED)
    at_a_time = max(_CHUNK // len(values), 1)
    means = np.concatenate(
        [
            values[generator.integers(len(values), size=(count, len(values)))].mean(axis=1)
            for count in _parts(RESAMPLES, at_a_time)
        ]
    )
    low, high = np.percentile(means, [2.5, 97.5])
    return Score(float(values.mean()), float(low), float(high), len(values))


def _parts(total: int, largest: int) -> list[int]:
    whole, rest = divmod(total, largest)
    return [largest] * whole + ([rest] if rest else [])
