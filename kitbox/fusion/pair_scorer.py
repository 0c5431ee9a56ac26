"""Scores of pairs by calibrated signals: mean, sum of logits, boost, rank sum and vote."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from kitbox.fusion.fusion_method import (
    Boost,
    FusionMethod,
    LogitSum,
    MeanProbability,
    RankSum,
    Vote,
)
from kitbox.fusion.pair_table import PairTable, PairTruth
from kitbox.fusion.probability_curve import (
    Flags,
    Numbers,
    ProbabilityCurve,
    base_rate,
    fit_curve,
    logit,
)
from kitbox.scoring.thresholds import PARTS

# The weight of the global similarity where no signal tells pairs apart.
_TIE = 1e-3


@dataclass(frozen=True, kw_only=True)
class PairScorer:
    """A fitted method: from the signals of pairs to probabilities.

    `curves (m,)` calibrate the signals, `weights (m,)` and `offset` are those of the logits, and
    `final` calibrates what the method makes of them, None where it is a probability already.
    `prior` is the share of pairs of one individual.
    """

    method: FusionMethod
    curves: tuple[ProbabilityCurve, ...]
    prior: float
    weights: Numbers
    offset: float = 0.0
    final: ProbabilityCurve | None = None

    def probability(self, table: PairTable) -> Numbers:
        """Return the probability (p,) that both photographs of a pair show the same individual.

        A pair that no local matcher can compare has that of the global similarity.
        """
        calibrated = _calibrated(self.curves, table)
        found = _joined(self, table, calibrated)
        if self.final is not None:
            found = self.final.probability(table.of_both_directions(found))
        found = np.where(table.without_keypoints, calibrated[:, 0], found)
        return table.of_both_directions(found)


def fit(
    method: FusionMethod, table: PairTable, truth: PairTruth, without: tuple[int, ...] = ()
) -> PairScorer:
    """Return the method fitted to the pairs of a table, without those of some parts.

    A pair counts for a part with either of its individuals. Weights, and the calibration of the
    result, are fitted to signals that were calibrated without the part of each pair, so that a
    signal with many steps does not look better than it is.
    """
    train = truth.counted & ~truth.touches(without)
    curves = _curves(table, truth, train)
    unfitted = PairScorer(
        method=method,
        curves=curves,
        prior=base_rate(truth.same[train]),
        weights=np.full(len(table.signals), 1 / len(table.signals)),
    )
    apart = _calibrated_apart(table, truth, train, curves, without)
    compared = train & ~table.without_keypoints
    if len(np.unique(truth.same[compared])) < 2:
        # nothing to fit by: the global similarity alone
        alone = np.zeros(len(table.signals))
        alone[0] = 1.0
        offset = float(np.log(unfitted.prior / (1 - unfitted.prior)))
        return replace(unfitted, method=LogitSum(), weights=alone, offset=offset)
    if isinstance(method, LogitSum):
        evidence = _evidence(apart[compared], unfitted.prior)
        weights, offset = non_negative_logistic(evidence, truth.same[compared])
        if not weights.any():
            weights[0] = _TIE  # nothing tells: the global similarity still orders pairs
        return replace(unfitted, weights=weights, offset=offset)
    joined = table.of_both_directions(_joined(unfitted, table, apart))
    return replace(unfitted, final=fit_curve(joined[compared], truth.same[compared]))


def non_negative_logistic(values: Numbers, same: Flags) -> tuple[Numbers, float]:
    """Return the weights (m,), none below 0, and the offset of a logistic regression.

    `values (n, m)` of pairs that are the `same (n,)` or not. The sum of squared weights, halved,
    is added to the loss, so that signals that say the same share their weight.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    count, signals = values.shape
    target = same.astype(np.float64)
    rate = base_rate(same)

    def loss(given: Numbers) -> tuple[float, Numbers]:
        weights, offset = given[:signals], given[signals]
        scores = values @ weights + offset
        total = np.logaddexp(0, scores).sum() - scores @ target + weights @ weights / 2
        missed = expit(scores) - target
        slopes = np.append(values.T @ missed + weights, missed.sum())
        return float(total) / count, slopes / count

    start = np.append(np.full(signals, 1 / signals), np.log(rate / (1 - rate)))
    found = minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * signals + [(None, None)],
        options={"maxiter": 1000, "ftol": 1e-13, "gtol": 1e-9},
    )
    return np.asarray(found.x[:signals]), float(found.x[signals])


