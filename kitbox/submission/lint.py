"""Checks whether the leaderboard would accept a file; findings have a line, a column and a fix."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kitbox.competition import protocol
from kitbox.competition.lists import ListedImages
from kitbox.competition.protocol import PairList
from kitbox.competition.settings import Accepted, Competition
from kitbox.errors import KitboxError, counted, did_you_mean, more, one_line
from kitbox.records import ImageSet, Integers, LabelledImages, Search
from kitbox.scoring import pair_similarity
from kitbox.submission import csv_format
from kitbox.submission.csv_format import CsvField, CsvRow

# The byte-order mark of UTF-8.
_BOM = b"\xef\xbb\xbf"
# The most known words that a wrong word is compared with, and the most wrong words; each
# comparison takes milliseconds.
_MOST_COMPARED = 5000
# Names of a header that are told; of a longer one the first three and the last.
_MOST_NAMES = 6
_MOST_SEARCHES = 50
# Findings of one kind about the rows of pairs.
_MOST_OF_A_KIND = 10


@dataclass(frozen=True)
class LintFinding:
    """A reason why a leaderboard would refuse a file or score it wrongly, with its fix.

    A "warning" is about what its scorer takes, but scores lower than need be or by chance.
    """

    line: int
    column: int
    what: str
    level: Literal["error", "warning"] = "error"

    def __post_init__(self) -> None:
        object.__setattr__(self, "what", one_line(self.what))

    def __str__(self) -> str:
        level = "warning: " if self.level == "warning" else ""
        return f"line {self.line}, column {self.column}: {level}{self.what}"


def errors(findings: Iterable[LintFinding]) -> list[LintFinding]:
    """Return the findings for which a leaderboard would refuse a file."""
    return [finding for finding in findings if finding.level == "error"]


@dataclass(frozen=True, kw_only=True)
class ExpectedAnswers:
    """The queries in their order (query → row), and their possible answers.

    `kind` of answer is "label", "image" or "cluster". `allowed` are the answers of each search,
    `search_of` the search of each query, and `image_of` its image. `accepts` is what the
    leaderboard takes, and `prefixes` are what the clusters of each search must begin with, if any.
    """

    kind: str
    row_of: dict[str, int]
    image_of: dict[str, str]
    search_of: dict[str, int]
    allowed: tuple[frozenset[str], ...]
    least: int
    most: int
    with_itself: bool
    accepts: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()

    def level(self, fault: Accepted) -> Literal["error", "warning"]:
        """Return the level of a finding that the leaderboard may take."""
        return "warning" if fault in self.accepts else "error"

    def answers(self, query: str) -> Collection[str]:
        """Return the possible answers to a query."""
        return self.allowed[self.search_of[query]]

    def own(self, query: str) -> str | None:
        """Return the answer that is the query itself, or None where answers are not images."""
        return self.image_of[query] if self.kind == "image" else None

    def allows(self, answer: str, query: str) -> bool:
        """Return whether an answer is possible for a query; a cluster may have any name."""
        if self.kind == "cluster":
            return bool(answer.strip())
        if answer not in self.allowed[self.search_of[query]]:
            return False
        return self.with_itself or self.kind == "label" or answer != self.image_of[query]

    def counts(self, query: str) -> tuple[int, int]:
        """Return the least and the largest number of answers to a query."""
        if self.kind == "cluster":
            return 1, 1
        answers = self.answers(query)
        possible = len(answers) - (self.own(query) in answers and not self.with_itself)
        return min(self.least, possible), min(self.most, possible)


@dataclass
class _Suggestions:
    """Suggests the known words nearest to wrong ones, for a limited number of wrong ones."""

    left: int = _MOST_SEARCHES

    def near(self, word: str, known: Collection[str]) -> str:
        """Return '; did you mean X?', or '' where no word is near or the limit is reached."""
        if not self.left or len(known) >= _MOST_COMPARED:
            return ""
        self.left -= 1
        longer = next((name for name in sorted(known) if name.startswith(f"{word} ")), None)
        if longer is not None and word:
            return f"; '{longer}' has a blank, which separates answers: rename it"
        return did_you_mean(word, known)


def lint_file(
    path: Path,
    competition: Competition,
    listed: ListedImages,
    earlier: Mapping[str, str] | None = None,
) -> list[LintFinding]:
    """Return the findings of a file; raise KitboxError where it cannot be read.

    `earlier` are the submissions that were sent before, by the sha256 of their bytes.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise KitboxError(f"cannot read {path}: {error.strerror}") from error
    labelled, test = listed.labelled, listed.test
    searches = (
        ()
        if test is None
        else protocol.leaderboard_searches(test, labelled, listed.index, competition)
    )
    found = lint(data, competition, labelled, test, searches)
    same = (earlier or {}).get(sha256(data).hexdigest())
    if same is not None:
        what = f"these bytes were sent before, as {same}, and would score the same; send another "
        found = [LintFinding(1, 1, what + "submission, or upload with --again"), *found]
    return found


