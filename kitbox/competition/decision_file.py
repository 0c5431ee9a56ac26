"""The file of decisions: reads it, adds rows to it durably, and takes rows back."""

import csv
import fcntl
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from kitbox.competition import tables
from kitbox.competition.decisions import Decision, Decisions
from kitbox.errors import KitboxError
from kitbox.files import read_text, sync_folder, write_line, write_text

COLUMNS = ("decision", "subject", "value", "note")


def read(path: Path) -> Decisions:
    """Return the decisions in a file; a missing or an empty file holds none.

    Raises KitboxError that names file and line of a row that decides nothing.
    """
    if not path.is_file() or not read_text(path).strip():
        return Decisions((), path)
    rows, lines = [], []
    for line, row in tables.table(path, COLUMNS[:3]):
        if not any(cell.strip() for cell in row.values()):
            continue
        kind, subject, value = (row[name].strip() for name in COLUMNS[:3])
        try:
            rows.append(Decision(kind, subject, value, row.get("note", "")))
        except KitboxError as error:
            raise KitboxError(f"{path} line {line}: {error}") from error
        lines.append(line)
    return Decisions(tuple(rows), path, tuple(lines))


def add(path: Path, *decisions: Decision) -> None:
    """Append decisions, durably: they are in the file, all of them, when this returns.

    Columns stand as the file has them, and all that was written by hand stays. Several processes
    may add at once. Raises KitboxError where the file is no list of decisions or cannot be written.
    """
    if not decisions:
        return
    with _locked(path) as file:
        new = not read_text(path).strip()
        if new:
            os.ftruncate(file, 0)
            names = list(COLUMNS)
        else:
            next(tables.table(path, COLUMNS[:3]), None)  # the columns are there
            names = tables.header(path)
        rows = [_row([_cells(decision).get(name, "") for name in names]) for decision in decisions]
        write_line(file, "".join([*([_row(COLUMNS)] if new else []), *rows]).encode())
        sync_folder(path.parent)


def take_back(path: Path, decision: Decision) -> bool:
    """Remove the last row that is this decision, note and all; return whether there was one."""
    if not path.exists():
        return False
    with _locked(path):
        found = read(path)
        equal = [line for row, line in zip(found.rows, found.lines, strict=True) if row == decision]
        if not equal:
            return False
        lines = list(io.StringIO(path.read_bytes().decode("utf-8"), newline=""))
        # a cell may have line breaks, and a row is called by its last line
        ends = [0, *(line for line, _ in tables.cells(path))]
        del lines[max(end for end in ends if end < equal[-1]) : equal[-1]]
        place = path.resolve()  # a link stays one
        mode = place.stat().st_mode
        write_text(place, "".join(lines))
        place.chmod(mode)
        return True


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Give a descriptor of the file at `path`, new or old, that nobody else writes meanwhile."""
    try:
        while True:
            file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                # whoever took a decision back meanwhile put another file in its place
                if os.path.samestat(os.fstat(file), path.stat()):
                    yield file
                    return
            finally:
                os.close(file)
    except OSError as error:
        raise KitboxError(f"cannot write {path}: {error.strerror or error}") from error


def _cells(decision: Decision) -> dict[str, str]:
    values = (decision.kind, decision.subject, decision.value, decision.note)
    return dict(zip(COLUMNS, values, strict=True))


def _row(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
