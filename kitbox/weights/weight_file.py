"""The networks in a file of weights of any program, as tensors by name; no code in it is run."""

import pickle
import re
import tarfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias

from safetensors import SafetensorError

from kitbox.errors import KitboxError, first_line
from kitbox.weights import model_hub

if TYPE_CHECKING:  # torch takes seconds to import, and finding a file needs none
    from torch import Tensor

State: TypeAlias = "dict[str, Tensor]"


# Where programs keep the trained network in a file, in the order of preference. An average of its
# weights (state_dict_ema, model_ema, ema_state_dict) is taken where none of these is there.
KEYS = ("state_dict", "model", "model_state_dict", "net", "network", "params", "weights")


def networks_in(path: Path) -> list[tuple[str, State]]:
    """Return (place, tensors by name) of every network in a file, numbers as float32.

    Raises KitboxError for a file without any.
    """
    found = [
        (place, {name: t.float() if t.is_floating_point() else t for name, t in state.items()})
        for place, state in _states(_read(path))
    ]
    if not found:
        raise KitboxError(
            f"the weights {path} hold no tensors with names (a state dict)",
            fix="save the network's state_dict() alone",
        )
    return found


def check_file(path: Path) -> None:
    """Raise KitboxError for a folder, and where there is no file."""
    if path.is_dir():
        inside = [each.name for each in model_hub.files_of_weights(path)]
        raise KitboxError(
            f"the weights {path} are a folder",
            fix=f"name the file in it: {path / inside[0]}" if inside else "name a file of weights",
        )
    if not path.is_file():
        raise KitboxError(f"there is no file of weights {path}; name another with --weights")


def _read(path: Path) -> Any:
    """Return what a file of weights holds; no code in it is run."""
    check_file(path)
    try:
        with path.open("rb") as file:
            begin = file.read(512)
    except OSError as error:
        raise KitboxError(f"the weights {path} cannot be read: {error.strerror}") from error
    if problem := _no_weights(path, begin):
        raise KitboxError(f"the weights {path} cannot be read: it is {problem[0]}", fix=problem[1])
    import torch
    from safetensors.torch import load_file

    try:
        if begin[8:9] == b"{":  # after the length of its header, whatever its suffix
            return load_file(path)
        # not the path, by whose suffix torch chooses a reader
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a damaged file makes torch do
            # torch's own unpickler of tensors alone refuses the settings that files hold beside
            # them, and searches a long message about a damaged one for seconds
            return torch.load(
                file, map_location="cpu", weights_only=False, pickle_module=_TENSORS_ALONE
            )
    except Exception as error:  # each format has its own errors; they mean the same to a user
        damaged = (
            isinstance(error, SafetensorError | EOFError)
            or "truncated" in str(error)
            or (begin[:2] == b"PK" and _members(path) is None)
        )
        what = "it is cut short or damaged" if damaged else first_line(error)
        fix = "download or copy it again" if damaged else "save the network's state_dict() alone"
        raise KitboxError(f"the weights {path} cannot be read: {what}", fix=fix) from error


