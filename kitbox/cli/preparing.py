"""The command that decodes images once: data prepare."""

from typing import TYPE_CHECKING, Annotated

import typer

from kitbox.cli.terminal import JsonOption, WorkspaceOption

if TYPE_CHECKING:
    from kitbox.images.collection import Collection
    from kitbox.images.store import Way
    from kitbox.plugin.discovery import NamedPlugin
    from kitbox.records import ImageSet
    from kitbox.workspace import Workspace


def prepare(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME...]",
            help="Plugins to prepare for; default: the workspace's own and those trained in it.",
        ),
    ] = None,
    drop: Annotated[
        bool,
        typer.Option("--drop", help="Prepare nothing; remove what these plugins do not read."),
    ] = False,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Decode, crop and shrink every image once; training and embedding then read the results.

    No pixel changes by it, and no score. What is there already stays; new images are added.

    \b
    Example:
      kitbox data prepare tf_efficientnet_lite0_96x192 mobilenetv2_100_128x256
    """
    import time

    from kitbox.cli.terminal import collected, duration, emit, follow, opened, say
    from kitbox.images import preparing

    place, competition = opened(workspace)
    plugins = _chosen(names or [], place)
    ways = _ways(plugins)
    if drop:
        _drop(place, ways, as_json=as_json)
        return
    planned = preparing.plan(place, _readable(collected(place, competition)), ways)
    free = preparing.check_room(place, planned)
    many = "" if len(plugins) == 1 else "s"
    say(
        f"{len(planned.jobs)} of {planned.files} files to decode for {len(plugins)} plugin{many}; "
        f"takes {preparing.gigabytes(planned.bytes)} of {preparing.gigabytes(free)} free"
    )
    began = time.perf_counter()
    problems = follow(preparing.fill(planned, place))
    seconds = time.perf_counter() - began
    for problem in problems:
        say(f"left out: {problem}")
    stores = [
        {"folder": str(store.folder), "images": len(store.keys()), "bytes": store.bytes_on_disk()}
        for store in planned.stores
    ]
    for store in stores:
        size = preparing.gigabytes(int(str(store["bytes"])))
        say(f"{store['folder']}: {store['images']} images, {size}")
    done = len(planned.jobs) - len(problems)
    say(f"prepared {done} files in {duration(seconds)}")
    if as_json:
        emit(
            {
                "plugins": [named.name for named in plugins],
                "files": planned.files,
                "prepared": done,
                "left_out": [str(problem) for problem in problems],
                "seconds": round(seconds, 3),
                "stores": stores,
            }
        )


def _chosen(names: list[str], place: "Workspace") -> "list[NamedPlugin]":
    """Return the named plugins, or the workspace's own and those trained in it."""
    from kitbox.errors import KitboxError
    from kitbox.plugin import discovery

    if not names:
        own = {name for name, (_, of) in discovery.files(place).items() if of == "workspace"}
        names = [
            name for name in discovery.names(place) if name in own or (place.runs / name).is_dir()
        ]
    if not names:
        raise KitboxError(
            f"{place.plugins} has no plugin and none was trained here; name the plugins to "
            "prepare for, as 'kitbox plugins' lists them"
        )
    return [discovery.load(name, place) for name in names]


def _ways(plugins: "list[NamedPlugin]") -> "list[Way]":
    from kitbox.images.store import Way
    from kitbox.network.backbone import pixel_form

    return [
        way
        for named in plugins
        for way in Way.of_stages(named.plugin, pixel_form(named.plugin.backbone).interpolation)
    ]


def _readable(collection: "Collection") -> "list[ImageSet]":
    """Return all sets of images, without those that are answered for as grey ones."""
    import numpy as np

    found = (collection.labelled, collection.test, collection.index)
    return [
        images.take(~np.isin(images.image_ids, list(collection.blank)))
        for images in found
        if images is not None
    ]


def _drop(place: "Workspace", ways: "list[Way]", *, as_json: bool) -> None:
    from kitbox.cli.terminal import emit, say
    from kitbox.images import preparing

    dropped = preparing.drop(place, ways)
    for folder, size in dropped:
        say(f"removed {folder}, {preparing.gigabytes(size)}")
    if not dropped:
        say("nothing to remove")
    if as_json:
        emit([{"folder": str(folder), "bytes": size} for folder, size in dropped])
