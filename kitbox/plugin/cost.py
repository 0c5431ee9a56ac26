"""The cost of a plugin's network, and a store of costs measured before.

A measurement builds the network, which takes seconds. It is kept under a key of all its causes:
the plugin's settings, the code that builds and counts, and the libraries' versions.
"""

import functools
import importlib.metadata
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import Field

from kitbox.errors import KitboxError
from kitbox.files import digest_of, digest_of_file, read_json, write_json
from kitbox.plugin.plugin import Plugin
from kitbox.plugin.source_code import is_reference
from kitbox.value import Recorded, check

# What networks are built with, beside kitbox's own code.
_LIBRARIES = ("timm", "torch", "pretrainedmodels")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Parameters, multiply-adds per image, bytes of a checkpoint, and dimensions of an embedding.

    Loss heads are left out: their size depends on the number of labels. Layers after the last of
    `pooled_maps` never run and are not counted, though a checkpoint stores them. `multiply_adds` is
    None where a network runs, but its operations cannot be counted. `pooling` is how its features
    are pooled, also where the plugin leaves that to the backbone's family; `interpolation` is how
    images are resized for it.
    """

    parameters: int
    multiply_adds: int | None
    checkpoint_bytes: int
    embedding_dim: int
    pooling: str
    interpolation: str


class _Stored(Recorded):
    parameters: int = Field(ge=0)
    multiply_adds: int | None = Field(ge=0)
    checkpoint_bytes: int = Field(ge=0)
    embedding_dim: int = Field(ge=0)
    pooling: str
    interpolation: str


def find(plugin: Plugin) -> Cost | None:
    """Return the measured cost of a plugin's network; None: unknown, or its file is damaged."""
    path = _path(plugin)
    if path is None:
        return None
    try:
        return Cost(**dict(check(_Stored, read_json(path))))
    except KitboxError:
        return None


def store(plugin: Plugin, cost: Cost) -> None:
    """Keep the cost of a plugin's network, where there is room and leave to write."""
    path = _path(plugin)
    if path is not None:
        try:
            write_json(path, asdict(cost))
        except KitboxError:
            return  # it is measured again


def _path(plugin: Plugin) -> Path | None:
    """Return the file of a plugin's cost; None where it depends on files outside of the key."""
    if ":" in plugin.backbone and not is_reference(plugin.backbone):  # of a hub or a folder
        return None
    key = digest_of({"plugin": plugin.fingerprint, **builders()})
    return folder() / f"{key}.json"


def folder() -> Path:
    """Return the user's folder of costs, which all workspaces share."""
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "kitbox" / "costs"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "kitbox" / "costs"
    return Path.home() / ".cache" / "kitbox" / "costs"


@functools.cache
def builders() -> dict[str, str]:
    """Return the version of each library that a network is built with, and digests of own code."""
    own = Path(__file__).resolve().parents[1] / "network"
    versions = {name: _version(name) for name in _LIBRARIES}
    return versions | {path.name: digest_of_file(path) for path in sorted(own.glob("*.py"))}


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "none"
