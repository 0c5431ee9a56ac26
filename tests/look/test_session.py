"""The desk: what is decided is on disk at once, holds, and can be taken back."""

from pathlib import Path

import pytest

from kitbox.competition import decisions
from kitbox.competition.decisions import Decision
from kitbox.errors import KitboxError
from kitbox.look.session import Desk
from tests.look.tables import EVIL, NASTY


def rows(desk: Desk) -> list[tuple[str, str, str]]:
    return [(row.kind, row.subject, row.value) for row in decisions.load(desk.path).rows]


def test_a_decision_is_on_disk_and_holds_at_once(desk: Desk) -> None:
    desk.decide([Decision("merge", "w_1", "w_0"), Decision("drop", "copy.png")])
    assert rows(desk) == [("merge", "w_1", "w_0"), ("drop", "copy.png", "")]
    standing = desk.standing
    assert standing.label("1_0.png") == "w_0"
    assert standing.is_out("copy.png")
    assert "1_0.png" in standing.members["w_0"]
    assert "copy.png" not in standing.members["w_0"]


def test_what_belongs_together_is_undone_together(desk: Desk) -> None:
    desk.decide([Decision("train", "0_0.png")])
    desk.decide([Decision("drop", "0_1.png"), Decision("drop", "0_2.png")])
    assert [row.subject for row in desk.undo()] == ["0_1.png", "0_2.png"]
    assert rows(desk) == [("train", "0_0.png", "")]
    desk.undo()
    assert rows(desk) == []
    with pytest.raises(KitboxError, match="nothing was decided since kitbox look started"):
        desk.undo()


def test_an_earlier_decision_holds_again_when_the_later_one_is_undone(desk: Desk) -> None:
    desk.decide([Decision("label", "0_0.png", "w_4")])
    desk.decide([Decision("wrong", "0_0.png")])
    assert desk.standing.is_out("0_0.png")
    desk.undo()
    assert desk.standing.label("0_0.png") == "w_4"


def test_a_row_that_a_person_removed_meanwhile_is_no_trouble_to_undo(desk: Desk) -> None:
    desk.decide([Decision("drop", "0_0.png")])
    desk.path.unlink()
    assert desk.undo() == ()


def test_of_what_is_undone_the_rows_that_were_there_are_told(desk: Desk) -> None:
    desk.decide([Decision("drop", "0_0.png"), Decision("drop", "0_1.png")])
    decisions.remove(desk.path, Decision("drop", "0_0.png"))
    assert desk.undo() == (Decision("drop", "0_1.png"),)


HELD = [
    Decision("merge", "w_1", "w_0"),
    Decision("drop", "0_0.png"),
    Decision("wrong", "0_1.png"),
    Decision("label", "0_2.png", "w_new"),
    Decision("train", "0_3.png"),
    Decision("box", "2_0.png", "1 2 30 40"),
    Decision("fine", "2_0.png", "3_0.png"),
    Decision("fine", "w_2"),
]


@pytest.mark.parametrize("decision", HELD, ids=lambda decision: decision.kind)
def test_what_holds_already_is_not_written_again(desk: Desk, decision: Decision) -> None:
    assert desk.decide([decision]) == (decision,)
    assert desk.decide([decision, Decision("train", "4_0.png")]) == (Decision("train", "4_0.png"),)
    assert desk.decide([decision]) == ()
    desk.undo()
    assert desk.undo() == (decision,)
    assert rows(desk) == []


def test_what_holds_through_others_is_not_written_again(desk: Desk) -> None:
    desk.decide([Decision("box", "0_0.png", "1 2 30 40"), Decision("fine", "0_0.png", "1_0.png")])
    assert not desk.decide(
        [Decision("box", "0_0.png", "1.0 2 30 40"), Decision("fine", "1_0.png", "0_0.png")]
    )


def test_an_image_may_be_dropped_again_after_it_was_given_a_label(desk: Desk) -> None:
    drop, label = Decision("drop", "0_0.png"), Decision("label", "0_0.png", "w_1")
    for decision in (drop, label, drop, label):
        assert desk.decide([decision]) == (decision,)


def test_a_row_that_a_person_writes_meanwhile_holds(desk: Desk) -> None:
    desk.decide([Decision("drop", "0_0.png")])
    with desk.path.open("a") as file:
        file.write("drop,0_1.png,,seen by hand\n")
    assert desk.standing.dropped == {"0_0.png", "0_1.png"}
    desk.take_back(Decision("drop", "0_1.png", note="seen by hand"))
    assert rows(desk) == [("drop", "0_0.png", "")]


def test_a_row_that_a_person_spoilt_is_named_with_its_line(desk: Desk) -> None:
    desk.decide([Decision("drop", "0_0.png")])
    with desk.path.open("a") as file:
        file.write("drob,0_1.png,,\n")
    with pytest.raises(KitboxError, match=r"decisions.csv line 3: 'drob' is no decision; did you"):
        _ = desk.standing


def test_what_is_taken_back_from_the_list_is_not_undone_again(desk: Desk) -> None:
    desk.decide([Decision("drop", "0_0.png")])
    desk.decide([Decision("drop", "0_1.png"), Decision("drop", "0_2.png")])
    desk.take_back(Decision("drop", "0_1.png"))
    assert desk.undo() == (Decision("drop", "0_2.png"),)
    assert rows(desk) == [("drop", "0_0.png", "")]
    with pytest.raises(KitboxError, match="has no such row any more; reload the page"):
        desk.take_back(Decision("drop", "0_1.png"))


def test_of_decisions_that_belong_together_none_is_written_where_one_is_refused(desk: Desk) -> None:
    with pytest.raises(KitboxError, match=r"there is no image 'no\.png'"):
        desk.decide([Decision("drop", "0_0.png"), Decision("drop", "no.png")])
    assert not desk.path.exists()


def test_where_the_disk_is_full_nothing_is_written_and_nothing_to_undo(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: Decision) -> None:
        raise KitboxError(f"cannot write {path}: No space left on device")

    monkeypatch.setattr(decisions, "add", full)
    with pytest.raises(KitboxError, match="No space left"):
        desk.decide([Decision("drop", "0_0.png"), Decision("drop", "0_1.png")])
    with pytest.raises(KitboxError, match="nothing was decided since"):
        desk.undo()


def test_nasty_names_come_back_as_they_are(desk: Desk) -> None:
    desk.decide([Decision("merge", EVIL, "w_0"), Decision("box", NASTY, "1 2 30 40")])
    assert desk.standing.label(NASTY) == "w_0"
    assert desk.standing.box(NASTY) == (1, 2, 30, 40)
