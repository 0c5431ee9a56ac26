"""Where each submission stands: the ledger's lines, folded to one value a submission."""

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
    """One attempt to send; "open" is one of which nobody knows whether it arrived."""

    at: str
    sha256: str
    description: str
    outcome: AttemptOutcome = "open"
    ref: int | None = None
    why: str = ""

    @property
    def arrived(self) -> bool:
        """Whether the service has it."""
        return self.outcome in ("sent", "scored")


@dataclass(frozen=True)
class SubmissionStatus:
    """What is known of one submission; `scores` are local, `public` and `private` are not."""

    submission: str
    made_at: str = ""
    sha256: str = ""
    note: str = ""
    plugins: tuple[str, ...] = ()
    metric: str = ""
    scores: Mapping[str, Any] = field(default_factory=dict)
    sendings: tuple[Attempt, ...] = ()
    public: float | None = None
    private: float | None = None
    source: str = ""

    @property
    def last(self) -> Attempt | None:
        """The latest attempt to send it."""
        return self.sendings[-1] if self.sendings else None

    @property
    def sent_at(self) -> str:
        """When it last reached the service, or ''."""
        return next((sending.at for sending in reversed(self.sendings) if sending.arrived), "")

    def as_json(self) -> dict[str, Any]:
        """Return what the leaderboard's table is drawn from."""
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
    """Return every submission by its id, in the order in which they were first heard of."""
    entries = ledger.load(workspace).entries
    written = {entry.submission for entry in entries if entry.what == "made"}
    unwritten = (e for e in ledger.entries_from_receipts(workspace) if e.submission not in written)
    return replay(chain(unwritten, entries))


def sent_digests(workspace: Workspace) -> dict[str, str]:
    """Return sha256 → submission of every list that was sent, or may have been."""
    return {
        sending.sha256: standing.submission
        for standing in load(workspace).values()
        for sending in standing.sendings
        if sending.ref is not None or sending.outcome == "open"
    }


def replay(entries: Iterable[LedgerEntry]) -> dict[str, SubmissionStatus]:
    """Return what a run of entries comes to, by submission."""
    found: dict[str, SubmissionStatus] = {}
    for entry in entries:
        before = found.get(entry.submission, SubmissionStatus(entry.submission))
        found[entry.submission] = _after(before, entry)
    return found


def find(text: str, known: Mapping[str, SubmissionStatus]) -> SubmissionStatus:
    """Return the submission of an id, of the unique beginning of one, or of its folder's path."""
    name = text.rstrip("/").rsplit("/", 1)[-1]
    if name in known:
        return known[name]
    begun = [submission for submission in known if name and submission.startswith(name)]
    if len(begun) == 1:
        return known[begun[0]]
    if begun:
        raise KitboxError(
            f"{text} begins {len(begun)} submissions, {begun[0]} and {begun[1]}"
            f"{more(len(begun) - 2, 'more')}; type more of it"
        )
    near = did_you_mean(name, known)
    listed = "" if near else "; 'kitbox leaderboard' lists them"
    raise KitboxError(f"no submission named {text}{near}{listed}")


def _after(before: SubmissionStatus, entry: LedgerEntry) -> SubmissionStatus:
    facts = entry.facts
    match entry.what:
        case "made":
            return replace(
                before,
                made_at=entry.at,
                sha256=facts["sha256"],
                note=str(facts.get("note", "")),
                plugins=tuple(str(name) for name in facts["plugins"]),
                metric=facts["metric"],
                scores=facts["scores"],
            )
        case "sending":
            sending = Attempt(entry.at, facts["sha256"], facts["description"])
            return replace(before, sendings=(*before.sendings, sending))
        case "scored":
            return _scored(before, entry)
        case "sent":
            return _with_outcome(before, "sent", ref=facts["ref"])
        case "refused":
            return _with_outcome(before, "refused", ref=facts.get("ref"), why=facts["why"])
        case _:
            return _with_outcome(before, "failed", why=facts["why"])


def _scored(before: SubmissionStatus, entry: LedgerEntry) -> SubmissionStatus:
    facts = entry.facts
    after = replace(
        before,
        public=before.public if facts["public"] is None else float(facts["public"]),
        private=before.private if facts["private"] is None else float(facts["private"]),
        source=str(facts.get("source", "")),
    )
    ref = facts.get("ref")
    return after if ref is None else _with_outcome(after, "scored", ref=ref)


