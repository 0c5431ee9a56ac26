"""The ledger of submissions: a line for each submission that was made, sent or scored.

`submissions/ledger.jsonl` is only ever appended to. A line is one JSON object with `what`, `at`
(UTC), `submission` (the name of its folder) and the fields of its event, by `what`:

- `made`: `sha256` of the CSV, `note`, `plugins`, `metric`, `scores` on the holdout, or
  none and the reason in `no_local_score`
- `sending`: `sha256`, `competition`, `description`; written before the first byte is sent
- `sent`: `ref`, the service's number of it; `adopted` if it was found there without an answer
- `refused`: `why`, and `ref` if the scoring refused it
- `failed`: `why`; it never arrived
- `scored`: `public`, `private`, `source` ("kaggle" or "by hand"), `ref` where there is one
"""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator

from kitbox.errors import KitboxError, cannot_write
from kitbox.files import append_line, parse_json, read_json
from kitbox.locks import lock
from kitbox.value import FileName, Recorded, check
from kitbox.workspace import Workspace

LedgerEvent = Literal["made", "sending", "sent", "refused", "failed", "scored"]


def _time(text: str) -> str:
    """Return a time that has an offset from UTC; raise ValueError for others."""
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError(f"{text} has no offset from UTC, as +00:00")
    return text


class RecordedScore(Recorded):
    """A score on the holdout, with its interval."""

    value: float
    low: float
    high: float


class RecordedCsv(Recorded):
    """The digest of a submission's CSV."""

    sha256: str


class RecordedMember(Recorded):
    """The name of a member of an ensemble."""

    name: FileName


class ReceiptSummary(Recorded):
    """What the ledger keeps of a receipt."""

    csv: RecordedCsv
    plugins: list[RecordedMember]
    metric: str
    scores: dict[str, RecordedScore]
    note: str = ""
    created: str = ""
    no_local_score: str | None = None


class _Head(Recorded):
    what: LedgerEvent
    at: Annotated[str, AfterValidator(_time)]
    submission: FileName


class _Made(Recorded):
    sha256: str
    plugins: list[str]
    metric: str
    scores: dict[str, RecordedScore]
    note: str = ""


class _Sending(Recorded):
    sha256: str
    description: str


class _Sent(Recorded):
    ref: int


class _Refused(Recorded):
    why: str
    ref: int | None = None


class _Failed(Recorded):
    why: str


class _Scored(Recorded):
    public: float | None
    private: float | None
    source: str = ""
    ref: int | None = None


# The fields of each event; a line of another form is damaged.
_FIELDS: Mapping[str, type[Recorded]] = dict(
    zip(get_args(LedgerEvent), (_Made, _Sending, _Sent, _Refused, _Failed, _Scored), strict=True)
)


@dataclass(frozen=True)
class LedgerEntry:
    """One line: an event of a submission, its time, and its fields."""

    what: str
    at: str
    submission: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ledger:
    """The lines in their order, and the numbers of damaged lines."""

    entries: tuple[LedgerEntry, ...] = ()
    damaged: tuple[int, ...] = ()


def path_of(workspace: Workspace) -> Path:
    """Return the path of the ledger, which need not exist."""
    return workspace.submissions / "ledger.jsonl"


def record_submission(workspace: Workspace, receipt: Mapping[str, Any], folder: Path) -> None:
    """Add the line of a submission that was packaged in a folder, unless it has the same one.

    A command that was killed after its line is run again, and makes the same submission.
    """
    fields = json.loads(json.dumps(receipt_fields(receipt)))  # as a line gives them back
    same = ("made", folder.name, fields)
    if all((e.what, e.submission, e.fields) != same for e in load(workspace).entries):
        append(workspace, "made", folder.name, **fields)


def receipt_fields(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that a ledger keeps of a receipt."""
    return {
        "sha256": receipt["csv"]["sha256"],
        "note": receipt.get("note", ""),
        "plugins": [plugin["name"] for plugin in receipt["plugins"]],
        "metric": str(receipt["metric"]),
        "scores": dict(receipt["scores"]),
        **{name: receipt[name] for name in ("no_local_score",) if name in receipt},
    }


def append(workspace: Workspace, what: LedgerEvent, submission: str, **fields: Any) -> LedgerEntry:
    """Add a line; it is on the disk, complete, when this returns.

    Several processes may append at once. Raises KitboxError where the line cannot be written, and
    leaves the ledger as it was.
    """
    entry = LedgerEntry(what, datetime.now(UTC).isoformat(timespec="seconds"), submission, fields)
    head = {"what": what, "at": entry.at, "submission": submission}
    line = json.dumps(head | fields, ensure_ascii=False, allow_nan=False) + "\n"
    path = path_of(workspace)
    try:
        with _lock(workspace):
            append_line(path, line.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise cannot_write(path, error) from error
    return entry


def load(workspace: Workspace) -> Ledger:
    """Return the ledger; damaged lines are skipped, and their numbers kept."""
    path = path_of(workspace)
    try:
        data = path.read_bytes()
        if data and not data.endswith(b"\n"):  # another process may be writing the last line
            with suppress(KitboxError), _lock(workspace):
                data = path.read_bytes()
    except FileNotFoundError:
        return Ledger()
    except OSError as error:
        raise KitboxError(f"cannot read {path}: {error.strerror or error}") from error
    entries, damaged = [], []
    for number, line in enumerate(data.split(b"\n"), start=1):
        entry = _entry(line)
        if entry is not None:
            entries.append(entry)
        elif line.strip():
            damaged.append(number)
    return Ledger(tuple(entries), tuple(damaged))


def entries_from_receipts(workspace: Workspace) -> tuple[list[LedgerEntry], list[KitboxError]]:
    """Return a `made` entry for each submission folder, and the errors of damaged receipts.

    They stand for submissions that were copied here, without a line of their own.
    """
    entries: list[LedgerEntry] = []
    mistakes: list[KitboxError] = []
    for file in sorted(workspace.submissions.glob("*/receipt.json")):
        try:
            receipt = read_json(file)
            summary = check(ReceiptSummary, receipt, where=str(file))
        except KitboxError as error:
            mistakes.append(error)
        else:
            fields = receipt_fields(receipt)
            entries.append(LedgerEntry("made", summary.created, file.parent.name, fields))
    return entries, mistakes


def sending_lock(workspace: Workspace) -> AbstractContextManager[None]:
    """Keep other processes of this workspace from sending at the same time.

    Raises KitboxError at once where another is sending. The lock ends with its process.
    """
    return lock(
        workspace.cache / "sending.lock",
        f"another 'kitbox submission upload' is sending from {workspace.root} right now; "
        "run this again when it is done",
    )


def _lock(workspace: Workspace) -> AbstractContextManager[None]:
    return lock(workspace.cache / "ledger.lock")


def _entry(line: bytes) -> LedgerEntry | None:
    try:
        fields = parse_json(line)
        head = check(_Head, fields)
        check(_FIELDS[head.what], fields)
    except (ValueError, KitboxError):
        return None
    others = {name: value for name, value in fields.items() if name not in _Head.model_fields}
    return LedgerEntry(head.what, head.at, head.submission, others)
