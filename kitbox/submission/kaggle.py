"""A client of one competition on kaggle.com, with one call for each step of a submission.

It uses `kagglesdk`, on which the package kaggle is built. `import kaggle` itself signs in at once
and without a timeout, and its one call to submit does not report which of three steps failed:
asking for an upload address, uploading the bytes, creating the submission. Only the last is an
attempt that the competition counts.
"""

import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

from kitbox.errors import KitboxError
from kitbox.files import read_json

TOKEN_PAGE = "https://www.kaggle.com/settings/api"  # noqa: S105  an address
_NO_CREDENTIALS = (
    f"no Kaggle credentials: make a token at {TOKEN_PAGE} and put it in the environment variable "
    "KAGGLE_API_TOKEN or in the file ~/.kaggle/access_token; an older ~/.kaggle/kaggle.json "
    "will do too"
)
_LONGEST_REASON = 200  # characters
_LATER = "check the network, or try again later"
_PAGE_SIZE, _MOST_PAGES = 100, 20  # of the list of submissions


class KaggleError(KitboxError):
    """A failed call to Kaggle, with the fix.

    `refused` is set where Kaggle refused; otherwise the call may have been carried out. `status` is
    the HTTP status, 0 without a response; `retry_after` are the seconds that Kaggle asks to wait.
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
        super().__init__(what, fix=fix)
        self.refused, self.status, self.retry_after = refused, status, retry_after


@dataclass(frozen=True)
class Allowance:
    """Attempts that are left and that were used; `by_total` if the total is the tighter limit."""

    left: int
    today: int
    total: int
    by_total: bool


@dataclass(frozen=True)
class KaggleSubmission:
    """A submission as Kaggle shows it; a score that is not shown is None."""

    ref: int
    description: str
    status: Literal["pending", "complete", "error"]
    public: float | None
    private: float | None
    error: str


class Kaggle:
    """A client of one competition on Kaggle; each call opens a connection of its own.

    Every call has a timeout in seconds and raises KaggleError. The environment variables of
    proxies and KAGGLE_API_ENVIRONMENT apply.
    """

    def __init__(self, slug: str, timeout: float = 60.0) -> None:
        _require_package()
        self.slug, self.timeout = slug, timeout
        with self._errors_of("signing in"):
            self._credentials = find_credentials(timeout)

    @property
    def page(self) -> str:
        """The competition's address, for people."""
        return f"https://www.kaggle.com/competitions/{self.slug}"

    def check(self) -> None:
        """Raise KitboxError unless the competition exists, is joined, and accepts files."""
        request = _types().ApiGetCompetitionRequest()
        request.competition_name = self.slug
        with self._call("looking up the competition") as api:
            found = api.get_competition(request)
            joined, closed = found.user_has_entered, found.submissions_disabled
            notebooks = found.is_kernels_submissions_only
        if not joined:
            raise KitboxError(
                f"this Kaggle account has not joined {self.slug}; "
                f"accept its rules at {self.page}/rules"
            )
        if notebooks:
            raise KitboxError(
                f"{self.slug} takes notebooks and no files; submit one at {self.page}, then note "
                "its score with 'kitbox leaderboard record ID SCORE'"
            )
        if closed:
            raise KitboxError(f"{self.slug} takes no submissions now; see {self.page}")

    def allowance(self) -> Allowance:
        """Return how many attempts are left."""
        request = _types().ApiGetSubmissionLimitsRequest()
        request.competition_name = self.slug
        with self._call("asking for the attempts left") as api:
            limits = api.get_submission_limits(request)
            return Allowance(
                left=int(limits.num_allowed_now),
                today=int(limits.num_today),
                total=int(limits.num_total),
                by_total=bool(limits.limited_by_total),
            )

    def submissions(self) -> list[KaggleSubmission]:
        """Return this account's submissions, the latest first."""
        found: list[KaggleSubmission] = []
        request = _types().ApiListSubmissionsRequest()
        request.competition_name, request.page_size = self.slug, _PAGE_SIZE
        for _ in range(_MOST_PAGES):
            with self._call("listing the submissions") as api:
                answer = api.list_submissions(request)
                found += [_submission(one) for one in answer.submissions]
                token = str(answer.next_page_token)
            if not token:
                break
            request.page_token = token
        return found

    def upload(self, data: bytes, name: str, modified: float) -> str:
        """Upload the bytes of a file, and return the token to submit them with.

        This does not count as an attempt yet. `modified` is in seconds since 1970.
        """
        import requests

        request = _types().ApiStartSubmissionUploadRequest()
        request.competition_name, request.file_name = self.slug, name
        request.content_length, request.last_modified_epoch_seconds = len(data), int(modified)
        with self._call("asking for an upload address") as api:
            target = api.start_submission_upload(request)
            url, token = str(target.create_url), str(target.token)
            if not (url.startswith(("http://", "https://")) and token):
                raise ValueError("it has no upload address")
        with self._errors_of("uploading the file"):
            status = requests.put(url, data=data, timeout=self.timeout).status_code
        if status not in (200, 201):
            raise KaggleError(
                f"Kaggle's storage did not take the file ({status})", "try again later"
            )
        return token

    def create_submission(self, token: str, description: str) -> int:
        """Submit the uploaded bytes of a token, which is the attempt; return its number."""
        request = _types().ApiCreateSubmissionRequest()
        request.competition_name, request.blob_file_tokens = self.slug, token
        request.submission_description = description
        with self._call("submitting the file") as api:
            ref = int(api.create_submission(request).ref)
            if ref <= 0:
                raise ValueError("it has no number of the submission")
            return ref

    def submission(self, ref: int) -> KaggleSubmission:
        """Return one submission by its number."""
        request = _types().ApiGetSubmissionRequest()
        request.ref = ref
        with self._call("asking for the score") as api:
            return _submission(api.get_submission(request))

    @contextmanager
    def _call(self, doing: str) -> Iterator[Any]:
        from kagglesdk import KaggleClient

        with self._errors_of(doing), KaggleClient(**self._credentials) as client:
            set_timeout(client, self.timeout)
            yield client.competitions.competition_api_client

    def _errors_of(self, doing: str) -> AbstractContextManager[None]:
        return _translate_errors(doing, self.slug, self.timeout)


