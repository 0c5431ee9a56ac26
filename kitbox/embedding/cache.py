"""The embedding cache: one folder per cache key, written atomically, without pickles."""

import json
import os
import shutil
import struct
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from kitbox.errors import KitboxError, cannot_write
from kitbox.files import (
    atomic_folder,
    create_folder,
    digest_of,
    digest_of_file,
    read_json,
    session_digest,
)
from kitbox.records import Embeddings, Floats, Strings, strings
from kitbox.workspace import Workspace

# Raise it when the same file gives another vector: by its reading, resampling or normalisation.
RECIPE_VERSION = 3
# What of each image determines its vector, in the order of the vectors.
_ROWS = "rows.json"
# Finished batches of sets that are not whole. Those of a set that nobody asks for again go after a
# week.
_UNFINISHED = ".unfinished"
_UNFINISHED_SECONDS = 7 * 86400
# Of a batch: its place, images and dimension, and a checksum of these, its key and its vectors.
_HEAD = struct.Struct("<4q")


def key(parts: dict[str, Any]) -> str:
    """Return the cache key of embeddings that `parts` determine: 32 hex digits."""
    return digest_of({"recipe": RECIPE_VERSION, **parts})[:32]


def load(workspace: Workspace, key: str, image_ids: Strings | None = None) -> Embeddings | None:
    """Return the embeddings of a key, None if they are not cached; they are those of `image_ids`.

    The vectors are memory-mapped. Raises KitboxError for a damaged folder: its files must have the
    bytes that were written, which are read once per process, and the causes its key.
    """
    folder = workspace.embeddings / key
    if not folder.is_dir():
        return None
    try:
        manifest = read_json(folder / "manifest.json")
        intact = _key_of(manifest) == key and all(
            session_digest(folder / name) == digest for name, digest in _digests(manifest)
        )
        if not intact:
            raise _damaged(folder)
        found = strings(read_json(folder / "image_ids.json"))
        vectors = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
        fitting = list(vectors.shape) == manifest["shape"] and len(vectors) == len(found)
    except (KitboxError, OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise _damaged(folder) from error
    if not fitting or (image_ids is not None and found.tolist() != image_ids.tolist()):
        raise _damaged(folder)
    return Embeddings(found, vectors)


def _key_of(manifest: dict[str, Any]) -> str:
    return digest_of({"recipe": manifest["recipe"], **manifest["causes"]})[:32]


def _digests(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the names and digests of files: of an earlier release the vectors alone."""
    return [("vectors.npy", manifest["vectors_sha256"]), *manifest.get("lists_sha256", {}).items()]


def _damaged(folder: Path) -> KitboxError:
    return KitboxError(
        f"the embeddings {folder} are damaged", fix="remove that folder; they are computed again"
    )


def causes_like(workspace: Workspace, wanted: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the causes of cached embeddings that have the wanted ones, by the name of the folder.

    A folder whose manifest cannot be read is left out; `load` tells of it.
    """
    for manifest in _manifests_like(workspace, wanted):
        yield manifest["causes"]


def _manifests_like(workspace: Workspace, wanted: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in sorted(workspace.embeddings.glob("[!.]*/manifest.json")):
        try:
            manifest = read_json(path)
            fitting = wanted.items() <= manifest["causes"].items()
        except (KitboxError, KeyError, TypeError, AttributeError):
            continue
        if fitting:
            yield manifest


def add_known_rows(
    workspace: Workspace, parts: dict[str, Any], names: Sequence[str], known: dict[str, Floats]
) -> None:
    """Add the vectors that other cached sets have of images, by the images' names, to `known`.

    `parts` are those of the key of all of them; what of an image determines its vector is its name,
    '' where it has none. Sets of earlier releases, whose names have no digest, are left out.
    """
    of_set = ("images", "blank")
    network = {name: value for name, value in parts.items() if name not in of_set}
    wanted = set(names) - known.keys() - {""}
    for manifest in _manifests_like(workspace, network):
        causes = manifest["causes"]
        if _ROWS not in manifest.get("lists_sha256", {}):
            continue
        folder = workspace.embeddings / key(causes)  # that of an older recipe is not there
        if causes.keys() - set(of_set) != network.keys() or not (folder / _ROWS).is_file():
            continue
        try:
            listed = read_json(folder / _ROWS)
            rows = {name: row for row, name in enumerate(listed) if name in wanted}
        except (KitboxError, TypeError) as error:
            raise _damaged(folder) from error
        found = load(workspace, folder.name) if rows else None
        if found is not None:
            known |= {name: np.array(found.vectors[row]) for name, row in rows.items()}
            wanted -= rows.keys()


def save(
    workspace: Workspace,
    key: str,
    embeddings: Embeddings,
    parts: dict[str, Any],
    names: Sequence[str] | None = None,
) -> Path:
    """Write embeddings and the parts of their key; return the folder.

    `names` say of each image what determines its vector, for `add_known_rows`.
    """
    folder = workspace.embeddings / key
    with atomic_folder(folder) as beside:
        with (beside / "vectors.npy").open("wb") as file:
            _write_array(file, embeddings.vectors)
        (beside / "image_ids.json").write_text(json.dumps(embeddings.image_ids.tolist()))
        if names is not None:
            (beside / _ROWS).write_text(json.dumps(list(names)))
        manifest = {
            "recipe": RECIPE_VERSION,
            "causes": parts,
            "shape": list(embeddings.vectors.shape),
            "vectors_sha256": digest_of_file(beside / "vectors.npy"),
            "lists_sha256": {path.name: digest_of_file(path) for path in beside.glob("*.json")},
        }
        (beside / "manifest.json").write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
    return folder


def _write_array(file: BinaryIO, vectors: Floats) -> None:
    """Write what `np.save` writes, which on a full disk does not say that it is full."""
    vectors = np.ascontiguousarray(vectors)
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(vectors))
    file.write(vectors.data)


class UnfinishedSet:
    """Vectors of the batches of a set that is being embedded, from which a killed process goes on.

    Each process appends to a file of its own. What it was writing when it was killed, and what has
    changed since, is not read.
    """

    def __init__(self, workspace: Workspace, key: str, layout: Any) -> None:
        """Name the batches of a cache key; `layout` is how its images are dealt to batches."""
        self.folder = workspace.embeddings / _UNFINISHED / key
        self._seal = zlib.crc32(digest_of([key, layout]).encode())
        self._file: Path | None = None

    def load(self) -> dict[int, Floats]:
        """Return the vectors (n, d) of finished batches by their places."""
        found = {}
        for path in sorted(self.folder.glob("*.batches")):
            with suppress(OSError, ValueError):  # it is empty, or another process has finished
                data = np.memmap(path, mode="r").data
                start = 0
                while start + _HEAD.size <= len(data):
                    *shape, checksum = _HEAD.unpack_from(data, start)
                    place, images, dim = shape
                    end = start + _HEAD.size + 4 * images * dim
                    block = data[start + _HEAD.size : end]
                    if min(shape) < 0 or end > len(data) or checksum != self._sum(shape, block):
                        break
                    found[place] = np.frombuffer(block, "<f4").reshape(images, dim)
                    start = end
        return found

    def add(self, place: int, vectors: Floats) -> None:
        """Keep the vectors of a batch."""
        data = np.ascontiguousarray(vectors, "<f4").tobytes()
        shape = [place, *vectors.shape]
        try:
            if self._file is None or not self._file.exists():
                self._file = self._new_file()
            with self._file.open("ab") as file:
                file.write(_HEAD.pack(*shape, self._sum(shape, data)) + data)
        except OSError as error:
            raise cannot_write(self._file or self.folder, error) from error

    def _new_file(self) -> Path:
        create_folder(self.folder)
        for other in self.folder.parent.iterdir():
            with suppress(OSError):
                times = [each.stat().st_mtime for each in (other, *other.iterdir())]
                if time.time() - max(times) > _UNFINISHED_SECONDS:
                    shutil.rmtree(other)
        handle, name = tempfile.mkstemp(".batches", "", self.folder)
        os.close(handle)
        file = Path(name)
        file.chmod(0o644)  # as everything else in the cache
        return file

    def _sum(self, shape: Sequence[int], data: Any) -> int:
        return zlib.crc32(data, zlib.crc32(struct.pack("<3q", *shape), self._seal))


def remove_unfinished(workspace: Workspace, key: str) -> None:
    """Remove the batches of a set that is whole by now."""
    folder = workspace.embeddings / _UNFINISHED / key
    if folder.is_dir():
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # there are those of other sets
            folder.parent.rmdir()
