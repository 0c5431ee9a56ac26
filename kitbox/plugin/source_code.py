"""A user's own code: functions that a plugin names as "module:function", and their files' digests.

A module is a file of the workspace, or of an installed package. Its code is run only where a plugin
file read in this process names it: settings from elsewhere, such as a receipt's, are values.
"""

import ast
import importlib
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib import metadata, util
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from kitbox.errors import KitboxError, did_you_mean, first_line
from kitbox.files import digest_of, write_bytes

_WORD = r"[^\W\d]\w*"
_DOTTED = rf"{_WORD}(?:\.{_WORD})*"
# "module:function"
PATTERN = f"^{_DOTTED}:{_DOTTED}$"
_REFERENCE = re.compile(f"({_DOTTED}):({_DOTTED})")
# The name of a file of code: relative to the workspace, and nowhere else; and of a package.
FILE = re.compile(rf"(?:{_WORD}/)*{_WORD}\.py")
PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?<!\.py)")
# The package that modules of users are imported into, so that they meet no other module.
_PREFIX = "kitbox_code_"
_SHORT = 12  # digits of a digest that are shown


@dataclass(frozen=True)
class CodeFile:
    """A file of code: its name, relative to the workspace, its path and its bytes."""

    name: str
    path: str
    content: bytes

    @property
    def digest(self) -> str:
        """The sha256 of the bytes."""
        return sha256(self.content).hexdigest()


# What plugin files of this process name: files by digest, and references.
_files: dict[str, CodeFile] = {}
_references: set[str] = set()
# Files of the code that is imported, by the name of its package.
_imported: dict[str, Mapping[str, CodeFile]] = {}


def is_reference(name: str) -> bool:
    """Return whether a name is "module:function"."""
    return _REFERENCE.fullmatch(name) is not None


def read(references: Sequence[str], root: Path | None) -> dict[str, str]:
    """Return the code that references need: file → sha256, and package → version.

    Modules are looked for in the folder `root`, then among those that Python imports. Of files, the
    files that they import are included; of a package, its version alone. From now on the code may
    be run. Raises KitboxError for a module that is not found, and for one that is not Python.
    """
    code: dict[str, str] = {}
    found: dict[str, CodeFile] = {}
    for reference in references:
        module, _ = _parts(reference)
        top = module.partition(".")[0]
        files = _files_of(module, root)
        if files:
            _follow(files, root, found)
            continue
        package = None if top in sys.stdlib_module_names else _package(top)
        if package is None:
            raise _no_module(reference, root)
        code[package] = metadata.version(package)
    code |= {name: file.digest for name, file in found.items()}
    _files.update({file.digest: file for file in found.values()})
    _references.update(references)
    return dict(sorted(code.items()))


def lacking(references: Iterable[str], code: Mapping[str, str]) -> list[str]:
    """Return what of some code cannot be run here: files, packages and functions."""
    missing = []
    for name, digest in code.items():
        if FILE.fullmatch(name):
            if digest not in _files:
                missing.append(f"{name} (sha256 {digest[:_SHORT]})")
        elif _version(name) != digest:
            there = _version(name) or "none"
            missing.append(f"the package {name} {digest} ({there} is installed)")
    return missing + [
        f"{reference} (no plugin here names it)"
        for reference in references
        if reference not in _references or not _is_covered(reference, code)
    ]


