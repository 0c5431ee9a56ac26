"""Photographs: every listed image can be reviewed, whatever was decided about it."""

import os
from dataclasses import asdict
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kitbox.cli.app import app
from kitbox.competition import lists, presets
from kitbox.competition.lists import ListedImages
from kitbox.decisions import decision_file
from kitbox.decisions.decision import Decision
from kitbox.ensemble import members
from kitbox.errors import KitboxError
from kitbox.files import read_json, write_json
from kitbox.look import photographs, review_items
from kitbox.look.review_items import Review
from kitbox.look.session import DecisionSession
from kitbox.records import Checkpoint, Holdout
from kitbox.training.runs import RunKey
from kitbox.workspace import Workspace
from tests.look.sample_review import HOSTILE_ID, load_photographs, write_competition
from tests.photographs import competition_on_disk, finish, named, tiny, write_plugin

SHARED = Path(os.environ.get("KITBOX_SHARED", Path(__file__).parents[3] / "shared"))
DIRTY = SHARED / "data" / "humpback-dirty"


def test_photographs_have_a_side_a_label_and_a_problem(review: Review) -> None:
    listed = review.photographs
    assert (listed.side("0_0.png"), listed.label("0_0.png")) == ("labelled", "w_0")
    assert (listed.side("t_0.png"), listed.label("t_0.png")) == ("test", "")
    assert list(listed.problems) == ["broken.png"]
    assert "broken.png" in listed.rows
    assert "broken.png" not in listed.readable
    assert HOSTILE_ID in listed.part("labelled").image_ids
    assert listed.part("test").labels is None
    assert len(listed.part("labelled")) + len(listed.part("test")) == len(listed.readable)
    assert len(listed.part("index")) == 0


def test_dropped_images_are_still_listed(tmp_path: Path) -> None:
    workspace, competition = write_competition(tmp_path)
    decision_file.add(workspace.decisions, Decision("drop", "0_0.png"))
    listed = load_photographs(workspace, competition)
    state = DecisionSession(workspace, listed).state
    assert "0_0.png" in listed.readable
    assert state.is_excluded("0_0.png")
    assert state.tags("0_0.png") == ["dropped"]


def test_queries_of_the_holdout_are_known_once_it_is_written(tmp_path: Path) -> None:
    workspace, competition = competition_on_disk(tmp_path)
    assert load_photographs(workspace, competition).queries == frozenset()
    workspace.holdout.write_text(
        "image,side,label,answer\n0_1.png,query,w_0,w_0\n0_2.png,train,w_0,w_0\n"
    )
    assert load_photographs(workspace, competition).queries == {"0_1.png"}


def test_a_drawn_box_takes_precedence_over_one_of_the_workspace(tmp_path: Path) -> None:
    workspace, competition = write_competition(tmp_path)
    workspace.boxes.write_text(
        "image,x0,y0,x1,y1,confidence,source\n0_2.png,1,2,30,40,0.9,detector\n"
    )
    session = DecisionSession(workspace, load_photographs(workspace, competition))
    assert session.state.box("0_1.png") == (10, 12, 80, 60)
    assert session.state.box("0_2.png") == (1, 2, 30, 40)
    assert session.state.box("0_3.png") is None
    session.decide([Decision("box", "0_2.png", "5 5 50 50")])
    assert session.state.box("0_2.png") == (5, 5, 50, 50)


def test_faulty_rows_are_counted_and_not_fatal(tmp_path: Path) -> None:
    workspace, competition = competition_on_disk(tmp_path)
    with (tmp_path / "data" / "train.csv").open("a") as file:
        file.write("gone.png,w_1\n0_0.png,w_0\n")
    assert competition.images.broken == "stop"
    assert load_photographs(workspace, competition).faulty_rows == 2


def test_labelled_images_that_are_also_queries_appear_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, competition = competition_on_disk(tmp_path)
    listed = lists.read(competition)
    again = ListedImages(listed.labelled, test=listed.labelled.without_labels())
    monkeypatch.setattr(lists, "read", lambda *_: again)
    listed = load_photographs(workspace, competition)
    assert len(listed.images) == 24
    assert set(listed.sides.tolist()) == {"labelled"}


