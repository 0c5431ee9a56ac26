"""Search for plugins in the workspace, in kitbox and in installed packages."""

import functools
import importlib.metadata
import re
import sys
import traceback
import types
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from kitbox.errors import KitboxError, did_you_mean
from kitbox.plugin import derivation, source_code
from kitbox.plugin.plugin import Plugin
from kitbox.value import explain
from kitbox.workspace import Workspace

# "Weights: SOURCE; licence NAME, more about it." No source goes on past the next "Weights: ", so
# that the time does not grow with the square of a docstring.
_TERMS = re.compile(
    r"(?:^|.* )Weights: (?P<source>(?:(?!Weights: )[^;])+); "
    r"licen[cs]e (?P<licence>(?:[^,:;(.]|\.(?=\S))+)"
)
_MEND = "mend the file, or move it out of the folder"


@dataclass(frozen=True)
class Terms:
    """Where the weights of a plugin are from, and their licence; "" where its file is silent.

    A file states them in its docstring: "Weights: SOURCE; licence NAME, more about it."
    """

    source: str = ""
    licence: str = ""

    @classmethod
    def of(cls, docstring: str | None) -> "Terms":
        """Return the terms that a plugin file's docstring states."""
        for paragraph in re.split(r"\n\s*\n", docstring or ""):
            if stated := _TERMS.match(" ".join(paragraph.split())):
                return cls(stated["source"].strip(), stated["licence"].strip())
        return cls()


@dataclass(frozen=True)
class NamedPlugin:
    """A plugin with its name, file and source: "workspace", "kitbox" or a package's name.

    `path` is None for a plugin of a package. `terms` are those of its weights.
    """

    name: str
    plugin: Plugin
    path: Path | None
    source: str
    terms: Terms = Terms()

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
    known = plugin_names(workspace) if names else []
    return sorted(name for name in names if name.partition("@")[0] in known)


def load(name: str, workspace: Workspace | None) -> NamedPlugin:
    """Return the plugin of this name.

    A name may hold changed settings, as "resnet34_620@epochs=2". Views stay out of the name that is
    returned, because they do not change the network. Raises KitboxError for an unknown name, a file
    that does not load, and settings equal to those of another plugin.
    """
    return _Plugins(workspace).load(name)


def load_with_views(
    names: Sequence[str], workspace: Workspace | None, views: Sequence[str]
) -> list[NamedPlugin]:
    """Return the plugins of these names with these views, if any, unless a name has its own."""
    files = _Plugins(workspace)
    plugins = [files.load(name) for name in names]
    return [
        named.with_views(views)
        if views and "views" not in derivation.split_name(name)[1]
        else named
        for name, named in zip(names, plugins, strict=True)
    ]


def find_equal(plugin: Plugin, workspace: Workspace | None) -> NamedPlugin | None:
    """Return a plugin with these settings, the workspace's first, or None."""
    plugins = _Plugins(workspace)
    for name in sorted(
        plugins.names(), key=lambda name: plugins.files.get(name, ("", ""))[1] == "kitbox"
    ):
        try:
            named = plugins.load_alone(name)
        except KitboxError:
            continue  # 'kitbox plugins check' reports it
        if named.plugin == plugin:
            return named
    return None


def load_all(
    workspace: Workspace | None, names: Sequence[str] | None = None
) -> tuple[list[NamedPlugin], list[KitboxError]]:
    """Return every plugin that loads and the errors of the others; `names` None: of all."""
    plugins = _Plugins(workspace)
    found, mistakes = [], []
    for name in plugins.names() if names is None else names:
        try:
            found.append(plugins.load(name))
        except KitboxError as error:
            mistakes.append(error)
    return found, mistakes


def read_code(plugins: Iterable[Plugin], workspace: Workspace) -> None:
    """Read the plugin files of a workspace where plugins that were recorded name code of users.

    Of that, what the files name may be run afterwards.
    """
    if any(plugin.references for plugin in plugins):
        load_all(workspace)