def _with_outcome(
    before: SubmissionStatus, outcome: AttemptOutcome, *, ref: int | None = None, why: str = ""
) -> SubmissionStatus:
    """Give the outcome to the attempt with this ref, else to the latest."""
    if not before.sendings:
        return before
    place = next(
        (i for i, sending in enumerate(before.sendings) if ref is not None and sending.ref == ref),
        len(before.sendings) - 1,
    )
    sending = before.sendings[place]
    changed = replace(sending, outcome=outcome, why=why, ref=sending.ref if ref is None else ref)
    return replace(
        before, sendings=(*before.sendings[:place], changed, *before.sendings[place + 1 :])
    )


_Values = NDArray[np.float64]
# With two, every line fits and every rank agrees.
FEWEST = 3


@dataclass(frozen=True)
class Agreement:
    """Correlations and errors over pairs of (local, leaderboard); None where undefined.

    `offset` is the mean of leaderboard minus local. `line_error` is the mean absolute error of a
    straight line through the other pairs, for each pair in turn; `mean_error` that of their mean.
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
            "no correlation can be told from scores that are all the same"
            if self.spearman is None or self.pearson is None
            else f"Spearman {self.spearman:.2f}, Pearson {self.pearson:.2f}"
        )
        return (
            f"{self.pairs} submissions with both scores: {correlations}; the leaderboard lies "
            f"{abs(self.offset):.4g} {side} the local score on average, and a straight line from "
            f"the other submissions misses it by {self.line_error:.4g} (their mean alone by "
            f"{self.mean_error:.4g})"
        )


def score_pairs(standings: Iterable[SubmissionStatus], metric: str) -> list[tuple[float, float]]:
    """Return (local, public) of every submission that has both by this metric.

    The same list under several names counts once.
    """
    found: dict[str, tuple[float, float]] = {}
    for standing in standings:
        local = standing.scores.get(metric)
        if local is not None and standing.public is not None:
            found[standing.sha256] = (float(local["value"]), standing.public)
    return list(found.values())


def measure_agreement(pairs: Sequence[tuple[float, float]]) -> Agreement | None:
    """Return how well the first of each pair foretells the second; None for fewer than three."""
    if len(pairs) < FEWEST:
        return None
    local, public = np.array(pairs, dtype=np.float64).T
    spearman, pearson = _correlations(local, public)
    return Agreement(
        pairs=len(pairs),
        spearman=spearman,
        pearson=pearson,
        offset=float((public - local).mean()),
        line_error=_left_out(local, public),
        mean_error=_left_out(np.zeros_like(local), public),
    )


def too_few_pairs(pairs: int) -> str:
    """Return the sentence for a leaderboard that cannot say yet what local scores are worth."""
    return (
        f"{pairs} of at least {FEWEST} submissions have a local and a leaderboard score: too few "
        "to say how far the one foretells the other; 'kitbox leaderboard record ID SCORE' adds one"
    )


def _correlations(local: _Values, public: _Values) -> tuple[float | None, float | None]:
    from scipy import stats

    if np.ptp(local) == 0 or np.ptp(public) == 0:
        return None, None
    rank = float(stats.spearmanr(local, public).statistic)
    # around zero: of 1450.1 and 1450.2 scipy would say that they are nearly constant
    line = float(stats.pearsonr(_centred(local), _centred(public)).statistic)
    return rank, line


def _centred(values: _Values) -> _Values:
    centred: _Values = values - values.mean()
    scaled: _Values = centred / np.abs(centred).max()
    return scaled


def _left_out(local: _Values, public: _Values) -> float:
    """Return the mean absolute error of leave-one-out least squares; a flat line for equal x."""
    errors = []
    for place in range(len(local)):
        x, y = np.delete(local, place), np.delete(public, place)
        spread = ((x - x.mean()) ** 2).sum()
        slope = ((x - x.mean()) * (y - y.mean())).sum() / spread if spread > 0 else 0.0
        errors.append(abs(y.mean() + slope * (local[place] - x.mean()) - public[place]))
    return float(np.mean(errors))
