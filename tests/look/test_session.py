"""The decision session: decisions are on disk at once, in effect, and can be taken back."""

import errno
import re
from pathlib import Path
from typing import Any

import pytest

from kitbox.decisions import decision_file
from kitbox.decisions.decision import Decision
from kitbox.decisions.decision_list import Decisions
from kitbox.errors import KitboxError
from kitbox.look.desk import DeskCandidate, DeskQuery, answer_rows
from kitbox.look.review_items import Review
from kitbox.look.session import DecisionSession
from kitbox.workspace import Workspace
from tests.look.sample_review import HOSTILE_ID, HOSTILE_LABEL, PageClient


def rows(session: DecisionSession) -> list[tuple[str, str, str]]:
    return [(row.kind, row.subject, row.value) for row in decision_file.load(session.path).rows]


def test_a_decision_is_on_disk_and_in_effect_at_once(session: DecisionSession) -> None:
    session.decide([Decision("merge", "w_1", "w_0"), Decision("drop", "copy.png")])
    assert rows(session) == [("merge", "w_1", "w_0"), ("drop", "copy.png", "")]
    state = session.state
    assert state.label("1_0.png") == "w_0"
    assert state.is_excluded("copy.png")
    assert "1_0.png" in state.members["w_0"]
    assert "copy.png" not in state.members["w_0"]


def test_decisions_made_together_are_undone_together(session: DecisionSession) -> None:
    session.decide([Decision("train", "0_0.png")])
    session.decide([Decision("drop", "0_1.png"), Decision("drop", "0_2.png")])
    assert [row.subject for row in session.undo()] == ["0_1.png", "0_2.png"]
    assert rows(session) == [("train", "0_0.png", "")]
    session.undo()
    assert rows(session) == []
    with pytest.raises(KitboxError, match="nothing was decided since kitbox look started"):
        session.undo()


def test_undo_restores_the_effect_of_an_earlier_decision(
    session: DecisionSession,
) -> None:
    session.decide([Decision("label", "0_0.png", "w_4")])
    session.decide([Decision("wrong", "0_0.png")])
    assert session.state.is_excluded("0_0.png")
    session.undo()
    assert session.state.label("0_0.png") == "w_4"


def test_undo_tolerates_rows_that_were_removed_by_hand(
    session: DecisionSession,
) -> None:
    session.decide([Decision("drop", "0_0.png")])
    session.path.unlink()
    assert session.undo() == ()


def test_undo_returns_only_the_rows_that_were_still_there(session: DecisionSession) -> None:
    session.decide([Decision("drop", "0_0.png"), Decision("drop", "0_1.png")])
    decision_file.remove(session.path, Decision("drop", "0_0.png"))
    assert session.undo() == (Decision("drop", "0_1.png"),)


ONE_OF_EACH_KIND = [
    Decision("merge", "w_1", "w_0"),
    Decision("drop", "0_0.png"),
    Decision("wrong", "0_1.png"),
    Decision("label", "0_2.png", "w_new"),
    Decision("train", "0_3.png"),
    Decision("box", "2_0.png", "1 2 30 40"),
    Decision("fine", "2_0.png", "3_0.png"),
    Decision("fine", "w_2"),
    Decision("same", "t_0.png", "0_0.png"),
    Decision("different", "t_0.png", "1_0.png"),
    Decision("new", "t_1.png"),
    Decision("unsure", "t_2.png"),
    Decision("poor", "t_3.png"),
]


@pytest.mark.parametrize("decision", ONE_OF_EACH_KIND, ids=lambda decision: decision.kind)
def test_a_decision_in_effect_is_not_written_again(
    session: DecisionSession, decision: Decision
) -> None:
    assert session.decide([decision]) == (decision,)
    assert session.decide([decision, Decision("train", "4_0.png")]) == (
        Decision("train", "4_0.png"),
    )
    assert session.decide([decision]) == ()
    session.undo()
    assert session.undo() == (decision,)
    assert rows(session) == []


def test_an_equivalent_decision_is_not_written_again(session: DecisionSession) -> None:
    session.decide(
        [Decision("box", "0_0.png", "1 2 30 40"), Decision("fine", "0_0.png", "1_0.png")]
    )
    assert not session.decide(
        [Decision("box", "0_0.png", "1.0 2 30 40"), Decision("fine", "1_0.png", "0_0.png")]
    )


def test_an_image_can_be_dropped_again_after_it_was_labelled(session: DecisionSession) -> None:
    drop, label = Decision("drop", "0_0.png"), Decision("label", "0_0.png", "w_1")
    for decision in (drop, label, drop, label):
        assert session.decide([decision]) == (decision,)


