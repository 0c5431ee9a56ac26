"""Margins of labels by how many images they have, and how they grow over the first epochs."""

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kitbox.plugin.losses import PerLabel, PowerMargin, Ramp
from kitbox.records import Integers


def label_margins(margin: float | PerLabel, label_counts: Integers) -> NDArray[np.float64]:
    """Return the margin of each label (L,) from the number of its images (L,)."""
    # a label may have come without an image; it is as rare as one with one
    counts = np.maximum(label_counts, 1).astype(np.float64)
    if isinstance(margin, float):
        return np.full(len(counts), margin)
    weights: NDArray[np.float64] = counts**margin.power
    if isinstance(margin, PowerMargin):
        return margin.coefficient * weights + margin.constant
    rarity = weights - weights.min()
    # where all labels have equally many images none is rarer than another
    share: NDArray[np.float64] = rarity / (rarity.max() or 1.0)
    return margin.least + (margin.most - margin.least) * share


class Margins(nn.Module):
    """The margins of a batch, by its label rows, at the epoch that `epoch` says.

    They follow from the plugin and the training images, so a checkpoint does not keep them.
    """

    def __init__(
        self, margin: float | PerLabel, label_counts: Integers, ramp: Ramp | None = None
    ) -> None:
        """Take the margins from a loss's settings; `epoch` counts epochs done, with fraction."""
        super().__init__()
        own = torch.tensor(label_margins(margin, label_counts), dtype=torch.float32)
        self.register_buffer("own", own, persistent=False)
        self.ramp = ramp
        self.epoch = 0.0

    def forward(self, labels: Tensor) -> Tensor:
        """Return the margins (n,) of label rows (n,)."""
        margins = cast(Tensor, self.own)[labels]
        if self.ramp is None or self.epoch >= self.ramp.epochs:
            return margins
        return self.ramp.start + (margins - self.ramp.start) * (self.epoch / self.ramp.epochs)
