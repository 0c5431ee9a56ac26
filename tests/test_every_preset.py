"""Every preset on a tiny competition, by the command line: from init to a scored submission."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from kitbox.competition import presets, settings
from kitbox.submission import csv_format
from kitbox.synthetic import layouts
from kitbox.workspace import Workspace
from tests.commands import RUN, run
from tests.photographs import competition_on_disk, write_plugin

INDIVIDUALS, UNKNOWN, TESTS = 12, 2, 28


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a competition in the layout of humpback, with its truth.csv."""
    root = tmp_path_factory.mktemp("drawn")
    competition_on_disk(root, individuals=INDIVIDUALS, tests=TESTS, unknown=UNKNOWN)
    shutil.rmtree(root / "workspace")
    with (root / "truth.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Image", "Id", "individual"])
        for number in range(TESTS):
            identity = number % (INDIVIDUALS + UNKNOWN)
            label = f"w_{identity}" if identity < INDIVIDUALS else "new_whale"
            writer.writerow([f"t_{number}.png", label, f"w_{identity}"])
    return root


def test_every_preset_has_a_layout() -> None:
    assert sorted(layouts.LAYOUTS) == presets.names()


@pytest.mark.parametrize("name", sorted(layouts.LAYOUTS))
def test_a_preset_leads_from_init_to_a_linted_and_scored_submission(
    name: str, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(drawn, tmp_path, dirs_exist_ok=True)
    data, truth = tmp_path / "data", tmp_path / "truth.csv"
    layouts.arrange(data, truth, name)
    lists = ["--train-list", "labels.csv", "--test-list", "queries.csv"] if name == "csv" else []
    run("init", str(tmp_path / "w"), "--preset", name, "--data", str(data), *lists)
    workspace = Workspace(tmp_path / "w")
    # a tenth of so few photographs would be one
    workspace.settings.write_text(
        workspace.settings.read_text().replace("share = 0.1 ", "share = 0.3 ")
    )
    write_plugin(workspace, "plain", epochs=0)
    monkeypatch.chdir(workspace.root)
    competition = settings.load(workspace)
    run("train", "plain", *RUN)
    report = json.loads(run("ensemble", "plain", "--submit", *RUN, "--json").stdout)
    assert next(iter(report["scores"])) == competition.metric
    assert "no findings" in run("submission", "lint", report["csv"]).stderr
    scores = json.loads(run("submission", "mark", report["csv"], str(truth), "--json").stdout)
    assert next(iter(scores)) == competition.metric
    assert scores[competition.metric]["queries"] > 5
    text = Path(report["csv"]).read_text(encoding="utf-8")
    if competition.task.answers == "pairs":  # each query with each other one
        assert text.count("\n") == 1 + report["queries"] * (report["queries"] - 1)
    else:
        assert len(csv_format.read(text, competition).query_ids) == report["queries"]


def test_a_data_set_without_training_images_is_clustered_too(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(drawn, tmp_path, dirs_exist_ok=True)
    data, truth = tmp_path / "data", tmp_path / "truth.csv"
    layouts.arrange(data, truth, "animalclef-2026")
    run("init", str(tmp_path / "w"), "--preset", "animalclef-2026", "--data", str(data))
    workspace = Workspace(tmp_path / "w")
    # lizards have no holdout, and so no threshold of their own
    text = workspace.settings.read_text()
    workspace.settings.write_text(text.replace("[threshold]\n", "[threshold]\nby_group = true\n"))
    write_plugin(workspace, "plain", epochs=0)
    monkeypatch.chdir(workspace.root)
    run("train", "plain", *RUN)
    report = json.loads(run("ensemble", "plain", "--submit", *RUN, "--json").stdout)
    assert "TexasHornedLizards" not in report["thresholds"]
    rows = csv.DictReader((data / "metadata.csv").read_text().splitlines())
    data_set = {row["image_id"]: row["dataset"] for row in rows if row["split"] == "test"}
    answers = list(csv.DictReader(Path(report["csv"]).read_text().splitlines()))
    assert [row["image_id"] for row in answers] == list(data_set)
    for row in answers:
        prefix, _, number = row["cluster"].rpartition("_")
        assert (prefix, number.isdigit()) == (f"cluster_{data_set[row['image_id']]}", True)
    assert "TexasHornedLizards" in data_set.values()
    assert "no findings" in run("submission", "lint", report["csv"]).stderr
    scores = json.loads(run("submission", "mark", report["csv"], str(truth), "--json").stdout)
    assert scores["ari"]["queries"] == len(answers)
    assert settings.load(workspace).submission.kaggle == "animal-clef-2026"
