"""End to end by the command line: from photographs to a submission, and back by its receipt."""

import csv
import json
from pathlib import Path

import pytest

from kitbox.competition import settings
from kitbox.synthetic import layouts, whale_competition
from kitbox.workspace import Workspace
from tests.commands import RUN, error_of, invoke, json_of, kitbox, run
from tests.photographs import finish, picture, write_plugin

NAMES = ("one", "two")
DROP = ("--broken", "drop")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawn")
    _, competition = finish(
        whale_competition.draw(root / "data", individuals=8, photographs=60, seed=1, long_side=400)
    )
    layouts.arrange(competition.folder, competition.truth, "humpback")
    return root


@pytest.fixture
def workspace(drawn: Path, tmp_path: Path, request, monkeypatch) -> Workspace:
    preset = getattr(request, "param", "humpback")
    arguments = ["--preset", preset, "--data", str(drawn / "data"), *DROP]
    run("init", str(tmp_path / "w"), *arguments)
    workspace = Workspace(tmp_path / "w")
    write_plugin(workspace, "one", epochs=2)
    write_plugin(workspace, "two", epochs=1, image_size=(24, 48), pooling="gem")
    monkeypatch.chdir(workspace.root)
    return workspace


@pytest.fixture(scope="module")
def refitted(drawn: Path) -> Workspace:
    """Return a workspace in which one plugin was trained, on the holdout's rest and on all."""
    run("init", str(drawn / "w"), "--preset", "humpback", "--data", str(drawn / "data"), *DROP)
    workspace = Workspace(drawn / "w")
    write_plugin(workspace, "one", epochs=2)
    kitbox(workspace, "train", "one", *RUN)
    kitbox(workspace, "train", "one", "--on", "all", *RUN)
    return workspace


@pytest.mark.slow
@pytest.mark.parametrize("workspace", ["humpback", "gdsc2020"], indirect=True)
def test_two_plugins_become_a_linted_submission_that_reproduces(
    workspace: Workspace, drawn: Path
) -> None:
    run("train", *NAMES, *RUN)
    run("embed", *NAMES, *RUN)
    alone = [json.loads(run("score", name, *RUN, "--json").stdout) for name in NAMES]
    assert [report["dim"] for report in alone] == [16, 16]
    ensemble = ["ensemble", *NAMES, "--weights", "2,1", *RUN, "--json"]
    local = json.loads(run(*ensemble).stdout)
    assert local["submission"] is None
    report = json.loads(run(*ensemble, "--submit", "--note", "first").stdout)
    assert report["scores"] == local["scores"]
    assert report["dim"] == 32
    assert [plugin["weight"] for plugin in report["plugins"]] == [2.0, 1.0]
    rows = list(csv.reader(Path(report["csv"]).read_text(encoding="utf-8").splitlines()))
    header = 1 if report["top_k"] == 5 else 0
    assert len(rows) - header == report["queries"]
    if report["top_k"] == 20:
        assert {len(row) for row in rows} == {21}
        assert not any(row[0] in row[1:] for row in rows)
    else:
        assert rows[0] == ["Image", "Id"]
        assert {len(set(row[1].split(" "))) for row in rows[1:]} == {5}
    assert "no findings" in run("submission", "lint", report["csv"]).stderr
    against_truth = ["submission", "mark", report["csv"], str(drawn / "truth.csv"), "--json"]
    final = json.loads(run(*against_truth).stdout)
    main = final[settings.load(workspace).metric]
    assert main["queries"] > 5
    assert main["value"] > 0
    before = Path(report["csv"]).read_bytes()
    again = json.loads(run(*ensemble, "--submit").stdout)
    assert Path(again["csv"]).read_bytes() == before
    receipt = json.loads((Path(report["submission"]) / "receipt.json").read_text())
    digits = {"value": 6, "low": 6, "high": 6}
    assert receipt["scores"] == {
        name: {part: round(value, digits.get(part)) for part, value in score.items()}
        for name, score in report["scores"].items()
    }
    assert {plugin["trained_on"] for plugin in receipt["plugins"]} == {"holdout"}
    reproduced = run("reproduce", report["submission"])
    assert "the submission is the same, byte for byte" in reproduced.stderr
    if report["top_k"] == 5:  # a training knows nothing of the format
        retrained = run("reproduce", report["submission"], "--retrain", "--device", "cpu")
        assert "the submission is the same, byte for byte" in retrained.stderr


