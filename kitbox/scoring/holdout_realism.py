"""The realism of the holdout: by counts, and by the embeddings of a network."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kitbox.competition.settings import Competition
from kitbox.dataset import near_duplicates
from kitbox.dataset.collection import Collection
from kitbox.errors import KitboxError
from kitbox.records import (
    Embeddings,
    Holdout,
    ImageSet,
    Integers,
    Ranking,
    Score,
    Search,
    Similarities,
    Strings,
)
from kitbox.retrieval import label_similarity
from kitbox.retrieval.neighbour_graph import NeighbourGraph
from kitbox.retrieval.ranking import rank_labels
from kitbox.scoring.bootstrap import percentile_interval

_FOLDS = 5
# Bootstrap samples of an interval; each takes a fit or a sort.
_RESAMPLES = 200
# The estimate of a share converges within a few steps; this many are never needed.
_MAX_STEPS = 500
# Areas under the ROC curve below which two sets are alike, and above which they differ.
_ALIKE, _APART = 0.6, 0.75
# An interval of an estimated share that is wider than this is of no use.
_TOO_WIDE = 0.4
# Numbers of photographs that differ by less than this factor are alike.
_SAME_RATIO = 1.15


@dataclass(frozen=True, kw_only=True)
class HoldoutRealism:
    """Holdout queries compared with test images by the embeddings of one network.

    `separability` is the area under the ROC curve of a classifier that tells test images from
    queries, .5 where it cannot. `unknown_share` is the estimated share of test images whose
    individual the training side does not show, None where there is no estimate;
    `holdout_unknown_share` the true one of the queries. `photographs` and `holdout_photographs`
    are the mean numbers of training photographs of the individual that the nearest image shows,
    for test images and for queries.
    """

    separability: Score
    unknown_share: Score | None
    holdout_unknown_share: float
    photographs: float
    holdout_photographs: float

    @property
    def sentence(self) -> str:
        """Whether the holdout's queries look like test images."""
        value = self.separability.value
        if value < _ALIKE:
            return "a classifier cannot tell the queries from the test images: they are alike"
        if value < _APART:
            return "a classifier tells some queries from test images: they differ a little"
        return (
            "a classifier tells queries from test images: they differ in more than who is shown; "
            "look for other cameras, years or places, and split by them with encounters or groups"
        )


@dataclass(frozen=True)
class RealismRow:
    """A figure of the holdout beside the same of the test, None where it is not known."""

    name: str
    holdout: float | str | None
    test: float | str | None = None


def estimate(
    embeddings: Embeddings, holdout: Holdout, test: ImageSet, competition: Competition
) -> HoldoutRealism:
    """Return the realism of a holdout by embeddings of a network trained on neither side.

    Raises KitboxError where there are too few of either.
    """
    if min(len(holdout.query), len(test)) < 2 * _FOLDS:
        raise KitboxError(f"{len(holdout.query)} queries and {len(test)} test images are too few")
    query_ids, unknown_label = holdout.query.image_ids, competition.images.unknown_label or ""
    known = holdout.train.take(~np.isin(holdout.train.labels, ["", unknown_label]))
    near, near_test = (
        rank_labels([label_similarity.measure(NeighbourGraph(search, embeddings), known)], 1)
        for search in (Search("", ids, ids, known.image_ids) for ids in (query_ids, test.image_ids))
    )
    unknown = holdout.query_answers == unknown_label
    return HoldoutRealism(
        separability=_separability(
            embeddings.of(query_ids).vectors, embeddings.of(test.image_ids).vectors
        ),
        unknown_share=_unknown_share(near.similarity[:, 0], unknown, near_test.similarity[:, 0]),
        holdout_unknown_share=float(unknown.mean()),
        photographs=_mean_photographs(near_test, known.labels),
        holdout_photographs=_mean_photographs(near, known.labels),
    )