def _is_covered(reference: str, code: Mapping[str, str]) -> bool:
    """Return whether some code has the file or the package of a reference."""
    module, _ = _parts(reference)
    return _file_of(module, code) is not None or _package(module.partition(".")[0]) in code


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the names of files and packages that differ between two records of code."""
    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name))


def texts(code: Mapping[str, str]) -> dict[str, str]:
    """Return the text of each file of some code, by name."""
    return {
        name: _files[digest].content.decode("utf-8")
        for name, digest in code.items()
        if digest in _files
    }


def trust(
    references: Sequence[str], code: Mapping[str, str], sources: Mapping[str, str], root: Path
) -> list[Path]:
    """Write files of code with the texts `sources` into the folder `root`; return those written.

    From now on the code may be run. Raises KitboxError for a text that does not have the digest,
    and for a file that is there with another text; then nothing is written.
    """
    new: dict[Path, CodeFile] = {}
    for reference in references:
        if not _is_covered(reference, code):
            raise KitboxError(f"nothing tells which file or package {reference} is of")
    for name, digest in code.items():
        path = root / name
        if not FILE.fullmatch(name):
            if _version(name) != digest:
                raise KitboxError(
                    f"this needs the package {name} {digest}; "
                    f"{_version(name) or 'none'} is installed",
                    fix=f"pip install {name}=={digest}",
                )
            continue
        content = sources.get(name, "").encode("utf-8")
        if path.is_file() and sha256(path.read_bytes()).hexdigest() == digest:
            content = path.read_bytes()
        elif name not in sources or sha256(content).hexdigest() != digest:
            raise KitboxError(
                f"the source of {name} (sha256 {digest[:_SHORT]}) is not given", fix=f"copy {path}"
            )
        elif path.exists():
            raise KitboxError(
                f"{path} is another file than {name} (sha256 {digest[:_SHORT]})",
                fix="use a workspace of its own, made with 'kitbox init'",
            )
        new[path] = CodeFile(name, str(path), content)
    written = [path for path in new if not path.exists()]
    for path in written:
        write_bytes(path, new[path].content)
    _files.update({file.digest: file for file in new.values()})
    _references.update(references)
    return written


@dataclass(frozen=True)
class SourceCode:
    """Some code with its files, which other processes can run, too; `named` are its packages."""

    files: Mapping[str, CodeFile]
    named: tuple[str, ...] = ()

    @property
    def packages(self) -> set[str]:
        """The installed packages that it names, and those that its files import."""
        tops = {
            module.partition(".")[0] for file in self.files.values() for module in _imports(file)
        }
        return {*self.named, *(package for top in tops if (package := _package(top)))}

    @classmethod
    def of(cls, references: Iterable[str], code: Mapping[str, str]) -> "SourceCode":
        """Return code that a plugin names; raises KitboxError for what may not be run here."""
        missing = lacking(references, code)
        if missing:
            raise KitboxError(
                f"this needs {', '.join(missing)}",
                fix="code is run only where a plugin of the workspace names it, with these files",
            )
        files = {name: _files[digest] for name, digest in code.items() if FILE.fullmatch(name)}
        return cls(files, tuple(name for name in code if name not in files))

    def call(
        self, reference: str, given: Mapping[str, Any], settings: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function with those of `given` that it has parameters for, and with settings.

        Raises KitboxError with file and line for what goes wrong in it.
        """
        function = self._function(reference)
        values, named = _arguments(reference, function, given, settings or {})
        with errors_of(reference):
            return function(*values, **named)

    def _function(self, reference: str) -> Callable[..., Any]:
        module, function = _parts(reference)
        file = _file_of(module, self.files)
        with errors_of(reference):
            found: Any = importlib.import_module(
                module if file is None else f"{_import_as(self.files)}.{module}"
            )
        known = vars(found)
        for part in function.split("."):
            if not hasattr(found, part):
                public = [name for name in known if not name.startswith("_")]
                near = did_you_mean(part, public)
                raise KitboxError(f"{file or module} has no '{part}'{near}", where=reference)
            found = getattr(found, part)
        if not callable(found):
            raise KitboxError(
                f"it is no function, but {article(type(found).__name__)}", where=reference
            )
        return found  # type: ignore[no-any-return]


@contextmanager
def errors_of(reference: str) -> Iterator[None]:
    """Turn what a user's code raises into a KitboxError with its file and line."""
    try:
        yield
    except (KitboxError, MemoryError):
        raise
    except SyntaxError as error:
        raise _syntax_error(_shown(error.filename or reference), error) from error
    except (Exception, SystemExit) as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch's
            raise
        said = f"{type(error).__name__}: {first_line(error)}"  # type: ignore[arg-type]
        raise KitboxError(said, where=_place(error) or reference) from error


def _place(error: BaseException) -> str | None:
    """Return the file and line of a user's code that an error comes from, None for no such."""
    own = {file.path: file.name for files in _imported.values() for file in files.values()}
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename in own:
            return f"{own[frame.filename]} line {frame.lineno}"
    return None


def _shown(path: str) -> str:
    return next((file.name for file in _files.values() if file.path == path), path)


def article(noun: str) -> str:
    """Return a noun with its indefinite article: "a Tensor", "an int"."""
    return f"{'an' if noun[:1] in 'aeiouAEIOU' else 'a'} {noun}"


