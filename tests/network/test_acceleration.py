"""Acceleration: folded batch norms and faster gradients on a CPU compute the same."""

import copy
import ctypes
import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest
import timm
import torch
from timm.layers import Conv2dSame
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from kitbox.network import acceleration, inference
from kitbox.network.acceleration import (
    Pair,
    avoid_torch_crashes,
    fold_batchnorm,
    speed_up_training,
)
from kitbox.network.network import Network
from tests.photographs import tiny


def randomise_statistics(module: nn.Module) -> nn.Module:
    """Give batch norms statistics other than 0 and 1, as training does."""
    generator = torch.Generator().manual_seed(0)
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            child.running_mean.copy_(0.1 * torch.randn(child.num_features, generator=generator))
            child.running_var.copy_(0.5 + torch.rand(child.num_features, generator=generator))
    return module.eval()


@pytest.mark.parametrize("name", ["mobilenetv2_100", "resnet10t", "test_efficientnet"])
def test_a_folded_backbone_computes_the_same_with_fewer_layers(name: str) -> None:
    torch.manual_seed(0)
    model = randomise_statistics(timm.create_model(name, num_classes=0, global_pool=""))
    example, images = torch.randn(1, 3, 64, 64), torch.rand(2, 3, 64, 96)
    folded, count = fold_batchnorm(model, example)
    assert count == sum(isinstance(child, nn.BatchNorm2d) for child in model.modules()) > 10
    assert not any(isinstance(child, nn.BatchNorm2d) for child in folded.modules())
    with torch.inference_mode():
        torch.testing.assert_close(folded(images), model(images), rtol=1e-3, atol=1e-4)


def test_a_convolution_whose_output_is_used_twice_is_not_folded() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            output = self.conv(x)
            return self.norm(output) + output

    model = randomise_statistics(Twice())
    folded, count = fold_batchnorm(model, torch.randn(1, 3, 8, 8))
    assert count == 0
    assert folded is model


@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_resnet"])
def test_folded_feature_maps_are_the_same(backbone: str) -> None:
    torch.manual_seed(0)
    network = Network(tiny(backbone=backbone, pooled_maps=(2, 3), image_size=64)).eval()
    randomise_statistics(network.backbone)
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected = network.pool(pixels)
        folded, count = fold_batchnorm(
            network.backbone, torch.randn(1, 3, 64, 64), network.feature_maps.compute
        )
        assert count > 5
        network.backbone = folded
        torch.testing.assert_close(network.pool(pixels), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "layers"),
    # depthwise and 1x1 convolutions, and activations in place
    [
        ("tf_efficientnet_lite0", 16 + 32 + 33),
        ("mobilenetv2_100", 17 + 34 + 35),
        ("mobilenetv3_small_100", 11 + 22 + 19),
    ],
)
def test_gradients_of_a_network_are_the_same(name: str, layers: int) -> None:
    torch.manual_seed(0)
    plain = timm.create_model(name, num_classes=4, drop_rate=0)
    fast = timm.create_model(name, num_classes=4, drop_rate=0)
    fast.load_state_dict(plain.state_dict())
    assert speed_up_training(fast) == layers
    assert list(fast.state_dict()) == list(plain.state_dict())
    images = torch.rand(4, 3, 64, 64)
    for model in (plain, fast):
        nn.functional.cross_entropy(model(images), torch.arange(4)).backward()
    for one, other in zip(plain.parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-4)


def step(layer: nn.Module, images: torch.Tensor, seen: torch.dtype) -> list[torch.Tensor]:
    """Return a layer's output, and the gradients of its squares by images and weights."""
    pixels = images.contiguous(memory_format=torch.channels_last).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=seen == torch.bfloat16):
        output = layer(pixels)
    assert output.dtype == seen
    gradients = torch.autograd.grad(output.double().square().sum(), [pixels, *layer.parameters()])
    return [output, *gradients]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("cached", [1, 2**22])
