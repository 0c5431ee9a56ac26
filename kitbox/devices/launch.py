"""How many processes a command runs in, as kitbox, torchrun or SLURM starts them."""

import atexit
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from kitbox.errors import KitboxError, PeerError, counted, first_line

# How long a process waits for the others. The first scores the holdout alone, which may take long;
# a process that ended is noticed at once, not after this time.
TIMEOUT = timedelta(hours=1)
# Which process has started this one, for those of `--devices`, and how often they look for it.
_STARTER = "KITBOX_STARTED_BY"
_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Processes:
    """The number of processes on each machine, each with a device of its own, and of machines."""

    devices: int = 1
    nodes: int = 1

    @property
    def world(self) -> int:
        """The number of all processes."""
        return self.devices * self.nodes

    @classmethod
    def resolve(
        cls,
        devices: int | None = None,
        nodes: int | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> "Processes":
        """Return the processes that options ask for, or that torchrun or srun has started.

        Raises KitboxError for options that contradict what is running, and for several machines on
        which nothing starts the processes.
        """
        started = _started(environment)
        if started is not None:
            who, found = started
            for option, given, there in (
                ("--devices", devices, found.devices),
                ("--nodes", nodes, found.nodes),
            ):
                if given is not None and given != there:
                    what = "processes a machine" if option == "--devices" else "machines"
                    verb = "has started" if option == "--devices" else "runs on"
                    raise KitboxError(
                        f"{option} {given}: {who} {verb} {there} {what}",
                        fix=f"leave {option} out",
                    )
            return found
        if (nodes or 1) > 1 and not {"MASTER_ADDR", "NODE_RANK"} <= environment.keys():
            raise KitboxError(
                f"--nodes {nodes}: nothing starts kitbox on the other machines",
                fix="start it by torchrun or srun on each, and leave the option out",
            )
        return cls(devices or 1, nodes or 1)


def is_first(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether this process is the first of a command, the only one that prints."""
    if "TORCHELASTIC_RUN_ID" in environment:
        names = ["RANK"]
    elif _in_srun(environment):
        names = ["SLURM_PROCID"]
    else:
        names = ["LOCAL_RANK", "NODE_RANK"]
    return all(environment.get(name, "0") == "0" for name in names)


def _started(environment: Mapping[str, str]) -> tuple[str, Processes] | None:
    """Return who has started this process beside others, and how many there are."""
    if "TORCHELASTIC_RUN_ID" in environment:
        world, devices = (int(environment[name]) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
        if world % devices:
            raise KitboxError(
                f"torchrun has started {world} processes, {devices} of them on this machine",
                fix="give every machine the same --nproc-per-node",
            )
        return "torchrun", Processes(devices, world // devices)
    tasks = int(environment.get("SLURM_NTASKS", "1"))
    if tasks > 1 and not _interactive(environment) and "LOCAL_RANK" not in environment:
        if not _in_srun(environment):
            raise KitboxError(
                f"SLURM has {tasks} tasks for this job, but this is a single process",
                fix="write 'srun kitbox ...' in the script",
            )
        each = environment.get("SLURM_NTASKS_PER_NODE", "").partition("(")[0]
        if not each.isdecimal() or tasks % int(each):
            raise KitboxError(
                f"SLURM has {tasks} tasks, and does not say how many run on each machine",
                fix="give sbatch or srun --ntasks-per-node",
            )
        return "srun", Processes(int(each), tasks // int(each))
    return None


def _interactive(environment: Mapping[str, str]) -> bool:
    """Return whether this process is one that a user has typed in a shell of SLURM.

    That of salloc is a job called "interactive", also for what srun then starts from it. A shell
    gives each command a process group of its own; what srun starts is in the group of its task.
    """
    named = environment.get("SLURM_JOB_NAME") in ("bash", "interactive")
    return named and environment.get("SLURM_TASK_PID") != str(_process_group())


def _process_group() -> int | None:
    group = getattr(os, "getpgrp", None)  # Windows has neither such groups nor SLURM
    return None if group is None else int(group())


def _in_srun(environment: Mapping[str, str]) -> bool:
    tasks = int(environment.get("SLURM_NTASKS", "1"))
    return tasks > 1 and "SLURM_STEP_ID" in environment and not _interactive(environment)


def build_fabric(
    processes: Processes, device: str, precision: str, *, unused_weights: bool = False
) -> Any:
    """Return lightning-fabric over processes with a `device` ("cpu" or "cuda") each.

    It starts them where neither torchrun nor srun has. `unused_weights` says that some weights have
    no gradient in some steps. Raises KitboxError for more processes than the machine has GPUs.
    """
    import logging

    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it logs the precision
    several = processes.world > 1
    if several and device == "cuda":
        import torch

        found = torch.cuda.device_count()
        if processes.devices > found:
            raise KitboxError(f"--devices {processes.devices}: torch sees {counted(found, 'GPU')}")
    strategy: Any = "auto"
    if several:
        strategy = DDPStrategy(timeout=TIMEOUT, find_unused_parameters=unused_weights)
    given: Any = precision
    return Fabric(
        accelerator=device,
        devices=processes.devices,
        num_nodes=processes.nodes,
        strategy=strategy,
        precision=given,
        plugins=[_cluster_environment()],
    )


def _cluster_environment() -> Any:
    """Return who starts processes and numbers them, as lightning-fabric calls it.

    Left to itself it takes a SLURM job of one task for one process, whatever its devices are, and
    tasks that srun has started from salloc for processes that know nothing of each other.
    """
    started = _started(os.environ)
    if started is None:
        from lightning_fabric.plugins.environments.lightning import LightningEnvironment

        return LightningEnvironment()
    if started[0] == "torchrun":
        from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

        return TorchElasticEnvironment()
    from kitbox.devices.slurm_step import SlurmStep

    return SlurmStep()


@contextmanager
def together(processes: Processes, device: str) -> Iterator[None]:
    """Run the body in all processes of a command, which end together.

    Of those that fail, the first raises its error; the others raise PeerError, which is not shown.
    An interruption, as by Ctrl-C, is raised as it is. Where a process ends without a word, as by
    `kill -9`, one of the others raises a KitboxError; where it was the first one, or its machine is
    gone, one of each other machine does. What `--devices` has started ends with the process that
    has started it.
    """
    if processes.world == 1:
        yield
        return
    _end_with_starter()
    import torch.distributed as distributed

    elsewhere = _meet(processes, device)
    try:
        yield
        distributed.barrier()  # none ends before all have come to the end
        atexit.register(_disconnect)
    except Exception as error:
        earlier, lost = _earlier_failures(), isinstance(error, RuntimeError) and _is_lost(error)
        if earlier is None and elsewhere and lost:
            raise KitboxError(
                "the first process has ended, or its machine cannot be reached",
                fix="look for its message there, and run the same command again; it goes on with "
                "what is finished",
            ) from error
        if earlier != 0:
            raise PeerError("another process of this command has failed") from error
        if lost:
            raise KitboxError(
                f"one of the {processes.world} processes has ended, or has not answered for "
                f"{TIMEOUT.seconds // 60} minutes",
                fix="run the same command again; it goes on with what is finished",
            ) from error
        raise


def _meet(processes: Processes, device: str) -> bool:
    """Start the processes, and connect them with each other.

    Returns whether this is the first process of a machine that is not the first one.
    """
    from kitbox.devices.slurm_step import SlurmStep

    fabric = build_fabric(processes, device, "32-true")
    starter = fabric.strategy.cluster_environment
    if isinstance(starter, SlurmStep):
        starter.wait_for_first()
    try:
        fabric.launch()
    except RuntimeError as error:
        if not _is_lost(error):
            raise
        fix = "set MASTER_PORT to a port that is free there"
        if "gloo" in str(error).lower():  # it listens where the own host name leads
            fix = "set GLOO_SOCKET_IFNAME to the network device by which machines reach each other"
        raise KitboxError(
            f"the {processes.world} processes do not come together at "
            f"{starter.main_address}, port {starter.main_port} ({first_line(error)})",
            fix=fix,
        ) from error
    return bool(fabric.node_rank > 0 and fabric.local_rank == 0)


def _disconnect() -> None:
    """Close the connections: left to the end of Python, their threads abort some processes.

    It waits for exchanges that are not finished, and is only called where all processes came to
    the end of their work.
    """
    import torch.distributed as distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


def _end_with_starter() -> None:
    """End this process where the one of `--devices` that has started it is gone.

    Nothing else tells it of a SIGKILL: it waits in torch for what the other would have sent. torch
    lets other threads run meanwhile. torchrun and srun look after their processes themselves, and
    Windows does not tell that a parent is gone.
    """
    if _started(os.environ) is not None:
        return
    if os.environ.get("LOCAL_RANK", "0") == "0":
        os.environ[_STARTER] = str(os.getpid())  # those that it will start find it there
    elif starter := os.environ.get(_STARTER):
        threading.Thread(target=_watch, args=(int(starter),), daemon=True).start()


def _watch(starter: int) -> None:
    while os.getppid() == starter:
        time.sleep(_LOOK_SECONDS)
    os._exit(1)


def _earlier_failures() -> int | None:
    """Count a failure, and return how many there were before.

    It is None where the count is gone with the first process, or torchrun on its machine.
    """
    import torch.distributed as distributed

    try:
        store = distributed.distributed_c10d._get_default_store()
        return int(store.add("kitbox/failed", 1)) - 1
    except (RuntimeError, ValueError):
        return None


def _is_lost(error: RuntimeError) -> bool:
    """Return whether torch says by an error that another process did not answer."""
    import torch.distributed as distributed

    text = str(error).lower()
    return isinstance(error, distributed.DistError) or any(
        word in text for word in ("connection closed", "connection reset", "timed out", "gloo")
    )
