"""Loss heads that classify: they have weights for every label.

Each takes embeddings (n, d) and label rows (n,) and gives the mean loss. Only BinaryCrossEntropy
takes unknowns, whose label is negative.
"""

import math
from typing import Any, assert_never

import torch
from pytorch_metric_learning.losses import (
    ContrastiveLoss,
    CosFaceLoss,
    MarginLoss,
    MultiSimilarityLoss,
    SubCenterArcFaceLoss,
    TripletMarginLoss,
)
from pytorch_metric_learning.miners import MultiSimilarityMiner
from pytorch_metric_learning.utils.common_functions import TorchInitWrapper
from torch import Tensor, nn
from torch.nn import functional

from kitbox.network import miners
from kitbox.network.margins import Margins
from kitbox.plugin.losses import (
    ArcFace,
    BinaryCrossEntropy,
    Contrastive,
    CosFace,
    CrossEntropy,
    Focal,
    Margin,
    MultiSimilarity,
    Triplet,
)
from kitbox.records import Integers

# arccos has an infinite slope at 1; nearer to it than this (0.08°) an angle has no gradient
_LARGEST_COSINE = 1 - 1e-6


def build(
    loss: ArcFace | CosFace | CrossEntropy | Focal | BinaryCrossEntropy,
    embedding_dim: int,
    label_counts: Integers,
) -> nn.Module:
    """Return the head of a loss, given the training images of each label (L,)."""
    match loss:
        case ArcFace() | CosFace():
            return AngularHead(loss, embedding_dim, label_counts)
        case CrossEntropy():
            return CrossEntropyHead(loss, embedding_dim, len(label_counts))
        case Focal():
            return FocalHead(loss, embedding_dim, len(label_counts))
        case BinaryCrossEntropy():
            return BinaryCrossEntropyHead(loss, embedding_dim, len(label_counts))
        case _:
            assert_never(loss)


class AngularHead(nn.Module):
    """pytorch-metric-learning's ArcFace or CosFace, with a margin for each label."""

    def __init__(self, loss: ArcFace | CosFace, embedding_dim: int, label_counts: Integers) -> None:
        super().__init__()
        settings: dict[str, Any] = {
            "margins": Margins(loss.margin, label_counts, loss.ramp),
            "num_classes": len(label_counts),
            "embedding_size": embedding_dim,
            "scale": loss.scale,
            # theirs begins at norms of 20, which an optimiser of small steps hardly ever turns
            "weight_init_func": TorchInitWrapper(nn.init.xavier_uniform_),
        }
        self.loss = (
            _ArcFaceLoss(sub_centers=loss.centers, **settings)
            if isinstance(loss, ArcFace)
            else _CosFaceLoss(**settings)
        )

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss."""
        value: Tensor = self.loss(embeddings, labels)
        return value


class _ArcFaceLoss(SubCenterArcFaceLoss):  # type: ignore[misc]  # of an untyped package
    """Theirs, in which `margin` is the angle in radians of each image of the batch."""

    def __init__(self, *, margins: Margins, **settings: object) -> None:
        super().__init__(**settings)
        self.margins = margins

    def compute_loss(self, embeddings: Tensor, labels: Tensor, *others: object) -> object:
        self.margin = self.margins(labels)
        return super().compute_loss(embeddings, labels, *others)

    def get_cosine(self, embeddings: Tensor) -> Tensor:
        of_centers = _cosines(embeddings, self.W)
        return of_centers.view(-1, self.num_classes, self.sub_centers).amax(dim=2)

    def get_angles(self, cosines: Tensor) -> Tensor:
        return torch.acos(cosines.clamp(-_LARGEST_COSINE, _LARGEST_COSINE))

    def modify_cosine_of_target_classes(self, cosines: Tensor) -> Tensor:
        # as theirs, where numpy's sine takes no margins that lie on an accelerator
        angles = self.get_angles(cosines)
        falling_on = torch.cos(angles) - self.margin * torch.sin(self.margin)
        return torch.where(
            angles <= math.pi - self.margin, torch.cos(angles + self.margin), falling_on
        )


class _CosFaceLoss(CosFaceLoss):  # type: ignore[misc]  # of an untyped package
    """Theirs, in which `margin` is the cosine of each image of the batch."""

    def __init__(self, *, margins: Margins, **settings: object) -> None:
        super().__init__(**settings)
        self.margins = margins

    def compute_loss(self, embeddings: Tensor, labels: Tensor, *others: object) -> object:
        self.margin = self.margins(labels)
        return super().compute_loss(embeddings, labels, *others)

    def get_cosine(self, embeddings: Tensor) -> Tensor:
        return _cosines(embeddings, self.W)


def _cosines(embeddings: Tensor, directions: Tensor) -> Tensor:
    """Return the cosines (n, L) of embeddings (n, d) and directions (d, L) of any length.

    The products are divided, not the directions as in theirs: these are many more numbers, which
    would be written anew in each step, forward and backward.
    """
    lengths = torch.linalg.vector_norm(directions, dim=0).clamp(min=1e-12)
    cosines: Tensor = functional.normalize(embeddings) @ directions / lengths
    return cosines


class CrossEntropyHead(nn.Module):
    """A linear classifier and its cross-entropy."""

    def __init__(self, loss: CrossEntropy, embedding_dim: int, label_count: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(embedding_dim, label_count)
        self.loss = nn.CrossEntropyLoss(label_smoothing=loss.label_smoothing)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss."""
        value: Tensor = self.loss(self.classifier(embeddings), labels)
        return value


