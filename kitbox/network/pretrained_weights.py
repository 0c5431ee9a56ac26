"""Pretrained backbone weights: located, and loaded only if every tensor fits."""

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

# Prefixes that wrappers and other training programs put before a tensor's name.
_PREFIX = re.compile(r"^(module\.|_orig_mod\.|model\.|state_dict\.|backbone\.)+")
# Usual names of classifiers, which a backbone does not have.
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
    """Load a file of weights into a backbone; return the number of tensors loaded.

    The file must have every tensor of the backbone, and no others but a classifier. Raises
    KitboxError that counts and names those that do not fit.
    """
    expected = backbone.state_dict()
    loaded = _rename(_read(path), expected)
    missing = [name for name in expected if name not in loaded]
    unequal = [
        name for name in expected if name in loaded and loaded[name].shape != expected[name].shape
    ]
    unused = [name for name in loaded if name not in expected and not _CLASSIFIER.match(name)]
    if missing or unequal or unused:
        fits = len(expected) - len(missing) - len(unequal)
        raise KitboxError(
            f"the weights {path} fit {fits} of {len(expected)} tensors of the network: "
            + "; ".join(
                f"{len(names)} {problem}, such as {names[0]}"
                for names, problem in (
                    (missing, "missing"),
                    (unequal, "of another shape"),
                    (unused, "not used"),
                )
                if names
            )
        )
    backbone.load_state_dict({name: loaded[name] for name in expected})
    return len(expected)


def resolve_source(weights: str, backbone: str, folder: Path) -> Path | str:
    """Return "hub", "none", or the file of a backbone's weights.

    `weights` is one of these two, "file" for a file in `folder` named after the backbone,
    "package:NAME" for one in an installed package, or a path.
    """
    if weights in ("hub", "none"):
        return weights
    if weights == "file":
        return find_in_folder(folder, backbone)
    if weights.startswith("package:"):
        return find_in_package(weights.removeprefix("package:"))
    return Path(weights)


def default_source(backbone: str, folder: Path) -> str:
    """Return "file" if the folder has a backbone's weights, else "hub"."""
    try:
        find_in_folder(folder, backbone)
    except KitboxError:
        return "hub"
    return "file"


def source_digest(source: Path | str) -> str:
    """Return what identifies initial weights: the file's sha256, or "hub" or "none"."""
    if isinstance(source, Path) and not source.is_file():
        raise KitboxError(f"there is no file of weights {source}; name another with --weights")
    return digest_of_file(source) if isinstance(source, Path) else source


def find_in_folder(folder: Path, backbone: str) -> Path:
    """Return the file in a folder named after a backbone, with or without its tag.

    Raises KitboxError if there is none.
    """
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
    """Return the only file of weights in an installed package.

    Raises KitboxError for a package that is not installed, or has no such file or several.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise KitboxError(
            f"the weights are in the package {package.replace('_', '-')}, which is not installed; "
            "install kitbox[demo], or choose other weights with --weights"
        )
    folder = Path(next(iter(spec.submodule_search_locations)))
    files = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES)
    if len(files) != 1:
        raise KitboxError(
            f"package {package} has {len(files)} files of weights, not one; "
            "name one of them with --weights FILE"
        )
    return files[0]


def _read(path: Path) -> State:
    if not path.is_file():
        raise KitboxError(f"there is no file of weights {path}; name another with --weights")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each format has its own errors; they mean the same to a user
        raise KitboxError(f"the weights {path} cannot be read: {error}") from error
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise KitboxError(f"the weights {path} hold no state dict")
    return loaded


def _rename(loaded: State, expected: State) -> State:
    """Return loaded tensors under the names that the backbone expects, if these are recognised."""
    if any(name.startswith("_blocks.") for name in loaded):
        loaded = _from_efficientnet_pytorch(loaded, expected)
    if sum(name in expected for name in loaded) < len(expected):
        # compare without prefixes: a wrapper's, or a classic network's own 'model.'
        bare = {_PREFIX.sub("", name): tensor for name, tensor in loaded.items()}
        by_bare = {_PREFIX.sub("", name): name for name in expected}
        loaded = {by_bare.get(name, name): tensor for name, tensor in bare.items()}
    # some files lack the count of batches, which is not used with a fixed momentum
    for name, tensor in expected.items():
        if name.endswith("num_batches_tracked") and name not in loaded:
            loaded = {**loaded, name: tensor}
    return loaded


def _from_efficientnet_pytorch(loaded: State, expected: State) -> State:
    """Rename tensors of lukemelas' EfficientNet-PyTorch to timm's (stage, block, layer)."""
    blocks = sorted(
        {
            (int(m[1]), int(m[2]))
            for name in expected
            if (m := re.match(r"blocks\.(\d+)\.(\d+)\.", name))
        }
    )
    expanded = {name.split(".")[1] for name in loaded if "._expand_conv." in name}
    renamed: State = {}
    for name, tensor in loaded.items():
        parts = name.split(".")
        if parts[0] == "_blocks" and int(parts[1]) < len(blocks):
            stage, block = blocks[int(parts[1])]
            layers = (_EXPANDED if parts[1] in expanded else _SEPARABLE) | _SQUEEZE
            layer = layers.get(parts[2], parts[2])
            parts = ["blocks", str(stage), str(block), layer, *parts[3:]]
        else:
            parts[0] = _STEM.get(parts[0], parts[0])
        renamed[".".join(parts)] = tensor
    return renamed
