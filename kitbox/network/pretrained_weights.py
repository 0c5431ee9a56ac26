"""Loads backbone weights from a file, and refuses a file that does not fit."""

import re
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from kitbox.errors import KitboxError
from kitbox.files import digest_of_file

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
State = dict[str, Tensor]

# What wrappers and older savers put in front of a tensor's name.
_PREFIX = re.compile(r"^(module\.|_orig_mod\.|model\.|state_dict\.|backbone\.)+")
# Classifiers by any of their usual names; a backbone has none.
_CLASSIFIER = re.compile(r"^(classifier|fc|_fc|head|head\.fc|last_linear|logits)\.")
# Names of lukemelas' EfficientNet-PyTorch, without and with an expansion convolution.
_STEM = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
_SQUEEZE = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
_SEPARABLE = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def load(backbone: nn.Module, path: Path) -> int:
    """Load a file of weights into a backbone; return the count of tensors loaded.

    Every tensor of the backbone must be in the file, and of the file only a classifier may be
    left over. Raises KitboxError that counts and names what does not fit.
    """
    wanted = backbone.state_dict()
    given = _named_for(wanted, _read(path))
    missing = [name for name in wanted if name not in given]
    unequal = [name for name in wanted if name in given and given[name].shape != wanted[name].shape]
    unused = [name for name in given if name not in wanted and not _CLASSIFIER.match(name)]
    if missing or unequal or unused:
        fits = len(wanted) - len(missing) - len(unequal)
        raise KitboxError(
            f"the weights {path} fit {fits} of {len(wanted)} tensors of the network: "
            + "; ".join(
                f"{len(names)} {what}, such as {names[0]}"
                for names, what in (
                    (missing, "missing"),
                    (unequal, "of another shape"),
                    (unused, "not used"),
                )
                if names
            )
        )
    backbone.load_state_dict({name: given[name] for name in wanted})
    return len(wanted)


def resolve_source(asked: str, backbone: str, folder: Path) -> Path | str:
    """Return "hub", "none", or the file in which a backbone's weights are.

    `asked` is one of these two, "file" for one in `folder` named after the backbone,
    "package:NAME" for one that an installed package carries, or a path.
    """
    if asked in ("hub", "none"):
        return asked
    if asked == "file":
        return find_in_folder(folder, backbone)
    if asked.startswith("package:"):
        return find_in_package(asked.removeprefix("package:"))
    return Path(asked)


def default_source(backbone: str, folder: Path) -> str:
    """Return "file" where the folder has a backbone's weights, else "hub"."""
    try:
        find_in_folder(folder, backbone)
    except KitboxError:
        return "hub"
    return "file"


def source_digest(source: Path | str) -> str:
    """Return what names the starting weights: the file's sha256, or "hub" or "none"."""
    if isinstance(source, Path) and not source.is_file():
        raise KitboxError(f"there is no file of weights {source}")
    return digest_of_file(source) if isinstance(source, Path) else source


def find_in_folder(folder: Path, backbone: str) -> Path:
    """Return the file of a backbone's weights in a folder: its name, or its name without tag."""
    stems = (backbone.rpartition("/")[2], backbone.rpartition("/")[2].partition(".")[0])
    for stem in stems:
        for suffix in SUFFIXES:
            if (folder / f"{stem}{suffix}").is_file():
                return folder / f"{stem}{suffix}"
    raise KitboxError(
        f"there is no file {stems[0]}.safetensors (or .pth, .pt, .bin) in {folder}; "
        "put it there, name one with --weights FILE, or the folder with KITBOX_WEIGHTS"
    )


def find_in_package(package: str) -> Path:
    """Return the one file of weights that an installed package carries."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise KitboxError(
            f"the weights are in the package {package.replace('_', '-')}, which is not installed; "
            "install kitbox[demo], or choose other weights with --weights"
        )
    folder = Path(next(iter(spec.submodule_search_locations)))
    found = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES)
    if len(found) != 1:
        raise KitboxError(f"package {package} carries {len(found)} files of weights, not one")
    return found[0]


def _read(path: Path) -> State:
    if not path.is_file():
        raise KitboxError(f"there is no file of weights {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each format has errors of its own; all mean the same to a user
        raise KitboxError(f"the weights {path} cannot be read: {error}") from error
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise KitboxError(f"the weights {path} hold no state dict")
    return loaded


def _named_for(wanted: State, given: State) -> State:
    """Return the given tensors under the names that the network uses, as far as they are known."""
    if any(name.startswith("_blocks.") for name in given):
        given = _from_efficientnet_pytorch(wanted, given)
    if sum(name in wanted for name in given) < len(wanted):
        # a wrapper's own names (a classic network's 'model.') or the bare ones
        bare = {_PREFIX.sub("", name): tensor for name, tensor in given.items()}
        by_bare = {_PREFIX.sub("", name): name for name in wanted}
        given = {by_bare.get(name, name): tensor for name, tensor in bare.items()}
    # older savers did not count batches; the count plays no part with a fixed momentum
    for name, tensor in wanted.items():
        if name.endswith("num_batches_tracked") and name not in given:
            given = {**given, name: tensor}
    return given


def _from_efficientnet_pytorch(wanted: State, given: State) -> State:
    """Rename lukemelas' EfficientNet names to timm's: blocks by stage, layers by their work."""
    places = sorted(
        {
            (int(m[1]), int(m[2]))
            for name in wanted
            if (m := re.match(r"blocks\.(\d+)\.(\d+)\.", name))
        }
    )
    expanded = {name.split(".")[1] for name in given if "._expand_conv." in name}
    renamed: State = {}
    for name, tensor in given.items():
        parts = name.split(".")
        if parts[0] == "_blocks" and int(parts[1]) < len(places):
            stage, block = places[int(parts[1])]
            layers = (_EXPANDED if parts[1] in expanded else _SEPARABLE) | _SQUEEZE
            layer = layers.get(parts[2], parts[2])
            parts = ["blocks", str(stage), str(block), layer, *parts[3:]]
        else:
            parts[0] = _STEM.get(parts[0], parts[0])
        renamed[".".join(parts)] = tensor
    return renamed
