"""BN-Inception at 224 px with the multi-similarity loss: a classic of deep metric learning.

For years papers compared their losses on this network of pretrainedmodels, with embeddings of 512
dimensions. Its input is BGR from 0 to 255, which kitbox takes care of. Epochs and learning rates
are our choice.

Weights: bninception of pretrainedmodels (ImageNet); licence not stated, that of the code is
BSD-3-Clause.
"""

from kitbox import PK, MultiSimilarity, Plugin

plugin = Plugin(
    backbone="pretrainedmodels/bninception",
    image_size=224,
    embedding_dim=512,
    neck="none",
    frozen_batchnorm=True,
    losses=(MultiSimilarity(),),
    sampler=PK(images_per_label=4),
    augmentation="light",
    epochs=40,
    batch_size=80,  # 20 individuals
    optimizer="adam",
    learning_rate=3e-5,
    head_learning_rate=3e-4,
    weight_decay=5e-4,
    warmup_epochs=1,
)
