"""Files of another form: each is read, or refused in one sentence, and nothing else happens.

    python benchmarks/fuzz.py --seed 7 --inputs 100000 --jobs 2 [receipt ledger list boxes ...]

Takes a good file of each kind (fuzz_kinds.py), changes it at random (bytes, lines, cells, values of
JSON and TOML, members of an archive), and calls what reads it. Prints, for each kind, how many
inputs were read and refused, the longest processor time of one, how much memory they took, and the
first of each kind of fault: an exception that is no KitboxError, a sentence of several lines, a
line on stderr, a file that was written, more than `--memory` gigabytes, a reader that was killed
or that does not end. `--growth` repeats a part of each changed file 1,000 and 10,000 times: ten
times as many bytes may take ten times as long, and some more.

Input n of a seed is the same on every machine; `--first N` begins at another one.

`--guided SECONDS` looks further for as long in each kind: atheris, which has to be installed, keeps
what reaches new code and changes that again (fuzz_coverage.py).
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from fuzz_kinds import Target, targets

from kitbox.errors import KitboxError, KitboxWarning
from kitbox.workspace import Workspace

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 0.5, -0.5, 1e308, 10**18, 10**400, 2**63),
    *("", "x", "../../x", "/etc/passwd", "..", "a/b", "a\\b", "C:x", "\0", "\n", "\ud800", "é"),
    *("NaN", "1e400", "hf-hub:timm/x", "hub", "x" * 300, "=1+1", "2026-01-31", "f" * 64, "\r"),
    *([], {}, [[]], [None], {"": None}, {"a": {"a": {}}}, [0] * 40),
)
CELLS = (
    *("", " ", "0", "-1", "1e400", "nan", "inf", "1,5", "07", "x" * 5000, "a\rb", "a\nb", '"', "'"),
    *(
        "a.png",
        "../a.png",
        "/etc/passwd",
        "x.png y.png",
        "\x1b[31m",
        "é",
        "e\u0301",
        "\u202e",
        "=1",
    ),
    *(
        "new_whale",
        "Ahab",
        "[1, 2",
        "(",
        "31/12/2024",
        "0000-00-00",
        "99999999999999999999",
        "C:\\",
    ),
    *(
        "²",
        "٣",
        "1_000",
        "0x10",
        "True",
        "a" * 300 + ".png",
        "CON",
        "\ufeff",
        "\0",
        "\x85",
        "\u2028",
    ),
)
TEXTS = (
    *(b"", b"\0", b"\0" * 64, b"{", b"}", b"[", b"]", b'"', b",", b"\n", b"\r\n", b"null", b"NaN"),
    *(b"1e400", b"-Infinity", b"[" * 5000, b'{"a":' * 5000, b"\xff\xfe", b"\xef\xbb\xbf", b"'"),
    *(b"9" * 5000, b"\\ud800", b"=", b"[[", b'"""', b"\x1b[31m", "é".encode(), b"1979-05-27"),
    *(b"\r", b"\xff" * 8, b"\x7f\xff\xff\xff", b"\x80" * 4, b";", b"\t", b"<a>" * 2000, b"&lt;"),
)
# What a file may take beyond what it takes to read a good one, and the seconds of one that hangs.
GIGABYTES, HANGS = 3.0, 60
GROWN = (1_000, 10_000)
# Ten times as many bytes may take so many times as long, where that is above the seconds.
SLOWER, SECONDS = 25, 0.5


