"""The catalogue for other programs: encounters, capture histories, Wildbook, Camtrap DP."""

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from kitbox import tables
from kitbox.catalogue import catalogue_list
from kitbox.catalogue.catalogue_list import CatalogueRow
from kitbox.competition.folder_scan import FORMATS
from kitbox.competition.image_files import photograph_of
from kitbox.errors import KitboxError, counted, did_you_mean, more
from kitbox.files import atomic_file, write_json, write_text

_CAMTRAP = "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.2"
CAMTRAP_FILES = ("datapackage.json", "deployments.csv", "media.csv", "observations.csv")
# What Wildbook keeps of the name of a file; it takes other characters away.
_WILDBOOK_NAME = re.compile(r"[A-Za-z0-9. ]+")


@dataclass(frozen=True)
class Exported:
    """What was written, and sentences on what is not in it and what has to be filled in."""

    files: tuple[Path, ...]
    rows: int
    _: KW_ONLY
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    """Coordinates of a place in decimal degrees (WGS84)."""

    latitude: float
    longitude: float


def write_photographs(rows: Iterable[CatalogueRow], path: Path) -> Exported:
    """Write a row for each photograph: individual, photograph, date, place, side, encounter."""
    header = ("individual", "photograph", "date", "place", "side", "encounter")
    ordered = sorted(
        catalogue_list.with_encounters(rows), key=lambda row: (row.individual, row.date, row.image)
    )
    tables.write_rows(
        path,
        [
            header,
            *(
                (row.individual, row.image, row.date, row.place, row.side, row.encounter)
                for row in ordered
            ),
        ],
    )
    return Exported((path,), len(ordered))


def write_encounters(rows: Sequence[CatalogueRow], path: Path) -> Exported:
    """Write a row for each encounter: individual, date, place, photographs and their names.

    Photographs without an encounter and without a day are left out: of a year alone nobody knows
    how many encounters it had.
    """
    found = list(_encounters(rows))
    header = ("individual", "encounter", "date", "place", "sides", "photographs", "images")
    lines = [
        (
            one[0].individual,
            one[0].encounter,
            _day_of(one),
            _joined(row.place for row in one),
            _joined(row.side for row in one),
            len(one),
            ";".join(row.image for row in one),
        )
        for one in found
    ]
    tables.write_rows(path, [header, *lines])
    return Exported((path,), len(lines), notes=_left_out(rows, found, "an encounter or a day"))


@dataclass(frozen=True)
class CaptureHistory:
    """Which individuals were photographed in which seasons: 0/1, a row each.

    `seasons` are all from the first to the last, "2019", or "2019/20" where they do not begin in
    January.
    """

    individuals: tuple[str, ...]
    seasons: tuple[str, ...]
    seen: tuple[tuple[int, ...], ...]
    notes: tuple[str, ...] = ()


def capture_history(rows: Sequence[CatalogueRow], season_start: int = 1) -> CaptureHistory:
    """Return the capture history by seasons that begin in a month (1 to 12).

    Individuals without a photograph of a known season are left out. Raises KitboxError where no
    photograph has one.
    """
    years: dict[str, set[int]] = defaultdict(set)
    left_out = 0
    for row in rows:
        year = _season(row.date, season_start)
        if year is None:
            left_out += 1
        else:
            years[row.individual].add(year)
    if not years:
        raise KitboxError(
            "no photograph of the catalogue has a date, which seasons need",
            fix="fill in the column 'date' of catalogue.csv",
        )
    every = set().union(*years.values())
    span = range(min(every), max(every) + 1)
    notes = []
    if left_out:
        notes.append(f"left out: {counted(left_out, 'photograph')} without a date for a season")
    missing = {row.individual for row in rows} - set(years)
    if missing:
        notes.append(
            f"left out: {counted(len(missing), 'individual')} without such a photograph, as "
            f"'{min(missing)}'"
        )
    empty = [_season_name(year, season_start) for year in span if year not in every]
    if empty:
        notes.append(
            f"no photograph is of {', '.join(empty)}; where nobody looked for animals, that is no "
            "occasion: fix its capture probability to 0"
        )
    names = tuple(sorted(years))
    return CaptureHistory(
        names,
        tuple(_season_name(year, season_start) for year in span),
        tuple(tuple(int(year in years[name]) for year in span) for name in names),
        tuple(notes),
    )


