"""Sends a submission to kaggle.com once, waits for its score, and writes both to the ledger.

The ledger knows of a sending before the first byte leaves. Where its outcome is not written, this
process or the connection stopped in between, and Kaggle's own list decides whether it arrived: the
description of every submission ends with a tag of the CSV's sha256. The list may lag, so that only
what it does not show after ten minutes never arrived. Only `again` sends twice.
"""

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from kitbox.competition import decisions, lists
from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError, more
from kitbox.submission import leaderboard, ledger, lint
from kitbox.submission.kaggle import Kaggle, KaggleError, KaggleSubmission, one_line
from kitbox.submission.leaderboard import Attempt, SubmissionStatus
from kitbox.workspace import Workspace

_AGAIN = "--again sends the same bytes once more"


def refuse_repeats(
    standing: SubmissionStatus, known: Iterable[SubmissionStatus], *, again: bool = False
) -> None:
    """Raise KitboxError where Kaggle has seen these bytes, or may have, under whatever id.

    `again` lets pass what is known to be there, not what may be on its way under another id.
    """
    for other in known:
        for sending in other.sendings:
            if sending.sha256 == standing.sha256:
                _refuse_repeat(sending, other, standing, again=again)
    if standing.source == "by hand" and not again:
        raise KitboxError(
            f"{standing.submission} has a leaderboard score that was recorded by hand; {_AGAIN}"
        )


def load_checked(
    workspace: Workspace, competition: Competition, standing: SubmissionStatus
) -> tuple[Path, bytes]:
    """Return the CSV and its bytes: those of the receipt, which the leaderboard takes."""
    file = workspace.submissions / standing.submission / "submission.csv"
    if not file.is_file():
        raise KitboxError(
            f"there is no {file}; 'kitbox reproduce {file.parent}' makes the list again"
        )
    data = file.read_bytes()
    if sha256(data).hexdigest() != standing.sha256:
        raise KitboxError(
            f"{file} is not the list that its receipt describes; package it again with "
            "'kitbox ensemble --submit'"
        )
    listed = lists.read(competition, decisions=decisions.load(workspace.decisions))
    findings = lint.lint_file(file, competition, listed)
    if findings:
        raise KitboxError(
            f"{file} {findings[0]}{more(len(findings) - 1, 'more')}; mend the plugins or settings "
            "that made it and package it again"
        )
    return file, data


def attempts_left(kaggle: Kaggle) -> str:
    """Return how many attempts are left, in words; raise KitboxError where there is none."""
    allowance = kaggle.allowance()
    if allowance.left > 0:
        return f"attempts left: {allowance.left}"
    if allowance.by_total:
        raise KitboxError(
            f"all {allowance.total} attempts of {kaggle.slug} are used up; nothing was sent"
        )
    # all zero is what Kaggle says to a team that has not sent anything yet
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


def to_minute(at: str) -> str:
    """Return a time of the ledger to the minute, for people."""
    return at[:16].replace("T", " ")


def _refuse_repeat(
    sending: Attempt, other: SubmissionStatus, standing: SubmissionStatus, *, again: bool
) -> None:
    mine = other.submission == standing.submission
    whose = standing.submission if mine else f"the same list, as {other.submission},"
    if sending.outcome == "open" and not mine:
        raise KitboxError(
            f"{whose} may be at Kaggle already; 'kitbox submission upload {other.submission}' "
            "finds out"
        )
    if sending.ref is None or again:
        return
    came = ""
    if sending.outcome == "refused":
        came = f" and could not be scored ({sending.why})"
    elif sending.outcome == "scored" and other.public is not None:
        came = f" and scored {other.public:g}"
    raise KitboxError(
        f"{whose} was sent on {to_minute(sending.at)} as {sending.ref}{came}; {_AGAIN}"
    )


