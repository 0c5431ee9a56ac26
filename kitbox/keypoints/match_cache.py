"""The cache of local matching: features of images, and counts of pairs, each in a database."""

import sqlite3
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from kitbox.database import checksum, damaged, open_database
from kitbox.errors import KitboxError, KitboxWarning, counted
from kitbox.files import digest_of
from kitbox.images.preprocessing import Box
from kitbox.keypoints.local_features import LocalFeatures
from kitbox.keypoints.matcher import MatchCounts
from kitbox.workspace import Workspace

# Values per statement; old builds of sqlite accept few more.
_CHUNK = 500
# Seconds of work that a power cut may cost.
COMMIT_SECONDS = 5.0


def image_key(digest: str, box: Box | None) -> str:
    """Return the key of an image: the bytes of its file, and its box."""
    return digest_of([digest, box])[:32]


def feature_key(extraction: Mapping[str, Any], image: str) -> bytes:
    """Return the key of an image's features."""
    return sha256(f"{digest_of(extraction)} {image}".encode()).digest()[:16]


def pair_keys(causes: Mapping[str, Any], pairs: Iterable[tuple[str, str]]) -> list[bytes]:
    """Return the keys of pairs' counts; the keys of a pair's images are given in their order."""
    matcher = digest_of(causes)
    return [sha256(f"{matcher} {a} {b}".encode()).digest()[:16] for a, b in pairs]


class FeatureStore:
    """Features of images, by key. Each row has a checksum, those of earlier releases none."""

    def __init__(self, database: sqlite3.Connection, path: Path) -> None:
        self._database, self._path = database, path
        self._waiting: dict[bytes, tuple[int, bytes]] = {}
        database.execute(
            "CREATE TABLE IF NOT EXISTS features (key BLOB PRIMARY KEY, points INTEGER NOT NULL, "
            "bytes BLOB NOT NULL, checksum INTEGER)"
        )
        _add_checksum(database, "features")

    def counts(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        """Return the number of keypoints of those keys that have features on disk.

        Raises KitboxError for a damaged row that has none; `load` finds those that have some.
        """
        select = "SELECT key, points FROM features WHERE key IN"
        found = dict(_select(self._database, select, keys))
        for key, points in found.items():
            if not points:
                self.load(key)
        return found

    def load(self, key: bytes) -> LocalFeatures:
        """Return the features of a key that has some; raises KitboxError where they are damaged."""
        if key in self._waiting:
            return LocalFeatures.from_bytes(self._waiting[key][1])
        row = self._database.execute(
            "SELECT points, bytes, checksum FROM features WHERE key = ?", (key,)
        ).fetchone()
        points, data, was = row or (0, b"", None)
        if was not in (None, checksum(key, points, data)):
            raise damaged(self._path)
        try:
            return LocalFeatures.from_bytes(data)
        except (BadZipFile, OSError, EOFError, ValueError, LookupError, KitboxError) as error:
            raise damaged(self._path) from error

    def save(self, key: bytes, points: int, data: bytes) -> None:
        """Keep the bytes of a key until `commit` writes them."""
        self._waiting[key] = points, data

    def commit(self) -> None:
        """Write what was saved. Other processes wait meanwhile, so it is not written one by one."""
        rows = ((key, *found, checksum(key, *found)) for key, found in self._waiting.items())
        with self._database:
            self._database.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?)", rows)
        self._waiting.clear()


class PairStore:
    """Counts of pairs, by key. Each row has a checksum, those of earlier releases none."""

    def __init__(self, database: sqlite3.Connection, path: Path) -> None:
        self._database, self._path = database, path
        self._waiting: dict[bytes, MatchCounts] = {}
        database.execute(
            "CREATE TABLE IF NOT EXISTS pairs (key BLOB PRIMARY KEY, matches REAL, inliers REAL, "
            "confident REAL, ratio REAL, checksum INTEGER) WITHOUT ROWID"
        )
        _add_checksum(database, "pairs")

    def load(self, keys: Sequence[bytes]) -> dict[bytes, MatchCounts]:
        """Return the counts of those keys that have some on disk.

        Damaged rows are left out, with a KitboxWarning: their pairs are matched again.
        """
        select = "SELECT key, matches, inliers, confident, ratio, checksum FROM pairs WHERE key IN"
        found, changed = {}, 0
        for *row, was in _select(self._database, select, keys):
            if was not in (None, checksum(*row)):
                changed += 1
                continue
            key, *counts = row
            found[key] = MatchCounts(*counts)
        if changed:
            what = f"{self._path} is damaged in {counted(changed, 'row')}"
            warnings.warn(f"{what}; these pairs are matched again", KitboxWarning, stacklevel=2)
        return found

    def save(self, key: bytes, counts: MatchCounts) -> None:
        """Keep the counts of a key until `commit` writes them."""
        self._waiting[key] = counts

    def commit(self) -> None:
        """Write what was saved."""
        counts = (
            (key, one.matches, one.inliers, one.confident, one.ratio)
            for key, one in self._waiting.items()
        )
        rows = ((*row, checksum(*row)) for row in counts)
        with self._database:
            self._database.executemany(
                "INSERT OR REPLACE INTO pairs VALUES (?, ?, ?, ?, ?, ?)", rows
            )
        self._waiting.clear()


@contextmanager
def open_features(workspace: Workspace) -> Iterator[FeatureStore]:
    """Open the features of a workspace; what was not committed is lost."""
    with open_database(workspace.local_features) as database:
        yield FeatureStore(database, workspace.local_features)


@contextmanager
def open_pairs(workspace: Workspace) -> Iterator[PairStore]:
    """Open the counts of pairs of a workspace; what was not committed is lost."""
    with open_database(workspace.local_matches) as database:
        yield PairStore(database, workspace.local_matches)


def _add_checksum(database: sqlite3.Connection, table: str) -> None:
    """Add the column of checksums to a table of an earlier release."""
    names = {name for _, name, *_ in database.execute(f"PRAGMA table_info({table})")}
    if "checksum" not in names:
        with suppress(sqlite3.OperationalError):  # another process was first
            database.execute(f"ALTER TABLE {table} ADD COLUMN checksum INTEGER")


def _select(
    database: sqlite3.Connection, select: str, keys: Sequence[bytes]
) -> Iterator[tuple[Any, ...]]:
    for start in range(0, len(keys), _CHUNK):
        part = keys[start : start + _CHUNK]
        marks = ",".join("?" * len(part))
        yield from database.execute(f"{select} ({marks})", part)
