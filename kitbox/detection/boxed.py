"""Images with the boxes that people drew, and how they are parted into learnt and held out."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kitbox.competition.boxes import Corners
from kitbox.competition.settings import HoldoutShape
from kitbox.errors import KitboxError
from kitbox.images import index, likeness, reading
from kitbox.records import Floats, ImageSet, Integers, Progress
from kitbox.workspace import Workspace

# With fewer, nothing that is held out says anything.
_FEWEST = 20


@dataclass(frozen=True)
class Boxed:
    """Images, the width and height (n, 2) of each upright, and the boxes (m, 4) of each in pixels.

    Every image has a box or more.
    """

    images: ImageSet
    sizes: Integers
    boxes: tuple[Floats, ...]

    def __post_init__(self) -> None:
        if not len(self.images) == len(self.sizes) == len(self.boxes):
            raise KitboxError(
                f"{len(self.images)} images, {len(self.sizes)} sizes and {len(self.boxes)} boxes"
            )

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: Integers) -> "Boxed":
        """Return the images of the given rows, in that order."""
        boxes = tuple(self.boxes[row] for row in rows)
        return Boxed(self.images.take(rows), self.sizes[rows], boxes)

    @property
    def shape(self) -> float:
        """Width / height of the median image."""
        return float(np.median(self.sizes[:, 0] / self.sizes[:, 1]))


def of(images: ImageSet, boxes_of: Mapping[str, Sequence[Corners]]) -> Boxed:
    """Return those of the images that have a box, by image id, in the images' order."""
    rows = np.flatnonzero([image_id in boxes_of for image_id in images.image_ids.tolist()])
    kept = images.take(rows)
    sizes = [reading.upright_size(path) for path in kept.paths]
    boxes = [np.array(boxes_of[i], dtype=np.float32) for i in kept.image_ids.tolist()]
    return Boxed(kept, np.array(sizes, dtype=np.int64).reshape(-1, 2), tuple(boxes))


def inside(drawn: Boxed) -> tuple[Boxed, int]:
    """Return the boxes clipped to their images, and how many that changed.

    A box that becomes empty is left out, and an image without another.
    """
    boxes, changed = [], 0
    for size, each in zip(drawn.sizes, drawn.boxes, strict=True):
        clipped = np.clip(each, 0, np.tile(size, 2)).astype(np.float32)
        changed += int((clipped != each).any(axis=1).sum())
        boxes.append(clipped[(clipped[:, :2] < clipped[:, 2:]).all(axis=1)])
    rows = np.flatnonzero([len(each) > 0 for each in boxes])
    return Boxed(drawn.images, drawn.sizes, tuple(boxes)).take(rows), changed


def units(
    boxed: Boxed, shape: HoldoutShape, workspace: Workspace
) -> Generator[Progress, None, Integers]:
    """Return the number (n,) of the unit of each image; copies and near-duplicates are together.

    So are images of one individual from one encounter, where that is known.
    """
    seen = yield from index.inspect(boxed.images, workspace)
    # minutes would chain the unlabelled into one
    near = shape.model_copy(update={"encounter_minutes": None})
    return likeness.units(seen.images, seen.looks, near)


def part(units: Integers, share: float, seed: int) -> tuple[Integers, Integers]:
    """Return the rows to learn from and those held out, each in order.

    Units (n,) are drawn whole as long as no more than this share of the images is held out, or the
    smallest where none is as small; all are learnt from where the share is 0. Raises KitboxError
    where nothing would be left to learn from.
    """
    order = np.random.default_rng(seed).permutation(int(units.max(initial=-1)) + 1)
    counts = np.bincount(units, minlength=len(order))
    left, drawn = round(share * len(units)), list[int]()
    for unit in order.tolist():
        if counts[unit] <= left:
            drawn.append(unit)
            left -= int(counts[unit])
    if left and not drawn:
        drawn = [int(counts.argmin())]
    held = np.isin(units, drawn)
    if len(units) and held.all():
        raise KitboxError(
            f"the {len(units)} images with a drawn box are held out together, as one place or one "
            "picture; draw boxes in others, or measure nothing with --held-out 0"
        )
    return np.flatnonzero(~held), np.flatnonzero(held)


def require(boxed: Boxed) -> None:
    """Raise KitboxError where the drawn boxes are too few to learn from."""
    if len(boxed) < _FEWEST:
        raise KitboxError(
            f"{len(boxed)} images have a drawn box, and a detector needs {_FEWEST} or more; draw "
            "some with 'kitbox look', or read them with 'kitbox data boxes import FILE'"
        )
