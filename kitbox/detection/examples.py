"""What a detector sees: images squashed to one size, and boxes that go along."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kitbox.detection.boxed import Boxed
from kitbox.images import loading, reading
from kitbox.images.augmentation import BoxAugmentation
from kitbox.images.reading import Pixels
from kitbox.records import Floats

Item = tuple[Pixels, Floats, int]


class Examples(Dataset[Item]):
    """Boxed images as (pixels (h, w, 3) uint8, boxes (m, 4) in those pixels, row).

    An item is asked for as (row, seed), and augmented as the seed says.
    """

    def __init__(self, boxed: Boxed, height_width: tuple[int, int], interpolation: str) -> None:
        """Take the images at one size."""
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
        pixels = reading.read(self.paths[row], self.height_width, interpolation=self.interpolation)
        if self._augmentation is None:  # built in the worker: albumentations is slow to load
            self._augmentation = BoxAugmentation()
        return *self._augmentation(pixels, self.boxes[row], seed), row


class Sights(Dataset[tuple[Pixels, tuple[int, int], int]]):
    """Images as (pixels (h, w, 3) uint8, (width, height) of the file, row)."""

    def __init__(
        self, paths: Sequence[Path], height_width: tuple[int, int], interpolation: str
    ) -> None:
        """Take the images at one size."""
        self.paths, self.height_width, self.interpolation = paths, height_width, interpolation

    def __getitem__(self, row: int) -> tuple[Pixels, tuple[int, int], int]:
        path = self.paths[row]
        pixels = reading.read(path, self.height_width, interpolation=self.interpolation)
        return pixels, reading.upright_size(path), row


class EpochBatches:
    """The batches of the current `epoch`: every image once, each as (row, augmentation seed)."""

    def __init__(self, boxed: Boxed, batch_size: int, seed: int) -> None:
        """Deal the images out in random order, the same for any number of workers."""
        self.epoch, self._seed, self._size = 0, seed, batch_size
        self._image_ids = boxed.images.image_ids

    def __len__(self) -> int:
        return -(-len(self._image_ids) // self._size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.random.default_rng([self._seed, self.epoch]).permutation(len(self._image_ids))
        for rows in np.array_split(order, len(self)):  # even batches: none of a single image
            yield [
                (int(row), loading.seed_of(self._seed, self.epoch, str(self._image_ids[row])))
                for row in rows
            ]


def loader(dataset: Dataset[Any], batches: Any, *, workers: int) -> DataLoader[Any]:
    """Return a loader of batches: pixels (n, h, w, 3) uint8, then lists of what else there is."""
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_together,
        worker_init_fn=loading.start_worker if workers else None,
        prefetch_factor=4 if workers else None,
        persistent_workers=workers > 0,
    )


def _together(items: list[tuple[Any, ...]]) -> tuple[Tensor, list[Any], list[int]]:
    pixels, told, rows = zip(*items, strict=True)
    return torch.from_numpy(np.stack(pixels)), list(told), list(rows)
