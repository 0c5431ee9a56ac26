"""Manifests of embeddings whose shape is not that of their array."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kitbox.embedding import cache, imported_embeddings, vector_files
from kitbox.embedding.imported_embeddings import NamedImages
from kitbox.errors import KitboxError
from kitbox.workspace import Workspace
from tests.circle import at_angles, image_set

IMAGES = image_set({"a.jpg": "A", "b.jpg": "B"})


def imported(workspace: Workspace) -> tuple[Path, Callable[[], Any]]:
    path = workspace.root / "x.npz"
    np.savez(path, ids=["a.jpg", "b.jpg"], embeddings=np.eye(2, 3))
    known = NamedImages((IMAGES,), Path())
    needed = {"labelled": IMAGES.image_ids}
    file = vector_files.read(path)
    list(imported_embeddings.save("x", [file], known, needed, "nothing", frozenset(), workspace))
    return workspace.imported / "x", lambda: imported_embeddings.load("x", workspace)


def cached(workspace: Workspace) -> tuple[Path, Callable[[], Any]]:
    key = cache.key({"images": "1"})
    return (
        cache.save(workspace, key, at_angles(0, 90), {"images": "1"}),
        lambda: cache.load(workspace, key),
    )


@pytest.mark.parametrize("made", [imported, cached])
@pytest.mark.parametrize(
    "shape", [[3, 3], [2, 4], [-2, 3], [2], [2, 3, 1], ["2", 3], None, [2.0, 3]]
)
def test_another_shape_than_that_of_the_array_is_damage(
    tmp_path: Path, made: Callable[[Workspace], tuple[Path, Callable[[], Any]]], shape: Any
) -> None:
    folder, load = made(Workspace(tmp_path))
    assert load() is not None
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"shape": shape}))
    with pytest.raises(KitboxError, match=r"damaged|shape"):
        load()
