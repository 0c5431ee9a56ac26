"""Who plans the batches of a plugin, and what the loader is asked for."""

from collections.abc import Iterator, Sequence

import numpy as np

from kitbox.images.loading import Item, seed_of
from kitbox.plugin.sampling import Hardness
from kitbox.plugin.settings import Plugin
from kitbox.records import Integers, Strings
from kitbox.training.batches import Batch, Planner
from kitbox.training.division import Divided
from kitbox.training.samplers import Sampled
from kitbox.training.sequencing import Sequenced

# Places of one epoch whose seeds differ: more than any batch has images.
_PLACES = 4096


def planner(plugin: Plugin, labels: Integers, seed: int) -> Planner:
    """Return the planner of a plugin for images with these labels `(n,)`, UNKNOWN for none."""
    if isinstance(plugin.sampler, Hardness):
        return Sequenced(labels, plugin, seed)
    sampled = Sampled(labels, plugin, seed)
    return Divided(labels, plugin, seed, sampled) if plugin.divide else sampled


class Asked:
    """What a loader is asked for in an epoch, batch by batch; `batches` change with the epoch.

    The same on every machine and for any number of readers; of several processes each takes its
    share of every batch.
    """

    def __init__(self, image_ids: Strings, seed: int, rank: int, world: int) -> None:
        """Ask for images of these ids, with seeds that follow from `seed`."""
        self.batches: Sequence[Batch] = ()
        self.epoch = 0
        self._image_ids, self._seed = image_ids, seed
        self._share = slice(rank, None, world)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Item]]:
        for batch in self.batches:
            flipped = np.zeros(len(batch), bool) if batch.flipped is None else batch.flipped
            yield [
                Item(int(batch.rows[place]), self._seed_of(place, batch), bool(flipped[place]))
                for place in range(len(batch))[self._share]
            ]

    def _seed_of(self, place: int, batch: Batch) -> int:
        image_id = str(self._image_ids[batch.rows[place]])
        return seed_of(self._seed, self.epoch * _PLACES + place, image_id)

    def labels(self, batch: Batch) -> Integers:
        """Return the labels of this process's share of a batch."""
        return batch.labels[self._share]
