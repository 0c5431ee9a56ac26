"""Makes pseudo-labels: networks say whom test images show, and the holdout how often it is so."""

from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from kitbox.competition import pseudo_labels
from kitbox.competition.pseudo_labels import PseudoLabel, holdout_digest
from kitbox.competition.settings import Competition
from kitbox.dataset.collection import Collection
from kitbox.embedding import embedder
from kitbox.ensemble.class_probabilities import (
    LabelSource,
    Predictions,
    PseudoLabelRule,
    Shares,
    predict,
    select,
)
from kitbox.ensemble.members import Member
from kitbox.ensemble.meta_embedding import assemble
from kitbox.errors import KitboxError, more
from kitbox.network.checkpoint import read_origin
from kitbox.records import (
    Holdout,
    LabelledImages,
    Progress,
    Ranking,
    Score,
    Search,
    Strings,
    strings,
)
from kitbox.retrieval import label_similarity
from kitbox.retrieval.neighbour_graph import NeighbourGraph
from kitbox.retrieval.ranking import rank_labels
from kitbox.scoring import bootstrap, calibration
from kitbox.scoring.outcomes import Mean
from kitbox.training.training_set import pseudo_label_candidates
from kitbox.workspace import Workspace


@dataclass(frozen=True)
class PseudoLabelling:
    """Pseudo-labels of some of the `asked` test images, and how the same rule does on the holdout.

    `precision` is the share of labels that are right, None where the rule gives none; `coverage`
    the share of queries that get one.
    """

    rows: tuple[PseudoLabel, ...]
    asked: int
    by: LabelSource
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
class Labeller:
    """Networks that label test images, those that the holdout asks, and how they are used.

    `on` is what the first had learnt from; the second have never seen the holdout.
    """

    members: Sequence[Member]
    scored: Sequence[Member]
    on: str
    by: LabelSource
    rule: PseudoLabelRule


def label_test_images(
    maker: Labeller,
    collection: Collection,
    competition: Competition,
    workspace: Workspace,
    options: embedder.EmbedOptions,
) -> Generator[Progress, None, PseudoLabelling]:
    """Return pseudo-labels of test images; yields Progress.

    Raises KitboxError where no test image can be labelled, and where a member has not the
    classifier asked for.
    """
    test, holdout = collection.test, collection.holdout
    if test is None:
        raise KitboxError("this competition has no test images; set images.test_folder")
    free = test.image_ids[
        pseudo_label_candidates(collection, competition.holdout.near_duplicate_bits)
    ]
    if not len(free):
        raise KitboxError("every test image is a labelled one again; there is nobody to label")
    unknown, rule = competition.images.unknown_label, maker.rule
    where = (collection, workspace, options)
    if maker.by == "classifier":
        queries = holdout.query.image_ids
        asked = yield from predict(maker.scored, queries, collection.labelled, *where)
        guesses = yield from predict(maker.members, free, test, *where)
    else:
        asked, curve = yield from _calibrated(maker.scored, unknown, *where)
        gallery = collection.labelled if maker.on == "all" else holdout.train
        ranking = yield from _alike(maker.members, free, gallery, *where)
        guesses = _guesses(ranking, curve.of(ranking.similarity))
    precision, coverage = measure_precision(asked, collection.holdout, rule, unknown)
    number = next_round(maker.members)
    rows = _rows(guesses, maker, number, collection, unknown)
    return PseudoLabelling(rows, len(free), maker.by, maker.on, number, precision, coverage)


def next_round(members: Sequence[Member]) -> int:
    """Return the round of labels that these networks make: one more than they learnt from."""
    origins = (read_origin(member.checkpoint.path) for member in members)
    return 1 + max(origin.pseudo_round for origin in origins)


def _alike(
    members: Sequence[Member],
    asked: Strings,
    gallery: LabelledImages,
    collection: Collection,
    workspace: Workspace,
    options: embedder.EmbedOptions,
) -> Generator[Progress, None, Ranking]:
    """Return the two most similar labels of images, the unknown label among them."""
    # whole lists, as other commands embed them: then they are in the cache
    lists = [collection.labelled, *([] if collection.test is None else [collection.test])]
    assembled = yield from assemble(
        members, lists, gallery.image_ids, collection, workspace, whiten=None, options=options
    )
    search = Search("", asked, asked, gallery.image_ids)
    graph = NeighbourGraph(search, assembled.embeddings)
    return rank_labels([label_similarity.measure(graph, gallery)], 2)


def _calibrated(
    members: Sequence[Member],
    unknown: str | None,
    collection: Collection,
    workspace: Workspace,
    options: embedder.EmbedOptions,
) -> Generator[Progress, None, tuple[Predictions, calibration.Calibration]]:
    """Return guesses of the holdout's queries, out of fold, and the curve fitted on all of them."""
    holdout = collection.holdout
    ranking = yield from _alike(
        members, holdout.query.image_ids, holdout.train, collection, workspace, options
    )
    # where the unknown is nearest no label is given, and there is nothing to be right about
    named = ranking.answers[:, 0] != (unknown or "")
    hidden = np.where(named[:, None], ranking.similarity, -np.inf).astype(np.float32)
    right = ranking.answers[:, 0] == holdout.query_answers
    individuals = _individuals(holdout, unknown)
    confidence = calibration.cross_fit(hidden, right, individuals)
    answered = np.isfinite(hidden[:, 0])
    return _guesses(ranking, confidence), calibration.fit(hidden[answered, 0], right[answered])


