"""Builds backbones of timm and pretrainedmodels, and says how they want their pixels."""

import copy
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kitbox.errors import KitboxError, did_you_mean

CLASSIC = "pretrainedmodels/"


@dataclass(frozen=True)
class DataConfig:
    """How a backbone wants its pixels: mean and std of RGB in [0, 1], resampling, channel order."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    blue_first: bool = False
    scale: float = 1.0  # the largest pixel value: 1, or 255 for some classic networks


def build_backbone(
    name: str, *, pretrained: bool = False, drop_path: float = 0.0
) -> tuple[nn.Module, int, DataConfig]:
    """Return a network from pixels (n, 3, h, w) to a map (n, c, h', w'), c, and its PixelForm.

    `pretrained` downloads the weights from the library's hub. `drop_path` is the rate at which the
    last of its residual blocks is left out in training (Huang et al., ECCV 2016); earlier ones are
    left out less often. Raises KitboxError for a name that the library does not know, for a hub
    that cannot be reached, and for a network whose blocks cannot be left out.
    """
    if not name.startswith(CLASSIC):
        return _timm(name, pretrained, drop_path)
    if drop_path:
        raise _never_drops(name)
    return _classic(name, pretrained)


def data_config(name: str) -> DataConfig:
    """Return how a backbone wants its pixels, without building it."""
    if name.startswith(CLASSIC):
        return _classic_form(_classic_settings(name))
    return _timm_form(_timm_cfg(name))


def _timm(name: str, pretrained: bool, drop_path: float) -> tuple[nn.Module, int, DataConfig]:
    import timm

    form = _timm_form(_timm_cfg(name))
    # not given where it is not asked for: some networks do not know it
    dropping = {"drop_path_rate": drop_path} if drop_path else {}
    try:
        model = timm.create_model(
            name, pretrained=pretrained, num_classes=0, global_pool="", **dropping
        )
    except Exception as error:  # hubs fail in many ways; --debug shows which, 'from error' keeps it
        if isinstance(error, TypeError) and "drop_path_rate" in str(error):
            raise _never_drops(name) from error
        if not pretrained:
            raise
        raise KitboxError(
            f"cannot download the weights of {name} ({type(error).__name__}); "
            "give a file with --weights FILE, or train from random weights with --weights none"
        ) from error
    if drop_path and not any(isinstance(m, timm.layers.DropPath) for m in model.modules()):
        raise _never_drops(name)
    return model, int(model.num_features), form


def _never_drops(name: str) -> KitboxError:
    return KitboxError(f"backbone {name} has no stochastic depth; leave drop_path out")


def _timm_cfg(name: str) -> Any:
    import timm

    if not timm.is_model(name.partition(".")[0]):
        raise KitboxError(f"timm has no backbone {name}{did_you_mean(name, timm.list_models())}")
    cfg = timm.models.get_pretrained_cfg(name)
    if cfg is None:
        raise KitboxError(f"timm says nothing of how {name} wants its pixels")
    return cfg


def _timm_form(cfg: Any) -> DataConfig:
    return DataConfig(tuple(cfg.mean), tuple(cfg.std), cfg.interpolation)


def _classic(name: str, pretrained: bool) -> tuple[nn.Module, int, DataConfig]:
    import pretrainedmodels

    settings = _classic_settings(name)
    short = name.removeprefix(CLASSIC)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it calls torchvision by names that are out of date
            model = pretrainedmodels.__dict__[short](
                num_classes=1000, pretrained="imagenet" if pretrained else None
            )
    except OSError as error:
        raise KitboxError(
            f"cannot download the weights of {name}; "
            "give a file with --weights FILE, or train from random weights with --weights none"
        ) from error
    channels = int(model.last_linear.in_features)
    return _Features(model), channels, _classic_form(settings)


class _Features(nn.Module):
    """A classic network up to its last map."""

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


def _classic_form(settings: dict[str, Any]) -> DataConfig:
    return DataConfig(
        tuple(settings["mean"]),
        tuple(settings["std"]),
        "bilinear",
        blue_first=settings["input_space"] == "BGR",
        scale=float(max(settings["input_range"])),
    )


def check_feature_map(maps: Tensor, name: str, channels: int) -> None:
    """Refuse a backbone whose last stage is not a map (n, c, h, w), such as a plain ViT."""
    if maps.ndim != 4 or maps.shape[1] != channels:
        raise KitboxError(
            f"backbone {name} ends in {tuple(maps.shape)}, not in a map (n, {channels}, h, w); "
            "choose a convolutional backbone"
        )


@dataclass(frozen=True)
class FeatureMaps:
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
            check_feature_map(each, self.name, channels)
        return maps


def build_feature_maps(
    backbone: nn.Module, name: str, places: tuple[int, ...], channels: int
) -> FeatureMaps:
    """Return the stages at `places` of a backbone whose last map has so many channels.

    Raises KitboxError for a backbone without such stages.
    """
    if not places:
        return FeatureMaps(name, (), (channels,))
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


def _explored(backbone: nn.Module, name: str, places: tuple[int, ...]) -> FeatureMaps:
    """Return the stages with their channels and unused parameters, from a run without numbers."""
    shadow = copy.deepcopy(backbone).to("meta").eval().requires_grad_(True)
    cfg: Any = shadow.pretrained_cfg
    names, parameters = zip(*shadow.named_parameters(), strict=True)
    with torch.enable_grad():
        maps = _run(shadow, torch.zeros((1, *cfg["input_size"]), device="meta"), places)
        total = torch.stack([each.sum() for each in maps]).sum()
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    return FeatureMaps(
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
