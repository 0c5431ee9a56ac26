"""Training runs on disk: a folder for each run key, with a journal and checkpoints."""

import json
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, StrictInt

from kitbox import locks
from kitbox.competition import pseudo_labels
from kitbox.competition.pseudo_labels import PseudoLabel
from kitbox.decisions import decision_file
from kitbox.decisions.decision_list import Decisions
from kitbox.errors import KitboxError, cannot_write
from kitbox.files import (
    append_line,
    digest_of,
    digest_of_file,
    parse_json,
    read_json,
    session_digest,
    write_json,
    write_text,
)
from kitbox.plugin import source_code
from kitbox.plugin.discovery import NamedPlugin
from kitbox.plugin.plugin import Plugin
from kitbox.records import Checkpoint, ImageSet, LabelledImages
from kitbox.value import FileName, Recorded, check
from kitbox.workspace import Workspace

# In run.json beside the key: the path of the --init-from checkpoint, the plugin's settings, and the
# digest of the decisions that a training reads. They are not part of the key: the checkpoint's
# bytes, the fingerprint, and the images with their labels and boxes are.
_INIT_PATH, _SETTINGS, _DECIDED = "begun_from", "settings", "decisions"
# Of a finished run also the digests of its checkpoints, in run.json and in the journal's last line.
_CHECKPOINTS = "checkpoints"
# Settings of an unfinished run that a message lists, and characters of each.
_SHOWN, _LONGEST = 3, 40


class OtherImagesError(KitboxError):
    """A plugin was trained, but on other images, labels or boxes than there are now."""


@dataclass(frozen=True, kw_only=True)
class RunKey:
    """Everything that determines the result of a run; most values are digests."""

    plugin: FileName
    fingerprint: str
    data: str  # training images, labels and boxes; '' for none
    weights: str  # initial weights
    on: str  # "holdout", "all" or "none"
    seed: StrictInt
    precision: str
    boxes: str | None = None  # several boxes of an image, where the plugin draws one of them
    pseudo: str | None = None  # pseudo-labels

    @property
    def digest(self) -> str:
        """Twelve hex digits that name the run's folder; absent values are left out."""
        present = {name: value for name, value in asdict(self).items() if value is not None}
        return digest_of(present)[:12]

    def fits(self, on: str, data: str) -> bool:
        """Return whether the network may be used where one trained on this data is wanted."""
        return self.on == "none" or (self.on, self.data) == (on, data)

    def same_task(self, other: "RunKey") -> bool:
        """Return whether two runs have the same settings and images."""
        theirs = (other.fingerprint, other.on, other.data)
        return (self.fingerprint, self.on, self.data) == theirs


class _Beside(Recorded):
    """What run.json has beside the key."""

    begun_from: str | None = None
    settings: dict[str, Any] | None = None
    decisions: str | None = None
    checkpoints: dict[str, str] = Field(default={})


class _Event(Recorded):
    """A line of the journal; a figure without a value is NaN."""

    model_config = ConfigDict(allow_inf_nan=True)
    event: Literal["epoch", "score", "warning", "finished"]
    epoch: int


class _Epoch(_Event):
    loss: float | None = None
    losses: dict[str, float] = Field(default={})
    figures: dict[str, float] = Field(default={})
    images_per_second: float
    seconds: float


class _Value(Recorded):
    value: float


class _Score(_Event):
    scores: dict[str, _Value] = Field(default={})


class _Warning(_Event):
    text: str


class _Finished(_Event):
    checkpoints: dict[str, str] = Field(default={})


_EVENTS: dict[str, type[_Event]] = {
    "epoch": _Epoch,
    "score": _Score,
    "warning": _Warning,
    "finished": _Finished,
}