def test_a_row_written_by_hand_is_in_effect(session: DecisionSession) -> None:
    session.decide([Decision("drop", "0_0.png")])
    with session.path.open("a") as file:
        file.write("drop,0_1.png,,seen by hand\n")
    assert session.state.dropped == {"0_0.png", "0_1.png"}
    session.take_back(Decision("drop", "0_1.png", note="seen by hand"))
    assert rows(session) == [("drop", "0_0.png", "")]


def test_the_error_for_a_faulty_row_names_its_line(session: DecisionSession) -> None:
    session.decide([Decision("drop", "0_0.png")])
    with session.path.open("a") as file:
        file.write("drob,0_1.png,,\n")
    with pytest.raises(KitboxError, match=r"decisions.csv line 3: 'drob' is no decision; did you"):
        _ = session.state


def test_undo_skips_rows_that_were_taken_back_already(session: DecisionSession) -> None:
    session.decide([Decision("drop", "0_0.png")])
    session.decide([Decision("drop", "0_1.png"), Decision("drop", "0_2.png")])
    session.take_back(Decision("drop", "0_1.png"))
    assert session.undo() == (Decision("drop", "0_2.png"),)
    assert rows(session) == [("drop", "0_0.png", "")]
    with pytest.raises(KitboxError, match="no longer has this row; reload the page"):
        session.take_back(Decision("drop", "0_1.png"))


def test_if_one_decision_is_refused_none_of_its_request_is_written(
    session: DecisionSession,
) -> None:
    with pytest.raises(KitboxError, match=r"there is no image 'no\.png'"):
        session.decide([Decision("drop", "0_0.png"), Decision("drop", "no.png")])
    assert not session.path.exists()


