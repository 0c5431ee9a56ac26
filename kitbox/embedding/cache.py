"""The embedding cache: one folder per cache key, written atomically, without pickles."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kitbox.errors import KitboxError
from kitbox.files import atomic_folder, digest_of, digest_of_file, read_json
from kitbox.records import Embeddings, Floats, strings
from kitbox.workspace import Workspace

# Raise it when the same file gives another vector: by its reading, resampling or normalisation.
RECIPE_VERSION = 3
# What of each image determines its vector, in the order of the vectors.
_ROWS = "rows.json"


def key(parts: dict[str, Any]) -> str:
    """Return the cache key of embeddings that `parts` determine: 32 hex digits."""
    return digest_of({"recipe": RECIPE_VERSION, **parts})[:32]


def load(workspace: Workspace, key: str) -> Embeddings | None:
    """Return the embeddings of a key, None if they are not cached.

    The vectors are memory-mapped. Raises KitboxError for a damaged folder.
    """
    folder = workspace.embeddings / key
    if not folder.is_dir():
        return None
    manifest = read_json(folder / "manifest.json")
    image_ids = strings(read_json(folder / "image_ids.json"))
    try:
        vectors = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise KitboxError(f"the embeddings {folder} are damaged; remove that folder") from error
    if list(vectors.shape) != manifest["shape"] or len(vectors) != len(image_ids):
        raise KitboxError(f"the embeddings {folder} are damaged; remove that folder")
    return Embeddings(image_ids, vectors)


def causes_like(workspace: Workspace, wanted: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the causes of cached embeddings that have the wanted ones, by the name of the folder.

    A folder whose manifest cannot be read is left out; `load` tells of it.
    """
    for path in sorted(workspace.embeddings.glob("*/manifest.json")):
        try:
            causes = read_json(path)["causes"]
        except (KitboxError, KeyError, TypeError):
            continue
        if wanted.items() <= causes.items():
            yield causes


def add_known_rows(
    workspace: Workspace, parts: dict[str, Any], names: Sequence[str], known: dict[str, Floats]
) -> None:
    """Add the vectors that other cached sets have of images, by the images' names, to `known`.

    `parts` are those of the key of all of them; what of an image determines its vector is its name,
    '' where it has none.
    """
    of_set = ("images", "blank")
    network = {name: value for name, value in parts.items() if name not in of_set}
    wanted = set(names) - known.keys() - {""}
    for causes in causes_like(workspace, network):
        folder = workspace.embeddings / key(causes)  # that of an older recipe is not there
        if causes.keys() - set(of_set) != network.keys() or not (folder / _ROWS).is_file():
            continue
        rows = {name: row for row, name in enumerate(read_json(folder / _ROWS)) if name in wanted}
        found = load(workspace, folder.name) if rows else None
        if found is not None:
            known |= {name: np.array(found.vectors[row]) for name, row in rows.items()}
            wanted -= rows.keys()


def save(
    workspace: Workspace,
    key: str,
    embeddings: Embeddings,
    parts: dict[str, Any],
    names: Sequence[str] | None = None,
) -> Path:
    """Write embeddings and the parts of their key; return the folder.

    `names` say of each image what determines its vector, for `add_known_rows`.
    """
    folder = workspace.embeddings / key
    with atomic_folder(folder) as beside:
        np.save(beside / "vectors.npy", embeddings.vectors, allow_pickle=False)
        (beside / "image_ids.json").write_text(json.dumps(embeddings.image_ids.tolist()))
        if names is not None:
            (beside / _ROWS).write_text(json.dumps(list(names)))
        manifest = {
            "recipe": RECIPE_VERSION,
            "causes": parts,
            "shape": list(embeddings.vectors.shape),
            "vectors_sha256": digest_of_file(beside / "vectors.npy"),
        }
        (beside / "manifest.json").write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
    return folder
