"""What went wrong in a call to kaggle.com, in one sentence, and whether Kaggle said no."""

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from kitbox.errors import KitboxError
from kitbox.submission.credentials import TOKENS

_LONGEST_REASON = 200
_LATER = "check the network, or try again later"


class KaggleError(KitboxError):
    """A call to Kaggle that failed: what happened, and what to do.

    `refused` where Kaggle said no; else nobody knows whether the call was carried out. `status` is
    that of HTTP, 0 without an answer; `retry_after` the seconds that Kaggle asks to wait.
    """

    def __init__(
        self,
        what: str,
        fix: str,
        *,
        refused: bool = False,
        status: int = 0,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{what}; {fix}")
        self.what, self.fix = what, fix
        self.refused, self.status, self.retry_after = refused, status, retry_after


@contextmanager
def telling(doing: str, slug: str, patience: float) -> Iterator[None]:
    """Turn every way in which a call fails into a KaggleError."""
    import requests

    senseless = (requests.RequestException, ValueError, KeyError, TypeError, AttributeError)
    try:
        yield
    except requests.HTTPError as error:
        raise _answered(error, doing, slug) from error
    except requests.Timeout as error:
        raise KaggleError(
            f"Kaggle did not answer within {patience:g} s while {doing}", _LATER
        ) from error
    except requests.ConnectionError as error:
        raise KaggleError(f"{_unconnected(error)} while {doing}", _LATER) from error
    except senseless as error:
        raise KaggleError(
            f"Kaggle's answer while {doing} makes no sense ({_reason(error)})",
            "try again later, or 'pip install -U kaggle' if it stays so",
        ) from error


def one_line(text: str) -> str:
    """Return a text of Kaggle's, short and without line breaks."""
    return " ".join(text.split())[:_LONGEST_REASON]


def _answered(error: Any, doing: str, slug: str) -> KaggleError:
    """Return the trouble behind an HTTP status."""
    status = int(error.response.status_code)
    wait = _seconds(error.response.headers.get("Retry-After"))
    page = f"https://www.kaggle.com/competitions/{slug}"
    what, fix = {
        401: ("Kaggle does not accept the credentials", f"make a new token at {TOKENS}"),
        403: ("Kaggle forbids it", f"accept the rules at {page}/rules with this account"),
        404: (
            f"Kaggle knows no competition {slug}, or it is closed",
            "correct submission.kaggle in kitbox.toml, the last part of its address",
        ),
        429: (
            "Kaggle was asked too often",
            f"try again in {'a while' if wait is None else f'{math.ceil(wait)} s'}",
        ),
    }.get(status, ("Kaggle refuses", f"mend what it names, or see {page}"))
    if status >= 500:
        what, fix = "Kaggle itself failed", "try again later"
    return KaggleError(
        f"{what} ({status} while {doing}: {_reason(error)})",
        fix,
        # 408: a proxy on the way gave up on what Kaggle may still do
        refused=400 <= status < 500 and status != 408,
        status=status,
        retry_after=wait,
    )


def _unconnected(error: Exception) -> str:
    # the exception's own text names objects in memory, and the signed address of an upload
    text = str(error)
    if "NameResolution" in text:
        return "the address of Kaggle cannot be found"
    if "refused" in text or "unreachable" in text:
        return "Kaggle cannot be reached (connection refused)"
    return "the connection to Kaggle was cut"


def _seconds(header: str | None) -> float | None:
    """Return a Retry-After, a number of seconds or a date, in seconds; of nonsense None."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return "it is not JSON"
    if isinstance(error, KeyError):
        return f"unknown {error}"
    # the address of an upload is signed: whoever reads it may write there
    return one_line(re.sub(r" for url: \S+", "", str(error))) or type(error).__name__
