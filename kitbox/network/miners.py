"""Miners: the triplets of a batch that a pair loss is computed on.

Each takes embeddings (n, d), which it normalises, and labels (n,), and returns rows of anchors,
positives and negatives, without gradients. Random miners draw from torch's default generator.
"""

from collections.abc import Callable

import torch
from pytorch_metric_learning.miners import BatchEasyHardMiner, BatchHardMiner
from torch import Tensor
from torch.nn import functional

Triplets = tuple[Tensor, Tensor, Tensor]
Miner = Callable[[Tensor, Tensor], Triplets]

# Below this distance its density is so low that the inverse is all noise (Wu et al.); the divide
# and conquer paper uses no nearer negatives.
NEAREST = 0.5
# A negative at this distance is beyond Wu's boundary 1.2 + 0.2 and has no loss.
_FURTHEST = 1.4


def batch_hard(embeddings: Tensor, labels: Tensor) -> Triplets:
    """Return each anchor with its furthest positive and its nearest negative."""
    anchors, positives, negatives = BatchHardMiner()(embeddings, labels)
    return anchors, positives, negatives


def easy_positive(embeddings: Tensor, labels: Tensor) -> Triplets:
    """Return each anchor with its nearest positive and the nearest negative further than that."""
    miner = BatchEasyHardMiner(
        pos_strategy=BatchEasyHardMiner.EASY, neg_strategy=BatchEasyHardMiner.SEMIHARD
    )
    anchors, positives, _, negatives = miner(embeddings, labels)
    return anchors, positives, negatives


@torch.no_grad()
def semi_hard(embeddings: Tensor, labels: Tensor) -> Triplets:
    """Return each positive pair with the nearest negative further than the positive, if any."""
    distances, positive, negative = _pairs(embeddings, labels)
    anchors, positives = torch.where(positive)
    further = negative[anchors] & (distances[anchors] > distances[anchors, positives][:, None])
    nearest = distances[anchors].masked_fill(~further, torch.inf).argmin(1)
    any_further = further.any(1)
    return anchors[any_further], positives[any_further], nearest[any_further]


@torch.no_grad()
def random(embeddings: Tensor, labels: Tensor) -> Triplets:
    """Return each anchor with a random positive and a random negative."""
    _, positive, negative = _pairs(embeddings, labels)
    (anchors,) = torch.where(positive.any(1) & negative.any(1))
    return anchors, _draw(positive[anchors].float()), _draw(negative[anchors].float())


@torch.no_grad()
def distance_weighted(embeddings: Tensor, labels: Tensor) -> Triplets:
    """Return each positive pair with a negative drawn by the inverse density of distances.

    Where all negatives of an anchor are too far to have a loss, any of them is drawn, so that its
    positives still count (Wu et al., ICCV 2017).
    """
    distances, positive, negative = _pairs(embeddings, labels)
    anchors, positives = torch.where(positive & negative.any(1, keepdim=True))
    weights = distance_weights(distances, negative, embeddings.shape[1])
    return anchors, positives, _draw(weights[anchors])


def distance_weights(distances: Tensor, negative: Tensor, dim: int) -> Tensor:
    """Return the probability (n, n) of each negative of an anchor; each row sums to 1.

    It is inverse to m^(d − 2)·(1 − m²/4)^((d − 3)/2), the density of the distance m between points
    that are uniform on the sphere in d dimensions. Rows without negatives are meaningless.
    """
    near = distances.clamp(NEAREST, _FURTHEST)
    logs = (2 - dim) * near.log() - (dim - 3) / 2 * (1 - near**2 / 4).log()
    useful = negative & (distances < _FURTHEST)
    logs = torch.where(useful.any(1, keepdim=True), logs.masked_fill(~useful, -torch.inf), 0.0)
    # softmax by row: in 512 dimensions one near negative would make all other rows 0 in float32
    return logs.masked_fill(~negative, -torch.inf).softmax(1)


@torch.no_grad()
def closest(embeddings: Tensor, labels: Tensor) -> Triplets:
    """Return each anchor's positives with as many of its closest negatives.

    Negatives at NEAREST or further come first, in ascending distance; then nearer ones, in
    descending distance, so that collapsed embeddings are still pushed apart.
    """
    distances, positive, negative = _pairs(embeddings, labels)
    # 4 is twice the largest distance: negatives nearer than NEAREST come after all others
    order = torch.where(distances >= NEAREST, distances, 4 - distances)
    ranked = order.masked_fill(~negative, torch.inf).argsort(dim=1, stable=True)
    anchors, positives = torch.where(positive & negative.any(1, keepdim=True))
    rank = positive.cumsum(1)[anchors, positives] - 1
    # an anchor with fewer negatives than positives repeats them
    return anchors, positives, ranked[anchors, rank % negative.sum(1)[anchors]]


def sequence(_: Tensor, labels: Tensor) -> Triplets:
    """Return the triplets of a batch laid out as anchors, their positives, their negatives."""
    rows = torch.arange(len(labels), device=labels.device)
    anchors, positives, negatives = rows.reshape(3, -1)
    return anchors, positives, negatives


MINERS: dict[str, Miner] = {
    miner.__name__: miner
    for miner in (
        batch_hard,
        semi_hard,
        distance_weighted,
        easy_positive,
        random,
        sequence,
        closest,
    )
}


def _pairs(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return distances, and masks of positive and negative pairs, all (n, n)."""
    unit = functional.normalize(embeddings)
    same = labels[:, None] == labels
    diagonal = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return torch.cdist(unit, unit), same & ~diagonal, ~same


def _draw(weights: Tensor) -> Tensor:
    """Draw a column for each row of weights (n, m)."""
    if not len(weights):
        return torch.empty(0, dtype=torch.long, device=weights.device)
    return torch.multinomial(weights, 1).squeeze(1)
