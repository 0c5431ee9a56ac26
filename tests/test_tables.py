"""Lists as people have them: Excel's CSV, workbooks, titles, second headers, long cells."""

import builtins
import re
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from kitbox import tables
from kitbox.competition import boxes
from kitbox.competition.boxes import Box
from kitbox.errors import KitboxError

COLUMNS = ("Image", "Id")
ROWS = [(2, {"Image": "a.jpg", "Id": "Ahab"}), (3, {"Image": "b.jpg", "Id": "Boo"})]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "list.csv"


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def workbook(path: Path, *rows: list[Any], formats: dict[str, str] | None = None) -> Path:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    for cell, number_format in (formats or {}).items():
        book.active[cell].number_format = number_format
    book.save(path)
    return path


def message(path: Path, columns: tuple[str, ...] = COLUMNS) -> str:
    with pytest.raises(KitboxError) as caught:
        list(tables.read_rows(path, columns))
    return str(caught.value).replace(f"{path}", path.name)


@pytest.mark.parametrize(
    "text",
    [
        "Image,Id\na.jpg,Ahab\nb.jpg,Boo\n",
        "Image;Id\na.jpg;Ahab\nb.jpg;Boo\n",
        "Image\tId\na.jpg\tAhab\nb.jpg\tBoo\n",
        "Image,Id\ra.jpg,Ahab\rb.jpg,Boo\r",
        "\ufeff\"Image\";\"Id\"\r\n\"a.jpg\";\"Ahab\"\r\n\"b.jpg\";\"Boo\"\r\n",
    ],
)  # fmt: skip
def test_commas_semicolons_and_tabs_separate_cells(path: Path, text: str) -> None:
    assert list(tables.read_rows(write(path, text), COLUMNS)) == ROWS


@pytest.mark.parametrize("first", ["sep=;", "SEP=;", '"sep=;"', "sep=;;;", "\ufeffsep=;"])
def test_excels_line_of_the_separator_is_no_row(path: Path, first: str) -> None:
    write(path, f"{first}\r\nImage;Id\r\na,1.jpg;Ahab\r\n")
    assert list(tables.read_rows(path, COLUMNS)) == [(3, {"Image": "a,1.jpg", "Id": "Ahab"})]


def test_the_header_decides_the_separator(path: Path) -> None:
    write(path, '"Image";"Name, first";Id;Note\na.jpg;Jo, Jim;Boo;"1;2"\n')
    [(_, row)] = tables.read_rows(path, COLUMNS)
    assert row == {"Image": "a.jpg", "Name, first": "Jo, Jim", "Id": "Boo", "Note": "1;2"}
    write(path, "Image\n1;2.jpg\n")
    assert list(tables.read_columns(path, ("Image",))) == [(2, ["1;2.jpg"])]


def test_rows_and_columns_without_a_value_are_no_rows(path: Path) -> None:
    write(path, ",,,\nImage,Id,,\n,,,\na.jpg,Ahab,,\n , ,,\nb.jpg,Boo\n,,,\n,,,\n")
    rows = [(line, (row["Image"], row["Id"])) for line, row in tables.read_rows(path, COLUMNS)]
    assert rows == [(4, ("a.jpg", "Ahab")), (6, ("b.jpg", "Boo"))]


