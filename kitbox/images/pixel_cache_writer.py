"""Writer of the pixel caches: plans which images they lack, and adds these on all cores."""

import hashlib
import os
import shutil
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from joblib import cpu_count, delayed

from kitbox import files, locks
from kitbox.devices import joblib_backend
from kitbox.errors import KitboxError, cannot_write
from kitbox.images import preprocessing
from kitbox.images.pixel_cache import ENTRY_BYTES, PixelCache, entry, keys_of
from kitbox.images.preprocessing import Crop, InputSpec, Pixels, UnreadableImageError
from kitbox.records import ImageSet, Progress
from kitbox.workspace import Workspace

# Keys are written after this many images, so a killed run has to repeat no more than these.
_COMMIT = 256
# Megabytes that each thread reuses: a photograph of 16 million pixels.
_REUSED_MEGABYTES = 64
# Bytes to leave free on the disk for runs and embeddings.
_LEFT_FREE = 500 * 10**6
# The entry of a row that stays empty, because its file turned out to be unreadable.
_EMPTY = bytes(ENTRY_BYTES)


@dataclass(frozen=True, slots=True)
class DecodeJob:
    """An image to decode, and its crop and key in each cache that lacks it."""

    path: Path
    digest: str
    targets: tuple[tuple[PixelCache, Crop, bytes], ...]


@dataclass(frozen=True)
class CachePlan:
    """The `jobs`, one per file, that remain to cache `files` distinct files."""

    files: int
    caches: tuple[PixelCache, ...]
    jobs: tuple[DecodeJob, ...]

    @property
    def bytes(self) -> int:
        """The disk space that the jobs will take."""
        return sum(
            cache.row_bytes + ENTRY_BYTES for job in self.jobs for cache, _, _ in job.targets
        )


def plan(workspace: Workspace, sets: Sequence[ImageSet], specs: Sequence[InputSpec]) -> CachePlan:
    """Return the plan that completes the caches of these image sets for these input specs.

    Copies of a file are decoded once. Raises KitboxError for a damaged cache.
    """
    caches = tuple(dict.fromkeys(PixelCache.for_spec(workspace, spec) for spec in specs))
    known = {cache: set(cache.keys()) for cache in caches}
    paths: dict[str, Path] = {}
    targets: dict[str, list[tuple[PixelCache, Crop, bytes]]] = {}
    for images in sets:
        digests = images.file_digests.tolist()
        paths |= dict(zip(digests, images.paths, strict=True))
        for spec in dict.fromkeys(specs):
            cache = PixelCache.for_spec(workspace, spec)
            for row, key in enumerate(keys_of(images, spec)):
                if key not in known[cache]:
                    known[cache].add(key)
                    target = (cache, spec.crop(images, row), key)
                    targets.setdefault(digests[row], []).append(target)
    jobs = (DecodeJob(paths[digest], digest, tuple(those)) for digest, those in targets.items())
    return CachePlan(len(paths), caches, tuple(jobs))


def _without_stored(planned: CachePlan) -> CachePlan:
    """Return the plan of the rows that the caches lack now."""
    stored = {cache: set(cache.keys()) for cache in planned.caches}
    left = (
        replace(job, targets=tuple(each for each in job.targets if each[2] not in stored[each[0]]))
        for job in planned.jobs
    )
    return replace(planned, jobs=tuple(job for job in left if job.targets))


def check_disk_space(workspace: Workspace, planned: CachePlan) -> int:
    """Return the free bytes of the disk; raises KitboxError if the plan does not fit."""
    folder = workspace.pixel_cache
    files.create_folder(folder)
    free = shutil.disk_usage(folder).free
    if planned.jobs and planned.bytes + _LEFT_FREE > free:
        raise KitboxError(
            f"preparing takes {gigabytes(planned.bytes)} and {gigabytes(_LEFT_FREE)} must stay "
            f"free, but {folder} has {gigabytes(free)}",
            fix="name fewer or smaller plugins, or remove prepared images with "
            "'kitbox data prepare --drop'",
        )
    return free


def gigabytes(count: int) -> str:
    """Return a number of bytes as text, such as '3.27 GB'."""
    return f"{count / 1e9:.2f} GB"


def fill(
    planned: CachePlan, workspace: Workspace
) -> Generator[Progress, None, list[UnreadableImageError]]:
    """Run the jobs of a plan and return the errors of unreadable files; yields Progress.

    Committed rows survive an interruption. Raises KitboxError if another process is preparing
    images in this workspace, and for a full disk.
    """
    problems = []
    stopped = threading.Event()
    memory = preprocessing.reuse_memory(_REUSED_MEGABYTES * cpu_count())
    with lock(workspace), _translate_errors(workspace.pixel_cache), memory, ExitStack() as stack:
        planned = _without_stored(planned)  # another process may have finished since
        writers = {cache: stack.enter_context(closing(_Writer(cache))) for cache in planned.caches}
        jobs = takewhile(lambda _: not stopped.is_set(), planned.jobs)
        if joblib_backend.shares_memory():
            done = joblib_backend.run(
                delayed(_write)(job, _next_rows(job, writers)) for job in jobs
            )
        else:  # other processes, perhaps on other machines, decode; this one alone writes
            decoded = joblib_backend.run(delayed(_decode_or_error)(job) for job in jobs)
            done = (
                _write_decoded(job, _next_rows(job, writers), crops)
                for job, crops in zip(planned.jobs, decoded, strict=False)
            )
        try:
            for count, (job, entries) in enumerate(zip(planned.jobs, done, strict=True), 1):
                if isinstance(entries, UnreadableImageError):
                    problems.append(entries)
                    entries = [_EMPTY] * len(job.targets)
                for (cache, _, _), written in zip(job.targets, entries, strict=True):
                    writers[cache].entries.append(written)
                if count % _COMMIT == 0:
                    _commit(writers.values())
                yield Progress("prepare images", count, len(planned.jobs))
        finally:
            stopped.set()
            for _ in done:  # wait for running jobs; joblib warns about tasks that are abandoned
                pass
            _commit(writers.values())
    return problems


