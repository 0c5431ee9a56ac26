import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.submission import leaderboard
from kitbox.submission.leaderboard import SubmissionStatus


def standing(
    name: str, local: float | None, public: float | None, sha256: str = ""
) -> SubmissionStatus:
    scores = {} if local is None else {"map_at_5": {"value": local}}
    return SubmissionStatus(
        name, sha256=sha256 or name, metric="map_at_5", scores=scores, public=public
    )


def test_a_leaderboard_on_a_straight_line_is_foretold_without_error() -> None:
    # leaderboard = 1000 × local + 900, as where its unit is another
    found = leaderboard.measure_agreement([(0.2, 1100.0), (0.3, 1200.0), (0.5, 1400.0)])
    assert found is not None
    assert found.pairs == 3
    assert found.spearman == pytest.approx(1.0)
    assert found.pearson == pytest.approx(1.0)
    assert found.line_error == pytest.approx(0.0, abs=1e-9)
    assert found.offset == pytest.approx(3700 / 3 - 1 / 3)
    # the means of the others: 1300, 1250, 1150
    assert found.mean_error == pytest.approx((200 + 50 + 250) / 3)


def test_an_order_turned_round_is_a_spearman_of_minus_one() -> None:
    found = leaderboard.measure_agreement([(0.1, 0.9), (0.2, 0.8), (0.3, 0.1)])
    assert found is not None
    assert found.spearman == pytest.approx(-1.0)
    assert found.pearson is not None
    assert -1 < found.pearson < -0.8


@pytest.mark.parametrize("pairs", [[], [(0.5, 0.5)], [(0.5, 0.5), (0.6, 0.7)]])
def test_with_fewer_than_three_pairs_nothing_is_claimed(pairs: list[tuple[float, float]]) -> None:
    assert leaderboard.measure_agreement(pairs) is None
    assert leaderboard.too_few_pairs(len(pairs)).startswith(
        f"{len(pairs)} of at least 3 submissions"
    )


def test_scores_that_are_all_the_same_have_no_correlation() -> None:
    found = leaderboard.measure_agreement([(0.5, 0.6), (0.5, 0.7), (0.5, 0.8)])
    assert found is not None
    assert (found.spearman, found.pearson) == (None, None)
    assert found.line_error == found.mean_error == pytest.approx(0.1)
    assert "no correlation can be told" in str(found)


def test_the_sentence_says_side_error_and_what_the_mean_alone_would_do() -> None:
    found = leaderboard.measure_agreement([(0.5, 0.4), (0.6, 0.5), (0.7, 0.6), (0.8, 0.8)])
    assert str(found) == (
        "4 submissions with both scores: Spearman 1.00, Pearson 0.98; the leaderboard lies 0.075 "
        "below the local score on average, and a straight line from the other submissions misses "
        "it by 0.05952 (their mean alone by 0.1667)"
    )


SCORE = st.floats(0, 1).map(lambda value: round(value, 3))


@given(st.lists(st.tuples(SCORE, SCORE), min_size=3, max_size=8, unique_by=lambda pair: pair[0]))
def test_leaving_one_out_is_what_polyfit_does(pairs: list[tuple[float, float]]) -> None:
    found = leaderboard.measure_agreement(pairs)
    assert found is not None
    slow = []
    for place, (local, public) in enumerate(pairs):
        others = np.array(pairs[:place] + pairs[place + 1 :])
        slow.append(abs(np.polyval(np.polyfit(others[:, 0], others[:, 1], 1), local) - public))
    assert found.line_error == pytest.approx(np.mean(slow), abs=1e-6, rel=1e-6)


@given(st.lists(st.tuples(SCORE, SCORE), min_size=3, max_size=8))
def test_correlations_are_undefined_or_within_one(pairs: list[tuple[float, float]]) -> None:
    found = leaderboard.measure_agreement(pairs)
    assert found is not None
    for value in (found.spearman, found.pearson):
        assert value is None or -1 - 1e-9 <= value <= 1 + 1e-9
    assert math.isfinite(found.line_error)


def test_a_pair_needs_both_scores_by_the_same_metric() -> None:
    found = [
        standing("a", 0.5, 0.4),
        standing("b", None, 0.4),
        standing("c", 0.5, None),
        SubmissionStatus("d", metric="map_at_20", scores={"map_at_20": {"value": 0.1}}, public=0.2),
    ]
    assert leaderboard.score_pairs(found, "map_at_5") == [(0.5, 0.4)]


def test_the_same_list_under_two_names_counts_once() -> None:
    found = [standing("a", 0.5, 0.4, "11"), standing("b", 0.5, 0.4, "11")]
    assert leaderboard.score_pairs(found, "map_at_5") == [(0.5, 0.4)]
