"""Networks made faster, or safe from faults of torch, that compute the same."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import torch
from timm.layers import Conv2dSame, pad_same
from timm.layers.padding import pad_same_arg
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


def speed_up_training(module: nn.Module) -> int:
    """Make convolutions and activations faster on a CPU; return how many are.

    They compute the same but for rounding: see `_DepthwiseConvolution`, `_PixelProduct`, `_Clip`.
    Parameters and their names stay as they are.
    """
    depthwise = [child for child in module.modules() if _is_depthwise(child)]
    for conv in depthwise:
        same = isinstance(conv, Conv2dSame)
        conv.__class__ = _DepthwiseSame if same else _Depthwise  # the same tensors and names
    pointwise = [child for child in module.modules() if _is_pointwise(child)]
    for conv in pointwise:
        conv.__class__ = _Product
    activations: list[Any] = [each for each in module.modules() if getattr(each, "inplace", False)]
    clipped = [each for each in activations if type(each) is nn.ReLU6]
    for activation in clipped:
        activation.__class__ = _ReLU6
    # in place, torch copies their input first, since gradients need it
    copied = [each for each in activations if type(each) in (nn.Hardswish, nn.SiLU)]
    for activation in copied:
        activation.inplace = False
    return len(depthwise) + len(pointwise) + len(clipped) + len(copied)


def _is_depthwise(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d)
        and type(module) in (nn.Conv2d, Conv2dSame)
        and 1 < module.groups == module.in_channels == module.out_channels
        and module.bias is None
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )


def _is_pointwise(module: nn.Module) -> bool:
    return (
        type(module) is nn.Conv2d
        and module.kernel_size == module.stride == (1, 1)
        and module.groups == 1
        and module.bias is None
        and module.padding == (0, 0)
    )


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


class _Product(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  torch's name
        half = torch.is_autocast_enabled("cpu") and torch.cpu._is_avx512_bf16_supported()
        if not half or torch.get_autocast_dtype("cpu") != torch.bfloat16:
            return super().forward(input)
        product: Tensor = _PixelProduct.apply(input.permute(0, 2, 3, 1), self.weight.flatten(1))
        return product.permute(0, 3, 1, 2)


class _PixelProduct(torch.autograd.Function):
    """A 1x1 convolution in bfloat16, as a product of matrices: pixels by channels.

    oneDNN has older code for the gradients of such convolutions by their weights: those of
    EfficientNet-Lite0 take 66 ms, as products 52 (a batch of 32 at 96x192, a core with AVX-512).
    """

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, weight: Tensor) -> Tensor:
        ctx.dtypes = pixels.dtype, weight.dtype
        pixels, weight = pixels.to(torch.bfloat16), weight.to(torch.bfloat16)
        ctx.save_for_backward(pixels, weight)
        return nn.functional.linear(pixels, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        pixels, weight = ctx.saved_tensors
        (gradient,) = gradients
        by_pixels = by_weight = None
        if ctx.needs_input_grad[0]:
            by_pixels = (gradient @ weight).to(ctx.dtypes[0])
        if ctx.needs_input_grad[1]:
            outputs, inputs = weight.shape
            seen, given = pixels.reshape(-1, inputs), gradient.reshape(-1, outputs)
            # the longer side last is faster
            product = (seen.T @ given).T if outputs > inputs else given.T @ seen
            by_weight = product.to(ctx.dtypes[1])
        return by_pixels, by_weight


class _ReLU6(nn.ReLU6):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  torch's name
        clipped: Tensor = _Clip.apply(input)
        return clipped


class _Clip(torch.autograd.Function):
    """ReLU6 in place, whose gradient is known from its output.

    torch computes it from a copy of its input, which it keeps: the largest maps once more.
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        ctx.mark_dirty(maps)
        ctx.save_for_backward(maps.clamp_(0, 6))
        return maps

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (clipped,) = ctx.saved_tensors
        result: Tensor = torch.ops.aten.hardtanh_backward(gradients[0], clipped, 0, 6)
        return result


class _Geometry(NamedTuple):
    """How a kernel moves over a map: its padding `before` and `after`, of rows and columns."""

    stride: Pair
    before: Pair
    after: Pair
    dilation: Pair

    def whole(self, weight: Tensor) -> Tensor:
        """Return the kernel that does the same with the padding `after` on either side.

        Zeros come first where it is larger, so that no map has to be copied into a padded one.
        """
        rows, columns = (
            after - before for before, after in zip(self.before, self.after, strict=True)
        )
        return nn.functional.pad(weight, (columns, 0, rows, 0)) if rows or columns else weight

    @property
    def is_even(self) -> bool:
        return self.before == self.after


