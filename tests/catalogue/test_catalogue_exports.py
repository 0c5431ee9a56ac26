"""The catalogue as other programs read it."""

from pathlib import Path

import pytest

from kitbox.catalogue import catalogue_exports, wildbook_sheet
from kitbox.catalogue.catalogue_list import CatalogueRow
from kitbox.errors import KitboxError
from tests.catalogue.exported_rows import ROWS, cells


def test_encounters_have_a_row_each_with_their_photographs(tmp_path: Path) -> None:
    written = catalogue_exports.write_encounters(ROWS, tmp_path / "e.csv")
    assert cells(tmp_path / "e.csv") == [
        ["individual", "encounter", "date", "place", "sides", "photographs", "images"],
        ["'=B", "E7", "2021-02-01", "", "", "1", "c/b1.jpg"],
        *[
            ["A", "A 2019-07-03 Bay", "2019-07-03", "Bay", "right; left", "2", "c/a2.jpg;c/a1.jpg"],
            ["A", "A 2021-12-30 Bay", "2021-12-30", "Bay", "", "1", "c/a3.jpg"],
        ],
    ]
    assert written.rows == 3
    assert written.notes == ("left out: 2 photographs without an encounter or a day",)


def test_a_year_alone_is_no_encounter_of_a_day_and_counts_for_a_season(tmp_path: Path) -> None:
    rows = [CatalogueRow(f"c/{n}.jpg", "A", date) for n, date in enumerate(("2021", "2021-07"))]
    written = catalogue_exports.write_encounters(rows, tmp_path / "e.csv")
    assert (written.rows, len(cells(tmp_path / "e.csv"))) == (0, 1)
    assert catalogue_exports.capture_history(rows).seen == ((1,),)


def test_an_encounter_of_a_list_has_the_first_day_that_any_of_its_photographs_has(
    tmp_path: Path,
) -> None:
    rows = [
        CatalogueRow("c/a.jpg", "A", "2019", "", "", "E7"),
        CatalogueRow("c/b.jpg", "A", "2019-07-04", "Bay", "", "E7"),
        CatalogueRow("c/d.jpg", "A", "", "", "", "E7"),
    ]
    catalogue_exports.write_encounters(rows, tmp_path / "e.csv")
    assert cells(tmp_path / "e.csv")[1][:4] == ["A", "E7", "2019-07-04", "Bay"]
    written = wildbook_sheet.write_wildbook(rows, tmp_path / "w.csv", "Lynx lynx")
    assert cells(tmp_path / "w.csv")[1][3:7] == ["2019", "7", "4", "Bay"]
    assert written.notes == ()


def test_photographs_have_a_row_each(tmp_path: Path) -> None:
    written = catalogue_exports.write_photographs(ROWS, tmp_path / "p.csv")
    assert written.rows == 6
    assert written.notes == ()
    assert cells(tmp_path / "p.csv")[-1] == ["C", "c/c1.jpg", "", "", "", ""]


def test_a_capture_history_has_all_seasons_between_the_first_and_the_last(tmp_path: Path) -> None:
    history = catalogue_exports.capture_history(ROWS)
    assert history.individuals == ("=B", "A")
    assert history.seasons == ("2019", "2020", "2021")
    assert history.seen == ((0, 0, 1), (1, 0, 1))
    assert history.notes == (
        "left out: 1 photograph without a date for a season",
        "left out: 1 individual without such a photograph, as 'C'",
        "no photograph is of 2020; where nobody looked for animals, that is no occasion: "
        "fix its capture probability to 0",
    )
    catalogue_exports.write_capture_history(history, tmp_path / "h.csv")
    assert cells(tmp_path / "h.csv")[1:] == [["'=B", "0", "0", "1"], ["A", "1", "0", "1"]]


def test_marks_format_has_a_history_and_a_frequency(tmp_path: Path) -> None:
    history = catalogue_exports.capture_history(ROWS)
    catalogue_exports.write_capture_history(history, tmp_path / "h.inp")
    assert (tmp_path / "h.inp").read_text() == (
        "/* occasions: 2019, 2020, 2021 */\n/* =B */ 001 1;\n/* A */ 101 1;\n"
    )


def test_seasons_may_begin_in_another_month() -> None:
    history = catalogue_exports.capture_history(ROWS, season_start=11)
    # July 2019 is of 2018/19, February 2021 of 2020/21, December 2021 of 2021/22
    assert history.seasons == ("2018/19", "2019/20", "2020/21", "2021/22")
    assert history.seen == ((0, 0, 1, 0), (1, 0, 0, 1))
    assert history.notes[0] == "left out: 2 photographs without a date for a season"


def test_a_history_without_dates_is_refused() -> None:
    with pytest.raises(KitboxError, match="no photograph of the catalogue has a date"):
        catalogue_exports.capture_history([CatalogueRow("a", "A")])
