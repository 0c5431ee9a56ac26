"""Pretrained backbone weights: located, and loaded only if every tensor fits."""

import pickle
import re
import zipfile
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from kitbox.errors import KitboxError, first_line
from kitbox.files import digest_of_file

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".pth.tar")
State = dict[str, Tensor]

# Where programs keep the trained network in a file, in the order of preference.
_KEYS = ("state_dict", "model", "model_state_dict", "net", "network", "params", "weights")
# What wrappers put before the names of its tensors.
_WRAPPERS = ("module", "_orig_mod", "backbone", "encoder", "base_model", "body", "trunk")
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


@dataclass(frozen=True)
class FittingWeights:
    """The tensors of a file that fit a backbone, and a `note` on what else it holds, "" if nothing.

    Classifiers of usual names are not mentioned.
    """

    state: State
    note: str


def load(backbone: nn.Module, path: Path) -> FittingWeights:
    """Load a file of weights into a backbone; return what was loaded, and what was not used.

    The file must have every tensor of the backbone, at the top or below one name, as training
    programs have it: "model.backbone.". Raises KitboxError that counts and names those that do not
    fit, for a file that holds two networks that fit, and for values that are no numbers.
    """
    expected = backbone.state_dict()
    fits = [fit for place, state in _states(_read(path)) for fit in _fits(place, state, expected)]
    if not fits:
        raise KitboxError(f"the weights {path} hold no tensors with names (a state dict)")
    most = max(len(fit.fitting) for fit in fits)
    best, *others = sorted(
        (fit for fit in fits if len(fit.fitting) == most), key=lambda fit: not fit.usual
    )
    if best.missing or best.unequal or best.unused:
        problems = [
            f"{len(names)} {problem}, such as {names[0]}"
            for names, problem in (
                (best.missing, "missing"),
                (best.unequal, "of another shape"),
                (best.unused + best.left_over, "not used"),
            )
            if names
        ]
        raise KitboxError(
            f"the weights {path} fit {most} of {len(expected)} tensors of the network: "
            + "; ".join(problems)
        )
    state = {name: best.renamed[name] for name in best.fitting}
    others = [o for o in others if any(not torch.equal(o.renamed[n], state[n]) for n in state)]
    for other in others:
        if not best.usual or (other.usual and other.key == best.key):
            raise KitboxError(
                f"the weights {path} hold the network twice, as {best.place} and {other.place}",
                fix="save the one that you mean in a file of its own",
            )
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise KitboxError(
                f"the weights {path} have values that are not numbers (NaN or infinite) in {name}",
                fix="take an earlier checkpoint of that training",
            )
    backbone.load_state_dict(expected | state)
    return FittingWeights(state, _note(best, others))


def _note(best: "_Fit", others: "list[_Fit]") -> str:
    """Return a sentence on what a file holds beside the tensors that are used, or ""."""
    parts = [f"the network is in it also as {other.place}" for other in others]
    if best.left_over:
        count, many = len(best.left_over), "s" if len(best.left_over) > 1 else ""
        shown = ", ".join(best.left_over[:3]) + (", …" if len(best.left_over) > 3 else "")
        parts.append(f"{count} tensor{many} beside the backbone's: {shown}")
    return f"not used of the file of weights: {'; '.join(parts)}" if parts else ""


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


def _read(path: Path) -> Any:
    """Return what a file of weights holds; no code in it is run."""
    if not path.is_file():
        raise KitboxError(f"there is no file of weights {path}; name another with --weights")
    with path.open("rb") as file:
        begin = file.read(200)
    if problem := _no_weights(begin):
        raise KitboxError(f"the weights {path} cannot be read: it is {problem[0]}", fix=problem[1])
    try:
        if begin[8:9] == b"{":  # after the length of its header, whatever its suffix
            return load_file(path)
        with path.open("rb") as file:  # not the path, by whose suffix torch chooses a reader
            try:
                return torch.load(file, map_location="cpu", weights_only=True)
            except pickle.UnpicklingError:  # it holds settings and the like beside tensors
                file.seek(0)
                return torch.load(
                    file, map_location="cpu", weights_only=False, pickle_module=_TENSORS_ALONE
                )
    except Exception as error:  # each format has its own errors; they mean the same to a user
        damaged = (
            isinstance(error, SafetensorError | EOFError)
            or "truncated" in str(error)
            or (begin[:2] == b"PK" and not zipfile.is_zipfile(path))
        )
        what = "it is cut short or damaged" if damaged else first_line(error)
        fix = "download or copy it again" if damaged else "save the network's state_dict() alone"
        raise KitboxError(f"the weights {path} cannot be read: {what}", fix=fix) from error


def _no_weights(begin: bytes) -> tuple[str, str] | None:
    """Return what a file is that begins so, and what to do, None where it may hold weights."""
    text = begin.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if not begin:
        return "empty", "download or copy it again"
    if text.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS", "run 'git lfs pull' where it is from"
    if text.startswith(b"<"):
        return "a web page", "download the file itself"
    if begin.startswith(b"\x89HDF"):
        return "of Keras (HDF5)", "give weights of PyTorch"
    return None


class _TensorUnpickler(pickle.Unpickler):
    """Reads tensors, and puts a stand-in for everything else: no class or function is looked up.

    Checkpoints of training programs hold their settings, paths and callbacks as well, of classes
    that may not be installed here.
    """

    def find_class(self, module: str, name: str) -> Any:
        rebuilds = module == "torch._utils" and name in _REBUILDS
        known = rebuilds or (module, name) in _PLAIN
        return super().find_class(module, name) if known else _StandIn


