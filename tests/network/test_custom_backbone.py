"""A user's own backbone: maps, tokens and vectors, its data configuration, and its mistakes."""

from pathlib import Path
from typing import Any

import pytest
import torch

from kitbox.errors import KitboxError
from kitbox.network.backbone import input_config
from kitbox.network.network import Network, measure_cost
from kitbox.plugin import discovery
from kitbox.plugin.plugin import Plugin
from tests.own_code import code_of

NET = """\
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 8, 8)
        self.bias = nn.Parameter(torch.ones(6), requires_grad=False)
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        x = self.conv(x)
        return {output}

def build({arguments}):
    net = Net()
    {attributes}
    return net
"""


def net(output: str = "x", attributes: str = "", arguments: str = "") -> str:
    return NET.format(output=output, attributes=attributes or "pass", arguments=arguments)


def own(root: Path, text: str, **settings: Any) -> Plugin:
    """Return a plugin whose backbone is built by a module with this text."""
    code_of(root, "mymodels:build", text)
    plugin = Plugin(
        **{"backbone": "mymodels:build", "image_size": (16, 32), "epochs": 1, **settings}
    )
    return discovery.with_code(plugin, root)


TOKENS = "x.flatten(2).transpose(1, 2)"


@pytest.mark.parametrize(
    ("output", "attributes", "pooling", "channels", "expected"),
    [
        ("x", "", None, 6, "x.mean((2, 3))"),
        ("x", "", "gem", 6, "x.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3)"),
        ("x.permute(0, 2, 3, 1)", "net.output_fmt = 'NHWC'", None, 6, "x.mean((2, 3))"),
        (TOKENS, "", None, 6, "x.mean((2, 3))"),
        (TOKENS, "net.num_prefix_tokens = 1", None, 6, "x[:, :, 0, 0]"),
        (
            TOKENS,
            "net.num_prefix_tokens = 1",
            "cls+mean",
            12,
            "torch.cat([x[:, :, 0, 0], x.flatten(2)[:, :, 1:].mean(2)], 1)",
        ),
        ("x.amax((2, 3))", "", None, 6, "x.amax((2, 3))"),
    ],
)
def test_a_map_tokens_and_a_vector_are_pooled(
    tmp_path: Path, output: str, attributes: str, pooling: str, channels: int, expected: str
) -> None:
    plugin = own(tmp_path, net(output, attributes), pooling=pooling)
    torch.manual_seed(0)
    network = Network(plugin).eval()
    assert network.channels == channels
    pixels = torch.randint(0, 256, (3, 16, 32, 3), dtype=torch.uint8)
    features = network.backbone.conv(network.normalisation(pixels))  # type: ignore[operator]
    wanted = eval(expected, {"x": features, "torch": torch})  # noqa: S307
    torch.testing.assert_close(network.pool(pixels), wanted)
    assert network.trainable == {"conv.weight", "conv.bias"}


def test_a_backbone_without_weights_of_its_own_is_taken(tmp_path: Path) -> None:
    text = """\
from torch import nn

class Histogram(nn.Module):
    def forward(self, x):
        return nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)

build = Histogram
"""
    plugin = own(tmp_path, text, epochs=0, losses=(), embedding_dim=None, neck="none")
    network = Network(plugin).eval()
    assert network(torch.zeros((2, 16, 32, 3), dtype=torch.uint8)).shape == (2, 12)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("", ((0.485, 0.456, 0.406), "bicubic")),
        ("net.mean, net.std, net.interpolation = (0, 0, 0), (1, 1, 1), 'bilinear'",
         ((0, 0, 0), "bilinear")),
        ("net.register_buffer('mean', torch.ones(3))", ((0.485, 0.456, 0.406), "bicubic")),
        ("net.pretrained_cfg = {'mean': [0.5] * 3, 'std': [0.5] * 3}", ((0.5,) * 3, "bicubic")),
    ],
)  # fmt: skip
def test_the_data_configuration_is_what_attributes_say(
    tmp_path: Path, attributes: str, expected: tuple[Any, str]
) -> None:
    plugin = own(tmp_path, net(attributes=attributes))
    config = Network(plugin).data_config
    assert (config.mean, config.interpolation) == expected
    state = torch.random.get_rng_state()
    assert input_config(plugin) == config
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_model_of_timm_is_taken_as_it_is(tmp_path: Path) -> None:
    text = (
        "import timm\n"
        "def build(pretrained, width):\n"
        "    assert not pretrained and width == 32\n"
        "    return timm.create_model('test_vit', num_classes=0, img_size=(16, 32))\n"
    )
    plugin = own(tmp_path, text)
    network = Network(plugin)
    assert (network.channels, network.pooling.kind) == (64, "native")
    assert measure_cost(plugin).embedding_dim == 256


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("def build(): return 3", {}, "mymodels:build: it returns an int; return a torch.nn.Mod"),
        (
            net("x.sum()"),
            {},
            "mymodels:build: for two images of 16x32 pixels it puts out an array () of torch.float",
        ),
        (
            net("{'x': x}"),
            {},
            "mymodels:build: for two images of 16x32 pixels it puts out a dict; return a map (n, ",
        ),
        (
            net("x[:1]"),
            {},
            "mymodels:build: for two images of 16x32 pixels it puts out an array (1",
        ),
        (
            net("x / 0"),
            {},
            "mymodels:build: for two images of 16x32 pixels it puts out values that",
        ),
        (
            net("x.permute(0, 2, 3, 1)", "net.num_features = 6"),
            {},
            "mymodels:build: its num_features = 6, but it puts out 2 channels; set output_fmt",
        ),
        (
            net("self.head(x)"),
            {},
            "mymodels.py line 13: RuntimeError: mat1 and mat2 shapes cannot be multiplied",
        ),
        (
            net("x.flatten(1)"),
            {"phases": ({"epochs": 1, "image_size": 32},)},
            "mymodels:build: it puts out (48,) for 16x32 pixels, and (96,) for 32x32",
        ),
        (
            net("x.mean((2, 3))"),
            {"pooling": "gem"},
            "backbone mymodels:build cannot have pooling='gem'",
        ),
        (net(), {"drop_path": 0.1}, "mymodels:build: it takes no 'drop_path'"),
        (net(attributes="net.std = (1, 0, 1)"), {}, "mymodels:build: its mean = (0.485, 0.456, 0"),
        (
            net(attributes="net.interpolation = 'cubic'"),
            {},
            "mymodels:build: its interpolation = 'cubic' is none of bilinear, bicubic, lanczos",
        ),
        (
            net(attributes="net.extra = nn.LazyLinear(3)"),
            {},
            "mymodels:build: a layer of it has no size yet, so that no checkpoint can hold it",
        ),
    ],
)
def test_a_backbone_that_cannot_be_used_is_refused_in_a_sentence(
    tmp_path: Path, text: str, settings: dict[str, Any], message: str
) -> None:
    plugin = own(tmp_path, text, **settings)
    for build in (Network, measure_cost):
        with pytest.raises(KitboxError) as caught:
            build(plugin)
        assert str(caught.value).startswith(message)
