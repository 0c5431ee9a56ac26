"""ResNet-50 at 224 px by divide and conquer: the settings of Sanakoyeu et al., CVPR 2019.

Eight learners share 128 dimensions. Of their program rather than their paper: it counts epochs
from 0, learns the whole embedding from its 80th on, and all images together from its 190th. It
has a dropout of .01 before the projection, crops by chance and mirrors images; "light" does not.
"""

from kitbox import PK, Divide, Margin, Plugin

plugin = Plugin(
    backbone="resnet50",
    image_size=224,
    embedding_dim=128,
    neck="none",
    frozen_batchnorm=True,
    losses=(Margin(margin=0.2, beta=1.2, learn_beta="no", mining="closest"),),
    sampler=PK(images_per_label=4),
    divide=Divide(learners=8, every=2, whole_from=81, undivided_from=191),
    augmentation="light",
    epochs=200,
    batch_size=80,
    optimizer="adam",
    learning_rate=1e-5,
    final_learning_rate=1e-5,  # the rate never falls
    weight_decay=1e-4,
    warmup_epochs=0,
    gradient_clip=None,
)
