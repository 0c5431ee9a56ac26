"""Locks between processes, also on file systems that have none."""

import errno
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from kitbox.errors import KitboxError, KitboxWarning, cannot_write
from kitbox.files import create_folder

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # filelock warns where Python itself has no locks
    from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

# The answers to a lock of Lustre without its flock option, NFS without a lock daemon, and FUSE.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)
_WITHOUT_LOCKS = (
    "the file system of this workspace has no locks; files *.held in .kitbox stand for them, and "
    "one that a crashed computer leaves there must be removed by hand"
)


class HeldError(KitboxError):
    """Another process holds a lock; the same command succeeds after its end."""


@contextmanager
def lock(path: Path, held: str | None = None) -> Iterator[None]:
    """Hold the lock file `path`, which holds nothing and need not exist.

    Waits while another process holds it; with `held`, raises HeldError(held) at once. Raises
    KitboxError where the file cannot be written. The lock ends with its process, however that ends.
    Where the file system has no locks, the presence of a second file is the lock: a KitboxWarning
    says so.
    """
    try:
        create_folder(path.parent)
        taken = _acquire(path, -1 if held is None else 0)
    except Timeout as error:
        raise HeldError(str(held)) from error
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        yield
    finally:
        taken.release()


@cache
def has_locks(folder: Path) -> bool:
    """Return whether the file system of a folder has locks."""
    probe = folder / ".lock-probe"
    try:
        with _system_lock(probe).acquire(timeout=0):
            return True
    except Timeout:  # another process holds it
        return True
    except OSError as error:
        return error.errno not in _NO_LOCKS
    finally:
        with suppress(OSError):
            probe.unlink()


def _acquire(path: Path, timeout: float) -> BaseFileLock:
    try:
        taken = _system_lock(path)
        taken.acquire(timeout=timeout)
    except OSError as error:
        if isinstance(error, Timeout) or error.errno not in _NO_LOCKS:
            raise
        warnings.warn(_WITHOUT_LOCKS, KitboxWarning, stacklevel=2)
        taken = SoftFileLock(path.with_name(f"{path.name}.held"))
        taken.acquire(timeout=timeout)
    return taken


def _system_lock(path: Path) -> BaseFileLock:
    """Return a lock of the operating system; raises OSError where Python has none."""
    if issubclass(FileLock, SoftFileLock):
        raise OSError(errno.ENOSYS, "Python has no file locks here", str(path))
    return FileLock(path, fallback_to_soft=False)
