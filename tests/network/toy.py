"""Embeddings that a test chooses, in place of a network's."""

import numpy as np
import torch
from torch import nn

from kitbox.network.trained_network import TrainedNetwork
from kitbox.plugin.plugin import Plugin


def points(*angles: float) -> torch.Tensor:
    """Return points (n, 2) of the unit circle at angles in degrees."""
    radians = torch.tensor(angles, dtype=torch.float64).deg2rad()
    return torch.stack([radians.cos(), radians.sin()], dim=1).float()


class Placed(nn.Module):
    """A network that returns the same embeddings (n, d) for any pixels."""

    def __init__(self, embeddings: torch.Tensor) -> None:
        super().__init__()
        self.embedding_dim = embeddings.shape[1]
        self.embeddings = nn.Parameter(embeddings.clone())

    def forward(self, _: torch.Tensor) -> torch.Tensor:
        """Return the embeddings."""
        return self.embeddings


def trained(plugin: Plugin, embeddings: torch.Tensor, *counts: int) -> TrainedNetwork:
    """Return placed embeddings with the loss heads of a plugin, in training mode."""
    torch.manual_seed(0)
    network = Placed(embeddings)
    return TrainedNetwork(network, plugin, np.array(counts)).train()


def losses(
    network: TrainedNetwork, labels: list[int], learner: int | None = None
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return the losses of placed embeddings with labels, -1 for an unknown."""
    return network(torch.empty(0), torch.tensor(labels), learner)
