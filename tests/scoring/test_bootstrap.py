import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.errors import KitboxError
from kitbox.scoring import bootstrap


def slow(values: np.ndarray) -> tuple[float, float]:
    generator = np.random.default_rng(0)
    means = [
        np.mean([values[i] for i in generator.integers(len(values), size=len(values))])
        for _ in range(bootstrap.RESAMPLES)
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def test_an_interval_is_that_of_drawing_queries_one_by_one() -> None:
    values = np.array([0, 0.25, 1, 1, 0.5, 0.2, 1])
    found = bootstrap.score(values)
    assert (found.low, found.high) == pytest.approx(slow(values))
    assert (found.value, found.queries) == (pytest.approx(values.mean()), 7)


def test_an_interval_does_not_depend_on_how_much_is_drawn_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = np.linspace(0, 1, 31) ** 2
    at_once = bootstrap.score(values)
    for chunk in (1, 31 * 7, 31 * 1999):
        monkeypatch.setattr(bootstrap, "_CHUNK", chunk)
        assert bootstrap.score(values) == at_once


def test_an_interval_is_as_wide_as_statistics_says() -> None:
    # 400 queries, half of them right: 1.96 * sqrt(0.5 * 0.5 / 400) = 0.049 to each side
    found = bootstrap.score(np.repeat([0.0, 1.0], 200))
    assert found.value == 0.5
    assert found.high - found.value == pytest.approx(0.049, abs=0.004)
    assert found.value - found.low == pytest.approx(0.049, abs=0.004)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_a_mean_lies_between_the_extremes(values: list[float]) -> None:
    found = bootstrap.score(np.array(values))
    bounds = [min(values), found.low, found.high, max(values)]
    assert np.all(np.diff(bounds) >= -1e-12)
    assert min(values) - 1e-12 <= found.value <= max(values) + 1e-12


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 1.0])
def test_equal_values_leave_no_doubt(value: float) -> None:
    # a thousand times 0.1 or 1/3 sums up to a little more or less than it should
    found = bootstrap.score(np.full(1000, value))
    assert [found.value, found.low, found.high] == pytest.approx([value] * 3)


def test_no_query_is_refused() -> None:
    message = r"^no query of the holdout has a match in the gallery; nothing to score$"
    with pytest.raises(KitboxError, match=message):
        bootstrap.score(np.array([]))
