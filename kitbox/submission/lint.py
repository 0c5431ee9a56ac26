"""Says whether the leaderboard would take a file: by line and column, with the fix."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path

import numpy as np

from kitbox.competition import protocol
from kitbox.competition.lists import ListedImages
from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError, did_you_mean, more
from kitbox.records import ImageSet, LabelledImages, Search
from kitbox.submission import csv_format
from kitbox.submission.csv_format import CsvField, CsvRow


@dataclass(frozen=True)
class ExpectedAnswers:
    """The queries in their order (query → row), and what may answer them.

    `kind` of answer is "label", "image" or "cluster". `allowed` are the answers of each search,
    `search_of` the search of each query, `image_of` its image.
    """

    kind: str
    place: dict[str, int]
    image_of: dict[str, str]
    search_of: dict[str, int]
    allowed: tuple[frozenset[str], ...]
    least: int
    most: int
    with_itself: bool

    def answers(self, query: str) -> Collection[str]:
        """Return what may answer a query."""
        return self.allowed[self.search_of[query]]

    def own(self, query: str) -> str | None:
        """Return the answer that is the query itself, or None where answers are no images."""
        return self.image_of[query] if self.kind == "image" else None

    def fits(self, answer: str, query: str) -> bool:
        """Return whether an answer may stand in a query's row; any word names a cluster."""
        if self.kind == "cluster":
            return bool(answer.strip())
        if answer not in self.allowed[self.search_of[query]]:
            return False
        return self.with_itself or self.kind == "label" or answer != self.image_of[query]

    def counts(self, query: str) -> tuple[int, int]:
        """Return the least and the largest number of answers of a query."""
        if self.kind == "cluster":
            return 1, 1
        known = self.answers(query)
        there = len(known) - (self.own(query) in known and not self.with_itself)
        return min(self.least, there), min(self.most, there)


def expected_answers(
    competition: Competition, labelled: LabelledImages, test: ImageSet, searches: tuple[Search, ...]
) -> ExpectedAnswers:
    """Return what a competition expects of a submission."""
    task = competition.task
    # kitbox names task.least matches, but a query that names itself alone is no fault of a list
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
    return ExpectedAnswers(
        kind,
        {query: row for row, query in enumerate(query_ids.tolist())},
        image_of,
        search_of,
        tuple(allowed),
        least,
        task.k,
        task.with_itself,
    )


def _labels(search: Search, labelled: LabelledImages, competition: Competition) -> frozenset[str]:
    unknown = competition.images.unknown_label
    found = set(labelled.labels[np.isin(labelled.image_ids, search.gallery_images)].tolist())
    if unknown and competition.uses_threshold:
        return frozenset(found | {unknown})
    return frozenset(found - {unknown})


# Words nearer than this many are looked for, and so often: each search takes milliseconds.
_MOST_COMPARED = 5000
_MOST_SEARCHES = 50


@dataclass(frozen=True)
class LintFinding:
    """One reason why a leaderboard would refuse a file or count it wrong, and what to do."""

    line: int
    column: int
    what: str

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}: {self.what}"


@dataclass
class _Suggestions:
    """Finds the known words nearest to unknown ones, of the first few that are asked about."""

    left: int = _MOST_SEARCHES

    def near(self, word: str, known: Collection[str]) -> str:
        """Return '; did you mean X?', or '' where none is near or too many are asked about."""
        if not self.left or len(known) >= _MOST_COMPARED:
            return ""
        self.left -= 1
        begun = next((name for name in sorted(known) if name.startswith(f"{word} ")), None)
        if begun is not None and word:
            return f"; '{begun}' has a blank, which separates answers: rename it"
        return did_you_mean(word, known)


def _unknown_query(
    query: CsvField, line: int, asked: ExpectedAnswers, suggestions: _Suggestions
) -> LintFinding:
    """Return what is wrong with a row whose query is none."""
    if query.text.strip() in asked.place:
        advice = "; remove the blanks around it"
    else:
        advice = suggestions.near(query.text, asked.place) or "; remove its row"
    return LintFinding(line, query.column, f"'{query.text}' is not a query{advice}")