def test_a_cell_may_be_longer_than_pythons_limit(path: Path) -> None:
    outline = "1 2 " * 50_000
    write(path, f'Image,Id,outline\na.jpg,Ahab,"{outline}"\n')
    [(_, row)] = tables.read_rows(path, COLUMNS)
    assert row["outline"] == outline


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Image,Id,Image\na.jpg,Ahab,b.jpg\n",
            "list.csv line 1: the column 'Image' is there 2 times, as columns 1 and 3; "
            "rename or remove all but one",
        ),
        (
            "Image,Id,seen,seen\na.jpg,Ahab,1,2\n",
            "list.csv line 1: the column 'seen' is there 2 times, as columns 3 and 4; "
            "rename or remove all but one",
        ),
        (
            "Seals of Orkney\n\nImage,Id\na.jpg,Ahab\n",
            "list.csv line 1: 'Seals of Orkney' stands alone above the 2 cells of line 3; "
            "remove a title above the header, or complete the header",
        ),
        (
            "\nSeals, 2021\nby us\nImage,Id\na.jpg,Ahab\n",
            "list.csv line 2: the header seems to be on line 4, below a title; "
            "remove what is above line 4",
        ),
        (
            "Seals of Orkney\nImage;Id\na.jpg;Ahab\n",
            "list.csv line 1: the header seems to be on line 2, below a title; "
            "remove what is above line 2",
        ),
        (
            "Image,Id\na.jpg,Ahab\nImage,Id\nb.jpg,Boo\n",
            "list.csv line 3: 'Image, Id' is a second header; remove the row",
        ),
        (
            "Image,Id,year\na.jpg,Ahab,2018\nid,image,\nBoo,b.jpg,\n",
            "list.csv line 3: 'id, image' is a second header; remove the row",
        ),
        ("Picture,Id,,\n", "list.csv line 1: no column 'Image' among Picture, Id; "
         "correct the header, or the column's name in kitbox.toml"),
        (
            "Image,Id\n".encode("utf-16"),
            "list.csv is UTF-16, as Excel's 'Unicode Text' is; "
            "save it as UTF-8, in Excel as 'CSV UTF-8'",
        ),
        (
            "Image,Id\n".encode("utf-16-be"),
            "list.csv is UTF-16, as Excel's 'Unicode Text' is; "
            "save it as UTF-8, in Excel as 'CSV UTF-8'",
        ),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            "list.csv is a workbook of an old Excel, or one with a password; "
            "save it as .xlsx without a password, or as 'CSV UTF-8'",
        ),
        (
            b"PK\x03\x04 photographs",
            "list.csv is a zip archive and not an Excel workbook that can be read; "
            "save it as .xlsx or as 'CSV UTF-8'",
        ),
    ],
)  # fmt: skip
def test_a_list_that_is_no_table_is_refused_by_line(
    path: Path, text: str | bytes, expected: str
) -> None:
    write(path, text)
    with pytest.raises(KitboxError) as caught:
        list(tables.read_rows(path, COLUMNS, optional=("seen",)))
    assert str(caught.value).replace(str(path), path.name) == expected


def test_a_column_that_nobody_asked_for_may_occur_twice(path: Path) -> None:
    write(path, "Image,Id,note,note\na.jpg,Ahab,1,2\n")
    assert len(list(tables.read_rows(path, COLUMNS))) == 1


def test_a_second_header_is_told_where_reading_goes_on(path: Path) -> None:
    write(path, "Image,Id\na.jpg,Ahab\nImage,Id\nb.jpg,Boo\n")
    told: list[tuple[int, str]] = []
    rows = list(tables.read_rows(path, COLUMNS, lambda line, what: told.append((line, what))))
    assert [line for line, _ in rows] == [2, 4]
    assert told == [(3, "'Image, Id' is a second header; remove the row")]


def test_a_folder_and_a_forbidden_file_are_named(tmp_path: Path, path: Path) -> None:
    assert message(tmp_path / "none.csv").startswith("there is no list none.csv")
    assert message(write(path, "") / "list.csv").startswith("there is no list list.csv")


def test_a_workbook_is_read_as_a_user_sees_it(tmp_path: Path) -> None:
    path = workbook(
        tmp_path / "seals.xlsx",
        ["Image", "Id", "at", 2021],
        ["a.jpg", 12, date(2022, 5, 31), 0.5],
        ["b.jpg", 12.0, datetime(2022, 5, 31, 14, 5), True],
        [None, None, None, None],
        ["c.jpg", "007", datetime(2022, 5, 31), "x"],
        ["d.jpg", 7, time(14, 5), None],
        ["e.jpg", "#N/A", None, None],
        [" ", None, None, None],
        formats={"B6": "000"},
    )
    rows = [(line, *row.values()) for line, row in tables.read_rows(path, COLUMNS)]
    assert rows == [
        (2, "a.jpg", "12", "2022-05-31", "0.5"),
        (3, "b.jpg", "12", "2022-05-31 14:05:00", "TRUE"),
        (5, "c.jpg", "007", "2022-05-31 00:00:00", "x"),
        (6, "d.jpg", "007", "14:05:00", ""),
        (7, "e.jpg", "#N/A", "", ""),
    ]
    assert tables.read_header(path) == ["Image", "Id", "at", "2021"]


def test_a_workbook_is_known_by_its_bytes_and_read_again_when_it_changes(path: Path) -> None:
    workbook(path, ["Image", "Id"], ["a.jpg", "Ahab"])
    assert tables.is_workbook(path)
    assert len(list(tables.read_rows(path, COLUMNS))) == 1
    workbook(path, ["Image", "Id"], ["a.jpg", "Ahab"], ["b.jpg", "Boo"])
    assert list(tables.read_rows(path, COLUMNS)) == ROWS


