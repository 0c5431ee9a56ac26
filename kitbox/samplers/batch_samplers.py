"""Batches of an epoch: PK, balanced and shuffled sampling, with or without unknown images."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from kitbox.errors import KitboxError, counted
from kitbox.plugin import curriculum
from kitbox.plugin.plugin import Plugin
from kitbox.plugin.samplers import PK, Balanced, Hardness, Sampler, Shuffled
from kitbox.records import Floats, Integers

# The label row of an unknown image. Losses that classify leave it out, or train it to have none of
# the labels; pair losses treat it as an individual of its own.
UNKNOWN = -1

# The unit vectors that a planner can require: "embedding" of the current network, "pooled" of its
# backbone, before the neck, and "frozen" of the backbone before the training.
VectorKind = Literal["embedding", "pooled", "frozen"]


@dataclass(frozen=True)
class Batch:
    """Images of one training step: `rows (n,)` of the image set and their `labels (n,)`.

    Labels are rows of the label map or UNKNOWN. Images with `flipped (n,)` are mirrored. `learner`
    is the slice of the embedding that the losses see; None is the whole embedding.
    """

    rows: Integers
    labels: Integers
    flipped: NDArray[np.bool_] | None = None
    learner: int | None = None

    def __len__(self) -> int:
        return len(self.rows)


class Planner(Protocol):
    """Plans the batches of each epoch; epochs count from 1."""

    def steps(self, epoch: int) -> int:
        """Return the number of batches of an epoch, before it is planned."""

    def required_vectors(self, epoch: int) -> VectorKind | None:
        """Return which vectors of the images `plan` needs, if any."""

    def plan(self, epoch: int, vectors: Floats | None) -> list[Batch]:
        """Return the batches of an epoch, given the vectors (n, d) that it requires."""

    def metrics(self) -> dict[str, float]:
        """Return figures worth logging about the epoch planned last, by name."""

    def state(self) -> dict[str, object]:
        """Return the state that later epochs depend on, as plain values and lists."""

    def restore(self, state: dict[str, object]) -> None:
        """Restore what `state` returned when a training is resumed."""


class SamplerPlanner:
    """Plans epochs with a Shuffled, Balanced or PK sampler, independently of each other.

    A share `unknown_share` of every batch is unknown images, drawn in turn; PK rounds the rest down
    to whole labels. With `flip_identities` every image occurs twice: as it is, and mirrored as
    another individual. Labels with fewer images than the epoch's phase requires are left out.
    """

    def __init__(
        self, labels: Integers, plugin: Plugin, seed: int, flipped_labels: Integers | None = None
    ) -> None:
        """Plan batches of images with `labels (n,)`, UNKNOWN for unknown ones.

        `flipped_labels (n,)` are the labels of flipped images; by default new ones, counted on
        from the largest of `labels`.

        Raises KitboxError if a batch cannot have its share of unknown images, or if a phase has
        fewer than two labels.
        """
        self._plugin, self._seed = plugin, seed
        self._unknown = np.flatnonzero(labels == UNKNOWN)
        self._known_per_batch, self._unknown_per_batch = _split_batch(plugin, len(self._unknown))
        self._rows = np.flatnonzero(labels != UNKNOWN)
        self._labels = labels[self._rows]
        self._flipped = None
        if plugin.flip_identities:
            if flipped_labels is None:
                flipped_labels = labels + labels.max(initial=UNKNOWN) + 1
            self._flipped = np.arange(2 * len(self._rows)) >= len(self._rows)
            self._labels = np.concatenate([self._labels, flipped_labels[self._rows]])
            self._rows = np.tile(self._rows, 2)
        self._used = self._known_by_min_images()
        self._metrics: dict[str, float] = {}

    def steps(self, epoch: int) -> int:
        """Return the number of batches of an epoch."""
        labels = self._labels[self._used_in(epoch)]
        return count_batches(labels, self._plugin.sampler, self._known_per_batch)

    def required_vectors(self, epoch: int) -> VectorKind | None:  # noqa: ARG002
        """Return None: no vectors are required."""
        return None

    def plan(self, epoch: int, vectors: Floats | None) -> list[Batch]:  # noqa: ARG002
        """Return the batches of an epoch; they depend on the seed and the epoch alone."""
        generator = np.random.default_rng([self._seed, epoch])
        used = self._used_in(epoch)
        labels = self._labels[used]
        if len(self._used) > 1:
            self._metrics = {"labels": float(len(np.unique(labels)))}
        drawn = draw_batches(labels, self._plugin.sampler, self._known_per_batch, generator)
        unknown = _draw_in_turn(self._unknown, self._unknown_per_batch * len(drawn), generator)
        return [
            self._batch(used[known], others, generator)
            for known, others in zip(drawn, np.split(unknown, len(drawn)), strict=True)
        ]

    def metrics(self) -> dict[str, float]:
        """Return the number of labels in the epoch planned last, if phases differ in it."""
        return self._metrics

    def state(self) -> dict[str, object]:
        """Return nothing: epochs do not depend on each other."""
        return {}

    def restore(self, state: dict[str, object]) -> None:
        """Restore nothing."""

    def _used_in(self, epoch: int) -> Integers:
        return self._used[curriculum.phase_at(self._plugin, epoch).min_images_per_label]

    def _known_by_min_images(self) -> dict[int, Integers]:
        """Return positions of the known images to train on, by min_images_per_label."""
        _, label_of, counts = np.unique(self._labels, return_inverse=True, return_counts=True)
        used = {}
        for phase in curriculum.phases(self._plugin):
            least = phase.min_images_per_label
            enough = int((counts >= least).sum())
            if enough < 2:
                raise KitboxError(
                    f"epoch {phase.first_epoch} has only {enough} of {len(counts)} labels, those "
                    f"with {least} or more images, and needs two; lower min_images_per_label"
                )
            used[least] = np.flatnonzero(counts[label_of] >= least)
        return used

    def _batch(self, known: Integers, unknown: Integers, generator: np.random.Generator) -> Batch:
        """Return a batch of known images, by position, and unknown rows, flipped at random."""
        rows = np.concatenate([self._rows[known], unknown])
        labels = np.concatenate([self._labels[known], np.full(len(unknown), UNKNOWN)])
        if self._flipped is None:
            return Batch(rows, labels)
        at_random = generator.random(len(unknown)) < 0.5
        return Batch(rows, labels, np.concatenate([self._flipped[known], at_random]))


def check_shares(plugin: Plugin, sizes: Iterable[int], world: int) -> None:
    """Raise KitboxError for a batch of which one of `world` processes gets fewer than two images.

    Batch norm has no variance of a single one. `sizes` are the images of each batch.
    """
    least = min(sizes, default=plugin.batch_size)
    if world > 1 and least < 2 * world:
        raise KitboxError(
            f"a batch of {least} images is fewer than two for each of {world} processes",
            fix=f"make batch_size {2 * world} or more, or lower --devices"
            if plugin.batch_size < 2 * world
            else f"run {counted(max(least // 2, 1), 'process', 'processes')} at most",
        )


def draw_batches(
    labels: Integers, sampler: Sampler, batch_size: int, generator: np.random.Generator
) -> list[Integers]:
    """Return the batches of an epoch as positions in `labels (n,)`, none of which is UNKNOWN."""
    match sampler:
        case PK(coverage="full"):
            return pk_batches(labels, batch_size, sampler.images_per_label, generator)
        case PK():
            return random_pk_batches(labels, batch_size, sampler.images_per_label, generator)
        case Balanced():
            return balanced_batches(labels, batch_size, sampler.power, generator)
        case Shuffled():
            return shuffled_batches(len(labels), batch_size, generator)
        case Hardness():
            raise TypeError("Hardness samples triplets by vectors; use its HardnessPlanner")


def count_batches(labels: Integers, sampler: Sampler, batch_size: int) -> int:
    """Return the number of batches that `draw_batches` gives."""
    if not isinstance(sampler, PK):
        return max(len(labels) // batch_size, 1)
    if sampler.coverage == "full":
        return count_pk_batches(labels, batch_size, sampler.images_per_label)
    return _count_random_pk_batches(labels, batch_size, sampler.images_per_label)


def shuffled_batches(count: int, batch_size: int, generator: np.random.Generator) -> list[Integers]:
    """Return full batches of rows 0..count−1 in random order; the remainder is dropped.

    Fewer rows than a batch give one smaller batch.
    """
    order = generator.permutation(count)
    batches = max(count // batch_size, 1)
    order = order[: batches * batch_size]
    return np.split(order, range(batch_size, len(order), batch_size))


def balanced_batches(
    labels: Integers, batch_size: int, power: float, generator: np.random.Generator
) -> list[Integers]:
    """Return as many batches as `shuffled_batches`, of images drawn in proportion to n^−power.

    n is the number of images of an image's label. A label expected x times in the epoch is drawn
    ⌊x⌋ or ⌈x⌉ times, and no image is repeated before all others of its label were drawn.
    """
    rows_of = _rows_of_labels(labels)
    size = min(batch_size, len(labels))
    expected = np.array([len(rows) for rows in rows_of]) ** (1.0 - power)
    expected *= len(labels) // size * size / expected.sum()
    times = _round_at_random(expected, generator)
    drawn = [_draw_in_turn(rows, n, generator) for rows, n in zip(rows_of, times, strict=True)]
    order = generator.permutation(np.concatenate(drawn))
    return np.split(order, range(size, len(order), size))


def pk_batches(
    labels: Integers, batch_size: int, images_per_label: int, generator: np.random.Generator
) -> list[Integers]:
    """Return batches of P distinct labels × K images that cover every label and every image.

    Each label's images are cut into groups of K, the last one filled up with repeats. The groups
    are dealt to B batches in turn, label after label: a label has at most B groups, so no batch
    gets two of them. Batches that lack a group get one of another label. Full coverage of labels,
    though not of images, is from the GDSC 2020 solution.
    """
    rows_of = _rows_of_labels(labels)
    per_batch = min(batch_size // images_per_label, len(rows_of))
    groups = [
        (label, group)
        for label in generator.permutation(len(rows_of))
        for group in _groups(rows_of[label], images_per_label, generator)
    ]
    count = count_pk_batches(labels, batch_size, images_per_label)
    batches = []
    for first in range(count):
        dealt = groups[first::count]
        present = {label for label, _ in dealt}
        others = (label for label in generator.permutation(len(rows_of)) if label not in present)
        dealt += [
            (label, _groups(rows_of[label], images_per_label, generator)[0])
            for label in islice(others, per_batch - len(dealt))
        ]
        batches.append(np.concatenate([group for _, group in dealt]))
    return [batches[i] for i in generator.permutation(count)]


def count_pk_batches(labels: Integers, batch_size: int, images_per_label: int) -> int:
    """Return the number of batches that `pk_batches` gives.

    They have room for all groups, and are at least as many as the groups of the largest label.
    """
    _, counts = np.unique(labels, return_counts=True)
    groups = -(-counts // images_per_label)
    per_batch = min(batch_size // images_per_label, len(groups))
    return int(max(-(-groups.sum() // per_batch), groups.max()))


def random_pk_batches(
    labels: Integers, batch_size: int, images_per_label: int, generator: np.random.Generator
) -> list[Integers]:
    """Return batches of P distinct random labels × K random images of each.

    There are enough batches for as many images as `labels (n,)`. A label with fewer than K images
    repeats them.
    """
    rows_of = _rows_of_labels(labels)
    per_batch = min(batch_size // images_per_label, len(rows_of))
    return [
        np.concatenate(
            [
                _draw_in_turn(rows_of[label], images_per_label, generator)
                for label in generator.choice(len(rows_of), per_batch, replace=False)
            ]
        )
        for _ in range(_count_random_pk_batches(labels, batch_size, images_per_label))
    ]


def _groups(rows: Integers, size: int, generator: np.random.Generator) -> list[Integers]:
    """Return random groups of `size` rows that cover all; the last is filled up with repeats."""
    order = generator.permutation(rows)
    short = -len(order) % size
    if short:
        whole = np.tile(generator.permutation(rows), -(-short // len(rows)))
        order = np.concatenate([order, whole[:short]])
    return np.split(order, range(size, len(order), size))


def _rows_of_labels(labels: Integers) -> list[Integers]:
    """Return the rows of each label that occurs, both in ascending order."""
    _, counts = np.unique(labels, return_counts=True)
    return np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])


def _count_random_pk_batches(labels: Integers, batch_size: int, images_per_label: int) -> int:
    per_batch = min(batch_size // images_per_label, len(np.unique(labels)))
    return -(-len(labels) // (per_batch * images_per_label))


def _draw_in_turn(rows: Integers, count: int, generator: np.random.Generator) -> Integers:
    """Return `count` random rows; none is repeated before all others were drawn."""
    rounds = -(-count // len(rows)) if count else 0
    order = [generator.permutation(rows) for _ in range(rounds)]
    return np.concatenate([rows[:0], *order])[:count]


def _round_at_random(expected: NDArray[np.float64], generator: np.random.Generator) -> Integers:
    """Round numbers up or down at random, keeping their sum and each one's mean.

    Systematic sampling: the numbers are laid end to end in random order, and each becomes the
    count of integer marks, shifted by one random offset, that it covers.
    """
    order = generator.permutation(len(expected))
    ends = np.floor(np.cumsum(expected[order]) + generator.random()).astype(np.int64)
    ends[-1] = round(expected.sum())  # rounding errors must not lose one
    counts = np.empty_like(ends)
    counts[order] = np.diff(ends, prepend=0)
    return counts


def _split_batch(plugin: Plugin, unknown_total: int) -> tuple[int, int]:
    """Return the numbers of known and of unknown images in a batch."""
    sampler, size = plugin.sampler, plugin.batch_size
    unknown = round(plugin.unknown_share * size)
    group = sampler.images_per_label if isinstance(sampler, PK) else 1
    known = (size - unknown) // group * group
    where = f"unknown_share = {plugin.unknown_share} of batch_size = {size}"
    if plugin.unknown_share and not unknown_total:
        raise KitboxError(
            f"unknown_share = {plugin.unknown_share}, but there are no images of unknown "
            "individuals to train on; set it to 0"
        )
    if plugin.unknown_share and not any(
        loss.needs_pairs or loss.takes_unknown for loss in plugin.losses
    ):
        raise KitboxError(
            f"unknown_share = {plugin.unknown_share}, but {plugin.losses[0].kind} leaves unknown "
            "images out; add a BinaryCrossEntropy or a loss on pairs"
        )
    if plugin.unknown_share and not unknown:
        raise KitboxError(f"{where} is less than half an image; raise either")
    if known < 2 * group:
        raise KitboxError(f"{where} leaves no room for two known individuals; lower unknown_share")
    return known, unknown
