"""The workspace's list of known individuals and their photographs, catalogue.csv."""

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

from kitbox import tables
from kitbox.catalogue import encounter_rule, photograph_dates
from kitbox.catalogue.encounter_rule import EncounterNames
from kitbox.catalogue.photograph_dates import DateOrder
from kitbox.errors import KitboxError, KitboxWarning, more
from kitbox.files import complete
from kitbox.locks import lock
from kitbox.workspace import Workspace


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
_FINISHED = (
    "a change of the catalogue was interrupted, and is finished now; 'kitbox catalogue history' "
    "has it as the last one"
)


def load(path: Path) -> tuple[CatalogueRow, ...]:
    """Return the rows of a catalogue.csv; a missing file has none.

    Dates may be written in any clear way, as people and spreadsheets do: 3/7/2019 is, where another
    date of the column, as 25/7/2019, shows which number is the day. Raises KitboxError, with
    the line, for a row without an image or an individual, an image that two rows name, and a date
    that cannot be read or whose day and month may be in either order.
    """
    if not path.exists():
        return ()
    rows: list[CatalogueRow] = []
    line_of: dict[str, int] = {}
    table = list(tables.read_rows(path, COLUMNS[:2], optional=COLUMNS[2:]))
    order = photograph_dates.order_of(cells.get("date", "") for _, cells in table)
    for line, cells in table:
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
        rows.append(replace(row, date=iso_date(row.date, order, where)))
    return tuple(rows)


def save(path: Path, rows: Iterable[CatalogueRow]) -> None:
    """Write a catalogue.csv, whole or not at all; raises KitboxError for a repeated image.

    Columns that people added to the file stay, with what they have for each image.
    """
    rows = tuple(rows)
    repeated = [image for image, count in Counter(row.image for row in rows).items() if count > 1]
    if repeated:
        raise KitboxError(
            f"image '{repeated[0]}' is twice in the catalogue{more(len(repeated) - 1)}",
            fix="remove one of the two",
        )
    added, cells = _added_columns(path)
    held = _names(rows).together
    lines = [
        (*astuple(row), name, *(cells.get(row.image, {}).get(column, "") for column in added))
        for row, name in zip(rows, held, strict=True)
    ]
    tables.write_rows(path, [(*COLUMNS, HOLDOUT_COLUMN, *added), *lines])


def update(path: Path, rows: Iterable[CatalogueRow]) -> None:
    """Write a catalogue.csv as `save` does where the file has others, or an old holdout column."""
    rows = tuple(rows)
    if not _is_written(path, rows):
        save(path, rows)


def _added_columns(path: Path) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Return the columns that people added to a catalogue.csv, and image → its cells."""
    if not path.exists():
        return [], {}
    own = (*COLUMNS, HOLDOUT_COLUMN)
    added = [name for name in tables.read_header(path) if name.strip() and name not in own]
    if not added:
        return [], {}
    rows = tables.read_rows(path, COLUMNS[:1], optional=tuple(added))
    return added, {row["image"].strip(): row for _, row in rows}


def refresh(workspace: Workspace) -> None:
    """Write the holdout column of catalogue.csv anew where dates or encounters were changed.

    People change them in a spreadsheet, and a training splits by that column. A list that is not
    there, or was not written by kitbox, stays as it is; raises KitboxError as `load` does.
    """
    finish(workspace)
    path = workspace.catalogue
    if not path.is_file() or HOLDOUT_COLUMN not in tables.read_header(path):
        return
    if not _is_written(path, load(path)):
        with locked(workspace):
            update(path, load(path))


@contextmanager
def locked(workspace: Workspace) -> Iterator[None]:
    """Hold the lock of the catalogue, whose last change is finished where a kill interrupted it.

    A KitboxWarning tells of that; raises KitboxError where its files were changed since.
    """
    with lock(workspace.cache / "catalogue.lock"):
        if complete(workspace.catalogue_change):
            warnings.warn(_FINISHED, KitboxWarning, stacklevel=3)
        yield


def finish(workspace: Workspace) -> None:
    """Finish the catalogue's last change where a kill interrupted it, as `locked` does."""
    if workspace.catalogue_change.is_dir():
        with locked(workspace):
            pass


def _is_written(path: Path, rows: tuple[CatalogueRow, ...]) -> bool:
    """Return whether a catalogue.csv has these rows, with what the holdout needs of them."""
    if not path.exists() or rows != load(path):
        return False
    cells = [row.get(HOLDOUT_COLUMN) for _, row in tables.read_rows(path, COLUMNS[:1])]
    return cells == list(_names(rows).together)


def iso_date(text: str, order: DateOrder | None, where: str) -> str:
    """Return a date as ISO 8601; raise KitboxError for one that cannot be read."""
    found = photograph_dates.parse(text, order)
    if text and not found:
        unclear = photograph_dates.needs_order(text)
        why = "may have day and month in either order" if unclear else "cannot be read"
        raise KitboxError(f"the date '{text}' {why}", where=where, fix="write it as 2019-07-03")
    return found


def with_encounters(rows: Iterable[CatalogueRow]) -> list[CatalogueRow]:
    """Return the rows with an encounter each that can be known, by `encounter_rule`.

    It is that of the list, else the individual with its day and place. A photograph of which a year
    or a month alone is known has none.
    """
    rows = list(rows)
    names = _names(rows).counted
    return [replace(row, encounter=name) for row, name in zip(rows, names, strict=True)]


def _names(rows: Sequence[CatalogueRow]) -> EncounterNames:
    return encounter_rule.names_of(
        [row.individual for row in rows],
        [row.encounter for row in rows],
        [row.date for row in rows],
        [row.place for row in rows],
    )


class IndividualSummary(NamedTuple):
    """An individual's number of photographs and encounters, and its first and last date, or ''."""

    individual: str
    photographs: int
    encounters: int
    first: str
    last: str


def summaries(rows: Iterable[CatalogueRow]) -> list[IndividualSummary]:
    """Return a summary of each individual, sorted by name; see `with_encounters` for encounters."""
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
