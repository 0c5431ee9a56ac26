"""Makes pseudo-labels: networks say whom test images show, and the holdout how often it is so."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kitbox.competition.pseudo_labels import PseudoLabel, holdout_digest
from kitbox.competition.settings import Competition
from kitbox.embedding import embedder
from kitbox.ensemble.assembly import Member, assemble
from kitbox.ensemble.class_probabilities import By, by_classifier
from kitbox.ensemble.guesses import Guesses, Rule, Shares, chosen
from kitbox.errors import KitboxError
from kitbox.images.collection import Collection
from kitbox.network import checkpoint as checkpoints
from kitbox.records import Holdout, ImageSet, Progress, Ranking, Score, Strings, strings
from kitbox.retrieval import answers
from kitbox.scoring import bootstrap, calibration
from kitbox.scoring.outcomes import Mean
from kitbox.training.pseudo_labels import free_images
from kitbox.workspace import Workspace


@dataclass(frozen=True)
class Made:
    """Pseudo-labels of some of the `asked` test images, and how the same rule does on the holdout.

    `precision` is the share of labels that are right, None where the rule gives none; `coverage`
    the share of queries that get one.
    """

    rows: tuple[PseudoLabel, ...]
    asked: int
    by: By
    on: str
    round: int
    precision: Score | None
    coverage: Score

    @property
    def expected(self) -> float | None:
        """The share of labels that are right, if confidences are what they say."""
        return float(np.mean([row.confidence for row in self.rows])) if self.rows else None

    @property
    def of_label(self) -> dict[str, int]:
        """Label → how many images it was given to."""
        names, counts = np.unique(strings([row.label for row in self.rows]), return_counts=True)
        return dict(zip(names.tolist(), counts.tolist(), strict=True))


@dataclass(frozen=True)
class Maker:
    """Networks that label test images, those that the holdout asks, and how they are used.

    `on` is what the first had learnt from; the second have never seen the holdout.
    """

    members: Sequence[Member]
    scored: Sequence[Member]
    on: str
    by: By
    rule: Rule


def make(
    maker: Maker,
    collection: Collection,
    competition: Competition,
    workspace: Workspace,
    options: embedder.Options,
) -> Generator[Progress, None, Made]:
    """Return pseudo-labels of test images; yields Progress.

    Raises KitboxError where no test image can be labelled, and where a member has not the
    classifier asked for.
    """
    test, holdout = collection.test, collection.holdout
    if test is None:
        raise KitboxError("this competition has no test images; set images.test_folder")
    free = test.image_ids[free_images(collection, competition.holdout.near_duplicate_bits)]
    if not len(free):
        raise KitboxError("every test image is a labelled one again; there is nobody to label")
    unknown, rule = competition.images.unknown_label, maker.rule
    where = (collection, workspace, options)
    if maker.by == "classifier":
        queries = holdout.query.image_ids
        asked = yield from by_classifier(maker.scored, queries, collection.labelled, *where)
        guesses = yield from by_classifier(maker.members, free, test, *where)
    else:
        asked, curve = yield from _calibrated(maker.scored, unknown, *where)
        gallery = collection.labelled if maker.on == "all" else holdout.train
        ranking = yield from _alike(maker.members, free, gallery, *where)
        guesses = _guesses(ranking, curve.of(ranking.similarity))
    precision, coverage = measured(asked, collection.holdout, rule, unknown)
    number = round_of(maker.members)
    rows = _rows(guesses, maker, number, collection, unknown)
    return Made(rows, len(free), maker.by, maker.on, number, precision, coverage)


def round_of(members: Sequence[Member]) -> int:
    """Return the round of labels that these networks make: one more than they learnt from."""
    origins = (checkpoints.read_origin(member.checkpoint.path) for member in members)
    return 1 + max(origin.pseudo_round for origin in origins)


def _alike(
    members: Sequence[Member],
    asked: Strings,
    gallery: ImageSet,
    collection: Collection,
    workspace: Workspace,
    options: embedder.Options,
) -> Generator[Progress, None, Ranking]:
    """Return the two most similar labels of images, the unknown label among them."""
    assert gallery.labels is not None  # noqa: S101  labelled images
    # whole lists, as other commands embed them: then they are in the cache
    lists = [collection.labelled, *([] if collection.test is None else [collection.test])]
    assembled = yield from assemble(
        members, lists, gallery.image_ids, collection, workspace, whiten=None, options=options
    )
    query, known = (assembled.embeddings.of(ids) for ids in (asked, gallery.image_ids))
    return answers.labels(query, known, gallery.labels, 2)


def _calibrated(
    members: Sequence[Member],
    unknown: str | None,
    collection: Collection,
    workspace: Workspace,
    options: embedder.Options,
) -> Generator[Progress, None, tuple[Guesses, calibration.Calibration]]:
    """Return guesses of the holdout's queries, out of fold, and the curve fitted on all of them."""
    holdout = collection.holdout
    assert holdout.query.labels is not None  # noqa: S101  taken from labelled images
    ranking = yield from _alike(
        members, holdout.query.image_ids, holdout.train, collection, workspace, options
    )
    # where the unknown is nearest no label is given, and there is nothing to be right about
    named = ranking.answers[:, 0] != (unknown or "")
    hidden = np.where(named[:, None], ranking.similarity, -np.inf).astype(np.float32)
    right = ranking.answers[:, 0] == holdout.query_answers
    individuals = _individuals(holdout, unknown)
    confidence = calibration.out_of_fold(hidden, right, individuals)
    answered = np.isfinite(hidden[:, 0])
    return _guesses(ranking, confidence), calibration.fit(hidden[answered, 0], right[answered])


