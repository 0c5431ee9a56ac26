"""Networks that a config.json describes, on the Hugging Face hub or in a folder, as timm has them.

`hf-hub:OWNER/NAME` is one of the hub, which may lie in the workspace's `weights/NAME`, `timm/NAME`
one of timm's own there, and `local-dir:FOLDER` a folder, in the workspace or by its whole path.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kitbox.errors import KitboxError, did_you_mean, first_line
from kitbox.files import parse_json
from kitbox.workspace import Workspace, find_workspace

Config = Mapping[str, Any]

# Files of weights, in the order of timm; the hub is asked for one after the other.
WEIGHTS = (
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
)
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".pth.tar")
_HUBS = ("hf-hub:", "hf_hub:")
_FOLDER = "local-dir:"

# What checkpoints that are being read say of their backbones: no hub or folder is needed.
_recorded: ContextVar[tuple[str, Config] | None] = ContextVar("recorded", default=None)


class UnreachableHubError(KitboxError):
    """The hub does not answer, and the file is not in its cache."""


@dataclass(frozen=True)
class DescribedModel:
    """What a config.json says: timm's architecture, its arguments and its `pretrained_cfg`."""

    architecture: str
    arguments: dict[str, Any]
    pretrained_cfg: Any


def timm_name(name: str) -> str:
    """Return a backbone's name, without the hub if timm has the network itself: "timm/NAME"."""
    import timm

    if not _is_of_hub(name):
        return name
    own = _repository(name).removeprefix("timm/")
    known = timm.is_model(own.partition(".")[0])
    # the hub may have newer weights than this timm knows of
    known = known and (not name.startswith(_HUBS) or timm.models.is_model_pretrained(own))
    return own if known else name


def is_described(name: str) -> bool:
    """Return whether a config.json describes a backbone of this name, and not timm itself."""
    return name.startswith(_FOLDER) or (_is_of_hub(name) and timm_name(name) == name)


def short_name(name: str) -> str:
    """Return a backbone's name without its hub, owner and folder, as plugins are named."""
    return name.rpartition(":")[2].rstrip("/").rpartition("/")[2].partition("@")[0]


def load_config(name: str) -> Config | None:
    """Return the config.json of a backbone, None for one of timm itself.

    Raises KitboxError for a folder or model that does not exist, and a hub that is out of reach.
    """
    recorded = _recorded.get()
    if recorded is not None and recorded[0] == name:
        return recorded[1]
    if not is_described(name):
        return None
    path = _file(name, "config.json")
    if path is None:
        raise KitboxError(
            f"backbone {name} has no config.json, which tells timm what to build", fix=_NAME_IT
        )
    try:
        config = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise KitboxError(f"{path} cannot be read: {first_line(error)}") from error
    if not isinstance(config, dict) or not isinstance(config.get("architecture"), str):
        of_transformers = isinstance(config, dict) and "model_type" in config
        other = "of transformers" if of_transformers else "not of timm"
        raise KitboxError(f"the config.json of backbone {name} is {other}", fix=_NAME_IT)
    return config


_NAME_IT = (
    "name the architecture in timm, such as swin_large_patch4_window12_384, and give the file of "
    "weights with --weights FILE"
)


@contextmanager
def recorded_config(name: str, config: Config | None) -> Iterator[None]:
    """Build a backbone as a checkpoint has recorded it, whatever the hub or folder says now."""
    token = _recorded.set(None if config is None else (name, config))
    try:
        yield
    finally:
        _recorded.reset(token)


def describe(name: str) -> DescribedModel | None:
    """Return what the config.json of a backbone says, None for one of timm itself.

    Raises KitboxError as `load_config` does, and for an architecture that timm does not have.
    """
    import timm
    from timm.models._hub import _parse_model_cfg

    config = load_config(name)
    if config is None:
        return None
    architecture = str(config["architecture"])
    if not timm.is_model(architecture):
        near = did_you_mean(architecture, timm.list_models())
        raise KitboxError(
            f"the config.json of backbone {name} names {architecture}, which timm "
            f"{timm.__version__} does not have{near}"
        )
    cfg, _, arguments = _parse_model_cfg(copy.deepcopy(dict(config)), {})
    resolved = timm.models.resolve_pretrained_cfg(architecture, cfg)
    if resolved.input_size[0] != 3:
        raise KitboxError(f"backbone {name} takes {resolved.input_size[0]} channels, not 3")
    return DescribedModel(architecture, arguments, resolved)


def find_weights(name: str) -> Path:
    """Return the file of weights of a hub's model or of a folder; it is downloaded if need be.

    Raises KitboxError where there is none.
    """
    folder = _folder(name)
    if folder is not None:
        files = files_of_weights(folder)
        if files:
            return files[0]
        raise KitboxError(f"{folder} has no file of weights, such as {WEIGHTS[0]}")
    for file in WEIGHTS:
        if path := _cached(name, file):
            return path
    for file in WEIGHTS:
        if path := _file(name, file):
            return path
    raise KitboxError(
        f"{_repository(name)} has no file of weights at the hub, such as {WEIGHTS[0]}"
    )


