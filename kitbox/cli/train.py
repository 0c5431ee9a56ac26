"""Commands that run networks: train, embed."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kitbox.cli.options import (
    CheckpointOption,
    DeviceOption,
    FoldOption,
    JsonOption,
    PrecisionOption,
    WorkersOption,
    WorkspaceOption,
    parse_folds,
)
from kitbox.cli.terminal import follow, load_collection, open_workspace, print_json, print_line
from kitbox.errors import KitboxError

if TYPE_CHECKING:
    from kitbox.dataset.collection import Collection
    from kitbox.ensemble.members import Member
    from kitbox.records import ImageSet


def train(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Plugins to train.")],
    on: Annotated[
        Literal["holdout", "all"],
        typer.Option("--on", help="all: refit on every labelled image."),
    ] = "holdout",
    fold: FoldOption = "1",
    seed: Annotated[int | None, typer.Option("--seed", help="Instead of the plugin's.")] = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", help="FILE, hub, file, package:NAME or none, for the backbone."),
    ] = None,
    init_from: Annotated[
        str | None,
        typer.Option(
            "--init-from",
            metavar="NAME",
            help="Go on from a trained plugin, FOLDER/NAME of another workspace, or a checkpoint.",
        ),
    ] = None,
    device: DeviceOption = "auto",
    devices: Annotated[int, typer.Option("--devices", min=1, help="Processes, a device each.")] = 1,
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="Machines.")] = 1,
    precision: PrecisionOption = "auto",
    workers: WorkersOption = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what was trained before.")] = False,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Train plugins; an interrupted training goes on from its last finished epoch.

    \b
    Example:
      kitbox train tf_efficientnet_lite0_96x192 mobilenetv2_100_128x256
    """
    from itertools import product

    from kitbox.plugin import discovery
    from kitbox.training import context, trainer

    place, competition = open_workspace(workspace)
    plugins = [discovery.load(name, place) for name in names]
    if weights is not None and init_from is not None:
        raise KitboxError("--weights and --init-from both say where to start; give one of them")
    if on == "all" and fold != "1":
        raise KitboxError("--on all learns from every label; it has no --fold")
    options = context.TrainOptions(
        on=on,
        weights=weights,
        init_from=init_from,
        seed=seed,
        device=device,
        devices=devices,
        nodes=nodes,
        precision=precision,
        workers=workers,
        fresh=fresh,
    )
    done = []
    for number, named in product(parse_folds(fold, competition), plugins):
        collection = load_collection(place, competition, number)
        checkpoint = follow(trainer.train(named, collection, competition, place, options))
        print_line(f"{named.name}: trained on {on}, {checkpoint.path}")
        done.append(
            {
                "name": named.name,
                "fingerprint": checkpoint.fingerprint,
                "checkpoint": checkpoint.digest,
                "path": str(checkpoint.path),
                "epoch": checkpoint.epoch,
                "on": on,
                "fold": number if on == "holdout" else None,
            }
        )
    if as_json:
        print_json(done)


def embed(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Trained plugins.")],
    fold: FoldOption = "1",
    checkpoint: CheckpointOption = "last",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    workers: WorkersOption = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Fill the embedding cache for labelled and test images.

    \b
    Example:
      kitbox embed tf_efficientnet_lite0_96x192
    """
    import time

    from kitbox.embedding import embedder
    from kitbox.ensemble import members
    from kitbox.plugin import discovery

    place, competition = open_workspace(workspace)
    plugins = [discovery.load(name, place) for name in names]
    options = embedder.EmbedOptions(device=device, precision=precision, workers=workers)
    jobs: list[tuple[Member, ImageSet, Collection]] = []
    for number in parse_folds(fold, competition):
        collection = load_collection(place, competition, number)
        own = members.for_holdout(place, plugins, None, collection, checkpoint, fold=number)
        jobs += [(member, collection.labelled, collection) for member in own]
        if number == 1:  # the fold whose networks answer for the leaderboard
            final = members.for_submission(place, plugins, None, collection, checkpoint)
            sets = (collection.labelled, collection.test, collection.index)
            jobs += [(member, images, collection) for member in final for images in sets if images]
    done = []
    for member, images, collection in jobs:
        began = time.perf_counter()
        embeddings = follow(
            embedder.embed(
                member.named,
                member.checkpoint,
                images,
                place,
                unreadable=collection.unreadable,
                options=options,
            )
        )
        seconds = time.perf_counter() - began
        done.append(
            {
                "name": member.named.name,
                "checkpoint": member.checkpoint.digest,
                "trained_on": member.checkpoint.on,
                "images": len(embeddings),
                "dim": embeddings.dim,
                "seconds": round(seconds, 3),
            }
        )
        print_line(
            f"{member.named.name} (trained on {member.checkpoint.on}): "
            f"{len(embeddings)} images × {embeddings.dim} in {seconds:.1f} s"
        )
    if as_json:
        print_json(done)