def _require_package() -> None:
    try:
        import kagglesdk  # noqa: F401
    except ImportError as error:
        raise KitboxError(
            "uploading needs the package kaggle; install it with pip install 'kitbox[upload]'"
        ) from error


def _types() -> Any:
    from kagglesdk.competitions.types import competition_api_service

    return competition_api_service


def _submission(found: Any) -> KaggleSubmission:
    if int(found.ref) <= 0:
        raise ValueError("a submission has no number")
    return KaggleSubmission(
        ref=int(found.ref),
        description=str(found.description or ""),
        status=found.status.name.lower(),
        public=_score(found.public_score),
        private=_score(found.private_score),
        error=one_line(str(found.error_description or "")),
    )


def _score(text: str | None) -> float | None:
    if text is None or not str(text).strip():
        return None
    score = float(text)
    if not math.isfinite(score):
        raise ValueError(f"a score is {text}")
    return score


def find_credentials(timeout: float) -> dict[str, str]:
    """Return the credentials of a client; raise KitboxError where there are none."""
    from kagglesdk import KaggleClient, KaggleCredentials, get_access_token_from_env

    token, _ = get_access_token_from_env()
    if token:
        return {"api_token": token}
    user, key = os.environ.get("KAGGLE_USERNAME"), os.environ.get("KAGGLE_KEY")
    if not (user and key):
        user, key = _from_kaggle_json()
    if user and key:
        return {"username": user, "password": key}
    with KaggleClient() as client:  # after 'kaggle auth login'
        set_timeout(client, timeout)
        login = KaggleCredentials.load(client)
        token = login.get_access_token() if login else None
    if not token:
        raise KitboxError(_NO_CREDENTIALS)
    return {"api_token": token}


