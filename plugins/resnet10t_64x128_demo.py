"""A small ResNet at 64x128 px from random weights: the demo's second network.

Without pretrained weights it needs more epochs; each takes a second or two.

Weights: none, it begins with random ones; licence none needed.
"""

from kitbox import ArcFace, Plugin

plugin = Plugin(
    backbone="resnet10t",
    image_size=(64, 128),
    weights="none",
    pooling="gem",
    embedding_dim=256,
    losses=(ArcFace(margin=0.3, scale=24.0),),
    augmentation="light",
    epochs=14,
    batch_size=16,
    learning_rate=2e-3,
    head_learning_rate=1e-2,
    weight_decay=5e-2,
    warmup_epochs=1,
    score_every=14,
)