class FocalHead(nn.Module):
    """A linear classifier and its focal loss, each image weighted by its own probability."""

    def __init__(self, loss: Focal, embedding_dim: int, label_count: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(embedding_dim, label_count)
        self.gamma = loss.gamma

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss."""
        logs = functional.log_softmax(self.classifier(embeddings), dim=1)
        own = logs.gather(1, labels[:, None]).squeeze(1)
        # this is 1 − p; a gamma below 1 has an infinite slope at 0
        doubt = (-torch.expm1(own)).clamp(min=1e-6)
        return (doubt**self.gamma * -own).mean()


class BinaryCrossEntropyHead(nn.Module):
    """A linear classifier of which each output is right or wrong, and the hardest count."""

    def __init__(self, loss: BinaryCrossEntropy, embedding_dim: int, label_count: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(embedding_dim, label_count)
        self.hardest_of_known = _share_of(loss.hardest, label_count - 1)
        self.hardest_of_unknown = _share_of(loss.hardest, label_count)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of own outputs and that of the hardest others, together."""
        logits = self.classifier(embeddings)
        known = labels >= 0
        own = functional.one_hot(labels.clamp(min=0), logits.shape[1]).bool() & known[:, None]
        right = functional.softplus(-logits[own])
        hardest = logits.masked_fill(own, -torch.inf).topk(self.hardest_of_unknown).values
        counts = torch.where(known, self.hardest_of_known, self.hardest_of_unknown)
        places = torch.arange(self.hardest_of_unknown, device=labels.device)
        wrong = functional.softplus(hardest) * (places < counts[:, None])
        by_image = wrong.sum(1) / counts.clamp(min=1)
        return right.sum() / known.sum().clamp(min=1) + by_image.mean()


def _share_of(share: float, count: int) -> int:
    # 0.07 · 100 is 7.000000000000001, which is not to become 8
    return math.ceil(round(share * count, 9))


class PairHead(nn.Module):
    """A loss of pytorch-metric-learning over what is mined from a batch, or all of its pairs."""

    def __init__(self, loss: nn.Module, mine: miners.Miner | None = None) -> None:
        super().__init__()
        self.loss = loss
        self.mine = mine

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of embeddings (n, d), brought to unit length, with labels (n,).

        The mean is over the pairs that still have a loss: 0 with a gradient of 0 where none has.
        """
        mined = None if self.mine is None else self.mine(embeddings, labels)
        value: Tensor = self.loss(embeddings, labels, mined)
        return value


def build_pair_loss(
    loss: Triplet | Margin | Contrastive | MultiSimilarity, label_count: int
) -> PairHead:
    """Return the head of a loss; boundaries that are learnt are among its weights."""
    match loss:
        case Triplet():
            soft = loss.margin == "soft"
            theirs = TripletMarginLoss(margin=0.0 if soft else loss.margin, smooth_loss=soft)
            return PairHead(theirs, miners.MINERS[loss.mining])
        case Margin():
            theirs = MarginLoss(
                margin=loss.margin,
                beta=loss.beta,
                learn_beta=loss.learn_beta != "no",
                num_classes=label_count if loss.learn_beta == "per_label" else None,
            )
            return PairHead(theirs, miners.MINERS[loss.mining])
        case Contrastive():
            return PairHead(
                ContrastiveLoss(pos_margin=loss.positive_margin, neg_margin=loss.negative_margin)
            )
        case MultiSimilarity():
            theirs = MultiSimilarityLoss(alpha=loss.alpha, beta=loss.beta, base=loss.base)
            return PairHead(theirs, MultiSimilarityMiner(epsilon=loss.epsilon))
        case _:
            assert_never(loss)
