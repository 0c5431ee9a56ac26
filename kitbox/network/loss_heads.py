"""Loss heads: modules from embeddings (n, d) and label rows (n,) to a mean loss.

Heads of losses that classify have weights for every label, and only BinaryCrossEntropy's accepts
unknowns, whose label is negative. Heads of pair losses mine the pairs or triplets of a batch.
"""

import copy
import math
from typing import Any, assert_never, cast

import numpy as np
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

from kitbox.devices.class_shards import ClassShard, DivisibleHead, shared
from kitbox.errors import KitboxError
from kitbox.network import miners
from kitbox.network.margins import Margins
from kitbox.plugin.losses import (
    ArcFace,
    BinaryCrossEntropy,
    Contrastive,
    CosFace,
    CrossEntropy,
    Custom,
    Focal,
    Loss,
    Margin,
    MultiSimilarity,
    Triplet,
)
from kitbox.plugin.plugin import Plugin
from kitbox.plugin.source_code import SourceCode, article, errors_of
from kitbox.records import Integers

# arccos has an infinite slope at 1: nearer to it than this (0.08°) an angle has no gradient.
_LARGEST_COSINE = 1 - 1e-6
# Images of the batch that a user's own loss is tried on.
_TRIED = 8


def build_loss_head(
    loss: Loss, embedding_dim: int, label_counts: Integers, code: SourceCode | None = None
) -> nn.Module:
    """Return the head of a loss, given the number of training images of each label (L,).

    `code` is that of a user's own losses; raises KitboxError for what goes wrong in it.
    """
    match loss:
        case ArcFace() | CosFace():
            return AngularHead(loss, embedding_dim, label_counts)
        case CrossEntropy():
            return CrossEntropyHead(loss, embedding_dim, len(label_counts))
        case Focal():
            return FocalHead(loss, embedding_dim, len(label_counts))
        case BinaryCrossEntropy():
            return BinaryCrossEntropyHead(loss, embedding_dim, len(label_counts))
        case Triplet():
            soft = loss.margin == "soft"
            triplet = TripletMarginLoss(margin=0.0 if soft else loss.margin, smooth_loss=soft)
            return PairHead(triplet, miners.MINERS[loss.mining])
        case Margin():
            margin = MarginLoss(
                margin=loss.margin,
                beta=loss.beta,
                learn_beta=loss.learn_beta != "no",
                num_classes=len(label_counts) if loss.learn_beta == "per_label" else None,
            )
            return PairHead(margin, miners.MINERS[loss.mining])
        case Contrastive():
            return PairHead(
                ContrastiveLoss(pos_margin=loss.positive_margin, neg_margin=loss.negative_margin)
            )
        case MultiSimilarity():
            similarity = MultiSimilarityLoss(alpha=loss.alpha, beta=loss.beta, base=loss.base)
            return PairHead(similarity, MultiSimilarityMiner(epsilon=loss.epsilon))
        case Custom():
            return CustomHead(loss, embedding_dim, label_counts, code or SourceCode({}))
        case _:
            assert_never(loss)


