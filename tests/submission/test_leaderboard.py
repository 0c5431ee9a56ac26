"""Statuses replayed from the ledger, and how well local scores predict the leaderboard."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.errors import KitboxError
from kitbox.submission import leaderboard
from kitbox.submission.leaderboard import SubmissionStatus, replay
from kitbox.submission.ledger import LedgerEntry

A = "2026-01-31_a_11111111"


def entry(what: str, **fields: object) -> LedgerEntry:
    return LedgerEntry(what, "2026-01-31T12:00:00+00:00", A, fields)


SENDING = entry("sending", sha256="11", description="a")


@pytest.mark.parametrize(
    ("entries", "outcomes"),
    [
        ([SENDING], ["open"]),
        ([SENDING, entry("sent", ref=7)], ["sent"]),
        ([SENDING, entry("failed", why="cut")], ["failed"]),
        ([SENDING, entry("refused", why="no")], ["refused"]),
        ([SENDING, entry("sent", ref=7), entry("refused", why="bad", ref=7)], ["refused"]),
        (
            [SENDING, entry("sent", ref=7), entry("scored", public=1, private=None, ref=7)],
            ["scored"],
        ),
        ([SENDING, entry("failed", why="cut"), SENDING], ["failed", "open"]),
        # the score of the first comes while the second is on its way
        (
            [
                SENDING,
                entry("sent", ref=7),
                SENDING,
                entry("sent", ref=8),
                entry("scored", public=1, private=None, ref=7),
            ],
            ["scored", "sent"],
        ),
        ([entry("scored", public=1, private=None)], []),
        ([entry("sent", ref=7)], []),
    ],
)
def test_lines_are_replayed_into_attempts(entries: list[LedgerEntry], outcomes: list[str]) -> None:
    found = replay(entries)[A]
    assert [attempt.outcome for attempt in found.attempts] == outcomes


def test_a_later_score_replaces_only_the_values_it_has() -> None:
    found = replay(
        [
            entry("scored", public=0.5, private=0.4, source="by hand"),
            entry("scored", public=1450, private=None, source="kaggle"),
        ]
    )[A]
    assert (found.public, found.private, found.source) == (1450.0, 0.4, "kaggle")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0.1, 0.2, 0.3])), max_size=12))
def test_submissions_do_not_mix(scored: list[tuple[str, float]]) -> None:
    lines = [
        LedgerEntry("scored", "", name, {"public": value, "private": None})
        for name, value in scored
    ]
    slow = dict(scored)
    assert {name: found.public for name, found in replay(lines).items()} == slow
    assert list(replay(lines)) == list(dict.fromkeys(name for name, _ in scored))


KNOWN = {
    name: SubmissionStatus(name)
    for name in ("2026-01-31_a_1f", "2026-01-31_b_2e", "2026-02-01_a_3d")
}


@pytest.mark.parametrize(
    "text", ["2026-02-01_a_3d", "2026-02", "submissions/2026-02-01_a_3d", "/x/2026-02-01_a_3d/"]
)
def test_a_unique_beginning_of_an_id_is_enough(text: str) -> None:
    assert leaderboard.find(text, KNOWN).submission == "2026-02-01_a_3d"


def test_an_id_that_begins_another_is_itself() -> None:
    known = {name: SubmissionStatus(name) for name in ("a", "ab")}
    assert leaderboard.find("a", known).submission == "a"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "2026-01",
            "2 submissions begin with 2026-01, 2026-01-31_a_1f and 2026-01-31_b_2e; "
            "type more of it",
        ),
        (
            "2026",
            "3 submissions begin with 2026, 2026-01-31_a_1f and 2026-01-31_b_2e; 1 more; "
            "type more of it",
        ),
        (
            "2026-01-31_a_1e",
            "no submission named 2026-01-31_a_1e; did you mean 2026-01-31_a_1f?",
        ),
        ("whale", "no submission named whale; 'kitbox leaderboard' lists them"),
    ],
)
def test_an_unknown_or_ambiguous_id_is_an_error(text: str, message: str) -> None:
    with pytest.raises(KitboxError) as caught:
        leaderboard.find(text, KNOWN)
    assert str(caught.value) == message


def status(
    name: str, local: float | None, public: float | None, sha256: str = ""
) -> SubmissionStatus:
    scores = {} if local is None else {"map_at_5": {"value": local}}
    return SubmissionStatus(
        name, sha256=sha256 or name, metric="map_at_5", scores=scores, public=public
    )


def test_a_leaderboard_on_a_straight_line_is_predicted_without_error() -> None:
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


def test_a_reversed_order_has_a_spearman_of_minus_one() -> None:
    found = leaderboard.measure_agreement([(0.1, 0.9), (0.2, 0.8), (0.3, 0.1)])
    assert found is not None
    assert found.spearman == pytest.approx(-1.0)
    assert found.pearson is not None
    assert -1 < found.pearson < -0.8


@pytest.mark.parametrize("pairs", [[], [(0.5, 0.5)], [(0.5, 0.5), (0.6, 0.7)]])
def test_fewer_than_three_pairs_have_no_agreement(pairs: list[tuple[float, float]]) -> None:
    assert leaderboard.measure_agreement(pairs) is None
    assert leaderboard.too_few_pairs(len(pairs)).startswith(
        f"{len(pairs)} of at least 3 submissions"
    )


def test_equal_scores_have_no_correlation() -> None:
    found = leaderboard.measure_agreement([(0.5, 0.6), (0.5, 0.7), (0.5, 0.8)])
    assert found is not None
    assert (found.spearman, found.pearson) == (None, None)
    assert found.line_error == found.mean_error == pytest.approx(0.1)
    assert "equal scores have no correlation" in str(found)


def test_the_sentence_shows_offset_and_both_errors() -> None:
    found = leaderboard.measure_agreement([(0.5, 0.4), (0.6, 0.5), (0.7, 0.6), (0.8, 0.8)])
    assert str(found) == (
        "4 submissions with both scores: Spearman 1.00, Pearson 0.98; the leaderboard lies 0.075 "
        "below the local score on average, and a straight line from the other submissions misses "
        "it by 0.05952 (their mean alone by 0.1667)"
    )


SCORE = st.floats(0, 1).map(lambda value: round(value, 3))


@given(st.lists(st.tuples(SCORE, SCORE), min_size=3, max_size=8, unique_by=lambda pair: pair[0]))
def test_the_leave_one_out_error_equals_that_of_polyfit(pairs: list[tuple[float, float]]) -> None:
    found = leaderboard.measure_agreement(pairs)
    assert found is not None
    slow = []
    for row, (local, public) in enumerate(pairs):
        others = np.array(pairs[:row] + pairs[row + 1 :])
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
        status("a", 0.5, 0.4),
        status("b", None, 0.4),
        status("c", 0.5, None),
        SubmissionStatus("d", metric="map_at_20", scores={"map_at_20": {"value": 0.1}}, public=0.2),
    ]
    assert leaderboard.score_pairs(found, "map_at_5") == [(0.5, 0.4)]


def test_the_same_csv_under_two_names_counts_once() -> None:
    found = [status("a", 0.5, 0.4, "11"), status("b", 0.5, 0.4, "11")]
    assert leaderboard.score_pairs(found, "map_at_5") == [(0.5, 0.4)]
