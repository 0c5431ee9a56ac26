"""Counts of lists and folders, with an example of each kind of finding."""

from pathlib import Path

from kitbox.competition import lists, presets, settings
from kitbox.dataset import data_check
from kitbox.dataset.inventory import inventory_lines
from kitbox.workspace import Workspace
from tests.photographs import finish, picture


def lines(tmp_path: Path, preset: str, **columns: str) -> list[str]:
    competition = presets.init(Workspace(tmp_path / "w"), preset, tmp_path / "sea", columns=columns)
    return list(inventory_lines(lists.survey(competition), competition))


def test_rows_files_individuals_and_what_is_left_out_are_counted(tmp_path: Path) -> None:
    sea = tmp_path / "sea"
    for name in ("a.png", "b.png", "c.png", "d.png", "q.png"):
        picture(sea / "photos" / name, 0, 0, (8, 8))
    (sea / "seals.csv").write_text("file,who\na.png,Ann\nb.png,Bob\nx.png,Bob\ny.png,Bob\n")
    (sea / "queries.csv").write_text("file\nq.png\n")
    assert lines(tmp_path, "csv", train_list="seals.csv", test_list="queries.csv") == [
        "labelled images: seals.csv has 4 rows; found 2 in photos; 2 individuals",
        "test images: queries.csv has 1 row; found 1 in photos",
        "missing: 2, as seals.csv line 4: image 'x.png' is not in the data folder; correct the row "
        "or remove it",
        "unlisted: 2 images that no row names, as photos/c.png",
    ]


def test_folders_of_individuals_are_counted(tmp_path: Path) -> None:
    for who in ("Ann", "Bob", "Cat", "Dan", "Eve"):
        for n in range(1 + (who == "Dan")):
            picture(tmp_path / "sea" / "train" / who / f"{n}.png", 0, 0, (8, 8))
    picture(tmp_path / "sea" / "test" / "q.png", 0, 0, (8, 8))
    assert lines(tmp_path, "folder") == [
        "labelled images: 6 in train/Dan (2), train/Ann (1), train/Bob (1) and 2 more folders; "
        "5 individuals",
        "test images: 1 in test",
    ]


def test_listed_names_in_other_folders_are_told(tmp_path: Path) -> None:
    sea = tmp_path / "sea"
    for name in ("day0/1.png", "day0/2.png", "day1/1.png", "day2/1.png", "day2/3.png"):
        picture(sea / name, 0, 0, (8, 8))
    (sea / "seals.csv").write_text("file,who\n1.png,Ann\n2.png,Ann\n")
    what = "names of seals.csv that files outside day0 have too: 1, as day0/1.png and day1/1.png"
    found = lines(tmp_path, "csv", train_list="seals.csv", train_folder="day0")
    assert f"elsewhere: {what}" in found
    workspace = Workspace(tmp_path / "w")
    checked = finish(data_check.check(workspace, settings.load(workspace)))[1].findings
    assert [each.what for each in checked if each.kind == "elsewhere"] == [what]


def test_one_more_folder_is_one(tmp_path: Path) -> None:
    for who in ("Ann", "Bob", "Cat", "Dan"):
        picture(tmp_path / "sea" / who / "1.png", 0, 0, (8, 8))
    [line] = lines(tmp_path, "folder")
    assert line.endswith("in Ann (1), Bob (1), Cat (1) and 1 more folder; 4 individuals")


def test_photographs_beside_the_folders_of_individuals_are_told_once(tmp_path: Path) -> None:
    for name in ("Ann/1.png", "Bob/1.png", "loose.png"):
        picture(tmp_path / "sea" / name, 0, 0, (8, 8))
    found = lines(tmp_path, "folder")
    assert found[1:] == [
        "left alone: 1 photograph beside the individuals' folders (.png 1) in .; "
        "move each into the folder of its individual"
    ]
    workspace = Workspace(tmp_path / "w")
    checked = finish(data_check.check(workspace, settings.load(workspace)))[1].findings
    assert [each.kind for each in checked if "loose" in each.where] == ["left-alone"]


def test_photographs_outside_the_folders_of_the_settings_are_told(tmp_path: Path) -> None:
    names = ("train/Ann/1.png", "train/Bob/1.png", "test/q.png", "catalogue/Ann/2.png", "x.png")
    for name in (*names, "catalogue/Bob/3.jpg", ".thumbs/1.png"):
        picture(tmp_path / "sea" / name, 0, 0, (8, 8))
    sentence = (
        "3 photographs outside the folders that kitbox.toml names (.png 2, .jpg 1) in "
        "catalogue/Ann, catalogue/Bob, .; move into one of these what should be read"
    )
    assert lines(tmp_path, "folder")[2:] == [f"left alone: {sentence}"]
    workspace = Workspace(tmp_path / "w")
    checked = finish(data_check.check(workspace, settings.load(workspace)))[1].findings
    found = [each for each in checked if each.kind == "left-alone" and ".thumbs" not in each.where]
    assert {each.where for each in found} == {"x.png", "catalogue/Ann/2.png", "catalogue/Bob/3.jpg"}


def test_photographs_without_individuals_are_not_called_labelled(tmp_path: Path) -> None:
    for name in ("train/1.png", "train/2.png", "test/q.png"):
        picture(tmp_path / "sea" / name, 0, 0, (8, 8))
    assert lines(tmp_path, "folder")[0] == "images without labels: 2 in train"


def test_an_individual_has_one_label_in_all_seasons(tmp_path: Path) -> None:
    for name in (
        "2019/Ann/1.png",
        "2019/Bob/1.png",
        "2020-05-01/Ann/1.png",
        "2020-05-01/Bob/1.png",
    ):
        picture(tmp_path / "sea" / name, 0, 0, (8, 8))
    found = lines(tmp_path, "folder", individual_level="2")
    assert found[0].endswith("; 2 individuals")
    assert found[1:] == [
        "folders of dates are no part of a label: photographs in 2019/Ann show 'Ann'"
    ]
    labelled = lists.survey(settings.load(Workspace(tmp_path / "w"))).labelled
    assert labelled is not None
    assert dict(zip(labelled.image_ids.tolist(), labelled.labels.tolist(), strict=True)) == {
        name: who
        for who in ("Ann", "Bob")
        for name in (f"2019/{who}/1.png", f"2020-05-01/{who}/1.png")
    }


def test_folders_of_species_are_part_of_a_label(tmp_path: Path) -> None:
    for name in ("fin/A1/1.png", "blue/A1/1.png", "blue/2019/1.png"):
        picture(tmp_path / "sea" / name, 0, 0, (8, 8))
    found = lines(tmp_path, "folder", individual_level="2")
    assert found == ["labelled images: 3 in blue/2019 (1), blue/A1 (1), fin/A1 (1); 3 individuals"]
