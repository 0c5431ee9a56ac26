"""The embedding cache: one folder per cache key, written atomically, without pickles."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kitbox.errors import KitboxError
from kitbox.files import atomic_folder, digest_of, digest_of_file, read_json
from kitbox.records import Embeddings, strings
from kitbox.workspace import Workspace

# Raise it when the same file gives another vector: by its reading, resampling or normalisation.
RECIPE_VERSION = 3


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


def save(workspace: Workspace, key: str, embeddings: Embeddings, parts: dict[str, Any]) -> Path:
    """Write embeddings and the parts of their key; return the folder."""
    folder = workspace.embeddings / key
    with atomic_folder(folder) as beside:
        np.save(beside / "vectors.npy", embeddings.vectors, allow_pickle=False)
        (beside / "image_ids.json").write_text(json.dumps(embeddings.image_ids.tolist()))
        manifest = {
            "recipe": RECIPE_VERSION,
            "causes": parts,
            "shape": list(embeddings.vectors.shape),
            "vectors_sha256": digest_of_file(beside / "vectors.npy"),
        }
        (beside / "manifest.json").write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
    return folder
