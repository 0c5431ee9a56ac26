"""Backbones and the feature maps of their stages, several at once and one by one."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from kitbox.errors import KitboxError
from kitbox.network import pretrained_weights
from kitbox.network.backbone import own_size
from kitbox.network.network import Network, measure_cost
from tests.photographs import tiny


def pixels(count: int = 2, size: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, size, size, 3), generator=generator, dtype=torch.uint8)


def network(*pooled_maps: int, backbone: str = "test_efficientnet", **settings: object) -> Network:
    torch.manual_seed(0)
    plugin = tiny(backbone=backbone, pooled_maps=pooled_maps, image_size=64, **settings)
    return Network(plugin).eval()


@pytest.mark.parametrize(
    ("backbone", "channels"),
    [
        ("test_efficientnet", (48, 64)),
        ("test_resnet", (192, 96)),
        ("test_byobnet", (128, 256)),
        ("mobilenetv2_100", (96, 320)),
        ("tf_efficientnet_lite0", (112, 320)),
    ],
)
def test_pooled_maps_of_two_stages_are_those_of_each_stage_side_by_side(
    backbone: str, channels: tuple[int, int]
) -> None:
    both = network(3, 4, backbone=backbone, pooling="gem")
    parts = [network(stage, backbone=backbone, pooling="gem") for stage in (3, 4)]
    for part in parts:
        part.backbone.load_state_dict(both.backbone.state_dict())
    with torch.inference_mode():
        expected = torch.cat([part.pool(pixels()) for part in parts], dim=1)
        torch.testing.assert_close(both.pool(pixels()), expected)
        assert both(pixels()).shape == (2, 16)
    assert tuple(part.channels for part in parts) == channels == both.feature_maps.channels
    assert both.channels == sum(channels)


@pytest.mark.parametrize("backbone", ["test_resnet", "test_byobnet"])
def test_the_map_of_the_last_stage_of_a_plain_network_is_its_output(backbone: str) -> None:
    pooled, last = network(4, backbone=backbone), network(backbone=backbone)
    last.backbone.load_state_dict(pooled.backbone.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(pooled.pool(pixels()), last.pool(pixels()))
    assert not pooled.feature_maps.unused


def test_the_last_stage_of_an_efficientnet_ends_before_its_last_convolution() -> None:
    pooled, last = network(4), network()
    assert (pooled.channels, last.channels) == (64, 256)
    assert pooled.feature_maps.unused == {"conv_head.weight", "bn2.weight", "bn2.bias"}


def test_blocks_of_a_transformer_have_maps() -> None:
    vit = Network(tiny(backbone="test_vit", pooled_maps=(2, 5), image_size=160)).eval()
    with torch.inference_mode():
        assert vit.pool(pixels(size=160)).shape == (2, 128)


def test_parameters_that_no_map_depends_on_are_not_trained_and_cost_nothing() -> None:
    pooled = network(1, 2).train()
    pooled(pixels()).sum().backward()
    trained = {name for name, p in pooled.backbone.named_parameters() if p.grad is not None}
    assert trained == pooled.trainable
    assert not any(name.startswith(("blocks.3", "conv_head")) for name in trained)
    plugin = tiny(pooled_maps=(1, 2), image_size=64)
    counted = sum(p.numel() for p in pooled.parameters() if p.grad is not None)
    assert measure_cost(plugin).parameters == counted
    whole = measure_cost(tiny(image_size=64))
    assert measure_cost(plugin).multiply_adds < whole.multiply_adds
    assert measure_cost(plugin).checkpoint_bytes > 4 * counted


def test_weights_of_a_whole_backbone_fit_one_whose_stages_are_pooled(tmp_path: Path) -> None:
    torch.manual_seed(3)
    state = timm.create_model("test_efficientnet", num_classes=5).state_dict()
    save_file(state, tmp_path / "w.safetensors")
    pooled = network(2, 3)
    loaded = pretrained_weights.load(pooled.backbone, tmp_path / "w.safetensors")
    assert len(loaded.state) == len(state) - 2
    assert loaded.notes == ()  # that the classifier is left over goes without saying
    assert torch.equal(pooled.backbone.state_dict()["conv_stem.weight"], state["conv_stem.weight"])


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("test_efficientnet", r"pooled_maps = \(3, 5\), but the stages of .* are 0 to 4"),
        ("pretrainedmodels/resnet18", "resnet18 does not give the maps of its stages; leave"),
    ],
)
def test_feature_maps_that_a_backbone_does_not_have_are_refused(
    backbone: str, message: str
) -> None:
    with pytest.raises(KitboxError, match=message):
        network(3, 5, backbone=backbone)


def test_a_classic_backbone_gives_embeddings() -> None:
    classic = network(backbone="pretrainedmodels/resnet18")
    with torch.inference_mode():
        assert classic(pixels()).shape == (2, 16)
    assert classic.data_config.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("resnet43", "timm has no backbone resnet43; did you mean resnet34"),
        ("pretrainedmodels/senet145", "pretrainedmodels has no backbone senet145; did you mean se"),
        (
            "resnet18.a1_in2k",
            r"no weights 'a1_in2k' of resnet18; did you mean a1_in1k\? there are a1_in1k, a2",
        ),
        ("vgg11.", "no weights '' of vgg11; there are tv_in1k$"),
        ("test_vit5.x", "timm has no backbone test_vit5.x; did you mean test_vit"),
    ],
)
def test_a_misspelt_backbone_gets_a_suggestion(backbone: str, message: str) -> None:
    with pytest.raises(KitboxError, match=message):
        Network(tiny(backbone=backbone))


@pytest.mark.parametrize("backbone", ["vgg11", "pretrainedmodels/resnet18"])
def test_a_backbone_without_stochastic_depth_is_refused(backbone: str) -> None:
    with pytest.raises(KitboxError, match=r"has no stochastic depth; leave drop_path out"):
        Network(tiny(backbone=backbone, drop_path=0.1))


@pytest.mark.parametrize("backbone", ["mobilenetv3_small_050", "hgnetv2_b0", "vgg11"])
def test_the_last_map_of_a_network_that_widens_after_pooling_is_the_input_of_its_head(
    backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = network(backbone=backbone)
    model = timm.create_model(backbone, num_classes=0).eval()
    model.load_state_dict(made.backbone.state_dict(), strict=False)
    images = made.normalisation(pixels())
    with torch.inference_mode():
        (last,) = made.feature_maps.compute(made.backbone, images)
        torch.testing.assert_close(last, model.forward_features(images))
    assert last.shape[1] == model.num_features == made.channels
    made.train()(pixels()).sum().backward()
    assert all(p.grad is not None for p in made.parameters() if p.requires_grad)
    assert sum(p.numel() for p in made.backbone.parameters()) < 0.9 * sum(
        p.numel() for p in model.parameters()
    )


def test_a_map_whose_channels_are_last_is_turned() -> None:
    swin = network(backbone="swin_tiny_patch4_window7_224")
    images = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        (last,) = swin.feature_maps.compute(swin.backbone, images)
        expected = swin.backbone.forward_features(images)  # (n, h, w, c)
    assert last.shape == (1, 768, 7, 7)
    torch.testing.assert_close(last.permute(0, 2, 3, 1), expected)


@pytest.mark.parametrize(
    ("backbone", "size", "message"),
    [
        (
            "test_maxvit",
            (64, 160),
            r"not take 64x160 pixels \(.*divisible by window .*nearest that it takes: 160x160",
        ),
        ("test_vit", (90, 200), r"90x200 pixels \(its patches.*: 80x192 and 96x208"),
        ("inception_v3", 32, r"32x32 pixels \(.*can't be greater .*\); its own size is 299"),
        ("pretrainedmodels/alexnet", 32, r"32x32 pixels .*; its own size is 224"),
    ],
)
def test_a_size_that_a_backbone_does_not_take_is_one_sentence(
    backbone: str, size: object, message: str
) -> None:
    with pytest.raises(KitboxError, match=message) as caught:
        measure_cost(tiny(backbone=backbone, image_size=size))
    assert "\n" not in str(caught.value)


def test_the_size_of_a_phase_is_looked_at_too() -> None:
    phases = [{"epochs": 1, "image_size": 32}, {"epochs": 1}]
    with pytest.raises(KitboxError, match="inception_v3 does not take 32x32 pixels"):
        measure_cost(tiny(backbone="inception_v3", image_size=96, phases=phases))


def test_classic_networks_that_share_their_layers_have_layers_of_their_own() -> None:
    first = network(backbone="pretrainedmodels/resnext101_32x4d")
    again = network(backbone="pretrainedmodels/resnext101_32x4d")
    ours, theirs = first.backbone.state_dict(), again.backbone.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)  # of the same seed
    with torch.no_grad():
        next(first.backbone.parameters()).add_(1)
    assert not torch.equal(next(first.backbone.parameters()), next(again.backbone.parameters()))


# one of each kind; others of a kind differ in the number of layers alone
CLASSIC = (
    "alexnet", "bninception", "cafferesnet101", "densenet121", "dpn68", "fbresnet152",
    "inceptionresnetv2", "inceptionv3", "inceptionv4", "nasnetamobile", "pnasnet5large",
    "polynet", "resnet18", "resnext101_32x4d", "se_resnet50", "squeezenet1_1", "vgg11_bn",
    "xception",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSIC)
def test_every_classic_backbone_builds_and_gives_a_map(name: str) -> None:
    height, width = own_size(f"pretrainedmodels/{name}")
    plugin = tiny(backbone=f"pretrainedmodels/{name}", image_size=(height, width))
    cost = measure_cost(plugin)
    assert cost.embedding_dim == 16
    assert cost.multiply_adds
