"""The catalogue as the sheet of Wildbook's bulk import, a CSV or an Excel workbook.

Columns are those of Wildbook's documentation. It has none for the side of an animal: sides are the
keywords of photographs.
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from kitbox import tables
from kitbox.catalogue import catalogue_list
from kitbox.catalogue.catalogue_exports import (
    Exported,
    day_of,
    encounters_of_rows,
    left_out,
    place_of,
)
from kitbox.catalogue.catalogue_list import CatalogueRow
from kitbox.competition.image_files import photograph_of
from kitbox.errors import KitboxError, counted, more

# What Wildbook keeps of the name of a file; it takes other characters away.
_WILDBOOK_NAME = re.compile(r"[A-Za-z0-9. ]+")


def write_wildbook(
    rows: Sequence[CatalogueRow], path: Path, species: str, *, location_ids: bool = False
) -> Exported:
    """Write Wildbook's bulk import sheet, with a row for each encounter and its photographs.

    It is a workbook where the file ends in .xlsx. A side is the keyword of its photograph.
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
    found = [one for one in [*encounters_of_rows(rows), *alone] if day_of(one) and place_of(one)]
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
    sides = [number for number in range(most) if any(row.side for row in _nth(found, number))]
    header = [
        *("Encounter.genus", "Encounter.specificEpithet", "MarkedIndividual.individualID"),
        *("Encounter.year", "Encounter.month", "Encounter.day"),
        "Encounter.locationID" if location_ids else "Encounter.verbatimLocality",
        *(f"Encounter.mediaAsset{number}" for number in range(most)),
        *(f"Encounter.keyword{number}" for number in sides),
    ]
    lines = []
    for one in found:
        date = [*day_of(one).split("-"), "", ""][:3]
        images = [Path(photograph_of(row.image)).name for row in one]
        images += [""] * (most - len(images))
        numbers = [int(part) if part else "" for part in date]
        keywords = [one[number].side if number < len(one) else "" for number in sides]
        lines.append(
            [genus, epithet, one[0].individual, *numbers, place_of(one), *images, *keywords]
        )
    if path.suffix.lower() == ".xlsx":
        tables.write_workbook(path, [header, *lines])
    else:
        tables.write_rows(path, [header, *lines])
    notes = list(left_out(rows, found, "a year and a place"))
    odd = [name for name in names if not _WILDBOOK_NAME.fullmatch(name)]
    if odd:
        notes.append(
            f"Wildbook takes characters away from '{odd[0]}'{more(len(odd) - 1)}: it keeps English "
            "letters, digits, dots and blanks"
        )
    if len(lines) > 200:
        notes.append(f"Wildbook asks for 200 encounters a sheet at most; these are {len(lines)}")
    places = [one for one in found if len({row.place for row in one} - {""}) > 1]
    if places:
        notes.append(
            f"{counted(len(places), 'encounter')} of several places, as that of "
            f"'{places[0][0].individual}' on {day_of(places[0])}, have the first of them"
        )
    return Exported((path,), len(lines), notes=tuple(notes))


def _nth(encounters: Sequence[Sequence[CatalogueRow]], number: int) -> list[CatalogueRow]:
    """Return the photographs that have a number, from 0, in their encounters."""
    return [one[number] for one in encounters if number < len(one)]