def test_networks_trained_before_the_last_decision_are_outdated(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = tiny()
    monkeypatch.setattr(
        "kitbox.network.checkpoint.read_checkpoint",
        lambda path: Checkpoint(
            path=path, plugin="tiny", fingerprint="", digest="", epoch=1, on="holdout"
        ),
    )
    key = RunKey(
        plugin="tiny",
        fingerprint=plugin.fingerprint,
        data="data",
        weights="none",
        on="holdout",
        seed=0,
        precision="32",
    )
    run = workspace.runs / "tiny" / "one"
    write_json(run / "run.json", asdict(key))
    (run / "last.safetensors").touch()
    (run / "journal.jsonl").write_text('{"event": "finished", "epoch": 1}\n')
    assert photographs.outdated([named(plugin)], workspace) == []
    decision_file.add(workspace.decisions, Decision("drop", "a"))
    decided = workspace.decisions.stat().st_mtime
    for trained, behind in ((decided - 5, ["tiny"]), (decided + 5, [])):
        os.utime(run / "journal.jsonl", (trained, trained))
        assert photographs.outdated([named(plugin)], workspace) == behind
    # what no training reads does not count where the run recorded what it read
    key_file = run / "run.json"
    read = decision_file.load(workspace.decisions).training_digest
    write_json(key_file, read_json(key_file) | {"decisions": read})
    os.utime(run / "journal.jsonl", (decided - 5, decided - 5))
    for kind, value in (("poor", ""), ("new", ""), ("same", "b"), ("fine", "b")):
        decision_file.add(workspace.decisions, Decision(kind, "a", value, by="Anna"))
        assert photographs.outdated([named(plugin)], workspace) == []
    decision_file.add(workspace.decisions, Decision("train", "a"))
    assert photographs.outdated([named(plugin)], workspace) == ["tiny"]


def test_the_holdout_is_unseen_only_by_networks_that_were_trained_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, competition = competition_on_disk(tmp_path)
    write_plugin(workspace, "plain", epochs=1)
    monkeypatch.chdir(workspace.root)
    run = ("--device", "cpu", "--precision", "32", "--workers", "0")

    def unseen() -> Holdout:
        sources = members.find(["plain"], workspace)
        return finish(photographs.unseen_holdout(sources, workspace, competition))[1]

    assert CliRunner().invoke(app, ["train", "plain", "--on", "all", *run]).exit_code == 0
    with pytest.raises(KitboxError, match="plain was trained on all labelled photographs"):
        unseen()
    assert CliRunner().invoke(app, ["train", "plain", *run]).exit_code == 0
    query = unseen().query.image_ids.tolist()
    assert len(query) > 2
    decision_file.add(workspace.decisions, Decision("train", query[0]))  # another split
    with pytest.raises(KitboxError, match="plain was trained on other images"):
        unseen()


@pytest.mark.real
@pytest.mark.skipif(
    not DIRTY.is_dir(), reason=f"there are no photographs in {DIRTY}; name them by KITBOX_SHARED"
)
def test_a_dirty_data_set_can_be_reviewed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "test").mkdir(parents=True)
    for name in ("train", "train.csv"):
        (data / name).symlink_to(DIRTY / name)
    workspace = Workspace(tmp_path / "w")
    listed = load_photographs(workspace, presets.init(workspace, "humpback", data))
    assert len(listed.problems) == 4
    assert "émoji 🐋, <b>.jpg" in listed.readable
    state = DecisionSession(workspace, listed).state
    found = [set(item.images) for item in review_items.find_duplicates(state, 6)]
    assert found[0] == {"1155989fb.jpg", "conflict.jpg"}
    for pair in ({"775c2ddae.jpg", "exact_copy.jpg"}, {"768d79982.jpg", "rgba.png"}):
        assert pair in found
    embeddings = photographs.hash_embeddings(listed)
    assert photographs.nearest(embeddings, "near_copy.jpg", 1)[0][1] > 0.9