def run(target: Target, data: bytes, folder: Path) -> str:
    """Read one input; return "read", "refused", or the name and place of a fault."""
    path = folder / target.path
    path.parent.mkdir(parents=True, exist_ok=True)
    for name, other in target.beside.items():
        if not (beside := folder / name).exists():
            beside.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(other)
    path.write_bytes(data)
    before = _names(folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", KitboxWarning)
            target.read(Workspace(folder), path)
        answer = "read"
    except KitboxError as error:
        sentence = str(error)
        sentence.encode("utf-8")
        answer = "refused"
        if "\n" in sentence.strip() or len(sentence) > 2000:
            answer = f"a sentence of {len(sentence)} characters: {sentence[:200]!r}"
    except Exception as error:  # every other one is a fault, whatever it is
        frames = traceback.extract_tb(error.__traceback__)
        own = next((f for f in reversed(frames) if "/kitbox/" in f.filename), frames[-1])
        answer = (
            f"{type(error).__name__} at {Path(own.filename).name}:{own.lineno} "
            f"({Path(frames[-1].filename).name}): {error}"
        )
    if (after := _names(folder)) != before:
        made = {str(folder / name) for name in target.makes}
        beside = sorted(n for n in after - before if not n.startswith(tuple(made)) or not made)
        kept = {name for name in after - before if name not in beside}
        for name in kept:
            if Path(name).is_file():
                Path(name).unlink()
            else:
                shutil.rmtree(name, ignore_errors=True)
        if beside:
            return f"it wrote {beside[0]}"
    return answer


def _names(folder: Path) -> set[str]:
    return {f"{top}/{name}" for top, some, more in os.walk(folder) for name in some + more}


def inputs(target: Target, seed: int, first: int, count: int) -> Iterator[bytes]:
    """Yield changed files; a number gives the same one, whatever comes before it."""
    for number in range(first, first + count):
        yield changed(target, random.Random(f"{seed} {number}"))


def changed(target: Target, chance: random.Random, data: bytes | None = None) -> bytes:
    """Return one of the good files, or another one, changed at up to eight places."""
    data = chance.choice(target.goods) if data is None else data
    if target.zipped and data[:2] == b"PK" and chance.random() < 0.8:
        return _changed_member(data, chance)
    return _changed(data, chance)


def _changed(data: bytes, chance: random.Random) -> bytes:
    changes = TEXT_CHANGES if _is_text(data) else BYTE_CHANGES
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        data = chance.choice(changes)(data, chance)
    return data


def _is_text(data: bytes) -> bool:
    return b"\0" not in data and data[:1] not in (b"\x89", b"\xff")


def grown(target: Target, seed: int, number: int, times: int) -> bytes:
    """Return a changed file, a part of which is repeated."""
    chance = random.Random(f"{seed} {number}")
    data = chance.choice(target.goods) if chance.random() < 0.5 else changed(target, chance)
    start = chance.randint(0, len(data))
    size = chance.choice((1, 1, 2, 5, 20, 100))
    if chance.random() < 0.5 and b"\n" in data[:-1]:  # whole lines
        start = data.rindex(b"\n", 0, start) + 1 if b"\n" in data[:start] else 0
        size = data.find(b"\n", start) + 1 - start if b"\n" in data[start:] else len(data) - start
    return data[:start] + data[start : start + size] * times + data[start + size :]


def _changed_bytes(data: bytes, chance: random.Random) -> bytes:
    start, size = chance.randint(0, len(data)), chance.choice((0, 0, 1, 1, 2, 20, len(data)))
    return data[:start] + chance.choice(TEXTS) + data[start + size :]


def _cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randint(0, len(data))]


def _flipped(data: bytes, chance: random.Random) -> bytes:
    altered = bytearray(data)
    if altered:
        altered[chance.randrange(len(altered))] ^= 1 << chance.randrange(8)
    return bytes(altered)


def _set_number(data: bytes, chance: random.Random) -> bytes:
    """Put a length of odd size somewhere, as formats of bytes have many."""
    size = chance.choice((1, 2, 4, 8))
    number = chance.choice((0, 1, 0x7F, 0x80, 0xFF, 2 ** (8 * size) - 1, 2 ** (8 * size - 1), 9999))
    start = chance.randint(0, len(data))
    order = chance.choice(("little", "big"))
    put = (number % 2 ** (8 * size)).to_bytes(size, order)
    return data[:start] + put + data[start + size :]


def _changed_lines(data: bytes, chance: random.Random) -> bytes:
    lines = data.split(b"\n")
    place, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[place] = chance.choice((b"", lines[other], lines[place] + lines[other], b"\0\0"))
    return b"\n".join(lines)


def _changed_value(data: bytes, chance: random.Random) -> bytes:
    """Change a value of JSON, of a line of JSON, of a line of TOML, or a cell of a CSV."""
    lines = data.split(b"\n")
    for text, put in (
        (data, lambda new: new),
        (lines[(place := chance.randrange(len(lines)))], lambda new: _with(lines, place, new)),
    ):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            continue
        try:
            return put(json.dumps(_mutated(value, chance)).encode())
        except RecursionError:
            return data
    name, equals, _ = lines[place].partition(b"=")
    if equals:
        odd = json.dumps(chance.choice(ODD)).encode()
        odd = chance.choice(
            (odd, b"1e400", b"nan", b"inf", b"[" * 3000, b"1979-05-27", b"0x1", b"")
        )
        return _with(lines, place, name + b"= " + odd)
    separator = max((b",", b";", b"\t"), key=lines[place].count)
    cells = lines[place].split(separator)
    cell, number = chance.choice(CELLS), chance.randrange(len(cells))
    if chance.random() < 0.5 or set(cell) & set('",\r\n;\t'):
        cell = '"' + cell.replace('"', '""') + '"'
    chosen = chance.choice(lines).split(separator)
    cells[number] = chance.choice((cell.encode(), chance.choice(chosen), b"", cells[0]))
    return _with(lines, place, separator.join(cells))


