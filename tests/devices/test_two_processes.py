"""Two processes that torchrun has started: one result, one writer, one error."""

import json
import os
import platform
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


def start(
    rank: int, port: int, given: Sequence[str], workspace: Workspace, module: str = "pair"
) -> Any:
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
        [sys.executable, "-m", f"tests.devices.{module}", *given],
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
    port = free_port()
    started = [start(rank, port, [str(folder), *EMBED, "--json"], workspace) for rank in range(2)]
    return folder, workspace, [ended(one) for one in started]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def ended(process: Any) -> tuple[int, str, str]:
    """Return exit, stdout and stderr of a process at its end."""
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


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


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Workspace], list[Any], list[Any]]:
    """Return two workspaces of the same photographs, with results and ends of a process in each."""
    folder = tmp_path_factory.mktemp("apart")
    workspaces = [competition_on_disk(folder / str(rank))[0] for rank in range(2)]
    for workspace in workspaces:
        write_plugin(workspace, "frozen", epochs=0, losses=[])
    port, files = free_port(), [folder / f"{rank}.json" for rank in range(2)]
    started = [
        start(rank, port, [str(files[rank]), *EMBED], workspaces[rank], "apart")
        for rank in range(2)
    ]
    ends = [ended(one) for one in started]
    assert all(file.exists() for file in files), ends
    return workspaces, [json.loads(file.read_text()) for file in files], ends


@pytest.mark.slow
def test_machines_without_a_common_workspace_are_sent_the_embeddings(
    apart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [first, other], [found, sent], _ = apart
    assert sent == found
    assert vectors(other) == []  # the first machine has all
    alone, _ = competition_on_disk(tmp_path)
    write_plugin(alone, "frozen", epochs=0, losses=[])
    monkeypatch.setattr(embedder, "_BATCH", 4)
    kitbox(alone, *EMBED)
    expected = {path.parent.name: path.read_bytes() for path in vectors(alone)}
    assert len(expected) == 4  # two views of two sets
    assert {path.parent.name: path.read_bytes() for path in vectors(first)} == expected


@pytest.mark.slow
def test_what_the_first_machine_has_in_its_cache_is_computed_once(apart) -> None:
    _, results, _ = apart
    for found in results:
        assert found["digests"][0] == found["digests"][1]
        assert found["computed"] == [2 * (24 + 8), 0]


@pytest.mark.slow
def test_training_without_a_common_workspace_is_refused_at_its_start(apart) -> None:
    [first, _], _, ends = apart
    assert [code for code, _, _ in ends] == [1, 1]
    errors = [line for _, _, err in ends for line in err.splitlines() if "error" in line]
    assert errors == [
        f"error: {platform.node()} does not see what the first machine writes into {first.runs}; "
        "put the workspace on a disk that all machines share: training needs it"
    ]
    assert not list(first.runs.glob(".seen-*"))
