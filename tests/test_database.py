"""SQLite files of several processes, on file systems of all kinds."""

import errno
import os
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from kitbox import database
from kitbox.database import open_database
from kitbox.errors import KitboxError
from tests import no_locks

INSERT = """
    import sys, warnings
    from pathlib import Path
    from kitbox.database import open_database
    warnings.simplefilter("ignore")
    for n in range(5):
        with open_database(Path(sys.argv[1])) as database:
            database.execute("CREATE TABLE IF NOT EXISTS t (a TEXT)")
            database.execute("INSERT INTO t VALUES (?)", (f"{sys.argv[2]}{n}",))
            database.commit()
"""


def fill(path: Path, env: dict[str, str]) -> None:
    command = [sys.executable, "-c", textwrap.dedent(INSERT), str(path)]
    running = [subprocess.Popen([*command, who], env=env) for who in "ab"]
    assert [process.wait(timeout=120) for process in running] == [0, 0]


def names(path: Path) -> list[str]:
    with open_database(path) as rows:
        return sorted(name for (name,) in rows.execute("SELECT a FROM t"))


EXPECTED = [f"{who}{n}" for who in "ab" for n in range(5)]


def test_it_has_a_write_ahead_log_where_that_can_be_had(tmp_path: Path) -> None:
    fill(tmp_path / "images.sqlite", dict(os.environ))
    assert names(tmp_path / "images.sqlite") == EXPECTED
    with open_database(tmp_path / "images.sqlite") as rows:
        assert rows.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_processes_lose_nothing_where_the_file_system_has_no_locks(
    tmp_path: Path, number: int
) -> None:
    path = tmp_path / "cache" / "images.sqlite"
    fill(path, no_locks.environment(tmp_path, number))
    assert names(path) == EXPECTED


def test_a_database_that_was_made_with_locks_can_be_used_without(tmp_path: Path) -> None:
    path = tmp_path / "images.sqlite"
    with open_database(path) as rows:  # not closed properly: the log stays
        rows.execute("CREATE TABLE t (a TEXT)")
        rows.execute("INSERT INTO t VALUES ('old')")
        rows.commit()
        copy = tmp_path / "copy"
        copy.mkdir()
        for file in tmp_path.glob("images.sqlite*"):
            (copy / file.name).write_bytes(file.read_bytes())
    fill(copy / "images.sqlite", no_locks.environment(tmp_path, errno.ENOLCK))
    assert names(copy / "images.sqlite") == [*EXPECTED, "old"]


@pytest.mark.parametrize("error", ["disk I/O error", "locking protocol"])
def test_without_shared_memory_it_has_a_rollback_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    class WithoutSharedMemory(sqlite3.Connection):
        def execute(self, sql: str, *rest: object) -> sqlite3.Cursor:  # type: ignore[override]
            if sql == "PRAGMA journal_mode=WAL":
                raise sqlite3.OperationalError(error)
            return super().execute(sql, *rest)

    connect = sqlite3.connect
    monkeypatch.setattr(
        database.sqlite3,
        "connect",
        lambda *args, **options: connect(*args, **options, factory=WithoutSharedMemory),
    )
    with open_database(tmp_path / "images.sqlite") as rows:
        assert rows.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        rows.execute("CREATE TABLE t (a)")


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "images.sqlite").write_bytes(b"not a database" * 99)
    with (
        pytest.raises(KitboxError, match=r"images\.sqlite is damaged .*; remove it"),
        open_database(tmp_path / "images.sqlite"),
    ):
        pass


def forbid_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no folder be writable, as on a read-only file system, which binds root too."""
    may = os.access
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK and may(path, mode))


def test_what_is_in_a_folder_that_cannot_be_written_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "images.sqlite"
    with open_database(path) as database:
        database.execute("CREATE TABLE t (a TEXT)")
        database.execute("INSERT INTO t VALUES ('a')")
        database.commit()
    before = sorted(tmp_path.iterdir())
    forbid_writing(monkeypatch)
    assert names(path) == ["a"]
    with pytest.raises(KitboxError) as caught, open_database(path) as database:
        database.execute("INSERT INTO t VALUES ('b')")
    assert str(caught.value) == f"cannot write {path}: attempt to write a readonly database"
    assert sorted(tmp_path.iterdir()) == before


def test_rows_of_a_killed_process_are_read_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, copy = tmp_path / "images.sqlite", tmp_path / "copy" / "images.sqlite"
    with open_database(path) as database:
        database.execute("CREATE TABLE t (a TEXT)")
        database.execute("INSERT INTO t VALUES ('a')")
        database.commit()
        copy.parent.mkdir()
        for suffix in ("", "-wal"):  # as a kill leaves them
            copy.with_name(copy.name + suffix).write_bytes(
                path.with_name(path.name + suffix).read_bytes()
            )
    forbid_writing(monkeypatch)
    assert names(copy) == ["a"]


def test_a_folder_that_cannot_be_made_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, **_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    path = tmp_path / ".kitbox" / "images.sqlite"
    with pytest.raises(KitboxError) as caught, open_database(path):
        pass
    assert str(caught.value) == f"cannot write {path.parent}: Read-only file system"


def test_a_full_disk_is_told_with_its_folder_and_what_was_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "images.sqlite"
    with open_database(path) as database:
        database.execute("CREATE TABLE t (a TEXT)")
        database.execute("INSERT INTO t VALUES ('a')")
        database.commit()

    def fill(database: sqlite3.Connection) -> None:
        database.execute("PRAGMA max_page_count=2")  # SQLite says then what it does of a full disk
        database.execute("INSERT INTO t VALUES (?)", ("b" * 99_999,))

    with pytest.raises(KitboxError) as caught, open_database(path) as database:
        fill(database)
    assert str(caught.value) == (
        f"cannot write {path}: No space left on device; "
        f"make room on the disk of {tmp_path}, and run it again"
    )
    assert names(path) == ["a"]


def test_a_damaged_database_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.13 warns of one that is left open."""
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def recorded(*given: Any, **named: Any) -> sqlite3.Connection:
        opened.append(connect(*given, **named))
        return opened[-1]

    path = tmp_path / "damaged.sqlite"
    path.write_bytes(b"no database" * 100)
    monkeypatch.setattr(sqlite3, "connect", recorded)
    with pytest.raises(KitboxError, match="is damaged"), open_database(path):
        pass
    with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
        opened[0].execute("SELECT 1")
