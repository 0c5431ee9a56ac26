import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.fusion.probability_curve import ProbabilityCurve, base_rate, fit_curve, logit
from kitbox.scoring import calibration


def rises(curve, values) -> bool:  # type: ignore[no-untyped-def]
    found = curve.probability(np.unique(np.asarray(values, dtype=np.float64)))
    return bool((np.diff(found) > 0).all() and (found > 0).all() and (found < 1).all())


def test_isotonic_steps_are_met_at_their_middle() -> None:
    # 100 positives: values 0 and 1 hold none of 100 each, 2 and 3 hold 20 and 10 of 100 each,
    # which isotonic regression pools to 30 of 200, and 4 holds 70 of 100
    positives = {0: 0, 1: 0, 2: 20, 3: 10, 4: 70}
    values = np.repeat(np.arange(5.0), 100)
    same = np.concatenate([np.arange(100) < count for count in positives.values()])
    curve = fit_curve(values, same)
    high, low = 101 / 102, 1 / 402  # Platt's targets of 100 positives and 400 negatives

    def target(share: float) -> float:
        return share * high + (1 - share) * low

    middles = np.array([0.5, 2.5, 4.0])
    expected = [target(0.0), target(0.15), target(0.7)]
    np.testing.assert_allclose(curve.probability(middles), expected, rtol=1e-12)
    half_way = curve.probability(np.array([1.5]))[0]
    assert half_way == pytest.approx((target(0.0) + target(0.15)) / 2)


def test_a_curve_rises_strictly_within_its_steps_and_beyond_both_ends() -> None:
    rng = np.random.default_rng(1)
    same = rng.random(3000) < 0.2
    values = rng.normal(same, 1)
    curve = fit_curve(values, same)
    assert rises(curve, np.concatenate([values, np.linspace(-20, 20, 500)]))


def test_beyond_its_last_knots_a_curve_bends_towards_zero_and_one_and_reaches_neither() -> None:
    curve = ProbabilityCurve(np.array([0.0, 1.0, 2.0]), np.array([0.2, 0.5, 0.6]))
    # as far below the first knot as a line of slope .3 needs for .2: half of .2 is left; above the
    # last one it is a line of slope .1 that has .4 to go
    found = curve.probability(np.array([0.0 - 0.2 / 0.3, 0.0, 1.5, 2.0, 2.0 + 3 * 0.4 / 0.1]))
    np.testing.assert_allclose(found, [0.1, 0.2, 0.55, 0.6, 0.6 + 0.4 * 3 / 4], rtol=1e-12)
    assert rises(curve, np.concatenate([-np.logspace(-3, 5, 50), np.logspace(-3, 5, 50)]))
    ends = curve.probability(np.array([-np.inf, -1e300, 1e300, np.inf]))
    assert ((ends > 0) & (ends < 1)).all()


@pytest.mark.parametrize("positives", [3, 150])
def test_a_fitted_curve_rises_strictly_however_far_a_value_is(positives: int) -> None:
    rng = np.random.default_rng(3)
    same = np.arange(400) < positives
    values = rng.normal(same, 0.01)
    curve = fit_curve(values, same)
    span = np.ptp(values)
    assert rises(curve, np.concatenate([values, np.linspace(-1000, 1000, 4001) * span]))


def test_below_a_hundred_positives_a_curve_is_that_of_platt() -> None:
    rng = np.random.default_rng(2)
    same = np.arange(500) < 99
    values = rng.normal(same, 1)
    logistic = calibration.fit(values.astype(np.float32), same)
    curve, inside = fit_curve(values, same), np.linspace(-1, 2, 40)
    np.testing.assert_allclose(curve.probability(inside), logistic.probability(inside), atol=2e-3)
    assert rises(curve, values)


def test_constant_values_have_the_share_of_true_pairs() -> None:
    curve = fit_curve(np.full(8, 3.0), np.arange(8) < 2)
    # Platt's targets: 3/4 for both positives, 1/8 for the six negatives
    assert curve.probability(np.array([3.0]))[0] == pytest.approx((2 * 3 / 4 + 6 / 8) / 8)
    assert rises(curve, [2.0, 3.0, 4.0])


@pytest.mark.parametrize("right", [False, True])
def test_pairs_of_one_kind_are_nearly_alike_and_keep_their_order(right: bool) -> None:
    values = np.linspace(0, 1, 30)
    curve = fit_curve(values, np.full(30, right))
    found = curve.probability(values)
    assert rises(curve, values)
    assert np.ptp(found) < 2e-3
    assert found.mean() == pytest.approx(31 / 32 if right else 1 / 32, abs=1e-3)


def test_one_true_pair_makes_nothing_certain() -> None:
    values = np.linspace(0, 1, 50)
    found = fit_curve(values, np.arange(50) == 49).probability(values)
    assert 0.05 < found[-1] < 0.75
    assert (np.diff(found) > 0).all()


def test_a_signal_that_falls_is_flat() -> None:
    values = np.linspace(0, 1, 400)
    found = fit_curve(values, values < 0.5).probability(values)
    assert np.ptp(found) < 2e-3
    assert (np.diff(found) > 0).all()


def test_missing_values_do_not_count_and_stay_missing() -> None:
    values, same = np.array([0.0, 1.0, np.nan, np.nan]), np.array([False, True, True, True])
    curve = fit_curve(values, same)
    alone = fit_curve(values[:2], same[:2])
    np.testing.assert_array_equal(curve.y, alone.y)
    assert np.isnan(curve.probability(values)).tolist() == [False, False, True, True]


def test_no_value_at_all_is_even_odds() -> None:
    curve = fit_curve(np.full(3, np.nan), np.array([True, False, False]))
    assert curve.probability(np.zeros(1))[0] == pytest.approx(0.5)


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=60))
def test_any_curve_rises_strictly_between_zero_and_one(pairs: list[tuple[int, bool]]) -> None:
    values = np.array([value for value, _ in pairs], dtype=np.float64)
    curve = fit_curve(values, np.array([same for _, same in pairs]))
    assert rises(curve, np.arange(-3, 10))


def test_base_rate_and_logit() -> None:
    assert base_rate(np.array([True, False, False])) == pytest.approx(2 / 5)
    np.testing.assert_allclose(logit(np.array([0.5, 0.9])), [0, np.log(9)], atol=1e-12)
