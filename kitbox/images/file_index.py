"""Index of image files: digest, signature, statistics and problem, so that each is read once."""

import hashlib
import sqlite3
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kitbox.database import checksum, open_database
from kitbox.devices import joblib_backend
from kitbox.errors import KitboxError, KitboxWarning, counted, readable
from kitbox.files import digest_of_file
from kitbox.images import image_stats, preprocessing
from kitbox.images.image_stats import ImageStats, ImageSummary, StatsTable
from kitbox.images.preprocessing import UnreadableImageError
from kitbox.records import ImageSet, Integers, Progress, strings
from kitbox.workspace import Workspace

# Values per statement; old builds of sqlite accept few more.
_CHUNK = 500
# Version of the table and of the summaries in it; a table of another version is replaced.
_VERSION = 6
# The summary of a file that cannot be decoded.
_NOTHING = ImageSummary(bytes(8), bytes(256), None, ImageStats())
# Larger files are read twice, for the digest and for the pixels, and never held in memory.
_LARGEST_HELD = 64 << 20
_COLUMNS = (
    *("stamp", "digest", "problem", "kind", "hash", "thumbnail", "taken"),
    *ImageStats._fields,
    "checksum",
)
_INSERT = f"INSERT OR REPLACE INTO looks VALUES ({','.join('?' * len(_COLUMNS))})"  # noqa: S608


@dataclass(frozen=True)
class Signatures:
    """Hashes and thumbnails to find near-duplicates by: `(n, 8)` and `(n, 256)`, both uint8."""

    hashes: NDArray[np.uint8]
    thumbnails: NDArray[np.uint8]

    def take(self, rows: Integers | NDArray[np.bool_]) -> "Signatures":
        """Return the signatures of the given rows (indices or a mask), in that order."""
        return Signatures(self.hashes[rows], self.thumbnails[rows])


def concatenate_signatures(parts: list[Signatures]) -> Signatures:
    """Return the rows of several signatures, one after the other."""
    return Signatures(
        np.concatenate([part.hashes for part in parts]),
        np.concatenate([part.thumbnails for part in parts]),
    )


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """Images with digests and times, and the problems, signatures and statistics of their files.

    `problems` maps the id of each unreadable image to a message, `problem_kinds` to its kind;
    `truncated` maps a truncated image that is used all the same to a sentence. `stats (n,)` has the
    columns of ImageStats. It is not `lasting` where the system could not read a file, which may go
    well the next time.
    """

    images: ImageSet
    problems: dict[str, str]
    truncated: dict[str, str] = field(default_factory=dict)
    problem_kinds: dict[str, str]
    signatures: Signatures
    stats: StatsTable
    lasting: bool = True


def inspect(
    images: ImageSet, workspace: Workspace, *, keep_truncated: bool = False
) -> Generator[Progress, None, Inspection]:
    """Return the inspection of images, after reading every new file on all cores; yields Progress.

    With `keep_truncated` what there is of a truncated file counts as an image, not as a problem.

    A file is read again when its size, modification time or change time differ from those in the
    index, and, with a KitboxWarning, when its row there is damaged. Where the list gives no time,
    the camera's is used.
    """
    stamps = [_stamp(path) for path in images.paths]
    with _open(workspace.image_index) as database:
        known, damaged = _load(database, stamps)
        if damaged:
            what = f"{workspace.image_index} is damaged in {counted(damaged, 'row')}"
            warnings.warn(f"{what}; their images are read again", KitboxWarning, stacklevel=2)
        # two images may be one file
        fresh = {
            stamp: path
            for stamp, path in zip(stamps, images.paths, strict=True)
            if stamp not in known
        }
        read = _read_all([*fresh.values()]) if fresh else ()
        for done, (stamp, record) in enumerate(zip(fresh, read, strict=True), 1):
            known[stamp] = record
            if record.lasting:  # else reading may succeed the next time
                row = (stamp, *record.as_row())
                database.execute(_INSERT, (*row, checksum(*row)))
            if done % _CHUNK == 0:
                database.commit()
            yield Progress("check images", done, len(fresh))
        database.commit()
    return _inspection(images, [known[stamp] for stamp in stamps], keep_truncated)


@dataclass(frozen=True, kw_only=True)
class _FileRecord:
    """A row of the index: sha256, why the file cannot be decoded, and its summary.

    `problem` and its `kind` are '' for a file that can be decoded; a truncated one has the summary
    of what there is. A file that the system cannot read gets a unique `digest`, and is not
    `lasting`.
    """

    digest: str
    problem: str = ""
    kind: str = ""
    summary: ImageSummary = _NOTHING
    lasting: bool = True

    def as_row(self) -> tuple[object, ...]:
        """Return the values of all columns but the stamp and the checksum."""
        summary = self.summary
        return (
            *(self.digest, self.problem, self.kind),
            *(summary.hash, summary.thumbnail, summary.taken, *summary.stats),
        )


