"""DINOv3 ViT-B/16 at 256 px, frozen: a general network that needs no labels and no training.

Its class token is the embedding, as its authors use it for retrieval. Another size is given by
name, in multiples of 16: dinov3_base_256@image_size=256x512.

Siméoni et al., DINOv3, arXiv 2508.10104.

Weights: vit_base_patch16_dinov3.lvd1689m of timm; licence DINOv3 License, Meta's own: read its
terms before you publish or sell what you make with them.
"""

from kitbox import Plugin

plugin = Plugin(
    backbone="vit_base_patch16_dinov3.lvd1689m",
    image_size=256,
    pooling="cls",
    embedding_dim=None,
    neck="none",
    losses=(),
    epochs=0,
    warmup_epochs=0,
)
