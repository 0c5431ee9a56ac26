"""Tables for people in Python: named columns of equal length, shown as text or HTML."""

from collections import namedtuple
from collections.abc import Iterator, KeysView, Mapping
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kitbox.errors import KitboxError, did_you_mean
from kitbox.tables import write_rows

# Rows that are shown at each end of a long table, and characters of a long cell.
_ENDS, _CELL = 5, 40


class Table:
    """Named columns of equal length, each a numpy array that cannot be changed.

    `table["similarity"]` is a column, `len(table)` the number of rows. Iterating yields rows whose
    fields are named after the columns. `dict(table)` is what pandas.DataFrame and polars.DataFrame
    take.
    """

    def __init__(self, columns: Mapping[str, NDArray[Any]]) -> None:
        self._columns = {name: np.asarray(values).view() for name, values in columns.items()}
        lengths = {name: len(values) for name, values in self._columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of different lengths: {lengths}")
        for values in self._columns.values():
            values.flags.writeable = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(self._columns)

    def keys(self) -> KeysView[str]:
        """Return the names of the columns, as a dict does."""
        return self._columns.keys()

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._columns:
            near = did_you_mean(name, self._columns)
            raise KitboxError(f"no column {name}{near}; there are {', '.join(self._columns)}")
        return self._columns[name]

    def __len__(self) -> int:
        return len(next(iter(self._columns.values()), ()))

    def __iter__(self) -> Iterator[NamedTuple]:
        make: Any = namedtuple  # type checkers want its fields written out
        row = make("Row", self.columns)
        # python's own values, which print and write as people do
        lists = [values.tolist() for values in self._columns.values()]
        return map(row, *lists)

    def take(self, rows: NDArray[Any]) -> "Table":
        """Return the given rows (a mask or numbers), in that order."""
        return Table({name: values[rows] for name, values in self._columns.items()})

    def to_csv(self, path: str | Path) -> None:
        """Write a CSV with a header, whole or not at all."""
        write_rows(Path(path), [self.columns, *self])

    def __repr__(self) -> str:
        columns = [[name, *cells] for name, cells in self._shown().items()]
        widths = [max(map(len, cells)) for cells in columns]
        text = [np.asarray(self[name]).dtype.kind in "UOb" for name in self.columns]
        lines = [
            "  ".join(
                cell.ljust(width) if left else cell.rjust(width)
                for cell, width, left in zip(cells, widths, text, strict=True)
            ).rstrip()
            for cells in zip(*columns, strict=True)
        ]
        return "\n".join([*lines, *self._size()])

    def _repr_html_(self) -> str:
        shown = self._shown()
        head = "".join(f"<th>{escape(name)}</th>" for name in shown)
        body = "".join(
            f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
            for row in zip(*shown.values(), strict=True)
        )
        size = "".join(f"<p>{line}</p>" for line in self._size())
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{size}"

    def _size(self) -> list[str]:
        return [f"{len(self)} rows × {len(self.columns)} columns"] if len(self) > 2 * _ENDS else []

    def _shown(self) -> dict[str, list[str]]:
        """Return the cells to show: of a long table the first and the last rows."""
        if len(self) <= 2 * _ENDS:
            return {name: list(map(_text, values)) for name, values in self._columns.items()}
        return {
            name: [*map(_text, values[:_ENDS]), "…", *map(_text, values[-_ENDS:])]
            for name, values in self._columns.items()
        }


def _text(value: Any) -> str:
    text = f"{value:.4f}" if isinstance(value, float | np.floating) else str(value)
    return text if len(text) <= _CELL else f"…{text[1 - _CELL :]}"
