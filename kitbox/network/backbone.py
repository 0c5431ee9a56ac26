"""Backbones of timm and pretrainedmodels, their data configuration and feature maps."""

import copy
import warnings
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from kitbox.errors import KitboxError, did_you_mean, first_line
from kitbox.network import model_hub

CLASSIC = "pretrainedmodels/"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_MAPPED = "a backbone that ends in a feature map, such as convnext_tiny"


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The input of a backbone: mean and std of RGB in [0, 1], interpolation, channel order.

    `scale` is the largest pixel value: 1, or 255 for some classic networks.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    blue_first: bool = False
    scale: float = 1.0


def build_backbone(
    name: str, *, pretrained: bool = False, drop_path: float = 0.0
) -> tuple[nn.Module, int, DataConfig]:
    """Return a module from pixels (n, 3, h, w) to a map (n, c, h', w'), c, and its DataConfig.

    `pretrained` downloads the weights from the library's hub. `drop_path` is the rate at which the
    last residual block is dropped in training; earlier ones have lower rates (Huang et al., ECCV
    2016). Raises KitboxError for an unknown name, for a hub that cannot be reached, and for a
    `drop_path` of a network without stochastic depth.
    """
    if not name.startswith(CLASSIC):
        return _build_timm(name, pretrained, drop_path)
    if drop_path:
        raise _no_stochastic_depth(name)
    return _build_classic(name, pretrained)


def is_backbone(name: str) -> bool:
    """Return whether timm or pretrainedmodels has a backbone of this name, without its folder."""
    import timm

    return timm.is_model(name.partition(".")[0]) or name in _pretrainedmodels().pretrained_settings


def data_config(name: str) -> DataConfig:
    """Return the data configuration of a backbone without building it."""
    if name.startswith(CLASSIC):
        return _classic_config(_classic_settings(name))
    return _timm_config(_pretrained_cfg(name))


def own_size(name: str) -> tuple[int, int]:
    """Return the height and width that a backbone's weights were trained at."""
    if name.startswith(CLASSIC):
        _, height, width = _classic_settings(name)["input_size"]
    else:
        _, height, width = _pretrained_cfg(name).input_size
    return height, width


@dataclass(frozen=True, kw_only=True)
class FeatureMaps:
    """The feature maps of a backbone that are pooled: `indices` of its stages from 0, as in timm.

    () means the last map of the backbone. Stage n of a convolutional network mostly has a stride of
    2^(n + 1), or 2^(n + 2) where the network begins with a stride of 4. The last stage of an
    EfficientNet ends before the convolution that widens it for the classifier:
    tf_efficientnet_lite0 has 320 channels there, and 1,280 in its output.

    `before_head`: the network widens its map only after pooling, as MobileNetV3 and VGG do, so
    that its last map is the input of that head. `channels_last`: its output is (n, h, w, c), as
    that of a Swin.
    """

    name: str
    indices: tuple[int, ...] = ()
    channels: tuple[int, ...]
    unused: frozenset[str] = frozenset()  # names of parameters that no map depends on
    before_head: bool = False
    channels_last: bool = False

    def compute(self, backbone: nn.Module, pixels: Tensor) -> list[Tensor]:
        """Return the maps (n, c_i, h_i, w_i) of normalised pixels (n, 3, h, w).

        Raises KitboxError where the backbone returns something else.
        """
        maps = self._run(backbone, pixels)
        for each, channels in zip(maps, self.channels, strict=True):
            if not isinstance(each, Tensor) or each.ndim != 4 or each.shape[1] != channels:
                raise _no_map(backbone, self.name, each)
        return maps

    def trace(self, backbone: nn.Module) -> "FeatureMaps":
        """Return these maps with their channels and unused parameters, from a run on one image."""
        cfg: Any = backbone.pretrained_cfg
        size = cfg["input_size"]
        try:  # without memory, which some operations cannot do
            maps, unused = self._trace(copy.deepcopy(backbone).to("meta"), size)
        except (RuntimeError, NotImplementedError):
            maps, unused = self._trace(copy.deepcopy(backbone).to_empty(device="cpu"), size)
        return replace(self, channels=tuple(each.shape[1] for each in maps), unused=unused)

    def _run(self, backbone: nn.Module, pixels: Tensor) -> list[Tensor]:
        if self.indices:
            maps: list[Tensor] = backbone.forward_intermediates(  # type: ignore[operator]
                pixels, indices=list(self.indices), stop_early=True, intermediates_only=True
            )
            return maps
        run: Any = backbone.forward_features if self.before_head else backbone
        last = run(pixels)
        return [last.permute(0, 3, 1, 2) if self.channels_last and last.ndim == 4 else last]

    def _trace(
        self, backbone: nn.Module, size: tuple[int, int, int]
    ) -> tuple[list[Tensor], frozenset[str]]:
        """Return the maps of one image, and the parameters that they do not depend on."""
        backbone.eval().requires_grad_(True)
        names, parameters = zip(*backbone.named_parameters(), strict=True)
        with torch.enable_grad():
            maps = self._run(backbone, torch.zeros((1, *size), device=parameters[0].device))
            total = torch.stack([each.sum() for each in maps]).sum()
        gradients = torch.autograd.grad(total, parameters, allow_unused=True)
        unused = (name for name, g in zip(names, gradients, strict=True) if g is None)
        return maps, frozenset(unused)


