"""Training runs on disk: a folder for each set of causes, its journal and its checkpoints."""

import json
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kitbox import files
from kitbox.competition import pseudo_labels
from kitbox.competition.pseudo_labels import PseudoLabel
from kitbox.errors import KitboxError
from kitbox.files import digest_of, digest_of_file, read_json, write_json, write_text
from kitbox.network.checkpoint import read_checkpoint, read_origin
from kitbox.plugin.discovery import NamedPlugin
from kitbox.records import Checkpoint, ImageSet, LabelledImages
from kitbox.workspace import Workspace

# In run.json beside the causes: where the checkpoint lay that a run went on from. What it learns
# follows from the bytes alone.
PLACE = "begun_from"


class OtherImagesError(KitboxError):
    """A plugin was trained, but on other images, labels or boxes than are here now."""


@dataclass(frozen=True)
class RunKey:
    """All that decides what a run learns."""

    plugin: str
    fingerprint: str
    data: str  # images, labels and boxes it learns from
    weights: str  # where the backbone starts
    on: str  # "holdout" or "all"
    seed: int
    precision: str
    boxes: str | None = None  # among which a plugin chooses
    pseudo: str | None = None  # pseudo-labels

    @property
    def key(self) -> str:
        """Twelve hex digits that name the run; causes that it has not got name nothing."""
        return digest_of({name: of for name, of in asdict(self).items() if of is not None})[:12]

    def fits(self, other: "RunKey") -> bool:
        """Whether two runs have the same settings and images."""
        named = (other.fingerprint, other.on, other.data)
        return (self.fingerprint, self.on, self.data) == named


@dataclass(frozen=True)
class Run:
    """The folder of one run."""

    folder: Path

    @property
    def causes(self) -> Path:
        """What the run was made of."""
        return self.folder / "run.json"

    @property
    def pseudo_labels(self) -> Path:
        """The pseudo-labels that it learns from, as pseudo.csv has them, if there are any."""
        return self.folder / "pseudo.csv"

    @property
    def journal(self) -> Path:
        """One JSON object a line: epochs, scores, the end."""
        return self.folder / "journal.jsonl"

    @property
    def state(self) -> Path:
        """All that the next epoch needs; gone when the run has ended."""
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
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return any(entry["event"] == "finished" for entry in self.entries())

    def entries(self) -> list[dict[str, Any]]:
        """Return the journal; a last line that was cut off is left out."""
        if not self.journal.exists():
            return []
        entries = []
        for line in self.journal.read_text(encoding="utf-8").splitlines():
            try:
                entries.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return entries

    def note(self, event: str, **values: Any) -> None:
        """Add a line to the journal."""
        with self.journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, **values}) + "\n")

    def forget_after(self, epoch: int) -> None:
        """Take back what the journal says of epochs that have to be done again."""
        kept = [entry for entry in self.entries() if entry.get("epoch", 0) <= epoch]
        write_text(self.journal, "".join(json.dumps(entry) + "\n" for entry in kept))


def begin(
    run: Run,
    causes: RunKey,
    pseudo: Sequence[PseudoLabel] = (),
    begun_from: Path | None = None,
    *,
    fresh: bool,
) -> None:
    """Write down what a run is made of; `fresh` forgets what was done of it.

    Of pseudo-labels all are kept, of a checkpoint that it goes on from the place.
    """
    if fresh:
        for path in (run.state, run.journal, run.best, run.last):
            path.unlink(missing_ok=True)
        shutil.rmtree(run.folder / "tensorboard", ignore_errors=True)
    if begun_from is not None or not run.causes.exists():
        place = {} if begun_from is None else {PLACE: str(begun_from)}
        write_json(run.causes, asdict(causes) | place)
    if pseudo:
        pseudo_labels.write(run.pseudo_labels, pseudo)


def causes_of(run: Run) -> RunKey:
    """Return what a run was made of."""
    said = read_json(run.causes)
    said.pop(PLACE, None)
    return RunKey(**said)


def locked(run: Run) -> AbstractContextManager[None]:
    """Keep other processes from training the same run meanwhile."""
    return files.lock(run.folder, f"another process is training {run.folder.parent.name}")


