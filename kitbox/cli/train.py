"""Commands that train plugins and compute embeddings: train, embed."""

import time
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kitbox.cli.options import (
    CheckpointOption,
    DeviceOptions,
    FoldOption,
    HardwareOptions,
    JsonOption,
    ProcessOptions,
    ViewOption,
    WorkspaceOption,
    add_settings,
    complete_members,
    complete_plugins,
    load_members,
    load_plugins,
    measure_plugin,
    parse_folds,
    with_records,
)
from kitbox.cli.terminal import follow, load_collection, open_workspace, print_json, print_line
from kitbox.errors import KitboxError
from kitbox.workspace import find_workspace

if TYPE_CHECKING:
    from kitbox.dataset.collection import Collection
    from kitbox.ensemble.members import Member
    from kitbox.plugin.discovery import NamedPlugin
    from kitbox.records import Checkpoint, ImageSet
    from kitbox.training.context import TrainSetup
    from kitbox.workspace import Workspace


@with_records
def train(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...", help="Plugins to train.", autocompletion=complete_plugins
        ),
    ],
    *,
    on: Annotated[
        Literal["holdout", "all"],
        typer.Option("--on", help="Images to train on; all: every labelled image."),
    ] = "holdout",
    fold: FoldOption = "1",
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", min=1, help="Another number of epochs, as NAME@epochs=N."),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            "--learning-rate", metavar="RATE", help="Another rate, as NAME@learning_rate=RATE."
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Random seed; default: the plugin's.", min=0)
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", help="Backbone weights: FILE, hub, file, package:NAME or none."),
    ] = None,
    init_from: Annotated[
        str | None,
        typer.Option(
            "--init-from",
            metavar="NAME",
            help="Start from a trained plugin, FOLDER/NAME of another workspace, or a checkpoint.",
        ),
    ] = None,
    device: HardwareOptions,
    processes: ProcessOptions,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Discard an earlier training and start again.")
    ] = False,
    as_json: JsonOption = False,
    folder: WorkspaceOption = None,
) -> None:
    """Train plugins, or resume an interrupted training.

    With --epochs or --learning-rate a plugin is tried under another name, which says so and which
    every command takes: NAME@epochs=2.

    \b
    Example:
      kitbox train tf_efficientnet_lite0_96x192 mobilenetv2_100_128x256
      kitbox train tf_efficientnet_lite0_96x192 --epochs 2
    """
    find_workspace(folder)  # a command outside of one has its answer before torch is loaded
    from kitbox.devices.launch import together
    from kitbox.devices.process_group import check_common_folder, first_ahead
    from kitbox.network import inference
    from kitbox.training import transfer
    from kitbox.training.context import TrainOptions, TrainSetup

    if weights is not None and init_from is not None:
        raise KitboxError("--weights and --init-from both say where to start; give one of them")
    if on == "all" and fold != "1":
        raise KitboxError("--on all trains on every label; it has no --fold")
    options = TrainOptions(
        on=on,
        weights=weights,
        init_from=init_from,
        seed=seed,
        device=device.device,
        precision=device.precision,
        workers=device.workers,
        processes=processes.resolve(),
        fresh=fresh,
    )
    changes = {"epochs": epochs, "learning_rate": learning_rate}
    done: list[dict[str, Any]] = []
    setups: dict[int, TrainSetup] = {}
    with together(options.processes, inference.resolve_device(device.device)):
        with first_ahead():
            workspace, competition = open_workspace(folder)
            plugins = load_plugins([add_settings(name, changes) for name in names], workspace)
            for named in plugins:
                measure_plugin(named)  # each network runs, before the first is trained
        check_common_folder(workspace.runs, "training")
        for number, named in product(parse_folds(fold, competition), plugins):
            if number not in setups:
                with first_ahead():
                    collection = load_collection(workspace, competition, number)
                setups = {number: TrainSetup(collection, competition, workspace, options)}
            setup = setups[number]
            if not done and len(plugins) > 1:
                with first_ahead():
                    for each in plugins:  # a mistake in the last one shows before any is trained
                        transfer.check(each, setup)
            checkpoint = _trained(named, setup)
            nothing = " (epochs = 0): there is nothing to train" if checkpoint.on == "none" else ""
            print_line(f"{named.name}: {checkpoint.trained_on}{nothing}, {checkpoint.path}")
            done.append(
                {
                    "name": named.name,
                    "fingerprint": checkpoint.fingerprint,
                    "checkpoint": checkpoint.digest,
                    "path": str(checkpoint.path),
                    "epoch": checkpoint.epoch,
                    "on": checkpoint.on,
                    "fold": number if checkpoint.on == "holdout" else None,
                }
            )
    if as_json:
        print_json(done)


