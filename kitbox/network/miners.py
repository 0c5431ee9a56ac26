"""Which triplets of a batch a loss learns from.

Each way takes embeddings (n, d), which it brings to unit length, and labels (n,), and gives rows of
anchors, positives and negatives. Chance is torch's own. Nothing here has a gradient.
"""

from collections.abc import Callable

import torch
from pytorch_metric_learning.miners import BatchEasyHardMiner, BatchHardMiner
from torch import Tensor
from torch.nn import functional

Triplets = tuple[Tensor, Tensor, Tensor]
Miner = Callable[[Tensor, Tensor], Triplets]

# Wu et al.: nearer than this a distance's density is so low that its inverse is all noise; the
# divide and conquer paper takes no negative that is nearer
NEAREST = 0.5
# a negative that is this far is past Wu's boundary 1.2 + 0.2 and has no loss
_FURTHEST = 1.4


def batch_hard(embeddings: Tensor, labels: Tensor) -> Triplets:
    """Return of each anchor its furthest positive and its nearest negative."""
    anchors, positives, negatives = BatchHardMiner()(embeddings, labels)
    return anchors, positives, negatives


def easy_positive(embeddings: Tensor, labels: Tensor) -> Triplets:
    """Return of each anchor its nearest positive, and the nearest negative further than that."""
    miner = BatchEasyHardMiner(
        pos_strategy=BatchEasyHardMiner.EASY, neg_strategy=BatchEasyHardMiner.SEMIHARD
    )
    anchors, positives, _, negatives = miner(embeddings, labels)
    return anchors, positives, negatives


@torch.no_grad()
def semi_hard(embeddings: Tensor, labels: Tensor) -> Triplets:
    """Return of each positive pair the nearest negative further than the positive, if any is."""
    distances, positive, negative = _pairs(embeddings, labels)
    anchors, positives = torch.where(positive)
    further = negative[anchors] & (distances[anchors] > distances[anchors, positives][:, None])
    nearest = distances[anchors].masked_fill(~further, torch.inf).argmin(1)
    found = further.any(1)
    return anchors[found], positives[found], nearest[found]


@torch.no_grad()
def random(embeddings: Tensor, labels: Tensor) -> Triplets:
    """Return of each anchor a positive and a negative by chance."""
    _, positive, negative = _pairs(embeddings, labels)
    (anchors,) = torch.where(positive.any(1) & negative.any(1))
    return anchors, _drawn(positive[anchors].float()), _drawn(negative[anchors].float())


@torch.no_grad()
def distance_weighted(embeddings: Tensor, labels: Tensor) -> Triplets:
    """Return of each positive pair a negative drawn against the density of distances.

    Where all negatives of an anchor are too far to matter, any of them, so that its positives
    still count (Wu et al., ICCV 2017).
    """
    distances, positive, negative = _pairs(embeddings, labels)
    anchors, positives = torch.where(positive & negative.any(1, keepdim=True))
    weights = distance_weights(distances, negative, embeddings.shape[1])
    return anchors, positives, _drawn(weights[anchors])


def distance_weights(distances: Tensor, negative: Tensor, dim: int) -> Tensor:
    """Return how likely each negative (n, n) of an anchor is drawn; each row sums to 1.

    That is inverse to m^(d − 2)·(1 − m²/4)^((d − 3)/2), the density of the distance m of points
    spread evenly over the sphere in d dimensions. Rows without a negative are of no use.
    """
    near = distances.clamp(NEAREST, _FURTHEST)
    logs = (2 - dim) * near.log() - (dim - 3) / 2 * (1 - near**2 / 4).log()
    useful = negative & (distances < _FURTHEST)
    logs = torch.where(useful.any(1, keepdim=True), logs.masked_fill(~useful, -torch.inf), 0.0)
    # by row: in 512 dimensions one near negative would make all other rows 0 in float32
    return logs.masked_fill(~negative, -torch.inf).softmax(1)


@torch.no_grad()
def closest(embeddings: Tensor, labels: Tensor) -> Triplets:
    """Return of each anchor its positives with as many of the closest negatives.

    Negatives that are NEAREST away come first, the closest in front; then those that are nearer,
    the furthest in front, so that embeddings that have fallen together are still driven apart.
    """
    distances, positive, negative = _pairs(embeddings, labels)
    # 4 is twice the furthest distance: what is nearer than NEAREST comes after all else
    order = torch.where(distances >= NEAREST, distances, 4 - distances)
    ranked = order.masked_fill(~negative, torch.inf).argsort(dim=1, stable=True)
    anchors, positives = torch.where(positive & negative.any(1, keepdim=True))
    place = positive.cumsum(1)[anchors, positives] - 1
    # where an anchor has fewer negatives than positives they come again
    return anchors, positives, ranked[anchors, place % negative.sum(1)[anchors]]


def sequence(_: Tensor, labels: Tensor) -> Triplets:
    """Return the triplets of a batch that is its anchors, then their positives, then negatives."""
    rows = torch.arange(len(labels), device=labels.device)
    anchors, positives, negatives = rows.reshape(3, -1)
    return anchors, positives, negatives


MINERS: dict[str, Miner] = {
    way.__name__: way
    for way in (
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
    """Return distances, and which pairs are of one label or of two, all (n, n)."""
    unit = functional.normalize(embeddings)
    same = labels[:, None] == labels
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return torch.cdist(unit, unit), same & ~itself, ~same


def _drawn(weights: Tensor) -> Tensor:
    """Return a column of each row (n, m), drawn by its weights."""
    if not len(weights):
        return torch.empty(0, dtype=torch.long, device=weights.device)
    return torch.multinomial(weights, 1).squeeze(1)
