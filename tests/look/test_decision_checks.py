"""Checks of decisions: invalid ones, and ones that later steps could not apply, are refused."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kitbox.competition import lists
from kitbox.competition.lists import ListedImages
from kitbox.competition.settings import load
from kitbox.decisions import decision_file
from kitbox.decisions.decision import Decision
from kitbox.decisions.decision_list import Decisions
from kitbox.errors import KitboxError
from kitbox.look import payloads
from kitbox.look.review_items import Review
from kitbox.look.session import DecisionSession
from kitbox.workspace import Workspace
from tests.circle import competition
from tests.look.sample_review import load_photographs
from tests.photographs import competition_on_disk, picture


@pytest.fixture
def listed(session: DecisionSession) -> ListedImages:
    competition = load(Workspace(session.path.parent))
    return lists.read(competition)


REFUSED: dict[str, tuple[Callable[[], Decision], str]] = {
    "an image that is not listed": (
        lambda: Decision("drop", "../secret.png"),
        "there is no image '../secret.png'; choose one of the lists",
    ),
    "a test image dropped": (
        lambda: Decision("drop", "t_0.png"),
        "'t_0.png' is a test image and cannot be dropped: a submission has to answer it",
    ),
    "a label of a test image": (
        lambda: Decision("label", "t_0.png", "w_0"),
        "'t_0.png' is one of the test images, which have no labels",
    ),
    "a label with a blank": (
        lambda: Decision("label", "0_0.png", "w_1 "),
        "label 'w_1 ' has a blank at its end; remove it",
    ),
    "a long label": (
        lambda: Decision("label", "0_0.png", "w" * 251),
        "label 'wwwwwwwwwwwwwwwwwwww' … has over 250 characters; shorten it",
    ),
    "a line break": (
        lambda: Decision("drop", "0_0.png", note="two\nlines"),
        "note 'two\\nlines' has the control character U+000A; remove it",
    ),
    "half a surrogate pair": (
        lambda: Decision("label", "0_0.png", "w\ud800"),
        "label 'w\\ud800' has the control character U+D800; remove it",
    ),
    "an unlisted label merged": (
        lambda: Decision("merge", "w_0", "w_unlisted"),
        "no image shows 'w_unlisted'; merge two labels that images have",
    ),
    "the label of unknown individuals merged": (
        lambda: Decision("merge", "new_whale", "w_0"),
        "'new_whale' stands for unknown individuals; give the image a label instead",
    ),
    "an unlisted label marked as fine": (
        lambda: Decision("fine", "w_unlisted"),
        "no image shows 'w_unlisted'; name a label that images have",
    ),
    "a link to an image that is not listed": (
        lambda: Decision("same", "t_0.png", "../secret.png"),
        "there is no image '../secret.png'; choose one of the lists",
    ),
    "a box outside": (
        lambda: Decision("box", "0_0.png", "10 10 97 60"),
        "box '10 10 97 60' does not lie within the 96x64 pixels of '0_0.png'; "
        "draw it inside the image",
    ),
    "a box below zero": (
        lambda: Decision("box", "0_0.png", "-1 10 50 60"),
        "box '-1 10 50 60' does not lie within the 96x64 pixels of '0_0.png'; "
        "draw it inside the image",
    ),
    "a box of half a pixel": (
        lambda: Decision("box", "0_0.png", "10 10 10.5 60"),
        "box '10 10 10.5 60' does not lie within the 96x64 pixels of '0_0.png'; "
        "draw it inside the image",
    ),
    "an empty box": (
        lambda: Decision("box", "0_0.png", "nan nan nan nan"),
        "box 'nan nan nan nan' is empty; write 'x0 y0 x1 y1' with x0 < x1 and y0 < y1",
    ),
}


@pytest.mark.parametrize(("make_decision", "message"), REFUSED.values(), ids=REFUSED)
def test_an_invalid_decision_is_refused_and_not_written(
    review: Review, make_decision: Callable[[], Decision], message: str
) -> None:
    with pytest.raises(KitboxError) as caught:
        review.session.decide([make_decision()])
    assert str(caught.value) == message
    assert not review.session.path.exists()


def test_a_label_that_was_merged_away_is_refused_and_names_the_one_that_stays(
    session: DecisionSession,
) -> None:
    session.decide([Decision("merge", "w_1", "w_0")])
    for one, other in (("w_1", "w_2"), ("w_2", "w_1"), ("w_0", "w_1")):
        with pytest.raises(KitboxError) as caught:
            session.decide([Decision("merge", one, other)])
        assert str(caught.value) == "'w_1' was merged into 'w_0'; reload the page"
    with pytest.raises(KitboxError) as caught:
        session.decide([Decision("label", "4_0.png", "w_1")])
    assert str(caught.value) == "'w_1' was merged into 'w_0'; give the image that label"
    assert len(session.state.decisions.rows) == 1


def test_links_that_would_contradict_labels_are_refused(session: DecisionSession) -> None:
    with pytest.raises(KitboxError) as caught:
        session.decide([Decision("same", "0_0.png", "1_0.png")])
    assert str(caught.value) == (
        "'0_0.png' of 'w_0' and '1_0.png' of 'w_1' are the same individual by line 2; "
        "take an earlier decision back, or merge the labels"
    )
    wrong, same = Decision("wrong", "1_0.png"), Decision("same", "0_0.png", "1_0.png")
    session.decide([wrong, same, Decision("different", "t_0.png", "t_1.png")])
    assert session.state.has(same)
    listed = payloads.decisions(session.state)
    assert [(row["kind"], len(row["images"])) for row in listed] == [
        ("different", 2), ("same", 2), ("wrong", 1)
    ]  # fmt: skip
    assert not session.state.has(Decision("different", "0_0.png", "1_0.png"))
    with pytest.raises(
        KitboxError, match=r"'0_0.png' of 'w_0' and '1_0.png' of 'w_1' are the same"
    ):
        session.take_back(wrong)
    with pytest.raises(KitboxError, match=r"'0_0.png' of 'w_2' and '0_1.png' of 'w_0'"):
        session.decide(
            [Decision("same", "0_0.png", "0_1.png"), Decision("label", "0_0.png", "w_2")]
        )
    session.decide([Decision("different", "1_0.png", "0_0.png")])  # the last row counts
    assert not session.state.has(same)
    session.take_back(wrong)


def test_merges_in_one_request_cannot_form_a_cycle(session: DecisionSession) -> None:
    with pytest.raises(KitboxError, match="'w_1' was merged into 'w_0'"):
        session.decide([Decision("merge", "w_1", "w_0"), Decision("merge", "w_0", "w_1")])
    assert not session.path.exists()


@pytest.mark.parametrize("name", ["a\u00a0b", "🐋\u200d🐳", "x\u202fy", "кит", "x\u00ady"])
def test_a_new_label_may_be_any_text(session: DecisionSession, name: str) -> None:
    session.decide([Decision("label", "0_0.png", name, note=name)])
    assert session.state.label("0_0.png") == name


def test_ids_and_labels_of_the_lists_are_accepted_unchanged(tmp_path: Path) -> None:
    workspace, competition = competition_on_disk(tmp_path)
    screenshot, label = "Screenshot at 3.04.05\u202fPM.png", "🐋\u200d🐳\u00a0" + "w" * 250
    picture(workspace.root.parent / "data" / "train" / screenshot, 31, 2)
    with (workspace.root.parent / "data" / "train.csv").open("a", encoding="utf-8") as file:
        file.write(f"{screenshot},{label}\n")
    session = DecisionSession(workspace, load_photographs(workspace, competition))
    session.decide([Decision("label", "0_0.png", label), Decision("drop", screenshot)])
    session.decide([Decision("merge", label, "w_1"), Decision("fine", screenshot, "0_0.png")])
    assert session.state.label("0_0.png") == "w_1"
    assert session.state.is_excluded(screenshot)


@pytest.mark.parametrize(
    ("dependent", "row"),
    [
        (Decision("merge", "typo", "w_1"), "'merge typo w_1'"),
        (Decision("merge", "w_1", "typo"), "'merge w_1 typo'"),
        (Decision("fine", "typo"), "'fine typo'"),
    ],
)
def test_a_label_that_other_decisions_need_is_not_taken_back(
    session: DecisionSession, dependent: Decision, row: str
) -> None:
    typo = Decision("label", "0_0.png", "typo")
    session.decide([typo])
    decision_file.add(session.path, dependent)  # by another process: undo would take back the label
    for back in (lambda: session.take_back(typo), session.undo, session.undo):
        with pytest.raises(KitboxError) as caught:
            back()
        assert str(caught.value) == (
            f"the label 'typo' exists only by this decision, and {row} needs it; "
            f"{row} was decided since; take that back first"
        )
    session.take_back(dependent)
    assert session.undo() == (typo,)


def test_a_label_that_another_row_assigns_too_is_taken_back(session: DecisionSession) -> None:
    for image_id in ("0_0.png", "0_1.png"):
        session.decide([Decision("label", image_id, "typo")])
    session.decide([Decision("merge", "typo", "w_1")])
    session.take_back(Decision("label", "0_0.png", "typo"))
    assert session.state.label("0_1.png") == "w_1"


IMAGES = ("0_0.png", "0_1.png", "1_0.png", "2_0.png", "copy.png", "unknown.png", "t_0.png")
LABELS = ("w_0", "w_1", "w_2", "w_5", "typo", "other", "new_whale")
ACTIONS = st.one_of(
    st.builds(Decision, st.sampled_from(("drop", "wrong", "train")), st.sampled_from(IMAGES)),
    st.builds(
        Decision, st.just("label"), st.sampled_from(IMAGES), st.sampled_from(("typo", *LABELS))
    ),
    st.permutations(LABELS).map(lambda two: Decision("merge", two[0], two[1])),
    st.builds(
        lambda kind, two: Decision(kind, two[0], two[1]),
        st.sampled_from(("fine", "same", "different")),
        st.permutations(IMAGES),
    ),
    st.sampled_from(LABELS).map(lambda label: Decision("fine", label)),
    st.sampled_from(IMAGES).map(lambda image_id: Decision("box", image_id, "1 2 30 40")),
    st.just("undo"),
    st.integers(0, 20),  # take back the row at this index
)


def refusal(listed: ListedImages, decided: Decisions) -> str:
    try:
        lists.apply_decisions(listed, decided, competition().images)
    except KitboxError as error:
        return str(error)
    return ""


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(actions=st.lists(ACTIONS, max_size=16))
def test_later_steps_can_apply_whatever_the_session_accepts(
    session: DecisionSession, listed: ListedImages, actions: list[Decision | str | int]
) -> None:
    session.path.unlink(missing_ok=True)
    for action in actions:
        with suppress(KitboxError):
            if isinstance(action, Decision):
                session.decide([action])
            elif isinstance(action, int):
                found = session.state.decisions.rows
                session.take_back(found[action % len(found)] if found else Decision("drop", "none"))
            else:
                session.undo()
    decided = decision_file.load(session.path)
    assert refusal(listed, decided) == ""


def test_a_contradiction_of_three_people_names_them(session: DecisionSession) -> None:
    decision_file.add(session.path, Decision("same", "t_3.png", "t_2.png"))  # typed
    workspace = Workspace(session.path.parent)
    anna, ben, cleo = (
        DecisionSession(workspace, session.photographs, name) for name in ("Anna", "Ben", "Cleo")
    )
    anna.decide([Decision("same", "t_0.png", "t_1.png")])
    ben.decide([Decision("same", "t_1.png", "t_2.png")])
    with pytest.raises(KitboxError) as caught:
        cleo.decide([Decision("different", "t_3.png", "t_0.png")])
    assert str(caught.value) == (
        "'t_3.png' and 't_0.png' are different, but the same individual by line 2, "
        "Anna's 'same t_0.png t_1.png' and Ben's 'same t_1.png t_2.png'; "
        "take an earlier decision back"
    )


def test_rows_that_contradict_each_other_stop_no_other_decision(session: DecisionSession) -> None:
    first = Decision("same", "t_0.png", "t_1.png")
    session.decide([first])
    # typed, or made wrong by what the catalogue has since
    decision_file.add(session.path, Decision("same", "0_0.png", "1_0.png"))
    state = session.state
    assert state.links.individual_of == {"t_0.png": 0, "t_1.png": 0}
    [sentence] = state.contradictions
    assert "'0_0.png' of 'w_0' and '1_0.png' of 'w_1' are the same individual by line 3" in sentence
    session.decide([Decision("same", "t_2.png", "0_0.png"), Decision("new", "t_3.png")])
    session.take_back(first)
    session.undo()
    with pytest.raises(
        KitboxError, match=r"'0_1.png' of 'w_0' and '2_0.png' of 'w_2' are the same"
    ):
        session.decide([Decision("same", "0_1.png", "2_0.png")])
    session.decide([Decision("same", "t_0.png", "0_0.png")])
    with pytest.raises(KitboxError, match=r"are the same individual by"):
        session.decide([Decision("same", "t_0.png", "1_0.png")])
    session.take_back(Decision("same", "0_0.png", "1_0.png"))
    assert session.state.contradictions == ()
