"""Which files an export may write: new ones, and those of an earlier export as it wrote them."""

from collections.abc import Iterable
from pathlib import Path

from kitbox import tables
from kitbox.errors import KitboxError
from kitbox.files import digest_of_file
from kitbox.locks import lock
from kitbox.workspace import Workspace

_COLUMNS = ("file", "digest")


def refuse_others(workspace: Workspace, files: Iterable[Path]) -> None:
    """Raise KitboxError for a file that an export would destroy or that the workspace would read.

    That is one that is there and is not, byte for byte, what an earlier export wrote, and any by a
    name that the workspace has for something else.
    """
    known = _known(workspace)
    own = {path.name.casefold() for path in _own(workspace)}
    for file in files:
        path = file.resolve()
        if path.is_relative_to(workspace.root.resolve()):
            parts = path.relative_to(workspace.root.resolve()).parts
            if not parts or parts[0].casefold() in own:
                raise KitboxError(
                    f"'{parts[0] if parts else workspace.root}' in the workspace is not for "
                    "exports",
                    fix="name another file",
                )
        if path.is_dir():
            raise KitboxError(f"{file} is a folder", fix="name a file")
        if path.exists() and known.get(str(path)) != digest_of_file(path):
            raise KitboxError(
                f"{file} is there, and is not what 'kitbox catalogue export' wrote",
                fix="name another file, or remove that one",
            )


def keep(workspace: Workspace, files: Iterable[Path]) -> None:
    """Remember files as exports, which a later export may replace."""
    with lock(workspace.cache / "exports.lock"):
        known = _known(workspace)
        known |= {str(path): digest_of_file(path) for path in (file.resolve() for file in files)}
        tables.write_rows(_list(workspace), [_COLUMNS, *known.items()])


def _own(workspace: Workspace) -> tuple[Path, ...]:
    """Return what a workspace has, or may have later, under names of its own."""
    lists = ("identified.csv", "identified.html", "audit.html")
    return (
        *(workspace.settings, workspace.catalogue, workspace.catalogue_history, workspace.queries),
        *(workspace.decisions, workspace.boxes, workspace.holdout, workspace.pseudo_labels),
        *(workspace.photographs, workspace.plugins, workspace.submissions, workspace.imported),
        *(workspace.cache, workspace.root / "weights", _list(workspace)),
        *(workspace.root / name for name in lists),
    )


def _list(workspace: Workspace) -> Path:
    # not in .kitbox, which may be deleted at any time
    return workspace.root / "catalogue-exports.csv"


def _known(workspace: Workspace) -> dict[str, str]:
    """Return file → digest of what exports wrote; without the list every file is protected."""
    path = _list(workspace)
    return (
        {file: digest for _, (file, digest) in tables.read_columns(path, _COLUMNS)}
        if path.exists()
        else {}
    )
