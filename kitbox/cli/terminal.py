"""Terminal output of all commands: progress, tables, lines and JSON; and loading the data."""

import json
import os
import re
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO, TypeVar, assert_never

from kitbox.devices.launch import is_first
from kitbox.errors import KitboxError
from kitbox.workspace import find_workspace

if TYPE_CHECKING:
    from rich.console import Console

    from kitbox.competition.settings import Competition
    from kitbox.dataset.collection import Collection
    from kitbox.records import Scores
    from kitbox.training.events import SweepEvent
    from kitbox.workspace import Workspace


Result = TypeVar("Result")
# Seconds between two lines of progress where there is no terminal to redraw.
_LINE_INTERVAL = 10.0
# Words of a sentence: a command in quotes stays whole, so that it can be copied.
_WORD = re.compile(r"'kitbox [^']*'\S*|\S+")
# A command in quotes that a workspace can be named for; of identify it is an option of its own.
_QUOTED_COMMAND = re.compile(r"'kitbox (?!identify|--)([^']*)'")
# Characters that a shell takes as they are.
_PLAIN = re.compile(r"[\w@%+=:,./\\-]+")
# Blanks between two figures of a line, and between two columns of a table.
_GAP = 2
_TABLE_GAP = 3
# A terminal of fewer columns has no room for a bar beside the figures of a step.
_LEAST_FOR_BAR = 110


def print_line(text: str) -> None:
    """Print a line for people, on stderr: stdout is for figures and JSON."""
    if is_first():
        print(wrap(text, _columns(sys.stderr)), file=sys.stderr, flush=True)


def print_whole(text: str) -> None:
    """Print a line as `print_line` does, but never in two: a command is copied from it."""
    if is_first():
        print(text, file=sys.stderr, flush=True)


def wrap(text: str, width: int | None) -> str:
    """Return a text in lines of at most `width` columns, which cut no word; None: as it is.

    Figures stay with their names: a line ends at two blanks where it has any.
    """
    if width is None:
        return text
    return "\n".join(part for line in text.split("\n") for part in _wrap_line(line, width))


def _wrap_line(line: str, width: int) -> Iterator[str]:
    if len(line) <= width:
        yield line
        return
    current = ""
    for piece in re.split(r"(?<=\S)  (?=\S)", line):
        if current and len(current) + _GAP + len(piece) <= width:
            current += " " * _GAP + piece
            continue
        if current:
            yield current
        current = ""
        for word in _words(piece, width):
            if current and len(current) + 1 + len(word) > width:
                yield current
                current = word
            else:
                current = f"{current} {word}" if current else word
    yield current


def _words(text: str, width: int) -> Iterator[str]:
    for word in _WORD.findall(text):
        yield from [word] if len(word) <= width else word.split()


def _columns(stream: TextIO) -> int | None:
    """Return the columns of a terminal, or those of COLUMNS; None in a pipe."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    try:
        return os.get_terminal_size(stream.fileno()).columns if stream.isatty() else None
    except (OSError, ValueError):  # a stream that only claims to be a terminal
        return None


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    if is_first():
        # a letter that the terminal's encoding lacks is written as \\u00f1
        every = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
        print(json.dumps(value, indent=2, ensure_ascii=not every), flush=True)


def print_table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: Sequence[int] = (0,),
    spare: Sequence[int] = (),
) -> None:
    """Print a table on stdout; `left` are the left-aligned columns.

    In a pipe it has its full width. In a terminal that is narrower its cells are wrapped between
    words. Where whole words do not fit either, the `spare` columns are left out, and named; without
    them each row becomes a list of its values.
    """
    from rich.box import SIMPLE_HEAD
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [headers, *rows]
    columns = [[str(row[column]) for row in cells] for column in range(len(headers))]
    widths = [
        max(cell_len(line) for cell in column for line in (cell.splitlines() or [""]))
        for column in columns
    ]
    least = [max((cell_len(w) for c in column for w in c.split()), default=0) for column in columns]
    gaps = _TABLE_GAP * (len(headers) - 1)
    available = _columns(sys.stdout)
    if available is not None and sum(least) + gaps > available and spare:
        kept = [column for column in range(len(headers)) if column not in spare]
        print_table(
            [headers[column] for column in kept],
            [[row[column] for column in kept] for row in rows],
            left=[place for place, column in enumerate(kept) if column in left],
        )
        names = " and ".join(headers[column] for column in spare)
        print_line(f"{names} need a wider terminal; --json prints them too")
        return
    if available is not None and sum(least) + gaps > available:
        print("\n".join(_records(headers, rows, available)))
        return
    if available is not None:
        widths = _fit(widths, least, available - gaps)
    drawn = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column, header in enumerate(headers):
        justify: Any = "left" if column in left else "right"
        drawn.add_column(header, justify=justify, overflow="fold", width=widths[column])
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))  # names are shown, not read as markup
    Console(highlight=False, width=max(available or 0, sum(widths) + gaps + 1)).print(drawn)


def _fit(widths: Sequence[int], least: Sequence[int], available: int) -> list[int]:
    """Return widths that add up to what is available, no column below its least.

    Narrow columns get their whole width first.
    """
    fitted, left = list(least), available - sum(least)
    order = sorted(range(len(widths)), key=lambda column: widths[column] - least[column])
    for place, column in enumerate(order):
        share = left // (len(order) - place)
        more_here = min(widths[column] - least[column], share)
        fitted[column] += more_here
        left -= more_here
    return fitted


def _records(headers: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Yield the rows of a table as lists of values: the first alone, the others below it."""
    indent = 2 + max(map(len, headers[1:]), default=0) + _GAP
    if indent > width // 2:
        indent = 4
    if headers[0]:
        yield from _wrap_line(headers[0], width)
    for row in rows:
        yield row[0]
        for header, cell in zip(headers[1:], row[1:], strict=True):
            first, *others = [*_wrap_line(cell, width - indent)]
            name = f"  {header}"
            if len(name) > indent - 1:
                yield name
                name = ""
            yield name.ljust(indent) + first
            yield from (" " * indent + other for other in others)


