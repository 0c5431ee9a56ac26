"""The catalogue as a Camtrap DP 1.0.2 package.

Tables have all columns of the standard's schemas in their order: without that a package is not
valid by the Data Package standard. Source: https://camtrap-dp.tdwg.org
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from kitbox import tables
from kitbox.catalogue import catalogue_list
from kitbox.catalogue.catalogue_exports import Exported, left_out
from kitbox.catalogue.catalogue_list import CatalogueRow
from kitbox.competition import boxes
from kitbox.competition.folder_scan import FORMATS
from kitbox.competition.image_files import photograph_of
from kitbox.competition.settings import ImageSettings
from kitbox.errors import KitboxError, did_you_mean, more
from kitbox.files import atomic_file, write_json
from kitbox.images.preprocessing import UnreadableImageError, upright_size
from kitbox.workspace import Workspace

_CAMTRAP = "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.2"
CAMTRAP_FILES = ("datapackage.json", "deployments.csv", "media.csv", "observations.csv")
# The columns of each table, in the order of its schema.
_DEPLOYMENTS = (
    *("deploymentID", "locationID", "locationName", "latitude", "longitude"),
    *("coordinateUncertainty", "deploymentStart", "deploymentEnd", "setupBy", "cameraID"),
    *("cameraModel", "cameraDelay", "cameraHeight", "cameraDepth", "cameraTilt", "cameraHeading"),
    *("detectionDistance", "timestampIssues", "baitUse", "featureType", "habitat"),
    *("deploymentGroups", "deploymentTags", "deploymentComments"),
)
_MEDIA = (
    *("mediaID", "deploymentID", "captureMethod", "timestamp", "filePath", "filePublic"),
    *("fileName", "fileMediatype", "exifData", "favorite", "mediaComments"),
)
_OBSERVATIONS = (
    *("observationID", "deploymentID", "mediaID", "eventID", "eventStart", "eventEnd"),
    *("observationLevel", "observationType", "cameraSetupType", "scientificName", "count"),
    *("lifeStage", "sex", "behavior", "individualID", "individualPositionRadius"),
    *("individualPositionAngle", "individualSpeed", "bboxX", "bboxY", "bboxWidth", "bboxHeight"),
    *("classificationMethod", "classifiedBy", "classificationTimestamp"),
    *("classificationProbability", "observationTags", "observationComments"),
)
_BOX = ("bboxX", "bboxY", "bboxWidth", "bboxHeight")
# x and y of the upper left corner, width and height, as shares of the photograph's.
RelativeBox = tuple[float, float, float, float]


@dataclass(frozen=True)
class Place:
    """Coordinates of a place in decimal degrees (WGS84)."""

    latitude: float
    longitude: float


def read_places(path: Path) -> dict[str, Place]:
    """Return place → coordinates of a list with the columns place, latitude and longitude."""
    found = {}
    for line, row in tables.read_rows(path, ("place", "latitude", "longitude")):
        try:
            place = Place(float(row["latitude"]), float(row["longitude"]))
        except ValueError as error:
            raise KitboxError(
                f"'{row['latitude']}, {row['longitude']}' are no decimal degrees",
                where=f"{path} line {line}",
                fix="write them as 69.65, 18.96",
            ) from error
        if not (-90 <= place.latitude <= 90 and -180 <= place.longitude <= 180):
            raise KitboxError(
                f"{place.latitude}, {place.longitude} is nowhere on Earth",
                where=f"{path} line {line}",
                fix="correct it",
            )
        found[row["place"].strip()] = place
    return found


def write_camtrap(
    rows: Sequence[CatalogueRow],
    folder: Path,
    species: str = "",
    *,
    places: Mapping[str, Place] | None = None,
    timezone: str = "",
    relative: Mapping[str, RelativeBox] | None = None,
) -> Exported:
    """Write a Camtrap DP 1.0.2 package: deployments, media and observations, datapackage.json.

    A deployment is a place, a photograph is media with one observation of its individual. Files are
    named relative to the workspace's folder of photographs, and none is copied. `relative` are the
    boxes of images, see `relative_boxes`. Photographs without
    a day are left out: the standard needs one. With `places`, which may have '', so are those
    without a place. Without a `timezone` (as Europe/Oslo) times count
    as UTC, and timestampIssues says so. Raises KitboxError for an unknown time zone, and for a
    place that is not among `places` where there are any.
    """
    places = places or {}
    zone = _zone(timezone)
    dated = [
        row for row in catalogue_list.with_encounters(rows) if len(row.day) == len("2019-07-03")
    ]
    days = dated
    if places and "" not in places:
        dated = [row for row in days if row.place]
        if not dated:
            raise KitboxError(
                "no photograph with a day has a place",
                where="catalogue.csv",
                fix="fill in the column place, or leave --places out",
            )
    lacking = sorted({row.place for row in dated} - set(places)) if places else []
    if lacking:
        raise KitboxError(
            f"the place '{lacking[0]}' has no coordinates{did_you_mean(lacking[0], places)}"
            f"{more(len(lacking) - 1)}",
            fix="add it to the list of places",
        )
    stamp = {row.image: _timestamp(row.date, zone) for row in dated}
    at_place: dict[str, list[CatalogueRow]] = defaultdict(list)
    for row in dated:
        at_place[row.place].append(row)
    deployment = _deployments(at_place)
    media = {photograph_of(row.image): row for row in reversed(dated)}  # the first of its animals
    media = dict(sorted(media.items()))
    _write_plain(
        folder / "deployments.csv",
        _DEPLOYMENTS,
        [
            {
                "deploymentID": deployment[place],
                "locationName": place,
                **_degrees(places.get(place)),
                "deploymentStart": min(stamp[row.image] for row in own),
                "deploymentEnd": max(stamp[row.image] for row in own),
                "timestampIssues": "false"
                if timezone and all("T" in row.date for row in own)
                else "true",
            }
            for place, own in at_place.items()
        ],
    )
    _write_plain(
        folder / "media.csv",
        _MEDIA,
        [
            {
                "mediaID": photograph,
                "deploymentID": deployment[row.place],
                "timestamp": stamp[row.image],
                "filePath": photograph,
                "filePublic": "false",
                "fileName": Path(photograph).name,
                "fileMediatype": _mediatype(photograph),
                "mediaComments": "" if "T" in row.date else "time of day not known",
            }
            for photograph, row in media.items()
        ],
    )
    _write_plain(
        folder / "observations.csv",
        _OBSERVATIONS,
        [
            {
                "observationID": row.image,
                "deploymentID": deployment[row.place],
                "mediaID": photograph_of(row.image),
                "eventID": row.encounter,
                "eventStart": stamp[row.image],
                "eventEnd": stamp[row.image],
                "observationLevel": "media",
                "observationType": "animal",
                "scientificName": species,
                "count": 1,
                "individualID": row.individual,
                **dict(zip(_BOX, (relative or {}).get(row.image, ()), strict=False)),
                "classificationMethod": "human",
                "observationTags": f"side:{row.side}" if row.side else "",
            }
            for row in dated
        ],
    )
    write_json(folder / "datapackage.json", _package(folder, dated, species, places))
    notes = [*left_out(rows, [days], "a day"), *left_out(days, [dated], "a place")]
    if not places:
        notes.append(
            "deployments.csv has no latitude and longitude and datapackage.json no spatial, which "
            "Camtrap DP needs; give --places"
        )
    if not timezone:
        notes.append("times count as UTC, as no --timezone is given; timestampIssues says so")
    if not species:
        notes.append("observations have no scientificName; give --species")
    notes.append(
        "fill in contributors, captureMethod and licences in datapackage.json before publishing"
    )
    return Exported(tuple(folder / name for name in CAMTRAP_FILES), len(dated), notes=tuple(notes))


def _package(
    folder: Path, rows: Sequence[CatalogueRow], species: str, places: Mapping[str, Place]
) -> dict[str, object]:
    """Return datapackage.json as far as a catalogue knows it."""
    days = sorted(row.day for row in rows)
    used = [places[place] for place in {row.place for row in rows} & set(places)]
    package: dict[str, object] = {
        "profile": f"{_CAMTRAP}/camtrap-dp-profile.json",
        "name": _identifier(folder.resolve().name).lower(),
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "contributors": [],
        "project": {
            "title": folder.resolve().name,
            "samplingDesign": "opportunistic",
            "captureMethod": [],
            "individualAnimals": True,
            "observationLevel": ["media"],
        },
        "temporal": {"start": days[0], "end": days[-1]} if days else {},
        "taxonomic": [{"scientificName": species}] if species else [],
        "resources": [
            {
                "name": name,
                "path": f"{name}.csv",
                "profile": "tabular-data-resource",
                "format": "csv",
                "mediatype": "text/csv",
                "encoding": "utf-8",
                "schema": f"{_CAMTRAP}/{name}-table-schema.json",
            }
            for name in ("deployments", "media", "observations")
        ],
    }
    if used:
        west, east = (limit(place.longitude for place in used) for limit in (min, max))
        south, north = (limit(place.latitude for place in used) for limit in (min, max))
        corners = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        package["spatial"] = {"type": "Polygon", "coordinates": [corners]}
    return package


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name or "UTC")
    except (OSError, ValueError, LookupError) as error:
        raise KitboxError(
            f"there is no time zone '{name}'", fix="write one like Europe/Oslo"
        ) from error


def _timestamp(date: str, zone: ZoneInfo) -> str:
    moment = datetime.fromisoformat(date).replace(tzinfo=zone)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _degrees(place: Place | None) -> dict[str, object]:
    return {} if place is None else {"latitude": place.latitude, "longitude": place.longitude}


def _deployments(places: Iterable[str]) -> dict[str, str]:
    """Return place → the identifier of its deployment, each another one."""
    found: dict[str, str] = {}
    for place in places:
        plain, number = _identifier(place), 1
        name = plain
        while name in found.values():
            number += 1
            name = f"{plain}-{number}"
        found[place] = name
    return found


def _identifier(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text).strip("-") or "unknown"


def _mediatype(image: str) -> str:
    kind = FORMATS.get(Path(image).suffix.lower(), "JPEG").lower()
    return f"image/{'jp2' if kind == 'jpeg2000' else kind}"


def _write_plain(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a CSV that programs read: no apostrophe before what a spreadsheet would compute."""
    with (
        atomic_file(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        table = tables.csv_writer(file)
        table.writerow(columns)
        table.writerows([row.get(name, "") for name in columns] for row in rows)


def relative_boxes(workspace: Workspace, rows: Iterable[CatalogueRow]) -> dict[str, RelativeBox]:
    """Return image → box of the rows that boxes.csv has one of, as shares of the photograph.

    A whole photograph with several boxes has none: each of them is an animal of its own. Files that
    cannot be opened have none.
    """
    found: dict[str, RelativeBox] = {}
    listed = boxes.read_all(
        ImageSettings(root=workspace.photographs, train_folder="."), workspace.boxes
    )
    for row in rows:
        photograph = photograph_of(row.image)
        corners = boxes.animals(photograph, listed.get(photograph, ())).get(row.image)
        if corners is None:
            continue
        try:
            size = upright_size(workspace.photographs / photograph)
        except (OSError, UnreadableImageError):
            continue
        # boxes may reach beyond the photograph, which shares of it may not
        x0, y0, x1, y1 = (
            min(max(corner / size[place % 2], 0.0), 1.0) for place, corner in enumerate(corners)
        )
        if x0 < x1 and y0 < y1:
            found[row.image] = tuple(round(one, 6) for one in (x0, y0, x1 - x0, y1 - y0))  # type: ignore[assignment]
    return found
