"""Locks between processes, with and without those of the file system."""

import errno
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from kitbox import locks
from kitbox.errors import KitboxError
from tests import no_locks

ROOT = Path(__file__).parents[1]
# Adds 1 to a number in a file, many times.
COUNT = """
    import sys, warnings
    from pathlib import Path
    from kitbox.locks import lock
    warnings.simplefilter("ignore")
    file = Path(sys.argv[1])
    for _ in range(int(sys.argv[2])):
        with lock(file.with_name("lock")):
            file.write_text(str(int(file.read_text()) + 1))
"""
HOLD = """
    import sys, warnings
    from pathlib import Path
    from kitbox.locks import lock
    warnings.simplefilter("ignore")
    with lock(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
"""
TRY = """
    import sys, warnings
    from pathlib import Path
    from kitbox.errors import KitboxError
    from kitbox.locks import lock
    warnings.simplefilter("ignore")
    try:
        with lock(Path(sys.argv[1]), "in use"):
            print("free")
    except KitboxError as error:
        print(error)
"""


def start(program: str, *arguments: object, env: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=env, text=True, stdin=pipe, stdout=pipe, stderr=pipe)


@pytest.fixture(params=[None, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def env(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """With locks, and without as Lustre, NFS and FUSE refuse them."""
    return (
        dict(os.environ) if request.param is None else no_locks.environment(tmp_path, request.param)
    )


def test_processes_take_turns(tmp_path: Path, env: dict[str, str]) -> None:
    (tmp_path / "number").write_text("0")
    running = [start(COUNT, tmp_path / "number", 6, env=env) for _ in range(2)]
    assert [process.communicate(timeout=60)[1] for process in running] == ["", ""]
    assert (tmp_path / "number").read_text() == "12"


def test_a_lock_that_is_held_is_refused_at_once_and_ends_with_its_process(
    tmp_path: Path, env: dict[str, str]
) -> None:
    path = tmp_path / "run" / "lock"
    holder = start(HOLD, path, env=env)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert start(TRY, path, env=env).communicate(timeout=60) == ("in use\n", "")
    holder.kill()  # it cannot tidy up
    holder.communicate(timeout=60)
    assert start(TRY, path, env=env).communicate(timeout=60) == ("free\n", "")


def test_a_child_process_that_ends_does_not_release_the_lock(tmp_path: Path) -> None:
    program = """
        import os, subprocess, sys
        from pathlib import Path
        from kitbox.locks import lock
        with lock(Path(sys.argv[1])):
            child = os.fork()
            if not child:
                os._exit(0)
            os.waitpid(child, 0)
            subprocess.run([sys.executable, "-c", sys.argv[2], sys.argv[1]], check=True)
    """
    child = start(program, tmp_path / "lock", textwrap.dedent(TRY), env=dict(os.environ))
    assert child.communicate(timeout=60) == ("in use\n", "")


def test_a_lock_ends_with_its_process_while_a_child_of_it_lives(tmp_path: Path) -> None:
    # as the processes that read images for a training, which outlive one that is killed
    program = """
        import os, sys, time
        from pathlib import Path
        from kitbox.locks import lock
        with lock(Path(sys.argv[1])):
            child = os.fork()
            if not child:
                os.close(1)
                time.sleep(60)
                os._exit(0)
            print(child, flush=True)
            os.kill(os.getpid(), 9)
    """
    holder = start(program, tmp_path / "lock", env=dict(os.environ))
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    holder.wait(timeout=60)
    try:
        assert start(TRY, tmp_path / "lock", env=dict(os.environ)).communicate(timeout=50) == (
            ("free\n", "")
        )
        os.kill(child, 0)  # it lives still
    finally:
        os.kill(child, signal.SIGKILL)
        holder.communicate(timeout=60)  # closes its files, which the child had open too


def test_a_file_system_without_locks_is_named_once(tmp_path: Path) -> None:
    program = """
        import sys
        from pathlib import Path
        from kitbox.locks import lock
        for name in "abc":
            with lock(Path(sys.argv[1]) / name):
                pass
    """
    env = no_locks.environment(tmp_path, errno.ENOLCK)
    _, told = start(program, tmp_path / "locks", env=env).communicate(timeout=60)
    assert len(re.findall("has no locks", told)) == 1
    assert "KitboxWarning: the file system of this workspace has no locks" in told


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(KitboxError, match=f"cannot write {tmp_path}/file: "),
        locks.lock(tmp_path / "file" / "lock"),
    ):
        pass


def test_an_error_inside_is_not_taken_for_one_of_the_lock(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), locks.lock(tmp_path / "lock"):
        (tmp_path / "missing").read_text()


def test_the_file_layer_works_without_fcntl_and_other_calls_of_posix(tmp_path: Path) -> None:
    # as on Windows: no fcntl, and no read or write at an offset
    program = """
        import os, sys, warnings
        for name in ("fcntl", "resource", "pwd", "grp", "termios"):
            sys.modules[name] = None
        for name in ("preadv", "pread", "pwrite", "pwritev", "fork", "sched_getaffinity"):
            delattr(os, name)
        warnings.simplefilter("ignore")
        from pathlib import Path
        from kitbox import database, files, locks
        from kitbox.decisions import decision_file
        from kitbox.decisions.decision import Decision
        from kitbox.submission import ledger
        from kitbox.workspace import Workspace
        root = Path(sys.argv[1])
        path = root / "decisions.csv"
        decision_file.add(path, Decision("drop", "a"), Decision("drop", "b"))
        assert decision_file.remove(path, Decision("drop", "a"))
        assert [row.subject for row in decision_file.load(path).rows] == ["b"]
        ledger.append(Workspace(root), "failed", "s", why="offline")
        assert [entry.what for entry in ledger.load(Workspace(root)).entries] == ["failed"]
        with ledger.sending_lock(Workspace(root)):
            pass
        for _ in range(2):
            with database.open_database(root / "images.sqlite") as images:
                images.execute("CREATE TABLE IF NOT EXISTS t (a)")
                images.execute("INSERT INTO t VALUES (7)")
                images.commit()
        with database.open_database(root / "images.sqlite") as images:
            assert images.execute("SELECT a FROM t").fetchall() == [(7,), (7,)]
        file = files.open_positioned(root / "pixels", write=True)
        assert files.write_at(file, memoryview(b"abcdef"), 2) == 6
        os.close(file)
        file, buffer = files.open_positioned(root / "pixels"), bytearray(4)
        assert files.read_at(file, memoryview(buffer), 3) == 4
        assert buffer == b"bcde"
        from kitbox.images import loader, pixel_cache, pixel_cache_writer
        assert loader.default_worker_count("cuda") >= 1
    """
    assert start(program, tmp_path, env=dict(os.environ)).communicate(timeout=120) == ("", "")


# Calls that Windows lacks; those of os that are listed here may stand in kitbox/files.py alone.
_POSIX = re.compile(
    r"\b(import (fcntl|resource|pwd|grp|termios|tty|pty)"
    r"|os\.(preadv?|pwritev?|fork|getuid|geteuid|getgid|mkfifo|uname|nice|killpg|setsid|chown)\b"
    r"|signal\.(SIGKILL|SIGHUP|SIGUSR[12]|SIGALRM|alarm|setitimer)\b)"
)


def test_calls_that_only_some_systems_have_stand_in_one_module() -> None:
    found = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "kitbox").rglob("*.py")
        if _POSIX.search(path.read_text())
    }
    assert found == {"kitbox/files.py"}
