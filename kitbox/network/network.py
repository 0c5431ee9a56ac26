"""One torch module from pixels to embeddings: backbone, pooling, neck."""

from typing import cast

from torch import Tensor, nn

from kitbox.network import backbone
from kitbox.network.normalisation import Normalisation
from kitbox.plugin.settings import Plugin


class Network(nn.Module):
    """From pixels (n, h, w, 3) uint8 to embeddings (n, d) float32, not yet of unit length."""

    def __init__(self, plugin: Plugin, *, pretrained: bool = False) -> None:
        """Build the network of a plugin; `pretrained` downloads the backbone's weights."""
        super().__init__()
        self.backbone, channels, self.pixel_form = backbone.build(
            plugin.backbone, pretrained=pretrained
        )
        self.backbone_name, self.channels = plugin.backbone, channels
        self.gem_power = plugin.gem_power if plugin.pooling == "gem" else None
        self.embedding_dim = plugin.embedding_dim or channels
        projection = (
            nn.Linear(channels, plugin.embedding_dim) if plugin.embedding_dim else nn.Identity()
        )
        norm = nn.BatchNorm1d(self.embedding_dim) if plugin.neck == "batchnorm" else nn.Identity()
        self.neck = nn.Sequential(projection, norm)
        self.normalised = Normalisation(self.pixel_form)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return embeddings (n, d) of pixels (n, h, w, 3)."""
        embeddings: Tensor = self.neck(self.pooled(pixels))
        return embeddings

    def pooled(self, pixels: Tensor) -> Tensor:
        """Return what the backbone alone gives, (n, c) float32: the frozen baseline."""
        maps = self.backbone(self.normalised(pixels))
        backbone.check_maps(maps, self.backbone_name, self.channels)
        maps = maps.float()  # autocast takes no precision away from means and powers
        if self.gem_power is None:
            return cast(Tensor, maps.mean((2, 3)))
        # Radenović et al., TPAMI 2019: the power mean; 1e-6 keeps the root's gradient finite
        power = self.gem_power
        return cast(Tensor, maps.clamp(min=1e-6).pow(power).mean((2, 3)).pow(1 / power))