def _inspection(images: ImageSet, records: list[_FileRecord], keep_truncated: bool) -> Inspection:
    damaged = {
        str(image_id): record
        for image_id, record in zip(images.image_ids, records, strict=True)
        if record.problem
    }
    kept = {i: r for i, r in damaged.items() if keep_truncated and r.kind == "truncated"}
    unreadable = {image_id: record for image_id, record in damaged.items() if image_id not in kept}
    summaries = [
        _NOTHING if record.problem and str(image_id) not in kept else record.summary
        for image_id, record in zip(images.image_ids, records, strict=True)
    ]
    taken = np.array([_or_nan(summary.taken) for summary in summaries], dtype=np.float64)
    times = taken if images.times is None else np.where(np.isnan(images.times), taken, images.times)
    digests = strings([record.digest for record in records])
    return Inspection(
        images=replace(images, digests=digests, times=times),
        problems={image_id: record.problem for image_id, record in unreadable.items()},
        problem_kinds={image_id: record.kind for image_id, record in unreadable.items()},
        truncated={
            image_id: f"{record.problem.rpartition(';')[0]}; what there is of it is used"
            for image_id, record in kept.items()
        },
        signatures=Signatures(
            _bytes([summary.hash for summary in summaries], 8),
            _bytes([summary.thumbnail for summary in summaries], 256),
        ),
        stats=image_stats.stats_table([summary.stats for summary in summaries]),
        lasting=all(record.lasting for record in records),
    )


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _bytes(rows: list[bytes], width: int) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(-1, width)


def _stamp(path: Path) -> str:
    """Return a key that changes whenever a file's bytes do: path, size, mtime and ctime in ns."""
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise KitboxError(f"there is no image {path}") from error
    except OSError:
        return f"{readable(str(path))}|"  # never in the index
    return f"{readable(str(path))}|{status.st_size}|{status.st_mtime_ns}|{status.st_ctime_ns}"


def _read_all(paths: list[Path]) -> Iterator[_FileRecord]:
    """Yield the record of each file, read on all cores."""
    from joblib import delayed  # see joblib_backend

    return joblib_backend.run(delayed(_read)(path) for path in paths)


def _read(path: Path) -> _FileRecord:
    try:
        data = path.read_bytes() if path.stat().st_size <= _LARGEST_HELD else None
        digest = digest_of_file(path) if data is None else hashlib.sha256(data).hexdigest()
    except OSError as error:  # a bad sector, a missing permission, a server that is gone
        return _passing(preprocessing.read_error(path, error))
    try:
        return _FileRecord(digest=digest, summary=image_stats.summarise(path, data))
    except UnreadableImageError as error:
        if not error.lasting:
            return _passing(error)
        summary, kind = _NOTHING, error.kind
        if kind == "truncated":
            try:
                summary = image_stats.summarise(path, data, partial=True)
            except UnreadableImageError:
                kind = "unreadable"
        return _FileRecord(digest=digest, problem=str(error), kind=kind, summary=summary)


def _passing(problem: UnreadableImageError) -> _FileRecord:
    """Return the record of a file that may be readable the next time."""
    unique = hashlib.sha256(str(problem).encode()).hexdigest()
    return _FileRecord(digest=unique, problem=str(problem), kind=problem.kind, lasting=False)


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    with open_database(path) as database:
        [(version,)] = database.execute("PRAGMA user_version")
        if version != _VERSION:
            database.execute("DROP TABLE IF EXISTS looks")
            database.execute(f"PRAGMA user_version = {_VERSION}")
        rest = ", ".join(_COLUMNS[1:])
        database.execute(f"CREATE TABLE IF NOT EXISTS looks (stamp TEXT PRIMARY KEY, {rest})")
        yield database


def _load(database: sqlite3.Connection, stamps: list[str]) -> tuple[dict[str, _FileRecord], int]:
    """Return stamp → record of the files that are in the index, and how many rows are damaged."""
    known: dict[str, _FileRecord] = {}
    damaged = 0
    for start in range(0, len(stamps), _CHUNK):
        part = stamps[start : start + _CHUNK]
        marks = ",".join("?" * len(part))
        rows = database.execute(
            f"SELECT * FROM looks WHERE stamp IN ({marks})",  # noqa: S608
            part,
        )
        for *row, found in rows:
            if checksum(*row) != found:
                damaged += 1
                continue
            stamp, digest, problem, kind, bits, thumbnail, taken, *stats = row
            summary = ImageSummary(bits, thumbnail, taken, ImageStats(*stats))
            known[stamp] = _FileRecord(digest=digest, problem=problem, kind=kind, summary=summary)
    return known, damaged
