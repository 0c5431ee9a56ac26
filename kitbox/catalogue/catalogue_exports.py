"""The catalogue for other programs: photographs, encounters and capture histories."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from kitbox import tables
from kitbox.catalogue import catalogue_list
from kitbox.catalogue.catalogue_list import CatalogueRow
from kitbox.errors import KitboxError, counted
from kitbox.files import write_text


@dataclass(frozen=True)
class Exported:
    """What was written, and sentences on what is not in it and what has to be filled in."""

    files: tuple[Path, ...]
    rows: int
    _: KW_ONLY
    notes: tuple[str, ...] = ()


def write_photographs(rows: Iterable[CatalogueRow], path: Path) -> Exported:
    """Write a row for each photograph: individual, photograph, date, place, side, encounter."""
    header = ("individual", "photograph", "date", "place", "side", "encounter")
    ordered = sorted(
        catalogue_list.with_encounters(rows),
        key=lambda row: (row.individual, row.date, row.image),
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
    found = list(encounters_of_rows(rows))
    header = ("individual", "encounter", "date", "place", "sides", "photographs", "images")
    lines = [
        (
            one[0].individual,
            one[0].encounter,
            day_of(one),
            _joined(row.place for row in one),
            _joined(row.side for row in one),
            len(one),
            ";".join(row.image for row in one),
        )
        for one in found
    ]
    tables.write_rows(path, [header, *lines])
    return Exported((path,), len(lines), notes=left_out(rows, found, "an encounter or a day"))


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


def encounters_of_rows(rows: Iterable[CatalogueRow]) -> Iterator[list[CatalogueRow]]:
    """Yield the photographs of each individual's encounters, by individual and date."""
    groups: dict[tuple[str, str], list[CatalogueRow]] = defaultdict(list)
    for row in catalogue_list.with_encounters(rows):
        if row.encounter:
            groups[row.individual, row.encounter].append(row)
    first = {key: min(row.date for row in own) for key, own in groups.items()}
    for key in sorted(groups, key=lambda key: (key[0], first[key], key[1])):
        yield sorted(groups[key], key=lambda row: (row.date, row.image))


def left_out(
    rows: Sequence[CatalogueRow], kept: Iterable[Sequence[CatalogueRow]], what: str
) -> tuple[str, ...]:
    """Return a sentence on the photographs that are not among the kept ones, if there are some."""
    number = len(rows) - sum(map(len, kept))
    return (f"left out: {counted(number, 'photograph')} without {what}",) if number else ()


def day_of(rows: Iterable[CatalogueRow]) -> str:
    """Return the first day of an encounter, else its first date, or ''."""
    dates = sorted({row.day for row in rows} - {""})
    return next((date for date in dates if len(date) == len("2019-07-03")), (dates or [""])[0])


def _joined(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))


def place_of(rows: Iterable[CatalogueRow]) -> str:
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
