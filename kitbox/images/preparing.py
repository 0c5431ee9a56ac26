"""Fills the prepared store: every image decoded, cropped and shrunk once, by all cores."""

import hashlib
import os
import shutil
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from joblib import Parallel, cpu_count, delayed

from kitbox import files
from kitbox.errors import KitboxError
from kitbox.images import opening, reading
from kitbox.images.opening import UnreadableImageError
from kitbox.images.reading import Cut, Pixels
from kitbox.images.store import KEY, Store, Way
from kitbox.records import ImageSet, Progress
from kitbox.workspace import Workspace

# Rows get their keys after so many images; a killed run does at most these again.
_COMMIT = 256
# Megabytes of memory that each thread reuses: a photograph of 16 million pixels.
_KEPT = 64
# Of the disk is left free, for runs and embeddings.
_LEFT_FREE = 500 * 10**6
# The key of a row that stays empty, because its file was not readable after all.
_EMPTY = bytes(KEY)


@dataclass(frozen=True, slots=True)
class Job:
    """An image that stores lack: its file and digest, and each store, cut and key."""

    path: Path
    digest: str
    wanted: tuple[tuple[Store, Cut, bytes], ...]


@dataclass(frozen=True)
class Plan:
    """What there is to do: `files` distinct files are asked for, and `jobs` are not there yet."""

    files: int
    stores: tuple[Store, ...]
    jobs: tuple[Job, ...]

    @property
    def bytes(self) -> int:
        """The disk that the jobs take."""
        return sum(store.row_bytes + KEY for job in self.jobs for store, _, _ in job.wanted)


def plan(workspace: Workspace, sets: Sequence[ImageSet], ways: Sequence[Way]) -> Plan:
    """Return what the stores lack so that these sets can be seen in these ways.

    Copies of a file are one. Raises KitboxError for a damaged store.
    """
    stores = tuple(dict.fromkeys(Store.of(workspace, way) for way in ways))
    there = {store: set(store.keys()) for store in stores}
    files: dict[str, Path] = {}
    wanted: dict[str, list[tuple[Store, Cut, bytes]]] = {}
    for images in sets:
        assert images.digests is not None  # noqa: S101  images of a collection are inspected
        digests = images.digests.tolist()
        files |= dict(zip(digests, images.paths, strict=True))
        for way in dict.fromkeys(ways):
            store = Store.of(workspace, way)
            for row, key in enumerate(way.keys(images)):
                if key not in there[store]:
                    there[store].add(key)
                    entry = (store, way.cut(images, row), key)
                    wanted.setdefault(digests[row], []).append(entry)
    jobs = (Job(files[digest], digest, tuple(entries)) for digest, entries in wanted.items())
    return Plan(len(files), stores, tuple(jobs))


def check_room(workspace: Workspace, planned: Plan) -> int:
    """Return the bytes that are free; raises KitboxError where the plan does not fit."""
    workspace.prepared.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(workspace.prepared).free
    if planned.jobs and planned.bytes + _LEFT_FREE > free:
        raise KitboxError(
            f"preparing takes {gigabytes(planned.bytes)} and {gigabytes(_LEFT_FREE)} are to stay "
            f"free, but {workspace.prepared} has {gigabytes(free)}; name fewer or smaller plugins, "
            "or remove prepared images with 'kitbox data prepare --drop'"
        )
    return free


def gigabytes(count: int) -> str:
    """Return bytes as '3.27 GB'."""
    return f"{count / 1e9:.2f} GB"


def fill(
    planned: Plan, workspace: Workspace
) -> Generator[Progress, None, list[UnreadableImageError]]:
    """Do the jobs of a plan, return what was not readable; yields Progress.

    Whatever stops it, what was committed stays. Raises KitboxError where another process prepares
    in this workspace, and for a disk that is full.
    """
    problems = []
    stopped = threading.Event()
    kept = reading.memory_kept(_KEPT * cpu_count())
    with locked(workspace), _naming(workspace.prepared), kept, ExitStack() as stack:
        writers = {store: stack.enter_context(closing(_Writer(store))) for store in planned.stores}
        done = Parallel(n_jobs=-1, prefer="threads", return_as="generator")(
            delayed(_make)(job, [(writers[of], writers[of].next_row()) for of, _, _ in job.wanted])
            for job in takewhile(lambda _: not stopped.is_set(), planned.jobs)
        )
        try:
            for count, (job, problem) in enumerate(zip(planned.jobs, done, strict=True), 1):
                problems += [] if problem is None else [problem]
                for store, _, key in job.wanted:
                    writers[store].keys.append(key if problem is None else _EMPTY)
                if count % _COMMIT == 0:
                    _commit(writers.values())
                yield Progress("prepare images", count, len(planned.jobs))
        finally:
            stopped.set()
            for _ in done:  # those that have begun; joblib warns where its tasks are left alone
                pass
            _commit(writers.values())
    return problems