@dataclass(frozen=True)
class Run:
    """The folder of one run."""

    folder: Path

    @property
    def key_file(self) -> Path:
        """The run key, and the path of the --init-from checkpoint."""
        return self.folder / "run.json"

    @property
    def pseudo_labels(self) -> Path:
        """A copy of the pseudo-labels in the training set, if there are any."""
        return self.folder / "pseudo.csv"

    @property
    def journal(self) -> Path:
        """One JSON object per line: epochs, scores, warnings, the end."""
        return self.folder / "journal.jsonl"

    @property
    def state(self) -> Path:
        """The state after the last finished epoch; removed when the run has finished."""
        return self.folder / "state.pt"

    @property
    def last(self) -> Path:
        """The checkpoint after the last epoch."""
        return self.folder / "last.safetensors"

    @property
    def best(self) -> Path:
        """The checkpoint of the best holdout score."""
        return self.folder / "best.safetensors"

    @property
    def init_from(self) -> Path | None:
        """The checkpoint that the run started from with --init-from, None without one."""
        path = self.beside.begun_from
        return None if path is None else Path(path)

    @property
    def beside(self) -> _Beside:
        """What is recorded beside the key; raises KitboxError for a damaged run.json."""
        return check(_Beside, read_json(self.key_file), where=str(self.key_file), fix=self._fix)

    @property
    def _fix(self) -> str:
        return f"remove {self.folder}, and train again"

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return any(event["event"] == "finished" for event in self.events())

    def digests(self, path: Path) -> set[str]:
        """Return the recorded digests of a checkpoint: one, or none of an earlier release.

        They are two where one of the files that keep it is damaged.
        """
        ends = [event for event in self.events() if event["event"] == "finished"]
        records = [self.beside.checkpoints, *(end.get(_CHECKPOINTS, {}) for end in ends[-1:])]
        found = {record.get(path.stem) for record in records}
        return {digest for digest in found if digest is not None}

    @property
    def gone(self) -> Path | None:
        """The last checkpoint of a finished run where it is there no more, else None."""
        return None if self.last.is_file() else self.last

    @property
    def has_best(self) -> bool:
        """Whether a checkpoint of the best holdout score was saved."""
        scored = any(event["event"] == "score" and event.get("best") for event in self.events())
        return scored or self.best.exists()

    def events(self) -> list[dict[str, Any]]:
        """Return the journal's lines, without a last one that is incomplete.

        Raises KitboxError for a line of another form.
        """
        if not self.journal.exists():
            return []
        events = []
        lines = self.journal.read_bytes().split(b"\n")
        for number, line in enumerate(lines, 1):
            where = f"{self.journal} line {number}"
            try:
                event = parse_json(line, finite=False) if line.strip() else None
            except ValueError as error:
                if number < len(lines):
                    what = f"is damaged ({error})"
                    raise KitboxError(what, where=where, fix=self._fix) from error
                break
            if event is not None:
                kind = check(_Event, event, where=where, fix=self._fix).event
                check(_EVENTS.get(kind, _Event), event, where=where, fix=self._fix)
                events.append(event)
        return events

    def log(self, event: str, **values: Any) -> None:
        """Append a line to the journal."""
        line = json.dumps({"event": event, **values}) + "\n"
        try:
            append_line(self.journal, line.encode())
        except OSError as error:
            raise cannot_write(self.journal, error) from error

    def discard_after(self, epoch: int) -> None:
        """Drop the journal's lines about later epochs, which will be trained again."""
        kept = [event for event in self.events() if event.get("epoch", 0) <= epoch]
        write_text(self.journal, "".join(json.dumps(event) + "\n" for event in kept))


def begin(
    run: Run,
    key: RunKey,
    pseudo: Sequence[PseudoLabel] = (),
    init_from: Path | None = None,
    *,
    plugin: Plugin,
    fresh: bool,
    decided: Decisions | None = None,
) -> None:
    """Write the key and the pseudo-labels of a run; `fresh` removes its earlier results.

    `init_from` is the checkpoint that the run continues from; its path is written too, and the
    settings of the `plugin` and the digest of what was `decided`, for messages.
    """
    if fresh:
        for path in (run.key_file, run.state, run.journal, run.best, run.last):
            path.unlink(missing_ok=True)
        shutil.rmtree(run.folder / "tensorboard", ignore_errors=True)
    if init_from is not None or not run.key_file.exists():
        beside: dict[str, Any] = {_SETTINGS: plugin.recorded}
        if init_from is not None:
            beside[_INIT_PATH] = str(init_from)
        if decided is not None:
            beside[_DECIDED] = decided.training_digest
        write_json(run.key_file, asdict(key) | beside)
    if pseudo:
        pseudo_labels.save(run.pseudo_labels, pseudo)


