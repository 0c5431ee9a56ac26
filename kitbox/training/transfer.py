"""Prepares a training, and builds its network with weights, pretrained or from a checkpoint."""

import random
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kitbox.devices.process_group import first_ahead
from kitbox.errors import KitboxError, KitboxWarning
from kitbox.network import inference, pretrained_weights
from kitbox.network.checkpoint import Origin, learned_elsewhere, read_origin, save_checkpoint
from kitbox.plugin import discovery
from kitbox.plugin.discovery import NamedPlugin
from kitbox.plugin.plugin import Plugin
from kitbox.records import Checkpoint, Strings
from kitbox.samplers.batch_samplers import check_shares
from kitbox.training import runs, training_set
from kitbox.training.context import InitialWeights, Training, TrainOptions, TrainSetup
from kitbox.training.runs import Run, RunKey
from kitbox.weights import weight_source
from kitbox.workspace import Workspace, find_workspace

if TYPE_CHECKING:  # torch and timm take seconds to import, and a finished training needs neither
    from torch import Tensor

    from kitbox.network.network import Network
    from kitbox.network.trained_network import TrainedNetwork


def prepare(named: NamedPlugin, setup: TrainSetup) -> Training | Checkpoint:
    """Return the training of a plugin, or its last checkpoint where there is nothing to train.

    That is so for a finished run, unless its checkpoint is gone or `fresh` discards it, and for a
    frozen plugin, whose network is built if need be. Raises KitboxError for weights that do not
    fit, an empty training set, and batches that processes cannot share.
    """
    if named.plugin.frozen and setup.options.init_from is None:
        with first_ahead():
            return frozen_checkpoint(named, setup.workspace, setup.options)
    training = _prepare(named, setup)
    return runs.reuse(training.run) if _is_done(training) else training


def check(named: NamedPlugin, setup: TrainSetup) -> None:
    """Raise KitboxError, with the plugin's name, for what would stop its training at the start.

    That are its weights, which are downloaded where they have to be, its batches, its training set,
    and the checkpoint that it starts from.
    """
    try:
        if named.plugin.frozen and setup.options.init_from is None:
            frozen_checkpoint(named, setup.workspace, setup.options)
            return
        training = _prepare(named, setup)
        if not _is_done(training):
            from kitbox.samplers.planner import build_planner

            build_on_cpu(training)
            build_planner(named.plugin, training.training_set.label_rows, training.seed)
    except KitboxError as error:
        raise KitboxError(str(error), where=named.name) from error


def _prepare(named: NamedPlugin, setup: TrainSetup) -> Training:
    """Select the training set and the initial weights of a plugin, and derive its run key."""
    plugin, options = named.plugin, setup.options
    device = inference.resolve_device(options.device)
    precision = inference.resolve_precision(options.precision, device, training=True)
    check_shares(plugin, (), options.processes.world)
    selected = training_set.select(plugin, setup)
    data = runs.data_digest(setup.images)
    weights = initial_weights(plugin, setup, data)
    key = RunKey(
        plugin=named.name,
        fingerprint=plugin.fingerprint,
        data=data,
        weights=weights.digest,
        on=options.on,
        seed=plugin.seed if options.seed is None else options.seed,
        precision=precision,
        boxes=selected.boxes_digest,
        pseudo=selected.pseudo_digest,
    )
    return Training(
        named=named, setup=setup, training_set=selected, weights=weights, key=key, device=device
    )


def _is_done(training: Training) -> bool:
    run = training.run
    return run.finished and not training.setup.options.fresh and run.gone is None


def initial_weights(plugin: Plugin, setup: TrainSetup, data: str) -> InitialWeights:
    """Return where the weights of a training come from; `data` is the digest of its images.

    Raises KitboxError as `find_checkpoint` and `resolve_source` do.
    """
    options, workspace = setup.options, setup.workspace
    if options.init_from is not None:
        path = find_checkpoint(options.init_from, workspace, options.on, data)
        return InitialWeights(plugin.backbone, "none", path)
    requested = options.weights or plugin.weights
    source = weight_source.resolve_source(requested, plugin.backbone, workspace.weights)
    return InitialWeights(plugin.backbone, source)


