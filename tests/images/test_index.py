"""The index: every file is read once, and again when it changes."""

import os
from pathlib import Path

import pytest

from kitbox.errors import KitboxError
from kitbox.images import index
from kitbox.records import ImageSet, strings
from kitbox.workspace import Workspace
from tests.photographs import finish, picture


def images(root: Path, count: int = 3) -> ImageSet:
    paths = tuple(picture(root / f"{i}.png", i, 0) for i in range(count))
    return ImageSet(strings([path.name for path in paths]), paths)


def test_a_file_is_read_once_and_again_after_a_change(tmp_path: Path) -> None:
    workspace, given = Workspace(tmp_path), images(tmp_path)
    first, (known, problems) = finish(index.inspect(given, workspace))
    assert [report.done for report in first] == [1, 2, 3]
    assert problems == {}
    again, (same, _) = finish(index.inspect(given, workspace))
    assert again == []
    assert (same.digests == known.digests).all()
    picture(given.paths[1], 9, 9)
    changed, (other, _) = finish(index.inspect(given, workspace))
    assert len(changed) == 1
    assert (other.digests != known.digests).tolist() == [False, True, False]


def test_changed_bytes_are_seen_under_an_old_size_and_time(tmp_path: Path) -> None:
    workspace, given = Workspace(tmp_path), images(tmp_path)
    _, (known, _) = finish(index.inspect(given, workspace))
    path = given.paths[0]
    status, data = path.stat(), bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(bytes(data))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    _, (other, _) = finish(index.inspect(given, workspace))
    assert other.digests[0] != known.digests[0]


def test_an_unreadable_file_is_reported_by_image_id(tmp_path: Path) -> None:
    given = images(tmp_path)
    given.paths[2].write_text("no image")
    _, (_, problems) = finish(index.inspect(given, Workspace(tmp_path)))
    assert list(problems) == ["2.png"]
    assert "is not an image" in problems["2.png"]


def test_a_damaged_index_is_named(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.made.mkdir()
    workspace.image_index.write_text("this is no database, but it is long enough" * 20)
    with pytest.raises(KitboxError, match=r"images.sqlite is damaged .*; remove it"):
        finish(index.inspect(images(tmp_path), workspace))
