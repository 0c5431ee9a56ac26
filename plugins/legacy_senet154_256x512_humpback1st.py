"""SENet-154 at 256x512 px: the first place of Kaggle's humpback whales, 2019, without its masks.

Batches, rates and losses are of its program. How many epochs a stage has is ours: there somebody
looked at the scores. docs/recipes/humpback2019.md says what else differs.
"""

from kitbox import PK, BinaryCrossEntropy, Plugin, Stage, Triplet

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
    unknown_share=0.25,  # of anchor, positive, negative and new_whale
    flip_identities=True,
    augmentation="light",
    pseudo_labels=True,
    epochs=60,
    stages=(
        Stage(epochs=30, min_images_per_label=10),
        Stage(epochs=20),
        Stage(epochs=10, rate=0.1),
    ),
    batch_size=48,  # 12 such fours
    optimizer="adam",
    learning_rate=3e-4,
    final_learning_rate=3e-4,  # falls by stages alone
    weight_decay=2e-4,
    warmup_epochs=0,
)
