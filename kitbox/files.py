"""Atomic and durable writes, access at an offset, and digests of content.

Calls that only some systems have stand here and nowhere else.
"""

import codecs
import errno
import hashlib
import json
import math
import os
import platform
import re
import shutil
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from kitbox.errors import KitboxError, cannot_write, readable

# Levels of arrays and objects in a JSON text; digits of a whole number, and those that are shown.
_DEEPEST, _DIGITS, _SHOWN = 50, 19, 20
# Windows translates line feeds without it.
_BINARY = getattr(os, "O_BINARY", 0)
# Guards the position of open files where the system cannot read and write at an offset.
_POSITION = threading.Lock()
# What `atomic_file` and `atomic_folder` write to: the target's name, and which process of which
# machine writes it, since when that process runs.
_TEMPORARY = re.compile(
    r"\..+\.(?P<machine>[0-9a-f]{8})-(?P<pid>\d+)-(?P<start>\d+)-[a-z0-9_]{8}\.partial"
)
# Characters of the target's name in it: a name may have 255 bytes.
_SHORT = 40
# Another machine's processes cannot be seen; one that wrote nothing for so long is gone.
_FOREIGN_SECONDS = 7 * 86400
_SWEPT: set[Path] = set()
# sha256 of files by path, inode, size and times, and the age in nanoseconds from which times tell
# two states of a file apart.
_KNOWN_DIGESTS: dict[tuple[str, int, int, int, int], str] = {}
_SETTLED = 100_000_000
# In a folder of `changed_together`: the digests of the files as they were.
_BEFORE = "before.json"
# Where a folder cannot be synced: it may not be listed, or its file system has no such call.
_UNSYNCED = (errno.EACCES, errno.EPERM, errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.ENOTSUP)
# Permissions of a new file, and those that its owner has in any case.
_NEW, _OWNER = 0o644, 0o600
_SEAL = b"kitbox sha256 "
_SEAL_BYTES = len(_SEAL) + 32


def canonical_json(value: Any) -> str:
    """Return the canonical JSON of a value: keys sorted, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_of(value: Any) -> str:
    """Return the sha256 of a value's canonical JSON, as 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def digest_of_file(path: Path) -> str:
    """Return the sha256 of a file's bytes, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def session_digest(path: Path) -> str:
    """Return the sha256 of a file's bytes, read once per process while the file stays as it is.

    No digest outlives the process: a disk changes bytes without a trace in the times of a file.
    """
    before = path.stat()
    key = (str(path), before.st_ino, before.st_size, before.st_mtime_ns, before.st_ctime_ns)
    if key not in _KNOWN_DIGESTS:
        digest = digest_of_file(path)
        if time.time_ns() - before.st_ctime_ns < _SETTLED:
            return digest
        _KNOWN_DIGESTS[key] = digest
    return _KNOWN_DIGESTS[key]


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write; on success it is synced and renamed to `path`.

    On return the file with its name is on the disk, so that one written later cannot be there
    without it. Whatever goes wrong before, `path` keeps its old content and no partial file stays;
    that of a killed process is removed by the next one that writes to the folder. A file that is
    replaced keeps its permissions, so that a group's workspace stays the group's.
    """
    try:
        with _replacement(path) as temporary:
            yield temporary
    except OSError as error:
        raise cannot_write(path, error) from error


