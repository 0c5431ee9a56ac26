"""Commands whose machine loses power, run again, compared with uninterrupted ones.

    python benchmarks/power.py [--states 20] [--seed 0] [--only train,embed] [--json FILE]

`kill.py` ends processes, after which the system still writes what it was given. Here each command
runs once under strace, which must be installed, and `disk_log.py` draws what may be on the disk
when power is lost at a moment: what was not synced may be missing, cut off or zeros, and a file may
have its old name or none. Two things have to hold:

- What cannot be made again (all but `.kitbox/`, and the checkpoints in it) is as it was when the
  command last printed or answered something, or as it became since. `--states` times 20 are tried.
- The command, run again, ends with what an uninterrupted one leaves, bit for bit but for times; or
  says in one sentence which file is damaged and what to remove, and does so once that is removed.

State n of a seed is the same for the same record; the order of a command's own threads may differ
between two records.
"""

import argparse
import importlib
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parent))
import kill
from disk_log import Disk, FileSystem, Node, UnseenError, content_of, files_of, record
from kill import ENGINE, RUN, Case, FaultError, Plan, Process

IDENTIFIED = (kill.IDENTIFY,)
ADD = kill.CASES["catalogue-add"].command
SUBMIT = f"ensemble plain other --submit{ENGINE}"
CASES: dict[str, Case] = {
    **{name: case for name, case in kill.CASES.items() if not case.alone},
    "init": Case(command="init again --preset humpback --data ../data", done="exists already"),
    "train-again": kill.CASES["train-phases"],
    "holdout": Case(command="data holdout"),
    "boxes-import": Case(command="data boxes import ../drawn.csv"),
    "vectors-import": Case(
        command="embeddings import ../vectors.csv --name mine --learned-from nothing --replace",
        before=("embeddings import ../older.csv --name mine --learned-from nothing",),
    ),
    "catalogue-rename": Case(
        command="catalogue rename W-0003 W-0103",
        before=IDENTIFIED,
        done="'W-0003' is no individual",
        catalogue=True,
    ),
    "catalogue-undo": Case(
        command="catalogue undo --by Ann",
        before=(*IDENTIFIED, ADD),
        done="there is no change of the catalogue to take back",
        catalogue=True,
    ),
    "catalogue-copy": replace(
        kill.CASES["catalogue-add"], command=f"{ADD} --copy-to ../known", before=IDENTIFIED
    ),
    "record": Case(
        command="leaderboard record 2 0.5",
        before=(f"train plain other{RUN}", SUBMIT),
    ),
    "reproduce": Case(command="reproduce SUBMISSION", before=(f"train plain other{RUN}", SUBMIT)),
    "look": Case(command="look --port 0 --no-browser --by Ann"),
}
# A share of an earlier training that was killed.
INTERRUPTED = {"train-again": 0.6}
# Run again, they do what they did a second time.
REPEATED = ("record",)
# What can be made again: all of .kitbox but the checkpoints, and what is written to be removed.
MADE_AGAIN = re.compile(
    r"\.kitbox/(?!runs/.*\.(safetensors|jsonl|pt)$|runs/.*/run\.json$).*|.*\.partial(/.*)?|(.*/)?lock"
    r"|\.catalogue-change/before\.json|embeddings/\.[^/]*\.(new|old)/.*"
)
APPENDED = re.compile(r".*\.jsonl")
ANSWERS = [
    *(("label", f"{identity}_3.png", f"w_{identity + 1}") for identity in range(5)),
    *(("drop", f"{identity}_2.png", "") for identity in range(5)),
]


