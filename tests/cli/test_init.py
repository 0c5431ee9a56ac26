"""Workspaces and presets: init, demo and competitions."""

import csv
import json
from pathlib import Path

import pytest

from kitbox.competition import presets, settings
from kitbox.workspace import Workspace
from tests.commands import run
from tests.photographs import competition_on_disk, picture, write_plugin


def photographs_of_seals(data: Path) -> None:
    """Write eight photographs of four seals, two queries, and a list of each."""
    rows = [(f"{who}{n}.png", f"seal {who}") for who in range(4) for n in range(2)]
    for at, name in enumerate([*(name for name, _ in rows), "q0.png", "q1.png"]):
        picture(data / "photos" / name, at // 2, at, (24, 16))
    with (data / "seals.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("photograph", "seal"), *rows])
    (data / "queries.csv").write_text("photograph\nq1.png\nq0.png\n")


def test_options_describe_ones_own_photographs(tmp_path: Path) -> None:
    photographs_of_seals(tmp_path / "data")
    made = run(
        *("init", str(tmp_path / "w"), "--preset", "csv", "--data", str(tmp_path / "data")),
        *("--train-list", "seals.csv", "--test-list", "queries.csv"),
        *("--image-column", "photograph", "--label-column", "seal"),
    )
    assert f"wrote {tmp_path / 'w' / 'kitbox.toml'}: map_at_20 over train" in made.stderr
    columns = "seals.csv: images in column 'photograph', individuals in column 'seal'"
    assert columns in made.stderr
    images = settings.load(Workspace(tmp_path / "w")).images
    assert (images.train_list, images.test_list) == ("seals.csv", "queries.csv")
    assert (images.image_column, images.label_column) == ("photograph", "seal")
    assert (images.train_folder, images.test_folder) == (".", ".")
    found = "labelled images: seals.csv has 8 rows; found 8 in photos; 4 individuals\n"
    assert found in made.stderr
    assert "test images: queries.csv has 2 rows; found 2 in photos\n" in made.stderr
    assert "blanks" not in made.stderr


def test_a_folder_and_its_column_can_be_given(tmp_path: Path) -> None:
    data = tmp_path / "data"
    rows = [(f"{n}.png", f"day{day}", f"seal {day}") for day in range(2) for n in range(2)]
    for at, (name, day, _) in enumerate(rows):
        picture(data / "photos" / day / name, at // 2, at, (24, 16))
        picture(data / "thumbs" / day / name, at // 2, at, (12, 8))
    with (data / "seals.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "day", "seal"), *rows])
    arguments = ("--preset", "csv", "--data", str(data), "--train-list", "seals.csv")
    given = ("--label-column", "seal", "--train-folder", "photos", "--folder-column", "day")
    made = run("init", str(tmp_path / "w"), *arguments, *given)
    assert "individuals in column 'seal', folders in column 'day'" in made.stderr
    images = settings.load(Workspace(tmp_path / "w")).images
    assert (images.train_folder, images.folder_column) == ("photos", "day")
    refused = run("init", str(tmp_path / "v"), *arguments, *given[:2], code=1)
    assert str(refused.exception) == (
        f"{data}/seals.csv line 2: image '0.png' is photos/day0/0.png and photos/day1/0.png and "
        "2 more; write its folder before it, or name the column of folders in "
        "images.folder_column; 3 more like it; 'kitbox init' takes such a column as "
        "--folder-column, and the folder of all images as --train-folder"
    )
    assert not (tmp_path / "v").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "preset csv needs the name of your list; give --train-list FILE"),
        (["--train-list", "seal.csv"], "has no seal.csv, which the preset csv needs"),
        (["--train-list", "seals.csv"], "or give --image-column NAME"),
        (
            ["--train-list", "seals.csv", "--image-column", "photograph"],
            "or give --label-column NAME",
        ),
    ],
)
def test_a_missing_column_is_an_error_that_names_the_option(
    tmp_path: Path, options: list[str], message: str
) -> None:
    photographs_of_seals(tmp_path / "data")
    data = str(tmp_path / "data")
    result = run("init", str(tmp_path / "w"), "--preset", "csv", "--data", data, *options, code=1)
    assert message in str(result.exception)
    assert not (tmp_path / "w").exists()


def test_every_preset_is_listed() -> None:
    rows = json.loads(run("competitions", "--json").stdout)
    assert [row["preset"] for row in rows] == presets.names()
    assert {tuple(row) for row in rows} == {
        ("preset", "answers", "k", "gallery", "metric", "format", "sent_as", "about")
    }
    shown = run("competitions").stdout
    assert all(row["about"] in shown for row in rows)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    found, _ = competition_on_disk(tmp_path, individuals=20, tests=24)
    write_plugin(found, "plain", epochs=0)
    monkeypatch.chdir(found.root)
    return found


def test_a_demo_continues_only_its_own_competition(place: Workspace) -> None:
    arguments = ("demo", "--folder", str(place.root), "--preset", "shopee", "--draw-only")
    assert str(run(*arguments, code=1).exception) == (
        f"{place.root} plays humpback; give --preset humpback, or choose another --folder"
    )
    shown = run("demo", "--folder", str(place.root), "--draw-only")
    assert "next: cd" in shown.stderr


def test_a_demo_of_an_unknown_preset_is_an_error_before_anything_is_drawn(tmp_path: Path) -> None:
    arguments = ("demo", "--folder", str(tmp_path / "d"), "--preset", "whale-d", "--draw-only")
    result = run(*arguments, code=1)
    assert str(result.exception) == "no preset named whale-d; did you mean whale-do?"
    assert not (tmp_path / "d").exists()


def test_the_competitions_fit_into_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = run("competitions")
    lines = [*shown.stdout.splitlines(), *shown.stderr.splitlines()]
    assert max(map(len, lines)) <= 80
    words = shown.stdout.split()
    for name in presets.names():
        assert name in words
    assert "gallery and format need a wider terminal" in shown.stderr


def test_a_folder_without_photographs_is_refused_with_what_it_has(tmp_path: Path) -> None:
    data = tmp_path / "photos"
    (data / "Ahab").mkdir(parents=True)
    (data / "Ahab" / "a.NEF").write_bytes(b"raw")
    made = ("init", str(tmp_path / "new"), "--preset", "folder", "--data", str(data))
    assert str(run(*made, code=1).exception) == (
        f"{data} has no photograph that kitbox reads; 1 raw camera file (.nef 1) in Ahab; save as "
        "JPEG or TIFF to have them read; 1 individual's folder without a photograph: Ahab; add "
        "photographs, or remove it; name the folder of photographs with --data or --train-folder"
    )
    assert not (tmp_path / "new").exists()
