"""Remembers of every image file its digest, its looks and what is wrong: each is read once."""

import hashlib
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from kitbox.errors import KitboxError
from kitbox.files import digest_of_file
from kitbox.images import image_stats, preprocessing
from kitbox.images.image_stats import ImageStats
from kitbox.images.preprocessing import ImageSummary, UnreadableImageError
from kitbox.records import ImageSet, Integers, Progress, strings
from kitbox.workspace import Workspace

# sqlite takes at most this many values in a statement on old builds
_CHUNK = 500
# Of the table, and of what a summary makes of a file; another version's table is made anew.
_VERSION = 4
# How a file looks that cannot be decoded.
_NOTHING = ImageSummary(bytes(8), bytes(256), None, ImageStats())
# Larger files are read twice, for the digest and for the pixels, and never held in memory.
_LARGEST_HELD = 64 << 20
_COLUMNS = ("stamp", "digest", "problem", "kind", "hash", "thumbnail", "taken", *ImageStats._fields)
_INSERT = f"INSERT OR REPLACE INTO looks VALUES ({','.join('?' * len(_COLUMNS))})"  # noqa: S608


@dataclass(frozen=True)
class _FileRecord:
    """What is known of a file: its sha256, why it cannot be decoded, and its looks.

    `problem` and `kind`, that of the problem, are '' where it can be decoded. What the system does
    not let us read has a `digest` that no file has, and is not `lasting`.
    """

    digest: str
    problem: str
    kind: str
    summary: ImageSummary
    lasting: bool = True

    def as_row(self) -> tuple[object, ...]:
        """Return the values that the index keeps, but for the stamp."""
        seen = self.summary
        return (
            *(self.digest, self.problem, self.kind),
            *(seen.hash, seen.thumbnail, seen.taken, *seen.stats),
        )


@dataclass(frozen=True)
class Signatures:
    """How images look: `hashes (n, 8) uint8`, `thumbnails (n, 256) uint8`, each row an image."""

    hashes: NDArray[np.uint8]
    thumbnails: NDArray[np.uint8]

    def take(self, rows: Integers | NDArray[np.bool_]) -> "Signatures":
        """Return the looks of the given rows (indices or a mask), in that order."""
        return Signatures(self.hashes[rows], self.thumbnails[rows])


@dataclass(frozen=True)
class Inspection:
    """Images with their digests and times, image id → problem of the unreadable, and the looks.

    `kinds` tells of those what kind of problem it is; `facts (n,)` are columns named as in Facts.
    """

    images: ImageSet
    problems: dict[str, str]
    signatures: Signatures
    problem_kinds: dict[str, str]
    stats: image_stats.StatsTable


def inspect(images: ImageSet, workspace: Workspace) -> Generator[Progress, None, Inspection]:
    """Return what is known of images after every new file was read.

    Where the list tells no time, the camera's is taken. A file is read again when its size, its
    modification or its change time differ from those remembered. All cores read; yields Progress.
    """
    stamps = [_stamp(path) for path in images.paths]
    with _naming(workspace.image_index), _open(workspace.image_index) as database:
        known = _remembered(database, stamps)
        # two images may be one file
        fresh = {
            stamp: path
            for stamp, path in zip(stamps, images.paths, strict=True)
            if stamp not in known
        }
        read = Parallel(n_jobs=-1, prefer="threads", return_as="generator")(
            delayed(_read)(path) for path in fresh.values()
        )
        for done, (stamp, entry) in enumerate(zip(fresh, read, strict=True), 1):
            known[stamp] = entry
            if entry.lasting:  # else it may go well the next time
                database.execute(_INSERT, (stamp, *entry.as_row()))
            if done % _CHUNK == 0:
                database.commit()
            yield Progress("check images", done, len(fresh))
        database.commit()
    return _inspected(images, [known[stamp] for stamp in stamps])


def _inspected(images: ImageSet, found: list[_FileRecord]) -> Inspection:
    wrong = {
        str(image_id): entry
        for image_id, entry in zip(images.image_ids, found, strict=True)
        if entry.problem
    }
    taken = np.array([_or_nan(entry.summary.taken) for entry in found], dtype=np.float64)
    times = taken if images.times is None else np.where(np.isnan(images.times), taken, images.times)
    digests = strings([entry.digest for entry in found])
    looks = Signatures(
        _bytes([entry.summary.hash for entry in found], 8),
        _bytes([entry.summary.thumbnail for entry in found], 256),
    )
    return Inspection(
        replace(images, digests=digests, times=times),
        {image_id: entry.problem for image_id, entry in wrong.items()},
        looks,
        {image_id: entry.kind for image_id, entry in wrong.items()},
        image_stats.stats_table([entry.summary.stats for entry in found]),
    )


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _bytes(rows: list[bytes], width: int) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(-1, width)


def _stamp(path: Path) -> str:
    """Return what changes whenever a file's bytes do: path, size, mtime and ctime in ns."""
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise KitboxError(f"there is no image {path}") from error
    except OSError:
        return f"{path}|"  # which is never remembered
    return f"{path}|{status.st_size}|{status.st_mtime_ns}|{status.st_ctime_ns}"


def _read(path: Path) -> _FileRecord:
    try:
        data = path.read_bytes() if path.stat().st_size <= _LARGEST_HELD else None
        digest = digest_of_file(path) if data is None else hashlib.sha256(data).hexdigest()
    except OSError as error:  # a bad sector, a right that is lacking, a server that is gone
        problem = preprocessing.read_error(path, error)
        nobody = hashlib.sha256(str(problem).encode()).hexdigest()
        return _FileRecord(nobody, str(problem), problem.kind, _NOTHING, lasting=False)
    try:
        return _FileRecord(digest, "", "", preprocessing.summarise(path, data))
    except UnreadableImageError as error:
        return _FileRecord(digest, str(error), error.kind, _NOTHING)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:  # a full disk, a folder that may not be written
        raise KitboxError(f"cannot write {path}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise KitboxError(f"{path} is damaged ({error}); remove it") from error


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=60)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        [(version,)] = database.execute("PRAGMA user_version")
        if version != _VERSION:
            database.execute("DROP TABLE IF EXISTS looks")
            database.execute(f"PRAGMA user_version = {_VERSION}")
        rest = ", ".join(_COLUMNS[1:])
        database.execute(f"CREATE TABLE IF NOT EXISTS looks (stamp TEXT PRIMARY KEY, {rest})")
        yield database


def _remembered(database: sqlite3.Connection, stamps: list[str]) -> dict[str, _FileRecord]:
    known: dict[str, _FileRecord] = {}
    for start in range(0, len(stamps), _CHUNK):
        part = stamps[start : start + _CHUNK]
        marks = ",".join("?" * len(part))
        rows = database.execute(
            f"SELECT * FROM looks WHERE stamp IN ({marks})",  # noqa: S608
            part,
        )
        for stamp, digest, why, kind, bits, thumbnail, taken, *rest in rows:
            known[stamp] = _FileRecord(
                digest, why, kind, ImageSummary(bits, thumbnail, taken, ImageStats(*rest))
            )
    return known
