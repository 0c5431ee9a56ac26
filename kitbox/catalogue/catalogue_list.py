"""The workspace's list of known individuals and their photographs, catalogue.csv."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

from kitbox import tables
from kitbox.catalogue import photograph_dates
from kitbox.errors import KitboxError, more


@dataclass(frozen=True)
class CatalogueRow:
    """A photograph of an individual; what is not known is empty.

    `image` is its name in the workspace. `date` is ISO 8601, as exact as it is known: "2019",
    "2019-07", "2019-07-03" or "2019-07-03T10:11:12". Photographs of one `encounter` were taken
    together; `side` is the side of the animal that they show.
    """

    image: str
    individual: str
    date: str = ""
    place: str = ""
    side: str = ""
    encounter: str = ""

    @property
    def day(self) -> str:
        """The date without the time of day."""
        return self.date[:10]


COLUMNS = tuple(field.name for field in fields(CatalogueRow))
# The column for the holdout: photographs of one individual with one value stay on one side of it.
HOLDOUT_COLUMN = "encounter_or_day"


def load(path: Path) -> tuple[CatalogueRow, ...]:
    """Return the rows of a catalogue.csv; a missing file has none.

    Dates may be written in any clear way, as people and spreadsheets do. Raises KitboxError, with
    the line, for a row without an image or an individual, an image that two rows name, and a date
    that cannot be read or whose day and month may be in either order.
    """
    if not path.exists():
        return ()
    rows: list[CatalogueRow] = []
    line_of: dict[str, int] = {}
    for line, cells in tables.read_rows(path, COLUMNS[:2], optional=COLUMNS[2:]):
        row = CatalogueRow(*(cells.get(name, "").strip() for name in COLUMNS))
        where = f"{path} line {line}"
        if not row.image or not row.individual:
            missing = "image" if not row.image else "individual"
            raise KitboxError(f"the row has no {missing}", where=where, fix="complete or remove it")
        if row.image in line_of:
            raise KitboxError(
                f"image '{row.image}' is on line {line_of[row.image]} too",
                where=where,
                fix="remove one of the rows",
            )
        line_of[row.image] = line
        rows.append(replace(row, date=_date(row.date, where)))
    return tuple(rows)


def save(path: Path, rows: Iterable[CatalogueRow]) -> None:
    """Write a catalogue.csv, whole or not at all; raises KitboxError for a repeated image."""
    rows = tuple(rows)
    repeated = [image for image, count in Counter(row.image for row in rows).items() if count > 1]
    if repeated:
        raise KitboxError(
            f"image '{repeated[0]}' is twice in the catalogue{more(len(repeated) - 1)}",
            fix="remove one of the two",
        )
    header = (*COLUMNS, HOLDOUT_COLUMN)
    tables.write_rows(path, [header, *((*astuple(row), _encounter_or_day(row)) for row in rows)])


def update(path: Path, rows: Iterable[CatalogueRow]) -> None:
    """Write a catalogue.csv as `save` does where the file has others, or an old holdout column."""
    rows = tuple(rows)
    if rows == load(path) and path.exists():
        cells = [row for _, row in tables.read_rows(path, COLUMNS[:1])]
        if [row.get(HOLDOUT_COLUMN) for row in cells] == [_encounter_or_day(row) for row in rows]:
            return
    save(path, rows)


def _encounter_or_day(row: CatalogueRow) -> str:
    """Return the encounter of a row, else its day: that of `identification.encounter_rule`."""
    return row.encounter or (row.day if len(row.day) == len("2019-07-03") else "")


def _date(text: str, where: str) -> str:
    """Return a date as ISO 8601; raise KitboxError for one that cannot be read."""
    found = photograph_dates.parse(text)
    if text and not found:
        unclear = photograph_dates.needs_order(text)
        why = "may have day and month in either order" if unclear else "cannot be read"
        raise KitboxError(f"the date '{text}' {why}", where=where, fix="write it as 2019-07-03")
    return found


def with_encounters(rows: Iterable[CatalogueRow]) -> list[CatalogueRow]:
    """Return the rows with an encounter each that has a date and none yet.

    It is the individual, the day and the place, so that photographs of one animal on one day at one
    place were taken together.
    """
    return [row if row.encounter or not row.date else _with_encounter(row) for row in rows]


def _with_encounter(row: CatalogueRow) -> CatalogueRow:
    parts = (row.individual, row.day, row.place)
    return replace(row, encounter=" ".join(part for part in parts if part))


class IndividualSummary(NamedTuple):
    """An individual's number of photographs and encounters, and its first and last date, or ''."""

    individual: str
    photographs: int
    encounters: int
    first: str
    last: str


def summaries(rows: Iterable[CatalogueRow]) -> list[IndividualSummary]:
    """Return a summary of each individual, sorted by name; undated rows are of no encounter."""
    by_name: dict[str, list[CatalogueRow]] = {}
    for row in with_encounters(rows):
        by_name.setdefault(row.individual, []).append(row)
    found = []
    for name, own in sorted(by_name.items()):
        days = sorted(row.day for row in own if row.date)
        encounters = {row.encounter for row in own if row.encounter}
        ends = (days[0], days[-1]) if days else ("", "")
        found.append(IndividualSummary(name, len(own), len(encounters), *ends))
    return found