def lint(
    data: bytes,
    competition: Competition,
    labelled: LabelledImages,
    test: ImageSet | None,
    searches: tuple[Search, ...],
) -> list[LintFinding]:
    """Return the findings of a submission's bytes, in the order of lines and columns."""
    if test is None:
        raise KitboxError("this competition has no test images; set images.test_folder")
    found = list(_check_bytes(data, competition))
    try:
        written = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        what = f"not UTF-8 at byte {error.start}; save it as UTF-8"
        return [*found, LintFinding(*_position(data, error.start), what)]
    if competition.task.answers == "pairs":
        found += _check_pairs(written, competition, searches)
        return sorted(found, key=lambda finding: (finding.line, finding.column))
    expected = expected_answers(competition, labelled, test, searches)
    rows = csv_format.read_rows(written)
    header = competition.header
    first = next(rows, None) if header else None
    names = () if first is None else tuple(field.text for field in first.fields)
    if names != header:
        found.append(LintFinding(1, 1, _wrong_header(names, header)))
    if first is not None and names[0] in expected.row_of:  # no header, but a query
        rows = chain([first], rows)
    if competition.submission.layout == "long":
        found += _check_long_rows(rows, expected, unit=competition.submission.unit_scores)
    else:
        found += _check_rows(rows, competition.submission.layout, expected)
    return sorted(found, key=lambda finding: (finding.line, finding.column))


def _wrong_header(names: tuple[str, ...], header: tuple[str, ...]) -> str:
    """Return the text of the finding about a header; one of many columns is cut short."""

    def short(columns: tuple[str, ...]) -> str:
        if len(columns) <= _MOST_NAMES:
            return ",".join(columns) or "missing"
        return f"{','.join(columns[:3])},…,{columns[-1]}"

    counts = ""
    if len(header) > 3 and 0 < len(names) != len(header):
        noun = "column" if len(names) == 1 else "columns"
        counts = f" ({len(names)} {noun} of {len(header)})"
    return f"the header is {short(names)}, not {short(header)}{counts}; write it on line 1"


def _check_bytes(data: bytes, competition: Competition) -> Iterator[LintFinding]:
    if data.startswith(_BOM):
        what = "the file begins with a byte-order mark; save it as UTF-8 without one"
        yield LintFinding(1, 1, what)
    at = data.find(b"\r")
    if at >= 0:
        ends = "CRLF" if data[at + 1 : at + 2] == b"\n" else "a carriage return alone"
        yield LintFinding(
            *_position(data, at), f"lines end in {ends}; save it with bare line feeds"
        )
    at = data.find(b"\0")
    if at >= 0:
        yield LintFinding(*_position(data, at), "a null byte; save the file as plain text")
    largest = competition.submission.largest_mb
    if len(data) > largest * 1e6:
        what = (
            f"the file has {len(data) / 1e6:.1f} MB, more than submission.largest_mb = "
            f"{largest:g}; name fewer answers, or raise it if the leaderboard takes more"
        )
        yield LintFinding(1, 1, what)


def _position(data: bytes, at: int) -> tuple[int, int]:
    """Return the line and the column, in bytes and from 1, of an offset in a file."""
    return data.count(b"\n", 0, at) + 1, at - data.rfind(b"\n", 0, at)


