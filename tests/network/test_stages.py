"""Stages: their maps beside each other are what each gives alone, and what they need is known."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from kitbox.errors import KitboxError
from kitbox.network import pretrained_weights
from kitbox.network.acceleration import fold_batchnorm
from kitbox.network.network import Network, measure_cost
from tests.network.test_acceleration import shaken
from tests.photographs import tiny


def pixels(count: int = 2, size: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, size, size, 3), generator=generator, dtype=torch.uint8)


def network(*places: int, backbone: str = "test_efficientnet", **given: object) -> Network:
    torch.manual_seed(0)
    plugin = tiny(backbone=backbone, pooled_maps=places, image_size=64, **given)
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
def test_two_stages_pooled_are_each_stage_pooled_beside_the_other(
    backbone: str, channels: tuple[int, int]
) -> None:
    both = network(3, 4, backbone=backbone, pooling="gem")
    parts = [network(place, backbone=backbone, pooling="gem") for place in (3, 4)]
    for part in parts:
        part.backbone.load_state_dict(both.backbone.state_dict())
    with torch.inference_mode():
        expected = torch.cat([part.pool(pixels()) for part in parts], dim=1)
        torch.testing.assert_close(both.pool(pixels()), expected)
        assert both(pixels()).shape == (2, 16)
    assert tuple(part.channels for part in parts) == channels == both.feature_maps.channels
    assert both.channels == sum(channels)


@pytest.mark.parametrize("backbone", ["test_resnet", "test_byobnet"])
def test_the_last_stage_of_a_plain_network_is_its_last_map(backbone: str) -> None:
    staged, last = network(4, backbone=backbone), network(backbone=backbone)
    last.backbone.load_state_dict(staged.backbone.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(staged.pool(pixels()), last.pool(pixels()))
    assert not staged.feature_maps.unused


def test_the_last_stage_of_an_efficientnet_ends_before_its_last_convolution() -> None:
    staged, last = network(4), network()
    assert (staged.channels, last.channels) == (64, 256)
    assert staged.feature_maps.unused == {"conv_head.weight", "bn2.weight", "bn2.bias"}


def test_a_transformers_blocks_give_maps_too() -> None:
    found = Network(tiny(backbone="test_vit", pooled_maps=(2, 5), image_size=160)).eval()
    with torch.inference_mode():
        assert found.pool(pixels(size=160)).shape == (2, 128)


def test_what_no_map_needs_does_not_learn_and_costs_nothing() -> None:
    staged = network(1, 2).train()
    staged(pixels()).sum().backward()
    learnt = {name for name, p in staged.backbone.named_parameters() if p.grad is not None}
    assert learnt == staged.trainable
    assert not any(name.startswith(("blocks.3", "conv_head")) for name in learnt)
    plugin = tiny(pooled_maps=(1, 2), image_size=64)
    counted = sum(p.numel() for p in staged.parameters() if p.grad is not None)
    assert measure_cost(plugin).parameters == counted
    whole = measure_cost(tiny(image_size=64))
    assert measure_cost(plugin).multiply_adds < whole.multiply_adds
    assert measure_cost(plugin).checkpoint_bytes > 4 * counted


def test_a_file_of_the_whole_backbone_fits_one_whose_stages_are_pooled(tmp_path: Path) -> None:
    torch.manual_seed(3)
    state = timm.create_model("test_efficientnet", num_classes=5).state_dict()
    save_file(state, tmp_path / "w.safetensors")
    staged = network(2, 3)
    assert pretrained_weights.load(staged.backbone, tmp_path / "w.safetensors") == len(state) - 2
    assert torch.equal(staged.backbone.state_dict()["conv_stem.weight"], state["conv_stem.weight"])


@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_resnet"])
def test_folded_stages_are_the_same(backbone: str) -> None:
    staged = network(2, 3, backbone=backbone)
    shaken(staged.backbone)
    with torch.inference_mode():
        expected = staged.pool(pixels())
        result, count = fold_batchnorm(
            staged.backbone, torch.randn(1, 3, 64, 64), staged.feature_maps.compute
        )
        assert count > 5
        staged.backbone = result
        torch.testing.assert_close(staged.pool(pixels()), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("test_efficientnet", r"pooled_maps = \(3, 5\), but the stages of .* are 0 to 4"),
        ("pretrainedmodels/resnet18", "resnet18 does not give the maps of its stages; leave"),
    ],
)
def test_stages_that_are_not_there_are_refused(backbone: str, message: str) -> None:
    with pytest.raises(KitboxError, match=message):
        network(3, 5, backbone=backbone)
