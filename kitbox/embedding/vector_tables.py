"""Vectors in tables: Parquet and CSV, read in blocks of rows."""

import csv
import re
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kitbox import tables
from kitbox.embedding.vector_rows import (
    BLOCK_SIZE,
    ID_NAMES,
    VECTOR_NAMES,
    VectorBlock,
    VectorFile,
    reading,
)
from kitbox.errors import KitboxError, counted, did_you_mean, readable
from kitbox.files import read_text


def load_pyarrow(why: str) -> tuple[Any, Any]:
    """Return pyarrow and its module for Parquet; raises KitboxError where it is not installed."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise KitboxError(
            f"{why}, which needs pyarrow", fix="pip install 'kitbox[parquet]', or use .npz"
        ) from error
    return pyarrow, parquet


def read_parquet(path: Path, ids: str | None, vectors: str | None) -> VectorFile:
    """Open a Parquet file with a column of names, and one of lists or several of numbers."""
    pyarrow, parquet = load_pyarrow(f"{path} is Parquet")
    with reading(path):
        file = parquet.ParquetFile(path, memory_map=True)
    types = pyarrow.types
    storage = {f.name: getattr(f.type, "storage_type", f.type) for f in file.schema_arrow}

    def is_text(kind: Any) -> bool:
        inner = kind.value_type if types.is_dictionary(kind) else kind
        return bool(types.is_string(inner) or types.is_large_string(inner))

    def is_vector(kind: Any) -> bool:
        many = (types.is_list, types.is_large_list, types.is_fixed_size_list)
        inner = kind.value_type if any(each(kind) for each in many) else None
        return inner is not None and bool(types.is_floating(inner) or types.is_integer(inner))

    names = list(storage)
    tables.refuse_repeated(path, [f.name for f in file.schema_arrow], names)
    texts = [name for name in names if is_text(storage[name])]
    whole = [name for name in names if types.is_integer(storage[name])]
    column = _id_column(path, names, texts, whole, ids)
    lists = [name for name in names if is_vector(storage[name])]
    numbers = [name for name in names if name != column and types.is_floating(storage[name])]
    numbers += [name for name in whole if name != column and _numbered(name)]
    chosen = _vector_columns(path, names, lists, [n for n in names if n in numbers], vectors)
    left = [name for name in names if name != column and name not in chosen]
    notes = _column_notes(path, column, chosen, left)
    if chosen[0] not in lists:
        dim, to_rows = len(chosen), _stacked
    else:
        dim, to_rows = _list_dim(path, file, chosen[0], storage[chosen[0]], types), _unnested

    def blocks() -> Iterator[VectorBlock]:
        done = 0
        step = max(BLOCK_SIZE // max(dim, 1), 1)
        with reading(path):
            for batch in chain.from_iterable(  # of all groups at once, it reads ahead without end
                file.iter_batches(step, row_groups=[group], columns=[column, *chosen])
                for group in range(file.num_row_groups)
            ):
                listed = batch.column(column).to_pylist()
                at = f"{path} row {done + 1}"
                columns = [batch.column(name) for name in chosen]
                yield ["" if one is None else str(one) for one in listed], to_rows(columns, dim, at)
                done += len(listed)

    return VectorFile(path=path, dim=dim, blocks=blocks(), notes=notes)


def _list_dim(path: Path, file: Any, column: str, kind: Any, types: Any) -> int:
    """Return the length of the first list in a column of lists."""
    if types.is_fixed_size_list(kind):
        return int(kind.list_size)
    with reading(path):
        for batch in file.iter_batches(64, columns=[column]):
            for value in batch.column(0):
                if value.is_valid:
                    return len(value)
    return 0


def _stacked(columns: list[Any], dim: int, at: str) -> NDArray[Any]:
    """Return columns of numbers side by side; what is empty is NaN."""
    del dim, at
    return np.stack([one.to_numpy(zero_copy_only=False) for one in columns], axis=1)


def _unnested(columns: list[Any], dim: int, at: str) -> NDArray[Any]:
    """Return the lists of a column as rows; raises KitboxError for one of another length."""
    [column] = columns
    column = getattr(column, "storage", column)
    lengths = np.array([-1 if n is None else n for n in column.value_lengths().to_pylist()])
    wrong = np.flatnonzero(lengths != dim)
    if len(wrong):
        length = int(lengths[wrong[0]])
        found = "nothing" if length < 0 else counted(length, "number")
        raise KitboxError(
            f"{found}, where the first row has {dim}", where=f"{at} + {wrong[0]}",
            fix="remove the row, or embed that image again",
        )  # fmt: skip
    return np.asarray(column.flatten().to_numpy(zero_copy_only=False)).reshape(-1, dim)


def _numbered(name: str) -> str | None:
    """Return what is before the number of a numbered column, as 'f' of f12; None without one."""
    stem = name.strip()
    number = re.search(r"(?<!\d)\d+\D?$", stem)
    return stem[: number.start()] if number else None


def _id_column(
    path: Path, names: list[str], texts: list[str], whole: list[str], ids: str | None
) -> str:
    """Return the column of image names; `texts` hold words, `whole` whole numbers."""
    if ids is not None:
        if ids in names:
            return ids
        raise KitboxError(
            f"{path} has no column '{ids}' among {tables.join(names)}{did_you_mean(ids, names)}",
            fix="" if did_you_mean(ids, names) else "name its column of image names with --ids",
        )
    usual = [name for name in [*texts, *whole] if name.strip().casefold() in ID_NAMES]
    usual_texts = [name for name in usual if name in texts]
    for some in (usual, usual_texts, [] if usual else texts):
        if len(some) == 1:
            return some[0]
    which = "several columns may hold" if usual or texts else "no column holds"
    raise KitboxError(
        f"{path}: {which} names of images; it has {tables.join(names)}",
        fix=f"name one with --ids {(usual or texts or names)[0]}",
    )


def _vector_columns(
    path: Path, names: list[str], lists: list[str], numbers: list[str], vectors: str | None
) -> list[str]:
    """Return the column of vectors, or the columns of their numbers.

    Numbered columns (f0, f1, …) are taken before others, so that a label is no dimension.
    """
    if vectors is not None:
        if vectors in lists:
            return [vectors]
        prefixed = [name for name in numbers if _numbered(name) == vectors]
        if prefixed:
            return prefixed
        raise KitboxError(
            f"{path} has no column of vectors '{vectors}', nor columns {vectors}0, {vectors}1, …; "
            f"it has {tables.join(names)}{did_you_mean(vectors, lists)}"
        )
    usual = [name for name in lists if name.casefold() in VECTOR_NAMES]
    for some in (lists, usual):
        if len(some) == 1:
            return some
    if lists:
        raise KitboxError(
            f"{path} has several columns of vectors: {tables.join(lists)}",
            fix=f"name one with --vectors {lists[0]}",
        )
    groups: dict[str, list[str]] = {}
    for name in numbers:
        prefix = _numbered(name)
        if prefix is not None:
            groups.setdefault(prefix, []).append(name)
    found = [group for group in groups.values() if len(group) > 1]
    if len(found) == 1:
        return found[0]
    if found:
        raise KitboxError(
            f"{path} has several vectors: columns {found[0][0]}, … and {found[1][0]}, …",
            fix=f"name one by what is before the number: --vectors {_numbered(found[0][0]) or 0}",
        )
    if not numbers:
        raise KitboxError(
            f"{path} has no column of numbers; it has {tables.join(names)}",
            fix="save one row for each image: its name, and its numbers",
        )
    return numbers


def _column_notes(path: Path, column: str, chosen: list[str], left: list[str]) -> tuple[str, ...]:
    span = f"'{chosen[0]}'" if len(chosen) == 1 else f"'{chosen[0]}' to '{chosen[-1]}'"
    notes = [f"{path.name}: vectors are {span}, names of rows '{column}'"]
    return (*notes, f"{path.name}: not read: {tables.join(left)}") if left else tuple(notes)


def read_csv(path: Path, ids: str | None, vectors: str | None) -> VectorFile:
    """Open a CSV or workbook with a column of names, and one of lists or several of numbers."""
    lines = _csv_lines(path)
    filled = ((line, cells) for line, cells in lines if any(cell.strip() for cell in cells))
    top = list(islice(filled, 2))
    if not top:
        raise KitboxError(f"{path} is empty", fix="copy it again")
    header, first = top[0][1], top[-1][1]
    rows: Iterator[tuple[int, list[str]]]
    if _is_csv_header(header):
        names, rows = header, chain(top[1:], filled)
        if len(top) < 2:
            raise KitboxError(f"{path} has a header and no row")
    else:  # names and numbers from the first line on
        names, first = ["image", *(str(i) for i in range(len(header) - 1))], header
        rows = chain(top, filled)
    names = [name.strip() or ("image" if not place else "") for place, name in enumerate(names)]
    cells = dict(zip(names, first, strict=False))
    refused = [name for name in names if name]
    tables.refuse_repeated(path, names, refused, top[0][0])
    lists = [name for name in refused if cells.get(name, "").strip().startswith(("[", "("))]
    numbers = [name for name in refused if _number(cells.get(name, "")) is not None]
    texts = [name for name in refused if name not in lists and name not in numbers]
    if header is not first and names[0] == "image" and not header[0].strip() and not texts:
        texts = ["image"]  # the index of a data frame
    column = _id_column(path, refused, texts, numbers, ids)
    chosen = _vector_columns(
        path, refused, lists, [name for name in numbers if name != column], vectors
    )
    left = [name for name in refused if name != column and name not in chosen]
    places = [names.index(name) for name in chosen]
    parse = _list_cell if chosen[0] in lists else _cells
    dim = len(parse([cells[name] for name in chosen], f"{path} line {top[-1][0]}"))
    blocks = _csv_blocks(path, rows, names.index(column), places, parse, dim)
    return VectorFile(
        path=path, dim=dim, blocks=blocks, notes=_column_notes(path, column, chosen, left)
    )


def _is_csv_header(cells: list[str]) -> bool:
    """Return whether a line names columns: it has no numbers, or they count from 0 or 1."""
    values = [_number(cell) for cell in cells[1:]]
    if not any(value is not None for value in values) and not any(
        cell.strip().startswith("[") for cell in cells
    ):
        return True
    counted = [value for value in values if value is not None]
    return len(counted) > 1 and counted in (
        list(map(float, range(len(counted)))),
        list(map(float, range(1, len(counted) + 1))),
    )


def _csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, cells) of a CSV without reading it whole, or of a workbook."""
    with path.open("rb") as binary:
        start = binary.read(4096)
    if (
        start.startswith((b"PK", b"\xff\xfe", b"\xfe\xff", b"\xd0\xcf\x11\xe0"))
        or b"\0" in start[:2]
    ):
        yield from tables.read_cells(path)  # reads a workbook, refuses UTF-16
        return
    head = start.decode("utf-8", "replace").removeprefix("\ufeff").splitlines()
    first = next((line for line in head if line.strip()), "")
    separator = max((",", ";", "\t"), key=re.sub(r'"[^"]*"', "", first).count)
    if not re.search(r"[,;\t]", first) and " " in first:
        separator = " "
    tables.csv_reader("")  # cells may be of any length
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=separator)
            for cells in reader:
                yield reader.line_num, cells
    except UnicodeDecodeError:
        read_text(path)  # names the byte
        raise
    except csv.Error as error:
        raise KitboxError(f"{path} is not a CSV ({error})", fix="save it again") from error


