"""How fast each part of a network learns: the optimiser's groups of parameters."""

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from kitbox.errors import KitboxError
from kitbox.network import inference
from kitbox.network.inference import Precision
from kitbox.network.network import Network
from kitbox.network.trained_network import TrainedNetwork
from kitbox.plugin.plugin import Plugin
from kitbox.plugin.schedules import Ema, Swa

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
    last = max(depth_of[name] for name in trained.network.trainable)
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


Tensors = list[Tensor] | tuple[Tensor, ...]


class AveragedWeights:
    """A second network whose weights are an average of the trained one's.

    It is told of every step of the optimiser and of every epoch, and takes the plain network, not
    one wrapped for several processes: these all hold the same weights, and so the same average.
    Buffers of floats are averaged too, those of integers copied.
    """

    def __init__(self, trained: TrainedNetwork, averaging: Ema | Swa) -> None:
        """Make room for the average, as large as the network, beside it on its device."""
        self._averaging = averaging
        self._average = AveragedModel(trained, multi_avg_fn=self._follow, use_buffers=True)
        self._average.requires_grad_(False)

    @property
    def model(self) -> TrainedNetwork | None:
        """The network with averaged weights; None as long as nothing has been averaged."""
        return cast(TrainedNetwork, self._average.module) if self._count else None

    def after_step(self, trained: TrainedNetwork) -> None:
        """Follow a step of the optimiser."""
        if isinstance(self._averaging, Ema):
            self._average.update_parameters(trained)

    def after_epoch(self, trained: TrainedNetwork, epoch: int) -> None:
        """Follow an epoch, counted from 1."""
        if isinstance(self._averaging, Swa) and epoch >= self._averaging.from_epoch:
            self._average.update_parameters(trained)

    def state_dict(self) -> dict[str, Tensor]:
        """Return what a training that goes on needs: the average and how many it is of."""
        return cast(dict[str, Tensor], self._average.state_dict())

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take back what `state_dict` returned."""
        self._average.load_state_dict(state)

    @property
    def _count(self) -> int:
        return int(self._average.n_averaged)

    @property
    def _decay(self) -> float:
        """The share of the average that stays when the next weights join it.

        The first weights are copied. That of an exponential average begins low, as TensorFlow's
        does: it reaches .998 after 4,500 steps, and until then averages over the last ninth of all
        steps, so that a short training is not held back by where it began.
        """
        count = self._count
        if isinstance(self._averaging, Swa):
            return count / (count + 1)  # the mean of count + 1 weights
        return min(self._averaging.decay, (1 + count) / (10 + count))

    def _follow(self, averages: Tensors, trained: Tensors, _: Tensor | int) -> None:
        """Move averages of one device and dtype towards trained tensors, all of them at once."""
        if averages[0].is_floating_point():
            follow = get_ema_multi_avg_fn(self._decay)  # type: ignore[no-untyped-call]
            follow(averages, trained, 0)
        else:
            for average, current in zip(averages, trained, strict=True):
                average.copy_(current)


def refresh_batch_norms(
    network: Network, batches: Iterable[Tensor], device: str, precision: Precision
) -> int:
    """Give batch norms the statistics of these pixels (n, h, w, 3); return how many norms it did.

    Averaged weights give other maps than those that were averaged (Izmailov et al., UAI 2018).
    Means and variances are those of the batches, each counting the same; a batch of one image has
    no variance and is left out. Whatever else chance decides in training is as in inference.
    Norms that stay frozen in training keep what they have, as do all where there are no batches.
    """
    was_training = network.training
    norms = _learning(network.train())
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.training, norm.momentum = True, None  # None is a cumulative mean
    try:
        if norms:
            _see(network, norms, batches, device, precision)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        network.train(was_training)
    return len(norms)


def _learning(network: nn.Module) -> list[Any]:
    """Return the batch norms of a network in training whose statistics follow the images."""
    return [
        module
        for module in network.modules()
        if isinstance(module, _BatchNorm) and module.training and module.track_running_stats
    ]


@torch.no_grad()
def _see(
    network: Network,
    norms: list[Any],
    batches: Iterable[Tensor],
    device: str,
    precision: Precision,
) -> None:
    for seen, pixels in enumerate(batch for batch in batches if len(batch) > 1):
        if not seen:
            for norm in norms:
                norm.reset_running_stats()
        with inference.autocast(device, precision):
            network(pixels.to(device, non_blocking=True))


def build_optimizer(plugin: Plugin, trained: TrainedNetwork) -> Optimizer:
    """Return the optimiser; what does not come with weights (neck, heads) has its own rate."""
    groups = parameter_groups(trained, plugin)
    decay = plugin.weight_decay
    match plugin.optimizer:
        case "adam":
            return torch.optim.Adam(groups, weight_decay=decay)
        case "adamw":
            return torch.optim.AdamW(groups, weight_decay=decay)
        case "sgd":
            return torch.optim.SGD(groups, momentum=0.9, nesterov=True, weight_decay=decay)
