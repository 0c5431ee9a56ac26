"""Backbones of timm and pretrainedmodels at an image size, and their data configuration."""

import copy
import math
import warnings
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from kitbox.errors import KitboxError, did_you_mean, first_line
from kitbox.files import canonical_json
from kitbox.plugin import source_code
from kitbox.plugin.plugin import Plugin
from kitbox.plugin.source_code import article
from kitbox.weights import model_hub

CLASSIC = "pretrainedmodels/"
# How `images.preprocessing` can resize.
_INTERPOLATIONS = ("bilinear", "bicubic", "lanczos")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Sizes = tuple[tuple[int, int], ...]  # (height, width) of images, the usual one first


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


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What a backbone puts out for an image of its own size, as found by running it.

    `features` is the shape (1, …) of its features, `open` that of what its head makes of them
    without pooling, `native` that of its own vector; () where there is none. `tokens_before` is the
    number of class and register tokens, which come before those of patches.
    """

    features: tuple[int, ...] = ()
    open: tuple[int, ...] = ()
    native: tuple[int, ...] = ()
    pool: str = ""  # that of its own head
    patch: tuple[int, ...] = ()
    tokens_before: int = 0
    class_token: bool = False
    registers: bool = False

    @property
    def has_tokens(self) -> bool:
        """Whether it puts out tokens (n, t, c) rather than maps."""
        return len(self.open or self.features) == 3


def build_backbone(
    name: str,
    *,
    pretrained: bool = False,
    drop_path: float = 0.0,
    sizes: Sizes = (),
    whole: bool = False,
) -> tuple[nn.Module, int, DataConfig]:
    """Return a module from pixels (n, 3, h, w) to its features, their channels, and its DataConfig.

    The features are a map (n, c, h', w'), tokens (n, t, c), or, with `whole`, of which the head is
    kept, what the head pools. `sizes` are the (height, width) that it has to take, the first one
    most of the time. `pretrained` downloads the weights from the library's hub. `drop_path` is the
    rate at which the last residual block is dropped in training; earlier ones have lower rates
    (Huang et al., ECCV 2016). Raises KitboxError for an unknown name, for a hub that cannot be
    reached, for sizes that it cannot take, and for a `drop_path` of a network without stochastic
    depth.
    """
    if not name.startswith(CLASSIC):
        return _build_timm(
            name, pretrained=pretrained, drop_path=drop_path, sizes=sizes, whole=whole
        )
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


def input_config(plugin: Plugin) -> DataConfig:
    """Return the data configuration of a plugin's backbone; one of a user is built for it."""
    if not source_code.is_reference(plugin.backbone):
        return data_config(plugin.backbone)
    if plugin.fingerprint not in _configs:
        with torch.random.fork_rng(devices=[]):
            _configs[plugin.fingerprint] = build_custom(plugin)[1]
    return _configs[plugin.fingerprint]


# Data configurations of users' backbones, by the plugin's fingerprint.
_configs: dict[str, DataConfig] = {}


def build_custom(plugin: Plugin, *, pretrained: bool = False) -> tuple[nn.Module, DataConfig]:
    """Return a user's own backbone, on the CPU, and its DataConfig.

    Raises KitboxError for what goes wrong in the user's code, and for what it returns.
    """
    name, (height, width) = plugin.backbone, plugin.height_width
    given = {
        "image_size": (height, width),
        "height": height,
        "width": width,
        "pretrained": pretrained,
    }
    with torch.device("cpu"):
        # demanded where it is set: else it would be lost
        demanded = {"drop_path": plugin.drop_path} if plugin.drop_path else {}
        module = plugin.source_code.call(name, given, demanded)
    if not isinstance(module, nn.Module):
        raise KitboxError(
            f"it returns {article(type(module).__name__)}",
            where=name,
            fix="return a torch.nn.Module from pixels (n, 3, h, w) to a map, tokens or a vector",
        )
    odd = [key for key, tensor in module.state_dict().items() if not isinstance(tensor, Tensor)]
    if odd or any(isinstance(each, UninitializedParameter) for each in module.parameters()):
        what = f"its state '{odd[0]}' is no tensor" if odd else "a layer of it has no size yet"
        raise KitboxError(f"{what}, so that no checkpoint can hold it", where=name)
    return module, _custom_config(module, name)


