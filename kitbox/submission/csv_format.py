"""Writes a ranking as the competition's CSV, and reads one back."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError
from kitbox.records import Floats, Ranking, Strings, rows_of, strings

# Of a score in the long form, which has seven decimals: a thousand equals spread over 0.0001.
_STEP = 1e-7
# A number as every reader of CSVs takes it.
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def write(ranking: Ranking, competition: Competition) -> str:
    """Return the CSV of a ranking: the competition's header, a row a query, line feeds.

    In the long form a row an answer, with a score in [0, 1] that falls along a query's answers.
    Raises KitboxError for an answer that the form cannot hold.
    """
    form = competition.submission
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    if form.header:
        writer.writerow(form.header)
    shown = falling_scores(ranking.similarity) if form.layout == "long" else ranking.similarity
    for query_id, answers, similarity in zip(
        ranking.query_ids.tolist(), ranking.answers.tolist(), shown.tolist(), strict=True
    ):
        pairs = [(name, value) for name, value in zip(answers, similarity, strict=True) if name]
        if form.layout in ("joined", "scored"):
            _refuse_blanks(name for name, _ in pairs)
        match form.layout:
            case "columns":
                writer.writerow([query_id, *(name for name, _ in pairs)])
            case "joined":
                writer.writerow([query_id, " ".join(name for name, _ in pairs)])
            case "scored":  # float32 tells eight decimals apart at most
                scored = " ".join(f"{name} {value:.8f}" for name, value in pairs)
                writer.writerow([query_id, scored])
            case "long":
                writer.writerows((query_id, name, f"{value:.7f}") for name, value in pairs)
    return written.getvalue()


def falling_scores(similarity: Floats) -> NDArray[np.float64]:
    """Return scores (q, k) in [0, 1] for cosines: (1 + cosine) / 2, always falling along a row.

    A scorer that sorts by score knows no order among equals, so each of several equals is put one
    step of seven decimals below the one before.
    """
    places = np.arange(similarity.shape[1]) * _STEP
    cosines = np.where(np.isfinite(similarity), similarity, -1).astype(np.float64)
    scores = np.round(np.clip((1 + cosines) / 2, 0, 1), 7)
    room = places[::-1]  # what the answers after it need above 0
    fallen = np.minimum.accumulate(np.maximum(scores, room) + places, axis=1) - places
    return np.asarray(np.clip(fallen, 0, 1))


def read(data: str, competition: Competition) -> Ranking:
    """Return the ranking that a submission's CSV holds.

    Similarities are the scores that it gives, else they fall with the rank. Raises KitboxError for
    text that is not of the competition's form.
    """
    form = competition.submission
    try:
        rows = [row for row in csv.reader(io.StringIO(data, newline="")) if row]
    except csv.Error as error:
        raise KitboxError(f"the submission is no CSV: {error}") from error
    if form.header and rows:
        first, *rows = rows
        if tuple(first) != form.header:
            raise KitboxError(
                f"the header is {','.join(first)}, not {','.join(form.header)}; write it on line 1"
            )
    if not rows:
        raise KitboxError("the submission has no row")
    if form.layout == "long":
        return _read_long(rows)
    query_ids, answers = [row[0] for row in rows], [row[1:] for row in rows]
    if len(set(query_ids)) < len(query_ids):
        repeated, _ = Counter(query_ids).most_common(1)[0]
        raise KitboxError(f"query '{repeated}' has two rows; remove one")
    if form.layout != "columns":
        answers = [[word for word in " ".join(row).split(" ") if word] for row in answers]
    if form.layout != "scored":
        return _table(query_ids, answers, [[-rank for rank in range(len(row))] for row in answers])
    for query_id, row in zip(query_ids, answers, strict=True):
        if len(row) % 2:
            raise KitboxError(f"the answers of query '{query_id}' are not pairs 'label confidence'")
    scores = [[_number(value) for value in row[1::2]] for row in answers]
    return _table(query_ids, [row[0::2] for row in answers], scores)


def _read_long(rows: list[list[str]]) -> Ranking:
    found: dict[str, list[tuple[float, str]]] = {}
    for row in rows:
        if len(row) != 3:
            raise KitboxError(f"the row {','.join(row)} has {len(row)} columns, not 3")
        found.setdefault(row[0], []).append((_number(row[2]), row[1]))
    ordered = [sorted(pairs, key=lambda pair: -pair[0]) for pairs in found.values()]
    return _table(
        list(found),
        [[answer for _, answer in pairs] for pairs in ordered],
        [[score for score, _ in pairs] for pairs in ordered],
    )


def _table(
    query_ids: list[str], answers: list[list[str]], scores: Sequence[Sequence[float]]
) -> Ranking:
    width = max(*map(len, answers), 1)
    filled = [row + [""] * (width - len(row)) for row in answers]
    similarity = np.full((len(answers), width), -np.inf, dtype=np.float32)
    for row, given in enumerate(scores):
        similarity[row, : len(given)] = given
    return Ranking(strings(query_ids), np.array(filled, dtype=np.str_), similarity)


def rows_for_queries(ranking: Ranking, query_ids: Strings) -> Ranking:
    """Return a row for each of the given queries; one that is missing has no answer."""
    rows = rows_of(query_ids, ranking.query_ids)
    there = (rows >= 0)[:, None]
    return Ranking(
        query_ids,
        np.where(there, ranking.answers[rows], ""),
        np.where(there, ranking.similarity[rows], -np.inf).astype(np.float32),
    )


def parse_number(text: str) -> float | None:
    """Return the finite number that a text is, or None; Python itself would take 5_0 and ' 5'."""
    if _NUMBER.fullmatch(text) is None:
        return None
    value = float(text)
    return value if np.isfinite(value) else None


def _refuse_blanks(given: Iterable[str]) -> None:
    spaced = next((answer for answer in given if answer.split() != [answer]), None)
    if spaced is not None:
        raise KitboxError(
            f"answer '{spaced}' has a blank, which separates answers in this form; "
            'rename it, or set layout = "columns" in kitbox.toml'
        )


def _number(text: str) -> float:
    value = parse_number(text)
    if value is None:
        raise KitboxError(f"'{text}' is not a score; write a number")
    return value


# A value, quoted or not, and the comma or the line's end after it.
_VALUE = re.compile(r'(?:"([^"]*(?:""[^"]*)*)"|([^,\r\n]*))(,|\r\n|\r|\n|\Z)')


class CsvField(NamedTuple):
    """A value of a row, and the column from 1 at which its text begins."""

    text: str
    column: int


class CsvRow(NamedTuple):
    """The values of a row, and the line from 1 on which it begins."""

    line: int
    fields: tuple[CsvField, ...]


def read_rows(written: str) -> Iterator[CsvRow]:
    """Yield the rows of a CSV that are not empty; a quoted value may hold line ends.

    A quote that is not closed, or that other text follows, is read as a letter.
    """
    if '"' in written:
        yield from _quoted_rows(written)
        return
    lines = written.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for line, text in enumerate(lines, 1):
        if text:
            yield CsvRow(line, _parts(text, ",", 1))


def split_words(field: CsvField) -> tuple[CsvField, ...]:
    """Return the words of a value that blanks separate; two blanks have an empty word between."""
    return _parts(field.text, " ", field.column) if field.text else ()


def _parts(text: str, separator: str, column: int) -> tuple[CsvField, ...]:
    found = []
    for part in text.split(separator):
        found.append(CsvField(part, column))
        column += len(part) + 1
    return tuple(found)


def _quoted_rows(written: str) -> Iterator[CsvRow]:
    line = began = 1
    start = place = 0  # of the row, of the value
    fields: list[CsvField] = []
    while place < len(written) or fields:
        found = _VALUE.match(written, place)
        assert found is not None  # noqa: S101  the pattern matches an empty value
        quoted, plain, end = found.groups()
        column = place - start + 1
        if quoted is None:
            fields.append(CsvField(plain, column))
        else:
            fields.append(CsvField(quoted.replace('""', '"'), column + 1))
            line += quoted.count("\n")
        place = found.end()
        if end == ",":
            continue
        if fields != [("", 1)]:
            yield CsvRow(began, tuple(fields))
        line += 1
        fields, start, began = [], place, line
