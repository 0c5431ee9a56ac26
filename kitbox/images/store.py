"""The prepared store: pixels as `reading.read` gives them, made once, in a few large files."""

import hashlib
import os
import weakref
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import PIL
from PIL import features

from kitbox.errors import KitboxError
from kitbox.files import digest_of
from kitbox.images import reading
from kitbox.images.reading import Box, Cut, Pixels
from kitbox.plugin.phases import side_lengths
from kitbox.plugin.settings import Plugin
from kitbox.records import ImageSet, Integers
from kitbox.workspace import Workspace

# Bytes of a shard, which holds whole images: large enough to be few, small enough to be copied.
SHARD = 2**30
# Bytes of a key: by chance two in 10^12 images would have the same one in 10^15 stores.
KEY = 16


@dataclass(frozen=True)
class Way:
    """How a network sees images: their (height, width), and the crop's margin or None for none."""

    height_width: tuple[int, int]
    interpolation: str
    margin: float | None

    @classmethod
    def of(cls, plugin: Plugin, interpolation: str) -> "Way":
        """Return how a plugin sees images, given its backbone's interpolation."""
        margin = plugin.crop_margin if plugin.crop else None
        return cls(plugin.height_width, interpolation, margin)

    @classmethod
    def of_stages(cls, plugin: Plugin, interpolation: str) -> "list[Way]":
        """Return how a plugin sees images in any stage of its training, its own way first."""
        own = cls.of(plugin, interpolation)
        sizes = [side_lengths(stage.image_size) for stage in plugin.stages if stage.image_size]
        return list(dict.fromkeys([own, *(replace(own, height_width=size) for size in sizes)]))

    def cut(self, images: ImageSet, row: int) -> Cut:
        """Return what is asked of the image of a row."""
        box = box_of(images, row) if self.margin is not None else None
        margin = 0.0 if box is None or self.margin is None else self.margin
        return Cut(self.height_width, box, margin, self.interpolation)

    def keys(self, images: ImageSet) -> list[bytes]:
        """Return what names the pixels of each image: its bytes, and its box and margin if any."""
        assert images.digests is not None  # noqa: S101  images of a collection are inspected
        cuts = (self.cut(images, row) for row in range(len(images)))
        return [
            hashlib.blake2b(f"{digest}|{cut.box}|{cut.margin}".encode(), digest_size=KEY).digest()
            for digest, cut in zip(images.digests, cuts, strict=True)
        ]


def box_of(images: ImageSet, row: int) -> Box | None:
    """Return the box of the image of a row, None where it has none."""
    if images.boxes is None or np.isnan(images.boxes[row]).any():
        return None
    x0, y0, x1, y1 = (float(corner) for corner in images.boxes[row])
    return x0, y0, x1, y1


@dataclass(frozen=True)
class Store:
    """The folder of all pixels of one size and interpolation, made by one decoder.

    Row i is `KEY` bytes of the file `keys` and h·w·3 bytes of a shard. Its pixels are on disk
    before its key is, so that a row with a key is whole whatever was killed.
    """

    folder: Path
    height_width: tuple[int, int]

    @classmethod
    def of(cls, workspace: Workspace, way: Way) -> "Store":
        """Return the store for a way of seeing; it need not exist yet."""
        height, width = way.height_width
        name = f"{height}x{width}-{way.interpolation}-{digest_of(_maker())[:8]}"
        return cls(workspace.prepared / name, way.height_width)

    @property
    def row_bytes(self) -> int:
        """Bytes of an image."""
        return self.height_width[0] * self.height_width[1] * 3

    @property
    def shard_rows(self) -> int:
        """Images in a whole shard."""
        return max(SHARD // self.row_bytes, 1)

    @property
    def keys_file(self) -> Path:
        """The keys of all rows, one after the other."""
        return self.folder / "keys"

    def place(self, row: int) -> tuple[Path, int]:
        """Return the shard of a row, and the byte at which it begins there."""
        shard, rest = divmod(row, self.shard_rows)
        return self.folder / f"pixels-{shard:05d}", rest * self.row_bytes

    def keys(self) -> list[bytes]:
        """Return the keys of all rows, in their order; a last one that was cut off is left out.

        Raises KitboxError where a shard is shorter than its rows.
        """
        data = self.keys_file.read_bytes() if self.keys_file.exists() else b""
        keys = [data[at : at + KEY] for at in range(0, len(data) - KEY + 1, KEY)]
        for last in {*range(self.shard_rows - 1, len(keys), self.shard_rows), len(keys) - 1} - {-1}:
            shard, start = self.place(last)
            if not shard.exists() or shard.stat().st_size < start + self.row_bytes:
                raise damaged(self.folder)
        return keys

    def bytes_on_disk(self) -> int:
        """Return the size of all its files."""
        return sum(path.stat().st_size for path in self.folder.iterdir())


def damaged(folder: Path) -> KitboxError:
    """Return the error of a store whose files are shorter than they were."""
    return KitboxError(
        f"the prepared images {folder} are damaged; "
        "remove that folder and run 'kitbox data prepare' again"
    )


@dataclass(eq=False)
class Prepared:
    """Where the images of a set lie in a store: `rows (n,)`, −1 for an image that it lacks.

    Files are opened by the process that reads them.
    """

    store: Store
    rows: Integers
    _files: dict[Path, int] = field(default_factory=dict, repr=False)

    def read_into(self, pixels: Pixels, image: int) -> bool:
        """Fill contiguous `pixels (h, w, 3)` with an image; return whether the store has it.

        Raises KitboxError where a file of the store is gone or cut off.
        """
        row = int(self.rows[image])
        if row < 0:
            return False
        shard, start = self.store.place(row)
        # read and not mapped: as fast, the one copy goes to where the batch is, a process does
        # not seem to own what the system caches, and a cut file is an error instead of a signal
        if os.preadv(self._file(shard), [pixels.data], start) != self.store.row_bytes:
            raise damaged(self.store.folder)
        return True

    def _file(self, path: Path) -> int:
        if path not in self._files:
            try:
                self._files[path] = os.open(path, os.O_RDONLY)
            except FileNotFoundError as error:
                raise damaged(self.store.folder) from error
            weakref.finalize(self, os.close, self._files[path])
        return self._files[path]

    def __getstate__(self) -> dict[str, object]:
        return vars(self) | {"_files": {}}


def find(workspace: Workspace, images: ImageSet, way: Way) -> Prepared | None:
    """Return where images lie in the store of a way of seeing, or None where it has none of them.

    Raises KitboxError for a damaged store.
    """
    store = Store.of(workspace, way)
    if images.digests is None or not store.keys_file.exists():
        return None
    known = {key: row for row, key in enumerate(store.keys())}
    rows = np.array([known.get(key, -1) for key in way.keys(images)], dtype=np.int64)
    return Prepared(store, rows) if (rows >= 0).any() else None


def _maker() -> list[object]:
    """Return what decides the pixels beside the way: this code, Pillow, its JPEG decoder."""
    return [reading.RECIPE, PIL.__version__, features.version("libjpeg_turbo"), SHARD]