def _check_rows(
    rows: Iterator[CsvRow], layout: str, expected: ExpectedAnswers
) -> Iterator[LintFinding]:
    """Check the layouts with one row for each query."""
    suggestions, seen, before, line = _Suggestions(), dict[str, int](), -1, 1
    confidences: list[tuple[int, CsvField]] = []
    for line, fields in rows:
        query = fields[0]
        if query.text not in expected.row_of:
            yield _unknown_query(query, line, expected, suggestions)
            continue
        if query.text in seen:
            what = f"query '{query.text}' is on line {seen[query.text]} already; remove one row"
            yield LintFinding(line, query.column, what)
        else:
            yield from _check_order(query, line, before, expected)
            seen[query.text], before = line, expected.row_of[query.text]
        if layout != "columns" and len(fields) != 2:
            yield LintFinding(line, 1, _wrong_columns(len(fields), 2))
        else:
            yield from _check_answers(line, fields, layout, expected, suggestions)
            if layout == "scored":
                confidences += [(line, field) for field in csv_format.split_words(fields[1])[1::2]]
    yield from _check_all_equal(confidences)
    yield from _check_missing(seen, line, expected)


def _check_answers(
    line: int,
    fields: tuple[CsvField, ...],
    layout: str,
    expected: ExpectedAnswers,
    suggestions: _Suggestions,
) -> Iterator[LintFinding]:
    """Check the answers in a row; of several equal findings only the first is yielded."""
    query = fields[0].text
    answers = fields[1:] if layout == "columns" else csv_format.split_words(fields[1])
    column = fields[1].column if len(fields) > 1 else 1
    if layout == "scored":
        yield from _check_confidences(line, answers)
        answers = answers[0::2]
    yield from _check_count(query, answers, line, column, expected)
    seen: set[str] = set()
    repeated = wrong = False
    for answer in answers:
        if answer.text in seen and not repeated:
            what = f"answer '{answer.text}' is repeated; name another"
            yield LintFinding(line, answer.column, what)
            repeated = True
        seen.add(answer.text)
        if not wrong and not expected.allows(answer.text, query):
            yield _wrong_answer(query, answer, line, expected, suggestions)
            wrong = True
    if answers:
        yield from _check_prefix(query, answers[0], line, expected)
    yield from _check_itself(query, answers, line, column, expected)


def _check_confidences(line: int, words: tuple[CsvField, ...]) -> Iterator[LintFinding]:
    if len(words) % 2:
        what = "a label has no confidence; write 'label confidence'"
        yield LintFinding(line, words[-1].column, what)
    for text, column in words[1::2]:
        if csv_format.parse_number(text) is None:
            yield LintFinding(line, column, f"'{text}' is not a confidence; write a number")


def _check_all_equal(confidences: list[tuple[int, CsvField]]) -> Iterator[LintFinding]:
    """Check that the confidences of a file, each with its line, are not all equal."""
    if (
        len(confidences) > 1
        and len({csv_format.parse_number(field.text) for _, field in confidences}) == 1
    ):
        line, (text, column) = confidences[0]
        what = f"all answers have the confidence {text}, which gives no order; "
        yield LintFinding(line, column, what + "give surer answers a higher confidence")


def _check_long_rows(
    rows: Iterator[CsvRow], expected: ExpectedAnswers, *, unit: bool
) -> Iterator[LintFinding]:
    """Check the layout with one row for each answer; `unit` scores lie in [0, 1]."""
    suggestions, before, last, line = _Suggestions(), -1, "", 1
    by_query: dict[str, list[CsvRow]] = {}
    for line, fields in rows:
        query, row = fields[0], CsvRow(line, fields)
        if len(fields) != 3:
            yield LintFinding(line, 1, _wrong_columns(len(fields), 3))
        elif query.text not in expected.row_of:
            yield _unknown_query(query, line, expected, suggestions)
        elif query.text not in by_query:
            yield from _check_order(query, line, before, expected)
            by_query[query.text], before = [row], expected.row_of[query.text]
        else:
            if query.text != last:
                what = f"rows of query '{query.text}' are apart; put them one after another"
                yield LintFinding(line, query.column, what, expected.level("any-order"))
            by_query[query.text].append(row)
        last = query.text if query.text in by_query else last
    for name, own in by_query.items():
        yield from _check_long_answers(name, own, expected, suggestions)
        yield from _check_scores(name, own, unit=unit)
    yield from _check_missing(by_query, line, expected)


def _check_long_answers(
    query: str, own: list[CsvRow], expected: ExpectedAnswers, suggestions: _Suggestions
) -> Iterator[LintFinding]:
    """Check the answers in the rows of a query."""
    answers = [row.fields[1] for row in own]
    yield from _check_count(query, answers, own[0].line, answers[0].column, expected)
    seen: dict[str, int] = {}
    for (line, _), answer in zip(own, answers, strict=True):
        if answer.text in seen:
            what = f"answer '{answer.text}' is on line {seen[answer.text]} already; name another"
            yield LintFinding(line, answer.column, what)
        elif not expected.allows(answer.text, query):
            yield _wrong_answer(query, answer, line, expected, suggestions)
        seen[answer.text] = line
    yield from _check_itself(query, answers, own[0].line, answers[0].column, expected)


