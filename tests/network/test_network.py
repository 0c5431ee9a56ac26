"""Networks: pixels are normalised as timm does it, maps are pooled as defined."""

import pytest
import timm
import torch
from torch import nn

from kitbox.errors import KitboxError
from kitbox.network import acceleration
from kitbox.network.network import Network, measure_cost
from tests.photographs import TINY, tiny


def pixels(count: int = 3, size: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, size, size, 3), generator=generator, dtype=torch.uint8)


def test_a_frozen_network_equals_timms_own_normalisation_and_pooling() -> None:
    network = Network(tiny(embedding_dim=None, neck="none")).eval()
    model = timm.create_model(TINY, num_classes=0).eval()
    model.load_state_dict(network.backbone.state_dict())
    mean = torch.tensor(model.pretrained_cfg["mean"]).view(1, 3, 1, 1)
    std = torch.tensor(model.pretrained_cfg["std"]).view(1, 3, 1, 1)
    with torch.inference_mode():
        expected = model((pixels().permute(0, 3, 1, 2) / 255 - mean) / std)
        torch.testing.assert_close(network(pixels()), expected, rtol=1e-4, atol=1e-5)


def test_gem_is_the_power_mean_of_the_map() -> None:
    network = Network(tiny(pooling="gem", gem_power=3.0)).eval()
    maps = torch.rand(2, network.channels, 3, 4) + 0.1

    class Fixed(nn.Module):
        def forward(self, _: torch.Tensor) -> torch.Tensor:
            return maps

    network.backbone = Fixed()
    expected = ((maps**3).sum((2, 3)) / 12) ** (1 / 3)
    torch.testing.assert_close(network.pool(pixels(2)), expected)


def test_a_classic_backbone_is_built_and_gives_embeddings() -> None:
    network = Network(tiny(backbone="pretrainedmodels/resnet18", image_size=64)).eval()
    with torch.inference_mode():
        assert network(pixels(2, 64)).shape == (2, 16)
    assert network.data_config.mean == (0.485, 0.456, 0.406)


def test_a_network_of_tokens_is_refused() -> None:
    network = Network(tiny(backbone="test_vit", image_size=160)).eval()
    with pytest.raises(KitboxError, match=r"test_vit ends in .*, not in a map"):
        network(pixels(1, 160))


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


def test_the_cost_counts_parameters_and_multiply_adds() -> None:
    plugin = tiny(backbone="resnet18", image_size=224, embedding_dim=None, neck="none")
    price = measure_cost(plugin)
    assert price.parameters == 11_176_512
    assert price.multiply_adds == pytest.approx(1.814e9, rel=0.01)
    assert price.embedding_dim == 512
    assert price.checkpoint_bytes > 4 * price.parameters


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "mobilenetv2_100"])
def test_quickened_depthwise_gradients_are_the_same(name: str) -> None:
    torch.manual_seed(0)
    plain = timm.create_model(name, num_classes=4)
    quick = timm.create_model(name, num_classes=4)
    quick.load_state_dict(plain.state_dict())
    assert acceleration.speed_up_depthwise(quick) >= 16
    assert list(quick.state_dict()) == list(plain.state_dict())
    images = torch.rand(4, 3, 64, 64)
    for model in (plain, quick):
        nn.functional.cross_entropy(model(images), torch.arange(4)).backward()
    for one, other in zip(plain.parameters(), quick.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-4)


def test_quickened_gradients_come_in_the_dtype_of_the_weights_under_bfloat16() -> None:
    torch.manual_seed(0)
    model = timm.create_model("mobilenetv2_100", num_classes=4)
    acceleration.speed_up_depthwise(model)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(torch.rand(4, 3, 64, 64)).float().logsumexp(1).sum()
    loss.backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


def test_what_was_projected_last_is_kept_before_the_norm_and_without_its_history() -> None:
    torch.manual_seed(0)
    network = Network(tiny(neck="batchnorm", embedding_dim=8)).train()
    pixels = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    network(pixels)
    kept = network.last_projection
    torch.testing.assert_close(kept, network.neck[0](network.pool(pixels)).detach())
    assert not kept.requires_grad
    assert "last_projection" not in network.state_dict()