def data_digest(images: LabelledImages) -> str:
    """Return the digest of what a network may learn from images: pixels, labels, boxes."""
    boxes = [None] * len(images) if images.boxes is None else _boxes(images)
    rows = zip(images.image_ids, images.labels, images.file_digests, boxes, strict=True)
    return digest_of([[str(i), str(label), str(digest), box] for i, label, digest, box in rows])


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

    Raises KitboxError that says what is missing, how a run that is there differs, and the command
    that trains it on the `fold`, whose data this is; OtherImagesError where only the data differs.
    """
    found = [Run(path.parent) for path in (workspace.runs / named.name).glob("*/run.json")]
    causes = {run.folder: causes_of(run) for run in found}
    same = [run for run in found if causes[run.folder].fingerprint == named.plugin.fingerprint]
    fitting = [
        run for run in same if causes[run.folder].on == on and causes[run.folder].data == data
    ]
    finished = [run for run in fitting if run.finished]
    option = " --on all" if on == "all" else f" --fold {fold}" if fold > 1 else ""
    command = f"run 'kitbox train {named.name}{option}'"
    if finished:
        run = max(finished, key=_end)
        return read_checkpoint(run.best if which == "best" and run.best.exists() else run.last)
    if fitting:
        raise KitboxError(f"the training of {named.name} is not finished; {command} to go on")
    others = [run for run in same if causes[run.folder].on == on]
    if others:
        raise OtherImagesError(
            f"{named.name} was trained on other images, labels or boxes than are here"
            f"{_since(workspace, others)}; {command}"
        )
    if found and not same:
        raise KitboxError(
            f"{named.name} was trained with other settings than it has now; {command}"
        )
    raise KitboxError(f"{named.name} is not trained on {on}; {command}")


def take(run: Run) -> Checkpoint:
    """Return the last checkpoint of a finished run, which is its plugin's newest from now on."""
    run.journal.touch()
    return read_checkpoint(run.last)


def newest(workspace: Workspace, named: NamedPlugin, on: str) -> Checkpoint | None:
    """Return the last checkpoint of a plugin's newest finished run, whatever images it learnt."""
    runs = [Run(path.parent) for path in (workspace.runs / named.name).glob("*/run.json")]
    done = [
        run
        for run in runs
        if run.finished
        and (causes := causes_of(run)).on == on
        and causes.fingerprint == named.plugin.fingerprint
    ]
    if not done:
        return None
    return read_checkpoint(max(done, key=_end).last)


def _end(run: Run) -> int:
    """Return when a run ended, in nanoseconds, or began where its journal is gone."""
    return (run.journal if run.journal.exists() else run.causes).stat().st_mtime_ns


def decided_since(workspace: Workspace, trained: list[Run]) -> bool:
    """Return whether decisions.csv has changed after the last of some runs."""
    path = workspace.decisions
    return path.is_file() and path.stat().st_mtime_ns >= max(map(_end, trained))


def _since(workspace: Workspace, trained: list[Run]) -> str:
    if not decided_since(workspace, trained):
        return ""
    return f": {workspace.decisions.name} has changed since"


def _boxes(images: ImageSet) -> list[list[float] | None]:
    assert images.boxes is not None  # noqa: S101  the caller looked
    return [None if np.isnan(box).any() else [float(x) for x in box] for box in images.boxes]


def trained_on(workspace: Workspace, named: NamedPlugin) -> list[str]:
    """Return on what ("holdout", "all") the plugin with its present settings was trained."""
    done = set()
    for path in (workspace.runs / named.name).glob("*/run.json"):
        run = Run(path.parent)
        causes = causes_of(run)
        if causes.fingerprint == named.plugin.fingerprint and run.finished:
            done.add(causes.on)
    return sorted(done)


def begun_from(workspace: Workspace, plugin: str, digest: str) -> Path | None:
    """Return the checkpoint of a digest from which a plugin's run went on, None if it is lost.

    It is looked for in all runs of the workspace, where it lay when it was named, and among the
    backbones' weights.
    """
    here = sorted(workspace.runs.glob("*/*/*.safetensors"))
    said = [read_json(path) for path in sorted((workspace.runs / plugin).glob("*/run.json"))]
    named = [Path(run[PLACE]) for run in said if run["weights"] == digest and PLACE in run]
    places = (*here, *named, *sorted(workspace.weights.glob("*.safetensors")))
    found = (file for file in places if file.is_file() and digest_of_file(file) == digest)
    return next(found, None)


def pseudo_labels_of(workspace: Workspace, plugin: str, digest: str) -> Path | None:
    """Return the pseudo-labels of a digest as a run of a plugin has kept them, None if none has."""
    for path in sorted((workspace.runs / plugin).glob("*/run.json")):
        run = Run(path.parent)
        if run.pseudo_labels.is_file() and causes_of(run).pseudo == digest:
            return run.pseudo_labels
    return None


def choice(checkpoint: Checkpoint) -> str | None:
    """Return a sentence on which of several finished runs a checkpoint is of; None if of the one.

    They have the same settings and images, but began with other weights or had other pseudo-labels.
    """
    own = Run(checkpoint.path.parent)
    if not own.causes.exists():
        return None
    causes = causes_of(own)
    found = [Run(path.parent) for path in own.folder.parent.glob("*/run.json")]
    alike = [of for run in found if (of := causes_of(run)).fits(causes) and run.finished]
    if len({(of.weights, of.pseudo) for of in alike}) < 2:
        return None
    origin = read_origin(checkpoint.path)
    began = origin.init_from or causes.weights[:12]  # where it is no name it is a digest
    learnt = f"with pseudo-labels of round {origin.pseudo_round}"
    return (
        f"{causes.plugin}: of {len(alike)} finished trainings that differ in where they began or "
        f"in pseudo-labels the newest is taken: from {began}, "
        f"{learnt if causes.pseudo else 'without pseudo-labels'}"
    )
