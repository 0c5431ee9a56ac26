"""CSV files: rows read by the names of their columns, and rows written for spreadsheets."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from kitbox.errors import KitboxError, did_you_mean
from kitbox.files import read_text, write_text

# A spreadsheet takes a cell that begins with one of these for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def read_header(path: Path) -> list[str]:
    """Return the column names of a CSV; raises KitboxError as `read_rows` does."""
    _, names = next(_lines(path), (1, []))
    _refuse_separator(path, names)
    return names


def read_columns(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, values of `columns`) of a CSV; raises KitboxError as `read_rows` does."""
    for line, row in read_rows(path, columns):
        yield line, [row[name] for name in columns]


def read_rows(
    path: Path, columns: tuple[str, ...], on_bad_row: Callable[[int, str], None] | None = None
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, column → value) for each row of a CSV that has at least `columns`.

    A byte-order mark, CRLF, blank lines and empty cells at the end of a row are allowed, and the
    missing values of a short row are empty. Raises KitboxError for a missing file, a missing
    column, another separator, and bytes that are not UTF-8. A row with more cells than columns is
    an error too, unless there is `on_bad_row`: then it is called with the line and the message, and
    the row is left out.
    """
    lines = _lines(path)
    _, names = next(lines, (1, []))
    missing = [name for name in columns if name not in names]
    if missing:
        _refuse_separator(path, names)
        raise KitboxError(
            f"no column '{missing[0]}' among {', '.join(names) or 'nothing'}"
            f"{did_you_mean(missing[0], names)}",
            where=f"{path} line 1",
            fix="correct the header, or the column's name in kitbox.toml",
        )
    for line, row in lines:
        surplus = next((cell for cell in row[len(names) :] if cell.strip()), None)
        if surplus is not None:
            what = (
                f"{len(row)} cells in {len(names)} columns, '{surplus}' is too many; "
                'put a value with a comma into quotes, as "Smith, John"'
            )
            if on_bad_row is None:
                raise KitboxError(what, where=f"{path} line {line}")
            on_bad_row(line, what)
        elif row:
            padded = [*row, *[""] * (len(names) - len(row))]
            yield line, dict(zip(names, padded, strict=False))


def read_cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells) for every line of a CSV, with or without a header."""
    return _lines(path)


def _refuse_separator(path: Path, names: list[str]) -> None:
    """Raise KitboxError for a header with another separator than commas."""
    for separator, name in ((";", "';'"), ("\t", "a tab")):
        if len(names) == 1 and separator in names[0]:
            raise KitboxError(
                f"the separator is {name} and must be ','",
                where=f"{path} line 1",
                fix="save it with commas",
            )


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells) for every line, the header first."""
    try:
        text = read_text(path)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise KitboxError(
            f"there is no list {path}", fix="correct its name in kitbox.toml"
        ) from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise KitboxError(str(error), where=f"{path} line {reader.line_num}") from error


def write_rows(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write rows as a CSV for spreadsheets, whole or not at all.

    A text that a spreadsheet would read as a formula gets an apostrophe before it.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    for row in rows:
        table.writerow(
            [
                f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
                for cell in row
            ]
        )
    write_text(path, text.getvalue())
