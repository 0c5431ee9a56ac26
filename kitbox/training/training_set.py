"""Selects the images and labels that a plugin is trained on, pseudo-labels among them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kitbox.competition import boxes, pseudo_labels
from kitbox.competition.pseudo_labels import PseudoLabel, holdout_digest, with_label
from kitbox.competition.settings import HoldoutSettings
from kitbox.dataset import near_duplicates
from kitbox.dataset.collection import Collection
from kitbox.errors import KitboxError, did_you_mean
from kitbox.images.preprocessing import Box, box_of
from kitbox.plugin import curriculum
from kitbox.plugin.plugin import Plugin
from kitbox.records import ImageSet, LabelledImages, Strings, concatenate, strings
from kitbox.samplers.batch_samplers import UNKNOWN
from kitbox.training.context import TrainingSet, TrainSetup

_BITS: int = HoldoutSettings().near_duplicate_bits


def select(plugin: Plugin, setup: TrainSetup) -> TrainingSet:
    """Return the training set of a plugin: the images of labels that have enough of them.

    With `unknown_share` it includes images of unknown individuals, with `pseudo_labels` the test
    images that have one. Raises KitboxError for an empty training set, and for pseudo-labels that
    must not be used.
    """
    collection, competition, options = setup.collection, setup.competition, setup.options
    images, unknown = setup.images, competition.images.unknown_label or ""
    label_map = _labels_with_enough_images(images.labels, plugin, unknown)
    selected = np.isin(images.labels, label_map)
    if plugin.unknown_share and unknown:
        selected |= images.labels == unknown
    images = images.take(selected)
    pseudo = None
    if plugin.pseudo_labels:
        path = options.pseudo or setup.workspace.pseudo_labels
        rows = pseudo_labels.load(path, competition.images)
        bits = competition.holdout.near_duplicate_bits
        pseudo = usable_pseudo_labels(images, collection, rows, options.on, bits)
        images = with_pseudo_labels(images, collection, pseudo)
    label_rows = np.minimum(np.searchsorted(label_map, images.labels), max(len(label_map) - 1, 0))
    label_rows = np.where(images.labels != unknown, label_rows, UNKNOWN).astype(np.int64)
    alternatives = _alternative_boxes(images, setup) if plugin.box_choice == "random" else {}
    return TrainingSet(images, label_map, label_rows, alternatives, pseudo)


def usable_pseudo_labels(
    images: LabelledImages,
    collection: Collection,
    rows: Sequence[PseudoLabel],
    on: str,
    bits: int = _BITS,
) -> tuple[PseudoLabel, ...]:
    """Return the rows that may be added to training `images`, with merged labels replaced.

    A row is left out if no image of `images` has its label, or if its image is a copy of a labelled
    one: a file of equal bytes, or a near-duplicate whose hash differs in at most `bits`.
    Raises KitboxError for an image that is no test image, a label that does not exist, and rows
    made by networks that were trained on holdout images of this training.
    """
    if not rows:
        return ()
    if on == "holdout":
        _refuse_leaks(collection, rows)
    labels, existing = set(images.labels.tolist()), set(collection.labelled.labels.tolist())
    test = [] if collection.test is None else collection.test.image_ids.tolist()
    candidates = dict(zip(test, pseudo_label_candidates(collection, bits).tolist(), strict=True))
    usable = []
    for row in rows:
        row = with_label(row, collection.decisions.merged.get(row.label, row.label))
        if row.image_id not in candidates:
            raise KitboxError(
                f"'{row.image_id}' is no test image"
                f"{did_you_mean(row.image_id, candidates) or '; remove the row'}",
                where=f"pseudo.csv line {row.line}",
            )
        if row.label not in existing:
            raise KitboxError(
                f"'{row.label}' is no label"
                f"{did_you_mean(row.label, existing) or '; correct or remove the row'}",
                where=f"pseudo.csv line {row.line}",
            )
        if row.label in labels and candidates[row.image_id]:
            usable.append(row)
    return tuple(usable)


def pseudo_label_candidates(collection: Collection, bits: int = _BITS) -> NDArray[np.bool_]:
    """Return which test images (t,) may get a label: readable ones that copy no labelled image."""
    test, labelled = collection.test, collection.labelled
    if test is None:
        return np.zeros(0, dtype=np.bool_)
    candidates = ~np.isin(test.image_ids, [*labelled.image_ids.tolist(), *collection.unreadable])
    if collection.test_signatures is not None:
        candidates &= ~near_duplicates.repeated_images(
            labelled, collection.signatures, test, collection.test_signatures, bits
        )
    elif test.digests is not None and labelled.digests is not None:
        candidates &= ~np.isin(test.file_digests, labelled.file_digests)
    return np.asarray(candidates, dtype=np.bool_)


def with_pseudo_labels(
    images: LabelledImages, collection: Collection, rows: Sequence[PseudoLabel]
) -> LabelledImages:
    """Append the test images of pseudo-labels that `usable_pseudo_labels` returned."""
    if not rows or collection.test is None:
        return images
    added = collection.test.of(strings([row.image_id for row in rows]))
    return concatenate(images, added.with_labels(strings([row.label for row in rows])))


def _refuse_leaks(collection: Collection, rows: Sequence[PseudoLabel]) -> None:
    """Raise KitboxError for rows made by networks that were trained on holdout images."""
    here = holdout_digest(collection.holdout.query.image_ids)
    for row in rows:
        where = f"pseudo.csv line {row.line}"
        if row.on == "holdout" and row.holdout == here:
            continue
        if row.on == "holdout" and not row.holdout:
            raise KitboxError(
                "on = 'holdout' with an empty column holdout",
                where=where,
                fix=f"write {here} there if its label does not depend on the holdout's answers, "
                "else on = all",
            )
        source = (
            "all labels, among them"
            if row.on == "all"
            else "another holdout's training side, among it"
        )
        names = "NAME..." if row.source.startswith("import ") else row.source.replace("+", " ")
        raise KitboxError(
            f"made by networks trained on {source} "
            "answers of the holdout that this training is scored on",
            where=where,
            fix=f"make others with 'kitbox pseudo {names} --on holdout'",
        )


def _labels_with_enough_images(labels: Strings, plugin: Plugin, unknown: str) -> Strings:
    """Return the labels with enough images in any of the phases, sorted."""
    counts_needed = [phase.min_images_per_label for phase in curriculum.phases(plugin)]
    needed = min(counts_needed, default=plugin.min_images_per_label)
    names, counts = np.unique(labels, return_counts=True)
    enough: Strings = names[(counts >= needed) & ~np.isin(names, [unknown, *plugin.ignored_labels])]
    if not (names != unknown).any() and plugin.epochs:
        raise KitboxError(
            "no labelled image shows a known individual; there is nothing to train on"
        )
    known = names[names != unknown]
    if len(known) == 1 and plugin.epochs:
        raise KitboxError(
            f"every labelled image shows one individual, '{known[0]}'; a training needs two"
        )
    if len(enough) < 2 and plugin.epochs:
        raise KitboxError(
            f"{len(enough)} labels have {needed} or more images to train on; "
            "lower min_images_per_label"
        )
    return enough


def _alternative_boxes(images: ImageSet, setup: TrainSetup) -> dict[str, tuple[Box, ...]]:
    """Return the boxes of images that have several; a box from decisions.csv has none beside it."""
    settings = setup.competition.images
    boxes_of = boxes.read_all(settings, setup.workspace.boxes)
    found = {}
    for row, image_id in enumerate(images.image_ids.tolist()):
        several = boxes_of.get(image_id, ())
        if len(several) < 2:
            continue
        own = box_of(images, row)
        rule = boxes.choose(several, settings.several_boxes)
        if own is not None and np.allclose(own, rule):
            found[image_id] = tuple(box.corners for box in several)
    return found
