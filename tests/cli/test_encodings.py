"""File names that are not UTF-8, and terminals that lack the letters of a name."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kitbox.workspace import Workspace
from tests.commands import RUN, json_of, kitbox, run
from tests.photographs import picture, write_plugin

MUNOZ = os.fsdecode(b"Mu\xf1oz_sm.png")  # as an old Windows writes ñ


def photographs(data: Path) -> Path:
    """Draw four individuals and two queries; a photograph, a label and a query are in Latin-1."""
    for who, name in enumerate(("Åsa", "Bob", os.fsdecode(b"Ni\xf1a"), "Ünal")):
        for number in range(4):
            picture(data / "train" / name / f"{who}_{number}.png", who, number)
    picture(data / "train" / "Bob" / MUNOZ, 1, 9)
    picture(data / "test" / "q.png", 0, 20)
    picture(data / "test" / MUNOZ, 2, 21)
    return data


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    data = photographs(tmp_path / "data")
    run("init", str(tmp_path / "work"), "--preset", "folder", "--data", str(data))
    return Workspace(tmp_path / "work")


def test_names_that_are_not_utf8_are_read_and_written_in_a_readable_form(place: Workspace) -> None:
    found = json_of_check(place)
    assert {(f["image_id"], f["what"]) for f in found if f["kind"] == "odd-name"} == {
        (name, f"the name of image '{name}' has bytes that are not UTF-8")
        for name in (
            *(r"Bob/Mu\xf1oz_sm.png", r"Mu\xf1oz_sm.png"),
            *(rf"Ni\xf1a/2_{number}.png" for number in range(4)),
        )
    }
    kitbox(place, "data", "holdout")
    rows = place.holdout.read_text("utf-8").splitlines()
    assert sum(row.startswith(r"Ni\xf1a/") and r",Ni\xf1a" in row for row in rows) == 4
    kitbox(place, "data", "duplicates")
    kitbox(place, "report")


@pytest.mark.slow
def test_names_that_are_not_utf8_are_trained_on_and_answered_for(place: Workspace) -> None:
    write_plugin(place, "tiny", epochs=1)
    kitbox(place, "train", "tiny", *RUN)
    kitbox(place, "data", "prepare", "tiny")
    kitbox(place, "data", "duplicates", "--by", "tiny", *RUN)
    kitbox(place, "report", "tiny", *RUN)
    kitbox(place, "ensemble", "tiny", "--submit", *RUN)
    [csv] = place.submissions.glob("*/*.csv")
    assert r"Mu\xf1oz_sm.png" in csv.read_text("utf-8")


def json_of_check(place: Workspace) -> list[dict[str, str]]:
    document = json.loads(kitbox(place, "data", "check", "--json").stdout)
    findings: list[dict[str, str]] = document["findings"]
    return findings


@pytest.mark.parametrize("place_name", ["data", "photos"])
def test_a_folder_that_kitbox_toml_cannot_name_is_refused(tmp_path: Path, place_name: str) -> None:
    odd = os.fsdecode(b"Mu\xf1oz")
    data = tmp_path / odd if place_name == "data" else tmp_path / "data"
    for name in ("a.png", "b.png"):
        picture((data if place_name == "data" else data / odd) / name, 1, 1)
    made = run("init", str(tmp_path / "w"), "--preset", "folder", "--data", str(data), code=1)
    assert str(made.exception).endswith(
        "is not UTF-8, which kitbox.toml cannot hold; "
        "rename the folder; the names of photographs may stay"
    )


def started(encoding: str, place: Workspace, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run kitbox in a locale without UTF-8, with standard streams in an encoding."""
    variables = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": encoding}
    code = "from kitbox.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--workspace", str(place.root), *arguments],
        env={**os.environ, **variables, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        timeout=120,
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode(errors="replace")
    return done


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_printing_never_fails_in_a_terminal_without_utf8(place: Workspace, encoding: str) -> None:
    table = started(encoding, place, "data", "check", "--kind", "odd-name")
    assert table.returncode == 0
    assert r"Ni\xf1a/2_0.png" in table.stdout.decode(encoding)


def test_a_mistake_is_told_in_a_terminal_without_utf8(place: Workspace) -> None:
    refused = started("ascii", place, "score", "Åsa")
    assert refused.returncode == 1
    assert r"\xc5sa" in refused.stderr.decode("ascii")


def test_json_is_the_same_in_a_terminal_without_utf8(place: Workspace) -> None:
    document = json.loads(started("ascii", place, "data", "check", "--json").stdout)
    assert document["images"] == 19


def test_names_are_the_same_in_every_locale(place: Workspace) -> None:
    assert started("ascii", place, "data", "holdout").returncode == 0
    elsewhere = place.holdout.read_text("utf-8")
    assert "Åsa/0_0.png" in elsewhere
    assert json_of(place, "data", "holdout")
    assert place.holdout.read_text("utf-8") == elsewhere
