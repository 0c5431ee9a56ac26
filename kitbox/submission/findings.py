"""What may be wrong with a query of a submission and with its answers, and what to do about it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kitbox.errors import did_you_mean, more
from kitbox.submission.expected import Expected
from kitbox.submission.rows import Field

# Words nearer than this many are looked for, and so often: each search takes milliseconds.
_MOST_COMPARED = 5000
_MOST_SEARCHES = 50


@dataclass(frozen=True)
class Finding:
    """One reason why a leaderboard would refuse a file or count it wrong, and what to do."""

    line: int
    column: int
    what: str

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}: {self.what}"


@dataclass
class Suggestions:
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


def of_stranger(query: Field, line: int, asked: Expected, suggestions: Suggestions) -> Finding:
    """Return what is wrong with a row whose query is none."""
    if query.text.strip() in asked.place:
        advice = "; remove the blanks around it"
    else:
        advice = suggestions.near(query.text, asked.place) or "; remove its row"
    return Finding(line, query.column, f"'{query.text}' is not a query{advice}")


def of_order(query: Field, line: int, before: int, asked: Expected) -> Iterator[Finding]:
    """Find that a query comes earlier in its list than the one `before` it in the file."""
    place = asked.place[query.text]
    if place < before:
        what = f"query '{query.text}' should be number {place + 1} of the queries; "
        yield Finding(line, query.column, what + "sort the rows as the list of queries has them")


def of_missing(seen: Mapping[str, object], last: int, asked: Expected) -> Iterator[Finding]:
    """Find that queries have no row; `last` is the last line."""
    missing = [query for query in asked.place if query not in seen]
    if missing:
        what = f"query '{missing[0]}' is missing; add its row{more(len(missing) - 1)}"
        yield Finding(last, 1, what)


def of_count(
    query: str, given: Sequence[Field], line: int, column: int, asked: Expected
) -> Iterator[Finding]:
    """Find that a query has too few or too many answers."""
    least, most = asked.counts(query)
    if least <= len(given) <= most:
        return
    wanted = f"{most}" if least == most else f"{least} to {most}"
    advice = "name more" if len(given) < least else "leave the last ones out"
    noun = "answer" if len(given) == 1 else "answers"
    yield Finding(line, column, f"{len(given)} {noun}, not {wanted}; {advice}")


def of_answer(
    query: str, answer: Field, line: int, asked: Expected, suggestions: Suggestions
) -> Finding:
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
    return Finding(line, answer.column, what)


def of_itself(
    query: str, given: Sequence[Field], line: int, column: int, asked: Expected
) -> Iterator[Finding]:
    """Find that a query is missing among its own matches, where it counts as one."""
    if asked.with_itself and asked.own(query) not in {field.text for field in given}:
        what = f"query '{query}' is not among its own matches; put it first"
        yield Finding(line, column, what)
