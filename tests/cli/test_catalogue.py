"""The catalogue from the command line: it grows, is corrected, and keeps its history."""

import json
from pathlib import Path

import pytest

from kitbox.catalogue import catalogue_list, catalogue_source, photograph_folders
from kitbox.cli import terminal
from kitbox.competition import settings
from kitbox.decisions import decision_file
from kitbox.decisions.decision import Decision
from kitbox.workspace import Workspace
from tests.commands import error_of, invoke, kitbox
from tests.photographs import picture

TOML = """\
name = "whales"
[images]
root = "photographs"
train_folder = "."
test_folder = "."
[task]
gallery = "train"
answers = "labels"
k = 5
[submission]
header = ["Image", "Id"]
layout = "joined"
[holdout]
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A catalogue of two individuals, and a season of new photographs."""
    for number, image in enumerate(("W-0001/a.png", "W-0001/b.png", "W-0002/c.png")):
        picture(tmp_path / "cat" / image, 1 + number // 2, number)
    for number in range(4):
        picture(tmp_path / "season" / f"2024-05-0{number + 1}_{number}.png", 3, number)
    found = Workspace(tmp_path / "workspace")
    found.root.mkdir()
    found.settings.write_text(TOML)
    reading = catalogue_source.read(tmp_path / "cat")
    photograph_folders.link(found.photographs, reading.folder)
    photograph_folders.link(found.photographs, tmp_path / "season")
    names = photograph_folders.names_of(found.photographs, reading.folder, reading.files)
    catalogue_list.save(found.catalogue, reading.renamed(names))
    return found


def individuals(workspace: Workspace) -> dict[str, str]:
    return {row.image: row.individual for row in catalogue_list.load(workspace.catalogue)}


def confirm(workspace: Workspace, *rows: str) -> str:
    path = workspace.root / "identified.csv"
    path.write_text("\n".join(["image,individual,confirmed", *rows]) + "\n")
    return str(path)


def test_confirmed_photographs_are_added_and_new_individuals_named(workspace: Workspace) -> None:
    path = confirm(
        workspace,
        "season/2024-05-01_0.png,W-0002,yes",
        "season/2024-05-02_1.png,W-0002,new 1",
        "season/2024-05-03_2.png,W-0002,new 1",
        "season/2024-05-04_3.png,W-0002,",
    )
    shown = kitbox(
        workspace, "catalogue", "add", path, "--pattern", "W-{number:04d}", "--place", "Bay"
    ).stderr
    assert shown.splitlines() == [
        "not confirmed, and not added: 1 photograph",
        "change 1, add 'W-0002' and 1 more: 3 photographs; 'kitbox catalogue undo' takes it back",
        "new individual: W-0003",
    ]
    rows = {row.image: row for row in catalogue_list.load(workspace.catalogue)}
    added = rows["season/2024-05-02_1.png"]
    assert (added.individual, added.date, added.place) == ("W-0003", "2024-05-02", "Bay")
    assert rows["season/2024-05-01_0.png"].individual == "W-0002"
    assert settings.load(workspace).catalogue.pattern == "W-{number:04d}"
    again = error_of(workspace, "catalogue", "add", path)
    assert again == "there is no other photograph to add"


def test_decisions_of_the_desk_are_added(workspace: Workspace) -> None:
    decision_file.add(
        workspace.decisions,
        Decision("same", "season/2024-05-01_0.png", "cat/W-0001/a.png", by="Ann"),
        Decision("new", "season/2024-05-02_1.png", by="Ann"),
        Decision("unsure", "season/2024-05-03_2.png", by="Ann"),
    )
    message = error_of(workspace, "catalogue", "add")
    assert message == (
        "1 new individual needs a name; give --pattern 'W-{number:04d}', or one like your names"
    )
    kitbox(workspace, "catalogue", "add", "--pattern", "W-{number:04d}", "--by", "Ann")
    found = individuals(workspace)
    assert found["season/2024-05-01_0.png"] == "W-0001"
    assert found["season/2024-05-02_1.png"] == "W-0003"
    assert "season/2024-05-03_2.png" not in found
    assert error_of(workspace, "catalogue", "add").startswith("no photograph is confirmed; fill in")


def test_a_photograph_from_anywhere_is_added_to_an_individual(
    workspace: Workspace, tmp_path: Path
) -> None:
    file = picture(tmp_path / "card" / "x.png", 1, 9)
    kitbox(workspace, "catalogue", "add", "--image", str(file), "--individual", "W-0001")
    assert individuals(workspace)["card/x.png"] == "W-0001"
    assert file.exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ["--image", "season/2024-05-01_0.png", "--individual", "W-0001", "--new"],
            "there is an individual 'W-0001' already; leave --new out to add to it",
        ),
        (
            ["--image", "season/2024-05-01_0.png", "--individual", "W-0009"],
            "'W-0009' is no individual of the catalogue; did you mean W-0002?; "
            "give --new to add a new individual",
        ),
        (
            ["--image", "cat/W-0001/a.png", "--individual", "W-0002"],
            "'cat/W-0001/a.png' is in the catalogue already, under 'W-0001'; leave it out",
        ),
        (
            ["--image", "gone.png", "--individual", "W-0001"],
            "there is no photograph gone.png; correct its name",
        ),
        (
            ["--individual", "W-0001"],
            "no --image is given; give --image FILE and --individual NAME, or --new",
        ),
        (
            [],
            "no photograph is confirmed; fill in the column confirmed, or decide in 'kitbox look'",
        ),
    ],
)
def test_what_cannot_be_added_is_one_sentence(
    workspace: Workspace, options: list[str], expected: str
) -> None:
    before = workspace.catalogue.read_text()
    assert error_of(workspace, "catalogue", "add", *options) == expected
    assert workspace.catalogue.read_text() == before


