"""ResNet-50 at 224 px by divide and conquer: the settings of Sanakoyeu et al., CVPR 2019.

Eight learners share 128 dimensions. The settings follow the authors' program, not the paper. It
counts epochs from 0, trains the whole embedding from epoch 80 and on undivided images from epoch
190. The program also has a dropout of .01 before the projection, and crops and mirrors images at
random, which "light" does not.

Weights: resnet50.a1_in1k of timm (ImageNet); licence Apache-2.0.
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
    final_learning_rate=1e-5,  # constant
    weight_decay=1e-4,
    warmup_epochs=0,
    gradient_clip=None,
)
