"""A network with the loss heads of its plugin: pixels and labels in, losses out."""

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from kitbox.network.margins import Margins
from kitbox.network.network import Network
from kitbox.plugin.losses import Contrastive, Loss, Margin, MultiSimilarity, Triplet
from kitbox.plugin.plugin import Plugin
from kitbox.records import Integers


class TrainedNetwork(nn.Module):
    """A network with its loss heads: pixels and label rows in, loss terms out.

    `heads` are those of the whole embedding, one for each loss, then those of each slice of it in
    a divided training.
    """

    def __init__(self, network: Network, plugin: Plugin, label_counts: Integers) -> None:
        """Put a head for each loss behind the network, given each label's training images (L,)."""
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
            _build(loss, width, label_counts) for width in widths for loss in plugin.losses
        )

    def set_epoch(self, epoch: float) -> None:
        """Tell the margins that grow how many epochs are done, with the fraction of this one."""
        for module in self.heads.modules():
            if isinstance(module, Margins):
                module.epoch = epoch

    def forward(
        self, pixels: Tensor, labels: Tensor, learner: int | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum of the losses, and each loss by name, in float32.

        `labels (n,)` are rows of the label map, negative for an unknown. `learner` is the slice
        of the embedding that the losses see, None for all of it.
        """
        embeddings = self.network(pixels).float()
        seen = self._slice_of(embeddings, learner)
        terms: dict[str, Tensor] = {}
        # angles need float32: bfloat16 has 3 digits, and arccos is steep at 1
        with torch.autocast(embeddings.device.type, enabled=False):
            total = self._idle(learner, embeddings)
            for loss, head in zip(self.losses, self._heads_of(learner), strict=True):
                given = self.dropout(seen) if loss.takes_dropout else seen
                value = self._value(loss, head, given, labels)
                terms[loss.kind] = terms.get(loss.kind, 0) + value
                total = total + loss.weight * value
        return total, terms

    def _slice_of(self, embeddings: Tensor, learner: int | None) -> Tensor:
        if learner is None:
            return embeddings
        width = embeddings.shape[1] // self.learners
        return embeddings[:, learner * width : (learner + 1) * width]

    def _heads_of(self, learner: int | None) -> Sequence[nn.Module]:
        first = 0 if learner is None else (learner + 1) * len(self.losses)
        return [self.heads[first + place] for place in range(len(self.losses))]

    def _idle(self, learner: int | None, embeddings: Tensor) -> Tensor:
        """Return a zero of the weights that this batch may not come by."""
        at_work = self._heads_of(learner)
        sure = {head for loss, head in zip(self.losses, at_work, strict=True) if loss.classifies}
        return _zero(embeddings, [head for head in self.heads if head not in sure])

    def _value(self, loss: Loss, head: nn.Module, embeddings: Tensor, labels: Tensor) -> Tensor:
        if not loss.classifies:
            return cast(Tensor, head(embeddings, self._apart(labels)))
        if not loss.takes_unknown:
            known = labels >= 0
            if not known.all():
                embeddings, labels = embeddings[known], labels[known]
            if not len(labels):
                return _zero(embeddings, [head])
        if self.mixup and self.training:
            return _mixed(head, embeddings, labels, self.mixup)
        return cast(Tensor, head(embeddings, labels))

    def _apart(self, labels: Tensor) -> Tensor:
        """Return labels in which each unknown is of an individual of its own."""
        others = self.label_count + torch.arange(len(labels), device=labels.device)
        return torch.where(labels < 0, others, labels)


def _mixed(head: nn.Module, embeddings: Tensor, labels: Tensor, alpha: float) -> Tensor:
    """Return the loss of embeddings mixed in pairs, for the labels of both.

    That is mixup (Zhang et al., ICLR 2018) of embeddings in place of pixels.
    """
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    other = torch.randperm(len(labels)).to(labels.device)
    mixed = share * embeddings + (1 - share) * embeddings[other]
    value: Tensor = share * head(mixed, labels) + (1 - share) * head(mixed, labels[other])
    return value


def _zero(embeddings: Tensor, heads: Iterable[nn.Module]) -> Tensor:
    """Return 0 with a gradient of 0 for embeddings and heads.

    Processes that average their gradients wait for one of each weight.
    """
    zero = embeddings.sum() * 0
    for head in heads:
        for weights in head.parameters():
            zero = zero + weights.sum() * 0
    return zero


def _build(loss: Loss, embedding_dim: int, label_counts: Integers) -> nn.Module:
    # pytorch-metric-learning takes a second to import, which embedding need not wait for
    from kitbox.network import loss_heads

    match loss:
        case Triplet() | Margin() | Contrastive() | MultiSimilarity():
            return loss_heads.build_pair_loss(loss, len(label_counts))
        case _:
            return loss_heads.build(loss, embedding_dim, label_counts)
