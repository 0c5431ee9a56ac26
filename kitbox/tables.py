"""Reads the rows of a CSV by the names of its columns."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from kitbox.errors import KitboxError, did_you_mean
from kitbox.files import read_text, write_text

# A spreadsheet takes a cell that begins with one of these for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def read_header(path: Path) -> list[str]:
    """Return the names of a CSV's columns; raises KitboxError as `read_rows` does."""
    _, names = next(_lines(path), (1, []))
    _refuse_separator(path, names)
    return names


def read_columns(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, values of `columns`) of a CSV; raises KitboxError as `read_rows` does."""
    for line, row in read_rows(path, columns):
        yield line, [row[name] for name in columns]


def read_rows(
    path: Path, columns: tuple[str, ...], left_out: Callable[[int, str], None] | None = None
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, column → value) of a CSV which has at least `columns`.

    A byte-order mark, CRLF, blank lines and empty cells at the end of a row do no harm, and a short
    row ends in empty values. Raises KitboxError for a missing file, a missing column, another
    separator, a row with more cells than columns, and bytes that are not UTF-8. Where `left_out`
    is given it is told of such rows instead, by line and what is wrong, and they are left out.
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
            if left_out is None:
                raise KitboxError(what, where=f"{path} line {line}")
            left_out(line, what)
        elif row:
            padded = [*row, *[""] * (len(names) - len(row))]
            yield line, dict(zip(names, padded, strict=False))


def read_cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells) of every line of a CSV that may have no header."""
    return _lines(path)


def _refuse_separator(path: Path, names: list[str]) -> None:
    """Raise KitboxError for a header that other separators than commas leave in one piece."""
    for separator, shown in ((";", "';'"), ("\t", "a tab")):
        if len(names) == 1 and separator in names[0]:
            raise KitboxError(
                f"the separator is {shown} and must be ','",
                where=f"{path} line 1",
                fix="save it with commas",
            )


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells) of every line, the header's first."""
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
    """Write rows as a CSV for people, whole or not at all.

    A text that a spreadsheet would take for a formula gets an apostrophe before it, which shows it
    as text.
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
