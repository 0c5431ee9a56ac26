"""The prepared store: pixels as `reading.read` gives them, made once, in a few large files."""

import hashlib
import os
import shutil
import threading
import weakref
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path

import numpy as np
import PIL
from joblib import Parallel, cpu_count, delayed
from PIL import features

from kitbox import files
from kitbox.errors import KitboxError
from kitbox.files import digest_of
from kitbox.images import preprocessing
from kitbox.images.preprocessing import Box, Crop, Pixels, UnreadableImageError
from kitbox.plugin.plugin import Plugin
from kitbox.plugin.schedules import side_lengths
from kitbox.records import ImageSet, Integers, Progress
from kitbox.workspace import Workspace

# Bytes of a shard, which holds whole images: large enough to be few, small enough to be copied.
SHARD_BYTES = 2**30
# Bytes of a key: by chance two in 10^12 images would have the same one in 10^15 stores.
KEY_BYTES = 16


@dataclass(frozen=True)
class InputSpec:
    """How a network sees images: their (height, width), and the crop's margin or None for none."""

    height_width: tuple[int, int]
    interpolation: str
    margin: float | None

    @classmethod
    def of(cls, plugin: Plugin, interpolation: str) -> "InputSpec":
        """Return how a plugin sees images, given its backbone's interpolation."""
        margin = plugin.crop_margin if plugin.crop else None
        return cls(plugin.height_width, interpolation, margin)

    @classmethod
    def of_stages(cls, plugin: Plugin, interpolation: str) -> "list[InputSpec]":
        """Return how a plugin sees images in any stage of its training, its own way first."""
        own = cls.of(plugin, interpolation)
        sizes = [side_lengths(stage.image_size) for stage in plugin.phases if stage.image_size]
        return list(dict.fromkeys([own, *(replace(own, height_width=size) for size in sizes)]))

    def cut(self, images: ImageSet, row: int) -> Crop:
        """Return what is asked of the image of a row."""
        box = box_of(images, row) if self.margin is not None else None
        margin = 0.0 if box is None or self.margin is None else self.margin
        return Crop(self.height_width, box, margin, self.interpolation)

    def keys(self, images: ImageSet) -> list[bytes]:
        """Return what names the pixels of each image: its bytes, and its box and margin if any."""
        cuts = (self.cut(images, row) for row in range(len(images)))
        return [
            hashlib.blake2b(
                f"{digest}|{cut.box}|{cut.margin}".encode(), digest_size=KEY_BYTES
            ).digest()
            for digest, cut in zip(images.file_digests, cuts, strict=True)
        ]


def box_of(images: ImageSet, row: int) -> Box | None:
    """Return the box of the image of a row, None where it has none."""
    if images.boxes is None or np.isnan(images.boxes[row]).any():
        return None
    x0, y0, x1, y1 = (float(corner) for corner in images.boxes[row])
    return x0, y0, x1, y1