def _with(lines: list[bytes], place: int, line: bytes) -> bytes:
    return b"\n".join([*lines[:place], line, *lines[place + 1 :]])


def _mutated(value: Any, chance: random.Random) -> Any:
    """Return a JSON value that is another at one place."""
    inside = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if (
        isinstance(value, list)
    ) else []  # fmt: skip
    if not inside or chance.random() < 0.1:
        return chance.choice(ODD)
    key, inner = chance.choice(inside)
    altered = dict(inside) if isinstance(value, dict) else list(value)
    match chance.randrange(8):
        case 0:
            del altered[key]
        case 1:
            altered[key] = chance.choice(ODD)
        case 2 if isinstance(altered, dict):
            altered[str(chance.choice(ODD))] = altered.pop(key)
        case 3 if isinstance(altered, list):
            altered += [inner] * chance.choice((1, 50))
        case _:
            altered[key] = _mutated(inner, chance)
    return altered


def _changed_member(data: bytes, chance: random.Random) -> bytes:
    """Change a member of a zip archive, its name, or which members there are."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(one.filename, archive.read(one)) for one in archive.infolist()]
    place = chance.randrange(len(members))
    name, content = members[place]
    match chance.randrange(8):
        case 0:
            del members[place]
        case 1:
            members.append((name, _changed(content, chance)))
        case 2:
            members[place] = chance.choice(("../x", "", "a\0b", name.upper(), "/x")), content
        case _:
            members[place] = name, _changed(content, chance)
    written = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of equal names
        with zipfile.ZipFile(written, "w", chance.choice((0, 8))) as archive:
            for name, content in members:
                archive.writestr(name or "x", content)
    return written.getvalue()


BYTE_CHANGES = (_changed_bytes, _cut, *([_flipped] * 5), *([_set_number] * 3))
TEXT_CHANGES = (_changed_bytes, _cut, _flipped, _changed_lines, *([_changed_value] * 4))


def limit_memory(gigabytes: float) -> None:
    """Limit what this process may take from now on."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    most = used + int(gigabytes * 1e9)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _work(
    name: str, given: argparse.Namespace, first: int, last: int, at: Any, results: Any
) -> None:
    """Read inputs in a process of its own; put (number, answer, seconds, megabytes) per input."""
    target = targets()[name]
    with tempfile.TemporaryDirectory(dir=given.folder) as top, tempfile.TemporaryFile() as said:
        folder = Path(top)
        os.dup2(said.fileno(), 2)
        limit_memory(given.memory)
        found, longest, slowest = Counter[str](), 0.0, 0
        faults: dict[str, tuple[int, str]] = {}
        for number in range(first, last):
            at.value = number
            if given.growth:
                answer, seconds = _grow(target, given.seed, number, folder)
            else:
                [data] = inputs(target, given.seed, number, 1)
                began = time.process_time()
                answer = run(target, data, folder)
                seconds = time.process_time() - began
            if os.fstat(said.fileno()).st_size:
                said.seek(0)
                lines = said.read().splitlines()
                answer = f"it printed: {lines[:3]!r}"
                said.seek(0)
                said.truncate()
            kind = answer if answer in ("read", "refused") else answer.partition(": ")[0]
            if kind not in ("read", "refused"):
                faults.setdefault(kind, (number, answer))
            found[kind] += 1
            if seconds > longest:
                longest, slowest = seconds, number
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        results.put((found, faults, longest, slowest, peak))


def _grow(target: Target, seed: int, number: int, folder: Path) -> tuple[str, float]:
    """Read a file of which a part is repeated, and one of which it is ten times as often."""
    seconds = []
    for times in GROWN:
        data = grown(target, seed, number, times)
        began = time.process_time()
        answer = run(target, data, folder)
        seconds.append(time.process_time() - began)
    if answer in ("read", "refused") and seconds[1] > max(SLOWER * seconds[0], SECONDS):
        answer = f"slow: {seconds[0]:.3f} s and {seconds[1]:.3f} s for {len(data):,} bytes"
    return answer, seconds[1]


