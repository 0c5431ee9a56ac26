"""Lint of a submission of pairs: a similarity for each pair that the leaderboard asks for."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kitbox.competition import protocol
from kitbox.competition.protocol import PairList
from kitbox.competition.settings import Competition
from kitbox.errors import counted, more
from kitbox.formats import csv_format
from kitbox.formats.lint_findings import LintFinding, wrong_columns, wrong_header
from kitbox.records import Integers, Search
from kitbox.scoring import pair_similarity

# Findings of one kind about the rows of pairs.
_MOST_OF_A_KIND = 10


def check_pairs(
    written: str, competition: Competition, searches: tuple[Search, ...]
) -> Iterator[LintFinding]:
    """Check a file of pairs: whole columns at once, and row by row where one has a fault."""
    pairs = protocol.submitted_pairs(searches, competition)
    unit = competition.submission.unit_scores
    columns = csv_format.parse_pairs(written, competition.header)
    if columns is not None and len(columns[0]) == written.rstrip("\r\n").count("\n"):
        *names, texts = columns
        row, repeat = csv_format.pair_rows(pairs, names)
        scores = csv_format.to_numbers(texts)
        wrong = (row < 0) | repeat | np.isnan(scores)
        if unit:
            wrong |= (scores < 0) | (scores > 1)
        if not wrong.any() and len(row) == len(pairs) and (np.diff(row) > 0).all():
            yield from _check_equal_pairs(pairs, scores[row], np.arange(len(pairs)) + 2)
            return
    yield from _check_pair_rows(written, competition, pairs, unit=unit)


def _check_pair_rows(
    written: str, competition: Competition, pairs: PairList, *, unit: bool
) -> Iterator[LintFinding]:
    """Check each row of a file of pairs; of many findings of a kind the first ten are yielded."""
    header, few = competition.header, _FirstOfEachKind()
    rows = csv_format.read_rows(written)
    first = next(rows, None)
    names = () if first is None else tuple(field.text for field in first.fields)
    names_of = zip(*(column.tolist() for column in pairs.names), strict=True)
    row_of = {name: row for row, name in enumerate(names_of)}
    if names != header:
        yield LintFinding(1, 1, wrong_header(names, header))
    if first is not None and names[:-1] in row_of:  # no header, but a pair
        rows = chain([first], rows)
    seen: dict[tuple[str, ...], int] = {}
    scores, lines = np.full(len(pairs), np.nan), np.zeros(len(pairs), dtype=np.int64)
    before, line = -1, 1
    for line, fields in rows:
        if len(fields) != len(header):
            few.add("columns", LintFinding(line, 1, wrong_columns(len(fields), len(header))))
            continue
        name, (text, column) = tuple(field.text for field in fields[:-1]), fields[-1]
        shown = ",".join(name)
        if name not in row_of:
            what = f"'{shown}' is no pair; remove its row"
            few.add("foreign", LintFinding(line, 1, what))
            continue
        if name in seen:
            what = f"pair '{shown}' is on line {seen[name]} already; remove one row"
            few.add("repeated", LintFinding(line, 1, what))
            continue
        row = row_of[name]
        if row < before:
            what = f"pair '{shown}' should be row {row + 1} of the pairs; sort the rows in their "
            any_order = "any-order" in competition.submission.accepts
            level: Literal["error", "warning"] = "warning" if any_order else "error"
            few.add("order", LintFinding(line, 1, f"{what}order", level))
        seen[name], before = line, row
        value = csv_format.parse_number(text)
        if value is None:
            wanted = " from 0 to 1" if unit else ""
            what = f"'{text}' is not a similarity; write a number{wanted}"
            few.add("number", LintFinding(line, column, what))
        elif unit and not 0 <= value <= 1:
            what = f"similarity {text} is out of range; similarities are from 0 to 1"
            few.add("range", LintFinding(line, column, what))
        else:
            scores[row], lines[row] = value, line
    missing = [name for name in row_of if name not in seen]
    if missing:
        what = f"pair '{','.join(missing[0])}' is missing; add its row{more(len(missing) - 1)}"
        few.add("missing", LintFinding(line, 1, what))
    yield from few.findings()
    there = np.flatnonzero(~np.isnan(scores))
    yield from _check_equal_pairs(pairs, scores, lines, there)


@dataclass
class _FirstOfEachKind:
    """Collects findings: the first ten of each kind, and how many more there are."""

    found: dict[str, list[LintFinding]] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)

    def add(self, kind: str, finding: LintFinding) -> None:
        """Keep a finding, or count it."""
        own = self.found.setdefault(kind, [])
        if len(own) < _MOST_OF_A_KIND:
            own.append(finding)
        else:
            self.left[kind] = self.left.get(kind, 0) + 1

    def findings(self) -> Iterator[LintFinding]:
        """Yield the findings; the last of a kind says how many more there are."""
        for kind, own in self.found.items():
            yield from own[:-1]
            yield replace(own[-1], what=own[-1].what + more(self.left.get(kind, 0)))


def _check_equal_pairs(
    pairs: PairList,
    scores: NDArray[np.float64],
    lines: Integers,
    there: Integers | None = None,
) -> Iterator[LintFinding]:
    """Check the similarities (p,) of the pairs that are `there` for equal ones of one query."""
    rows = np.arange(len(pairs)) if there is None else there
    if len(rows) < 2:
        return
    if np.unique(scores[rows]).size == 1:
        what = (
            f"all pairs have the similarity {scores[rows[0]]:g}, which gives no order; give likely "
            "pairs a higher one"
        )
        yield LintFinding(int(lines[rows[0]]), 1, what)
        return
    ties = pair_similarity.count_ties(pairs.numbered_queries[rows], scores[rows])
    if ties:
        what = (
            f"{counted(ties, 'pair')} of {len(rows)} have the similarity of another pair of their "
            "query; equal similarities have no order and count together"
        )
        yield LintFinding(int(lines[rows[0]]), 1, what, "warning")
