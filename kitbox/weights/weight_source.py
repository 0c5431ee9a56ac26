"""Where a backbone's initial weights are: a file, a package, a folder or the hub."""

import contextlib
from importlib.util import find_spec
from pathlib import Path

from kitbox.errors import KitboxError
from kitbox.files import digest_of, digest_of_file
from kitbox.plugin import source_code
from kitbox.weights import model_hub
from kitbox.weights.model_hub import SUFFIXES
from kitbox.weights.weight_file import check_file


def resolve_source(weights: str, backbone: str, folder: Path) -> Path | str:
    """Return "hub", "none", or the file of a backbone's weights.

    `weights` is one of these two, "file" for a file in `folder` named after the backbone,
    "file:NAME" for one of another name, "package:NAME" for one in an installed package,
    "local-dir:FOLDER" for a downloaded folder, "hf-hub:OWNER/NAME" for a model of the hub, which
    may lie in `folder`, or a path. Where a config.json describes the backbone, "hub" is the file
    beside it.
    """
    if weights == "hub" and model_hub.is_described(backbone):
        return model_hub.find_weights(backbone)
    if weights in ("hub", "none"):
        return weights
    if weights == "file":
        return find_in_folder(folder, backbone)
    if weights.startswith("file:"):
        return find_in_folder(folder, weights.removeprefix("file:"))
    if weights.startswith("package:"):
        return find_in_package(weights.removeprefix("package:"))
    if weights.startswith("local-dir:"):
        return model_hub.find_weights(weights)
    if weights.startswith(("hf-hub:", "hf_hub:")):
        return _find_of_hub(folder, weights)
    return Path(weights)


def _find_of_hub(folder: Path, name: str) -> Path:
    """Return the file of a model of the hub, which is downloaded unless it is in the folder."""
    short = model_hub.short_name(name)
    if found := _in_folder(folder, short):
        return found
    try:
        return model_hub.find_weights(name)
    except model_hub.UnreachableHubError as error:
        model = name.partition(":")[2].partition("@")[0]
        command = f"hf download {model} --local-dir {folder / short}"
        raise KitboxError(
            error.what,
            fix=f"run '{command}' where there is a network, and copy that folder; or give its "
            "file with 'kitbox train NAME --weights FILE'",
        ) from error


def default_source(backbone: str, folder: Path) -> str:
    """Return "file" if the folder has a backbone's weights, else "hub"."""
    try:
        find_in_folder(folder, backbone)
    except KitboxError:
        return "hub"
    return "file"


def installed_source(weights: str, backbone: str, folder: Path) -> str | None:
    """Return the setting by which a backbone's weights are found without a download, None if none.

    It is `weights` itself, or "file" where that names the hub or a package that is not there.
    """
    if weights == "none":
        return None
    if weights.startswith(("hf-hub:", "hf_hub:")) or (
        weights == "hub" and model_hub.is_described(backbone)
    ):
        name = weights if weights != "hub" else backbone
        found = _in_folder(folder, model_hub.short_name(name)) or model_hub.cached_weights(name)
        return weights if found else None
    if weights == "hub" and model_hub.cached_weights(backbone):
        return weights
    for source in (weights, "file") if weights.startswith(("hub", "package:")) else (weights,):
        if source != "hub":
            with contextlib.suppress(KitboxError):
                found_at = resolve_source(source, backbone, folder)
                if isinstance(found_at, Path) and found_at.is_file():
                    return source
    return None


def source_digest(source: Path | str, backbone: str = "") -> str:
    """Return what identifies initial weights: the file's sha256, or "hub" or "none".

    A config.json that describes the backbone is a part of it.
    """
    if isinstance(source, Path):
        check_file(source)
    digest = digest_of_file(source) if isinstance(source, Path) else source
    config = model_hub.load_config(backbone)
    return digest if config is None else digest_of([digest, config])


def find_in_folder(folder: Path, backbone: str) -> Path:
    """Return the file in a folder named after a backbone, with or without its tag.

    It may lie in a folder of that name, as the hub's programs download it. Raises KitboxError if
    there is none.
    """
    name = model_hub.short_name(backbone)
    if source_code.is_reference(backbone):
        name = backbone.replace(":", "_")
    if found := _in_folder(folder, name):
        return found
    raise KitboxError(
        f"there is no file {name}.safetensors (or .pth, .pt, .bin) in {folder}, nor a folder "
        f"{name} with one",
        fix="put it there, name one with --weights FILE, or the folder with KITBOX_WEIGHTS",
    )


def _in_folder(folder: Path, name: str) -> Path | None:
    """Return the file of a name in a folder, or that in a folder of the name; None: neither."""
    for stem in (name, name.partition(".")[0]):
        for suffix in SUFFIXES:
            if (folder / f"{stem}{suffix}").is_file():
                return folder / f"{stem}{suffix}"
        if (folder / stem).is_dir() and (files := model_hub.files_of_weights(folder / stem)):
            return files[0]
    return None


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
