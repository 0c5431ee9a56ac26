"""Every preset on a tiny competition, by the command line: from init to a scored submission."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from kitbox.cli.app import app
from kitbox.competition import presets, settings
from kitbox.formats import csv_format
from kitbox.synthetic import layouts
from kitbox.workspace import Workspace
from tests.commands import RUN, run
from tests.photographs import competition_on_disk, write_plugin

REPRODUCE = ("--device", "cpu")
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


def test_links_of_lizards_reach_the_submission_and_its_receipt(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(drawn, tmp_path, dirs_exist_ok=True)
    data, truth = tmp_path / "data", tmp_path / "truth.csv"
    layouts.arrange(data, truth, "animalclef-2026")
    run("init", str(tmp_path / "w"), "--preset", "animalclef-2026", "--data", str(data))
    workspace = Workspace(tmp_path / "w")
    write_plugin(workspace, "plain", epochs=0)
    monkeypatch.chdir(workspace.root)
    run("train", "plain", *RUN)

    def submit() -> tuple[dict[str, str], dict[str, Any]]:
        report = json.loads(run("ensemble", "plain", "--submit", *RUN, "--json").stdout)
        rows = csv.DictReader(Path(report["csv"]).read_text().splitlines())
        receipt = json.loads((Path(report["submission"]) / "receipt.json").read_text())
        receipt["folder"] = report["submission"]
        return {row["image_id"]: row["cluster"] for row in rows}, receipt

    before, unlinked = submit()
    lizards = [name for name, cluster in before.items() if "TexasHornedLizards" in cluster]
    together = next([a, b] for a in lizards for b in lizards if before[a] == before[b] and a != b)
    alone = next(a for a in lizards if before[a] != before[together[0]])
    holdout = list(csv.DictReader(workspace.holdout.read_text().splitlines()))
    queries = [row for row in holdout if row["side"] == "query"]
    known = next(row for row in queries if row["answer"] == row["label"])
    other = next(row for row in queries if row["label"] != known["label"])
    workspace.decisions.write_text(
        "decision,subject,value,note\n"
        f"different,{together[0]},{together[1]},seen\n"
        f"same,{together[0]},{alone},\n"
        f"different,{known['image']},{other['image']},the lists say so too\n"
    )
    after, linked = submit()
    assert after[together[0]] == after[alone] != after[together[1]]
    assert linked["data"]["decisions"]["rows"] == 3
    assert linked["scores"] == unlinked["scores"]
    said = run("score", "plain", *RUN).stderr
    assert "the local score ignores 1 link of holdout queries, which would flatter it" in said
    again = run("reproduce", unlinked["folder"], *REPRODUCE, code=1).output
    assert "decisions" in again  # it was made without links
    run("reproduce", linked["folder"], *REPRODUCE)
    with workspace.decisions.open("a") as file:
        file.write(f"different,{alone},{together[0]},\nsame,{alone},{together[1]},\n")
        file.write(f"same,{together[1]},{together[0]},\n")
    caught = CliRunner().invoke(app, ["score", "plain", *RUN])
    assert str(caught.exception) == (
        f"{workspace.decisions} line 5: '{alone}' and '{together[0]}' are different, but the same "
        "individual by lines 6 and 7; correct or remove a row"
    )
    found = run("data", "check")
    assert "are different, but the same individual by lines 6 and 7" in found.output


def test_lizards_are_clustered_as_components_beside_anchors_by_ami(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(drawn, tmp_path, dirs_exist_ok=True)
    data, truth = tmp_path / "data", tmp_path / "truth.csv"
    layouts.arrange(data, truth, "animalclef-2026")
    run("init", str(tmp_path / "w"), "--preset", "animalclef-2026", "--data", str(data))
    workspace = Workspace(tmp_path / "w")
    text = workspace.settings.read_text().replace('gallery = "test"', 'gallery = "train+test"')
    text = text.replace("[threshold]", 'linkage = "components"\nanchors = true\n\n[threshold]')
    workspace.settings.write_text(text)
    write_plugin(workspace, "plain", epochs=0)
    monkeypatch.chdir(workspace.root)
    run("train", "plain", *RUN)
    said = run("score", "plain", "--threshold", "ami", *RUN).stderr
    assert "threshold of anchors: similarity " in said
    assert "cut where AMI is best: ARI " in said
    assert "where ARI is best (--threshold best): ARI " in said
    done = json.loads(
        run("ensemble", "plain", "--threshold", "ami", "--submit", *RUN, "--json").stdout
    )
    assert sorted(done["thresholds"]) == ["", "anchor:"]
    assert "no findings" in run("submission", "lint", done["csv"]).stderr
    run("reproduce", done["submission"], *REPRODUCE)


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