def finish(run: Run, epoch: int) -> None:
    """Record the end of a training with the digests of its checkpoints, and remove its state.

    The journal's line comes last: a run that was killed before it is finished by the next command.
    """
    digests = {path.stem: digest_of_file(path) for path in (run.last, run.best) if path.exists()}
    write_json(run.key_file, read_json(run.key_file) | {_CHECKPOINTS: digests})
    run.log("finished", epoch=epoch, **{_CHECKPOINTS: digests})
    run.state.unlink(missing_ok=True)


def load_key(run: Run) -> RunKey:
    """Return the key of a run."""
    values, where = read_json(run.key_file), str(run.key_file)
    key = check(RunKey, values, where=where, fix=run._fix)
    own = {*(field.name for field in fields(RunKey)), *_Beside.model_fields}
    for name in values.keys() - own:
        raise KitboxError(f"{name!r} is of another release of kitbox", where=where, fix=run._fix)
    return key


def unfinished(workspace: Workspace, key: RunKey, plugin: Plugin) -> list[str]:
    """Return a sentence for each unfinished run of a plugin that differs from a new one.

    `key` and `plugin` are those of the new run. A run without a finished epoch is left out: there
    is nothing to continue.
    """
    sentences = []
    for path in sorted((workspace.runs / key.plugin).glob("*/run.json")):
        run = Run(path.parent)
        epochs = [event["epoch"] for event in run.events() if event["event"] == "epoch"]
        if run.folder.name == key.digest or run.finished or not run.state.exists() or not epochs:
            continue
        earlier, settings = load_key(run), run.beside.settings
        of = f" of {settings['epochs']}" if settings else ""
        had = "; ".join(_differences(key, plugin, earlier, settings))
        sentences.append(
            f"an earlier training of {key.plugin} stays unfinished, {max(epochs)}{of} epochs done: "
            f"{had}; set that back and train again to continue it, or delete {run.folder}"
        )
    return sentences


def _differences(
    key: RunKey, plugin: Plugin, earlier: RunKey, settings: dict[str, Any] | None
) -> list[str]:
    """Return how an earlier run differs from a new one, as parts of a sentence."""
    parts = []
    if earlier.fingerprint != key.fingerprint:
        now = plugin.recorded
        before = {} if settings is None else settings
        code = source_code.changes(before.get("code", {}), now.get("code", {}))
        parts += [f"it had another {' and '.join(code)}"] if code else []
        changed = [name for name in before if name != "code" and before[name] != now.get(name)]
        parts += [
            f"it had {name} = {before[name]}, now {now.get(name)}"
            if len(f"{before[name]}{now.get(name)}") <= _LONGEST
            else f"it had another value of {name}"
            for name in changed[:_SHOWN]
        ]
        if len(changed) > _SHOWN:
            parts.append(f"other values of {', '.join(changed[_SHOWN:])}")
        if not changed and not code:
            parts.append("it had other settings of the plugin")
    if earlier.on != key.on:
        parts.append(f"it was --on {earlier.on}")
    elif (earlier.data, earlier.boxes) != (key.data, key.boxes):
        parts.append("it had other images, labels or boxes (or another --fold)")
    if earlier.weights != key.weights:
        parts.append("it had other initial weights (--weights, --init-from)")
    for name in ("seed", "precision"):
        if (one := getattr(earlier, name)) != getattr(key, name):
            parts.append(f"it had --{name} {one}")
    if earlier.pseudo != key.pseudo:
        parts.append("it had other pseudo-labels")
    return parts


def lock(run: Run, *, wait: bool = False) -> AbstractContextManager[None]:
    """Keep other processes from training the same run; they are refused, or `wait`."""
    held = f"another process is training {run.folder.parent.name}"
    return locks.lock(run.folder / "lock", None if wait else held)


def data_digest(images: LabelledImages) -> str:
    """Return the digest of training images: their bytes, labels and boxes."""
    boxes = [None] * len(images) if images.boxes is None else _boxes(images)
    columns = [each.tolist() for each in (images.image_ids, images.labels, images.file_digests)]
    return digest_of([list(row) for row in zip(*columns, boxes, strict=True)])