def _guesses(ranking: Ranking, probabilities: Shares) -> Guesses:
    first, second = probabilities.T
    return Guesses(ranking.query_ids, ranking.answers[:, 0], first, second)


def measured(
    guesses: Guesses, holdout: Holdout, rule: Rule, unknown: str | None
) -> tuple[Score | None, Score]:
    """Return how many of the holdout's queries that get a label get theirs, and how many get one.

    The first is None where none gets one. Both with a 95 % interval over individuals.
    """
    ids = guesses.image_ids
    taken = chosen(guesses, rule, unknown)
    right = (guesses.labels == holdout.query_answers).astype(np.float64)
    of_query = dict(zip(ids.tolist(), _individuals(holdout, unknown).tolist(), strict=True))
    coverage = bootstrap.score(Mean(ids, taken.astype(np.float64)), of_query)
    if not taken.any():
        return None, coverage
    precision = bootstrap.score(Mean(ids[taken], right[taken]), of_query)
    individuals = len({of_query[query] for query in ids[taken].tolist()})
    return _widened(precision, individuals), coverage


def _widened(score: Score, individuals: int) -> Score:
    """Return a share of 0 or 1 with the interval that so many individuals allow.

    Resamples of equal values are equal, which proves nothing (Clopper and Pearson, 1934).
    """
    bound = 0.025 ** (1 / individuals)  # of 95 % half is left on this side
    if score.value == 1:
        return replace(score, low=bound)
    return replace(score, high=1 - bound) if score.value == 0 else score


def _individuals(holdout: Holdout, unknown: str | None) -> Strings:
    """Return whom each query shows; one of nobody in particular is alone under its own name."""
    query = holdout.query
    assert query.labels is not None  # noqa: S101  taken from labelled images
    return np.where(np.isin(query.labels, ["", unknown or ""]), query.image_ids, query.labels)


def _rows(
    guesses: Guesses, maker: Maker, number: int, collection: Collection, unknown: str | None
) -> tuple[PseudoLabel, ...]:
    made_by = "+".join(member.named.name for member in maker.members)
    asked = collection.holdout.query.image_ids
    apart = holdout_digest(asked) if maker.on == "holdout" else ""
    gap = guesses.gap
    return tuple(
        PseudoLabel(
            str(guesses.image_ids[row]),
            str(guesses.labels[row]),
            round(float(guesses.confidence[row]), 6),
            round(float(gap[row]), 6),
            number,
            made_by,
            maker.on,
            apart,
        )
        for row in np.flatnonzero(chosen(guesses, maker.rule, unknown)).tolist()
    )
