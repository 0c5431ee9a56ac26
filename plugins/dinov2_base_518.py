"""DINOv2 ViT-B/14 at 518 px, frozen: a general network that needs no labels and no training.

Its class token is the embedding. Whitening ('kitbox score dinov2_base_518 --whiten 256') makes more
of it than raw cosines do. Another size is given by name, in multiples of 14:
dinov2_base_518@image_size=252x504.

Oquab et al., DINOv2: Learning Robust Visual Features without Supervision, TMLR 2024.

Weights: vit_base_patch14_dinov2.lvd142m of timm; licence Apache-2.0.
"""

from kitbox import Plugin

plugin = Plugin(
    backbone="vit_base_patch14_dinov2.lvd142m",
    image_size=518,
    pooling="cls",
    embedding_dim=None,
    neck="none",
    losses=(),
    epochs=0,
    warmup_epochs=0,
)
