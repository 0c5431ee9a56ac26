"""MegaDescriptor-L at 384 px, frozen: Swin-L trained on many animal data sets.

The embedding is the mean of its last map, of 1,536 dimensions. Pixels are normalised by ImageNet's
mean and deviation: so says its config.json, and so do its authors' own programs; the example on its
page has 0.5 in their place. Without internet put the file, or the downloaded folder, into weights/
as MegaDescriptor-L-384, or name it: 'kitbox train megadescriptor_l_384 --weights FILE'.

Čermák et al., WildlifeDatasets: An Open-Source Toolkit for Animal Re-Identification, WACV 2024.

Weights: hf-hub:BVRA/MegaDescriptor-L-384; licence CC-BY-NC-4.0: not for commercial use.
"""

from kitbox import Plugin

plugin = Plugin(
    backbone="swin_large_patch4_window12_384",
    image_size=384,
    weights="hf-hub:BVRA/MegaDescriptor-L-384",
    pooling="average",
    embedding_dim=None,
    neck="none",
    losses=(),
    epochs=0,
    warmup_epochs=0,
)
