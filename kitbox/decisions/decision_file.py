"""decisions.csv: read, and changed durably by several people and processes at once."""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path

from kitbox import tables
from kitbox.decisions.decision import Decision
from kitbox.decisions.decision_list import Decisions
from kitbox.errors import KitboxError, cannot_write
from kitbox.files import append_line, read_text, write_text
from kitbox.locks import lock

COLUMNS = ("decision", "subject", "value", "note", "by", "time")
# Columns of a file in which no row has the others.
_PLAIN = COLUMNS[:4]


def load(path: Path) -> Decisions:
    """Return the decisions in a file; a missing or empty file has none.

    Raises KitboxError with file and line for a row that is no decision.
    """
    if not path.is_file() or not read_text(path).strip():
        return Decisions((), path)
    rows, lines = [], []
    for line, row in tables.read_rows(path, COLUMNS[:3]):
        if not any(cell.strip() for cell in row.values()):
            continue
        kind, subject, value = (row[name].strip() for name in COLUMNS[:3])
        try:
            by, time = (row.get(name, "").strip() for name in COLUMNS[4:])
            rows.append(Decision(kind, subject, value, row.get("note", ""), by, time))
        except KitboxError as error:
            raise KitboxError(str(error), where=f"{path} line {line}") from error
        lines.append(line)
    return Decisions(tuple(rows), path, tuple(lines))


def add(path: Path, *decisions: Decision) -> None:
    """Append decisions durably: all of them are on disk when this returns.

    The file keeps its order of columns and everything written by hand; columns `by` and `time` are
    added where a decision has them. Several processes may add at once. Raises KitboxError for a
    file that is no list of decisions or cannot be written, and for an image with blanks around its
    name.
    """
    if decisions:
        with _locked(path):
            _append(path, decisions)


def add_chosen(
    path: Path, choose: Callable[[Decisions], Sequence[Decision]]
) -> tuple[Decision, ...]:
    """Append the decisions that a function chooses, given those in the file; return them.

    No other process adds a decision between the two. Raises KitboxError as `load` and `add` do.
    """
    with _locked(path):
        chosen = tuple(choose(load(path)))
        if chosen:
            _append(path, chosen)
        return chosen


def _append(path: Path, decisions: Sequence[Decision]) -> None:
    for image in (image for decision in decisions for image in decision.images):
        tables.check_name(image, path)
    signed = any(decision.by or decision.time for decision in decisions)
    empty = not path.exists() or not read_text(path).strip()
    if empty:
        names = list(COLUMNS if signed else _PLAIN)
    else:
        next(tables.read_rows(path, COLUMNS[:3]), None)  # raises where a column is missing
        names = tables.read_header(path)
        separator = tables.separator_of(path)
        if separator != ",":
            raise KitboxError(
                f"the separator is {separator!r} and must be ',' to add a decision",
                where=f"{path} line 1",
                fix="save it with commas",
            )
        missing = [name for name in COLUMNS[4:] if signed and name not in names]
        if missing:
            _widen(path, missing)
            names += missing
    rows = [_row([_cells(decision).get(name, "") for name in names]) for decision in decisions]
    text = "".join([_row(names), *rows] if empty else rows)
    if empty and path.exists():  # blank lines, which would stand before the header
        _rewrite(path, text)
    else:
        append_line(path, text.encode())


def _widen(path: Path, names: Sequence[str]) -> None:
    """Add columns to the header; the rows below are shorter, which lists may be."""
    lines = list(io.StringIO(path.read_bytes().decode("utf-8"), newline=""))
    place = next(line for line, cells in tables.read_cells(path) if any(map(str.strip, cells))) - 1
    header = lines[place].rstrip("\r\n")
    lines[place] = f"{header},{','.join(names)}{lines[place][len(header) :] or chr(10)}"
    _rewrite(path, "".join(lines))


def remove(path: Path, decision: Decision) -> bool:
    """Remove the last row equal to this decision, note and person included; return if there was."""
    if not path.exists():
        return False
    with _locked(path):
        old = load(path)
        equal = [line for row, line in zip(old.rows, old.lines, strict=True) if row == decision]
        if not equal:
            return False
        lines = list(io.StringIO(path.read_bytes().decode("utf-8"), newline=""))
        # a cell may have line breaks; the number of a row is that of its last line
        ends = [0, *(line for line, _ in tables.read_cells(path))]
        del lines[max(end for end in ends if end < equal[-1]) : equal[-1]]
        _rewrite(path, "".join(lines))
        return True


def _rewrite(path: Path, text: str) -> None:
    write_text(path.resolve(), text)  # a link stays a link


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes from changing the file, by whatever link they know it."""
    file = path.resolve()
    try:
        with lock(file.parent / ".kitbox" / f"{file.name}.lock"):
            yield
    except OSError as error:
        raise cannot_write(path, error) from error


def _cells(decision: Decision) -> dict[str, str]:
    return dict(zip(COLUMNS, astuple(decision), strict=True))


def _row(cells: Sequence[str]) -> str:
    text = io.StringIO()
    tables.csv_writer(text).writerow(map(tables.safe_cell, cells))
    return text.getvalue()