def _custom_config(module: nn.Module, name: str) -> DataConfig:
    """Return what the attributes of a user's backbone say of its input, or timm's of it."""
    cfg = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None) or {}
    found: dict[str, Any] = {}
    for key, default in (
        ("mean", IMAGENET_MEAN),
        ("std", IMAGENET_STD),
        ("interpolation", "bicubic"),
    ):
        own = getattr(module, key, None)
        told = cfg.get(key) if isinstance(cfg, dict) else getattr(cfg, key, None)
        # a tensor of this name is a part of the network's own arithmetic
        found[key] = own if isinstance(own, str | tuple | list) else told or default
    colours = (*found["mean"], *found["std"])
    if not (
        len(found["mean"]) == len(found["std"]) == 3
        and all(isinstance(each, int | float) and math.isfinite(each) for each in colours)
        and min(found["std"]) > 0
    ):
        raise KitboxError(
            f"its mean = {found['mean']} and std = {found['std']} are not three numbers each",
            where=name,
            fix="give those of red, green and blue between 0 and 1",
        )
    if found["interpolation"] not in _INTERPOLATIONS:
        what = f"its interpolation = {found['interpolation']!r}"
        raise KitboxError(f"{what} is none of {', '.join(_INTERPOLATIONS)}", where=name)
    return DataConfig(
        mean=tuple(found["mean"]), std=tuple(found["std"]), interpolation=found["interpolation"]
    )


def own_size(name: str) -> tuple[int, int]:
    """Return the height and width that a backbone's weights were trained at."""
    if name.startswith(CLASSIC):
        _, height, width = _classic_settings(name)["input_size"]
    else:
        _, height, width = _pretrained_cfg(name).input_size
    return height, width


def _build_timm(
    name: str,
    *,
    pretrained: bool,
    drop_path: float,
    sizes: Sizes,
    whole: bool,
) -> tuple[nn.Module, int, DataConfig]:
    import timm

    cfg = _pretrained_cfg(name)
    if pretrained and not cfg.has_weights:
        raise KitboxError(
            f"timm has no weights of {name}",
            fix="give a file with --weights FILE, or train from random weights with --weights none",
        )
    traits = traits_of(name)
    # passed only where they are set: some networks do not accept them
    options = _size_options(name, sizes)
    options |= {"drop_path_rate": drop_path} if drop_path else {}
    try:
        # weights of tokens are those of a network with its head, whose pooling decides on its norms
        if whole or traits.has_tokens:
            model = _create(name, pretrained=pretrained, **options)
            if not whole and traits.open:
                model.reset_classifier(0, "")
        else:
            try:
                model = _create(name, pretrained=pretrained, global_pool="", **options)
            except AssertionError:  # its pooling is a part of its head, which then is left out
                model = _create(name, pretrained=pretrained, **options)
    except Exception as error:  # hubs raise many kinds; 'from error' keeps the cause for --debug
        if "drop_path_rate" in str(error):
            raise _no_stochastic_depth(name) from error
        if pretrained:
            raise _no_download(name, error) from error
        raise KitboxError(
            f"timm cannot build backbone {name} ({first_line(error)})",
            fix="choose another backbone, such as convnext_tiny",
        ) from error
    if drop_path and not any(isinstance(m, timm.layers.DropPath) for m in model.modules()):
        raise _no_stochastic_depth(name)
    return model, int(model.num_features), _timm_config(cfg)


def _create_empty(name: str, **options: Any) -> Any:
    """Build a network without memory for its weights, in eval mode; draw no random numbers."""
    import timm  # noqa: F401  # parts of torch that it imports need tensors with values: torch 2.6

    with torch.random.fork_rng(devices=[]), torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _create(name, **options).eval()


def traits_of(name: str) -> Traits:
    """Return what a backbone of timm puts out, from a run on an image of its own size."""
    return _traits(name, _config(name))


def _config(name: str) -> str:
    """Return the config.json of a backbone, which may change while a notebook is open, or ""."""
    config = model_hub.load_config(name)
    return "" if config is None else canonical_json(config)


@lru_cache(maxsize=64)
def _traits(name: str, config: str) -> Traits:
    del config  # a part of the key
    size = own_size(name)
    try:
        model = _create_empty(name)
    except Exception:  # building it for use explains what is wrong
        return Traits()
    return describe(model, size)


@torch.no_grad()
def describe(model: Any, size: tuple[int, int]) -> Traits:
    """Return what a network of timm without memory puts out; its pooling is turned off."""
    image = torch.zeros((1, 3, *size), device="meta")
    features, native, opened = None, None, None
    with suppress(Exception):  # each network refuses in its own way
        if not hasattr(model, "forward_features"):
            opened = model(image)
            native = opened if len(_shape(opened)) == 2 else None
        features = model.forward_features(image)
        native = model.forward_head(features, pre_logits=True)
    pool = str(getattr(model, "global_pool", ""))
    with suppress(Exception):
        model.reset_classifier(0, "")
        opened = model.forward_head(features, pre_logits=True)
    if len(_shape(opened)) < 3:
        opened = None
        if len(_shape(features)) == 3 and not hasattr(model, "num_prefix_tokens"):
            features = None  # which of its tokens are of patches is not known
    before = int(getattr(model, "num_prefix_tokens", 0) or 0)
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", ())
    registers = getattr(model, "reg_token", None) is not None
    return Traits(
        features=_shape(features),
        open=_shape(opened),
        native=_shape(native),
        pool=pool,
        patch=(patch, patch) if isinstance(patch, int) else tuple(patch),
        tokens_before=before,
        class_token=before > int(registers) and getattr(model, "cls_token", None) is not None,
        registers=registers,
    )


