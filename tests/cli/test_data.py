"""The command that says what is wrong, from its table to its CSV."""

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from kitbox.cli.app import app
from kitbox.workspace import Workspace
from tests.photographs import competition_on_disk


def kitbox(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    found, competition = competition_on_disk(tmp_path)
    data = competition.images.root
    (data / "train" / "0_0.png").write_bytes(b"")
    (data / "test" / "t_0.png").write_text("<html>404</html>")
    with (data / "train.csv").open("a") as file:
        file.write("=1+1.png,w_0\n")
    monkeypatch.chdir(found.root)
    return found


def test_findings_are_shown_by_kind_with_what_is_done_and_can_be_done(place: Workspace) -> None:
    shown = kitbox("data", "check")
    lines = {line.split()[0]: line for line in shown.stdout.splitlines() if line.strip()}
    assert "train.csv line 2: image train/0_0.png is empty" in lines["empty"]
    assert "stops" in lines["empty"]
    assert "get the file again, or remove it" in lines["empty"]
    web = "sample_submission.csv line 2: image test/t_0.png is not an image but a web page"
    assert web in lines["unreadable"]
    assert "train.csv line 26: image '=1+1.png' is not in train" in lines["missing"]
    assert "32 images read" in shown.stderr
    assert f"written to {place.reports / 'check.csv'}" in shown.stderr
    assert "3 of them stop every run" in shown.stderr


def test_with_drop_a_row_is_left_out_and_a_test_image_answered_for(place: Workspace) -> None:
    text = place.settings.read_text().replace('broken = "stop"', 'broken = "drop"')
    place.settings.write_text(text)
    report = json.loads(kitbox("data", "check", "--json").stdout)
    actions = {finding["image_id"]: finding["action"] for finding in report["findings"]}
    assert (actions["0_0.png"], actions["=1+1.png"], actions["t_0.png"]) == (
        *("drop", "drop"),
        "repair",
    )
    assert report["counts"]["empty"] == 1
    assert report["images"] == 32
    assert "uses a grey picture instead" in kitbox("data", "check").stdout
    told = kitbox("data", "holdout").stderr
    assert "left out: unreadable: image" in told
    assert "answered as grey: unreadable: image" in told


def test_every_finding_of_a_kind_is_listed_and_the_csv_holds_all(place: Workspace) -> None:
    shown = kitbox("data", "check", "--kind", "missing")
    assert "image '=1+1.png' is not in train" in shown.stdout
    assert "is empty" not in shown.stdout
    with (place.reports / "check.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"missing", "empty", "unreadable"} <= {row["kind"] for row in rows}
    assert [row["image"] for row in rows if row["kind"] == "missing"] == ["'=1+1.png"]


def test_an_unknown_kind_gets_a_suggestion(place: Workspace) -> None:
    result = kitbox("data", "check", "--kind", "blured", code=1)
    assert "--kind blured: no such kind; did you mean blurred?" in str(result.exception)
    assert not place.image_index.exists()  # before any image is read


def test_rules_in_the_settings_are_obeyed(place: Workspace) -> None:
    with place.settings.open("a") as file:
        file.write('\n[check]\ntiny_below = 65\ndrop = ["empty", "missing", "tiny"]\n')
    text = place.settings.read_text().replace('broken = "stop"', 'broken = "drop"')
    place.settings.write_text(text)
    report = json.loads(kitbox("data", "check", "--json", "--kind", "tiny").stdout)
    # pictures are 64 pixels high
    assert {finding["action"] for finding in report["findings"]} == {"drop", "keep"}
    assert "no usable image is left" in str(kitbox("data", "holdout", code=1).exception)
