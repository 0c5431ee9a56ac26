"""What a plugin learns from: images, their labels, and the boxes that they may be cropped to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kitbox.competition import boxes as box_lists
from kitbox.competition import pseudo_labels as pseudo_files
from kitbox.competition.pseudo_labels import PseudoLabel
from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError
from kitbox.files import digest_of
from kitbox.images import store
from kitbox.images.collection import Collection
from kitbox.images.reading import Box
from kitbox.plugin.settings import Plugin
from kitbox.records import ImageSet, Integers, Strings
from kitbox.training import stages
from kitbox.training.batches import UNKNOWN
from kitbox.training.pseudo_labels import joined, used
from kitbox.workspace import Workspace


@dataclass(frozen=True)
class Lessons:
    """Images to learn from; `label_rows (n,)` are rows of `label_map (L,)`, UNKNOWN for none.

    `any_of` are the boxes of an image that has several, where a plugin chooses among them.
    `pseudo` are the pseudo-labels of images at the end, None where the plugin takes none.
    """

    images: ImageSet
    label_map: Strings
    label_rows: Integers
    any_of: Mapping[str, tuple[Box, ...]] = field(default_factory=dict)
    pseudo: tuple[PseudoLabel, ...] | None = None

    @property
    def counts(self) -> Integers:
        """How many images each label has, `(L,)`."""
        known = self.label_rows[self.label_rows != UNKNOWN]
        return np.bincount(known, minlength=len(self.label_map)).astype(np.int64)

    @property
    def boxes_digest(self) -> str | None:
        """What names the boxes to choose among, None where there is no choice."""
        chosen = {image: [list(box) for box in boxes] for image, boxes in self.any_of.items()}
        return digest_of(chosen) if chosen else None

    @property
    def pseudo_digest(self) -> str | None:
        """What names the pseudo-labels, None where there are none."""
        return pseudo_files.digest(self.pseudo) if self.pseudo else None

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


def gather(
    collection: Collection,
    competition: Competition,
    plugin: Plugin,
    on: str,
    workspace: Workspace,
    pseudo_file: Path | None = None,
) -> Lessons:
    """Return what a plugin learns from: known labels with enough photographs.

    A plugin with an `unknown_share` gets the images of unknown individuals too, one that takes
    pseudo-labels the test images that have them in `pseudo_file`, by default the workspace's.
    Raises KitboxError where nothing is left to learn from, and for pseudo-labels that must not be
    learnt from.
    """
    images = collection.labelled if on == "all" else collection.holdout.train
    assert images.labels is not None  # noqa: S101  labelled images
    unknown = competition.images.unknown_label or ""
    kept = _enough(images.labels, plugin, unknown)
    wanted = np.isin(images.labels, kept)
    if plugin.unknown_share and unknown:
        wanted |= images.labels == unknown
    images = images.take(wanted)
    pseudo = None
    if plugin.pseudo_labels:
        listed = pseudo_files.read(
            pseudo_file or workspace.pseudo_labels, competition.images.unknown_label
        )
        bits = competition.holdout.near_duplicate_bits
        pseudo = used(images, collection, listed, on, bits)
        images = joined(images, collection, pseudo)
    assert images.labels is not None  # noqa: S101  as before
    rows = np.searchsorted(kept, images.labels)
    known = images.labels != unknown
    rows = np.where(known, np.minimum(rows, max(len(kept) - 1, 0)), UNKNOWN).astype(np.int64)
    several = _several(images, competition, workspace) if plugin.box_choice == "random" else {}
    return Lessons(images, kept, rows, several, pseudo)


def _enough(labels: Strings, plugin: Plugin, unknown: str) -> Strings:
    """Return the labels to learn, sorted: those with enough images in any of the stages."""
    fewest = [phase.min_images_per_label for phase in stages.phases(plugin)]
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
    counted = box_lists.counted(competition.images, workspace.boxes)
    for row, image_id in enumerate(images.image_ids.tolist()):
        boxes = counted.get(image_id, ())
        if len(boxes) < 2:
            continue
        own = store.box_of(images, row)
        rule = box_lists.chosen(boxes, competition.images.several_boxes)
        if own is not None and np.allclose(own, rule):
            found[image_id] = tuple(box.corners for box in boxes)
    return found
