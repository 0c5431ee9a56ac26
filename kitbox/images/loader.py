"""Dataset and loader: images in batches, read ahead of the network in worker processes."""

import hashlib
import math
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from kitbox.errors import KitboxError
from kitbox.images import pixel_cache, preprocessing
from kitbox.images.augmentation import Augmentation
from kitbox.images.preprocessing import Box, InputSpec, Pixels
from kitbox.plugin.source_code import SourceCode
from kitbox.records import ImageSet
from kitbox.workspace import Workspace

# Batches that are read while the network runs on another.
_BATCHES_AHEAD = 2


class BatchItem(NamedTuple):
    """An image of a batch: its row, augmentation seed (None: not augmented), and mirroring."""

    row: int
    seed: int | None = None
    flipped: bool = False


class ImageDataset(Dataset[tuple[Pixels, int]]):
    """A network's input for each image of a set: (pixels (h, w, 3) uint8, row).

    It is indexed by a row or a `BatchItem`. `unreadable` images are grey. Pixels come from the
    pixel cache of the workspace if it has them, else from the files; they are equal.
    """

    def __init__(
        self,
        images: ImageSet,
        height_width: tuple[int, int],
        *,
        interpolation: str,
        crop_margin: float | None,
        part: Box | None = None,
        augmentation: str = "none",
        code: SourceCode | None = None,
        unreadable: frozenset[str] = frozenset(),
        workspace: Workspace | None = None,
        alternative_boxes: Mapping[str, Sequence[Box]] | None = None,
    ) -> None:
        """Read whole images, or with a `crop_margin` their boxes widened by that margin.

        Of these it reads a `part`, as shares of their width and height, if one is given. An item
        with a seed is cropped to one of the image's `alternative_boxes`, if it has any.
        `code` is that of a user's own augmentation.
        """
        self.images = images
        self.spec = InputSpec(height_width, interpolation, crop_margin, part)
        self.augmentation_name = augmentation
        self._code = code
        self.unreadable = unreadable
        self._alternative_boxes = alternative_boxes or {}
        self.cached = None if workspace is None else pixel_cache.find(workspace, images, self.spec)
        self._cached_count = 0
        if self.cached is not None:
            grey = np.isin(images.image_ids, list(unreadable))
            self._cached_count = int(((self.cached.rows >= 0) | grey).sum())
        self._augmentation: Augmentation | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def source(self) -> str:
        """The source of the pixels as text: "from their files", "all prepared" or "N prepared"."""
        if not self._cached_count:
            return "from their files"
        return (
            "all prepared" if self._cached_count == len(self) else f"{self._cached_count} prepared"
        )

    @property
    def only_copies(self) -> bool:
        """Whether reading an item only copies it: all are cached, and none is augmented."""
        return self._cached_count == len(self) and self.augmentation_name == "none"

    def __getitem__(self, item: int | BatchItem) -> tuple[Pixels, int]:
        pixels = np.empty((*self.spec.height_width, 3), dtype=np.uint8)
        return pixels, self.fill(pixels, item)

    def __getitems__(self, items: Sequence[int | BatchItem]) -> tuple[Tensor, Tensor]:
        """Return a batch as `build_loader` describes it; cached images are copied once, into it.

        A worker process returns the error of a user's mistake, which the loader raises.
        """
        batch = _empty((len(items), *self.spec.height_width, 3))
        images = zip(batch.numpy(), items, strict=True)
        try:
            rows = [self.fill(pixels, item) for pixels, item in images]
        except KitboxError as error:
            if get_worker_info() is None:
                raise
            return error  # type: ignore[return-value]  # torch would add a traceback to its text
        return batch, torch.tensor(rows, dtype=torch.int64)

    def fill(self, pixels: Pixels, item: int | BatchItem) -> int:
        """Fill pixels (h, w, 3) with an item; return its row."""
        row, seed, flipped = BatchItem(*item) if isinstance(item, tuple) else BatchItem(item)
        if str(self.images.image_ids[row]) in self.unreadable:
            pixels[:] = 128
            return row
        self._read(pixels, row, seed)
        if flipped:
            pixels[:] = pixels[:, ::-1].copy()
        if seed is not None:
            if self._augmentation is None:  # built in the worker: albumentations is slow to import
                self._augmentation = Augmentation(
                    self.augmentation_name, self.spec.height_width, self._code
                )
            pixels[:] = self._augmentation(pixels, seed)
        return row

    def _read(self, pixels: Pixels, row: int, seed: int | None) -> None:
        crop = self.spec.crop(self.images, row)
        boxes = self._alternative_boxes.get(str(self.images.image_ids[row])) if crop.box else None
        if boxes and seed is not None:
            chosen = boxes[int(np.random.default_rng([seed, 1]).integers(len(boxes)))]
            if chosen != crop.box:  # not the one in the cache
                crop = replace(crop, box=chosen)
                pixels[:] = preprocessing.read_crops(self.images.paths[row], [crop])[0]
                return
        if self.cached is None or not self.cached.read_into(pixels, row):
            pixels[:] = preprocessing.read_crops(self.images.paths[row], [crop])[0]


