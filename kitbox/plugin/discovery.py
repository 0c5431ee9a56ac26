"""Search for plugins in the workspace, in kitbox and in installed packages."""

import importlib.metadata
import traceback
import types
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from kitbox.errors import KitboxError, did_you_mean
from kitbox.plugin import derivation
from kitbox.plugin.plugin import Plugin
from kitbox.value import explain
from kitbox.workspace import Workspace


@dataclass(frozen=True)
class NamedPlugin:
    """A plugin with its name, file and source: "workspace", "kitbox" or a package's name.

    `path` is None for a plugin of a package.
    """

    name: str
    plugin: Plugin
    path: Path | None
    source: str

    @property
    def full_name(self) -> str:
        """The name with the views, where there are any: what names the network has none."""
        return derivation.name_with_views(self.name, self.plugin.views)

    def with_views(self, views: Sequence[str]) -> "NamedPlugin":
        """Return the plugin with other views; raises KitboxError for one that there is not."""
        try:
            return replace(self, plugin=derivation.with_views(self.plugin, views))
        except KitboxError as error:
            raise KitboxError(error.explanation, where=self.name) from error


def shipped_folder() -> Path:
    """Return the folder of the plugins that kitbox ships, in an installation or a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "shipped"
    return installed if installed.is_dir() else package.parent / "plugins"


def plugin_files(workspace: Workspace | None) -> dict[str, tuple[Path, str]]:
    """Return name → (plugin file, source); a file of the workspace hides a shipped one."""
    found: dict[str, tuple[Path, str]] = {}
    folders = [(shipped_folder(), "kitbox")]
    if workspace is not None:
        folders.append((workspace.plugins, "workspace"))
    for folder, source in folders:
        for path in sorted(folder.glob("[!_.]*.py")):
            found[path.stem] = (path, source)
    return found


def plugin_names(workspace: Workspace | None) -> list[str]:
    """Return the names of all plugins, sorted."""
    return sorted({*plugin_files(workspace), *(point.name for point in _entry_points())})


def derived_names(workspace: Workspace) -> list[str]:
    """Return the names with changed settings of plugins that were trained here, sorted."""
    names = [path.name for path in workspace.runs.glob("*@*") if path.is_dir()]
    return sorted(name for name in names if name.partition("@")[0] in plugin_names(workspace))


def load(name: str, workspace: Workspace | None) -> NamedPlugin:
    """Return the plugin of this name.

    A name may hold changed settings, as "resnet34_620@epochs=2". Views stay out of the name that is
    returned, because they do not change the network. Raises KitboxError for an unknown name, a file
    that does not load, and settings equal to those of another plugin.
    """
    base, changes = derivation.split_name(name)
    if "views" in changes:
        views = changes.pop("views")
        return load(derivation.join_name(base, changes), workspace).with_views(views)
    if changes:
        named = load(base, workspace)
        try:
            plugin = derivation.derive(named.plugin, changes)
        except KitboxError as error:
            raise KitboxError(error.explanation, where=name) from error
        if plugin == named.plugin:
            return named
        return replace(named, name=derivation.join_name(base, changes), plugin=plugin)
    named = _load_alone(name, workspace)
    own = {n for n, (_, source) in plugin_files(workspace).items() if source == "workspace"}
    for other in plugin_names(workspace):
        if other == name:
            continue
        if named.source != "workspace" and other in own:
            continue  # the unedited copy in the workspace is reported, not this one
        try:
            same = _load_alone(other, workspace)
        except KitboxError:
            continue  # 'kitbox plugins check' reports mistakes of other files
        if same.plugin == named.plugin:
            raise KitboxError(
                f"plugins {name} and {other} have equal settings; "
                f"was one copied from the other and not edited?"
            )
    return named


def find_equal(plugin: Plugin, workspace: Workspace | None) -> NamedPlugin | None:
    """Return a plugin with these settings, the workspace's first, or None."""
    found = plugin_files(workspace)
    for name in sorted(
        plugin_names(workspace), key=lambda name: found.get(name, ("", ""))[1] == "kitbox"
    ):
        try:
            named = _load_alone(name, workspace)
        except KitboxError:
            continue  # 'kitbox plugins check' reports it
        if named.plugin == plugin:
            return named
    return None


def load_all(
    workspace: Workspace | None, names: Sequence[str] | None = None
) -> tuple[list[NamedPlugin], list[KitboxError]]:
    """Return every plugin that loads and the errors of the others; `names` None: of all."""
    plugins, mistakes = [], []
    for name in plugin_names(workspace) if names is None else names:
        try:
            plugins.append(load(name, workspace))
        except KitboxError as error:
            mistakes.append(error)
    return plugins, mistakes


def read_plugin_file(path: Path) -> Plugin:
    """Return the value `plugin` of a plugin file.

    Raises KitboxError with file and line for a mistake in it.
    """
    shown = f"{path.parent.name}/{path.name}"
    module = types.ModuleType(f"kitbox_plugin_{path.stem}")
    module.__file__ = str(path)
    try:
        # compiled here, since the import system may use a stale .pyc of a file edited this second
        code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102  the file is the user's own
    except SyntaxError as error:
        line = f" line {error.lineno}" if error.lineno else ""
        raise KitboxError(str(error.msg), where=f"{shown}{line}") from error
    except ValidationError as error:
        raise KitboxError(explain(error), where=shown) from error
    except (Exception, SystemExit) as error:  # it may do anything; its own line helps most
        frames = traceback.extract_tb(error.__traceback__)
        number = max((f.lineno or 0 for f in frames if f.filename == str(path)), default=0)
        line = f" line {number}" if number else ""
        raise KitboxError(f"{type(error).__name__}: {error}", where=f"{shown}{line}") from error
    plugin = getattr(module, "plugin", None)
    if not isinstance(plugin, Plugin):
        raise KitboxError(f"{shown} sets no plugin; end it with 'plugin = Plugin(...)'")
    return plugin


def name_problem(named: NamedPlugin) -> str | None:
    """Return a sentence if a plugin's name does not follow <backbone>_<pixels>[_...], else None."""
    stem = f"{named.plugin.backbone.rpartition('/')[2]}_{named.plugin.pixels}"
    if named.name == stem or named.name.startswith(f"{stem}_"):
        return None
    return f"plugin {named.name} should be named {stem} or {stem}_<what differs>"


def _load_alone(name: str, workspace: Workspace | None) -> NamedPlugin:
    """Return the plugin of this name without comparing it with the others."""
    found = plugin_files(workspace)
    if name in found:
        path, source = found[name]
        return NamedPlugin(name, read_plugin_file(path), path, source)
    for point in _entry_points():
        if point.name == name:
            package = point.dist.name if point.dist else point.value
            try:
                plugin = point.load()
            except (Exception, SystemExit) as error:  # another package's code may do anything
                raise KitboxError(
                    f"entry point {name} of package {package} does not load: {error}"
                ) from error
            if not isinstance(plugin, Plugin):
                raise KitboxError(f"entry point {name} of package {package} is no Plugin")
            return NamedPlugin(name, plugin, None, package)
    known = plugin_names(workspace)
    raise KitboxError(
        f"no plugin named {name}{did_you_mean(name, known)}"
        + ("" if did_you_mean(name, known) else f"; there are {', '.join(known) or 'none'}")
    )


def _entry_points() -> list[importlib.metadata.EntryPoint]:
    return sorted(
        importlib.metadata.entry_points(group="kitbox.plugins"), key=lambda point: point.name
    )