def count_rows(collection: Collection, competition: Competition) -> list[RealismRow]:
    """Return sizes, shares and near-duplicates of the holdout, and of the test where known.

    Raises KitboxError where there is no holdout.
    """
    split = collection.require_holdout()
    labelled, test = collection.labelled, collection.test
    bits = competition.holdout.near_duplicate_bits
    unknown = split.query_answers == (competition.images.unknown_label or "")
    queries = searched = leaks = None
    if test is not None:
        queries = sum(len(search.query_ids) for search in collection.searches)
        galleries = [search.gallery_images for search in collection.searches]
        searched = len(np.unique(np.concatenate(galleries)))
    if test is not None and collection.test_signatures is not None:
        repeated = near_duplicates.repeated_images(
            labelled, collection.signatures, test, collection.test_signatures, bits
        )
        leaks = int(repeated.sum())
    side = np.isin(labelled.image_ids, split.query.image_ids)
    across = near_duplicates.count_leaks(labelled, collection.signatures, side, bits)
    units = np.bincount(collection.units)
    before, after = _count_photographs(collection, competition)
    rows = [
        RealismRow("training images", len(split.train), len(labelled)),
        RealismRow("training individuals", len(after), len(before)),
        RealismRow("queries", len(split.query), queries),
        RealismRow("gallery images", len(split.gallery), searched),
        RealismRow("queries of unknown individuals", f"{unknown.mean():.1%}"),
        RealismRow("unknown individuals", len(np.unique(split.query.labels[unknown]))),
        RealismRow("images kept together with another", int((units[collection.units] > 1).sum())),
        RealismRow("near-duplicates of queries in training", across, leaks),
    ]
    known = [after[label] for label in split.query_answers.tolist() if label in after]
    if known:
        # an individual of n photographs is drawn in proportion to n to the power
        chances = np.array(list(before.values()), np.float64) ** competition.holdout.frequency_power
        drawn = np.average(list(before.values()), weights=chances)
        name = "training photographs of a queried individual"
        rows.insert(
            6, RealismRow(name, round(float(np.mean(known)), 2), f"{drawn:.2f} if drawn so")
        )
    return rows


def estimate_rows(realism: HoldoutRealism) -> list[RealismRow]:
    """Return what is estimated of the test, beside the same of the holdout."""
    rows = []
    if realism.unknown_share is not None:
        low, high = realism.unknown_share.low, realism.unknown_share.high
        share = f"{realism.unknown_share.value:.1%} [{low:.1%}, {high:.1%}]"
        wide = ", too wide to tell" if high - low > _TOO_WIDE else ""
        name = "unknown individuals, estimated"
        rows.append(RealismRow(name, f"{realism.holdout_unknown_share:.1%}", share + wide))
    name = "training photographs of the nearest individual"
    return [
        *rows,
        RealismRow(name, round(realism.holdout_photographs, 2), round(realism.photographs, 2)),
    ]


def advice(realism: HoldoutRealism, competition: Competition) -> list[str]:
    """Return which settings of kitbox.toml to change where queries differ from test images."""
    shape, sentences = competition.holdout, []
    if realism.unknown_share is not None:
        low, high = realism.unknown_share.low, realism.unknown_share.high
        if not low <= realism.holdout_unknown_share <= high and high - low <= _TOO_WIDE:
            sentences.append(
                f"more like the test: holdout.unknown_share = {realism.unknown_share.value:.2f}, "
                f"where it is {shape.unknown_share:g}"
            )
    ratio = realism.photographs / max(realism.holdout_photographs, 1e-9)
    asks_individuals = competition.task.answers in ("labels", "label")
    if asks_individuals and not 1 / _SAME_RATIO <= ratio <= _SAME_RATIO:
        change = "raise" if ratio > 1 else "lower"
        sentences.append(
            f"individuals that the test asks about have {ratio:.2f} times the photographs of those "
            f"that the holdout asks about; {change} holdout.frequency_power, "
            f"which is {shape.frequency_power:g}"
        )
    return sentences


