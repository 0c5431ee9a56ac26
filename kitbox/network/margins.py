"""Margins of labels by their numbers of images, and their growth over the first epochs."""

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kitbox.plugin.losses import PerLabel, PowerMargin, Ramp
from kitbox.records import Integers


def label_margins(margin: float | PerLabel, label_counts: Integers) -> NDArray[np.float64]:
    """Return the margin of each label (L,), given the number of its images (L,)."""
    # a label without images counts as one with a single image
    counts = np.maximum(label_counts, 1).astype(np.float64)
    if isinstance(margin, float):
        return np.full(len(counts), margin)
    weights: NDArray[np.float64] = counts**margin.power
    if isinstance(margin, PowerMargin):
        return margin.coefficient * weights + margin.constant
    rarity = weights - weights.min()
    # equally frequent labels all have rarity 0
    share: NDArray[np.float64] = rarity / (rarity.max() or 1.0)
    return margin.least + (margin.most - margin.least) * share


class Margins(nn.Module):
    """The margins of a batch's label rows at the current `epoch`.

    They follow from the plugin and the training images, so a checkpoint does not store them.
    """

    def __init__(
        self, margin: float | PerLabel, label_counts: Integers, ramp: Ramp | None = None
    ) -> None:
        """Compute the margins from a loss's settings and each label's number of images (L,)."""
        super().__init__()
        by_label = torch.tensor(label_margins(margin, label_counts), dtype=torch.float32)
        self.register_buffer("by_label", by_label, persistent=False)
        self.ramp = ramp
        self.epoch = 0.0  # epochs done, with the fraction of the current one

    def forward(self, labels: Tensor) -> Tensor:
        """Return the margins (n,) of label rows (n,)."""
        margins = cast(Tensor, self.by_label)[labels]
        if self.ramp is None or self.epoch >= self.ramp.epochs:
            return margins
        return self.ramp.start + (margins - self.ramp.start) * (self.epoch / self.ramp.epochs)