def _out_of_order(
    query: CsvField, line: int, before: int, asked: ExpectedAnswers
) -> Iterator[LintFinding]:
    """Find that a query comes earlier in its list than the one `before` it in the file."""
    place = asked.place[query.text]
    if place < before:
        what = f"query '{query.text}' should be number {place + 1} of the queries; "
        yield LintFinding(
            line, query.column, what + "sort the rows as the list of queries has them"
        )


def _missing_queries(
    seen: Mapping[str, object], last: int, asked: ExpectedAnswers
) -> Iterator[LintFinding]:
    """Find that queries have no row; `last` is the last line."""
    missing = [query for query in asked.place if query not in seen]
    if missing:
        what = f"query '{missing[0]}' is missing; add its row{more(len(missing) - 1)}"
        yield LintFinding(last, 1, what)


def _wrong_count(
    query: str, given: Sequence[CsvField], line: int, column: int, asked: ExpectedAnswers
) -> Iterator[LintFinding]:
    """Find that a query has too few or too many answers."""
    least, most = asked.counts(query)
    if least <= len(given) <= most:
        return
    wanted = f"{most}" if least == most else f"{least} to {most}"
    advice = "name more" if len(given) < least else "leave the last ones out"
    noun = "answer" if len(given) == 1 else "answers"
    yield LintFinding(line, column, f"{len(given)} {noun}, not {wanted}; {advice}")


def _wrong_answer(
    query: str, answer: CsvField, line: int, asked: ExpectedAnswers, suggestions: _Suggestions
) -> LintFinding:
    """Return what is wrong with an answer that may not stand in a query's row."""
    if answer.text == asked.own(query):
        what = f"query '{query}' is among its own answers; leave it out"
    elif not answer.text.strip():
        what = "an answer is empty; name one, and put one blank between answers"
    elif answer.text != answer.text.strip():
        what = f"answer '{answer.text}' has blanks around it; remove them"
    else:
        kind = "a label" if asked.kind == "label" else "an image of the gallery"
        advice = suggestions.near(answer.text, asked.answers(query)) or "; name one that is"
        what = f"answer '{answer.text}' is not {kind}{advice}"
    return LintFinding(line, answer.column, what)


def _missing_itself(
    query: str, given: Sequence[CsvField], line: int, column: int, asked: ExpectedAnswers
) -> Iterator[LintFinding]:
    """Find that a query is missing among its own matches, where it counts as one."""
    if asked.with_itself and asked.own(query) not in {field.text for field in given}:
        what = f"query '{query}' is not among its own matches; put it first"
        yield LintFinding(line, column, what)


_BOM = b"\xef\xbb\xbf"