def read_plugin_file(path: Path) -> Plugin:
    """Return the value `plugin` of a plugin file.

    Raises KitboxError with file and line for a mistake in it.
    """
    return _read_file(path)[0]


_SHIPPED: dict[tuple[Path, bytes], tuple[Plugin, str | None]] = {}


def _read_shipped_file(path: Path) -> tuple[Plugin, str | None]:
    """Return what `_read_file` does, which runs the same file once in a process.

    It is run anew where it names code of users, whose digests may have changed.
    """
    with suppress(OSError):  # of which `_read_file` tells
        key = (path, path.read_bytes())
        if key not in _SHIPPED or _SHIPPED[key][0].references:
            _SHIPPED[key] = _read_file(path)
        return _SHIPPED[key]
    return _read_file(path)


def _read_file(path: Path) -> tuple[Plugin, str | None]:
    """Return the value `plugin` of a plugin file, and its docstring."""
    shown = f"{path.parent.name}/{path.name}"
    module = types.ModuleType(f"kitbox_plugin_{path.stem}")
    module.__file__ = str(path)
    try:
        # compiled here, since the import system may use a stale .pyc of a file edited this second
        code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
        with redirect_stdout(sys.stderr):  # stdout may be a JSON document
            exec(code, module.__dict__)  # noqa: S102  the file is the user's own
    except SyntaxError as error:
        line = f" line {error.lineno}" if error.lineno else ""
        raise KitboxError(str(error.msg), where=f"{shown}{line}", fix=_MEND) from error
    except ValidationError as error:
        raise KitboxError(explain(error), where=shown) from error
    except (Exception, SystemExit) as error:  # it may do anything; its own line helps most
        frames = traceback.extract_tb(error.__traceback__)
        number = max((f.lineno or 0 for f in frames if f.filename == str(path)), default=0)
        line = f" line {number}" if number else ""
        what = f"{type(error).__name__}: {error}"
        fix = _MEND
        if isinstance(error, ModuleNotFoundError) and error.name:
            package = error.name.partition(".")[0]
            fix = f"install the package of {package}, or move the file out of the folder"
        raise KitboxError(what, where=f"{shown}{line}", fix=fix) from error
    plugin = getattr(module, "plugin", None)
    if not isinstance(plugin, Plugin):
        raise KitboxError(f"{shown} sets no plugin; end it with 'plugin = Plugin(...)'")
    if plugin.code:
        raise KitboxError("code is set by kitbox", where=shown, fix="leave it out")
    try:
        return with_code(plugin, path.resolve().parents[1]), module.__doc__
    except KitboxError as error:
        place = f"{shown}: {error.where}" if error.where else shown
        raise KitboxError(error.what, where=place, fix=error.fix) from error


def with_code(plugin: Plugin, root: Path | None) -> Plugin:
    """Return a plugin with the digests of the user's own code that it names.

    That is looked for in the folder `root` of a workspace, then in packages. Raises KitboxError
    where it is not found.
    """
    references = plugin.references
    code = source_code.read(references, root) if references else {}
    return plugin if code == plugin.code else plugin.model_copy(update={"code": code})


def name_problem(named: NamedPlugin, is_backbone: Callable[[str], bool]) -> str | None:
    """Return a sentence if a plugin's name misleads, else None.

    A name is <model>_<pixels>, and may go on with _<what differs>. The model is the plugin's
    backbone, or the name that its weights are known by, which is no other backbone's.
    """
    backbone, pixels = named.plugin.backbone.rpartition("/")[2], named.plugin.pixels
    for size in re.finditer(rf"_{pixels}(?=_|$)", named.name):
        model = named.name[: size.start()]
        if model in (backbone, backbone.partition(".")[0]) or (model and not is_backbone(model)):
            return None
    stem = f"{backbone}_{pixels}".replace(":", "_")
    return f"plugin {named.name} should be named {stem} or {stem}_<what differs>"


