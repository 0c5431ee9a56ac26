"""What a command asks of the disk, and the states that a machine without power may leave of it.

`record` runs a command under strace and returns every write, truncation, change of a name and sync
in a folder, in their order. `Disk.state` draws what may be on the disk after the first n of them:

- What was synced is there. A write that was not may be there, cut off, zeros, or not at all.
- On an "ordered" file system (ext4, XFS) changes of names last in their order, and each sync writes
  all before it. On a "loose" one, which is all that POSIX promises, each change of a name lasts or
  not by itself, until the folder that has the name is synced.

What is recorded has to give the folder that the command left, or `record` says which file differs.
Changes through shared memory are not seen; of these kitbox has the index of SQLite's log alone,
which SQLite makes again.
"""

import hashlib
import os
import random
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

CALLS = (
    *("open", "openat", "creat", "write", "writev", "pwrite64", "pwritev", "pwritev2", "lseek"),
    *("sendfile", "copy_file_range", "truncate", "ftruncate", "fallocate"),
    *("rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat"),
    *("link", "linkat", "symlink", "symlinkat", "fsync", "fdatasync", "sync", "syncfs"),
    *("sendto", "sendmsg"),
)
FileSystem = Literal["ordered", "loose"]
UNSEEN = re.compile(r".*\.sqlite-shm")  # shared memory
_CALL = re.compile(rb"(\d+) +(\d+\.\d+) (.*)", re.DOTALL)
_TEXT = re.compile(rb'"((?:\\x[0-9a-f]{2})*)"')
_FILE = re.compile(rb"(-?\d+|AT_FDCWD)<((?:\\x[0-9a-f]{2}|[^>\\])*)>")
_BLOCK = 4096


@dataclass(eq=False)
class Node:
    """A file with its bytes, a folder with its names, or a link; `time` is of its last change."""

    kind: Literal["file", "folder", "link"]
    data: bytearray = field(default_factory=bytearray)
    names: dict[str, "Node"] = field(default_factory=dict)
    target: str = ""
    source: Path | None = None  # the file of the folder before the command, as long as it is that
    time: float = 0.0


@dataclass(frozen=True)
class Change:
    """A change of a disk.

    `what` is write or size (of `node`), enter (a name of `folder` for `node`), leave, move (to
    `name` of `folder` from `old` of `out`), sync (`node`, or all of the disk), or told.
    """

    what: Literal["write", "size", "enter", "leave", "move", "sync", "told"]
    node: Node | None = None
    start: int = 0
    data: bytes = b""
    folder: Node | None = None
    name: str = ""
    out: Node | None = None
    old: str = ""
    time: float = 0.0

    @property
    def is_of_names(self) -> bool:
        return self.what in ("enter", "leave", "move")

    @property
    def places(self) -> list[tuple[int, str]]:
        """The names that it changes, each with the identity of its folder."""
        found = [(id(self.folder), self.name)]
        return [*found, (id(self.out), self.old)] if self.what == "move" else found


def tree_of(folder: Path) -> Node:
    """Return a folder of a real disk."""
    node = Node("folder")
    for entry in sorted(folder.iterdir()):
        if entry.is_symlink():
            node.names[entry.name] = Node("link", target=os.readlink(entry))
        elif entry.is_dir():
            node.names[entry.name] = tree_of(entry)
        else:
            node.names[entry.name] = Node("file", bytearray(entry.read_bytes()), source=entry)
    return node


