"""EfficientNet-Lite0 at 96x192 px: a first network for flukes that a CPU trains in minutes.

Flukes are twice as wide as high, and so is the image. Images are not mirrored, because a mirrored
fluke looks like another individual. Put ImageNet weights into
weights/tf_efficientnet_lite0.safetensors, or use --weights hub where a hub can be reached.

Weights: tf_efficientnet_lite0.in1k of timm (ImageNet); licence Apache-2.0.
"""

from kitbox import ArcFace, Plugin

plugin = Plugin(
    backbone="tf_efficientnet_lite0",
    image_size=(96, 192),
    weights="file",
    pooling="gem",
    embedding_dim=512,
    dropout=0.2,
    losses=(ArcFace(margin=0.3, scale=24.0),),
    augmentation="light",
    epochs=10,
    batch_size=32,
    learning_rate=1e-3,
    head_learning_rate=1e-2,  # neck and heads start from random weights
    weight_decay=1e-2,
    score_every=5,
)
