"""The probability of each individual, and of a new one, from how similar they are.

A conditional logit (McFadden, 1974) with an outside option: an individual i has the log-odds
zᵢ = a·similarity + c·log(photographs) + d·matches + b against a new one, whose own are 0, so that
the probabilities of all individuals and of a new one sum to 1. It is fitted on photographs of the
catalogue, each once with its individual among the others and once without it.
"""

from dataclasses import dataclass, replace

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
# The coefficient of log(photographs): at most are individuals as probable as they were
# photographed often, and at least is their best similarity taken for the best of so many draws.
# Beyond that it would learn which individuals can be asked about: those met once never are.
_OF_COUNT = (-1.0, 1.0)
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

    @property
    def columns(self) -> list[Numbers]:
        """The columns of the logit, 0 where an individual has no photograph left."""
        there = np.isfinite(self.similarity)
        found = [
            np.where(there, self.similarity, 0).astype(np.float64),
            np.log(np.where(there, np.maximum(self.photographs, 1), 1).astype(np.float64)),
        ]
        return found if self.matches is None else [*found, self.matches.astype(np.float64)]


@dataclass(frozen=True)
class Identities:
    """The probability of each individual (q, m), and of a `new (q,)` one; rows sum to 1."""

    probability: Numbers
    new: Numbers


@dataclass(frozen=True, kw_only=True)
class IdentityModel:
    """The coefficients of the columns of signals, and the intercept at a share of 1/2 new."""

    coefficients: tuple[float, ...]
    intercept: float

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
            for weight, column in zip(self.coefficients, signals.columns, strict=True)
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
    columns = signals.columns
    there = np.isfinite(signals.similarity)
    middles = [float(column[there].mean()) for column in columns]
    spreads = [_spread(column[there]) for column in columns]
    scaled = np.stack(
        [(c - middle) / spread for c, middle, spread in zip(columns, middles, spreads, strict=True)]
    )
    others = there.copy()  # candidates of a query whose individual is not among them
    others[rows[present], own[present]] = False
    weights = 0.5 * len(signals) / np.array([present.sum(), len(signals)])

    def loss(parameters: Numbers) -> tuple[float, Numbers]:
        log_odds = np.tensordot(parameters[:-1], scaled, axes=1) + parameters[-1]
        value = 0.5 * _PENALTY * float((parameters[:-1] ** 2).sum()) * len(signals)
        gradient = np.append(_PENALTY * len(signals) * parameters[:-1], 0.0)
        for candidates, used, weight in (
            (there, present, weights[0]),
            (others, np.ones_like(present), weights[1]),
        ):
            z = np.where(candidates[used], log_odds[used], -np.inf)
            top = np.maximum(z.max(axis=1), 0.0)
            share = np.exp(z - top[:, None])
            total = share.sum(axis=1) + np.exp(-top)
            share /= total[:, None]
            value += weight * float((np.log(total) + top).sum())
            if candidates is there:  # the right answer is the individual, else the outside option
                chosen = np.arange(len(z)), own[used]
                value -= weight * float(z[chosen].sum())
                share[chosen] -= 1
            gradient[:-1] += weight * np.tensordot(scaled[:, used], share, axes=2)
            gradient[-1] += weight * float(share.sum())
        return value / len(signals), gradient / len(signals)

    from scipy.optimize import minimize

    start = np.zeros(len(columns) + 1)
    free = (None, None)
    of_count = (_OF_COUNT[0] * spreads[1], _OF_COUNT[1] * spreads[1])
    bounds = [(0, None), of_count, *[(0, None)] * (len(columns) - 2), free]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    weights_of = found[:-1] / np.array(spreads)
    return IdentityModel(
        coefficients=tuple(map(float, weights_of)),
        intercept=float(found[-1] - (weights_of * np.array(middles)).sum()),
    )


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


def cross_fit(signals: Signals, own: Integers, individuals: Strings, new_share: float) -> CrossFit:
    """Return cross-fitted probabilities of queries that show `individuals (q,)`.

    Raises KitboxError as `fit` does, and for fewer than two individuals that are met again.
    """
    names, groups = np.unique(individuals, return_inverse=True)
    if len(names) < 2:
        raise KitboxError("all photographs show one individual; nothing to calibrate")
    known = has_own(signals, own)
    if len(np.unique(groups[known])) < 2:
        raise KitboxError("fewer than two individuals are met again; nothing to calibrate")
    parts = _parts(groups.astype(np.int64), known)
    without = without_own(signals, own)
    shape = signals.similarity.shape
    found = [[np.full(shape, np.nan), np.full(len(signals), np.nan)] for _ in range(2)]
    for number in range(int(parts.max()) + 1):
        part, others = np.flatnonzero(parts == number), np.flatnonzero(parts != number)
        model = fit(signals.take(others), own[others])
        for (probability, new), given in zip(found, (signals, without), strict=True):
            identities = model.identities(given.take(part), new_share)
            probability[part], new[part] = identities.probability, identities.new
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
