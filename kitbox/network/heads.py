"""Loss heads: each loss of a plugin as a torch module with its own weights."""

import math
from typing import assert_never

import torch
from torch import Tensor, nn

from kitbox.network.network import Network
from kitbox.plugin.losses import ArcFace, CrossEntropy, Loss, Triplet
from kitbox.plugin.settings import Plugin


class TrainedNetwork(nn.Module):
    """A network with its loss heads: pixels and label rows in, loss terms out."""

    def __init__(self, network: Network, plugin: Plugin, label_count: int) -> None:
        """Put a head for each loss of the plugin behind the network."""
        super().__init__()
        self.network = network
        self.dropout = nn.Dropout(plugin.dropout)
        self.heads = nn.ModuleList(
            _build(loss, network.embedding_dim, label_count) for loss in plugin.losses
        )
        self.weights = tuple(loss.weight for loss in plugin.losses)
        self.names = tuple(loss.kind for loss in plugin.losses)
        self.takes_dropout = tuple(loss.takes_dropout for loss in plugin.losses)

    def forward(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum of the losses, and each loss by name, in float32.

        `labels (n,)` are rows of the label map.
        """
        embeddings = self.network(pixels).float()
        terms: dict[str, Tensor] = {}
        total = embeddings.new_zeros(())
        # angles need float32: bfloat16 has 3 digits, and arccos is steep at 1
        with torch.autocast(embeddings.device.type, enabled=False):
            for name, weight, head, dropped in zip(
                self.names, self.weights, self.heads, self.takes_dropout, strict=True
            ):
                given = self.dropout(embeddings) if dropped else embeddings
                value = head(given, labels)
                terms[name] = terms.get(name, 0) + value
                total = total + weight * value
        return total, terms


class ArcFaceHead(nn.Module):
    """pytorch-metric-learning's ArcFace; radians here, degrees there."""

    def __init__(self, loss: ArcFace, embedding_dim: int, label_count: int) -> None:
        super().__init__()
        from pytorch_metric_learning.losses import ArcFaceLoss

        self.loss = ArcFaceLoss(
            num_classes=label_count,
            embedding_size=embedding_dim,
            margin=math.degrees(loss.margin),
            scale=loss.scale,
        )

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of embeddings (n, d) with label rows (n,)."""
        value: Tensor = self.loss(embeddings, labels)
        return value


class CrossEntropyHead(nn.Module):
    """A linear classifier and its cross-entropy."""

    def __init__(self, loss: CrossEntropy, embedding_dim: int, label_count: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(embedding_dim, label_count)
        self.loss = nn.CrossEntropyLoss(label_smoothing=loss.label_smoothing)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of embeddings (n, d) with label rows (n,)."""
        value: Tensor = self.loss(self.classifier(embeddings), labels)
        return value


class TripletHead(nn.Module):
    """pytorch-metric-learning's triplet loss over batch-hard triplets of unit embeddings."""

    def __init__(self, loss: Triplet) -> None:
        super().__init__()
        from pytorch_metric_learning.losses import TripletMarginLoss
        from pytorch_metric_learning.miners import BatchHardMiner

        soft = loss.margin == "soft"
        self.miner = BatchHardMiner()
        self.loss = TripletMarginLoss(margin=0.0 if soft else loss.margin, smooth_loss=soft)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of embeddings (n, d) with label rows (n,)."""
        value: Tensor = self.loss(embeddings, labels, self.miner(embeddings, labels))
        return value


def _build(loss: Loss, embedding_dim: int, label_count: int) -> nn.Module:
    match loss:
        case ArcFace():
            return ArcFaceHead(loss, embedding_dim, label_count)
        case CrossEntropy():
            return CrossEntropyHead(loss, embedding_dim, label_count)
        case Triplet():
            return TripletHead(loss)
        case _:
            assert_never(loss)
