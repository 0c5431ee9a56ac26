"""The learned new label: how likely it is that nobody in the gallery is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kitbox.competition.settings import Competition, ThresholdSettings
from kitbox.ensemble import fusion
from kitbox.errors import KitboxError
from kitbox.records import Embeddings, Floats, LabelledImages, Ranking, Search
from kitbox.retrieval import ranking
from kitbox.retrieval.label_similarity import best_columns
from kitbox.scoring import thresholds
from kitbox.scoring.bootstrap import score
from kitbox.scoring.ground_truth import GroundTruth
from kitbox.scoring.outcomes import AreaUnderCurve

Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Answers of each member that are looked at, as the solution did.
_TOP = 4
# Of unknown and of known queries each; fewer teach nothing.
_FEWEST = 10
# Where a label is lacking: no similarity is lower.
_LOWEST = -1.0


@dataclass(frozen=True)
class UnknownModel:
    """Models that were fitted to queries whose individual is known to be known or not.

    `right (k,)` is how often the answer at each place is right where the individual is known; it
    never rises.
    """

    models: tuple[Any, ...]
    right: Numbers

    def unknown(self, features: Numbers) -> Numbers:
        """Return the chance (q,) that a query's individual is unknown: the mean of the models."""
        chances = [model.predict_proba(features)[:, 1] for model in self.models]
        return np.asarray(np.mean(chances, axis=0), dtype=np.float64)

    def chances(self, ranking: Ranking, unknown: Numbers) -> Ranking:
        """Return the ranking with chances in place of similarities, `unknown (q,)` as given.

        The chance of an answer is that it is right, were only it or the unknown label to choose
        from: above one half it is the likelier of the two.
        """
        right = (1 - unknown)[:, None] * self.right[: ranking.k]
        chance = right / np.maximum(right + unknown[:, None], 1e-12)
        chance[ranking.answers == ""] = -np.inf
        return Ranking(ranking.query_ids, ranking.answers, chance.astype(np.float32))


@dataclass(frozen=True)
class UnknownFit:
    """The holdout's ranking by chances that come from other queries, and the judge fitted on all.

    `evidence` tells how well unknown queries are told from known ones, beside the similarity.
    """

    ranking: Ranking
    judge: UnknownModel
    evidence: dict[str, Any]


def at_even_odds(competition: Competition) -> Competition:
    """Return the competition whose unknown label stands where its chance puts it.

    The mean of 1 / rank is highest in the order of chances, so that nothing is left to fit; a
    share is found as ever, among chances.
    """
    if competition.threshold.rule == "share":
        return competition
    by_group = competition.threshold.by_group
    half = ThresholdSettings(rule="fixed", similarity=0.5, by_group=by_group)
    return competition.model_copy(update={"threshold": half})


def query_features(
    blocks: Sequence[Embeddings],
    searches: Sequence[Search],
    labelled: LabelledImages,
    competition: Competition,
) -> Numbers:
    """Return what members say of each query (q, f), in the order of the searches.

    For each member: the similarities of its first four labels, the gaps between them, and for
    every other member its similarities of the same labels and whether it has the same first.
    """
    parts = []
    for search in searches:
        known = ranking.known_images(search, labelled, competition)
        _, each = fusion.of_each(blocks, search.query_images, known, competition)
        rows = [_of_members(found) for _, found in each]
        width = len(blocks) * (2 * _TOP - 1 + (len(blocks) - 1) * (_TOP + 1))
        nothing = np.full((len(search.query_ids) - sum(map(len, rows)), width), _LOWEST)
        parts += [*rows, nothing]
    return np.concatenate(parts)