def find(
    workspace: Workspace,
    named: NamedPlugin,
    *,
    on: str,
    data: str,
    which: str = "last",
    fold: int = 1,
) -> Checkpoint:
    """Return the last (or best) checkpoint of a plugin's newest finished run on this data.

    `fold` is the fold whose images `data` names. Raises KitboxError that says what is missing, or
    how an existing run differs, with the command that trains the plugin; OtherImagesError where
    only the data differs.
    """
    runs = _runs(workspace, named)
    keys = {run.folder: load_key(run) for run in runs}
    same = [run for run in runs if keys[run.folder].fingerprint == named.plugin.fingerprint]
    fitting = [run for run in same if keys[run.folder].fits(on, data)]
    finished = [run for run in fitting if run.finished]
    option = " --on all" if on == "all" else f" --fold {fold}" if fold > 1 else ""
    if named.plugin.frozen:  # else its network is not from a training
        option += "".join(f" --init-from {run.init_from}" for run in same[:1] if run.init_from)
    command = f"run 'kitbox train {named.name}{option}'"
    if finished:
        run = max(finished, key=_end)
        return _read(run, which, command)
    if fitting:
        raise KitboxError(f"the training of {named.name} is not finished; {command} to resume it")
    others = [run for run in same if keys[run.folder].on == on]
    if others:
        changed = decisions_changed_since(workspace, others)
        reason = f": {workspace.decisions.name} has changed since" if changed else ""
        raise OtherImagesError(
            f"{named.name} was trained on other images, labels or boxes than there are now"
            f"{reason}; {command}"
        )
    if runs and not same:
        code = _changed_code(max(runs, key=_end), named.plugin)
        other = "other settings than it has now"
        if code:
            other = f"another {' and '.join(code)} than there is now"
        raise KitboxError(f"{named.name} was trained with {other}; {command}")
    raise KitboxError(f"{named.name} is not trained on {on}; {command}")


def _changed_code(run: Run, plugin: Plugin) -> list[str]:
    """Return the files of a user's code that changed since a run, if nothing else did."""
    before = run.beside.settings or {}
    if {**before, "code": None} != {**plugin.recorded, "code": None}:
        return []
    return source_code.changes(before.get("code", {}), plugin.code)


def reuse(run: Run) -> Checkpoint:
    """Return the last checkpoint of a finished run, and make the run its plugin's newest.

    Raises KitboxError for a damaged one.
    """
    found = _read(run)
    run.journal.touch()
    run.state.unlink(missing_ok=True)  # a run that was killed at its end has it still
    return found


def newest(workspace: Workspace, named: NamedPlugin, on: str) -> Checkpoint | None:
    """Return the last checkpoint of a plugin's newest finished run on any images, None if none."""
    done = [run for run in _finished(workspace, named) if load_key(run).on in (on, "none")]
    return _read(max(done, key=_end)) if done else None


def trained_on(workspace: Workspace, named: NamedPlugin) -> list[str]:
    """Return on what ("all", "holdout") a plugin with its present settings is trained."""
    return sorted({load_key(run).on for run in _finished(workspace, named)} - {"none"})


def ambiguity(checkpoint: Checkpoint) -> str | None:
    """Return a sentence on which of several comparable runs a checkpoint is from, None if one.

    Comparable runs have the same settings and images, but other initial weights or pseudo-labels.
    """
    run = Run(checkpoint.path.parent)
    if not run.key_file.exists():
        return None
    key = load_key(run)
    others = [Run(path.parent) for path in run.folder.parent.glob("*/run.json")]
    finished = [load_key(other) for other in others if other.finished]
    alike = [other for other in finished if other.same_task(key)]
    if len({(other.weights, other.pseudo) for other in alike}) < 2:
        return None
    from kitbox.network.checkpoint import read_origin  # it imports torch

    origin = read_origin(checkpoint.path)
    start = origin.init_from or key.weights[:12]  # a digest where the weights have no name
    pseudo = f"with pseudo-labels of round {origin.pseudo_round}"
    return (
        f"{key.plugin}: {len(alike)} finished trainings differ in initial weights or "
        f"pseudo-labels; the newest is taken: from {start}, "
        f"{pseudo if key.pseudo else 'without pseudo-labels'}"
    )


