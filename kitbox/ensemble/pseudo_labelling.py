"""Pseudo-labels of test images by trained networks, and their precision on the holdout."""

from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kitbox.competition import pseudo_labels
from kitbox.competition.pseudo_labels import PseudoLabel, holdout_digest
from kitbox.competition.settings import Competition
from kitbox.dataset.collection import Collection
from kitbox.ensemble.class_probabilities import (
    Predictions,
    Probabilities,
    load_classifier,
    predict,
)
from kitbox.ensemble.ensemble import Ensemble
from kitbox.ensemble.members import Member
from kitbox.ensemble.meta_embedding import assemble
from kitbox.errors import KitboxError, more, readable
from kitbox.network.checkpoint import read_origin
from kitbox.records import (
    Holdout,
    ImageSet,
    LabelledImages,
    Progress,
    Ranking,
    Score,
    Search,
    Strings,
    strings,
)
from kitbox.retrieval import label_similarity
from kitbox.retrieval.neighbour_graph import neighbour_graphs
from kitbox.retrieval.ranking import rank_labels
from kitbox.scoring import bootstrap, calibration
from kitbox.scoring.calibration import Calibration
from kitbox.scoring.outcomes import Mean
from kitbox.training.training_set import pseudo_label_candidates

# What gives the probability of a label: trained classifiers, or calibrated similarity.
LabelSource = Literal["classifier", "similarity"]


@dataclass(frozen=True)
class PseudoLabelRule:
    """Which predictions become pseudo-labels.

    Those of a confidence above `threshold` and a lead of at least `gap`; of each label the
    `per_label` most confident images, None for all of them.
    """

    threshold: float = 0.9
    gap: float = 0.0
    per_label: int | None = 10


@dataclass(frozen=True)
class PseudoLabelOptions:
    """How pseudo-labels are made: by networks trained `on` "holdout" or "all" images."""

    on: str
    source: LabelSource
    rule: PseudoLabelRule


@dataclass(frozen=True, kw_only=True)
class PseudoLabelling:
    """Pseudo-labels of some of the `candidates`, and how the same rule does on the holdout.

    `precision` is the share of labels that are right, None where the rule gives none; `coverage`
    the share of queries that get one.
    """

    rows: tuple[PseudoLabel, ...]
    candidates: int
    source: LabelSource
    on: str
    round: int
    precision: Score | None
    coverage: Score

    @property
    def mean_confidence(self) -> float | None:
        """The share of labels that are right if confidences hold, None where there are none."""
        return float(np.mean([row.confidence for row in self.rows])) if self.rows else None

    @property
    def images_of(self) -> dict[str, int]:
        """Label → the number of images that get it."""
        labels, counts = np.unique(strings([row.label for row in self.rows]), return_counts=True)
        return dict(zip(labels.tolist(), counts.tolist(), strict=True))


@dataclass(frozen=True)
class ImportedPseudoLabels:
    """Pseudo-labels of a list of `listed` rows, and the names in it that are unknown here."""

    rows: tuple[PseudoLabel, ...]
    listed: int
    unknown_images: tuple[str, ...]
    unknown_labels: tuple[str, ...]


def label_test_images(
    ensemble: Ensemble, scored: Sequence[Member], options: PseudoLabelOptions
) -> Generator[Progress, None, PseudoLabelling]:
    """Return pseudo-labels of test images by an ensemble; yields Progress.

    The precision is that of the `scored` members, which have not seen the holdout. Raises
    KitboxError where no test image can be labelled, and for a member without the classifier that
    `options.source` needs.
    """
    collection, competition = ensemble.collection, ensemble.competition
    test, holdout, unknown = collection.test, collection.holdout, competition.images.unknown_label
    if test is None:
        raise KitboxError("this competition has no test images; set images.test_folder")
    candidates = _candidates(test, collection, competition)
    if not len(candidates):
        raise KitboxError("every test image is a copy of a labelled one; there is none to label")
    on_holdout = replace(ensemble, members=scored)
    if options.source == "classifier":
        query_ids = holdout.query.image_ids
        measured = yield from predict(on_holdout, collection.labelled, query_ids)
        predictions = yield from predict(ensemble, test, candidates)
    else:
        measured, curve = yield from _calibrate(on_holdout)
        gallery = collection.labelled if options.on == "all" else holdout.train
        ranking = yield from _rank_two(ensemble, candidates, gallery)
        predictions = _predictions(ranking, curve.probability(ranking.similarity))
    precision, coverage = measure_precision(measured, holdout, options.rule, unknown)
    number = next_round(ensemble.members)
    return PseudoLabelling(
        rows=_rows(predictions, ensemble, options, number),
        candidates=len(candidates),
        source=options.source,
        on=options.on,
        round=number,
        precision=precision,
        coverage=coverage,
    )