def lint_file(
    path: Path,
    competition: Competition,
    listed: ListedImages,
    earlier: Mapping[str, str] | None = None,
) -> list[LintFinding]:
    """Return what is wrong with a file; raises KitboxError where it cannot be read at all.

    `earlier` names the submissions that were sent before, by the sha256 of their bytes.
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
        found = [LintFinding(1, 1, what + "list, or upload with --again"), *found]
    return found


def lint(
    data: bytes,
    competition: Competition,
    labelled: LabelledImages,
    test: ImageSet | None,
    searches: tuple[Search, ...],
) -> list[LintFinding]:
    """Return what is wrong with the bytes of a submission, in the order of lines."""
    if test is None:
        raise KitboxError("this competition has no test images; set images.test_folder")
    found = list(_of_bytes(data, competition))
    try:
        written = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        what = f"not UTF-8 at byte {error.start}; save it as UTF-8"
        return [*found, LintFinding(*_place(data, error.start), what)]
    asked = expected_answers(competition, labelled, test, searches)
    given = csv_format.read_rows(written)
    header = competition.submission.header
    first = next(given, None) if header else None
    names = () if first is None else tuple(field.text for field in first.fields)
    if names != header:
        what = f"the header is {','.join(names) or 'missing'}, not {','.join(header)}; "
        found.append(LintFinding(1, 1, what + "write it on line 1"))
    if first is not None and names[0] in asked.place:  # no header, but a query
        given = chain([first], given)
    if competition.submission.layout == "long":
        found += _of_long(given, asked)
    else:
        found += _of_wide(given, competition.submission.layout, asked)
    return sorted(found, key=lambda finding: (finding.line, finding.column))


def _of_bytes(data: bytes, competition: Competition) -> Iterator[LintFinding]:
    if data.startswith(_BOM):
        what = "the file begins with a byte-order mark; save it as UTF-8 without one"
        yield LintFinding(1, 1, what)
    at = data.find(b"\r")
    if at >= 0:
        ends = "CRLF" if data[at + 1 : at + 2] == b"\n" else "a carriage return alone"
        yield LintFinding(*_place(data, at), f"lines end in {ends}; save it with bare line feeds")
    at = data.find(b"\0")
    if at >= 0:
        yield LintFinding(*_place(data, at), "a null byte; write the file anew as plain text")
    largest = competition.submission.largest_mb
    if len(data) > largest * 1e6:
        what = (
            f"the file has {len(data) / 1e6:.1f} MB, more than submission.largest_mb = "
            f"{largest:g}; name fewer answers, or raise it if the leaderboard takes more"
        )
        yield LintFinding(1, 1, what)


def _place(data: bytes, at: int) -> tuple[int, int]:
    """Return line and column, in bytes and from 1, of a place in a file."""
    return data.count(b"\n", 0, at) + 1, at - data.rfind(b"\n", 0, at)


def _of_wide(given: Iterator[CsvRow], layout: str, asked: ExpectedAnswers) -> Iterator[LintFinding]:
    """Find faults of forms with one row a query."""
    suggestions, seen, before, line = _Suggestions(), dict[str, int](), -1, 1
    confidences: list[tuple[int, CsvField]] = []
    for line, fields in given:
        query = fields[0]
        if query.text not in asked.place:
            yield _unknown_query(query, line, asked, suggestions)
            continue
        if query.text in seen:
            what = f"query '{query.text}' is on line {seen[query.text]} already; remove one row"
            yield LintFinding(line, query.column, what)
        else:
            yield from _out_of_order(query, line, before, asked)
            seen[query.text], before = line, asked.place[query.text]
        if layout != "columns" and len(fields) != 2:
            yield LintFinding(line, 1, _columns(len(fields), 2))
        else:
            yield from _of_row(line, fields, layout, asked, suggestions)
            if layout == "scored":
                confidences += [(line, field) for field in csv_format.split_words(fields[1])[1::2]]
    yield from _of_equals(confidences)
    yield from _missing_queries(seen, line, asked)


def _of_row(
    line: int,
    fields: tuple[CsvField, ...],
    layout: str,
    asked: ExpectedAnswers,
    suggestions: _Suggestions,
) -> Iterator[LintFinding]:
    """Find faults of a query's answers; of several of a kind the first."""
    query = fields[0].text
    answers = fields[1:] if layout == "columns" else csv_format.split_words(fields[1])
    column = fields[1].column if len(fields) > 1 else 1
    if layout == "scored":
        yield from _of_confidences(line, answers)
        answers = answers[0::2]
    yield from _wrong_count(query, answers, line, column, asked)
    seen: set[str] = set()
    repeated = wrong = False
    for answer in answers:
        if answer.text in seen and not repeated:
            what = f"answer '{answer.text}' is repeated; name another"
            yield LintFinding(line, answer.column, what)
            repeated = True
        seen.add(answer.text)
        if not wrong and not asked.fits(answer.text, query):
            yield _wrong_answer(query, answer, line, asked, suggestions)
            wrong = True
    yield from _missing_itself(query, answers, line, column, asked)


