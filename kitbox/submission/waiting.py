"""Waits until Kaggle has scored a submission."""

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import UTC, datetime

from kitbox.errors import KitboxError
from kitbox.submission.kaggle import Kaggle, Submission
from kitbox.submission.trouble import KaggleError


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


def settled(kaggle: Kaggle, ref: int, pace: Pace) -> Generator[str, None, Submission]:
    """Return a submission that is scored, or that could not be; yield lines for people.

    Failures that may pass are waited out. Raises KitboxError when the time is over, and where
    Kaggle does not accept this account.
    """
    end, pause, told = pace.clock() + pace.timeout, pace.first, False
    while True:
        found = _asked(kaggle, ref)
        if isinstance(found, Submission) and found.status != "pending":
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


def _asked(kaggle: Kaggle, ref: int) -> Submission | KaggleError:
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
