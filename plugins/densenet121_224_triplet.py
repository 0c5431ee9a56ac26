"""DenseNet-121 at 224 px on triplets: pretraining for the second network of GDSC 2020, third place.

The settings and their sources are those of resnet34_224_triplet.

Weights: densenet121.ra_in1k of timm (ImageNet); licence Apache-2.0.
"""

from kitbox import PK, Plugin, Triplet

plugin = Plugin(
    backbone="densenet121",
    image_size=224,
    embedding_dim=256,
    neck="batchnorm",
    losses=(Triplet(margin="soft", mining="batch_hard"),),
    sampler=PK(images_per_label=4),
    augmentation="gdsc2020",
    min_images_per_label=2,  # as in densenet121_480
    epochs=80,
    batch_size=64,  # P = 16 individuals
    optimizer="adam",
    learning_rate=2e-4,
    final_learning_rate=1e-6,
    weight_decay=1e-3,
    warmup_epochs=2,
    gradient_clip=None,
)
