"""How far the holdout resembles the real test: by counts, and in the eyes of a network."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kitbox.competition.settings import Competition
from kitbox.dataset import near_duplicates
from kitbox.dataset.collection import Collection
from kitbox.errors import KitboxError
from kitbox.records import Embeddings, Holdout, ImageSet, Integers, Ranking, Score, Search, Strings
from kitbox.retrieval import label_similarity
from kitbox.retrieval.neighbour_graph import NeighbourGraph
from kitbox.retrieval.ranking import rank_labels
from kitbox.scoring.bootstrap import percentile_interval

_FOLDS = 5
# Bootstrap samples of intervals here; each takes a fit or a sort.
_RESAMPLES = 200
# The estimate of a share settles within a few steps; this many are never needed.
_STEPS = 500
# Below and above this a classifier tells two sets apart badly or well.
_ALIKE, _APART = 0.6, 0.75


@dataclass(frozen=True)
class HoldoutRealism:
    """Holdout queries and test images as one network sees them.

    `separability` is the area under the ROC curve of a classifier that tells test images from
    queries, .5 where it cannot. `unknown_share` is the share of test images that show nobody of
    the training side, estimated; `holdout_unknown_share` the true one of the queries, and
    `photographs` and `holdout_photographs` the mean number of training photographs of the
    individual that the nearest image shows, estimated for both in the same way.
    """

    separability: Score
    unknown_share: Score | None
    holdout_unknown_share: float
    photographs: float
    holdout_photographs: float

    @property
    def sentence(self) -> str:
        """Say whether the holdout's queries look like test images."""
        value = self.separability.value
        if value < _ALIKE:
            return "a classifier cannot tell the queries from the test images: they are alike"
        if value < _APART:
            return "a classifier tells some queries from test images: they differ a little"
        return (
            "a classifier tells queries from test images: they differ in more than who is shown; "
            "look for other cameras, years or places, and split by them with encounters or groups"
        )


def estimate(
    embeddings: Embeddings, holdout: Holdout, test: ImageSet, competition: Competition
) -> HoldoutRealism:
    """Return how test images resemble the queries, by embeddings of a network that saw neither.

    Raises KitboxError where there are too few of either.
    """
    if min(len(holdout.query), len(test)) < 2 * _FOLDS:
        raise KitboxError(f"{len(holdout.query)} queries and {len(test)} test images are too few")
    query, tested = embeddings.of(holdout.query.image_ids), embeddings.of(test.image_ids)
    labels = holdout.train.labels
    unknown = competition.images.unknown_label or ""
    named = holdout.train.take(~np.isin(labels, ["", unknown]))
    near, near_test = (
        rank_labels([label_similarity.measure(NeighbourGraph(search, embeddings), named)], 1)
        for search in (
            Search("", ids, ids, named.image_ids) for ids in (query.image_ids, tested.image_ids)
        )
    )
    strange = holdout.query_answers == unknown
    return HoldoutRealism(
        _separability(query.vectors, tested.vectors),
        _unknown_share(near.similarity[:, 0], strange, near_test.similarity[:, 0]),
        float(strange.mean()),
        _photographs(near_test, named.labels),
        _photographs(near, named.labels),
    )


