"""The optimiser with its parameter groups, averaged weights, and their batch norms."""

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from kitbox.network import inference
from kitbox.network.inference import Precision
from kitbox.network.network import Network, layers_of
from kitbox.network.trained_network import TrainedNetwork
from kitbox.plugin.plugin import Plugin
from kitbox.plugin.schedules import Ema, Swa

Group = dict[str, Any]
Tensors = list[Tensor] | tuple[Tensor, ...]


def build_optimizer(plugin: Plugin, trained: TrainedNetwork) -> Optimizer:
    """Return the plugin's optimiser; neck and heads have a learning rate of their own.

    On a CPU it updates all weights in one call, in a third of the time of torch's loop over them.
    """
    groups = parameter_groups(trained, plugin)
    decay = plugin.weight_decay
    on_cpu = all(each.is_cpu for each in trained.parameters())
    fused = True if on_cpu else None  # torch chooses for a GPU
    match plugin.optimizer:
        case "adam":
            return torch.optim.Adam(groups, weight_decay=decay, fused=fused)
        case "adamw":
            return torch.optim.AdamW(groups, weight_decay=decay, fused=fused)
        case "sgd":
            return torch.optim.SGD(
                groups, momentum=0.9, nesterov=True, weight_decay=decay, fused=fused
            )


def parameter_groups(trained: TrainedNetwork, plugin: Plugin) -> list[Group]:
    """Return the optimiser's groups, each with `params`, `lr` and `weight_decay`.

    First the backbone; then neck and heads, at the heads' rate; then learned powers of pooling and
    learned β of margin losses, without decay. With `layer_decay` the backbone has one group per
    layer, the last layer first: the first group's rate is always the plugin's. Frozen parameters
    are in their groups too.

    Raises KitboxError for a backbone whose layers are not known.
    """
    network, decay = trained.network, plugin.weight_decay
    head_rate = plugin.head_learning_rate or plugin.learning_rate
    groups = [
        {"params": parameters, "lr": plugin.learning_rate * factor, "weight_decay": decay}
        for parameters, factor in _layers(trained, plugin)
    ]
    heads = dict(trained.heads.named_parameters())
    betas = [parameter for name, parameter in heads.items() if name.endswith(".beta")]
    others = [parameter for name, parameter in heads.items() if not name.endswith(".beta")]
    new = [*network.neck.parameters(), *others]
    groups.append({"params": new, "lr": head_rate, "weight_decay": decay})
    undecayed = [*network.pooling.parameters(), *betas]
    groups.append({"params": undecayed, "lr": head_rate, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]


def _layers(trained: TrainedNetwork, plugin: Plugin) -> list[tuple[list[nn.Parameter], float]]:
    """Return the backbone's parameters with the factor of their learning rate, layer by layer."""
    backbone = trained.network.backbone
    if plugin.layer_decay == 1:
        return [(list(backbone.parameters()), 1.0)]
    depth_of, last_block = layers_of(backbone, plugin.backbone, "layer_decay")
    last = max((depth_of[name] for name in trained.network.trainable), default=last_block)
    layers: dict[int, list[nn.Parameter]] = {}
    for name, parameter in backbone.named_parameters():
        layers.setdefault(min(depth_of[name], last), []).append(parameter)
    return [(layers[depth], plugin.layer_decay ** (last - depth)) for depth in sorted(layers)[::-1]]


class AveragedWeights:
    """A second network whose weights are an average of the trained one's.

    It is updated after every step and every epoch, from the plain network rather than the one
    wrapped for several processes: all of these hold the same weights, so the average is the same.
    Float buffers are averaged too, integer buffers copied.
    """

    def __init__(self, trained: TrainedNetwork, averaging: Ema | Swa) -> None:
        """Allocate the average, as large as the network, on the same device."""
        self._averaging = averaging
        self._average = AveragedModel(trained, multi_avg_fn=self._update, use_buffers=True)
        self._average.requires_grad_(False)

    @property
    def model(self) -> TrainedNetwork | None:
        """The network with averaged weights; None before the first update."""
        return self.network if self._count else None

    @property
    def network(self) -> TrainedNetwork:
        """The network that keeps the average, also before its first update."""
        return cast(TrainedNetwork, self._average.module)

    def after_step(self, trained: TrainedNetwork) -> None:
        """Update an exponential average after a step of the optimiser."""
        if isinstance(self._averaging, Ema):
            self._average.update_parameters(trained)

    def after_epoch(self, trained: TrainedNetwork, epoch: int) -> None:
        """Update a mean of epochs after an epoch, counted from 1."""
        if isinstance(self._averaging, Swa) and epoch >= self._averaging.from_epoch:
            self._average.update_parameters(trained)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the average and the number of its updates, for resuming."""
        return cast(dict[str, Tensor], self._average.state_dict())

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self._average.load_state_dict(state)

    @property
    def _count(self) -> int:
        return int(self._average.n_averaged)

    @property
    def _decay(self) -> float:
        """The weight of the average when the next weights are added to it.

        The first weights are copied. The decay of an exponential average starts low, as in
        TensorFlow: it reaches .998 after 4,500 steps, and until then averages over the last ninth
        of all steps, so that the first weights do not hold back a short training.
        """
        count = self._count
        if isinstance(self._averaging, Swa):
            return count / (count + 1)  # the mean of count + 1 weights
        return min(self._averaging.decay, (1 + count) / (10 + count))

    def _update(self, averages: Tensors, trained: Tensors, _: Tensor | int) -> None:
        """Move averages of one device and dtype towards trained tensors, in one call."""
        if averages[0].is_floating_point():
            update = get_ema_multi_avg_fn(self._decay)  # type: ignore[no-untyped-call]
            update(averages, trained, 0)
        else:
            for average, current in zip(averages, trained, strict=True):
                average.copy_(current)


def refresh_batch_norms(
    network: Network, batches: Iterable[Tensor], device: str, precision: Precision
) -> int:
    """Recompute batch-norm statistics over pixels (n, h, w, 3); return the number of norms.

    Averaged weights make other feature maps than the weights they average, so that their
    statistics do not fit (Izmailov et al., UAI 2018). Means and variances are averaged over the
    batches with equal weight; a batch of one image has no variance and is skipped. All other
    modules are in eval mode. Norms that are frozen in training keep their statistics, as do all
    norms if there are no batches.
    """
    was_training = network.training
    norms = _trained_norms(network.train())
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.training, norm.momentum = True, None  # None is a cumulative mean
    try:
        if norms:
            _accumulate(network, norms, batches, device, precision)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        network.train(was_training)
    return len(norms)


def _trained_norms(network: nn.Module) -> list[Any]:
    """Return the batch norms of a network in training mode that update their statistics."""
    return [
        module
        for module in network.modules()
        if isinstance(module, _BatchNorm) and module.training and module.track_running_stats
    ]


@torch.no_grad()
def _accumulate(
    network: Network,
    norms: list[Any],
    batches: Iterable[Tensor],
    device: str,
    precision: Precision,
) -> None:
    for number, pixels in enumerate(batch for batch in batches if len(batch) > 1):
        if number == 0:
            for norm in norms:
                norm.reset_running_stats()
        with inference.autocast(device, precision):
            network(pixels.to(device, non_blocking=True))
