"""A network with the loss heads of its plugin: from pixels and labels to losses."""

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from kitbox.devices.batch_gather import gather_batch
from kitbox.network.margins import Margins
from kitbox.network.network import Network
from kitbox.plugin.losses import Custom, Loss
from kitbox.plugin.plugin import Plugin
from kitbox.plugin.source_code import SourceCode
from kitbox.records import Integers


class TrainedNetwork(nn.Module):
    """A network with its loss heads: from pixels and label rows to loss terms.

    `heads` are one per loss for the whole embedding, then, with `divide`, one per loss for each
    learner's slice of it.
    """

    def __init__(self, network: Network, plugin: Plugin, label_counts: Integers) -> None:
        """Add a head for each loss, given the number of training images of each label (L,)."""
        super().__init__()
        self.network = network
        self.dropout = nn.Dropout(plugin.dropout)
        self.losses = plugin.losses
        self.label_count = len(label_counts)
        self.mixup = plugin.embedding_mixup
        self.learners = plugin.divide.learners if plugin.divide else 0
        whole = network.embedding_dim
        widths = [whole] + [whole // self.learners for _ in range(self.learners)]
        self.heads = nn.ModuleList(
            _build_head(loss, width, label_counts, plugin.source_code)
            for width in widths
            for loss in plugin.losses
        )

    def set_epoch(self, epoch: float) -> None:
        """Set the number of epochs trained, with a fraction for the current one, for ramps."""
        for module in self.heads.modules():
            if isinstance(module, Margins):
                module.epoch = epoch

    def forward(
        self, pixels: Tensor, labels: Tensor, learner: int | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum of the losses, and each loss by its kind, in float32.

        `pixels` may be what `Network.pool` returned for them. `labels (n,)` are rows of the label
        map, negative for unknowns. `learner` is the slice of the embedding that the losses see;
        None is the whole embedding. Of several processes each has the pixels of its share of the
        batch, and all labels: losses see the whole batch.
        """
        embeddings = gather_batch(self.network(pixels).float(), len(labels))
        visible = self._slice(embeddings, learner)
        terms: dict[str, Tensor] = {}
        # angles need float32: bfloat16 has 3 decimal digits, and arccos is steep at 1
        with torch.autocast(embeddings.device.type, enabled=False):
            total = self._zero_of_unused(embeddings, learner)
            for loss, head in zip(self.losses, self._heads_of(learner), strict=True):
                inputs = self.dropout(visible) if loss.takes_dropout else visible
                value = self._loss(loss, head, inputs, labels)
                terms[loss.kind] = terms.get(loss.kind, 0) + value
                total = total + loss.weight * value
        return total, terms

    def _slice(self, embeddings: Tensor, learner: int | None) -> Tensor:
        if learner is None:
            return embeddings
        width = embeddings.shape[1] // self.learners
        return embeddings[:, learner * width : (learner + 1) * width]

    def _heads_of(self, learner: int | None) -> Sequence[nn.Module]:
        first = 0 if learner is None else (learner + 1) * len(self.losses)
        return [self.heads[first + i] for i in range(len(self.losses))]

    def _zero_of_unused(self, embeddings: Tensor, learner: int | None) -> Tensor:
        """Return 0 with a gradient of 0 for heads whose weights the losses may leave unused."""
        heads = self._heads_of(learner)
        used = {
            head
            for loss, head in zip(self.losses, heads, strict=True)
            if loss.classifies and not isinstance(loss, Custom)
        }
        return _zero(embeddings, [head for head in self.heads if head not in used])

    def _loss(self, loss: Loss, head: nn.Module, embeddings: Tensor, labels: Tensor) -> Tensor:
        if not loss.classifies:
            return cast(Tensor, head(embeddings, self._separate_unknowns(labels)))
        if not loss.takes_unknown:
            known = labels >= 0
            if not known.all():
                embeddings, labels = embeddings[known], labels[known]
            if not len(labels):
                return _zero(embeddings, [head])
        if self.mixup and self.training:
            return _mixup_loss(head, embeddings, labels, self.mixup)
        return cast(Tensor, head(embeddings, labels))

    def _separate_unknowns(self, labels: Tensor) -> Tensor:
        """Return labels in which each unknown is an individual of its own."""
        unique = self.label_count + torch.arange(len(labels), device=labels.device)
        return torch.where(labels < 0, unique, labels)


def _mixup_loss(head: nn.Module, embeddings: Tensor, labels: Tensor, alpha: float) -> Tensor:
    """Return the loss of embeddings mixed in pairs, weighted for both labels.

    This is mixup (Zhang et al., ICLR 2018) of embeddings instead of pixels.
    """
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    other = torch.randperm(len(labels)).to(labels.device)
    mixed = share * embeddings + (1 - share) * embeddings[other]
    value: Tensor = share * head(mixed, labels) + (1 - share) * head(mixed, labels[other])
    return value


def _zero(embeddings: Tensor, heads: Iterable[nn.Module]) -> Tensor:
    """Return 0 with a gradient of 0 for embeddings and heads.

    In distributed training, processes wait for a gradient of every weight.
    """
    zero = embeddings.sum() * 0
    for head in heads:
        for weights in head.parameters():
            zero = zero + weights.sum() * 0
    return zero


def _build_head(
    loss: Loss, embedding_dim: int, label_counts: Integers, code: SourceCode
) -> nn.Module:
    # pytorch-metric-learning takes a second to import, which embedding need not wait for
    from kitbox.network.loss_heads import build_loss_head

    return build_loss_head(loss, embedding_dim, label_counts, code)
