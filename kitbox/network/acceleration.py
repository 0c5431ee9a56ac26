"""Networks made faster, or safe from faults of torch, that compute the same."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
from timm.layers import Conv2dSame, pad_same
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

Module = TypeVar("Module", bound=nn.Module)
Run = Callable[[nn.Module, Tensor], Sequence[Tensor]]
Pair = tuple[int, int]
# A folded network may differ from the original by rounding alone.
_TOLERANCE = 1e-3


def _forward(module: nn.Module, example: Tensor) -> Sequence[Tensor]:
    return (module(example),)


def fold_batchnorm(module: Module, example: Tensor, run: Run = _forward) -> tuple[Module, int]:
    """Return a copy with the batch norms that follow a convolution folded, and their number.

    For inference only: the module must be in eval mode. Pairs are found by running the module on
    `example` and looking for norms whose input is the output of a convolution. If the folded copy
    computes something else, the module itself is returned, with 0. `run` computes the outputs that
    are compared, by default those of the module's forward.
    """
    result = copy.deepcopy(module)
    pairs, before = _find_pairs(result, example, run)
    names = {child: name for name, child in result.named_modules()}
    for conv, norm in pairs:
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight,
            conv.bias,
            cast(Tensor, norm.running_mean),
            cast(Tensor, norm.running_var),
            norm.eps,
            norm.weight,
            norm.bias,
        )
        parent, _, name = names[norm].rpartition(".")
        # timm's norms include dropout and activation
        rest = [getattr(norm, part) for part in ("drop", "act") if hasattr(norm, part)]
        setattr(result.get_submodule(parent), name, nn.Sequential(*rest))
    with torch.inference_mode():
        after = run(result, example)
    same = all(
        torch.allclose(a, b, rtol=_TOLERANCE, atol=_TOLERANCE * float(a.std()))
        for a, b in zip(before, after, strict=True)
    )
    return (result, len(pairs)) if same else (module, 0)


def speed_up_depthwise(module: nn.Module) -> int:
    """Make every depthwise convolution compute its gradients in a faster way; return their number.

    They are computed in float32; the forward pass stays in the dtype of autocast. Measured on a CPU
    with AMX: the gradient of a strided 5x5 depthwise convolution by its input takes 65 ms in
    bfloat16 and 2.4 ms in float32, by its weights 40 and 10 ms. For maps that are smaller than the
    kernel see `_gradient_by_weight`. Parameters and their names stay as they are.
    """
    convs = [child for child in module.modules() if type(child) in (nn.Conv2d, Conv2dSame)]
    depthwise = [
        conv
        for conv in cast(list[nn.Conv2d], convs)
        if 1 < conv.groups == conv.in_channels == conv.out_channels
        and conv.bias is None
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
    ]
    for conv in depthwise:
        same = isinstance(conv, Conv2dSame)
        conv.__class__ = _DepthwiseSame if same else _Depthwise  # the same tensors and names
    return len(depthwise)


def avoid_torch_crashes(module: nn.Module) -> int:
    """Let strided 1x1 convolutions of few channels drop pixels first; return their number.

    They compute the same. On a CPU torch 2.14 writes beyond its memory where it computes the
    gradient of their weights from channels_last pixels of fewer than 8 channels: the stems of
    FastViT and MobileOne ended the process.
    """
    convs = [
        conv
        for conv in module.modules()
        if type(conv) is nn.Conv2d
        and conv.kernel_size == (1, 1) != conv.stride
        and conv.in_channels < 8
        and conv.padding == (0, 0)
    ]
    for conv in convs:
        conv.__class__ = _Pointwise  # the same tensors and names
    return len(convs)


def _find_pairs(
    module: nn.Module, example: Tensor, run: Run
) -> tuple[list[tuple[nn.Conv2d, Any]], Sequence[Tensor]]:
    """Return (convolution, norm) pairs in the order in which they run, and the module's maps."""
    producer: dict[int, nn.Conv2d] = {}
    outputs: list[Tensor] = []  # kept alive, so that no id is used twice
    pairs: list[tuple[nn.Conv2d, Any]] = []
    runs: dict[nn.Module, int] = {}

    def record(child: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        runs[child] = runs.get(child, 0) + 1
        if isinstance(child, nn.Conv2d):
            producer[id(output)] = child
            outputs.append(output)
        elif isinstance(child, nn.BatchNorm2d) and id(inputs[0]) in producer:
            pairs.append((producer[id(inputs[0])], child))

    handles = [child.register_forward_hook(record) for child in module.modules()]
    try:
        with torch.inference_mode():
            maps = run(module, example)
    finally:
        for handle in handles:
            handle.remove()
    # a layer that runs twice, or whose output two norms use, cannot be folded
    convs = [conv for conv, _ in pairs]
    single = [
        (conv, norm)
        for conv, norm in pairs
        if runs[conv] == runs[norm] == 1 and convs.count(conv) == 1
    ]
    return single, maps


class _Pointwise(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  torch's name
        down, across = cast(Pair, self.stride)
        kept = input[:, :, ::down, ::across]
        return nn.functional.conv2d(kept, self.weight, self.bias, groups=self.groups)


class _Depthwise(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  torch's name
        return _convolve(self, input, cast(Pair, self.padding))


class _DepthwiseSame(Conv2dSame):  # type: ignore[misc]
    def forward(self, x: Tensor) -> Tensor:
        padded = pad_same(x, self.kernel_size, self.stride, self.dilation)
        return _convolve(self, padded, (0, 0))


def _convolve(conv: nn.Conv2d, pixels: Tensor, padding: Pair) -> Tensor:
    result: Tensor = _Float32Gradients.apply(
        pixels, conv.weight, conv.stride, padding, conv.dilation
    )
    return result


class _Float32Gradients(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, pixels: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair
    ) -> Tensor:
        ctx.save_for_backward(pixels, weight)
        ctx.geometry = (stride, padding, dilation)
        return torch.nn.functional.conv2d(
            pixels, weight, None, stride, padding, dilation, weight.shape[0]
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        pixels, weight = ctx.saved_tensors
        stride, padding, dilation = ctx.geometry
        gradient, pixels32, weight32 = gradients[0].float(), pixels.float(), weight.float()
        wanted = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        small = min(h - k for h, k in zip(pixels.shape[2:], weight.shape[2:], strict=True)) < 0
        apart = small and wanted[1] and dilation == (1, 1)
        by_pixels, by_weight = _gradients(
            gradient,
            pixels32,
            weight32,
            (stride, padding, dilation),
            (wanted[0], wanted[1] and not apart),
        )
        if apart:
            by_weight = _gradient_by_weight(gradient, pixels32, weight32, stride, padding)
        return (
            None if by_pixels is None else by_pixels.to(pixels.dtype),
            None if by_weight is None else by_weight.to(weight.dtype),
            None,
            None,
            None,
        )


def _gradients(
    gradient: Tensor,
    pixels: Tensor,
    weight: Tensor,
    geometry: tuple[Pair, Pair, Pair],
    wanted: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    """Return the wanted gradients of a depthwise convolution, by its input and by its weights."""
    stride, padding, dilation = geometry
    none, groups = (0, 0), weight.shape[0]
    by_pixels, by_weight, _ = torch.ops.aten.convolution_backward(
        gradient, pixels, weight, None, stride, padding, dilation, False, none, groups,
        (*wanted, False),
    )  # fmt: skip
    return by_pixels, by_weight


# Columns of a kernel at a time: the sums of 3 x 5 weights fit into AVX2's 16 registers.
_COLUMNS = 3


def _gradient_by_weight(
    gradient: Tensor, pixels: Tensor, weight: Tensor, stride: Pair, padding: Pair
) -> Tensor:
    """Return the gradient by a kernel that is larger than the map: padded first, in columns.

    oneDNN has no depthwise kernel where the map is smaller than the convolution's, and computes a
    matrix product per channel: for 1,152 channels of 4x8 and a kernel of 5x5 in a batch of 32, 117
    ms on an AVX2 core instead of 27.
    """
    down, across = padding
    padded = nn.functional.pad(pixels, (across, across, down, down))
    columns, width = weight.shape[3], gradient.shape[3]
    parts = []
    for first in range(0, columns, _COLUMNS):
        part = weight[..., first : first + _COLUMNS]
        last = first + stride[1] * (width - 1) + part.shape[3]
        seen = padded[..., first:last].contiguous(memory_format=torch.channels_last)
        found = _gradients(gradient, seen, part, (stride, (0, 0), (1, 1)), (False, True))[1]
        parts.append(cast(Tensor, found))
    return torch.cat(parts, dim=3)