def remove_unused(workspace: Workspace, used: Sequence[InputSpec]) -> list[tuple[Path, int]]:
    """Remove the caches of all other input specs; return their folders and sizes in bytes."""
    keep = {PixelCache.for_spec(workspace, spec).folder for spec in used}
    removed = []
    with lock(workspace):
        for folder in sorted(workspace.pixel_cache.iterdir()):
            if folder.is_dir() and folder not in keep:
                removed.append((folder, PixelCache(folder, (0, 0)).bytes_on_disk()))
                shutil.rmtree(folder)
    return removed


def lock(workspace: Workspace) -> AbstractContextManager[None]:
    """Keep other processes from changing the pixel caches of this workspace."""
    return locks.lock(
        workspace.pixel_cache / "lock",
        f"another process is preparing images in {workspace.pixel_cache}; wait for it",
    )


class _Writer:
    """Assigns rows after the last one of a cache, writes them, and commits them in order.

    `entries` are those of the rows to commit next.
    """

    def __init__(self, cache: PixelCache) -> None:
        self.entries: list[bytes] = []
        self._cache = cache
        self._committed = self._next = len(cache.keys())
        self._shards: dict[Path, int] = {}
        self._writing, self._closed = threading.Lock(), False

    def next_row(self) -> int:
        self._next += 1
        return self._next - 1

    def write(self, row: int, pixels: Pixels) -> None:
        """Write a row's pixels, unless closed: by then another process may write that row."""
        path, start = self._cache.location(row)
        left = pixels.data.cast("B")
        with self._writing:
            while left and not self._closed:  # the system may write less than it is given
                written = files.write_at(self._shard(path), left, start)
                left, start = left[written:], start + written

    def commit(self) -> None:
        """Sync the pixels to the disk, and then the keys that declare them complete."""
        if not self.entries:
            return
        first, last = self._committed, self._committed + len(self.entries) - 1
        with self._writing:
            path, start = self._cache.location(last)
            shard, end = self._shard(path), start + self._cache.row_bytes
            if os.fstat(shard).st_size < end:
                os.ftruncate(shard, end)  # the last image was unreadable
        for path in {self._cache.location(row)[0] for row in range(first, last + 1)}:
            os.fsync(self._shards[path])
        with self._cache.keys_file.open("r+b" if first else "wb") as file:
            file.seek(first * ENTRY_BYTES)  # over the partial key that a killed run may have left
            file.write(b"".join(self.entries))
            file.flush()
            os.fsync(file.fileno())
        self._committed, self.entries = last + 1, []

    def close(self) -> None:
        with self._writing:
            self._closed = True
            for shard in self._shards.values():
                os.close(shard)

    def _shard(self, path: Path) -> int:
        if path not in self._shards:
            files.create_folder(path.parent)
            self._shards[path] = files.open_positioned(path, write=True)
        return self._shards[path]


def _commit(writers: Iterable[_Writer]) -> None:
    for writer in writers:
        writer.commit()


def _write(job: DecodeJob, rows: list[tuple[_Writer, int]]) -> list[bytes] | UnreadableImageError:
    """Write an image's pixels to its rows; return their entries, or why it cannot be read."""
    return _write_decoded(job, rows, _decode_or_error(job))


def _decode_or_error(job: DecodeJob) -> list[Pixels] | UnreadableImageError:
    try:
        return _decode(job)
    except UnreadableImageError as error:
        return error


def _next_rows(job: DecodeJob, writers: Mapping[PixelCache, _Writer]) -> list[tuple[_Writer, int]]:
    return [(writers[cache], writers[cache].next_row()) for cache, _, _ in job.targets]


def _write_decoded(
    job: DecodeJob, rows: list[tuple[_Writer, int]], crops: list[Pixels] | UnreadableImageError
) -> list[bytes] | UnreadableImageError:
    """Write decoded pixels to their rows; return the entries of these, or the error."""
    if isinstance(crops, UnreadableImageError):
        return crops
    for (writer, row), pixels in zip(rows, crops, strict=True):
        writer.write(row, pixels)
    return [entry(key, pixels) for (_, _, key), pixels in zip(job.targets, crops, strict=True)]


def _decode(job: DecodeJob) -> list[Pixels]:
    """Return the crops of an image, decoded from bytes whose digest is checked."""
    try:
        data = job.path.read_bytes()
    except OSError as error:
        raise preprocessing.read_error(job.path, error) from error
    if hashlib.sha256(data).hexdigest() != job.digest:
        raise UnreadableImageError(f"image {job.path} was changed while it was prepared")
    return preprocessing.read_crops(job.path, [crop for _, crop, _ in job.targets], data)


@contextmanager
def _translate_errors(folder: Path) -> Iterator[None]:
    """Turn a full disk or a missing permission into a KitboxError that names the folder."""
    try:
        yield
    except OSError as error:
        raise cannot_write(folder, error) from error
