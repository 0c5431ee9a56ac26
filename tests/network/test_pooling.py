"""Families of timm as backbones: poolings, their own vector, other sizes, a training step."""

import re
from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
from timm.models import generate_default_cfgs, get_pretrained_cfg, model_entrypoint, register_model

from kitbox.errors import KitboxError
from kitbox.network.backbone import _traits, traits_of
from kitbox.network.network import Network, layers_of
from kitbox.network.pooling import pooled_by
from tests.photographs import tiny

Size = tuple[int, int]
PLAIN: dict[str, Any] = {"embed_dim": 32, "depth": 2, "num_heads": 2}
STAGES: dict[str, Any] = {"embed_dim": 16, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2)}
# Family → the network that is shrunk, its own side, and what shrinks it.
SHRUNK: dict[str, tuple[str, int, dict[str, Any]]] = {
    "tiny_vit": ("vit_tiny_patch16_224", 64, PLAIN),
    "tiny_clip": ("vit_base_patch32_clip_224", 64, PLAIN),
    "tiny_dinov2": ("vit_small_patch14_dinov2", 56, PLAIN),
    "tiny_dinov2_reg": ("vit_small_patch14_reg4_dinov2", 56, PLAIN),
    "tiny_dinov3": ("vit_small_patch16_dinov3", 64, PLAIN),
    "tiny_eva02": ("eva02_tiny_patch14_336", 56, {**PLAIN, "img_size": 56}),
    "tiny_siglip": ("vit_base_patch16_siglip_224", 64, PLAIN),
    "tiny_siglip_gap": ("vit_base_patch16_siglip_gap_224", 64, PLAIN),
    "tiny_beit": ("beit_base_patch16_224", 64, PLAIN),
    "tiny_deit": ("deit_tiny_patch16_224", 64, PLAIN),
    "tiny_deit_distilled": ("deit_tiny_distilled_patch16_224", 64, PLAIN),
    "tiny_cait": ("cait_xxs24_224", 64, PLAIN),
    "tiny_xcit": ("xcit_nano_12_p16_224", 64, PLAIN),
    "tiny_swin": ("swin_tiny_patch4_window7_224", 56, STAGES),
    "tiny_swinv2": ("swinv2_tiny_window8_256", 64, STAGES),
    "tiny_efficientnetv2": (
        "tf_efficientnetv2_b0",
        64,
        {"channel_multiplier": 0.25, "depth_multiplier": 0.3},
    ),
    "tiny_pvt": ("pvt_v2_b0", 64, {"depths": (1, 1, 1, 1), "embed_dims": (16, 32, 40, 64)}),
}
default_cfgs = generate_default_cfgs(
    {
        name: replace(get_pretrained_cfg(base), input_size=(3, side, side))
        for name, (base, side, _) in SHRUNK.items()
    }
)


def _register(name: str, base: str, shrunk: dict[str, Any]) -> None:
    def create(pretrained: bool = False, **options: Any) -> Any:
        own = {"pretrained_cfg": get_pretrained_cfg(name)}
        return model_entrypoint(base)(pretrained=pretrained, **(shrunk | options | own))

    create.__name__, create.__module__ = name, __name__
    register_model(create)


for _name, (_base, _, _shrunk) in SHRUNK.items():
    _register(_name, _base, _shrunk)

MAP, TOKENS = ("average", "gem", "gem_learned"), ("cls", "cls+mean")
# Backbone, a size, how timm takes that size, the default pooling, and all poolings.
FAMILIES: list[tuple[str, Size, dict[str, Any], str, tuple[str, ...]]] = [
    ("tiny_vit", (32, 96), {"img_size": (32, 96)}, "native", (*MAP, *TOKENS, "native")),
    ("tiny_clip", (32, 96), {"img_size": (32, 96)}, "native", (*MAP, *TOKENS, "native")),
    ("tiny_dinov2", (28, 56), {"img_size": (28, 56)}, "native", (*MAP, *TOKENS, "native")),
    ("tiny_dinov2_reg", (28, 56), {"img_size": (28, 56)}, "cls", (*MAP, *TOKENS, "native")),
    ("tiny_dinov3", (32, 96), {"img_size": (32, 96)}, "cls", (*MAP, *TOKENS, "native")),
    ("tiny_eva02", (28, 84), {"img_size": (28, 84)}, "native", (*MAP, *TOKENS, "native")),
    ("tiny_siglip", (32, 64), {"img_size": (32, 64)}, "native", (*MAP, "native")),
    ("tiny_siglip_gap", (32, 64), {"img_size": (32, 64)}, "native", (*MAP, "native")),
    ("tiny_beit", (32, 64), {"img_size": (32, 64)}, "native", (*MAP, *TOKENS, "native")),
    ("tiny_deit", (32, 64), {"img_size": (32, 64)}, "native", (*MAP, *TOKENS, "native")),
    ("tiny_deit_distilled", (32, 64), {"img_size": (32, 64)}, "native", (*MAP, *TOKENS, "native")),
    ("tiny_cait", (32, 64), {"img_size": (32, 64)}, "native", (*MAP, *TOKENS, "native")),
    ("tiny_xcit", (32, 64), {}, "native", (*MAP, *TOKENS, "native")),
    ("tiny_swin", (32, 96), {"dynamic_img_size": True}, "average", (*MAP, "native")),
    ("tiny_swinv2", (32, 96), {"dynamic_img_size": True}, "average", (*MAP, "native")),
    ("tiny_pvt", (32, 64), {}, "average", (*MAP, "native")),
    ("test_convnext", (32, 64), {}, "average", (*MAP, "native")),
    ("test_nfnet", (32, 64), {}, "average", (*MAP, "native")),
    ("test_maxvit", (160, 160), {}, "average", (*MAP, "native")),
    ("test_coatnet", (160, 160), {}, "average", (*MAP, "native")),
    ("test_efficientnet", (32, 64), {}, "average", (*MAP, "native")),
    ("tiny_efficientnetv2", (32, 64), {}, "average", (*MAP, "native")),
    ("mobilenetv3_small_050", (32, 64), {}, "average", (*MAP, "native")),
    ("mobilenetv4_conv_small_035", (32, 64), {}, "average", (*MAP, "native")),
    ("lcnet_035", (32, 64), {}, "average", (*MAP, "native")),
    ("ghostnet_050", (32, 64), {}, "average", (*MAP, "native")),
    ("efficientvit_b0", (32, 64), {}, "average", (*MAP, "native")),
    ("coat_lite_tiny", (64, 64), {"img_size": (64, 64)}, "native", ("native",)),
]


