"""Hardness sequencing: triplets whose negatives become harder along a curve over the training."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kitbox.errors import KitboxError
from kitbox.plugin import curriculum
from kitbox.plugin.plugin import Plugin
from kitbox.plugin.samplers import Curve, Hardness
from kitbox.records import Floats, Integers
from kitbox.samplers.batch_samplers import UNKNOWN, Batch, VectorKind

# Similarities held in memory at a time: 32 MB in float32, and about as much again while choosing.
_CELLS = 2**23


class HardnessPlanner:
    """Plans batches of triplets for a `Hardness` sampler; their order within an epoch matters."""

    def __init__(self, labels: Integers, plugin: Plugin, seed: int) -> None:
        """Plan batches of images with `labels (n,)`, rows of the label map or UNKNOWN.

        Raises KitboxError if there are no triplets, or fewer steps than the cycles need.
        """
        assert isinstance(plugin.sampler, Hardness)  # noqa: S101
        self._sampler, self._plugin, self._seed = plugin.sampler, plugin, seed
        self._labels = labels
        known = labels != UNKNOWN
        counts = np.bincount(labels[known])
        self._images_of_label = np.where(known, counts[labels] if len(counts) else 0, 0)
        self._frozen: Floats | None = None
        self._metrics: dict[str, float] = {}
        cycles = plugin.sampler.cycles
        steps = [self.steps(epoch) for epoch in range(1, plugin.epochs + 1)]
        self._total = sum(steps)
        self._first_step = [0, *np.cumsum(steps).tolist()]  # of each epoch
        if plugin.epochs and 1 < cycles > self._total // 2:  # a cycle has an easy and a hard step
            raise KitboxError(
                f"cycles = {cycles} of the Hardness sampler are too many for a "
                f"training of {self._total} steps; set cycles to {max(self._total // 2, 1)} or less"
            )

    def steps(self, epoch: int) -> int:
        """Return the number of batches of an epoch: enough for all anchors of all passes."""
        least = max(self._min_images(epoch), 2)
        anchors = len(np.unique(self._labels[self._images_of_label >= least]))
        if not anchors:
            raise _no_pairs()
        return -(-anchors * self._sampler.passes // self._triplets_per_batch)

    def required_vectors(self, epoch: int) -> VectorKind | None:  # noqa: ARG002  the same in each
        """Return the kind of vectors that negatives are mined on; frozen ones only once."""
        if self._sampler.mined_on == "current":
            return "embedding"
        return "frozen" if self._frozen is None else None

    def plan(self, epoch: int, vectors: Floats | None) -> list[Batch]:
        """Return batches of anchors, then their positives, then their negatives.

        If the last pass does not fill the last batch, an additional pass does.
        """
        if self._sampler.mined_on == "frozen":
            vectors = self._frozen = self._frozen if vectors is None else vectors
        assert vectors is not None  # noqa: S101  they are required
        rows = self._used_in(epoch)
        hardness = self._hardness_of_steps(epoch)
        mined = mine_triplets(
            vectors[rows],
            self._labels[rows],
            np.repeat(hardness, self._triplets_per_batch),
            np.random.default_rng([self._seed, epoch]),
        )
        self._metrics = {
            "hardness": float(hardness.mean()),
            "achieved": float(mined.achieved_hardness.mean()),
        }
        # (3, anchors) of the epoch, cut into steps
        triplets = rows[np.stack([mined.anchors, mined.positives, mined.negatives])]
        batches = [part.reshape(-1) for part in np.split(triplets, len(hardness), axis=1)]
        return [Batch(batch, self._labels[batch]) for batch in batches]

    def metrics(self) -> dict[str, float]:
        """Return the mean hardness requested and achieved in the epoch planned last."""
        return dict(self._metrics)

    def state(self) -> dict[str, object]:
        """Return nothing: an epoch depends on its number and the vectors alone."""
        return {}

    def restore(self, state: dict[str, object]) -> None:
        """Restore nothing; frozen vectors are required again."""

    @property
    def _triplets_per_batch(self) -> int:
        return self._plugin.batch_size // 3

    def _hardness_of_steps(self, epoch: int) -> NDArray[np.float64]:
        """Return the hardness of each step of an epoch; its curve spans the whole training."""
        steps = range(self._first_step[epoch - 1], self._first_step[epoch])
        return np.array([hardness_at(step, self._total, self._sampler) for step in steps])

    def _used_in(self, epoch: int) -> Integers:
        """Return the rows that are used in an epoch: labels with too few images are left out."""
        enough = self._images_of_label >= self._min_images(epoch)
        return np.flatnonzero((self._labels == UNKNOWN) | enough)

    def _min_images(self, epoch: int) -> int:
        return curriculum.phase_at(self._plugin, epoch).min_images_per_label


def hardness_at(step: int, total: int, sampler: Hardness) -> float:
    """Return the hardness, 0 to the sampler's threshold, of a step from 0 to total − 1.

    In each cycle u runs from 0 to below 1, and hardness is the threshold times
    1 / (1 + exp(−growth·(4u − 2))) for the logistic curve, exp(growth·(u − 1)) exponential,
    u linear, sin(πu/2) sine, tanh(growth·u) tanh, log(1 + growth·u) / log(1 + growth) logarithmic,
    and 1 constant.

    Sigmoid-Triplet-Sequencer describes the logistic curve; its code, with 0.5/1+exp(x) for the
    sigmoid, computes the exponential one.
    """
    u = step * sampler.cycles % total / total
    return sampler.threshold * _curve_value(u, sampler.growth, sampler.curve)


def _curve_value(u: float, growth: float, curve: Curve) -> float:
    """Return the share of the threshold reached at u of a cycle."""
    match curve:
        case "logistic":
            # over −2..2 a growth of 3, the source's, rises from .002 to .998; as a tanh,
            # 1 / (1 + exp(−2x)) = (1 + tanh x) / 2, it overflows for no growth
            return (1 + math.tanh(growth * (2 * u - 1))) / 2
        case "exponential":
            return math.exp(growth * (u - 1))
        case "linear":
            return u
        case "sine":
            return math.sin(math.pi * u / 2)
        case "tanh":
            return math.tanh(growth * u)
        case "logarithmic":
            return math.log1p(growth * u) / math.log1p(growth)
        case "constant":
            return 1.0


@dataclass(frozen=True)
class MinedTriplets:
    """Rows of anchors, positives and negatives (a,), and the `achieved_hardness` (a,), 0 to 1."""

    anchors: Integers
    positives: Integers
    negatives: Integers
    achieved_hardness: Floats


def mine_triplets(
    vectors: Floats, labels: Integers, hardness: NDArray[np.float64], generator: np.random.Generator
) -> MinedTriplets:
    """Return a triplet for each `hardness` (a,): 0 is the furthest negative, 1 the nearest.

    Each label with two images or more provides one anchor per pass, in random order, for as many
    passes as are needed; anchor and positive are random images of it. The negative is, of the
    images of other labels, the nearest with d ≥ d_max − (d_max − d_min)·hardness, where d is the
    Euclidean distance to the anchor and d_min and d_max are its least and largest value. UNKNOWN
    images are negatives of all anchors. `vectors (n, d)` are of unit length.

    Raises KitboxError if no label has two images, or if there is only one label.
    """
    anchors, positives = _pairs(labels, len(hardness), generator)
    negatives = np.empty(len(hardness), dtype=np.int64)
    achieved = np.empty(len(hardness), dtype=np.float32)
    size = max(_CELLS // len(vectors), 1)
    for first in range(0, len(hardness), size):
        part = slice(first, first + size)
        negatives[part], achieved[part] = _negatives(vectors, labels, anchors[part], hardness[part])
    return MinedTriplets(anchors, positives, negatives, achieved)


def _pairs(
    labels: Integers, count: int, generator: np.random.Generator
) -> tuple[Integers, Integers]:
    """Return rows of `count` anchors and of their positives."""
    order = np.argsort(labels, kind="stable")
    present, first, counts = np.unique(labels[order], return_index=True, return_counts=True)
    several = (counts > 1) & (present != UNKNOWN)
    if not several.any() or len(present) < 2:
        raise _no_pairs()
    first, counts = first[several], counts[several]
    passes = -(-count // len(first))
    drawn = np.concatenate([generator.permutation(len(first)) for _ in range(passes)])[:count]
    first, counts = first[drawn], counts[drawn]
    anchor = generator.integers(counts)
    positive = (anchor + 1 + generator.integers(counts - 1)) % counts
    return order[first + anchor], order[first + positive]


def _negatives(
    vectors: Floats, labels: Integers, anchors: Integers, hardness: NDArray[np.float64]
) -> tuple[Integers, Floats]:
    """Return the row of each anchor's negative, and the hardness that it achieves."""
    similarity = vectors[anchors] @ vectors.T
    np.minimum(similarity, 1, out=similarity)  # rounding exceeds 1, where a distance is NaN
    own = labels[anchors][:, None] == labels
    similarity[own] = np.inf
    lowest = similarity.min(axis=1)
    similarity[own] = -np.inf
    highest = similarity.max(axis=1)
    furthest, nearest = _distance(lowest), _distance(highest)
    least = np.maximum(nearest, furthest - (furthest - nearest) * hardness)
    # d ≥ least is cos ≤ 1 − least²/2; clipped, so that rounding leaves at least one negative
    limit = np.clip((1 - least**2 / 2).astype(np.float32), lowest, highest)
    similarity[similarity > limit[:, None]] = -np.inf
    negatives = similarity.argmax(axis=1)
    distance = _distance(similarity[np.arange(len(anchors)), negatives])
    width = furthest - nearest
    # where all negatives are equally far, any of them achieves the hardness
    achieved = np.where(width > 0, (furthest - distance) / np.where(width > 0, width, 1), hardness)
    return negatives.astype(np.int64), achieved.astype(np.float32)


def _distance(similarity: Floats) -> NDArray[np.float64]:
    """Return the Euclidean distance between unit vectors of this cosine."""
    return np.asarray(np.sqrt(2 - 2 * similarity.astype(np.float64)))


def _no_pairs() -> KitboxError:
    return KitboxError(
        "a Hardness sampler needs an individual with two photographs and a photograph of another "
        "one; there are none, so choose another sampler or lower min_images_per_label"
    )
