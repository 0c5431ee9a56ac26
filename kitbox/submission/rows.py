"""Splits a submission into rows and values, each with the line and column at which it stands."""

import re
from collections.abc import Iterator
from typing import NamedTuple

# A value, quoted or not, and the comma or the line's end after it.
_VALUE = re.compile(r'(?:"([^"]*(?:""[^"]*)*)"|([^,\r\n]*))(,|\r\n|\r|\n|\Z)')


class Field(NamedTuple):
    """A value of a row, and the column from 1 at which its text begins."""

    text: str
    column: int


class Row(NamedTuple):
    """The values of a row, and the line from 1 on which it begins."""

    line: int
    fields: tuple[Field, ...]


def rows(written: str) -> Iterator[Row]:
    """Yield the rows of a CSV that are not empty; a quoted value may hold line ends.

    A quote that is not closed, or that other text follows, is read as a letter.
    """
    if '"' in written:
        yield from _quoted_rows(written)
        return
    lines = written.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for line, text in enumerate(lines, 1):
        if text:
            yield Row(line, _parts(text, ",", 1))


def words(field: Field) -> tuple[Field, ...]:
    """Return the words of a value that blanks separate; two blanks have an empty word between."""
    return _parts(field.text, " ", field.column) if field.text else ()


def _parts(text: str, separator: str, column: int) -> tuple[Field, ...]:
    found = []
    for part in text.split(separator):
        found.append(Field(part, column))
        column += len(part) + 1
    return tuple(found)


def _quoted_rows(written: str) -> Iterator[Row]:
    line = began = 1
    start = place = 0  # of the row, of the value
    fields: list[Field] = []
    while place < len(written) or fields:
        found = _VALUE.match(written, place)
        assert found is not None  # noqa: S101  the pattern matches an empty value
        quoted, plain, end = found.groups()
        column = place - start + 1
        if quoted is None:
            fields.append(Field(plain, column))
        else:
            fields.append(Field(quoted.replace('""', '"'), column + 1))
            line += quoted.count("\n")
        place = found.end()
        if end == ",":
            continue
        if fields != [("", 1)]:
            yield Row(began, tuple(fields))
        line += 1
        fields, start, began = [], place, line
