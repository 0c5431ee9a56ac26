"""What a plugin costs before it is trained: parameters, multiply-adds, bytes on disk."""

import warnings
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from kitbox.network.network import Network
from kitbox.plugin.settings import Plugin

_BYTES = 4  # a checkpoint keeps float32


@dataclass(frozen=True)
class Cost:
    """Parameters, multiply-adds of one image, bytes of the network's checkpoint, dimensions.

    Loss heads are left out: their size depends on the number of labels. Layers above the last of
    `pooled_maps` never run and are not counted, but are kept in a checkpoint.
    """

    parameters: int
    multiply_adds: int
    checkpoint_bytes: int
    embedding_dim: int


def cost(plugin: Plugin) -> Cost:
    """Return what a plugin costs; its network is built without memory for its weights."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = Network(plugin).eval()
        pixels = torch.zeros((1, *plugin.height_width, 3), dtype=torch.uint8)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(pixels)
    state = network.state_dict().values()
    unused = {f"backbone.{name}" for name in network.stages.unused}
    return Cost(
        sum(p.numel() for name, p in network.named_parameters() if name not in unused),
        counter.get_total_flops() // 2,  # a multiply-add is two operations
        _BYTES * sum(tensor.numel() for tensor in state),
        network.embedding_dim,
    )