def utc_now() -> datetime:
    """Return the time of day, as the ledger writes it."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Pace:
    """How long to wait, in seconds, and by which clock.

    Pauses between two looks at the score grow by half from `first` to `longest`. A sending whose
    outcome is unknown is looked for after each of `looks`: Kaggle's list may lag behind. Only
    `given_up` after it began is it taken not to have arrived. `clock` measures pauses, `now` tells
    the time that the ledger writes.
    """

    timeout: float = 900.0
    first: float = 2.0
    longest: float = 60.0
    looks: tuple[float, ...] = (0.0, 5.0, 15.0)
    given_up: float = 600.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = utc_now


def wait_for_score(kaggle: Kaggle, ref: int, pace: Pace) -> Generator[str, None, KaggleSubmission]:
    """Return a submission that is scored, or that could not be; yield lines for people.

    Failures that may pass are waited out. Raises KitboxError when the time is over, and where
    Kaggle does not accept this account.
    """
    end, pause, told = pace.clock() + pace.timeout, pace.first, False
    while True:
        found = _asked(kaggle, ref)
        if isinstance(found, KaggleSubmission) and found.status != "pending":
            return found
        left, next_look = end - pace.clock(), pause
        if isinstance(found, KaggleError):
            next_look = max(pause, found.retry_after or 0.0)
        if left <= 0 or next_look > left > pause:  # Kaggle wants no question before the end
            because = f" ({found.what})" if isinstance(found, KaggleError) else ""
            raise KitboxError(
                f"no score of {ref} within {pace.timeout:g} s{because}; nothing is lost: the same "
                "command goes on waiting"
            )
        if isinstance(found, KaggleError):
            yield f"{found.what}; asking again in {min(next_look, left):.0f} s"
        elif not told:
            told = True
            yield f"waiting for the score of {ref}; Ctrl-C loses nothing, the same command goes on"
        pace.sleep(min(next_look, left))
        pause = min(pause * 1.5, pace.longest)


def _asked(kaggle: Kaggle, ref: int) -> KaggleSubmission | KaggleError:
    """Return what Kaggle says; a failure that may pass is an answer too.

    One of them is 404, what a submission may be for a moment after it was made.
    """
    try:
        return kaggle.submission(ref)
    except KaggleError as trouble:
        if trouble.status in (401, 403):
            raise KitboxError(
                f"{trouble.what}; the list is sent, as {ref}, only its score is not here; "
                f"{trouble.fix}, then run the same command again"
            ) from trouble
        return trouble


_Steps = Generator[str, None, int]
_UNKNOWN = "whether the list arrived is not known yet"


@dataclass(frozen=True)
class _Errand:
    """What one run has in hand."""

    workspace: Workspace
    kaggle: Kaggle
    standing: SubmissionStatus
    known: Mapping[str, SubmissionStatus]
    pace: Pace

    def note(self, what: ledger.LedgerEvent, **facts: object) -> None:
        ledger.append(self.workspace, what, self.standing.submission, **facts)


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
    """Send a submission, or go on where an earlier run stopped; return where it stands.

    Yields lines for people. Raises KitboxError that says whether anything was sent.
    """
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
        known = leaderboard.load(workspace)
        errand = _Errand(workspace, kaggle, known[name], known, pace or Pace())
        ref = yield from _bring(errand, competition, message, again=again)
    if wait:
        found = yield from wait_for_score(kaggle, ref, errand.pace)
        _write_down(errand, found)
    return leaderboard.load(workspace)[name]


def description_of(standing: SubmissionStatus, message: str = "") -> str:
    """Return what Kaggle shows beside a submission: a note, else the plugins, and the tag."""
    text = one_line(message or standing.note or "+".join(standing.plugins))
    return f"{text} {tag_of(standing.sha256)}".strip()


def tag_of(digest: str) -> str:
    """Return the tag by which a submission is found again: 8 hex digits of the CSV's sha256."""
    return f"[kitbox {digest[:8]}]"


def _bring(errand: _Errand, competition: Competition, message: str, *, again: bool) -> _Steps:
    """Return Kaggle's number of the submission: known, found there, or newly sent."""
    last, standing = errand.standing.last, errand.standing
    if last is not None and last.outcome == "open":
        found = yield from _resolve_open(errand, last)
        if found is not None:
            return (yield from _adopt(errand, found))
    elif last is not None and last.outcome == "sent" and last.ref is not None and not again:
        yield f"{standing.submission} was sent on {to_minute(last.at)} as {last.ref}"
        return last.ref
    refuse_repeats(standing, errand.known.values(), again=again)
    file, data = load_checked(errand.workspace, competition, standing)
    with _nothing_sent():
        errand.kaggle.check()
        found = None if again else _find(errand, standing.sha256)
    if found is not None:  # sent from another workspace, or by another of the team
        _note_sending(errand, found.description)
        return (yield from _adopt(errand, found))
    with _nothing_sent():
        left = attempts_left(errand.kaggle)
    yield left
    return (yield from _send(errand, file, data, description_of(standing, message)))


