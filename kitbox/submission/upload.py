"""Sends a submission to kaggle.com once, waits for its score, and records both in the ledger.

The ledger knows of an attempt before its first byte is sent. If an attempt has no outcome there,
this process or the connection stopped in between, and Kaggle's own list shows whether it arrived:
the description of every submission ends with a tag of the CSV's sha256. The list may lag, so an
attempt counts as failed only if it is still not listed after ten minutes. Only `again` sends twice.
"""

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from kitbox.competition import lists
from kitbox.competition.settings import Competition
from kitbox.decisions import decision_file
from kitbox.errors import KitboxError, more
from kitbox.formats import lint, lint_findings
from kitbox.formats.lint_findings import LintFinding
from kitbox.submission import leaderboard, ledger
from kitbox.submission.kaggle import Kaggle, KaggleError, KaggleSubmission, one_line
from kitbox.submission.leaderboard import Attempt, SubmissionStatus
from kitbox.workspace import Workspace

# A stage that yields lines for people and returns Kaggle's number of the submission.
_Steps = Generator[str, None, int]
_SENT_AS = {"notebook": "a notebook", "code": "code of yours"}
_NOT_KNOWN = "whether the submission arrived is not known yet"
_AGAIN = "--again sends the same bytes once more"


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long to wait, in seconds, and by which clock.

    Pauses between two requests for the score grow by half from `first` to `longest`. An attempt
    without an outcome is looked for after each of the pauses `looks`, as Kaggle's list may lag, and
    taken for failed only `given_up` after it began. `clock` measures pauses, `now` returns the time
    that the ledger records.
    """

    timeout: float = 900.0
    first: float = 2.0
    longest: float = 60.0
    looks: tuple[float, ...] = (0.0, 5.0, 15.0)
    given_up: float = 600.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


def upload_submission(
    workspace: Workspace,
    competition: Competition,
    submission: str,
    service: Callable[[str], Kaggle] = Kaggle,
    *,
    message: str = "",
    again: bool = False,
    wait: bool = True,
    pace: Pace | None = None,
) -> Generator[str, None, SubmissionStatus]:
    """Send a submission, or continue an interrupted upload; return its status.

    Yields lines for people. Raises KitboxError with whether anything was sent.
    """
    if competition.submission.sent_as != "file":
        raise KitboxError(
            f"{competition.name} takes no file: {_SENT_AS[competition.submission.sent_as]} answers "
            "hidden images there, without internet; nothing was sent; 'kitbox bundle' packs what "
            "it needs"
        )
    slug = competition.submission.kaggle
    if slug is None:
        raise KitboxError(
            f"{workspace.settings} does not say where to send: add kaggle = "
            '"the last part of the competition\'s address on kaggle.com" under [submission]'
        )
    name = leaderboard.find(submission, leaderboard.load(workspace)).submission
    with _nothing_sent():
        kaggle = service(slug)
    with ledger.sending_lock(workspace):
        statuses = leaderboard.load(workspace)
        upload = _Upload(
            workspace=workspace,
            kaggle=kaggle,
            status=statuses[name],
            statuses=statuses,
            pace=pace or Pace(),
        )
        ref = yield from _send_once(upload, competition, message, again=again)
    if wait:
        found = yield from wait_for_score(kaggle, ref, upload.pace)
        _record_score(upload, found)
    return leaderboard.load(workspace)[name]


@dataclass(frozen=True, kw_only=True)
class _Upload:
    """What the steps of one upload share."""

    workspace: Workspace
    kaggle: Kaggle
    status: SubmissionStatus
    statuses: Mapping[str, SubmissionStatus]
    pace: Pace

    def record(self, what: ledger.LedgerEvent, **fields: object) -> None:
        ledger.append(self.workspace, what, self.status.submission, **fields)


def _send_once(upload: _Upload, competition: Competition, message: str, *, again: bool) -> _Steps:
    """Return Kaggle's number of the submission: recorded, found there, or newly sent."""
    last, status = upload.status.last, upload.status
    if last is not None and last.outcome == "open":
        found = yield from _resolve_open(upload, last)
        if found is not None:
            return (yield from _adopt(upload, found))
    elif last is not None and last.outcome == "sent" and last.ref is not None and not again:
        yield f"{status.submission} was sent on {_to_minute(last.at)} as {last.ref}"
        return last.ref
    _refuse_repeats(status, upload.statuses.values(), again=again)
    file, data, warnings = _load_checked(upload.workspace, competition, status)
    if warnings:
        yield f"{file} {warnings[0]}{more(len(warnings) - 1, 'more')}"
    with _nothing_sent():
        upload.kaggle.check()
        found = None if again else _find_by_tag(upload, status.sha256)
    if found is not None:  # sent from another workspace, or by another of the team
        _record_sending(upload, found.description)
        return (yield from _adopt(upload, found))
    with _nothing_sent():
        left = _attempts_left(upload.kaggle)
    yield left
    return (yield from _send(upload, file, data, description_of(status, message)))


