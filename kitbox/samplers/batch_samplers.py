"""Which images make up each batch of an epoch."""

from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kitbox.errors import KitboxError
from kitbox.plugin import curriculum
from kitbox.plugin.plugin import Plugin
from kitbox.plugin.samplers import PK, Balanced, Hardness, Sampler, Shuffled
from kitbox.records import Floats, Integers

# The label of an image that shows no known individual: losses that classify leave it out, or
# take it for none of the labels; the others keep it away from every other image.
UNKNOWN = -1


@dataclass(frozen=True)
class Batch:
    """Images to learn from in one step: `rows (n,)` of the image set, and their `labels (n,)`.

    Labels are rows of the label map, UNKNOWN for none. Images of `flipped (n,)` are mirrored.
    `learner` is the slice of the embedding that learns, None where all of it does.
    """

    rows: Integers
    labels: Integers
    flipped: NDArray[np.bool_] | None = None
    learner: int | None = None

    def __len__(self) -> int:
        return len(self.rows)


class Planner(Protocol):
    """Says which batches each epoch has; epochs count from 1."""

    def steps(self, epoch: int) -> int:
        """Return how many batches an epoch will have, before it is planned."""

    def required_vectors(self, epoch: int) -> str | None:
        """Return which vectors of the images `plan` needs, if any; their rows are of unit length.

        "embedding" is what the network gives now, "pooled" what its backbone gives before the
        neck, "frozen" the same of the backbone as it came.
        """

    def plan(self, epoch: int, vectors: Floats | None) -> list[Batch]:
        """Return the batches of an epoch, given the vectors (n, d) that it needs."""

    def metrics(self) -> dict[str, float]:
        """Return what there is to tell of the epoch that was planned last, by name."""

    def state(self) -> dict[str, object]:
        """Return what later epochs need of earlier ones, as plain values and lists."""

    def restore(self, state: dict[str, object]) -> None:
        """Take back what `state` returned, in a training that goes on."""


class SamplerPlanner:
    """Plans the epochs of a plugin with a Shuffled, Balanced or PK sampler, each by itself.

    Of every batch the `unknown_share` are unknown images, in turn; PK rounds what is left down to
    whole labels. With `flip_identities` an image is there twice: as it is, and flipped as another
    individual. Labels with fewer images than the epoch's stage asks for are left out.
    """

    def __init__(
        self, labels: Integers, plugin: Plugin, seed: int, mirrored: Integers | None = None
    ) -> None:
        """Take images of `labels (n,)`, UNKNOWN for what shows no known individual.

        `mirrored (n,)` are their labels when flipped; None counts on from the largest of `labels`.

        Raises KitboxError where a batch cannot have its unknown images or a stage has one label.
        """
        self._plugin, self._seed = plugin, seed
        self._unknown = np.flatnonzero(labels == UNKNOWN)
        self._known_share, self._unknown_share = _shares(plugin, len(self._unknown))
        self._rows = np.flatnonzero(labels != UNKNOWN)
        self._labels = labels[self._rows]
        self._flipped = None
        if plugin.flip_identities:
            if mirrored is None:
                mirrored = labels + labels.max(initial=UNKNOWN) + 1
            self._flipped = np.arange(2 * len(self._rows)) >= len(self._rows)
            self._labels = np.concatenate([self._labels, mirrored[self._rows]])
            self._rows = np.tile(self._rows, 2)
        self._taken = self._by_fewest()
        self._metrics: dict[str, float] = {}

    def steps(self, epoch: int) -> int:
        """Return how many batches an epoch has."""
        taken = self._taken[curriculum.phase_at(self._plugin, epoch).min_images_per_label]
        return count_batches(self._labels[taken], self._plugin.sampler, self._known_share)

    def required_vectors(self, epoch: int) -> str | None:  # noqa: ARG002
        """Return None: no vectors."""
        return None

    def plan(self, epoch: int, vectors: Floats | None) -> list[Batch]:  # noqa: ARG002
        """Return the batches of an epoch: the same for a seed and an epoch, whatever was before."""
        generator = np.random.default_rng([self._seed, epoch])
        taken = self._taken[curriculum.phase_at(self._plugin, epoch).min_images_per_label]
        labels = self._labels[taken]
        if len(self._taken) > 1:
            self._metrics = {"labels": float(len(np.unique(labels)))}
        drawn = draw_batches(labels, self._plugin.sampler, self._known_share, generator)
        unknown = _in_turn(self._unknown, self._unknown_share * len(drawn), generator)
        return [
            self._batch(taken[places], strangers, generator)
            for places, strangers in zip(drawn, np.split(unknown, len(drawn)), strict=True)
        ]

    def metrics(self) -> dict[str, float]:
        """Return how many labels were in the last epoch, where stages differ in that."""
        return self._metrics

    def state(self) -> dict[str, object]:
        """Return nothing: no epoch needs another."""
        return {}

    def restore(self, state: dict[str, object]) -> None:
        """Take back nothing."""

    def _by_fewest(self) -> dict[int, Integers]:
        """Return which of the known images are learnt, by the number that a label must have."""
        _, which, counts = np.unique(self._labels, return_inverse=True, return_counts=True)
        taken = {}
        for phase in curriculum.phases(self._plugin):
            least = phase.min_images_per_label
            enough = int((counts >= least).sum())
            if enough < 2:
                raise KitboxError(
                    f"epoch {phase.first_epoch} has {enough} of {len(counts)} labels to learn, "
                    f"those with {least} or more images; lower min_images_per_label"
                )
            taken[least] = np.flatnonzero(counts[which] >= least)
        return taken

    def _batch(self, places: Integers, unknown: Integers, generator: np.random.Generator) -> Batch:
        """Return known images at `places`, and then the unknown ones, flipped by chance."""
        rows = np.concatenate([self._rows[places], unknown])
        labels = np.concatenate([self._labels[places], np.full(len(unknown), UNKNOWN)])
        if self._flipped is None:
            return Batch(rows, labels)
        by_chance = generator.random(len(unknown)) < 0.5
        return Batch(rows, labels, np.concatenate([self._flipped[places], by_chance]))


