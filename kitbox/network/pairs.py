"""The loss head over pairs or triplets of a batch, and what it is of each such loss."""

from typing import assert_never

from pytorch_metric_learning.losses import (
    ContrastiveLoss,
    MarginLoss,
    MultiSimilarityLoss,
    TripletMarginLoss,
)
from pytorch_metric_learning.miners import MultiSimilarityMiner
from torch import Tensor, nn

from kitbox.network import mining
from kitbox.plugin.losses import Contrastive, Margin, MultiSimilarity, Triplet


class PairHead(nn.Module):
    """A loss of pytorch-metric-learning over what is mined from a batch, or all of its pairs."""

    def __init__(self, loss: nn.Module, mine: mining.Mining | None = None) -> None:
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


def build(loss: Triplet | Margin | Contrastive | MultiSimilarity, label_count: int) -> PairHead:
    """Return the head of a loss; boundaries that are learnt are among its weights."""
    match loss:
        case Triplet():
            soft = loss.margin == "soft"
            theirs = TripletMarginLoss(margin=0.0 if soft else loss.margin, smooth_loss=soft)
            return PairHead(theirs, mining.BY_NAME[loss.mining])
        case Margin():
            theirs = MarginLoss(
                margin=loss.margin,
                beta=loss.beta,
                learn_beta=loss.learn_beta != "no",
                num_classes=label_count if loss.learn_beta == "per_label" else None,
            )
            return PairHead(theirs, mining.BY_NAME[loss.mining])
        case Contrastive():
            return PairHead(
                ContrastiveLoss(pos_margin=loss.positive_margin, neg_margin=loss.negative_margin)
            )
        case MultiSimilarity():
            theirs = MultiSimilarityLoss(alpha=loss.alpha, beta=loss.beta, base=loss.base)
            return PairHead(theirs, MultiSimilarityMiner(epsilon=loss.epsilon))
        case _:
            assert_never(loss)