def _without_head(backbone: nn.Module, last: FeatureMaps) -> FeatureMaps:
    """Take the layers after the last map out of a backbone; return the map with its channels."""
    unused = last.trace(backbone).unused
    for name, child in list(backbone.named_children()):
        parameters = {f"{name}.{each}" for each, _ in child.named_parameters()}
        if parameters and parameters <= unused:
            setattr(backbone, name, nn.Identity())
    return last.trace(backbone)


def _no_map(backbone: nn.Module, name: str, output: Any) -> KitboxError:
    """Return the error about an output that is not a map (n, c, h, w), such as a plain ViT's."""
    fix = f"choose {_MAPPED}"
    kind = type(output).__name__
    if isinstance(output, Tensor):
        kind = {2: "a vector", 3: "tokens"}.get(output.ndim, "an array")
        kind = f"{kind}, {tuple(output.shape[1:])} for an image"
        if output.ndim == 3 and hasattr(backbone, "forward_intermediates"):
            last = len(getattr(backbone, "feature_info", ())) - 1
            fix = f"set pooled_maps=({last},) for the map of its last block, or {fix}"
    what = f"backbone {name} puts out {kind}, not a feature map"
    return KitboxError(what, fix=fix)


def build_feature_maps(
    backbone: nn.Module, name: str, indices: tuple[int, ...], channels: int
) -> FeatureMaps:
    """Return the feature maps at `indices` of a backbone; `channels` are those of its last map.

    Raises KitboxError for a backbone without such stages.
    """
    if not indices:
        last = FeatureMaps(
            name=name,
            channels=(channels,),
            before_head=getattr(backbone, "head_hidden_size", channels) != channels,
            channels_last=getattr(backbone, "output_fmt", "NCHW") == "NHWC",
        )
        return _without_head(backbone, last) if last.before_head else last
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
    return FeatureMaps(name=name, indices=indices, channels=()).trace(backbone)


def _build_timm(name: str, pretrained: bool, drop_path: float) -> tuple[nn.Module, int, DataConfig]:
    import timm

    cfg = _pretrained_cfg(name)
    if pretrained and not cfg.has_weights:
        raise KitboxError(
            f"timm has no weights of {name}",
            fix="give a file with --weights FILE, or train from random weights with --weights none",
        )
    # passed only where it is set: some networks do not accept it
    options = {"drop_path_rate": drop_path} if drop_path else {}
    try:
        try:
            model = _create(name, pretrained=pretrained, num_classes=0, global_pool="", **options)
        except AssertionError:  # its pooling is a part of its head, which then is left out
            model = _create(name, pretrained=pretrained, num_classes=0, **options)
    except Exception as error:  # hubs raise many kinds; 'from error' keeps the cause for --debug
        if "drop_path_rate" in str(error):
            raise _no_stochastic_depth(name) from error
        if pretrained:
            raise _no_download(name, error) from error
        raise KitboxError(
            f"timm cannot build backbone {name} ({first_line(error)})", fix=f"choose {_MAPPED}"
        ) from error
    if drop_path and not any(isinstance(m, timm.layers.DropPath) for m in model.modules()):
        raise _no_stochastic_depth(name)
    return model, int(model.num_features), _timm_config(cfg)


def _no_stochastic_depth(name: str) -> KitboxError:
    return KitboxError(f"backbone {name} has no stochastic depth; leave drop_path out")


def _no_download(name: str, error: Exception) -> KitboxError:
    return KitboxError(
        f"cannot download the weights of {name} ({type(error).__name__})",
        fix="give a file with --weights FILE, or train from random weights with --weights none",
    )


def _create(name: str, *, pretrained: bool, **options: Any) -> Any:
    """Return a network of timm, of a name that timm, the hub or a folder gives it."""
    import timm

    described = model_hub.describe(name)
    if described is None:
        return timm.create_model(model_hub.timm_name(name), pretrained=pretrained, **options)
    return timm.create_model(
        described.architecture,
        pretrained_cfg=described.pretrained_cfg.to_dict(),
        pretrained_model_args=described.arguments or None,
        **(described.arguments | options),
    )