class _Plugins:
    """The plugins of a workspace, of kitbox and of packages, each of which is read once."""

    def __init__(self, workspace: Workspace | None) -> None:
        self._root = None if workspace is None else workspace.root
        self.files = plugin_files(workspace)
        self.points = {point.name: point for point in _entry_points()}
        self._read: dict[str, NamedPlugin | KitboxError] = {}

    def names(self) -> list[str]:
        return sorted({*self.files, *self.points})

    def load(self, name: str) -> NamedPlugin:
        if "@" in name and name in self.files:
            what = "the name of a plugin has no @, which changes a setting"
            path = self.files[name][0]
            raise KitboxError(what, where=f"{path.parent.name}/{path.name}", fix="rename the file")
        base, changes = derivation.split_name(name)
        if "views" in changes:
            views = changes.pop("views")
            return self.load(derivation.join_name(base, changes)).with_views(views)
        if not changes:
            return self._load_unequal(name)
        named = self._load_unequal(base)
        try:
            plugin = derivation.derive(named.plugin, changes)
        except KitboxError as error:
            raise KitboxError(error.explanation, where=name) from error
        if {*plugin.references} != {*named.plugin.references}:
            plugin = with_code(plugin, self._root)
        if plugin == named.plugin:
            return named
        return replace(named, name=derivation.join_name(base, changes), plugin=plugin)

    def load_alone(self, name: str) -> NamedPlugin:
        """Return the plugin of this name without comparing it with the others."""
        if name not in self._read:
            try:
                self._read[name] = self._load_file(name)
            except KitboxError as error:
                self._read[name] = error
        read = self._read[name]
        if isinstance(read, KitboxError):
            raise read
        return read

    def _load_unequal(self, name: str) -> NamedPlugin:
        """Return the plugin of this name; raises KitboxError if another has equal settings."""
        named = self.load_alone(name)
        for other in self.names():
            if other == name:
                continue
            own = self.files.get(other, ("", ""))[1] == "workspace"
            if named.source != "workspace" and own:
                continue  # the unedited copy in the workspace is reported, not this one
            try:
                same = self.load_alone(other)
            except KitboxError:
                continue  # 'kitbox plugins check' reports mistakes of other files
            if same.plugin == named.plugin:
                raise KitboxError(
                    f"plugins {name} and {other} have equal settings; "
                    f"was one copied from the other and not edited?"
                )
        return named

    def _load_file(self, name: str) -> NamedPlugin:
        if name in self.files:
            path, source = self.files[name]
            plugin, text = _read_shipped_file(path) if source == "kitbox" else _read_file(path)
            return NamedPlugin(name, plugin, path, source, Terms.of(text))
        if name in self.points:
            return _load_point(self.points[name])
        known = self.names()
        near = did_you_mean(name, known)
        there = "" if near else f"; there are {', '.join(known) or 'none'}"
        raise KitboxError(f"no plugin named {name}{near}{there}")


def _load_point(point: importlib.metadata.EntryPoint) -> NamedPlugin:
    package = point.dist.name if point.dist else point.value
    try:
        plugin = point.load()
    except (Exception, SystemExit) as error:  # another package's code may do anything
        raise KitboxError(
            f"entry point {point.name} of package {package} does not load: {error}"
        ) from error
    if not isinstance(plugin, Plugin):
        raise KitboxError(f"entry point {point.name} of package {package} is no Plugin")
    text = sys.modules[point.module].__doc__
    return NamedPlugin(point.name, with_code(plugin, None), None, package, Terms.of(text))


def _entry_points() -> tuple[importlib.metadata.EntryPoint, ...]:
    return _entry_points_on(tuple(sys.path))


@functools.cache
def _entry_points_on(path: tuple[str, ...]) -> tuple[importlib.metadata.EntryPoint, ...]:  # noqa: ARG001
    """Return the plugins of packages; all packages are looked through once for a `sys.path`."""
    found = importlib.metadata.entry_points(group="kitbox.plugins")
    return tuple(sorted(found, key=lambda point: point.name))
