"""The console script: finds the command, and turns a user's mistake into one sentence."""

import os
import signal
import sys
from types import FrameType
from typing import Annotated

import typer

from kitbox.cli import boxes, duplicates, init, plugins, pseudo, report, score, sweep, train
from kitbox.cli import data as data_module
from kitbox.cli import submission as submission_module
from kitbox.cli.data import prepare
from kitbox.cli.submission import lint, mark, reproduce
from kitbox.errors import KitboxError

app = typer.Typer(
    name="kitbox",
    help="From photographs to a leaderboard: which of these pictures show the same individual?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data = typer.Typer(help="What is asked: images, lists and the holdout.", no_args_is_help=True)
submission = typer.Typer(help="Lists for the leaderboard.", no_args_is_help=True)

app.command("demo")(init.demo)
app.command("init")(init.init)
app.command("competitions")(init.competitions)
app.add_typer(plugins.app, name="plugins")
app.add_typer(data, name="data")
data.command("check")(data_module.check)
data.add_typer(boxes.app, name="boxes")
data.command("duplicates")(duplicates.duplicates)
boxes.app.command("detect")(boxes.detect)
data.command("holdout")(data_module.holdout)
data.command("prepare")(prepare)
app.command("train")(train.train)
app.command("sweep")(sweep.sweep)
app.command("embed")(train.embed)
app.command("pseudo")(pseudo.pseudo)
app.command("score")(score.score)
app.command("compare")(score.compare)
app.command("ensemble")(score.ensemble)
app.add_typer(submission, name="submission")
submission.command("lint")(lint)
submission.command("mark")(mark)
submission.command("upload")(submission_module.upload)
app.add_typer(submission_module.app, name="leaderboard")
app.command("report")(report.report)
app.command("look")(report.look)
app.command("reproduce")(reproduce)


def _version(asked: bool) -> None:
    if asked:
        import kitbox

        typer.echo(f"kitbox {kitbox.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    workspace: Annotated[
        str | None, typer.Option("--workspace", help="The workspace's folder.", metavar="DIR")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    del version
    if workspace is not None:
        os.environ["KITBOX_WORKSPACE"] = workspace
    if debug:
        os.environ["KITBOX_DEBUG"] = "1"


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Stop at Ctrl-C, without the complaints of readers that were only half started."""
    sys.unraisablehook = lambda _: None
    signal.default_int_handler(number, frame)


def main() -> None:
    """Run kitbox: 0 done, 1 a mistake that a user can mend, 2 wrong usage, 130 Ctrl-C."""
    # Torch's threads wait for each other by spinning; where a core is taken by anyone else, a
    # reader of images for one, that wait costs up to seven times the work.
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    signal.signal(signal.SIGINT, _interrupt)
    try:
        app()
    except KitboxError as error:
        if os.environ.get("KITBOX_DEBUG"):
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
    except BrokenPipeError:  # the reader of a pipe left, as 'head' does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if os.environ.get("KITBOX_DEBUG"):
            raise
        where = f" {error.filename}" if error.filename else ""
        typer.echo(f"error: {error.strerror or error}{where}", err=True)
        sys.exit(1)
