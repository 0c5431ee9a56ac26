"""How far the holdout resembles the real test: by counts, and in the eyes of a network."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError
from kitbox.records import Embeddings, Holdout, ImageSet, Ranking, Score, Strings
from kitbox.retrieval import answers
from kitbox.scoring.bootstrap import interval

_FOLDS = 5
# Bootstrap samples of intervals here; each takes a fit or a sort.
_RESAMPLES = 200
# The estimate of a share settles within a few steps; this many are never needed.
_STEPS = 500
# Below and above this a classifier tells two sets apart badly or well.
_ALIKE, _APART = 0.6, 0.75


@dataclass(frozen=True)
class Resemblance:
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


def resemble(
    embeddings: Embeddings, holdout: Holdout, test: ImageSet, competition: Competition
) -> Resemblance:
    """Return how test images resemble the queries, by embeddings of a network that saw neither.

    Raises KitboxError where there are too few of either.
    """
    if min(len(holdout.query), len(test)) < 2 * _FOLDS:
        raise KitboxError(f"{len(holdout.query)} queries and {len(test)} test images are too few")
    query, tested = embeddings.of(holdout.query.image_ids), embeddings.of(test.image_ids)
    labels = holdout.train.labels
    assert labels is not None  # noqa: S101  a holdout is made of labelled images
    unknown = competition.images.unknown_label or ""
    named = holdout.train.take(~np.isin(labels, ["", unknown]))
    assert named.labels is not None  # noqa: S101  taken from labelled images
    gallery = embeddings.of(named.image_ids)
    near, near_test = (answers.labels(e, gallery, named.labels, 1) for e in (query, tested))
    strange = holdout.query_answers == unknown
    return Resemblance(
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
    low, high = interval(drawn)
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
    low, high = interval(drawn)
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
