"""What does not learn stays as it is: frozen statistics, a frozen backbone; stochastic depth."""

import pytest
import torch

from kitbox.errors import KitboxError
from kitbox.network.network import Network
from tests.photographs import tiny

BATCH = torch.randint(
    0, 256, (4, 32, 32, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
)


def learn(network: Network) -> None:
    """Take a step that moves whatever can be moved."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network.train()
    network(BATCH).square().sum().backward()
    optimizer.step()


def moved(network: Network, before: dict[str, torch.Tensor]) -> set[str]:
    state = network.state_dict()
    return {name for name in state if not torch.equal(state[name], before[name])}


def kept(network: Network) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def test_frozen_statistics_do_not_move_though_scales_and_shifts_learn() -> None:
    torch.manual_seed(0)
    network = Network(tiny(frozen_batchnorm=True))
    before = kept(network)
    network.eval()
    learn(network)
    found = moved(network, before)
    assert {"backbone.bn1.weight", "backbone.bn1.bias", "backbone.conv_stem.weight"} <= found
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert not any(name.startswith("backbone") and name.endswith(statistics) for name in found)
    # the neck's own are no part of the backbone
    assert "neck.1.running_mean" in found


def test_a_new_network_with_frozen_statistics_has_them_frozen_before_any_switch() -> None:
    network = Network(tiny(frozen_batchnorm=True))
    assert network.training
    assert not network.backbone.bn1.training
    assert Network(tiny()).backbone.bn1.training


def test_a_frozen_backbone_stays_as_it_is_until_it_learns_again() -> None:
    torch.manual_seed(0)
    network = Network(tiny())
    network.freeze_backbone(True)
    before = kept(network)
    learn(network)
    found = moved(network, before)
    assert found
    assert not any(name.startswith("backbone") for name in found)
    network.freeze_backbone(False)
    before = kept(network)
    learn(network)
    learnt = moved(network, before)
    assert {"backbone.conv_stem.weight", "backbone.bn1.running_mean"} <= learnt


def test_a_thawed_backbone_leaves_out_what_it_left_out_before() -> None:
    network = Network(tiny(pooled_maps=(1, 2), frozen_batchnorm=True))
    network.freeze_backbone(True)
    network.freeze_backbone(False)
    learning = {name for name, p in network.backbone.named_parameters() if p.requires_grad}
    assert learning == network.trainable
    assert network.backbone.blocks.training
    assert not network.backbone.bn1.training


def test_stochastic_depth_is_for_training_alone() -> None:
    torch.manual_seed(0)
    plain = Network(tiny(backbone="test_resnet", neck="none"))
    deep = Network(tiny(backbone="test_resnet", neck="none", drop_path=0.9))
    assert list(deep.state_dict()) == list(plain.state_dict())
    for module in plain.backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)  # without weights a residual block begins as nothing
    deep.load_state_dict(plain.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(deep.eval()(BATCH), plain.eval()(BATCH))
        torch.testing.assert_close(plain.train()(BATCH), plain(BATCH))
        assert not torch.allclose(deep.train()(BATCH), deep(BATCH))


@pytest.mark.parametrize("backbone", ["vgg11", "pretrainedmodels/resnet18"])
def test_a_backbone_without_stochastic_depth_is_refused(backbone: str) -> None:
    with pytest.raises(KitboxError, match=r"has no stochastic depth; leave drop_path out"):
        Network(tiny(backbone=backbone, drop_path=0.1))
