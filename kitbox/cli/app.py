"""The console script: all commands, and a user's mistake as one sentence."""

import errno
import importlib
import inspect
import io
import os
import signal
import sys
import warnings
from collections import UserDict
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperGroup
from typer.main import get_group

import kitbox
from kitbox.cli.terminal import print_line
from kitbox.devices.launch import is_first
from kitbox.errors import KitboxError, KitboxWarning, PeerError, cannot_write, one_line

# The steps of the work, in the order of the help, with their commands and where each is defined.
STEPS = {
    "Workspace": {"demo": "demo:demo", "init": "init:init", "competitions": "init:competitions"},
    "Data": {"data": "data:app"},
    "Train": {
        "plugins": "plugins:app",
        "train": "train:train",
        "sweep": "sweep:sweep",
        "embed": "train:embed",
        "embeddings": "embeddings:app",
        "pseudo": "pseudo:pseudo",
    },
    "Answer": {
        "score": "score:score",
        "compare": "score:compare",
        "search": "search:search",
        "explain": "search:explain",
        "ensemble": "score:ensemble",
        "match": "match:match",
        "neighbours": "embeddings:neighbours",
        "report": "report:report",
        "look": "report:look",
    },
    "Catalogue": {"identify": "identify:identify", "catalogue": "catalogue:app"},
    "Submit": {
        "submission": "submission:app",
        "bundle": "submission:bundle",
        "leaderboard": "submission:leaderboard_app",
        "reproduce": "submission:reproduce",
    },
}


class _Commands(UserDict[str, Any]):
    """Commands by name, each imported and built when it is first asked for: all take .2 s."""

    def __getitem__(self, name: str) -> Any:
        if isinstance(self.data[name], str):
            self.data[name] = _build(name, self.data[name])
        return self.data[name]


def _find(place: str) -> Any:
    """Return the function or group of commands at `MODULE:NAME` of this package."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(f"kitbox.cli.{module}"), name)


def _build(name: str, place: str) -> Any:
    found = _find(place)
    group = typer.Typer(rich_markup_mode=None)
    group.callback()(lambda: None)  # so that it stays a group with one command
    if isinstance(found, typer.Typer):
        group.add_typer(found, name=name)
    else:
        group.command(name)(found)
    return get_group(group).commands[name]


def _summary(place: str) -> str:
    """Return the first line of a command's help, without building its options."""
    found = _find(place)
    if isinstance(found, typer.Typer):
        callback = found.registered_callback and found.registered_callback.callback
        found = found.info.help if callback is None else callback
    text = found if isinstance(found, str) else inspect.getdoc(found)
    return str(text).partition("\n")[0]


class CommandsByStep(TyperGroup):
    """The group of all commands; its help lists them by the step of the work."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _Commands({k: v for places in STEPS.values() for k, v in places.items()})

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """Return the names of the commands, step by step."""
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Write a section for each step, with a line for each command."""
        width = max(map(len, self.commands))
        for step, places in STEPS.items():
            with formatter.section(step):
                formatter.write_dl(
                    [(name.ljust(width), _summary(place)) for name, place in places.items()]
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
    # worker that reads images, that makes the same work up to seven times as long. With so few
    # turns (75 microseconds on an AMD EPYC) a thread sleeps in longer waits alone.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
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
    """Stop at Ctrl-C, and silence workers that were only half started."""
    sys.unraisablehook = lambda _: None
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
    if isinstance(error.filename, str) and error.errno == errno.ENOSPC:
        return str(cannot_write(Path(error.filename), error))
    where = f" {error.filename}" if error.filename else ""
    return one_line(f"{error.strerror or error}{where}")
