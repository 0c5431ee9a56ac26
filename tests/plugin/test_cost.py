"""The store of costs: what was measured is found until anything that determines it changes."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from kitbox.plugin import cost
from kitbox.plugin.cost import Cost
from tests.photographs import tiny

MEASURED = Cost(
    parameters=7,
    multiply_adds=None,
    checkpoint_bytes=28,
    embedding_dim=16,
    pooling="gem",
    interpolation="bicubic",
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the user's folder of costs, an empty one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "kitbox" / "costs"


def test_a_cost_is_found_again_in_the_users_cache(folder: Path) -> None:
    assert cost.find(tiny()) is None
    cost.store(tiny(), MEASURED)
    assert cost.find(tiny()) == MEASURED
    assert cost.find(tiny(image_size=64)) is None
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("library", ["timm", "torch", "pretrainedmodels"])
def test_another_version_of_a_library_is_measured_anew(
    monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    cost.store(tiny(), MEASURED)
    builders = cost.builders()
    assert builders[library][0].isdigit()
    monkeypatch.setattr(cost, "builders", lambda: builders | {library: "0.1"})
    assert cost.find(tiny()) is None


def test_the_code_that_builds_networks_is_a_cause() -> None:
    assert {"backbone.py", "network.py"} <= set(cost.builders())


def test_a_backbone_that_is_defined_elsewhere_is_measured_each_time(folder: Path) -> None:
    for backbone in ("local-dir:weights/mine", "hf-hub:me/mine"):
        cost.store(tiny(backbone=backbone), MEASURED)
    assert not folder.exists()


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b"[]",
        b"{}",
        b'{"parameters": 7}',
        *(
            json.dumps(asdict(MEASURED) | wrong).encode()
            for wrong in (
                {"parameters": "7"},
                {"multiply_adds": True},
                {"parameters": -7},
                {"parameters": None},
                {"pooling": 3},
            )
        ),
    ],
)
def test_a_damaged_file_is_no_cost(folder: Path, damaged: bytes) -> None:
    cost.store(tiny(), MEASURED)
    next(folder.iterdir()).write_bytes(damaged)
    assert cost.find(tiny()) is None
    cost.store(tiny(), MEASURED)
    assert cost.find(tiny()) == MEASURED


def test_where_nothing_can_be_written_costs_are_not_kept(folder: Path) -> None:
    folder.parent.write_text("a file in the place of the folder")
    cost.store(tiny(), MEASURED)
    assert cost.find(tiny()) is None