def import_gdsc(
    path: Path, collection: Collection, competition: Competition, rule: PseudoLabelRule, on: str
) -> ImportedPseudoLabels:
    """Return the rows of a list in the GDSC 2020 solution's format that a rule selects.

    An image is found by the name of its file, with suffix or without. `on` is what the networks
    behind the list were trained on. Raises KitboxError where no row names a test image, where an
    image is named twice, and for a `gap`, for which such a list has no column.
    """
    if rule.gap:
        raise KitboxError(f"{path} has no second probability; leave --gap out")
    test = collection.test
    if test is None:
        raise KitboxError("this competition has no test images; set images.test_folder")
    found: dict[str, tuple[str, float]] = {}
    line_of: dict[str, int] = {}
    unknown_images, unknown_labels = [], []
    image_of = _image_of_name(test)
    labels = set(np.unique(collection.labelled.labels).tolist())
    listed = 0
    for line, file, given, probability in pseudo_labels.read_gdsc(path):
        listed += 1
        name = PurePosixPath(file.replace("\\", "/"))
        image = image_of.get(name.name) or image_of.get(name.stem)
        label = collection.decisions.merged.get(given, given)
        label = competition.images.read_label(label)
        if image is None:
            unknown_images.append(file)
        elif label not in labels:
            unknown_labels.append(given)
        elif image in found:
            raise KitboxError(
                f"'{file}' is in line {line_of[image]} already", where=f"{path} line {line}"
            )
        else:
            found[image], line_of[image] = (label, probability), line
    if unknown_images and len(unknown_images) == listed:
        raise KitboxError(
            f"'{unknown_images[0]}' is no test image{more(listed - 1)}; "
            "names of files are compared, with suffix or without",
            where=str(path),
        )
    candidates = set(_candidates(test, collection, competition).tolist())
    found = {image: found[image] for image in sorted(candidates & set(found))}
    unknown = competition.images.unknown_label
    rows = _imported_rows(found, path, collection.holdout, rule, on, unknown)
    return ImportedPseudoLabels(rows, listed, tuple(unknown_images), tuple(unknown_labels))


def default_source(members: Sequence[Member]) -> LabelSource:
    """Return "classifier" where every member has one, else "similarity"."""
    classified = all(load_classifier(member.checkpoint) is not None for member in members)
    return "classifier" if classified else "similarity"


def next_round(members: Sequence[Member]) -> int:
    """Return the round of labels by these networks: one more than those they were trained on."""
    networks = (member.checkpoint for member in members)
    rounds = (read_origin(one.path).pseudo_round for one in networks if one is not None)
    return 1 + max(rounds, default=0)