def _of_confidences(line: int, given: tuple[CsvField, ...]) -> Iterator[LintFinding]:
    if len(given) % 2:
        what = "a label stands without its confidence; write 'label confidence'"
        yield LintFinding(line, given[-1].column, what)
    for text, column in given[1::2]:
        if csv_format.parse_number(text) is None:
            yield LintFinding(line, column, f"'{text}' is not a confidence; write a number")


def _of_equals(confidences: list[tuple[int, CsvField]]) -> Iterator[LintFinding]:
    """Find that all confidences of a list, each with its line, are the same number."""
    if (
        len(confidences) > 1
        and len({csv_format.parse_number(field.text) for _, field in confidences}) == 1
    ):
        line, (text, column) = confidences[0]
        what = f"all answers have the confidence {text}, which orders none; "
        yield LintFinding(line, column, what + "let confidences fall with how sure an answer is")


def _of_long(given: Iterator[CsvRow], asked: ExpectedAnswers) -> Iterator[LintFinding]:
    """Find faults of the form with one row an answer."""
    suggestions, before, last, line = _Suggestions(), -1, "", 1
    by_query: dict[str, list[CsvRow]] = {}
    for line, fields in given:
        query, row = fields[0], CsvRow(line, fields)
        if len(fields) != 3:
            yield LintFinding(line, 1, _columns(len(fields), 3))
        elif query.text not in asked.place:
            yield _unknown_query(query, line, asked, suggestions)
        elif query.text not in by_query:
            yield from _out_of_order(query, line, before, asked)
            by_query[query.text], before = [row], asked.place[query.text]
        else:
            if query.text != last:
                what = f"rows of query '{query.text}' are apart; put them one after another"
                yield LintFinding(line, query.column, what)
            by_query[query.text].append(row)
        last = query.text if query.text in by_query else last
    for name, own in by_query.items():
        yield from _of_answers(name, own, asked, suggestions)
        yield from _of_scores(name, own)
    yield from _missing_queries(by_query, line, asked)


def _of_answers(
    query: str, own: list[CsvRow], asked: ExpectedAnswers, suggestions: _Suggestions
) -> Iterator[LintFinding]:
    """Find faults of the answers in a query's rows."""
    answers = [row.fields[1] for row in own]
    yield from _wrong_count(query, answers, own[0].line, answers[0].column, asked)
    seen: dict[str, int] = {}
    for (line, _), answer in zip(own, answers, strict=True):
        if answer.text in seen:
            what = f"answer '{answer.text}' is on line {seen[answer.text]} already; name another"
            yield LintFinding(line, answer.column, what)
        elif not asked.fits(answer.text, query):
            yield _wrong_answer(query, answer, line, asked, suggestions)
        seen[answer.text] = line
    yield from _missing_itself(query, answers, own[0].line, answers[0].column, asked)


def _of_scores(query: str, own: list[CsvRow]) -> Iterator[LintFinding]:
    """Find faults of the scores in a query's rows."""
    values = set()
    for line, (_, _, (text, column)) in own:
        value = csv_format.parse_number(text)
        values.add(value)
        if value is None:
            yield LintFinding(line, column, f"'{text}' is not a score; write a number from 0 to 1")
        elif not 0 <= value <= 1:
            what = f"score {text} is out of range; scores are from 0 to 1"
            yield LintFinding(line, column, what)
    if len(own) > 1 and len(values) == 1:
        text, column = own[0].fields[2]
        what = f"all answers of '{query}' have the score {text}, which orders none; "
        yield LintFinding(own[0].line, column, what + "let scores fall along the answers")


def _columns(count: int, wanted: int) -> str:
    """Return what to say of a row with too few or too many columns."""
    noun = "column" if count == 1 else "columns"
    advice = (
        "put quotes around a name that has a comma" if count > wanted else "add what is missing"
    )
    return f"{count} {noun}, not {wanted}; {advice}"
