"""Commands about plugins: plugins, plugins new and plugins check."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kitbox.cli.options import (
    JsonOption,
    WorkspaceOption,
    complete_plugins,
    measure_plugin,
)
from kitbox.cli.terminal import print_json, print_line, print_table
from kitbox.errors import KitboxError
from kitbox.workspace import find_workspace

if TYPE_CHECKING:
    from kitbox.plugin.discovery import NamedPlugin
    from kitbox.workspace import Workspace


app = typer.Typer(invoke_without_command=True)


@app.callback()
def show_plugins(
    context: typer.Context, as_json: JsonOption = False, folder: WorkspaceOption = None
) -> None:
    """List the plugins: settings, cost, training, licence.

    \b
    Example:
      kitbox plugins
    """
    if context.invoked_subcommand is not None:
        if folder is not None:
            os.environ["KITBOX_WORKSPACE"] = str(folder)
        return
    from kitbox.embedding import imported_embeddings
    from kitbox.plugin import cost, discovery

    workspace = _workspace(folder)
    derived = [] if workspace is None else discovery.derived_names(workspace)
    names = sorted([*discovery.plugin_names(workspace), *derived])
    found, mistakes = discovery.load_all(workspace, names)
    unknown = sum(cost.find(named.plugin) is None for named in found)
    if unknown > 1:
        print_line(f"measuring {unknown} networks, which is done once; no weights are needed")
    rows = []
    for named in found:
        try:
            rows.append(_row(named, workspace))
        except KitboxError as error:
            mistakes.append(error)
    if as_json:
        print_json(rows)
    else:
        print_table(
            ("plugin", "size", "losses", "epochs", "pseudo", "parameters", "multiply-adds",
             "checkpoint", "pooling", "dim", "fingerprint", "trained", "from",
             "licence of weights"),
            [_cells(row) for row in rows],
        )  # fmt: skip
        if workspace is not None and (imported := imported_embeddings.names(workspace)):
            print_line(f"imported embeddings: {', '.join(imported)}; see 'kitbox embeddings'")
    _end_with(mistakes)


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Backbone, pixels and what differs.")],
    source: Annotated[
        str,
        typer.Option(
            "--from", help="The plugin to copy.", metavar="OTHER", autocompletion=complete_plugins
        ),
    ] = "tf_efficientnet_lite0_96x192",
    folder: WorkspaceOption = None,
) -> None:
    """Write a plugin file to edit, as a copy of another.

    \b
    Example:
      kitbox plugins new resnet34_480 --from resnet34_620
    """
    from kitbox.files import write_text
    from kitbox.plugin import discovery

    workspace = find_workspace(folder)
    original = discovery.plugin_files(workspace).get(source)
    if original is None:
        discovery.load(source, workspace)  # raises with a suggestion, unless it is packaged
        raise KitboxError(f"{source} is shipped by another package; copy its file yourself")
    path = workspace.plugins / f"{name}.py"
    if path.exists():
        raise KitboxError(f"{path} exists already; edit it, or choose another name")
    _check_name(name, source, workspace)
    write_text(path, original[0].read_text(encoding="utf-8"))
    print_line(f"wrote {path}, a copy of {source}: edit it, then 'kitbox train {name}'")


# What follows the model in a plugin's name: its pixels, as 620 or 96x192.
_PIXELS = re.compile(r"_([1-9]\d*)(?:x([1-9]\d*))?(?=_|$)")


def _check_name(name: str, source: str, workspace: "Workspace") -> None:
    """Raise KitboxError for a name that 'kitbox plugins check' refuses, whatever the settings.

    It begins with a backbone's name, with that of the model of the plugin `source`, or with that
    of a module of the workspace.
    """
    from kitbox.network.backbone import is_backbone

    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name, re.ASCII):
        raise KitboxError(f"'{name}' is not a plugin name; use letters, digits and _")
    known = {path.stem for path in workspace.root.glob("*.py")}
    known |= {source[: pixels.start()] for pixels in _PIXELS.finditer(source)}
    models = [name[: p.start()] for p in _PIXELS.finditer(name) if p[1] != p[2]]
    if not any(model in known or is_backbone(model) for model in models):
        raise KitboxError(
            f"a plugin is named <backbone>_<pixels>, with _<what differs>: {name} is not",
            fix=f"such as {source}_{name}",
        )


@app.command("check")
def check(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME...]", help="Plugins; default: all.", autocompletion=complete_plugins
        ),
    ] = None,
    folder: WorkspaceOption = None,
) -> None:
    """Load and build plugins, and find copies and misleading names.

    Networks are built without weights.

    \b
    Example:
      kitbox plugins check
      kitbox plugins check resnet34_620
    """
    from kitbox.network.backbone import is_backbone
    from kitbox.plugin import discovery

    workspace = _workspace(folder)
    found, mistakes = discovery.load_all(workspace, names or None)
    for named in found:
        problem = discovery.name_problem(named, is_backbone)
        if problem is not None:
            mistakes.append(KitboxError(problem))
        try:
            measure_plugin(named)
            _try_own_code(named)
        except KitboxError as error:
            mistakes.append(error)
    _end_with(mistakes)
    print_line("1 plugin is valid" if len(found) == 1 else f"{len(found)} plugins are valid")


def _try_own_code(named: "NamedPlugin") -> None:
    """Try a user's own losses and augmentation; raises KitboxError for what goes wrong."""
    if not named.plugin.references:
        return
    from kitbox.images.augmentation import try_augmentation
    from kitbox.network.loss_heads import try_losses

    try:
        try_losses(named.plugin)
        try_augmentation(named.plugin)
    except KitboxError as error:
        place = f"{named.name}: {error.where}" if error.where else named.name
        raise KitboxError(error.what, where=place, fix=error.fix) from error