def frozen_checkpoint(
    named: NamedPlugin, workspace: Workspace, options: TrainOptions
) -> Checkpoint:
    """Return the network of a frozen plugin, which is built unless it is on disk.

    It has the initial weights of the plugin, and of its seed where these are random. No image
    determines it, so that it can be used on any.
    """
    plugin = named.plugin
    requested = options.weights or plugin.weights
    try:
        source = weight_source.resolve_source(requested, plugin.backbone, workspace.weights)
    except KitboxError as error:
        if options.weights is None and named.terms.source:
            what = f"{error.what} ({named.terms.source}; licence {named.terms.licence})"
            raise KitboxError(what, where=named.name, fix=error.fix) from error
        raise
    key = RunKey(
        plugin=named.name,
        fingerprint=plugin.fingerprint,
        data="",
        weights=weight_source.source_digest(source, plugin.backbone),
        on="none",
        seed=plugin.seed if options.seed is None else options.seed,
        precision="32",
    )
    run = Run(workspace.runs / key.plugin / key.digest)

    def is_built() -> bool:
        return run.finished and run.last.is_file() and not options.fresh

    if is_built():
        return runs.reuse(run)
    import torch

    with torch.random.fork_rng(devices=[]):  # before the lock, since a mistake leaves no folder
        torch.manual_seed(key.seed)
        network, notes = _initial_network(plugin, source)
    with runs.lock(run, wait=True):
        if is_built():  # by another process meanwhile
            return runs.reuse(run)
        for note in notes:
            warnings.warn(f"{named.name}: {note}", KitboxWarning, stacklevel=2)
        return _save_frozen(run, key, plugin, network, fresh=options.fresh)


def _save_frozen(
    run: Run, key: RunKey, plugin: Plugin, network: "Network", *, fresh: bool
) -> Checkpoint:
    from kitbox.network.trained_network import TrainedNetwork

    headless = plugin.model_copy(update={"losses": (), "divide": None})
    runs.begin(run, key, plugin=plugin, fresh=fresh)
    origin = Origin(
        plugin=key.plugin,
        settings=plugin.recorded,
        fingerprint=key.fingerprint,
        labels=(),
        epoch=0,
        on=key.on,
        data=key.data,
        weights=key.weights,
        seed=key.seed,
        precision=key.precision,
    )
    none = np.zeros(0, dtype=np.int64)
    saved = save_checkpoint(run.last, TrainedNetwork(network, headless, none), origin)
    runs.finish(run, 0)
    return saved


def build_if_frozen(named: NamedPlugin, workspace: Workspace) -> str | None:
    """Build the network of a frozen plugin if it has none in a workspace: it needs no training.

    Return a sentence on what was built, if anything. Raises KitboxError where there are no weights.
    """
    if not named.plugin.frozen or runs.exists(workspace, named):
        return None
    try:
        built = frozen_checkpoint(named, workspace, TrainOptions())
    except KitboxError as error:
        # other commands than train have no --weights, or mean something else by it
        train = f"'kitbox train {named.name}', which builds the network too"
        what = error.explanation
        fix = f"--weights belongs to {train}" if "--weights" in what else ""
        if "--weights none" in error.fix:  # random weights are no use here
            what = error.what
            from_file = f"{named.name}{',' if '@' in named.name else '@'}weights=file"
            fix = (
                f"put its file into {workspace.weights} and name {from_file}, or give it to {train}"
                ", with --weights FILE"
            )
        raise KitboxError(
            what, where=f"{named.name} is frozen, and its network cannot be built", fix=fix
        ) from error
    plugin = named.plugin
    source = weight_source.resolve_source(plugin.weights, plugin.backbone, workspace.weights)
    weights = {"hub": "the hub's weights", "none": "random weights"}.get(str(source), str(source))
    return (
        f"{named.name} is frozen (epochs = 0), so nothing is trained: built {plugin.backbone} at "
        f"{plugin.pixels} from {weights}, {built.path}"
    )


def find_checkpoint(name: str, workspace: Workspace, on: str, data: str) -> Path:
    """Return the checkpoint that --init-from names: a file, a plugin, or FOLDER/NAME elsewhere.

    For a plugin it is the last one of its newest finished run, preferably on the same side.
    Raises KitboxError for a plugin that is not trained, and for a network of this workspace that
    was trained on holdout images, which `data`, the digest of the training images, leaves out.
    """
    if Path(name).is_file():
        path = Path(name).resolve()
        # --retrain keeps the runs of a reproduced submission in a folder of their own there
        inside = path.is_relative_to(Workspace(workspace.root).cache.resolve())
    else:
        folder, _, plugin = name.rpartition("/")
        place = find_workspace(Path(folder)) if folder else workspace
        named = discovery.load(plugin, place)
        build_if_frozen(named, place)
        other = "holdout" if on == "all" else "all"
        newest = runs.newest(place, named, on) or runs.newest(place, named, other)
        if newest is None:
            where, there = (f" in {folder}", " there") if folder else ("", "")
            raise KitboxError(
                f"--init-from {name}: {plugin} is not trained{where}; "
                f"run 'kitbox train {plugin}'{there}, or give a checkpoint file"
            )
        path, inside = newest.path, place.root == workspace.root
    origin = read_origin(path)
    if inside and on == "holdout" and origin.data not in ("", data):
        raise KitboxError(
            f"--init-from {name}: that network was trained on other images of this competition "
            "than this training may use, so it may have seen the holdout; name one trained on the "
            "same fold, or train with --on all"
        )
    return path