def network(backbone: str, size: Size, **settings: Any) -> Network:
    torch.manual_seed(0)
    plain = {"embedding_dim": None, "neck": "none"} | settings
    return Network(tiny(backbone=backbone, image_size=size, **plain))


def images(size: Size) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (2, *size, 3), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("backbone", "size", "options", "default", "poolings"),
    FAMILIES,
    ids=lambda each: str(each)[:20],
)
def test_a_family_is_pooled_as_timm_pools_it_and_takes_a_step(
    backbone: str, size: Size, options: dict[str, Any], default: str, poolings: tuple[str, ...]
) -> None:
    native = network(backbone, size, pooling="native").eval()
    model = timm.create_model(backbone, num_classes=0, **options).eval()
    model.load_state_dict(native.backbone.state_dict())
    with torch.inference_mode():
        features = model.forward_features(native.normalisation(images(size)))
        expected = model.forward_head(features, pre_logits=True)
        vectors = native(images(size))
    assert torch.nn.functional.cosine_similarity(vectors, expected).min() >= 0.99999
    trained = network(backbone, size, weights="none").train()
    assert (trained.pooling.kind, pooled_by(tiny(backbone=backbone))) == (default, default)
    trained(images(size)).square().sum().backward()
    for name, parameter in trained.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    for pooling in (*MAP, *TOKENS, "native"):
        plugin = tiny(backbone=backbone, pooling=pooling)
        if pooling in poolings:
            assert pooled_by(plugin) == pooling
        else:
            with pytest.raises(
                KitboxError, match=f"cannot have pooling='{re.escape(pooling)}': it"
            ):
                pooled_by(plugin)


def test_poolings_of_tokens_are_of_normalised_ones_without_class_and_registers() -> None:
    size = (28, 56)
    model = network("tiny_eva02", size).eval().backbone  # with fc_norm, which its tokens lack
    pixels = torch.randn(2, 3, *size)
    with torch.inference_mode():
        tokens = model.fc_norm(model.forward_features(pixels))
    for pooling, expected in {
        "cls": tokens[:, 0],
        "average": tokens[:, 1:].mean(1),
        "cls+mean": torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], dim=1),
        "gem": tokens[:, 1:].clamp(min=1e-6).pow(3).mean(1).pow(1 / 3),
    }.items():
        made = network("tiny_eva02", size, pooling=pooling).eval()
        made.backbone.load_state_dict(model.state_dict())
        with torch.inference_mode():
            pooled = made.pooling(made.feature_maps.compute(made.backbone, pixels))
        torch.testing.assert_close(pooled, expected)
    assert network("tiny_dinov3", (32, 32)).feature_maps.tokens_before == 5


def test_windows_of_a_swin_keep_their_size_at_others_of_images() -> None:
    own, other = network("tiny_swin", (56, 56)), network("tiny_swin", (40, 72))
    ours, theirs = own.backbone.state_dict(), other.backbone.state_dict()
    assert {name: each.shape for name, each in ours.items()} == {
        name: each.shape for name, each in theirs.items()
    }
    assert "dynamic" not in str(own.backbone.__dict__.get("_model_args", {}))


