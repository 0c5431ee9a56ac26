"""The matching desk in a real browser: deciding by keys, both pictures in step, and two people."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kitbox.decisions import decision_file
from kitbox.decisions.decision import Decision
from kitbox.look import desk_payloads
from kitbox.look.desk import Desk
from kitbox.look.review_items import Review
from tests.look.browser_user import DOWN, LEFT, RIGHT, UP, BrowserUser, served
from tests.look.sample_desk import desk_review
from tests.look.sample_review import HOSTILE_LABEL, write_competition


def query(user: BrowserUser) -> str:
    return user.text(".bench .card[aria-label=Query] .id")


def scale(user: BrowserUser, side: str) -> str:
    """Return where a picture is shown, and how large."""
    [picture] = user.find_all(f".bench .card[aria-label={side}] .viewer img")
    return str(picture.get_attribute("style"))


def test_a_queue_is_decided_by_keys_and_undone(desk_user: BrowserUser) -> None:
    desk_user.open("#/match", ".bench")
    assert "0 of 9 decided" in desk_user.text(".decided-count")
    first = query(desk_user)
    assert first == "t_1.png"  # the least gap
    desk_user.press("d")
    desk_user.expect_decisions(("different", "t_1.png", "0_3.png"))
    desk_user.wait(lambda: desk_user.text(".bench .card[aria-label=Candidate] .chip") == "w_1")
    desk_user.press("s")
    desk_user.wait(lambda: query(desk_user) == "unknown.png")
    desk_user.wait(lambda: "1 of 9 decided" in desk_user.text(".decided-count"))
    desk_user.press("n")
    desk_user.wait(lambda: query(desk_user) not in ("t_1.png", "unknown.png"))
    third = query(desk_user)
    desk_user.press("c")
    desk_user.wait(lambda: query(desk_user) != third)
    fourth = query(desk_user)
    desk_user.press("p")
    desk_user.wait(lambda: "4 of 9 decided" in desk_user.text(".decided-count"))
    desk_user.expect_decisions(
        ("different", "t_1.png", "0_3.png"), ("same", "t_1.png", "1_0.png"),
        ("new", "unknown.png", ""), ("unsure", third, ""), ("poor", fourth, ""),
    )  # fmt: skip
    rows = decision_file.load(desk_user.review.session.path).rows
    assert {row.by for row in rows} == {"Anna"}
    assert all(row.time for row in rows)
    desk_user.press("u")
    desk_user.wait(lambda: query(desk_user) == fourth)
    assert len(desk_user.rows()) == 4


def test_keys_step_through_queries_candidates_and_photographs(desk_user: BrowserUser) -> None:
    desk_user.open("#/match/1", ".bench")
    chip = ".bench .card[aria-label=Candidate] .chip"
    first = desk_user.text(chip)
    desk_user.press(RIGHT)
    desk_user.wait(lambda: desk_user.text(chip) != first)
    desk_user.press(LEFT)
    desk_user.wait(lambda: desk_user.text(chip) == first)
    desk_user.press("2")
    desk_user.wait(lambda: desk_user.text(".bench .card[aria-label=Candidate] .id") == "0_2.png")
    desk_user.press(DOWN)
    desk_user.wait(lambda: query(desk_user) == "unknown.png")
    desk_user.press(UP)
    desk_user.wait(lambda: query(desk_user) == "t_1.png")
    desk_user.press(UP)
    desk_user.wait(lambda: desk_user.text("#message") == "This is the first query.")
    assert desk_user.rows() == []
    hints = desk_user.text(".bar")
    assert all(name in hints for name in ("Same", "Different", "New", "Cannot tell", "Poor"))


def test_both_pictures_zoom_and_move_in_step_and_the_query_is_mirrored(
    desk_user: BrowserUser,
) -> None:
    desk_user.open("#/match/1", ".bench")
    before = scale(desk_user, "Query"), scale(desk_user, "Candidate")
    desk_user.press("+")
    zoomed = scale(desk_user, "Query"), scale(desk_user, "Candidate")
    assert before[0] != zoomed[0]
    assert before[1] != zoomed[1]
    desk_user.press("l")
    moved = scale(desk_user, "Query"), scale(desk_user, "Candidate")
    assert zoomed[0] != moved[0]
    assert zoomed[1] != moved[1]
    desk_user.press("f")
    assert "scaleX(-1)" in scale(desk_user, "Query")
    assert "scaleX(1)" in scale(desk_user, "Candidate")
    assert scale(desk_user, "Candidate") == moved[1]
    desk_user.press("f", "0")
    assert (scale(desk_user, "Query"), scale(desk_user, "Candidate")) == before


def test_the_second_of_two_people_is_told_what_was_decided_meanwhile(
    desk_user: BrowserUser,
) -> None:
    desk_user.open("#/match/1", ".bench")
    other = Decision("same", "t_1.png", "1_0.png", by="Ben", time="2026-11-30T12:34:56Z")
    decision_file.add(desk_user.review.session.path, other)
    desk_user.press("n")
    desk_user.wait(
        lambda: "Ben decided meanwhile: same 1_0.png (12:34 UTC)" in desk_user.text("#message")
    )
    desk_user.expect_decisions(
        ("same", "t_1.png", "1_0.png"), ("different", "t_1.png", "1_0.png"), ("new", "t_1.png", "")
    )
    desk_user.wait(lambda: "1 disagreement" in desk_user.text(".disagreements"))
    desk_user.press("g")
    desk_user.wait(lambda: desk_user.find_all("table.decisions"))
    assert "Anna: new, not w_1" in desk_user.text("table.decisions")
    assert "Ben: w_1" in desk_user.text("table.decisions")


def test_hostile_labels_of_candidates_are_shown_and_never_executed(desk_user: BrowserUser) -> None:
    from selenium.common.exceptions import NoAlertPresentException

    desk_user.open("#/match/1", ".bench")
    assert HOSTILE_LABEL in [one.text for one in desk_user.find_all(".shelf b")]
    assert desk_user.find_all(".shelf b img") == []
    with pytest.raises(NoAlertPresentException):
        desk_user.driver.switch_to.alert.accept()


def test_points_are_drawn_and_those_of_pairs_passed_quickly_are_never_matched(
    desk_user: BrowserUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def matched(first: str, second: str, review: Review, *_: Any) -> dict[str, Any]:
        asked.append(second)
        with review.matching:
            pairs = [[20, 20, 20, 20, True], [30, 25, 32, 25, True], [40, 30, 50, 20, False]]
            return {"pairs": pairs, "note": f"3 points of {first} and {second}"}

    monkeypatch.setattr(desk_payloads, "points", matched)
    desk_user.open("#/match/1", ".bench")
    desk_user.press("m")
    desk_user.wait(lambda: desk_user.text(".points-note") == "3 points of t_1.png and 0_3.png")
    assert len(desk_user.find_all(".lines line")) == 3
    assert len(desk_user.find_all(".lines line.agrees")) == 2
    with desk_user.review.matching:
        desk_user.press(*[RIGHT] * 4)
        shown = desk_user.text(".bench .card[aria-label=Candidate] .id")
    note = f"3 points of t_1.png and {shown}"
    desk_user.wait(lambda: desk_user.text(".points-note") == note)
    assert len(asked) == 3  # the first, the next one, which was on its way, and the last
    desk_user.press("m")
    desk_user.wait(lambda: desk_user.text(".points-note") == "")
    assert desk_user.find_all(".lines line") == []


def test_pictures_without_points_are_named(desk_user: BrowserUser) -> None:
    desk_user.open("#/match/1", ".bench")
    desk_user.press("m")
    desk_user.wait(lambda: desk_user.text(".points-note") not in ("", "matching points …"))
    # drawn pictures of 96 pixels have no texture
    assert "no points can be matched: no keypoints were found in" in desk_user.text(".points-note")


def test_what_the_label_of_a_query_contradicts_is_refused_without_asking(
    desk_user: BrowserUser,
) -> None:
    decision_file.add(desk_user.review.session.path, Decision("label", "unknown.png", "w_0"))
    desk_user.open("#/match/2", ".bench")
    assert query(desk_user) == "unknown.png"
    chip = ".bench .card[aria-label=Candidate] .chip"
    while desk_user.text(chip) != "w_0":
        desk_user.press(RIGHT)
    already = "it is w_0 already; Enter merges or relabels"
    for key in ("d", "n"):
        desk_user.press(key)
        desk_user.wait(lambda: desk_user.text("#message") == already)
    desk_user.press("s")
    desk_user.expect_decisions(("label", "unknown.png", "w_0"), ("same", "unknown.png", "0_3.png"))


def test_digits_on_an_empty_desk_do_nothing(tmp_path: Path, browser: Any) -> None:
    workspace, competition = write_competition(tmp_path)
    review = replace(desk_review(workspace, competition, "Anna"), desk=Desk(empty="Nothing here."))
    with served(browser, review, "#view > *") as user:
        user.open("#/match", ".empty")
        user.press("1", "9")
        assert user.text(".empty") == "Nothing here."
        assert user.text("#message") == ""


def test_at_the_end_of_the_queue_is_what_was_decided_and_the_next_command(
    tmp_path: Path, browser: Any
) -> None:
    workspace, competition = write_competition(tmp_path)
    review = desk_review(workspace, competition, "Anna")
    shown = replace(review.desk, queries=review.desk.queries[:2], then="kitbox catalogue add")
    with served(browser, replace(review, desk=shown), ".bench .card") as user:
        user.open("#/match", ".bench")
        user.press("?")
        user.wait(lambda: "Look closer" in user.text("dialog h3"))
        user.press("?", "s", "n")
        user.wait(lambda: user.find_all(".summary"), "the summary")
        user.wait(lambda: user.current_address() == "#/match/end")
        summary = user.text(".summary")
        assert "All queries are decided" in summary
        assert "1 photograph of 1 known individual" in summary
        assert "1 of a new individual" in summary
        assert "Anna" in user.text(".people")
        assert user.text(".then code") == "kitbox catalogue add"
        user.press("u")
        user.wait(lambda: user.find_all(".bench"), "the query that is open again")
        user.wait(lambda: user.current_address() == "#/match/2")
        assert [row[0] for row in user.rows()] == ["same"]


def test_zooming_out_of_a_box_shows_the_whole_photograph(desk_user: BrowserUser) -> None:
    desk_user.open("#/image/0_1.png", ".viewer img")  # it has a box
    [picture] = desk_user.find_all(".viewer img")
    whole = picture.get_attribute("style")
    desk_user.press("c")
    desk_user.wait(lambda: picture.get_attribute("style") != whole)
    desk_user.press(*["-"] * 8)
    assert picture.get_attribute("style") == whole
