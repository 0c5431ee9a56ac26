"""Features of a backbone (maps, tokens or a vector), and their pooling to one vector per image."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from kitbox.errors import KitboxError
from kitbox.network.backbone import CLASSIC, Traits, traits_of
from kitbox.plugin import source_code
from kitbox.plugin.plugin import Plugin
from kitbox.plugin.source_code import article

# Least value of a map before a power, so that the gradient of a root is finite where a map is 0.
_SMALLEST = 1e-6
# Up to this power _SMALLEST ** power is still a normal number of float32.
_PLAIN_POWER = 6.0
_SPATIAL = ("average", "gem", "gem_learned")


def pooled_by(plugin: Plugin) -> str:
    """Return the pooling of a plugin's backbone: its own, or the one its family is best at.

    Maps are averaged, tokens pooled by their own head. A backbone with registers that only averages
    its tokens has a better summary in its class token (DINOv3). Raises KitboxError for a pooling
    that the backbone cannot have.
    """
    if plugin.pooled_maps or plugin.backbone.startswith(CLASSIC):
        possible: tuple[str, ...] = _SPATIAL
        best = "average"
    else:
        possible, best = _poolings(traits_of(plugin.backbone))
    return _chosen(plugin, possible, best)


def _chosen(plugin: Plugin, possible: Sequence[str], best: str) -> str:
    """Return the pooling of a plugin, of those that its backbone can have."""
    if plugin.pooling is None:
        return best
    if plugin.pooling not in possible:
        what = "pooled_maps" if plugin.pooled_maps else f"backbone {plugin.backbone}"
        why = "has no class token" if "cls" in plugin.pooling else "has no vector of its own"
        if plugin.pooling in _SPATIAL:
            why = "puts out neither a map nor tokens"
        raise KitboxError(
            f"{what} cannot have pooling='{plugin.pooling}': it {why}",
            fix=f"set one of {', '.join(possible)}" if possible[1:] else f"set pooling='{best}'",
        )
    return plugin.pooling


def _poolings(traits: Traits) -> tuple[tuple[str, ...], str]:
    """Return the poolings that a backbone can have, and the best one."""
    native = ("native",) if len(traits.native) == 2 else ()
    if not traits.has_tokens:
        is_map = 4 in (len(traits.open), len(traits.features)) or not native
        return (*_SPATIAL, *native) if is_map else native, "average" if is_map else "native"
    summary = ("cls", "cls+mean") if traits.class_token else ()
    best = "native" if native else "average"
    if traits.class_token and traits.registers and traits.pool in ("avg", "token"):
        best = "cls"
    return (*_SPATIAL, *summary, *native), best


@dataclass(frozen=True, kw_only=True)
class FeatureMaps:
    """The features of a backbone that are pooled: `indices` of its stages from 0, as in timm.

    () means the last features of the backbone. Stage n of a convolutional network mostly has a
    stride of 2^(n + 1), or 2^(n + 2) where the network begins with a stride of 4. The last stage of
    an EfficientNet ends before the convolution that widens it for the classifier:
    tf_efficientnet_lite0 has 320 channels there, and 1,280 in its output.

    `before_head`: the network widens its map only after pooling, as MobileNetV3 and VGG do, so
    that its last map is the input of that head. `channels_last`: its output is (n, h, w, c), as
    that of a Swin. `tokens_before`: class and register tokens that come before those of patches.
    `pooling` is what becomes of tokens, or "native" for the vector of the backbone's own head.
    """

    name: str
    indices: tuple[int, ...] = ()
    channels: tuple[int, ...]
    unused: frozenset[str] = frozenset()  # names of parameters that no feature depends on
    before_head: bool = False
    channels_last: bool = False
    tokens_before: int = 0
    pooling: str = "average"

    def compute(self, backbone: nn.Module, pixels: Tensor) -> list[Tensor]:
        """Return the features of normalised pixels (n, 3, h, w): maps (n, c_i, h_i, w_i).

        Tokens of patches are a map (n, c, t, 1). The class token and the vector of a backbone's own
        head are (n, c). Raises KitboxError where the backbone returns something else.
        """
        if source_code.is_reference(self.name):
            with source_code.errors_of(self.name):
                maps = self._run(backbone, pixels)
        else:
            maps = self._run(backbone, pixels)
        for each, channels in zip(maps, self.channels, strict=True):
            fits = isinstance(each, Tensor) and each.ndim in (2, 4) and each.shape[1] == channels
            if not fits:
                raise _no_features(self.name, each)
        return maps

    def trace(self, backbone: nn.Module, size: tuple[int, int] | None = None) -> "FeatureMaps":
        """Return these features with their channels and unused parameters, from one image."""
        cfg: Any = getattr(backbone, "pretrained_cfg", None)
        shape = (3, *size) if size else cfg["input_size"]
        try:  # without memory, which some operations cannot do
            maps, unused = self._trace(copy.deepcopy(backbone).to("meta"), shape)
        except (RuntimeError, NotImplementedError):
            maps, unused = self._trace(copy.deepcopy(backbone).to_empty(device="cpu"), shape)
        return replace(self, channels=tuple(each.shape[1] for each in maps), unused=unused)

    def trace_whole(self, backbone: nn.Module, size: tuple[int, int]) -> "FeatureMaps":
        """Return what `trace` does, from a run of the whole backbone with its values."""
        with source_code.errors_of(self.name), torch.device("cpu"):
            maps, unused = self._trace(copy.deepcopy(backbone), (3, *size))
        return replace(self, channels=tuple(each.shape[1] for each in maps), unused=unused)

    def _run(self, backbone: nn.Module, pixels: Tensor) -> list[Tensor]:
        if self.indices:
            maps: list[Tensor] = backbone.forward_intermediates(  # type: ignore[operator]
                pixels, indices=list(self.indices), stop_early=True, intermediates_only=True
            )
            return maps
        if self.pooling == "native":
            return [_own_vector(backbone, pixels)]
        run: Any = backbone.forward_features if self.before_head else backbone
        last = run(pixels)
        if isinstance(last, Tensor) and last.ndim == 3:
            return self._of_tokens(last)
        return [last.permute(0, 3, 1, 2) if self.channels_last and last.ndim == 4 else last]

    def _of_tokens(self, tokens: Tensor) -> list[Tensor]:
        """Return what is pooled of tokens (n, t, c)."""
        patches = tokens[:, self.tokens_before :].transpose(1, 2).unsqueeze(3)
        match self.pooling:
            case "cls":
                return [tokens[:, 0]]
            case "cls+mean":
                return [tokens[:, 0], patches]
        return [patches]

    def _trace(
        self, backbone: nn.Module, size: tuple[int, int, int]
    ) -> tuple[list[Tensor], frozenset[str]]:
        """Return the features of one image, and the parameters that they do not depend on."""
        backbone.eval().requires_grad_(True)
        named = dict(backbone.named_parameters())
        names, parameters = list(named), list(named.values())
        device = parameters[0].device if parameters else "cpu"
        with torch.enable_grad():
            maps = self._run(backbone, torch.zeros((1, *size), device=device))
            if not all(isinstance(each, Tensor) for each in maps):
                raise _no_features(self.name, maps[0])
            total = torch.stack([each.sum() for each in maps]).sum()
        if not (parameters and total.requires_grad):  # of a user who trains nothing of it
            return maps, frozenset(names)
        gradients = torch.autograd.grad(total, parameters, allow_unused=True)
        unused = (name for name, g in zip(names, gradients, strict=True) if g is None)
        return maps, frozenset(unused)


def _own_vector(backbone: Any, pixels: Tensor) -> Tensor:
    """Return what a backbone's own head makes of its features, before a classifier."""
    if not hasattr(backbone, "forward_features"):
        return backbone(pixels)  # type: ignore[no-any-return]
    features = backbone.forward_features(pixels)
    return backbone.forward_head(features, pre_logits=True)  # type: ignore[no-any-return]