def draw_batches(
    labels: Integers, sampler: Sampler, batch_size: int, generator: np.random.Generator
) -> list[Integers]:
    """Return the batches of an epoch as places in `labels (n,)`, none of which is UNKNOWN."""
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
            raise TypeError("Hardness is a sequence of triplets, which needs embeddings")


def count_batches(labels: Integers, sampler: Sampler, batch_size: int) -> int:
    """Return how many batches `draw_batches` gives."""
    if not isinstance(sampler, PK):
        return max(len(labels) // batch_size, 1)
    if sampler.coverage == "full":
        return count_pk_batches(labels, batch_size, sampler.images_per_label)
    return _count_random_pk_batches(labels, batch_size, sampler.images_per_label)


def shuffled_batches(count: int, batch_size: int, generator: np.random.Generator) -> list[Integers]:
    """Return whole batches of rows 0..count−1 in random order; the rest sits out this epoch.

    With fewer rows than a batch there is one smaller batch.
    """
    order = generator.permutation(count)
    batches = max(count // batch_size, 1)
    order = order[: batches * batch_size]
    return np.split(order, range(batch_size, len(order), batch_size))


def balanced_batches(
    labels: Integers, batch_size: int, power: float, generator: np.random.Generator
) -> list[Integers]:
    """Return as many batches as `shuffled_batches`, of images drawn as often as n^−power says.

    n is how many images the image's label has. A label that is due x times in the epoch comes ⌊x⌋
    or ⌈x⌉ times, and none of its images again before all the others came.
    """
    rows_of = _rows_of_labels(labels)
    size = min(batch_size, len(labels))
    due = np.array([len(rows) for rows in rows_of]) ** (1.0 - power)
    due *= len(labels) // size * size / due.sum()
    times = _whole(due, generator)
    order = generator.permutation(
        np.concatenate(
            [_in_turn(rows, count, generator) for rows, count in zip(rows_of, times, strict=True)]
        )
    )
    return np.split(order, range(size, len(order), size))


def pk_batches(
    labels: Integers, batch_size: int, images_per_label: int, generator: np.random.Generator
) -> list[Integers]:
    """Return batches of P distinct labels × K images that cover every label and every image.

    Each label's images are cut into groups of K, the last filled up with repeats. With B batches
    the groups are dealt out in turn, label after label: a label has at most B groups, so no batch
    gets two of them. Batches that are short of a group take one of any other label. The idea of
    full coverage is the GDSC 2020 solution's; there labels were covered, images were not.
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
    for place in range(count):
        dealt = groups[place::count]
        present = {label for label, _ in dealt}
        others = (label for label in generator.permutation(len(rows_of)) if label not in present)
        dealt += [
            (label, _groups(rows_of[label], images_per_label, generator)[0])
            for label in islice(others, per_batch - len(dealt))
        ]
        batches.append(np.concatenate([group for _, group in dealt]))
    return [batches[i] for i in generator.permutation(count)]


def count_pk_batches(labels: Integers, batch_size: int, images_per_label: int) -> int:
    """Return how many batches `pk_batches` gives: enough for all groups and the largest label."""
    _, counts = np.unique(labels, return_counts=True)
    groups = -(-counts // images_per_label)
    per_batch = min(batch_size // images_per_label, len(groups))
    return int(max(-(-groups.sum() // per_batch), groups.max()))


def random_pk_batches(
    labels: Integers, batch_size: int, images_per_label: int, generator: np.random.Generator
) -> list[Integers]:
    """Return batches of P distinct labels × K images by chance, as many images as there are.

    A label with fewer than K images repeats them.
    """
    rows_of = _rows_of_labels(labels)
    per_batch = min(batch_size // images_per_label, len(rows_of))
    return [
        np.concatenate(
            [
                _in_turn(rows_of[label], images_per_label, generator)
                for label in generator.choice(len(rows_of), per_batch, replace=False)
            ]
        )
        for _ in range(_count_random_pk_batches(labels, batch_size, images_per_label))
    ]


def _groups(rows: Integers, size: int, generator: np.random.Generator) -> list[Integers]:
    """Return random groups of `size` that hold every row; the last is filled up with repeats."""
    order = generator.permutation(rows)
    short = -len(order) % size
    if short:
        whole = np.tile(generator.permutation(rows), -(-short // len(rows)))
        order = np.concatenate([order, whole[:short]])
    return np.split(order, range(size, len(order), size))


def _rows_of_labels(labels: Integers) -> list[Integers]:
    """Return the rows of each label that occurs, both rising."""
    _, counts = np.unique(labels, return_counts=True)
    return np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])


def _count_random_pk_batches(labels: Integers, batch_size: int, images_per_label: int) -> int:
    per_batch = min(batch_size // images_per_label, len(np.unique(labels)))
    return -(-len(labels) // (per_batch * images_per_label))


def _in_turn(rows: Integers, count: int, generator: np.random.Generator) -> Integers:
    """Return `count` rows by chance, none of them again before all the others came."""
    rounds = -(-count // len(rows)) if count else 0
    order = [generator.permutation(rows) for _ in range(rounds)]
    return np.concatenate([rows[:0], *order])[:count]


def _whole(due: NDArray[np.float64], generator: np.random.Generator) -> Integers:
    """Round numbers up or down by chance, to the same sum and the same means.

    Systematic sampling: the numbers are laid end to end in random order, and each is the count of
    a comb's teeth, one apart, that it covers.
    """
    order = generator.permutation(len(due))
    ends = np.floor(np.cumsum(due[order]) + generator.random()).astype(np.int64)
    ends[-1] = round(due.sum())  # rounding errors must not lose one
    whole = np.empty_like(ends)
    whole[order] = np.diff(ends, prepend=0)
    return whole


def _shares(plugin: Plugin, unknown_total: int) -> tuple[int, int]:
    """Return how many known and how many unknown images a batch has."""
    sampler, size = plugin.sampler, plugin.batch_size
    unknown = round(plugin.unknown_share * size)
    group = sampler.images_per_label if isinstance(sampler, PK) else 1
    known = (size - unknown) // group * group
    where = f"unknown_share = {plugin.unknown_share} of batch_size = {size}"
    if plugin.unknown_share and not unknown_total:
        raise KitboxError(
            f"unknown_share = {plugin.unknown_share}, but there are no images of unknown "
            "individuals to learn from; set it to 0"
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