def _load_tensors(file: Any, **options: Any) -> Any:
    return _TensorUnpickler(file, **options).load()


# What torch.load takes for the module `pickle`.
_TENSORS_ALONE = SimpleNamespace(
    __name__="tensors alone", Unpickler=_TensorUnpickler, load=_load_tensors
)
_REBUILDS = {"_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter"}
_PLAIN = {
    ("collections", "OrderedDict"),
    ("torch", "Size"),
    ("torch.nn.parameter", "Parameter"),
    *(("torch", name) for name in ("float32", "float16", "bfloat16", "float64", "int64", "int32")),
}


class _StandIn(dict[Any, Any]):
    """Stands for an object of any class in a file: takes what it is given, and does nothing."""

    def __init__(self, *given: Any, **settings: Any) -> None:
        del given, settings
        super().__init__()

    def __call__(self, *given: Any, **settings: Any) -> "_StandIn":
        del given, settings
        return _StandIn()

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.update(state)

    def append(self, value: Any) -> None:
        del value

    add = extend = append
    __hash__ = object.__hash__  # type: ignore[assignment]


def _states(loaded: Any, place: str = "", depth: int = 4) -> Iterator[tuple[str, State]]:
    """Yield (place, tensors by name) of every network in a file, the usual places first."""
    if not isinstance(loaded, Mapping) or depth == 0:
        return
    if "_modules" in loaded:  # a whole module was saved
        state = dict(_module_tensors(loaded))
    else:
        state = {str(key): value for key, value in loaded.items() if isinstance(value, Tensor)}
    if state:
        yield place, state
    keys = [key for key in loaded if isinstance(key, str) and key != "_modules"]
    for key in sorted(keys, key=lambda key: _KEYS.index(key) if key in _KEYS else len(_KEYS)):
        yield from _states(loaded[key], f"{place}.{key}".lstrip("."), depth - 1)


def _module_tensors(module: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield (name, tensor) of the parameters and buffers of a module that was saved whole."""
    for kind in ("_parameters", "_buffers"):
        for name, value in (module.get(kind) or {}).items():
            if isinstance(value, Tensor):
                yield prefix + name, value.detach()
    for name, child in (module.get("_modules") or {}).items():
        if isinstance(child, Mapping):
            yield from _module_tensors(child, f"{prefix}{name}.")


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """The tensors of a network in a file, under the names of a backbone, and what does not fit.

    `key` is where the file has its tensors, `place` what precedes their names as well.
    """

    key: str
    place: str
    renamed: State
    fitting: tuple[str, ...]
    missing: tuple[str, ...]
    unequal: tuple[str, ...]
    unused: tuple[str, ...]  # in layers of the backbone: the file is of another network
    left_over: tuple[str, ...]

    @property
    def usual(self) -> bool:
        """Whether it is where programs keep the network that was trained."""
        return set(self.place.split(".")) <= {*_KEYS, *_WRAPPERS, ""}


def _fits(key: str, state: State, expected: State) -> Iterator[_Fit]:
    """Yield how tensors fit a backbone below each name under which most of them do."""
    blocks = next(filter(None, (re.match(r"(.*?)_blocks\.", name) for name in state)), None)
    if blocks:
        bare = {name.removeprefix(blocks[1]): tensor for name, tensor in state.items()}
        state = _from_efficientnet_pytorch(bare, expected)
    # a classic network's own 'model.' is not in its files
    own = "model." if all(name.startswith("model.") for name in expected) else ""
    names = {name.removeprefix(own): name for name in expected}
    layers = {name.partition(".")[0] for name in names}
    for prefix in _prefixes(state, names):
        renamed: State = {}
        unused: list[str] = []
        left_over: list[str] = []
        for name, tensor in state.items():
            bare_name = name.removeprefix(prefix)
            if not name.startswith(prefix):
                left_over.append(name)
            elif bare_name in names:
                renamed[names[bare_name]] = tensor
            elif not _CLASSIFIER.match(bare_name):
                of_backbone = bare_name.partition(".")[0] in layers
                (unused if of_backbone else left_over).append(name)
        there = [name for name in expected if name in renamed]
        equal = [name for name in there if renamed[name].shape == expected[name].shape]
        yield _Fit(
            key=key,
            place=".".join(filter(None, (key, prefix.rstrip(".")))),
            renamed=renamed,
            fitting=tuple(equal),
            # some files lack the count of batches, which is not used with a fixed momentum
            missing=tuple(
                name
                for name in expected
                if name not in renamed and not name.endswith("num_batches_tracked")
            ),
            unequal=tuple(name for name in there if name not in equal),
            unused=tuple(unused),
            left_over=tuple(left_over),
        )


def _prefixes(names: Iterable[str], wanted: Container[str]) -> list[str]:
    """Return what precedes the wanted names, where most of them are; several only if equal."""
    counts = Counter([""])
    for name in names:
        parts = name.split(".")
        for at in range(len(parts)):
            if ".".join(parts[at:]) in wanted:
                counts[".".join(parts[:at]) + "." * bool(at)] += 1
    counts[""] -= 1
    most = max(counts.values())
    return sorted((prefix for prefix in counts if counts[prefix] == most), key=len)


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
