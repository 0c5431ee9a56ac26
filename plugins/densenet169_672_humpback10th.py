"""DenseNet-169 at 448, then 672 px by divide and conquer: tenth place, Kaggle's humpbacks, 2019.

The team's write-up gives the image sizes, the batch size and the drop of the learning rate after
100 epochs. Slices, clusters and pairs are those of resnet50_224_divided, whose authors include a
member of the team. Dimensions, peak learning rate and the number of epochs are our choice.

Weights: densenet169.tv_in1k of timm (ImageNet); licence Apache-2.0.
"""

from kitbox import PK, Divide, Margin, Multistep, Phase, Plugin

plugin = Plugin(
    backbone="densenet169",
    image_size=672,
    embedding_dim=512,
    neck="none",
    losses=(Margin(margin=0.2, beta=1.2, mining="closest"),),
    sampler=PK(images_per_label=4),
    divide=Divide(learners=8, every=2),
    augmentation="light",
    epochs=150,
    phases=(Phase(epochs=100, image_size=448), Phase(epochs=50)),
    batch_size=96,
    optimizer="adam",
    learning_rate=1e-4,
    schedule=Multistep(milestones=(100,), factor=0.1),
    weight_decay=1e-4,
    warmup_epochs=0,
    gradient_clip=None,
)
