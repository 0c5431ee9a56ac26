"""Networks: normalisation, pooling, necks, frozen parts and cost."""

import math
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kitbox.network import inference
from kitbox.network.network import Network, measure_cost
from kitbox.network.pooling import Pooling, power_mean
from tests.photographs import TINY, tiny


def pixels(count: int = 3, size: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, size, size, 3), generator=generator, dtype=torch.uint8)


BATCH = pixels(4)
# one image, one channel
SQUARE = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])


def test_a_network_without_neck_equals_timms_own_normalisation_and_pooling() -> None:
    network = Network(tiny(embedding_dim=None, neck="none")).eval()
    model = timm.create_model(TINY, num_classes=0).eval()
    model.load_state_dict(network.backbone.state_dict())
    mean = torch.tensor(model.pretrained_cfg["mean"]).view(1, 3, 1, 1)
    std = torch.tensor(model.pretrained_cfg["std"]).view(1, 3, 1, 1)
    with torch.inference_mode():
        expected = model((pixels().permute(0, 3, 1, 2) / 255 - mean) / std)
        torch.testing.assert_close(network(pixels()), expected, rtol=1e-4, atol=1e-5)


def test_a_network_that_cannot_run_without_memory_is_run_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = measure_cost(tiny())

    def forward(self: Pooling, maps: list[torch.Tensor]) -> torch.Tensor:
        assert float(maps[0].sum()) != 1e9  # meta tensors have no values
        return maps[0].float().mean((2, 3))

    monkeypatch.setattr(Pooling, "forward", forward)
    assert measure_cost(tiny()) == plain


def test_nothing_is_imported_while_tensors_have_no_values() -> None:
    """torch 2.6 leaves a half of itself behind that is imported so, and fails from then on."""
    program = """if True:
        import sys, torch
        from kitbox.network.network import measure_cost
        from tests.photographs import tiny

        class Finder:
            def find_spec(self, name, path=None, target=None):
                if torch.empty(0).device.type == "meta":
                    print(name)

        assert "timm" not in sys.modules
        sys.meta_path.insert(0, Finder())
        measure_cost(tiny())
    """
    command = [sys.executable, "-W", "ignore", "-c", program]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout == ""


def test_a_network_whose_operations_cannot_be_counted_is_not_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Failing:
        def __init__(self, **_: object) -> None:
            raise RuntimeError("no formula")

    parameters = measure_cost(tiny()).parameters
    monkeypatch.setattr("kitbox.network.network.FlopCounterMode", Failing)
    assert measure_cost(tiny()).multiply_adds is None
    assert measure_cost(tiny()).parameters == parameters


def test_the_cost_counts_parameters_and_multiply_adds() -> None:
    plugin = tiny(backbone="resnet18", image_size=224, embedding_dim=None, neck="none")
    cost = measure_cost(plugin)
    assert cost.parameters == 11_176_512
    assert cost.multiply_adds == pytest.approx(1.814e9, rel=0.01)
    assert cost.embedding_dim == 512
    assert cost.checkpoint_bytes > 4 * cost.parameters


def test_the_last_projection_is_before_the_norm_and_detached() -> None:
    torch.manual_seed(0)
    network = Network(tiny(neck="batchnorm", embedding_dim=8)).train()
    network(BATCH)
    projection = network.last_projection
    torch.testing.assert_close(projection, network.neck[0](network.pool(BATCH)).detach())
    assert not projection.requires_grad
    assert "last_projection" not in network.state_dict()


def test_gem_is_the_power_mean_of_a_map() -> None:
    network = Network(tiny(pooling="gem", gem_power=3.0)).eval()
    maps = torch.rand(2, network.channels, 3, 4) + 0.1

    class Fixed(nn.Module):
        def forward(self, _: torch.Tensor) -> torch.Tensor:
            return maps

    network.backbone = Fixed()
    expected = ((maps**3).sum((2, 3)) / 12) ** (1 / 3)
    torch.testing.assert_close(network.pool(pixels(2)), expected)


@pytest.mark.parametrize(
    ("pooling", "power", "expected"),
    [
        ("average", 3.0, 2.5),
        ("gem", 1.0, 2.5),
        ("gem", 3.0, 25 ** (1 / 3)),  # (1 + 8 + 27 + 64) / 4 = 25
        ("gem_learned", 3.0, 25 ** (1 / 3)),
        ("gem_learned", 0.5, 2.5),  # a learned power is at least 1
    ],
)
def test_a_map_of_four_values_is_pooled_as_computed_by_hand(
    pooling: str, power: float, expected: float
) -> None:
    pool = Pooling(pooling, power, 1)
    assert float(pool([SQUARE]).detach()) == pytest.approx(expected, rel=1e-6)