def test_copies_are_made_on_request_and_nothing_is_overwritten(
    workspace: Workspace, tmp_path: Path
) -> None:
    goal = tmp_path / "grown"
    other = picture(goal / "W-0001" / "2024-05-01_0.png", 7, 7)
    bytes_before = other.read_bytes()
    shown = kitbox(
        workspace,
        *("catalogue", "add", "--image", "season/2024-05-01_0.png", "--individual", "W-0001"),
        *("--copy-to", str(goal)),
    ).stderr
    assert shown.startswith(f"copied 1 photograph to {goal}\n")
    assert other.read_bytes() == bytes_before
    copy = goal / "W-0001" / "2024-05-01_0-2.png"
    original = tmp_path / "season" / "2024-05-01_0.png"
    assert copy.read_bytes() == original.read_bytes()
    assert individuals(workspace)["grown/W-0001/2024-05-01_0-2.png"] == "W-0001"


def test_individuals_are_renamed_merged_split_and_all_is_taken_back(workspace: Workspace) -> None:
    before = workspace.catalogue.read_text()
    kitbox(workspace, "catalogue", "rename", "W-0001", "Ann", "--by", "Bo")
    kitbox(workspace, "catalogue", "merge", "W-0002", "Ann", "--by", "Bo")
    kitbox(workspace, "catalogue", "split", "Ann", "c.png", "b.png", "--into", "W-0002")
    assert individuals(workspace) == {
        "cat/W-0001/a.png": "Ann",
        "cat/W-0001/b.png": "W-0002",
        "cat/W-0002/c.png": "W-0002",
    }
    lines = kitbox(workspace, "catalogue", "history").stdout.splitlines()
    assert [line.split("change ")[1].strip() for line in lines[-3:]] == [
        "1, rename 'W-0001' → 'Ann': 2 photographs",
        "2, merge 'W-0002' → 'Ann': 1 photograph",
        "3, split 'Ann' → 'W-0002': 2 photographs",
    ]
    for _ in range(3):
        kitbox(workspace, "catalogue", "undo")
    assert workspace.catalogue.read_text() == before
    assert error_of(workspace, "catalogue", "undo").startswith("there is no change")