def _end_with(mistakes: list[KitboxError]) -> None:
    """Print mistakes, and exit if there are any."""
    for mistake in mistakes:
        print_line(f"error: {mistake}")
    if mistakes:
        raise typer.Exit(1)


def _workspace(folder: Path | None) -> "Workspace | None":
    """Return the workspace, or None where none is named and none is near: shipped plugins show."""
    try:
        return find_workspace(folder)
    except KitboxError:
        if folder is not None or "KITBOX_WORKSPACE" in os.environ:
            raise
        return None


def _row(named: "NamedPlugin", workspace: "Workspace | None") -> dict[str, Any]:
    from kitbox.training import runs

    plugin, price = named.plugin, measure_plugin(named)
    return {
        "name": named.name,
        "source": named.source,
        "backbone": plugin.backbone,
        "image_size": list(plugin.height_width),
        "losses": [loss.kind for loss in plugin.losses],
        "epochs": plugin.epochs,
        "pseudo_labels": plugin.pseudo_labels,
        "parameters": price.parameters,
        "multiply_adds": price.multiply_adds,
        "checkpoint_bytes": price.checkpoint_bytes,
        "pooling": price.pooling,
        "embedding_dim": price.embedding_dim,
        "fingerprint": plugin.fingerprint,
        "weights": named.terms.source,
        "licence": named.terms.licence,
        "trained_on": [] if workspace is None else runs.trained_on(workspace, named),
    }


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["name"],
        "×".join(str(side) for side in row["image_size"]),
        "+".join(row["losses"]) or "none",
        str(row["epochs"]),
        "yes" if row["pseudo_labels"] else "no",
        f"{row['parameters'] / 1e6:.1f} M",
        "not known" if row["multiply_adds"] is None else f"{row['multiply_adds'] / 1e9:.2f} G",
        f"{row['checkpoint_bytes'] / 1e6:.0f} MB",
        row["pooling"],
        str(row["embedding_dim"]),
        row["fingerprint"][:8],
        ", ".join(row["trained_on"]) or ("no" if row["epochs"] else "frozen"),
        row["source"],
        row["licence"] or "not stated",
    )