def _without_head(backbone: nn.Module, last: FeatureMaps) -> FeatureMaps:
    """Take the layers after the last map out of a backbone; return the map with its channels."""
    unused = last.trace(backbone).unused
    for name, child in list(backbone.named_children()):
        parameters = {f"{name}.{each}" for each, _ in child.named_parameters()}
        if parameters and parameters <= unused:
            setattr(backbone, name, nn.Identity())
    return last.trace(backbone)


def _no_features(name: str, output: Any) -> KitboxError:
    """Return the error about an output that cannot be pooled, such as a detector's boxes."""
    kind = f"a {type(output).__name__}"
    if isinstance(output, Tensor):
        kind = f"an array {tuple(output.shape[1:])} for an image"
    return KitboxError(
        f"backbone {name} puts out {kind}, not features",
        fix="choose a backbone that puts out a map, tokens or a vector, such as convnext_tiny",
    )


def build_feature_maps(
    backbone: nn.Module, plugin: Plugin, pooling: str, channels: int
) -> FeatureMaps:
    """Return the features of a plugin's backbone that are pooled; `channels` are of its last map.

    Raises KitboxError for a backbone without such stages.
    """
    name, indices = plugin.backbone, plugin.pooled_maps
    if indices:
        return _stages(backbone, name, indices, plugin.height_width)
    if name.startswith(CLASSIC):
        return FeatureMaps(name=name, channels=(channels,))
    traits = traits_of(name)
    if pooling == "native" or traits.has_tokens:
        found = FeatureMaps(
            name=name,
            channels=(),
            before_head=not traits.open,
            tokens_before=traits.tokens_before,
            pooling=pooling,
        )
        return found.trace(backbone, plugin.height_width)
    last = FeatureMaps(
        name=name,
        channels=(channels,),
        before_head=getattr(backbone, "head_hidden_size", channels) != channels,
        channels_last=getattr(backbone, "output_fmt", "NCHW") == "NHWC",
    )
    return _without_head(backbone, last) if last.before_head else last