@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(16, 16, 3, 1, 1, groups=16, bias=False),
        nn.Conv2d(16, 16, 5, 1, 2, groups=16, bias=False),
        nn.Conv2d(16, 16, (5, 7), (2, 1), (2, 3), groups=16, bias=False),
        nn.Conv2d(16, 16, 3, 2, 1, groups=16, bias=False),
        nn.Conv2d(16, 16, 3, 1, 3, groups=16, bias=False),  # more padding than it needs
        nn.Conv2d(16, 16, 3, 1, 2, 2, groups=16, bias=False),
        Conv2dSame(16, 16, 3, 2, groups=16, bias=False),
        Conv2dSame(16, 16, 5, 2, groups=16, bias=False),
        Conv2dSame(16, 16, (3, 5), (2, 1), groups=16, bias=False),
        Conv2dSame(16, 16, 3, 2, dilation=2, groups=16, bias=False),
        nn.Conv2d(16, 40, 1, bias=False),
        nn.Conv2d(16, 8, 1, bias=False),
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [(12, 10), (7, 9)])
def test_a_convolution_and_its_gradients_are_the_same(
    layer: nn.Module,
    size: tuple[int, int],
    cached: int,
    precision: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With one image at a time and with all; in bfloat16 but for its rounding."""
    monkeypatch.setattr(acceleration, "_CACHED", cached)
    torch.manual_seed(0)
    plain = nn.Sequential(copy.deepcopy(layer), nn.Identity())
    fast = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    assert speed_up_training(fast) == 1
    assert type(fast[0]) is not type(layer)
    images = torch.randn(4, 16, *size)
    found = step(fast, images, precision)
    expected = step(plain.double(), images.double(), torch.float64)
    for one, other in zip(found, expected, strict=True):
        worst = (one.double() - other).abs().max() / other.abs().max()
        assert worst < (1e-5 if precision == torch.float32 else 2e-2)


@pytest.mark.parametrize("activation", [nn.ReLU6, nn.SiLU, nn.Hardswish])
def test_an_activation_in_place_has_the_same_gradients_without_a_copy(
    activation: type[nn.Module],
) -> None:
    torch.manual_seed(0)
    images = torch.cat([6 * torch.randn(200), torch.tensor([0.0, 6.0, -3.0, 3.0, float("nan")])])
    results = []
    for fast in (False, True):
        layers = nn.Sequential(activation(inplace=True), nn.Identity())
        assert speed_up_training(layers) == 1 if fast else True
        leaf = images.clone().requires_grad_()
        with Copies() as copies:
            output = layers(leaf + 0)
        assert copies.count == (0 if fast else 1)
        output.square().sum().backward()
        results.append((output, leaf.grad))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


class Copies(TorchDispatchMode):
    """Counts the tensors that are copied whole."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten.clone.default
        return function(*args, **(kwargs or {}))


def test_the_output_of_a_1x1_convolution_may_be_changed_in_place() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(8, 8, 1, bias=False), nn.ReLU6(inplace=True))
    assert speed_up_training(layers) == 2
    _, by_images, by_weight = step(layers, torch.randn(2, 8, 5, 5), torch.bfloat16)
    assert by_images.abs().sum() > 0
    assert by_weight.abs().sum() > 0


@pytest.mark.parametrize(
    ("size", "kernel", "stride"),
    [((3, 6), 5, 1), ((4, 8), (5, 3), 1), ((2, 4), 3, 1), ((5, 9), 7, 2), ((6, 3), 5, (1, 2))],
)
def test_gradients_by_a_kernel_that_is_larger_than_the_map(
    size: tuple[int, int], kernel: int | Pair, stride: int | Pair
) -> None:
    torch.manual_seed(0)
    padding = tuple(k // 2 for k in (kernel if isinstance(kernel, tuple) else (kernel, kernel)))
    plain = nn.Sequential(
        nn.Conv2d(16, 16, kernel, stride, padding, groups=16, bias=False), nn.ReLU()
    ).double()
    images = torch.randn(4, 16, *size, requires_grad=True)
    expected = torch.autograd.grad(plain(images.double()).square().sum(), [images, plain[0].weight])
    fast = copy.deepcopy(plain).float().to(memory_format=torch.channels_last)
    assert speed_up_training(fast) == 1
    pixels = images.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    found = torch.autograd.grad(fast(pixels).square().sum(), [pixels, fast[0].weight])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other.float(), rtol=1e-4, atol=1e-4)


def test_depthwise_gradients_have_the_dtype_of_the_weights_under_bfloat16() -> None:
    torch.manual_seed(0)
    model = timm.create_model("mobilenetv2_100", num_classes=4)
    speed_up_training(model)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(torch.rand(4, 3, 64, 64)).float().logsumexp(1).sum()
    loss.backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize(("channels", "stride"), [(3, (2, 2)), (5, (4, 1))])
def test_a_strided_1x1_convolution_of_few_channels_takes_a_step(
    channels: int, stride: tuple[int, int]
) -> None:
    """Without the mend torch 2.14 ends the process, for pixels that are channels_last."""
    torch.manual_seed(0)
    plain = nn.Conv2d(channels, 48, 1, stride)
    mended = nn.Sequential(nn.Conv2d(channels, 48, 1, stride), nn.Conv2d(48, 8, 1, 2))
    mended[0].load_state_dict(plain.state_dict())
    assert avoid_torch_crashes(mended) == 1
    pixels = torch.randn(2, channels, 33, 64)
    expected = plain(pixels)
    channels_last = pixels.to(memory_format=torch.channels_last)
    found = mended.to(memory_format=torch.channels_last)[0](channels_last)
    torch.testing.assert_close(found, expected)
    for output in (expected, found):
        output.square().sum().backward()
    torch.testing.assert_close(mended[0].weight.grad, plain.weight.grad, rtol=1e-3, atol=1e-3)


def test_an_older_glibc_takes_32_megabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses more; once told to trim less it would map every large buffer anew."""
    given = []

    def mallopt(parameter: int, value: int) -> int:
        given.append((parameter, value))
        return int(parameter != -3 or value <= 2**25)

    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=mallopt))
    for name in [each for each in os.environ if each.startswith(("MALLOC_", "GLIBC_TUNABLES"))]:
        monkeypatch.delenv(name)
    inference.reuse_memory.__wrapped__()
    assert given[:2] == [(-3, 2**30), (-3, 2**25)]
    assert {parameter for parameter, _ in given[2:]} == {-1, -2}


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_memory_of_a_batch_is_used_by_the_next() -> None:
    """Otherwise the system makes every large buffer of new pages, and each is a page fault."""
    program = """
import resource
import torch
from kitbox.network import inference
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.empty(64 * 2**20, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults())
inference.resolve_device("cpu")
print(min(faults() for _ in range(4)))  # the first times make the buffer's pages
"""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    run = subprocess.run(
        [sys.executable, "-c", program], env=own, capture_output=True, text=True, check=True
    )
    before, after = map(int, run.stdout.split())
    assert after < 100 < before