def _csv_blocks(
    path: Path,
    rows: Iterator[tuple[int, list[str]]],
    column: int,
    places: list[int],
    parse: Callable[[list[str], str], list[float]],
    dim: int,
) -> Iterator[VectorBlock]:
    step = max(BLOCK_SIZE // max(dim, 1) // 4, 1)  # Python's numbers are larger
    while part := list(islice(rows, step)):
        vectors = np.empty((len(part), dim))
        names = []
        for row, (line, cells) in enumerate(part):
            at = f"{path} line {line}"
            if len(cells) <= max(*places, column):
                raise KitboxError(
                    f"{counted(len(cells), 'cell')}, where the first row has more", where=at
                )
            values = parse([cells[place] for place in places], at)
            if len(values) != dim:
                raise KitboxError(
                    f"{counted(len(values), 'number')}, where the first row has {dim}", where=at,
                    fix="remove the row, or embed that image again",
                )  # fmt: skip
            names.append(readable(cells[column]))
            vectors[row] = values
        yield names, vectors


def _number(cell: str) -> float | None:
    """Return the number in a cell, which may have a decimal comma, or None."""
    try:
        return float(cell)
    except ValueError:
        if re.fullmatch(r"\s*[-+]?\d*,\d+([eE][-+]?\d+)?\s*", cell):
            return float(cell.replace(",", "."))
        return None


def _cells(cells: list[str], at: str) -> list[float]:
    """Return the numbers in cells; raises KitboxError for one that is none."""
    try:
        return [*map(float, cells)]
    except ValueError:
        values = []
        for cell in cells:
            value = _number(cell)
            if value is None:
                what = f"'{cell}' is no number" if cell.strip() else "a cell of the vector is empty"
                raise KitboxError(what, where=at, fix="correct or remove the row") from None
            values.append(value)
        return values


def _list_cell(cells: list[str], at: str) -> list[float]:
    """Return the numbers of a list in one cell, as "[0.1, 0.2]"."""
    text = cells[0].strip()
    if "..." in text or "…" in text:
        raise KitboxError(
            "the vector was shortened when it was printed", where=at,
            fix="save ids and vectors as .npz: np.savez(f, ids=ids, embeddings=x)",
        )  # fmt: skip
    parts = [part for part in re.split(r"[\s,;]+", text.strip("[]()")) if part]
    return _cells(parts, at)
