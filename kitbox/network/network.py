"""Network from pixels to embeddings (backbone, pooling and neck), and its cost."""

import warnings
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from kitbox.errors import KitboxError, first_line
from kitbox.network.backbone import DataConfig, build_backbone, build_custom, own_size
from kitbox.network.pooling import (
    Pooling,
    build_custom_features,
    build_feature_maps,
    pooled_by,
)
from kitbox.plugin import source_code
from kitbox.plugin.cost import Cost
from kitbox.plugin.plugin import Plugin
from kitbox.plugin.schedules import side_lengths

_BYTES = 4  # of a float32, as a checkpoint stores it


class Network(nn.Module):
    """From pixels (n, h, w, 3) uint8 to embeddings (n, d) float32, not yet of unit length.

    With `divide` an embedding consists of a slice for each learner, each of unit length.
    `last_projection (n, d)` is the last batch before the neck's normalisation, which would hide a
    collapse: it spreads even embeddings that are nearly equal.
    """

    def __init__(self, plugin: Plugin, *, pretrained: bool = False) -> None:
        """Build the network of a plugin, with its backbone's weights downloaded if `pretrained`.

        Raises KitboxError for a backbone that does not support the plugin's settings.
        """
        super().__init__()
        if source_code.is_reference(plugin.backbone):
            self.backbone, self.data_config = build_custom(plugin, pretrained=pretrained)
            self.feature_maps, pooling = build_custom_features(
                self.backbone, plugin, _sizes(plugin)
            )
        else:
            pooling = pooled_by(plugin)
            self.backbone, channels, self.data_config = build_backbone(
                plugin.backbone,
                pretrained=pretrained,
                drop_path=plugin.drop_path,
                sizes=_sizes(plugin),
                whole=pooling == "native",
            )
            self.feature_maps = build_feature_maps(self.backbone, plugin, pooling, channels)
        trainable = {name for name, p in self.backbone.named_parameters() if p.requires_grad}
        self.trainable = frozenset(trainable) - self.feature_maps.unused
        self.train_last_blocks = plugin.train_last_blocks
        if plugin.train_last_blocks is not None:
            self.trainable = _last_blocks(self, plugin.backbone, plugin.train_last_blocks)
        self.checkpointing = plugin.checkpointing
        if plugin.checkpointing:
            _check_checkpointing(self.backbone, plugin.backbone)
        self.pooling = Pooling(pooling, plugin.gem_power, len(self.feature_maps.channels))
        self.channels = sum(self.feature_maps.channels)
        self.embedding_dim = plugin.embedding_dim or self.channels
        self.learners = plugin.divide.learners if plugin.divide else 1
        self.neck = nn.Sequential(
            _build_projection(plugin, self.channels), _build_norm(plugin, self.embedding_dim)
        )
        self.normalisation = Normalisation(self.data_config)
        self.frozen_batchnorm = plugin.frozen_batchnorm
        self.last_projection = torch.empty(0, self.embedding_dim)
        self.freeze_backbone(False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return embeddings (n, d) of pixels (n, h, w, 3), or of what `pool` returned for them."""
        projection, norm = self.neck
        projected = projection(pixels if pixels.ndim == 2 else self.pool(pixels))
        self.last_projection = projected.detach()
        embeddings: Tensor = norm(projected)
        if self.learners == 1:
            return embeddings
        slices = embeddings.float().reshape(len(embeddings), self.learners, -1)
        return nn.functional.normalize(slices, dim=2).flatten(1)

    def pool(self, pixels: Tensor) -> Tensor:
        """Return the pooled feature maps of pixels, (n, c) float32, before the neck."""
        pooled: Tensor = self.pooling(
            self.feature_maps.compute(self.backbone, self.normalisation(pixels))
        )
        return pooled

    def train(self, mode: bool = True) -> "Network":
        """Switch between training and eval mode; frozen parts stay in eval mode."""
        super().train(mode)
        if self.checkpointing:  # without gradients there is no memory to save
            self.backbone.set_grad_checkpointing(mode)  # type: ignore[operator]
        if self.backbone_is_frozen:
            self.backbone.eval()
        elif self.frozen_batchnorm:
            for module in self.backbone.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        if self.train_last_blocks is not None:
            for name, module in self.backbone.named_modules():
                parameters = {f"{name}.{each}".lstrip(".") for each, _ in module.named_parameters()}
                if parameters and not parameters & self.trainable:
                    module.eval()  # its batch norms keep their statistics
        return self

    def freeze_backbone(self, frozen: bool) -> None:
        """Freeze or unfreeze the backbone: its weights, statistics and stochastic depth."""
        self.backbone_is_frozen = frozen
        for name, parameter in self.backbone.named_parameters():
            parameter.requires_grad_(not frozen and name in self.trainable)
        self.train(self.training)


def layers_of(backbone: nn.Module, name: str, setting: str) -> tuple[dict[str, int], int]:
    """Return parameter → layer, counted from the stem, as timm groups them, and the last block.

    Norms and heads after the last block may be in a layer of their own, above it. Raises
    KitboxError for a backbone whose layers are not known.
    """
    from timm.models import group_parameters

    if not hasattr(backbone, "group_matcher"):
        raise KitboxError(
            f"the layers of backbone {name} are not known; leave {setting} out, or choose "
            "another, such as tf_efficientnet_lite0"
        )
    matcher = cast(Any, backbone).group_matcher(coarse=False)
    # what no pattern knows is grouped with this name, after all blocks
    named = [*((each, None) for each, _ in backbone.named_parameters()), ("?", None)]
    module = SimpleNamespace(named_parameters=lambda: iter(named))
    layers: dict[str, int] = group_parameters(module, matcher, reverse=True)
    after = layers.pop("?")
    return layers, max((layer for layer in layers.values() if layer < after), default=0)


def _last_blocks(network: Network, name: str, count: int) -> frozenset[str]:
    """Return those parameters that learn which are in the last blocks, or after them."""
    layers, last = layers_of(network.backbone, name, "train_last_blocks")
    learning = [layers[each] for each in network.trainable if layers[each] <= last]
    last = max(learning, default=last)  # blocks above the last of pooled_maps do not count
    if count > last + 1:
        raise KitboxError(
            f"train_last_blocks = {count}, but backbone {name} has {last + 1}, its stem among them",
            fix="leave it out to train all",
        )
    return frozenset(each for each in network.trainable if count and layers[each] > last - count)


def _check_checkpointing(backbone: Any, name: str) -> None:
    """Raise KitboxError for a backbone that cannot be computed twice to save memory."""
    try:
        backbone.set_grad_checkpointing(True)
        backbone.set_grad_checkpointing(False)
    except (AttributeError, AssertionError, NotImplementedError) as error:
        raise KitboxError(
            f"backbone {name} has no gradient checkpointing; leave checkpointing out"
        ) from error


def _sizes(plugin: Plugin) -> tuple[tuple[int, int], ...]:
    """Return the sizes of images of a plugin, its own first, each once."""
    phases = [side_lengths(phase.image_size) for phase in plugin.phases if phase.image_size]
    return tuple(dict.fromkeys([plugin.height_width, *phases]))


def _build_projection(plugin: Plugin, channels: int) -> nn.Module:
    if plugin.embedding_dim is None:
        return nn.Identity()
    projection = nn.Linear(channels, plugin.embedding_dim)
    if plugin.divide:
        # each learner is initialised as a layer of its own (Sanakoyeu et al., CVPR 2019)
        for rows in projection.weight.data.chunk(plugin.divide.learners):
            nn.init.xavier_normal_(rows)
    return projection


def _build_norm(plugin: Plugin, embedding_dim: int) -> nn.Module:
    match plugin.neck:
        case "batchnorm":
            return nn.BatchNorm1d(embedding_dim)
        case "layernorm":
            return nn.LayerNorm(embedding_dim)
        case "none":
            return nn.Identity()


class Normalisation(nn.Module):
    """From pixels (n, h, w, 3) uint8 to normalised (n, 3, h, w) float32; not in a checkpoint."""

    def __init__(self, config: DataConfig) -> None:
        """Normalise by a backbone's mean, standard deviation, scale and channel order."""
        super().__init__()
        self.blue_first = config.blue_first
        # uint8 · gain + offset = (pixel · scale / 255 − mean) / std
        mean, std = torch.tensor(config.mean), torch.tensor(config.std)
        self.register_buffer("gain", (config.scale / 255 / std).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("offset", (-mean / std).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the normalised pixels; NHWC bytes viewed as NCHW are channels_last already."""
        if self.blue_first:
            pixels = pixels.flip(3)
        gain, offset = cast(Tensor, self.gain), cast(Tensor, self.offset)
        return torch.addcmul(offset, pixels.permute(0, 3, 1, 2).float(), gain)


def measure_cost(plugin: Plugin) -> Cost:
    """Return the cost of a plugin's network, which is run on an image of each of its sizes.

    It is built without memory for its weights, unless one of its operations needs them. Raises
    KitboxError for a backbone that does not exist, and for sizes that it does not take.
    """
    sizes = _sizes(plugin)
    own = source_code.is_reference(plugin.backbone)  # built and run with its values anyway
    try:
        network, operations = _run_once(plugin, sizes, "cpu" if own else "meta")
    except KitboxError:
        raise
    except Exception:  # meta tensors have no values, and not every operation knows them
        network, operations = _run_once(plugin, sizes, "cpu")
    unused = {f"backbone.{name}" for name in network.feature_maps.unused}
    used = [p for name, p in network.named_parameters() if name not in unused]
    return Cost(
        parameters=sum(p.numel() for p in used),
        multiply_adds=None if operations is None else operations // 2,  # a multiplication, a sum
        checkpoint_bytes=_BYTES * sum(t.numel() for t in network.state_dict().values()),
        embedding_dim=network.embedding_dim,
        pooling=network.pooling.kind,
        interpolation=network.data_config.interpolation,
    )


def _run_once(
    plugin: Plugin, sizes: Sequence[tuple[int, int]], device: str
) -> tuple[Network, int | None]:
    """Build a network and run it on an image of each size; return the operations of the first.

    Raises KitboxError for a size that the network does not take on the CPU.
    """
    import timm  # noqa: F401  # parts of torch that it imports need tensors with values: torch 2.6

    with torch.device(device), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        network = Network(plugin).eval()
        operations: list[int | None] = []
        for size in sizes:
            pixels = torch.zeros((1, *size, 3), dtype=torch.uint8)
            try:
                operations.append(_count_operations(network, pixels))
            except (KitboxError, MemoryError):
                raise
            except Exception as error:
                if device == "meta":
                    raise
                raise _refused_size(plugin, size, error) from error
    return network, operations[0]


def _count_operations(network: Network, pixels: Tensor) -> int | None:
    """Run a network; return its operations, None where they cannot be counted."""
    try:
        with FlopCounterMode(display=False) as counter:
            network(pixels)
    except KitboxError:
        raise
    except Exception:
        network(pixels)  # raises the network's own error
        return None
    return int(counter.get_total_flops())


def _refused_size(plugin: Plugin, size: tuple[int, int], error: Exception) -> KitboxError:
    """Return the error about an image size that a backbone does not take."""
    height, width = size
    own = own_size(plugin.backbone)
    pixels = str(own[0]) if own[0] == own[1] else f"{own[0]}x{own[1]}"
    return KitboxError(
        f"backbone {plugin.backbone} does not take {height}x{width} pixels ({first_line(error)})",
        fix="choose another backbone" if own == size else f"its own size is {pixels}",
    )
