"""SQLite files that several processes may use at once, also on file systems without locks."""

import errno
import os
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from kitbox import files, locks
from kitbox.errors import KitboxError, cannot_write

# Seconds to wait for another process.
_PATIENCE = 60.0
# What SQLite says where a file system has neither its locks nor shared memory.
_NO_LOCKS = ("disk I/O error", "locking protocol", "unable to open database file")
# Types of values that SQLite gives back as they were.
_AS_THEY_ARE = {str, bytes, type(None)}


@contextmanager
def open_database(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database, created with its folder where missing; what was not committed is lost.

    It has a write-ahead log, so that readers and a writer do not wait for each other; a rollback
    journal where the file system has no shared memory; and where it has no locks, one process at a
    time. In a folder that cannot be written to it is read, which takes no lock and no other file.
    Raises KitboxError for a database that is damaged or cannot be written.
    """
    try:
        with ExitStack() as stack:
            if path.exists() and not os.access(path.parent, os.W_OK):
                yield _connect_read_only(path, stack)
            else:
                files.create_folder(path.parent)
                yield _connect(path, stack)
    except sqlite3.OperationalError as error:  # a full disk, a folder without write permission
        # statements that fit no table, and text that is no UTF-8, which has no code
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) == sqlite3.SQLITE_ERROR:
            raise damaged(path, str(error)) from error
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise cannot_write(path, full) from error
        raise KitboxError(f"cannot write {path}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise damaged(path, str(error)) from error


def damaged(path: Path, reason: str = "its bytes have changed") -> KitboxError:
    """Return the error of a database that can be made again."""
    return KitboxError(f"{path} is damaged ({reason})", fix="remove it; it is made again")


def checksum(*values: Any) -> int:
    """Return the CRC-32 of a row's values, equal before they are written and after they are read.

    SQLite checks no bytes: a changed one gives another value, or that of another row.
    """
    # as SQLite may give them back: numbers as floats, NaN as nothing
    read = [
        value if type(value) in _AS_THEY_ARE else float(value) if value == value else None
        for value in values
    ]
    return zlib.crc32(repr(tuple(read)).encode("utf-8", "surrogatepass"))


def _connect_read_only(path: Path, stack: ExitStack) -> sqlite3.Connection:
    """Open a database that nobody can write: also one whose write-ahead log has no index."""
    for how in ("mode=ro", "immutable=1"):
        if how == "mode=ro" and not path.with_name(f"{path.name}-wal").exists():
            continue  # it would want to make the log
        database = sqlite3.connect(f"{path.resolve().as_uri()}?{how}", uri=True)
        stack.enter_context(closing(database))
        try:
            database.execute("PRAGMA user_version").fetchone()
        except sqlite3.OperationalError:
            if how == "immutable=1":
                raise
        else:
            break
    return database


def _connect(path: Path, stack: ExitStack) -> sqlite3.Connection:
    if locks.has_locks(path.parent):
        for journal in ("WAL", "DELETE"):
            database = sqlite3.connect(path, timeout=_PATIENCE)
            try:
                database.execute(f"PRAGMA journal_mode={journal}")
                database.execute("PRAGMA user_version").fetchone()
            except sqlite3.Error as error:
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
