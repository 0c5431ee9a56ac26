"""Backbones of timm and pretrainedmodels, their data configuration and feature maps."""

import copy
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kitbox.errors import KitboxError, did_you_mean

CLASSIC = "pretrainedmodels/"


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


def data_config(name: str) -> DataConfig:
    """Return the data configuration of a backbone without building it."""
    if name.startswith(CLASSIC):
        return _classic_config(_classic_settings(name))
    return _timm_config(_pretrained_cfg(name))


def check_feature_map(maps: Tensor, name: str, channels: int) -> None:
    """Raise KitboxError for an output that is not a map (n, c, h, w), such as a plain ViT's."""
    if maps.ndim != 4 or maps.shape[1] != channels:
        raise KitboxError(
            f"backbone {name} ends in {tuple(maps.shape)}, not in a map (n, {channels}, h, w); "
            "choose a convolutional backbone"
        )


@dataclass(frozen=True)
class FeatureMaps:
    """The feature maps of a backbone that are pooled: `indices` of its stages from 0, as in timm.

    () means the output of the backbone. Stage n of a convolutional network mostly has a stride of
    2^(n + 1), or 2^(n + 2) where the network begins with a stride of 4. The last stage of an
    EfficientNet or MobileNet ends before the convolution that widens it for the classifier:
    tf_efficientnet_lite0 has 320 channels there, and 1,280 in its output.
    """

    name: str
    indices: tuple[int, ...]
    channels: tuple[int, ...]
    unused: frozenset[str] = frozenset()  # names of parameters that no map depends on

    def compute(self, backbone: nn.Module, pixels: Tensor) -> list[Tensor]:
        """Return the maps (n, c_i, h_i, w_i) of normalised pixels (n, 3, h, w).

        Raises KitboxError where the backbone returns something else.
        """
        maps = _run(backbone, pixels, self.indices) if self.indices else [backbone(pixels)]
        for each, channels in zip(maps, self.channels, strict=True):
            check_feature_map(each, self.name, channels)
        return maps


def build_feature_maps(
    backbone: nn.Module, name: str, indices: tuple[int, ...], channels: int
) -> FeatureMaps:
    """Return the feature maps at `indices` of a backbone; `channels` are those of its output.

    Raises KitboxError for a backbone without such stages.
    """
    if not indices:
        return FeatureMaps(name, (), (channels,))
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
    return _trace_feature_maps(backbone, name, indices)


def _trace_feature_maps(backbone: nn.Module, name: str, indices: tuple[int, ...]) -> FeatureMaps:
    """Return feature maps with their channels and unused parameters, from a run on meta tensors."""
    shadow = copy.deepcopy(backbone).to("meta").eval().requires_grad_(True)
    cfg: Any = shadow.pretrained_cfg
    names, parameters = zip(*shadow.named_parameters(), strict=True)
    with torch.enable_grad():
        maps = _run(shadow, torch.zeros((1, *cfg["input_size"]), device="meta"), indices)
        total = torch.stack([each.sum() for each in maps]).sum()
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    return FeatureMaps(
        name,
        indices,
        tuple(each.shape[1] for each in maps),
        frozenset(n for n, grad in zip(names, gradients, strict=True) if grad is None),
    )


def _run(backbone: nn.Module, pixels: Tensor, indices: tuple[int, ...]) -> list[Tensor]:
    maps: list[Tensor] = backbone.forward_intermediates(  # type: ignore[operator]
        pixels, indices=list(indices), stop_early=True, intermediates_only=True
    )
    return maps


def _build_timm(name: str, pretrained: bool, drop_path: float) -> tuple[nn.Module, int, DataConfig]:
    import timm

    config = _timm_config(_pretrained_cfg(name))
    # passed only where it is set: some networks do not accept it
    drop_rate = {"drop_path_rate": drop_path} if drop_path else {}
    try:
        model = timm.create_model(
            name, pretrained=pretrained, num_classes=0, global_pool="", **drop_rate
        )
    except Exception as error:  # hubs raise many kinds; 'from error' keeps the cause for --debug
        if isinstance(error, TypeError) and "drop_path_rate" in str(error):
            raise _no_stochastic_depth(name) from error
        if not pretrained:
            raise
        raise KitboxError(
            f"cannot download the weights of {name} ({type(error).__name__}); "
            "give a file with --weights FILE, or train from random weights with --weights none"
        ) from error
    if drop_path and not any(isinstance(m, timm.layers.DropPath) for m in model.modules()):
        raise _no_stochastic_depth(name)
    return model, int(model.num_features), config


def _no_stochastic_depth(name: str) -> KitboxError:
    return KitboxError(f"backbone {name} has no stochastic depth; leave drop_path out")


def _pretrained_cfg(name: str) -> Any:
    import timm

    if not timm.is_model(name.partition(".")[0]):
        raise KitboxError(f"timm has no backbone {name}{did_you_mean(name, timm.list_models())}")
    cfg = timm.models.get_pretrained_cfg(name)
    if cfg is None:
        raise KitboxError(f"timm has no data configuration of {name}; choose another backbone")
    return cfg


def _timm_config(cfg: Any) -> DataConfig:
    return DataConfig(mean=tuple(cfg.mean), std=tuple(cfg.std), interpolation=cfg.interpolation)


def _build_classic(name: str, pretrained: bool) -> tuple[nn.Module, int, DataConfig]:
    import pretrainedmodels

    settings = _classic_settings(name)
    short = name.removeprefix(CLASSIC)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it uses deprecated names of torchvision
            model = pretrainedmodels.__dict__[short](
                num_classes=1000, pretrained="imagenet" if pretrained else None
            )
    except OSError as error:
        raise KitboxError(
            f"cannot download the weights of {name}; "
            "give a file with --weights FILE, or train from random weights with --weights none"
        ) from error
    channels = int(model.last_linear.in_features)
    return _ClassicBackbone(model), channels, _classic_config(settings)


class _ClassicBackbone(nn.Module):
    """A classic network up to its last feature map."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        model.last_linear = nn.Identity()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        maps: Tensor = self.model.features(pixels)  # type: ignore[operator]
        return maps


def _classic_settings(name: str) -> dict[str, Any]:
    import pretrainedmodels

    short = name.removeprefix(CLASSIC)
    known = pretrainedmodels.pretrained_settings
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
