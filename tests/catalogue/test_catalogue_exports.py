"""The catalogue as other programs read it."""

import csv
import json
from pathlib import Path

import pytest

from kitbox.catalogue import catalogue_exports
from kitbox.catalogue.catalogue_exports import Place
from kitbox.catalogue.catalogue_list import CatalogueRow
from kitbox.errors import KitboxError

ROWS = (
    CatalogueRow("c/a1.jpg", "A", "2019-07-03T10:11:12", "Bay", "left"),
    CatalogueRow("c/a2.jpg", "A", "2019-07-03", "Bay", "right"),
    CatalogueRow("c/a3.jpg", "A", "2021-12-30", "Bay"),
    CatalogueRow("c/b1.jpg", "=B", "2021-02-01", "", "", "E7"),
    CatalogueRow("c/b2.png", "=B", "2021", "Fjord"),
    CatalogueRow("c/c1.jpg", "C"),
)


def cells(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


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
    written = catalogue_exports.write_wildbook(rows, tmp_path / "w.csv", "Lynx lynx")
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


def test_wildbooks_sheet_has_an_encounter_a_row(tmp_path: Path) -> None:
    written = catalogue_exports.write_wildbook(ROWS, tmp_path / "w.csv", "Lynx lynx")
    assert cells(tmp_path / "w.csv") == [
        [
            *("Encounter.genus", "Encounter.specificEpithet", "MarkedIndividual.individualID"),
            *("Encounter.year", "Encounter.month", "Encounter.day", "Encounter.verbatimLocality"),
            *("Encounter.mediaAsset0", "Encounter.mediaAsset1"),
        ],
        ["Lynx", "lynx", "'=B", "2021", "", "", "Fjord", "b2.png", ""],
        ["Lynx", "lynx", "A", "2019", "7", "3", "Bay", "a2.jpg", "a1.jpg"],
        ["Lynx", "lynx", "A", "2021", "12", "30", "Bay", "a3.jpg", ""],
    ]
    assert written.notes == ("left out: 2 photographs without a year and a place",)


def test_wildbook_needs_a_species_and_names_that_differ(tmp_path: Path) -> None:
    with pytest.raises(KitboxError, match="'Lynx' is no species; write genus and epithet"):
        catalogue_exports.write_wildbook(ROWS, tmp_path / "w.csv", "Lynx")
    again = [*ROWS, CatalogueRow("s/a1.jpg", "A", "2022-01-01", "Bay")]
    with pytest.raises(KitboxError, match=r"2 photographs are called 'a1\.jpg', and Wildbook"):
        catalogue_exports.write_wildbook(again, tmp_path / "w.csv", "Lynx lynx")
    odd = [CatalogueRow("s/å_1.jpg", "A", "2022-01-01", "Bay")]
    written = catalogue_exports.write_wildbook(
        odd, tmp_path / "w.csv", "Lynx lynx", location_ids=True
    )
    assert written.notes[0].startswith("Wildbook takes characters away from 'å_1.jpg'")
    assert cells(tmp_path / "w.csv")[0][6] == "Encounter.locationID"


def test_a_camtrap_package_names_individuals_of_media(tmp_path: Path) -> None:
    places = {"Bay": Place(69.5, 18.0), "": Place(70.0, 19.0)}
    written = catalogue_exports.write_camtrap(
        ROWS, tmp_path / "dp", "Lynx lynx", places=places, timezone="Europe/Oslo"
    )
    deployments, media, observations = (
        cells(tmp_path / "dp" / f"{name}.csv") for name in ("deployments", "media", "observations")
    )
    assert deployments[1:] == [
        [
            *("Bay", "Bay", "69.5", "18.0"),
            *("2019-07-03T00:00:00+02:00", "2021-12-30T00:00:00+01:00", "true"),
        ],
        [
            *("unknown", "", "70.0", "19.0"),
            *("2021-02-01T00:00:00+01:00", "2021-02-01T00:00:00+01:00", "true"),
        ],
    ]
    assert dict(zip(media[0], media[1], strict=True)) == {
        "mediaID": "c/a1.jpg",
        "deploymentID": "Bay",
        "timestamp": "2019-07-03T10:11:12+02:00",
        "filePath": "c/a1.jpg",
        "filePublic": "false",
        "fileName": "a1.jpg",
        "fileMediatype": "image/jpeg",
        "mediaComments": "",
    }
    assert dict(zip(observations[0], observations[4], strict=True)) == {
        "observationID": "c/b1.jpg",
        "deploymentID": "unknown",
        "mediaID": "c/b1.jpg",
        "eventID": "E7",
        "eventStart": "2021-02-01T00:00:00+01:00",
        "eventEnd": "2021-02-01T00:00:00+01:00",
        "observationLevel": "media",
        "observationType": "animal",
        "scientificName": "Lynx lynx",
        "count": "1",
        "individualID": "=B",
        "classificationMethod": "human",
        "observationTags": "",
    }
    package = json.loads((tmp_path / "dp" / "datapackage.json").read_text())
    assert [one["name"] for one in package["resources"]] == ["deployments", "media", "observations"]
    assert package["temporal"] == {"start": "2019-07-03", "end": "2021-12-30"}
    assert package["project"]["individualAnimals"] is True
    assert package["spatial"]["coordinates"][0][0] == [18.0, 69.5]
    assert written.rows == 4
    assert written.notes == (
        "left out: 2 photographs without a day",
        "fill in contributors, captureMethod and licences in datapackage.json before publishing",
    )


def test_what_a_camtrap_package_lacks_is_told(tmp_path: Path) -> None:
    rows = [*ROWS[:1], CatalogueRow("c/x.jpg", "X", "2019-07-04", "A b"), *ROWS[1:3]]
    rows += [CatalogueRow("c/y.jpg", "X", "2019-07-04", "A-b")]
    written = catalogue_exports.write_camtrap(rows, tmp_path)
    assert [note.split(";")[0] for note in written.notes] == [
        "deployments.csv has no latitude and longitude, which Camtrap DP needs",
        "times count as UTC, as no --timezone is given",
        "observations have no scientificName",
        "fill in contributors, captureMethod and licences in datapackage.json before publishing",
    ]
    found = cells(tmp_path / "deployments.csv")[1:]
    assert [row[0] for row in found] == ["Bay", "A-b", "A-b-2"]
    assert found[0][4:] == ["2019-07-03T00:00:00Z", "2021-12-30T00:00:00Z", "true"]


def test_places_and_time_zones_are_checked(tmp_path: Path) -> None:
    with pytest.raises(KitboxError, match="there is no time zone 'Oslo'; write one like Europe"):
        catalogue_exports.write_camtrap(ROWS, tmp_path, timezone="Oslo")
    with pytest.raises(KitboxError, match="the place '' has no coordinates"):
        catalogue_exports.write_camtrap(ROWS, tmp_path, places={"Bay": Place(0, 0)})
    path = tmp_path / "places.csv"
    path.write_text("place,latitude,longitude\nBay,69.5,18\n")
    assert catalogue_exports.read_places(path) == {"Bay": Place(69.5, 18.0)}
    for degrees, expected in (("x,1", "'x, 1' are no decimal"), ("91,0", "is nowhere on Earth")):
        path.write_text(f"place,latitude,longitude\nBay,{degrees}\n")
        with pytest.raises(KitboxError, match=f"line 2: .*{expected}"):
            catalogue_exports.read_places(path)


def test_two_animals_in_a_photograph_share_its_file(tmp_path: Path) -> None:
    rows = [
        CatalogueRow("c/a.jpg#1", "A", "2019-07-03", "Bay"),
        CatalogueRow("c/a.jpg#2", "B", "2019-07-03", "Bay"),
    ]
    catalogue_exports.write_camtrap(rows, tmp_path)
    assert [row[0] for row in cells(tmp_path / "media.csv")[1:]] == ["c/a.jpg"]
    observations = cells(tmp_path / "observations.csv")[1:]
    assert [(row[0], row[2], row[10]) for row in observations] == [
        ("c/a.jpg#1", "c/a.jpg", "A"),
        ("c/a.jpg#2", "c/a.jpg", "B"),
    ]
    catalogue_exports.write_wildbook(rows, tmp_path / "w.csv", "Lynx lynx")
    assert [row[-1] for row in cells(tmp_path / "w.csv")[1:]] == ["a.jpg", "a.jpg"]