def set_timeout(client: Any, timeout: float) -> None:
    """Give an opened client a timeout in seconds, which it does not have by itself."""
    session = getattr(client.http_client(), "_session", None)
    if session is not None:
        session.send = partial(session.send, timeout=timeout)


def _from_kaggle_json() -> tuple[str | None, str | None]:
    """Return the user and the key of kaggle.json, None where there is none."""
    given, settings = os.environ.get("KAGGLE_CONFIG_DIR"), os.environ.get("XDG_CONFIG_HOME")
    folders = [Path(given)] if given else [Path.home() / ".kaggle"]
    if not given:
        folders.append((Path(settings) if settings else Path.home() / ".config") / "kaggle")
    file = next((f / "kaggle.json" for f in folders if (f / "kaggle.json").is_file()), None)
    if file is None:
        return None, None
    found = read_json(file)
    if not (isinstance(found, dict) and found.get("username") and found.get("key")):
        raise KitboxError(f"{file} has no username and key; make a new one at {TOKEN_PAGE}")
    return str(found["username"]), str(found["key"])


@contextmanager
def _translate_errors(doing: str, slug: str, timeout: float) -> Iterator[None]:
    """Turn every failure of a call into a KaggleError."""
    import requests

    nonsense = (requests.RequestException, ValueError, KeyError, TypeError, AttributeError)
    try:
        yield
    except requests.HTTPError as error:
        raise _http_error(error, doing, slug) from error
    except requests.Timeout as error:
        raise KaggleError(
            f"Kaggle did not answer within {timeout:g} s while {doing}", _LATER
        ) from error
    except requests.ConnectionError as error:
        raise KaggleError(f"{_connection_problem(error)} while {doing}", _LATER) from error
    except nonsense as error:
        raise KaggleError(
            f"Kaggle's answer while {doing} is not understood ({_reason(error)})",
            "try again later, or 'pip install -U kaggle' if it stays so",
        ) from error


def _http_error(error: Any, doing: str, slug: str) -> KaggleError:
    """Return the KaggleError for an HTTP status."""
    status = int(error.response.status_code)
    wait = _seconds(error.response.headers.get("Retry-After"))
    page = f"https://www.kaggle.com/competitions/{slug}"
    what, fix = {
        401: ("Kaggle does not accept the credentials", f"make a new token at {TOKEN_PAGE}"),
        403: ("Kaggle forbids it", f"accept the rules at {page}/rules with this account"),
        404: (
            f"Kaggle knows no competition {slug}, or it is closed",
            "correct submission.kaggle in kitbox.toml, the last part of its address",
        ),
        429: (
            "Kaggle got too many requests",
            f"try again in {'a while' if wait is None else f'{math.ceil(wait)} s'}",
        ),
    }.get(status, ("Kaggle refused", f"fix what it names, or see {page}"))
    if status >= 500:
        what, fix = "Kaggle failed", "try again later"
    return KaggleError(
        f"{what} ({status} while {doing}: {_reason(error)})",
        fix,
        # 408: a proxy gave up on what Kaggle may still carry out
        refused=400 <= status < 500 and status != 408,
        status=status,
        retry_after=wait,
    )


def _connection_problem(error: Exception) -> str:
    # the exception's text has objects in memory and the signed address of an upload
    text = str(error)
    if "NameResolution" in text:
        return "the address of Kaggle cannot be found"
    if "refused" in text or "unreachable" in text:
        return "Kaggle cannot be reached (connection refused)"
    return "the connection to Kaggle was cut"


def _seconds(header: str | None) -> float | None:
    """Return the seconds of a Retry-After header, a number or a date; None for anything else."""
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
    # the address of an upload is signed: its reader could write there
    return one_line(re.sub(r" for url: \S+", "", str(error))) or type(error).__name__


def one_line(text: str) -> str:
    """Return a text from Kaggle, cut short and without line breaks."""
    return " ".join(text.split())[:_LONGEST_REASON]