def files_of(node: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    """Yield the files and links below a folder with their paths."""
    for name, inner in node.names.items():
        if inner.kind == "folder":
            yield from files_of(inner, f"{path}{name}/")
        else:
            yield f"{path}{name}", inner


def content_of(node: Node) -> bytes:
    """Return what tells two states of a file or link apart."""
    return node.target.encode() if node.kind == "link" else hashlib.sha256(node.data).digest()


class Disk:
    """A folder as a command found it, and the changes that it made."""

    def __init__(self, base: Path) -> None:
        """Read the folder as it is before the command; it has to stay."""
        self.base, self.root = base, tree_of(base)
        self.changes: list[Change] = []

    def history(self) -> Iterator[tuple[int, Node | None, Node]]:
        """Yield each change of names or bytes with its place, its file and the folder after it."""
        copies: dict[int, Node] = {}
        root = _copied(self.root, copies)
        own = _Copies(copies)
        for place, change in enumerate(self.changes):
            if change.is_of_names:
                _apply_name(change, own)
                yield place, None, root
            elif change.what in ("write", "size"):
                _apply_data(change, own(change.node), "all")
                yield place, own(change.node), root

    def state(self, count: int, system: FileSystem, drawn: random.Random) -> Node:
        """Draw what may be on the disk when power is lost after `count` changes."""
        done = self.changes[:count]
        kept = _kept_names(done, system, drawn)
        data = _kept_bytes(done, drawn)
        copies: dict[int, Node] = {}
        root = _copied(self.root, copies)
        own = _Copies(copies)
        for place, change in enumerate(done):
            if change.is_of_names and place in kept:
                _apply_name(change, own)
            elif place in data:
                _apply_data(change, own(change.node), data[place])
        return root

    def write(self, root: Node, folder: Path) -> None:
        """Make a folder that holds a state and nothing else."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, node in root.names.items():
            path = folder / name
            if node.kind == "folder":
                self.write(node, path)
            elif node.kind == "link":
                path.symlink_to(node.target)
            elif node.source is not None:
                shutil.copy2(node.source, path)
            else:
                path.write_bytes(node.data)
                os.utime(path, (node.time, node.time)) if node.time else None


class _Copies:
    """The nodes of a state for those of the record."""

    def __init__(self, known: dict[int, Node]) -> None:
        self.known = known

    def __call__(self, node: Node | None) -> Node:
        assert node is not None
        return self.known.setdefault(id(node), Node(node.kind, target=node.target))


def _copied(node: Node, copies: dict[int, Node]) -> Node:
    made = Node(node.kind, bytearray(node.data), {}, node.target, node.source, node.time)
    copies[id(node)] = made
    made.names = {name: _copied(inner, copies) for name, inner in node.names.items()}
    return made


def _kept_names(done: Sequence[Change], system: FileSystem, drawn: random.Random) -> set[int]:
    """Return the places of the changes of names that last."""
    places = [place for place, change in enumerate(done) if change.is_of_names]
    syncs = [(place, change.node) for place, change in enumerate(done) if change.what == "sync"]
    if system == "ordered":
        last = max((place for place, _ in syncs), default=-1)
        end = drawn.choice([last, len(done), drawn.randint(last, len(done))])
        return {place for place in places if place < end}
    synced = {None if node is None else id(node): place for place, node in syncs}
    everything = synced.get(None, -1)
    share = drawn.choice([0.0, 0.5, 0.5, 0.9])
    kept, needed = set(), set()
    for place in reversed(places):
        change = done[place]
        lasts = place < max(synced.get(id(change.folder), -1), everything)
        # what a lasting change needs is there too: the name that it moves
        if lasts or not needed.isdisjoint(change.places):
            needed.update(change.places)
            kept.add(place)
        elif drawn.random() < share:
            kept.add(place)
    return kept


def _kept_bytes(done: Sequence[Change], drawn: random.Random) -> dict[int, str]:
    """Return how much of each change of bytes is there, by its place: all, zeros or cut."""
    synced: dict[int | None, int] = {}
    for place, change in enumerate(done):
        if change.what == "sync":
            synced[None if change.node is None else id(change.node)] = place
    found: dict[int, str] = {}
    unsynced: dict[int, list[int]] = {}
    for place, change in enumerate(done):
        if change.what in ("write", "size"):
            if place < max(synced.get(id(change.node), -1), synced.get(None, -1)):
                found[place] = "all"
            else:
                unsynced.setdefault(id(change.node), []).append(place)
    for places in unsynced.values():
        how = drawn.choice(["all", "none", "cut", "zeros", "some"])
        end = drawn.randrange(len(places))
        for number, place in enumerate(places):
            if how == "all" or (how == "cut" and number < end):
                found[place] = "all"
            elif how == "zeros" or (how == "some" and drawn.random() < 0.5):
                found[place] = drawn.choice(["zeros", "blocks"]) if how == "zeros" else "all"
            elif how == "cut" and number == end:
                found[place] = f"cut {drawn.random()}"
    return found


def _apply_data(change: Change, node: Node, how: str) -> None:
    node.source = None
    node.time = max(node.time, change.time)
    if change.what == "size":
        del node.data[change.start :]
        node.data.extend(bytes(change.start - len(node.data)))
        return
    data = change.data
    if how == "zeros":
        data = bytes(len(data))
    elif how == "blocks":  # every second one was written
        data = b"".join(
            data[start : start + _BLOCK] if number % 2 else bytes(len(data[start : start + _BLOCK]))
            for number, start in enumerate(range(0, len(data), _BLOCK))
        )
    elif how.startswith("cut"):
        data = data[: int(float(how.split()[1]) * len(data))]
    node.data.extend(bytes(max(0, change.start - len(node.data))))
    node.data[change.start : change.start + len(data)] = data


def _apply_name(change: Change, own: _Copies) -> None:
    folder = own(change.folder)
    if change.what == "enter":
        folder.names[change.name] = own(change.node)
    elif change.what == "leave":
        found = folder.names.get(change.name)
        if found is not None and not found.names:  # a folder that holds something stays
            del folder.names[change.name]
    else:
        node = own(change.out).names.pop(change.old, None)
        if node is not None:
            folder.names[change.name] = node


# Recording


class UnseenError(Exception):
    """What was recorded does not give the folder that the command left."""


def record(command: Sequence[str], folder: Path, base: Path, output: Path) -> tuple[int, Disk]:
    """Run a command in a folder, of which `base` is a copy; return its exit code and the changes.

    Raises UnseenError where these do not give the folder as it is then.
    """
    log = Path(tempfile.mkstemp(".strace", dir=base.parent)[1])
    with output.open("wb") as file:
        code = subprocess.run(
            ["strace", "-f", "-y", "-xx", "-ttt", "-s", str(2**28), "-o", str(log),
             "-e", f"trace={','.join(CALLS)}", "-e", "signal=none", *command],
            cwd=folder, stdout=file, stderr=file, check=False,
        ).returncode  # fmt: skip
    disk = Disk(base)
    live = _Recorder(disk, folder, output)
    pending: dict[bytes, bytes] = {}
    with log.open("rb") as lines:
        for line in lines:
            found = _CALL.fullmatch(line.rstrip(b"\n"))
            if found is None:
                continue
            thread, time, call = found.groups()
            if call.endswith(b"<unfinished ...>"):
                pending[thread] = call.removesuffix(b"<unfinished ...>")
                continue
            if resumed := re.match(rb"<\.\.\. \w+ resumed>", call):
                call = pending.pop(thread, b"") + call[resumed.end() :]
            live.add(call, float(time))
    log.unlink()
    live.check(folder)
    return code, disk


def _bytes(text: bytes) -> bytes:
    return bytes.fromhex(text.replace(b"\\x", b"").decode())


def _path(text: bytes) -> str:
    return os.fsdecode(_bytes(text) if text.startswith(b"\\x") else text)


class _Recorder:
    """The folder at each moment, from the calls that change it."""

    def __init__(self, disk: Disk, folder: Path, output: Path) -> None:
        self.disk, self.folder, self.output = disk, f"{folder}/", str(output)
        self.root = _copied(disk.root, {})
        # nodes of the recorded folder → those of the disk as it was, which changes are about
        self.first: dict[int, Node] = {}
        self._match(self.root, disk.root)
        # of open files, by descriptor and node: None appends
        self.position: dict[tuple[int, int], int | None] = {}
        self.made: list[Node] = []  # they stay alive, so that their identities differ

    def _match(self, live: Node, before: Node) -> None:
        self.first[id(live)] = before
        for name, node in live.names.items():
            self._match(node, before.names[name])

    def add(self, call: bytes, time: float) -> None:
        """Follow one line of strace."""
        name, _, rest = call.partition(b"(")
        arguments, _, result = rest.rpartition(b") = ")
        arguments = arguments.rstrip()
        if not result or result.startswith((b"-1", b"?")):
            return
        kind = name.decode()
        if kind in ("open", "openat", "creat"):
            self._opened(kind, arguments, result)
        elif kind in ("write", "writev", "pwrite64", "pwritev", "pwritev2", "sendto", "sendmsg"):
            self._written(kind, arguments, int(result.split()[0]), time)
        elif kind in ("sendfile", "copy_file_range"):
            self._sent(kind, arguments, int(result.split()[0]), time)
        elif kind == "lseek":
            number, path = self._file(arguments)
            node = self._node(path)
            if self.position.get((number, id(node))) is not None:
                self.position[number, id(node)] = int(result.split()[0])
        elif kind in ("truncate", "ftruncate", "fallocate"):
            self._sized(kind, arguments, time)
        elif kind in ("fsync", "fdatasync", "syncfs", "sync"):
            self._synced(kind, arguments)
        else:
            self._renamed(kind, arguments)

    def _file(self, arguments: bytes) -> tuple[int, str]:
        found = _FILE.match(arguments)
        assert found is not None, arguments[:200]
        gone = " (deleted)" if arguments[found.end() :].startswith(b"(deleted)") else ""
        return int(found[1]) if found[1] != b"AT_FDCWD" else -100, _path(found[2]) + gone

    def _inside(self, path: str) -> list[str] | None:
        """Return the names below the folder of a path, None for one elsewhere."""
        path = os.path.normpath(os.path.join(self.folder, path))
        if path + "/" == self.folder:
            return []
        return path.removeprefix(self.folder).split("/") if path.startswith(self.folder) else None

    def _node(self, path: str) -> Node | None:
        names, node = self._inside(path), self.root
        if names is None:
            return None
        for name in names:
            if name not in node.names:
                return None
            node = node.names[name]
        return node

    def _place(self, path: str) -> tuple[Node, str] | None:
        names = self._inside(path)
        if not names:
            return None
        folder = self._node("/".join(names[:-1]) or ".")
        assert folder is not None, path
        return folder, names[-1]

    def _paths(self, arguments: bytes) -> list[str]:
        """Return the paths of a call, each below the descriptor before it."""
        found = []
        for part in re.finditer(
            rb'(?:(?:-?\d+|AT_FDCWD)<([^>]*)>, )?"((?:\\x[0-9a-f]{2})*)"', arguments
        ):
            start = _path(part[1]) if part[1] else self.folder
            found.append(os.path.join(start, _path(part[2])))
        return found

    def _enter(self, path: str, node: Node) -> None:
        place = self._place(path)
        if place is not None:
            folder, name = place
            self.made.append(node)
            first = self.first.setdefault(id(node), Node(node.kind, target=node.target))
            folder.names[name] = node
            self._note(Change("enter", first, folder=self.first[id(folder)], name=name))

    def _note(self, change: Change) -> None:
        self.disk.changes.append(change)

    def _opened(self, kind: str, arguments: bytes, result: bytes) -> None:
        number, path = self._file(result)
        if self._inside(path) is None:
            return
        flags = "O_WRONLY|O_CREAT|O_TRUNC" if kind == "creat" else arguments.split(b'"')[2].decode()
        node = self._node(path)
        if node is None and "O_CREAT" in flags:
            self._enter(path, Node("file"))
        elif node is not None and "O_TRUNC" in flags and node.data:
            self._set_size(node, 0, 0.0)
        node = self._node(path)
        if node is not None:
            self.position[number, id(node)] = None if "O_APPEND" in flags else 0

    def _written(self, kind: str, arguments: bytes, count: int, time: float) -> None:
        if kind.startswith("send"):
            self._note(Change("told"))
            return
        number, path = self._file(arguments)
        if path == self.output or (number in (1, 2) and self._inside(path) is None):
            self._note(Change("told"))
            return
        node = self._node(path)
        if node is None or node.kind != "file":
            return
        data = b"".join(_bytes(text) for text in _TEXT.findall(arguments))[:count]
        if kind.startswith("pwrite"):
            self._put(node, int(arguments.rsplit(b", ", 1)[1]), data, time)
        else:
            self._append(number, node, data, time)

    def _append(self, number: int, node: Node, data: bytes, time: float) -> None:
        at = self.position.get((number, id(node)), 0)
        start = len(node.data) if at is None else at
        self._put(node, start, data, time)
        self.position[number, id(node)] = None if at is None else start + len(data)

    def _put(self, node: Node, start: int, data: bytes, time: float) -> None:
        change = Change("write", self.first[id(node)], start, data, time=time)
        _apply_data(change, node, "all")
        self._note(change)

    def _sent(self, kind: str, arguments: bytes, count: int, time: float) -> None:
        found = [(int(n), _path(p)) for n, p in _FILE.findall(arguments) if n != b"AT_FDCWD"]
        out, source = found if kind == "sendfile" else reversed(found)
        node = self._node(out[1])
        if node is None or not count:
            return
        inner = self._node(source[1])
        data = Path(source[1]).read_bytes() if inner is None else bytes(inner.data)
        # both read a file from its beginning to its end here
        start = self.position.get((out[0], id(node))) or 0
        self._append(out[0], node, data[start : start + count], time)

    def _set_size(self, node: Node, size: int, time: float) -> None:
        change = Change("size", self.first[id(node)], size, time=time)
        _apply_data(change, node, "all")
        self._note(change)

    def _sized(self, kind: str, arguments: bytes, time: float) -> None:
        path = self._paths(arguments)[0] if kind == "truncate" else self._file(arguments)[1]
        node = self._node(path)
        if node is None:
            return
        numbers = [int(part) for part in arguments.split(b", ")[1:] if part.isdigit()]
        size = max(len(node.data), sum(numbers[-2:])) if kind == "fallocate" else numbers[-1]
        self._set_size(node, size, time)

    def _synced(self, kind: str, arguments: bytes) -> None:
        if kind in ("sync", "syncfs"):
            self._note(Change("sync"))
            return
        node = self._node(self._file(arguments)[1])
        if node is not None:
            self._note(Change("sync", self.first[id(node)]))

    def _renamed(self, kind: str, arguments: bytes) -> None:
        paths = self._paths(arguments)
        if kind.startswith("rename"):
            before, after = self._place(paths[0]), self._place(paths[1])
            if before is None or after is None:
                assert before is after, f"{paths} leaves the folder"
                return
            (out, old), (folder, name) = before, after
            self.made += [folder.names[name]] if name in folder.names else []
            folder.names[name] = out.names.pop(old)
            own = self.first
            self._note(Change("move", folder=own[id(folder)], name=name, out=own[id(out)], old=old))
        elif kind in ("unlink", "unlinkat", "rmdir"):
            place = self._place(paths[0])
            if place is not None:
                folder, name = place
                self.made.append(folder.names.pop(name))
                self._note(Change("leave", folder=self.first[id(folder)], name=name))
        elif kind in ("mkdir", "mkdirat"):
            self._enter(paths[0], Node("folder"))
        elif kind in ("symlink", "symlinkat"):
            target = _path(_TEXT.findall(arguments)[0])
            self._enter(paths[-1], Node("link", target=target))
        else:
            linked = self._node(paths[0])
            if linked is not None:
                self._enter(paths[1], linked)

    def check(self, folder: Path) -> None:
        """Raise UnseenError where the folder has anything else."""
        found = dict(files_of(tree_of(folder)))
        live = dict(files_of(self.root))
        for path in sorted(found.keys() | live.keys()):
            if UNSEEN.fullmatch(path):
                continue
            here, there = live.get(path), found.get(path)
            if here is None or there is None or content_of(here) != content_of(there):
                sizes = [None if node is None else len(node.data) for node in (here, there)]
                raise UnseenError(
                    f"{path}: the log gives {sizes[0]} bytes, the folder has {sizes[1]}"
                )
