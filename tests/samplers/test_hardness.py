"""The curves of hardness: where they begin and end, and the numbers of the source's code."""

import math
from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kitbox.plugin.samplers import Curve
from kitbox.samplers.hardness_sequencing import hardness_at

CURVES = get_args(Curve)


@pytest.mark.parametrize(("step", "asked"), [(0, 0.042), (500, 0.190), (750, 0.401), (999, 0.848)])
def test_the_exponential_curve_is_what_the_sources_code_computes(step: int, asked: float) -> None:
    assert hardness_at(step, 1000, 1, 0.85, 3.0, "exponential") == pytest.approx(asked, abs=1e-3)
    u = step / 1000
    arg = 3 * (u - 1)
    theirs = 0.85 * ((0.5 / 1 + math.exp(arg)) - 0.5)
    assert hardness_at(step, 1000, 1, 0.85, 3.0, "exponential") == pytest.approx(theirs)


@pytest.mark.parametrize(
    ("curve", "asked"),
    [
        # 1/(1+e^6), 1/(1+e^3), 1/2, 1/(1+e^-3)
        ("logistic", (0.0025, 0.0474, 0.5, 0.9526)),
        ("linear", (0, 0.25, 0.5, 0.75)),
        ("sine", (0, math.sin(math.pi / 8), math.sqrt(0.5), math.sin(3 * math.pi / 8))),
        ("tanh", (0, math.tanh(0.75), math.tanh(1.5), math.tanh(2.25))),
        # log of 1, 1.75, 2.5, 3.25 to the base 4
        ("logarithmic", (0, 0.4037, 0.6610, 0.8502)),
        ("constant", (1, 1, 1, 1)),
    ],
)
def test_each_curve_at_the_quarters_of_a_cycle(curve: Curve, asked: tuple[float, ...]) -> None:
    found = [hardness_at(step, 4, 1, 1.0, 3.0, curve) for step in range(4)]
    assert found == pytest.approx(asked, abs=5e-5)


def test_the_logistic_curve_rises_from_near_nothing_to_near_the_threshold() -> None:
    assert hardness_at(0, 1000, 1, 0.85, 3.0, "logistic") < 0.005
    assert hardness_at(999, 1000, 1, 0.85, 3.0, "logistic") > 0.845


def test_a_cycle_begins_easy_again() -> None:
    found = [hardness_at(step, 12, 3, 1.0, 3.0, "linear") for step in range(12)]
    assert found == [0, 0.25, 0.5, 0.75] * 3


def test_cycles_need_not_divide_the_steps() -> None:
    found = [hardness_at(step, 5, 2, 1.0, 3.0, "linear") for step in range(5)]
    assert found == pytest.approx([0, 0.4, 0.8, 0.2, 0.6])


@given(
    st.integers(1, 400),
    st.integers(1, 12),
    st.floats(0, 1),
    st.floats(1e-6, 1e6),
    st.sampled_from(CURVES),
)
@example(2, 1, 1.0, 1e308, "logistic")
@example(2, 1, 1.0, 5e-324, "logarithmic")
def test_hardness_never_falls_in_a_cycle_nor_leaves_its_range(
    total: int, cycles: int, threshold: float, growth: float, curve: Curve
) -> None:
    found = [hardness_at(step, total, cycles, threshold, growth, curve) for step in range(total)]
    assert all(0 <= value <= threshold for value in found)
    number = [step * cycles // total for step in range(total)]
    for step in range(1, total):
        if number[step] == number[step - 1]:
            assert found[step] >= found[step - 1] - 1e-12