def _curves(table: PairTable, truth: PairTruth, train: Flags) -> tuple[ProbabilityCurve, ...]:
    return tuple(
        fit_curve(table.values[train, column], truth.same[train])
        for column in range(len(table.signals))
    )


def _calibrated(curves: tuple[ProbabilityCurve, ...], table: PairTable) -> Numbers:
    """Return the calibrated signals (p, m), NaN where a value is missing."""
    columns = [curve.probability(table.values[:, column]) for column, curve in enumerate(curves)]
    return np.stack(columns, axis=1)


def _calibrated_apart(
    table: PairTable,
    truth: PairTruth,
    train: Flags,
    curves: tuple[ProbabilityCurve, ...],
    without: tuple[int, ...],
) -> Numbers:
    """Return the calibrated signals (p, m), those of each part by curves fitted on the others."""
    found = _calibrated(curves, table)
    for part in _present_parts(truth, train, without):
        others = train & ~truth.touches((part,))
        # a curve through pairs of one kind is of no use to fit weights by
        if len(np.unique(truth.same[others])) < 2:
            continue
        rows = np.flatnonzero(train & (truth.part_of_first == part))
        for column in range(len(table.signals)):
            curve = fit_curve(table.values[others, column], truth.same[others])
            found[rows, column] = curve.probability(table.values[rows, column])
    return found


def _present_parts(truth: PairTruth, train: Flags, without: tuple[int, ...]) -> Iterator[int]:
    present = set(np.unique(truth.part_of_first[train]).tolist())
    return (part for part in range(PARTS) if part in present and part not in without)


def _evidence(calibrated: Numbers, prior: float) -> Numbers:
    """Return the logits (p, m) less that of the prior: 0 where a signal is missing."""
    known = np.where(np.isnan(calibrated), prior, calibrated)
    return np.asarray(logit(known) - np.log(prior / (1 - prior)))


def _joined(scorer: PairScorer, table: PairTable, calibrated: Numbers) -> Numbers:
    """Return what the method makes of calibrated signals (p, m)."""
    match scorer.method:
        case LogitSum():
            from scipy.special import expit

            evidence = _evidence(calibrated, scorer.prior)
            return np.asarray(expit(evidence @ scorer.weights + scorer.offset))
        case MeanProbability():
            return np.asarray(np.nanmean(calibrated, axis=1))
        case Boost(weight=weight):
            return _boosted(scorer, table, calibrated, weight)
        case RankSum():
            return _rank_sum(table)
        case Vote(k=k):
            return _votes(k, table, calibrated[:, 0])
        case _:
            raise TypeError(f"{scorer.method} is fitted by kitbox/fusion/pair_classifier.py")


def _boosted(scorer: PairScorer, table: PairTable, calibrated: Numbers, weight: float) -> Numbers:
    """Return s + w·l·(1 − s) of each local matcher in turn, l = 0 where it found nothing.

    l is by how much of what is left to 1 a match count raises the calibrated probability. The
    formula is that of the VIPL note of AnimalCLEF 2026.
    """
    found = calibrated[:, 0]
    for column in np.flatnonzero(table.local):
        silent = float(scorer.curves[column].probability(np.zeros(1))[0])
        raised = (calibrated[:, column] - silent) / (1 - silent)
        found = found + weight * np.nan_to_num(np.clip(raised, 0, 1)) * (1 - found)
    return found


def _rank_sum(table: PairTable) -> Numbers:
    """Return 1 less the mean rank of a pair in its query's lists, as a share of their length.

    A missing signal has the rank of the global similarity.
    """
    whole = table.ranks(0, "average")
    total = np.zeros(len(table))
    for column in range(len(table.signals)):
        rank = table.ranks(column, "average")
        total += np.where(np.isnan(rank), whole, rank)
    _, of_query, sizes = np.unique(table.query, return_inverse=True, return_counts=True)
    mean = total / len(table.signals)
    return np.asarray(1 - (mean - 1) / np.maximum(sizes[of_query] - 1, 1))


def _votes(k: int, table: PairTable, whole: Numbers) -> Numbers:
    """Return how many lists have a pair among their k best, and the global probability.

    Of equals in a list that reach beyond the k-th none has its vote: in the list of a matcher most
    pairs are equal, with no match at all.
    """
    votes = sum(
        (np.nan_to_num(table.ranks(column, "max"), nan=np.inf) <= k).astype(np.float64)
        for column in range(len(table.signals))
    )
    return np.asarray(votes + whole)
