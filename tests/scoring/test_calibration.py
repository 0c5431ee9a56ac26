"""Calibrated probabilities are right on average, and no query is calibrated by itself."""

import numpy as np
import pytest

from kitbox.errors import KitboxError
from kitbox.records import strings
from kitbox.scoring import calibration
from kitbox.scoring.calibration import Calibration


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_the_curve_by_hand() -> None:
    curve = Calibration(slope=2.0, offset=-1.0)
    found = curve.probability(column(0.5, 1.0, -np.inf))
    assert found.tolist() == pytest.approx([0.5, 1 / (1 + np.exp(-1)), 0.0])


def test_the_curve_is_recovered_from_samples_of_it() -> None:
    generator = np.random.default_rng(0)
    similarity = generator.uniform(-1, 1, 4000).astype(np.float32)
    true = Calibration(6.0, -2.0)
    right = generator.random(4000) < true.probability(similarity)
    found = calibration.fit(similarity, right)
    assert np.abs(found.probability(similarity) - true.probability(similarity)).max() < 0.04
    # Platt's targets keep the mean almost, as logistic regression does exactly
    assert found.probability(similarity).mean() == pytest.approx(right.mean(), abs=1e-3)


def test_answers_that_are_all_right_have_a_probability_below_one() -> None:
    curve = calibration.fit(column(0.7, 0.8, 0.9), np.array([True, True, True]))
    assert curve.probability(column(0.2, 0.8)).tolist() == pytest.approx([4 / 5, 4 / 5])


def test_separable_answers_have_a_finite_curve() -> None:
    similarity = np.linspace(0, 1, 20, dtype=np.float32)
    curve = calibration.fit(similarity, similarity > 0.5)
    probabilities = curve.probability(similarity)
    assert (np.diff(probabilities) > 0).all()
    assert 0.5 < probabilities[-1] < 1


def test_a_similarity_that_misleads_has_a_flat_curve() -> None:
    similarity = np.linspace(0, 1, 20, dtype=np.float32)
    curve = calibration.fit(similarity, similarity < 0.5)
    assert curve.slope == 0
    assert curve.probability(column(0.1)) == pytest.approx(0.5)
    equal = calibration.fit(column(0.5, 0.5), np.array([True, False]))
    assert equal.probability(column(0.9)) == pytest.approx(0.5)


def test_a_query_is_calibrated_by_a_curve_fitted_without_its_individual() -> None:
    generator = np.random.default_rng(1)
    similarity = generator.uniform(0, 1, (60, 2)).astype(np.float32)
    similarity.sort(axis=1)
    similarity = similarity[:, ::-1].copy()
    right = generator.random(60) < similarity[:, 0]
    individuals = strings([f"w{i // 6}" for i in range(60)])
    before = calibration.cross_fit(similarity, right, individuals)
    for name in ("w0", "w7"):
        own = individuals == name
        turned = calibration.cross_fit(similarity, np.where(own, ~right, right), individuals)
        assert (turned[own] == before[own]).all()
        assert (turned[~own] != before[~own]).any()


def test_a_query_without_answer_is_never_fitted_on() -> None:
    similarity = np.array([[0.9, 0.1], [0.2, 0.1], [-np.inf, -np.inf], [0.8, -np.inf]], np.float32)
    found = calibration.cross_fit(
        similarity, np.array([True, False, True, True]), strings(["a", "b", "c", "d"])
    )
    assert found[2].tolist() == [0, 0]
    assert found[3, 1] == 0
    assert (found[[0, 1, 3], 0] > 0).all()


def test_queries_of_one_individual_are_refused() -> None:
    with pytest.raises(KitboxError, match=r"show one individual; .* --by classifier"):
        calibration.cross_fit(column(0.5)[:, None], np.array([True]), strings(["a"]))
    with pytest.raises(KitboxError, match="no query of the holdout has an answer"):
        calibration.fit(column(), np.array([], dtype=np.bool_))