def fuzz(name: str, given: argparse.Namespace) -> dict[str, int]:
    """Print what happened to the inputs of a kind of file; return the faults.

    A process that a reader kills is begun again behind the input that did it.
    """
    target = targets()[name]
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for good in target.goods:
            if (answer := run(target, good, Path(folder))) not in ("read", "refused"):
                raise SystemExit(f"{name}: a good file is not read: {answer}")
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    share = -(-given.inputs // given.jobs)
    last = given.first + given.inputs
    jobs = [[a, min(a + share, last)] for a in range(given.first, last, share)]
    found, faults, longest, slowest, peak = Counter[str](), {}, 0.0, 0, 0.0
    running: list[tuple[Any, Any, int]] = []

    def start(begin: int, end: int) -> None:
        at = context.Value("q", begin)
        process = context.Process(target=_work, args=(name, given, begin, end, at, results))
        process.start()
        running.append((process, at, end))

    for begin, end in jobs:
        start(begin, end)
    seen: dict[Any, tuple[int, float]] = {}
    while running:
        with contextlib.suppress(Exception):
            many, their, seconds, number, megabytes = results.get(timeout=0.5)
            found += many
            for kind, fault in their.items():
                faults[kind] = min(fault, faults.get(kind, fault))
            if seconds > longest:
                longest, slowest = seconds, number
            peak = max(peak, megabytes)
        for each in list(running):
            process, at, end = each
            number, since = seen.get(process, (-1, 0.0))
            if at.value != number:
                seen[process] = at.value, time.monotonic()
            elif time.monotonic() - since > HANGS and process.is_alive():
                process.kill()
                faults.setdefault("hangs", (at.value, f"no answer in {HANGS} s"))
            if process.is_alive():
                continue
            process.join()
            running.remove(each)
            if process.exitcode:
                kind = f"killed by signal {-process.exitcode}"
                faults.setdefault(kind, (at.value, kind))
                found[kind] += 1
                if at.value + 1 < end:
                    start(at.value + 1, end)
    for number, answer in sorted(faults.values()):
        print(f"  {name}, input {number}: {answer[:300]}")
    shown = ", ".join(f"{many:,} {kind}" for kind, many in found.most_common(6))
    print(f"{name}: {shown}; {longest:.3f} s at most (input {slowest}), {peak:.0f} MB", flush=True)
    return {kind: number for kind, (number, _) in faults.items()}


def guide(name: str, given: argparse.Namespace) -> list[str]:
    """Print what happened to inputs that coverage guides; return the faults."""
    script, folder = Path(__file__).with_name("fuzz_coverage.py"), given.folder or "."
    faults = tempfile.mkdtemp(prefix="fuzz-")
    command = [sys.executable, str(script), name, "--faults", faults, "--folder", folder]
    command += ["--seconds", str(given.guided), "--seed", str(given.seed)]
    with tempfile.TemporaryFile() as said:
        done = subprocess.run(
            [*command, "--memory", str(given.memory)],
            stdout=subprocess.PIPE,
            stderr=said,
            check=False,
        )
        said.seek(0)
        last = said.read()[-600:].decode(errors="replace")
    if done.returncode or not done.stdout:
        print(f"  {name}: ends with {done.returncode}, see {faults}: {last}", flush=True)
        return ["ends"]
    result = json.loads(done.stdout)
    for answer in result["faults"].values():
        print(f"  {name}: {answer[:300]} (in {faults})")
    shown = ", ".join(f"{many:,} {kind}" for kind, many in Counter(result["found"]).most_common(6))
    before, after = result["covered"] or (0, 0)
    print(
        f"{name}: {shown}; {result['longest']:.3f} s at most, {result['peak']:.0f} MB, "
        f"{before:,} branches at first and {after:,} in the end",
        flush=True,
    )
    if not result["faults"]:
        shutil.rmtree(faults)
    return list(result["faults"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--memory", type=float, default=GIGABYTES, help="gigabytes of one process")
    parser.add_argument("--folder", help="an empty folder, best in memory, as /dev/shm")
    parser.add_argument("--growth", action="store_true")
    parser.add_argument(
        "--guided", type=float, metavar="SECONDS", help="guide by coverage, for so long each kind"
    )
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(targets()))
    given = parser.parse_args()
    kinds = [name for name in targets() if not given.kinds or name in given.kinds]
    if given.guided and find_spec("atheris") is None:
        raise SystemExit(
            "error: atheris, which --guided needs, is not installed: pip install atheris"
        )
    faults = sum(len((guide if given.guided else fuzz)(name, given)) for name in kinds)
    if faults:
        raise SystemExit(f"{faults} faults")


if __name__ == "__main__":
    main()
