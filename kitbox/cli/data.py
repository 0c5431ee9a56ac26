"""Commands about the data: data check, prepare and holdout."""

import time
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kitbox.cli import boxes, duplicates
from kitbox.cli.options import (
    BackendOptions,
    DeviceOptions,
    JsonOption,
    WorkspaceOption,
    complete_plugins,
    load_members,
    load_plugins,
    measure_plugin,
    with_records,
)
from kitbox.cli.terminal import (
    follow,
    load_collection,
    open_workspace,
    print_json,
    print_line,
    print_table,
)
from kitbox.errors import KitboxError, counted, did_you_mean, format_duration
from kitbox.files import check_writable

if TYPE_CHECKING:
    from kitbox.competition.findings import DataFinding
    from kitbox.competition.settings import Competition
    from kitbox.dataset.collection import Collection
    from kitbox.dataset.data_check import DataCheck
    from kitbox.embedding.embedder import EmbedOptions
    from kitbox.images.preprocessing import InputSpec
    from kitbox.plugin.discovery import NamedPlugin
    from kitbox.records import ImageSet
    from kitbox.scoring.holdout_realism import HoldoutRealism
    from kitbox.workspace import Workspace


app = typer.Typer(help="Images, lists, crops and the holdout.", no_args_is_help=True)


@app.command("check")
@with_records
def check(
    kind: Annotated[
        str | None, typer.Option("--kind", help="List every finding of this kind.", metavar="K")
    ] = None,
    *,
    backend: BackendOptions,
    as_json: JsonOption = False,
    folder: WorkspaceOption = None,
) -> None:
    """List what is wrong with images and lists, by file and line.

    Reads every list and every image, and changes none. The rules are [check] and images.broken in
    kitbox.toml: images with a finding of a kind in check.drop are left out, in check.stop they
    stop every run, in check.keep they stay.

    \b
    Example:
      kitbox data check --kind blurred
    """
    from kitbox.dataset import data_check
    from kitbox.report import check_page

    _check_kind(kind)
    workspace, competition = open_workspace(folder)
    path = workspace.reports / "check.csv"
    with backend.open():
        found = follow(data_check.check(workspace, competition))
        page, unwritten = None, ""
        try:
            check_writable(path)
        except KitboxError as error:  # the findings are shown all the same
            unwritten = f"no report: {error}"
        else:
            data_check.save(found.findings, path)
            stage = check_page.write(
                found.findings,
                found.image_sets,
                workspace,
                path.with_suffix(".html"),
                checked=found.image_count,
            )
            page = follow(stage).path
    shown = [finding for finding in found.findings if kind in (None, finding.kind)]
    if as_json:
        print_json(
            {
                "images": found.image_count,
                "counts": Counter(finding.kind for finding in found.findings),
                "findings": [_as_json(finding) for finding in shown],
                "csv": str(path) if page else None,
                "page": str(page) if page else None,
            }
        )
        if unwritten:
            print_line(unwritten)
        return
    if kind is None:
        _print_summary(found)
    else:
        _print_findings(shown)
    print_line(
        f"{counted(found.image_count, 'image')} read, "
        f"{counted(len(found.findings), 'finding')}; {unwritten or f'written to {path}'}"
    )
    if page:
        print_line(f"with images: {page}")
    stopping = sum(finding.action == "stop" for finding in found.findings)
    if stopping:
        stop, them = ("stops", "it") if stopping == 1 else ("stop", "them")
        print_line(
            f'{stopping} of them {stop} every run; fix {them}, or set broken = "drop" in '
            "kitbox.toml where it helps"
        )


def _check_kind(kind: str | None) -> None:
    """Raise KitboxError for an unknown kind of finding, before anything is read."""
    from kitbox.competition.check_rules import KINDS

    if kind is not None and kind not in KINDS:
        near = did_you_mean(kind, KINDS)
        raise KitboxError(f"--kind {kind}: no such kind{near}; there are {', '.join(KINDS)}")


def _as_json(finding: "DataFinding") -> dict[str, str]:
    return {
        "kind": finding.kind,
        "where": finding.where,
        "image_id": finding.image_id,
        "what": finding.what,
        "action": finding.action,
    }


