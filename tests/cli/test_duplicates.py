"""`kitbox data duplicates`, and the effect of a decision on later commands."""

import json
from pathlib import Path

import pytest

from kitbox.decisions import decision_file
from kitbox.decisions.decision import Decision
from kitbox.images import loader
from kitbox.workspace import Workspace
from tests.commands import RUN, run
from tests.photographs import competition_on_disk, write_plugin


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    found, competition = competition_on_disk(tmp_path, individuals=8)
    root = competition.images.root
    for name, of in (
        ("train/0_1.png", "train/0_0.png"),  # of one individual
        ("train/2_0.png", "train/1_0.png"),  # of two
        ("test/t_3.png", "train/3_0.png"),
        ("test/t_4.png", "test/t_5.png"),
    ):
        (root / name).write_bytes((root / of).read_bytes())
    write_plugin(found, "plain", epochs=1)
    write_plugin(found, "other", epochs=0, image_size=24)
    monkeypatch.chdir(found.root)
    return found


def test_copies_conflicts_and_leaks_are_found(workspace: Workspace) -> None:
    found = json.loads(run("data", "duplicates", "--json").stdout)
    assert (found["images"], found["by"], found["suspects"]) == (40, [], None)
    assert found["counts"]["copies"] == 4
    assert found["counts"]["label conflicts"] == 1
    groups = {tuple(group["images"]): group for group in found["groups"]}
    assert groups["0_0.png", "0_1.png"]["decisions"] == ["drop,0_1.png"]
    assert groups["1_0.png", "2_0.png"]["conflict"]
    assert groups["3_0.png", "t_3.png"]["leaks"] == ["train/test"]
    shown = run("data", "duplicates")
    assert "label,2_0.png,w_1" in shown.stdout
    assert "'kitbox data duplicates --by NAME' compares the images" in shown.stderr
    assert f"written to {workspace.reports / 'duplicates.csv'}" in shown.stderr
    assert not workspace.decisions.exists()


def test_copies_of_one_label_are_dropped_and_others_left_to_people(workspace: Workspace) -> None:
    shown = run("data", "duplicates", "--drop-copies")
    assert f"added 1 drop decisions to {workspace.decisions}" in shown.stderr
    expected = (Decision("drop", "0_1.png", note="copy of 0_0.png"),)
    assert decision_file.load(workspace.decisions).rows == expected
    again = json.loads(run("data", "duplicates", "--drop-copies", "--json").stdout)
    assert again["dropped"] == []
    assert (again["counts"]["copies"], again["counts"]["decided"]) == (3, 1)
    decision_file.add(workspace.decisions, Decision("fine", "1_0.png", "2_0.png"))
    fine = json.loads(run("data", "duplicates", "--json").stdout)
    assert (fine["counts"]["label conflicts"], fine["counts"]["decided"]) == (0, 2)


def test_networks_find_neighbours_and_suspects_also_after_a_decision(
    workspace: Workspace,
) -> None:
    run("train", "plain", "other", *RUN)
    command = ("data", "duplicates", "--by", "plain", "other", *RUN)
    found = json.loads(run(*command, "--json").stdout)
    assert found["by"] == ["plain", "other"]
    assert -1 < found["limit"] < 1.1
    pairs = [set(suspect["images"]) for suspect in found["suspects"] if suspect["kind"] == "mutual"]
    assert {"1_0.png", "2_0.png"} in pairs  # one picture
    assert [Path(file).name for file in found["files"]] == [
        "duplicates.csv",
        "suspects.csv",
        "duplicates.html",
    ]
    shown = run(*command)
    assert "which an image of another individual reaches by chance" in shown.stderr
    assert "most suspicious" in shown.stdout
    before = sorted(workspace.embeddings.iterdir())
    decision_file.add(workspace.decisions, Decision("fine", "2_0.png", "1_0.png"))
    decision_file.add(workspace.decisions, Decision("drop", "5_0.png"))
    later = json.loads(run(*command, "--json").stdout)
    assert {"1_0.png", "2_0.png"} not in [set(s["images"]) for s in later["suspects"]]
    assert not any("5_0.png" in suspect["images"] for suspect in later["suspects"])
    assert sorted(workspace.embeddings.iterdir()) == before, "nothing was embedded again"


def test_an_untrained_network_is_an_error(workspace: Workspace) -> None:
    result = run("data", "duplicates", "--by", "plain", *RUN, code=1)
    assert "plain is not trained on holdout; run 'kitbox train plain'" in str(result.exception)


def test_a_decision_needs_a_new_training_and_is_in_the_receipt(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    # reproduce has no --workers, and workers that end late may disturb other tests
    monkeypatch.setattr(loader, "default_worker_count", lambda *_: 0)
    run("train", "plain", *RUN)
    made = json.loads(run("ensemble", "plain", "--submit", *RUN, "--json").stdout)
    receipt = json.loads((Path(made["submission"]) / "receipt.json").read_text())
    assert receipt["data"]["decisions"] is None
    decision_file.add(workspace.decisions, Decision("label", "4_0.png", "w_new"))
    decision_file.add(workspace.decisions, Decision("merge", "w_7", "w_6"))
    result = run("score", "plain", *RUN, code=1)
    assert str(result.exception) == (
        "plain was trained on other images, labels or boxes than there are now: decisions.csv has "
        "changed since; run 'kitbox train plain'"
    )
    run("train", "plain", *RUN)
    scored = run("score", "plain", *RUN)
    assert "decided: 2 rows of decisions.csv; new individual 'w_new'\n" in scored.stderr
    again = json.loads(run("ensemble", "plain", "--submit", *RUN, "--json").stdout)
    receipt = json.loads((Path(again["submission"]) / "receipt.json").read_text())
    assert receipt["data"]["decisions"]["rows"] == 2
    answers = Path(again["csv"]).read_text()
    assert "w_6" in answers
    assert "w_7" not in answers
    assert "w_new" not in answers, "a leaderboard does not know a label that people add"
    run("submission", "lint", again["csv"])
    changed = run("reproduce", made["submission"], code=1)
    assert "data decisions" in changed.stdout
