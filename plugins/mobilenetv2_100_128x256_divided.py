"""MobileNetV2 at 128x256 px by divide and conquer: the method at a size for a CPU.

As mobilenetv2_100_128x256, except for the margin loss and its pairs. Its parts have the proportions
of the 2019 source: slices for four tenths of the epochs, undivided images at the end.

Weights: mobilenetv2_100.ra_in1k of timm (ImageNet); licence Apache-2.0.
"""

from kitbox import PK, Divide, Margin, Plugin

plugin = Plugin(
    backbone="mobilenetv2_100",
    image_size=(128, 256),
    weights="file",
    pooling="gem",
    embedding_dim=512,
    losses=(Margin(margin=0.2, beta=1.2, mining="closest"),),
    sampler=PK(images_per_label=2),  # most flukes have one or two photographs; 4 would repeat them
    divide=Divide(learners=4, every=2, whole_from=5, undivided_from=10),
    augmentation="light",
    epochs=10,
    batch_size=32,
    learning_rate=1e-3,
    head_learning_rate=1e-2,  # neck and heads start from random weights
    weight_decay=1e-2,
    score_every=5,
)
