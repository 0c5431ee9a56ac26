"""Finds again what runs were made from, and tells apart those that differ in it alone."""

from pathlib import Path

from kitbox.files import digest_of_file, read_json
from kitbox.network import checkpoint as checkpoints
from kitbox.records import Checkpoint
from kitbox.training.runs import PLACE, Run, causes_of
from kitbox.workspace import Workspace


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
    origin = checkpoints.read_origin(checkpoint.path)
    began = origin.init_from or causes.weights[:12]  # where it is no name it is a digest
    learnt = f"with pseudo-labels of round {origin.pseudo_round}"
    return (
        f"{causes.plugin}: of {len(alike)} finished trainings that differ in where they began or "
        f"in pseudo-labels the newest is taken: from {began}, "
        f"{learnt if causes.pseudo else 'without pseudo-labels'}"
    )
