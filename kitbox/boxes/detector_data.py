"""Images with drawn boxes, their split into training and held-out images, and their loaders."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kitbox.competition.settings import HoldoutSettings
from kitbox.dataset import near_duplicates
from kitbox.errors import KitboxError
from kitbox.images import file_index, preprocessing
from kitbox.images.augmentation import BoxAugmentation
from kitbox.images.loader import ErrorLoader, augmentation_seed, start_worker
from kitbox.images.preprocessing import Pixels
from kitbox.records import Corners, Floats, ImageSet, Integers, Progress
from kitbox.workspace import Workspace

# With fewer images, scores on the held-out part mean nothing.
_FEWEST = 20


@dataclass(frozen=True)
class BoxedImages:
    """Images, their upright sizes (n, 2) as width and height, and the boxes (m, 4) of each.

    Boxes are in pixels; every image has at least one.
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

    def take(self, rows: Integers) -> "BoxedImages":
        """Return the images of the given rows, in that order."""
        boxes = tuple(self.boxes[row] for row in rows)
        return BoxedImages(self.images.take(rows), self.sizes[rows], boxes)

    @property
    def shape(self) -> float:
        """Width / height of the median image."""
        return float(np.median(self.sizes[:, 0] / self.sizes[:, 1]))


def with_boxes(images: ImageSet, boxes_of: Mapping[str, Sequence[Corners]]) -> BoxedImages:
    """Return the images that have a box in `boxes_of` (image id → boxes), in their order."""
    rows = np.flatnonzero([image_id in boxes_of for image_id in images.image_ids.tolist()])
    boxed = images.take(rows)
    sizes = [preprocessing.upright_size(path) for path in boxed.paths]
    boxes = [np.array(boxes_of[i], dtype=np.float32) for i in boxed.image_ids.tolist()]
    return BoxedImages(boxed, np.array(sizes, dtype=np.int64).reshape(-1, 2), tuple(boxes))


def clip_boxes(drawn: BoxedImages) -> tuple[BoxedImages, int]:
    """Return the boxes clipped to their images, and how many of them changed.

    Boxes that become empty are left out, and images that lose all their boxes.
    """
    boxes, changed = [], 0
    for size, each in zip(drawn.sizes, drawn.boxes, strict=True):
        clipped = np.clip(each, 0, np.tile(size, 2)).astype(np.float32)
        changed += int((clipped != each).any(axis=1).sum())
        boxes.append(clipped[(clipped[:, :2] < clipped[:, 2:]).all(axis=1)])
    rows = np.flatnonzero([len(each) > 0 for each in boxes])
    return BoxedImages(drawn.images, drawn.sizes, tuple(boxes)).take(rows), changed


def split_units(
    boxed: BoxedImages, settings: HoldoutSettings, workspace: Workspace
) -> Generator[Progress, None, Integers]:
    """Return the number (n,) of each image's unit: copies, near-duplicates, one encounter.

    Only images of one individual can share an encounter.
    """
    indexed = yield from file_index.inspect(boxed.images, workspace, keep_truncated=True)
    # minutes would chain all unlabelled images into one unit
    without_minutes = settings.model_copy(update={"encounter_minutes": None})
    return near_duplicates.split_units(indexed.images, indexed.signatures, without_minutes)


def split(units: Integers, share: float, seed: int) -> tuple[Integers, Integers]:
    """Return the rows of training and of held-out images, each in order.

    Units (n,) are held out whole, as many as fit into the share of images, or the smallest if none
    fits; with a share of 0 no image is held out. Raises KitboxError if no training image is left.
    """
    order = np.random.default_rng(seed).permutation(int(units.max(initial=-1)) + 1)
    counts = np.bincount(units, minlength=len(order))
    left, held_units = round(share * len(units)), list[int]()
    for unit in order.tolist():
        if counts[unit] <= left:
            held_units.append(unit)
            left -= int(counts[unit])
    if left and not held_units:
        held_units = [int(counts.argmin())]
    held = np.isin(units, held_units)
    if len(units) and held.all():
        raise KitboxError(
            f"the {len(units)} images with a drawn box would all be held out, as copies or one "
            "encounter",
            fix="draw boxes in other images, or hold none out with --held-out 0",
        )
    return np.flatnonzero(~held), np.flatnonzero(held)