def build_loader(
    dataset: ImageDataset,
    batches: Iterable[Sequence[Any]],
    *,
    workers: int,
    pinned: bool = False,
) -> DataLoader[Any]:
    """Return a loader of (pixels (n, h, w, 3) uint8, rows (n,) int64) tensors, batch by batch.

    `batches` yields the items of each batch: rows, or `BatchItem`s.
    """
    return ErrorLoader(
        dataset,
        batch_sampler=batches,  # type: ignore[arg-type]
        collate_fn=_unchanged,
        num_workers=workers,
        pin_memory=pinned,
        worker_init_fn=start_worker if workers else None,
        prefetch_factor=4 if workers else None,
        persistent_workers=workers > 0,  # each imports albumentations once, not once an epoch
    )


class ErrorLoader(DataLoader[Any]):
    """A loader that raises the errors that workers return, and one for a worker that was killed."""

    def __iter__(self) -> Any:
        try:
            for batch in super().__iter__():
                if isinstance(batch, KitboxError):
                    raise batch
                yield batch
        except RuntimeError as error:
            killed = killed_worker(error)
            if killed is None:
                raise
            raise killed from error


def killed_worker(error: RuntimeError) -> KitboxError | None:
    """Return the error of a killed worker, None for another one.

    torch raises it anywhere in the main thread, when the system tells of the worker's end.
    """
    if "DataLoader worker" not in str(error):
        return None
    return KitboxError(
        "a process that reads images was killed, as systems do when memory is short",
        fix="give fewer --workers, or close other programs, and run the command again: a training "
        "goes on after its last epoch",
    )


def read_ahead(
    dataset: ImageDataset, batches: Iterable[Sequence[Any]], threads: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield what the loader of `build_loader` yields, read in threads of this process.

    Decoders work outside of Python's lock, so that threads are as fast as processes where nothing
    is augmented; they take no memory of their own, and no batch is passed on.
    """
    waiting: deque[tuple[Tensor, list[Future[int]]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="reader")
    try:
        for items in batches:
            batch = torch.empty((len(items), *dataset.spec.height_width, 3), dtype=torch.uint8)
            filled = [
                pool.submit(dataset.fill, pixels, item)
                for pixels, item in zip(batch.numpy(), items, strict=True)
            ]
            waiting.append((batch, filled))
            if len(waiting) > _BATCHES_AHEAD:
                yield _finished(*waiting.popleft())
        while waiting:
            yield _finished(*waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(batch: Tensor, filled: Sequence[Future[int]]) -> tuple[Tensor, Tensor]:
    """Return a batch and its rows once all of its images are read."""
    return batch, torch.tensor([each.result() for each in filled], dtype=torch.int64)


def worker_count(dataset: ImageDataset, device: str, requested: int | None = None) -> int:
    """Return the number of processes that read a dataset: `requested`, else a default.

    On a CPU the default is none if reading only copies: passing a batch on would take longer.
    """
    if requested is None and device == "cpu" and dataset.only_copies:
        return 0
    return default_worker_count(device, requested)


def default_worker_count(device: str, requested: int | None = None) -> int:
    """Return the number of processes that read images.

    It is `requested`, else one per core, at most 16, for a GPU and 1 for a CPU.
    """
    if requested is not None:
        return requested
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, 16) if device != "cpu" else 1


def augmentation_seed(seed: int, epoch: int, image_id: str) -> int:
    """Return the augmentation seed of an image in an epoch: the same for any number of workers."""
    digest = hashlib.sha256(f"{seed}:{epoch}:{image_id}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def start_worker(worker: int) -> None:
    """Limit OpenCV to one thread in a worker process, and leave Ctrl-C to the main process.

    It is sent to all of them, and a worker that ends first looks like one that was killed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import cv2

    del worker
    cv2.setNumThreads(0)  # there is a process per core already


def _empty(shape: tuple[int, ...]) -> Tensor:
    """Return uninitialised bytes; in a worker, in memory that the main process shares."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    # as torch's own collation does; share_memory_() would copy memory that is not filled yet
    storage = torch.UntypedStorage._new_shared(math.prod(shape))  # type: ignore[no-untyped-call]
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)


def _unchanged(batch: Any) -> Any:
    return batch
