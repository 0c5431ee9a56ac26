"""MobileNetV2 at 128x256 px on triplets with harder and harder negatives, in two cycles.

After Sigmoid-Triplet-Sequencer; see docs/recipes/hardness.md. One pass over the 510 humpbacks with
at least two photographs trains on 1,530 images an epoch and embeds 1,942 to choose negatives from,
about the work of an epoch of mobilenetv2_100_128x256. The weights are the same as there.

Weights: mobilenetv2_100.ra_in1k of timm (ImageNet); licence Apache-2.0.
"""

from kitbox import Hardness, Plugin, Triplet

plugin = Plugin(
    backbone="mobilenetv2_100",
    image_size=(128, 256),
    weights="file",
    pooling="gem",
    embedding_dim=512,
    losses=(Triplet(margin=0.2, mining="sequence"),),
    sampler=Hardness(curve="logistic", cycles=2),
    augmentation="light",
    epochs=10,
    batch_size=48,
    learning_rate=1e-3,
    head_learning_rate=1e-2,  # the neck starts from random weights
    weight_decay=1e-2,
    score_every=5,
)