def select(
    predictions: Predictions, rule: PseudoLabelRule, unknown: str | None
) -> NDArray[np.bool_]:
    """Return which predictions (n,) become pseudo-labels, none of '' or of the unknown label.

    Of equally confident images of a label those that come first by id are taken.
    """
    labels, confidence = predictions.labels, predictions.confidence
    sure = (confidence > rule.threshold) & (predictions.gap >= rule.gap)
    sure &= ~np.isin(labels, ["", unknown or ""])
    if rule.per_label is None:
        return sure
    rows = np.flatnonzero(sure)
    order = rows[np.lexsort((predictions.image_ids[rows], -confidence[rows], labels[rows]))]
    _, starts, sizes = np.unique(labels[order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(starts, sizes)
    selected = np.zeros(len(sure), dtype=np.bool_)
    selected[order[place < rule.per_label]] = True
    return selected


def measure_precision(
    predictions: Predictions, holdout: Holdout, rule: PseudoLabelRule, unknown: str | None
) -> tuple[Score | None, Score]:
    """Return the precision and the coverage of pseudo-labels of the holdout's queries.

    The precision is None where no query gets a label. Both have a 95 % interval over individuals.
    """
    ids = predictions.image_ids
    selected = select(predictions, rule, unknown)
    right = (predictions.labels == holdout.query_answers).astype(np.float64)
    individual_of = dict(zip(ids.tolist(), _individuals(holdout, unknown).tolist(), strict=True))
    coverage = bootstrap.score(Mean(ids, selected.astype(np.float64)), individual_of)
    if not selected.any():
        return None, coverage
    precision = bootstrap.score(Mean(ids[selected], right[selected]), individual_of)
    individuals = len({individual_of[query] for query in ids[selected].tolist()})
    return _widened(precision, individuals), coverage


def _candidates(test: ImageSet, collection: Collection, competition: Competition) -> Strings:
    """Return the ids of the test images that are not also among the labelled ones."""
    bits = competition.holdout.near_duplicate_bits
    return test.image_ids[pseudo_label_candidates(collection, bits)]


def _rank_two(
    ensemble: Ensemble, image_ids: Strings, gallery: LabelledImages
) -> Generator[Progress, None, Ranking]:
    """Return the two most similar labels of images, the unknown label among them."""
    collection = ensemble.collection
    # whole lists, as other commands embed them: then they are in the cache
    lists = [collection.labelled, *([] if collection.test is None else [collection.test])]
    meta = yield from assemble(ensemble, lists, gallery.image_ids)
    search = Search("", image_ids, image_ids, gallery.image_ids)
    rerank = ensemble.options.reranker(gallery, ensemble.competition)
    [graph] = neighbour_graphs(meta.embeddings, [search], rerank)
    return rank_labels([label_similarity.measure(graph, gallery)], 2)


def _calibrate(ensemble: Ensemble) -> Generator[Progress, None, tuple[Predictions, Calibration]]:
    """Return predictions of the holdout's queries, cross-fitted, and the curve fitted on all."""
    holdout, unknown = ensemble.collection.holdout, ensemble.competition.images.unknown_label
    ranking = yield from _rank_two(ensemble, holdout.query.image_ids, holdout.train)
    # where the unknown label is nearest, no label is given that could be right
    known = ranking.answers[:, 0] != (unknown or "")
    similarity = np.where(known[:, None], ranking.similarity, -np.inf).astype(np.float32)
    right = ranking.answers[:, 0] == holdout.query_answers
    confidence = calibration.cross_fit(similarity, right, _individuals(holdout, unknown))
    answered = np.isfinite(similarity[:, 0])
    curve = calibration.fit(similarity[answered, 0], right[answered])
    return _predictions(ranking, confidence), curve


def _predictions(ranking: Ranking, probabilities: Probabilities) -> Predictions:
    first, second = probabilities.T
    return Predictions(ranking.query_ids, ranking.answers[:, 0], first, second)


def _widened(score: Score, individuals: int) -> Score:
    """Return a share of 0 or 1 with the interval that so many individuals allow.

    Resamples of equal values are equal, which proves nothing (Clopper and Pearson, 1934).
    """
    bound = 0.025 ** (1 / individuals)  # half of 5 % lies beyond it
    if score.value == 1:
        return replace(score, low=bound)
    return replace(score, high=1 - bound) if score.value == 0 else score


def _individuals(holdout: Holdout, unknown: str | None) -> Strings:
    """Return the individual of each query (q,); a query without label is one of its own."""
    query = holdout.query
    return np.where(np.isin(query.labels, ["", unknown or ""]), query.image_ids, query.labels)


def _rows(
    predictions: Predictions, ensemble: Ensemble, options: PseudoLabelOptions, number: int
) -> tuple[PseudoLabel, ...]:
    networks = "+".join(member.name for member in ensemble.members)
    query_ids = ensemble.collection.holdout.query.image_ids
    holdout = holdout_digest(query_ids) if options.on == "holdout" else ""
    gap = predictions.gap
    selected = select(predictions, options.rule, ensemble.competition.images.unknown_label)
    return tuple(
        PseudoLabel(
            image_id=str(predictions.image_ids[row]),
            label=str(predictions.labels[row]),
            confidence=round(float(predictions.confidence[row]), 6),
            gap=round(float(gap[row]), 6),
            round=number,
            source=networks,
            on=options.on,
            holdout=holdout,
        )
        for row in np.flatnonzero(selected).tolist()
    )


def _imported_rows(
    found: dict[str, tuple[str, float]],
    path: Path,
    holdout: Holdout,
    rule: PseudoLabelRule,
    on: str,
    unknown: str | None,
) -> tuple[PseudoLabel, ...]:
    """Return the rows of image → label and probability that a rule selects."""
    ids = list(found)
    predictions = Predictions(
        strings(ids),
        strings([label for label, _ in found.values()]),
        np.array([probability for _, probability in found.values()], dtype=np.float64),
        np.zeros(len(ids)),
    )
    digest = holdout_digest(holdout.query.image_ids) if on == "holdout" else ""
    return tuple(
        PseudoLabel(
            image_id=ids[row],
            label=found[ids[row]][0],
            confidence=found[ids[row]][1],
            gap=None,
            round=1,
            source=f"import {path.name}",
            on=on,
            holdout=digest,
        )
        for row in np.flatnonzero(select(predictions, rule, unknown)).tolist()
    )


def _image_of_name(images: ImageSet) -> dict[str, str]:
    """Return file name, and name without suffix → image, where only one image has it."""
    pairs = {
        (name, image)
        for image, path in zip(images.image_ids.tolist(), images.paths, strict=True)
        for name in (image, readable(path.name), readable(path.stem))
    }
    count = Counter(name for name, _ in pairs)
    return {name: image for name, image in pairs if count[name] == 1}
