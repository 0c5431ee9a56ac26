"""Which images make up each batch of an epoch."""

from collections.abc import Iterator

import numpy as np

from kitbox.images.loading import seed_of
from kitbox.plugin.sampling import PK
from kitbox.plugin.settings import Plugin
from kitbox.records import Integers, Strings

Batch = list[tuple[int, int]]


def shuffled(count: int, batch_size: int, generator: np.random.Generator) -> list[Integers]:
    """Return whole batches of rows 0..count−1 in random order; the rest sits out this epoch.

    With fewer rows than a batch there is one smaller batch.
    """
    order = generator.permutation(count)
    batches = max(count // batch_size, 1)
    order = order[: batches * batch_size]
    return np.split(order, range(batch_size, len(order), batch_size))


def pk(
    labels: Integers, batch_size: int, images_per_label: int, generator: np.random.Generator
) -> list[Integers]:
    """Return batches of P distinct labels × K images that cover every label and every image.

    Each label's images are cut into groups of K, the last filled up with repeats. With B batches
    the groups are dealt out in turn, label after label: a label has at most B groups, so no batch
    gets two of them. Batches that are short of a group take one of any other label. The idea of
    full coverage is the GDSC 2020 solution's; there labels were covered, images were not.
    """
    rows_of = [np.flatnonzero(labels == label) for label in range(int(labels.max()) + 1)]
    per_batch = min(batch_size // images_per_label, len(rows_of))
    groups = [
        (label, group)
        for label in generator.permutation(len(rows_of))
        for group in _groups(rows_of[label], images_per_label, generator)
    ]
    count = pk_batches(labels, batch_size, images_per_label)
    batches = []
    for place in range(count):
        dealt = groups[place::count]
        present = {label for label, _ in dealt}
        others = [label for label in generator.permutation(len(rows_of)) if label not in present]
        dealt += [
            (label, _groups(rows_of[label], images_per_label, generator)[0])
            for label in others[: per_batch - len(dealt)]
        ]
        batches.append(np.concatenate([group for _, group in dealt]))
    return [batches[i] for i in generator.permutation(count)]


def pk_batches(labels: Integers, batch_size: int, images_per_label: int) -> int:
    """Return how many batches an epoch of `pk` has: enough for all groups and the largest label."""
    groups = -(-np.bincount(labels) // images_per_label)
    per_batch = min(batch_size // images_per_label, len(groups))
    return int(max(-(-groups.sum() // per_batch), groups.max()))


class EpochBatches:
    """The batches of the current `epoch`, each a list of (row, augmentation seed).

    The same on every machine and for any number of workers; of several processes each takes its
    share of every batch.
    """

    def __init__(
        self,
        image_ids: Strings,
        labels: Integers,
        plugin: Plugin,
        seed: int,
        *,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Sample `labels (n,)`, rows of the label map, as the plugin's sampler says."""
        self.epoch, self._seed = 0, seed
        self._image_ids, self._labels, self._plugin = image_ids, labels, plugin
        self._rank, self._world = rank, world

    def __len__(self) -> int:
        sampler, size = self._plugin.sampler, self._plugin.batch_size
        if isinstance(sampler, PK):
            return pk_batches(self._labels, size, sampler.images_per_label)
        return max(len(self._labels) // size, 1)

    def __iter__(self) -> Iterator[Batch]:
        plugin = self._plugin
        generator = np.random.default_rng([self._seed, self.epoch])
        if isinstance(plugin.sampler, PK):
            batches = pk(
                self._labels, plugin.batch_size, plugin.sampler.images_per_label, generator
            )
        else:
            batches = shuffled(len(self._labels), plugin.batch_size, generator)
        for batch in batches:
            yield [
                (int(row), seed_of(self._seed, self.epoch * 4096 + copy, self._image_ids[row]))
                for copy, row in list(enumerate(batch))[self._rank :: self._world]
            ]


def _groups(rows: Integers, size: int, generator: np.random.Generator) -> list[Integers]:
    """Return random groups of `size` that hold every row; the last is filled up with repeats."""
    order = generator.permutation(rows)
    short = -len(order) % size
    if short:
        whole = np.tile(generator.permutation(rows), -(-short // len(rows)))
        order = np.concatenate([order, whole[:short]])
    return np.split(order, range(size, len(order), size))
