"""Batch norms that take their statistics from the images of all processes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor, nn
from torch.nn.functional import batch_norm
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode


def synchronise(module: nn.Module) -> int:
    """Let the batch norms of a module take statistics of all processes; return their number.

    They do so in training mode alone, where all processes have to run them together. Names and
    weights stay; copies made before are left as they are.
    """
    norms = [each for each in module.modules() if isinstance(each, _BatchNorm)]
    for norm in norms:
        norm.__class__ = _synchronised(type(norm))
    return len(norms)


def _synchronised(kind: type[Any]) -> type[Any]:
    """Return a class of batch norms, such as timm's with an activation, that synchronises."""

    def forward(self: Any, *given: Tensor) -> Any:
        with _Synchronising():
            return kind.forward(self, *given)

    return type(f"Synchronised{kind.__name__}", (kind,), {"forward": forward})


class _Synchronising(TorchFunctionMode):
    """Computes batch norms over all processes, and everything else as it is."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if function is batch_norm:
            return _batch_norm(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


def _batch_norm(
    given: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Do what torch's function of this name does, in training over the images of all processes."""
    if not training:
        return batch_norm(given, running_mean, running_var, weight, bias, False, momentum, eps)
    output, mean, variance, count = _Normalise.apply(given, weight, bias, eps)
    with torch.no_grad():
        if running_mean is not None:
            running_mean.lerp_(mean, momentum)
        if running_var is not None:  # of the population, as torch estimates it
            running_var.lerp_(variance * count / (count - 1), momentum)
    normalised: Tensor = output
    return normalised


class _Normalise(torch.autograd.Function):
    """Normalises channels (n, c, ...) in float32 by their mean and variance over all processes.

    It keeps what torch's own batch norm keeps for the backward pass. torch.nn.SyncBatchNorm runs on
    GPUs alone.
    """

    @staticmethod
    def forward(
        ctx: Any, given: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        values, over, shape = _channels(given)
        sums = torch.cat([values.sum(over), values.new_tensor([given.numel() / given.shape[1]])])
        distributed.all_reduce(sums)
        count, mean = sums[-1], sums[:-1] / sums[-1]
        centred = values - mean.view(shape)
        variance = centred.square().sum(over)  # of what is centred: squares lose their last digits
        distributed.all_reduce(variance)
        variance = variance / count
        inverse = (variance + eps).rsqrt()
        scale = inverse if weight is None else inverse * weight
        output = centred * scale.view(shape)
        if bias is not None:
            output = output + bias.view(shape)
        ctx.save_for_backward(given, weight, mean, inverse, count)
        ctx.mark_non_differentiable(mean, variance, count)
        return output.to(given.dtype), mean, variance, count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        given, weight, mean, inverse, count = ctx.saved_tensors
        values, over, shape = _channels(given)
        gradient = gradients[0].float()
        unit = (values - mean.view(shape)) * inverse.view(shape)
        own = torch.stack([gradient.sum(over), (gradient * unit).sum(over)])
        means = own.clone()
        distributed.all_reduce(means)
        means = means / count
        scale = inverse if weight is None else inverse * weight
        of_given = scale.view(shape) * (
            gradient - means[0].view(shape) - unit * means[1].view(shape)
        )
        _, needs_weight, needs_bias, _ = ctx.needs_input_grad
        of_weight, of_bias = own[1] if needs_weight else None, own[0] if needs_bias else None
        return of_given.to(given.dtype), of_weight, of_bias, None


def _channels(given: Tensor) -> tuple[Tensor, list[int], list[int]]:
    """Return values in float32, the dimensions beside the channels, and a shape of channels."""
    beside = [0, *range(2, given.ndim)]
    return given.float(), beside, [1, -1, *([1] * (given.ndim - 2))]
