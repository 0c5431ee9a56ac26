"""Reads and writes rankings in the CSV format of a competition."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kitbox import tables
from kitbox.competition import protocol
from kitbox.competition.protocol import PairList
from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError, more
from kitbox.records import Integers, Ranking, Similarities, Strings, rows_of, rows_of_many, strings

# The step between two scores of the long layout, which has seven decimals: a thousand equal scores
# spread over 0.0001.
_STEP = 1e-7
# Decimals of a pair's score, more than float32 cosines near 1 differ by.
PAIR_DECIMALS = 9
# Rows of pairs that are written at a time.
_BLOCK_ROWS = 100_000
# A number as every reader of CSVs takes it.
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
# The letters of such numbers by their code; numpy fills texts up with zeros.
_NUMERIC = np.isin(np.arange(128), [0, *map(ord, "+-.0123456789eE")])
# A value, quoted or not, and the comma or the line's end after it.
_VALUE = re.compile(r'(?:"([^"]*(?:""[^"]*)*)"|([^,\r\n]*))(,|\r\n|\r|\n|\Z)')


def write(ranking: Ranking, competition: Competition) -> str:
    """Return the CSV of a ranking: the competition's header, then a row for each query.

    The long layout has a row for each answer, with a score that falls along a query's answers.
    Lines end in line feeds. Raises KitboxError for an answer that the format cannot hold.
    """
    layout, header = competition.submission.layout, competition.header
    written = io.StringIO()
    writer = tables.csv_writer(written)
    if header:
        writer.writerow(header)
    split = protocol.split_answers(
        {*chain.from_iterable(ranking.answers.tolist())} - {""}, competition
    )
    scores = ranking.similarity
    if layout == "long":
        scores = falling_scores(ranking.similarity, unit=competition.submission.unit_scores)
    for query_id, answers, row in zip(
        ranking.query_ids.tolist(), ranking.answers.tolist(), scores.tolist(), strict=True
    ):
        pairs = [(name, value) for name, value in zip(answers, row, strict=True) if name]
        if split:  # the row of the first one is told
            protocol.refuse_split((name for name, _ in pairs), competition)
        match layout:
            case "columns":
                writer.writerow([query_id, *(name for name, _ in pairs)])
            case "joined":
                writer.writerow([query_id, " ".join(name for name, _ in pairs)])
            case "scored":  # float32 has eight significant decimals at most
                scored = " ".join(f"{name} {value:.8f}" for name, value in pairs)
                writer.writerow([query_id, scored])
            case "long":
                writer.writerows((query_id, name, f"{value:.7f}") for name, value in pairs)
    return written.getvalue()


def write_pairs(pairs: PairList, scores: Similarities, competition: Competition) -> str:
    """Return the CSV of the scores (p,) of pairs: the header, then a row for each pair in order."""
    written = io.StringIO()
    writer = tables.csv_writer(written)
    writer.writerow(competition.header)
    names = pairs.names
    for begin in range(0, len(pairs), _BLOCK_ROWS):
        part = slice(begin, begin + _BLOCK_ROWS)
        numbers = map(f"%.{PAIR_DECIMALS}f".__mod__, scores[part].tolist())
        writer.writerows(zip(*(column[part].tolist() for column in names), numbers, strict=True))
    return written.getvalue()


def read_pairs(data: str, pairs: PairList, competition: Competition) -> NDArray[np.float64]:
    """Return the score (p,) of each pair in a submission's CSV, whose rows may be in any order.

    Raises KitboxError for text in another format, for rows of no pair, for a pair without a row or
    with two, and for a score that is no number.
    """
    header = competition.header
    found = parse_pairs(data, header)
    if found is None:
        raise KitboxError(f"the submission has no rows of {len(header)} columns below its header")
    *names, texts = found
    row, other = pair_rows(pairs, names)
    if (row < 0).any():
        first = int(np.flatnonzero(row < 0)[0])
        name = ",".join(str(column[first]) for column in names)
        raise KitboxError(f"'{name}' is no pair{more(int((row < 0).sum()) - 1)}")
    if other.any():
        first = int(np.flatnonzero(other)[0])
        name = ",".join(str(column[first]) for column in names)
        raise KitboxError(f"pair '{name}' has two rows; remove one")
    if len(row) < len(pairs):
        missing = np.ones(len(pairs), dtype=np.bool_)
        missing[row] = False
        name = ",".join(str(column[missing][0]) for column in pairs.names)
        raise KitboxError(f"pair '{name}' has no row{more(int(missing.sum()) - 1)}")
    scores = np.empty(len(pairs))
    values = to_numbers(texts)
    if np.isnan(values).any():
        raise KitboxError(f"'{texts[np.isnan(values)][0]}' is not a similarity; write a number")
    scores[row] = values
    return scores


def parse_pairs(data: str, header: Sequence[str]) -> list[Strings] | None:
    """Return the columns (n,) of a CSV of pairs below its header, None where it is no such CSV."""
    first, _, rest = data.partition("\n")
    if next(tables.csv_reader(first), []) != list(header) or not rest.strip():
        return None
    if '"' not in rest:
        blocks = list(tables.parse_blocks(rest, tuple(range(len(header)))))
        whole = (
            bool(blocks) and sum(len(block[0]) for block in blocks) == rest.rstrip().count("\n") + 1
        )
        return [np.concatenate(column) for column in zip(*blocks, strict=True)] if whole else None
    rows = [row for row in tables.csv_reader(rest) if row]
    if not rows or any(len(row) != len(header) for row in rows):
        return None
    return [strings([row[place] for row in rows]) for place in range(len(header))]


def pair_rows(pairs: PairList, names: Sequence[Strings]) -> tuple[Integers, NDArray[np.bool_]]:
    """Return the pair (n,) of each row that `names (n,)` name, -1 for none, and repeats (n,)."""
    own = pairs.names
    if all(map(np.array_equal, own, names)):  # as kitbox writes them
        return np.arange(len(pairs)), np.zeros(len(pairs), dtype=np.bool_)
    keys, wanted = own[0], names[0]
    if len(own) == 2:  # the first column of a pair has no line end
        keys = np.char.add(np.char.add(own[0], "\n"), own[1])
        wanted = np.char.add(np.char.add(names[0], "\n"), names[1])
    row = rows_of_many(wanted, keys)
    repeat = np.zeros(len(row), dtype=np.bool_)
    known = np.flatnonzero(row >= 0)
    first = np.unique(row[known], return_index=True)[1]
    repeat[known] = True
    repeat[known[first]] = False
    return row, repeat


def to_numbers(texts: Strings) -> NDArray[np.float64]:
    """Return the finite numbers (n,) in texts, NaN for any other text; see `parse_number`."""
    letters = np.ascontiguousarray(texts).view(np.uint32).reshape(len(texts), -1)
    plain = _NUMERIC[np.minimum(letters, len(_NUMERIC) - 1)].all(axis=1)
    try:
        found = np.where(plain, texts, "nan").astype(np.float64)
    except ValueError:  # such as '' and '1e'
        return np.array([_number_or_nan(text) for text in texts.tolist()])
    return np.where(np.isfinite(found), found, np.nan)


def _number_or_nan(text: str) -> float:
    value = parse_number(text)
    return float("nan") if value is None else value


def scale_note(competition: Competition) -> str | None:
    """Return a sentence where the CSV has other numbers than the terminal, None elsewhere."""
    if not competition.submission.unit_scores or competition.task.answers == "pairs":
        return None
    return (
        "the scores in the CSV are (1 + cosine) / 2, from 0 to 1, as this format demands; "
        "everywhere else similarities and thresholds are cosines"
    )


def falling_scores(similarity: Similarities, *, unit: bool) -> NDArray[np.float64]:
    """Return scores (q, k) of similarities (q, k), falling along a row.

    They are the similarities, or where `unit`, (1 + cosine) / 2 in [0, 1]. The order of equal
    scores is undefined to a scorer that sorts, so each of several equal ones is one step of seven
    decimals below the one before.
    """
    steps = np.arange(similarity.shape[1]) * _STEP
    if not unit:
        own = np.round(similarity.astype(np.float64), 7)
        return np.asarray(np.minimum.accumulate(own + steps, axis=1) - steps)
    cosines = np.where(np.isfinite(similarity), similarity, -1).astype(np.float64)
    scores = np.round(np.clip((1 + cosines) / 2, 0, 1), 7)
    room = steps[::-1]  # what the answers after it need above 0
    falling = np.minimum.accumulate(np.maximum(scores, room) + steps, axis=1) - steps
    return np.asarray(np.clip(falling, 0, 1))


class SubmittedRow(NamedTuple):
    """The answers of a file to one query, best first, and their scores, which fall."""

    query_id: str
    answers: list[str]
    scores: list[float]


def read(data: str, competition: Competition) -> Ranking:
    """Return the ranking in a submission's CSV.

    Similarities are its scores, or fall with the rank where it has none. Raises KitboxError for
    text in another format, and for an answer that is repeated.
    """
    return to_ranking(read_submission(data, competition))


def to_ranking(rows: Sequence[SubmittedRow]) -> Ranking:
    """Return rows as a ranking, filled up to the same width."""
    width = max(1, *(len(row.answers) for row in rows))
    filled = [row.answers + [""] * (width - len(row.answers)) for row in rows]
    similarity = np.full((len(rows), width), -np.inf)
    for place, row in enumerate(rows):
        similarity[place, : len(row.scores)] = row.scores
    query_ids = strings([row.query_id for row in rows])
    return Ranking(query_ids, np.array(filled, dtype=np.str_), similarity)


def read_submission(data: str, competition: Competition) -> list[SubmittedRow]:
    """Return the rows of a submission's CSV, one for each query; an answer may be repeated.

    Raises KitboxError for text in another format.
    """
    layout, header = competition.submission.layout, competition.header
    try:
        rows = [row for row in tables.csv_reader(data) if row]
    except csv.Error as error:
        raise KitboxError(f"the submission is no CSV: {error}") from error
    if header and rows:
        first, *rows = rows
        if tuple(first) not in (header, competition.submission.header):
            raise KitboxError(
                f"the header is {','.join(first)}, not {','.join(header)}; write it on line 1"
            )
    if not rows:
        raise KitboxError("the submission has no row")
    if layout == "long":
        return _read_long(rows)
    query_ids, answers = [row[0] for row in rows], [row[1:] for row in rows]
    if len(set(query_ids)) < len(query_ids):
        repeated, _ = Counter(query_ids).most_common(1)[0]
        raise KitboxError(f"query '{repeated}' has two rows; remove one")
    if layout != "columns":
        answers = [[word for word in " ".join(row).split(" ") if word] for row in answers]
    if layout != "scored":
        return [
            SubmittedRow(query_id, row, [-float(rank) for rank in range(len(row))])
            for query_id, row in zip(query_ids, answers, strict=True)
        ]
    for query_id, row in zip(query_ids, answers, strict=True):
        if len(row) % 2:
            raise KitboxError(f"the answers of query '{query_id}' are not pairs 'label confidence'")
    return [
        SubmittedRow(query_id, row[0::2], [_score(value) for value in row[1::2]])
        for query_id, row in zip(query_ids, answers, strict=True)
    ]


def rows_for_queries(ranking: Ranking, query_ids: Strings) -> Ranking:
    """Return the rows of the given queries, in their order; a missing one has no answers."""
    rows = rows_of(query_ids, ranking.query_ids)
    known = (rows >= 0)[:, None]
    return Ranking(
        query_ids,
        np.where(known, ranking.answers[rows], ""),
        np.where(known, ranking.similarity[rows], -np.inf),
    )


def _read_long(rows: list[list[str]]) -> list[SubmittedRow]:
    by_query: dict[str, list[tuple[float, str]]] = {}
    for row in rows:
        if len(row) != 3:
            raise KitboxError(f"the row {','.join(row)} has {len(row)} columns, not 3")
        by_query.setdefault(row[0], []).append((_score(row[2]), row[1]))
    return [
        SubmittedRow(query_id, [answer for _, answer in ordered], [score for score, _ in ordered])
        for query_id, pairs in by_query.items()
        for ordered in [sorted(pairs, key=lambda pair: -pair[0])]
    ]


def _score(text: str) -> float:
    value = parse_number(text)
    if value is None:
        raise KitboxError(f"'{text}' is not a score; write a number")
    return value


def parse_number(text: str) -> float | None:
    """Return the finite number in a text, or None; Python alone would accept 5_0 and ' 5'."""
    if _NUMBER.fullmatch(text) is None:
        return None
    value = float(text)
    return value if np.isfinite(value) else None


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
        yield from _read_quoted_rows(written)
        return
    lines = written.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for line, text in enumerate(lines, 1):
        if text:
            yield CsvRow(line, _split(text, ",", 1))


def split_words(field: CsvField) -> tuple[CsvField, ...]:
    """Return the words of a value, separated by blanks; between two blanks is an empty word."""
    return _split(field.text, " ", field.column) if field.text else ()


def _split(text: str, separator: str, column: int) -> tuple[CsvField, ...]:
    fields = []
    for part in text.split(separator):
        fields.append(CsvField(part, column))
        column += len(part) + 1
    return tuple(fields)


def _read_quoted_rows(written: str) -> Iterator[CsvRow]:
    line = row_line = 1
    row_start = start = 0  # offsets of the row and of the value
    fields: list[CsvField] = []
    while start < len(written) or fields:
        value = _VALUE.match(written, start)
        assert value is not None  # noqa: S101  the pattern matches an empty value
        quoted, plain, end = value.groups()
        column = start - row_start + 1
        if quoted is None:
            fields.append(CsvField(plain, column))
        else:
            fields.append(CsvField(quoted.replace('""', '"'), column + 1))
            line += quoted.count("\n")
        start = value.end()
        if end == ",":
            continue
        if fields != [("", 1)]:
            yield CsvRow(row_line, tuple(fields))
        line += 1
        fields, row_start, row_line = [], start, line
