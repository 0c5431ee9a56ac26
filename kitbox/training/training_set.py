"""What a plugin learns from: images, their labels, and the boxes that they may be cropped to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kitbox.competition import boxes as boxes_module
from kitbox.competition import pseudo_labels
from kitbox.competition.pseudo_labels import PseudoLabel, holdout_digest, with_label
from kitbox.competition.settings import Competition, HoldoutSettings
from kitbox.dataset import near_duplicates
from kitbox.dataset.collection import Collection
from kitbox.errors import KitboxError, did_you_mean
from kitbox.files import digest_of
from kitbox.images.preprocessing import Box, box_of
from kitbox.plugin import curriculum
from kitbox.plugin.plugin import Plugin
from kitbox.records import ImageSet, Integers, LabelledImages, Strings, concatenate, strings
from kitbox.samplers.batch_samplers import UNKNOWN
from kitbox.workspace import Workspace

_BITS: int = HoldoutSettings().near_duplicate_bits


def with_pseudo_labels(
    images: LabelledImages, collection: Collection, rows: Sequence[PseudoLabel]
) -> LabelledImages:
    """Append the test images of pseudo-labels that `usable_pseudo_labels` returned."""
    if not rows or collection.test is None:
        return images
    taken = collection.test.of(strings([row.image_id for row in rows]))
    return concatenate(images, taken.with_labels(strings([row.label for row in rows])))


def usable_pseudo_labels(
    images: LabelledImages,
    collection: Collection,
    rows: Sequence[PseudoLabel],
    on: str,
    bits: int = _BITS,
) -> tuple[PseudoLabel, ...]:
    """Return the rows that may be learnt from beside `images`, under the labels that stay.

    A row is left out where its label is none of the images', and where its image is a labelled one
    again: a file of equal bytes, or near-duplicates whose hashes differ in at most `bits`.
    Raises KitboxError for an image that is no test image, a label that nobody has, and for rows
    of networks that have seen the answers of the holdout that this training is scored on.
    """
    if not rows:
        return ()
    if on == "holdout":
        _refuse_leaks(collection, rows)
    labels, known = set(images.labels.tolist()), set(collection.labelled.labels.tolist())
    test = [] if collection.test is None else collection.test.image_ids.tolist()
    free = dict(zip(test, pseudo_label_candidates(collection, bits).tolist(), strict=True))
    kept = []
    for given in rows:
        row = with_label(given, collection.decisions.merged.get(given.label, given.label))
        if row.image_id not in free:
            raise KitboxError(
                f"pseudo.csv line {row.line}: '{row.image_id}' is no test image"
                f"{did_you_mean(row.image_id, free) or '; remove the row'}"
            )
        if row.label not in known:
            raise KitboxError(
                f"pseudo.csv line {row.line}: '{row.label}' is no label"
                f"{did_you_mean(row.label, known) or '; correct or remove the row'}"
            )
        if row.label in labels and free[row.image_id]:
            kept.append(row)
    return tuple(kept)


def pseudo_label_candidates(collection: Collection, bits: int = _BITS) -> NDArray[np.bool_]:
    """Return which test images (t,) can be given a label: readable, and no labelled image again."""
    test, labelled = collection.test, collection.labelled
    if test is None:
        return np.zeros(0, dtype=np.bool_)
    free = ~np.isin(test.image_ids, [*labelled.image_ids.tolist(), *collection.unreadable])
    if collection.test_signatures is not None:
        free &= ~near_duplicates.repeated_images(
            labelled, collection.signatures, test, collection.test_signatures, bits
        )
    elif test.digests is not None and labelled.digests is not None:
        free &= ~np.isin(test.file_digests, labelled.file_digests)
    return np.asarray(free, dtype=np.bool_)


def _refuse_leaks(collection: Collection, rows: Sequence[PseudoLabel]) -> None:
    """Raise KitboxError for rows whose makers have learnt what the holdout asks."""
    here = holdout_digest(collection.holdout.query.image_ids)
    for row in rows:
        if row.on == "holdout" and row.holdout == here:
            continue
        if row.on == "holdout" and not row.holdout:
            raise KitboxError(
                f"pseudo.csv line {row.line}: on = 'holdout' with an empty column holdout; write "
                f"{here} there where its label owes nothing to the holdout's answers, else on = all"
            )
        seen = (
            "all labels, among them"
            if row.on == "all"
            else "another holdout's training side, among it"
        )
        names = "NAME..." if row.source.startswith("import ") else row.source.replace("+", " ")
        raise KitboxError(
            f"pseudo.csv line {row.line}: made by networks that learnt from {seen} "
            "answers of the holdout that this training is scored on; "
            f"make others with 'kitbox pseudo {names} --on holdout'"
        )


@dataclass(frozen=True)
class TrainingSet:
    """Images to learn from; `label_rows (n,)` are rows of `label_map (L,)`, UNKNOWN for none.

    `alternative_boxes` are the boxes of each image that has several, where a plugin chooses among
    them.
    `pseudo` are the pseudo-labels of images at the end, None where the plugin takes none.
    """

    images: ImageSet
    label_map: Strings
    label_rows: Integers
    alternative_boxes: Mapping[str, tuple[Box, ...]] = field(default_factory=dict)
    pseudo: tuple[PseudoLabel, ...] | None = None

    @property
    def counts(self) -> Integers:
        """How many images each label has, `(L,)`."""
        known = self.label_rows[self.label_rows != UNKNOWN]
        return np.bincount(known, minlength=len(self.label_map)).astype(np.int64)

    @property
    def boxes_digest(self) -> str | None:
        """What names the boxes to choose among, None where there is no choice."""
        chosen = {
            image: [list(box) for box in boxes] for image, boxes in self.alternative_boxes.items()
        }
        return digest_of(chosen) if chosen else None

    @property
    def pseudo_digest(self) -> str | None:
        """What names the pseudo-labels, None where there are none."""
        return pseudo_labels.digest(self.pseudo) if self.pseudo else None

    @property
    def pseudo_round(self) -> int:
        """The round of the pseudo-labels, 0 where there are none."""
        return max((row.round for row in self.pseudo or ()), default=0)

    @property
    def notes(self) -> tuple[str, ...]:
        """What there is to say of them beside their number."""
        if self.pseudo is None:
            return ()
        if not self.pseudo:
            return ("there are no pseudo-labels for it; it learns from labels alone",)
        many = f"{len(self.pseudo)} of its images are test images with pseudo-labels"
        return (f"{many} of round {self.pseudo_round}",)


def select(
    collection: Collection,
    competition: Competition,
    plugin: Plugin,
    on: str,
    workspace: Workspace,
    pseudo_file: Path | None = None,
) -> TrainingSet:
    """Return what a plugin learns from: known labels with enough photographs.

    A plugin with an `unknown_share` gets the images of unknown individuals too, one that takes
    pseudo-labels the test images that have them in `pseudo_file`, by default the workspace's.
    Raises KitboxError where nothing is left to learn from, and for pseudo-labels that must not be
    learnt from.
    """
    images = collection.labelled if on == "all" else collection.holdout.train
    unknown = competition.images.unknown_label or ""
    kept = _enough(images.labels, plugin, unknown)
    wanted = np.isin(images.labels, kept)
    if plugin.unknown_share and unknown:
        wanted |= images.labels == unknown
    images = images.take(wanted)
    pseudo = None
    if plugin.pseudo_labels:
        listed = pseudo_labels.load(
            pseudo_file or workspace.pseudo_labels, competition.images.unknown_label
        )
        bits = competition.holdout.near_duplicate_bits
        pseudo = usable_pseudo_labels(images, collection, listed, on, bits)
        images = with_pseudo_labels(images, collection, pseudo)
    rows = np.searchsorted(kept, images.labels)
    known = images.labels != unknown
    rows = np.where(known, np.minimum(rows, max(len(kept) - 1, 0)), UNKNOWN).astype(np.int64)
    several = _several(images, competition, workspace) if plugin.box_choice == "random" else {}
    return TrainingSet(images, kept, rows, several, pseudo)


def _enough(labels: Strings, plugin: Plugin, unknown: str) -> Strings:
    """Return the labels to learn, sorted: those with enough images in any of the stages."""
    fewest = [phase.min_images_per_label for phase in curriculum.phases(plugin)]
    least = min(fewest, default=plugin.min_images_per_label)
    names, counts = np.unique(labels, return_counts=True)
    kept: Strings = names[(counts >= least) & ~np.isin(names, [unknown, *plugin.ignored_labels])]
    if not (names != unknown).any() and plugin.epochs:
        raise KitboxError(
            "no labelled image shows a known individual; there is nothing to learn from"
        )
    if len(kept) < 2 and plugin.epochs:
        raise KitboxError(
            f"{len(kept)} labels have {least} or more images to learn from; "
            "lower min_images_per_label"
        )
    return kept


def _several(
    images: ImageSet, competition: Competition, workspace: Workspace
) -> dict[str, tuple[Box, ...]]:
    """Return the boxes of images that have more than one; one that people decided on is alone."""
    found = {}
    counted = boxes_module.read_all(competition.images, workspace.boxes)
    for row, image_id in enumerate(images.image_ids.tolist()):
        boxes = counted.get(image_id, ())
        if len(boxes) < 2:
            continue
        own = box_of(images, row)
        rule = boxes_module.choose(boxes, competition.images.several_boxes)
        if own is not None and np.allclose(own, rule):
            found[image_id] = tuple(box.corners for box in boxes)
    return found