@dataclass
class Result:
    """What the states of a command show; `named` says how many ended in a sentence first."""

    changes: int = 0
    syncs: int = 0
    states: int = 0
    looked: int = 0
    named: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Trials:
    """The workspace of a case, what its command asks of the disk, and what it leaves."""

    def __init__(self, root: Path, name: str) -> None:
        self.name, self.case = name, CASES[name]
        self.base = root / "base"
        for file in ("drawn.csv", "vectors.csv", "older.csv"):
            (root / file).write_text(table(file))
        self.workspace = kill.draw_workspace(root, self.case)
        if name in INTERRUPTED:
            self._interrupt(INTERRUPTED[name])
        command = self.case.command
        if "SUBMISSION" in command:
            (folder,) = (self.workspace / "submissions").glob("2*/")
            command = command.replace("SUBMISSION", f"submissions/{folder.name}")
        self.case = replace(self.case, command=command)
        shutil.copytree(self.workspace, self.base, symlinks=True)
        arguments = [sys.executable, "-m", "kitbox", *shlex.split(command)]
        if name == "look":
            arguments = [sys.executable, str(Path(__file__).resolve()), "--answer"]
        output = root / "output-recorded"
        code, self.disk = record(arguments, self.workspace, self.base, output)
        if code:
            raise FaultError(f"exits with {code}: {output.read_text()[-600:]}")
        self.expected = kill.contents(self.workspace)
        self.told = Versions(self.disk)
        if name != "look":
            self.renew()
            self._run()
            kill.check_equal(kill.contents(self.workspace), self.expected)
        self.repeated = self.expected
        if name in REPEATED:
            self._run()
            self.repeated = kill.contents(self.workspace)

    def _interrupt(self, share: float) -> None:
        before = self.workspace.parent / "before"
        shutil.copytree(self.workspace, before, symlinks=True)
        changes = kill.ended(self.workspace, self.case.command).changes
        shutil.rmtree(self.workspace)
        before.rename(self.workspace)
        plan = Plan(signal.SIGKILL, True, change=int(share * changes))
        process = Process(self.workspace, self.case.command, plan)
        if process.wait(kill.PATIENCE) != -signal.SIGKILL:
            raise FaultError("the training before was not killed")
        process.end_all()

    def renew(self) -> None:
        shutil.rmtree(self.workspace)
        shutil.copytree(self.base, self.workspace, symlinks=True)

    def _run(self) -> str:
        """Run the command to its end; return '' or the sentence of its error."""
        process = Process(self.workspace, self.case.command)
        code = process.wait(kill.PATIENCE)
        process.end_all()
        text = process.text()
        if code is None:
            raise FaultError(f"does not end: {text[-600:]}")
        if code == 0 or (code == 1 and self.case.done and self.case.done in text):
            return ""
        errors = [line for line in text.splitlines() if line.startswith("error: ")]
        if code != 1 or len(errors) != 1 or "Traceback" in text:
            raise FaultError(f"exits with {code}: {text[-800:]}")
        return errors[0]

    def moment(self, drawn: random.Random) -> int:
        """Return after how many changes power is lost: often beside one that matters."""
        changes = self.disk.changes
        telling = [n for n, change in enumerate(changes) if change.what not in ("write", "size")]
        kind = drawn.random()
        if kind < 0.15:
            return len(changes)
        if kind < 0.3 or not telling:
            return drawn.randint(0, len(changes))
        return min(len(changes), drawn.choice(telling) + drawn.randint(0, 1))

    def look_at(self, drawn: random.Random) -> tuple[int, FileSystem, Node]:
        """Draw a state; raises FaultError where it has lost what cannot be made again."""
        count, system = self.moment(drawn), drawn.choice(get_args(FileSystem))
        state = self.disk.state(count, system, drawn)
        found = {path: node for path, node in files_of(state) if not MADE_AGAIN.fullmatch(path)}
        placed = taking_their_places(state, found)
        found |= placed
        last = max((n for n in self.told.tellings if n < count), default=-1)
        for path in sorted(self.told.of.keys() | found.keys()):
            node = found.get(path)
            content = None if node is None else content_of(node)
            until = len(self.disk.changes) + 1 if path in placed else count
            if content in (allowed := self.told.allowed(path, last, until)):
                continue
            if path.startswith(".kitbox/") and None in allowed:  # it was removed, and may be again
                continue
            if node is not None and self.told.begins(path, last, bytes(node.data)):
                continue
            size = "is gone" if node is None else f"has {len(node.data)} other bytes"
            raise FaultError(f"{path} {size} after change {count}, {system}")
        return count, system, state

    def run_again(self, drawn: random.Random, result: Result) -> None:
        """Draw a state, run the command in it, and compare."""
        count, system, state = self.look_at(drawn)
        self.disk.write(state, self.workspace)
        where = f"after change {count}, {system}"
        if self.name == "look":
            check_decisions(self.workspace)
            return
        try:
            for _ in range(4):
                sentence = self._run()
                if not sentence:
                    break
                path = self._named(sentence)
                result.named[
                    re.sub(r"[0-9a-f]{12,}", "KEY", path.relative_to(self.workspace).as_posix())
                ] += 1
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            else:
                raise FaultError(f"four sentences: {sentence}")
            found = whole_lines(kill.contents(self.workspace))
            kill.check_equal(found, self.repeated if found == self.repeated else self.expected)
        except FaultError as fault:
            raise FaultError(f"{fault} ({where})") from fault

    def _named(self, sentence: str) -> Path:
        """Return what a sentence says to remove: a file or folder of the workspace's cache."""
        paths = [
            self.workspace / found
            for found in re.findall(r"[^\s'\"(]*\.kitbox/[^\s:;,')]+", sentence)
        ]
        paths = [path for path in paths if path.exists()]
        if "remove" not in sentence or not paths:
            raise FaultError(f"is refused: {sentence}")
        return paths[0]


