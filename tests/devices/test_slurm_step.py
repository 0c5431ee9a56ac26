"""Where the processes of a SLURM step meet."""

import os
import socket
import sys

import pytest

from kitbox.devices import launch
from kitbox.devices.launch import Processes, build_fabric, is_first
from kitbox.devices.slurm_step import SlurmStep
from kitbox.errors import KitboxError

# What SLURM 22.05 tells the second task of the second step, which runs on the second machine.
STEP = {
    "SLURM_JOB_ID": "1234",
    "SLURM_JOB_NAME": "kitbox",
    "SLURM_NODELIST": "h[1-2]",
    "SLURM_STEP_NODELIST": "h2",
    "SLURM_STEP_ID": "1",
    "SLURM_NTASKS": "2",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_NNODES": "1",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "0",
}


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> SlurmStep:
    for name, value in STEP.items():
        monkeypatch.setenv(name, value)
    for name in ("MASTER_ADDR", "MASTER_PORT"):  # which are set by what is tested
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return SlurmStep()


def test_processes_meet_on_the_first_machine_of_their_step(step: SlurmStep) -> None:
    assert (step.main_address, step.main_port) == ("h2", 15000 + 2341)
    assert os.environ["MASTER_ADDR"] == "h2"


def test_steps_that_run_beside_each_other_have_ports_of_their_own(
    step: SlurmStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = step.main_port
    monkeypatch.delenv("MASTER_PORT")
    monkeypatch.setenv("SLURM_STEP_ID", "2")
    assert step.main_port == first + 1


def test_a_place_that_is_set_stays(step: SlurmStep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "10.0.0.7")
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert (step.main_address, step.main_port) == ("10.0.0.7", 29500)


def test_waiting_ends_when_the_first_process_listens(
    step: SlurmStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as first:
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        monkeypatch.setenv("MASTER_PORT", str(first.getsockname()[1]))
        step.wait_for_first()
        first.settimeout(5)
        first.accept()[0].close()


def test_a_first_process_that_does_not_come_is_told(
    step: SlurmStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as bound:  # which does not listen
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        monkeypatch.setenv("MASTER_PORT", str(port))
        with pytest.raises(KitboxError) as caught:
            step.wait_for_first(seconds=0)
    assert str(caught.value) == (
        f"the first process does not answer at 127.0.0.1, port {port}; look for its error, or set "
        "MASTER_ADDR and MASTER_PORT to an address of its machine and a port that may be reached"
    )


def test_a_machine_without_an_address_is_told(
    step: SlurmStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", fail)
    with pytest.raises(KitboxError) as caught:
        step.wait_for_first()
    assert str(caught.value) == (
        "h2, the first machine of this SLURM step, has no address here; set MASTER_ADDR to an "
        "address of it in the script"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SLURM on Windows")
def test_srun_in_the_shell_of_salloc_starts_processes_that_work_together(
    step: SlurmStep, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """The job of salloc is called "interactive", also for them."""
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    monkeypatch.setenv("SLURM_TASK_PID", str(os.getpgrp()))
    assert Processes.resolve(None, None, os.environ) == Processes(2)
    assert not is_first()
    found = build_fabric(Processes(2), "cpu", "32-true").strategy.cluster_environment
    assert (type(found), found.world_size(), found.global_rank()) == (SlurmStep, 2, 1)
    # typed in a shell, which is the task: each command of it has a process group of its own
    monkeypatch.setattr(launch, "_process_group", os.getpid)
    monkeypatch.setenv("SLURM_TASK_PID", str(os.getppid()))
    assert Processes.resolve(None, None, os.environ) == Processes(1)
    assert not recwarn.list


def test_a_port_that_is_taken_is_told_in_a_sentence(
    step: SlurmStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_LOCALID", "0")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK"):
        monkeypatch.setenv(name, "")  # which lightning-fabric sets
        monkeypatch.delenv(name)
    with socket.create_server(("0.0.0.0", 0)) as other:  # noqa: S104 - torch listens on all
        port = other.getsockname()[1]
        monkeypatch.setenv("MASTER_PORT", str(port))
        with pytest.raises(KitboxError) as caught:
            launch._meet(Processes(2), "cpu")
    start = f"the 2 processes do not come together at 127.0.0.1, port {port} (The server socket "
    assert str(caught.value).startswith(start)
    assert "; set MASTER_PORT to a port that is free there" in str(caught.value)
