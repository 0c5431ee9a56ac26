"""Cache of network inputs: decoded, cropped and resized images in a few large files."""

import hashlib
import os
import weakref
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import PIL
from PIL import features

from kitbox import files
from kitbox.errors import KitboxError
from kitbox.files import digest_of
from kitbox.images import preprocessing
from kitbox.images.preprocessing import InputSpec, Pixels
from kitbox.records import ImageSet, Integers
from kitbox.workspace import Workspace

# A shard holds whole images: large enough that there are few, small enough to be copied.
SHARD_BYTES = 2**30
# The chance that two of 10^12 images share a key of this length is 1 in 10^15.
KEY_BYTES = 16
# A key and the checksum of the pixels in its row. CRC-32 finds every changed run of 32 bits, and
# misses 1 in 4·10^9 of larger changes; it takes a tenth of a millisecond for 224 x 224 pixels.
ENTRY_BYTES = KEY_BYTES + 4


@dataclass(frozen=True)
class PixelCache:
    """The folder of all cached pixels of one size, interpolation and decoder version.

    Row i is `ENTRY_BYTES` bytes of the file `keys` and h·w·3 bytes of a shard. Pixels reach the
    disk before their key does, so that a row with a key is complete whenever a process is killed.
    """

    folder: Path
    height_width: tuple[int, int]

    @classmethod
    def for_spec(cls, workspace: Workspace, spec: InputSpec) -> "PixelCache":
        """Return the cache of an input spec; it need not exist yet."""
        height, width = spec.height_width
        name = f"{height}x{width}-{spec.interpolation}-{digest_of(_decoder())[:8]}"
        return cls(workspace.pixel_cache / name, spec.height_width)

    @property
    def row_bytes(self) -> int:
        """The size of one image in bytes."""
        return self.height_width[0] * self.height_width[1] * 3

    @property
    def shard_rows(self) -> int:
        """The number of images in a full shard."""
        return max(SHARD_BYTES // self.row_bytes, 1)

    @property
    def keys_file(self) -> Path:
        """The file of the keys of all rows, one after the other."""
        return self.folder / "keys"

    def location(self, row: int) -> tuple[Path, int]:
        """Return the shard of a row, and the byte at which the row begins."""
        shard, rest = divmod(row, self.shard_rows)
        return self.folder / f"pixels-{shard:05d}", rest * self.row_bytes

    def keys(self) -> list[bytes]:
        """Return the keys of all rows, in their order, without a last one that is incomplete.

        Raises KitboxError where a shard is shorter than its rows.
        """
        return [each[:KEY_BYTES] for each in self.entries()]

    def entries(self) -> list[bytes]:
        """Return the key of each row with the checksum behind it, as `keys` does."""
        data = self.keys_file.read_bytes() if self.keys_file.exists() else b""
        whole = range(0, len(data) - ENTRY_BYTES + 1, ENTRY_BYTES)
        entries = [data[at : at + ENTRY_BYTES] for at in whole]
        lasts = {*range(self.shard_rows - 1, len(entries), self.shard_rows), len(entries) - 1}
        for last in lasts - {-1}:
            shard, start = self.location(last)
            if not shard.exists() or shard.stat().st_size < start + self.row_bytes:
                raise _damaged(self.folder)
        return entries

    def bytes_on_disk(self) -> int:
        """Return the size of all its files."""
        return sum(path.stat().st_size for path in self.folder.iterdir())


@dataclass(eq=False)
class CachedImages:
    """The rows (n,) of an image set in a cache, −1 for an image that is not cached.

    `entries` are what the cache has of each image: its key and its checksum, b"" of others. Files
    are opened by the process that reads them, which checks each row the first time.
    """

    cache: PixelCache
    rows: Integers
    entries: Sequence[bytes]
    _checked: set[int] = field(default_factory=set, repr=False)
    _files: dict[Path, int] = field(default_factory=dict, repr=False)

    def read_into(self, pixels: Pixels, image: int) -> bool:
        """Fill contiguous `pixels (h, w, 3)` with an image; return whether it is cached.

        Raises KitboxError where a file of the cache is missing or cut off, or its bytes have
        changed.
        """
        row = int(self.rows[image])
        if row < 0:
            return False
        shard, start = self.cache.location(row)
        # read and not memory-mapped: as fast, the one copy goes straight into the batch, the
        # system's page cache does not count as the process's memory, and a truncated file is an
        # error instead of a signal
        if files.read_at(self._file(shard), pixels.data, start) != self.cache.row_bytes:
            raise _damaged(self.cache.folder)
        if row not in self._checked:
            if entry(self.entries[image][:KEY_BYTES], pixels) != self.entries[image]:
                raise _damaged(self.cache.folder)
            self._checked.add(row)
        return True

    def _file(self, path: Path) -> int:
        if path not in self._files:
            try:
                opened = files.open_positioned(path)
            except FileNotFoundError as error:
                raise _damaged(self.cache.folder) from error
            weakref.finalize(self, os.close, opened)  # each its own: threads may open it at once
            self._files[path] = opened
        return self._files[path]

    def __getstate__(self) -> dict[str, object]:
        return vars(self) | {"_files": {}}


def find(workspace: Workspace, images: ImageSet, spec: InputSpec) -> CachedImages | None:
    """Return the rows of images in the cache of an input spec, or None if none is cached.

    Raises KitboxError for a damaged cache.
    """
    cache = PixelCache.for_spec(workspace, spec)
    if images.digests is None or not cache.keys_file.exists():
        return None
    entries = cache.entries()
    known = {each[:KEY_BYTES]: row for row, each in enumerate(entries)}
    rows = np.array([known.get(key, -1) for key in keys_of(images, spec)], dtype=np.int64)
    if not (rows >= 0).any():
        return None
    return CachedImages(cache, rows, [b"" if row < 0 else entries[row] for row in rows.tolist()])


def entry(key: bytes, pixels: Pixels) -> bytes:
    """Return a key with the checksum of its pixels: of both, as rows may be exchanged too."""
    return key + zlib.crc32(pixels.data, zlib.crc32(key)).to_bytes(4, "big")


def keys_of(images: ImageSet, spec: InputSpec) -> list[bytes]:
    """Return the key of each image: a hash of its file's digest, its box and its margin if any.

    Of a part of an image it also has that part.
    """
    crops = (spec.crop(images, row) for row in range(len(images)))
    part = "" if spec.part is None else f"|{spec.part}"
    return [
        hashlib.blake2b(
            f"{digest}|{crop.box}|{crop.margin}{part}".encode(), digest_size=KEY_BYTES
        ).digest()
        for digest, crop in zip(images.file_digests, crops, strict=True)
    ]


def _damaged(folder: Path) -> KitboxError:
    """Return the error of a cache whose files are missing, or are not what was written."""
    return KitboxError(
        f"the prepared images {folder} are damaged",
        fix="remove that folder and run 'kitbox data prepare' again",
    )


def _decoder() -> list[object]:
    """Return all else that a cache depends on: this code, Pillow, its JPEG decoder, its layout."""
    versions = preprocessing.RECIPE_VERSION, PIL.__version__, features.version("libjpeg_turbo")
    return [*versions, SHARD_BYTES, ENTRY_BYTES]