class _Writer:
    """Gives out the rows behind the last of a store, fills them, and commits them in their order.

    `keys` are those of the rows to commit next.
    """

    def __init__(self, store: Store) -> None:
        self.keys: list[bytes] = []
        self._store = store
        self._committed = self._given = len(store.keys())
        self._shards: dict[Path, int] = {}
        self._writing, self._closed = threading.Lock(), False

    def next_row(self) -> int:
        self._given += 1
        return self._given - 1

    def write(self, row: int, pixels: Pixels) -> None:
        """Write a row's pixels, but none after `close`: the row may be another process's then."""
        path, start = self._store.place(row)
        left = pixels.data.cast("B")
        with self._writing:
            while left and not self._closed:  # the system may write less than it is given
                written = os.pwrite(self._shard(path), left, start)
                left, start = left[written:], start + written

    def _shard(self, path: Path) -> int:
        if path not in self._shards:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._shards[path] = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        return self._shards[path]

    def commit(self) -> None:
        """Bring the pixels to the disk, and then the keys that say they are there."""
        if not self.keys:
            return
        first, last = self._committed, self._committed + len(self.keys) - 1
        with self._writing:
            path, start = self._store.place(last)
            shard, end = self._shard(path), start + self._store.row_bytes
            if os.fstat(shard).st_size < end:
                os.ftruncate(shard, end)  # the last image was not readable
        for path in {self._store.place(row)[0] for row in range(first, last + 1)}:
            os.fsync(self._shards[path])
        with self._store.keys_file.open("r+b" if first else "wb") as file:
            file.seek(first * KEY)  # over what a killed run has left of a key
            file.write(b"".join(self.keys))
            file.flush()
            os.fsync(file.fileno())
        self._committed, self.keys = last + 1, []

    def close(self) -> None:
        with self._writing:
            self._closed = True
            for shard in self._shards.values():
                os.close(shard)


def _commit(writers: Iterable[_Writer]) -> None:
    for writer in writers:
        writer.commit()


def _make(job: Job, rows: list[tuple[_Writer, int]]) -> UnreadableImageError | None:
    """Write the pixels of one image to its rows; return why it cannot be read, or None."""
    try:
        made = _pixels(job)
    except UnreadableImageError as error:
        return error
    for (writer, row), pixels in zip(rows, made, strict=True):
        writer.write(row, pixels)
    return None


def _pixels(job: Job) -> list[Pixels]:
    """Return the cuts of an image, made of the very bytes that its key names."""
    try:
        data = job.path.read_bytes()
    except OSError as error:
        raise opening.unread(job.path, error) from error
    if hashlib.sha256(data).hexdigest() != job.digest:
        raise UnreadableImageError(f"image {job.path} was changed while it was prepared")
    return reading.read_cuts(job.path, [cut for _, cut, _ in job.wanted], data)


def drop(workspace: Workspace, kept: Sequence[Way]) -> list[tuple[Path, int]]:
    """Remove the stores that none of these ways reads; return their folders and sizes in bytes."""
    keep = {Store.of(workspace, way).folder for way in kept}
    dropped = []
    with locked(workspace):
        for folder in sorted(workspace.prepared.iterdir()):
            if folder.is_dir() and folder not in keep:
                dropped.append((folder, Store(folder, (0, 0)).bytes_on_disk()))
                shutil.rmtree(folder)
    return dropped


def locked(workspace: Workspace) -> AbstractContextManager[None]:
    """Keep other processes from changing the prepared images of this workspace meanwhile."""
    return files.locked(
        workspace.prepared,
        f"another process is preparing images in {workspace.prepared}; wait for it",
    )


@contextmanager
def _naming(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # a full disk, a folder that may not be written
        raise KitboxError(f"cannot write {folder}: {error.strerror or error}") from error
