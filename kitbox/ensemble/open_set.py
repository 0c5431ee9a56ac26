"""A learned model of unknown queries: the probability that the gallery lacks the individual."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kitbox.competition.settings import Competition, ThresholdSettings
from kitbox.ensemble.combination import measure_members, member_blocks
from kitbox.errors import KitboxError
from kitbox.records import Embeddings, Floats, LabelledImages, Ranking, Search
from kitbox.retrieval.knn import best_columns
from kitbox.retrieval.neighbour_graph import Reranker
from kitbox.scoring import thresholds
from kitbox.scoring.bootstrap import score
from kitbox.scoring.ground_truth import GroundTruth
from kitbox.scoring.metrics import Hits, Numbers
from kitbox.scoring.outcomes import AreaUnderCurve

# Labels of each member that features look at, as many as in the solution.
_TOP = 4
# Queries of unknown and of known individuals that a fit needs.
_FEWEST = 10
# The similarity of a missing label: no cosine is lower.
_LOWEST = -1.0


@dataclass(frozen=True)
class UnknownModel:
    """Models that classify queries as of unknown or of known individuals.

    `hit_rates (k,)` are how often the answer at each place is right where the individual is
    known; they never rise.
    """

    models: tuple[Any, ...]
    hit_rates: Numbers

    def probability(self, features: Numbers) -> Numbers:
        """Return the probability (q,) that a query is unknown: the mean of the models."""
        found = [model.predict_proba(features)[:, 1] for model in self.models]
        return np.asarray(np.mean(found, axis=0), dtype=np.float64)

    def with_probabilities(self, ranking: Ranking, unknown: Numbers) -> Ranking:
        """Return the ranking with probabilities in place of similarities.

        `unknown (q,)` is the probability that each query is unknown. That of an answer is to be
        right, were it and the unknown label the only choices: above one half it is the likelier.
        """
        right = (1 - unknown)[:, None] * self.hit_rates[: ranking.k]
        probability = right / np.maximum(right + unknown[:, None], 1e-12)
        probability[ranking.answers == ""] = -np.inf
        return Ranking(ranking.query_ids, ranking.answers, probability.astype(np.float32))


@dataclass(frozen=True)
class UnknownFit:
    """The holdout's ranking by probabilities of cross-fitted models, and a model fitted on all.

    `evidence` holds how well unknown queries are distinguished from known ones, by the models and
    by the similarity alone.
    """

    ranking: Ranking
    model: UnknownModel
    evidence: dict[str, Any]


def cross_fit(
    ranking: Ranking, features: Numbers, ground_truth: GroundTruth, competition: Competition
) -> UnknownFit:
    """Return the holdout's ranking with probabilities, each query's from a fit without it.

    The queries of an individual are in one of five parts together; models fitted on four give the
    probabilities of the fifth. Rows of all three are the same queries.

    Raises KitboxError where there are too few queries of unknown or of known individuals.
    """
    unknown = ground_truth.expected == (competition.images.unknown_label or "")
    hits = ranking.answers == ground_truth.expected[:, None]
    part = thresholds.parts_of(ground_truth.individuals)
    probability = np.empty(len(part))
    similarity = ranking.similarity.copy()
    for number in range(thresholds.PARTS):
        own = np.flatnonzero(part == number)
        if len(own):
            others = part != number
            model = fit(features[others], unknown[others], hits[others])
            probability[own] = model.probability(features[own])
            rows = Ranking(ranking.query_ids[own], ranking.answers[own], similarity[own])
            similarity[own] = model.with_probabilities(rows, probability[own]).similarity
    areas = {
        name: score(
            AreaUnderCurve(ground_truth.query_ids, values, unknown), ground_truth.individual_of
        ).as_json(6)
        for name, values in (
            ("auc", probability),
            ("auc_of_similarity", -ranking.similarity[:, 0].astype(np.float64)),
        )
    }
    return UnknownFit(
        Ranking(ranking.query_ids, ranking.answers, similarity),
        fit(features, unknown, hits),
        {"features": features.shape[1], **areas},
    )


def fit(features: Numbers, unknown: Hits, hits: Hits) -> UnknownModel:
    """Return the model fitted to queries: whether they are `unknown (q,)`, `hits (q, k)`.

    Logistic regression, a support vector machine, nearest neighbours and gradient boosting, as
    Sanakoyeu, Pleskov and Shakhray (2019) averaged them, with scikit-learn's in LightGBM's place.
    Raises KitboxError for fewer than ten queries of either kind.
    """
    unknowns, knowns = int(unknown.sum()), int((~unknown).sum())
    if min(unknowns, knowns) < _FEWEST:
        raise KitboxError(
            f"--new-label learned has {unknowns} queries of unknown and {knowns} of known "
            f"individuals to learn from and needs {_FEWEST} of each; raise holdout.share or "
            "holdout.unknown_share"
        )
    models = _models(len(unknown))
    for model in models:
        model.fit(features, unknown)
    # half a hit more, so that a place without a hit is not impossible
    hit_rates = (hits[~unknown].sum(axis=0) + 0.5) / (knowns + 1)
    return UnknownModel(models, np.minimum.accumulate(hit_rates))


def query_features(
    blocks: Sequence[Embeddings],
    searches: Sequence[Search],
    labelled: LabelledImages,
    competition: Competition,
    rerank: Reranker | None = None,
) -> Numbers:
    """Return the features (q, f) of all queries by the members' blocks, in the searches' order.

    Of each member: the similarities of its first four labels, the gaps between them, and for
    every other member that one's similarities of the same labels, and whether it has the same
    first label.
    """
    parts = []
    for search in searches:
        measured = measure_members(blocks, search, labelled, competition, rerank)
        rows = [_features(similarities) for _, similarities in member_blocks(measured)]
        width = len(blocks) * (2 * _TOP - 1 + (len(blocks) - 1) * (_TOP + 1))
        unmeasured = len(search.query_ids) - sum(map(len, rows))  # all, where no label is known
        parts += [*rows, np.full((unmeasured, width), _LOWEST)]
    return np.concatenate(parts)


def at_even_odds(competition: Competition) -> Competition:
    """Return the competition with the threshold at a probability of one half.

    The mean of 1 / rank is highest in the order of probabilities, so that nothing is left to fit.
    The rules "share" and "balanced" stay: they work on probabilities as on similarities.
    """
    if competition.threshold.rule in ("share", "balanced"):
        return competition
    by_group = competition.threshold.by_group
    half = ThresholdSettings(rule="fixed", similarity=0.5, by_group=by_group)
    return competition.model_copy(update={"threshold": half})


def _models(queries: int) -> tuple[Any, ...]:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    # features are many and alike, queries few: all four are regularised more than usual
    support = CalibratedClassifierCV(SVC(C=0.1, class_weight="balanced"), cv=3, ensemble=False)
    return (
        make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000)),
        make_pipeline(StandardScaler(), support),
        make_pipeline(StandardScaler(), KNeighborsClassifier(min(50, queries))),
        GradientBoostingClassifier(
            n_estimators=50, learning_rate=0.05, max_depth=2, subsample=0.7, random_state=0
        ),
    )


def _features(similarities: Sequence[Floats]) -> Numbers:
    """Return the features (b, f) of some queries by each member's similarities (b, l)."""
    padded = [_padded(each) for each in similarities]
    best = [best_columns(each, _TOP) for each in padded]
    columns = []
    for member, labels in enumerate(best):
        own = np.take_along_axis(padded[member], labels, axis=1)
        columns += [own, own[:, :-1] - own[:, 1:]]
        for other, others_labels in enumerate(best):
            if other != member:
                columns.append(np.take_along_axis(padded[other], labels, axis=1))
                columns.append(others_labels[:, :1] == labels[:, :1])
    return np.concatenate(columns, axis=1).astype(np.float64)


def _padded(similarity: Floats) -> Floats:
    """Return similarities (b, l) of at least four labels, none of them infinite."""
    missing = max(_TOP - similarity.shape[1], 0)
    padded = np.pad(similarity, [(0, 0), (0, missing)], constant_values=_LOWEST)
    return np.maximum(padded, _LOWEST)