def _pretrained_cfg(name: str) -> Any:
    """Return timm's configuration of the weights that a name stands for.

    Raises KitboxError for an unknown architecture or tag, and as `model_hub.describe` does.
    """
    import timm

    described = model_hub.describe(name)
    if described is not None:
        return described.pretrained_cfg
    name = model_hub.timm_name(name)
    architecture, _, tag = name.partition(".")
    if "/" in name or ":" in name:
        base = name.rpartition("/")[2].rpartition(":")[2]
        own = f', or timm\'s own, "{base}"' if timm.is_model(base.partition(".")[0]) else ""
        raise KitboxError(
            f"timm has no backbone {name}",
            fix=f'a model of the Hugging Face hub is named "hf-hub:OWNER/NAME"{own}',
        )
    if not timm.is_model(architecture):
        raise KitboxError(f"timm has no backbone {name}{did_you_mean(name, timm.list_models())}")
    try:
        cfg = timm.models.get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = [each.partition(".")[2] for each in timm.list_pretrained(f"{architecture}.*")]
        near = did_you_mean(tag, tags).removeprefix("; ")
        there = f"there are {', '.join(tags)}" if tags else f'use "{architecture}"'
        raise KitboxError(
            f"timm has no weights '{tag}' of {architecture}", fix=f"{near} {there}".strip()
        ) from error
    if cfg is None:
        raise KitboxError(f"timm has no data configuration of {name}; choose another backbone")
    return cfg


def _timm_config(cfg: Any) -> DataConfig:
    """Return the data configuration; what a config.json leaves out is as in timm."""
    return DataConfig(
        mean=tuple(cfg.mean or IMAGENET_MEAN),
        std=tuple(cfg.std or IMAGENET_STD),
        interpolation=cfg.interpolation or "bicubic",
    )


def _build_classic(name: str, pretrained: bool) -> tuple[nn.Module, int, DataConfig]:
    config = _classic_config(_classic_settings(name))
    short = name.removeprefix(CLASSIC)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it uses deprecated names of torchvision
            model = _pretrainedmodels().__dict__[short](
                num_classes=1000, pretrained="imagenet" if pretrained else None
            )
    except OSError as error:
        raise _no_download(name, error) from error
    if short.startswith("resnext101"):
        model.features = _own_copy(model.features, reset=not pretrained)
    if short.startswith("squeezenet"):
        return _TorchvisionBackbone(model.features), 512, config
    if hasattr(model, "_features"):  # AlexNet and VGG, whose features() go on to the classifier
        convs = [layer for layer in model._features if isinstance(layer, nn.Conv2d)]
        return _TorchvisionBackbone(model._features), convs[-1].out_channels, config
    last: Any = model.last_linear  # a convolution in the dual path networks
    channels = last.in_channels if isinstance(last, nn.Conv2d) else last.in_features
    return _ClassicBackbone(model), int(channels), config


class _ClassicBackbone(nn.Module):
    """A classic network up to its last feature map."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        model.last_linear = nn.Identity()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        maps: Tensor = self.model.features(pixels)  # type: ignore[operator]
        return maps


class _TorchvisionBackbone(nn.Module):
    """The convolutions of a classic network of torchvision, with the names of its files."""

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features

    def forward(self, pixels: Tensor) -> Tensor:
        maps: Tensor = self.features(pixels)
        return maps


def _own_copy(shared: nn.Module, *, reset: bool) -> nn.Module:
    """Return a copy of layers that pretrainedmodels builds once, when it is imported.

    `reset` draws their weights anew, so that they follow from the seed as those of others do.
    """
    layers = copy.deepcopy(shared).to(torch.get_default_device())
    for module in layers.modules():
        if reset and hasattr(module, "reset_parameters"):
            module.reset_parameters()  # type: ignore[operator]
    return layers


def _pretrainedmodels() -> Any:
    """Import pretrainedmodels; on the CPU, since it builds layers while it is imported."""
    with torch.device("cpu"):
        return import_module("pretrainedmodels")


def _classic_settings(name: str) -> dict[str, Any]:
    short = name.removeprefix(CLASSIC)
    known = _pretrainedmodels().pretrained_settings
    if short not in known:
        raise KitboxError(f"pretrainedmodels has no backbone {short}{did_you_mean(short, known)}")
    settings: dict[str, Any] = next(iter(known[short].values()))
    return settings


def _classic_config(settings: dict[str, Any]) -> DataConfig:
    return DataConfig(
        mean=tuple(settings["mean"]),
        std=tuple(settings["std"]),
        interpolation="bilinear",
        blue_first=settings["input_space"] == "BGR",
        scale=float(max(settings["input_range"])),
    )
