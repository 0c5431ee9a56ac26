"""Starts a training from the checkpoint of another one, and says what was taken of it."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file

from kitbox.errors import KitboxError
from kitbox.network.checkpoint import Origin, learned_elsewhere, read_origin
from kitbox.network.trained_network import TrainedNetwork
from kitbox.plugin import discovery
from kitbox.plugin.plugin import Plugin
from kitbox.records import Strings
from kitbox.training import runs
from kitbox.workspace import Workspace, find_workspace


def find(given: str, workspace: Workspace, on: str, data: str) -> Path:
    """Return the checkpoint that `given` names: a file, a plugin, or FOLDER/NAME elsewhere.

    Of a plugin it is the last of its newest finished run, on the same side if there is one.
    Raises KitboxError for a plugin that is not trained, and for a network of this workspace that
    has seen images of the holdout that `data`, the digest of the training images, leaves out.
    """
    if Path(given).is_file():
        path = Path(given).resolve()
        # a training that is made again lies in a folder of its own there
        inside = path.is_relative_to(Workspace(workspace.root).cache.resolve())
    else:
        folder, _, name = given.rpartition("/")
        place = find_workspace(Path(folder)) if folder else workspace
        named = discovery.load(name, place)
        newest = runs.newest(place, named, on) or runs.newest(place, named, _other(on))
        if newest is None:
            where, there = (f" in {folder}", " there") if folder else ("", "")
            raise KitboxError(
                f"--init-from {given}: {name} is not trained{where}; "
                f"run 'kitbox train {name}'{there}, or give a checkpoint file"
            )
        path, inside = newest.path, place.root == workspace.root
    origin = read_origin(path)
    if inside and on == "holdout" and origin.data != data:
        raise KitboxError(
            f"--init-from {given}: that network learnt from other images of this competition than "
            "this training may, so it may have seen the holdout; name one trained on the same "
            "fold, or train with --on all"
        )
    return path


def _other(on: str) -> str:
    return "holdout" if on == "all" else "all"


def load(
    trained: TrainedNetwork,
    plugin: Plugin,
    label_map: Strings,
    path: Path,
    causes: runs.RunKey,
) -> tuple[str, ...]:
    """Load a checkpoint into a plugin's network as far as it fits; return what to say of that.

    The backbone is taken whole. A neck of another shape, and heads of other labels or losses, stay
    new. Of a training that is scored it is said where the network may have seen the holdout.
    Raises KitboxError for a checkpoint of another backbone.
    """
    origin = read_origin(path)
    backbone = origin.settings["backbone"]
    if backbone != plugin.backbone:
        raise KitboxError(
            f"--init-from: {path} has the backbone {backbone}, the plugin "
            f"{plugin.backbone}; name a network of the same backbone"
        )
    given, wanted = load_file(path), trained.state_dict()
    same_labels = origin.labels == tuple(str(label) for label in label_map)
    theirs = [loss["kind"] for loss in origin.settings["losses"]]
    ours = [loss.kind for loss in plugin.losses]
    taken: dict[str, torch.Tensor] = {}
    new: dict[str, list[str]] = {"neck": [], "heads": []}
    for name, tensor in wanted.items():
        head = name.startswith("heads.")
        fits = name in given and given[name].shape == tensor.shape
        if fits and (not head or (same_labels and _loss_of(name, theirs) == _loss_of(name, ours))):
            taken[name] = given[name]
        elif name.startswith("network.backbone."):
            raise KitboxError(f"--init-from: {path} does not fit {backbone} at {name}")
        else:
            new["heads" if head else "neck"].append(name)
    trained.load_state_dict(wanted | taken)
    said = _sentences(path, origin, label_map, len(taken), len(wanted), new)
    return (*said, *_warning(origin, label_map, causes))


def _loss_of(name: str, losses: Sequence[str]) -> str | None:
    """Return the loss whose head a tensor is of: heads come loss by loss, slice by slice."""
    return losses[int(name.split(".")[1]) % len(losses)] if losses else None


def _sentences(
    path: Path,
    origin: Origin,
    label_map: Strings,
    taken: int,
    wanted: int,
    new: dict[str, list[str]],
) -> list[str]:
    said = [f"starts from {origin.plugin} ({path}): {taken} of {wanted} tensors"]
    if new["neck"]:
        said.append(f"new, since it has none that fit: {', '.join(new['neck'])}")
    if new["heads"]:
        shared = len(set(origin.labels) & {str(label) for label in label_map})
        said.append(
            f"the heads are new: {shared} of {len(label_map)} labels are its own"
            if origin.labels != tuple(str(label) for label in label_map)
            else f"the heads are new: it has none that fit {', '.join(new['heads'])}"
        )
    return said


def _warning(origin: Origin, label_map: Strings, causes: runs.RunKey) -> list[str]:
    """Say where a network, or one before it, learnt labels of this holdout from other images."""
    labels = [str(label) for label in label_map]
    shared = learned_elsewhere(origin.learned_labels, causes.data, labels)
    if causes.on != "holdout" or not shared:
        return []
    return [
        f"warning: it may have seen the holdout: {len(shared)} of {len(labels)} labels were "
        "learnt before from other images; where these are the same photographs, the local score "
        "is too good"
    ]
