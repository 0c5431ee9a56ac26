"""A gradient-boosted classifier of pairs, on their signals, ranks, gaps and metadata."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kitbox.fusion.pair_table import PairTable, PairTruth
from kitbox.fusion.probability_curve import Numbers, ProbabilityCurve, fit_curve

# By this share the global probability decides between pairs that the trees cannot tell apart.
_TIE = 1e-3
_SEED = 0
# Small trees and slow steps: true pairs are few, and trees fit what is left of them by chance.
_SETTINGS: dict[str, Any] = {
    "learning_rate": 0.05,
    "max_iter": 120,
    "max_leaf_nodes": 8,
    "min_samples_leaf": 20,
    "l2_regularization": 1.0,
    "early_stopping": False,
    "random_state": _SEED,
}


# Feature → its values (p,).
Features = dict[str, Numbers]


@dataclass(frozen=True)
class PairClassifier:
    """Fitted trees, and the curve of the global similarity that breaks their ties.

    `model` is scikit-learn's, or None where all pairs are of one kind. `features (f,)` are those
    that some pair had when it was fitted; where the lists of other pairs lack one, it is missing.
    """

    model: Any
    features: tuple[str, ...]
    curve: ProbabilityCurve

    def probability(self, table: PairTable, features: Features | None = None) -> Numbers:
        """Return the probability (p,) that both photographs of a pair show the same individual.

        A pair that no local matcher can compare has that of the global similarity. `features` are
        those of the table, which are computed unless given.
        """
        whole = self.curve.probability(table.whole)
        if self.model is None or not len(table):
            return table.of_both_directions(whole)
        from threadpoolctl import threadpool_limits

        values = _columns(features or pair_features(table), self.features, len(table))
        with threadpool_limits(1):
            found = self.model.predict_proba(values)[:, 1]
        found = (1 - _TIE) * found + _TIE * whole
        found = np.where(table.without_keypoints, whole, found)
        return table.of_both_directions(found)


def fit_classifier(
    table: PairTable,
    truth: PairTruth,
    without: tuple[int, ...] = (),
    features: Features | None = None,
) -> PairClassifier:
    """Return the classifier fitted to the pairs of a table, without those of some parts.

    scikit-learn's histogram gradient boosting from a fixed seed on one thread: the same pairs give
    the same trees. Second and seventh in AnimalCLEF 2025 classified pairs so.
    """
    train = truth.counted & ~truth.touches(without)
    same = truth.same[train]
    curve = fit_curve(table.whole[train], same)
    found = features or pair_features(table)
    names = tuple(name for name, values in found.items() if not np.isnan(values[train]).all())
    if len(np.unique(same)) < 2:
        return PairClassifier(None, names, curve)
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    model = HistGradientBoostingClassifier(**_SETTINGS)
    with threadpool_limits(1):
        model.fit(_columns(found, names, len(table))[train], same)
    return PairClassifier(model, names, curve)


def pair_features(table: PairTable) -> Features:
    """Return name → values (p,) of the features of pairs, NaN where one is missing.

    Of each signal: its value, its rank in the query's list and, of pairs in both directions, in
    the other one's, and the gaps to the best of the list and to the next lower one. Of the whole
    similarity also how many of both lists' best ten are in both. Then the table's own features.
    """
    columns: Features = {}
    for column, name in enumerate(table.signals):
        values = table.values[:, column]
        rank = table.ranks(column, "min")
        columns[name] = values
        columns[f"{name} rank"] = rank
        columns[f"{name} reverse rank"] = np.where(
            table.reverse >= 0, rank[np.maximum(table.reverse, 0)], np.nan
        )
        below_best, above_next = _gaps(table, values)
        columns[f"{name} gap to the best"] = below_best
        columns[f"{name} gap to the next"] = above_next
    columns["mutual neighbours"] = _mutual_neighbours(table)
    return columns | table.features


def _columns(found: Features, names: tuple[str, ...], pairs: int) -> Numbers:
    """Return the named features (p, f)."""
    missing = np.full(pairs, np.nan)
    return np.stack([found.get(name, missing) for name in names], axis=1)


def _gaps(table: PairTable, values: Numbers) -> tuple[Numbers, Numbers]:
    """Return how far each pair is below the best of its query, and above the next lower one."""
    below = np.full(len(table), np.nan)
    above = np.full(len(table), np.nan)
    rows = np.flatnonzero(~np.isnan(values))
    if not len(rows):
        return below, above
    order = rows[np.lexsort((-values[rows], table.query[rows]))]
    query, value = table.query[order], values[order]
    starts = np.flatnonzero(np.append(True, query[1:] != query[:-1]))
    sizes = np.diff(np.append(starts, len(order)))
    below[order] = np.repeat(value[starts], sizes) - value
    following = np.append(query[1:] == query[:-1], False)
    above[order] = np.where(following, value - np.append(value[1:], 0.0), np.nan)
    return below, above


# Photographs of a list that count as its neighbours.
_NEIGHBOURS = 10


def _mutual_neighbours(table: PairTable) -> Numbers:
    """Return how many of a query's ten nearest are also among the ten nearest of the photograph.

    That is known of photographs that are queries too, NaN of others.
    """
    lists: dict[int, set[str]] = {}
    for row in np.flatnonzero(table.ranks(0, "min") <= _NEIGHBOURS).tolist():
        lists.setdefault(int(table.query[row]), set()).add(str(table.second[row]))
    found = np.full(len(table), np.nan)
    for row in np.flatnonzero(table.reverse >= 0).tolist():
        mine = lists.get(int(table.query[row]), set())
        theirs = lists.get(int(table.query[table.reverse[row]]), set())
        found[row] = len(mine & theirs)
    return found
