"""MegaDescriptor-T at 224 px, frozen: Swin-T trained on many animal data sets.

The small sister of megadescriptor_l_384, whose file says more: 768 dimensions, a tenth of the work.
Without internet put the file, or the downloaded folder, into weights/ as MegaDescriptor-T-224, or
name it: 'kitbox train megadescriptor_t_224 --weights FILE'.

Čermák et al., WildlifeDatasets: An Open-Source Toolkit for Animal Re-Identification, WACV 2024.

Weights: hf-hub:BVRA/MegaDescriptor-T-224; licence CC-BY-NC-4.0: not for commercial use.
"""

from kitbox import Plugin

plugin = Plugin(
    backbone="swin_tiny_patch4_window7_224",
    image_size=224,
    weights="hf-hub:BVRA/MegaDescriptor-T-224",
    pooling="average",
    embedding_dim=None,
    neck="none",
    losses=(),
    epochs=0,
    warmup_epochs=0,
)
