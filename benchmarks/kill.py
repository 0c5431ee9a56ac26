"""Commands that are killed at random moments and run again, compared with uninterrupted ones.

    python benchmarks/kill.py [--kills 50] [--seed 0] [--only train,embed] [--json FILE]

Draws a small workspace for each command and runs the command in it: uninterrupted, then with kills
in fresh copies, each of which is run again to its end. What is then in the workspace has to be what
the uninterrupted command left, bit for bit but for times, without a temporary file. Half of the
kills strike at one of the calls by which the command opens, renames and removes files, the others
at a moment between the first of them and the end; most are SIGKILL, to the process with its workers
or to it alone. Then two run at once, and ten processes write to one ledger and one list of
decisions while some of them are killed.

Trial n of a seed has the same plan on every machine. The commands are forked from a process that
has imported what they import, so that kills strike their work. It needs Linux or macOS.
"""

import argparse
import atexit
import csv
import functools
import importlib
import json
import mmap
import os
import random
import re
import shlex
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HEAVY = (
    *("torch", "timm", "faiss", "cv2", "sklearn.linear_model", "optuna", "lightning_fabric"),
    *("albumentations", "scipy.optimize", "imagehash", "torchvision", "onnxruntime"),
    *("kitbox.training.trainer", "kitbox.selection.search_result", "kitbox.boxes.detector"),
    *("kitbox.identification.catalogue_workspace", "kitbox.embedding.embedder"),
)
RUN = " --device cpu --precision 32 --workers 0"
ENGINE = RUN + " --engine torch"
PATIENCE = 120  # seconds that an uninterrupted command may take here
# Audit events by which files change, and those of `open` that write.
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "sqlite3.connect")
WRITES = os.O_WRONLY | os.O_RDWR
# Two counts and a time, then the path of the last change.
SHARED = struct.Struct("=qd")

