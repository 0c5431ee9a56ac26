"""File index: every file is read once, and again when it changes."""

import os
import sqlite3
import warnings
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kitbox.errors import KitboxError, KitboxWarning
from kitbox.images import file_index, preprocessing
from kitbox.records import ImageSet, strings
from kitbox.workspace import Workspace
from tests.photographs import finish, picture


def images(root: Path, count: int = 3) -> ImageSet:
    paths = tuple(picture(root / f"{i}.png", i, 0) for i in range(count))
    return ImageSet(strings([path.name for path in paths]), paths)


def test_a_file_is_read_once_and_again_after_a_change(tmp_path: Path) -> None:
    workspace, listed = Workspace(tmp_path), images(tmp_path)
    first, inspected = finish(file_index.inspect(listed, workspace))
    assert [progress.done for progress in first] == [1, 2, 3]
    assert inspected.problems == {}
    again, same = finish(file_index.inspect(listed, workspace))
    assert again == []
    assert (same.images.digests == inspected.images.digests).all()
    assert (same.signatures.hashes == inspected.signatures.hashes).all()
    assert (same.signatures.thumbnails == inspected.signatures.thumbnails).all()
    picture(listed.paths[1], 9, 9)
    changed, other = finish(file_index.inspect(listed, workspace))
    assert len(changed) == 1
    assert (other.images.digests != inspected.images.digests).tolist() == [False, True, False]


def test_a_file_without_a_reader_is_read_again_once_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener(thumbnails=False)
    path = picture(tmp_path / "a.heic", 1, 1)
    listed, workspace = ImageSet(strings(["a.heic"]), (path,)), Workspace(tmp_path)
    with monkeypatch.context() as without:
        without.setattr(preprocessing, "_register_heif", tuple)
        _, before = finish(file_index.inspect(listed, workspace))
    assert "pip install 'kitbox[heic]'" in before.problems["a.heic"]
    _, after = finish(file_index.inspect(listed, workspace))
    assert after.problems == {}
    # embeddings of the grey image that stood for it are not those of the photograph
    assert before.images.digests[0] != after.images.digests[0]


def test_a_truncated_file_is_a_problem_unless_it_is_to_be_kept(tmp_path: Path) -> None:
    workspace, listed = Workspace(tmp_path), images(tmp_path)
    path = listed.paths[1]
    path.write_bytes(path.read_bytes()[:-400])
    _, strict = finish(file_index.inspect(listed, workspace))
    assert (strict.problem_kinds, strict.truncated) == ({"1.png": "truncated"}, {})
    assert strict.stats["width"].tolist() == [96, 0, 96]
    _, kept = finish(file_index.inspect(listed, workspace, keep_truncated=True))
    sentence = f"image {path} is truncated; what there is of it is used"
    assert (kept.problems, kept.truncated) == ({}, {"1.png": sentence})
    assert kept.stats["width"].tolist() == [96, 96, 96]
    assert kept.signatures.hashes[1].any()
    assert not strict.signatures.hashes[1].any()