def test_a_name_that_exists_is_refused(workspace: Workspace) -> None:
    assert error_of(workspace, "catalogue", "rename", "W-0001", "W-0002") == (
        "there is an individual 'W-0002' already; "
        '\'kitbox catalogue merge "W-0001" "W-0002"\' makes them one'
    )


def test_individuals_are_listed_with_photographs_encounters_and_dates(
    workspace: Workspace,
) -> None:
    kitbox(
        workspace,
        *("catalogue", "add", "--individual", "W-0002"),
        *("--image", "season/2024-05-01_0.png", "--image", "season/2024-05-03_2.png"),
    )
    shown = kitbox(workspace, "catalogue", "list")
    assert shown.stdout.split("\n")[-2].split() == ["W-0002", "3", "2", "2024-05-01", "2024-05-03"]
    assert shown.stderr == ("2 individuals, 5 photographs; 3 without a day count as no encounter\n")
    assert json.loads(kitbox(workspace, "catalogue", "list", "--json").stdout)[0] == {
        "individual": "W-0001",
        "photographs": 2,
        "encounters": 0,
        "first": "",
        "last": "",
    }


def test_a_workspace_without_a_catalogue_is_told_how_to_get_one(workspace: Workspace) -> None:
    workspace.catalogue.unlink()
    for arguments in (("list",), ("add",), ("undo",), ("rename", "a", "b")):
        result = invoke(workspace, "catalogue", *arguments)
        assert str(result.exception) == (
            f"{workspace.root} has no catalogue; "
            "'kitbox identify PHOTOGRAPHS --catalogue FOLDER' makes one"
        )


def test_the_catalogue_is_exported_for_other_programs(workspace: Workspace, tmp_path: Path) -> None:
    kitbox(
        workspace,
        *("catalogue", "add", "--individual", "W-0002", "--place", "Bay"),
        *("--image", "season/2024-05-01_0.png", "--image", "season/2024-05-03_2.png"),
    )
    goal = tmp_path / "out"
    shown = kitbox(workspace, "catalogue", "export", str(goal / "e.csv")).stderr
    assert shown == (
        f"left out: 3 photographs without an encounter or a day\n{goal / 'e.csv'}: 2 rows\n"
    )
    kitbox(workspace, "catalogue", "export", str(goal / "h.inp"))
    assert (goal / "h.inp").read_text() == "/* occasions: 2024 */\n/* W-0002 */ 1 1;\n"
    for kind, files in (
        ("photographs", ["p"]),
        ("capture-history", ["c"]),
        ("wildbook", ["w"]),
        ("camtrap-dp", ["d/media.csv", "d/datapackage.json"]),
    ):
        path = goal / files[0].split("/")[0]
        kitbox(
            workspace,
            *("catalogue", "export", str(path), "--format", kind, "--species", "Lynx lynx"),
        )
        assert all((goal / file).is_file() for file in files)


def test_an_empty_catalogue_is_not_exported(workspace: Workspace, tmp_path: Path) -> None:
    catalogue_list.save(workspace.catalogue, [])
    message = error_of(workspace, "catalogue", "export", str(tmp_path / "e.csv"))
    assert message == "the catalogue is empty; add photographs of individuals"


def test_an_animal_of_several_in_a_photograph_is_added(
    workspace: Workspace, tmp_path: Path
) -> None:
    kitbox(
        workspace,
        *("catalogue", "add", "--individual", "W-0002", "--copy-to", str(tmp_path / "grown")),
        *("--image", "season/2024-05-01_0.png#2"),
    )
    rows = {row.image: row for row in catalogue_list.load(workspace.catalogue)}
    added = rows["season/2024-05-01_0.png#2"]
    assert (added.individual, added.date) == ("W-0002", "2024-05-01")
    assert (tmp_path / "grown" / "W-0002" / "2024-05-01_0.png").is_file()


