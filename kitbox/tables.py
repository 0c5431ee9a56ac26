"""Lists: rows of a CSV or an Excel workbook by their columns, and rows for spreadsheets."""

import csv
import io
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime, time
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kitbox.errors import KitboxError, did_you_mean, readable
from kitbox.files import atomic_file, read_text

if TYPE_CHECKING:
    from _csv import Reader, Writer

    from _typeshed import SupportsWrite

# A spreadsheet takes a cell that begins with one of these for a formula.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_FORMULA_STARTS = frozenset("'=+-@\t\r")
# Python's own limit is 131,072 characters; this is the largest number that every system takes.
_LONGEST_CELL = 2**31 - 1
# Column names in a message, and characters of one.
_NAMED, _SHOWN = 30, 60
# Lines at the top of a list in which its header is looked for.
_TOP = 20
# Digits of a whole number; Python takes a quadratic time for long ones and refuses 4,300.
_DIGITS = 18
# Rows of a long list that are read at a time.
_BLOCK_ROWS = 100_000
_WORKBOOK = b"PK\x03\x04"  # a zip archive, as .xlsx
_OLD_WORKBOOK = b"\xd0\xcf\x11\xe0"  # .xls, or a workbook with a password


def read_header(path: Path, usual: Iterable[str] = ()) -> list[str]:
    """Return the column names of a list; raises KitboxError as `read_rows` does.

    Where none of the `usual` names is among them, but one is in a line below, that line must be the
    header: an error too.
    """
    line, names, _ = _table(path)
    if not set(usual) & set(names):
        _refuse_title(path, line, lambda cells: bool(set(usual) & set(cells)))
    return names


def read_columns(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, values of `columns`); raises KitboxError as `read_rows` does."""
    for line, row in read_rows(path, columns):
        yield line, [row[name] for name in columns]


def read_rows(
    path: Path,
    columns: tuple[str, ...],
    on_bad_row: Callable[[int, str], None] | None = None,
    optional: tuple[str, ...] = (),
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, column → value) for each row of a list that has at least `columns`.

    A list is a CSV with commas, semicolons or tabs, or an Excel workbook with one sheet. The
    apostrophe before a formula, as `write_rows` puts it, is no part of a value. A
    byte-order mark, CRLF, rows without a value and empty cells at the end of a row are allowed, and
    the missing values of a short row are empty. Raises KitboxError for a missing file, a missing
    column, one of `columns` or of the `optional` ones that occurs twice, a title above the header,
    and bytes that are not UTF-8. A row with more cells than columns and a second header are errors
    too, unless there is `on_bad_row`: then it is called with the line and the message, and the row
    is left out.
    """
    first, names, lines = _table(path)
    missing = [name for name in columns if name not in names]
    if missing:
        _refuse_title(path, first, lambda cells: set(columns) <= set(cells))
        raise KitboxError(
            f"no column '{missing[0]}' among {join(names)}{did_you_mean(missing[0], names)}",
            where=f"{path} line {first}",
            fix="correct the header, or the column's name in kitbox.toml",
        )
    refuse_repeated(path, names, (*columns, *optional), first)
    known = {name.strip().casefold() for name in names}
    for line, row in lines:
        what = _row_problem(row, names, known)
        if what is None:
            padded = [*row, *[""] * (len(names) - len(row))]
            plain = [plain_cell(cell) if cell[:1] == "'" else cell for cell in padded]
            yield line, dict(zip(names, plain, strict=False))
        elif on_bad_row is None:
            raise KitboxError(what, where=f"{path} line {line}")
        else:
            on_bad_row(line, what)


def read_column_blocks(path: Path, columns: tuple[str, ...]) -> Iterator[list[Any]]:
    """Yield columns of a long list in blocks of rows, each column an array (n,) of str.

    numpy reads the rows as long as no cell has quotes, apostrophes or line ends and all rows have
    as many cells as the header; any other list is read as by `read_columns`, which raises the same
    errors.
    """
    header = read_header(path)
    done = 0
    if set(columns) <= set(header) and not is_workbook(path):
        refuse_repeated(path, header, columns)
        text = read_text(path)
        separator, skipped = _separator(text)
        rows = text.rstrip("\r\n").count("\n")
        first, _, rest = text.partition("\n")
        plain = not any(mark in text for mark in "\"'") and not skipped and first.strip()
        if plain and text.count(separator) == (rows + 1) * (len(header) - 1):
            places = tuple(header.index(name) for name in columns)
            for block in parse_blocks(rest, places, separator):
                done += len(block[0])
                yield block
            if done == rows:
                return
    others = islice(read_columns(path, columns), done, None)
    while table := [row for _, row in islice(others, _BLOCK_ROWS)]:
        yield [np.array(column, dtype=np.str_) for column in zip(*table, strict=True)]