def cross_fit(
    ranking: Ranking, features: Numbers, known: GroundTruth, competition: Competition
) -> UnknownFit:
    """Return the holdout's ranking with chances, those of each query from a fit without it.

    The queries of an individual are in one of five parts together; four fit the models that judge
    the fifth. Rows of `ranking`, `query_features` and `known` are the same queries.

    Raises KitboxError where there are too few queries of unknown or of known individuals.
    """
    unknown = known.expected == (competition.images.unknown_label or "")
    hits = ranking.answers == known.expected[:, None]
    part = thresholds.parts_of(known.individuals)
    chance = np.empty(len(part))
    found = ranking.similarity.copy()
    for number in range(thresholds.PARTS):
        asked = np.flatnonzero(part == number)
        if len(asked):
            others = part != number
            judge = fit(features[others], unknown[others], hits[others])
            chance[asked] = judge.unknown(features[asked])
            own = Ranking(ranking.query_ids[asked], ranking.answers[asked], found[asked])
            found[asked] = judge.chances(own, chance[asked]).similarity
    areas = {
        name: score(
            AreaUnderCurve(known.query_ids, numbers, unknown), known.individual_of
        ).as_json()
        for name, numbers in (
            ("auc", chance),
            ("auc_of_similarity", -ranking.similarity[:, 0].astype(np.float64)),
        )
    }
    return UnknownFit(
        Ranking(ranking.query_ids, ranking.answers, found),
        fit(features, unknown, hits),
        {"features": features.shape[1], **areas},
    )


def fit(features: Numbers, unknown: Mask, hits: Mask) -> UnknownModel:
    """Return the judge fitted to queries: `unknown (q,)`, and which of their answers are right.

    Logistic regression, a support vector machine, nearest neighbours and gradient boosting, as
    Sanakoyeu, Pleskov and Shakhray (2019) averaged them; with LightGBM's place taken by
    scikit-learn's. Raises KitboxError for fewer than ten queries of either kind.
    """
    strange, familiar = int(unknown.sum()), int((~unknown).sum())
    if min(strange, familiar) < _FEWEST:
        raise KitboxError(
            f"--new-label learned has {strange} queries of unknown and {familiar} of known "
            f"individuals to learn from and needs {_FEWEST} of each; raise holdout.share or "
            "holdout.unknown_share"
        )
    models = _models(len(unknown))
    for model in models:
        model.fit(features, unknown)
    # half a hit more, so that a place at which nothing was right is not impossible
    right = (hits[~unknown].sum(axis=0) + 0.5) / (familiar + 1)
    return UnknownModel(models, np.minimum.accumulate(right))


def _models(queries: int) -> tuple[Any, ...]:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    # features are many and alike, queries few: all four are held back more than usual
    support = CalibratedClassifierCV(SVC(C=0.1, class_weight="balanced"), cv=3, ensemble=False)
    return (
        make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000)),
        make_pipeline(StandardScaler(), support),
        make_pipeline(StandardScaler(), KNeighborsClassifier(min(50, queries))),
        GradientBoostingClassifier(
            n_estimators=50, learning_rate=0.05, max_depth=2, subsample=0.7, random_state=0
        ),
    )


def _of_members(found: Sequence[Floats]) -> Numbers:
    """Return the features (b, f) of some queries by the members' similarities (b, l)."""
    similar = [_padded(each) for each in found]
    firsts = [best_columns(each, _TOP) for each in similar]
    columns = []
    for member, top in enumerate(firsts):
        own = np.take_along_axis(similar[member], top, axis=1)
        columns += [own, own[:, :-1] - own[:, 1:]]
        for other, theirs in enumerate(firsts):
            if other != member:
                columns.append(np.take_along_axis(similar[other], top, axis=1))
                columns.append(theirs[:, :1] == top[:, :1])
    return np.concatenate(columns, axis=1).astype(np.float64)


def _padded(similarity: Floats) -> Floats:
    """Return similarities (b, l) of at least four labels, none of them infinite."""
    missing = max(_TOP - similarity.shape[1], 0)
    padded = np.pad(similarity, [(0, 0), (0, missing)], constant_values=_LOWEST)
    return np.maximum(padded, _LOWEST)