def try_losses(plugin: Plugin) -> None:
    """Build the heads of a user's own losses for a few labels, which tries them."""
    for loss in plugin.losses:
        if isinstance(loss, Custom):
            dim = plugin.embedding_dim or 2 * _TRIED
            build_loss_head(loss, dim, np.full(_TRIED // 2, 2), plugin.source_code)


class AngularHead(DivisibleHead):
    """pytorch-metric-learning's ArcFace or CosFace, with a margin for each label."""

    def __init__(self, loss: ArcFace | CosFace, embedding_dim: int, label_counts: Integers) -> None:
        super().__init__()
        self.label_count = len(label_counts)
        settings: dict[str, Any] = {
            "margins": Margins(loss.margin, label_counts, loss.ramp),
            "num_classes": len(label_counts),
            "embedding_size": embedding_dim,
            "scale": loss.scale,
            # the library initialises weights of norms of about 20, which small steps hardly turn
            "weight_init_func": TorchInitWrapper(nn.init.xavier_uniform_),
        }
        self.loss = (
            _ArcFaceLoss(sub_centers=loss.centers, **settings)
            if isinstance(loss, ArcFace)
            else _CosFaceLoss(**settings)
        )

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss."""
        if self.shard is not None:
            return self._shard_loss(self.shard, embeddings, labels)
        value: Tensor = self.loss(embeddings, labels)
        return value

    def class_weights(self) -> list[tuple[nn.Parameter, int]]:
        """Return the directions of the labels, which are columns."""
        return [(cast(nn.Parameter, self.loss.W), 1)]

    def _shard_loss(self, shard: ClassShard, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return what the library computes, from the cosines of a shard's labels."""
        cosines = self.loss.get_cosine(shared(embeddings))
        is_own, columns = shard.own(labels)
        self.loss.margin = self.loss.margins(labels)
        of_labels = cosines.gather(1, columns).squeeze(1)
        moved = torch.where(is_own, self.loss.modify_cosine_of_target_classes(of_labels), of_labels)
        logits = self.loss.scale * cosines.scatter(1, columns, moved[:, None])
        return -shard.log_probabilities(logits, labels)[0].mean()


class _LinearHead(DivisibleHead):
    """A linear classifier."""

    def __init__(self, embedding_dim: int, label_count: int) -> None:
        super().__init__()
        self.label_count = label_count
        self.classifier = nn.Linear(embedding_dim, label_count)

    def class_weights(self) -> list[tuple[nn.Parameter, int]]:
        """Return the weights and the bias of the labels."""
        return [(each, 0) for each in self.classifier.parameters()]

    def _log_probabilities(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log-probability (n,) of each image's label, and the mean of those of all."""
        if self.shard is not None:
            return self.shard.log_probabilities(self.classifier(shared(embeddings)), labels)
        logs = functional.log_softmax(self.classifier(embeddings), dim=1)
        return logs.gather(1, labels[:, None]).squeeze(1), logs.mean(1)


class CrossEntropyHead(_LinearHead):
    """A linear classifier and its cross-entropy."""

    def __init__(self, loss: CrossEntropy, embedding_dim: int, label_count: int) -> None:
        super().__init__(embedding_dim, label_count)
        self.loss = nn.CrossEntropyLoss(label_smoothing=loss.label_smoothing)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss."""
        if self.shard is None:
            value: Tensor = self.loss(self.classifier(embeddings), labels)
            return value
        log_p, of_all = self._log_probabilities(embeddings, labels)
        return -torch.lerp(log_p, of_all, self.loss.label_smoothing).mean()


class FocalHead(_LinearHead):
    """A linear classifier and its focal loss, each image weighted by its label's probability."""

    def __init__(self, loss: Focal, embedding_dim: int, label_count: int) -> None:
        super().__init__(embedding_dim, label_count)
        self.gamma = loss.gamma

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss."""
        log_p, _ = self._log_probabilities(embeddings, labels)
        # 1 − p; with a gamma below 1 its power has an infinite slope at 0
        complement = (-torch.expm1(log_p)).clamp(min=1e-6)
        return (complement**self.gamma * -log_p).mean()


class BinaryCrossEntropyHead(nn.Module):
    """A linear classifier with a binary loss on the own label's and the hardest other outputs."""

    def __init__(self, loss: BinaryCrossEntropy, embedding_dim: int, label_count: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(embedding_dim, label_count)
        self.hardest_of_known = _share_of(loss.hardest, label_count - 1)
        self.hardest_of_unknown = _share_of(loss.hardest, label_count)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of positive outputs plus that of the hardest negative ones."""
        logits = self.classifier(embeddings)
        known = labels >= 0
        own = functional.one_hot(labels.clamp(min=0), logits.shape[1]).bool() & known[:, None]
        positive = functional.softplus(-logits[own])
        hardest = logits.masked_fill(own, -torch.inf).topk(self.hardest_of_unknown).values
        counts = torch.where(known, self.hardest_of_known, self.hardest_of_unknown)
        ranks = torch.arange(self.hardest_of_unknown, device=labels.device)
        negative = functional.softplus(hardest) * (ranks < counts[:, None])
        by_image = negative.sum(1) / counts.clamp(min=1)
        return positive.sum() / known.sum().clamp(min=1) + by_image.mean()


class PairHead(nn.Module):
    """A pytorch-metric-learning loss over mined pairs or triplets, or over all pairs of a batch."""

    def __init__(self, loss: nn.Module, miner: miners.Miner | None = None) -> None:
        super().__init__()
        self.loss = loss
        self.miner = miner

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of embeddings (n, d), which are normalised, with labels (n,).

        The mean is over the pairs with a loss above 0; without any it is 0 with a gradient of 0.
        """
        mined = None if self.miner is None else self.miner(embeddings, labels)
        value: Tensor = self.loss(embeddings, labels, mined)
        return value


class CustomHead(nn.Module):
    """A user's own loss, which is tried on a batch of random embeddings when it is built."""

    def __init__(
        self, loss: Custom, embedding_dim: int, label_counts: Integers, code: SourceCode
    ) -> None:
        super().__init__()
        self.function = loss.function
        count = len(label_counts)
        given = {
            "embedding_dim": embedding_dim,
            "embedding_size": embedding_dim,
            "label_counts": label_counts,
            "label_count": count,
            "num_classes": count,
        }
        with torch.device("cpu"):
            module = code.call(loss.function, given, loss.settings)
            if not isinstance(module, nn.Module):
                raise KitboxError(
                    f"it returns {article(type(module).__name__)}",
                    where=loss.function,
                    fix="return a torch.nn.Module from embeddings and labels to a loss",
                )
            self.loss = module
            self._try(embedding_dim, count)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss."""
        with errors_of(self.function):
            value: Any = self.loss(embeddings, labels)
        if isinstance(value, Tensor) and value.numel() == 1 and value.is_floating_point():
            return value.float().reshape(())
        shape = tuple(getattr(value, "shape", ()))
        kind = article(type(value).__name__) + (f" of shape {shape}" if shape else "")
        if isinstance(value, Tensor) and not shape:
            kind = f"a Tensor of {value.dtype}"
        raise KitboxError(
            f"its loss of a batch is {kind}", where=self.function, fix="return one number, the mean"
        )

    def _try(self, embedding_dim: int, label_count: int) -> None:
        """Raise KitboxError if the loss or its gradient is not finite, for unit embeddings."""
        tried = copy.deepcopy(self)  # it may remember batches
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(0)
            embeddings = functional.normalize(torch.randn(_TRIED, embedding_dim))
            embeddings.requires_grad_(True)
            value = tried(embeddings, torch.arange(_TRIED) // 2 % label_count)
            with errors_of(self.function):
                gradient = (
                    torch.autograd.grad(value, embeddings, allow_unused=True)[0]
                    if value.requires_grad
                    else None
                )
        batch = f"for {_TRIED} random embeddings of unit length"
        if not torch.isfinite(value):
            raise KitboxError(f"its loss is {float(value.detach())} {batch}", where=self.function)
        if gradient is None:
            raise KitboxError(
                f"its loss has no gradient {batch}",
                where=self.function,
                fix="compute it by torch from the embeddings that it is given",
            )
        if not torch.isfinite(gradient).all():
            raise KitboxError(
                f"the gradient of its loss is not finite {batch}", where=self.function
            )


class _ArcFaceLoss(SubCenterArcFaceLoss):  # type: ignore[misc]  # of an untyped package
    """The library's loss with a margin in radians for each image of the batch."""

    def __init__(self, *, margins: Margins, **settings: object) -> None:
        super().__init__(**settings)
        self.margins = margins

    def compute_loss(self, embeddings: Tensor, labels: Tensor, *others: object) -> object:
        self.margin = self.margins(labels)
        return super().compute_loss(embeddings, labels, *others)

    def get_cosine(self, embeddings: Tensor) -> Tensor:
        by_center = _cosines(embeddings, self.W)
        return by_center.view(len(embeddings), -1, self.sub_centers).amax(dim=2)

    def get_angles(self, cosines: Tensor) -> Tensor:
        return torch.acos(cosines.clamp(-_LARGEST_COSINE, _LARGEST_COSINE))

    def modify_cosine_of_target_classes(self, cosines: Tensor) -> Tensor:
        # as in the library, whose numpy sine does not accept margins on a GPU
        angles = self.get_angles(cosines)
        # beyond π the cosine would rise again: continue it by a falling function
        beyond = torch.cos(angles) - self.margin * torch.sin(self.margin)
        return torch.where(angles <= math.pi - self.margin, torch.cos(angles + self.margin), beyond)


class _CosFaceLoss(CosFaceLoss):  # type: ignore[misc]  # of an untyped package
    """The library's loss with a margin of the cosine for each image of the batch."""

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

    The products are divided by the lengths. The library divides the directions, which are many
    more numbers to write in each step, forward and backward.
    """
    lengths = torch.linalg.vector_norm(directions, dim=0).clamp(min=1e-12)
    cosines: Tensor = functional.normalize(embeddings) @ directions / lengths
    return cosines


def _share_of(share: float, count: int) -> int:
    # rounded, since 0.07 · 100 is 7.000000000000001 and must not become 8
    return math.ceil(round(share * count, 9))
