"""DenseNet-121 at 480 px without pseudo-labels: the second network of GDSC 2020, third place.

Alone it scored 1450 points, the first network (resnet34_620) 1434.

Weights: densenet121.ra_in1k of timm (ImageNet); licence Apache-2.0.
"""

from kitbox import ArcFace, CrossEntropy, Plugin

plugin = Plugin(
    backbone="densenet121",
    image_size=480,
    embedding_dim=256,
    neck="batchnorm",
    dropout=0.5,
    losses=(ArcFace(margin=0.5, scale=30.0), CrossEntropy()),  # the solution always adds both
    augmentation="gdsc2020",
    min_images_per_label=2,  # the solution dropped individuals with one photograph
    pseudo_labels=False,
    epochs=90,
    batch_size=16,
    optimizer="adam",
    learning_rate=2.5e-4,
    final_learning_rate=5e-5,
    weight_decay=1e-3,
    warmup_epochs=2,
    gradient_clip=None,
)
