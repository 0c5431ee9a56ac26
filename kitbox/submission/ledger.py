"""The ledger of submissions: what was made, sent and scored, a line for each thing that happened.

`submissions/ledger.jsonl` is only ever appended to. A line is one JSON object with `what`, `at`
(UTC) and `submission` (the name of its folder), and besides, by `what`:

- `record_submission`: `sha256` of the CSV, `note`, `plugins`, `metric`, `scores` on the holdout
- `sending`: `sha256`, `competition`, `description`; written before the first byte leaves
- `sent`: `ref`, the service's number of it; `adopted` where it was found there, not answered
- `refused`: `why`, and `ref` if it was the scoring that refused; the service said no
- `failed`: `why`; it never arrived
- `scored`: `public`, `private`, `source` ("kaggle" or "by hand"), `ref` where there is one
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError
from kitbox.files import append_line, read_json, sync_folder
from kitbox.workspace import Workspace

LedgerEvent = Literal["made", "sending", "sent", "refused", "failed", "scored"]
# Facts without which a line says nothing, and what they are; a line that lacks one is damaged.
_NEEDED: dict[str, dict[str, type | tuple[type, ...]]] = {
    "made": {"sha256": str, "plugins": list, "metric": str, "scores": dict},
    "sending": {"sha256": str, "description": str},
    "sent": {"ref": int},
    "refused": {"why": str},
    "failed": {"why": str},
    "scored": {"public": (int, float, type(None)), "private": (int, float, type(None))},
}


@dataclass(frozen=True)
class LedgerEntry:
    """One line: what happened to which submission, when, and the facts of it."""

    what: str
    at: str
    submission: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ledger:
    """The lines in their order, and the numbers of lines that a crash or a hand damaged."""

    entries: tuple[LedgerEntry, ...] = ()
    damaged: tuple[int, ...] = ()


def path_of(workspace: Workspace) -> Path:
    """Return the ledger's file; it need not exist."""
    return workspace.submissions / "ledger.jsonl"


def record_submission(workspace: Workspace, receipt: Mapping[str, Any], folder: Path) -> None:
    """Write that a submission was packaged in a folder; its receipt says how."""
    append(workspace, "made", folder.name, **facts_of_receipt(receipt))


def facts_of_receipt(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the ledger keeps of a receipt."""
    return {
        "sha256": receipt["csv"]["sha256"],
        "note": receipt.get("note", ""),
        "plugins": [plugin["name"] for plugin in receipt["plugins"]],
        "metric": _metric_of(receipt),
        "scores": dict(receipt["scores"]),
    }


def append(workspace: Workspace, what: LedgerEvent, submission: str, **facts: Any) -> LedgerEntry:
    """Add a line, durably: it is on the disk, whole, when this returns.

    Several processes may append at once. Raises KitboxError where the line cannot be written; the
    ledger is then what it was.
    """
    entry = LedgerEntry(what, datetime.now(UTC).isoformat(timespec="seconds"), submission, facts)
    head = {"what": what, "at": entry.at, "submission": submission}
    line = json.dumps(head | facts, ensure_ascii=False, allow_nan=False) + "\n"
    path = path_of(workspace)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _opened(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, fcntl.LOCK_EX) as file:
            append_line(file, line.encode())
        sync_folder(path.parent)
    except OSError as error:
        raise KitboxError(f"cannot write {path}: {error.strerror or error}") from error
    return entry


def load(workspace: Workspace) -> Ledger:
    """Return the ledger; a line that is torn or no entry is skipped, and its number kept."""
    path = path_of(workspace)
    try:
        with (
            _opened(path, os.O_RDONLY, fcntl.LOCK_SH) as file,
            os.fdopen(os.dup(file), "rb") as lines,
        ):
            data = lines.read()
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


def entries_from_receipts(workspace: Workspace) -> Iterator[LedgerEntry]:
    """Yield a `record_submission` entry for each submission folder with a readable receipt.

    They speak for submissions that came without their line: made elsewhere, or by an older kitbox.
    """
    for file in sorted(workspace.submissions.glob("*/receipt.json")):
        try:
            receipt = read_json(file)
            facts = facts_of_receipt(receipt)
            created = str(receipt.get("created", ""))
        except (KitboxError, KeyError, TypeError, AttributeError):
            continue
        yield LedgerEntry("made", created, file.parent.name, facts)


@contextmanager
def sending_lock(workspace: Workspace) -> Iterator[None]:
    """Keep every other process of this workspace from sending meanwhile.

    Raises KitboxError at once where another is sending. A process that dies leaves nothing locked.
    """
    path = workspace.cache / "sending.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(_opened(path, os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX | fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise KitboxError(
                f"another 'kitbox submission upload' is sending from {workspace.root} right now; "
                "run this again when it is done"
            ) from error
        yield


def _metric_of(receipt: Mapping[str, Any]) -> str:
    """Return the competition's own metric, which receipts of older kitboxes do not name."""
    if "metric" in receipt:
        return str(receipt["metric"])
    try:
        settings = receipt["competition"]
        rooted = settings | {"images": settings["images"] | {"root": "."}}
        return Competition.model_validate(rooted).metric
    except (KeyError, TypeError, ValidationError):  # settings that kitbox has no more
        return next(iter(receipt["scores"]), "")


@contextmanager
def _opened(path: Path, flags: int, lock: int) -> Iterator[int]:
    """Give a locked file descriptor; the lock goes with it."""
    file = os.open(path, flags, 0o644)
    try:
        fcntl.flock(file, lock)
        yield file
    finally:
        os.close(file)


def _entry(line: bytes) -> LedgerEntry | None:
    try:
        facts = json.loads(line)
        what, at, submission = (str(facts.pop(name)) for name in ("what", "at", "submission"))
        needed = _NEEDED[what]
        whole = all(isinstance(facts[name], kind) for name, kind in needed.items())
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return LedgerEntry(what, at, submission, facts) if whole else None
