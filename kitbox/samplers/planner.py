"""The planner of a plugin, and the batch sampler that hands its batches to a loader."""

from collections.abc import Iterator, Sequence

import numpy as np

from kitbox.errors import KitboxError
from kitbox.images.loader import BatchItem, augmentation_seed
from kitbox.plugin.plugin import Plugin
from kitbox.plugin.samplers import PK, Hardness
from kitbox.records import Integers, Strings
from kitbox.samplers.batch_samplers import Batch, Planner, SamplerPlanner
from kitbox.samplers.divide_and_conquer import DividedPlanner
from kitbox.samplers.hardness_sequencing import HardnessPlanner

# Stride between the augmentation seeds of two epochs: more than any batch has images.
_SEEDS_PER_EPOCH = 4096


def build_planner(plugin: Plugin, labels: Integers, seed: int) -> Planner:
    """Return a plugin's planner for images with `labels (n,)`, UNKNOWN for unknown ones."""
    if isinstance(plugin.sampler, Hardness):
        return HardnessPlanner(labels, plugin, seed)
    sampled = SamplerPlanner(labels, plugin, seed)
    return DividedPlanner(labels, plugin, seed, sampled) if plugin.divide else sampled


def block_size(plugin: Plugin, world: int) -> int:
    """Return the number of images per block when a batch is dealt to `world` processes.

    A process computes pair losses on its own share alone. Blocks are single images, unless a loss
    needs pairs and a process would get fewer than two images of a label: then a block is the images
    of a label. Raises KitboxError if a share would lack whole triplets or a second label.
    """
    sampler, size = plugin.sampler, plugin.batch_size
    if isinstance(sampler, Hardness) and size // 3 % world:
        raise KitboxError(
            f"batch_size = {size} is {size // 3} triplets, which {world} processes cannot share "
            f"equally; make it a multiple of {3 * world}, or change --devices"
        )
    pairs = any(loss.needs_pairs for loss in plugin.losses)
    if not (isinstance(sampler, PK) and pairs and sampler.images_per_label < 2 * world):
        return 1
    labels = size // sampler.images_per_label
    if labels < 2 * world:
        raise KitboxError(
            f"batch_size = {size} is {labels} labels, of which {world} processes cannot have two "
            f"each; make it {2 * world * sampler.images_per_label} or more, or lower --devices"
        )
    return sampler.images_per_label


class BatchSampler:
    """Yields the items of each batch for a torch DataLoader.

    `batches` and `epoch` are set before each epoch.

    Items are the same on every machine and for any number of loader workers. Each of `world`
    processes yields its own share of every batch, dealt in blocks of `block_size` images.
    """

    def __init__(
        self,
        image_ids: Strings,
        seed: int,
        *,
        rank: int = 0,
        world: int = 1,
        block_size: int = 1,
    ) -> None:
        """Sample rows of `image_ids (n,)`; augmentation seeds are derived from `seed`."""
        self.batches: Sequence[Batch] = ()
        self.epoch = 0
        self._image_ids, self._seed = image_ids, seed
        self._rank, self._world, self._block_size = rank, world, block_size

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[BatchItem]]:
        for batch in self.batches:
            flipped = np.zeros(len(batch), bool) if batch.flipped is None else batch.flipped
            yield [
                BatchItem(int(batch.rows[i]), self._seed_of(batch, i), bool(flipped[i]))
                for i in self._share(batch).tolist()
            ]

    def labels(self, batch: Batch) -> Integers:
        """Return the labels of this process's share of a batch."""
        return batch.labels[self._share(batch)]

    def _share(self, batch: Batch) -> Integers:
        """Return the positions within a batch that are this process's."""
        rank_of = np.arange(len(batch)) // self._block_size % self._world
        return np.flatnonzero(rank_of == self._rank)

    def _seed_of(self, batch: Batch, position: int) -> int:
        image_id = str(self._image_ids[batch.rows[position]])
        return augmentation_seed(self._seed, self.epoch * _SEEDS_PER_EPOCH + position, image_id)
