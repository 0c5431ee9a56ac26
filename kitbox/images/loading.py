"""Reads images in batches, ahead of the network, in worker processes."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from kitbox.images import reading
from kitbox.images.augmentation import Augmentation
from kitbox.images.reading import Box, Pixels
from kitbox.records import ImageSet


class View(Dataset[tuple[Pixels, int]]):
    """What a network sees of each image of a set: (pixels (h, w, 3) uint8, row).

    An item is asked for as a row, or as (row, seed) where it is to be augmented. Unreadable
    images that were let through (`blank`) are grey.
    """

    def __init__(
        self,
        images: ImageSet,
        height_width: tuple[int, int],
        *,
        interpolation: str,
        crop_margin: float | None,
        augmentation: str = "none",
        blank: frozenset[str] = frozenset(),
    ) -> None:
        """Take the images as they are, or cropped to their boxes with a margin."""
        self.paths: Sequence[Path] = images.paths
        self.image_ids = images.image_ids
        self.boxes = images.boxes if crop_margin is not None else None
        self.margin = crop_margin or 0.0
        self.height_width = height_width
        self.interpolation = interpolation
        self.augmentation_name = augmentation
        self.blank = blank
        self._augmentation: Augmentation | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, item: int | tuple[int, int]) -> tuple[Pixels, int]:
        row, seed = item if isinstance(item, tuple) else (item, None)
        if str(self.image_ids[row]) in self.blank:
            return np.full((*self.height_width, 3), 128, dtype=np.uint8), row
        pixels = reading.read(
            self.paths[row], self.height_width, self._box(row), self.margin, self.interpolation
        )
        if seed is not None:
            if self._augmentation is None:  # built in the worker: albumentations is slow to load
                self._augmentation = Augmentation(self.augmentation_name, self.height_width)
            pixels = self._augmentation(pixels, seed)
        return pixels, row

    def _box(self, row: int) -> Box | None:
        if self.boxes is None or np.isnan(self.boxes[row]).any():
            return None
        x0, y0, x1, y1 = (float(corner) for corner in self.boxes[row])
        return x0, y0, x1, y1


def load(
    view: View, batches: Iterable[Sequence[Any]], *, workers: int, pinned: bool = False
) -> DataLoader[Any]:
    """Return a loader of (pixels (n, h, w, 3) uint8, rows (n,) int64) tensors, batch by batch.

    `batches` yields the items of each batch: rows, or (row, seed) pairs.
    """
    return DataLoader(
        view,
        batch_sampler=batches,  # type: ignore[arg-type]
        num_workers=workers,
        pin_memory=pinned,
        worker_init_fn=_start_worker if workers else None,
        prefetch_factor=4 if workers else None,
        persistent_workers=workers > 0,  # each loads albumentations once, not once an epoch
    )


def default_workers(device: str) -> int:
    """Return how many processes read images: all cores beside a GPU, else one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, 16) if device != "cpu" else 1


def seed_of(seed: int, epoch: int, image_id: str) -> int:
    """Return the augmentation seed of an image in an epoch: the same for any number of workers."""
    digest = hashlib.sha256(f"{seed}:{epoch}:{image_id}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _start_worker(worker: int) -> None:
    import cv2

    del worker
    cv2.setNumThreads(0)  # one process a core is enough