def build_custom_features(
    backbone: nn.Module, plugin: Plugin, sizes: Sequence[tuple[int, int]]
) -> tuple[FeatureMaps, str]:
    """Return the features of a user's own backbone, and their pooling, by running it.

    Tokens are pooled by the class token, if it has one. Raises KitboxError for what goes wrong in
    it, and for features that cannot be pooled.
    """
    name = plugin.backbone
    if plugin.pooled_maps:
        maps = _stages(backbone, name, plugin.pooled_maps, plugin.height_width)
        return maps, _chosen(plugin, _SPATIAL, "average")
    tokens_before = int(getattr(backbone, "num_prefix_tokens", 0) or 0)
    found = FeatureMaps(
        name=name,
        channels=(),
        channels_last=getattr(backbone, "output_fmt", "NCHW") == "NHWC",
        tokens_before=tokens_before,
    )
    outputs = [_run_custom(backbone, name, size) for size in sizes]
    if outputs[0].ndim == 2:
        pooling = _chosen(plugin, ("native",), "native")
    elif outputs[0].ndim == 3 and tokens_before:
        pooling = _chosen(plugin, (*_SPATIAL, "cls", "cls+mean"), "cls")
    else:
        pooling = _chosen(plugin, _SPATIAL, "average")
    kind = "average" if pooling == "native" else pooling  # its vector is its output
    found = replace(found, pooling=kind).trace_whole(backbone, sizes[0])
    for size, output in zip(sizes, outputs, strict=True):
        if output.ndim != outputs[0].ndim or _channels(output, found) != _channels(
            outputs[0], found
        ):
            raise KitboxError(
                f"it puts out {tuple(outputs[0].shape[1:])} for {sizes[0][0]}x{sizes[0][1]} "
                f"pixels, and {tuple(output.shape[1:])} for {size[0]}x{size[1]}",
                where=name,
            )
    declared = getattr(backbone, "num_features", found.channels[-1])
    if declared != found.channels[-1]:
        raise KitboxError(
            f"its num_features = {declared}, but it puts out {found.channels[-1]} channels",
            where=name,
            fix='set output_fmt = "NHWC" if they come last' if outputs[0].ndim == 4 else "",
        )
    return found, pooling


