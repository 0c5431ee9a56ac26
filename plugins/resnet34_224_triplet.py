"""ResNet-34 at 224 px on triplets: pretraining for the first network of GDSC 2020, third place.

It is trained on Kaggle's humpbacks; docs/recipes/gdsc2020.md continues from it. The author gives
neither image size, learning rate nor epochs: these, like P = 16, K = 4 and the soft margin, are the
defaults of the author's program.

Weights: resnet34.a1_in1k of timm (ImageNet); licence Apache-2.0.
"""

from kitbox import PK, Plugin, Triplet

plugin = Plugin(
    backbone="resnet34",
    image_size=224,
    embedding_dim=256,
    neck="batchnorm",
    losses=(Triplet(margin="soft", mining="batch_hard"),),
    sampler=PK(images_per_label=4),
    augmentation="gdsc2020",
    min_images_per_label=2,  # as in resnet34_620
    epochs=80,
    batch_size=64,  # P = 16 individuals
    optimizer="adam",
    learning_rate=2e-4,
    final_learning_rate=1e-6,
    weight_decay=1e-3,
    warmup_epochs=2,
    gradient_clip=None,
)