def shell_path(path: Path) -> str:
    """Return a path as it can be typed in the current folder, quoted where it has to be."""
    here = Path.cwd()
    text = str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
    return text if _PLAIN.fullmatch(text) else f'"{text}"'


def exact_commands(text: str, workspace: "Workspace") -> str:
    """Return a message whose commands in quotes name the workspace, unless they find it."""
    if _nearest() == workspace.root.resolve():
        return text
    return _QUOTED_COMMAND.sub(
        lambda found: f"'kitbox --workspace {shell_path(workspace.root)} {found[1]}'", text
    )


def _nearest() -> Path | None:
    """Return the workspace that commands find in the current folder."""
    try:
        return find_workspace().root.resolve()
    except KitboxError:
        return None


def print_scores(scores: "Scores") -> None:
    """Print scores with their intervals."""
    print_table(
        ("metric", "score", "95 % interval", "queries"),
        [
            (name, f"{s.value:.4f}", f"{s.low:.4f} – {s.high:.4f}", str(s.queries))
            for name, s in scores.by_metric.items()
        ],
    )


def follow(stage: "Generator[SweepEvent | str, None, Result]") -> Result:
    """Run a stage to its end, show its events, and return its result."""
    console = _console()
    if not (console.is_terminal and is_first()):
        return _follow_in_lines(stage)
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    width = _columns(sys.stderr) or console.width
    # a bar and the time left of one epoch give way to the figures of a step
    wide = [BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    columns = (
        TextColumn("{task.description}"),
        *(wide if width >= _LEAST_FOR_BAR else [MofNCompleteColumn()]),
        TextColumn("{task.fields[note]}"),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        task, title = None, ""
        while True:
            try:
                event = next(stage)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            shown = _render(event)
            if isinstance(shown, str):
                bars.console.print(wrap(shown, width), markup=False)
                continue
            if task is None or title != shown.title:
                if task is not None:
                    bars.remove_task(task)
                title = shown.title
                task = bars.add_task(title, total=shown.total, note=shown.note)
            bars.update(task, completed=shown.done, total=shown.total, note=shown.note)


def _follow_in_lines(stage: "Generator[SweepEvent | str, None, Result]") -> Result:
    """Follow a stage where bars cannot be redrawn: in a pipe, or not in the main process."""
    last = time.monotonic()
    while True:
        try:
            event = next(stage)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        shown = _render(event)
        if isinstance(shown, str):
            print_line(shown)
        elif time.monotonic() - last >= _LINE_INTERVAL:
            print_line(f"{shown.title} {shown.done}/{shown.total} {shown.note}".rstrip())
        else:
            continue
        last = time.monotonic()


class _Bar(NamedTuple):
    """A bar of progress, redrawn by each event with the same title."""

    title: str
    done: int
    total: int
    note: str


def _render(event: "SweepEvent | str") -> str | _Bar:
    """Return the lines that an event leaves on the screen, or the bar that it moves."""
    from kitbox.records import Progress
    from kitbox.training import events

    match event:
        case str():
            return event
        case Progress(notice=notice) if notice:
            return notice
        case Progress():
            return _Bar(event.stage, event.done, event.total, event.note)
        case events.StepDone():
            return _Bar(event.stage, event.step, event.steps, event.note)
        case (
            events.TrainingStarted()
            | events.EpochDone()
            | events.HoldoutScored()
            | events.TrainingWarning()
            | events.SweepMessage()
        ):
            return str(event)
        case _:
            assert_never(event)


def _console() -> "Console":
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def open_workspace(folder: Path | None) -> "tuple[Workspace, Competition]":
    """Return the workspace in a folder, or the nearest one, and its competition.

    What was typed into its catalogue.csv reaches the holdout here.
    """
    from kitbox.catalogue import catalogue_list
    from kitbox.competition import settings

    workspace = find_workspace(folder)
    catalogue_list.refresh(workspace)
    return workspace, settings.load(workspace)


def load_collection(
    workspace: "Workspace", competition: "Competition", fold: int = 1
) -> "Collection":
    """Return the images of a competition, and print what was left out or decided."""
    from kitbox.dataset.collection import collect

    collection = follow(collect(workspace, competition, fold))
    for note in collection.notes:
        print_line(note)
    return collection