def _channels(output: Tensor, maps: FeatureMaps) -> int:
    return output.shape[1 if output.ndim == 4 and not maps.channels_last else -1]


def _run_custom(backbone: nn.Module, name: str, size: tuple[int, int]) -> Tensor:
    """Return what a user's own backbone puts out for two images of a size."""
    mode = backbone.training
    fixed = torch.random.fork_rng(devices=[])
    with source_code.errors_of(name), torch.no_grad(), torch.device("cpu"), fixed:
        output: Any = backbone.eval()(torch.zeros((2, 3, *size)))
    backbone.train(mode)
    if not isinstance(output, Tensor):
        what = article(type(output).__name__)
    elif output.ndim not in (2, 3, 4) or len(output) != 2 or not output.is_floating_point():
        what = f"an array {tuple(output.shape)} of {output.dtype}"
    elif not torch.isfinite(output).all():
        what = "values that are not finite"
    else:
        return output
    raise KitboxError(
        f"for two images of {size[0]}x{size[1]} pixels it puts out {what}",
        where=name,
        fix="return a map (n, c, h, w), tokens (n, t, c) or a vector (n, c)",
    )


def _stages(
    backbone: nn.Module, name: str, indices: tuple[int, ...], size: tuple[int, int]
) -> FeatureMaps:
    stages = getattr(backbone, "feature_info", None)
    if name.startswith(CLASSIC) or not stages or not hasattr(backbone, "forward_intermediates"):
        raise KitboxError(
            f"backbone {name} does not give the maps of its stages; leave pooled_maps out, or "
            "choose another, such as tf_efficientnet_lite0"
        )
    if indices[-1] >= len(stages):
        raise KitboxError(
            f"pooled_maps = {indices}, but the stages of backbone {name} are 0 to {len(stages) - 1}"
        )
    return FeatureMaps(name=name, indices=indices, channels=()).trace(backbone, size)


class Pooling(nn.Module):
    """From features (n, c_i, h_i, w_i) or (n, c_i) to vectors side by side, (n, Σc_i) float32.

    `kind` is the pooling, also where a plugin leaves it to the backbone's family.
    """

    def __init__(self, kind: str, power: float, maps: int) -> None:
        """Pool by `kind`; learned powers are a parameter with one value per map."""
        super().__init__()
        self.kind = kind
        self.power = power if kind == "gem" else None
        if kind == "gem_learned":
            self.powers: nn.Parameter | None = nn.Parameter(torch.full((maps,), power))
        else:
            self.register_parameter("powers", None)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the pooled maps; means and powers are computed in float32 even under autocast."""
        pooled = [self._pool(each.float(), index) for index, each in enumerate(maps)]
        return pooled[0] if len(pooled) == 1 else torch.cat(pooled, dim=1)

    def _pool(self, maps: Tensor, index: int) -> Tensor:
        if maps.ndim == 2:
            return maps
        if self.powers is not None:
            return power_mean(maps, _at_least_one(self.powers[index]))
        if self.power is None:
            return maps.mean((2, 3))
        return power_mean(maps, self.power)


def power_mean(maps: Tensor, power: float | Tensor) -> Tensor:
    """Return the power mean of each channel of maps (n, c, h, w) float32, negative values as 0.

    This is generalised-mean pooling (Radenović et al., TPAMI 2019).
    """
    maps = maps.clamp(min=_SMALLEST)
    if isinstance(power, float) and power <= _PLAIN_POWER:
        return maps.pow(power).mean((2, 3)).pow(1 / power)
    # the same by logarithms, where no power leaves the range of float32
    area = maps.shape[2] * maps.shape[3]
    return ((torch.logsumexp(power * maps.log(), (2, 3)) - math.log(area)) / power).exp()


def _at_least_one(power: Tensor) -> Tensor:
    """Return a power of at least 1; the gradient passes, so that a lower one can rise again."""
    return power + (power.clamp(min=1) - power).detach()
