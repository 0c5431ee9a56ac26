"""The cache of local matching: features of images, and counts of pairs, each in a database."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

from kitbox.database import open_database
from kitbox.files import digest_of
from kitbox.images.preprocessing import Box
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
    """Features of images as bytes, by key."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._waiting: dict[bytes, tuple[int, bytes]] = {}
        database.execute(
            "CREATE TABLE IF NOT EXISTS features (key BLOB PRIMARY KEY, points INTEGER NOT NULL, "
            "bytes BLOB NOT NULL)"
        )

    def counts(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        """Return the number of keypoints of those keys that have features on disk."""
        select = "SELECT key, points FROM features WHERE key IN"
        return dict(_select(self._database, select, keys))

    def load(self, key: bytes) -> bytes:
        """Return the bytes of a key that has features."""
        if key in self._waiting:
            return self._waiting[key][1]
        row = self._database.execute("SELECT bytes FROM features WHERE key = ?", (key,)).fetchone()
        return bytes(row[0])

    def save(self, key: bytes, points: int, data: bytes) -> None:
        """Keep the bytes of a key until `commit` writes them."""
        self._waiting[key] = points, data

    def commit(self) -> None:
        """Write what was saved. Other processes wait meanwhile, so it is not written one by one."""
        rows = ((key, *features) for key, features in self._waiting.items())
        with self._database:
            self._database.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?)", rows)
        self._waiting.clear()


class PairStore:
    """Counts of pairs, by key."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._waiting: dict[bytes, MatchCounts] = {}
        database.execute(
            "CREATE TABLE IF NOT EXISTS pairs (key BLOB PRIMARY KEY, matches REAL, inliers REAL, "
            "confident REAL, ratio REAL) WITHOUT ROWID"
        )

    def load(self, keys: Sequence[bytes]) -> dict[bytes, MatchCounts]:
        """Return the counts of those keys that have some on disk."""
        select = "SELECT key, matches, inliers, confident, ratio FROM pairs WHERE key IN"
        rows = _select(self._database, select, keys)
        return {key: MatchCounts(*counts) for key, *counts in rows}

    def save(self, key: bytes, counts: MatchCounts) -> None:
        """Keep the counts of a key until `commit` writes them."""
        self._waiting[key] = counts

    def commit(self) -> None:
        """Write what was saved."""
        rows = (
            (key, one.matches, one.inliers, one.confident, one.ratio)
            for key, one in self._waiting.items()
        )
        with self._database:
            self._database.executemany("INSERT OR REPLACE INTO pairs VALUES (?, ?, ?, ?, ?)", rows)
        self._waiting.clear()


@contextmanager
def open_features(workspace: Workspace) -> Iterator[FeatureStore]:
    """Open the features of a workspace; what was not committed is lost."""
    with open_database(workspace.local_features) as database:
        yield FeatureStore(database)


@contextmanager
def open_pairs(workspace: Workspace) -> Iterator[PairStore]:
    """Open the counts of pairs of a workspace; what was not committed is lost."""
    with open_database(workspace.local_matches) as database:
        yield PairStore(database)


def _select(
    database: sqlite3.Connection, select: str, keys: Sequence[bytes]
) -> Iterator[tuple[Any, ...]]:
    for start in range(0, len(keys), _CHUNK):
        part = keys[start : start + _CHUNK]
        marks = ",".join("?" * len(part))
        yield from database.execute(f"{select} ({marks})", part)