def _resolve_open(upload: _Upload, last: Attempt) -> Generator[str, None, KaggleSubmission | None]:
    """Return the submission of an attempt without an outcome, or None if it never arrived."""
    yield f"the attempt of {_to_minute(last.at)} has no outcome; looking for it at Kaggle"
    try:
        found = _look_for(upload, last.sha256)
    except KaggleError as error:
        raise KitboxError(f"{error.what}; {_NOT_KNOWN}; {error.fix}") from error
    if found is None:
        _refuse_early(upload.pace, last)
        upload.record("failed", why="it is not in Kaggle's list")
        yield "it never arrived"
    return found


def _refuse_early(pace: Pace, last: Attempt) -> None:
    """Raise KitboxError while an attempt that Kaggle does not list may still be listed later."""
    age = pace.now() - datetime.fromisoformat(last.at)
    left = pace.given_up - age.total_seconds()
    if left > 0:
        raise KitboxError(
            f"Kaggle's list does not show it yet; {_NOT_KNOWN}; nothing is sent meanwhile; "
            f"run the same command again in {math.ceil(left / 60)} min"
        )


def _send(upload: _Upload, file: Path, data: bytes, description: str) -> _Steps:
    _record_sending(upload, description)
    try:
        token = upload.kaggle.upload(data, file.name, file.stat().st_mtime)
    except KaggleError as error:
        raise _not_sent(upload, error) from error
    try:
        ref = upload.kaggle.create_submission(token, description)
    except KaggleError as error:
        if error.refused:
            raise _not_sent(upload, error) from error
        yield f"{error.what}; checking whether it arrived"
        return (yield from _adopt(upload, _find_unanswered(upload, error)))
    upload.record("sent", ref=ref, adopted=False)
    yield f"sent as {ref}: {description}"
    return ref


def _not_sent(upload: _Upload, error: KaggleError) -> KitboxError:
    """Record that nothing was submitted; return the error to raise."""
    upload.record("refused" if error.refused else "failed", why=error.what)
    return KitboxError(f"{error.what}; nothing was sent; {error.fix}")


def _find_unanswered(upload: _Upload, error: KaggleError) -> KaggleSubmission:
    """Return the submission that was sent without an answer; raise if it is not listed."""
    try:
        found = _look_for(upload, upload.status.sha256)
    except KaggleError:
        found = None
    if found is None:
        raise KitboxError(
            f"{error.what}; {_NOT_KNOWN}; run the same command again later: it asks Kaggle first, "
            "and sends only what is not there"
        ) from error
    return found


def _look_for(upload: _Upload, digest: str) -> KaggleSubmission | None:
    """Return a submission that Kaggle may list only after a while."""
    for pause in upload.pace.looks:
        upload.pace.sleep(pause)
        found = _find_by_tag(upload, digest)
        if found is not None:
            return found
    return None


def _find_by_tag(upload: _Upload, digest: str) -> KaggleSubmission | None:
    """Return the latest submission with this CSV's tag that the ledger does not know yet."""
    refs = {attempt.ref for status in upload.statuses.values() for attempt in status.attempts}
    for found in upload.kaggle.submissions():
        if found.ref not in refs and found.description.rstrip().endswith(_tag(digest)):
            return found
    return None


def _adopt(upload: _Upload, found: KaggleSubmission) -> _Steps:
    upload.record("sent", ref=found.ref, adopted=True)
    yield f"Kaggle has it, as {found.ref}; nothing is sent again"
    return found.ref


def _record_sending(upload: _Upload, description: str) -> None:
    upload.record(
        "sending",
        sha256=upload.status.sha256,
        competition=upload.kaggle.slug,
        description=description,
    )


def wait_for_score(kaggle: Kaggle, ref: int, pace: Pace) -> Generator[str, None, KaggleSubmission]:
    """Return a submission when it is scored, or could not be; yields lines for people.

    Failures that may pass are waited out. Raises KitboxError when the time is over, and where
    Kaggle does not accept this account.
    """
    end, pause, announced = pace.clock() + pace.timeout, pace.first, False
    while True:
        found = _poll(kaggle, ref)
        if isinstance(found, KaggleSubmission) and found.status != "pending":
            return found
        left, next_poll = end - pace.clock(), pause
        if isinstance(found, KaggleError):
            next_poll = max(pause, found.retry_after or 0.0)
        if left <= 0 or next_poll > left > pause:  # Kaggle wants no request before the end
            because = f" ({found.what})" if isinstance(found, KaggleError) else ""
            raise KitboxError(
                f"no score of {ref} within {pace.timeout:g} s{because}; nothing is lost: the same "
                "command continues to wait"
            )
        if isinstance(found, KaggleError):
            yield f"{found.what}; asking again in {min(next_poll, left):.0f} s"
        elif not announced:
            announced = True
            yield f"waiting for the score of {ref}; after Ctrl-C the same command continues"
        pace.sleep(min(next_poll, left))
        pause = min(pause * 1.5, pace.longest)


def _poll(kaggle: Kaggle, ref: int) -> KaggleSubmission | KaggleError:
    """Return a submission as Kaggle shows it, or a failure that may pass.

    Such a failure is 404, too, which Kaggle may answer for a moment after an upload.
    """
    try:
        return kaggle.submission(ref)
    except KaggleError as error:
        if error.status in (401, 403):
            raise KitboxError(
                f"{error.what}; the submission is sent, as {ref}, only its score is not here; "
                f"{error.fix}, then run the same command again"
            ) from error
        return error


