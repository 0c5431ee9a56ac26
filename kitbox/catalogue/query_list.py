"""The workspace's own list of photographs to identify, photographs.csv."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from pathlib import Path

from kitbox import tables
from kitbox.catalogue.catalogue_list import CatalogueRow

# What is known of a photograph before anybody says whom it shows.
COLUMNS = ("image", "date", "place", "side", "encounter")


def load(path: Path) -> tuple[CatalogueRow, ...] | None:
    """Return the photographs to identify, whose individual is ''; None for a list of the user's.

    A missing list and one with other columns than kitbox writes are none of kitbox's.
    """
    if not path.is_file():
        return None
    header = tuple(tables.read_header(path))
    if header not in (COLUMNS[:1], COLUMNS):
        return None
    return tuple(
        CatalogueRow(row["image"], "", *(row.get(name, "") for name in COLUMNS[1:]))
        for _, row in tables.read_rows(path, COLUMNS[:1], optional=COLUMNS[1:])
    )


def save(path: Path, rows: Sequence[CatalogueRow]) -> None:
    """Write the photographs to identify, with the columns that are known of any of them."""
    table = [(row.image, *astuple(row)[2:]) for row in rows]
    width = len(COLUMNS) if any(cell for row in table for cell in row[1:]) else 1
    tables.write_rows(path, [COLUMNS[:width], *(row[:width] for row in table)])


def put_back(
    rows: Sequence[CatalogueRow], returned: Iterable[CatalogueRow]
) -> tuple[CatalogueRow, ...]:
    """Return a list with photographs that come back into it: in order of names, if it has one."""
    here = {row.image for row in rows}
    found = [*rows, *(row for row in returned if row.image not in here)]
    ordered = [row.image for row in rows] == sorted(here)
    return tuple(sorted(found, key=lambda row: row.image) if ordered else found)


def digest(images: Iterable[str]) -> str:
    """Return a text that names a set of photographs, as the list of a season."""
    return hashlib.sha256("\n".join(sorted(set(images))).encode("utf-8")).hexdigest()[:12]
