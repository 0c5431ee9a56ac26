"""Backbones and the feature maps of their stages, several at once and one by one."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from kitbox.errors import KitboxError
from kitbox.network import pretrained_weights
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
    assert pretrained_weights.load(pooled.backbone, tmp_path / "w.safetensors") == len(state) - 2
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
    ],
)
def test_a_misspelt_backbone_gets_a_suggestion(backbone: str, message: str) -> None:
    with pytest.raises(KitboxError, match=message):
        Network(tiny(backbone=backbone))


@pytest.mark.parametrize("backbone", ["vgg11", "pretrainedmodels/resnet18"])
def test_a_backbone_without_stochastic_depth_is_refused(backbone: str) -> None:
    with pytest.raises(KitboxError, match=r"has no stochastic depth; leave drop_path out"):
        Network(tiny(backbone=backbone, drop_path=0.1))
