"""The status of each submission, replayed from the ledger, and how well local scores predict."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kitbox.errors import KitboxError, did_you_mean, more
from kitbox.submission import ledger
from kitbox.submission.ledger import LedgerEntry
from kitbox.workspace import Workspace

AttemptOutcome = Literal["open", "sent", "scored", "refused", "failed"]


@dataclass(frozen=True)
class Attempt:
    """One attempt to send a submission; the outcome "open" is not known yet."""

    at: str
    sha256: str
    description: str
    outcome: AttemptOutcome = "open"
    ref: int | None = None
    why: str = ""

    @property
    def arrived(self) -> bool:
        """Whether the service has the submission."""
        return self.outcome in ("sent", "scored")


@dataclass(frozen=True)
class SubmissionStatus:
    """A submission in the ledger; `scores` are local, `public` and `private` of the leaderboard."""

    submission: str
    made_at: str = ""
    sha256: str = ""
    note: str = ""
    plugins: tuple[str, ...] = ()
    metric: str = ""
    scores: Mapping[str, Any] = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()
    public: float | None = None
    private: float | None = None
    source: str = ""

    @property
    def last(self) -> Attempt | None:
        """The latest attempt to send it, or None."""
        return self.attempts[-1] if self.attempts else None

    @property
    def sent_at(self) -> str:
        """When it last reached the service, or ''."""
        return next((attempt.at for attempt in reversed(self.attempts) if attempt.arrived), "")

    def as_json(self) -> dict[str, Any]:
        """Return the fields that the leaderboard shows."""
        last = self.last
        return {
            "submission": self.submission,
            "made": self.made_at,
            "sha256": self.sha256,
            "note": self.note,
            "plugins": list(self.plugins),
            "metric": self.metric,
            "local": self.scores.get(self.metric),
            "public": self.public,
            "private": self.private,
            "source": self.source,
            "sent": self.sent_at,
            "sending": None if last is None else vars(last),
        }


def load(workspace: Workspace) -> dict[str, SubmissionStatus]:
    """Return the status of each submission by its id, in the order of their first line."""
    entries = ledger.load(workspace).entries
    made = {entry.submission for entry in entries if entry.what == "made"}
    receipts, _ = ledger.entries_from_receipts(workspace)  # the ledger has what counts
    others = (entry for entry in receipts if entry.submission not in made)
    return replay(chain(others, entries))


def sent_digests(workspace: Workspace) -> dict[str, str]:
    """Return sha256 → submission of every CSV that was sent, or may have been."""
    return {
        attempt.sha256: status.submission
        for status in load(workspace).values()
        for attempt in status.attempts
        if attempt.ref is not None or attempt.outcome == "open"
    }


def replay(entries: Iterable[LedgerEntry]) -> dict[str, SubmissionStatus]:
    """Return the status of each submission after these entries."""
    statuses: dict[str, SubmissionStatus] = {}
    for entry in entries:
        before = statuses.get(entry.submission, SubmissionStatus(entry.submission))
        statuses[entry.submission] = _after(before, entry)
    return statuses


def find(text: str, statuses: Mapping[str, SubmissionStatus]) -> SubmissionStatus:
    """Return the submission with this id, unique beginning of an id, or path of a folder."""
    name = text.rstrip("/").rsplit("/", 1)[-1]
    if name in statuses:
        return statuses[name]
    matches = [submission for submission in statuses if name and submission.startswith(name)]
    if len(matches) == 1:
        return statuses[matches[0]]
    if matches:
        raise KitboxError(
            f"{len(matches)} submissions begin with {text}, {matches[0]} and {matches[1]}"
            f"{more(len(matches) - 2, 'more')}; type more of it"
        )
    near = did_you_mean(name, statuses)
    listed = "" if near else "; 'kitbox leaderboard' lists them"
    raise KitboxError(f"no submission named {text}{near}{listed}")


def _after(before: SubmissionStatus, entry: LedgerEntry) -> SubmissionStatus:
    fields = entry.fields
    match entry.what:
        case "made":
            return replace(
                before,
                made_at=entry.at,
                sha256=fields["sha256"],
                note=str(fields.get("note", "")),
                plugins=tuple(str(name) for name in fields["plugins"]),
                metric=fields["metric"],
                scores=fields["scores"],
            )
        case "sending":
            attempt = Attempt(entry.at, fields["sha256"], fields["description"])
            return replace(before, attempts=(*before.attempts, attempt))
        case "scored":
            return _scored(before, entry)
        case "sent":
            return _with_outcome(before, "sent", ref=fields["ref"])
        case "refused":
            return _with_outcome(before, "refused", ref=fields.get("ref"), why=fields["why"])
        case _:
            return _with_outcome(before, "failed", why=fields["why"])


def _scored(before: SubmissionStatus, entry: LedgerEntry) -> SubmissionStatus:
    fields = entry.fields
    after = replace(
        before,
        public=before.public if fields["public"] is None else float(fields["public"]),
        private=before.private if fields["private"] is None else float(fields["private"]),
        source=str(fields.get("source", "")),
    )
    ref = fields.get("ref")
    return after if ref is None else _with_outcome(after, "scored", ref=ref)


def _with_outcome(
    before: SubmissionStatus, outcome: AttemptOutcome, *, ref: int | None = None, why: str = ""
) -> SubmissionStatus:
    """Give the outcome to the attempt with this ref, else to the latest."""
    if not before.attempts:
        return before
    index = next(
        (i for i, attempt in enumerate(before.attempts) if ref is not None and attempt.ref == ref),
        len(before.attempts) - 1,
    )
    attempt = before.attempts[index]
    changed = replace(attempt, outcome=outcome, why=why, ref=attempt.ref if ref is None else ref)
    return replace(
        before, attempts=(*before.attempts[:index], changed, *before.attempts[index + 1 :])
    )


_Values = NDArray[np.float64]
# With two pairs every line fits and every rank agrees.
FEWEST = 3


@dataclass(frozen=True)
class Agreement:
    """How well local scores predict the leaderboard, over pairs of both; None where undefined.

    `offset` is the mean of leaderboard minus local. `line_error` is the mean absolute error at each
    pair of a straight line fitted to the other pairs; `mean_error` is that of their mean.
    """

    pairs: int
    spearman: float | None
    pearson: float | None
    offset: float
    line_error: float
    mean_error: float

    def as_json(self) -> dict[str, Any]:
        """Return the fields."""
        return dict(vars(self))

    def __str__(self) -> str:
        side = "above" if self.offset >= 0 else "below"
        correlations = (
            "equal scores have no correlation"
            if self.spearman is None or self.pearson is None
            else f"Spearman {self.spearman:.2f}, Pearson {self.pearson:.2f}"
        )
        return (
            f"{self.pairs} submissions with both scores: {correlations}; the leaderboard lies "
            f"{abs(self.offset):.4g} {side} the local score on average, and a straight line from "
            f"the other submissions misses it by {self.line_error:.4g} (their mean alone by "
            f"{self.mean_error:.4g})"
        )


def score_pairs(statuses: Iterable[SubmissionStatus], metric: str) -> list[tuple[float, float]]:
    """Return (local, public) of every submission that has both by this metric.

    The same CSV in several submissions counts once.
    """
    pairs: dict[str, tuple[float, float]] = {}
    for status in statuses:
        local = status.scores.get(metric)
        if local is not None and status.public is not None:
            pairs[status.sha256] = (float(local["value"]), status.public)
    return list(pairs.values())


def measure_agreement(pairs: Sequence[tuple[float, float]]) -> Agreement | None:
    """Return how well the first of each pair predicts the second; None for fewer than three."""
    if len(pairs) < FEWEST:
        return None
    local, public = np.array(pairs, dtype=np.float64).T
    spearman, pearson = _correlations(local, public)
    return Agreement(
        pairs=len(pairs),
        spearman=spearman,
        pearson=pearson,
        offset=float((public - local).mean()),
        line_error=_leave_one_out_error(local, public),
        mean_error=_leave_one_out_error(np.zeros_like(local), public),
    )


def too_few_pairs(pairs: int) -> str:
    """Return the sentence for too few pairs to measure the agreement."""
    return (
        f"{pairs} of at least {FEWEST} submissions have a local and a leaderboard score: too few "
        "to tell how well one predicts the other; 'kitbox leaderboard record ID SCORE' adds one"
    )


def _correlations(local: _Values, public: _Values) -> tuple[float | None, float | None]:
    from scipy import stats

    if np.ptp(local) == 0 or np.ptp(public) == 0:
        return None, None
    rank = float(stats.spearmanr(local, public).statistic)
    # centred: scipy would warn that 1450.1 and 1450.2 are nearly constant
    line = float(stats.pearsonr(_centred(local), _centred(public)).statistic)
    return rank, line


def _centred(values: _Values) -> _Values:
    centred: _Values = values - values.mean()
    scaled: _Values = centred / np.abs(centred).max()
    return scaled


def _leave_one_out_error(local: _Values, public: _Values) -> float:
    """Return the mean absolute leave-one-out error of a least-squares line, flat for equal x."""
    errors = []
    for row in range(len(local)):
        x, y = np.delete(local, row), np.delete(public, row)
        spread = ((x - x.mean()) ** 2).sum()
        slope = ((x - x.mean()) * (y - y.mean())).sum() / spread if spread > 0 else 0.0
        errors.append(abs(y.mean() + slope * (local[row] - x.mean()) - public[row]))
    return float(np.mean(errors))