@pytest.mark.parametrize("name", ["catalogue.csv", "../whales.csv", "photographs.csv"])
def test_an_export_replaces_no_list_of_anybody(workspace: Workspace, name: str) -> None:
    file = workspace.root / name
    if not file.exists():
        file.write_text("image,name\na.jpg,Ann\n")
    before = file.read_bytes()
    for kind in ("encounters", "photographs", "capture-history"):
        assert error_of(workspace, "catalogue", "export", str(file), "--format", kind).endswith(
            ("is not for exports; name another file", "name another file, or remove that one")
        )
    assert file.read_bytes() == before


def test_an_export_is_written_anew_but_not_what_was_filled_in(
    workspace: Workspace, tmp_path: Path
) -> None:
    export = ("catalogue", "export", str(tmp_path / "e.csv"), "--format", "photographs")
    kitbox(workspace, *export)
    kitbox(workspace, "catalogue", "rename", "W-0001", "Ann")
    kitbox(workspace, *export)
    assert "Ann" in (tmp_path / "e.csv").read_text()
    kitbox(
        workspace,
        *("catalogue", "add", "--image", "season/2024-05-01_0.png", "--individual", "Ann"),
    )
    package = ("catalogue", "export", str(tmp_path / "dp"), "--format", "camtrap-dp")
    kitbox(workspace, *package)
    kitbox(workspace, *package)
    filled = tmp_path / "dp" / "datapackage.json"
    filled.write_text(filled.read_text().replace('"contributors": []', '"contributors": [{}]'))
    assert error_of(workspace, *package).startswith(f"{filled} is there, and is not what")


def test_an_added_photograph_is_in_one_list_and_after_undo_in_the_other(
    workspace: Workspace, tmp_path: Path
) -> None:
    workspace.settings.write_text(
        TOML.replace("test_folder", 'test_list = "../photographs.csv"\ntest_folder').replace(
            "[task]", 'image_column = "image"\n[task]'
        )
    )
    workspace.queries.write_text("image\nseason/2024-05-01_0.png\nseason/2024-05-02_1.png\n")
    kitbox(
        workspace,
        *("catalogue", "add", "--image", "season/2024-05-01_0.png", "--individual", "W-0001"),
        *("--copy-to", str(tmp_path / "grown")),
    )
    assert workspace.queries.read_text() == "image\nseason/2024-05-02_1.png\n"
    kitbox(workspace, "catalogue", "undo")
    assert workspace.queries.read_text() == (
        "image\nseason/2024-05-01_0.png\nseason/2024-05-02_1.png\n"
    )
    assert len(individuals(workspace)) == 3


def test_a_users_own_list_of_the_test_is_left_alone_and_named(workspace: Workspace) -> None:
    workspace.settings.write_text(
        TOML.replace("test_folder", 'test_list = "../mine.csv"\ntest_folder').replace(
            "[task]", 'image_column = "image"\n[task]'
        )
    )
    mine = workspace.root / "mine.csv"
    mine.write_text("image;note\nseason/2024-05-01_0.png;x\n")
    before = mine.read_bytes()
    shown = kitbox(
        workspace,
        *("catalogue", "add", "--image", "season/2024-05-01_0.png", "--individual", "W-0001"),
    ).stderr
    assert shown.splitlines()[-1] == (
        "mine.csv still has 'season/2024-05-01_0.png', which is in the catalogue now; "
        "take it out there, as it would be a query and its own match"
    )
    assert mine.read_bytes() == before


