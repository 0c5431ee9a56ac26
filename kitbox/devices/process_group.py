"""The processes that share a command's work: their numbers, and what they tell each other.

A process alone needs no torch for it.
"""

import platform
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kitbox.errors import KitboxError, cannot_write

# How long a file of another machine may take until it is seen: NFS keeps a listing for 30 s.
_SEEN_SECONDS = 60


def world_size() -> int:
    """Return the number of processes that work together, 1 for a process alone."""
    group = _group()
    return 1 if group is None else int(group.get_world_size())


def rank() -> int:
    """Return the number of this process, 0 for a process alone."""
    group = _group()
    return 0 if group is None else int(group.get_rank())


def wait_for_all() -> None:
    """Wait until all processes are here."""
    if (group := _group()) is not None:
        group.barrier()


@contextmanager
def first_ahead() -> Iterator[None]:
    """Run the body in the first process, and then in the others, which find what it has written."""
    if rank() > 0:
        wait_for_all()
    yield
    if rank() == 0:
        wait_for_all()


def gather_objects(value: Any) -> list[Any]:
    """Return the values of all processes, in their order."""
    group = _group()
    if group is None:
        return [value]
    values: list[Any] = [None] * world_size()
    group.all_gather_object(values, value)
    return values


def gather_to_first(value: Any) -> list[Any] | None:
    """Return the values of all processes in the first one, and None in the others."""
    group = _group()
    if group is None:
        return [value]
    values: list[Any] | None = [None] * world_size() if rank() == 0 else None
    group.gather_object(value, values)
    return values


def share(value: Any) -> Any:
    """Return the value of the first process."""
    group = _group()
    if group is None:
        return value
    values = [value]
    group.broadcast_object_list(values)
    return values[0]


def check_common_folder(folder: Path, what: str) -> None:
    """Raise KitboxError, in all processes, where some do not see what the first writes in a folder.

    `what` names the work that needs it.
    """
    if world_size() == 1:
        return
    name, first = share((f".seen-{secrets.token_hex(8)}", folder))
    written = folder / name
    if rank() == 0:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            written.touch()
        except OSError as error:
            raise cannot_write(written, error) from error
    wait_for_all()
    blind = [
        host for host in gather_objects(None if _appears(written) else platform.node()) if host
    ]
    if rank() == 0:
        written.unlink(missing_ok=True)
    if blind:
        raise KitboxError(
            f"{blind[0]} does not see what the first machine writes into {first}",
            fix=f"put the workspace on a disk that all machines share: {what} needs it",
        )


def _appears(path: Path) -> bool:
    """Return whether a file is there, or comes into its folder within a minute."""
    until = time.monotonic() + _SEEN_SECONDS
    while not path.exists():
        if time.monotonic() > until:
            return False
        time.sleep(0.5)
    return True


def share_buffers(module: Any) -> None:
    """Give the statistics of a network of the first process to the others, as of batch norms."""
    group = _group()
    if group is not None:
        for buffer in module.buffers():
            group.broadcast(buffer, 0)


def _group() -> Any:
    """Return torch's module of processes, None where no others were started."""
    distributed = sys.modules.get("torch.distributed")
    started = distributed and distributed.is_available() and distributed.is_initialized()
    return distributed if started else None