def whole_lines(found: dict[str, Any]) -> dict[str, Any]:
    """Return contents without damaged lines of detections, which a warning counts."""
    for name in found:
        if re.search(r"/found-\d+\.jsonl$", name):
            lines = found[name].splitlines()
            found[name] = "".join(f"{line}\n" for line in lines if is_json(line))
    return found


def is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def taking_their_places(state: Node, found: dict[str, Node]) -> dict[str, Node]:
    """Return imported embeddings that replace others, as the next command puts them there."""
    waiting = {path: node for path, node in files_of(state) if path.startswith("embeddings/.")}
    return {
        path: node
        for hidden, node in waiting.items()
        if (path := hidden.replace("/.mine.new/", "/mine/")) not in found
        and path != hidden
        and any(other.startswith("embeddings/.mine.old/") for other in waiting)
    }


class Versions:
    """The contents, by path, that files have had which cannot be made again.

    `of` has each with the place of the change that gave it, `appended` the bytes of lists that
    grow, `tellings` the places at which the command printed or answered something.
    """

    def __init__(self, disk: Disk) -> None:
        self.of: dict[str, list[tuple[int, bytes | None]]] = {}
        self.appended: dict[str, list[tuple[int, bytes]]] = {}
        self.tellings = [n for n, change in enumerate(disk.changes) if change.what == "told"]
        self._contents: dict[int, bytes] = {}
        self._note(-1, disk.root)
        for place, node, root in disk.history():
            if node is None:
                self._note(place, root)
            elif id(node) in self._contents:
                del self._contents[id(node)]
                self._note(place, root)

    def _note(self, place: int, root: Node) -> None:
        found = {path: node for path, node in files_of(root) if not MADE_AGAIN.fullmatch(path)}
        for path in self.of.keys() | found.keys():
            node, known = found.get(path), self.of.setdefault(path, [])
            content = None
            if node is not None:
                content = self._contents.setdefault(id(node), b"")
                content = self._contents[id(node)] = content or content_of(node)
            if not known or known[-1][1] != content:
                known.append((place, content))
                if node is not None and APPENDED.fullmatch(path):
                    self.appended.setdefault(path, []).append((place, bytes(node.data)))

    def allowed(self, path: str, last: int, count: int) -> list[bytes | None]:
        """Return what a file may hold: what it held at the last telling, or had after that."""
        known = self.of.get(path, [])
        before = [content for n, content in known if n <= last][-1:] or [None]
        since = [content for n, content in known if last < n < count]
        if None not in (before[0], known[-1][1] if known else None):  # it is never to be missing
            since = [content for content in since if content is not None]
        return before + since

    def begins(self, path: str, last: int, data: bytes) -> bool:
        """Return whether a list that grows has all that it had at the last telling."""
        found = [before for n, before in self.appended.get(path, []) if n <= last]
        return bool(found) and data.startswith(found[-1])


def check_decisions(workspace: Path) -> None:
    """Raise FaultError for a decision that nobody made."""
    from kitbox.decisions import decision_file

    rows = decision_file.load(workspace / "decisions.csv").rows
    found = [(row.kind, row.subject, row.value) for row in rows]
    if found != ANSWERS[: len(found)]:
        raise FaultError(f"decisions.csv has other decisions: {found}")


