"""Terminal output of all commands: progress, tables, lines and JSON; and loading the data."""

import json
import os
import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, assert_never

from kitbox.errors import more
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


def print_line(text: str) -> None:
    """Print a line for people, on stderr: stdout is for figures and JSON."""
    if _is_main_process():
        print(text, file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    if _is_main_process():
        # a letter that the terminal's encoding lacks is written as \\u00f1
        every = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
        print(json.dumps(value, indent=2, ensure_ascii=not every), flush=True)


def print_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[int] = (0,)
) -> None:
    """Print a table on stdout, in full width in a pipe; `left` are the left-aligned columns."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column, header in enumerate(headers):
        drawn.add_column(header, justify="left" if column in left else "right", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))  # names are shown, not read as markup
    width = None if sys.stdout.isatty() else 240
    Console(highlight=False, width=width).print(drawn)


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
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = _console()
    if not (console.is_terminal and _is_main_process()):
        return _follow_in_lines(stage)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
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
                bars.console.print(shown, markup=False)
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
        case Progress():
            return _Bar(event.stage, event.done, event.total, event.note)
        case events.StepDone():
            note = (
                f"loss {event.loss:.3f}  rate {event.learning_rate:.2e}  "
                f"{event.images_per_second:.0f} images/s  "
                f"{format_duration(event.seconds_left)} left"
            )
            return _Bar(f"epoch {event.epoch}/{event.epochs}", event.step, event.steps, note)
        case events.TrainingStarted():
            resumed = f", resumed after epoch {event.epoch}" if event.epoch else ""
            line = (
                f"{event.plugin}: {event.images} images of {event.labels} labels on "
                f"{event.device} in {event.precision}, weights {Path(event.weights).name}"
                f"{resumed}; images {event.source}"
            )
            return "\n".join((line, *event.notes))
        case events.EpochDone():
            figures = "".join(f", {name} {value:.3f}" for name, value in event.figures.items())
            return (
                f"epoch {event.epoch}: loss {event.loss:.4f}, "
                f"{event.images_per_second:.0f} images/s, {format_duration(event.seconds)}{figures}"
            )
        case events.HoldoutScored():
            scores = "  ".join(f"{n} {s.value:.4f}" for n, s in event.scores.by_metric.items())
            when = "before training (frozen backbone)" if event.epoch == 0 else "holdout"
            return f"{when}: {scores}{'  (best)' if event.best else ''}"
        case events.TrainingWarning():
            return f"warning: {event.text}"
        case events.SweepMessage():
            return event.text
        case _:
            assert_never(event)


def _console() -> "Console":
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def _is_main_process() -> bool:
    """Return whether this process prints: of several that train together, only the first does."""
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"


def format_duration(seconds: float) -> str:
    """Return seconds as '43 s', '12 min' or '3.4 h'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def open_workspace(folder: Path | None) -> "tuple[Workspace, Competition]":
    """Return the workspace in a folder, or the nearest one, and its competition."""
    from kitbox.competition import settings

    workspace = find_workspace(folder)
    return workspace, settings.load(workspace)


def load_collection(
    workspace: "Workspace", competition: "Competition", fold: int = 1
) -> "Collection":
    """Return the images of a competition, and print what was left out or decided."""
    from kitbox.dataset.collection import collect

    collection = follow(collect(workspace, competition, fold))
    for finding in collection.findings[:3]:
        action = "left out" if finding.action == "drop" else "repaired"
        if finding.image_id in collection.unreadable:
            action = "answered as grey"
        print_line(f"{action}: {finding}")
    if len(collection.findings) > 3:
        print_line(f"{len(collection.findings) - 3} more like it; 'kitbox data check' lists them")
    if collection.decisions.effective:
        rows = f"{len(collection.decisions.effective)} rows of {workspace.decisions.name}"
        new = sorted(collection.new_labels)
        # a typing error makes one too
        also = f"; new individual '{new[0]}'{more(len(new) - 1)}" if new else ""
        print_line(f"decided: {rows}{also}")
    return collection
