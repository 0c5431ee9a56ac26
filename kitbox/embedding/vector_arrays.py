"""Vectors in arrays of NumPy: .npy and .npz, read in blocks of rows and never unpickled."""

import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from kitbox import tables
from kitbox.embedding.vector_rows import (
    BLOCK_SIZE,
    ID_NAMES,
    LISTS,
    VECTOR_NAMES,
    VectorBlock,
    VectorFile,
    damaged,
    read_names,
    reading,
    to_names,
    whole_array,
)
from kitbox.errors import KitboxError, did_you_mean


@dataclass(frozen=True)
class _Header:
    """What the head of a .npy says of its array."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @property
    def squeezed(self) -> tuple[int, ...]:
        """The shape without dimensions of one number behind the first: (n, 1, d) is (n, d)."""
        return self.shape[:1] + tuple(side for side in self.shape[1:] if side != 1)

    @property
    def has_vectors(self) -> bool:
        """Whether it holds a row of numbers for each of several images."""
        return len(self.squeezed) == 2 and self.dtype.kind in "fiu"

    @property
    def has_names(self) -> bool:
        """Whether it may hold a name for each image."""
        return len(self.squeezed) == 1 and self.dtype.kind in "USOiu"

    def __str__(self) -> str:
        return "×".join(map(str, self.shape)) or "one value"


def _header(file: IO[bytes], path: Path) -> _Header:
    """Read the head of a .npy; the file then stands at its numbers."""
    with reading(path):
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            return _Header(*np.lib.format.read_array_header_1_0(file))
        return _Header(*np.lib.format.read_array_header_2_0(file))


def _refuse(header: _Header, path: Path) -> None:
    """Raise KitboxError for an array that does not hold a row of numbers for each image."""
    if header.dtype.hasobject:
        raise KitboxError(
            f"{path} holds pickled objects, which may run code and are not opened",
            fix="save the vectors as float32: np.asarray(vectors, dtype=np.float32)",
        )
    if not header.has_vectors:
        raise KitboxError(
            f"{path} holds an array of shape {header.shape} and type {header.dtype}; embeddings "
            "have one row of numbers for each image",
            fix="pool them to (images, dimensions)" if len(header.squeezed) > 2 else "",
        )


def _array_rows(file: IO[bytes], path: Path, size: int) -> Iterator[NDArray[Any]]:
    """Yield the rows of a .npy of `size` bytes in blocks."""
    header = _header(file, path)
    rows, dim = header.squeezed
    # memory is taken for as many numbers as the header says
    if rows * dim * header.dtype.itemsize > size - file.tell():
        raise damaged(path)
    # what is stored column by column is read whole
    step = rows if header.fortran else max(BLOCK_SIZE // max(dim, 1), 1)
    for start in range(0, rows, step):
        wanted = (min(start + step, rows) - start) * dim * header.dtype.itemsize
        with reading(path):
            data = file.read(wanted)
        if len(data) < wanted:
            raise damaged(path)
        block = np.frombuffer(data, header.dtype)
        if header.fortran:
            block = block.reshape(header.shape, order="F")
        yield block.reshape(-1, dim)


def _named_rows(names: list[str], rows: Iterator[NDArray[Any]]) -> Iterator[VectorBlock]:
    start = 0
    for block in rows:
        yield names[start : start + len(block)], block
        start += len(block)


def _check_count(names: Sequence[str], header: _Header, path: Path, listed: Path | str) -> None:
    """Raise KitboxError where there are more or fewer names than rows."""
    rows = header.shape[0]
    if len(names) == rows:
        return
    turned = len(header.squeezed) == 2 and header.squeezed[1] == len(names)
    raise KitboxError(
        f"{path} has {rows} rows, but {listed} has {len(names)} names",
        fix="save the array transposed: one row for each image"
        if turned
        else "give the list that was written with it",
    )


def read_npy(path: Path, ids: str | None, vectors: str | None) -> VectorFile:
    """Open the array of a .npy, with the names in a list."""
    if vectors is not None:
        raise KitboxError(f"{path} is a single array; leave --vectors {vectors} out")
    with path.open("rb") as file:
        header = _header(file, path)
    _refuse(header, path)
    listed = _find_list(path) if ids is None else Path(ids)
    names = read_names(listed, header.shape[0])
    _check_count(names, header, path, listed)

    def blocks() -> Iterator[VectorBlock]:
        with path.open("rb") as file:
            yield from _named_rows(names, _array_rows(file, path, path.stat().st_size))

    note = f"{path.name}: names of rows are those of {listed.name}"
    return VectorFile(
        path=path, dim=header.squeezed[1], blocks=blocks(), notes=() if ids else (note,)
    )


def _find_list(path: Path) -> Path:
    """Return the list of names beside a .npy; raise KitboxError for none and for several."""
    stem = path.stem
    bare = re.sub(r"[-_.]?(embeddings?|features?|feats?|vectors?|embs?)$", "", stem, flags=re.I)
    kinds = ("ids", "image_ids", "names", "image_names", "filenames", "paths", "files", "images")
    beside = [
        stem,
        *(f"{one}{sign}{kind}" for one in {stem, bare} for sign in "_-." for kind in kinds),
    ]
    for stems in (beside, list(kinds)):
        found = sorted(
            file
            for file in path.parent.iterdir()
            if file.suffix.lower() in LISTS and file != path and file.stem in stems
        )
        if len(found) > 1:
            raise KitboxError(
                f"{path} may have its names in {found[0].name} or in {found[1].name}",
                fix=f"name the list with --ids {found[0]}",
            )
        if found:
            return found[0]
    raise KitboxError(
        f"{path} has no names of images, and there is no {stem}_ids.txt beside it",
        fix="name the list of image names, one for each row, with --ids FILE",
    )


def read_npz(path: Path, ids: str | None, vectors: str | None) -> VectorFile:
    """Open an array of vectors of a .npz, with the names in another or in a list."""
    headers: dict[str, _Header] = {}
    with reading(path), zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".npy"):
                with archive.open(name) as file:
                    headers[name.removesuffix(".npy")] = _header(file, path)
        key = _vector_key(path, headers, vectors)
        _refuse(headers[key], path)
        listed, names = _npz_names(path, archive, headers, ids, key)
    _check_count(names, headers[key], path, listed)

    def blocks() -> Iterator[VectorBlock]:
        with (
            reading(path),
            zipfile.ZipFile(path) as archive,
            archive.open(f"{key}.npy") as file,
        ):
            yield from _named_rows(
                names, _array_rows(file, path, archive.getinfo(f"{key}.npy").file_size)
            )

    left = [name for name in headers if name not in (key, listed)]
    notes = [f"{path.name}: vectors are '{key}', names of rows '{listed}'"]
    notes += [f"{path.name}: not read: {tables.join(left)}"] if left else []
    return VectorFile(path=path, dim=headers[key].squeezed[1], blocks=blocks(), notes=tuple(notes))


def _npz_names(
    path: Path, archive: zipfile.ZipFile, headers: dict[str, _Header], ids: str | None, key: str
) -> tuple[str, list[str]]:
    """Return where the names of rows are, an array or a file, and the names."""
    if ids is not None and ids not in headers:
        if not Path(ids).is_file():
            raise KitboxError(
                f"--ids {ids} is neither a file nor an array of {path}, which has "
                f"{_shapes(headers)}{did_you_mean(ids, headers)}"
            )
        return ids, read_names(Path(ids), headers[key].shape[0])
    chosen = ids or _name_key(path, headers)
    if chosen is None:
        with suppress(KitboxError):
            listed = _find_list(path)
            return listed.name, read_names(listed, headers[key].shape[0])
        raise KitboxError(
            f"{path} has {_shapes(headers)}, and no array of image names",
            fix="save one: np.savez(f, ids=names, embeddings=x), or name a list with --ids FILE",
        )
    with archive.open(f"{chosen}.npy") as file:
        return chosen, to_names(whole_array(file, path), path)


def _name_key(path: Path, headers: dict[str, _Header]) -> str | None:
    """Return the array of names, None where there is none."""
    found = [name for name, header in headers.items() if header.has_names]
    usual = [name for name in found if name.casefold() in ID_NAMES]
    texts = [name for name in usual or found if headers[name].dtype.kind in "USO"]
    for some in (usual, texts):
        if len(some) == 1:
            return some[0]
    if usual or len(texts) > 1:
        raise KitboxError(
            f"{path} has several arrays that may hold names of images: "
            f"{tables.join(usual or texts)}",
            fix=f"name one with --ids {(usual or texts)[0]}",
        )
    return None


def _vector_key(path: Path, headers: dict[str, _Header], vectors: str | None) -> str:
    """Return the array of vectors."""
    if vectors is not None:
        if vectors not in headers:
            raise KitboxError(
                f"{path} has no array '{vectors}'; it has {_shapes(headers)}"
                f"{did_you_mean(vectors, headers)}"
            )
        return vectors
    found = [name for name, header in headers.items() if header.has_vectors]
    usual = [name for name in found if name.casefold() in VECTOR_NAMES]
    for some in (found, usual):
        if len(some) == 1:
            return some[0]
    if not found:
        pickled = [name for name, header in headers.items() if header.dtype.hasobject]
        usual_pickled = [name for name in pickled if name.casefold() in VECTOR_NAMES]
        if usual_pickled:
            return usual_pickled[0]  # refused as what it is
        raise KitboxError(
            f"{path} has {_shapes(headers)}, and no array with a row of numbers for each image",
            fix="save one: np.savez(f, ids=names, embeddings=x)",
        )
    raise KitboxError(
        f"{path} has several arrays of vectors: {_shapes({n: headers[n] for n in found})}",
        fix=f"name one with --vectors {found[0]}, and its names with --ids",
    )


def _shapes(headers: dict[str, _Header]) -> str:
    return ", ".join(f"{name} ({header})" for name, header in headers.items()) or "no array"