def parse_blocks(text: str, places: tuple[int, ...], separator: str = ",") -> Iterator[list[Any]]:
    """Yield columns of a CSV without header and quotes by their places from 0, as arrays of str.

    Ends before a block with a row of fewer columns. Lines without any value are left out.
    """
    lines = io.StringIO(text, newline=None)
    size = _BLOCK_ROWS
    while size == _BLOCK_ROWS:
        try:
            with warnings.catch_warnings():  # of empty lines and of no lines
                warnings.simplefilter("ignore", UserWarning)
                block = np.loadtxt(
                    lines,
                    dtype=np.str_,
                    delimiter=separator,
                    comments=None,
                    usecols=places,
                    max_rows=_BLOCK_ROWS,
                    ndmin=2,
                )
        except ValueError:
            return
        size = len(block)
        if size:
            yield list(block.reshape(-1, len(places)).T)


def read_cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells) for every line of a list, with or without a header."""
    return _lines(path)


def join(names: Iterable[str]) -> str:
    """Return the names of columns as part of a sentence: not all of very many or very long ones."""
    # quotation marks show the blanks around a name
    named = [f"'{name}'" if name != name.strip() else name for name in names if name.strip()]
    shown = [name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…" for name in named[:_NAMED]]
    return ", ".join([*shown, *(["…"] if len(named) > _NAMED else [])]) or "nothing"


def whole_number(text: str) -> int | None:
    """Return the whole number of a cell, None for other text and for more than 18 digits."""
    return int(text) if text.isdecimal() and len(text) <= _DIGITS else None


def refuse_repeated(path: Path, names: list[str], columns: Iterable[str], line: int = 1) -> None:
    """Raise KitboxError for one of the columns that the header on a line names twice."""
    for name in columns:
        places = [str(place) for place, other in enumerate(names, 1) if other == name]
        if len(places) > 1:
            raise KitboxError(
                f"the column '{name}' is there {len(places)} times, as columns "
                f"{' and '.join(places)}",
                where=f"{path} line {line}",
                fix="rename or remove all but one",
            )


def is_workbook(path: Path) -> bool:
    """Return whether a file is an Excel workbook by its first bytes."""
    with path.open("rb") as file:
        return file.read(len(_WORKBOOK)) == _WORKBOOK


def separator_of(path: Path) -> str:
    """Return the separator of a CSV: a comma, a semicolon or a tab."""
    return _separator(read_text(path))[0]


def csv_reader(text: str, separator: str = ",", *, strict: bool = False) -> "Reader":
    """Return a reader of the lines of a CSV whose cells may be of any length."""
    csv.field_size_limit(_LONGEST_CELL)
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=strict)


class _LineFeeds:
    """Ends the rows of a CSV with a line feed alone."""

    def __init__(self, file: "SupportsWrite[str]") -> None:
        self._file = file

    def write(self, row: str) -> object:
        return self._file.write(row.removesuffix("\r\n") + "\n")


def csv_writer(file: "SupportsWrite[str]") -> "Writer":
    """Return a writer of rows that end with a line feed.

    Python quotes a cell for a character that ends its rows. With a line feed alone, a cell with a
    carriage return would not be quoted, and could not be read again.
    """
    return csv.writer(_LineFeeds(file), lineterminator="\r\n")


def _table(path: Path) -> tuple[int, list[str], Iterator[tuple[int, list[str]]]]:
    """Return the header's line, the column names, and the rows that have a value.

    Raises KitboxError for a title above the header: one cell above a row of several.
    """
    lines = ((line, cells) for line, cells in _lines(path) if _filled(cells))
    first, names = next(lines, (1, []))
    if len(_filled(names)) != 1:
        return first, names, lines
    second = next(lines, None)
    if second is not None and len(_filled(second[1])) > 1:
        raise KitboxError(
            f"'{join(names)}' stands alone above the {len(_filled(second[1]))} cells of line "
            f"{second[0]}",
            where=f"{path} line {first}",
            fix="remove a title above the header, or complete the header",
        )
    return first, names, lines if second is None else chain([second], lines)


def _filled(cells: list[str]) -> list[str]:
    return [cell for cell in cells if cell.strip()]


def _refuse_title(path: Path, first: int, is_header: Callable[[list[str]], bool]) -> None:
    """Raise KitboxError where a line below the first is the header."""
    for line, cells in islice(_lines(path), _TOP):
        # the separator is that of the first line, which a title may not have
        parts = re.split(r"[;\t]", cells[0]) if len(cells) == 1 else cells
        if line > first and is_header(parts):
            raise KitboxError(
                f"the header seems to be on line {line}, below a title",
                where=f"{path} line {first}",
                fix=f"remove what is above line {line}",
            )


def _row_problem(row: list[str], names: list[str], known: set[str]) -> str | None:
    """Return what is wrong with a row, or None; `known` are the stripped and folded names."""
    if len(row) <= len(names) and row and row[0].strip() and row[0].strip().casefold() not in known:
        return None  # as nearly all rows are
    surplus = next((cell for cell in row[len(names) :] if cell.strip()), None)
    if surplus is not None:
        return (
            f"{len(row)} cells in {len(names)} columns, '{surplus}' is too many; "
            'put a value with a comma into quotes, as "Smith, John"'
        )
    # the columns of a second list below the first may have another order
    cells = [cell.strip().casefold() for cell in _filled(row)]
    if known.issuperset(cells) and len(cells) == len(set(cells)) >= min(2, len(names)):
        return f"'{', '.join(_filled(row))}' is a second header; remove the row"
    return None


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells) for every line, the header first."""
    try:
        with path.open("rb") as file:
            start = file.read(len(_WORKBOOK))
        text = "" if start in (_WORKBOOK, _OLD_WORKBOOK) else read_text(path)
        stat = path.stat()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise KitboxError(
            f"there is no list {path}", fix="correct its name in kitbox.toml"
        ) from error
    except OSError as error:
        raise KitboxError(f"{path} cannot be read ({error.strerror})") from error
    if start == _WORKBOOK:
        yield from _workbook_lines(path, stat.st_mtime_ns, stat.st_size)
    elif start == _OLD_WORKBOOK:
        raise KitboxError(
            f"{path} is a workbook of an old Excel, or one with a password",
            fix="save it as .xlsx without a password, or as 'CSV UTF-8'",
        )
    else:
        yield from _csv_lines(path, text)


