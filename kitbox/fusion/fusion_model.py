"""The model of fusion: cross-fitted on the holdout's pairs, and fitted on all for the test."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kitbox.errors import KitboxError
from kitbox.fusion import pair_classifier, pair_scorer
from kitbox.fusion.fusion_method import BoostedTrees, FusionMethod, LogitSum
from kitbox.fusion.label_blend import LabelBlend
from kitbox.fusion.pair_classifier import Features, PairClassifier
from kitbox.fusion.pair_scorer import PairScorer
from kitbox.fusion.pair_table import PairTable, PairTruth
from kitbox.fusion.probability_curve import Flags, Numbers, ProbabilityCurve, fit_curve

# Bins of equal width of the expected calibration error, as Guo et al. (ICML 2017) drew them.
_BINS = 10
_DIGITS = 6
# By this share of its lead a pair of a list is above what is beyond the list.
_ABOVE = 0.01


@dataclass(frozen=True, kw_only=True)
class FusionModel:
    """A method fitted to pairs of some signals.

    `scorer` gives the probability of a pair of the shortlists, `outside` that of a similarity of
    the ensemble beyond them, where no local matcher looks. `blend` joins probabilities of labels
    with those of a classifier.
    """

    signals: tuple[str, ...]
    scorer: PairScorer | PairClassifier
    outside: ProbabilityCurve
    blend: LabelBlend | None = None

    def probability(self, table: PairTable) -> Numbers:
        """Return the probability (p,) that both photographs of a pair show the same individual.

        Raises KitboxError for pairs of other signals than the model was fitted on.
        """
        if table.signals != self.signals:
            raise KitboxError(
                f"fusion was fitted on {', '.join(self.signals)}, and these pairs have "
                f"{', '.join(table.signals)}"
            )
        return self.at_least_outside(self.scorer.probability(table), table)

    def at_least_outside(self, probability: Numbers, table: PairTable) -> Numbers:
        """Return probabilities (p,), none below those that its query has beyond its list.

        There similarities are lower, and no matcher looked: so a pair in which a matcher found
        nothing does not fall behind a less similar one because that one was never looked at.
        """
        limit = np.where(np.isneginf(table.next_outside), table.whole, table.next_outside)
        # a little above, in the order of similarities, so that there is no tie
        beyond = np.minimum(table.whole, limit + _ABOVE * (table.whole - limit))
        least = self.outside.probability(beyond)
        least = np.where(np.isneginf(table.next_outside), 0.0, least)
        paired = table.reverse >= 0
        back = least[np.where(paired, table.reverse, 0)]
        return np.maximum(probability, np.where(paired, np.maximum(least, back), least))


@dataclass(frozen=True, kw_only=True)
class FusionFit:
    """Probabilities (p,) of the holdout's pairs, each by a model fitted without its individuals.

    `model` is fitted on all of them; `evidence` has its weights and how right probabilities are.
    """

    probability: Numbers
    model: FusionModel
    evidence: dict[str, Any]


def cross_fit(
    method: FusionMethod,
    table: PairTable,
    truth: PairTruth,
    outside: tuple[Numbers, Flags],
) -> FusionFit:
    """Return the probabilities of the holdout's pairs, and the model fitted on all.

    Individuals are in five parts, as for thresholds. The model of a pair knows no pair with an
    individual of the query's part, nor of the photograph's part where that is a query too and the
    pair has both directions; both directions have the same model. `outside` are similarities (n,)
    of pairs beyond the shortlists, and which of them show the same individual; their curve is one
    for all queries, fitted on all, and does not change the order of a query's answers.

    Raises KitboxError where nothing is known of any pair.
    """
    if not truth.counted.any():
        raise KitboxError(
            "no pair of the shortlists has two photographs of known individuals, so that fusion "
            "has nothing to be fitted on; leave --fusion and --match out"
        )
    found = np.empty(len(table))
    features = pair_classifier.pair_features(table) if isinstance(method, BoostedTrees) else None
    both = np.where(table.reverse >= 0, truth.part_of_second, truth.part_of_first)
    low, high = np.minimum(truth.part_of_first, both), np.maximum(truth.part_of_first, both)
    one_kind = 0
    for first, second in np.unique(np.stack([low, high], axis=1), axis=0).tolist():
        parts = tuple(dict.fromkeys((first, second)))
        rows = (low == first) & (high == second)
        scorer = _fit(method, table, truth, parts, features)
        found[rows] = _probability(scorer, table, features)[rows]
        train = truth.counted & ~truth.touches(parts)
        one_kind += len(np.unique(truth.same[train])) < 2
    model = FusionModel(
        signals=table.signals,
        scorer=_fit(method, table, truth, (), features),
        outside=fit_curve(*outside),
    )
    found = model.at_least_outside(found, table)
    evidence = _evidence(method, table, truth, found, model)
    if one_kind:
        evidence["fits_without_both_kinds"] = one_kind
    return FusionFit(probability=found, model=model, evidence=evidence)


def expected_calibration_error(probability: Numbers, same: Flags) -> float:
    """Return the mean distance of probabilities (n,) from the share that is the `same (n,)`.

    Over ten bins of equal width, each weighted by its pairs (Guo et al., 2017).
    """
    bins = np.minimum((probability * _BINS).astype(np.int64), _BINS - 1)
    off = np.bincount(bins, weights=probability - same, minlength=_BINS)
    return float(np.abs(off).sum() / max(len(probability), 1))


def _fit(
    method: FusionMethod,
    table: PairTable,
    truth: PairTruth,
    without: tuple[int, ...],
    features: Features | None,
) -> PairScorer | PairClassifier:
    if isinstance(method, BoostedTrees):
        return pair_classifier.fit_classifier(table, truth, without, features)
    return pair_scorer.fit(method, table, truth, without)


def _probability(
    scorer: PairScorer | PairClassifier, table: PairTable, features: Features | None
) -> Numbers:
    if isinstance(scorer, PairClassifier):
        return scorer.probability(table, features)
    return scorer.probability(table)


def _evidence(
    method: FusionMethod,
    table: PairTable,
    truth: PairTruth,
    probability: Numbers,
    model: FusionModel,
) -> dict[str, Any]:
    """Return what a receipt says of a fusion: its signals, and how right its probabilities are."""
    counted = truth.counted
    same = truth.same[counted]
    evidence: dict[str, Any] = {
        "method": str(method),
        "pairs": int(counted.sum()),
        "same": int(same.sum()),
        "signals": list(table.signals),
        "calibration_error": round(expected_calibration_error(probability[counted], same), _DIGITS),
    }
    if isinstance(method, LogitSum) and isinstance(model.scorer, PairScorer):
        weights = model.scorer.weights.tolist()
        evidence["weights"] = {
            name: round(weight, _DIGITS)
            for name, weight in zip(table.signals, weights, strict=True)
        }
    if len(np.unique(same)) == 2:
        from sklearn.metrics import roc_auc_score

        evidence["auc"] = round(float(roc_auc_score(same, probability[counted])), _DIGITS)
        alone = roc_auc_score(same, table.whole[counted])
        evidence["auc_of_similarity"] = round(float(alone), _DIGITS)
    return evidence
