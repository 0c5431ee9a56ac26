"""Rows of vectors with the names of their images, and lists of such names."""

import json
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from kitbox import tables
from kitbox.errors import KitboxError, readable
from kitbox.files import read_json, read_text

# Names of images and rows of numbers, as a file has them.
VectorBlock = tuple[list[str], NDArray[Any]]

# Numbers held at a time: 32 MB of float64.
BLOCK_SIZE = 4_000_000
TAKEN = ".npy, .npz, .parquet, .csv or .tsv"
ID_NAMES = (
    "id", "ids", "image", "images", "image_id", "image_ids", "imageid", "image_name",
    "image_names", "name", "names", "path", "paths", "image_path", "image_paths", "file", "files",
    "filename", "filenames", "file_name", "file_names", "filepath", "filepaths", "fname", "fnames",
    "img", "img_name", "img_path", "key", "keys",
)  # fmt: skip
VECTOR_NAMES = (
    "embedding", "embeddings", "emb", "embs", "feature", "features", "feat", "feats", "vector",
    "vectors", "descriptor", "descriptors", "x", "arr_0",
)  # fmt: skip
LISTS = (".txt", ".csv", ".tsv", ".json", ".npy")


@dataclass(frozen=True, kw_only=True)
class VectorFile:
    """An open file of vectors: `dim` numbers in a row, and a name for each row.

    `blocks` yields names and rows, once. `notes` say how the file was read and what of it was not.
    """

    path: Path
    dim: int
    blocks: Iterator[VectorBlock]
    notes: tuple[str, ...] = ()


def read_names(path: Path, count: int | None = None) -> list[str]:
    """Return the names in a list: .txt, .csv, .tsv, .xlsx, .json or .npy, in its order.

    Of several columns that of image names is taken. A header is recognised by its name, or where
    the list has one line more than `count`. Raises KitboxError where no column is that of names.
    """
    if not path.is_file():
        raise KitboxError(f"there is no list {path}", fix="correct its name")
    match path.suffix.lower():
        case ".npy":
            with path.open("rb") as file:
                return to_names(whole_array(file, path), path)
        case ".json":
            return _json_names(path)
        case ".txt":
            lines = [line for line in read_text(path).splitlines() if line.strip()]
            if lines and _is_header(lines[0], len(lines), count):
                return lines[1:]
            return lines
    rows = [cells for _, cells in tables.read_cells(path) if any(cell.strip() for cell in cells)]
    if not rows:
        return []
    if max(map(len, rows)) == 1:
        first = 1 if _is_header(rows[0][0], len(rows), count) else 0
        return [row[0] for row in rows[first:]]
    column = usual_name(rows[0], ID_NAMES)
    if column is None:
        raise KitboxError(
            f"{path} has the columns {tables.join(rows[0])}, and none is clearly that of image "
            "names",
            fix="name that column image, or keep it alone",
        )
    place = rows[0].index(column)
    return [row[place] if place < len(row) else "" for row in rows[1:]]


def _is_header(first: str, lines: int, count: int | None) -> bool:
    """Return whether the first of so many lines is a header above `count` names."""
    usual = first.strip().casefold() in ID_NAMES
    return usual if count is None else lines == count + 1


def usual_name(names: Iterable[str], usual: Sequence[str]) -> str | None:
    """Return the only one of some names that is usual, None for none or several."""
    found = [name for name in names if name.strip().casefold() in usual]
    return found[0] if len(found) == 1 else None


def damaged(path: Path) -> KitboxError:
    """Return the error of a file that is not whole."""
    return KitboxError(f"{path} is damaged or cut off", fix="copy it again, or save it again")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever NumPy, zipfile or pyarrow raises at a damaged file into the error of one.

    Each raises many kinds, as TokenError for a .npy whose header ends too early.
    """
    try:
        with warnings.catch_warnings():  # of a header that Python 2 wrote
            warnings.simplefilter("ignore", UserWarning)
            yield
    except KitboxError:
        raise
    except Exception as error:
        raise damaged(path) from error


def whole_array(file: IO[bytes], path: Path) -> NDArray[Any]:
    """Return the array of a .npy; raises KitboxError for a pickled one."""
    with reading(path):
        try:
            return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
        except ValueError as error:
            if "pickle" in str(error) or "Object arrays" in str(error):
                raise KitboxError(
                    f"{path} holds pickled objects, which may run code and are not opened",
                    fix="save names as np.array(names, dtype=str), and vectors as float32",
                ) from error
            raise


def to_names(array: NDArray[Any], path: Path) -> list[str]:
    """Return an array of names as texts; whole numbers are names too."""
    if array.ndim == 2 and 1 in array.shape:
        array = array.reshape(-1)
    if array.ndim != 1 or array.dtype.kind not in "USiu":
        raise KitboxError(
            f"the names in {path} are an array of {array.dtype} and of shape {array.shape}",
            fix="save one name for each row: np.array(names, dtype=str)",
        )
    if array.dtype.kind == "S":
        return [readable(name.decode("utf-8", "surrogateescape")) for name in array.tolist()]
    if array.dtype.kind == "U" and array.dtype.itemsize:
        # a number that is no character ends Python's conversion in an error of its own
        order = array.dtype.byteorder
        codes = np.ascontiguousarray(array).view(np.dtype(np.uint32).newbyteorder(order))
        if codes.max(initial=0) > sys.maxunicode:
            raise damaged(path)
    return [readable(str(name)) for name in array.tolist()]


def _json_names(path: Path) -> list[str]:
    """Return the names of a JSON list, or of an object with one list or a row of each name."""
    value = read_json(path)
    if isinstance(value, dict):
        lists = [name for name, inner in value.items() if isinstance(inner, list)]
        if value and all(isinstance(row, int) for row in value.values()):
            if sorted(value.values()) == list(range(len(value))):
                return sorted(value, key=lambda name: int(value[name]))
            lists = []
        column = lists[0] if len(lists) == 1 else usual_name(lists, ID_NAMES)
        value = value.get(column) if column is not None else None
    if not isinstance(value, list) or not all(isinstance(one, str | int) for one in value):
        raise KitboxError(
            f"{path} is not a list of names",
            fix=f"write one, as {json.dumps(['a.jpg', 'b.jpg'])}",
        )
    return [str(one) for one in value]
