"""Learning rates against worked numbers, the closed form, and recorded values."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kitbox.plugin.plugin import Plugin
from kitbox.plugin.schedules import Cosine, Multistep, Phase, Restarts
from kitbox.training.schedule import LearningRateSchedule, rate_factor, warmup_steps
from tests.photographs import tiny

PEAK = 3e-4


def plugin(epochs: int, warmup: float = 0, final: float = 0.0, **settings: Any) -> Plugin:
    """Return a plugin whose final rate is given as a share of PEAK."""
    return tiny(
        epochs=epochs,
        warmup_epochs=warmup,
        learning_rate=PEAK,
        final_learning_rate=PEAK * final,
        **settings,
    )


def optimizer(*rates: float) -> torch.optim.Optimizer:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    return torch.optim.SGD(groups, lr=1.0)


def curve(plugin: Plugin, steps: Sequence[int], *rates: float, done: int = 0) -> Iterator[Any]:
    """Yield the rates of the groups at each step after the first `done`."""
    stepped = optimizer(*(rates or (plugin.learning_rate,)))
    schedule = LearningRateSchedule(stepped, plugin, steps, done)
    for _ in range(done, sum(steps)):
        yield [group["lr"] for group in stepped.param_groups]
        stepped.step()
        schedule.step()


def rates(plugin: Plugin, steps: Sequence[int]) -> list[float]:
    """Return the rate at every step."""
    return [rate for (rate,) in curve(plugin, steps)]


def closed_form(step: int, total: int, warmup: int, final: float) -> float:
    """Return the rate at a step: linear up to the peak, then half a cosine down to the end."""
    if step < warmup:
        return PEAK * (step + 1) / warmup
    begin = max(warmup - 1, 0)
    angle = math.pi * (step - begin) / (total - 1 - begin) if total > 1 else 0.0
    return PEAK * (final + (1 - final) * (0.5 + 0.5 * math.cos(angle)))


# Recorded before there were phases and other schedules.
RECORDED = [
    (
        {"epochs": 2, "warmup_epochs": 0.5, "learning_rate": 2.5e-4, "final_learning_rate": 5e-5},
        5,
        [
            0.000125,
            0.00025,
            0.00024238795325112866,
            0.00022071067811865475,
            0.000188268343236509,
            0.00015000000000000001,
            0.00011173165676349104,
            7.928932188134526e-05,
            5.7612046748871325e-05,
            5e-05,
        ],
    ),
    (
        {"epochs": 2, "warmup_epochs": 0, "learning_rate": 1e-3, "final_learning_rate": 1e-4},
        3,
        [
            0.001,
            0.0009140576474687263,
            0.0006890576474687264,
            0.0004109423525312738,
            0.00018594235253127373,
            0.0001,
        ],
    ),
]


@pytest.mark.parametrize(("settings", "steps", "expected"), RECORDED)
def test_rates_equal_recorded_ones_to_the_last_digit(
    settings: dict[str, Any], steps: int, expected: list[float]
) -> None:
    assert rates(tiny(**settings), [steps] * 2) == expected


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
    expected = [closed_form(step, total, warmup, final) for step in range(total)]
    assert rates(plugin(total, warmup, final), [1] * total) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=50)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.floats(0, 1), st.floats(0, 1))
def test_cosines_follow_the_closed_form_for_epochs_of_any_length(
    steps: list[int], share: float, final: float
) -> None:
    cosine = plugin(len(steps), share * len(steps), final)
    warmup = warmup_steps(cosine, steps)
    expected = [closed_form(step, sum(steps), warmup, final) for step in range(sum(steps))]
    assert rates(cosine, steps) == pytest.approx(expected, rel=1e-9, abs=1e-15)


SCHEDULES = [Cosine(), Multistep(milestones=(1, 2)), Restarts(cycles=3)]


@settings(max_examples=50)
@given(
    st.sampled_from(SCHEDULES),
    st.lists(st.integers(1, 7), min_size=3, max_size=6),
    st.sampled_from([0.0, 0.5, 1.0, 2.5]),
    st.sampled_from([0.0, 0.2, 1.0]),
    st.sampled_from([0.1, 1.0]),
    st.data(),
)
def test_every_schedule_resumes_at_any_step_with_the_rates_of_the_closed_form(
    schedule: Any,
    steps: list[int],
    warmup: float,
    final: float,
    rate: float,
    data: st.DataObject,
) -> None:
    parts = (Phase(epochs=1, rate=rate), Phase(epochs=len(steps) - 1))
    staged = plugin(len(steps), warmup, final, schedule=schedule, phases=parts)
    whole = [PEAK * rate_factor(staged, steps, step) for step in range(sum(steps))]
    assert rates(staged, steps) == pytest.approx(whole, rel=1e-9)
    assert whole[0] > 0
    assert max(whole) <= PEAK
    done = data.draw(st.integers(0, sum(steps)))
    unbroken = list(curve(staged, steps, PEAK, 10 * PEAK))
    assert list(curve(staged, steps, PEAK, 10 * PEAK, done=done)) == unbroken[done:]


def test_a_warmup_starts_above_zero_and_ends_exactly_at_the_peak() -> None:
    values = rates(plugin(10, 1, 0.2), [10] * 10)
    assert values[0] == pytest.approx(PEAK / 10, rel=1e-12)
    assert values[9] == PEAK
    assert max(values) == PEAK
    assert values[:10] == sorted(values[:10])
    assert values[9:] == sorted(values[9:], reverse=True)


@pytest.mark.parametrize(
    ("epochs", "steps"),
    [(0, 0), (0.5, 2), (1, 4), (1.5, 4 + 1), (2, 4 + 2), (2.1, 4 + 2 + 1), (3, 4 + 2 + 6)],
)
def test_a_warmup_counts_the_steps_of_its_own_epochs(epochs: float, steps: int) -> None:
    assert warmup_steps(plugin(3, epochs), [4, 2, 6]) == steps


@pytest.mark.parametrize("final", [0.0, 0.2, 1 / 3, 1.0])
@pytest.mark.parametrize("warmup", [0, 1, 3])
@pytest.mark.parametrize("schedule", [Cosine(), Restarts(cycles=3)])
def test_the_last_step_of_cosines_has_exactly_the_final_rate(
    schedule: Any, warmup: int, final: float
) -> None:
    falling = plugin(10, warmup, schedule=schedule).model_copy(
        update={"learning_rate": 1.0, "final_learning_rate": final}
    )
    assert rates(falling, [10] * 10)[-1] == final


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_without_a_warmup_the_first_step_is_the_peak(schedule: Any) -> None:
    assert next(curve(plugin(10, 0, 0.2, schedule=schedule), [10] * 10)) == [PEAK]


def test_rates_are_multiplied_after_each_milestone_epoch() -> None:
    stepped = plugin(5, 1, schedule=Multistep(milestones=(2, 4), factor=0.5))
    values = rates(stepped, [2, 1, 3, 2, 1])
    half, quarter = PEAK / 2, PEAK / 4
    assert values == [half, PEAK, PEAK, half, half, half, half, half, quarter]


def test_rates_do_not_fall_below_the_final_one() -> None:
    stepped = plugin(3, 0, 0.2, schedule=Multistep(milestones=(1, 2), factor=0.1))
    assert rates(stepped, [1, 1, 1]) == pytest.approx([PEAK, 0.2 * PEAK, 0.2 * PEAK])


def test_each_cycle_falls_from_the_peak_to_the_final_rate() -> None:
    # the warm-up ends at the peak, step 1; a cycle of 3 steps has cos 90° in its middle
    values = rates(plugin(7, 2, 0.2, schedule=Restarts(cycles=2)), [1] * 7)
    assert values == pytest.approx([PEAK * x for x in (0.5, 1.0, 0.6, 0.2, 1.0, 0.6, 0.2)])


@settings(max_examples=50)
@given(st.integers(2, 60), st.integers(2, 60))
def test_cycles_share_the_steps_as_evenly_as_possible(total: int, cycles: int) -> None:
    cycles = min(cycles, total)
    values = rates(plugin(total, 0, 0.5, schedule=Restarts(cycles=cycles)), [1] * total)
    begins = [step for step in range(total) if values[step] == PEAK]
    lengths = [after - begin for begin, after in zip(begins, [*begins[1:], total], strict=True)]
    assert len(begins) == cycles
    assert max(lengths) - min(lengths) <= 1


def test_a_phase_multiplies_the_rates_of_its_epochs_within_a_warmup_too() -> None:
    parts = (Phase(epochs=1, rate=0.5), Phase(epochs=1, rate=0.1), Phase(epochs=2))
    plain, staged = (rates(plugin(4, 1.5, 0.2, phases=each), [2, 3, 2, 1]) for each in ((), parts))
    multiplied = [0.5] * 2 + [0.1] * 3 + [1.0] * 3
    assert staged == pytest.approx([a * b for a, b in zip(plain, multiplied, strict=True)])


def test_a_schedule_resumes_from_a_saved_optimizer() -> None:
    parts = (Phase(epochs=3, rate=0.5), Phase(epochs=3))
    staged, steps = plugin(6, 1, 0.2, phases=parts), [10] * 6
    stepped = optimizer(PEAK)
    schedule = LearningRateSchedule(stepped, staged, steps)
    for _ in range(25):
        stepped.step()
        schedule.step()
    restored = optimizer(PEAK)
    restored.load_state_dict(stepped.state_dict())
    LearningRateSchedule(restored, staged, steps, done=25)
    assert restored.param_groups[0]["lr"] == rates(staged, steps)[25]


@pytest.mark.parametrize("warmup", [0, 2])
def test_groups_keep_the_ratio_of_their_rates(warmup: int) -> None:
    for backbone, head in curve(plugin(6, warmup, 0.2), [10] * 6, PEAK, 10 * PEAK):
        assert head == pytest.approx(10 * backbone, rel=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rates_after_the_last_step_stay_at_the_final_rate(schedule: Any) -> None:
    stepped = optimizer(PEAK)
    after = LearningRateSchedule(stepped, plugin(4, 1, 0.2, schedule=schedule), [5] * 4)
    for _ in range(30):
        stepped.step()
        after.step()
    assert stepped.param_groups[0]["lr"] == pytest.approx(PEAK * 0.2)
