"""ConvNeXt-B at 384 px with ArcFace: a convolutional network to train where there is a GPU.

A family other than the transformers, so that it adds to them in an ensemble. The learning
rates are the usual ones for fine-tuning with layer decay (Liu et al., A ConvNet for the 2020s, CVPR
2022); epochs and batches are our choice. Flukes are wide: convnext_base_384@image_size=256x512.

Weights: convnext_base.fb_in22k_ft_in1k_384 of timm (ImageNet-22k); licence Apache-2.0.
"""

from kitbox import ArcFace, Ema, Plugin

plugin = Plugin(
    backbone="convnext_base.fb_in22k_ft_in1k_384",
    image_size=384,
    pooling="gem",
    embedding_dim=512,
    dropout=0.2,
    drop_path=0.2,
    losses=(ArcFace(margin=0.5, scale=30.0),),
    augmentation="light",
    epochs=20,
    batch_size=16,
    accumulate=2,
    learning_rate=5e-5,
    head_learning_rate=1e-3,  # neck and heads start from random weights
    layer_decay=0.8,
    weight_decay=1e-2,
    warmup_epochs=2,
    averaging=Ema(decay=0.999),
)
