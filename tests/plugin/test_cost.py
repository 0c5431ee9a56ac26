"""The store of costs: what was measured is found until anything that determines it changes."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from kitbox.plugin import cost
from kitbox.plugin.cost import Cost
from kitbox.workspace import Workspace
from tests.photographs import tiny

MEASURED = Cost(
    parameters=7, multiply_adds=None, checkpoint_bytes=28, embedding_dim=16, pooling="gem"
)


def stored(workspace: Workspace) -> list[Path]:
    return list(workspace.costs.iterdir())


def test_a_cost_is_found_again(workspace: Workspace) -> None:
    assert cost.find(tiny(), workspace) is None
    cost.store(tiny(), MEASURED, workspace)
    assert cost.find(tiny(), workspace) == MEASURED
    assert cost.find(tiny(image_size=64), workspace) is None
    assert stored(workspace)[0].is_relative_to(workspace.cache)


def test_without_a_workspace_a_cost_is_kept_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cost.store(tiny(), MEASURED, None)
    assert len(list((tmp_path / "kitbox" / "costs").iterdir())) == 1
    assert cost.find(tiny(), None) == MEASURED


@pytest.mark.parametrize("library", ["timm", "torch", "pretrainedmodels"])
def test_another_version_of_a_library_is_measured_anew(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    cost.store(tiny(), MEASURED, workspace)
    builders = cost.builders()
    assert builders[library][0].isdigit()
    monkeypatch.setattr(cost, "builders", lambda: builders | {library: "0.1"})
    assert cost.find(tiny(), workspace) is None


def test_the_code_that_builds_networks_is_a_cause() -> None:
    assert {"backbone.py", "network.py"} <= set(cost.builders())


def test_a_backbone_that_is_defined_elsewhere_is_measured_each_time(workspace: Workspace) -> None:
    for backbone in ("local-dir:weights/mine", "hf-hub:me/mine"):
        cost.store(tiny(backbone=backbone), MEASURED, workspace)
    assert not workspace.costs.exists()


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
def test_a_damaged_file_is_no_cost(workspace: Workspace, damaged: bytes) -> None:
    cost.store(tiny(), MEASURED, workspace)
    stored(workspace)[0].write_bytes(damaged)
    assert cost.find(tiny(), workspace) is None
    cost.store(tiny(), MEASURED, workspace)
    assert cost.find(tiny(), workspace) == MEASURED


def test_where_nothing_can_be_written_costs_are_not_kept(workspace: Workspace) -> None:
    workspace.cache.write_text("a file in the place of the folder")
    cost.store(tiny(), MEASURED, workspace)
    assert cost.find(tiny(), workspace) is None
