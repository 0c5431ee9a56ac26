"""Averaged weights equal explicit sums, and refreshed batch norms equal explicit statistics."""

import io
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from kitbox.network.network import Network
from kitbox.plugin.schedules import Ema, Swa
from kitbox.training.optimizer import AveragedWeights, refresh_batch_norms
from tests.photographs import tiny

Weights = st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=30)


class Toy(nn.Module):
    """A stand-in for a network: one weight, one float buffer and one integer buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.register_buffer("running", torch.zeros(1))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def moved_to(self, value: float) -> "Toy":
        """Set the weight to a value, as a step of an optimiser would."""
        with torch.no_grad():
            self.weight.fill_(value)
            self.get_buffer("running").fill_(-value)
            self.get_buffer("count").add_(1)
        return self


def average_of(averaging: Ema | Swa, values: Iterable[float], averaged: Any = None) -> Any:
    """Return the average over values, each set by one step of one epoch."""
    toy: Any = Toy()
    averaged = averaged or AveragedWeights(toy, averaging)
    for epoch, value in enumerate(values, 1):
        averaged.after_step(toy.moved_to(value))
        averaged.after_epoch(toy, epoch)
    return averaged


@settings(max_examples=40)
@given(Weights, st.floats(0.01, 0.99))
def test_an_exponential_average_follows_each_step(values: list[float], decay: float) -> None:
    model = average_of(Ema(decay=decay), values).model
    average = values[0]
    for step, value in enumerate(values[1:], 1):
        share = min(decay, (1 + step) / (10 + step))
        average = share * average + (1 - share) * value
    assert float(model.weight) == pytest.approx(average, rel=1e-4, abs=1e-4)
    assert float(model.running) == pytest.approx(-average, rel=1e-4, abs=1e-4)
    assert int(model.count) == len(values)


def test_the_first_weights_do_not_hold_back_a_short_training() -> None:
    model = average_of(Ema(decay=0.998), [1000.0] + [1.0] * 50).model
    assert float(model.weight) == pytest.approx(1.0, abs=1e-3)


def test_after_many_steps_an_average_decays_as_the_plugin_says() -> None:
    averaged = average_of(Ema(decay=0.9), [0.0] * 200)
    toy: Any = Toy()
    averaged.after_step(toy.moved_to(1.0))
    assert float(averaged.model.weight) == pytest.approx(0.1)


@settings(max_examples=40)
@given(Weights, st.data())
def test_swa_is_the_mean_of_the_epochs(values: list[float], data: st.DataObject) -> None:
    begin = data.draw(st.integers(1, len(values)))
    model = average_of(Swa(from_epoch=begin), values).model
    mean = sum(values[begin - 1 :]) / len(values[begin - 1 :])
    assert float(model.weight) == pytest.approx(mean, rel=1e-4, abs=1e-4)
    assert int(model.count) == len(values)


def test_there_is_no_average_before_its_first_epoch() -> None:
    averaged = average_of(Swa(from_epoch=3), [1.0, 2.0])
    assert averaged.model is None
    assert average_of(Ema(), []).model is None


@pytest.mark.parametrize("averaging", [Ema(decay=0.9), Swa(from_epoch=2), Swa(from_epoch=7)])
@pytest.mark.parametrize("done", [0, 1, 2, 7, 10])
def test_a_resumed_average_equals_an_uninterrupted_one(averaging: Ema | Swa, done: int) -> None:
    values = [float(value**2) for value in range(10)]
    toy: Any = Toy()
    saved = io.BytesIO()
    interrupted = average_of(averaging, values[:done])
    torch.save(interrupted.state_dict(), saved)
    saved.seek(0)
    resumed = AveragedWeights(toy, averaging)
    resumed.load_state_dict(torch.load(saved, weights_only=True))
    assert (resumed.model is None) == (interrupted.model is None)
    for epoch, value in enumerate(values, 1):
        toy.moved_to(value)
        if epoch > done:
            resumed.after_step(toy)
            resumed.after_epoch(toy, epoch)
    whole = average_of(averaging, values).state_dict()
    assert whole.keys() == resumed.state_dict().keys()
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.items())


def test_averaging_leaves_the_network_alone_and_the_average_has_no_gradients() -> None:
    toy: Any = Toy()
    averaged = AveragedWeights(toy, Ema())
    averaged.after_step(toy.moved_to(1.0))
    averaged.after_step(toy.moved_to(2.0))
    assert toy.weight.tolist() == [2.0]
    assert toy.weight.requires_grad
    assert averaged.model is not None
    assert not any(weight.requires_grad for weight in averaged.model.parameters())


def test_a_whole_network_is_averaged_in_its_memory_format() -> None:
    network: Any = Network(tiny()).to(memory_format=torch.channels_last)
    averaged = AveragedWeights(network, Swa(from_epoch=1))
    weights = []
    for epoch in (1, 2, 3):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter))
        weights.append([parameter.detach().clone() for parameter in network.parameters()])
        averaged.after_epoch(network, epoch)
    assert averaged.model is not None
    for average, *three in zip(averaged.model.parameters(), *weights, strict=True):
        torch.testing.assert_close(average, sum(three) / 3)
        assert average.stride() == three[0].stride()


class Bare(nn.Module):
    """A stand-in for a network: pixels (n, h, w, 3) into one batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.dropped = nn.Dropout(0.5)
        self.modes: list[bool] = []

    def forward(self, pixels: Tensor) -> Tensor:
        self.modes.append(self.dropped.training)
        normed: Tensor = self.norm(self.dropped(pixels.permute(0, 3, 1, 2).float()))
        return normed


