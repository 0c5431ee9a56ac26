"""95 % intervals of a metric, by resampling the individuals that the queries show.

Photographs of one individual are not independent: one that is easy to find is easy in all of them.
So an individual is drawn with all its queries (the cluster bootstrap: Davison and Hinkley,
Bootstrap Methods and their Application, 1997, 3.8; Field and Welsh, 2007). With few individuals
the interval is too narrow.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from kitbox.errors import KitboxError
from kitbox.records import Integers, Score, Strings
from kitbox.scoring.metrics import Numbers
from kitbox.scoring.outcomes import Outcome

RESAMPLES = 2000
_SEED = 0
# Weights drawn at a time: 16 MB, of which a metric takes up to ten copies.
_BLOCK_SIZE = 2_000_000

# The metric (r,) under weights (r, n) of the queries.
WeightedMetric = Callable[[Numbers], Numbers]


def score(outcome: Outcome, individuals: Mapping[str, str]) -> Score:
    """Return the metric with its 95 % interval over the individuals (query id → individual).

    A query without one ('' or missing) is an individual of its own. There are 2000 draws, always
    the same, so that two runs give the same interval. Raises KitboxError where the metric counts
    none of the queries.
    """
    return scores({"": outcome}, individuals)[""]


def scores(outcomes: Mapping[str, Outcome], individuals: Mapping[str, str]) -> dict[str, Score]:
    """Return the `score` of each outcome by its name; those of the same queries share the draws."""
    values = {name: _value(outcome) for name, outcome in outcomes.items()}
    groups: dict[tuple[bytes, bool], list[str]] = {}
    for name, outcome in outcomes.items():
        key = outcome.query_ids.tobytes(), outcome.with_replacement
        groups.setdefault(key, []).append(name)
    intervals: dict[str, tuple[float, float]] = {}
    for (_, with_replacement), names in groups.items():
        clusters = number_individuals(outcomes[names[0]].query_ids, individuals)
        drawn = _draw([outcomes[name].over for name in names], clusters, with_replacement)
        for name, each in zip(names, drawn, strict=True):
            intervals[name] = _interval(values[name], each, clusters, with_replacement)
    found = {}
    for name, outcome in outcomes.items():
        low, high = intervals[name]
        found[name] = Score(values[name], max(low, -1.0), min(high, 1.0), len(outcome.query_ids))
    return found


def _value(outcome: Outcome) -> float:
    queries = len(outcome.query_ids)
    if not queries:
        raise KitboxError("no query of the holdout has a match in the gallery; nothing to score")
    value = outcome.value
    if np.isnan(value):
        raise KitboxError(f"the metric counts none of the {queries} queries; nothing to score")
    return value


def number_individuals(query_ids: Strings, individuals: Mapping[str, str]) -> Integers:
    """Return the number (n,) of each query's individual, from 0 in order of appearance."""
    numbers: dict[tuple[str, str], int] = {}
    of_query = []
    for query in query_ids.tolist():
        individual = individuals.get(query, "")
        key = (individual, "" if individual else query)
        of_query.append(numbers.setdefault(key, len(numbers)))
    return np.array(of_query, dtype=np.int64)


def bootstrap_interval(
    value: float, metric: WeightedMetric, clusters: Integers, *, with_replacement: bool
) -> tuple[float, float]:
    """Return the 95 % interval of a metric's value; `clusters (n,)` number the individuals.

    Percentiles of resamples (Efron, 1979); resamples without a query that the metric counts are
    left out. Where an individual must not be drawn twice (`with_replacement` false), halves of the
    individuals are drawn instead, and their deviations from their median are put about the value
    (the delete-half jackknife: Shao and Wu, 1989; subsampling: Politis and Romano, 1994).
    """
    [drawn] = _draw([metric], clusters, with_replacement)
    return _interval(value, drawn, clusters, with_replacement)


def _draw(
    metrics: Sequence[WeightedMetric], clusters: Integers, with_replacement: bool
) -> list[Numbers]:
    """Return the value (r,) of each metric in all resamples."""
    weights = resample_weights(clusters) if with_replacement else half_weights(clusters)
    blocks = [[metric(block) for metric in metrics] for block in weights]
    return [np.concatenate(of_metric) for of_metric in zip(*blocks, strict=True)]


def _interval(
    value: float, drawn: Numbers, clusters: Integers, with_replacement: bool
) -> tuple[float, float]:
    if with_replacement:
        return percentile_interval(drawn)
    low, middle, high = np.percentile(drawn[~np.isnan(drawn)], [2.5, 50, 97.5])
    # m of n drawn deviate √((n - m) / m) times as far as n do
    individuals = int(clusters.max()) + 1
    half = _half(individuals)
    scale = np.sqrt(half / max(individuals - half, 1))
    return float(value + scale * (low - middle)), float(value + scale * (high - middle))


def resample_weights(clusters: Integers) -> Iterator[Numbers]:
    """Yield how often each query is drawn, all resamples in blocks (r, n).

    Queries of one cluster are drawn together, as many clusters as there are.
    """

    def draw(generator: np.random.Generator, rows: int, individuals: int) -> Integers:
        drawn = generator.integers(individuals, size=(rows, individuals))
        drawn += individuals * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * individuals)
        return counts.reshape(rows, individuals)

    return _resamples(clusters, draw)


def half_weights(clusters: Integers) -> Iterator[Numbers]:
    """Yield 1 for queries whose cluster is in a random half of the clusters, in blocks (r, n)."""

    def draw(generator: np.random.Generator, rows: int, individuals: int) -> Integers:
        order = np.argsort(generator.random((rows, individuals)), axis=1)
        return np.asarray(order < _half(individuals), dtype=np.int64)

    return _resamples(clusters, draw)


def percentile_interval(drawn: Numbers) -> tuple[float, float]:
    """Return the 2.5th and 97.5th percentile of resampled values, NaN left out."""
    low, high = np.percentile(drawn[~np.isnan(drawn)], [2.5, 97.5])
    return float(low), float(high)


def _resamples(
    clusters: Integers, draw: Callable[[np.random.Generator, int, int], Integers]
) -> Iterator[Numbers]:
    generator = np.random.default_rng(_SEED)
    individuals = int(clusters.max()) + 1
    rows = max(_BLOCK_SIZE // len(clusters), 1)
    for begin in range(0, RESAMPLES, rows):
        counts = draw(generator, min(rows, RESAMPLES - begin), individuals)
        yield counts[:, clusters].astype(np.float64)


def _half(individuals: int) -> int:
    return max(individuals // 2, 1)