def test_with_a_full_disk_nothing_is_written_and_nothing_can_be_undone(
    session: DecisionSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, line: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(decision_file, "append_line", full)
    with pytest.raises(KitboxError, match="No space left"):
        session.decide([Decision("drop", "0_0.png"), Decision("drop", "0_1.png")])
    with pytest.raises(KitboxError, match="nothing was decided since"):
        session.undo()


def test_hostile_names_are_stored_unchanged(session: DecisionSession) -> None:
    session.decide(
        [Decision("merge", HOSTILE_LABEL, "w_0"), Decision("box", HOSTILE_ID, "1 2 30 40")]
    )
    assert session.state.label(HOSTILE_ID) == "w_0"
    assert session.state.box(HOSTILE_ID) == (1, 2, 30, 40)


def session_of(session: DecisionSession, by: str) -> DecisionSession:
    """Return another person's session on the same decisions."""
    return DecisionSession(Workspace(session.path.parent), session.photographs, by)


def test_a_decision_names_who_made_it_and_when(session: DecisionSession) -> None:
    [row] = session_of(session, " Anna ").decide([Decision("same", "t_0.png", "0_0.png")])
    assert row.by == "Anna"
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", row.time)
    assert decision_file.load(session.path).rows == (row,)
    [unsigned] = session_of(session, "").decide([Decision("drop", "0_0.png")])
    assert (unsigned.by, bool(unsigned.time)) == ("", True)
    with pytest.raises(KitboxError, match=r"the name of who decides 'a\\nb' has the control char"):
        session_of(session, "a\nb")


@pytest.mark.parametrize(
    "decision",
    [Decision("same", "t_0.png", "0_0.png"), Decision("unsure", "t_0.png"),
     Decision("new", "t_0.png")],
)  # fmt: skip
def test_each_person_decides_once_about_who_a_photograph_shows(
    session: DecisionSession, decision: Decision
) -> None:
    anna, ben = (session_of(session, name) for name in ("Anna", "Ben"))
    assert len(anna.decide([decision])) == 1
    assert anna.decide([decision]) == ()
    assert len(ben.decide([decision])) == 1
    assert [row.by for row in decision_file.load(session.path).rows] == ["Anna", "Ben"]
    assert anna.undo()[0].by == "Anna"
    assert [row.by for row in decision_file.load(session.path).rows] == ["Ben"]


def test_a_decision_that_another_person_reversed_can_be_made_again(
    session: DecisionSession,
) -> None:
    anna, ben = (session_of(session, name) for name in ("Anna", "Ben"))
    anna.decide([Decision("same", "t_0.png", "0_0.png")])
    ben.decide([Decision("different", "0_0.png", "t_0.png")])
    assert len(anna.decide([Decision("same", "t_0.png", "0_0.png")])) == 1
    assert session.state.decisions.linked[frozenset({"t_0.png", "0_0.png"})][0].by == "Anna"


def test_a_photograph_of_a_known_individual_is_not_new(session: DecisionSession) -> None:
    message = "'0_0.png' is 'w_0' already; a new individual has no label"
    with pytest.raises(KitboxError, match=message):
        session.decide([Decision("new", "0_0.png")])
    session.decide([Decision("same", "t_0.png", "0_0.png")])
    with pytest.raises(KitboxError, match=r"'t_0\.png' is 'w_0' already"):
        session.decide([Decision("new", "t_0.png")])
    session.decide([Decision("new", "t_1.png"), Decision("new", "unknown.png")])
    assert session.state.tags("t_1.png") == ["new individual"]
    with pytest.raises(KitboxError, match=r"there is no image 'no\.png'"):
        session.decide([Decision("unsure", "no.png")])


def press(session: DecisionSession, keys: str) -> list[int]:
    """Return how many rows each of a person's answers about a photograph writes."""
    w_0 = DeskCandidate("w_0", ("0_0.png",), 0.9)
    query = DeskQuery("t_0.png", (w_0,))
    kinds = {"s": "same", "d": "different", "n": "new", "c": "unsure", "p": "poor"}
    return [
        len(session.decide_by(lambda state, key=key: answer_rows(kinds[key], query, w_0, state)))
        for key in keys
    ]


@pytest.mark.parametrize("by", ["Anna", ""])
@pytest.mark.parametrize(
    ("keys", "written", "links", "new"),
    [
        ("nsn", [1, 1, 2], ["different"], True),
        ("cnc", [1, 1, 1], [], False),
        ("psp", [1, 1, 1], [], False),
        ("scs", [1, 1, 1], ["same"], False),
        ("sp", [1, 1], [], False),
        ("nsd", [1, 1, 1], ["different"], False),
        ("nsdn", [1, 1, 1, 1], ["different"], True),
        ("sdc", [1, 1, 1], ["different"], False),
        ("nn", [1, 0], [], True),
        ("ndn", [1, 1, 0], ["different"], True),
        ("ss", [1, 0], ["same"], False),
    ],
)
def test_the_last_answer_of_a_person_counts(
    session: DecisionSession, by: str, keys: str, written: list[int], links: list[str], new: bool
) -> None:
    person = session_of(session, by)
    assert press(person, keys) == written
    decided = person.state.decisions
    assert [row.kind for row, _ in decided.linked.values()] == links
    assert decided.new == ({"t_0.png"} if new else set())
    assert person.state.tags("t_0.png") == (
        ["new individual"] if new else ["poor picture"] if keys[-1] == "p" else []
    )


def test_somebody_without_a_name_makes_progress(session: DecisionSession) -> None:
    nobody, anna = (session_of(session, name) for name in ("", "Anna"))
    for keys in "scnp":
        assert press(anna, keys)[0] >= 1
        assert press(nobody, keys)[0] >= 1
        assert press(nobody, keys) == [0]


def test_undo_names_whose_row_blocks_and_goes_on_with_older_decisions(
    session: DecisionSession,
) -> None:
    anna, ben = (session_of(session, name) for name in ("Anna", "Ben"))
    ben.decide([Decision("same", "t_0.png", "0_0.png")])
    [older] = anna.decide([Decision("same", "t_1.png", "2_0.png")])
    press(anna, "d")
    ben.decide([Decision("same", "t_0.png", "1_0.png")])
    refusal = (
        r"'0_0\.png' of 'w_0' and '1_0\.png' of 'w_1' are the same individual by "
        r"Ben's 'same t_0\.png 0_0\.png' and Ben's 'same t_0\.png 1_0\.png'; "
        r"Ben decided 'same t_0\.png 1_0\.png' since; take that back first"
    )
    with pytest.raises(KitboxError, match=refusal):
        anna.undo()
    assert anna.can_undo
    assert anna.undo() == (older,)
    with pytest.raises(KitboxError, match=refusal):  # nothing older is left
        anna.undo()
    ben.undo()
    assert [row.kind for row in anna.undo()] == ["different"]
    assert not anna.can_undo


def test_a_long_list_of_decisions_is_checked_once(
    review: Review, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, page = review.session, PageClient(review)
    images = list(session.photographs.rows)
    rows = [
        Decision(kind, "t_0.png", image, str(number))
        for number in range(2000 // len(images) // 2)
        for image in images
        if image != "t_0.png"
        for kind in ("different", "fine")
    ]
    rows += [Decision("unsure", "t_1.png", note=str(n)) for n in range(2000 - len(rows))]
    decision_file.add(session.path, *rows)
    looks: list[str] = []
    for name in ("link", "rows_of"):
        known = getattr(Decisions, name)

        def counting(*given: Any, known: Any = known, name: str = name) -> Any:
            looks.append(name)
            return known(*given)

        monkeypatch.setattr(Decisions, name, counting)
    assert len(page.get("/api/decisions").json) == 2000
    assert looks.count("link") == 0
    assert len(looks) < 20
    looks.clear()
    page.decide("train", "0_0.png")
    assert looks.count("link") <= 2
    assert page.get("/api/overview").json["canUndo"]
    assert len(looks) < 40