def _check_pairs(
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
        yield LintFinding(1, 1, _wrong_header(names, header))
    if first is not None and names[:-1] in row_of:  # no header, but a pair
        rows = chain([first], rows)
    seen: dict[tuple[str, ...], int] = {}
    scores, lines = np.full(len(pairs), np.nan), np.zeros(len(pairs), dtype=np.int64)
    before, line = -1, 1
    for line, fields in rows:
        if len(fields) != len(header):
            few.add("columns", LintFinding(line, 1, _wrong_columns(len(fields), len(header))))
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


def _check_scores(query: str, own: list[CsvRow], *, unit: bool) -> Iterator[LintFinding]:
    """Check the scores in the rows of a query."""
    values, wanted = set(), " from 0 to 1" if unit else ""
    for line, (_, _, (text, column)) in own:
        value = csv_format.parse_number(text)
        values.add(value)
        if value is None:
            yield LintFinding(line, column, f"'{text}' is not a score; write a number{wanted}")
        elif unit and not 0 <= value <= 1:
            what = f"score {text} is out of range; scores are from 0 to 1"
            yield LintFinding(line, column, what)
    if len(own) > 1 and len(values) == 1:
        text, column = own[0].fields[2]
        what = f"all answers of '{query}' have the score {text}, which gives no order; "
        yield LintFinding(own[0].line, column, what + "let the scores fall along the answers")
    elif len(values) < len(own):
        yield from _check_ties(query, own)


def _check_ties(query: str, own: list[CsvRow]) -> Iterator[LintFinding]:
    """Check that no answers of a query have equal scores; the first that has one is told."""
    first: dict[float, int] = {}
    ties = []
    for row in own:
        value = csv_format.parse_number(row.fields[2].text)
        if value is not None and first.setdefault(value, row.line) != row.line:
            ties.append((row, first[value]))
    if ties:
        row, line = ties[0]
        text, column = row.fields[2]
        what = (
            f"score {text} of '{query}' is on line {line} already{more(len(ties) - 1)}; equal "
            "scores have no order and count as one group; let the scores fall along the answers"
        )
        yield LintFinding(row.line, column, what, "warning")


def _unknown_query(
    query: CsvField, line: int, expected: ExpectedAnswers, suggestions: _Suggestions
) -> LintFinding:
    """Return the finding of a row whose query does not exist."""
    if query.text.strip() in expected.row_of:
        advice = "; remove the blanks around it"
    else:
        advice = suggestions.near(query.text, expected.row_of) or "; remove its row"
    return LintFinding(line, query.column, f"'{query.text}' is not a query{advice}")


def _check_order(
    query: CsvField, line: int, before: int, expected: ExpectedAnswers
) -> Iterator[LintFinding]:
    """Check that a query comes after row `before`, that of the query before it in the file."""
    row = expected.row_of[query.text]
    if row < before:
        what = f"query '{query.text}' should be number {row + 1} of the queries; "
        what += "sort the rows in the order of the queries"
        yield LintFinding(line, query.column, what, expected.level("any-order"))


def _check_missing(
    seen: Mapping[str, object], last: int, expected: ExpectedAnswers
) -> Iterator[LintFinding]:
    """Check that each query has a row; `last` is the last line."""
    missing = [query for query in expected.row_of if query not in seen]
    if missing:
        what = f"query '{missing[0]}' is missing; add its row{more(len(missing) - 1)}"
        yield LintFinding(last, 1, what)


def _check_count(
    query: str, answers: Sequence[CsvField], line: int, column: int, expected: ExpectedAnswers
) -> Iterator[LintFinding]:
    """Check the number of answers to a query."""
    least, most = expected.counts(query)
    if least <= len(answers) <= most:
        return
    wanted = f"{most}" if least == most else f"{least} to {most}"
    advice = "name more" if len(answers) < least else "leave the last ones out"
    noun = "answer" if len(answers) == 1 else "answers"
    level: Literal["error", "warning"] = "error"
    if len(answers) < least:
        level = expected.level("fewer" if answers else "none")
    yield LintFinding(line, column, f"{len(answers)} {noun}, not {wanted}; {advice}", level)


def _check_prefix(
    query: str, answer: CsvField, line: int, expected: ExpectedAnswers
) -> Iterator[LintFinding]:
    """Check that a cluster begins as the organisers demand, with the query's own group."""
    if not expected.prefixes or not answer.text.strip():
        return
    own = expected.prefixes[expected.search_of[query]]
    if answer.text.startswith(own):
        return
    other = next((begin for begin in expected.prefixes if answer.text.startswith(begin)), None)
    if other is None:
        what = f"cluster '{answer.text}' does not begin with '{own}', which is demanded; rename it"
        yield LintFinding(line, answer.column, what)
    else:
        what = f"cluster '{answer.text}' is of another group than query '{query}'; begin it with "
        yield LintFinding(line, answer.column, f"{what}'{own}'", "warning")


def _wrong_answer(
    query: str, answer: CsvField, line: int, expected: ExpectedAnswers, suggestions: _Suggestions
) -> LintFinding:
    """Return the finding of an answer that is not possible for a query."""
    if answer.text == expected.own(query):
        what = f"query '{query}' is among its own answers; leave it out"
    elif not answer.text.strip():
        what = "an answer is empty; name one, and put one blank between answers"
    elif answer.text != answer.text.strip():
        what = f"answer '{answer.text}' has blanks around it; remove them"
    else:
        kind = "a label" if expected.kind == "label" else "an image of the gallery"
        advice = suggestions.near(answer.text, expected.answers(query)) or "; name one that is"
        what = f"answer '{answer.text}' is not {kind}{advice}"
    return LintFinding(line, answer.column, what)


def _check_itself(
    query: str, answers: Sequence[CsvField], line: int, column: int, expected: ExpectedAnswers
) -> Iterator[LintFinding]:
    """Check that a query is among its own matches, where it counts as one."""
    if expected.with_itself and expected.own(query) not in {field.text for field in answers}:
        what = f"query '{query}' is not among its own matches; put it first"
        yield LintFinding(line, column, what)


def _wrong_columns(count: int, wanted: int) -> str:
    """Return the text of a finding about the number of columns."""
    noun = "column" if count == 1 else "columns"
    advice = (
        "put quotes around a name that has a comma" if count > wanted else "add what is missing"
    )
    return f"{count} {noun}, not {wanted}; {advice}"


def expected_answers(
    competition: Competition, labelled: LabelledImages, test: ImageSet, searches: tuple[Search, ...]
) -> ExpectedAnswers:
    """Return the queries and answers that a competition expects."""
    task = competition.task
    # kitbox writes at least task.least matches, but a query that names only itself is accepted
    least = (
        min(task.min_answers, 1)
        if task.answers == "matches" and task.with_itself
        else task.min_answers
    )
    query_ids = protocol.query_ids(searches, test)
    image_of: dict[str, str] = {}
    search_of: dict[str, int] = {}
    for number, search in enumerate(searches):
        pairs = zip(search.query_ids.tolist(), search.query_images.tolist(), strict=True)
        for query_id, image in pairs:
            image_of[query_id], search_of[query_id] = image, number
    if task.answers in ("labels", "label"):
        kind, allowed = "label", [_labels(search, labelled, competition) for search in searches]
    else:
        kind = "cluster" if task.answers == "clusters" else "image"
        allowed = [frozenset(search.gallery_images.tolist()) for search in searches]
    prefix = competition.submission.cluster_prefix
    return ExpectedAnswers(
        kind=kind,
        row_of={query: row for row, query in enumerate(query_ids.tolist())},
        image_of=image_of,
        search_of=search_of,
        allowed=tuple(allowed),
        least=least,
        most=task.k,
        with_itself=task.with_itself,
        accepts=frozenset(competition.submission.accepts),
        prefixes=()
        if prefix is None
        else tuple(prefix.replace("{group}", search.name) for search in searches),
    )


def _labels(search: Search, labelled: LabelledImages, competition: Competition) -> frozenset[str]:
    unknown = competition.images.unknown_label
    found = set(labelled.labels[np.isin(labelled.image_ids, search.gallery_images)].tolist())
    if unknown and competition.uses_threshold:
        return frozenset(found | {unknown})
    return frozenset(found - {unknown})
