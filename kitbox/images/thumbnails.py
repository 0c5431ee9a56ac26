"""Thumbnails for pages: each is drawn once, and stored under a key of its content."""

import io
import sqlite3
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from joblib import delayed
from PIL import Image

from kitbox.database import open_database
from kitbox.devices import joblib_backend
from kitbox.files import digest_of
from kitbox.images import preprocessing
from kitbox.images.preprocessing import Box, UnreadableImageError, box_of
from kitbox.records import ImageSet, Integers, Progress, Strings
from kitbox.workspace import Workspace

# Incremented when a file gives another thumbnail.
_VERSION = 1
# WebP at 60 shows no blocks at this size and takes half the bytes of JPEG.
_QUALITY = 60
# Values per statement; old builds of sqlite accept few more.
_CHUNK = 500


@dataclass(frozen=True, kw_only=True)
class Thumbnails:
    """The thumbnails of some images, in their order; `load` reads them from disk.

    `sizes (n, 2)` are width and height of the upright originals, 0 where one cannot be read.
    `regions (n, 4)` are the parts shown, in pixels of the upright original. `lengths (n,)` are the
    thumbnails' bytes, 0 where the original cannot be read.
    """

    path: Path
    image_ids: Strings
    keys: tuple[str, ...]
    sizes: Integers
    regions: np.ndarray[tuple[int, int], np.dtype[np.float32]]
    lengths: Integers

    def __len__(self) -> int:
        return len(self.image_ids)

    def load(self, rows: Sequence[int]) -> list[bytes]:
        """Return the WebP bytes of some rows, b"" where the original cannot be read."""
        with _open(self.path) as database:
            found: dict[str, bytes] = {}
            for part in _chunks([self.keys[row] for row in rows]):
                marks = ",".join("?" * len(part))
                found |= dict(
                    database.execute(
                        f"SELECT key, picture FROM thumbnails WHERE key IN ({marks})",  # noqa: S608
                        part,
                    )
                )
        return [found.get(self.keys[row], b"") for row in rows]


def make(
    images: ImageSet, workspace: Workspace, *, side: int, crop_margin: float | None = None
) -> Generator[Progress, None, Thumbnails]:
    """Return thumbnails that fit into `side` x `side` pixels; new ones are drawn on all cores.

    With a `crop_margin`, the thumbnail of an image that has a box shows the box with that margin,
    as a network that crops would; otherwise it shows the whole image. The aspect ratio is preserved
    and nothing is padded. Yields Progress.
    """
    boxes = _boxes(images, crop_margin)
    keys = _keys(images, boxes, side, crop_margin or 0.0)
    path = workspace.thumbnails
    with _open(path) as database:
        fresh = {key: row for row, key in enumerate(keys)}
        for key in _load_geometry(database, keys):
            fresh.pop(key)
        drawn = joblib_backend.run(
            delayed(_draw)(images.paths[row], side, boxes[row], crop_margin or 0.0)
            for row in fresh.values()
        )
        for done, (key, thumbnail) in enumerate(zip(fresh, drawn, strict=True), 1):
            database.execute(
                "INSERT OR REPLACE INTO thumbnails VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (key, thumbnail.data, *thumbnail.size, *thumbnail.region),
            )
            if done % _CHUNK == 0:
                database.commit()
            yield Progress("make thumbnails", done, len(fresh))
        database.commit()
        known = _load_geometry(database, keys)
    geometry = np.array([known[key] for key in keys], dtype=np.float64).reshape(-1, 7)
    return Thumbnails(
        path=path,
        image_ids=images.image_ids,
        keys=tuple(keys),
        sizes=geometry[:, :2].astype(np.int64),
        regions=geometry[:, 2:6].astype(np.float32),
        lengths=geometry[:, 6].astype(np.int64),
    )


@dataclass(frozen=True)
class _Thumbnail:
    """A thumbnail's WebP bytes, the original's (width, height), and the region shown."""

    data: bytes = b""
    size: tuple[int, int] = (0, 0)
    region: Box = (0.0, 0.0, 0.0, 0.0)


def _draw(path: Path, side: int, box: Box | None, margin: float) -> _Thumbnail:
    """Return the thumbnail of a file, an empty one if the file cannot be read."""
    try:
        original, region = preprocessing.size_and_region(path, box, margin)
        across, down = region[2] - region[0], region[3] - region[1]
        scale = min(side / max(across, down), 1.0)  # a tiny image is not enlarged
        size = max(round(down * scale), 1), max(round(across * scale), 1)
        pixels = preprocessing.read(path, size, box, margin, "lanczos")
    except UnreadableImageError:
        return _Thumbnail()
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "WEBP", quality=_QUALITY, method=4)
    return _Thumbnail(data.getvalue(), original, region)


def _boxes(images: ImageSet, crop_margin: float | None) -> list[Box | None]:
    if crop_margin is None:
        return [None] * len(images)
    return [box_of(images, row) for row in range(len(images))]


def _keys(images: ImageSet, boxes: list[Box | None], side: int, margin: float) -> list[str]:
    return [
        digest_of([_VERSION, side, str(digest), box, margin if box else 0.0])
        for digest, box in zip(images.file_digests, boxes, strict=True)
    ]


def _load_geometry(database: sqlite3.Connection, keys: list[str]) -> dict[str, tuple[float, ...]]:
    """Return key → width, height, region and length of the thumbnails that are stored."""
    known: dict[str, tuple[float, ...]] = {}
    for part in _chunks(sorted(set(keys))):
        marks = ",".join("?" * len(part))
        rows = database.execute(
            "SELECT key, width, height, x0, y0, x1, y1, length(picture) FROM thumbnails "  # noqa: S608
            f"WHERE key IN ({marks})",
            part,
        )
        known |= {key: tuple(geometry) for key, *geometry in rows}
    return known


def _chunks(keys: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(keys), _CHUNK):
        yield keys[start : start + _CHUNK]


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    with open_database(path) as database:
        database.execute(
            "CREATE TABLE IF NOT EXISTS thumbnails (key TEXT PRIMARY KEY, picture BLOB, "
            "width INTEGER, height INTEGER, x0 REAL, y0 REAL, x1 REAL, y1 REAL)"
        )
        yield database
