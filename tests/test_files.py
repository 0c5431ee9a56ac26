"""Files: writes are whole or absent, digests do not change, and errors name the file."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from kitbox import files
from kitbox.errors import KitboxError

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


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
    assert str(caught.value) == f"cannot write {path}: No space left on device"
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
    assert str(caught.value) == f"cannot write {path}: No space left on device"
    assert list(tmp_path.iterdir()) == []


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