@dataclass(frozen=True)
class PixelCache:
    """The folder of all pixels of one size and interpolation, made by one decoder.

    Row i is `KEY_BYTES` bytes of the file `keys` and h·w·3 bytes of a shard. Its pixels are on disk
    before its key is, so that a row with a key is whole whatever was killed.
    """

    folder: Path
    height_width: tuple[int, int]

    @classmethod
    def of(cls, workspace: Workspace, way: InputSpec) -> "PixelCache":
        """Return the store for a way of seeing; it need not exist yet."""
        height, width = way.height_width
        name = f"{height}x{width}-{way.interpolation}-{digest_of(_maker())[:8]}"
        return cls(workspace.pixel_cache / name, way.height_width)

    @property
    def row_bytes(self) -> int:
        """Bytes of an image."""
        return self.height_width[0] * self.height_width[1] * 3

    @property
    def shard_rows(self) -> int:
        """Images in a whole shard."""
        return max(SHARD_BYTES // self.row_bytes, 1)

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
        keys = [data[at : at + KEY_BYTES] for at in range(0, len(data) - KEY_BYTES + 1, KEY_BYTES)]
        for last in {*range(self.shard_rows - 1, len(keys), self.shard_rows), len(keys) - 1} - {-1}:
            shard, start = self.place(last)
            if not shard.exists() or shard.stat().st_size < start + self.row_bytes:
                raise damaged_error(self.folder)
        return keys

    def bytes_on_disk(self) -> int:
        """Return the size of all its files."""
        return sum(path.stat().st_size for path in self.folder.iterdir())


def damaged_error(folder: Path) -> KitboxError:
    """Return the error of a store whose files are shorter than they were."""
    return KitboxError(
        f"the prepared images {folder} are damaged; "
        "remove that folder and run 'kitbox data prepare' again"
    )


@dataclass(eq=False)
class CachedImages:
    """Where the images of a set lie in a store: `rows (n,)`, −1 for an image that it lacks.

    Files are opened by the process that reads them.
    """

    store: PixelCache
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
            raise damaged_error(self.store.folder)
        return True

    def _file(self, path: Path) -> int:
        if path not in self._files:
            try:
                self._files[path] = os.open(path, os.O_RDONLY)
            except FileNotFoundError as error:
                raise damaged_error(self.store.folder) from error
            weakref.finalize(self, os.close, self._files[path])
        return self._files[path]

    def __getstate__(self) -> dict[str, object]:
        return vars(self) | {"_files": {}}


def find(workspace: Workspace, images: ImageSet, way: InputSpec) -> CachedImages | None:
    """Return where images lie in the store of a way of seeing, or None where it has none of them.

    Raises KitboxError for a damaged store.
    """
    store = PixelCache.of(workspace, way)
    if images.digests is None or not store.keys_file.exists():
        return None
    known = {key: row for row, key in enumerate(store.keys())}
    rows = np.array([known.get(key, -1) for key in way.keys(images)], dtype=np.int64)
    return CachedImages(store, rows) if (rows >= 0).any() else None


def _maker() -> list[object]:
    """Return what decides the pixels beside the way: this code, Pillow, its JPEG decoder."""
    return [
        preprocessing.RECIPE_VERSION,
        PIL.__version__,
        features.version("libjpeg_turbo"),
        SHARD_BYTES,
    ]


# Rows get their keys after so many images; a killed run does at most these again.
_COMMIT = 256
# Megabytes of memory that each thread reuses: a photograph of 16 million pixels.
_KEPT = 64
# Of the disk is left free, for runs and embeddings.
_LEFT_FREE = 500 * 10**6
# The key of a row that stays empty, because its file was not readable after all.
_EMPTY = bytes(KEY_BYTES)


@dataclass(frozen=True, slots=True)
class DecodeJob:
    """An image that stores lack: its file and digest, and each store, cut and key."""

    path: Path
    digest: str
    wanted: tuple[tuple[PixelCache, Crop, bytes], ...]


@dataclass(frozen=True)
class CachePlan:
    """What there is to do: `files` distinct files are asked for, and `jobs` are not there yet."""

    files: int
    stores: tuple[PixelCache, ...]
    jobs: tuple[DecodeJob, ...]

    @property
    def bytes(self) -> int:
        """The disk that the jobs take."""
        return sum(store.row_bytes + KEY_BYTES for job in self.jobs for store, _, _ in job.wanted)


def plan(workspace: Workspace, sets: Sequence[ImageSet], ways: Sequence[InputSpec]) -> CachePlan:
    """Return what the stores lack so that these sets can be seen in these ways.

    Copies of a file are one. Raises KitboxError for a damaged store.
    """
    stores = tuple(dict.fromkeys(PixelCache.of(workspace, way) for way in ways))
    there = {store: set(store.keys()) for store in stores}
    files: dict[str, Path] = {}
    wanted: dict[str, list[tuple[PixelCache, Crop, bytes]]] = {}
    for images in sets:
        digests = images.file_digests.tolist()
        files |= dict(zip(digests, images.paths, strict=True))
        for way in dict.fromkeys(ways):
            store = PixelCache.of(workspace, way)
            for row, key in enumerate(way.keys(images)):
                if key not in there[store]:
                    there[store].add(key)
                    entry = (store, way.cut(images, row), key)
                    wanted.setdefault(digests[row], []).append(entry)
    jobs = (DecodeJob(files[digest], digest, tuple(entries)) for digest, entries in wanted.items())
    return CachePlan(len(files), stores, tuple(jobs))


def check_disk_space(workspace: Workspace, planned: CachePlan) -> int:
    """Return the bytes that are free; raises KitboxError where the plan does not fit."""
    workspace.pixel_cache.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(workspace.pixel_cache).free
    if planned.jobs and planned.bytes + _LEFT_FREE > free:
        raise KitboxError(
            f"preparing takes {gigabytes(planned.bytes)} and {gigabytes(_LEFT_FREE)} are to "
            f"stay free, but {workspace.pixel_cache} has {gigabytes(free)}; name fewer or smaller "
            "plugins, or remove prepared images with 'kitbox data prepare --drop'"
        )
    return free


def gigabytes(count: int) -> str:
    """Return bytes as '3.27 GB'."""
    return f"{count / 1e9:.2f} GB"


def fill(
    planned: CachePlan, workspace: Workspace
) -> Generator[Progress, None, list[UnreadableImageError]]:
    """Do the jobs of a plan, return what was not readable; yields Progress.

    Whatever stops it, what was committed stays. Raises KitboxError where another process prepares
    in this workspace, and for a disk that is full.
    """
    problems = []
    stopped = threading.Event()
    kept = preprocessing.reuse_memory(_KEPT * cpu_count())
    with lock(workspace), _naming(workspace.pixel_cache), kept, ExitStack() as stack:
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

    def __init__(self, store: PixelCache) -> None:
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
            file.seek(first * KEY_BYTES)  # over what a killed run has left of a key
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


def _make(job: DecodeJob, rows: list[tuple[_Writer, int]]) -> UnreadableImageError | None:
    """Write the pixels of one image to its rows; return why it cannot be read, or None."""
    try:
        made = _pixels(job)
    except UnreadableImageError as error:
        return error
    for (writer, row), pixels in zip(rows, made, strict=True):
        writer.write(row, pixels)
    return None


def _pixels(job: DecodeJob) -> list[Pixels]:
    """Return the cuts of an image, made of the very bytes that its key names."""
    try:
        data = job.path.read_bytes()
    except OSError as error:
        raise preprocessing.read_error(job.path, error) from error
    if hashlib.sha256(data).hexdigest() != job.digest:
        raise UnreadableImageError(f"image {job.path} was changed while it was prepared")
    return preprocessing.read_crops(job.path, [cut for _, cut, _ in job.wanted], data)


def remove_unused(workspace: Workspace, kept: Sequence[InputSpec]) -> list[tuple[Path, int]]:
    """Remove the stores that none of these ways reads; return their folders and sizes in bytes."""
    keep = {PixelCache.of(workspace, way).folder for way in kept}
    dropped = []
    with lock(workspace):
        for folder in sorted(workspace.pixel_cache.iterdir()):
            if folder.is_dir() and folder not in keep:
                dropped.append((folder, PixelCache(folder, (0, 0)).bytes_on_disk()))
                shutil.rmtree(folder)
    return dropped


def lock(workspace: Workspace) -> AbstractContextManager[None]:
    """Keep other processes from changing the prepared images of this workspace meanwhile."""
    return files.lock(
        workspace.pixel_cache,
        f"another process is preparing images in {workspace.pixel_cache}; wait for it",
    )


@contextmanager
def _naming(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # a full disk, a folder that may not be written
        raise KitboxError(f"cannot write {folder}: {error.strerror or error}") from error
