"""Answers as a table: identified.csv for spreadsheets, and JSON."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kitbox.catalogue import catalogue_list, confirmations
from kitbox.errors import KitboxError, counted
from kitbox.identification import identified_record
from kitbox.identification.photograph_answers import NAMED, Answer, Identification
from kitbox.tables import read_header, read_rows, write_rows

# The answers to the photographs that were identified last.
FILE = "identified.csv"
COLUMNS = (
    *("image", "verdict", "individual", "probability", "new_probability", "confirmed"),
    *("second_individual", "second_probability", "third_individual", "third_probability"),
    *("similarity", "photographs_for_it", "note", "file"),
    *("date", "place", "side", "encounter"),
)
# What a list said of a photograph, or people typed here: it goes into the catalogue with it.
_GIVEN = COLUMNS[-4:]


class IdentifiedTable(NamedTuple):
    """The file of the answers, and sentences on rows of earlier runs."""

    path: Path
    notes: tuple[str, ...]


def save(found: Identification) -> IdentifiedTable:
    """Write identified.csv into the workspace, a row for each photograph, and its record.

    The column `confirmed` and columns that people added are for the person who checks the answers:
    see `catalogue.confirmations`; so are date, place, side and encounter, which have what a list of
    photographs said. They are carried over by image, and a "yes" to another individual
    than the one that is the likeliest now becomes its name. Filled rows of photographs of earlier
    runs stay, last, until the catalogue has the photograph. Probabilities are empty where nothing
    is calibrated. Several photographs in a cell are separated by semicolons. Photographs that
    cannot be read come behind the answers.

    Raises KitboxError for an identified.csv that cannot be read, and for two confirmations of one
    photograph in it; the file stays as it is.
    """
    workspace = found.workspace
    path = workspace.root / FILE
    extra, filled = _filled(path)
    individuals = set(found.catalogue.opened.individuals.tolist())
    table = []
    for cells in (*map(_row, found.answers), *_unreadable(found)):
        row = dict(zip(COLUMNS, map(str, cells), strict=True))
        old = filled.pop(row["image"], None)
        known = found.catalogue.opened.known_of(row["image"])
        row |= {name: getattr(known, name) for name in _GIVEN}
        if old is not None:
            row |= {name: old[name] for name in extra}
            row |= {name: text for name in _GIVEN if (text := old.get(name, "").strip())}
            row["confirmed"] = _carried(old, row, individuals)
        table.append(row)
    in_catalogue = {row.image for row in catalogue_list.load(workspace.catalogue)}
    answered = [row for row in filled.values() if _is_filled(row, extra)]
    kept = [row for row in answered if row["image"].strip() not in in_catalogue]
    header = (*COLUMNS, *extra)
    write_rows(path, [header, *([row.get(name, "") for name in header] for row in (*table, *kept))])
    identified_record.save(found)
    return IdentifiedTable(path, tuple(_notes(kept, len(answered) - len(kept))))


def _filled(path: Path) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Return the columns that people added to a table, and image → its row."""
    if not path.is_file():
        return [], {}
    extra = [name for name in read_header(path) if name.strip() and name not in COLUMNS]
    filled: dict[str, dict[str, str]] = {}
    for line, cells in read_rows(path, ("image",), optional=(*COLUMNS[1:], *extra)):
        row = {"confirmed": ""} | cells
        if not row["image"].strip():
            continue
        first = filled.setdefault(row["image"].strip(), row)
        if first["confirmed"].strip() != row["confirmed"].strip():
            raise KitboxError(
                f"'{row['image']}' is confirmed as '{first['confirmed']}' and as "
                f"'{row['confirmed']}'",
                where=f"{path} line {line}",
                fix="correct one of the rows",
            )
    return extra, filled


def _is_filled(row: dict[str, str], extra: Sequence[str]) -> bool:
    """Return whether a person filled in a row."""
    return any(row[name].strip() for name in ("confirmed", *extra))


def _carried(old: dict[str, str], row: dict[str, str], individuals: set[str]) -> str:
    """Return what was confirmed, by its name where a "yes" would now mean another individual."""
    confirmed = old["confirmed"]
    before = confirmations.in_full(old, individuals)
    now = confirmations.in_full(row | {"confirmed": confirmed}, individuals)
    return confirmed if before == now else before or "?"


def _notes(kept: Sequence[dict[str, str]], added: int) -> Iterator[str]:
    if kept:
        yield (
            f"kept in {FILE}: {counted(len(kept), 'filled-in row')} of photographs that are not in "
            f"this run, such as '{kept[0]['image']}'"
        )
    if added:
        yield (
            f"no longer in {FILE}: {counted(added, 'filled-in row')} of photographs that the "
            "catalogue has now"
        )


def as_json(found: Identification) -> dict[str, Any]:
    """Return the answers, what was left out, and how probabilities were calibrated."""
    calibration = found.catalogue.calibration
    return {
        "workspace": str(found.workspace.root),
        "network": found.catalogue.network,
        "counts": found.counts,
        "calibration": {
            "calibrated": calibration.model is not None,
            "why_not": calibration.too_small,
            "pairs": calibration.pairs,
            "encounters": calibration.encounters.count,
            "rule": calibration.encounters.sentence,
            "new_share": found.new_share,
            "matchers": [settings.full for settings in calibration.matchers],
        },
        "photographs": [
            {
                "photograph": answer.image,
                "file": str(answer.path),
                "verdict": answer.verdict,
                "new_probability": _rounded(answer.new_probability),
                "individuals": [
                    {
                        "individual": candidate.individual,
                        "probability": _rounded(candidate.probability),
                        "similarity": _rounded(candidate.similarity),
                        "photographs": list(candidate.photographs),
                    }
                    for candidate in answer.candidates
                ],
                "notes": list(answer.notes),
            }
            for answer in found.answers
        ],
        "unreadable": found.unreadable,
        "notes": [*found.catalogue.opened.notes, *found.catalogue.sentences],
    }


def _row(answer: Answer) -> list[object]:
    named: list[object] = []
    for place in range(NAMED):
        candidate = answer.candidates[place] if place < len(answer.candidates) else None
        probability = "" if candidate is None else _cell(candidate.probability)
        named += ["" if candidate is None else candidate.individual, probability]
    best = answer.candidates[0] if answer.candidates else None
    return [
        answer.image,
        answer.verdict,
        *named[:2],
        _cell(answer.new_probability),
        "",
        *named[2:],
        "" if best is None else _cell(best.similarity),
        "" if best is None else "; ".join(best.photographs),
        "; ".join(answer.notes),
        str(answer.path.resolve()),
        *[""] * len(_GIVEN),
    ]


def _unreadable(found: Identification) -> Iterator[list[object]]:
    paths = {
        str(image): path
        for image, path in zip(
            found.catalogue.opened.queries.image_ids,
            found.catalogue.opened.queries.paths,
            strict=True,
        )
    }
    for image, why in found.unreadable.items():
        empty = [""] * (COLUMNS.index("note") - 2)
        rest = [""] * len(_GIVEN)
        yield [image, "unreadable", *empty, why, str(paths[image].resolve()), *rest]


def _cell(value: float | None) -> object:
    return "" if value is None else f"{value:.3f}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
