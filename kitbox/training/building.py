"""Builds what a training begins with: the network with its first weights, and its heads."""

from pathlib import Path

import numpy as np
import torch

from kitbox.network import depthwise, weights
from kitbox.network.heads import TrainedNetwork
from kitbox.network.network import Network
from kitbox.training import preparation, transfer
from kitbox.training.preparation import Training


def build(training: Training) -> tuple[TrainedNetwork, tuple[str, ...]]:
    """Return the network with its first weights, and what there is to say of them.

    They are the same each time, whatever was learnt and drawn before.
    """
    preparation.seed_everything(training.seed)
    plugin, start, learnt = training.plugin, training.start, training.lessons
    network = Network(plugin, pretrained=start.source == "hub")
    if isinstance(start.source, Path):
        weights.load(network.backbone, start.source)
    if training.device == "cpu" and training.precision == "bf16":
        depthwise.quicken(network.backbone)
    # a mirrored image is of an individual of its own, behind all others
    copies = 2 if plugin.flip_identities else 1
    trained = TrainedNetwork(network, plugin, np.tile(learnt.counts, copies))
    notes: tuple[str, ...] = ()
    if start.init_from is not None:
        notes = transfer.load(trained, plugin, learnt.label_map, start.init_from)
    trained.to(training.fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return trained, notes
