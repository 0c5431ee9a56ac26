"""The console script: all commands, and a user's mistake as one sentence."""

import io
import os
import signal
import sys
import warnings
from types import FrameType
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperGroup

import kitbox
from kitbox.cli import (
    catalogue,
    data,
    demo,
    embeddings,
    identify,
    init,
    match,
    plugins,
    pseudo,
    report,
    score,
    search,
    submission,
    sweep,
    train,
)
from kitbox.cli.terminal import print_line
from kitbox.devices.launch import is_first
from kitbox.errors import KitboxError, KitboxWarning, PeerError

# The steps of the work, in the order of the help, with their commands.
STEPS = {
    "Workspace": ("demo", "init", "competitions"),
    "Data": ("data",),
    "Train": ("plugins", "train", "sweep", "embed", "embeddings", "pseudo"),
    "Answer": (
        *("score", "compare", "search", "explain", "ensemble", "match"),
        *("neighbours", "report", "look"),
    ),
    "Catalogue": ("identify", "catalogue"),
    "Submit": ("submission", "bundle", "leaderboard", "reproduce"),
}


class CommandsByStep(TyperGroup):
    """The group of all commands; its help lists them by the step of the work."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """Return the names of the commands, step by step."""
        return [name for names in STEPS.values() for name in names]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each step, with a line for each command."""
        width = max(map(len, self.list_commands(ctx)))
        for step, names in STEPS.items():
            with formatter.section(step):
                formatter.write_dl(
                    [
                        (
                            name.ljust(width),
                            self.commands[name].get_short_help_str(formatter.width - width - 6),
                        )
                        for name in names
                    ]
                )


_show_as_python = warnings.showwarning

# Without rich's markup the help needs no rich, and starts twice as fast.
app = typer.Typer(
    name="kitbox",
    cls=CommandsByStep,
    help="Tell individuals apart in photographs: from images to a leaderboard.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.command("demo")(demo.demo)
app.command("init")(init.init)
app.command("competitions")(init.competitions)

app.command("identify")(identify.identify)

app.add_typer(data.app, name="data")

app.add_typer(plugins.app, name="plugins")
app.command("train")(train.train)
app.command("sweep")(sweep.sweep)
app.command("embed")(train.embed)
app.add_typer(embeddings.app, name="embeddings")
app.command("pseudo")(pseudo.pseudo)

app.command("score")(score.score)
app.command("compare")(score.compare)
app.command("search")(search.search)
app.command("explain")(search.explain)
app.command("ensemble")(score.ensemble)
app.command("match")(match.match)
app.command("neighbours")(embeddings.neighbours)
app.command("report")(report.report)
app.command("look")(report.look)

app.add_typer(catalogue.app, name="catalogue")

app.add_typer(submission.app, name="submission")
app.command("bundle")(submission.bundle)
app.add_typer(submission.leaderboard_app, name="leaderboard")
app.command("reproduce")(submission.reproduce)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"kitbox {kitbox.__version__}")
        raise typer.Exit


@app.callback()
def _set_environment(
    workspace: Annotated[
        str | None, typer.Option("--workspace", help="The workspace's folder.", metavar="DIR")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    del version
    if workspace is not None:
        os.environ["KITBOX_WORKSPACE"] = workspace
    if debug:
        os.environ["KITBOX_DEBUG"] = "1"


def main() -> None:
    """Run kitbox; exit with 0, 1 for a user's mistake, 2 for wrong usage or 130 on Ctrl-C."""
    # Torch's threads wait for each other by spinning. Where another process has a core, such as a
    # worker that reads images, spinning makes the same work up to seven times as long.
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    # else each of several processes repeats what torch's reducer warns of
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    _run_in_utf8()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may lack the letters of a name
            stream.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGINT, _interrupt)
    warnings.showwarning = _show_warning
    try:
        app()
    except BrokenPipeError:  # the reader of a pipe left, as 'head' does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except PeerError:
        sys.exit(1)  # the process that failed has said why
    except (KitboxError, OSError) as error:
        if os.environ.get("KITBOX_DEBUG"):
            raise
        print(f"error: {_sentence(error)}", file=sys.stderr)
        sys.exit(1)
    except RuntimeError as error:
        killed = _killed_worker(error)
        if killed is None or os.environ.get("KITBOX_DEBUG"):
            raise
        print(f"error: {killed}", file=sys.stderr)
        sys.exit(1)


def _killed_worker(error: RuntimeError) -> KitboxError | None:
    if "torch" not in sys.modules:  # it is slow to import
        return None
    from kitbox.images.loader import killed_worker

    return killed_worker(error)


def _run_in_utf8() -> None:
    """Start again in UTF-8 mode where the locale would read file names in another encoding.

    They would be other names than in a UTF-8 terminal, and letters outside of the locale's encoding
    could not be opened. What is printed stays in the terminal's encoding.
    """
    if os.name != "posix" or sys.getfilesystemencoding() == "utf-8" or not sys.executable:
        return
    os.environ.setdefault("PYTHONIOENCODING", f"{sys.stdout.encoding}:backslashreplace")
    os.environ["PYTHONUTF8"] = "1"  # so it does not start again
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Stop at Ctrl-C, and silence workers that were only half started.

    Of several processes, which a terminal interrupts all, the first says that it was aborted.
    """
    sys.unraisablehook = lambda _: None
    if not is_first():
        raise SystemExit(130)
    signal.default_int_handler(number, frame)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show a warning of kitbox as a sentence, and those of libraries as Python does."""
    if not is_first():
        return
    if issubclass(category, KitboxWarning):
        print_line(f"warning: {message}")
    else:
        _show_as_python(message, category, filename, lineno, file, line)


def _sentence(error: KitboxError | OSError) -> str:
    if isinstance(error, KitboxError):
        return str(error)
    where = f" {error.filename}" if error.filename else ""
    return f"{error.strerror or error}{where}"
