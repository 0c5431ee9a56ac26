"""Remembers of every image file its digest and whether it decodes, so that each is read once."""

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from joblib import Parallel, delayed

from kitbox.errors import KitboxError
from kitbox.files import digest_of_file
from kitbox.images import reading
from kitbox.records import ImageSet, Progress, strings
from kitbox.workspace import Workspace

# sqlite takes at most this many values in a statement on old builds
_CHUNK = 500


@dataclass(frozen=True)
class Known:
    """What is known of one file: its sha256 and the reason why it cannot be decoded, or ''."""

    digest: str
    problem: str


def inspect(
    images: ImageSet, workspace: Workspace
) -> Generator[Progress, None, tuple[ImageSet, dict[str, str]]]:
    """Return the images with their digests, and image id → problem of the unreadable ones.

    A file is read again when its size, its modification or its change time differ from those
    remembered. All cores read; yields Progress.
    """
    stamps = [_stamp(path) for path in images.paths]
    with _naming(workspace.image_index), _open(workspace.image_index) as database:
        known = _remembered(database, stamps)
        fresh = [i for i, stamp in enumerate(stamps) if stamp not in known]
        read = Parallel(n_jobs=-1, prefer="threads", return_as="generator")(
            delayed(_read)(images.paths[i]) for i in fresh
        )
        for done, (i, found) in enumerate(zip(fresh, read, strict=True), 1):
            known[stamps[i]] = found
            database.execute(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?)",
                (stamps[i], found.digest, found.problem),
            )
            if done % _CHUNK == 0:
                database.commit()
            yield Progress("check images", done, len(fresh))
        database.commit()
    found = [known[stamp] for stamp in stamps]
    problems = {
        str(image_id): entry.problem
        for image_id, entry in zip(images.image_ids, found, strict=True)
        if entry.problem
    }
    digests = strings([entry.digest for entry in found])
    return (
        ImageSet(images.image_ids, images.paths, images.labels, images.boxes, digests),
        problems,
    )


def _stamp(path: Path) -> str:
    """Return what changes whenever a file's bytes do: path, size, mtime and ctime in ns."""
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise KitboxError(f"there is no image {path}") from error
    return f"{path}|{status.st_size}|{status.st_mtime_ns}|{status.st_ctime_ns}"


def _read(path: Path) -> Known:
    try:
        reading.check(path)
        problem = ""
    except reading.UnreadableImageError as error:
        problem = str(error)
    return Known(digest_of_file(path), problem)


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
        database.execute(
            "CREATE TABLE IF NOT EXISTS files (stamp TEXT PRIMARY KEY, digest TEXT, problem TEXT)"
        )
        yield database


def _remembered(database: sqlite3.Connection, stamps: list[str]) -> dict[str, Known]:
    known: dict[str, Known] = {}
    for start in range(0, len(stamps), _CHUNK):
        part = stamps[start : start + _CHUNK]
        marks = ",".join("?" * len(part))
        rows = database.execute(
            f"SELECT stamp, digest, problem FROM files WHERE stamp IN ({marks})",  # noqa: S608
            part,
        )
        known |= {stamp: Known(digest, problem) for stamp, digest, problem in rows}
    return known
