"""Files of embeddings by other programs: .npy, .npz, Parquet and CSV, read in blocks of rows."""

import zipfile
from pathlib import Path

from kitbox.embedding.vector_arrays import read_npy, read_npz
from kitbox.embedding.vector_rows import TAKEN, VectorFile, reading
from kitbox.embedding.vector_tables import read_csv, read_parquet
from kitbox.errors import KitboxError

# How the first bytes of a file that is not taken tell what it is, and what to do about it.
_AS_NPZ = "save ids and vectors as .npz: np.savez(f, ids=ids, embeddings=x)"
_REFUSED: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the file", "run 'git lfs pull'"),
    (b"\x89HDF", "an HDF5 file", _AS_NPZ),
    (b"MATLAB", "a MATLAB file", _AS_NPZ),
    (b"ARROW1", "an Arrow file", "save it as Parquet"),
    (b"FEA1", "a Feather file", "save it as Parquet"),
    (b"\x1f\x8b", "compressed with gzip", "unpack it"),
    (b"BZh", "compressed with bzip2", "unpack it"),
    (b"\x80", "a pickle, which may run code and is not opened",
     _AS_NPZ),
    (b"<", "a web page", "download the file itself"),
    (b"{", "JSON", "save ids and vectors as .npz or CSV"),
    (b"[", "JSON", "save ids and vectors as .npz or CSV"),
)  # fmt: skip


def read(path: Path, ids: str | None = None, vectors: str | None = None) -> VectorFile:
    """Open a file of vectors, whatever its suffix; nothing in it is unpickled.

    `ids` is a file with the name of each row, or the array or column of names; `vectors` is the
    array or column of vectors. Raises KitboxError for a file that is none of those taken, and where
    it is not clear which of several arrays or columns is meant.
    """
    kind = _kind(path)
    if kind == "npy":
        return read_npy(path, ids, vectors)
    if kind == "npz":
        return read_npz(path, ids, vectors)
    if kind == "parquet":
        return read_parquet(path, ids, vectors)
    return read_csv(path, ids, vectors)


def _kind(path: Path) -> str:
    """Return "npy", "npz", "parquet" or "csv" by the first bytes of a file."""
    try:
        with path.open("rb") as file:
            head = file.read(32)
    except IsADirectoryError as error:
        raise KitboxError(f"{path} is a folder", fix=f"name a file: {TAKEN}") from error
    except FileNotFoundError as error:
        raise KitboxError(f"there is no file {path}") from error
    except OSError as error:
        raise KitboxError(f"{path} cannot be read ({error.strerror})") from error
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"PK"):
        return _zip_kind(path)
    if not head.strip():
        raise KitboxError(f"{path} is empty", fix="copy it again")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    for start, what, fix in _REFUSED:
        if text.startswith(start):
            raise KitboxError(f"{path} is {what}", fix=fix)
    if b"\0" in head and not head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise KitboxError(f"{path} is no file of vectors that kitbox reads", fix=f"save {TAKEN}")
    return "csv"


def _zip_kind(path: Path) -> str:
    with reading(path), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.endswith(".npy") for name in names):
        return "npz"
    if any(name.startswith("xl/") for name in names):
        return "csv"  # a workbook is read as one
    if any(name.endswith("data.pkl") for name in names):
        raise KitboxError(
            f"{path} is a file of torch, which holds a pickle and is not opened",
            fix="save ids and vectors as .npz: np.savez(f, ids=ids, embeddings=x.cpu().numpy())",
        )
    raise KitboxError(f"{path} is a zip archive without .npy files", fix=f"name {TAKEN}")
