"""Pseudo-labels: labels that networks predict for test images, stored in pseudo.csv.

Its columns are

- `image`, `label`: a test image and its predicted label
- `confidence`, `gap`: the probability of the label, and its lead over the second most probable
- `round`: 1 for networks trained on labels alone, 2 for networks trained on round 1, and so on
- `from`: the networks, or the imported list
- `on`: what the networks were trained on, "holdout" (its training side) or "all" labels
- `holdout`: for "holdout", the digest of the queries that they were not trained on, else empty
"""

import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kitbox import tables
from kitbox.competition.settings import ImageSettings
from kitbox.errors import KitboxError, did_you_mean
from kitbox.files import digest_of, read_text, write_bytes, write_text
from kitbox.records import Strings

_COLUMNS = ("image", "label", "confidence", "gap", "round", "from", "on", "holdout")
# The list of the GDSC 2020 solution: a file, its individual's folder, a probability.
_GDSC = ("full_path", "folder", "proba")


@dataclass(frozen=True, kw_only=True)
class PseudoLabel:
    """A row of pseudo.csv and its `line`; `gap` is None where it is unknown.

    Raises KitboxError for a value that its column cannot have.
    """

    image_id: str
    label: str
    confidence: float
    gap: float | None
    round: int
    source: str
    on: str
    holdout: str = ""
    line: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        if not (self.image_id and self.label):
            raise KitboxError("a pseudo-label needs an image and a label; fill in or remove it")
        for name, value in (("confidence", self.confidence), ("gap", self.gap or 0.0)):
            if not 0 <= value <= 1:
                raise KitboxError(f"{name} = {value} is not between 0 and 1; correct it")
        if self.round < 1:
            raise KitboxError(f"round = {self.round} is below 1; correct it")
        if self.on not in ("holdout", "all"):
            raise KitboxError(f"on = '{self.on}' is neither holdout nor all; correct it")

    @property
    def cells(self) -> tuple[object, ...]:
        """The values of the row, in the order of the columns."""
        gap = "" if self.gap is None else f"{self.gap:.6f}"
        prediction = (self.image_id, self.label, f"{self.confidence:.6f}", gap)
        return (*prediction, self.round, self.source, self.on, self.holdout)


def load(path: Path, images: ImageSettings | None = None) -> tuple[PseudoLabel, ...]:
    """Return the rows of a file; a missing or empty file has none.

    Raises KitboxError with file and line for a faulty row, for a second row of an image, and for a
    row with a label of unknown individuals, which `images` name.
    """
    if not path.is_file() or not read_text(path).strip():
        return ()
    rows: dict[str, PseudoLabel] = {}
    for line, row in _table(path, _COLUMNS):
        cells = {name: row[name].strip() for name in _COLUMNS}
        if not any(cells.values()):
            continue
        where = f"{path} line {line}"
        try:
            pseudo_label = _row(cells, line)
        except KitboxError as error:
            raise KitboxError(str(error), where=where) from error
        label = pseudo_label.label
        if images is not None and images.read_label(label) == images.unknown_label:
            raise KitboxError(
                f"'{label}' is no individual",
                where=where,
                fix="name one, or remove the row",
            )
        if pseudo_label.image_id in rows:
            first = rows[pseudo_label.image_id].line
            raise KitboxError(
                f"image '{pseudo_label.image_id}' is on line {first} already",
                where=where,
                fix="remove one of the two",
            )
        rows[pseudo_label.image_id] = pseudo_label
    return tuple(rows.values())


def save(path: Path, rows: Sequence[PseudoLabel]) -> Path | None:
    """Write rows, whole or not at all, sorted by image; return the backup of the file before.

    A file with other rows is backed up beside it, as pseudo.1.csv: users may have edited it, and
    networks were trained on it. Raises KitboxError for an image with blanks around its name.
    """
    for row in rows:
        tables.check_name(row.image_id, path)
    text = _text(rows)
    before = path.read_bytes() if path.is_file() else b""
    backup = None
    if before not in (b"", text.encode(), _text(()).encode()):
        candidates = (path.with_suffix(f".{number}{path.suffix}") for number in itertools.count(1))
        backup = next(candidate for candidate in candidates if not candidate.exists())
        write_bytes(backup, before)
    write_text(path, text)
    return backup


def _text(rows: Sequence[PseudoLabel]) -> str:
    text = io.StringIO()
    writer = tables.csv_writer(text)
    writer.writerow(_COLUMNS)
    writer.writerows(
        map(tables.safe_cell, row.cells) for row in sorted(rows, key=lambda row: row.image_id)
    )
    return text.getvalue()


def digest(rows: Sequence[PseudoLabel]) -> str:
    """Return the sha256 of the images and labels that a training uses."""
    return digest_of(sorted([row.image_id, row.label] for row in rows))


def holdout_digest(query_ids: Strings) -> str:
    """Return twelve hex digits that name a holdout by its queries."""
    return digest_of(sorted(query_ids.tolist()))[:12]


def read_gdsc(path: Path) -> Iterator[tuple[int, str, str, float]]:
    """Yield (line, file, label, probability) of a list of the GDSC 2020 solution.

    Raises KitboxError for a missing file or column and for an invalid probability.
    """
    for line, row in _table(path, _GDSC):
        file, label, text = (row[name] for name in _GDSC)
        where = f"{path} line {line}"
        probability = _number(text, "proba", where)
        if not 0 <= probability <= 1:
            raise KitboxError(f"proba = {text} is not between 0 and 1", where=where)
        yield line, file.strip(), label.strip(), probability


def with_label(row: PseudoLabel, label: str) -> PseudoLabel:
    """Return a row with another label, that of a merged individual."""
    return row if row.label == label else replace(row, label=label)


def _table(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a list whose name and columns are not settings of kitbox.toml."""
    if not path.is_file():
        raise KitboxError(f"there is no list {path}", fix="correct its name")
    names = tables.read_header(path)
    missing = next((name for name in columns if name not in names), None)
    if missing is not None:
        raise KitboxError(
            f"no column '{missing}' among {tables.join(names)}"
            f"{did_you_mean(missing, names) or '; correct the header'}",
            where=f"{path} line 1",
        )
    yield from tables.read_rows(path, columns)


def _row(cells: dict[str, str], line: int) -> PseudoLabel:
    number = tables.whole_number(cells["round"])
    if number is None:
        raise KitboxError(f"round = '{cells['round']}' is no whole number; correct it")
    return PseudoLabel(
        image_id=cells["image"],
        label=cells["label"],
        confidence=_number(cells["confidence"], "confidence"),
        gap=_number(cells["gap"], "gap") if cells["gap"] else None,
        round=number,
        source=cells["from"],
        on=cells["on"],
        holdout=cells["holdout"],
        line=line,
    )


def _number(text: str, name: str, where: str = "") -> float:
    try:
        return float(text)
    except ValueError as error:
        raise KitboxError(
            f"{name} = '{text}' is no number", where=where, fix="correct it"
        ) from error
