"""The catalogue as a Camtrap DP package."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from kitbox.catalogue import camtrap_package
from kitbox.catalogue.camtrap_package import Place
from kitbox.catalogue.catalogue_list import CatalogueRow
from kitbox.errors import KitboxError
from kitbox.workspace import Workspace
from tests.catalogue.exported_rows import ROWS, cells
from tests.photographs import picture


def filled(table: list[list[str]], row: list[str]) -> dict[str, str]:
    """Return the cells of a row that are not empty, by column."""
    return {name: cell for name, cell in zip(table[0], row, strict=True) if cell}


def test_a_camtrap_package_names_individuals_of_media(tmp_path: Path) -> None:
    places = {"Bay": Place(69.5, 18.0), "": Place(70.0, 19.0)}
    written = camtrap_package.write_camtrap(
        ROWS, tmp_path / "dp", "Lynx lynx", places=places, timezone="Europe/Oslo"
    )
    deployments, media, observations = (
        cells(tmp_path / "dp" / f"{name}.csv") for name in ("deployments", "media", "observations")
    )
    assert [filled(deployments, row) for row in deployments[1:]] == [
        {
            "deploymentID": "Bay",
            "locationName": "Bay",
            "latitude": "69.5",
            "longitude": "18.0",
            "deploymentStart": "2019-07-03T00:00:00+02:00",
            "deploymentEnd": "2021-12-30T00:00:00+01:00",
            "timestampIssues": "true",
        },
        {
            "deploymentID": "unknown",
            "latitude": "70.0",
            "longitude": "19.0",
            "deploymentStart": "2021-02-01T00:00:00+01:00",
            "deploymentEnd": "2021-02-01T00:00:00+01:00",
            "timestampIssues": "true",
        },
    ]
    assert filled(media, media[1]) == {
        "mediaID": "c/a1.jpg",
        "deploymentID": "Bay",
        "timestamp": "2019-07-03T10:11:12+02:00",
        "filePath": "c/a1.jpg",
        "filePublic": "false",
        "fileName": "a1.jpg",
        "fileMediatype": "image/jpeg",
    }
    assert filled(observations, observations[4]) == {
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
    }
    # the order of the standard's schemas, in which a Data Package has to have its columns
    assert (len(deployments[0]), len(media[0]), len(observations[0])) == (24, 11, 28)
    assert deployments[0][:4] == ["deploymentID", "locationID", "locationName", "latitude"]
    assert observations[0][18:23] == [
        *("bboxX", "bboxY", "bboxWidth", "bboxHeight", "classificationMethod")
    ]
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
    written = camtrap_package.write_camtrap(rows, tmp_path)
    assert [note.split(";")[0] for note in written.notes] == [
        "deployments.csv has no latitude and longitude and datapackage.json no spatial, which "
        "Camtrap DP needs",
        "times count as UTC, as no --timezone is given",
        "observations have no scientificName",
        "fill in contributors, captureMethod and licences in datapackage.json before publishing",
    ]
    found = cells(tmp_path / "deployments.csv")[1:]
    assert [row[0] for row in found] == ["Bay", "A-b", "A-b-2"]
    assert found[0][6:8] == ["2019-07-03T00:00:00Z", "2021-12-30T00:00:00Z"]
    assert found[0][17] == "true"


def test_places_and_time_zones_are_checked(tmp_path: Path) -> None:
    with pytest.raises(KitboxError, match="there is no time zone 'Oslo'; write one like Europe"):
        camtrap_package.write_camtrap(ROWS, tmp_path, timezone="Oslo")
    with pytest.raises(KitboxError, match="the place 'Bay' has no coordinates"):
        camtrap_package.write_camtrap(ROWS, tmp_path, places={"North": Place(0, 0)})
    path = tmp_path / "places.csv"
    path.write_text("place,latitude,longitude\nBay,69.5,18\n")
    assert camtrap_package.read_places(path) == {"Bay": Place(69.5, 18.0)}
    for degrees, expected in (("x,1", "'x, 1' are no decimal"), ("91,0", "is nowhere on Earth")):
        path.write_text(f"place,latitude,longitude\nBay,{degrees}\n")
        with pytest.raises(KitboxError, match=f"line 2: .*{expected}"):
            camtrap_package.read_places(path)


def test_photographs_without_a_place_are_left_out_where_places_are_given(tmp_path: Path) -> None:
    written = camtrap_package.write_camtrap(ROWS, tmp_path / "dp", places={"Bay": Place(0, 0)})
    [note] = [note for note in written.notes if "a place" in note]
    assert note.startswith("left out: 1 photograph without a place")
    deployments = cells(tmp_path / "dp" / "deployments.csv")[1:]
    assert [row[0] for row in deployments] == ["Bay"]
    assert written.rows == len(cells(tmp_path / "dp" / "observations.csv")) - 1
    nowhere = [replace(row, place="") for row in ROWS]
    with pytest.raises(KitboxError, match=r"catalogue.csv: no photograph with a day has a place"):
        camtrap_package.write_camtrap(nowhere, tmp_path / "dp", places={"Bay": Place(0, 0)})


def test_two_animals_in_a_photograph_share_its_file(tmp_path: Path) -> None:
    rows = [
        CatalogueRow("c/a.jpg#1", "A", "2019-07-03", "Bay"),
        CatalogueRow("c/a.jpg#2", "B", "2019-07-03", "Bay"),
    ]
    camtrap_package.write_camtrap(rows, tmp_path)
    assert [row[0] for row in cells(tmp_path / "media.csv")[1:]] == ["c/a.jpg"]
    observations = cells(tmp_path / "observations.csv")[1:]
    assert [(row[0], row[2], row[14]) for row in observations] == [
        ("c/a.jpg#1", "c/a.jpg", "A"),
        ("c/a.jpg#2", "c/a.jpg", "B"),
    ]


def test_boxes_are_shares_of_the_photograph(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with Image.open(picture(workspace.photographs / "c" / "a.png", 1, 1)) as image:
        width, height = image.size
    picture(workspace.photographs / "c" / "b.png", 1, 2)
    half, quarter = width // 2, height // 4
    workspace.boxes.write_text(
        "image,x0,y0,x1,y1\n"
        f"c/a.png,{half},0,{width + 9},{quarter}\n"  # beyond the photograph, as detectors' may be
        f"c/a.png,0,{quarter},{half},{height}\n"
        f"c/b.png,0,0,{half},{height}\n"
    )
    rows = [
        CatalogueRow(image, "A", "2019-07-03")
        for image in ("c/a.png#1", "c/a.png#2", "c/a.png", "c/b.png", "c/gone.png")
    ]
    found = camtrap_package.relative_boxes(workspace, rows)
    assert found == {
        "c/a.png#1": (0.0, 0.25, 0.5, 0.75),
        "c/a.png#2": (0.5, 0.0, 0.5, 0.25),
        "c/b.png": (0.0, 0.0, 0.5, 1.0),
    }
    camtrap_package.write_camtrap(rows[:3], tmp_path / "dp", relative=found)
    table = cells(tmp_path / "dp" / "observations.csv")
    assert [row[18:22] for row in table[1:]] == [
        ["0.0", "0.25", "0.5", "0.75"],
        ["0.5", "0.0", "0.5", "0.25"],
        ["", "", "", ""],
    ]