def _print_summary(check: "DataCheck") -> None:
    """Print a row for each kind of finding."""
    from kitbox.competition.check_rules import KINDS
    from kitbox.report import check_page

    rows = []
    for kind, part in check.by_kind().items():
        example = f"{part[0].where}: {part[0].what}"
        rows.append(
            (kind, str(len(part)), example, check_page.actions_text(part), KINDS[kind].advice)
        )
    if rows:
        print_table(("kind", "count", "first", "kitbox", "you can"), rows, left=(0, 2, 3, 4))


def _print_findings(findings: "list[DataFinding]") -> None:
    """Print a row for each finding."""
    from kitbox.report import check_page

    rows = [(f.where, f.what, check_page.action_text(f)) for f in findings]
    print_table(("where", "what", "kitbox"), rows, left=(0, 1, 2))


app.command("duplicates")(duplicates.duplicates)


@app.command("holdout")
@with_records
def holdout(
    *,
    by: Annotated[
        str | None,
        typer.Option(
            "--by", help="Compare queries with the test by this trained plugin.", metavar="NAME"
        ),
    ] = None,
    device: DeviceOptions,
    as_json: JsonOption = False,
    folder: WorkspaceOption = None,
) -> None:
    """Show the holdout of local scores, beside the real test.

    Writes it to holdout.csv. With --by, a network that has seen neither embeds queries and test
    images, to estimate how well a classifier tells them apart and how many of the test are unknown.

    \b
    Example:
      kitbox data holdout --by tf_efficientnet_lite0_96x192
    """
    from kitbox.scoring import holdout_realism

    workspace, competition = open_workspace(folder)
    collection = load_collection(workspace, competition)
    figures = holdout_realism.count_rows(collection, competition)
    realism = None
    if by is not None:
        realism = _compare_with_test(by, collection, competition, workspace, device.for_embedding())
        figures += holdout_realism.estimate_rows(realism)
    if as_json:
        document: dict[str, Any] = {
            figure.name: {"holdout": figure.holdout, "test": figure.test} for figure in figures
        }
        if realism is not None:
            document["separability"] = realism.separability.as_json()
            if realism.unknown_share is not None:
                document["unknown share, estimated"] = realism.unknown_share.as_json()
        print_json(document)
    else:
        rows = [(f.name, _shown(f.holdout), _shown(f.test)) for f in figures]
        print_table(("", "holdout", "test"), rows)
    if realism is not None:
        found = realism.separability
        interval = f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
        print_line(f"area under the ROC curve {interval}: {realism.sentence}")
        for sentence in holdout_realism.advice(realism, competition):
            print_line(sentence)
    elif collection.test is not None:
        print_line("'kitbox data holdout --by NAME' compares the images, by a trained plugin")
    print_line(f"the split is in {workspace.holdout}")


def _compare_with_test(
    by: str,
    collection: "Collection",
    competition: "Competition",
    workspace: "Workspace",
    options: "EmbedOptions",
) -> "HoldoutRealism":
    import numpy as np

    from kitbox.ensemble import members
    from kitbox.records import Embeddings
    from kitbox.scoring import holdout_realism

    if collection.test is None:
        raise KitboxError("this competition has no test images; set images.test_folder")
    [member] = members.for_holdout(workspace, load_members([by], workspace), None, collection)
    parts = [
        follow(member.embed(images, workspace, collection.unreadable, options))
        for images in (collection.labelled, collection.test)
    ]
    # queries of scenarios may be labelled images; keep each image once
    ids, rows = np.unique(np.concatenate([part.image_ids for part in parts]), return_index=True)
    both = Embeddings(ids, np.concatenate([part.vectors for part in parts])[rows])
    return holdout_realism.estimate(both, collection.holdout, collection.test, competition)


def _shown(value: Any) -> str:
    return "" if value is None else str(value)


