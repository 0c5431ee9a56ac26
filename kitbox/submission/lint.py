"""Says whether the leaderboard would take a file: by line, with the fix."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError, did_you_mean, more
from kitbox.records import ImageSet

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Finding:
    """One reason why a leaderboard would refuse a file or count it wrong."""

    line: int
    what: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.what}"


def lint_file(
    path: Path, competition: Competition, labelled: ImageSet, test: ImageSet | None
) -> list[Finding]:
    """Return what is wrong with a file; raises KitboxError where it cannot be read at all."""
    try:
        return lint(path.read_bytes(), competition, labelled, test)
    except OSError as error:
        raise KitboxError(f"cannot read {path}: {error.strerror}") from error


def lint(
    data: bytes, competition: Competition, labelled: ImageSet, test: ImageSet | None
) -> list[Finding]:
    """Return what is wrong with the bytes of a submission, in the order of lines."""
    if test is None:
        raise KitboxError("this competition has no test images; set images.test_folder")
    findings = list(_bytes_findings(data))
    try:
        written = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        return [*findings, Finding(line, f"not UTF-8 at byte {error.start}; save it as UTF-8")]
    reader = csv.reader(io.StringIO(written))
    try:
        lines = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        return [*findings, Finding(max(reader.line_num, 1), str(error))]
    header = list(competition.submission.header)
    if header:
        given = lines[0][1] if lines else []
        if given != header:
            findings.append(Finding(1, f"the header is {','.join(given)}, not {','.join(header)}"))
        lines = lines[1:] if given and given[0] not in set(test.image_ids.tolist()) else lines
    findings += _rows_findings(lines, competition, labelled, test)
    return sorted(findings, key=lambda finding: finding.line)


def _bytes_findings(data: bytes) -> Iterator[Finding]:
    if data.startswith(_BOM):
        yield Finding(1, "the file begins with a byte-order mark; save it as UTF-8 without one")
    if b"\r" in data:
        line = data[: data.index(b"\r")].count(b"\n") + 1
        yield Finding(line, "lines end in CRLF; save it with bare line feeds")


def _rows_findings(
    lines: list[tuple[int, list[str]]],
    competition: Competition,
    labelled: ImageSet,
    test: ImageSet,
) -> Iterator[Finding]:
    expected = [str(image_id) for image_id in test.image_ids]
    place = {image_id: i for i, image_id in enumerate(expected)}
    allowed = _allowed(competition, labelled, test)
    seen: dict[str, int] = {}
    for line, row in lines:
        query = row[0]
        if query not in place:
            yield Finding(line, f"'{query}' is not a test image{did_you_mean(query, expected)}")
        elif query in seen:
            yield Finding(line, f"query '{query}' is on line {seen[query]} already; remove one row")
        else:
            if place[query] != len(seen):
                yield Finding(
                    line, f"query '{query}' should be row {place[query] + 1} of the queries"
                )
            seen[query] = line
        yield from _answer_findings(line, row, competition, allowed)
    missing = [image_id for image_id in expected if image_id not in seen]
    if missing:
        last = lines[-1][0] if lines else 1
        yield Finding(last, f"query '{missing[0]}' is missing{more(len(missing) - 1)}")


def _answer_findings(
    line: int, row: list[str], competition: Competition, allowed: set[str]
) -> Iterator[Finding]:
    task, form = competition.task, competition.submission
    query, answers = row[0], row[1:]
    if form.layout == "joined":
        if len(row) != 2:
            yield Finding(line, f"{len(row)} columns, not 2")
            return
        answers = row[1].split(" ")
    wanted = min(task.k, len(allowed) - (query in allowed))
    if len(answers) != wanted:
        yield Finding(line, f"{len(answers)} answers, not {wanted}")
    repeated = next((a for i, a in enumerate(answers) if a in answers[:i]), None)
    if repeated is not None:
        yield Finding(line, f"answer '{repeated}' is repeated")
    unknown = next((answer for answer in answers if answer not in allowed), None)
    if unknown is not None:
        kind = "a label" if task.answers == "labels" else "an image of the gallery"
        shown = f"answer '{unknown}' is not {kind}" if unknown.strip() else "an answer is empty"
        yield Finding(line, shown + did_you_mean(unknown, allowed if len(allowed) < 5000 else ()))
    if query in answers:
        yield Finding(line, f"query '{query}' is among its own answers")


def _allowed(competition: Competition, labelled: ImageSet, test: ImageSet) -> set[str]:
    if competition.task.answers == "labels":
        assert labelled.labels is not None  # noqa: S101  labelled images
        labels = set(labelled.labels.tolist())
        unknown = competition.images.unknown_label
        return labels | {unknown} if unknown else labels
    train_ids, test_ids = set(labelled.image_ids.tolist()), set(test.image_ids.tolist())
    gallery = competition.task.gallery
    return {"train": train_ids, "test": test_ids, "train+test": train_ids | test_ids}[gallery]