def decisions_changed_since(workspace: Workspace, runs: list[Run]) -> bool:
    """Return whether decisions that a training reads have changed after the newest of some runs.

    Of a run that recorded none, every change of decisions.csv counts.
    """
    path, newest = workspace.decisions, max(runs, key=_end)
    if not path.is_file() or path.stat().st_mtime_ns < _end(newest):
        return False
    recorded = newest.beside.decisions
    return recorded is None or bool(recorded != decision_file.load(path).training_digest)


def find_init_checkpoint(workspace: Workspace, plugin: str, digest: str) -> Path | None:
    """Return the checkpoint of a digest that a plugin's run continued from, None if it is lost.

    Looks in all runs of the workspace, at the recorded paths, and among the backbone weights.
    """
    in_runs = sorted(workspace.runs.glob("*/*/*.safetensors"))
    runs = [Run(path.parent) for path in sorted((workspace.runs / plugin).glob("*/run.json"))]
    recorded = [run.init_from for run in runs if load_key(run).weights == digest and run.init_from]
    places = (*in_runs, *recorded, *sorted(workspace.weights.glob("*.safetensors")))
    found = (file for file in places if file.is_file() and digest_of_file(file) == digest)
    return next(found, None)


def find_pseudo_labels(workspace: Workspace, plugin: str, digest: str) -> Path | None:
    """Return a copy of the pseudo-labels of a digest in a plugin's runs, None if there is none."""
    for path in sorted((workspace.runs / plugin).glob("*/run.json")):
        run = Run(path.parent)
        if run.pseudo_labels.is_file() and load_key(run).pseudo == digest:
            return run.pseudo_labels
    return None


def exists(workspace: Workspace, named: NamedPlugin) -> bool:
    """Return whether a plugin has a finished run with its present settings."""
    return bool(_finished(workspace, named))


def _runs(workspace: Workspace, named: NamedPlugin) -> list[Run]:
    """Return the runs of a plugin.

    Of a frozen one only those that no image determines: of its initial weights, or of those of a
    trained network. Earlier releases kept one for each set of training images.
    """
    found = [Run(path.parent) for path in (workspace.runs / named.name).glob("*/run.json")]
    if not named.plugin.frozen:
        return found
    return [run for run in found if load_key(run).on == "none" or run.init_from is not None]


def _finished(workspace: Workspace, named: NamedPlugin) -> list[Run]:
    """Return the finished runs of a plugin with its present settings."""
    return [
        run
        for run in _runs(workspace, named)
        if load_key(run).fingerprint == named.plugin.fingerprint and run.finished
    ]


def _end(run: Run) -> int:
    """Return when a run last wrote its journal, or began where there is none, in nanoseconds."""
    return (run.journal if run.journal.exists() else run.key_file).stat().st_mtime_ns


def _boxes(images: ImageSet) -> list[list[float] | None]:
    assert images.boxes is not None  # noqa: S101  checked by the caller
    return [None if np.isnan(box).any() else [float(x) for x in box] for box in images.boxes]


def _read(run: Run, which: str = "last", command: str = "") -> Checkpoint:
    """Return a checkpoint of a finished run, whose bytes are those that its training wrote.

    `command` trains the plugin. Raises KitboxError for a checkpoint that is gone or damaged.
    """
    from kitbox.network.checkpoint import read_checkpoint  # it imports torch

    path = run.best if which == "best" and run.has_best else run.last
    if not command:
        on = load_key(run).on
        command = f"run 'kitbox train {run.folder.parent.name}{' --on all' if on == 'all' else ''}'"
    if path == run.best:  # a training that still has its last network begins again only if told to
        command = command.removesuffix("'") + " --fresh'"
    if not path.is_file():
        raise KitboxError(f"the checkpoint {path} is gone", fix=f"{command} to train it again")
    recorded = run.digests(path)
    if recorded and session_digest(path) not in recorded:
        raise KitboxError(
            f"the checkpoint {path} is damaged", fix=f"remove it, and {command} to train it again"
        )
    return read_checkpoint(path)
