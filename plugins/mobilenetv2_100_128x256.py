"""MobileNetV2 at 128x256 px: a second small network for flukes, with another backbone and size.

Its errors differ from those of tf_efficientnet_lite0_96x192, so the two together are better than
either. Put ImageNet weights into weights/mobilenetv2_100.safetensors, or use --weights hub.

Weights: mobilenetv2_100.ra_in1k of timm (ImageNet); licence Apache-2.0.
"""

from kitbox import ArcFace, Plugin

plugin = Plugin(
    backbone="mobilenetv2_100",
    image_size=(128, 256),
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
