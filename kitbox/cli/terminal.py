"""What every command shares: the workspace, progress, tables, JSON."""

import json
import os
import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from kitbox.competition.settings import Competition
    from kitbox.dataset.collection import Collection
    from kitbox.records import Scores
    from kitbox.workspace import Workspace


Result = TypeVar("Result")
# seconds between two lines of progress where there is no terminal to redraw
_QUIET = 10.0


def is_first() -> bool:
    """Return whether this process speaks: of several that train together, the first does."""
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"


def console() -> "Console":
    """Return the console for people: stderr, so that stdout is for figures and JSON."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def print_line(text: str) -> None:
    """Print a line for people."""
    if is_first():
        typer.echo(text, err=True)


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    if is_first():
        typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[int] = (0,)
) -> None:
    """Print a table on stdout; whole in a pipe. Columns of text are named by `left`."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for place, header in enumerate(headers):
        drawn.add_column(header, justify="left" if place in left else "right", overflow="fold")
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


def follow(stage: Generator[Any, None, Result]) -> Result:
    """Run a stage to its end, draw its progress, and return its result."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    screen = console()
    if not (screen.is_terminal and is_first()):
        return _follow_in_lines(stage)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Bars(*columns, console=screen, transient=True) as bars:
        task, shown = None, ""
        while True:
            try:
                report = next(stage)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            title, done, total, note, line = _drawn(report)
            if line is not None:
                bars.console.print(line, markup=False)
                continue
            if task is None or title != shown:
                if task is not None:
                    bars.remove_task(task)
                task, shown = bars.add_task(title, total=total, note=note), title
            bars.update(task, completed=done, total=total, note=note)


def _follow_in_lines(stage: Generator[Any, None, Result]) -> Result:
    last = time.monotonic()
    while True:
        try:
            report = next(stage)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        title, done, total, note, line = _drawn(report)
        if line is not None:
            print_line(line)
        elif time.monotonic() - last >= _QUIET:
            print_line(f"{title} {done}/{total} {note}".rstrip())
        else:
            continue
        last = time.monotonic()


def _drawn(report: Any) -> tuple[str, int, int, str, str | None]:
    """Return a report as (title, done, total, note) of a bar, or as a line that stays."""
    match type(report).__name__:
        case "StepDone":
            note = (
                f"loss {report.loss:.3f}  rate {report.learning_rate:.2e}  "
                f"{report.images_per_second:.0f} images/s  "
                f"{format_duration(report.seconds_left)} left"
            )
            title = f"epoch {report.epoch}/{report.epochs}"
            return title, report.step, report.steps, note, None
        case "TrainingStarted":
            again = f", going on after epoch {report.epoch}" if report.epoch else ""
            line = (
                f"{report.plugin}: {report.images} images of {report.labels} labels on "
                f"{report.device} in {report.precision}, weights {Path(report.weights).name}"
                f"{again}; images {report.source}"
            )
            return "", 0, 0, "", "\n".join((line, *report.notes))
        case "EpochDone":
            line = (
                f"epoch {report.epoch}: loss {report.loss:.4f}, "
                f"{report.images_per_second:.0f} images/s, {format_duration(report.seconds)}"
                + "".join(f", {name} {value:.3f}" for name, value in report.figures.items())
            )
            return "", 0, 0, "", line
        case "SweepMessage":
            return "", 0, 0, "", report.text
        case "TrainingWarning":
            return "", 0, 0, "", f"warning: {report.text}"
        case "HoldoutScored":
            scores = "  ".join(f"{n} {s.value:.4f}" for n, s in report.scores.by_metric.items())
            when = "before training (frozen backbone)" if report.epoch == 0 else "holdout"
            return "", 0, 0, "", f"{when}: {scores}{'  (best)' if report.best else ''}"
        case "Drawn":
            return "draw photographs", report.done, report.total, "", None
        case _:
            return report.stage, report.done, report.total, report.note, None


def format_duration(seconds: float) -> str:
    """Return seconds as '43 s', '12 min' or '3.4 h'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def open_workspace(folder: Path | None) -> "tuple[Workspace, Competition]":
    """Return the workspace and its competition."""
    from kitbox.competition import settings
    from kitbox.workspace import find_workspace

    found = find_workspace(folder)
    return found, settings.load(found)


def parse_folds(text: str, competition: "Competition") -> list[int]:
    """Return the folds that --fold asks for."""
    from kitbox.errors import KitboxError

    folds = competition.holdout.folds
    if text == "all":
        return list(range(1, folds + 1))
    if not text.isdigit() or not 1 <= int(text) <= folds:
        raise KitboxError(
            f"--fold {text}: kitbox.toml has holdout.folds = {folds}; give 1 to {folds}, or all"
        )
    return [int(text)]


def load_collection(
    workspace: "Workspace", competition: "Competition", fold: int = 1
) -> "Collection":
    """Return the images of a competition, and tell what was left out."""
    from kitbox.dataset.collection import collect
    from kitbox.errors import more

    collection = follow(collect(workspace, competition, fold))
    for finding in collection.findings[:3]:
        done = "left out" if finding.action == "drop" else "mended"
        if finding.image_id in collection.unreadable:
            done = "answered as grey"
        print_line(f"{done}: {finding}")
    if len(collection.findings) > 3:
        print_line(f"{len(collection.findings) - 3} more like it; 'kitbox data check' lists them")
    if collection.decisions.effective:
        rows = f"{len(collection.decisions.effective)} rows of {workspace.decisions.name}"
        new = sorted(collection.new_labels)
        # a typing error makes one too
        also = f"; new individual '{new[0]}'{more(len(new) - 1)}" if new else ""
        print_line(f"decided: {rows}{also}")
    return collection