def _trained(named: "NamedPlugin", setup: "TrainSetup") -> "Checkpoint":
    """Train a plugin and return its checkpoint; that of a finished run needs no torch."""
    from kitbox.records import Checkpoint
    from kitbox.training import transfer

    prepared = transfer.prepare(named, setup)
    if isinstance(prepared, Checkpoint):
        return prepared
    from kitbox.training import trainer

    return follow(trainer.train_prepared(prepared))


@with_records
def embed(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help="Plugins or imported embeddings.",
            autocompletion=complete_members,
        ),
    ],
    *,
    view: ViewOption = None,
    fold: FoldOption = "1",
    checkpoint: CheckpointOption = "last",
    device: DeviceOptions,
    processes: ProcessOptions,
    as_json: JsonOption = False,
    folder: WorkspaceOption = None,
) -> None:
    """Fill the embedding cache for labelled and test images.

    If it is interrupted, the same command goes on with the batches that are left.

    \b
    Examples:
      kitbox embed tf_efficientnet_lite0_96x192
      kitbox embed tf_efficientnet_lite0_96x192 --devices 8
    """
    from kitbox.devices.launch import together
    from kitbox.devices.process_group import first_ahead
    from kitbox.network import inference

    done = []
    with together(processes.resolve(), inference.resolve_device(device.device)):
        with first_ahead():
            workspace, jobs = _embeddings_to_fill(names, view, fold, checkpoint, folder)
        for member, images, collection in jobs:
            began = time.perf_counter()
            stage = member.embed(images, workspace, collection.unreadable, device.for_embedding())
            embeddings = follow(stage)
            seconds = time.perf_counter() - began
            done.append(
                {
                    "name": member.name,
                    "checkpoint": member.digest,
                    "trained_on": member.on,
                    "images": len(embeddings),
                    "dim": embeddings.dim,
                    "seconds": round(seconds, 3),
                }
            )
            print_line(
                f"{member.name} ({member.trained_on}): "
                f"{len(embeddings)} images × {embeddings.dim} in {seconds:.1f} s"
            )
    if as_json:
        print_json(done)


def _embeddings_to_fill(
    names: list[str],
    view: list[str] | None,
    fold: str,
    checkpoint: Literal["last", "best"],
    folder: Path | None,
) -> "tuple[Workspace, list[tuple[Member, ImageSet, Collection]]]":
    """Return the workspace, and each member with the images that it has to embed."""
    from kitbox.ensemble import members

    workspace, competition = open_workspace(folder)
    plugins = load_members(names, workspace, view)
    jobs: list[tuple[Member, ImageSet, Collection]] = []
    for number in parse_folds(fold, competition):
        collection = load_collection(workspace, competition, number)
        if collection.absent_holdout is None:
            own = members.for_holdout(workspace, plugins, None, collection, checkpoint, fold=number)
            jobs += [(member, collection.labelled, collection) for member in own]
        if number == 1:  # the fold whose networks answer for the leaderboard
            final = members.for_submission(workspace, plugins, None, collection, checkpoint)
            sets = (collection.labelled, collection.test, collection.index)
            jobs += [(member, images, collection) for member in final for images in sets if images]
    return workspace, jobs
