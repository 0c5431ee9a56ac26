"""Photographs: everything that the lists name is there to be looked at, whatever was decided."""

import os
from pathlib import Path

import pytest

from kitbox.competition import decisions, lists, presets
from kitbox.competition.decisions import Decision
from kitbox.competition.lists import ListedImages
from kitbox.look import cases, photographs
from kitbox.look.cases import Table
from kitbox.look.session import Desk
from kitbox.workspace import Workspace
from tests.look.tables import NASTY, gathered, seals
from tests.photographs import competition_on_disk

SHARED = Path(os.environ.get("KITBOX_SHARED", Path(__file__).parents[3] / "shared"))
DIRTY = SHARED / "data" / "humpback-dirty"


def test_images_keep_their_side_their_label_and_their_problem(table: Table) -> None:
    seen = table.photographs
    assert (seen.side("0_0.png"), seen.label("0_0.png")) == ("labelled", "w_0")
    assert (seen.side("t_0.png"), seen.label("t_0.png")) == ("test", "")
    assert list(seen.problems) == ["broken.png"]
    assert "broken.png" in seen.rows
    assert "broken.png" not in seen.readable
    assert NASTY in seen.part("labelled").image_ids
    assert seen.part("test").labels is None
    assert len(seen.part("labelled")) + len(seen.part("test")) == len(seen.readable)
    assert len(seen.part("index")) == 0


def test_what_was_dropped_is_still_there_to_be_taken_back(tmp_path: Path) -> None:
    workspace, competition = seals(tmp_path)
    decisions.add(workspace.decisions, Decision("drop", "0_0.png"))
    seen = gathered(workspace, competition)
    standing = Desk(workspace, seen).standing
    assert "0_0.png" in seen.readable
    assert standing.is_out("0_0.png")
    assert standing.words("0_0.png") == ["dropped"]


def test_queries_of_the_holdout_are_known_once_it_is_written(tmp_path: Path) -> None:
    workspace, competition = competition_on_disk(tmp_path)
    assert gathered(workspace, competition).asked == frozenset()
    workspace.holdout.write_text(
        "image,side,label,answer\n0_1.png,query,w_0,w_0\n0_2.png,train,w_0,w_0\n"
    )
    assert gathered(workspace, competition).asked == {"0_1.png"}


def test_boxes_of_the_workspace_are_shown_and_drawn_ones_come_first(tmp_path: Path) -> None:
    workspace, competition = seals(tmp_path)
    workspace.boxes.write_text(
        "image,x0,y0,x1,y1,confidence,source\n0_2.png,1,2,30,40,0.9,detector\n"
    )
    desk = Desk(workspace, gathered(workspace, competition))
    assert desk.standing.box("0_1.png") == (10, 12, 80, 60)
    assert desk.standing.box("0_2.png") == (1, 2, 30, 40)
    assert desk.standing.box("0_3.png") is None
    desk.decide([Decision("box", "0_2.png", "5 5 50 50")])
    assert desk.standing.box("0_2.png") == (5, 5, 50, 50)


def test_faulty_rows_are_counted_and_stop_nobody(tmp_path: Path) -> None:
    workspace, competition = competition_on_disk(tmp_path)
    with (tmp_path / "data" / "train.csv").open("a") as file:
        file.write("gone.png,w_1\n0_0.png,w_0\n")
    assert competition.images.broken == "stop"
    assert gathered(workspace, competition).left_out == 2


def test_labelled_images_that_are_asked_about_again_are_there_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, competition = competition_on_disk(tmp_path)
    listed = lists.read(competition)
    again = ListedImages(listed.labelled, listed.labelled.without_labels(), None, ())
    monkeypatch.setattr(lists, "read", lambda *_: again)
    seen = gathered(workspace, competition)
    assert len(seen.images) == 24
    assert set(seen.sides.tolist()) == {"labelled"}


@pytest.mark.real
@pytest.mark.skipif(
    not DIRTY.is_dir(), reason=f"there are no photographs in {DIRTY}; name them by KITBOX_SHARED"
)
def test_dirty_photographs_can_be_looked_at(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "test").mkdir(parents=True)
    for name in ("train", "train.csv"):
        (data / name).symlink_to(DIRTY / name)
    workspace = Workspace(tmp_path / "w")
    seen = gathered(workspace, presets.init(workspace, "humpback", data))
    assert len(seen.problems) == 4
    assert "émoji 🐋, <b>.jpg" in seen.readable
    standing = Desk(workspace, seen).standing
    found = [set(case.images) for case in cases.duplicate_cases(standing, 6)]
    assert found[0] == {"1155989fb.jpg", "conflict.jpg"}
    for pair in ({"775c2ddae.jpg", "exact_copy.jpg"}, {"768d79982.jpg", "rgba.png"}):
        assert pair in found
    embeddings = photographs.by_hash(seen)
    assert photographs.nearest(embeddings, "near_copy.jpg", 1)[0][1] > 0.9
