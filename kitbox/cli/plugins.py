"""Commands about plugins: plugins, plugins new and plugins check."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kitbox.cli.options import JsonOption, WorkspaceOption
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
    """List the plugins: settings, cost, fingerprint, training.

    \b
    Example:
      kitbox plugins
    """
    if context.invoked_subcommand is not None:
        if folder is not None:
            os.environ["KITBOX_WORKSPACE"] = str(folder)
        return
    from kitbox.plugin import discovery

    workspace = _workspace(folder)
    found, mistakes = discovery.load_all(workspace)
    rows = [_row(named, workspace) for named in found]
    if as_json:
        print_json(rows)
    else:
        print_table(
            ("plugin", "size", "losses", "epochs", "pseudo", "parameters", "multiply-adds",
             "checkpoint", "dim", "fingerprint", "trained", "from"),
            [_cells(row) for row in rows],
        )  # fmt: skip
    for mistake in mistakes:
        print_line(f"error: {mistake}")
    if mistakes:
        raise typer.Exit(1)


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Backbone, pixels and what differs.")],
    source: Annotated[
        str, typer.Option("--from", help="The plugin to copy.", metavar="OTHER")
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
    if not name.replace(".", "_").isidentifier() and not name.replace("-", "_").isidentifier():
        raise KitboxError(f"'{name}' is not a plugin name; use letters, digits and _")
    write_text(path, original[0].read_text(encoding="utf-8"))
    print_line(f"wrote {path}, a copy of {source}: edit it, then 'kitbox train {name}'")


@app.command("check")
def check(folder: WorkspaceOption = None) -> None:
    """Load and build all plugins, and find copies and misleading names.

    Networks are built without weights.

    \b
    Example:
      kitbox plugins check
    """
    from kitbox.network.network import measure_cost
    from kitbox.plugin import discovery

    found, mistakes = discovery.load_all(_workspace(folder))
    for named in found:
        problem = discovery.name_problem(named)
        if problem is not None:
            mistakes.append(KitboxError(problem))
        try:
            measure_cost(named.plugin)
        except KitboxError as error:
            mistakes.append(KitboxError(f"{named.name}: {error}"))
    for mistake in mistakes:
        print_line(f"error: {mistake}")
    if mistakes:
        raise typer.Exit(1)
    print_line(f"{len(found)} plugins are valid")


def _workspace(folder: Path | None) -> "Workspace | None":
    """Return the workspace, or None where none is named and none is near: shipped plugins show."""
    try:
        return find_workspace(folder)
    except KitboxError:
        if folder is not None or "KITBOX_WORKSPACE" in os.environ:
            raise
        return None


def _row(named: "NamedPlugin", workspace: "Workspace | None") -> dict[str, Any]:
    from kitbox.network.network import measure_cost
    from kitbox.training import runs

    plugin, price = named.plugin, measure_cost(named.plugin)
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
        "embedding_dim": price.embedding_dim,
        "fingerprint": plugin.fingerprint,
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
        f"{row['multiply_adds'] / 1e9:.2f} G",
        f"{row['checkpoint_bytes'] / 1e6:.0f} MB",
        str(row["embedding_dim"]),
        row["fingerprint"][:8],
        ", ".join(row["trained_on"]) or "no",
        row["source"],
    )
