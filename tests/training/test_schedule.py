import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kitbox.training.schedule import Schedule, factor

PEAK = 3e-4


def optimizer(*rates: float) -> torch.optim.Optimizer:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    return torch.optim.SGD(groups, lr=1.0)


def curve(
    total: int, warmup: int, final: float, *rates: float, done: int = 0
) -> Iterator[list[float]]:
    """Yield the groups' rates at the steps `done` to `total` − 1."""
    stepped = optimizer(*(rates or (PEAK,)))
    schedule = Schedule(stepped, total=total, warmup=warmup, final=final, done=done)
    for _ in range(done, total):
        yield [group["lr"] for group in stepped.param_groups]
        stepped.step()
        schedule.step()


def closed_form(step: int, total: int, warmup: int, final: float) -> float:
    """The oracle, from the description: linear to the peak, then half a cosine to the end."""
    if step < warmup:
        return PEAK * (step + 1) / warmup
    begin = max(warmup - 1, 0)
    angle = math.pi * (step - begin) / (total - 1 - begin) if total > 1 else 0.0
    return PEAK * (final + (1 - final) * (0.5 + 0.5 * math.cos(angle)))


SHAPES = [
    (50, 10, 0.2),
    (50, 0, 0.2),
    (50, 1, 0.2),
    (50, 2, 0.0),
    (50, 49, 0.1),
    (50, 25, 1.0),
    (2, 1, 0.5),
    (1, 0, 0.5),
    (1, 1, 0.5),
]


@pytest.mark.parametrize(("total", "warmup", "final"), SHAPES)
def test_every_step_has_the_rate_of_the_closed_form(total: int, warmup: int, final: float) -> None:
    rates = [rate for (rate,) in curve(total, warmup, final)]
    wanted = [closed_form(step, total, warmup, final) for step in range(total)]
    assert rates == pytest.approx(wanted, rel=1e-9, abs=0)


@given(st.integers(1, 60), st.floats(0, 1), st.floats(0, 1))
def test_every_curve_is_the_closed_form(total: int, share: float, final: float) -> None:
    warmup = int(share * total)
    rates = [rate for (rate,) in curve(total, warmup, final)]
    wanted = [PEAK * factor(step, total, warmup, final) for step in range(total)]
    assert rates == pytest.approx(wanted, rel=1e-9, abs=1e-18)
    assert wanted == pytest.approx(
        [closed_form(step, total, warmup, final) for step in range(total)], rel=1e-9, abs=1e-18
    )


def test_a_warm_up_begins_above_zero_and_ends_exactly_at_the_peak() -> None:
    rates = [rate for (rate,) in curve(100, 10, 0.2)]
    assert rates[0] == pytest.approx(PEAK / 10, rel=1e-12)
    assert rates[9] == PEAK
    assert max(rates) == PEAK
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == sorted(rates[9:], reverse=True)


@pytest.mark.parametrize("final", [0.0, 0.2, 1 / 3, 1.0])
@pytest.mark.parametrize("warmup", [0, 1, 10])
def test_the_last_step_has_exactly_the_final_rate(warmup: int, final: float) -> None:
    (last,) = list(curve(100, warmup, final))[-1]
    assert last == PEAK * final


def test_without_warm_up_the_first_step_is_the_peak() -> None:
    assert next(curve(100, 0, 0.2)) == [PEAK]


@pytest.mark.parametrize("done", [0, 1, 8, 9, 10, 11, 30, 59])
@pytest.mark.parametrize("warmup", [0, 1, 10])
def test_a_resumed_curve_is_the_one_that_was_left(warmup: int, done: int) -> None:
    whole = list(curve(60, warmup, 0.2, PEAK, 10 * PEAK))
    assert list(curve(60, warmup, 0.2, PEAK, 10 * PEAK, done=done)) == whole[done:]


def test_a_schedule_resumes_over_rates_that_were_saved_half_way() -> None:
    whole = [rate for (rate,) in curve(60, 10, 0.2)]
    stepped = optimizer(PEAK)
    schedule = Schedule(stepped, total=60, warmup=10, final=0.2)
    for _ in range(30):
        stepped.step()
        schedule.step()
    restored = optimizer(PEAK)
    restored.load_state_dict(stepped.state_dict())
    Schedule(restored, total=60, warmup=10, final=0.2, done=30)
    assert restored.param_groups[0]["lr"] == whole[30]


@pytest.mark.parametrize("warmup", [0, 10])
def test_groups_keep_the_ratio_of_their_rates(warmup: int) -> None:
    for backbone, head in curve(60, warmup, 0.2, PEAK, 10 * PEAK):
        assert head == pytest.approx(10 * backbone, rel=1e-12)


def test_rates_after_the_last_step_stay_at_the_final_rate() -> None:
    stepped = optimizer(PEAK)
    schedule = Schedule(stepped, total=20, warmup=5, final=0.2)
    for _ in range(30):
        stepped.step()
        schedule.step()
    assert stepped.param_groups[0]["lr"] == pytest.approx(PEAK * 0.2)
