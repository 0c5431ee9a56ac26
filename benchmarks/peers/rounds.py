"""Alternating rounds of whole processes, their statistics, and the line that names the machine.

A script of this folder makes a `Side` for kitbox and for each peer, and compares them:

    given = parser.parse_args()                      # with `add_options(parser)`
    line = machine(given.peers)
    rounds = alternate([kitbox, plain, ...], given.rounds)
    show(given, line, rounds, count=len(paths))  # `--json` prints the same as JSON

Each round runs every side once and begins with the next one, so that no side always follows the
same. Ratios are of two processes of one round; their median and range are printed.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))
from machine import CORES, processor, versions

PACKAGES = ("torch", "timm", "onnxruntime", "faiss-cpu", "Pillow", "opencv-python-headless")
# Environment variables of one side that would change the other.
_OWN = ("PYTHONPATH", "GOMP_SPINCOUNT", "VIRTUAL_ENV", "PYTHONHOME")


@dataclass(frozen=True)
class Side:
    """One of the compared: a command, what is set in its environment, and its work beforehand.

    `prepare` is called before each run and not timed; it may remove a cache.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] | None = None
    folder: Path | None = None


@dataclass(frozen=True)
class Taken:
    """What a process took: seconds by the clock and of processors, MB, and its own figures.

    `others` are the processors that everything else on the machine used meanwhile. `figures` is
    the last line that the process printed, where that is a JSON object.
    """

    seconds: float
    processor_seconds: float
    peak_mb: float
    others: float
    figures: Mapping[str, Any]


@dataclass(frozen=True)
class Spread:
    """The median and the range of a few values."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


Round = Mapping[str, Taken]


def kitbox_side(name: str, command: Sequence[str], **options: Any) -> Side:
    """Return a side in this Python, with what the console script of kitbox sets."""
    root = str(Path(__file__).parents[2])
    environment = {"GOMP_SPINCOUNT": "3000", "PYTHONPATH": root} | options.pop("environment", {})
    return Side(name, [sys.executable, *command], environment, **options)


def peer_side(name: str, python: Path | str | None, command: Sequence[str], **options: Any) -> Side:
    """Return a side in the Python of the peers, else in this one."""
    return Side(name, [str(python or sys.executable), *command], **options)


def run(side: Side) -> Taken:
    """Run a side once; raises SystemExit with what it wrote where it fails."""
    if side.prepare is not None:
        side.prepare()
    environment = {name: value for name, value in os.environ.items() if name not in _OWN}
    busy, began = _busy_seconds(), time.perf_counter()
    with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            list(side.command), cwd=side.folder, env=environment | dict(side.environment),
            stdout=printed, stderr=errors,
        )  # fmt: skip
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        for file in (printed, errors):
            file.seek(0)
        if process.returncode:
            raise SystemExit(f"{side.name} failed:\n{errors.read()[-3000:]}")
        figures = _last_json(printed.read())
    own = used.ru_utime + used.ru_stime
    others = max(0.0, _busy_seconds() - busy - own) / seconds if busy else 0.0
    return Taken(seconds, own, used.ru_maxrss / 1e3, others, figures)


def alternate(sides: Sequence[Side], rounds: int, *, quiet: bool = False) -> list[Round]:
    """Run every side once a round, each round beginning with the next side."""
    found: list[Round] = []
    for number in range(rounds):
        first = number % len(sides)
        taken = {side.name: run(side) for side in (*sides[first:], *sides[:first])}
        found.append({side.name: taken[side.name] for side in sides})
        if not quiet:
            print(f"round {number + 1} of {rounds} done", file=sys.stderr, flush=True)
    return found


def seconds(taken: Taken) -> float:
    """Return seconds by the clock, a measure for `against`."""
    return taken.seconds


def processor_seconds(taken: Taken) -> float:
    """Return processor seconds, a measure for `against`."""
    return taken.processor_seconds


def against(
    rounds: Sequence[Round],
    name: str,
    others: Sequence[str],
    measure: Callable[[Taken], float] = seconds,
) -> Spread:
    """Return how many times faster a side is than the fastest of others, by pairs of a round."""
    return Spread.of(
        [min(measure(taken[other]) for other in others) / measure(taken[name]) for taken in rounds]
    )


def machine(python: Path | str | None = None, packages: Sequence[str] = PACKAGES) -> str:
    """Return the processor, cores, load and versions, with those of the peers' Python."""
    load = f"load {os.getloadavg()[0]:.1f} before" if hasattr(os, "getloadavg") else "load unknown"
    here = versions(packages)
    line = f"{processor()}, {CORES} cores, {load}; Python {platform.python_version()}, {here}"
    if python is None:
        return line
    code = f"import rounds; print(rounds.versions({tuple(PEERS)!r}))"
    told = subprocess.run(
        [str(python), "-c", code], cwd=Path(__file__).parent, check=True, capture_output=True,
        text=True, env={k: v for k, v in os.environ.items() if k not in _OWN},
    )  # fmt: skip
    return f"{line}; peers: {told.stdout.strip()}"


