"""Looks at a submission before it is sent: was it sent before, is it the list that was packaged."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from kitbox.competition import decision_file, lists
from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError, more
from kitbox.submission import lint
from kitbox.submission.kaggle import Kaggle
from kitbox.submission.standing import Sending, Standing
from kitbox.workspace import Workspace

_AGAIN = "--again sends the same bytes once more"


def refuse_repeats(standing: Standing, known: Iterable[Standing], *, again: bool = False) -> None:
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


def checked_file(
    workspace: Workspace, competition: Competition, standing: Standing
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
    listed = lists.read(competition, decided=decision_file.read(workspace.decisions))
    findings = lint.lint_file(file, competition, listed)
    if findings:
        raise KitboxError(
            f"{file} {findings[0]}{more(len(findings) - 1, 'more')}; mend the plugins or settings "
            "that made it and package it again"
        )
    return file, data


def attempts(kaggle: Kaggle) -> str:
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


def minute(at: str) -> str:
    """Return a time of the ledger to the minute, for people."""
    return at[:16].replace("T", " ")


def _refuse_repeat(sending: Sending, other: Standing, standing: Standing, *, again: bool) -> None:
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
    raise KitboxError(f"{whose} was sent on {minute(sending.at)} as {sending.ref}{came}; {_AGAIN}")
