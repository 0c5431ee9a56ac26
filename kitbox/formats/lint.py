"""Checks whether the leaderboard would accept a file; findings have a line, a column and a fix."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Literal

from kitbox.competition import protocol
from kitbox.competition.lists import ListedImages
from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError, did_you_mean, more
from kitbox.formats import csv_format
from kitbox.formats.csv_format import CsvField, CsvRow
from kitbox.formats.expected_answers import ExpectedAnswers, expected_answers
from kitbox.formats.lint_findings import LintFinding, wrong_columns, wrong_header
from kitbox.formats.pair_lint import check_pairs
from kitbox.records import ImageSet, LabelledImages, Search

# The byte-order mark of UTF-8.
_BOM = b"\xef\xbb\xbf"
# The most known words that a wrong word is compared with, and the most wrong words; each
# comparison takes milliseconds.
_MOST_COMPARED = 5000
_MOST_SEARCHES = 50


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
        found += check_pairs(written, competition, searches)
        return sorted(found, key=lambda finding: (finding.line, finding.column))
    expected = expected_answers(competition, labelled, test, searches)
    rows = csv_format.read_rows(written)
    header = competition.header
    first = next(rows, None) if header else None
    names = () if first is None else tuple(field.text for field in first.fields)
    if names != header:
        found.append(LintFinding(1, 1, wrong_header(names, header)))
    if first is not None and names[0] in expected.row_of:  # no header, but a query
        rows = chain([first], rows)
    if competition.submission.layout == "long":
        found += _check_long_rows(rows, expected, unit=competition.submission.unit_scores)
    else:
        found += _check_rows(rows, competition.submission.layout, expected)
    return sorted(found, key=lambda finding: (finding.line, finding.column))


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
            yield LintFinding(line, 1, wrong_columns(len(fields), 2))
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
            yield LintFinding(line, 1, wrong_columns(len(fields), 3))
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
