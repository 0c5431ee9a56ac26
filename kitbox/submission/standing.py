"""Where each submission stands: the ledger's lines, folded to one value a submission."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Literal

from kitbox.errors import KitboxError, did_you_mean, more
from kitbox.submission import ledger
from kitbox.submission.ledger import Entry
from kitbox.workspace import Workspace

Outcome = Literal["open", "sent", "scored", "refused", "failed"]


@dataclass(frozen=True)
class Sending:
    """One attempt to send; "open" is one of which nobody knows whether it arrived."""

    at: str
    sha256: str
    description: str
    outcome: Outcome = "open"
    ref: int | None = None
    why: str = ""

    @property
    def arrived(self) -> bool:
        """Whether the service has it."""
        return self.outcome in ("sent", "scored")


@dataclass(frozen=True)
class Standing:
    """What is known of one submission; `scores` are local, `public` and `private` are not."""

    submission: str
    made_at: str = ""
    sha256: str = ""
    note: str = ""
    plugins: tuple[str, ...] = ()
    metric: str = ""
    scores: Mapping[str, Any] = field(default_factory=dict)
    sendings: tuple[Sending, ...] = ()
    public: float | None = None
    private: float | None = None
    source: str = ""

    @property
    def last(self) -> Sending | None:
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


def standings(workspace: Workspace) -> dict[str, Standing]:
    """Return every submission by its id, in the order in which they were first heard of."""
    entries = ledger.read(workspace).entries
    written = {entry.submission for entry in entries if entry.what == "made"}
    unwritten = (e for e in ledger.packaged(workspace) if e.submission not in written)
    return fold(chain(unwritten, entries))


def sent(workspace: Workspace) -> dict[str, str]:
    """Return sha256 → submission of every list that was sent, or may have been."""
    return {
        sending.sha256: standing.submission
        for standing in standings(workspace).values()
        for sending in standing.sendings
        if sending.ref is not None or sending.outcome == "open"
    }


def fold(entries: Iterable[Entry]) -> dict[str, Standing]:
    """Return what a run of entries comes to, by submission."""
    found: dict[str, Standing] = {}
    for entry in entries:
        before = found.get(entry.submission, Standing(entry.submission))
        found[entry.submission] = _after(before, entry)
    return found


def resolve(text: str, known: Mapping[str, Standing]) -> Standing:
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


def _after(before: Standing, entry: Entry) -> Standing:
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
            sending = Sending(entry.at, facts["sha256"], facts["description"])
            return replace(before, sendings=(*before.sendings, sending))
        case "scored":
            return _scored(before, entry)
        case "sent":
            return _with_outcome(before, "sent", ref=facts["ref"])
        case "refused":
            return _with_outcome(before, "refused", ref=facts.get("ref"), why=facts["why"])
        case _:
            return _with_outcome(before, "failed", why=facts["why"])


def _scored(before: Standing, entry: Entry) -> Standing:
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
    before: Standing, outcome: Outcome, *, ref: int | None = None, why: str = ""
) -> Standing:
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