def test_each_map_has_its_own_learned_power() -> None:
    pool = Pooling("gem_learned", 1.0, 2)
    with torch.no_grad():
        pool.powers[1] = 3.0
    torch.testing.assert_close(pool([SQUARE, SQUARE]), torch.tensor([[2.5, 25 ** (1 / 3)]]))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(0, 1000, width=32), min_size=4, max_size=4),
    st.floats(1, 30),
    st.booleans(),
)
def test_power_means_equal_their_definition_in_double_precision(
    values: list[float], power: float, learned: bool
) -> None:
    clipped = [max(value, 1e-6) for value in values]
    expected = np.mean([value / max(clipped) for value in clipped] ** np.float64(power))
    expected = max(clipped) * expected ** (1 / power)
    maps = torch.tensor(values).reshape(1, 1, 2, 2)
    value = float(power_mean(maps, torch.tensor(power) if learned else power))
    assert value == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("pooling", ["gem", "gem_learned"])
@pytest.mark.parametrize("power", [3.0, 20.0])
def test_gradients_are_finite_where_a_channel_is_zero_or_large(pooling: str, power: float) -> None:
    pool = Pooling(pooling, power, 1)
    maps = torch.stack([torch.zeros(2, 2), torch.full((2, 2), 1000.0)])[None].bfloat16()
    maps.requires_grad_()
    pooled = pool([maps])
    assert pooled.dtype == torch.float32
    pooled.sum().backward()
    assert torch.isfinite(pooled).all()
    for tensor in (maps, *pool.parameters()):
        assert torch.isfinite(tensor.grad).all()


def test_the_gradient_of_a_learned_power_is_the_slope_of_the_mean() -> None:
    pool = Pooling("gem_learned", 3.0, 1)
    pool([SQUARE]).sum().backward()
    step = 1e-3
    slope = (power_mean(SQUARE.double(), 3 + step) - power_mean(SQUARE.double(), 3 - step)) / (
        2 * step
    )
    assert float(pool.powers.grad) == pytest.approx(float(slope), rel=1e-4)


def test_a_step_of_the_power_brings_the_mean_closer_to_its_target() -> None:
    pool = Pooling("gem_learned", 3.0, 1)
    optimizer = torch.optim.SGD(pool.parameters(), lr=0.1)
    losses = []
    for _ in range(2):
        loss = (pool([SQUARE]) - 4).square().sum()  # 4, the largest value, needs a high power
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[1] < losses[0]


def test_a_power_below_one_can_rise_again() -> None:
    pool = Pooling("gem_learned", 0.9, 1)
    (pool([SQUARE]) - 4).square().sum().backward()
    assert float(pool.powers.grad) < 0


def test_a_learned_power_is_saved_and_other_poolings_have_no_tensors() -> None:
    plugin = tiny(pooling="gem_learned", gem_power=2.0)
    network = Network(plugin)
    with torch.no_grad():
        network.pooling.powers += 0.5
    other = Network(plugin)
    other.load_state_dict(network.state_dict())
    assert other.pooling.powers.tolist() == [2.5]
    for pooling in ("average", "gem"):
        names = list(Network(tiny(pooling=pooling)).state_dict())
        assert not any(name.startswith("pooling") for name in names)
        assert [name for name in network.state_dict() if name != "pooling.powers"] == names


def sliced(learners: int = 4, **settings: object) -> Network:
    torch.manual_seed(0)
    return Network(tiny(divide={"learners": learners}, **settings)).eval()


@pytest.mark.parametrize("neck", ["none", "batchnorm", "layernorm"])
def test_each_learners_slice_has_unit_length(neck: str) -> None:
    with torch.inference_mode():
        embeddings = sliced(neck=neck)(BATCH)
    assert embeddings.shape == (4, 16)
    torch.testing.assert_close(embeddings.reshape(4, 4, 4).norm(dim=2), torch.ones(4, 4))
    torch.testing.assert_close(embeddings.norm(dim=1), torch.full((4,), math.sqrt(4)))


def test_slices_are_those_of_the_neck_in_order() -> None:
    network = sliced(learners=2)
    with torch.inference_mode():
        plain = network.neck(network.pool(BATCH))
        expected = torch.cat(
            [nn.functional.normalize(plain[:, first : first + 8]) for first in (0, 8)], dim=1
        )
        torch.testing.assert_close(network(BATCH), expected)


def test_the_cosine_of_sliced_embeddings_is_the_mean_of_the_slices_cosines() -> None:
    network = sliced()
    vectors, _ = next(
        inference.embed_batches(network, [(BATCH, torch.arange(4))], device="cpu", precision="32")
    )
    with torch.inference_mode():
        parts = network(BATCH).reshape(4, 4, 4)
    expected = torch.einsum("ikd,jkd->ijk", parts, parts).mean(2)
    np.testing.assert_allclose(vectors @ vectors.T, expected.numpy(), atol=1e-5)