def _shape(output: Any) -> tuple[int, ...]:
    return tuple(output.shape) if isinstance(output, Tensor) else ()


def _size_options(name: str, sizes: Sizes) -> dict[str, Any]:
    """Return the options with which a backbone of timm takes all sizes of images.

    Raises KitboxError that names the nearest sizes.
    """
    fixed = _pretrained_cfg(name).fixed_input_size or traits_of(name).patch
    if not fixed or {*sizes} <= {own_size(name)}:
        return {}
    config = _config(name)
    found = _fitting_options(name, config, sizes)
    if not isinstance(found, str):
        return dict(found)
    for size in sizes:
        if isinstance(problem := _fitting_options(name, config, (size,)), str):
            near = " and ".join(f"{height}x{width}" for height, width in _nearest(name, size))
            raise KitboxError(
                f"backbone {name} does not take {size[0]}x{size[1]} pixels ({problem})",
                fix=f"the nearest that it takes: {near}",
            )
    several = " and ".join(f"{height}x{width}" for height, width in dict.fromkeys(sizes))
    raise KitboxError(
        f"backbone {name} takes images of one size, not of {several} in turn",
        fix="leave image_size out of the phases",
    )


@lru_cache(maxsize=256)
def _fitting_options(name: str, config: str, sizes: Sizes) -> tuple[tuple[str, Any], ...] | str:
    """Return options with which a backbone takes all sizes, or what is wrong, in a few words.

    Its weights keep their shapes but for embeddings of positions, which are resampled: with windows
    of another size it would be another network.
    """
    problem = ""
    candidates: tuple[dict[str, Any], ...] = (
        {},
        {"img_size": sizes[0], "dynamic_img_size": True},
        {"dynamic_img_size": True},
        {"img_size": sizes[0]},
    )
    for options in candidates:
        try:
            _check_sizes(name, config, sizes, options)
        except Exception as error:  # each network refuses in its own way
            problem = problem or first_line(error)
        else:
            return tuple(options.items())
    return problem


@torch.no_grad()
def _check_sizes(name: str, config: str, sizes: Sizes, options: dict[str, Any]) -> None:
    """Raise an error unless a backbone with these options takes all sizes, with its own windows."""
    traits = traits_of(name)
    for size in sizes:
        patch = traits.patch if traits.patch and (options or traits.has_tokens) else (1, 1)
        if any(pixels % step for pixels, step in zip(size, patch, strict=True)):
            raise ValueError(f"its patches have {patch[0]}x{patch[1]}")
    model = _create_empty(name, **options) if options else _empty(name, config)
    if options and not traits.has_tokens:
        shapes = {key: tensor.shape for key, tensor in _empty(name, config).state_dict().items()}
        for key, tensor in model.state_dict().items():
            if "pos_embed" not in key and tensor.shape != shapes.get(key):
                raise ValueError("its windows would have another size")
    for size in sizes:
        model(torch.zeros((1, 3, *size), device="meta"))


@lru_cache(maxsize=2)
def _empty(name: str, config: str) -> Any:
    """Return a backbone of timm without memory, to be run alone."""
    del config  # a part of the key
    return _create_empty(name)


def _nearest(name: str, size: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the nearest sizes that a backbone takes, each side a multiple of the same unit."""
    own, least = own_size(name), max(traits_of(name).patch or (16, 16))
    units = [unit for unit in range(least, own[0] + 1) if own[0] % unit == unit % least == 0]
    for unit in units:
        near = [tuple(max(side // unit + more, 1) * unit for side in size) for more in (0, 1)]
        takes = [
            (height, width)
            for height, width in dict.fromkeys(near)
            if not isinstance(_fitting_options(name, _config(name), ((height, width),)), str)
        ]
        if takes:
            return takes
    return [own]


def _no_stochastic_depth(name: str) -> KitboxError:
    return KitboxError(f"backbone {name} has no stochastic depth; leave drop_path out")


def _no_download(name: str, error: Exception) -> KitboxError:
    return KitboxError(
        f"cannot download the weights of {name} ({type(error).__name__})",
        fix="give a file with --weights FILE or a copy of the hub's cache (HF_HOME), or train from "
        "random weights with --weights none",
    )


def _create(name: str, *, pretrained: bool = False, **options: Any) -> Any:
    """Return a network of timm, of a name that timm, the hub or a folder gives it."""
    import timm

    options["num_classes"] = 0
    described = model_hub.describe(name)
    if described is None:
        offline = model_hub.cache_alone_if_offline() if pretrained else nullcontext()
        with offline:
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
