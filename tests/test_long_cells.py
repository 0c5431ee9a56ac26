"""A cell of 100 kB takes milliseconds: what grows with the square of a text would not end."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kitbox import tables
from kitbox.boxes import box_formats
from kitbox.catalogue import catalogue_source, photograph_dates
from kitbox.competition import folder_scan, image_files, list_entries
from kitbox.dataset import label_checks
from kitbox.embedding import vector_tables
from kitbox.errors import did_you_mean
from kitbox.formats import csv_format
from kitbox.plugin.discovery import Terms

PARTS = (
    " ",
    "0",
    "1",
    "a",
    ":00",
    "#1",
    "(1)",
    " copy",
    "-1",
    "1a",
    "'",
    '"',
    ".0",
    "2019-",
    "/",
    "[",
)
TEXTS = [f"{start}{part * (100_000 // len(part))}{end}" for part in PARTS for start in ("", "a1")
         for end in ("", "!")]  # fmt: skip
READERS: dict[str, Callable[[str], Any]] = {
    "a zone": list_entries._has_zone,
    "a time": list_entries._moment,
    "what is wrong with a time": list_entries._time_problem,
    "nobody": label_checks.is_nobody,
    "a label": label_checks._fold,
    "the words of a name": catalogue_source._words,
    "a numbered column": vector_tables._numbered,
    "a date": photograph_dates.parse,
    "numbers": box_formats.parse_numbers,
    "a number": csv_format.parse_number,
    "an image": image_files.path_parts,
    "a folder of a date": folder_scan._DATE.fullmatch,
    "a folder of a code": folder_scan._CODE.fullmatch,
    "a formula": tables.plain_cell,
    "a misspelt word": lambda text: did_you_mean(text, [text[1:], "label"]),
}


@pytest.mark.parametrize("what", READERS)
def test_a_long_text_is_read_at_once(what: str) -> None:
    for text in TEXTS:
        READERS[what](text)


def test_a_list_with_long_cells_is_read(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    long = [text.replace('"', "'") for text in TEXTS]
    tables.write_rows(path, [("image", "label"), *(("a.jpg", text) for text in long)])
    assert [row["label"] for _, row in tables.read_rows(path, ("image", "label"))] == long


def test_the_terms_of_weights_are_read_at_once_in_a_long_docstring() -> None:
    long = "Weights: " * 20_000
    assert Terms.of(long) == Terms()
    assert Terms.of(f"{long}timm; licence MIT, by X.") == Terms("timm", "MIT")


@pytest.mark.parametrize(
    ("label", "folded"),
    [("W007", "w7"), ("w 000", "w0"), ("007.0", "7"), ("12.0", "12"), ("W0x", "w0x"), ("", "")],
)
def test_zeros_before_a_number_are_no_difference(label: str, folded: str) -> None:
    assert label_checks._fold(label) == folded


@pytest.mark.parametrize(
    ("name", "stem"), [("f12", "f"), ("12", ""), ("x[3]", "x["), ("a1b22", "a1b"), ("a", None)]
)
def test_a_numbered_column_has_its_number_at_the_end(name: str, stem: str | None) -> None:
    assert vector_tables._numbered(name) == stem