def cached_weights(name: str) -> Path | None:
    """Return the weights that the hub's programs have downloaded before, None if there are none.

    `name` is a model of the hub, or a network of timm, which has its own there.
    """
    if not _is_of_hub(name):
        import timm

        own = timm.get_pretrained_cfg(name) if timm.is_model(name.partition(".")[0]) else None
        if own is None or not own.hf_hub_id:
            return None
        name = f"hf-hub:{own.hf_hub_id.rstrip('/')}"
        if name.endswith("timm"):  # the repository is named after the network and its tag
            name += f"/{own.architecture}.{own.tag}"
    return next((path for file in WEIGHTS if (path := _cached(name, file))), None)


def files_of_weights(folder: Path) -> list[Path]:
    """Return the files of weights in a folder, the one that timm takes first."""
    ranks = {name: rank for rank, name in enumerate(WEIGHTS)}
    files = sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIXES))
    return sorted(files, key=lambda path: ranks.get(path.name, len(ranks)))


def recorded_mean_and_std(weights: Path) -> tuple[list[float], list[float]] | None:
    """Return what the config.json beside a file of weights says of its pixels, None if nothing."""
    try:
        config = parse_json((weights.parent / "config.json").read_bytes())
        cfg = config.get("pretrained_cfg", config)
        mean, std = ([float(value) for value in cfg[key]] for key in ("mean", "std"))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # it is of another program
    return (mean, std) if len(mean) == len(std) == 3 else None


@contextmanager
def cache_alone_if_offline() -> Iterator[None]:
    """Let the hub's own programs look into their cache alone where the hub does not answer.

    They ask it even for what they have, and try six times in half a minute.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or _answers(constants.ENDPOINT):
        yield
        return
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = False


@cache
def _answers(hub: str) -> bool:
    """Return whether the hub answers within some seconds; it is asked once."""
    from huggingface_hub import utils

    try:
        utils.get_session().head(hub, timeout=5)  # type: ignore[attr-defined]
    except Exception:  # of whichever program it asks with
        return False
    return True


def _is_of_hub(name: str) -> bool:
    return name.startswith((*_HUBS, "timm/"))


def _repository(name: str) -> str:
    """Return OWNER/NAME of a model at the hub."""
    return name.partition(":")[2] if name.startswith(_HUBS) else name


def _folder(name: str) -> Path | None:
    """Return the folder of a name `local-dir:FOLDER`, or a model of the hub among the weights.

    It is None for a model that is not downloaded into the workspace's folder of weights.
    """
    try:
        workspace = find_workspace()
    except KitboxError:
        workspace = Workspace(Path.cwd())
    if not name.startswith(_FOLDER):
        folder = workspace.weights / short_name(name)
        return folder if (folder / "config.json").is_file() else None
    folder = workspace.root / Path(name.removeprefix(_FOLDER)).expanduser()
    if not folder.is_dir():
        raise KitboxError(
            f"there is no folder {folder} of {name}",
            fix="a relative one is taken from the workspace",
        )
    return folder


def _file(name: str, file: str) -> Path | None:
    """Return a file of a model, None if it has no such file."""
    folder = _folder(name)
    if folder is not None:
        return folder / file if (folder / file).is_file() else None
    return _cached(name, file) or _download(name, file)


def _cached(name: str, file: str) -> Path | None:
    """Return a file that the hub's own programs have downloaded before, None if not."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    repository, _, revision = _repository(name).partition("@")
    try:
        path = try_to_load_from_cache(repository, file, revision=revision or None)
    except HFValidationError as error:
        raise KitboxError(f"backbone {name} is not OWNER/NAME of the hub") from error
    return Path(path) if isinstance(path, str) else None


def _download(name: str, file: str) -> Path | None:
    """Return a file of the hub, None if the model has no such file."""
    from huggingface_hub import errors as hub
    from huggingface_hub import hf_hub_download

    repository, _, revision = _repository(name).partition("@")
    page = f"https://huggingface.co/{repository}"
    try:
        with cache_alone_if_offline():
            return Path(hf_hub_download(repository, file, revision=revision or None))
    except hub.LocalEntryNotFoundError as error:  # it is out of reach
        raise _unreachable(name) from error
    except hub.EntryNotFoundError:
        return None
    except hub.GatedRepoError as error:
        raise KitboxError(
            f"the owner of {repository} asks for your consent to its terms",
            fix=f"accept them at {page}, and log in with 'hf auth login'",
        ) from error
    except hub.RepositoryNotFoundError as error:
        raise KitboxError(
            f"the Hugging Face hub has no model {repository}, or shows it to members alone",
            fix="look at its page, or log in with 'hf auth login'",
        ) from error
    except hub.RevisionNotFoundError as error:
        raise KitboxError(f"{repository} has no revision {revision}; see {page}") from error
    except Exception as error:  # each layer of the network has errors of its own
        raise _unreachable(name) from error


def _unreachable(name: str) -> UnreachableHubError:
    """Return the error about a hub that does not answer, with the way to do without it."""
    repository = _repository(name)
    folder = f"weights/{short_name(name)}"
    return UnreachableHubError(
        f"cannot download {repository}: the Hugging Face hub is out of reach",
        fix=f"run 'hf download {repository} --local-dir {folder}' where there is a network, and "
        "copy that folder into the workspace, or the hub's cache (HF_HOME)",
    )
