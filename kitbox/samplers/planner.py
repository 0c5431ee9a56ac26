"""Who plans the batches of a plugin, and what the loader is asked for."""

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

# Places of one epoch whose seeds differ: more than any batch has images.
_PLACES = 4096


def build_planner(plugin: Plugin, labels: Integers, seed: int) -> Planner:
    """Return the planner of a plugin for images with these labels `(n,)`, UNKNOWN for none."""
    if isinstance(plugin.sampler, Hardness):
        return HardnessPlanner(labels, plugin, seed)
    sampled = SamplerPlanner(labels, plugin, seed)
    return DividedPlanner(labels, plugin, seed, sampled) if plugin.divide else sampled


def block_size(plugin: Plugin, world: int) -> int:
    """Return how many neighbours in a batch stay in one of `world` processes, each with a share.

    A process learns from the pairs of its own share alone. Mostly every image in turn goes to the
    next process; the images of a label stay together where each had less than two of them.
    Raises KitboxError where a share has no whole triplets, or none of two labels.
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
    """What a loader is asked for in an epoch, batch by batch; `batches` change with the epoch.

    The same on every machine and for any number of readers; of several processes each takes its
    share of every batch.
    """

    def __init__(
        self, image_ids: Strings, seed: int, rank: int = 0, world: int = 1, block_size: int = 1
    ) -> None:
        """Ask for images of these ids, with seeds that follow from `seed`."""
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
                BatchItem(int(batch.rows[place]), self._seed_of(place, batch), bool(flipped[place]))
                for place in self._places(batch).tolist()
            ]

    def _seed_of(self, place: int, batch: Batch) -> int:
        image_id = str(self._image_ids[batch.rows[place]])
        return augmentation_seed(self._seed, self.epoch * _PLACES + place, image_id)

    def labels(self, batch: Batch) -> Integers:
        """Return the labels of this process's share of a batch."""
        return batch.labels[self._places(batch)]

    def _places(self, batch: Batch) -> Integers:
        """Return the places of a batch that are this process's."""
        owner = np.arange(len(batch)) // self._block_size % self._world
        return np.flatnonzero(owner == self._rank)