def _no_weights(path: Path, begin: bytes) -> tuple[str, str] | None:
    """Return what a file is that begins so, and what to do, None where it may hold weights."""
    text = begin.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if not begin:
        return "empty", "download or copy it again"
    if text.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS", "run 'git lfs pull' where it is from"
    if text.startswith(b"<"):
        return "a web page", "download the file itself"
    if text.startswith((b"{", b"[")):
        return "a text (JSON)", "give the file of weights beside it"
    if begin.startswith(b"\x89HDF"):
        return "of Keras (HDF5)", "give weights of PyTorch"
    # an ONNX file begins with its version, and then who wrote it, or the network
    if begin[0] == 8 and begin[2:3] in (b"\x12", b"\x3a", b"\x42"):
        return "of ONNX", "give the weights of PyTorch that it was exported from"
    if begin.startswith(
        (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!", b"\x28\xb5\x2f\xfd")
    ):
        return "compressed", "unpack it"
    # torch reads archives of its first releases too, and unpacks them
    if begin[257:262] == b"ustar" or (begin[0] and tarfile.is_tarfile(path)):
        return "an archive (tar)", "unpack it"
    return _no_torch_file(path) if begin[:2] == b"PK" else None


def _no_torch_file(path: Path) -> tuple[str, str] | None:
    """Return what a zip archive is that is not of torch, and what to do, None where it may be."""
    names = _members(path)
    if names is None:  # it is cut short, as reading it shows
        return None
    if any(re.fullmatch(r"[^/]+/constants\.pkl", name) for name in names):
        save = "torch.save(torch.jit.load(FILE).state_dict(), 'weights.pth')"
        return "a program of TorchScript", f"where you trust it, take its tensors out: {save}"
    if any(re.fullmatch(r"([^/]+/)?data\.pkl", name) for name in names):
        return None
    if any(name.endswith(".npy") for name in names):
        return "of numpy (.npz)", "give weights of PyTorch"
    if any(name.endswith(".weights.h5") for name in names):
        return "of Keras", "give weights of PyTorch"
    return "a zip archive", "unpack it"


def _members(path: Path) -> list[str] | None:
    """Return the names in a zip archive, None for a damaged one."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except Exception:  # zipfile raises whatever it meets
        return None


class _TensorUnpickler(pickle._Unpickler):
    """Reads tensors, and puts a stand-in for everything else: no class or function is looked up.

    Checkpoints of training programs hold their settings, paths and callbacks as well, of classes
    that may not be installed here. It is the unpickler in Python: that in C takes as much memory
    as a number in the file says.
    """

    def find_class(self, module: str, name: str) -> Any:
        rebuilds = module == "torch._utils" and name in _REBUILDS
        if rebuilds or (module, name) in _PLAIN or (module == "torch" and _is_number_type(name)):
            return super().find_class(module, name)
        return _StandIn


def _is_number_type(name: str) -> bool:
    import torch

    return isinstance(getattr(torch, name, None), torch.dtype | torch.qscheme)


def _load_tensors(file: Any, **options: Any) -> Any:
    return _TensorUnpickler(file, **options).load()


# What torch.load takes for the module `pickle`.
_TENSORS_ALONE = SimpleNamespace(
    __name__="tensors alone", Unpickler=_TensorUnpickler, load=_load_tensors
)
_REBUILDS = {
    *("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3"),
    *("_rebuild_qtensor", "_rebuild_parameter"),
}
_PLAIN = {
    ("collections", "OrderedDict"),
    ("torch", "Size"),
    ("torch.nn.parameter", "Parameter"),
    ("torch.storage", "UntypedStorage"),
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
    from torch import Tensor

    if not isinstance(loaded, Mapping) or depth == 0:
        return
    if "_modules" in loaded:  # a whole module was saved
        state = dict(_module_tensors(loaded))
    else:
        state = {str(key): value for key, value in loaded.items() if isinstance(value, Tensor)}
    if state:
        yield place, state
    keys = [key for key in loaded if isinstance(key, str) and key != "_modules"]
    for key in sorted(keys, key=lambda key: KEYS.index(key) if key in KEYS else len(KEYS)):
        yield from _states(loaded[key], f"{place}.{key}".lstrip("."), depth - 1)


def _module_tensors(module: Mapping[str, Any], prefix: str = "") -> "Iterator[tuple[str, Tensor]]":
    """Yield (name, tensor) of the parameters and buffers of a module that was saved whole."""
    from torch import Tensor

    for kind in ("_parameters", "_buffers"):
        for name, value in (module.get(kind) or {}).items():
            if isinstance(value, Tensor):
                yield prefix + name, value.detach()
    for name, child in (module.get("_modules") or {}).items():
        if isinstance(child, Mapping):
            yield from _module_tensors(child, f"{prefix}{name}.")
