"""Ensembles of embeddings that tell nothing apart, and options that are too large for them."""

from pathlib import Path

import numpy as np
import pytest

from kitbox.workspace import Workspace
from tests.commands import RUN, error_of, json_of, kitbox
from tests.photographs import competition_on_disk

IMAGES = [f"{i}_{n}.png" for i in range(6) for n in range(4)] + [f"t_{n}.png" for n in range(8)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return a workspace with equal embeddings of all images, and with random ones."""
    root = tmp_path_factory.mktemp("odd")
    workspace, _ = competition_on_disk(root)
    drawn = np.random.default_rng(0).normal(size=(len(IMAGES), 8))
    for name, vectors in (("equal", np.ones_like(drawn)), ("drawn", drawn)):
        file = root / f"{name}.npz"
        np.savez(file, ids=np.array(IMAGES), embeddings=vectors.astype(np.float32))
        do = ("embeddings", "import", str(file), "--name", name)
        kitbox(workspace, *do, "--learned-from", "nothing")
    return workspace


def test_equal_embeddings_are_scored_and_answered_by_id(place: Workspace) -> None:
    found = json_of(place, "score", "equal")
    assert "whitening" not in found
    made = json_of(place, "ensemble", "equal", "--rerank", "k_reciprocal", "--submit")
    rows = Path(made["csv"]).read_text().splitlines()[1:]
    assert len({row.partition(",")[2] for row in rows}) == 1
    assert error_of(place, "score", "equal", "--whiten", "4", *RUN).endswith(
        "images of the gallery have the same embedding; leave the option out"
    )
    both = json_of(place, "score", "equal", "drawn", "--whiten", "none,4")
    assert both["dim"] == 8 + 4


@pytest.mark.parametrize(
    "step", ["dba", "query_expansion", "k_reciprocal:k1=1000", "diffusion", "local_scaling"]
)
@pytest.mark.parametrize("name", ["equal", "drawn"])
def test_more_neighbours_than_the_gallery_has_are_all_of_them(
    place: Workspace, name: str, step: str
) -> None:
    text = step if ":" in step else f"{step}:k=1000"
    found = json_of(place, "score", name, "--rerank", text)
    assert {one["rerank"] for one in found["steps"]} == set(found["way"]["rerank"])
    assert all(0 <= score["value"] <= 1 for score in found["scores"].values())


def test_more_dimensions_than_there_are_become_all_of_them(place: Workspace) -> None:
    assert json_of(place, "score", "drawn", "--whiten", "400")["dim"] == 8
    shown = kitbox(place, "score", "drawn", "--whiten", "400", *RUN).stderr
    assert "drawn: whitened to 8 dimensions, not to 400: it has 8" in shown