@contextmanager
def ended(server: subprocess.Popen[str]) -> Iterator[None]:
    """End a server as Ctrl-C does."""
    try:
        yield
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)


def answer() -> None:
    """Start the page in the current folder, and answer what ANSWERS has, one by one."""
    arguments = [sys.executable, "-m", "kitbox", *shlex.split(CASES["look"].command)]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as server, ended(server):
        assert server.stderr is not None
        address = next(
            found.group() for line in server.stderr if (found := re.search(r"http://\S+", line))
        )
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(address))
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        with opener.open(address, timeout=60) as page:
            token = page.read().decode().split('name="kitbox-token" content="')[1].split('"')[0]
        for kind, subject, value in ANSWERS:
            row = {"kind": kind, "subject": subject, "value": value}
            head = {"Content-Type": "application/json", "Origin": origin, "X-Kitbox-Token": token}
            data = json.dumps({"decisions": [row]}).encode()
            request = urllib.request.Request(f"{origin}/api/decide", data, head)  # noqa: S310
            opener.open(request, timeout=60).close()


def table(name: str) -> str:
    """Return a list of boxes or of vectors for the images that kill.py draws."""
    drawn = random.Random(name)
    trained = [f"{identity}_{number}.png" for identity in range(8) for number in range(4)]
    names = trained + [f"t_{number}.png" for number in range(10)]
    if name == "drawn.csv":
        rows = [f"{image},2,3,40,41" for image in trained]
        return "\n".join(["image,x0,y0,x1,y1", *rows]) + "\n"
    rows = [",".join([image, *(f"{drawn.gauss(0, 1):.6f}" for _ in range(8))]) for image in names]
    return "\n".join([f"id,{','.join(f'v{n}' for n in range(8))}", *rows]) + "\n"


def run_case(name: str, states: int, seed: int, first: int) -> Result:
    """Return what the states of a command show, printing each fault with how to repeat it."""
    result, began = Result(), time.monotonic()

    def fault(text: object, number: int | None = None) -> None:
        again = "" if number is None else f" (--only {name} --seed {seed} --first {number})"
        result.faults.append(f"{name}: {text}{again}")
        print(result.faults[-1], flush=True)

    with kill.scratch_folder() as folder:
        try:
            trials = Trials(folder, name)
        except (FaultError, UnseenError) as error:
            fault(error)
            return result
        changes = trials.disk.changes
        result.changes = len(changes)
        result.syncs = sum(change.what == "sync" for change in changes)
        for number in range(first, first + 20 * states):
            try:
                trials.look_at(random.Random(f"{seed} {name} {number}"))
            except FaultError as error:
                fault(error, number)
                if len(result.faults) > 5:
                    break
            result.looked += 1
        for number in range(first, first + states):
            try:
                trials.run_again(random.Random(f"{seed} {name} {number}"), result)
            except FaultError as error:
                fault(error, number)
            result.states += 1
    result.seconds = time.monotonic() - began
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--states", type=int, default=20, help="states of each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first state")
    parser.add_argument("--only", default="", help=", ".join(CASES))
    parser.add_argument("--json", type=Path, help="write the figures to a file")
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.answer:
        answer()
        return
    if shutil.which("strace") is None:
        sys.exit("error: strace, which records what commands ask of the disk, is not installed")
    for variable, value in (("OMP_NUM_THREADS", "1"), ("GOMP_SPINCOUNT", "0")):
        os.environ.setdefault(variable, value)
    for module in kill.HEAVY:
        with suppress(ImportError):
            importlib.import_module(module)
    figures = {}
    print(f"{'command':16} changes syncs looked states named faults seconds; what was removed")
    for name in given.only.split(",") if given.only else CASES:
        result = run_case(name, given.states, given.seed, given.first)
        named = ", ".join(f"{path} {many}" for path, many in result.named.most_common())
        print(
            f"{name:16} {result.changes:7} {result.syncs:5} {result.looked:6} {result.states:6} "
            f"{result.named.total():5} {len(result.faults):6} {result.seconds:7.0f}; {named}",
            flush=True,
        )
        figures[name] = vars(result)
        if given.json:
            given.json.write_text(json.dumps({"seed": given.seed} | figures, indent=2) + "\n")
    if any(figure["faults"] for figure in figures.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
