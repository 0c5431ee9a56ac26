"""Sends a submission to kaggle.com once, waits for its score, and writes both to the ledger.

The ledger knows of a sending before the first byte leaves. Where its outcome is not written, this
process or the connection stopped in between, and Kaggle's own list decides whether it arrived: the
description of every submission ends with a tag of the CSV's sha256. The list may lag, so that only
what it does not show after ten minutes never arrived. Only `again` sends twice.
"""

import math
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError
from kitbox.submission import ledger, preflight, waiting
from kitbox.submission.kaggle import Kaggle, Submission
from kitbox.submission.standing import Sending, Standing, resolve, standings
from kitbox.submission.trouble import KaggleError, one_line
from kitbox.submission.waiting import Pace
from kitbox.workspace import Workspace

Said = Generator[str, None, int]
_UNKNOWN = "whether the list arrived is not known yet"


@dataclass(frozen=True)
class _Errand:
    """What one run has in hand."""

    workspace: Workspace
    kaggle: Kaggle
    standing: Standing
    known: Mapping[str, Standing]
    pace: Pace

    def note(self, what: ledger.What, **facts: object) -> None:
        ledger.append(self.workspace, what, self.standing.submission, **facts)


def upload(
    workspace: Workspace,
    competition: Competition,
    submission: str,
    service: Callable[[str], Kaggle] = Kaggle,
    *,
    message: str = "",
    again: bool = False,
    wait: bool = True,
    pace: Pace | None = None,
) -> Generator[str, None, Standing]:
    """Send a submission, or go on where an earlier run stopped; return where it stands.

    Yields lines for people. Raises KitboxError that says whether anything was sent.
    """
    slug = competition.submission.kaggle
    if slug is None:
        raise KitboxError(
            f"{workspace.settings} does not say where to send: add kaggle = "
            '"the last part of the competition\'s address on kaggle.com" under [submission]'
        )
    name = resolve(submission, standings(workspace)).submission
    with _nothing_sent():
        kaggle = service(slug)
    with ledger.only_one_sends(workspace):
        known = standings(workspace)
        errand = _Errand(workspace, kaggle, known[name], known, pace or Pace())
        ref = yield from _bring(errand, competition, message, again=again)
    if wait:
        found = yield from waiting.settled(kaggle, ref, errand.pace)
        _write_down(errand, found)
    return standings(workspace)[name]


def description_of(standing: Standing, message: str = "") -> str:
    """Return what Kaggle shows beside a submission: a note, else the plugins, and the tag."""
    text = one_line(message or standing.note or "+".join(standing.plugins))
    return f"{text} {tag_of(standing.sha256)}".strip()


def tag_of(digest: str) -> str:
    """Return the tag by which a submission is found again: 8 hex digits of the CSV's sha256."""
    return f"[kitbox {digest[:8]}]"


def _bring(errand: _Errand, competition: Competition, message: str, *, again: bool) -> Said:
    """Return Kaggle's number of the submission: known, found there, or newly sent."""
    last, standing = errand.standing.last, errand.standing
    if last is not None and last.outcome == "open":
        found = yield from _resolve_open(errand, last)
        if found is not None:
            return (yield from _adopt(errand, found))
    elif last is not None and last.outcome == "sent" and last.ref is not None and not again:
        yield f"{standing.submission} was sent on {preflight.minute(last.at)} as {last.ref}"
        return last.ref
    preflight.refuse_repeats(standing, errand.known.values(), again=again)
    file, data = preflight.checked_file(errand.workspace, competition, standing)
    with _nothing_sent():
        errand.kaggle.check()
        found = None if again else _find(errand, standing.sha256)
    if found is not None:  # sent from another workspace, or by another of the team
        _note_sending(errand, found.description)
        return (yield from _adopt(errand, found))
    with _nothing_sent():
        left = preflight.attempts(errand.kaggle)
    yield left
    return (yield from _send(errand, file, data, description_of(standing, message)))


def _resolve_open(errand: _Errand, last: Sending) -> Generator[str, None, Submission | None]:
    """Find out about a sending whose outcome is not written: where it is, or that it never came."""
    yield f"the sending of {preflight.minute(last.at)} has no outcome; looking for it at Kaggle"
    try:
        found = _look(errand, last.sha256)
    except KaggleError as trouble:
        raise KitboxError(f"{trouble.what}; {_UNKNOWN}; {trouble.fix}") from trouble
    if found is None:
        _refuse_early(errand.pace, last)
        errand.note("failed", why="it is not in Kaggle's list")
        yield "it never arrived"
    return found


def _refuse_early(pace: Pace, last: Sending) -> None:
    """Raise where a sending that Kaggle does not show may still come to be shown."""
    age = pace.now() - datetime.fromisoformat(last.at)
    left = pace.given_up - age.total_seconds()
    if left > 0:
        raise KitboxError(
            f"Kaggle's list does not show it yet; {_UNKNOWN}; nothing is sent meanwhile; "
            f"run the same command again in {math.ceil(left / 60)} min"
        )


def _send(errand: _Errand, file: Path, data: bytes, description: str) -> Said:
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


def _after_silence(errand: _Errand, trouble: KaggleError) -> Submission:
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


def _look(errand: _Errand, digest: str) -> Submission | None:
    """Return a submission that Kaggle may show only after a while."""
    for pause in errand.pace.looks:
        errand.pace.sleep(pause)
        found = _find(errand, digest)
        if found is not None:
            return found
    return None


def _find(errand: _Errand, digest: str) -> Submission | None:
    """Return the latest submission with this list's tag that the ledger does not know yet."""
    refs = {sending.ref for standing in errand.known.values() for sending in standing.sendings}
    for found in errand.kaggle.submissions():
        if found.ref not in refs and found.description.rstrip().endswith(tag_of(digest)):
            return found
    return None


def _adopt(errand: _Errand, found: Submission) -> Said:
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


def _write_down(errand: _Errand, found: Submission) -> None:
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
