"""Takes maps from the stages of a backbone, and knows what of it they do not need."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kitbox.errors import KitboxError
from kitbox.network.backbone import CLASSIC, check_maps


@dataclass(frozen=True)
class Stages:
    """The stages of a backbone whose maps are pooled, as timm counts them from 0, or ().

    () is the backbone's last map. Stage n of a convolutional network is mostly the last map at a
    stride of 2^(n + 1), or 2^(n + 2) where the network begins with a stride of 4. The last stage
    of an EfficientNet or MobileNet ends before the convolution that widens it for the classifier:
    tf_efficientnet_lite0 has 320 channels there, and 1,280 in its last map.
    """

    name: str
    places: tuple[int, ...]
    channels: tuple[int, ...]
    unused: frozenset[str] = frozenset()  # names of parameters that no map depends on

    def maps(self, backbone: nn.Module, pixels: Tensor) -> list[Tensor]:
        """Return the maps (n, c_i, h_i, w_i) of normalised pixels (n, 3, h, w).

        Raises KitboxError where the backbone gives something else.
        """
        maps = _run(backbone, pixels, self.places) if self.places else [backbone(pixels)]
        for each, channels in zip(maps, self.channels, strict=True):
            check_maps(each, self.name, channels)
        return maps


def of(backbone: nn.Module, name: str, places: tuple[int, ...], channels: int) -> Stages:
    """Return the stages at `places` of a backbone whose last map has so many channels.

    Raises KitboxError for a backbone without such stages.
    """
    if not places:
        return Stages(name, (), (channels,))
    known = getattr(backbone, "feature_info", None)
    if name.startswith(CLASSIC) or not known or not hasattr(backbone, "forward_intermediates"):
        raise KitboxError(
            f"backbone {name} does not give the maps of its stages; leave pooled_maps out, or "
            "choose another, such as tf_efficientnet_lite0"
        )
    if places[-1] >= len(known):
        raise KitboxError(
            f"pooled_maps = {places}, but the stages of backbone {name} are 0 to {len(known) - 1}"
        )
    return _explored(backbone, name, places)


def _explored(backbone: nn.Module, name: str, places: tuple[int, ...]) -> Stages:
    """Return the stages with their channels and unused parameters, from a run without numbers."""
    shadow = copy.deepcopy(backbone).to("meta").eval().requires_grad_(True)
    cfg: Any = shadow.pretrained_cfg
    names, parameters = zip(*shadow.named_parameters(), strict=True)
    with torch.enable_grad():
        maps = _run(shadow, torch.zeros((1, *cfg["input_size"]), device="meta"), places)
        total = torch.stack([each.sum() for each in maps]).sum()
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    return Stages(
        name,
        places,
        tuple(each.shape[1] for each in maps),
        frozenset(n for n, grad in zip(names, gradients, strict=True) if grad is None),
    )


def _run(backbone: nn.Module, pixels: Tensor, places: tuple[int, ...]) -> list[Tensor]:
    maps: list[Tensor] = backbone.forward_intermediates(  # type: ignore[operator]
        pixels, indices=list(places), stop_early=True, intermediates_only=True
    )
    return maps