def _record_score(upload: _Upload, found: KaggleSubmission) -> None:
    """Record the outcome at Kaggle; raise KitboxError where it could not score the submission."""
    if found.status == "error":
        why = found.error or "it does not say why"
        upload.record("refused", ref=found.ref, why=why)
        raise KitboxError(
            f"Kaggle could not score {found.ref}: {why}; see {upload.kaggle.page}/submissions"
        )
    upload.record(
        "scored", ref=found.ref, public=found.public, private=found.private, source="kaggle"
    )


@contextmanager
def _nothing_sent() -> Iterator[None]:
    """Add to an error before the sending that nothing was sent."""
    try:
        yield
    except KaggleError as error:
        raise KitboxError(f"{error.what}; nothing was sent; {error.fix}") from error


def _refuse_repeats(
    status: SubmissionStatus, statuses: Iterable[SubmissionStatus], *, again: bool
) -> None:
    """Raise KitboxError where Kaggle has, or may have, these bytes under any id.

    `again` permits bytes that Kaggle has, but not those that may be on their way under another id.
    """
    for other in statuses:
        for attempt in other.attempts:
            if attempt.sha256 == status.sha256:
                _refuse_repeat(attempt, other, status, again=again)
    if status.source == "by hand" and not again:
        raise KitboxError(
            f"{status.submission} has a leaderboard score that was recorded by hand; {_AGAIN}"
        )


def _refuse_repeat(
    attempt: Attempt, other: SubmissionStatus, status: SubmissionStatus, *, again: bool
) -> None:
    own = other.submission == status.submission
    which = status.submission if own else f"the same CSV, as {other.submission},"
    if attempt.outcome == "open" and not own:
        raise KitboxError(
            f"{which} may be at Kaggle already; 'kitbox submission upload {other.submission}' "
            "finds out"
        )
    if attempt.ref is None or again:
        return
    outcome = ""
    if attempt.outcome == "refused":
        outcome = f" and could not be scored ({attempt.why})"
    elif attempt.outcome == "scored" and other.public is not None:
        outcome = f" and scored {other.public:g}"
    at = _to_minute(attempt.at)
    raise KitboxError(f"{which} was sent on {at} as {attempt.ref}{outcome}; {_AGAIN}")


def _load_checked(
    workspace: Workspace, competition: Competition, status: SubmissionStatus
) -> tuple[Path, bytes, list[LintFinding]]:
    """Return the CSV, its bytes, which are those of the receipt, and the lint's warnings.

    Raises KitboxError where the lint finds an error.
    """
    file = workspace.submissions / status.submission / "submission.csv"
    if not file.is_file():
        raise KitboxError(f"there is no {file}; 'kitbox reproduce {file.parent}' makes it again")
    data = file.read_bytes()
    if sha256(data).hexdigest() != status.sha256:
        raise KitboxError(
            f"{file} is not the CSV that its receipt describes; package it again with "
            "'kitbox ensemble --submit'"
        )
    listed = lists.read(competition, decisions=decision_file.load(workspace.decisions))
    findings = lint.lint_file(file, competition, listed)
    errors = lint_findings.errors(findings)
    if errors:
        raise KitboxError(
            f"{file} {errors[0]}{more(len(errors) - 1, 'more')}; fix the plugins or settings "
            "that made it and package it again"
        )
    return file, data, findings


def _attempts_left(kaggle: Kaggle) -> str:
    """Return how many attempts are left, in words; raise KitboxError where there is none."""
    allowance = kaggle.allowance()
    if allowance.left > 0:
        return f"attempts left: {allowance.left}"
    if allowance.by_total:
        raise KitboxError(
            f"all {allowance.total} attempts of {kaggle.slug} are used up; nothing was sent"
        )
    # all zero is Kaggle's answer to a team that has not sent anything yet
    if allowance.today or allowance.total:
        raise KitboxError(
            f"no attempt is left today, after {allowance.today}; nothing was sent; run this again "
            f"in {until_midnight(datetime.now(UTC))}, when Kaggle's day ends"
        )
    return "the first attempt"


def until_midnight(now: datetime) -> str:
    """Return the time until 00:00 UTC as '3 h 20 min', rounded up to minutes."""
    tomorrow = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    minutes = -int((now - tomorrow).total_seconds() // 60)
    return f"{minutes // 60} h {minutes % 60} min"


def description_of(status: SubmissionStatus, message: str = "") -> str:
    """Return the description of a submission at Kaggle: a note, else the plugins, and the tag."""
    text = one_line(message or status.note or "+".join(status.plugins))
    return f"{text} {_tag(status.sha256)}".strip()


def _tag(digest: str) -> str:
    """Return the tag that identifies a CSV at Kaggle: 8 hex digits of its sha256."""
    return f"[kitbox {digest[:8]}]"


def _to_minute(at: str) -> str:
    """Return a time of the ledger, to the minute, for people."""
    return at[:16].replace("T", " ")
