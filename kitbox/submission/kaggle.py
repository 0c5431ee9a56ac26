"""Speaks with kaggle.com through the client of the package kaggle, one call for each step.

The client is `kagglesdk`, which the package kaggle brings and is built upon. `import kaggle` itself
signs in at once and without a time limit, and its one call to submit does not tell which of three
steps failed: asking for a place, putting the bytes there, handing them in. Only the last is an
attempt that the competition counts.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from kitbox.errors import KitboxError
from kitbox.submission import credentials
from kitbox.submission.trouble import KaggleError, one_line, telling

_PAGE, _PAGES = 100, 20  # of the list of submissions


@dataclass(frozen=True)
class Allowance:
    """Attempts: left for now, sent today and in all; `by_total` where the total is used up."""

    left: int
    today: int
    total: int
    by_total: bool


@dataclass(frozen=True)
class Submission:
    """What Kaggle says of one submission; a score that it does not show is None."""

    ref: int
    description: str
    status: Literal["pending", "complete", "error"]
    public: float | None
    private: float | None
    error: str


class Kaggle:
    """One competition on Kaggle; each call is a connection of its own and waits `patience` seconds.

    Every call raises KaggleError. KAGGLE_API_ENVIRONMENT and the proxy variables are heeded.
    """

    def __init__(self, slug: str, patience: float = 60.0) -> None:
        _installed()
        self.slug, self.patience = slug, patience
        with self._telling("signing in"):
            self._signed = credentials.find(patience)

    @property
    def page(self) -> str:
        """The competition's address, for people."""
        return f"https://www.kaggle.com/competitions/{self.slug}"

    def check(self) -> None:
        """Raise KitboxError unless the competition exists, is joined, and takes files."""
        request = _types().ApiGetCompetitionRequest()
        request.competition_name = self.slug
        with self._calling("looking up the competition") as api:
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
        with self._calling("asking for the attempts left") as api:
            limits = api.get_submission_limits(request)
            return Allowance(
                left=int(limits.num_allowed_now),
                today=int(limits.num_today),
                total=int(limits.num_total),
                by_total=bool(limits.limited_by_total),
            )

    def submissions(self) -> list[Submission]:
        """Return this account's submissions, the latest first."""
        found: list[Submission] = []
        request = _types().ApiListSubmissionsRequest()
        request.competition_name, request.page_size = self.slug, _PAGE
        for _ in range(_PAGES):
            with self._calling("listing the submissions") as api:
                answer = api.list_submissions(request)
                found += [_submission(one) for one in answer.submissions]
                token = str(answer.next_page_token)
            if not token:
                break
            request.page_token = token
        return found

    def put(self, data: bytes, name: str, modified: float) -> str:
        """Bring the bytes of a file to Kaggle, and return the token to hand them in with.

        Nothing counts as an attempt yet. `modified` is in seconds since 1970.
        """
        import requests

        request = _types().ApiStartSubmissionUploadRequest()
        request.competition_name, request.file_name = self.slug, name
        request.content_length, request.last_modified_epoch_seconds = len(data), int(modified)
        with self._calling("asking where to put the file") as api:
            place = api.start_submission_upload(request)
            url, token = str(place.create_url), str(place.token)
            if not (url.startswith(("http://", "https://")) and token):
                raise ValueError("it names no place")
        with self._telling("putting the file there"):
            status = requests.put(url, data=data, timeout=self.patience).status_code
        if status not in (200, 201):
            raise KaggleError(
                f"Kaggle's storage did not take the file ({status})", "try again later"
            )
        return token

    def hand_in(self, token: str, description: str) -> int:
        """Hand in the bytes behind a token: this is the attempt; return its number."""
        request = _types().ApiCreateSubmissionRequest()
        request.competition_name, request.blob_file_tokens = self.slug, token
        request.submission_description = description
        with self._calling("handing in the file") as api:
            ref = int(api.create_submission(request).ref)
            if ref <= 0:
                raise ValueError("it has no number of the submission")
            return ref

    def submission(self, ref: int) -> Submission:
        """Return one submission by its number."""
        request = _types().ApiGetSubmissionRequest()
        request.ref = ref
        with self._calling("asking for the score") as api:
            return _submission(api.get_submission(request))

    @contextmanager
    def _calling(self, doing: str) -> Iterator[Any]:
        from kagglesdk import KaggleClient

        with self._telling(doing), KaggleClient(**self._signed) as client:
            credentials.limit(client, self.patience)
            yield client.competitions.competition_api_client

    def _telling(self, doing: str) -> AbstractContextManager[None]:
        return telling(doing, self.slug, self.patience)


def _installed() -> None:
    try:
        import kagglesdk  # noqa: F401
    except ImportError as error:
        raise KitboxError(
            "uploading needs the package kaggle; install it with pip install 'kitbox[upload]'"
        ) from error


def _types() -> Any:
    from kagglesdk.competitions.types import competition_api_service

    return competition_api_service


def _submission(found: Any) -> Submission:
    if int(found.ref) <= 0:
        raise ValueError("a submission has no number")
    return Submission(
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
