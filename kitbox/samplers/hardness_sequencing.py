"""Hardness sequencing: triplets whose negatives are as far away as a curve of hardness asks."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kitbox.errors import KitboxError
from kitbox.plugin import curriculum
from kitbox.plugin.plugin import Plugin
from kitbox.plugin.samplers import Curve, Hardness
from kitbox.records import Floats, Integers
from kitbox.samplers.batch_samplers import UNKNOWN, Batch


def hardness_at(
    step: int, total: int, cycles: int, threshold: float, growth: float, curve: Curve
) -> float:
    """Return the hardness, 0 to `threshold`, that is asked at a step of 0..total − 1.

    In each of `cycles` u runs from 0 to below 1, and hardness is `threshold` times
    1 / (1 + exp(−growth·(4u − 2))) if the curve is logistic, exp(growth·(u − 1)) exponential,
    u linear, sin(πu/2) sine, tanh(growth·u) tanh, log(1 + growth·u) / log(1 + growth) logarithmic,
    and 1 constant.

    Sigmoid-Triplet-Sequencer describes the logistic curve; its code, with 0.5/1+exp(x) for the
    sigmoid, computes the exponential one.
    """
    return threshold * _risen(step * cycles % total / total, growth, curve)


def _risen(u: float, growth: float, curve: Curve) -> float:
    """Return which share of the threshold is reached at the share u of a cycle."""
    match curve:
        case "logistic":
            # over −2..2 a growth of 3, the source's, rises from .002 to .998; and as a tanh,
            # 1 / (1 + exp(−2x)) = (1 + tanh x) / 2, no growth is too large to compute
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


# Similarities that are in memory at a time: 32 MB in float32, and about as much again to choose.
_CELLS = 2**23


@dataclass(frozen=True)
class MinedTriplets:
    """Rows of anchors, positives and negatives (a,), and the hardness `achieved` (a,), 0 to 1."""

    anchors: Integers
    positives: Integers
    negatives: Integers
    achieved: Floats


def mine_triplets(
    vectors: Floats, labels: Integers, asked: NDArray[np.float64], generator: np.random.Generator
) -> MinedTriplets:
    """Return a triplet for each hardness of `asked` (a,), 0 the furthest negative, 1 the nearest.

    The labels with two images or more are anchors once each, in random order, and again in another
    order for as long as there is hardness asked; which of a label's images is the anchor and which
    the positive is chance. Images that are UNKNOWN are negatives of all. The negative is, of the
    images of other labels, the nearest with d ≥ d_max − (d_max − d_min)·hardness, where d is the
    Euclidean distance to the anchor and d_min and d_max are the least and the largest of them.
    `vectors (n, d)` are of unit length.

    Raises KitboxError where no label has two images, or there is only one label.
    """
    anchors, positives = _pairs(labels, len(asked), generator)
    negatives = np.empty(len(asked), dtype=np.int64)
    achieved = np.empty(len(asked), dtype=np.float32)
    size = max(_CELLS // len(vectors), 1)
    for first in range(0, len(asked), size):
        part = slice(first, first + size)
        negatives[part], achieved[part] = _negatives(vectors, labels, anchors[part], asked[part])
    return MinedTriplets(anchors, positives, negatives, achieved)


class HardnessPlanner:
    """The planner of a `Hardness` sampler: its batches are learnt in the order they come in."""

    def __init__(self, labels: Integers, plugin: Plugin, seed: int) -> None:
        """Sequence `labels (n,)`, rows of the label map or UNKNOWN, as the plugin says.

        Raises KitboxError where there are no triplets, or fewer steps than the cycles need.
        """
        assert isinstance(plugin.sampler, Hardness)  # noqa: S101
        self._sampler, self._plugin, self._seed = plugin.sampler, plugin, seed
        self._labels = labels
        known = labels != UNKNOWN
        counts = np.bincount(labels[known])
        self._images = np.where(known, counts[labels] if len(counts) else 0, 0)
        self._frozen: Floats | None = None
        self._metrics: dict[str, float] = {}
        cycles = plugin.sampler.cycles
        steps = [self.steps(epoch) for epoch in range(1, plugin.epochs + 1)]
        self._total = sum(steps)
        self._done = [0, *np.cumsum(steps).tolist()]  # steps before each epoch
        if plugin.epochs and 1 < cycles > self._total // 2:  # a cycle has an easy and a hard step
            raise KitboxError(
                f"cycles = {cycles} of the Hardness sampler are too many for a "
                f"training of {self._total} steps; set cycles to {max(self._total // 2, 1)} or less"
            )

    def steps(self, epoch: int) -> int:
        """Return how many batches an epoch will have: enough for all anchors of all passes."""
        least = max(self._fewest(epoch), 2)
        anchors = len(np.unique(self._labels[self._images >= least]))
        if not anchors:
            raise _no_pairs()
        return -(-anchors * self._sampler.passes // self._third)

    def required_vectors(self, epoch: int) -> str | None:  # noqa: ARG002  the same in each epoch
        """Return which vectors negatives are chosen by; frozen ones are asked for once."""
        if self._sampler.mined_on == "current":
            return "embedding"
        return "frozen" if self._frozen is None else None

    def plan(self, epoch: int, vectors: Floats | None) -> list[Batch]:
        """Return batches of anchors, then their positives, then their negatives.

        Those of the last pass that fill the last batch come from one more.
        """
        if self._sampler.mined_on == "frozen":
            vectors = self._frozen = self._frozen if vectors is None else vectors
        assert vectors is not None  # noqa: S101  as required_vectors() says
        rows = self._rows(epoch)
        asked = self._asked(epoch)
        found = mine_triplets(
            vectors[rows],
            self._labels[rows],
            np.repeat(asked, self._third),
            np.random.default_rng([self._seed, epoch]),
        )
        self._metrics = {"hardness": float(asked.mean()), "achieved": float(found.achieved.mean())}
        # (3, anchors) of the epoch, cut into steps
        triplets = rows[np.stack([found.anchors, found.positives, found.negatives])]
        batches = [part.reshape(-1) for part in np.split(triplets, len(asked), axis=1)]
        return [Batch(batch, self._labels[batch]) for batch in batches]

    def metrics(self) -> dict[str, float]:
        """Return the mean hardness asked and achieved in the epoch that was planned last."""
        return dict(self._metrics)

    def state(self) -> dict[str, object]:
        """Return nothing: an epoch follows from its number and the vectors."""
        return {}

    def restore(self, state: dict[str, object]) -> None:
        """Take back nothing; frozen vectors are asked for anew."""

    @property
    def _third(self) -> int:
        return self._plugin.batch_size // 3

    def _asked(self, epoch: int) -> NDArray[np.float64]:
        """Return the hardness of each step of an epoch; its curve runs over the whole training."""
        how = self._sampler
        steps = range(self._done[epoch - 1], self._done[epoch])
        given = (self._total, how.cycles, how.threshold, how.growth, how.curve)
        return np.array([hardness_at(step, *given) for step in steps])

    def _rows(self, epoch: int) -> Integers:
        """Return the images that are there in an epoch: labels with too few sit out."""
        there = (self._labels == UNKNOWN) | (self._images >= self._fewest(epoch))
        return np.flatnonzero(there)

    def _fewest(self, epoch: int) -> int:
        """Return how many images a label must have to be learnt in an epoch."""
        return curriculum.phase_at(self._plugin, epoch).min_images_per_label


def _pairs(
    labels: Integers, count: int, generator: np.random.Generator
) -> tuple[Integers, Integers]:
    """Return rows of `count` anchors and of their positives."""
    order = np.argsort(labels, kind="stable")
    names, first, counts = np.unique(labels[order], return_index=True, return_counts=True)
    several = (counts > 1) & (names != UNKNOWN)
    if not several.any() or len(names) < 2:
        raise _no_pairs()
    first, counts = first[several], counts[several]
    passes = -(-count // len(first))
    drawn = np.concatenate([generator.permutation(len(first)) for _ in range(passes)])[:count]
    first, counts = first[drawn], counts[drawn]
    one = generator.integers(counts)
    other = (one + 1 + generator.integers(counts - 1)) % counts
    return order[first + one], order[first + other]


def _negatives(
    vectors: Floats, labels: Integers, anchors: Integers, asked: NDArray[np.float64]
) -> tuple[Integers, Floats]:
    """Return the negative of each anchor as its row, and the hardness that it achieves."""
    similarity = vectors[anchors] @ vectors.T
    np.minimum(similarity, 1, out=similarity)  # rounding goes beyond, where distance is no number
    own = labels[anchors][:, None] == labels
    similarity[own] = np.inf
    lowest = similarity.min(axis=1)
    similarity[own] = -np.inf
    highest = similarity.max(axis=1)
    furthest, nearest = _distance(lowest), _distance(highest)
    wanted = np.maximum(nearest, furthest - (furthest - nearest) * asked)
    # d ≥ wanted is cos ≤ 1 − wanted²/2; between the two ends, whatever rounding does
    most = np.clip((1 - wanted**2 / 2).astype(np.float32), lowest, highest)
    similarity[similarity > most[:, None]] = -np.inf
    found = similarity.argmax(axis=1)
    distance = _distance(similarity[np.arange(len(anchors)), found])
    width = furthest - nearest
    # where all negatives are as far as each other there is nothing to choose: what is asked is met
    achieved = np.where(width > 0, (furthest - distance) / np.where(width > 0, width, 1), asked)
    return found.astype(np.int64), achieved.astype(np.float32)


def _distance(similarity: Floats) -> NDArray[np.float64]:
    """Return the Euclidean distance of unit vectors of this cosine."""
    return np.asarray(np.sqrt(2 - 2 * similarity.astype(np.float64)))


def _no_pairs() -> KitboxError:
    return KitboxError(
        "a Hardness sampler needs an individual with two photographs and one of another to learn "
        "from; there is none, so choose another sampler or lower min_images_per_label"
    )
