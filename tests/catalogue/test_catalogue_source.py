"""Catalogues of users: folders and lists, their messy names, dates and files."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from kitbox.catalogue import catalogue_source, photograph_folders
from kitbox.catalogue.catalogue_list import CatalogueRow
from kitbox.catalogue.catalogue_source import CatalogueOptions, CatalogueReading
from kitbox.errors import KitboxError


def photograph(path: Path, *, taken: str = "", colour: int | None = None) -> Path:
    """Save a small JPEG, by default of a colour of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shade = hash_of(path.name) if colour is None else colour
    exif = Image.Exif()
    if taken:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = taken
    Image.new("RGB", (8, 8), (shade, 255 - shade, shade // 2)).save(path, exif=exif)
    return path


def hash_of(name: str) -> int:
    return sum(map(ord, name)) % 256


def folders(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        photograph(root / name, colour=number * 5)
    return root


def table(root: Path, text: str, *images: str) -> Path:
    folders(root, *images)
    (root / "list.csv").write_text(text, encoding="utf-8")
    return root / "list.csv"


def found(reading: CatalogueReading, kind: str) -> list[str]:
    return [str(finding) for finding in reading.findings if finding.kind == kind]


def individuals(reading: CatalogueReading) -> dict[str, str]:
    return {row.image: row.individual for row in reading.rows}


def refusal(source: Path, options: CatalogueOptions | None = None) -> str:
    with pytest.raises(KitboxError) as caught:
        catalogue_source.read(source, options)
    return str(caught.value)


def test_a_folder_per_individual_is_read_with_dates_of_exif_and_of_names(tmp_path: Path) -> None:
    photograph(tmp_path / "W-1" / "a.jpg", taken="2019:07:03 10:11:12")
    photograph(tmp_path / "W-1" / "2020-01-02 left.jpg")
    photograph(tmp_path / "W-2" / "c.jpg")
    reading = catalogue_source.read(tmp_path)
    assert reading.rows == (
        CatalogueRow("W-1/2020-01-02 left.jpg", "W-1", "2020-01-02", side="left"),
        CatalogueRow("W-1/a.jpg", "W-1", "2019-07-03T10:11:12"),
        CatalogueRow("W-2/c.jpg", "W-2"),
    )
    assert reading.dates == {"EXIF": 1, "name": 1, "none": 1}
    assert reading.findings == ()


def test_rows_get_the_names_that_images_have_in_a_workspace(tmp_path: Path) -> None:
    source, root = folders(tmp_path / "cat", "W-1/a.jpg"), tmp_path / "photographs"
    reading = catalogue_source.read(source)
    photograph_folders.link(root, reading.folder)
    names = photograph_folders.names_of(root, reading.folder, reading.files)
    assert reading.renamed(names) == [CatalogueRow("cat/W-1/a.jpg", "W-1")]


def test_an_individual_has_one_label_in_all_seasons(tmp_path: Path) -> None:
    folders(tmp_path, "2019/A12/x.jpg", "2020/A12/y.jpg", "2020/B3/z.jpg")
    reading = catalogue_source.read(tmp_path)
    assert individuals(reading) == {
        "2019/A12/x.jpg": "A12",
        "2020/A12/y.jpg": "A12",
        "2020/B3/z.jpg": "B3",
    }
    assert [row.date for row in reading.rows] == ["2019", "2020", "2020"]


def test_folders_of_dates_with_sides_in_them_are_no_individuals(tmp_path: Path) -> None:
    folders(tmp_path, "2019/left/x.jpg", "2020/right/y.jpg")
    assert "the folders of photographs are named like dates, as '2019'" in refusal(tmp_path)


def test_species_above_individuals_need_a_word_of_the_user(tmp_path: Path) -> None:
    folders(tmp_path, "orca/W1/x.jpg", "minke/W1/y.jpg")
    assert refusal(tmp_path) == (
        f"which folders of {tmp_path} are individuals is not clear: the photographs are two "
        "folders deep, as in 'minke/W1'; say how deep they are with --individual-level 1 or 2, "
        "or name the catalogue's own folder"
    )
    reading = catalogue_source.read(tmp_path, CatalogueOptions(individual_level=2))
    assert set(individuals(reading).values()) == {"orca/W1", "minke/W1"}
    reading = catalogue_source.read(tmp_path, CatalogueOptions(individual_level=1))
    assert set(individuals(reading).values()) == {"orca", "minke"}


def test_names_that_may_be_one_individuals_are_found_and_not_merged(tmp_path: Path) -> None:
    folders(
        *(tmp_path, "W-12/a.jpg", "W-12/b.jpg", "W12/c.jpg", "w_012 (2)/d.jpg"),
        *("W1-2/e.jpg", "W13/f.jpg"),
    )
    reading = catalogue_source.read(tmp_path)
    assert found(reading, "names-alike") == [
        "'W-12' (2 photographs), 'W12' (1 photograph) and 'w_012 (2)' (1 photograph) may be one "
        'individual; if so, \'kitbox catalogue merge "W12" "W-12"\' makes them one'
    ]
    assert set(individuals(reading).values()) == {"W-12", "W12", "w_012 (2)", "W1-2", "W13"}


def test_blanks_around_a_name_are_left_out_and_told(tmp_path: Path) -> None:
    path = table(tmp_path, "image,id\na.jpg,W1\nb.jpg, W1 \n", "a.jpg", "b.jpg")
    reading = catalogue_source.read(path)
    assert individuals(reading) == {"a.jpg": "W1", "b.jpg": "W1"}
    assert found(reading, "blank") == [
        "1 photograph of ' W1 ' is read as of 'W1', without the blanks"
    ]


def test_photographs_of_nobody_are_left_out_and_counted(tmp_path: Path) -> None:
    folders(tmp_path, "W1/a.jpg", "Unknown/b.jpg", "Unknown/c.jpg")
    reading = catalogue_source.read(tmp_path)
    assert individuals(reading) == {"W1/a.jpg": "W1"}
    (finding,) = reading.findings
    assert (finding.kind, finding.left_out) == ("no-individual", 2)
    assert str(finding) == (
        "left out: 2 photographs of 'Unknown', which is no individual; "
        "give it another name if it is one"
    )


def test_the_same_photograph_under_two_individuals_is_left_out(tmp_path: Path) -> None:
    folders(tmp_path, "W1/a.jpg", "W1/b.jpg", "W2/c.jpg")
    (tmp_path / "W2" / "d.jpg").write_bytes((tmp_path / "W1" / "a.jpg").read_bytes())
    reading = catalogue_source.read(tmp_path)
    assert individuals(reading) == {"W1/b.jpg": "W1", "W2/c.jpg": "W2"}
    assert found(reading, "two-individuals") == [
        "left out: 'W1/a.jpg' is under 'W1' and under 'W2', there as 'W2/d.jpg'; "
        "remove it from one of them"
    ]


def test_a_copy_of_a_photograph_is_read_once(tmp_path: Path) -> None:
    folders(tmp_path, "W1/a.jpg", "W1/b.jpg")
    (tmp_path / "W1" / "c.jpg").write_bytes((tmp_path / "W1" / "a.jpg").read_bytes())
    reading = catalogue_source.read(tmp_path)
    assert list(individuals(reading)) == ["W1/a.jpg", "W1/b.jpg"]
    assert found(reading, "repeated") == ["'W1/c.jpg' is there as 'W1/a.jpg', and is read once"]


def test_what_cannot_be_opened_is_left_out_with_its_name(tmp_path: Path) -> None:
    folders(tmp_path, "W1/a.jpg")
    (tmp_path / "W1" / "b.jpg").write_text("no photograph")
    reading = catalogue_source.read(tmp_path)
    assert list(individuals(reading)) == ["W1/a.jpg"]
    (sentence,) = found(reading, "unreadable")
    assert sentence.startswith(f"left out: image {tmp_path / 'W1' / 'b.jpg'} ")


def test_photographs_beside_the_folders_are_left_alone_and_counted(tmp_path: Path) -> None:
    folders(tmp_path, "W1/a.jpg", "loose.jpg")
    reading = catalogue_source.read(tmp_path)
    assert list(individuals(reading)) == ["W1/a.jpg"]
    assert found(reading, "left-alone") == [
        "left alone: 1 photograph beside the individuals' folders (.jpg 1) in .; "
        "move each into the folder of its individual"
    ]


def test_folders_apart_are_no_part_of_the_catalogue(tmp_path: Path) -> None:
    folders(tmp_path, "W1/a.jpg", "season 2024/b.jpg")
    apart = CatalogueOptions(apart=[tmp_path / "season 2024"])
    assert list(individuals(catalogue_source.read(tmp_path, apart))) == ["W1/a.jpg"]


def test_a_list_is_read_by_the_usual_names_of_its_columns(tmp_path: Path) -> None:
    text = (
        "Encounter.mediaAsset0;MarkedIndividual.individualID;Encounter Date;Site;Flank;Sighting ID"
        "\nA.JPG;W1;2019-07-03;Bay;Left flank;S7\nb;W2;2019-07-04;;R;\n"
    )
    reading = catalogue_source.read(table(tmp_path, text, "in/a.jpg", "in/b.jpg"))
    assert reading.rows == (
        CatalogueRow("in/a.jpg", "W1", "2019-07-03", "Bay", "left", "S7"),
        CatalogueRow("in/b.jpg", "W2", "2019-07-04", "", "right"),
    )
    assert found(reading, "file") == ["line 2: image 'A.JPG' is read as 'in/a.jpg'; 1 more like it"]


def test_a_workbook_is_read_as_a_csv_is(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    photograph(tmp_path / "a.jpg")
    book = openpyxl.Workbook()
    book.active.append(["Photo", "Whale"])
    book.active.append(["a.jpg", 12])
    book.save(tmp_path / "list.xlsx")
    assert individuals(catalogue_source.read(tmp_path / "list.xlsx")) == {"a.jpg": "12"}


def test_photographs_of_a_list_may_lie_elsewhere_and_have_whole_paths(tmp_path: Path) -> None:
    photographs = folders(tmp_path / "photographs", "a.jpg")
    path = table(tmp_path, f"file,whale\n{photographs / 'a.jpg'},W1\n")
    reading = catalogue_source.read(path, CatalogueOptions(photographs=photographs))
    assert (reading.folder, individuals(reading)) == (photographs, {"a.jpg": "W1"})


def test_the_column_that_counts_is_told_where_two_fit(tmp_path: Path) -> None:
    path = table(tmp_path, "file,id,name\na.jpg,1,Ann\n", "a.jpg")
    reading = catalogue_source.read(path)
    assert individuals(reading) == {"a.jpg": "Ann"}
    assert found(reading, "column") == [
        "the individual is read from the column 'name', not 'id'; "
        "--column individual=NAME names another"
    ]
    given = CatalogueOptions(columns={"individual": "id"})
    assert individuals(catalogue_source.read(path, given)) == {"a.jpg": "1"}


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("a,b\n1,2\n", {}, "no column of a, b looks like an image or an individual; name them"),
        (
            "file,b\n1,2\n",
            {},
            "no column of file, b looks like an individual; name it with",
        ),
        (
            "whale,b\n1,2\n",
            {},
            "no column of whale, b looks like an image; name it with",
        ),
        ("file,whale\n1,2\n", {"place": "bai"}, "no column 'bai' among file, whale; correct its"),
    ],
)
def test_a_list_without_a_column_is_refused(
    tmp_path: Path, text: str, columns: Mapping[str, str], expected: str
) -> None:
    path = table(tmp_path, text)
    message = refusal(path, CatalogueOptions(columns=columns))
    assert message.startswith(f"{path} line 1: {expected}")


def test_rows_without_a_file_are_left_out_with_their_line(tmp_path: Path) -> None:
    path = table(tmp_path, "file,whale\na.jpg,W1\ngone.jpg,W1\n,W2\n", "a.jpg")
    reading = catalogue_source.read(path)
    assert individuals(reading) == {"a.jpg": "W1"}
    (finding,) = reading.findings
    assert finding.left_out == 2
    assert str(finding) == (
        "left out: line 3: image 'gone.jpg' is not in the data folder; "
        "correct the row or remove it; 1 more like it"
    )


def test_a_photograph_that_a_list_gives_to_two_individuals_is_left_out(tmp_path: Path) -> None:
    text = "file,whale\na.jpg,W1\na.jpg,W2\nb.jpg,W1\nb.jpg,W1\n"
    reading = catalogue_source.read(table(tmp_path, text, "a.jpg", "b.jpg"))
    assert individuals(reading) == {"b.jpg": "W1"}
    assert found(reading, "two-individuals") == [
        "left out: 'a.jpg' is under 'W1' and under 'W2'; remove it from one of them"
    ]
    assert found(reading, "repeated") == ["'b.jpg' is there again, and is read once"]


def test_dates_that_cannot_be_read_are_counted_and_shown(tmp_path: Path) -> None:
    text = "file,whale,date\na.jpg,W1,last summer\nb.jpg,W1,2019-07-03\nc.jpg,W1,\n"
    reading = catalogue_source.read(table(tmp_path, text, "a.jpg", "b.jpg", "c.jpg"))
    assert found(reading, "dates") == [
        "1 date is not read, as 'last summer' of 'a.jpg'; write them as 2019-07-03"
    ]
    assert reading.dates == {"column": 1, "none": 2}


def test_dates_in_either_order_need_a_word_of_the_user(tmp_path: Path) -> None:
    text = "file,whale,date\na.jpg,W1,3/7/2019\nb.jpg,W1,4/7/2019\n"
    path = table(tmp_path, text, "a.jpg", "b.jpg")
    assert found(catalogue_source.read(path), "dates") == [
        "2 dates like '3/7/2019' are not read, as day and month may be in either order; "
        "say which is first with --date-order"
    ]
    reading = catalogue_source.read(path, CatalogueOptions(date_order="day-first"))
    assert [row.date for row in reading.rows] == ["2019-07-03", "2019-07-04"]


def test_a_catalogue_without_photographs_is_refused_with_the_reason(tmp_path: Path) -> None:
    assert refusal(tmp_path) == (
        f"{tmp_path} has no photograph of an individual; "
        "put the photographs of each individual into a folder of its own"
    )
    folders(tmp_path, "unknown/a.jpg")
    assert refusal(tmp_path).startswith(
        f"{tmp_path} has no photograph of an individual: left out: 1 photograph of 'unknown'"
    )
    assert refusal(tmp_path / "gone") == (
        f"there is no catalogue {tmp_path / 'gone'}; name a folder or a list"
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("L", "left"),
        ("Right flank", "right"),
        ("rhs", "right"),
        ("Dorsal", "dorsal"),
        ("left and right", "left and right"),
        ("", ""),
    ],
)
def test_sides_are_written_in_one_way(given: str, expected: str) -> None:
    assert catalogue_source.side(given) == expected


def test_a_link_to_nothing_is_told(tmp_path: Path) -> None:
    folders(tmp_path, "W1/a.jpg")
    os.symlink(tmp_path / "nowhere", tmp_path / "W1" / "link.jpg")
    assert found(catalogue_source.read(tmp_path), "left-alone") == [
        "left alone: 1 link to nothing: W1/link.jpg; mend or remove it"
    ]
