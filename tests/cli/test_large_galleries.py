"""An index of the gallery from the command line: what it finds is told, written and reproduced."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from kitbox.competition import presets
from kitbox.retrieval import gallery_index
from kitbox.workspace import Workspace
from tests.commands import error_of, json_of, kitbox
from tests.photographs import picture

INDEX = ("--rerank", "sq8:lists=8,probes=1,candidates=1")
STEP = "sq8:probes=1,candidates=1,lists=8,seed=0"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Sixteen individuals with embeddings from elsewhere, and an index that needs 30 images."""
    root = tmp_path_factory.mktemp("large")
    rows, names = ["Image,Id"], []
    for identity in range(16):
        for number in range(4):
            name = f"{identity}_{number}.png"
            picture(root / "data" / "train" / name, identity, number)
            rows.append(f"{name},w_{identity}")
            names.append(name)
    for number in range(8):
        picture(root / "data" / "test" / f"t_{number}.png", number, 100 + number)
        names.append(f"t_{number}.png")
    (root / "data" / "train.csv").write_text("\n".join(rows) + "\n")
    workspace = Workspace(root / "workspace")
    given = {"train_list": "train.csv", "test_folder": "test"}
    presets.init(workspace, "csv", root / "data", columns=given)
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((16, 12), dtype=np.float32)
    identities = [number // 4 for number in range(64)] + list(range(8))
    noise = generator.standard_normal((len(names), 12), dtype=np.float32)
    np.savez(root / "drawn.npz", names=np.array(names), vectors=centres[identities] + noise)
    learned = ("--name", "drawn", "--learned-from", "nothing")
    kitbox(workspace, "embeddings", "import", str(root / "drawn.npz"), *learned)
    return workspace


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery_index, "FEWEST", 30)


def found(text: str) -> list[str]:
    """Return the sentences about indexes in an output."""
    flat = " ".join(text.split())
    return re.findall(r"sq8:[^ ]+ finds [\d.]+% of the \d+ nearest of \d+ images", flat)


def test_a_receipt_has_the_recall_and_is_reproduced(place: Workspace) -> None:
    made = kitbox(place, "ensemble", "drawn", *INDEX, "--submit")
    [folder] = place.submissions.glob("*_drawn_*")
    [recall] = json.loads((folder / "receipt.json").read_text())["index_recall"]
    assert recall | {"recall": 0} == {
        "step": STEP, "gallery": 64, "k": 20, "queries": 8, "recall": 0
    }  # fmt: skip
    assert 0 < recall["recall"] < 0.9
    sentence = f"{STEP}: finds {recall['recall']:.1%} of the 20 nearest of 64 images"
    assert sentence in " ".join(found(made.output))
    again = kitbox(place, "reproduce", str(folder))
    assert "the submission is the same, byte for byte" in again.output


def test_an_index_is_told_of_once_for_each_search_and_not_for_whitening_that_is_tried(
    place: Workspace,
) -> None:
    assert len(found(kitbox(place, "score", "drawn", *INDEX).output)) == 1


def test_neighbours_tell_what_an_index_finds(place: Workspace, tmp_path: Path) -> None:
    shown = kitbox(place, "neighbours", "drawn", *INDEX, "--out", str(tmp_path / "near.csv"))
    assert f"{STEP}: finds" in " ".join(found(shown.output))
    assert "index_recall" not in json_of(
        place, "neighbours", "drawn", "--out", str(tmp_path / "near.csv")
    )


def test_an_index_does_not_rank_individuals(place: Workspace) -> None:
    assert "leave it out" in error_of(place, "neighbours", "drawn", *INDEX, "--individuals")