def test_empty_and_hidden_sheets_do_not_count_but_two_lists_are_refused(tmp_path: Path) -> None:
    path = workbook(tmp_path / "seals.xlsx", ["Image", "Id"], ["a.jpg", "Ahab"])
    book = openpyxl.load_workbook(path)
    book.create_sheet("Sheet2", 0)
    book.create_sheet("lookup").sheet_state = "hidden"
    book["lookup"].append(["Ahab", 1])
    book.save(path)
    assert len(list(tables.read_rows(path, COLUMNS))) == 1
    book.create_sheet("Notes").append(["of 2021"])
    book.save(path)
    assert message(path) == (
        "seals.xlsx has 2 sheets, 'Sheet' and 'Notes'; "
        "keep the one with the list, or save that one as 'CSV UTF-8'"
    )


def test_a_formula_without_its_result_is_refused(tmp_path: Path) -> None:
    path = workbook(tmp_path / "seals.xlsx", ["Image", "Id"], ["a.jpg", "Ahab"], ["b.jpg", "=B2"])
    assert message(path) == (
        "seals.xlsx line 3: the formula =B2 has no result in the file; "
        "open it in a spreadsheet and save it, or save it as 'CSV UTF-8'"
    )


def test_a_title_in_a_workbook_is_refused_by_row(tmp_path: Path) -> None:
    path = workbook(tmp_path / "seals.xlsx", ["Seals"], [], ["Image", "Id"], ["a.jpg", "Ahab"])
    assert message(path).startswith(
        "seals.xlsx line 1: 'Seals' stands alone above the 2 cells of line 3"
    )


def test_without_openpyxl_a_workbook_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = workbook(tmp_path / "seals.xlsx", ["Image", "Id"], ["a.jpg", "Ahab"])
    load = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "openpyxl":
            raise ImportError(name)
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert message(path) == (
        "seals.xlsx is an Excel workbook, which kitbox reads with openpyxl; "
        "pip install 'kitbox[xlsx]', or save it as 'CSV UTF-8'"
    )


def test_the_file_that_excel_keeps_beside_an_open_workbook_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "~$seals.xlsx", b"\x03Ann" + b" " * 161)
    assert re.search(r"not a list: Excel keeps it .*; name seals\.xlsx", message(path))


def test_a_cell_that_a_spreadsheet_would_compute_is_quoted(path: Path) -> None:
    tables.write_rows(path, [["image", "n"], ["=1+1", -1]])
    assert path.read_text() == "image,n\n'=1+1,-1\n"


@pytest.mark.parametrize("text", ['{"images": [1]}', '\ufeff\n [{"a": 1}]', "[[1, 2]]"])
def test_json_is_not_read_as_a_list(tmp_path: Path, text: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(KitboxError) as caught:
        tables.read_header(path)
    assert str(caught.value) == (
        f"{path} is JSON, not a list with columns; export it as CSV; "
        "'kitbox data boxes import' reads boxes in JSON"
    )


def test_very_many_and_very_long_column_names_are_shortened() -> None:
    assert tables.join(["a", " ", "b" * 61]) == f"a, {'b' * 60}…"
    assert tables.join([str(n) for n in range(31)]).endswith("28, 29, …")


ODD_CELLS = ["a\rb.jpg", "a\nb", "a\r\nb", 'a"b', "a,b", "\r", "a;b\tc"]


def test_a_cell_with_any_line_end_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    tables.write_rows(path, [("image", "note"), *((cell, "x") for cell in ODD_CELLS)])
    read = [image for _, (image,) in tables.read_columns(path, ("image",))]
    assert read == [tables.plain_cell(str(tables.safe_cell(cell))) for cell in ODD_CELLS]
    assert b"\r\n" not in path.read_bytes().replace(b"a\r\nb", b"")


def test_boxes_and_pseudo_labels_keep_a_name_with_a_carriage_return(tmp_path: Path) -> None:
    file = tmp_path / "boxes.csv"
    boxes.replace(file, "jo\rann", [Box("a\rb.jpg", (0, 0, 2, 2), None, "jo\rann")])
    assert boxes.read_file(file, "boxes.csv") == [Box("a\rb.jpg", (0, 0, 2, 2), None, "jo\rann")]
