"""Reads images in batches, ahead of the network, in worker processes."""

import hashlib
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from kitbox.images import pixel_cache, preprocessing
from kitbox.images.augmentation import Augmentation
from kitbox.images.pixel_cache import InputSpec
from kitbox.images.preprocessing import Box, Pixels
from kitbox.records import ImageSet
from kitbox.workspace import Workspace


class BatchItem(NamedTuple):
    """An image that is asked for: its row, the seed of what chance decides, whether mirrored.

    Without a seed nothing is left to chance: it is not augmented.
    """

    row: int
    seed: int | None = None
    flipped: bool = False


class ImageDataset(Dataset[tuple[Pixels, int]]):
    """What a network sees of each image of a set: (pixels (h, w, 3) uint8, row).

    An item is asked for as a row, or as an `BatchItem`. Unreadable images that were let through
    (`unreadable`) are grey. Pixels come from the prepared store where it has them, else from the
    files: they are the same.
    """

    def __init__(
        self,
        images: ImageSet,
        height_width: tuple[int, int],
        *,
        interpolation: str,
        crop_margin: float | None,
        augmentation: str = "none",
        unreadable: frozenset[str] = frozenset(),
        workspace: Workspace | None = None,
        alternative_boxes: Mapping[str, Sequence[Box]] | None = None,
    ) -> None:
        """Take the images as they are, or cropped to their boxes with a margin.

        `workspace` is where prepared images are looked for. An item that has a seed is cropped to
        any one of the image's `alternative_boxes`.
        """
        self.images = images
        self.way = InputSpec(height_width, interpolation, crop_margin)
        self.augmentation_name = augmentation
        self.unreadable = unreadable
        self._any_of = alternative_boxes or {}
        self.prepared = None if workspace is None else pixel_cache.find(workspace, images, self.way)
        self._ready = 0
        if self.prepared is not None:
            grey = np.isin(images.image_ids, list(unreadable))
            self._ready = int(((self.prepared.rows >= 0) | grey).sum())
        self._augmentation: Augmentation | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def source(self) -> str:
        """Where the pixels come from, in words."""
        if not self._ready:
            return "from their files"
        return "all prepared" if self._ready == len(self) else f"{self._ready} prepared"

    @property
    def only_copies(self) -> bool:
        """Whether an item costs no more than a copy: all are prepared, and none is augmented."""
        return self._ready == len(self) and self.augmentation_name == "none"

    def __getitem__(self, item: int | BatchItem) -> tuple[Pixels, int]:
        pixels = np.empty((*self.way.height_width, 3), dtype=np.uint8)
        return pixels, self._fill(pixels, item)

    def __getitems__(self, items: Sequence[int | BatchItem]) -> tuple[Tensor, Tensor]:
        """Return a batch, as `build_loader` gives it; prepared images are copied once, into it."""
        batch = _empty((len(items), *self.way.height_width, 3))
        rows = [self._fill(pixels, item) for pixels, item in zip(batch.numpy(), items, strict=True)]
        return batch, torch.tensor(rows, dtype=torch.int64)

    def _fill(self, pixels: Pixels, item: int | BatchItem) -> int:
        """Fill pixels (h, w, 3) with an item; return its row."""
        row, seed, flipped = BatchItem(*item) if isinstance(item, tuple) else BatchItem(item)
        if str(self.images.image_ids[row]) in self.unreadable:
            pixels[:] = 128
            return row
        self._read(pixels, row, seed)
        if flipped:
            pixels[:] = pixels[:, ::-1].copy()
        if seed is not None:
            if self._augmentation is None:  # built in the worker: albumentations is slow to load
                self._augmentation = Augmentation(self.augmentation_name, self.way.height_width)
            pixels[:] = self._augmentation(pixels, seed)
        return row

    def _read(self, pixels: Pixels, row: int, seed: int | None) -> None:
        cut = self.way.cut(self.images, row)
        boxes = self._any_of.get(str(self.images.image_ids[row])) if cut.box else None
        if boxes and seed is not None:
            chosen = boxes[int(np.random.default_rng([seed, 1]).integers(len(boxes)))]
            if chosen != cut.box:  # not the one that is prepared
                cut = replace(cut, box=chosen)
                pixels[:] = preprocessing.read_crops(self.images.paths[row], [cut])[0]
                return
        if self.prepared is None or not self.prepared.read_into(pixels, row):
            pixels[:] = preprocessing.read_crops(self.images.paths[row], [cut])[0]


def _empty(shape: tuple[int, ...]) -> Tensor:
    """Return unfilled bytes: in a worker, such as reach the other process without a copy."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    # as torch's own collation does; share_memory_() would copy what is not filled yet
    storage = torch.UntypedStorage._new_shared(math.prod(shape))  # type: ignore[no-untyped-call]
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)


def build_loader(
    view: ImageDataset, batches: Iterable[Sequence[Any]], *, workers: int, pinned: bool = False
) -> DataLoader[Any]:
    """Return a loader of (pixels (n, h, w, 3) uint8, rows (n,) int64) tensors, batch by batch.

    `batches` yields the items of each batch: rows, or `BatchItem`s.
    """
    return DataLoader(
        view,
        batch_sampler=batches,  # type: ignore[arg-type]
        collate_fn=_as_it_is,
        num_workers=workers,
        pin_memory=pinned,
        worker_init_fn=start_worker if workers else None,
        prefetch_factor=4 if workers else None,
        persistent_workers=workers > 0,  # each loads albumentations once, not once an epoch
    )


def worker_count(view: ImageDataset, device: str, asked: int | None = None) -> int:
    """Return how many processes read a view: as asked, else the usual.

    Beside a CPU none where a read is a copy: it costs less than handing over what was copied.
    """
    if asked is None and device == "cpu" and view.only_copies:
        return 0
    return default_worker_count(device, asked)


def default_worker_count(device: str, asked: int | None = None) -> int:
    """Return how many processes read images: as asked, all cores beside a GPU, else one."""
    if asked is not None:
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, 16) if device != "cpu" else 1


def augmentation_seed(seed: int, epoch: int, image_id: str) -> int:
    """Return the augmentation seed of an image in an epoch: the same for any number of workers."""
    digest = hashlib.sha256(f"{seed}:{epoch}:{image_id}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _as_it_is(batch: Any) -> Any:
    return batch


def start_worker(worker: int) -> None:
    """Keep a process that reads images to one core."""
    import cv2

    del worker
    cv2.setNumThreads(0)  # one process a core is enough
