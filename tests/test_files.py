"""Files: writes are whole or absent, digests do not change, and errors name the file."""

import errno
import os
import re
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from kitbox import files
from kitbox.errors import KitboxError

ROOT = Path(__file__).parents[1]
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def room(folder: Path) -> str:
    return f"make room on the disk of {folder}, and run it again"


def full_disk(*_: Any, **__: Any) -> NoReturn:
    raise FULL


def test_the_canonical_text_of_a_value_does_not_depend_on_order() -> None:
    assert files.canonical_json({"b": [1, 2.5], "a": "é"}) == r'{"a":"\u00e9","b":[1,2.5]}'
    assert files.digest_of({"a": 1, "b": 2}) == files.digest_of({"b": 2, "a": 1})


def test_digests_do_not_change(tmp_path: Path) -> None:
    # sha256 of '{"a":1}' and of the same bytes in a file
    expected = "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
    (tmp_path / "a.json").write_bytes(b'{"a":1}')
    assert files.digest_of({"a": 1}) == expected
    assert files.digest_of_file(tmp_path / "a.json") == expected


def test_a_value_without_canonical_text_has_no_digest() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.digest_of({"share": float("nan")})


def test_a_file_appears_whole_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "a" / "curve.csv"
    with files.atomic_file(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert [entry.name for entry in path.parent.iterdir()] == ["curve.csv"]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(("before", "after"), [(0o664, 0o664), (0o640, 0o640), (0o444, 0o644)])
def test_a_file_that_is_replaced_keeps_its_permissions(
    tmp_path: Path, before: int, after: int
) -> None:
    path = tmp_path / "catalogue.csv"
    path.write_text("old")
    path.chmod(before)
    files.write_text(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == after


def write_partly(path: Path, failure: BaseException) -> NoReturn:
    with files.atomic_file(path) as temporary:
        temporary.write_text("half")
        raise failure


@pytest.mark.parametrize("failure", [RuntimeError("lost"), KeyboardInterrupt()])
@pytest.mark.parametrize("old", ["old", None])
def test_an_interrupted_write_leaves_the_old_file(
    tmp_path: Path, failure: BaseException, old: str | None
) -> None:
    path = tmp_path / "state"
    if old:
        path.write_text(old)
    with pytest.raises(type(failure)):
        write_partly(path, failure)
    assert {entry.name: entry.read_text() for entry in tmp_path.iterdir()} == (
        {"state": "old"} if old else {}
    )


def fail_while_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "write_text", full_disk)


def fail_at_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", full_disk)


def fail_at_rename(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "replace", full_disk)


def fail_at_the_first_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.tempfile, "mkstemp", full_disk)


@pytest.mark.parametrize(
    "fail", [fail_while_writing, fail_at_fsync, fail_at_rename, fail_at_the_first_byte]
)
def test_a_full_disk_is_a_clear_error_and_the_old_file_stays(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fail: Callable[[pytest.MonkeyPatch], None],
) -> None:
    path = tmp_path / "receipt.json"
    path.write_text("old")
    fail(monkeypatch)
    with pytest.raises(KitboxError) as caught:
        files.write_text(path, "new")
    assert str(caught.value) == f"cannot write {path}: No space left on device; {room(tmp_path)}"
    assert {entry.name: entry.read_text() for entry in tmp_path.iterdir()} == {
        "receipt.json": "old"
    }


def fail_at_folder_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", full_disk)


def fail_at_folder_rename(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "rename", full_disk)


def fail_at_the_first_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.tempfile, "mkdtemp", full_disk)


@pytest.mark.parametrize(
    "fail", [fail_at_folder_sync, fail_at_folder_rename, fail_at_the_first_folder]
)
def test_a_full_disk_leaves_no_partial_folder(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fail: Callable[[pytest.MonkeyPatch], None],
) -> None:
    path = tmp_path / "embeddings"
    fail(monkeypatch)
    with pytest.raises(KitboxError) as caught, files.atomic_folder(path) as temporary:
        (temporary / "vectors.npy").write_bytes(b"1")
    assert str(caught.value) == f"cannot write {path}: No space left on device; {room(tmp_path)}"
    assert list(tmp_path.iterdir()) == []


def test_files_that_change_as_one_stay_where_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.csv").write_text("old")
    fail_at_fsync(monkeypatch)
    with (
        pytest.raises(KitboxError) as caught,
        files.changed_together(tmp_path / "stage", [tmp_path / "a.csv"]) as folder,
    ):
        files.write_text(folder / "a.csv", "new")
    assert str(caught.value) == (
        f"cannot write {tmp_path / 'a.csv'}: No space left on device; {room(tmp_path)}"
    )
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {"a.csv": "old"}