def test_each_slice_of_the_projection_is_initialised_as_its_own_layer() -> None:
    network = sliced(learners=2, embedding_dim=512)
    channels = network.channels
    for rows in network.neck[0].weight.detach().chunk(2):
        # Glorot and Bengio, AISTATS 2010: by the dimensions of the slice, not of the whole matrix
        assert float(rows.std()) == pytest.approx(math.sqrt(2 / (channels + 256)), rel=0.02)


def test_layer_normalisation_removes_mean_and_variance_of_each_embedding() -> None:
    network = Network(tiny(neck="layernorm")).train()
    with torch.no_grad():
        embeddings = network(BATCH)
    torch.testing.assert_close(embeddings.mean(1), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(embeddings.var(1, correction=0), torch.ones(4), rtol=1e-3, atol=0)


@pytest.mark.parametrize("neck", ["none", "batchnorm", "layernorm"])
@pytest.mark.parametrize("pooling", ["average", "gem", "gem_learned"])
def test_embeddings_and_gradients_are_finite_in_bfloat16(neck: str, pooling: str) -> None:
    torch.manual_seed(0)
    network = Network(
        tiny(neck=neck, pooling=pooling, pooled_maps=(3, 4), divide={"learners": 4}, drop_path=0.2)
    ).train()
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = network(BATCH)
    assert embeddings.dtype == torch.float32
    (embeddings @ torch.randn(16)).square().sum().backward()
    trainable = [p for p in network.parameters() if p.requires_grad]
    assert all(torch.isfinite(p.grad).all() for p in trainable)
    assert torch.isfinite(embeddings).all()


def take_step(network: Network) -> None:
    """Take a training step that changes all that is not frozen."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network.train()
    network(BATCH).square().sum().backward()
    optimizer.step()


def changed(network: Network, before: dict[str, torch.Tensor]) -> set[str]:
    state = network.state_dict()
    return {name for name in state if not torch.equal(state[name], before[name])}


def copy_state(network: Network) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def test_frozen_statistics_do_not_change_while_scales_and_shifts_do() -> None:
    torch.manual_seed(0)
    network = Network(tiny(frozen_batchnorm=True))
    before = copy_state(network)
    network.eval()
    take_step(network)
    names = changed(network, before)
    assert {"backbone.bn1.weight", "backbone.bn1.bias", "backbone.conv_stem.weight"} <= names
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert not any(name.startswith("backbone") and name.endswith(statistics) for name in names)
    assert "neck.1.running_mean" in names  # the neck is not part of the backbone


def test_frozen_statistics_are_frozen_in_a_new_network() -> None:
    network = Network(tiny(frozen_batchnorm=True))
    assert network.training
    assert not network.backbone.bn1.training
    assert Network(tiny()).backbone.bn1.training


def test_a_frozen_backbone_does_not_change_until_it_is_unfrozen() -> None:
    torch.manual_seed(0)
    network = Network(tiny())
    network.freeze_backbone(True)
    before = copy_state(network)
    take_step(network)
    names = changed(network, before)
    assert names
    assert not any(name.startswith("backbone") for name in names)
    network.freeze_backbone(False)
    before = copy_state(network)
    take_step(network)
    names = changed(network, before)
    assert {"backbone.conv_stem.weight", "backbone.bn1.running_mean"} <= names


def test_an_unfrozen_backbone_leaves_unused_parameters_and_frozen_statistics_out() -> None:
    network = Network(tiny(pooled_maps=(1, 2), frozen_batchnorm=True))
    network.freeze_backbone(True)
    network.freeze_backbone(False)
    trainable = {name for name, p in network.backbone.named_parameters() if p.requires_grad}
    assert trainable == network.trainable
    assert network.backbone.blocks.training
    assert not network.backbone.bn1.training


def test_stochastic_depth_applies_in_training_only() -> None:
    torch.manual_seed(0)
    plain = Network(tiny(backbone="test_resnet", neck="none"))
    deep = Network(tiny(backbone="test_resnet", neck="none", drop_path=0.9))
    assert list(deep.state_dict()) == list(plain.state_dict())
    for module in plain.backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            # at 0, their initial value, residual blocks add nothing
            torch.nn.init.ones_(module.weight)
    deep.load_state_dict(plain.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(deep.eval()(BATCH), plain.eval()(BATCH))
        torch.testing.assert_close(plain.train()(BATCH), plain(BATCH))
        assert not torch.allclose(deep.train()(BATCH), deep(BATCH))
