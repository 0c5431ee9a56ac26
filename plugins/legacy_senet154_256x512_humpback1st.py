"""SENet-154 at 256x512 px: first place of Kaggle's humpback whales, 2019, without the fluke masks.

Batches, learning rates and losses are from the author's program. The number of epochs in each phase
is our choice; the author chose it by looking at the scores. docs/recipes/humpback2019.md lists the
other differences.

Weights: legacy_senet154.in1k of timm (ImageNet); licence Apache-2.0.
"""

from kitbox import PK, BinaryCrossEntropy, Phase, Plugin, Triplet

plugin = Plugin(
    backbone="legacy_senet154",
    image_size=(256, 512),
    embedding_dim=None,
    neck="batchnorm",
    dropout=0.2,
    losses=(
        BinaryCrossEntropy(hardest=0.003),  # 30 of 10,008 outputs
        Triplet(margin=0.3, mining="batch_hard"),
    ),
    sampler=PK(images_per_label=2),
    unknown_share=0.25,  # one of anchor, positive, negative and new_whale
    flip_identities=True,
    augmentation="light",
    pseudo_labels=True,
    epochs=60,
    phases=(
        Phase(epochs=30, min_images_per_label=10),
        Phase(epochs=20),
        Phase(epochs=10, rate=0.1),
    ),
    batch_size=48,  # 12 groups of these four
    optimizer="adam",
    learning_rate=3e-4,
    final_learning_rate=3e-4,  # only the last phase lowers it
    weight_decay=2e-4,
    warmup_epochs=0,
)