def test_a_decision_about_a_photograph_that_is_gone_stops_no_other(
    workspace: Workspace, tmp_path: Path
) -> None:
    decision_file.add(
        workspace.decisions,
        Decision("same", "season/2024-05-01_0.png", "cat/W-0001/a.png", by="Ann"),
        Decision("same", "season/2024-05-02_1.png", "cat/W-0001/a.png", by="Ann"),
    )
    (tmp_path / "season" / "2024-05-01_0.png").unlink()
    shown = kitbox(workspace, "catalogue", "add").stderr
    assert shown.splitlines()[0] == (
        "left out: 'season/2024-05-01_0.png' of decisions.csv is gone; put it back, and add again"
    )
    assert individuals(workspace)["season/2024-05-02_1.png"] == "W-0001"
    assert "season/2024-05-01_0.png" not in individuals(workspace)


def test_a_pattern_whose_names_are_those_that_there_are_in_other_signs_is_refused(
    workspace: Workspace,
) -> None:
    path = confirm(workspace, "season/2024-05-01_0.png,W-0002,new")
    assert error_of(workspace, "catalogue", "add", path, "--pattern", "W{number}") == (
        "there is an individual 'W-0001', which differs from 'W1' in signs only; "
        "use 'W-0001', or another name"
    )
    assert settings.load(workspace).catalogue.pattern is None


def test_a_date_typed_into_the_catalogue_is_in_the_holdout_of_the_next_command(
    workspace: Workspace,
) -> None:
    text = workspace.catalogue.read_text().replace("W-0002,", "W-0002,3 July 2019", 1)
    workspace.catalogue.write_text(text)
    terminal.open_workspace(workspace.root)
    assert workspace.catalogue.read_text().splitlines()[-1] == (
        "cat/W-0002/c.png,W-0002,2019-07-03,,,,2019-07-03"
    )


def test_a_list_is_added_without_what_is_gone_unreadable_or_there(
    workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "season" / "2024-05-03_2.png").write_bytes(b"no picture")
    path = confirm(
        workspace,
        "season/gone.png,W-0002,yes",
        "season/2024-05-01_0.png,W-0002,yes",
        "cat/W-0001/a.png,W-0001,yes",
        "cat/W-0001/b.png,W-0002,yes",
        "season/2024-05-03_2.png,W-0002,new",
    )
    shown = kitbox(workspace, "catalogue", "add", path).stderr.splitlines()
    assert shown[:3] == [
        "left out: 'season/gone.png' of identified.csv is gone; put it back, and add again",
        "in the catalogue already: 1 photograph",
        "left out: 'cat/W-0001/b.png' is in the catalogue as 'W-0001', not 'W-0002'; "
        "'kitbox catalogue split' gives it to another individual",
    ]
    assert shown[3].startswith("left out: ")
    assert "2024-05-03_2.png" in shown[3]
    assert shown[4].startswith("change 1, add 'W-0002': 1 photograph")
    assert error_of(workspace, "catalogue", "add", path) == "there is no other photograph to add"
    assert len(individuals(workspace)) == 4


def test_what_was_typed_of_an_addition_comes_back_with_the_next_one(workspace: Workspace) -> None:
    workspace.queries.write_text(
        "image,date,place,side,encounter\nseason/2024-05-01_0.png,,Bay,left,\n"
    )
    path = confirm(workspace, "season/2024-05-01_0.png,W-0002,yes")
    kitbox(workspace, "catalogue", "add", path, "--place", "Fjord")
    row = catalogue_list.load(workspace.catalogue)[-1]
    assert (row.place, row.side, row.date) == ("Bay", "left", "2024-05-01")
    text = workspace.catalogue.read_text().replace("2024-05-01,Bay", "2024-05-09,Cape")
    workspace.catalogue.write_text(text)
    shown = kitbox(workspace, "catalogue", "undo").stderr
    assert shown == "change 2, undo 1 'W-0002': 1 photograph\n"
    kitbox(workspace, "catalogue", "add", path)
    row = catalogue_list.load(workspace.catalogue)[-1]
    assert (row.place, row.side, row.date) == ("Cape", "left", "2024-05-09")
