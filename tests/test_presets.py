"""Every preset on a tiny competition, by the command line: from init to a list that is marked."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kitbox.cli.app import app
from kitbox.competition import presets, settings
from kitbox.submission import csv_format
from kitbox.synthetic import layouts
from kitbox.workspace import Workspace
from tests.photographs import competition_on_disk, write_plugin

RUN = ("--device", "cpu", "--precision", "32", "--workers", "0")
INDIVIDUALS, UNKNOWN, TESTS = 12, 2, 28


def kitbox(*arguments: str):
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a competition in the humpback form with the truth beside it."""
    root = tmp_path_factory.mktemp("drawn")
    competition_on_disk(root, individuals=INDIVIDUALS, tests=TESTS, unknown=UNKNOWN)
    shutil.rmtree(root / "workspace")
    with (root / "truth.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Image", "Id", "individual"])
        for number in range(TESTS):
            who = number % (INDIVIDUALS + UNKNOWN)
            label = f"w_{who}" if who < INDIVIDUALS else "new_whale"
            writer.writerow([f"t_{number}.png", label, f"w_{who}"])
    return root


def test_every_preset_has_a_form_to_be_played_in() -> None:
    assert sorted(layouts.LAYOUTS) == presets.names()


@pytest.mark.parametrize("name", sorted(layouts.LAYOUTS))
def test_a_preset_leads_from_init_to_a_list_that_is_linted_and_marked(
    name: str, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(drawn, tmp_path, dirs_exist_ok=True)
    data, truth = tmp_path / "data", tmp_path / "truth.csv"
    layouts.arrange(data, truth, name)
    lists = ["--train-list", "labels.csv", "--test-list", "queries.csv"] if name == "csv" else []
    kitbox("init", str(tmp_path / "w"), "--preset", name, "--data", str(data), *lists)
    place = Workspace(tmp_path / "w")
    # a tenth of so few photographs would be one
    place.settings.write_text(place.settings.read_text().replace("share = 0.1 ", "share = 0.3 "))
    write_plugin(place, "plain", epochs=0)
    monkeypatch.chdir(place.root)
    competition = settings.load(place)
    kitbox("train", "plain", *RUN)
    report = json.loads(kitbox("ensemble", "plain", "--submit", *RUN, "--json").stdout)
    assert next(iter(report["scores"])) == competition.metric
    assert "no findings" in kitbox("submission", "lint", report["csv"]).stderr
    marked = json.loads(kitbox("submission", "mark", report["csv"], str(truth), "--json").stdout)
    assert next(iter(marked)) == competition.metric
    assert marked[competition.metric]["queries"] > 5
    read = csv_format.read(Path(report["csv"]).read_text(encoding="utf-8"), competition)
    assert len(read.query_ids) == report["queries"]