TINY = {
    "backbone": "test_efficientnet.r160_in1k",
    "image_size": 32,
    "weights": "none",
    "embedding_dim": 16,
    "epochs": 3,
    "batch_size": 8,
    "augmentation": "light",
    "warmup_epochs": 1,
    "score_every": 1,
}
MINED = {"losses": "[ArcFace(), Triplet(mining='semi_hard')]", "sampler": "PK(images_per_label=2)"}
PLUGINS: dict[str, dict[str, Any]] = {
    "plain": {},
    "other": {"seed": 1},
    "averaged": {"averaging": "Ema(decay=0.9)", "accumulate": "2"},
    "mined": MINED,
    "sequenced": {
        "losses": "[Triplet(mining='sequence')]",
        "sampler": "Hardness(mined_on='current')",
        "batch_size": 6,
    },
    "phased": {"phases": "[Phase(epochs=1, frozen_backbone=True), Phase(epochs=2, image_size=48)]"},
    "viewed": {"views": "('plain', 'flip')"},
    "eyes": {"epochs": 0, "losses": "[]", "embedding_dim": None, "neck": "'none'"},
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A command, and those that make what it needs; `done` is its error where nothing is left.

    A command that starts itself again (`alone`) is not forked from the process of this script.
    """

    command: str
    before: tuple[str, ...] = ()
    done: str = ""
    alone: bool = False
    catalogue: bool = False
    test_images: int = 10


def embedded(*names: str) -> tuple[str, ...]:
    """Return the commands that train plugins and embed all images."""
    return (f"train {' '.join(names)}{RUN}", f"embed {' '.join(names)}{ENGINE}")


IDENTIFY = f"identify ../season --catalogue ../whales --with eyes --workspace .{ENGINE}"
DETECT = "data boxes detect --backbone {} --image-size 64 --epochs 2 --weights none --threshold 0"
CASES = {
    "train": Case(command=f"train plain{RUN}"),
    "train-ema": Case(command=f"train averaged{RUN}"),
    "train-pk-mining": Case(command=f"train mined{RUN}"),
    "train-sequence": Case(command=f"train sequenced{RUN}"),
    "train-phases": Case(command=f"train phased{RUN}"),
    "train-workers": Case(command="train plain --device cpu --precision 32 --workers 2"),
    "train-two": Case(command=f"train plain --devices 2{RUN}", alone=True),
    "embed": Case(command=f"embed viewed{ENGINE}", before=(f"train viewed{RUN}",), test_images=330),
    "embed-two": Case(
        command=f"embed viewed --devices 2{ENGINE}",
        before=(f"train viewed{RUN}",),
        alone=True,
        test_images=330,
    ),
    "prepare": Case(command="data prepare plain other", before=("data check",)),
    "detect": Case(command=DETECT.format(TINY["backbone"]) + RUN),
    "match": Case(
        command=f"match plain --with sift --shortlist 8 --queries all{ENGINE}",
        before=embedded("plain"),
    ),
    "ensemble": Case(
        command=f"ensemble plain other --submit{ENGINE}", before=(f"train plain other{RUN}",)
    ),
    "sweep": Case(command=f"sweep plain --set learning_rate=1e-3,3e-4 --epochs 2{RUN}"),
    "pseudo": Case(
        command=f"pseudo plain other --threshold 0{ENGINE}", before=(f"train plain other{RUN}",)
    ),
    "search": Case(
        command=f"search plain other --trials 4{ENGINE}", before=embedded("plain", "other")
    ),
    "identify": Case(command=IDENTIFY, catalogue=True),
    "catalogue-add": Case(
        command="catalogue add ../confirmed.csv --pattern 'W-{number:04d}' --by Ann",
        before=(IDENTIFY,),
        done="there is no other photograph to add",
        catalogue=True,
    ),
}


# What is drawn


def draw(path: Path, identity: int, number: int) -> None:
    """Save a photograph with the pattern of its individual and noise of its own."""
    pattern = np.random.default_rng(identity).integers(0, 255, (6, 8, 3))
    pixels = np.kron(pattern, np.ones((8, 8, 1)))
    noise = np.random.default_rng([identity, number]).normal(0, 12, pixels.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8)).save(path)


def draw_workspace(root: Path, case: Case) -> Path:
    """Return the workspace of a case in a folder, before its command."""
    workspace = root / "workspace"
    if not case.catalogue:
        rows, boxes = ["Image,Id"], ["image,x0,y0,x1,y1,confidence,source"]
        for identity in range(8):
            for number in range(4):
                name = f"{identity}_{number}.png"
                draw(root / "data/train" / name, identity, number)
                rows.append(f"{name},{'new_whale' if identity == 7 else f'w_{identity}'}")
                if number < 3:
                    boxes.append(f"{name},{4 + identity},{2 + number},{50 + number},40,,me")
        sample = ["Image,Id"]
        for number in range(case.test_images):
            draw(root / "data/test" / f"t_{number}.png", number, 100 + number)
            sample.append(f"t_{number}.png,new_whale w_0 w_1 w_2 w_3")
        (root / "data/train.csv").write_text("\n".join(rows) + "\n")
        (root / "data/sample_submission.csv").write_text("\n".join(sample) + "\n")
        ended(root, f"init {workspace} --preset humpback --data {root / 'data'}")
        text = (workspace / "kitbox.toml").read_text()
        (workspace / "kitbox.toml").write_text(
            text.replace("seed = 0", "seed = 0\nnear_duplicate_bits = 0")
        )
        (workspace / "boxes.csv").write_text("\n".join(boxes) + "\n")
    else:
        confirmed = ["image,individual,confirmed"]
        for identity in range(10):
            for number in range(4):
                name = f"2023-05-{number + 1:02d}_{identity}_{number}.png"
                draw(root / "whales" / f"W-{identity:04d}" / name, identity, number)
            name = f"2024-05-01_{identity}.png"
            draw(root / "season" / name, identity + 3, 50)
            known = f"W-{identity + 3:04d},yes" if identity < 7 else f"W-0000,new {identity}"
            confirmed.append(f"season/{name},{known}")
        (root / "confirmed.csv").write_text("\n".join(confirmed) + "\n")
    (workspace / "plugins").mkdir(parents=True, exist_ok=True)
    for name, given in PLUGINS.items():
        values = {key: repr(value) for key, value in TINY.items()} | {
            key: value if isinstance(value, str) else repr(value) for key, value in given.items()
        }
        lines = ["from kitbox import ArcFace, Ema, Hardness, Phase, PK, Plugin, Triplet", ""]
        lines += ["plugin = Plugin("]
        lines += [f"    {key}={value}," for key, value in values.items()] + [")", ""]
        (workspace / "plugins" / f"{name}.py").write_text("\n".join(lines))
    for command in case.before:
        ended(workspace, command)
    return workspace


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a folder; a TemporaryDirectory would be removed by the first child that ends."""
    folder = Path(tempfile.mkdtemp(prefix="kill-")).resolve()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


# One command


@dataclass(frozen=True)
class Plan:
    """A kill: at the n-th change of a file, or at a share of the time from the first to the end."""

    signal: int
    group: bool
    change: int | None = None
    share: float = 0.0


class Process:
    """A command in a process and a process group of its own."""

    def __init__(
        self, folder: Path, command: str, plan: Plan | None = None, *, alone: bool = False
    ) -> None:
        self._shared = mmap.mmap(-1, 4096)
        self.output = folder.parent / f"output-{time.monotonic_ns()}"
        self.began = time.monotonic()
        arguments = shlex.split(command)
        if alone:
            with self.output.open("wb") as output:
                self.pid = subprocess.Popen(
                    [sys.executable, "-m", "kitbox", *arguments],
                    cwd=folder, stdout=output, stderr=output, process_group=0,
                ).pid  # fmt: skip
            return
        self.pid = os.fork()
        if self.pid == 0:
            os._exit(self._run(folder, arguments, plan))

    def _run(self, folder: Path, arguments: list[str], plan: Plan | None) -> int:
        os.setpgrp()
        os.chdir(folder)
        file = os.open(self.output, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.argv = ["kitbox", *arguments]
        from kitbox.cli.app import main

        sys.addaudithook(functools.partial(self._count, str(folder), plan))
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:  # what Python would print
            traceback.print_exc()
            code = 99
        with suppress(BaseException):
            atexit._run_exitfuncs()  # a forked process has no end of its own
        sys.stdout.flush()
        sys.stderr.flush()
        return code

    def _count(self, folder: str, plan: Plan | None, event: str, given: tuple[Any, ...]) -> None:
        if event == "open":
            if not isinstance(given[2], int) or not given[2] & WRITES:
                return
        elif event not in CHANGES:
            return
        path = os.fsdecode(given[0]) if isinstance(given[0], str | bytes) else ""
        if os.path.isabs(path) and not path.startswith(folder):
            return
        changes, first = SHARED.unpack_from(self._shared)
        SHARED.pack_into(self._shared, 0, changes + 1, first or time.monotonic())
        name = path.removeprefix(folder).lstrip("/").encode()[:3000]
        self._shared[SHARED.size : SHARED.size + len(name) + 1] = name + b"\0"
        if plan is not None and plan.change == changes + 1:
            self.send(plan)

    def send(self, plan: Plan) -> None:
        """Send the signal of a plan to the command; it may have ended."""
        pid = self.pid or os.getpid()
        with suppress(ProcessLookupError):
            (os.killpg if plan.group else os.kill)(pid, plan.signal)

    @property
    def changes(self) -> int:
        """How often it has opened a file to write, renamed or removed one."""
        return int(SHARED.unpack_from(self._shared)[0])

    @property
    def first(self) -> float:
        """Seconds until the first of them, 0 before it."""
        first = SHARED.unpack_from(self._shared)[1]
        return first - self.began if first else 0.0

    @property
    def place(self) -> str:
        """Where the last of them was, without the names that keys give."""
        path = self._shared[SHARED.size :].split(b"\0", 1)[0].decode(errors="replace")
        parts = [part for part in Path(path).parts if not re.fullmatch(r"[0-9a-f]{12,}", part)]
        found = re.sub(r"\.[0-9a-f]{8}-\d+-\d+-\w+\.partial", "", "/".join(parts[:3]))
        return re.sub(r"[0-9a-f]{12,}", "KEY", found) or "."

    def wait(self, seconds: float) -> int | None:
        """Return the exit code, as Popen's, or None after so many seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.002)
        return None

    def end_all(self) -> None:
        """Kill what is left of the process group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def text(self) -> str:
        """Return what it printed, once."""
        text = self.output.read_text(errors="replace")
        self.output.unlink()
        return text


def ended(folder: Path, command: str, *, alone: bool = False, done: str = "") -> Process:
    """Run a command to its end, which has to be a good one."""
    process = Process(folder, command, alone=alone)
    code = process.wait(PATIENCE)
    process.end_all()
    text = process.text()
    if code is None:
        raise FaultError(f"'kitbox {command}' does not end: {text[-600:]}")
    if code and not (code == 1 and done and f"error: {done}" in text):
        raise FaultError(f"'kitbox {command}' exits with {code}: {text[-600:]}")
    return process


class FaultError(Exception):
    """What should not be."""


# What is compared

TIMED = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(Z|[+-]\d\d:\d\d)?")
SPEED = re.compile(r'"(seconds|images_per_second|seconds_per_\w+)": [\d.e+-]+')
# The snapshot of a collection has the times of its files.
LEFT_OUT = ("tensorboard", "engines", "collection.safetensors")
LOCKS = re.compile(r".*\.lock|lock|.*\.sqlite-(wal|shm)")


def contents(workspace: Path) -> dict[str, Any]:
    """Return what a workspace holds by path, without times."""
    found: dict[str, Any] = {}
    for path in sorted(workspace.rglob("*")):
        name = path.relative_to(workspace).as_posix()
        if path.is_dir() or LOCKS.fullmatch(path.name) or set(path.parts) & set(LEFT_OUT):
            continue
        if path.suffix == ".sqlite":
            found[name] = rows_of(path)
        elif path.name.startswith("sweep_"):  # the times of trainings are in it
            with path.open(newline="") as file:
                table = list(csv.DictReader(file))
            timed = {key for row in table for key in row if "second" in key}
            found[name] = [{k: v for k, v in row.items() if k not in timed} for row in table]
        elif path.suffix in (".safetensors", ".npy", ".zip"):
            found[name] = path.read_bytes()
        else:
            text = path.read_bytes().decode("utf-8", "surrogateescape")
            found[name] = SPEED.sub("SPEED", TIMED.sub("TIME", text))
    return found


def rows_of(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return sorted(
            f"{table} {row}"
            for (table,) in tables
            for row in database.execute(f'SELECT * FROM "{table}"')  # noqa: S608
        )


def check_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Raise FaultError for files that are missing, too many or other than expected."""
    more, fewer = sorted(found.keys() - expected.keys()), sorted(expected.keys() - found.keys())
    other = [name for name in found.keys() & expected.keys() if found[name] != expected[name]]
    parts = [
        f"{what}: {', '.join(names[:4])}"
        for what, names in (("left over", more), ("missing", fewer), ("other bytes", sorted(other)))
        if names
    ]
    if parts:
        raise FaultError("; ".join(parts))


# The trials


@dataclass
class Result:
    """What the kills of a case showed."""

    kills: int = 0
    late: int = 0  # ended before their kill
    signals: Counter[str] = field(default_factory=Counter)
    places: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Trials:
    """The workspace of a case, what its command makes of it, and how long that takes."""

    def __init__(self, root: Path, case: Case) -> None:
        self.case, self.base = case, root / "base"
        self.workspace = draw_workspace(root, case)
        shutil.copytree(self.workspace, self.base, symlinks=True)
        process = self._run()
        self.expected = contents(self.workspace)
        self.changes, self.first = process.changes, process.first
        self.seconds = time.monotonic() - process.began
        self.renew()
        self._run()
        check_equal(contents(self.workspace), self.expected)  # or nothing can be compared

    def _run(self) -> Process:
        return ended(self.workspace, self.case.command, alone=self.case.alone, done=self.case.done)

    def renew(self) -> None:
        """Put the workspace back to what it was before the command."""
        shutil.rmtree(self.workspace)
        shutil.copytree(self.base, self.workspace, symlinks=True)

    def plans(self, drawn: random.Random) -> Iterator[Plan]:
        """Yield one to three kills."""
        for _ in range(drawn.choice([1, 1, 1, 1, 2, 3])):
            number = drawn.choice([signal.SIGKILL] * 8 + [signal.SIGTERM, signal.SIGINT])
            group, at_change = drawn.random() < 0.75, drawn.random() < 0.5
            change, share = drawn.randint(1, max(1, self.changes)), drawn.random()
            if at_change and not self.case.alone:
                yield Plan(number, group, change=change)
            else:
                yield Plan(number, group, share=share)

    def kill(self, plan: Plan, result: Result) -> bool:
        """Run the command with a kill; return whether it struck."""
        process = Process(self.workspace, self.case.command, plan, alone=self.case.alone)
        code = None
        if plan.change is None:
            begins = self.first
            while not self.case.alone and not process.first and code is None:
                code = process.wait(0.002)
            if self.case.alone:  # importing takes the first part
                begins, plan_from = 0.0, 0.4
                share = plan_from + (1 - plan_from) * plan.share
            else:
                share = plan.share
            left = share * (self.seconds - begins)
            code = process.wait(max(left, 0.001)) if code is None else code
            if code is None:
                process.send(plan)
        if code is None:
            code = process.wait(PATIENCE)
        place, text = process.place, process.text()
        process.end_all() if plan.group or code is None else None
        if code is None:
            raise FaultError(f"does not end after signal {plan.signal}: {text[-300:]}")
        struck = code in (-plan.signal, 128 + plan.signal, 130) or (
            self.case.alone and code not in (0, None)
        )
        if not struck and code and not (self.case.done and self.case.done in text):
            raise FaultError(f"ends with {code} instead of by signal {plan.signal}: {text[-300:]}")
        if struck:
            result.kills += 1
            result.signals[signal.Signals(plan.signal).name] += 1
            result.places[place] += 1
        else:
            result.late += 1
        return struck

    def trial(self, drawn: random.Random, result: Result) -> None:
        """Kill the command, run it again to its end, and compare."""
        self.renew()
        for plan in self.plans(drawn):
            if not self.kill(plan, result):
                break
        self._run()
        check_equal(contents(self.workspace), self.expected)

    def two_at_once(self) -> None:
        """Run two at once: one may wait or be refused in a sentence; the result is the same."""
        self.renew()
        both = [Process(self.workspace, self.case.command, alone=self.case.alone) for _ in range(2)]
        codes = [process.wait(2 * PATIENCE) for process in both]
        texts = [process.text() for process in both]
        for process in both:
            process.end_all()
        for code, text in zip(codes, texts, strict=True):
            refused = [line for line in text.splitlines() if line.startswith("error: ")]
            if code != 0 and not (code == 1 and len(refused) == 1 and "Traceback" not in text):
                raise FaultError(f"two at once: one ends with {code}: {text[-600:]}")
        if all(codes):
            raise FaultError(f"two at once: both are refused: {texts[0][-300:]}")
        check_equal(contents(self.workspace), self.expected)


def run_case(name: str, kills: int, seed: int, first: int) -> Result:
    """Return what the trials of a command show, printing each fault with how to repeat it."""
    result, began = Result(), time.monotonic()
    with scratch_folder() as folder:
        try:
            trials = Trials(folder, CASES[name])
        except FaultError as fault:
            result.faults.append(f"{name}: {fault}")
            print(result.faults[-1], flush=True)
            return result
        number = first
        while result.kills < kills and number < first + 4 * kills + 4:
            try:
                trials.trial(random.Random(f"{seed} {name} {number}"), result)
            except FaultError as fault:
                result.faults.append(
                    f"{name}: {fault} (--only {name} --seed {seed} --first {number} --kills 1)"
                )
                print(result.faults[-1], flush=True)
            number += 1
        try:
            trials.two_at_once()
        except FaultError as fault:
            result.faults.append(f"{name}: {fault}")
            print(result.faults[-1], flush=True)
    result.seconds = time.monotonic() - began
    return result


# Many writers


def write_ledger(workspace: Path, who: int, number: int) -> str:
    """Add a line to the ledger; return what names it."""
    from kitbox.submission import ledger
    from kitbox.workspace import Workspace

    name = f"{who}-{number}"
    ledger.append(Workspace(workspace), "sent", name, ref=number)
    return name


def write_decision(workspace: Path, who: int, number: int) -> str:
    """Add a decision; return what names it."""
    from kitbox.decisions import decision_file
    from kitbox.decisions.decision import Decision

    name = f"{who}-{number}.png"
    decision_file.add(workspace / "decisions.csv", Decision("drop", name, by=str(who)))
    return name


def names_in(path: Path, pattern: str) -> Counter[str]:
    return Counter(re.findall(pattern, path.read_text()))


WRITERS: dict[str, tuple[Callable[[Path, int, int], str], str, str]] = {
    "ledger": (write_ledger, "submissions/ledger.jsonl", r'"submission": "(\d+-\d+)"'),
    "decisions": (write_decision, "decisions.csv", r"drop,(\d+-\d+\.png)"),
}


def run_writers(name: str, kills: int, seed: int, each: int = 30) -> Result:
    """Let ten processes write at once, kill four of them; what was acknowledged has to be there."""
    drawn, result, began = random.Random(f"{seed} {name}"), Result(), time.monotonic()
    while result.kills < kills:
        with scratch_folder() as root:
            _write_at_once(name, root, drawn, result, each)
    result.signals["SIGKILL"] = result.kills
    result.seconds = time.monotonic() - began
    return result


def _write_at_once(name: str, root: Path, drawn: random.Random, result: Result, each: int) -> None:
    write, written, pattern = WRITERS[name]
    children = []
    for who in range(10):
        pid = os.fork()
        if pid == 0:
            acknowledged = os.open(root / f"writer-{who}", os.O_WRONLY | os.O_CREAT)
            for number in range(each):
                os.write(acknowledged, f"{write(root, who, number)}\n".encode())
            os._exit(0)
        children.append(pid)
    for pid in children[:4]:
        time.sleep(drawn.uniform(0.005, 0.1))
        os.kill(pid, signal.SIGKILL)
        result.kills += 1
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    found = names_in(root / written, pattern)
    told = [line for who in range(10) for line in (root / f"writer-{who}").read_text().split()]
    lost = [line for line in told if found[line] != 1]
    if lost or any(codes[4:]) or len(told) < 6 * each:
        result.faults.append(f"{name}: {len(lost)} of {len(told)} lines lost or twice, {codes}")
        print(result.faults[-1], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="kills of each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first trial")
    parser.add_argument("--only", default="", help=", ".join([*CASES, *WRITERS]))
    parser.add_argument("--json", type=Path, help="write the figures to a file")
    given = parser.parse_args()
    names = given.only.split(",") if given.only else [*CASES, *WRITERS]
    for variable, value in (("OMP_NUM_THREADS", "1"), ("GOMP_SPINCOUNT", "0")):
        os.environ.setdefault(variable, value)
    for module in HEAVY:
        with suppress(ImportError):
            importlib.import_module(module)
    figures = {}
    print(f"{'command':16} kills  late  faults  seconds  signals; where the last file was written")
    for name in names:
        if name in CASES:
            result = run_case(name, given.kills, given.seed, given.first)
        else:
            result = run_writers(name, given.kills, given.seed)
        places = ", ".join(f"{place} {many}" for place, many in result.places.most_common(6))
        signals = ", ".join(f"{kind} {many}" for kind, many in result.signals.most_common())
        print(
            f"{name:16} {result.kills:5} {result.late:5} {len(result.faults):7} "
            f"{result.seconds:8.0f}  {signals}; {places}",
            flush=True,
        )
        figures[name] = vars(result)
        if given.json:
            given.json.write_text(json.dumps({"seed": given.seed} | figures, indent=2) + "\n")
    if any(figure["faults"] for figure in figures.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
