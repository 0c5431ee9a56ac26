"""How fast each part of a network learns: the optimiser's groups of parameters."""

from typing import Any, cast

from torch import nn

from kitbox.errors import KitboxError
from kitbox.network.heads import TrainedNetwork
from kitbox.plugin.settings import Plugin

Group = dict[str, Any]


def parameter_groups(trained: TrainedNetwork, plugin: Plugin) -> list[Group]:
    """Return an optimiser's groups, each with `params`, `lr` and `weight_decay`.

    First the backbone, then neck and heads with the heads' rate, then learned powers and the
    boundaries of margin losses, which do not decay. With `layer_decay` the backbone has a group
    for each layer, the last one first: the first group's rate is always the plugin's. What is
    frozen is in its group all the same.

    Raises KitboxError for a backbone whose layers are not known.
    """
    network, decay = trained.network, plugin.weight_decay
    head_rate = plugin.head_learning_rate or plugin.learning_rate
    groups = [
        {"params": parameters, "lr": plugin.learning_rate * scale, "weight_decay": decay}
        for parameters, scale in _layers(trained, plugin)
    ]
    heads = dict(trained.heads.named_parameters())
    betas = [parameter for name, parameter in heads.items() if name.endswith(".beta")]
    others = [parameter for name, parameter in heads.items() if not name.endswith(".beta")]
    new = [*network.neck.parameters(), *others]
    groups.append({"params": new, "lr": head_rate, "weight_decay": decay})
    kept = [*network.pooling.parameters(), *betas]
    groups.append({"params": kept, "lr": head_rate, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]


def _layers(trained: TrainedNetwork, plugin: Plugin) -> list[tuple[list[nn.Parameter], float]]:
    """Return the backbone's parameters with the factor of their rate, layer by layer."""
    backbone = trained.network.backbone
    if plugin.layer_decay == 1:
        return [(list(backbone.parameters()), 1.0)]
    depth_of = _depths(backbone, plugin.backbone)
    last = max(depth_of[name] for name in trained.network.learning)
    layers: dict[int, list[nn.Parameter]] = {}
    for name, parameter in backbone.named_parameters():
        layers.setdefault(min(depth_of[name], last), []).append(parameter)
    return [(layers[depth], plugin.layer_decay ** (last - depth)) for depth in sorted(layers)[::-1]]


def _depths(backbone: nn.Module, name: str) -> dict[str, int]:
    """Return parameter → layer, counted from the stem, as timm groups them."""
    from timm.models import group_parameters

    if not hasattr(backbone, "group_matcher"):
        raise KitboxError(
            f"the layers of backbone {name} are not known; leave layer_decay out, or choose "
            "another, such as tf_efficientnet_lite0"
        )
    matcher = cast(Any, backbone).group_matcher(coarse=False)
    depths: dict[str, int] = group_parameters(backbone, matcher, reverse=True)
    return depths