@contextmanager
def _replacement(path: Path) -> Iterator[Path]:
    """Yield what `atomic_file` yields; raises OSError."""
    temporary: Path | None = None
    try:
        _prepare(path.parent)
        mode = _OWNER | path.stat().st_mode & 0o777 if path.is_file() else _NEW
        handle, name = tempfile.mkstemp(".partial", _prefix(path), path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        _sync(temporary)
        temporary.chmod(mode)
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raise KitboxError where a file cannot be written, before the work for it is done."""
    if path.is_dir():
        raise KitboxError(f"cannot write {path}: it is a folder")
    parent = next((each for each in path.absolute().parents if each.exists()), Path())
    if not parent.is_dir():
        raise KitboxError(f"cannot write {path}: {parent} is no folder")
    if not os.access(parent, os.W_OK):
        raise KitboxError(f"cannot write {path}: {parent} cannot be written to")


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill with files; on success it is renamed to `path`.

    On return it is on the disk, whole. If another process has created `path` meanwhile, its folder
    stays: both have the same content.
    """
    temporary: Path | None = None
    try:
        _prepare(path.parent)
        temporary = Path(tempfile.mkdtemp(".partial", _prefix(path), path.parent))
        yield temporary
        for file in temporary.iterdir():
            _sync(file)
        sync_folder(temporary)
        temporary.chmod(0o755)
        try:
            temporary.rename(path)
        except OSError:
            if not path.is_dir():  # else another process was first
                raise
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def changed_together(stage: Path, paths: Iterable[Path]) -> Iterator[Path]:
    """Yield a folder with copies of files, to change them; on success all take their places as one.

    `stage` is the name of that folder once it is whole, beside the files. Where a process is killed
    between two of them, `complete` puts the others in their places. Two processes must not change
    them at once.
    """
    before = {path.name: digest_of_file(path) for path in paths if path.exists()}
    with atomic_folder(stage) as folder:
        for name in before:
            shutil.copyfile(stage.parent / name, folder / name)
        yield folder
        for name, digest in before.items():
            if digest_of_file(folder / name) == digest:
                (folder / name).unlink()
        write_json(folder / _BEFORE, before)
    complete(stage)


def complete(stage: Path) -> bool:
    """Put files of `changed_together` in their places; return whether there were any.

    Raises KitboxError where one was changed since the process that wrote them was killed.
    """
    if not stage.is_dir():
        return False
    files = sorted(path for path in stage.iterdir() if path.name != _BEFORE)
    before = read_json(stage / _BEFORE) if files else {}
    for file in files:
        path = stage.parent / file.name
        if (digest_of_file(path) if path.exists() else None) != before.get(file.name):
            raise KitboxError(
                f"{path} was changed after a command that was changing it was killed",
                fix=f"remove {stage} to keep it so, or put {file} in its place",
            )
    try:
        for file in files:
            file.replace(stage.parent / file.name)
        sync_folder(stage.parent)
        shutil.rmtree(stage)
    except OSError as error:
        raise cannot_write(stage, error) from error
    return True


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`, which is removed afterwards.

    That of a killed process is removed by the next one that writes to the folder above.
    """
    _prepare(path.parent)
    with tempfile.TemporaryDirectory(".partial", _prefix(path), path.parent) as name:
        yield Path(name)


def create_folder(folder: Path) -> None:
    """Create a folder with those above it, whose names are then on the disk.

    Raises KitboxError where that cannot be.
    """
    try:
        _create(folder)
    except OSError as error:
        raise cannot_write(folder, error) from error


def sync_folder(folder: Path) -> None:
    """Sync a folder, so that the names in it are as durable as the bytes of files."""
    if os.name == "nt":  # folders cannot be opened there
        return
    try:
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
    except OSError as error:
        if error.errno not in _UNSYNCED:
            raise


def sweep(folder: Path) -> list[str]:
    """Remove what `atomic_file` and `atomic_folder` of killed processes left; return the names.

    What a process that still runs is writing stays, and so does every file of another name. Those
    of another machine or container are removed after a week without a change.
    """
    removed = []
    for entry in sorted(folder.iterdir()):
        found = _TEMPORARY.fullmatch(entry.name)
        if found is None:
            continue
        with suppress(OSError):
            if found["machine"] == _machine():
                owned = _is_running(int(found["pid"]), int(found["start"]))
            else:
                times = [each.stat().st_mtime for each in (entry, *entry.glob("*"))]
                owned = time.time() - max(times) < _FOREIGN_SECONDS
            if not owned:
                if entry.is_dir():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
                removed.append(entry.name)
    return removed


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file without its byte-order mark, line ends unchanged.

    Raises KitboxError for UTF-16, and one that names the first byte that is not UTF-8.
    """
    data = path.read_bytes()
    # without its byte-order mark every second byte of Latin letters is zero
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or 0 in data[:2]:
        raise KitboxError(
            f"{path} is UTF-16, as Excel's 'Unicode Text' is",
            fix="save it as UTF-8, in Excel as 'CSV UTF-8'",
        )
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise KitboxError(
            f"{path} is not UTF-8 at byte {error.start}, on line {line}", fix="save it as UTF-8"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with bare line feeds, atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(readable(text), encoding="utf-8", newline="\n")


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes, atomically.

    Libraries report a full disk in different ways, so let them save to memory and write the bytes
    with this.
    """
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


def write_sealed(path: Path, data: bytes) -> None:
    """Write bytes with their sha256 behind them, atomically."""
    write_bytes(path, data + _SEAL + hashlib.sha256(data).digest())


def read_sealed(path: Path) -> bytes:
    """Return the bytes that `write_sealed` wrote; raises ValueError where they have changed.

    A file without a digest, as earlier releases wrote it, is returned as it is.
    """
    data = path.read_bytes()
    if data[-_SEAL_BYTES:-32] != _SEAL:
        return data
    if hashlib.sha256(data[:-_SEAL_BYTES]).digest() != data[-32:]:
        raise ValueError("its bytes have changed")
    return data[:-_SEAL_BYTES]


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON with sorted keys, atomically."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    # half a character, as the name of a file may have, is \\udcf1 in JSON
    write_bytes(path, f"{text}\n".encode("utf-8", "backslashreplace"))


def is_own(path: Path) -> bool:
    """Return whether a file or folder, or a link, is this user's; True where none has an owner.

    Raises OSError where it is not there.
    """
    return not hasattr(os, "getuid") or path.lstat().st_uid == os.getuid()


def read_json(path: Path) -> Any:
    """Return the value in a JSON file; raises KitboxError for a missing or damaged file."""
    try:
        return parse_json(path.read_bytes())
    except FileNotFoundError as error:
        raise KitboxError(f"there is no file {path}") from error
    except OSError as error:
        raise KitboxError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise KitboxError(f"{path} is not readable JSON: {error}") from error


def parse_json(data: bytes | str, *, finite: bool = True) -> Any:
    """Return the value of a JSON text in UTF-8.

    Raises ValueError, also for what other programs take and no record of kitbox has: numbers beyond
    those of 64 bits, deep nesting and, if it has to be `finite`, NaN and infinity.
    """
    numbers: dict[str, Any] = {"parse_int": _whole_number}
    if finite:
        numbers |= {"parse_constant": _no_number, "parse_float": _finite}
    try:
        value = json.loads(data if isinstance(data, str) else data.decode("utf-8"), **numbers)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    level: list[Any] = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return value
    raise ValueError("it is nested too deeply")


def parse_toml(text: str) -> dict[str, Any]:
    """Return the value of a TOML text; raises ValueError, also for what Python cannot hold."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:_SHOWN]} is too large a number")
    return number


def _whole_number(text: str) -> int:
    if len(text.lstrip("-")) > _DIGITS:
        raise ValueError(f"{text[:_SHOWN]}… is too large a number")
    return int(text)


def append_line(path: Path, line: bytes) -> None:
    """Append a line to a file, created where missing; it is on the disk when this returns.

    Raises OSError if the line cannot be written; the file is then unchanged. The file is written
    anew: of a line that is appended in place a part may be left when power is lost, and the part of
    a row is another row. Two processes must not append at once.
    """
    path = path.resolve()  # a link stays a link
    try:
        before = path.read_bytes()
        if not os.access(path, os.W_OK):  # which its name does not need
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    except FileNotFoundError:
        before = b""
    # an editor may have left the last line without a line feed
    between = b"\n" if before and not before.endswith(b"\n") else b""
    with _replacement(path) as temporary:
        temporary.write_bytes(before + between + line)


def open_positioned(path: Path, *, write: bool = False) -> int:
    """Return the descriptor of a file for `read_at` or, created where missing, `write_at`."""
    return os.open(path, (os.O_WRONLY | os.O_CREAT if write else os.O_RDONLY) | _BINARY, _NEW)


def read_at(file: int, buffer: memoryview, offset: int) -> int:
    """Read bytes at an offset of an open file into a buffer; return their number.

    Threads may share the file.
    """
    if hasattr(os, "preadv"):
        return os.preadv(file, [buffer], offset)
    with _POSITION:  # Windows
        os.lseek(file, offset, os.SEEK_SET)
        data = os.read(file, buffer.nbytes)
    buffer.cast("B")[: len(data)] = data
    return len(data)


def write_at(file: int, data: memoryview, offset: int) -> int:
    """Write bytes at an offset of an open file; return how many, which may be fewer than given.

    Threads may share the file.
    """
    if hasattr(os, "pwrite"):
        return os.pwrite(file, data, offset)
    with _POSITION:  # Windows
        os.lseek(file, offset, os.SEEK_SET)
        return os.write(file, data)


def _prepare(folder: Path) -> None:
    """Create a folder, and sweep it the first time that this process writes to it."""
    _create(folder)
    if folder not in _SWEPT:
        _SWEPT.add(folder)
        with suppress(OSError):  # a folder may be written to and not be listed
            sweep(folder)


def _create(folder: Path) -> None:
    """Create a folder with those above it, whose names are then on the disk."""
    new, above = [], folder
    while not above.exists():
        above = above.parent
        new.append(above)
    folder.mkdir(parents=True, exist_ok=True)
    for each in new:
        sync_folder(each)


def _prefix(path: Path) -> str:
    """Return the beginning of the name of a temporary file of this process."""
    pid = os.getpid()
    return f".{path.name[:_SHORT]}.{_machine()}-{pid}-{_start_of(pid) or 0}-"


@cache
def _machine() -> str:
    """Return eight hex digits of this computer, or of the container whose processes are seen."""
    try:
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        namespace = 0
    return digest_of([platform.node(), namespace])[:8]


def _start_of(pid: int) -> int | None:
    """Return when a process began, in clock ticks since the computer did; None if it has ended.

    Also None where the system does not say.
    """
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    state, *fields = status.rpartition(b") ")[2].split()  # the name before may have any bytes
    return None if state in (b"Z", b"X") else int(fields[18])


def _is_running(pid: int, start: int) -> bool:
    """Return whether the process of a number that began at `start` still runs, or may."""
    if start:
        return _start_of(pid) == start
    if os.name == "nt":  # there os.kill ends a process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _sync(path: Path) -> None:
    with path.open("r+b") as file:  # Windows syncs only what may be written
        os.fsync(file.fileno())
