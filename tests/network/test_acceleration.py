"""Folding: the same function with fewer layers, or the module as it was."""

import pytest
import timm
import torch
from torch import nn

from kitbox.network.acceleration import fold_batchnorm


def shaken(module: nn.Module) -> nn.Module:
    """Give batch norms statistics of their own, as training does."""
    generator = torch.Generator().manual_seed(0)
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            child.running_mean.copy_(0.1 * torch.randn(child.num_features, generator=generator))
            child.running_var.copy_(0.5 + torch.rand(child.num_features, generator=generator))
    return module.eval()


@pytest.mark.parametrize("name", ["mobilenetv2_100", "resnet10t", "test_efficientnet"])
def test_a_folded_backbone_computes_the_same_with_fewer_layers(name: str) -> None:
    torch.manual_seed(0)
    model = shaken(timm.create_model(name, num_classes=0, global_pool=""))
    example, images = torch.randn(1, 3, 64, 64), torch.rand(2, 3, 64, 96)
    result, count = fold_batchnorm(model, example)
    assert count == sum(isinstance(child, nn.BatchNorm2d) for child in model.modules()) > 10
    assert not any(isinstance(child, nn.BatchNorm2d) for child in result.modules())
    with torch.inference_mode():
        torch.testing.assert_close(result(images), model(images), rtol=1e-3, atol=1e-4)


def test_a_convolution_whose_result_is_used_twice_is_left_alone() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            given = self.conv(x)
            return self.norm(given) + given

    model = shaken(Twice())
    result, count = fold_batchnorm(model, torch.randn(1, 3, 8, 8))
    assert count == 0
    assert result is model
