"""How many processes a command has, by its options and by what has started it."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from kitbox.devices import launch
from kitbox.devices.launch import Processes, build_fabric, is_first, together
from kitbox.errors import KitboxError, PeerError

TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8", "RANK": "3"}
SRUN = {
    "SLURM_NTASKS": "8",
    "SLURM_NTASKS_PER_NODE": "4",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "0",
    "SLURM_JOB_NAME": "train",
}


@pytest.mark.parametrize(
    ("options", "environment", "expected"),
    [
        ((None, None), {}, (1, 1)),
        ((2, None), {}, (2, 1)),
        ((8, 4), {"MASTER_ADDR": "10.0.0.1", "NODE_RANK": "1"}, (8, 4)),
        ((None, None), TORCHRUN, (8, 2)),
        ((8, 2), TORCHRUN, (8, 2)),
        ((None, None), SRUN, (4, 2)),
        ((None, None), SRUN | {"SLURM_NTASKS_PER_NODE": "4(x2)"}, (4, 2)),
        ((None, None), {"SLURM_NTASKS": "8", "SLURM_JOB_NAME": "bash"}, (1, 1)),
        ((None, None), {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "train"}, (1, 1)),
    ],
)
def test_processes_are_those_of_the_options_or_those_that_run(
    options: tuple[int | None, int | None], environment: dict[str, str], expected: tuple[int, int]
) -> None:
    assert Processes.resolve(*options, environment) == Processes(*expected)


@pytest.mark.parametrize(
    ("options", "environment", "message"),
    [
        (
            (4, None),
            TORCHRUN,
            "--devices 4: torchrun has started 8 processes a machine; leave --devices out",
        ),
        ((None, 3), SRUN, "--nodes 3: srun runs on 2 machines; leave --nodes out"),
        (
            (None, 2),
            {},
            "--nodes 2: nothing starts kitbox on the other machines; start it by torchrun or srun "
            "on each, and leave the option out",
        ),
        (
            (None, None),
            {"SLURM_NTASKS": "8", "SLURM_JOB_NAME": "train"},
            "SLURM has 8 tasks for this job, but this is a single process; write 'srun kitbox "
            "...' in the script",
        ),
        (
            (None, None),
            {name: value for name, value in SRUN.items() if name != "SLURM_NTASKS_PER_NODE"},
            "SLURM has 8 tasks, and does not say how many run on each machine; give sbatch or "
            "srun --ntasks-per-node",
        ),
        (
            (None, None),
            TORCHRUN | {"WORLD_SIZE": "12"},
            "torchrun has started 12 processes, 8 of them on this machine; give every machine the "
            "same --nproc-per-node",
        ),
    ],
)
def test_contradictions_are_refused(
    options: tuple[int | None, int | None], environment: dict[str, str], message: str
) -> None:
    with pytest.raises(KitboxError) as caught:
        Processes.resolve(*options, environment)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("environment", "started_by_fabric"),
    [
        ({}, True),
        ({"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "0"}, True),
        (SRUN | {"SLURM_LOCALID": "0", "SLURM_NODEID": "0"}, False),
    ],
)
def test_fabric_starts_what_nothing_else_has(
    environment: dict[str, str], started_by_fabric: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    fabric = build_fabric(Processes(4), "cpu", "32-true")
    found = fabric.strategy.cluster_environment
    assert found.creates_processes_externally is not started_by_fabric


def test_the_first_process_alone_prints() -> None:
    assert is_first({})
    assert is_first(SRUN)
    assert not is_first(SRUN | {"SLURM_PROCID": "5"})
    assert not is_first(TORCHRUN)
    assert is_first(TORCHRUN | {"RANK": "0", "LOCAL_RANK": "0"})
    assert not is_first({"LOCAL_RANK": "1"})
    assert not is_first({"LOCAL_RANK": "0", "NODE_RANK": "1"})


WAITS = "from kitbox.devices import launch; launch._end_with_starter(); "
STARTS = (
    WAITS + "import os, subprocess, sys; os.environ['LOCAL_RANK'] = '1'; "
    "subprocess.run([sys.executable, '-c', sys.argv[1]])"
)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell that a parent is gone")
def test_a_started_process_ends_with_the_killed_one_that_started_it() -> None:
    waits = WAITS + "import time; print('here', flush=True); time.sleep(30); print('still here')"
    first = subprocess.Popen(
        [sys.executable, "-c", STARTS, waits], stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    with first, first.stdout as output:
        assert output.readline() == "here\n"
        first.kill()
        assert output.read() == ""  # at its end no process holds the pipe


def test_machines_whose_host_names_are_local_are_told_the_setting_of_gloo(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Debian has 127.0.1.1 for a machine's own name, where gloo then listens."""

    def fail() -> None:
        raise RuntimeError(f"Gloo connectFullMesh failed with {refused}")

    refused = "[pair.cc:152] timed out connecting: Connection refused, remote=[127.0.1.1]:3480"
    place = SimpleNamespace(main_address="10.9.0.1", main_port=29500)
    fabric = SimpleNamespace(launch=fail, strategy=SimpleNamespace(cluster_environment=place))
    monkeypatch.setattr(launch, "build_fabric", lambda *_: fabric)
    with pytest.raises(KitboxError) as caught:
        launch._meet(Processes(1, 2), "cpu")
    assert str(caught.value) == (
        "the 2 processes do not come together at 10.9.0.1, port 29500 (Gloo connectFullMesh failed "
        f"with {refused}); set GLOO_SOCKET_IFNAME to the network device by which machines reach "
        "each other"
    )


GONE = "the first process has ended, or its machine cannot be reached; look for its message there, "


@pytest.mark.parametrize(
    ("raised", "earlier", "elsewhere", "expected", "message"),
    [
        (KeyboardInterrupt(), 1, False, KeyboardInterrupt, ""),
        (KitboxError("the connection was lost"), 1, False, PeerError, "another process of this"),
        (RuntimeError("gloo: reset"), 0, False, KitboxError, "one of the 2 processes has ended, "),
        (RuntimeError("gloo: reset"), None, False, PeerError, "another process of this command"),
        (RuntimeError("gloo: reset"), None, True, KitboxError, GONE),
        (KitboxError("the disk is full"), None, True, PeerError, "another process of this command"),
    ],
    ids=["interrupted", "second", "first", "same-machine", "other-machine", "own-error"],
)
def test_one_of_the_processes_says_why_they_end(
    raised: BaseException, earlier: int | None, elsewhere: bool, expected: type[BaseException],
    message: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """An interruption stays one though another process ended before."""
    monkeypatch.setattr(launch, "_meet", lambda *_: elsewhere)
    monkeypatch.setattr(launch, "_earlier_failures", lambda: earlier)
    with pytest.raises(expected) as caught, together(Processes(2), "cpu"):
        raise raised
    assert type(caught.value) is expected
    assert str(caught.value).startswith(message)
