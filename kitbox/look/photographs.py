"""All photographs that the lists name, to be looked at whatever was decided of them."""

from collections.abc import Generator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kitbox.competition import decision_file, lists, tables
from kitbox.competition.settings import Competition
from kitbox.images import index
from kitbox.images.index import Inspected, Looks
from kitbox.records import ImageSet, Progress, Strings, strings
from kitbox.workspace import Workspace

SIDES = ("labelled", "test", "index")


@dataclass(frozen=True)
class Photographs:
    """Labelled, test and index images in one set; its labels are '' where no list tells one.

    `sides (n,)` are "labelled", "test" or "index". `problems` are image id → why it cannot be
    shown. `asked` are the queries of the holdout as written down. `left_out` counts faulty rows.
    `within_group`: nobody is searched beyond the group of an image.
    """

    images: ImageSet
    sides: Strings
    looks: Looks
    problems: dict[str, str]
    asked: frozenset[str]
    unknown: str | None
    left_out: int
    within_group: bool = False

    @cached_property
    def rows(self) -> dict[str, int]:
        """Image id → row."""
        return {image_id: row for row, image_id in enumerate(self.images.image_ids.tolist())}

    @cached_property
    def labels(self) -> Strings:
        """The listed labels (n,)."""
        none = np.full(len(self.images), "", dtype=np.str_)
        return none if self.images.labels is None else self.images.labels

    @cached_property
    def names(self) -> frozenset[str]:
        """The individuals that are listed, and the name of nobody in particular."""
        return frozenset(self.labels.tolist()) - {""}

    @cached_property
    def readable(self) -> Strings:
        """The ids of images that can be shown."""
        return strings([i for i in self.images.image_ids.tolist() if i not in self.problems])

    def side(self, image_id: str) -> str:
        """Return the side of an image."""
        return str(self.sides[self.rows[image_id]])

    def label(self, image_id: str) -> str:
        """Return the listed label of an image, '' where there is none."""
        return str(self.labels[self.rows[image_id]])

    def groups(self, image_ids: Strings) -> Strings | None:
        """Return the groups beyond which images are not compared, None where they always are."""
        return self.images.of(image_ids).groups if self.within_group else None

    def part(self, side: str) -> ImageSet:
        """Return the readable images of one side."""
        shown = np.isin(self.images.image_ids, self.readable)
        part = self.images.take((self.sides == side) & shown)
        return part if side == "labelled" else part.with_labels(None)


def gather(
    workspace: Workspace, competition: Competition
) -> Generator[Progress, None, Photographs]:
    """Return every listed image; faulty rows are counted, unreadable images told; yields Progress.

    Decisions are not obeyed here: what was dropped has to be seen to be taken back. An image with
    no label or with two is shown where they settle it.
    """
    decided = decision_file.read(workspace.decisions)
    kept = competition.images.model_copy(update={"broken": "drop"})
    listed = lists.read(competition.model_copy(update={"images": kept}), workspace.boxes, decided)
    parts = {SIDES[0]: listed.labelled}
    for side, others in zip(SIDES[1:], (listed.test, listed.index), strict=True):
        if others is not None:  # in some competitions labelled images are asked about again
            parts[side] = others.take(~np.isin(others.image_ids, listed.labelled.image_ids))
    found: dict[str, Inspected] = {}
    for side, part in parts.items():
        if len(part):
            found[side] = yield from index.inspect(part, workspace)
    images, *rest = (inspected.images for inspected in found.values())
    for part in rest:
        images = images.together_with(part)
    return Photographs(
        images=images,
        sides=strings([side for side, seen in found.items() for _ in range(len(seen.images))]),
        looks=Looks(
            np.concatenate([seen.looks.hashes for seen in found.values()]),
            np.concatenate([seen.looks.thumbnails for seen in found.values()]),
        ),
        problems={i: why for seen in found.values() for i, why in seen.problems.items()},
        asked=_asked(workspace),
        unknown=competition.images.unknown_label,
        left_out=len(listed.faults),
        within_group=competition.task.within_group,
    )


def _asked(workspace: Workspace) -> frozenset[str]:
    if not workspace.holdout.exists():
        return frozenset()
    rows = tables.rows(workspace.holdout, ("image", "side"))
    return frozenset(image_id for _, (image_id, side) in rows if side == "query")
