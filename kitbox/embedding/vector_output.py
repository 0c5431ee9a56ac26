"""Writes embeddings and tables for other programs: .npz, .npy and Parquet, in blocks of rows."""

import zipfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from kitbox import tables
from kitbox.embedding.vector_tables import load_pyarrow
from kitbox.errors import KitboxError
from kitbox.files import atomic_file, write_text
from kitbox.records import Floats, Progress, Strings

VectorFormat = Literal["npz", "npy", "parquet"]
TableFormat = Literal["csv", "parquet"]
AnyFormat = TypeVar("AnyFormat", bound=str)

# Rows of a table that are written at a time, which are a row group of Parquet.
_ROWS = 65_536


@dataclass(frozen=True, kw_only=True)
class NamedVectors:
    """Rows of `dim` numbers to write: `ids (n,)`, and text beside them by column.

    `blocks` yields the rows in the order of `ids`, once.
    """

    ids: Strings
    dim: int
    blocks: Iterator[Floats]
    beside: Mapping[str, Strings]


def resolve_format(
    path: Path | None, given: AnyFormat | None, known: Sequence[AnyFormat], usual: AnyFormat
) -> AnyFormat:
    """Return the format of a file by --format, else by its suffix, else the usual one.

    Raises KitboxError where both say something else, and for a suffix of no format.
    """
    suffix = "" if path is None else path.suffix.lower().removeprefix(".")
    if given is not None:
        if suffix in known and suffix != given:
            raise KitboxError(
                f"--out {path} has another suffix than --format {given}; leave one of them out"
            )
        return given
    if not suffix:
        return usual
    found = next((one for one in known if one == suffix), None)
    if found is None:
        raise KitboxError(
            f"--out {path}: a file ends in {' or '.join(f'.{one}' for one in known)}",
            fix="correct its suffix, or name the format with --format",
        )
    return found


def write_vectors(
    path: Path, form: VectorFormat, vectors: NamedVectors
) -> Generator[Progress, None, list[Path]]:
    """Write vectors whole or not at all, and return the files; yields Progress.

    A .npz has the arrays `ids`, `embeddings` and those beside; Parquet the columns `image` and
    `embedding`. A .npy has the vectors alone, and the ids are in a .txt beside it.
    """
    blocks = _counted(vectors)
    if form == "parquet":
        yield from _write_parquet(path, vectors, blocks)
        return [path]
    if form == "npz":
        with atomic_file(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for name, values in {"ids": vectors.ids, **vectors.beside}.items():
                with archive.open(f"{name}.npy", "w") as file:
                    np.lib.format.write_array(file, values, allow_pickle=False)
            with archive.open("embeddings.npy", "w", force_zip64=True) as file:
                yield from _write_array(file, vectors, blocks)
        return [path]
    listed = path.with_name(f"{path.stem}_ids.txt")
    with atomic_file(path) as temporary:
        with temporary.open("wb") as file:
            yield from _write_array(file, vectors, blocks)
        write_text(listed, "".join(f"{name}\n" for name in vectors.ids.tolist()))
    return [path, listed]


def _counted(vectors: NamedVectors) -> Iterator[tuple[int, Floats]]:
    """Yield blocks with the number of rows before each."""
    done = 0
    for block in vectors.blocks:
        yield done, block
        done += len(block)


def _write_array(
    file: IO[bytes], vectors: NamedVectors, blocks: Iterator[tuple[int, Floats]]
) -> Iterator[Progress]:
    shape = (len(vectors.ids), vectors.dim)
    np.lib.format.write_array_header_1_0(
        file, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    for done, block in blocks:
        file.write(block.astype("<f4", copy=False).tobytes())
        yield Progress("write", done + len(block), shape[0], "rows")


def _write_parquet(
    path: Path, vectors: NamedVectors, blocks: Iterator[tuple[int, Floats]]
) -> Iterator[Progress]:
    pyarrow, parquet = load_pyarrow(f"{path} is Parquet")
    text = {"image": vectors.ids, **vectors.beside}
    schema = pyarrow.schema(
        [
            *((name, pyarrow.string()) for name in text),
            ("embedding", pyarrow.list_(pyarrow.float32(), vectors.dim)),
        ]
    )
    with (
        atomic_file(path) as temporary,
        parquet.ParquetWriter(temporary, schema, use_dictionary=[*vectors.beside]) as writer,
    ):
        for done, block in blocks:
            rows = slice(done, done + len(block))
            flat = pyarrow.array(np.ascontiguousarray(block).reshape(-1))
            columns = [pyarrow.array(values[rows].tolist()) for values in text.values()]
            columns.append(pyarrow.FixedSizeListArray.from_arrays(flat, vectors.dim))
            writer.write_batch(pyarrow.record_batch(columns, schema=schema))
            yield Progress("write", done + len(block), len(vectors.ids), "rows")


def write_table(path: Path, form: TableFormat, columns: Mapping[str, NDArray[Any]]) -> None:
    """Write named columns of equal length as a CSV or Parquet, whole or not at all."""
    count = len(next(iter(columns.values())))
    parts = [slice(start, start + _ROWS) for start in range(0, count, _ROWS)] or [slice(0, 0)]
    if form == "csv":
        rows = (
            row
            for part in parts
            for row in zip(*(_texts(values[part]) for values in columns.values()), strict=True)
        )
        tables.write_rows(path, chain([tuple(columns)], rows))
        return
    pyarrow, parquet = load_pyarrow(f"{path} is Parquet")

    def batch(part: slice) -> Any:
        return pyarrow.table({name: _arrow(values[part]) for name, values in columns.items()})

    def _arrow(values: NDArray[Any]) -> Any:
        return pyarrow.array(values.tolist() if values.dtype.kind == "U" else values)

    first = batch(parts[0])
    with (
        atomic_file(path) as temporary,
        parquet.ParquetWriter(temporary, first.schema) as writer,
    ):
        for part in parts:
            writer.write_table(batch(part).cast(first.schema))


def _texts(values: NDArray[Any]) -> list[Any]:
    """Return values as a CSV has them, float32 with the digits that it is right to."""
    if values.dtype == np.float32:
        return [f"{value:.6f}" for value in values.tolist()]
    return values.tolist()  # type: ignore[no-any-return]