def _resolve_open(errand: _Errand, last: Attempt) -> Generator[str, None, KaggleSubmission | None]:
    """Find out about a sending whose outcome is not written: where it is, or that it never came."""
    yield f"the sending of {to_minute(last.at)} has no outcome; looking for it at Kaggle"
    try:
        found = _look(errand, last.sha256)
    except KaggleError as trouble:
        raise KitboxError(f"{trouble.what}; {_UNKNOWN}; {trouble.fix}") from trouble
    if found is None:
        _refuse_early(errand.pace, last)
        errand.note("failed", why="it is not in Kaggle's list")
        yield "it never arrived"
    return found


def _refuse_early(pace: Pace, last: Attempt) -> None:
    """Raise where a sending that Kaggle does not show may still come to be shown."""
    age = pace.now() - datetime.fromisoformat(last.at)
    left = pace.given_up - age.total_seconds()
    if left > 0:
        raise KitboxError(
            f"Kaggle's list does not show it yet; {_UNKNOWN}; nothing is sent meanwhile; "
            f"run the same command again in {math.ceil(left / 60)} min"
        )


def _send(errand: _Errand, file: Path, data: bytes, description: str) -> _Steps:
    _note_sending(errand, description)
    try:
        token = errand.kaggle.put(data, file.name, file.stat().st_mtime)
    except KaggleError as trouble:
        raise _not_sent(errand, trouble) from trouble
    try:
        ref = errand.kaggle.hand_in(token, description)
    except KaggleError as trouble:
        if trouble.refused:
            raise _not_sent(errand, trouble) from trouble
        yield f"{trouble.what}; looking whether it arrived"
        return (yield from _adopt(errand, _after_silence(errand, trouble)))
    errand.note("sent", ref=ref, adopted=False)
    yield f"sent as {ref}: {description}"
    return ref


def _not_sent(errand: _Errand, trouble: KaggleError) -> KitboxError:
    """Write down that nothing was handed in; return what to tell."""
    errand.note("refused" if trouble.refused else "failed", why=trouble.what)
    return KitboxError(f"{trouble.what}; nothing was sent; {trouble.fix}")


def _after_silence(errand: _Errand, trouble: KaggleError) -> KaggleSubmission:
    """Return the submission that was handed in without an answer; raise where it is not seen."""
    try:
        found = _look(errand, errand.standing.sha256)
    except KaggleError:
        found = None
    if found is None:
        raise KitboxError(
            f"{trouble.what}; {_UNKNOWN}; run the same command again later: it asks Kaggle first, "
            "and sends only what is not there"
        ) from trouble
    return found


def _look(errand: _Errand, digest: str) -> KaggleSubmission | None:
    """Return a submission that Kaggle may show only after a while."""
    for pause in errand.pace.looks:
        errand.pace.sleep(pause)
        found = _find(errand, digest)
        if found is not None:
            return found
    return None


def _find(errand: _Errand, digest: str) -> KaggleSubmission | None:
    """Return the latest submission with this list's tag that the ledger does not know yet."""
    refs = {sending.ref for standing in errand.known.values() for sending in standing.sendings}
    for found in errand.kaggle.submissions():
        if found.ref not in refs and found.description.rstrip().endswith(tag_of(digest)):
            return found
    return None


def _adopt(errand: _Errand, found: KaggleSubmission) -> _Steps:
    errand.note("sent", ref=found.ref, adopted=True)
    yield f"Kaggle has it, as {found.ref}; nothing is sent again"
    return found.ref


def _note_sending(errand: _Errand, description: str) -> None:
    errand.note(
        "sending",
        sha256=errand.standing.sha256,
        competition=errand.kaggle.slug,
        description=description,
    )


def _write_down(errand: _Errand, found: KaggleSubmission) -> None:
    """Note what Kaggle decided; raise where it could not score the list."""
    if found.status == "error":
        why = found.error or "it does not say why"
        errand.note("refused", ref=found.ref, why=why)
        raise KitboxError(
            f"Kaggle could not score {found.ref}: {why}; see {errand.kaggle.page}/submissions"
        )
    errand.note(
        "scored", ref=found.ref, public=found.public, private=found.private, source="kaggle"
    )


@contextmanager
def _nothing_sent() -> Iterator[None]:
    """Say of a failure before the sending that nothing was sent."""
    try:
        yield
    except KaggleError as trouble:
        raise KitboxError(f"{trouble.what}; nothing was sent; {trouble.fix}") from trouble