PEERS = (
    *("wildlife-tools", "open-metric-learning", "pytorch-metric-learning"),
    *("torch", "timm", "Pillow"),
)


def add_options(parser: argparse.ArgumentParser, *, rounds: int = 5) -> None:
    """Add the options that every comparison has."""
    parser.add_argument(
        "--peers", type=Path, metavar="PYTHON", help="of the folder that environment.py made"
    )
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def show(
    given: argparse.Namespace,
    line: str,
    rounds: Sequence[Round],
    name: str = "kitbox",
    *,
    peers: Sequence[str] | None = None,
    count: int | None = None,
    unit: str = "images",
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Print the machine's `line`, a table of the sides, and the ratios to the best peer.

    With a `count` it is of `unit` per second. `peers` are the sides of which the best counts, by
    default all others. `notes` are further figures.
    """
    names = list(rounds[0])
    others = [each for each in names if each != name]
    if not others:
        raise SystemExit(f"error: there is no side to compare {name} with; name two or more")
    by_clock = {each: against(rounds, name, [each]) for each in others}
    by_work = {each: against(rounds, name, [each], processor_seconds) for each in others}
    best = {
        "by the clock": against(rounds, name, peers or others),
        "by processor time": against(rounds, name, peers or others, processor_seconds),
    }
    busy = Spread.of([taken.others for each in rounds for taken in each.values()])
    if given.json:
        figures = {
            "machine": line,
            "cores_used_by_others": asdict(busy),
            "rounds": [{side: asdict(taken) for side, taken in each.items()} for each in rounds],
            "times_the_best_peer": {how: asdict(spread) for how, spread in best.items()},
            **(notes or {}),
        }
        print(json.dumps(figures, indent=2))
        return
    print(line)
    print(f"others used {busy} cores meanwhile; {len(rounds)} rounds, median (lowest to highest)")
    for side in names:
        clock = Spread.of([each[side].seconds for each in rounds])
        work = Spread.of([each[side].processor_seconds for each in rounds])
        peak = max(each[side].peak_mb for each in rounds)
        speed = "" if count is None else f", {count / clock.median:.1f} {unit}/s"
        ratio = "" if side == name else f"; {name}: {by_clock[side]} times, work {by_work[side]}"
        print(f"  {side:22s} {clock} s{speed}; {work} s of processor, {peak:.0f} MB{ratio}")
    if others:
        for how, found in best.items():
            print(f"{name} is {found} times the best peer of a round, {how}")
    for what, value in (notes or {}).items():
        print(f"{what}: {value}")


def show_figures(
    given: argparse.Namespace,
    line: str,
    rounds: Sequence[Round],
    figures: Sequence[str],
    name: str = "kitbox",
) -> None:
    """Print figures that the sides measured themselves, of which more is better, and the ratios."""
    found = {
        figure: {
            side: Spread.of([each[side].figures[figure] for each in rounds]) for side in rounds[0]
        }
        for figure in figures
    }
    ratios = {
        figure: {
            side: Spread.of(
                [each[name].figures[figure] / each[side].figures[figure] for each in rounds]
            )
            for side in rounds[0]
            if side != name
        }
        for figure in figures
    }
    busy = Spread.of([taken.others for each in rounds for taken in each.values()])
    if given.json:
        told = {
            "machine": line,
            "cores_used_by_others": asdict(busy),
            "rounds": [{side: asdict(taken) for side, taken in each.items()} for each in rounds],
            f"{name}_against": {
                figure: {side: asdict(ratio) for side, ratio in sides.items()}
                for figure, sides in ratios.items()
            },
        }
        print(json.dumps(told, indent=2))
        return
    print(line)
    print(f"others used {busy} cores meanwhile; {len(rounds)} rounds, median (lowest to highest)")
    for figure in figures:
        print(figure)
        for side, spread in found[figure].items():
            ratio = "" if side == name else f"; {name}: {ratios[figure][side]} times"
            print(f"  {side:22s} {spread}{ratio}")


def _busy_seconds() -> float:
    """Return the seconds that all processors of this machine have worked; 0 where unknown."""
    file = Path("/proc/stat")
    if not file.is_file():
        return 0.0
    user, nice, system, _, _, irq, soft = map(int, file.read_text().split("\n")[0].split()[1:8])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def _last_json(printed: str) -> Mapping[str, Any]:
    lines = [line for line in printed.splitlines() if line.strip()]
    try:
        found = json.loads(lines[-1]) if lines else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
