"""catalogue.csv: its rows, and which of them are refused."""

from pathlib import Path

import pytest

from kitbox.catalogue import catalogue_list
from kitbox.catalogue.catalogue_list import CatalogueRow
from kitbox.errors import KitboxError
from kitbox.workspace import Workspace


def test_a_saved_catalogue_is_loaded_as_it_was(tmp_path: Path) -> None:
    rows = (
        CatalogueRow("cat/a.jpg", "W-1", "2019-07-03T10:11:12", "Bay, north", "left", "e 1"),
        CatalogueRow("cat/b.jpg", "Åse", "2019"),
        CatalogueRow("cat/c.jpg", "'quoted'"),
    )
    catalogue_list.save(tmp_path / "catalogue.csv", rows)
    assert catalogue_list.load(tmp_path / "catalogue.csv") == rows
    assert [row.day for row in rows] == ["2019-07-03", "2019", ""]


@pytest.mark.parametrize("name", ["=1+1", "+12", "-12", "@home", "'=x", "''-"])
def test_a_name_that_a_spreadsheet_would_compute_is_harmless_and_stays(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / "catalogue.csv"
    catalogue_list.save(path, [CatalogueRow("cat/a.jpg", name)])
    assert f",'{name}," in path.read_text()
    assert catalogue_list.load(path) == (CatalogueRow("cat/a.jpg", name),)


def test_a_missing_catalogue_has_no_rows(tmp_path: Path) -> None:
    assert catalogue_list.load(tmp_path / "catalogue.csv") == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,W1\na,W2\n", " line 3: image 'a' is on line 2 too; remove one of the rows"),
        ("a,W1\nb,\n", " line 3: the row has no individual; complete or remove it"),
        (",W1\n", " line 2: the row has no image; complete or remove it"),
    ],
)
def test_a_faulty_row_is_named_by_its_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "catalogue.csv"
    path.write_text(f"image,individual\n{text}")
    with pytest.raises(KitboxError) as caught:
        catalogue_list.load(path)
    assert str(caught.value) == f"{path}{expected}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3.7.2019", "2019-07-03"),
        ("25/7/2019", "2019-07-25"),
        ("2019:07:03 10:11:12", "2019-07-03T10:11:12"),
        ("3 July 2019", "2019-07-03"),
        ("2019-07", "2019-07"),
        ("2019", "2019"),
    ],
)
def test_a_date_typed_by_hand_is_read(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "catalogue.csv"
    path.write_text(f"image,individual,date\na,W1,{text}\n")
    assert [row.date for row in catalogue_list.load(path)] == [expected]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("03/07/2019", "may have day and month in either order"),
        ("2019-02-30", "cannot be read"),
        ("Jul-19", "cannot be read"),
        ("43649", "cannot be read"),
    ],
)
def test_a_date_that_is_not_clear_is_named_by_its_line(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "catalogue.csv"
    path.write_text(f"image,individual,date\na,W1,2019\nb,W1,{text}\n")
    with pytest.raises(KitboxError) as caught:
        catalogue_list.load(path)
    assert str(caught.value) == f"{path} line 3: the date '{text}' {why}; write it as 2019-07-03"


def test_the_column_of_the_holdout_has_encounters_and_whole_days(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.csv"
    path.write_text("image,individual,date,encounter\na,W1,3.7.2019,\nb,W1,2019,\nc,W1,2019,e 1\n")
    rows = catalogue_list.load(path)
    catalogue_list.update(path, rows)
    assert [line.split(",")[-1] for line in path.read_text().splitlines()] == [
        *("encounter_or_day", "2019-07-03", "", "e 1"),
    ]
    before = path.stat().st_ino
    catalogue_list.update(path, rows)
    assert path.stat().st_ino == before
    path.write_text(path.read_text().replace("2019-07-03,,,,", "2019-07-04,,,,"))
    catalogue_list.update(path, catalogue_list.load(path))
    assert path.read_text().count("2019-07-04") == 2


def test_a_repeated_image_is_not_saved(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.csv"
    with pytest.raises(KitboxError, match="image 'a' is twice in the catalogue; remove one"):
        catalogue_list.save(path, [CatalogueRow("a", "W1"), CatalogueRow("a", "W2")])
    assert not path.exists()


def test_a_typed_date_reaches_the_holdout_with_the_next_command(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    catalogue_list.refresh(workspace)
    assert not workspace.catalogue.exists()
    catalogue_list.save(workspace.catalogue, [CatalogueRow("a", "W1"), CatalogueRow("b", "W1")])
    text = workspace.catalogue.read_text()
    catalogue_list.refresh(workspace)
    assert workspace.catalogue.read_text() == text
    # as a spreadsheet saves it
    typed = text.replace("a,W1,", "a,W1,3.7.2019").replace(",", ";").replace("\n", "\r\n")
    workspace.catalogue.write_text("\ufeff" + typed + ";;;;;;\r\n", newline="")
    catalogue_list.refresh(workspace)
    assert workspace.catalogue.read_text().splitlines()[1:] == [
        *("a,W1,2019-07-03,,,,2019-07-03", "b,W1,,,,,"),
    ]
    own = "image,individual\na,W1\n"
    workspace.catalogue.write_text(own)
    catalogue_list.refresh(workspace)
    assert workspace.catalogue.read_text() == own


def test_columns_that_people_added_stay_with_their_images(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.csv"
    path.write_text("sex,individual,image,note\nf,W1,a,=old scar\n,W1,b,\n")
    first, second = catalogue_list.load(path)
    catalogue_list.save(path, [second, CatalogueRow("c", "W2"), first])
    assert path.read_text().splitlines() == [
        "image,individual,date,place,side,encounter,encounter_or_day,sex,note",
        *("b,W1,,,,,,,", "c,W2,,,,,,,", "a,W1,,,,,,f,'=old scar"),
    ]


def test_another_date_of_the_column_shows_which_number_is_the_day(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.csv"
    path.write_text("image,individual,date\na,W1,7/3/2019\nb,W1,7/25/2019\nc,W1,2018\n")
    assert [row.date for row in catalogue_list.load(path)] == ["2019-07-03", "2019-07-25", "2018"]


def test_photographs_of_a_day_and_place_are_one_encounter() -> None:
    rows = [
        CatalogueRow("a", "W1", "2019-07-03T10:11:12", "bay"),
        CatalogueRow("b", "W1", "2019-07-03", "bay"),
        CatalogueRow("c", "W1", "2019-07-03"),
        CatalogueRow("d", "W1"),
        CatalogueRow("e", "W1", "2019-07-03", "cape"),
        CatalogueRow("f", "W1", "2019-07-05", "bay", encounter="7"),
        CatalogueRow("g", "W1", "2019-07-05"),
        CatalogueRow("h", "W1", "2019-07"),
    ]
    found = [row.encounter for row in catalogue_list.with_encounters(rows)]
    # c may be of either place, and so all of that day are one
    day = "W1 2019-07-03 bay cape"
    assert found == [day, day, day, "", day, "7", "7", ""]