def _count_photographs(
    collection: Collection, competition: Competition
) -> tuple[dict[str, int], dict[str, int]]:
    """Return label → number of labelled photographs, and of those on the training side."""
    counted = []
    for images in (collection.labelled, collection.holdout.train):
        known = images.labels[images.labels != (competition.images.unknown_label or "")]
        names, numbers = np.unique(known, return_counts=True)
        numbers_of: Integers = numbers.astype(np.int64)
        counted.append(dict(zip(names.tolist(), numbers_of.tolist(), strict=True)))
    return counted[0], counted[1]


def _separability(queries: Similarities, tests: Similarities) -> Score:
    """Return the area under the ROC curve, each image classified by a fit without it."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    both = np.concatenate([queries, tests])
    side = np.repeat([0, 1], [len(queries), len(tests)])
    # regularised more than usual: there are about as many columns as images
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    decision = cross_val_predict(model, both, side, cv=folds, method="decision_function")
    generator = np.random.default_rng(0)
    drawn = np.empty(_RESAMPLES)
    for i in range(_RESAMPLES):  # each side by itself, so that neither is ever missing
        rows = np.concatenate(
            [
                generator.integers(len(queries), size=len(queries)),
                generator.integers(len(queries), len(side), size=len(tests)),
            ]
        )
        drawn[i] = roc_auc_score(side[rows], decision[rows])
    low, high = percentile_interval(drawn)
    return Score(float(roc_auc_score(side, decision)), low, high, len(side))


def _unknown_share(
    similarity: Similarities,
    unknown: NDArray[np.bool_],
    test_similarity: Similarities,
) -> Score | None:
    """Return the estimated share of unknown individuals in the test.

    A model of unknown queries by their similarity to the nearest label is fitted on the holdout;
    the share is the prior under which its probabilities agree with the test's similarities
    (Saerens, Latinne and Decaestecker, Neural Computation 2002). None where the holdout has no
    unknown queries, or no others.
    """
    from sklearn.linear_model import LogisticRegression

    if not 0 < unknown.sum() < len(unknown):
        return None
    near, near_test = (each.astype(np.float64)[:, None] for each in (similarity, test_similarity))

    def estimate(own: NDArray[np.int64], others: NDArray[np.int64]) -> float:
        if not 0 < unknown[own].sum() < len(own):
            return float("nan")
        # one column: Newton's method takes few steps, and converges where sides are far apart
        model = LogisticRegression(C=1e6, solver="newton-cholesky")
        model.fit(near[own], unknown[own])
        probability = model.predict_proba(near_test[others])[:, 1]
        return _consistent_prior(probability, float(unknown[own].mean()))

    every, all_tested = np.arange(len(unknown)), np.arange(len(test_similarity))
    generator = np.random.default_rng(0)
    drawn = np.array(
        [
            estimate(
                generator.integers(len(every), size=len(every)),
                generator.integers(len(all_tested), size=len(all_tested)),
            )
            for _ in range(_RESAMPLES)
        ]
    )
    low, high = percentile_interval(drawn)
    return Score(estimate(every, all_tested), low, high, len(test_similarity))


def _consistent_prior(probability: NDArray[np.float64], prior: float) -> float:
    """Return the prior that equals the mean of the probabilities (n,) that it gives.

    They are given under a first `prior`.
    """
    share = prior
    for _ in range(_MAX_STEPS):
        odds = share / prior * probability
        other = (1 - share) / (1 - prior) * (1 - probability)
        updated = float((odds / (odds + other)).mean())
        if abs(updated - share) < 1e-6:
            return updated
        share = updated
    return share


def _mean_photographs(nearest: Ranking, labels: Strings) -> float:
    """Return the mean number of training photographs of the nearest individual."""
    names, counts = np.unique(labels, return_counts=True)
    return float(counts[np.searchsorted(names, nearest.answers[:, 0])].mean())
