"""Parameter groups: every parameter is in one of them, at the rate that the plugin sets."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from kitbox.errors import KitboxError
from kitbox.network.network import Network
from kitbox.network.trained_network import TrainedNetwork
from kitbox.plugin.plugin import Plugin
from kitbox.training.optimizer import build_optimizer, parameter_groups
from tests.photographs import tiny


def trained(plugin: Plugin) -> SimpleNamespace:
    """Return a stand-in for a network with one head."""
    network = Network(plugin)
    return SimpleNamespace(network=network, heads=nn.ModuleList([nn.Linear(16, 3)]))


def rates(plugin: Plugin) -> list[tuple[float, float]]:
    return [
        (group["lr"], group["weight_decay"]) for group in parameter_groups(trained(plugin), plugin)
    ]


def test_a_plain_plugin_has_a_group_for_the_backbone_and_one_for_new_layers() -> None:
    plugin = tiny(learning_rate=1e-3, head_learning_rate=1e-2, weight_decay=0.1)
    whole = trained(plugin)
    backbone, new = parameter_groups(whole, plugin)
    expected = list(whole.network.backbone.parameters())
    assert [id(p) for p in backbone["params"]] == [id(p) for p in expected]
    expected = [*whole.network.neck.parameters(), *whole.heads.parameters()]
    assert [id(p) for p in new["params"]] == [id(p) for p in expected]
    assert (backbone["lr"], new["lr"]) == (1e-3, 1e-2)
    assert (backbone["weight_decay"], new["weight_decay"]) == (0.1, 0.1)


def test_heads_have_the_rate_of_the_backbone_by_default() -> None:
    assert rates(tiny(learning_rate=1e-3, weight_decay=0.0)) == [(1e-3, 0.0), (1e-3, 0.0)]


def test_learned_powers_have_the_heads_rate_and_do_not_decay() -> None:
    plugin = tiny(pooling="gem_learned", head_learning_rate=0.5, learning_rate=0.1)
    groups = parameter_groups(trained(plugin), plugin)
    assert [p.shape for p in groups[-1]["params"]] == [(1,)]
    assert (groups[-1]["lr"], groups[-1]["weight_decay"]) == (0.5, 0.0)


def test_the_rate_falls_layer_by_layer_towards_the_stem() -> None:
    plugin = tiny(
        backbone="test_resnet", layer_decay=0.5, learning_rate=0.8, head_learning_rate=2.0
    )
    whole = trained(plugin)
    names = {id(p): name for name, p in whole.network.backbone.named_parameters()}
    rate_of = {}
    for group in parameter_groups(whole, plugin)[:-1]:
        (layer,) = {names[id(p)].partition(".")[0].replace("bn1", "conv1") for p in group["params"]}
        rate_of[layer] = group["lr"]
    # one block per layer; the last layer, first in the list, has the plugin's own rate
    assert list(rate_of.items()) == [
        ("layer4", 0.8),
        ("layer3", 0.4),
        ("layer2", 0.2),
        ("layer1", 0.1),
        ("conv1", 0.05),
    ]


def test_layers_are_counted_from_the_last_trainable_one() -> None:
    plugin = tiny(backbone="test_resnet", layer_decay=0.5, learning_rate=0.8, pooled_maps=(2, 3))
    assert [rate for rate, _ in rates(plugin)] == [0.8, 0.4, 0.2, 0.1, 0.8]


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("layer_decay", [1.0, 0.7])
def test_every_parameter_is_in_one_group_even_of_a_frozen_backbone(
    frozen: bool, layer_decay: float
) -> None:
    plugin = tiny(layer_decay=layer_decay, pooling="gem_learned", pooled_maps=(1, 3))
    whole = trained(plugin)
    whole.network.freeze_backbone(frozen)
    grouped = [id(p) for group in parameter_groups(whole, plugin) for p in group["params"]]
    every = [*whole.network.parameters(), *whole.heads.parameters()]
    assert sorted(grouped) == sorted(id(p) for p in every)


def test_a_backbone_whose_layers_are_not_known_is_refused() -> None:
    plugin = tiny(backbone="pretrainedmodels/resnet18", image_size=64, layer_decay=0.5)
    with pytest.raises(KitboxError, match=r"the layers of backbone .* are not known; leave layer"):
        parameter_groups(trained(plugin), plugin)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_all_weights_are_updated_in_one_call_as_one_by_one(name: str) -> None:
    steps = []
    for fused in (True, False):
        torch.manual_seed(0)
        plugin = tiny(optimizer=name, learning_rate=0.1, head_learning_rate=0.2, weight_decay=0.1)
        whole = TrainedNetwork(Network(plugin), plugin, np.array([2, 3, 4]))
        optimizer = build_optimizer(plugin, whole)
        for group in optimizer.param_groups:
            assert group["fused"] is True
            group["fused"] = fused
        for _ in range(3):
            for parameter in whole.parameters():
                parameter.grad = torch.randn_like(parameter)
            optimizer.step()
        steps.append([parameter.detach() for parameter in whole.parameters()])
    for one, other in zip(*steps, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
