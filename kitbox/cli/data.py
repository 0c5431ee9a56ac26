"""The command that says what is wrong with images and lists."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kitbox.cli.options import (
    DeviceOption,
    JsonOption,
    PrecisionOption,
    WorkersOption,
    WorkspaceOption,
)
from kitbox.cli.terminal import (
    follow,
    format_duration,
    load_collection,
    open_workspace,
    print_json,
    print_line,
    print_table,
)
from kitbox.errors import KitboxError, did_you_mean

if TYPE_CHECKING:
    from kitbox.competition.settings import Competition
    from kitbox.dataset.collection import Collection
    from kitbox.dataset.data_check import DataCheck, DataFinding
    from kitbox.embedding.embedder import EmbedOptions
    from kitbox.images.preprocessing import InputSpec
    from kitbox.plugin.discovery import NamedPlugin
    from kitbox.records import ImageSet
    from kitbox.scoring.holdout_realism import HoldoutRealism
    from kitbox.workspace import Workspace


# What kitbox does, as a person reads it.


def check(
    kind: Annotated[
        str | None, typer.Option("--kind", help="List every finding of this kind.", metavar="K")
    ] = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Say what is wrong with the images and lists, by file and line, and what kitbox does about it.

    Reads every list and every image, and changes none. The rules are [check] and images.broken in
    kitbox.toml: check.drop leaves images of some kinds out, check.stop refuses them, check.keep
    goes on.

    \b
    Example:
      kitbox data check --kind blurred
    """
    from kitbox.dataset import data_check
    from kitbox.report import check_page

    _refuse_unknown(kind)
    place, competition = open_workspace(workspace)
    found = follow(data_check.check(place, competition))
    path = place.reports / "check.csv"
    data_check.write(found.findings, path)
    stage = check_page.write(
        found.findings, found.image_sets, place, path.with_suffix(".html"), checked=found.images
    )
    page = follow(stage).path
    shown = [finding for finding in found.findings if kind in (None, finding.kind)]
    if as_json:
        print_json(
            {
                "images": found.images,
                "counts": Counter(finding.kind for finding in found.findings),
                "findings": [vars(finding) for finding in shown],
                "csv": str(path),
                "page": str(page),
            }
        )
        return
    if kind is None:
        _summary(found)
    else:
        _all(shown)
    print_line(f"{found.images} images read, {len(found.findings)} findings; written to {path}")
    print_line(f"with pictures: {page}")
    stopping = sum(finding.action == "stop" for finding in found.findings)
    if stopping:
        print_line(
            f'{stopping} of them stop every run; mend them, or set broken = "drop" in kitbox.toml '
            "where it helps"
        )


def _refuse_unknown(kind: str | None) -> None:
    """Raise KitboxError for a word that is no kind of finding, before anything is read."""
    from kitbox.competition.check_rules import KINDS

    if kind is not None and kind not in KINDS:
        near = did_you_mean(kind, KINDS)
        raise KitboxError(f"--kind {kind}: no such kind{near}; there are {', '.join(KINDS)}")


def _summary(found: "DataCheck") -> None:
    """Print a row for each kind of finding."""
    from kitbox.competition.check_rules import KINDS
    from kitbox.report import check_page

    rows = []
    for kind, part in found.of_kind().items():
        example = f"{part[0].where}: {part[0].what}"
        rows.append((kind, str(len(part)), example, check_page.done(part), KINDS[kind].advice))
    if rows:
        print_table(("kind", "count", "first", "kitbox", "you can"), rows, left=(0, 2, 3, 4))


def _all(part: "list[DataFinding]") -> None:
    """Print a row for each finding of one kind."""
    from kitbox.report import check_page

    rows = [(f.where, f.what, check_page.does(f)) for f in part]
    print_table(("where", "what", "kitbox"), rows, left=(0, 1, 2))