def test_two_images_of_one_file_are_read_once(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", 1, 1)
    listed = ImageSet(strings(["posting 1", "posting 2"]), (path, path))
    steps, inspected = finish(file_index.inspect(listed, Workspace(tmp_path)))
    assert [(progress.done, progress.total) for progress in steps] == [(1, 1)]
    assert inspected.images.digests[0] == inspected.images.digests[1]
    assert inspected.signatures.hashes.shape == (2, 8)


def test_changed_bytes_are_noticed_even_if_size_and_time_are_the_same(tmp_path: Path) -> None:
    workspace, listed = Workspace(tmp_path), images(tmp_path)
    _, inspected = finish(file_index.inspect(listed, workspace))
    path = listed.paths[0]
    status, data = path.stat(), bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(bytes(data))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    _, other = finish(file_index.inspect(listed, workspace))
    assert other.images.digests[0] != inspected.images.digests[0]


def test_an_unreadable_file_is_reported_by_image_id_and_has_an_empty_signature(
    tmp_path: Path,
) -> None:
    listed = images(tmp_path)
    listed.paths[2].write_text("no image")
    _, inspected = finish(file_index.inspect(listed, Workspace(tmp_path)))
    assert list(inspected.problems) == ["2.png"]
    assert "is not an image" in inspected.problems["2.png"]
    assert not inspected.signatures.thumbnails[2].any()
    assert np.isnan(inspected.images.times[2])


def test_times_come_from_the_camera_where_the_list_has_none(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "1970:01:01 01:00:00"
    paths = tuple(tmp_path / f"{i}.jpg" for i in range(3))
    for path in paths[:2]:
        Image.new("RGB", (20, 20)).save(path, exif=exif)
    Image.new("RGB", (20, 20)).save(paths[2])
    listed = ImageSet(strings(["0", "1", "2"]), paths, times=np.array([5.0, np.nan, np.nan]))
    _, inspected = finish(file_index.inspect(listed, Workspace(tmp_path)))
    np.testing.assert_array_equal(inspected.images.times, [5, 3600, np.nan])
    _, inspected = finish(file_index.inspect(replace(listed, times=None), Workspace(tmp_path)))
    np.testing.assert_array_equal(inspected.images.times, [3600, 3600, np.nan])


@pytest.mark.parametrize(
    "schema",
    [
        "CREATE TABLE files (stamp TEXT PRIMARY KEY, digest TEXT, problem TEXT)",
        "CREATE TABLE looks (stamp TEXT PRIMARY KEY, digest TEXT)",
        "CREATE TABLE looks (a, b, c, d, e, f, g)",
    ],
)
def test_an_index_of_another_version_is_replaced(tmp_path: Path, schema: str) -> None:
    workspace = Workspace(tmp_path)
    workspace.cache.mkdir()
    with closing(sqlite3.connect(workspace.image_index)) as database:
        database.execute(schema)
        database.commit()
    steps, inspected = finish(file_index.inspect(images(tmp_path), workspace))
    assert (len(steps), inspected.problems) == (3, {})
    assert finish(file_index.inspect(images(tmp_path), workspace))[1].problems == {}


def test_a_damaged_index_is_named(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.cache.mkdir()
    workspace.image_index.write_text("this is no database, but it is long enough" * 20)
    with pytest.raises(KitboxError, match=r"images.sqlite is damaged .*; remove it"):
        finish(file_index.inspect(images(tmp_path), workspace))


def test_a_changed_byte_of_the_index_changes_no_result(tmp_path: Path) -> None:
    workspace, listed = Workspace(tmp_path), images(tmp_path)
    expected = finish(file_index.inspect(listed, workspace))[1]
    whole = workspace.image_index.read_bytes()
    used = np.flatnonzero(np.frombuffer(whole, dtype=np.uint8))  # pages are mostly empty
    outcomes = set()
    for at in np.random.default_rng(0).choice(used, 40).tolist():
        workspace.image_index.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                found = finish(file_index.inspect(listed, workspace))[1]
            except KitboxError as error:
                assert "images.sqlite is damaged (" in str(error)  # noqa: PT017
                assert str(error).endswith("; remove it; it is made again")  # noqa: PT017
                outcomes.add("refused")
                continue
        outcomes |= {str(each.message).partition(" is damaged ")[2] for each in told}
        assert (found.images.file_digests == expected.images.file_digests).all()
        assert (found.signatures.hashes == expected.signatures.hashes).all()
        assert (found.stats == expected.stats).all()
    assert "in 1 row; their images are read again" in outcomes
    workspace.image_index.unlink()
    assert (finish(file_index.inspect(listed, workspace))[1].stats == expected.stats).all()


def test_rows_of_the_index_that_were_exchanged_are_read_again(tmp_path: Path) -> None:
    workspace, listed = Workspace(tmp_path), images(tmp_path)
    expected = finish(file_index.inspect(listed, workspace))[1].images.file_digests
    with closing(sqlite3.connect(workspace.image_index)) as database:
        rows = database.execute("SELECT digest, stamp FROM looks").fetchall()
        turned = [(rows[at - 1][0], stamp) for at, (_, stamp) in enumerate(rows)]
        database.executemany("UPDATE looks SET digest = ? WHERE stamp = ?", turned)
        database.commit()
    with pytest.warns(KitboxWarning, match=r"is damaged in 3 rows; their images are read again"):
        found = finish(file_index.inspect(listed, workspace))[1]
    assert (found.images.file_digests == expected).all()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    listed = ImageSet(strings(["a"]), (tmp_path / "a.jpg",))
    with pytest.raises(KitboxError) as caught:
        finish(file_index.inspect(listed, Workspace(tmp_path)))
    assert str(caught.value) == f"there is no image {tmp_path / 'a.jpg'}"


def test_a_file_that_the_system_cannot_read_is_unreadable_and_tried_again(tmp_path: Path) -> None:
    listed = images(tmp_path)
    for path in listed.paths[1:]:
        path.unlink()
        path.symlink_to("/proc/self/mem")  # its first byte cannot be read, as of a bad sector
    workspace = Workspace(tmp_path)
    for count in (3, 2):
        steps, inspected = finish(file_index.inspect(listed, workspace))
        assert len(steps) == count
        assert inspected.problems == {
            f"{i}.png": f"image {listed.paths[i]} cannot be read (Input/output error); "
            "replace or remove it"
            for i in (1, 2)
        }
    assert inspected.problem_kinds == {"1.png": "unreadable", "2.png": "unreadable"}
    assert len(set(inspected.images.digests.tolist())) == 3  # they do not count as copies
    listed.paths[1].unlink()
    picture(listed.paths[1], 1, 0)
    assert list(finish(file_index.inspect(listed, workspace))[1].problems) == ["2.png"]


def test_a_name_that_is_too_long_for_a_file_is_unreadable(tmp_path: Path) -> None:
    listed = ImageSet(strings(["a"]), (tmp_path / ("a" * 300),))
    [problem] = finish(file_index.inspect(listed, Workspace(tmp_path)))[1].problems.values()
    assert problem.endswith("cannot be read (File name too long); replace or remove it")
