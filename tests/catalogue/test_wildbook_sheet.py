"""The sheet of Wildbook's bulk import, as a CSV and as a workbook."""

from pathlib import Path

import openpyxl
import pytest

from kitbox import tables
from kitbox.catalogue import wildbook_sheet
from kitbox.catalogue.catalogue_list import CatalogueRow
from kitbox.errors import KitboxError
from tests.catalogue.exported_rows import ROWS, cells


def test_wildbooks_sheet_has_an_encounter_a_row(tmp_path: Path) -> None:
    written = wildbook_sheet.write_wildbook(ROWS, tmp_path / "w.csv", "Lynx lynx")
    assert cells(tmp_path / "w.csv") == [
        [
            *("Encounter.genus", "Encounter.specificEpithet", "MarkedIndividual.individualID"),
            *("Encounter.year", "Encounter.month", "Encounter.day", "Encounter.verbatimLocality"),
            *("Encounter.mediaAsset0", "Encounter.mediaAsset1"),
            *("Encounter.keyword0", "Encounter.keyword1"),
        ],
        ["Lynx", "lynx", "'=B", "2021", "", "", "Fjord", "b2.png", "", "", ""],
        ["Lynx", "lynx", "A", "2019", "7", "3", "Bay", "a2.jpg", "a1.jpg", "right", "left"],
        ["Lynx", "lynx", "A", "2021", "12", "30", "Bay", "a3.jpg", "", "", ""],
    ]
    assert written.notes == ("left out: 2 photographs without a year and a place",)


def test_wildbook_needs_a_species_and_names_that_differ(tmp_path: Path) -> None:
    with pytest.raises(KitboxError, match="'Lynx' is no species; write genus and epithet"):
        wildbook_sheet.write_wildbook(ROWS, tmp_path / "w.csv", "Lynx")
    again = [*ROWS, CatalogueRow("s/a1.jpg", "A", "2022-01-01", "Bay")]
    with pytest.raises(KitboxError, match=r"2 photographs are called 'a1\.jpg', and Wildbook"):
        wildbook_sheet.write_wildbook(again, tmp_path / "w.csv", "Lynx lynx")
    odd = [CatalogueRow("s/å_1.jpg", "A", "2022-01-01", "Bay")]
    written = wildbook_sheet.write_wildbook(odd, tmp_path / "w.csv", "Lynx lynx", location_ids=True)
    assert written.notes[0].startswith("Wildbook takes characters away from 'å_1.jpg'")
    assert cells(tmp_path / "w.csv")[0][6] == "Encounter.locationID"


def test_two_animals_in_a_photograph_share_its_file(tmp_path: Path) -> None:
    rows = [
        CatalogueRow("c/a.jpg#1", "A", "2019-07-03", "Bay"),
        CatalogueRow("c/a.jpg#2", "B", "2019-07-03", "Bay"),
    ]
    wildbook_sheet.write_wildbook(rows, tmp_path / "w.csv", "Lynx lynx")
    assert [row[-1] for row in cells(tmp_path / "w.csv")[1:]] == ["a.jpg", "a.jpg"]


def test_a_workbook_has_texts_and_numbers_and_no_formula(tmp_path: Path) -> None:
    path = tmp_path / "w.xlsx"
    wildbook_sheet.write_wildbook(ROWS, path, "Lynx lynx")
    sheet = openpyxl.load_workbook(path).active
    lines = list(sheet.iter_rows(values_only=True))
    assert lines[1][2:7] == ("=B", 2021, None, None, "Fjord")
    assert sheet.cell(2, 3).data_type == "s"
    assert lines[2][7:] == ("a2.jpg", "a1.jpg", "right", "left")
    # as kitbox reads any list
    assert [row["MarkedIndividual.individualID"] for _, row in tables.read_rows(path, ())] == [
        *("=B", "A", "A"),
    ]


def test_an_encounter_of_two_places_is_told(tmp_path: Path) -> None:
    rows = [
        CatalogueRow("c/a.jpg", "A", "2019-07-03", "Bay", "", "E7"),
        CatalogueRow("c/b.jpg", "A", "2019-07-03", "Cape", "", "E7"),
    ]
    written = wildbook_sheet.write_wildbook(rows, tmp_path / "w.csv", "Lynx lynx")
    assert cells(tmp_path / "w.csv")[1][6] == "Bay"
    assert written.notes == (
        "1 encounter of several places, as that of 'A' on 2019-07-03, have the first of them",
    )