def _csv_lines(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    if path.name.startswith("~$"):
        raise KitboxError(
            f"{path} is not a list: Excel keeps it beside an open workbook",
            fix=f"name {path.name.removeprefix('~$')}",
        )
    if re.match(r"\s*(\{|\[\s*[\[{])", text):
        raise KitboxError(
            f"{path} is JSON, not a list with columns",
            fix="export it as CSV; 'kitbox data boxes import' reads boxes in JSON",
        )
    separator, skipped = _separator(text)
    reader = csv_reader(text, separator, strict=True)
    row_end = 0
    try:
        for row in reader:
            row_end = reader.line_num
            if row_end > skipped:
                yield row_end, row
    except csv.Error as error:
        if "unexpected end" in str(error):
            raise KitboxError(
                "the row has a quotation mark that is closed nowhere below",
                where=f"{path} line {row_end + 1}",
                fix="close or remove it",
            ) from error
        raise KitboxError(
            f"a cell goes on behind its closing quotation mark ({error})",
            where=f"{path} line {reader.line_num}",
            fix='write a quotation mark inside a cell twice, as "the ""big"" one"',
        ) from error


def _separator(text: str) -> tuple[str, int]:
    """Return the separator of a CSV, and how many lines are no rows: 1 for Excel's "sep=;"."""
    first = next((line for line in io.StringIO(text) if line.strip()), "").strip("\r\n")
    given = re.fullmatch(r'"?sep=(.)"?[,;\s]*', first, re.IGNORECASE)
    if given:
        return given[1], text[: text.index(first)].count("\n") + 1
    unquoted = re.sub(r'"[^"]*"', "", first)
    return max((",", ";", "\t"), key=unquoted.count), 0


@lru_cache(maxsize=4)
def _workbook_lines(path: Path, _mtime_ns: int, _size: int) -> list[tuple[int, list[str]]]:
    """Return (row number, cells as texts) of the only sheet of a workbook that has any.

    Raises KitboxError without openpyxl, for another kind of file, for several sheets with cells,
    and for a formula whose result the file does not have.
    """
    try:
        import openpyxl
    except ImportError as error:
        raise KitboxError(
            f"{path} is an Excel workbook, which kitbox reads with openpyxl",
            fix="pip install 'kitbox[xlsx]', or save it as 'CSV UTF-8'",
        ) from error
    formulas = []
    try:
        # openpyxl warns of styles and drop-down lists that it does not read
        with warnings.catch_warnings(), path.open("rb") as file, zipfile.ZipFile(file) as archive:
            warnings.simplefilter("ignore")
            book = openpyxl.load_workbook(file, read_only=True, data_only=True)
            visible = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
            names, sheets = [sheet.title for sheet in visible], [_sheet(one) for one in visible]
            members = [name for name in archive.namelist() if name.startswith("xl/worksheets/")]
            if any(re.search(rb"<f[ />]", archive.read(name)) for name in members):
                book = openpyxl.load_workbook(file, read_only=True)
                formulas = [_sheet(book[name], formulas=True) for name in names]
    except Exception as error:  # openpyxl raises whatever it meets in a damaged archive
        raise KitboxError(
            f"{path} is a zip archive and not an Excel workbook that can be read",
            fix="save it as .xlsx or as 'CSV UTF-8'",
        ) from error
    filled = [number for number, rows in enumerate(sheets) if rows]
    if len(filled) > 1:
        raise KitboxError(
            f"{path} has {len(filled)} sheets, '{names[filled[0]]}' and '{names[filled[1]]}'"
            f"{' and more' if len(filled) > 2 else ''}",
            fix="keep the one with the list, or save that one as 'CSV UTF-8'",
        )
    rows = sheets[filled[0]] if filled else []
    values = dict(rows)
    for line, cells in formulas[filled[0]] if filled and formulas else ():
        for place, cell in enumerate(cells):
            if cell and (place >= len(values.get(line, [])) or not values[line][place]):
                raise KitboxError(
                    f"the formula {cell} has no result in the file",
                    where=f"{path} line {line}",
                    fix="open it in a spreadsheet and save it, or save it as 'CSV UTF-8'",
                )
    return rows


def _sheet(sheet: Any, *, formulas: bool = False) -> list[tuple[int, list[str]]]:
    """Return the rows of a sheet that have a value; with `formulas` only cells that are one."""
    sheet.reset_dimensions()  # some programs write wrong ones, which would cut off rows
    rows = []
    for line, row in enumerate(sheet.iter_rows(), 1):
        cells = [
            "" if formulas and cell.data_type != "f" else _cell_text(cell.value, cell)
            for cell in row
        ]
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            rows.append((line, cells))
    return rows


def _cell_text(value: object, cell: Any) -> str:
    """Return a cell as the text that a user sees: 12 for 12.0, 007 for a 7 shown so, ISO dates."""
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return str(value).upper()
        case float() if value.is_integer():
            return _cell_text(int(value), cell)
        case int():
            zeros = re.fullmatch("0+", cell.number_format)
            return str(value).zfill(len(zeros[0])) if zeros else str(value)
        case datetime():
            has_time = value.time() != time() or re.search(r"h|ss", cell.number_format.lower())
            return value.isoformat(" ") if has_time else value.date().isoformat()
        case date() | time():
            return value.isoformat()
        case _:
            return str(value)


def write_rows(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write rows as a CSV for spreadsheets, whole or not at all.

    A text that a spreadsheet would read as a formula gets an apostrophe before it, which
    `read_rows` takes away again.
    """
    with (
        atomic_file(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        table = csv_writer(file)
        table.writerows([safe_cell(cell) for cell in row] for row in rows)


def write_workbook(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write rows as the only sheet of an Excel workbook, whole or not at all.

    A text stays a text, also one like "=B": no cell is a formula. Raises KitboxError without
    openpyxl.
    """
    try:
        import openpyxl
        from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
    except ImportError as error:
        raise KitboxError(
            f"{path} would be an Excel workbook, which kitbox writes with openpyxl",
            fix="pip install 'kitbox[xlsx]', or name a file that ends in .csv",
        ) from error
    book = openpyxl.Workbook()
    sheet = book.active
    for line, row in enumerate(rows, 1):
        for column, value in enumerate(row, 1):
            if value == "":
                continue
            cell = sheet.cell(line, column)
            if isinstance(value, str):
                cell.value = ILLEGAL_CHARACTERS_RE.sub("\N{REPLACEMENT CHARACTER}", readable(value))
                cell.data_type = "s"
            else:
                cell.value = value
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        book.save(file)


def safe_cell(cell: object) -> object:
    """Return a cell of a CSV that people open: a text that would be a formula gets an apostrophe.

    `read_rows` takes it away again.
    """
    if not isinstance(cell, str):
        return cell
    if cell[:1] in _FORMULA_STARTS and _FORMULA.match(cell):
        return readable(f"'{cell}")
    return cell if cell.isascii() else readable(cell)


def plain_cell(cell: str) -> str:
    """Return the text of a cell without the apostrophe that `write_rows` puts before a formula."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def check_name(name: str, path: Path) -> None:
    """Raise KitboxError for an image whose name a list that people type into does not keep.

    Blanks around a cell are no part of it there.
    """
    if name != name.strip() or "\r" in name:
        raise KitboxError(
            f"image {name!r} has blanks around its name or a line end in it, which {path.name} "
            "cannot hold",
            fix="rename the file, and correct its name in the lists",
        )