def require_enough(boxed: BoxedImages) -> None:
    """Raise KitboxError for too few images with drawn boxes."""
    if len(boxed) < _FEWEST:
        raise KitboxError(
            f"{len(boxed)} images have a drawn box, and a detector needs {_FEWEST} or more",
            fix="draw some with 'kitbox look', or import them with 'kitbox data boxes import FILE'",
        )


Item = tuple[Pixels, Floats, int]


class BoxedDataset(Dataset[Item]):
    """Boxed images as (pixels (h, w, 3) uint8, boxes (m, 4) in those pixels, row).

    An item is requested as (row, seed); the seed decides its augmentation.
    """

    def __init__(
        self, boxed: BoxedImages, height_width: tuple[int, int], interpolation: str
    ) -> None:
        """Read the images at one size."""
        self.paths = boxed.images.paths
        self.height_width, self.interpolation = height_width, interpolation
        scale = np.array([height_width[1], height_width[0]]) / boxed.sizes
        self.boxes = [
            (boxes * np.tile(each, 2)).astype(np.float32)
            for boxes, each in zip(boxed.boxes, scale, strict=True)
        ]
        self._augmentation: BoxAugmentation | None = None

    def __getitem__(self, item: tuple[int, int]) -> Item:
        row, seed = item
        pixels = preprocessing.read(
            self.paths[row], self.height_width, interpolation=self.interpolation
        )
        if self._augmentation is None:  # built in the worker: albumentations is slow to load
            self._augmentation = BoxAugmentation()
        return *self._augmentation(pixels, self.boxes[row], seed), row


class PlainDataset(Dataset[tuple[Pixels, tuple[int, int], int]]):
    """Images as (pixels (h, w, 3) uint8, (width, height) of the file, row)."""

    def __init__(
        self, paths: Sequence[Path], height_width: tuple[int, int], interpolation: str
    ) -> None:
        """Read the images at one size."""
        self.paths, self.height_width, self.interpolation = paths, height_width, interpolation

    def __getitem__(self, row: int) -> tuple[Pixels, tuple[int, int], int]:
        path = self.paths[row]
        pixels = preprocessing.read(path, self.height_width, interpolation=self.interpolation)
        return pixels, preprocessing.upright_size(path), row


class EpochBatches:
    """The batches of the current `epoch`: each image once, as (row, augmentation seed)."""

    def __init__(self, boxed: BoxedImages, batch_size: int, seed: int) -> None:
        """Shuffle the images by a seed, independently of the number of workers."""
        self.epoch, self._seed, self._size = 0, seed, batch_size
        self._image_ids = boxed.images.image_ids

    def __len__(self) -> int:
        return -(-len(self._image_ids) // self._size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.random.default_rng([self._seed, self.epoch]).permutation(len(self._image_ids))
        for rows in np.array_split(order, len(self)):  # even batches: none of a single image
            yield [
                (int(row), augmentation_seed(self._seed, self.epoch, str(self._image_ids[row])))
                for row in rows
            ]


def build_loader(dataset: Dataset[Any], batches: Any, *, workers: int) -> DataLoader[Any]:
    """Return a loader of batches: pixels (n, h, w, 3) uint8, boxes or sizes, and rows, as lists."""
    return ErrorLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=start_worker if workers else None,
        prefetch_factor=4 if workers else None,
        persistent_workers=workers > 0,
    )


def _collate(items: list[tuple[Any, ...]]) -> tuple[Tensor, list[Any], list[int]]:
    pixels, boxes_or_sizes, rows = zip(*items, strict=True)
    return torch.from_numpy(np.stack(pixels)), list(boxes_or_sizes), list(rows)