def build(training: Training) -> "tuple[TrainedNetwork, tuple[str, ...]]":
    """Return the network with its initial weights, and sentences about a checkpoint's weights.

    Seeds everything first, so that each call returns the same weights.
    """
    import torch

    trained, notes = build_on_cpu(training)
    trained.to(training.fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return trained, notes


def build_on_cpu(training: Training) -> "tuple[TrainedNetwork, tuple[str, ...]]":
    """Return what `build` does, before it is on the devices of the training."""
    from kitbox.network import acceleration
    from kitbox.network.trained_network import TrainedNetwork

    seed_everything(training.seed)
    plugin, weights, training_set = training.plugin, training.weights, training.training_set
    network, notes = _initial_network(plugin, weights.source)
    if training.device == "cpu":
        acceleration.avoid_torch_crashes(network.backbone)
        acceleration.speed_up_training(network.backbone)
    # mirrored images are individuals of their own, after all others
    copies = 2 if plugin.flip_identities else 1
    trained = TrainedNetwork(network, plugin, np.tile(training_set.counts, copies))
    if weights.init_from is not None:
        notes += _load(trained, plugin, training_set.label_map, weights.init_from, training.key)
    return trained, notes


def _initial_network(plugin: Plugin, source: str | Path) -> "tuple[Network, tuple[str, ...]]":
    """Return a network whose backbone has its initial weights, and what their file has beside."""
    from kitbox.network.network import Network

    network = Network(plugin, pretrained=source == "hub")
    if not isinstance(source, Path):
        return network, ()
    return network, pretrained_weights.load_network(network, source).notes


def seed_everything(seed: int) -> None:
    """Seed python, numpy and torch; images and batches have seeds of their own."""
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  libraries may draw from it
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # else every new tensor is first filled with NaN: a fifth of a step on a CPU, to no effect
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _load(
    trained: "TrainedNetwork", plugin: Plugin, label_map: Strings, path: Path, key: RunKey
) -> tuple[str, ...]:
    """Load the tensors of a checkpoint that fit; return sentences about what was loaded.

    The backbone must fit whole. A neck of another shape, and heads of other labels or losses, stay
    new. Raises KitboxError for a checkpoint of another backbone.
    """
    from safetensors.torch import load_file

    origin = read_origin(path)
    backbone = origin.settings["backbone"]
    if backbone != plugin.backbone:
        raise KitboxError(
            f"--init-from: {path} has the backbone {backbone}, the plugin "
            f"{plugin.backbone}; name a network of the same backbone"
        )
    saved, wanted = load_file(path), trained.state_dict()
    same_labels = origin.labels == tuple(str(label) for label in label_map)
    theirs = [loss["kind"] for loss in origin.settings["losses"]]
    ours = [loss.kind for loss in plugin.losses]
    loaded: dict[str, Tensor] = {}
    new: dict[str, list[str]] = {"neck": [], "heads": []}
    for name, tensor in wanted.items():
        head = name.startswith("heads.")
        fits = name in saved and saved[name].shape == tensor.shape
        if fits and (not head or (same_labels and _loss_of(name, theirs) == _loss_of(name, ours))):
            loaded[name] = saved[name]
        elif name.startswith("network.backbone."):
            raise KitboxError(f"--init-from: {path} does not fit {backbone} at {name}")
        else:
            new["heads" if head else "neck"].append(name)
    trained.load_state_dict(wanted | loaded)
    notes = [f"starts from {origin.plugin} ({path}): {len(loaded)} of {len(wanted)} tensors"]
    notes += _notes_on_new(new, origin, label_map)
    return (*notes, *_warnings(origin, label_map, key))


def _loss_of(name: str, losses: Sequence[str]) -> str | None:
    """Return the loss whose head a tensor belongs to: heads are ordered by slice, then loss."""
    return losses[int(name.split(".")[1]) % len(losses)] if losses else None


def _notes_on_new(new: dict[str, list[str]], origin: Origin, label_map: Strings) -> list[str]:
    notes = []
    if new["neck"]:
        notes.append(f"new, because no tensor of it fits: {', '.join(new['neck'])}")
    if new["heads"]:
        shared = len(set(origin.labels) & {str(label) for label in label_map})
        notes.append(
            f"the heads are new: it has {shared} of the {len(label_map)} labels"
            if origin.labels != tuple(str(label) for label in label_map)
            else f"the heads are new: none of it fits {', '.join(new['heads'])}"
        )
    return notes


def _warnings(origin: Origin, label_map: Strings, key: RunKey) -> list[str]:
    """Warn of a network, or one of its ancestors, that knows holdout labels from other images."""
    labels = [str(label) for label in label_map]
    shared = learned_elsewhere(origin.learned_labels, key.data, labels)
    if key.on != "holdout" or not shared:
        return []
    return [
        f"warning: it may have seen the holdout: {len(shared)} of {len(labels)} labels were "
        "learned before from other images; where these are the same photographs, the local score "
        "is too good"
    ]