@pytest.mark.parametrize("write", [files.atomic_file, files.atomic_folder])
def test_a_path_below_a_file_is_a_clear_error(tmp_path: Path, write: Callable[..., Any]) -> None:
    (tmp_path / "runs").write_text("a file")
    path = tmp_path / "runs" / "a"
    with pytest.raises(KitboxError) as caught, write(path):
        pass
    assert str(caught.value).startswith(f"cannot write {path}: ")


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "key"
    with files.atomic_folder(path) as temporary:
        (temporary / "a").write_text("1")
        assert not path.exists()
        (temporary / "b").write_text("2")
    assert sorted(entry.name for entry in path.iterdir()) == ["a", "b"]
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o755


def fill_partly(path: Path) -> NoReturn:
    with files.atomic_folder(path) as temporary:
        (temporary / "a").write_text("half")
        raise KeyboardInterrupt


def test_an_interrupted_folder_never_appears(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fill_partly(tmp_path / "key")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_another_process_created_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with files.atomic_folder(path) as temporary:
        (temporary / "a").write_text("ours")
        path.mkdir()
        (path / "a").write_text("theirs")
    assert (path / "a").read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_created_at_the_last_moment_by_another_process_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rename = tmp_path / "key", Path.rename

    def too_late(self: Path, target: Path) -> Path:
        path.mkdir()
        (path / "a").write_text("theirs")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", too_late)
    with files.atomic_folder(path) as temporary:
        (temporary / "a").write_text("ours")
    assert (path / "a").read_text() == "theirs"
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


def test_text_is_utf_8_with_bare_line_feeds(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a.txt", "é\nb\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xa9\nb\n"


def test_written_json_reads_back_and_is_readable(tmp_path: Path) -> None:
    value = {"b": "Tähtäin", "a": [1, 0.5, None]}
    files.write_json(tmp_path / "a.json", value)
    assert files.read_json(tmp_path / "a.json") == value
    assert (tmp_path / "a.json").read_text("utf-8").splitlines()[-2:] == ['  "b": "Tähtäin"', "}"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no file {path}"),
        (b'{"a": ', "{path} is not readable JSON: Expecting value: line 1 column 7 (char 6)"),
        (b"\xff{}", "{path} is not readable JSON: 'utf-8' codec can't decode byte 0xff"),
        (b"", "{path} is not readable JSON: Expecting value"),
        (b"\0" * 64, "{path} is not readable JSON: Expecting value"),
        (b"[NaN]", "{path} is not readable JSON: NaN is no number"),
        (b"[-Infinity]", "{path} is not readable JSON: -Infinity is no number"),
        (b"[1e400]", "{path} is not readable JSON: 1e400 is too large a number"),
        (b"[1" + b"0" * 400 + b"]", "{path} is not readable JSON: 10000000000000000000… is too "),
        (b"[1" + b"0" * 9999 + b"]", "{path} is not readable JSON: 10000000000000000000… is too "),
        (b"[" * 51 + b"]" * 51, "{path} is not readable JSON: it is nested too deeply"),
        (b'{"a":' * 51 + b"1" + b"}" * 51, "{path} is not readable JSON: it is nested too deeply"),
        (b"[" * 99999, "{path} is not readable JSON: it is nested too deeply"),
    ],
)
def test_a_damaged_json_file_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "receipt.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(KitboxError) as caught:
        files.read_json(path)
    assert str(caught.value).startswith(message.format(path=path))


def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    files.check_writable(tmp_path / "new" / "folder" / "file.toml")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    files.check_writable(tmp_path / "file")  # it is replaced
    for path, reason in (
        (tmp_path, "it is a folder"),
        (tmp_path / "file" / "x", f"{tmp_path / 'file'} is no folder"),
        (tmp_path / "file" / "x" / "y", f"{tmp_path / 'file'} is no folder"),
    ):
        with pytest.raises(KitboxError) as caught:
            files.check_writable(path)
        assert str(caught.value) == f"cannot write {path}: {reason}"


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from kitbox import files
    target = Path(sys.argv[2])
    with getattr(files, sys.argv[1])(target) as temporary:
        (temporary / "vectors" if temporary.is_dir() else temporary).write_text("half")
        print("half", flush=True)
        if sys.argv[3] == "killed":
            os.kill(os.getpid(), 9)
        sys.stdin.read()
"""


def half_written(kind: str, path: Path, fate: str) -> subprocess.Popen[str]:
    """Return a process that has written half of a target, and is killed there or waits."""
    command = [sys.executable, "-c", textwrap.dedent(KILLED), kind, str(path), fate]
    process = subprocess.Popen(
        command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    if fate == "killed":
        process.wait(timeout=60)
    return process


@pytest.mark.parametrize("kind", ["atomic_file", "atomic_folder"])
def test_what_a_killed_process_left_is_removed_by_the_next_write_to_the_folder(
    tmp_path: Path, kind: str
) -> None:
    (tmp_path / f".{'x' * 8}.lock").write_text("of somebody else")
    with half_written(kind, tmp_path / "target", "killed"):
        pass
    left = [path.name for path in tmp_path.iterdir() if path.suffix == ".partial"]
    assert len(left) == 1
    with half_written(kind, tmp_path / "other", "waits") as alive:
        beside = [path for path in tmp_path.iterdir() if path.suffix == ".partial"]
        assert len(beside) == 1  # that of the process that runs
        assert beside[0].name not in left
        files._SWEPT.discard(tmp_path)
        files.write_text(tmp_path / "target", "whole")
        assert beside[0].exists()
        alive.communicate("", timeout=60)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f".{'x' * 8}.lock", "target", "other"}


def test_what_another_machine_writes_stays_for_a_week(tmp_path: Path) -> None:
    name = ".state.pt.00000000-1-1-abcdefgh.partial"
    (tmp_path / name).write_text("half")
    assert files.sweep(tmp_path) == []
    week_ago = time.time() - 8 * 86400
    os.utime(tmp_path / name, (week_ago, week_ago))
    assert files.sweep(tmp_path) == [name]


def test_a_number_of_a_process_that_another_one_has_now_is_no_owner(tmp_path: Path) -> None:
    with files.atomic_file(tmp_path / "state") as temporary:
        assert files.sweep(tmp_path) == []
        reused = re.sub(r"-(\d+)-(?=\w+\.partial)", r"-1\1-", temporary.name)
        assert reused != temporary.name
        (tmp_path / reused).write_text("of an earlier process with this number")
        assert files.sweep(tmp_path) == [reused]


def test_a_long_name_has_a_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 120 + ".csv")  # 244 bytes
    files.write_text(path, "a")
    assert path.read_text() == "a"


def test_the_digest_of_a_file_is_read_once_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, read = tmp_path / "vectors.npy", []
    digest_of_file = files.digest_of_file
    monkeypatch.setattr(files, "digest_of_file", lambda p: read.append(p) or digest_of_file(p))
    path.write_bytes(b"a" * 100)
    monkeypatch.setattr(files, "_SETTLED", 0)
    before = {files.session_digest(path) for _ in range(3)}
    assert len(before) == len(read) == 1
    path.write_bytes(b"b" * 99)
    assert files.session_digest(path) not in before
    monkeypatch.setattr(files, "_SETTLED", 10**18)  # its times do not tell states apart yet
    path.write_bytes(b"c" * 98)
    files.session_digest(path)
    files.session_digest(path)
    assert len(read) == 4


def test_a_sealed_file_that_changed_is_told(tmp_path: Path) -> None:
    path = tmp_path / "state"
    files.write_sealed(path, b"0123456789")
    assert files.read_sealed(path) == b"0123456789"
    whole = path.read_bytes()
    for at in range(10):
        path.write_bytes(whole[:at] + b"x" + whole[at + 1 :])
        with pytest.raises(ValueError, match="have changed"):
            files.read_sealed(path)
    path.write_bytes(b"of an earlier release")
    assert files.read_sealed(path) == b"of an earlier release"


def test_a_line_is_appended_whole_to_what_a_link_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, linked = tmp_path / "shared" / "decisions.csv", tmp_path / "decisions.csv"
    file.parent.mkdir()
    file.write_bytes(b"decision,subject\ndrop,a.png")  # an editor left no line feed
    file.chmod(0o660)
    linked.symlink_to(file)
    seen = []

    def fsync(_: int) -> None:
        seen.append(file.read_bytes())

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        files.append_line(linked, b"drop,b.png\n")
    whole = b"decision,subject\ndrop,a.png\ndrop,b.png\n"
    # before its name is changed, and with it
    assert seen == [b"decision,subject\ndrop,a.png", whole]
    assert linked.is_symlink()
    assert file.read_bytes() == whole
    assert file.stat().st_mode & 0o777 == 0o660
    assert [path.name for path in file.parent.iterdir()] == ["decisions.csv"]


def test_no_line_is_appended_to_a_file_that_its_user_has_made_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ledger.jsonl"
    file.write_bytes(b"{}\n")
    monkeypatch.setattr(os, "access", lambda path, mode: not (path == file and mode == os.W_OK))
    with pytest.raises(PermissionError, match="Permission denied"):
        files.append_line(file, b"{}\n")
    assert file.read_bytes() == b"{}\n"


def test_a_folder_that_cannot_be_synced_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def no_folders(file: int) -> None:
        if stat.S_ISDIR(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(file)

    monkeypatch.setattr(os, "fsync", no_folders)
    files.write_text(tmp_path / "new" / "a.txt", "a")
    assert (tmp_path / "new" / "a.txt").read_text() == "a"