def batches(*sizes: int, side: int = 8) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    shapes = [(size, side, side, 3) for size in sizes]
    return [torch.randint(0, 256, s, generator=generator, dtype=torch.uint8) for s in shapes]


def refreshed(network: Any, given: Iterable[Tensor], precision: str = "32") -> int:
    return refresh_batch_norms(network, given, "cpu", precision)


def statistics(network: nn.Module) -> dict[str, Tensor]:
    """Return copies of the running means and variances."""
    return {name: value.clone() for name, value in network.named_buffers() if "running" in name}


def test_refreshed_statistics_are_the_means_over_batches() -> None:
    network, given = Bare().train(), batches(4, 4, 2)
    assert refreshed(network, given) == 1
    values = [batch.float().flatten(0, 2) for batch in given]
    means = torch.stack([value.mean(0) for value in values]).mean(0)
    variances = torch.stack([value.var(0) for value in values]).mean(0)
    torch.testing.assert_close(network.norm.running_mean, means)
    torch.testing.assert_close(network.norm.running_var, variances)


def test_earlier_statistics_do_not_count() -> None:
    one, other = Bare(), Bare()
    refreshed(one, batches(5))
    refreshed(one, batches(3, 3))
    refreshed(other, batches(3, 3))
    assert torch.equal(one.norm.running_mean, other.norm.running_mean)  # type: ignore[arg-type]


def test_a_refresh_is_without_dropout_and_restores_the_mode() -> None:
    for mode in (True, False):
        network = Bare().train(mode)
        refreshed(network, batches(4))
        assert network.modes == [False]
        assert network.training is network.dropped.training is network.norm.training is mode
        assert network.norm.momentum == 0.1


def test_a_refresh_equals_update_bn_of_torch() -> None:
    one, other = (Network(tiny(seed=1)) for _ in range(2))
    other.load_state_dict(one.state_dict())
    given = batches(4, 4, side=32)
    norms = [module for module in one.modules() if isinstance(module, nn.BatchNorm2d)]
    assert refreshed(one, given) == len(norms) + 1  # the neck's
    update_bn(given, other)
    for name, value in statistics(other).items():
        torch.testing.assert_close(statistics(one)[name], value)


def test_a_refresh_skips_a_batch_of_one_image() -> None:
    one, other = (Network(tiny()) for _ in range(2))
    other.load_state_dict(one.state_dict())
    refreshed(one, batches(4, side=32) + batches(1, side=32))
    refreshed(other, batches(4, side=32))
    for name, value in statistics(other).items():
        assert torch.equal(statistics(one)[name], value)


@pytest.mark.parametrize("given", [[], batches(1)])
def test_without_batches_the_statistics_stay(given: list[Tensor]) -> None:
    network = Bare()
    network.norm.running_mean = torch.full((3,), 7.0)
    refreshed(network, given)
    assert network.norm.running_mean.tolist() == [7.0] * 3


def test_frozen_norms_keep_their_statistics() -> None:
    class Frozen(Network):
        def train(self, mode: bool = True) -> "Frozen":
            super().train(mode)
            self.backbone.eval()
            return self

    network = Frozen(tiny())
    before = statistics(network)
    assert refreshed(network, batches(4, side=32)) == 1
    moved = {name for name, value in statistics(network).items() if not value.equal(before[name])}
    assert moved == {"neck.1.running_mean", "neck.1.running_var"}


def test_a_network_without_batch_norm_is_not_run() -> None:
    class Unrun(nn.Module):
        def forward(self, _: Tensor) -> Tensor:
            raise AssertionError("was run")

    assert refreshed(Unrun(), batches(4)) == 0


def test_statistics_are_finite_in_bfloat16_and_an_error_restores_the_mode() -> None:
    network = Network(tiny()).eval()
    refreshed(network, batches(4, 4, side=32), "bf16")
    assert all(bool(value.isfinite().all()) for value in statistics(network).values())

    def broken() -> Iterator[Tensor]:
        yield from batches(4, side=32)
        raise OSError("unreadable")

    with pytest.raises(OSError, match="unreadable"):
        refreshed(network, broken())
    assert not any(module.training for module in network.modules())
