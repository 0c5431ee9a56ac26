"""ResNet-34 at 224 px on triplets: where the first half of the GDSC 2020 third place began.

Learnt on Kaggle's humpbacks; docs/recipes/gdsc2020.md goes on from it. Its author gives neither
size, rate nor epochs: these are the defaults of his program, as P = 16, K = 4 and the soft margin.
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
    min_images_per_label=2,  # as in the training that follows
    epochs=80,
    batch_size=64,  # P = 16 individuals
    optimizer="adam",
    learning_rate=2e-4,
    final_learning_rate=1e-6,
    weight_decay=1e-3,
    warmup_epochs=2,
    gradient_clip=None,
)