def holdout(
    by: Annotated[
        str | None,
        typer.Option(
            "--by", help="A plugin trained on the holdout: do queries look like the test?"
        ),
    ] = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    workers: WorkersOption = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Show the split that local scores use, and how far it resembles the real test.

    Writes it to holdout.csv. With --by a network that has seen neither judges queries and test
    images: whether a classifier can tell them apart, and how many of the test are unknown.

    \b
    Example:
      kitbox data holdout --by tf_efficientnet_lite0_96x192
    """
    from kitbox.embedding import embedder
    from kitbox.scoring import holdout_realism

    place, competition = open_workspace(workspace)
    collection = load_collection(place, competition)
    figures = holdout_realism.count_rows(collection, competition)
    seen = None
    if by is not None:
        options = embedder.EmbedOptions(device=device, precision=precision, workers=workers)
        seen = _judged(by, collection, competition, place, options)
        figures += holdout_realism.estimate_rows(seen)
    if as_json:
        emitted: dict[str, Any] = {
            figure.name: {"holdout": figure.holdout, "test": figure.test} for figure in figures
        }
        if seen is not None:
            emitted["separability"] = seen.separability.as_json()
            if seen.unknown_share is not None:
                emitted["unknown share, estimated"] = seen.unknown_share.as_json()
        print_json(emitted)
    else:
        rows = [(f.name, _shown(f.holdout), _shown(f.test)) for f in figures]
        print_table(("", "holdout", "test"), rows)
    if seen is not None:
        found = seen.separability
        interval = f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
        print_line(f"area under the ROC curve {interval}: {seen.sentence}")
        for sentence in holdout_realism.advice(seen, competition):
            print_line(sentence)
    elif collection.test is not None:
        print_line("'kitbox data holdout --by NAME' looks at the pictures, by a trained plugin")
    print_line(f"written to {place.holdout}")


def _judged(
    by: str,
    collection: "Collection",
    competition: "Competition",
    place: "Workspace",
    options: "EmbedOptions",
) -> "HoldoutRealism":
    import numpy as np

    from kitbox.embedding import embedder
    from kitbox.ensemble import members
    from kitbox.plugin import discovery
    from kitbox.records import Embeddings
    from kitbox.scoring import holdout_realism

    if collection.test is None:
        raise KitboxError("this competition has no test images; set images.test_folder")
    [member] = members.for_holdout(place, [discovery.load(by, place)], None, collection)
    parts = [
        follow(
            embedder.embed(
                member.named,
                member.checkpoint,
                images,
                place,
                unreadable=collection.unreadable,
                options=options,
            )
        )
        for images in (collection.labelled, collection.test)
    ]
    # scenarios may ask about labelled images; each is there once
    ids, rows = np.unique(np.concatenate([part.image_ids for part in parts]), return_index=True)
    both = Embeddings(ids, np.concatenate([part.vectors for part in parts])[rows])
    return holdout_realism.estimate(both, collection.holdout, collection.test, competition)


def _shown(value: Any) -> str:
    return "" if value is None else str(value)


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

    from kitbox.images import pixel_cache_writer

    place, competition = open_workspace(workspace)
    plugins = _chosen(names or [], place)
    specs = _input_specs(plugins)
    if drop:
        _drop(place, specs, as_json=as_json)
        return
    planned = pixel_cache_writer.plan(place, _readable(load_collection(place, competition)), specs)
    free = pixel_cache_writer.check_disk_space(place, planned)
    many = "" if len(plugins) == 1 else "s"
    print_line(
        f"{len(planned.jobs)} of {planned.files} files to decode for {len(plugins)} plugin{many}; "
        f"takes {pixel_cache_writer.gigabytes(planned.bytes)} "
        f"of {pixel_cache_writer.gigabytes(free)} free"
    )
    began = time.perf_counter()
    problems = follow(pixel_cache_writer.fill(planned, place))
    seconds = time.perf_counter() - began
    for problem in problems:
        print_line(f"left out: {problem}")
    stores = [
        {"folder": str(store.folder), "images": len(store.keys()), "bytes": store.bytes_on_disk()}
        for store in planned.caches
    ]
    for store in stores:
        size = pixel_cache_writer.gigabytes(int(str(store["bytes"])))
        print_line(f"{store['folder']}: {store['images']} images, {size}")
    done = len(planned.jobs) - len(problems)
    print_line(f"prepared {done} files in {format_duration(seconds)}")
    if as_json:
        print_json(
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
    from kitbox.plugin import discovery

    if not names:
        own = {name for name, (_, of) in discovery.plugin_files(place).items() if of == "workspace"}
        names = [
            name
            for name in discovery.plugin_names(place)
            if name in own or (place.runs / name).is_dir()
        ]
    if not names:
        raise KitboxError(
            f"{place.plugins} has no plugin and none was trained here; name the plugins to "
            "prepare for, as 'kitbox plugins' lists them"
        )
    return [discovery.load(name, place) for name in names]


def _input_specs(plugins: "list[NamedPlugin]") -> "list[InputSpec]":
    from kitbox.images.preprocessing import InputSpec
    from kitbox.network.backbone import data_config

    return [
        spec
        for named in plugins
        for spec in InputSpec.for_training(
            named.plugin, data_config(named.plugin.backbone).interpolation
        )
    ]


def _readable(collection: "Collection") -> "list[ImageSet]":
    """Return all sets of images, without those that are answered for as grey ones."""
    import numpy as np

    found = (collection.labelled, collection.test, collection.index)
    return [
        images.take(~np.isin(images.image_ids, list(collection.unreadable)))
        for images in found
        if images is not None
    ]


def _drop(place: "Workspace", specs: "list[InputSpec]", *, as_json: bool) -> None:
    from kitbox.images import pixel_cache_writer

    dropped = pixel_cache_writer.remove_unused(place, specs)
    for folder, size in dropped:
        print_line(f"removed {folder}, {pixel_cache_writer.gigabytes(size)}")
    if not dropped:
        print_line("nothing to remove")
    if as_json:
        print_json([{"folder": str(folder), "bytes": size} for folder, size in dropped])
