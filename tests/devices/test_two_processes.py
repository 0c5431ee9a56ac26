"""Two processes that torchrun has started: one result, one writer, one error."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kitbox.embedding import embedder
from kitbox.workspace import Workspace
from tests.commands import RUN, kitbox
from tests.devices import pair
from tests.photographs import competition_on_disk, write_plugin

EMBED = ("embed", "frozen", "--view", "plain", "--view", "flip", *RUN, "--engine", "torch")


def start(rank: int, port: int, given: Sequence[str], workspace: Workspace) -> Any:
    environment = {
        "TORCHELASTIC_RUN_ID": "test",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "0",
        "OMP_NUM_THREADS": "1",
        "KITBOX_WORKSPACE": str(workspace.root),
        "TORCHELASTIC_USE_AGENT_STORE": "False",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "tests.devices.pair", *given],
        cwd=Path(__file__).parents[2],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Workspace, list[Any]]:
    """Return a folder of results, the workspace, and exit, stdout and stderr of two processes."""
    folder = tmp_path_factory.mktemp("pair")
    workspace, _ = competition_on_disk(folder)
    write_plugin(workspace, "frozen", epochs=0, losses=[])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [start(rank, port, [str(folder), *EMBED, "--json"], workspace) for rank in range(2)]
    results = []
    for one in started:
        out, err = one.communicate(timeout=240)
        results.append((one.returncode, out, err))
    return folder, workspace, results


@pytest.mark.slow
def test_two_processes_embed_the_bytes_of_one(
    both, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, workspace, results = both
    [(_, out, _), (_, silent, _)] = results
    assert silent == ""
    assert [each["images"] for each in json.loads(out)] == [24, 24, 8]
    found = {path.parent.name: path.read_bytes() for path in vectors(workspace)}
    alone, _ = competition_on_disk(tmp_path)
    write_plugin(alone, "frozen", epochs=0, losses=[])
    monkeypatch.setattr(embedder, "_BATCH", 4)
    kitbox(alone, *EMBED)
    expected = {path.parent.name: path.read_bytes() for path in vectors(alone)}
    assert len(expected) == 4  # two views of two sets
    assert found == expected


def vectors(workspace: Workspace) -> list[Path]:
    return sorted(workspace.embeddings.glob("*/vectors.npy"))


@pytest.mark.slow
def test_losses_see_the_whole_batch_and_give_its_gradients(both) -> None:
    folder, _, _ = both
    alone = pair.losses(*pair.batch())
    for rank in range(2):
        found = json.loads((folder / f"rank-{rank}.json").read_text())
        assert found["ahead"] == [rank]  # the first process has been there before
        for one, whole in zip(found["losses"], alone, strict=True):
            assert whole["loss"][0] > 0
            np.testing.assert_allclose(one["loss"], whole["loss"], rtol=1e-5)
            np.testing.assert_allclose(one["gradients"], whole["gradients"], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_divided_class_weights_learn_as_whole_ones(both) -> None:
    folder, _, _ = both
    first, other = (json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(2))
    for one, two, whole in zip(
        first["divided"], other["divided"], pair.divided(*pair.batch()), strict=True
    ):
        assert one["loss"] == two["loss"]
        np.testing.assert_allclose(one["loss"], whole["loss"], rtol=1e-5)
        np.testing.assert_allclose(one["gradients"], whole["gradients"], rtol=1e-4, atol=1e-5)
        assert len(two["gradients"]) < len(whole["gradients"])  # the first alone has all


@pytest.mark.slow
def test_synchronised_batch_norms_are_those_of_the_whole_batch(both) -> None:
    folder, _, _ = both
    alone = pair.normalised(pair.batch()[0])
    for rank in range(2):
        found = json.loads((folder / f"rank-{rank}.json").read_text())["normalised"]
        np.testing.assert_allclose(found, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_an_error_of_one_process_ends_both_with_one_sentence(both) -> None:
    _, _, results = both
    assert [code for code, _, _ in results] == [1, 1]
    errors = [line for _, _, err in results for line in err.splitlines() if "error" in line]
    assert errors == ["error: the disk of machine 2 is full; empty it"]
    assert results[1][2].splitlines() == errors