class _Depthwise(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  torch's name
        padding = cast(Pair, self.padding)
        return _convolve(self, input, padding, padding)


class _DepthwiseSame(Conv2dSame):  # type: ignore[misc]
    def forward(self, x: Tensor) -> Tensor:
        if self.dilation != (1, 1):
            padded = pad_same(x, self.kernel_size, self.stride, self.dilation)
            return _convolve(self, padded, (0, 0), (0, 0))
        left, right, top, bottom = pad_same_arg(x.shape[2:], self.kernel_size, self.stride)
        return _convolve(self, x, (top, left), (bottom, right))


def _convolve(conv: nn.Conv2d, pixels: Tensor, before: Pair, after: Pair) -> Tensor:
    geometry = _Geometry(cast(Pair, conv.stride), before, after, cast(Pair, conv.dilation))
    result: Tensor = _DepthwiseConvolution.apply(pixels, conv.weight, geometry)
    return result


class _DepthwiseConvolution(torch.autograd.Function):
    """A depthwise convolution, whose gradients oneDNN has slow code or none for.

    The gradient by its input is a convolution by the turned kernel, or with a stride computed in
    float32: in bfloat16 the latter takes 131 ms instead of 14 (96 channels of 48x96, 3x3, in a
    batch of 32 on a core with AVX-512). The gradient by its weights: see `_gradient_by_weight`.
    """

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, weight: Tensor, geometry: _Geometry) -> Tensor:
        ctx.save_for_backward(pixels, weight)
        ctx.geometry = geometry
        stride, _, padding, dilation = geometry
        kernel = geometry.whole(weight)
        return nn.functional.conv2d(
            pixels, kernel, None, stride, padding, dilation, weight.shape[0]
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        pixels, weight = ctx.saved_tensors
        gradient, geometry = gradients[0], ctx.geometry
        if gradient.dtype == torch.bfloat16 and not torch.cpu._is_avx512_bf16_supported():
            gradient = gradient.float()
        by_pixels = by_weight = None
        if ctx.needs_input_grad[0]:
            by_pixels = _gradient_by_pixels(gradient, pixels, weight, geometry).to(pixels.dtype)
        if ctx.needs_input_grad[1]:
            by_weight = _gradient_by_weight(gradient, pixels, weight, geometry).to(weight.dtype)
        return by_pixels, by_weight, None


def _gradient_by_pixels(
    gradient: Tensor, pixels: Tensor, weight: Tensor, geometry: _Geometry
) -> Tensor:
    stride, _, padding, dilation = geometry
    kernel = geometry.whole(weight)
    rest = [size - 1 - pad for size, pad in zip(kernel.shape[2:], padding, strict=True)]
    if stride == dilation == (1, 1) and min(rest) >= 0:
        turned = kernel.flip(2, 3).to(gradient.dtype)
        return nn.functional.conv2d(gradient, turned, None, 1, rest, 1, weight.shape[0])
    shape_alone = torch.empty_like(pixels, dtype=torch.float32)
    moves = (stride, padding, dilation)
    return _gradients(gradient.float(), shape_alone, kernel.float(), moves, (True, False))[0]


def _gradients(
    gradient: Tensor,
    pixels: Tensor,
    weight: Tensor,
    moves: tuple[Pair, Pair, Pair],
    wanted: tuple[bool, bool],
) -> tuple[Tensor, Tensor]:
    """Return the wanted gradients of a depthwise convolution, by its input and by its weights."""
    stride, padding, dilation = moves
    none, groups = (0, 0), weight.shape[0]
    by_pixels, by_weight, _ = torch.ops.aten.convolution_backward(
        gradient, pixels, weight, None, stride, padding, dilation, False, none, groups,
        (*wanted, False),
    )  # fmt: skip
    return by_pixels, by_weight


# Columns of a kernel at a time, of which oneDNN has depthwise code, and the bytes of padded maps
# that stay in a processor's cache meanwhile.
_COLUMNS, _CACHED = 3, 2**22


def _gradient_by_weight(
    gradient: Tensor, pixels: Tensor, weight: Tensor, geometry: _Geometry
) -> Tensor:
    """Return the gradient by the weights, of wide kernels in columns, some images at a time.

    oneDNN has no depthwise kernel for it where a kernel has more than three columns, or is larger
    than the map, and computes a matrix product per channel. For a batch of 32 on a core with
    AVX-512, in float32 and then in bfloat16, where it would be computed in float32: 672 channels of
    6x12 with 5x5, 6 and 3 ms instead of 12; 1,152 channels of 3x6, 5 and 4 ms instead of 14.
    """
    stride, before, _, dilation = geometry
    (top, left), (bottom, right) = before, geometry.after
    kernel, (rows, columns) = weight.to(gradient.dtype), weight.shape[2:]
    fits = columns <= _COLUMNS and columns <= pixels.shape[3] and rows <= pixels.shape[2]
    if dilation != (1, 1) or (geometry.is_even and fits):
        moves = (stride, before, dilation)
        return _gradients(gradient, pixels.to(gradient.dtype), kernel, moves, (False, True))[1]
    total = torch.zeros(weight.shape, dtype=torch.float32)
    height, width = pixels.shape[2] + top + bottom, pixels.shape[3] + left + right
    image_bytes = weight.shape[0] * height * width * gradient.element_size()
    images = max(_CACHED // image_bytes, 1)
    for row in range(0, len(pixels), images):
        some, theirs = pixels[row : row + images], gradient[row : row + images]
        padded = nn.functional.pad(some.to(gradient.dtype), (left, right, top, bottom))
        for first in range(0, columns, _COLUMNS):
            part = kernel[..., first : first + _COLUMNS]
            last = first + stride[1] * (gradient.shape[3] - 1) + part.shape[3]
            seen = padded[..., first:last].contiguous(memory_format=torch.channels_last)
            found = _gradients(theirs, seen, part, (stride, (0, 0), (1, 1)), (False, True))[1]
            total[..., first : first + _COLUMNS] += found
    return total