def _separability(queries: NDArray[np.float32], tests: NDArray[np.float32]) -> Score:
    """Return the area under the ROC curve, each image judged by a fit without it."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    both = np.concatenate([queries, tests])
    side = np.repeat([0, 1], [len(queries), len(tests)])
    # more weight on small coefficients than usual: there are about as many columns as images
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    judged = cross_val_predict(model, both, side, cv=folds, method="decision_function")
    generator = np.random.default_rng(0)
    drawn = np.empty(_RESAMPLES)
    for i in range(_RESAMPLES):  # of each side by itself, so that neither is ever left out
        rows = np.concatenate(
            [
                generator.integers(len(queries), size=len(queries)),
                generator.integers(len(queries), len(side), size=len(tests)),
            ]
        )
        drawn[i] = roc_auc_score(side[rows], judged[rows])
    low, high = percentile_interval(drawn)
    return Score(float(roc_auc_score(side, judged)), low, high, len(side))


def _unknown_share(
    similarity: NDArray[np.float32], strange: NDArray[np.bool_], tested: NDArray[np.float32]
) -> Score | None:
    """Return the estimated share of unknown individuals in the test; None where none are known.

    The similarity to the nearest label tells on the holdout how likely an unknown is; the share
    is the one under which those likelihoods agree with the test's similarities (Saerens, Latinne
    and Decaestecker, Neural Computation 2002).
    """
    from sklearn.linear_model import LogisticRegression

    if not 0 < strange.sum() < len(strange):
        return None
    near, near_test = (each.astype(np.float64)[:, None] for each in (similarity, tested))

    def estimate(own: NDArray[np.int64], others: NDArray[np.int64]) -> float:
        if not 0 < strange[own].sum() < len(own):
            return float("nan")
        # one column: Newton's steps are few, and go on where sides are far apart
        model = LogisticRegression(C=1e6, solver="newton-cholesky")
        model.fit(near[own], strange[own])
        chance = model.predict_proba(near_test[others])[:, 1]
        return _settled(chance, float(strange[own].mean()))

    every, all_tested = np.arange(len(strange)), np.arange(len(tested))
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
    return Score(estimate(every, all_tested), low, high, len(tested))


def _settled(chance: NDArray[np.float64], prior: float) -> float:
    """Return the prior that agrees with the mean of the chances it makes, from a first `prior`."""
    share = prior
    for _ in range(_STEPS):
        up, down = share / prior * chance, (1 - share) / (1 - prior) * (1 - chance)
        settled = float((up / (up + down)).mean())
        if abs(settled - share) < 1e-6:
            return settled
        share = settled
    return share


def _photographs(nearest: Ranking, labels: Strings) -> float:
    """Return the mean number of training photographs of the nearest individual."""
    names, counts = np.unique(labels, return_counts=True)
    return float(counts[np.searchsorted(names, nearest.answers[:, 0])].mean())


# An estimate of a share whose interval is wider than this says nothing.
_TOO_WIDE = 0.4
# Numbers of photographs that differ by less than this factor are alike.
_SAME_RATIO = 1.15


@dataclass(frozen=True)
class RealismRow:
    """One thing of the holdout beside the same thing of the test, None where it is not known."""

    name: str
    holdout: float | str | None
    test: float | str | None = None


def count_rows(collection: Collection, competition: Competition) -> list[RealismRow]:
    """Return sizes, shares and near-duplicates of the holdout, and of the test where known.

    Raises KitboxError where nobody is known, so that nothing can be asked.
    """
    if not len(collection.holdout.query):
        raise KitboxError(
            "no labelled image shows a known individual; there is nothing to ask about"
        )
    split, labelled, test = collection.holdout, collection.labelled, collection.test
    bits = competition.holdout.near_duplicate_bits
    strange = split.query_answers == (competition.images.unknown_label or "")
    asked = searched = leaks = None
    if test is not None:
        asked = sum(len(search.query_ids) for search in collection.searches)
        galleries = [search.gallery_images for search in collection.searches]
        searched = len(np.unique(np.concatenate(galleries)))
    if test is not None and collection.test_signatures is not None:
        repeated = near_duplicates.repeated_images(
            labelled, collection.signatures, test, collection.test_signatures, bits
        )
        leaks = int(repeated.sum())
    queries = np.isin(labelled.image_ids, split.query.image_ids)
    across = near_duplicates.count_leaks(labelled, collection.signatures, queries, bits)
    units = np.bincount(collection.units)
    before, after = _photograph_means(collection, competition)
    figures = [
        RealismRow("training images", len(split.train), len(labelled)),
        RealismRow("training individuals", len(after), len(before)),
        RealismRow("queries", len(split.query), asked),
        RealismRow("gallery images", len(split.gallery), searched),
        RealismRow("queries of unknown individuals", f"{strange.mean():.1%}"),
        RealismRow("unknown individuals", len(np.unique(split.query.labels[strange]))),
        RealismRow("images kept together with another", int((units[collection.units] > 1).sum())),
        RealismRow("near-duplicates of queries in training", across, leaks),
    ]
    known = [after[label] for label in split.query_answers.tolist() if label in after]
    if known:
        # an individual of n photographs is drawn with a chance of n to the power
        chances = np.array(list(before.values()), np.float64) ** competition.holdout.frequency_power
        drawn = np.average(list(before.values()), weights=chances)
        name = "training photographs of an asked individual"
        figures.insert(
            6, RealismRow(name, round(float(np.mean(known)), 2), f"{drawn:.2f} if drawn so")
        )
    return figures


def estimate_rows(seen: HoldoutRealism) -> list[RealismRow]:
    """Return what a network estimates of the test, beside the same of the holdout."""
    figures = []
    if seen.unknown_share is not None:
        low, high = seen.unknown_share.low, seen.unknown_share.high
        share = f"{seen.unknown_share.value:.1%} [{low:.1%}, {high:.1%}]"
        wide = ", too wide to tell" if high - low > _TOO_WIDE else ""
        name = "unknown individuals, estimated"
        figures.append(RealismRow(name, f"{seen.holdout_unknown_share:.1%}", share + wide))
    name = "training photographs of the nearest individual"
    return [
        *figures,
        RealismRow(name, round(seen.holdout_photographs, 2), round(seen.photographs, 2)),
    ]


def advice(seen: HoldoutRealism, competition: Competition) -> list[str]:
    """Return which lines of kitbox.toml to change, where queries differ from test images."""
    shape, found = competition.holdout, []
    if seen.unknown_share is not None:
        low, high = seen.unknown_share.low, seen.unknown_share.high
        if not low <= seen.holdout_unknown_share <= high and high - low <= _TOO_WIDE:
            found.append(
                f"more like the test: holdout.unknown_share = {seen.unknown_share.value:.2f}, "
                f"where it is {shape.unknown_share:g}"
            )
    ratio = seen.photographs / max(seen.holdout_photographs, 1e-9)
    asks_individuals = competition.task.answers in ("labels", "label")
    if asks_individuals and not 1 / _SAME_RATIO <= ratio <= _SAME_RATIO:
        way = "raise" if ratio > 1 else "lower"
        found.append(
            f"individuals that the test asks about have {ratio:.2f} times the photographs of those "
            f"that the holdout asks about; {way} holdout.frequency_power, "
            f"which is {shape.frequency_power:g}"
        )
    return found


def _photograph_means(
    collection: Collection, competition: Competition
) -> tuple[dict[str, int], dict[str, int]]:
    """Return label → labelled photographs, and label → those on the training side."""
    counted = []
    for images in (collection.labelled, collection.holdout.train):
        known = images.labels[images.labels != (competition.images.unknown_label or "")]
        names, numbers = np.unique(known, return_counts=True)
        numbers_of: Integers = numbers.astype(np.int64)
        counted.append(dict(zip(names.tolist(), numbers_of.tolist(), strict=True)))
    return counted[0], counted[1]
