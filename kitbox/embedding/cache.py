"""The embedding cache: a folder for each set of causes, never half there, no pickles."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from kitbox.errors import KitboxError
from kitbox.files import atomic_folder, digest_of, digest_of_file, read_json
from kitbox.records import Embeddings, strings
from kitbox.workspace import Workspace

# Counts up when the way from a file to a vector changes: reading, resampling, normalising.
RECIPE_VERSION = 2


def cache_key(causes: dict[str, Any]) -> str:
    """Return the name of the embeddings that these causes make: 32 hex digits."""
    return digest_of({"recipe": RECIPE_VERSION, **causes})[:32]


def load(workspace: Workspace, key: str) -> Embeddings | None:
    """Return the embeddings under a key, or None where there are none.

    The vectors are mapped, not read. Raises KitboxError for damaged ones.
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


def save(workspace: Workspace, key: str, embeddings: Embeddings, causes: dict[str, Any]) -> Path:
    """Keep embeddings under their key; return the folder."""
    folder = workspace.embeddings / key
    with atomic_folder(folder) as beside:
        np.save(beside / "vectors.npy", embeddings.vectors, allow_pickle=False)
        (beside / "image_ids.json").write_text(json.dumps(embeddings.image_ids.tolist()))
        manifest = {
            "recipe": RECIPE_VERSION,
            "causes": causes,
            "shape": list(embeddings.vectors.shape),
            "vectors_sha256": digest_of_file(beside / "vectors.npy"),
        }
        (beside / "manifest.json").write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
    return folder