def _syntax_error(name: str, error: SyntaxError) -> KitboxError:
    line = f" line {error.lineno}" if error.lineno else ""
    return KitboxError(str(error.msg), where=f"{name}{line}")


def _parts(reference: str) -> tuple[str, str]:
    parts = _REFERENCE.fullmatch(reference)
    if parts is None:
        raise KitboxError(f"'{reference}' is no 'module:function'")
    return parts[1], parts[2]


def _file_of(module: str, files: Iterable[str]) -> str | None:
    """Return the file of a module among the names of files."""
    stem = module.replace(".", "/")
    names = (f"{stem}/__init__.py", f"{stem}.py")
    return next((name for name in names if name in files), None)


def _arguments(
    reference: str,
    function: Callable[..., Any],
    given: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments that a function is called with: by position, and by name."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        raise KitboxError("Python does not know what it takes", where=reference) from error
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = {name for name, each in parameters.items() if each.kind not in variable}
    arguments = {name: value for name, value in given.items() if name in named} | dict(settings)
    takes_all = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    unknown = [name for name in settings if name not in named and not takes_all]
    if unknown:
        near = did_you_mean(unknown[0], named)
        raise KitboxError(f"it takes no '{unknown[0]}'{near}", where=reference)
    for name, parameter in parameters.items():
        if name in named and name not in arguments and parameter.default is parameter.empty:
            raise KitboxError(
                f"it takes '{name}', which kitbox does not give it",
                where=reference,
                fix=f"kitbox gives {', '.join(given)}; let '{name}' have a default",
            )
    first = [
        arguments.pop(name)
        for name, each in parameters.items()
        if each.kind is each.POSITIONAL_ONLY and name in arguments
    ]
    return first, arguments


# Files of a module.


def _files_of(module: str, root: Path | None) -> list[tuple[Path, str]]:
    """Return (folder, file) of a module and of the packages around it; [] where it has no file."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top == "kitbox":
        return []
    for base in (root, _folder_of(top)):
        if base is not None and (files := _files_in(module, base)):
            return [(base, name) for name in files]
    return []


def _files_in(module: str, base: Path) -> list[str]:
    """Return the files of a module and of the packages around it in a folder; [] for no module."""
    parts = module.split(".")
    stems = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    packages = [f"{stem}/__init__.py" for stem in stems if (base / stem / "__init__.py").is_file()]
    own = f"{stems[-1]}.py"
    if f"{stems[-1]}/__init__.py" not in packages:
        if not (base / own).is_file():
            return []
        packages.append(own)
    return packages


def _folder_of(top: str) -> Path | None:
    """Return the folder that Python imports a module from, None for one of a package."""
    if _package(top) is not None:
        return None
    try:
        spec = util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return None
    path = Path(spec.origin)
    return path.parents[1] if path.name == "__init__.py" else path.parent


@cache
def _packages() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


@cache
def _package(top: str) -> str | None:
    """Return the installed package that a module is of, None for an editable one."""
    names = _packages().get(top)
    if not names:
        return None
    source = metadata.distribution(names[0]).read_text("direct_url.json") or ""
    return None if re.search(r'"editable"\s*:\s*true', source) else names[0]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _follow(files: list[tuple[Path, str]], root: Path | None, found: dict[str, CodeFile]) -> None:
    """Read files, and the files of all that they import."""
    waiting = list(files)
    while waiting:
        base, name = waiting.pop()
        if name in found:
            continue
        path = base / name
        found[name] = CodeFile(name, str(path), path.read_bytes())
        for module in _imports(found[name]):
            waiting += _files_of(module, root)


def _imports(file: CodeFile) -> list[str]:
    """Return the modules that a file may import: `import a`, and a and a.b of `from a import b`."""
    modules = []
    inside = file.name.removesuffix(".py").split("/")[:-1]
    for node in ast.walk(_parse(file)):
        if isinstance(node, ast.Import):
            modules += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            outer = inside[: len(inside) - node.level + 1] if node.level else []
            origin = ".".join([*outer, *([node.module] if node.module else [])])
            names = [f"{origin}.{name.name}".lstrip(".") for name in node.names]
            modules += [origin, *names] if origin else names
    return modules


def _parse(file: CodeFile) -> ast.Module:
    try:
        return ast.parse(file.content.decode("utf-8-sig"), file.path)
    except UnicodeDecodeError as error:
        raise KitboxError("it is not UTF-8", where=file.name, fix="save it as UTF-8") from error
    except SyntaxError as error:
        raise _syntax_error(file.name, error) from error
    except ValueError as error:  # null bytes
        raise KitboxError(first_line(error), where=file.name) from error


def _no_module(reference: str, root: Path | None) -> KitboxError:
    """Return the error about a module that is not found."""
    module, function = _parts(reference)
    own = module.removesuffix(".py")
    if own != module:
        return KitboxError(f"'{reference}' names a file", fix=f'write "{own}:{function}"')
    if module.partition(".")[0] in sys.stdlib_module_names:
        return KitboxError(f"{module} is a module of Python itself", where=reference)
    if root is None:
        return KitboxError(f"there is no module {module}", where=reference)
    beside = root / "plugins" / f"{module}.py"
    if beside.is_file():
        return KitboxError(
            f"there is no module {module} in {root}",
            where=reference,
            fix=f"move {beside} there: what lies in plugins/ is read as a plugin",
        )
    stems = [path.stem for path in root.glob("*.py")]
    near = did_you_mean(module, stems).removeprefix("; ")
    return KitboxError(
        f"there is no module {module}", where=reference, fix=near or f"write {root / module}.py"
    )


# Import of files under a package of their own.


def _import_as(files: Mapping[str, CodeFile]) -> str:
    """Return the package that some files are imported into."""
    digests = {name: file.digest for name, file in files.items()}
    package = f"{_PREFIX}{digest_of(digests)[:16]}"
    _imported.setdefault(package, files)
    if not any(isinstance(finder, _CodeImporter) for finder in sys.meta_path):
        sys.meta_path.append(_CodeImporter())
    return package


class _CodeImporter(MetaPathFinder, Loader):
    """Imports files of users as modules of a package that is named by their digests.

    They cannot be mistaken for others of the same name, nor for what they were before an edit.
    """

    def find_spec(self, fullname: str, *others: Any) -> ModuleSpec | None:
        del others  # where parts of a package lie, and a module to import again
        package, _, module = fullname.partition(".")
        files = _imported.get(package)
        if files is None:
            return None
        name = _file_of(module, files)
        folder = name is None or name.endswith("/__init__.py")
        if module and name is None and not _is_folder(module, files):
            return None
        file = None if name is None else files[name]
        spec = ModuleSpec(
            fullname,
            self,
            origin=None if file is None else file.path,
            loader_state=file,
            is_package=folder,
        )
        spec.has_location = file is not None
        return spec

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        file = None if spec is None else spec.loader_state
        if isinstance(file, CodeFile):
            package = module.__name__.partition(".")[0]
            tree = _OwnImports(package, _imported[package]).visit(_parse(file))
            code = compile(ast.fix_missing_locations(tree), file.path, "exec", dont_inherit=True)
            exec(code, module.__dict__)  # noqa: S102  of a user who names it in a plugin


def _is_folder(module: str, files: Iterable[str]) -> bool:
    stem = module.replace(".", "/")
    return any(name.startswith(f"{stem}/") for name in files)


class _OwnImports(ast.NodeTransformer):
    """Rewrites imports of a user's own modules, which are in a package here."""

    def __init__(self, package: str, files: Mapping[str, CodeFile]) -> None:
        self.package = package
        self.files = files

    def _is_own(self, module: str) -> bool:
        top = module.partition(".")[0]
        return _file_of(top, self.files) is not None or _is_folder(top, self.files)

    def visit_Import(self, node: ast.Import) -> list[ast.stmt]:
        statements: list[ast.stmt] = []
        for name in node.names:
            if not self._is_own(name.name):
                statements.append(ast.Import([name]))
                continue
            statements.append(ast.Import([ast.alias(f"{self.package}.{name.name}", name.asname)]))
            if name.asname is None:  # `import a.b` binds a
                top = name.name.partition(".")[0]
                statements.append(ast.ImportFrom(self.package, [ast.alias(top)], 0))
        return [ast.copy_location(statement, node) for statement in statements]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.stmt:
        if node.level == 0 and node.module and self._is_own(node.module):
            node.module = f"{self.package}.{node.module}"
        return node
