"""The probability of each individual, and of a new one, from how similar they are.

A conditional logit (McFadden, 1974) with an outside option: an individual i has the log-odds
zᵢ = f(similarity) + g(matches) + c·log(photographs) + b against a new one, whose own are 0, so that
the probabilities of all individuals and of a new one sum to 1. f and g rise, straight between
knots; a penalty on changes of slope keeps them nearly straight where there are few photographs
(Eilers and Marx, 1996). The model is fitted on photographs of the catalogue, each once with its
individual among the others and once without it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kitbox.errors import KitboxError
from kitbox.records import Floats, Integers, Strings

Numbers = NDArray[np.float64]

# Photographs whose individual has another encounter: with fewer, nothing is calibrated.
FEWEST_PAIRS = 30
# Parts of the individuals; each part has probabilities of a model fitted on the others.
_PARTS = 5
# So weak a penalty on standardised coefficients that it only keeps separable data finite.
_PENALTY = 1e-3
# Where the slope of similarity or of matches may change: quantiles of the values that decide, those
# of queries to their own individual and to the best of the others.
_KNOTS_AT = (0.2, 0.4, 0.6, 0.8, 0.95)
# Half of it times the squared change of slope at a knot, per standard deviation of the signal, is
# taken from the log-likelihood. Of 0.01 to 1 this lost least over 30 to 1,500 drawn queries whose
# true curves were straight, bent up and bent down; with many queries it hardly matters.
_SMOOTHNESS = 0.3
# The coefficient of log(photographs): at least, the best similarity is taken for the best of so
# many draws, and at most the number says nothing. Above that it would learn which individuals can
# be asked about: those met once never are.
_OF_COUNT = (-1.0, 0.0)
# Relative to the values: columns that spread less are constant but for rounding.
_LEAST_SPREAD = 1e-6
# Shares of new individuals beyond these are not believed: few catalogues hold everyone, or nobody.
_LEAST_NEW, _MOST_NEW = 0.1, 0.9


@dataclass(frozen=True, kw_only=True)
class Signals:
    """What a model looks at: `similarity`, `photographs` and, if measured, `matches`, all (q, m).

    Similarity is -inf where an individual has no photograph left to compare with; `photographs`
    counts all that it has. `matches` is log(1 + n) of the local matches with the individual's
    photographs, 0 where none were looked for.
    """

    similarity: Floats
    photographs: Integers
    matches: Floats | None = None

    def __len__(self) -> int:
        return len(self.similarity)

    def take(self, rows: Integers | NDArray[np.bool_]) -> "Signals":
        """Return the signals of some queries (indices or a mask)."""
        matches = None if self.matches is None else self.matches[rows]
        return Signals(
            similarity=self.similarity[rows], photographs=self.photographs[rows], matches=matches
        )

    def columns(self, knots: "Knots") -> list[Numbers]:
        """Return the columns (q, m) of the logit, arbitrary where no photograph is left.

        They are log(photographs), then those of similarity, then those of matches: of each, one
        more than it has knots. A column is the signal, kept within two knots, so that its
        coefficient is the slope between them.
        """
        similarity = np.where(np.isfinite(self.similarity), self.similarity, 0)
        found = [np.log(np.maximum(self.photographs, 1).astype(np.float64))]
        found += _ramps(similarity, knots.similarity)
        return found if self.matches is None else [*found, *_ramps(self.matches, knots.matches)]


@dataclass(frozen=True)
class Knots:
    """The values, rising, at which the slopes of `similarity` and of `matches` change."""

    similarity: tuple[float, ...] = ()
    matches: tuple[float, ...] = ()


def _ramps(values: Floats, knots: tuple[float, ...]) -> list[Numbers]:
    return [
        np.clip(values.astype(np.float64), low, high)
        for low, high in pairwise((-np.inf, *knots, np.inf))
    ]


@dataclass(frozen=True)
class Identities:
    """The probability of each individual (q, m), and of a `new (q,)` one; rows sum to 1."""

    probability: Numbers
    new: Numbers


@dataclass(frozen=True, kw_only=True)
class IdentityModel:
    """The coefficients of the signals, and the intercept at a share of 1/2 new.

    `slopes` are those of similarity below, between and above its knots, `match_slopes` those of
    matches, () where none were measured. `of_count` is the coefficient of log(photographs).
    """

    slopes: tuple[float, ...]
    intercept: float
    of_count: float = 0.0
    match_slopes: tuple[float, ...] = ()
    knots: Knots = field(default_factory=Knots)

    def identities(self, signals: Signals, new_share: float) -> Identities:
        """Return the probabilities of queries of which a share in (0, 1) shows new individuals."""
        log_odds = self._log_odds(signals) + np.log((1 - new_share) / new_share)
        top = np.maximum(log_odds.max(axis=1, initial=-np.inf), 0.0)
        parts = np.exp(log_odds - top[:, None])
        new = np.exp(-top)
        total = parts.sum(axis=1) + new
        return Identities(parts / total[:, None], new / total)

    def _log_odds(self, signals: Signals) -> Numbers:
        total = sum(
            weight * column
            for weight, column in zip(
                (self.of_count, *self.slopes, *self.match_slopes),
                signals.columns(self.knots),
                strict=True,
            )
        )
        return np.where(np.isfinite(signals.similarity), total + self.intercept, -np.inf)


def fit(signals: Signals, own: Integers) -> IdentityModel:
    """Return the model fitted to queries whose individual is in the column `own (q,)`.

    It is -1, or has similarity -inf, where the individual has no other photograph: such a query
    counts as one of a new individual alone. Both kinds count alike in all. Similarity and matches
    never count against an individual. Raises KitboxError without queries of both kinds.
    """
    rows = np.arange(len(signals))
    present = own >= 0
    present[present] = np.isfinite(signals.similarity[rows[present], own[present]])
    if not present.any() or len(signals.similarity[0]) < 2:
        raise KitboxError("no photograph has its individual beside others; nothing to calibrate")
    there = np.isfinite(signals.similarity)
    knots = _knots(signals, own, present)
    columns = signals.columns(knots)
    middles = [float(column[there].mean()) for column in columns]
    spreads = [_spread(column[there]) for column in columns]
    scaled = np.stack(
        [(c - middle) / spread for c, middle, spread in zip(columns, middles, spreads, strict=True)]
    )
    others = there.copy()  # candidates of a query whose individual is not among them
    others[rows[present], own[present]] = False
    weights = 0.5 * len(signals) / np.array([present.sum(), len(signals)])
    smoothness = _SMOOTHNESS * _curvature(knots, signals, spreads)
    known = slice(None) if present.all() else np.flatnonzero(present)  # of all, no copy is made
    sides = (
        (there[known], known, np.ascontiguousarray(scaled[:, known]), weights[0]),
        (others, slice(None), scaled, weights[1]),
    )

    def loss(parameters: Numbers) -> tuple[float, Numbers]:
        log_odds = np.tensordot(parameters[:-1], scaled, axes=1) + parameters[-1]
        value = 0.5 * _PENALTY * float((parameters[:-1] ** 2).sum()) * len(signals)
        value += 0.5 * float(parameters @ smoothness @ parameters)
        gradient = np.append(_PENALTY * len(signals) * parameters[:-1], 0.0)
        gradient += smoothness @ parameters
        for candidates, used, of_used, weight in sides:
            z = np.where(candidates, log_odds[used], -np.inf)
            top = np.maximum(z.max(axis=1), 0.0)
            share = np.exp(z - top[:, None])
            total = share.sum(axis=1) + np.exp(-top)
            share /= total[:, None]
            value += weight * float((np.log(total) + top).sum())
            if candidates is not others:  # the individual is right, else the outside option
                chosen = np.arange(len(z)), own[used]
                value -= weight * float(z[chosen].sum())
                share[chosen] -= 1
            gradient[:-1] += weight * np.tensordot(of_used, share, axes=2)
            gradient[-1] += weight * float(share.sum())
        return value / len(signals), gradient / len(signals)

    from scipy.optimize import minimize

    start = np.zeros(len(columns) + 1)
    free = (None, None)
    bounds: list[tuple[float | None, float | None]] = [(0, None)] * len(columns) + [free]
    bounds[0] = _OF_COUNT[0] * spreads[0], _OF_COUNT[1] * spreads[0]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    weights_of = found[:-1] / np.array(spreads)
    of_count, *slopes = map(float, weights_of)
    split = len(knots.similarity) + 1
    return IdentityModel(
        slopes=tuple(slopes[:split]),
        intercept=float(found[-1] - (weights_of * np.array(middles)).sum()),
        of_count=of_count,
        match_slopes=tuple(slopes[split:]),
        knots=knots,
    )


def _knots(signals: Signals, own: Integers, present: NDArray[np.bool_]) -> Knots:
    """Return where slopes may change: nowhere where all values of a signal are equal."""
    rest = without_own(signals, own).similarity
    again = np.flatnonzero(present)

    def of_signal(values: Floats) -> tuple[float, ...]:
        best_of_others = np.where(np.isfinite(rest), values, -np.inf).max(axis=1)
        deciding = np.concatenate([values[again, own[again]], best_of_others])
        deciding = deciding[np.isfinite(deciding)].astype(np.float64)
        found = np.unique(np.quantile(deciding, _KNOTS_AT))
        # outside of all values a slope would be nobody's
        within = (found > deciding.min()) & (found < deciding.max())
        return tuple(map(float, found[within]))

    return Knots(
        similarity=of_signal(signals.similarity),
        matches=() if signals.matches is None else of_signal(signals.matches),
    )


def _curvature(knots: Knots, signals: Signals, spreads: Sequence[float]) -> Numbers:
    """Return the matrix of the sum of squared changes of slope per standard deviation of a signal.

    It is for parameters that are coefficients times the `spreads` of their columns, and the
    intercept.
    """
    there = np.isfinite(signals.similarity)
    found = np.zeros((len(spreads) + 1, len(spreads) + 1))
    first = 1  # the count is no curve
    for values, ends in (
        (signals.similarity, knots.similarity),
        (signals.matches, knots.matches),
    ):
        if values is None:
            break
        unit = _spread(np.asarray(values[there], dtype=np.float64))
        for place in range(first, first + len(ends)):
            change = np.zeros(len(found))
            change[place : place + 2] = np.array([1, -1]) * unit / spreads[place : place + 2]
            found += np.outer(change, change)
        first += len(ends) + 1
    return found


def _spread(values: Numbers) -> float:
    """Return the standard deviation, 1 where the values differ by rounding alone."""
    spread = float(values.std())
    return spread if spread > _LEAST_SPREAD * max(1.0, float(np.abs(values).max())) else 1.0


@dataclass(frozen=True, kw_only=True)
class CrossFit:
    """Probabilities of queries of the catalogue, each by a model fitted without its individual.

    `known` are those with the individual among the others, NaN in rows of queries whose individual
    has no other photograph; `unknown` are those of all queries without it.
    """

    known: Identities
    unknown: Identities


@dataclass(frozen=True)
class PartModel:
    """A model that was fitted without the photographs of some `individuals (p,)`."""

    individuals: Strings
    model: IdentityModel


def part_models(signals: Signals, own: Integers, individuals: Strings) -> list[PartModel]:
    """Return models of queries that show `individuals (q,)`, each fitted without a part of them.

    Raises KitboxError as `fit` does, and for fewer than two individuals that are met again.
    """
    names, groups = np.unique(individuals, return_inverse=True)
    if len(names) < 2:
        raise KitboxError("all photographs show one individual; nothing to calibrate")
    known = has_own(signals, own)
    if len(np.unique(groups[known])) < 2:
        raise KitboxError("fewer than two individuals are met again; nothing to calibrate")
    parts = _parts(groups.astype(np.int64), known)
    found = []
    for number in range(int(parts.max()) + 1):
        others = np.flatnonzero(parts != number)
        model = fit(signals.take(others), own[others])
        found.append(PartModel(np.unique(individuals[parts == number]), model))
    return found


def cross_fit(
    models: Sequence[PartModel],
    signals: Signals,
    own: Integers,
    individuals: Strings,
    new_share: float,
) -> CrossFit:
    """Return the probabilities of queries by the model that was fitted without their individual."""
    without = without_own(signals, own)
    shape = signals.similarity.shape
    found = [[np.full(shape, np.nan), np.full(len(signals), np.nan)] for _ in range(2)]
    for each in models:
        part = np.flatnonzero(np.isin(individuals, each.individuals))
        for (probability, new), given in zip(found, (signals, without), strict=True):
            identities = each.model.identities(given.take(part), new_share)
            probability[part], new[part] = identities.probability, identities.new
    known = has_own(signals, own)
    found[0][0][~known], found[0][1][~known] = np.nan, np.nan
    return CrossFit(known=Identities(*found[0]), unknown=Identities(*found[1]))


def _parts(groups: Integers, known: NDArray[np.bool_]) -> Integers:
    """Return the part (q,) of each query: individuals are whole, and each part has some met again.

    The largest are dealt first, each to the part that has the fewest queries.
    """
    sizes, again = np.bincount(groups), np.bincount(groups, weights=known)
    count = min(_PARTS, int((again > 0).sum()))
    part_of = np.zeros(len(sizes), dtype=np.int64)
    load = np.zeros(count)
    for chosen, weights in ((again > 0, again), (again == 0, sizes)):
        members = np.flatnonzero(chosen)
        for group in members[np.argsort(-weights[members], kind="stable")].tolist():
            part_of[group] = load.argmin()
            load[part_of[group]] += weights[group]
    found: Integers = part_of[groups]
    return found


def has_own(signals: Signals, own: Integers) -> NDArray[np.bool_]:
    """Return which queries (q,) have a photograph of their individual left."""
    found = own >= 0
    rows = np.flatnonzero(found)
    found[rows] = np.isfinite(signals.similarity[rows, own[rows]])
    return found


def without_own(signals: Signals, own: Integers) -> Signals:
    """Return the signals as they are where the individual of each query is not in the catalogue."""
    similarity = signals.similarity.copy()
    rows = np.flatnonzero(own >= 0)
    similarity[rows, own[rows]] = -np.inf
    return replace(signals, similarity=similarity)


def expected_new_share(individuals: Strings, encounters: Integers) -> float:
    """Return the share of encounters that are expected to show a new individual.

    It is that of individuals met once among all encounters (Good, 1953): the chance that the next
    one is of an individual not met before. It is kept within 10 % and 90 %, since many catalogues
    are chosen from all that was met.
    """
    met = {*zip(individuals.tolist(), encounters.tolist(), strict=True)}
    names = [name for name, _ in met]
    times = np.unique(np.array(names), return_counts=True)[1] if names else np.zeros(0)
    share = float((times == 1).sum()) / max(int(times.sum()), 1)
    return float(np.clip(share, _LEAST_NEW, _MOST_NEW))


def log_loss(fit: CrossFit, own: Integers, new_share: float) -> float:
    """Return the mean of −log of the probability of what is right, over both kinds of queries.

    `new_share` is the weight of queries without their individual.
    """
    rows = np.flatnonzero(~np.isnan(fit.known.new))
    right = fit.known.probability[rows, own[rows]]
    least = np.finfo(np.float64).tiny
    of_known = -np.log(np.maximum(right, least)).mean()
    of_new = -np.log(np.maximum(fit.unknown.new, least)).mean()
    return float((1 - new_share) * of_known + new_share * of_new)