@app.command("prepare")
@with_records
def prepare(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME...]",
            autocompletion=complete_plugins,
            help="Plugins to prepare for; default: the workspace's own and those trained in it.",
        ),
    ] = None,
    drop: Annotated[
        bool,
        typer.Option("--drop", help="Remove what these plugins do not read; prepare nothing."),
    ] = False,
    *,
    backend: BackendOptions,
    as_json: JsonOption = False,
    folder: WorkspaceOption = None,
) -> None:
    """Decode, crop and shrink every image once, to read it faster.

    Training and embedding read the prepared images; no pixel and no score changes. Images that are
    prepared already stay; new ones are added.

    \b
    Example:
      kitbox data prepare tf_efficientnet_lite0_96x192 mobilenetv2_100_128x256
    """
    from kitbox.images import pixel_cache_writer

    workspace, competition = open_workspace(folder)
    plugins = _choose_plugins(names or [], workspace, strict=drop)
    specs = [spec for those in plugins.values() for spec in those]
    if drop:
        _remove_unused(workspace, specs, as_json=as_json)
        return
    with backend.open():
        collection = load_collection(workspace, competition)
        planned = pixel_cache_writer.plan(workspace, _readable(collection), specs)
        free = pixel_cache_writer.check_disk_space(workspace, planned)
        many = "" if len(plugins) == 1 else "s"
        print_line(
            f"{len(planned.jobs)} of {planned.files} files to decode for {len(plugins)} "
            f"plugin{many}; takes {pixel_cache_writer.gigabytes(planned.bytes)} "
            f"of {pixel_cache_writer.gigabytes(free)} free"
        )
        began = time.perf_counter()
        problems = follow(pixel_cache_writer.fill(planned, workspace))
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
                "plugins": list(plugins),
                "files": planned.files,
                "prepared": done,
                "left_out": [str(problem) for problem in problems],
                "seconds": round(seconds, 3),
                "stores": stores,
            }
        )


app.add_typer(boxes.app, name="boxes")


def _choose_plugins(
    names: list[str], workspace: "Workspace", *, strict: bool
) -> "dict[str, list[InputSpec]]":
    """Return what the named plugins read, or the workspace's own and those trained in it.

    Of the latter, those that cannot be used are named and left out, unless `strict`.
    """
    from kitbox.plugin import discovery

    if names:
        return {named.name: _input_specs(named) for named in load_plugins(names, workspace)}
    own = {name for name, (_, of) in discovery.plugin_files(workspace).items() if of == "workspace"}
    names = [
        name
        for name in discovery.plugin_names(workspace)
        if name in own or (workspace.runs / name).is_dir()
    ]
    if not names:
        raise KitboxError(
            f"{workspace.plugins} has no plugin and none was trained here; name the plugins to "
            "prepare for, as 'kitbox plugins' lists them"
        )
    found, mistakes = discovery.load_all(workspace, names)
    usable = {}
    for named in found:
        try:
            usable[named.name] = _input_specs(named)
        except KitboxError as error:
            mistakes.append(error)
    if mistakes and (strict or not usable):
        raise mistakes[0]
    for mistake in mistakes:
        print_line(f"left out: {mistake}")
    return usable


def _input_specs(named: "NamedPlugin") -> "list[InputSpec]":
    from kitbox.images.preprocessing import InputSpec

    return InputSpec.for_training(named.plugin, measure_plugin(named).interpolation)


def _readable(collection: "Collection") -> "list[ImageSet]":
    """Return all sets of images, without the unreadable ones that are answered as grey."""
    import numpy as np

    found = (collection.labelled, collection.test, collection.index)
    return [
        images.take(~np.isin(images.image_ids, list(collection.unreadable)))
        for images in found
        if images is not None
    ]


def _remove_unused(workspace: "Workspace", specs: "list[InputSpec]", *, as_json: bool) -> None:
    from kitbox.images import pixel_cache_writer

    dropped = pixel_cache_writer.remove_unused(workspace, specs)
    for folder, size in dropped:
        print_line(f"removed {folder}, {pixel_cache_writer.gigabytes(size)}")
    if not dropped:
        print_line("nothing to remove")
    if as_json:
        print_json([{"folder": str(folder), "bytes": size} for folder, size in dropped])