def _guesses(ranking: Ranking, probabilities: Shares) -> Predictions:
    first, second = probabilities.T
    return Predictions(ranking.query_ids, ranking.answers[:, 0], first, second)


def measure_precision(
    guesses: Predictions, holdout: Holdout, rule: PseudoLabelRule, unknown: str | None
) -> tuple[Score | None, Score]:
    """Return how many of the holdout's queries that get a label get theirs, and how many get one.

    The first is None where none gets one. Both with a 95 % interval over individuals.
    """
    ids = guesses.image_ids
    taken = select(guesses, rule, unknown)
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
    return np.where(np.isin(query.labels, ["", unknown or ""]), query.image_ids, query.labels)


def _rows(
    guesses: Predictions, maker: Labeller, number: int, collection: Collection, unknown: str | None
) -> tuple[PseudoLabel, ...]:
    made_by = "+".join(member.named.name for member in maker.members)
    asked = collection.holdout.query.image_ids
    apart = holdout_digest(asked) if maker.on == "holdout" else ""
    gap = guesses.gap
    return tuple(
        PseudoLabel(
            image_id=str(guesses.image_ids[row]),
            label=str(guesses.labels[row]),
            confidence=round(float(guesses.confidence[row]), 6),
            gap=round(float(gap[row]), 6),
            round=number,
            source=made_by,
            on=maker.on,
            holdout=apart,
        )
        for row in np.flatnonzero(select(guesses, maker.rule, unknown)).tolist()
    )


@dataclass(frozen=True)
class ImportedPseudoLabels:
    """Pseudo-labels of a list of `asked` rows, and the names in it that mean nothing here."""

    rows: tuple[PseudoLabel, ...]
    asked: int
    no_test_images: tuple[str, ...]
    no_labels: tuple[str, ...]


def import_gdsc(
    path: Path, collection: Collection, competition: Competition, rule: PseudoLabelRule, on: str
) -> ImportedPseudoLabels:
    """Return the rows of a list as the GDSC 2020 solution keeps it, by the rule of our own.

    An image is found by the name of its file, with suffix or without. `on` says what the networks
    behind the list had learnt from. Raises KitboxError where no row names a test image, where an
    image is named twice, and for a `gap`, of which such a list knows nothing.
    """
    if rule.gap:
        raise KitboxError(f"{path} tells no second probability; leave --gap out")
    found: dict[str, tuple[str, float]] = {}
    line_of: dict[str, int] = {}
    strangers, unheard = [], []
    image_of = _names(collection)
    labels = set(np.unique(_labels(collection)).tolist())
    asked = 0
    for line, file, given, probability in pseudo_labels.read_gdsc(path):
        asked += 1
        name = PurePosixPath(file.replace("\\", "/"))
        image = image_of.get(name.name) or image_of.get(name.stem)
        label = collection.decisions.merged.get(given, given)
        if image is None:
            strangers.append(file)
        elif label not in labels:
            unheard.append(given)
        elif image in found:
            raise KitboxError(f"{path} line {line}: '{file}' is in line {line_of[image]} already")
        else:
            found[image], line_of[image] = (label, probability), line
    if strangers and len(strangers) == asked:
        raise KitboxError(
            f"{path}: '{strangers[0]}' is no test image{more(asked - 1)}; "
            "names of files are compared, with suffix or without"
        )
    rows = _list_rows(found, path, collection, competition, rule, on)
    return ImportedPseudoLabels(rows, asked, tuple(strangers), tuple(unheard))


def _list_rows(
    found: dict[str, tuple[str, float]],
    path: Path,
    collection: Collection,
    competition: Competition,
    rule: PseudoLabelRule,
    on: str,
) -> tuple[PseudoLabel, ...]:
    assert collection.test is not None  # noqa: S101  images of it were found
    bits = competition.holdout.near_duplicate_bits
    free = set(collection.test.image_ids[pseudo_label_candidates(collection, bits)].tolist())
    ids = sorted(free & set(found))
    guesses = Predictions(
        strings(ids),
        strings([found[image][0] for image in ids]),
        np.array([found[image][1] for image in ids], dtype=np.float64),
        np.zeros(len(ids)),
    )
    asked = collection.holdout.query.image_ids
    apart = holdout_digest(asked) if on == "holdout" else ""
    kept = np.flatnonzero(select(guesses, rule, competition.images.unknown_label))
    return tuple(
        PseudoLabel(
            image_id=ids[row],
            label=found[ids[row]][0],
            confidence=found[ids[row]][1],
            gap=None,
            round=1,
            source=f"import {path.name}",
            on=on,
            holdout=apart,
        )
        for row in kept.tolist()
    )


def _names(collection: Collection) -> dict[str, str]:
    """Return file name, and name without suffix → test image, where they mean one alone."""
    if collection.test is None:
        raise KitboxError("this competition has no test images; set images.test_folder")
    pairs = {
        (name, image)
        for image, path in zip(
            collection.test.image_ids.tolist(), collection.test.paths, strict=True
        )
        for name in (image, path.name, path.stem)
    }
    meant = Counter(name for name, _ in pairs)
    return {name: image for name, image in pairs if meant[name] == 1}


def _labels(collection: Collection) -> Strings:
    return collection.labelled.labels
