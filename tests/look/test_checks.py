"""What the desk refuses: what makes no sense, would do harm, or could not be obeyed."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kitbox.competition import decisions, lists
from kitbox.competition.decisions import Decision
from kitbox.competition.lists import ListedImages
from kitbox.competition.settings import load
from kitbox.errors import KitboxError
from kitbox.look.cases import Table
from kitbox.look.session import Desk
from kitbox.workspace import Workspace
from tests.look.tables import gathered
from tests.photographs import competition_on_disk, picture


@pytest.fixture
def listed(desk: Desk) -> ListedImages:
    competition = load(Workspace(desk.path.parent))
    return lists.read(competition)


REFUSED: dict[str, tuple[Callable[[], Decision], str]] = {
    "an image that is not listed": (
        lambda: Decision("drop", "../secret.png"),
        "there is no image '../secret.png'; choose one of the lists",
    ),
    "a test image dropped": (
        lambda: Decision("drop", "t_0.png"),
        "'t_0.png' is a test image and cannot be dropped: an answer to it is asked for",
    ),
    "a label of a test image": (
        lambda: Decision("label", "t_0.png", "w_0"),
        "'t_0.png' is of the test images, where no label is known",
    ),
    "a label with a blank": (
        lambda: Decision("label", "0_0.png", "w_1 "),
        "label 'w_1 ' has a blank at its end; leave it out",
    ),
    "an essay": (
        lambda: Decision("label", "0_0.png", "w" * 251),
        "label 'wwwwwwwwwwwwwwwwwwww' … is longer than 250 characters; shorten it",
    ),
    "a line end": (
        lambda: Decision("drop", "0_0.png", note="two\nlines"),
        "note 'two\\nlines' has a character that is no text, U+000A; leave it out",
    ),
    "half a letter": (
        lambda: Decision("label", "0_0.png", "w\ud800"),
        "label 'w\\ud800' has a character that is no text, U+D800; leave it out",
    ),
    "nobody merged": (
        lambda: Decision("merge", "w_0", "w_nobody"),
        "no image shows 'w_nobody'; merge two labels that images have",
    ),
    "the unknown merged": (
        lambda: Decision("merge", "new_whale", "w_0"),
        "'new_whale' is nobody in particular; give the image a label instead",
    ),
    "a stranger that is fine": (
        lambda: Decision("fine", "w_nobody"),
        "no image shows 'w_nobody'; name a label that images have",
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
    "a box of nothing": (
        lambda: Decision("box", "0_0.png", "nan nan nan nan"),
        "box 'nan nan nan nan' is empty; write 'x0 y0 x1 y1' with x0 < x1 and y0 < y1",
    ),
}


@pytest.mark.parametrize(("made", "message"), REFUSED.values(), ids=REFUSED)
def test_a_decision_that_makes_no_sense_is_refused_and_not_written(
    table: Table, made: Callable[[], Decision], message: str
) -> None:
    with pytest.raises(KitboxError) as caught:
        table.desk.decide([made()])
    assert str(caught.value) == message
    assert not table.desk.path.exists()


def test_a_label_that_was_merged_away_meanwhile_is_named_with_the_one_that_stays(
    desk: Desk,
) -> None:
    desk.decide([Decision("merge", "w_1", "w_0")])
    for one, other in (("w_1", "w_2"), ("w_2", "w_1"), ("w_0", "w_1")):
        with pytest.raises(KitboxError) as caught:
            desk.decide([Decision("merge", one, other)])
        assert str(caught.value) == "'w_1' is called 'w_0' now; reload the page"
    with pytest.raises(KitboxError) as caught:
        desk.decide([Decision("label", "4_0.png", "w_1")])
    assert str(caught.value) == "'w_1' is 'w_0' since a merge; give the image that label"
    assert len(desk.standing.decided.rows) == 1


def test_merges_that_belong_together_make_no_circle(desk: Desk) -> None:
    with pytest.raises(KitboxError, match="'w_1' is called 'w_0' now"):
        desk.decide([Decision("merge", "w_1", "w_0"), Decision("merge", "w_0", "w_1")])
    assert not desk.path.exists()


@pytest.mark.parametrize("name", ["a\u00a0b", "🐋\u200d🐳", "x\u202fy", "кит", "x\u00ady"])
def test_a_new_name_may_be_any_text(desk: Desk, name: str) -> None:
    desk.decide([Decision("label", "0_0.png", name, note=name)])
    assert desk.standing.label("0_0.png") == name


def test_images_and_labels_may_be_called_as_the_lists_call_them(tmp_path: Path) -> None:
    workspace, competition = competition_on_disk(tmp_path)
    screenshot, label = "Screenshot at 3.04.05\u202fPM.png", "🐋\u200d🐳\u00a0" + "w" * 250
    picture(workspace.root.parent / "data" / "train" / screenshot, 31, 2)
    with (workspace.root.parent / "data" / "train.csv").open("a", encoding="utf-8") as file:
        file.write(f"{screenshot},{label}\n")
    desk = Desk(workspace, gathered(workspace, competition))
    desk.decide([Decision("label", "0_0.png", label), Decision("drop", screenshot)])
    desk.decide([Decision("merge", label, "w_1"), Decision("fine", screenshot, "0_0.png")])
    assert desk.standing.label("0_0.png") == "w_1"
    assert desk.standing.is_out(screenshot)


@pytest.mark.parametrize(
    ("speaks", "said"),
    [
        (Decision("merge", "typo", "w_1"), "'merge typo w_1' needs it"),
        (Decision("merge", "w_1", "typo"), "'merge w_1 typo' needs it"),
        (Decision("fine", "typo"), "'fine typo' needs it"),
    ],
)
def test_a_name_that_others_speak_of_is_not_taken_back(
    desk: Desk, speaks: Decision, said: str
) -> None:
    typo = Decision("label", "0_0.png", "typo")
    desk.decide([typo])
    decisions.add(desk.path, speaks)  # by another process: undo would take back the label
    for back in (lambda: desk.take_back(typo), desk.undo):
        with pytest.raises(KitboxError) as caught:
            back()
        assert str(caught.value) == (
            f"'typo' is a name by this decision alone, and {said}; take that back first"
        )
    desk.take_back(speaks)
    assert desk.undo() == (typo,)


def test_a_name_that_another_row_gives_too_is_taken_back(desk: Desk) -> None:
    for image_id in ("0_0.png", "0_1.png"):
        desk.decide([Decision("label", image_id, "typo")])
    desk.decide([Decision("merge", "typo", "w_1")])
    desk.take_back(Decision("label", "0_0.png", "typo"))
    assert desk.standing.label("0_1.png") == "w_1"


IMAGES = ("0_0.png", "0_1.png", "1_0.png", "2_0.png", "copy.png", "nobody.png", "t_0.png")
LABELS = ("w_0", "w_1", "w_2", "w_5", "typo", "other", "new_whale")
ACTS = st.one_of(
    st.builds(Decision, st.sampled_from(("drop", "wrong", "train")), st.sampled_from(IMAGES)),
    st.builds(
        Decision, st.just("label"), st.sampled_from(IMAGES), st.sampled_from(("typo", *LABELS))
    ),
    st.permutations(LABELS).map(lambda two: Decision("merge", two[0], two[1])),
    st.permutations(IMAGES).map(lambda two: Decision("fine", two[0], two[1])),
    st.sampled_from(LABELS).map(lambda label: Decision("fine", label)),
    st.sampled_from(IMAGES).map(lambda image_id: Decision("box", image_id, "1 2 30 40")),
    st.just("undo"),
    st.integers(0, 20),  # take the row back that stands there
)


def refusal(listed: ListedImages, decided: decisions.Decisions) -> str:
    try:
        lists.apply_decisions(listed, decided, "new_whale")
    except KitboxError as error:
        return str(error)
    return ""


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(acts=st.lists(ACTS, max_size=16))
def test_what_the_desk_accepts_every_later_step_obeys(
    desk: Desk, listed: ListedImages, acts: list[Decision | str | int]
) -> None:
    desk.path.unlink(missing_ok=True)
    for act in acts:
        with suppress(KitboxError):
            if isinstance(act, Decision):
                desk.decide([act])
            elif isinstance(act, int):
                found = desk.standing.decided.rows
                desk.take_back(found[act % len(found)] if found else Decision("drop", "none"))
            else:
                desk.undo()
    decided = decisions.load(desk.path)
    assert refusal(listed, decided) == ""
