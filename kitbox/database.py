"""SQLite files that several processes may use at once, also on file systems without locks."""

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from kitbox import locks
from kitbox.errors import KitboxError

# Seconds to wait for another process.
_PATIENCE = 60.0
# What SQLite says where a file system has neither its locks nor shared memory.
_NO_LOCKS = ("disk I/O error", "locking protocol", "unable to open database file")


@contextmanager
def open_database(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database, created with its folder where missing; what was not committed is lost.

    It has a write-ahead log, so that readers and a writer do not wait for each other; a rollback
    journal where the file system has no shared memory; and where it has no locks, one process at a
    time. Raises KitboxError for a database that is damaged or cannot be written.
    """
    try:
        with ExitStack() as stack:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield _connect(path, stack)
    except sqlite3.OperationalError as error:  # a full disk, a folder without write permission
        raise KitboxError(f"cannot write {path}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise KitboxError(f"{path} is damaged ({error})", fix="remove it") from error


def _connect(path: Path, stack: ExitStack) -> sqlite3.Connection:
    if locks.has_locks(path.parent):
        for journal in ("WAL", "DELETE"):
            database = sqlite3.connect(path, timeout=_PATIENCE)
            try:
                database.execute(f"PRAGMA journal_mode={journal}")
                database.execute("PRAGMA user_version").fetchone()
            except sqlite3.OperationalError as error:
                database.close()
                if str(error) not in _NO_LOCKS:
                    raise
            else:
                return stack.enter_context(closing(database))
    stack.enter_context(locks.lock(path.with_name(f"{path.name}.lock")))
    database = sqlite3.connect(f"{path.resolve().as_uri()}?vfs=unix-none", uri=True)
    stack.enter_context(closing(database))
    # without this a database that has a write-ahead log cannot be opened without shared memory
    database.execute("PRAGMA locking_mode=EXCLUSIVE")
    database.execute("PRAGMA journal_mode=DELETE")
    return database