def test_sizes_that_change_while_it_trains_are_taken() -> None:
    phases = [{"epochs": 1, "image_size": (32, 64)}, {"epochs": 1}]
    progressive = network("tiny_vit", (64, 96), phases=phases).eval()
    with torch.inference_mode():
        assert progressive(images((32, 64))).shape == progressive(images((64, 96))).shape
    with pytest.raises(KitboxError, match="takes images of one size, not of 64x64 and 32x64 in tu"):
        network("tiny_beit", (64, 64), phases=phases)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backbone": "test_vit3", "pooling": "cls"}, "'cls': it has no class token; set one of a"),
        (
            {"backbone": "coat_lite_tiny", "pooling": "gem"},
            "neither a map nor tokens; set pooling=",
        ),
        ({"pooled_maps": (2, 3), "pooling": "native"}, "pooled_maps cannot have pooling='native'"),
        (
            {"backbone": "pretrainedmodels/resnet18", "pooling": "native"},
            "cannot have pooling='native': it has no vector of its own; set one of average",
        ),
        ({"backbone": "deepseek_vit_412m_enc", "pooling": "native"}, "it has no vector of its own"),
    ],
)
def test_a_pooling_that_a_backbone_cannot_have_is_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(KitboxError, match=message):
        pooled_by(tiny(**settings))


@pytest.mark.parametrize(
    ("backbone", "size", "count", "learning"),
    [
        ("tiny_vit", (64, 64), 1, {"blocks.1", "norm"}),
        ("tiny_siglip", (64, 64), 1, {"blocks.1", "norm", "attn_pool"}),
        ("test_convnext", (64, 64), 1, {"stages.3", "head.norm"}),
        ("tiny_vit", (64, 64), 0, set()),
    ],
)
def test_the_last_blocks_and_the_norms_after_them_learn(
    backbone: str, size: Size, count: int, learning: set[str]
) -> None:
    made = network(backbone, size, train_last_blocks=count, neck="batchnorm").train()
    made(images(size)).square().sum().backward()
    found = {name for name, p in made.backbone.named_parameters() if p.grad is not None}
    assert found == made.trainable
    assert {each for each in learning if any(name.startswith(each) for name in found)} == learning
    assert all(name.startswith(tuple(learning)) for name in found)
    made.freeze_backbone(True)
    made.freeze_backbone(False)
    assert {name for name, p in made.backbone.named_parameters() if p.requires_grad} == found


def test_batch_norms_of_frozen_blocks_keep_their_statistics() -> None:
    made = network("test_resnet", (64, 64), train_last_blocks=1).train()
    before = {name: buffer.clone() for name, buffer in made.backbone.named_buffers()}
    made(images((64, 64)))
    changed = {
        name.partition(".")[0]
        for name, buffer in made.backbone.named_buffers()
        if not torch.equal(buffer, before[name])
    }
    assert changed == {"layer4"}


def test_more_blocks_than_there_are_and_unknown_ones_are_refused() -> None:
    with pytest.raises(
        KitboxError, match="train_last_blocks = 9, but backbone tiny_vit has 3, its"
    ):
        network("tiny_vit", (64, 64), train_last_blocks=9)
    with pytest.raises(KitboxError, match=r"layers of backbone .* not known; leave train_last"):
        network("pretrainedmodels/resnet18", (64, 64), train_last_blocks=1)


@pytest.mark.parametrize("backbone", ["tiny_vit", "tiny_eva02", "tiny_swin", "test_convnext"])
def test_checkpointing_changes_no_gradient_and_ends_with_training(backbone: str) -> None:
    size = (56, 56) if backbone in ("tiny_eva02", "tiny_swin") else (64, 64)
    plain = network(backbone, size).train()
    saving = network(backbone, size, checkpointing=True).train()
    for each in (plain, saving):
        torch.manual_seed(1)  # stochastic depth
        each(images(size)).square().sum().backward()
    for one, two in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad)
    flags = [m.grad_checkpointing for m in saving.modules() if hasattr(m, "grad_checkpointing")]
    assert any(flags)
    assert not any(getattr(m, "grad_checkpointing", False) for m in saving.eval().modules())


def test_a_backbone_without_checkpointing_is_refused() -> None:
    with pytest.raises(KitboxError, match="no gradient checkpointing; leave checkpointing out"):
        network("pretrainedmodels/resnet18", (64, 64), checkpointing=True)


@pytest.mark.parametrize("backbone", ["tiny_eva02", "tiny_swin", "tiny_siglip", "tiny_dinov3"])
def test_layers_of_tokens_have_rates_of_their_own_and_stochastic_depth(backbone: str) -> None:
    size = (56, 56) if backbone in ("tiny_eva02", "tiny_swin") else (64, 64)
    made = network(backbone, size, drop_path=0.2).train()
    layers, last = layers_of(made.backbone, backbone, "layer_decay")
    assert set(layers) == {name for name, _ in made.backbone.named_parameters()}
    assert min(layers.values()) == 0 < last
    torch.testing.assert_close(
        made.eval()(images(size)), network(backbone, size).eval()(images(size))
    )


def test_what_a_network_puts_out_is_found_without_drawing_numbers() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    _traits.cache_clear()
    assert traits_of("tiny_dinov3").registers
    assert torch.equal(torch.rand(1), expected)
