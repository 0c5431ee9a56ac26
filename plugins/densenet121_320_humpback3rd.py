"""DenseNet-121 at 320 px with ArcFace: the third place of Kaggle's humpback whales, 2019.

The values are from configs/densenet121.2nd.yml of the solution, the epochs from its README: 60
hours on a GTX 1080 Ti. docs/recipes/humpback2019.md lists the differences.

Weights: densenet121.ra_in1k of timm (ImageNet); licence Apache-2.0.
"""

from kitbox import ArcFace, Multistep, Plugin, Swa

plugin = Plugin(
    backbone="densenet121",
    image_size=320,
    embedding_dim=512,
    neck="batchnorm",
    dropout=0.5,
    losses=(ArcFace(margin=0.5, scale=65.0),),
    flip_identities=True,
    augmentation="light",
    crop_margin=0.15,  # a box 1.3 times as wide and high
    epochs=300,
    batch_size=32,
    optimizer="adam",
    learning_rate=5e-4,
    schedule=Multistep(milestones=(150, 200), factor=0.5),
    weight_decay=5e-4,
    warmup_epochs=0,
    gradient_clip=None,
    averaging=Swa(from_epoch=291),  # ten checkpoints; the solution used the ten best
)
