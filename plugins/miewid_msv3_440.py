"""MiewID msv3 at 440 px, frozen: EfficientNetV2-M, GeM and batch norm, trained on 64 species.

Wildbook's network, built from timm: no code of its repository is run. The embedding has 2,152
dimensions, and is the batch norm's output with the statistics of its training. Its licence is not
stated, so its file is yours to bring: put model.safetensors of conservationxlabs/miewid-msv3 into
weights/ as miewid-msv3.safetensors (or keep its folder there, weights/miewid-msv3), or name it:
'kitbox train miewid_msv3_440 --weights FILE'.

Otarashvili et al., Multispecies Animal Re-ID Using a Large Community-Curated Dataset, arXiv
2412.05602.

Weights: a file that you bring, of conservationxlabs/miewid-msv3; licence not stated: ask its
owners, Conservation X Labs.
"""

from kitbox import Plugin

plugin = Plugin(
    backbone="efficientnetv2_rw_m",
    image_size=440,
    weights="file:miewid-msv3",
    pooling="gem_learned",
    gem_power=3.0,
    embedding_dim=None,
    neck="batchnorm",
    losses=(),
    epochs=0,
    warmup_epochs=0,
)