def write_capture_history(history: CaptureHistory, path: Path) -> Exported:
    """Write a capture history: a CSV of 0 and 1, or MARK's format where the file ends in .inp."""
    if path.suffix.lower() != ".inp":
        lines = [
            (name, *seen) for name, seen in zip(history.individuals, history.seen, strict=True)
        ]
        tables.write_rows(path, [("individual", *history.seasons), *lines])
    else:
        # a comment names the individual; RMark's convert.inp makes it the name of the row
        lines_of_mark = [
            f"/* {name.replace('*/', '* /')} */ {''.join(map(str, seen))} 1;\n"
            for name, seen in zip(history.individuals, history.seen, strict=True)
        ]
        occasions = f"/* occasions: {', '.join(history.seasons)} */\n"
        write_text(path, "".join([occasions, *lines_of_mark]))
    return Exported((path,), len(history.individuals), notes=history.notes)


def write_wildbook(
    rows: Sequence[CatalogueRow], path: Path, species: str, *, location_ids: bool = False
) -> Exported:
    """Write Wildbook's bulk import sheet, with a row for each encounter and its photographs.

    `species` is "Genus epithet". With `location_ids` places are the IDs of Wildbook's locations.
    A photograph of a year or a month alone is an encounter of its own. Encounters without a year or
    a place, which Wildbook needs, are left out. Raises KitboxError for
    a species without an epithet, and for two photographs of one file name.
    """
    genus, _, epithet = species.strip().partition(" ")
    if not epithet:
        raise KitboxError(f"'{species}' is no species", fix="write genus and epithet")
    # the sheet has a row for every encounter, so that a photograph without a day needs its own
    alone = [[row] for row in catalogue_list.with_encounters(rows) if not row.encounter]
    found = [one for one in [*_encounters(rows), *alone] if _day_of(one) and _joined_place(one)]
    found.sort(key=lambda one: one[0].individual)
    photographs = {photograph_of(row.image): None for one in found for row in one}
    names = [Path(photograph).name for photograph in photographs]
    counts = Counter(names)
    repeated = sorted(name for name, count in counts.items() if count > 1)
    if repeated:
        raise KitboxError(
            f"{counted(counts[repeated[0]], 'photograph')} are called '{repeated[0]}', and "
            f"Wildbook tells photographs apart by their names alone{more(len(repeated) - 1)}",
            fix="rename them, and read the catalogue anew",
        )
    most = max((len(one) for one in found), default=1)
    header = [
        *("Encounter.genus", "Encounter.specificEpithet", "MarkedIndividual.individualID"),
        *("Encounter.year", "Encounter.month", "Encounter.day"),
        "Encounter.locationID" if location_ids else "Encounter.verbatimLocality",
        *(f"Encounter.mediaAsset{number}" for number in range(most)),
    ]
    lines = []
    for one in found:
        date = [*_day_of(one).split("-"), "", ""][:3]
        images = [Path(photograph_of(row.image)).name for row in one]
        images += [""] * (most - len(images))
        numbers = [str(int(part)) if part else "" for part in date]
        lines.append([genus, epithet, one[0].individual, *numbers, _joined_place(one), *images])
    tables.write_rows(path, [header, *lines])
    notes = list(_left_out(rows, found, "a year and a place"))
    odd = [name for name in names if not _WILDBOOK_NAME.fullmatch(name)]
    if odd:
        notes.append(
            f"Wildbook takes characters away from '{odd[0]}'{more(len(odd) - 1)}: it keeps English "
            "letters, digits, dots and blanks"
        )
    if len(lines) > 200:
        notes.append(f"Wildbook asks for 200 encounters a sheet at most; these are {len(lines)}")
    return Exported((path,), len(lines), notes=tuple(notes))


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
) -> Exported:
    """Write a Camtrap DP 1.0.2 package: deployments, media and observations, datapackage.json.

    A deployment is a place, a photograph is media with one observation of its individual. Files are
    named relative to the workspace's folder of photographs, and none is copied. Photographs without
    a day are left out: the standard needs one. Without a `timezone` (as Europe/Oslo) times count
    as UTC, and timestampIssues says so. Raises KitboxError for an unknown time zone, and for a
    place that is not among `places` where there are any.
    """
    places = places or {}
    zone = _zone(timezone)
    dated = [
        row for row in catalogue_list.with_encounters(rows) if len(row.day) == len("2019-07-03")
    ]
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
        (
            *("deploymentID", "locationName", "latitude", "longitude"),
            *("deploymentStart", "deploymentEnd", "timestampIssues"),
        ),
        [
            (
                deployment[place],
                place,
                *(_degrees(places.get(place))),
                min(stamp[row.image] for row in own),
                max(stamp[row.image] for row in own),
                "false" if timezone and all("T" in row.date for row in own) else "true",
            )
            for place, own in at_place.items()
        ],
    )
    _write_plain(
        folder / "media.csv",
        (
            *("mediaID", "deploymentID", "timestamp", "filePath", "filePublic", "fileName"),
            *("fileMediatype", "mediaComments"),
        ),
        [
            (
                *(photograph, deployment[row.place], stamp[row.image], photograph, "false"),
                *(Path(photograph).name, _mediatype(photograph)),
                "" if "T" in row.date else "time of day not known",
            )
            for photograph, row in media.items()
        ],
    )
    _write_plain(
        folder / "observations.csv",
        (
            *("observationID", "deploymentID", "mediaID", "eventID", "eventStart", "eventEnd"),
            *("observationLevel", "observationType", "scientificName", "count", "individualID"),
            *("classificationMethod", "observationTags"),
        ),
        [
            (
                *(row.image, deployment[row.place], photograph_of(row.image)),
                *(row.encounter, stamp[row.image], stamp[row.image], "media", "animal"),
                *(species, 1, row.individual, "human", f"side:{row.side}" if row.side else ""),
            )
            for row in dated
        ],
    )
    write_json(folder / "datapackage.json", _package(folder, dated, species, places))
    notes = [*_left_out(rows, [dated], "a day")]
    if not places:
        notes.append(
            "deployments.csv has no latitude and longitude, which Camtrap DP needs; give --places"
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


def _encounters(rows: Iterable[CatalogueRow]) -> Iterator[list[CatalogueRow]]:
    """Yield the photographs of each individual's encounters, by individual and date."""
    groups: dict[tuple[str, str], list[CatalogueRow]] = defaultdict(list)
    for row in catalogue_list.with_encounters(rows):
        if row.encounter:
            groups[row.individual, row.encounter].append(row)
    first = {key: min(row.date for row in own) for key, own in groups.items()}
    for key in sorted(groups, key=lambda key: (key[0], first[key], key[1])):
        yield sorted(groups[key], key=lambda row: (row.date, row.image))


def _left_out(
    rows: Sequence[CatalogueRow], kept: Iterable[Sequence[CatalogueRow]], what: str
) -> tuple[str, ...]:
    number = len(rows) - sum(map(len, kept))
    return (f"left out: {counted(number, 'photograph')} without {what}",) if number else ()


def _day_of(rows: Iterable[CatalogueRow]) -> str:
    """Return the first day of an encounter, else its first date, or ''."""
    dates = sorted({row.day for row in rows} - {""})
    return next((date for date in dates if len(date) == len("2019-07-03")), (dates or [""])[0])


def _joined(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))


def _joined_place(rows: Iterable[CatalogueRow]) -> str:
    """Return the place of an encounter: its first photograph with one tells it."""
    return next((row.place for row in rows if row.place), "")


def _season(date: str, start: int) -> int | None:
    """Return the year in which a date's season began, or None where it is not known."""
    if not date:
        return None
    year, _, rest = date.partition("-")
    if start == 1:
        return int(year)
    return int(year) - (int(rest[:2]) < start) if rest else None


def _season_name(year: int, start: int) -> str:
    return str(year) if start == 1 else f"{year}/{(year + 1) % 100:02d}"


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


def _degrees(place: Place | None) -> tuple[object, object]:
    return ("", "") if place is None else (place.latitude, place.longitude)


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


def _write_plain(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV that programs read: no apostrophe before what a spreadsheet would compute."""
    with (
        atomic_file(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