@pytest.mark.slow
def test_a_whitened_submission_of_refitted_networks_needs_them(refitted: Workspace) -> None:
    report = json_of(refitted, "ensemble", "one", "--whiten", "8", "--submit")
    assert report["dim"] == 8
    receipt = json.loads((Path(report["submission"]) / "receipt.json").read_text())
    plugin = receipt["plugins"][0]
    assert plugin["trained_on"] == "all"
    assert plugin["checkpoint"] != plugin["scored_checkpoint"]
    away = refitted.runs.rename(refitted.root / "away")
    try:
        assert "train it again with --retrain" in error_of(
            refitted, "reproduce", report["submission"]
        )
    finally:
        away.rename(refitted.runs)


@pytest.mark.slow
def test_reproducing_after_a_change_lists_the_differences(refitted: Workspace) -> None:
    report = json_of(refitted, "ensemble", "one", "--submit")
    receipt = json.loads((Path(report["submission"]) / "receipt.json").read_text())
    assert receipt["metric"] == settings.load(refitted).metric
    text = refitted.settings.read_text()
    refitted.settings.write_text(text.replace("seed = 0", "seed = 1"))
    try:
        # another holdout has another best threshold, which changes the submission
        changed = invoke(refitted, "reproduce", report["submission"])
    finally:
        refitted.settings.write_text(text)
    assert changed.exit_code == 1
    for part in ("competition holdout seed", "data holdout", "score label_map_at_5"):
        assert part in changed.stdout
    assert "the submission differs in" in changed.stderr


def test_the_demo_draws_its_competition_once_and_refuses_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(whale_competition.draw.__kwdefaults__, "long_side", 200)
    folder = tmp_path / "demo"
    arguments = ["demo", "--folder", str(folder), "--individuals", "6", "--photographs", "40"]
    first = run(*arguments, "--draw-only")
    assert "drawing 40 photographs of 6 whales" in first.stderr
    assert "left out: unreadable" in first.stderr
    before = (folder / "data" / "train.csv").read_bytes()
    again = run(*arguments, "--draw-only")
    assert "drawing" not in again.stderr
    assert (folder / "data" / "train.csv").read_bytes() == before
    assert not (folder / "data" / "truth.csv").exists()
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "letter.txt").touch()
    refused = run("demo", "--folder", str(taken), code=1)
    assert "is not empty and not a workspace" in str(refused.exception)


def test_folders_of_individuals_become_a_submission(tmp_path: Path, monkeypatch) -> None:
    for identity in range(5):
        for number in range(4):
            picture(
                tmp_path / "data" / "train" / f"seal {identity}" / f"{number}.png", identity, number
            )
        picture(tmp_path / "data" / "test" / f"t{identity}.png", identity, 50)
    run("init", str(tmp_path / "w"), "--preset", "folder", "--data", str(tmp_path / "data"))
    workspace = Workspace(tmp_path / "w")
    write_plugin(workspace, "one", epochs=1)
    settings_text = workspace.settings.read_text().replace("k = 20", "k = 3")
    workspace.settings.write_text(settings_text.replace('layout = "joined"', 'layout = "columns"'))
    monkeypatch.chdir(workspace.root)
    run("train", "one", *RUN)
    report = json.loads(run("ensemble", "one", "--submit", *RUN, "--json").stdout)
    rows = list(csv.reader(Path(report["csv"]).read_text(encoding="utf-8").splitlines()))
    assert [row[0] for row in rows[1:]] == [f"t{identity}.png" for identity in range(5)]
    assert {len(row) for row in rows[1:]} == {4}
    assert all(answer.startswith("seal ") for row in rows[1:] for answer in row[1:])
    assert "map_at_3" in report["scores"]
