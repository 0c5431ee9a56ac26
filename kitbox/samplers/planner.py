"""The planner of a plugin, and the batch sampler that hands its batches to a loader."""

from collections.abc import Iterator, Sequence

import numpy as np

from kitbox.images.loader import BatchItem, augmentation_seed
from kitbox.plugin.plugin import Plugin
from kitbox.plugin.samplers import Hardness
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


class BatchSampler:
    """Yields the items of each batch for a torch DataLoader.

    `batches` and `epoch` are set before each epoch.

    Items are the same on every machine and for any number of loader workers. Each of `world`
    processes yields its own share of every batch: image i is that of process i mod `world`, as
    `batch_gather.gather_batch` puts them together again.
    """

    def __init__(
        self,
        image_ids: Strings,
        seed: int,
        *,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Sample rows of `image_ids (n,)`; augmentation seeds are derived from `seed`."""
        self.batches: Sequence[Batch] = ()
        self.epoch = 0
        self._image_ids, self._seed = image_ids, seed
        self._rank, self._world = rank, world

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[BatchItem]]:
        for batch in self.batches:
            flipped = np.zeros(len(batch), bool) if batch.flipped is None else batch.flipped
            yield [
                BatchItem(int(batch.rows[i]), self._seed_of(batch, i), bool(flipped[i]))
                for i in range(self._rank, len(batch), self._world)
            ]

    def _seed_of(self, batch: Batch, position: int) -> int:
        image_id = str(self._image_ids[batch.rows[position]])
        return augmentation_seed(self._seed, self.epoch * _SEEDS_PER_EPOCH + position, image_id)
