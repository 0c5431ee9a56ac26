"""ResNet-34 at 620 px with pseudo-labels: the first network of GDSC 2020, third place.

The size is 620 because flukes are distinguished by nicks of a few pixels. The solution scored 1434
with it.

Weights: resnet34.a1_in1k of timm (ImageNet); licence Apache-2.0.
"""

from kitbox import ArcFace, CrossEntropy, Plugin

plugin = Plugin(
    backbone="resnet34",
    image_size=620,
    embedding_dim=256,
    neck="batchnorm",
    dropout=0.0,
    losses=(ArcFace(margin=0.5, scale=30.0), CrossEntropy()),  # the solution always adds both
    augmentation="gdsc2020",
    min_images_per_label=2,  # the solution dropped individuals with one photograph
    pseudo_labels=True,
    epochs=70,
    batch_size=32,
    optimizer="adam",
    learning_rate=2.5e-4,
    final_learning_rate=5e-5,
    weight_decay=1e-3,
    warmup_epochs=2,
    gradient_clip=None,
)
