"""One torch module from pixels to embeddings: backbone, pooling, neck."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from kitbox.network import backbone, stages
from kitbox.network.normalisation import Normalisation
from kitbox.network.pooling import Pooling
from kitbox.plugin.settings import Plugin


class Network(nn.Module):
    """From pixels (n, h, w, 3) uint8 to embeddings (n, d) float32, not yet of unit length.

    With `divide` an embedding is a slice for each learner, each of unit length. `last_projected
    (n, d)` are those of the last forward before the neck's normalisation, which spreads every
    batch, collapsed or not.
    """

    def __init__(self, plugin: Plugin, *, pretrained: bool = False) -> None:
        """Build the network of a plugin; `pretrained` downloads the backbone's weights.

        Raises KitboxError for a backbone that cannot be as the plugin says.
        """
        super().__init__()
        self.backbone, channels, self.pixel_form = backbone.build(
            plugin.backbone, pretrained=pretrained, drop_path=plugin.drop_path
        )
        self.stages = stages.of(self.backbone, plugin.backbone, plugin.pooled_maps, channels)
        learning = {name for name, p in self.backbone.named_parameters() if p.requires_grad}
        self.learning = frozenset(learning) - self.stages.unused
        self.pooling = Pooling(plugin, len(self.stages.channels))
        self.channels = sum(self.stages.channels)
        self.embedding_dim = plugin.embedding_dim or self.channels
        self.learners = plugin.divide.learners if plugin.divide else 1
        self.neck = nn.Sequential(
            _projection(plugin, self.channels), _norm(plugin, self.embedding_dim)
        )
        self.normalised = Normalisation(self.pixel_form)
        self.frozen_batchnorm = plugin.frozen_batchnorm
        self.last_projected = torch.empty(0, self.embedding_dim)
        self.freeze_backbone(False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return embeddings (n, d) of pixels (n, h, w, 3)."""
        projection, norm = self.neck
        projected = projection(self.pooled(pixels))
        self.last_projected = projected.detach()
        embeddings: Tensor = norm(projected)
        if self.learners == 1:
            return embeddings
        slices = embeddings.float().reshape(len(embeddings), self.learners, -1)
        return nn.functional.normalize(slices, dim=2).flatten(1)

    def pooled(self, pixels: Tensor) -> Tensor:
        """Return what the backbone alone gives, (n, c) float32: the frozen baseline."""
        pooled: Tensor = self.pooling(self.stages.maps(self.backbone, self.normalised(pixels)))
        return pooled

    def train(self, mode: bool = True) -> "Network":
        """Switch modes, but for what is frozen: that stays as in use."""
        super().train(mode)
        if self.backbone_is_frozen:
            self.backbone.eval()
        elif self.frozen_batchnorm:
            for module in self.backbone.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def freeze_backbone(self, frozen: bool) -> None:
        """Take the backbone out of what learns, its statistics and noise too, or put it back."""
        self.backbone_is_frozen = frozen
        for name, parameter in self.backbone.named_parameters():
            parameter.requires_grad_(not frozen and name in self.learning)
        self.train(self.training)


def _projection(plugin: Plugin, channels: int) -> nn.Module:
    if plugin.embedding_dim is None:
        return nn.Identity()
    projection = nn.Linear(channels, plugin.embedding_dim)
    if plugin.divide:
        # each learner starts as a layer of its own (Sanakoyeu et al., CVPR 2019)
        for rows in projection.weight.data.chunk(plugin.divide.learners):
            nn.init.xavier_normal_(rows)
    return projection


def _norm(plugin: Plugin, embedding_dim: int) -> nn.Module:
    match plugin.neck:
        case "batchnorm":
            return nn.BatchNorm1d(embedding_dim)
        case "layernorm":
            return nn.LayerNorm(embedding_dim)
        case "none":
            return nn.Identity()
