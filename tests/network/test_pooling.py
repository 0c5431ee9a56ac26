"""Pooling: power means by hand and by a slow oracle; powers that learn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kitbox.network.network import Network, Pooling, power_mean
from tests.photographs import tiny

# one picture, one channel
SQUARE = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])


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
def test_a_map_of_four_places_is_pooled_by_hand(
    pooling: str, power: float, expected: float
) -> None:
    pool = Pooling(tiny(pooling=pooling, gem_power=power), 1)
    assert float(pool([SQUARE]).detach()) == pytest.approx(expected, rel=1e-6)


def test_each_map_has_a_learned_power_of_its_own() -> None:
    pool = Pooling(tiny(pooling="gem_learned", gem_power=1.0), 2)
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
    found = float(power_mean(maps, torch.tensor(power) if learned else power))
    assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("pooling", ["gem", "gem_learned"])
@pytest.mark.parametrize("power", [3.0, 20.0])
def test_gradients_are_finite_where_a_channel_says_nothing_or_much(
    pooling: str, power: float
) -> None:
    pool = Pooling(tiny(pooling=pooling, gem_power=power), 1)
    maps = torch.stack([torch.zeros(2, 2), torch.full((2, 2), 1000.0)])[None].bfloat16()
    maps.requires_grad_()
    pooled = pool([maps])
    assert pooled.dtype == torch.float32
    pooled.sum().backward()
    assert torch.isfinite(pooled).all()
    for tensor in (maps, *pool.parameters()):
        assert torch.isfinite(tensor.grad).all()


def test_a_learned_powers_gradient_is_the_slope_of_the_mean() -> None:
    pool = Pooling(tiny(pooling="gem_learned", gem_power=3.0), 1)
    pool([SQUARE]).sum().backward()
    step = 1e-3
    slope = (power_mean(SQUARE.double(), 3 + step) - power_mean(SQUARE.double(), 3 - step)) / (
        2 * step
    )
    assert float(pool.powers.grad) == pytest.approx(float(slope), rel=1e-4)


def test_a_step_of_the_power_brings_the_mean_nearer_to_what_is_wanted() -> None:
    pool = Pooling(tiny(pooling="gem_learned", gem_power=3.0), 1)
    optimizer = torch.optim.SGD(pool.parameters(), lr=0.1)
    losses = []
    for _ in range(2):
        loss = (pool([SQUARE]) - 4).square().sum()  # 4 is the largest value: a high power
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[1] < losses[0]


def test_a_power_that_fell_below_one_can_rise_again() -> None:
    pool = Pooling(tiny(pooling="gem_learned", gem_power=0.9), 1)
    (pool([SQUARE]) - 4).square().sum().backward()
    assert float(pool.powers.grad) < 0


def test_a_learned_power_is_saved_and_the_other_poolings_have_no_tensors() -> None:
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
