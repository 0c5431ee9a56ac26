"""The scan of folders: what is taken as a photograph, and what is left alone and why."""

import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from kitbox.competition import folder_scan
from kitbox.competition.folder_scan import FolderScan
from kitbox.images import preprocessing
from tests.circle import competition


def write(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def names(paths: list[Path], root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


def left(scan: FolderScan) -> dict[str, str]:
    return {one.path.relative_to(scan.folder).as_posix(): one.reason for one in scan.left_alone}


def test_the_scan_takes_every_suffix_that_the_reader_reads() -> None:
    Image.init()
    read = {"MPO": "JPEG"} | {name: name for name in preprocessing._FORMATS}
    known = Image.registered_extensions().items()
    expected = {suffix: read[name] for suffix, name in known if name in read}
    assert {s: folder_scan.FORMATS.get(s) for s in expected} == expected
    assert set(folder_scan.FORMATS.values()) <= {*read.values(), "HEIF", "AVIF"}


def test_photographs_of_telephones_and_of_the_web_are_taken(tmp_path: Path) -> None:
    found = ["a.HEIC", "b.jfif", "c.jpe", "d.jp2", "e.gif", "f.avif", "g.JPG", "h.mpo", "i.hif"]
    assert names(FolderScan(write(tmp_path, *found)).images, tmp_path) == found


def test_images_come_in_the_order_of_their_paths(tmp_path: Path) -> None:
    write(tmp_path, "b/2.jpg", "b/10.jpg", "b.jpg", "b-/1.jpg", "a/z/1.jpg", "a/y.jpg", "C.jpg")
    images = FolderScan(tmp_path).images
    assert images == sorted(images)
    assert len(images) == 7


def test_raw_files_lists_and_other_files_are_left_alone_by_reason(tmp_path: Path) -> None:
    write(
        tmp_path,
        "a.CR2",
        "b.nef",
        "c.dng",
        "d.mov",
        "e.csv",
        "README",
        "NIKON001",
        "f.jpg.bak",
        "g.jpg",
    )
    scan = FolderScan(tmp_path)
    assert names(scan.images, tmp_path) == ["g.jpg"]
    assert left(scan) == {
        "README": "document",
        "NIKON001": "other",
        "a.CR2": "raw",
        "b.nef": "raw",
        "c.dng": "raw",
        "d.mov": "other",
        "e.csv": "document",
        "f.jpg.bak": "other",
    }


def test_pictures_of_the_system_are_left_alone_and_its_other_files_not_counted(
    tmp_path: Path,
) -> None:
    thumbnails = ("@eaDir/I0/T.jpg", "I1/@eaDir/t.jpg", "__MACOSX/I0/._a.jpg", ".thumbnails/t.png")
    quiet = ("I0/.DS_Store", "I0/Thumbs.db", "I0/desktop.ini", ".git/config", ".kitbox/a.jpg")
    write(tmp_path, *thumbnails, *quiet, "I0/._a.jpg", "I0/a.jpg", "$RECYCLE.BIN/b.jpg")
    scan = FolderScan(tmp_path)
    assert names(scan.images, tmp_path) == ["I0/a.jpg"]
    hidden = {*thumbnails, "I0/._a.jpg", "$RECYCLE.BIN/b.jpg"}
    assert left(scan) == dict.fromkeys(hidden, "system")


def test_links_are_followed_and_links_to_nothing_are_named(tmp_path: Path) -> None:
    store, data = write(tmp_path / "store", "2019/a.jpg", "one.jpg"), tmp_path / "data"
    write(data, "I0/own.jpg")
    os.symlink(store / "2019", data / "I0" / "2019")
    os.symlink(store / "one.jpg", data / "I0" / "linked.jpg")
    os.symlink(store / "2019", data / "I1")
    os.symlink("../gone", data / "I0" / "2020")
    os.symlink("gone.jpg", data / "I0" / "gone.jpg")
    os.symlink("self.jpg", data / "I0" / "self.jpg")
    scan = FolderScan(data)
    assert names(scan.images, data) == [
        *("I0/2019/a.jpg", "I0/linked.jpg", "I0/own.jpg", "I1/a.jpg"),
    ]
    assert left(scan) == dict.fromkeys(("I0/2020", "I0/gone.jpg", "I0/self.jpg"), "dangling")


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    write(tmp_path, "data/A/a.jpg", "data/B/b.jpg")
    os.symlink("..", tmp_path / "data/A/up")
    os.symlink(tmp_path, tmp_path / "data/A/far_up")
    os.symlink("../B", tmp_path / "data/A/to_b")
    os.symlink("../A", tmp_path / "data/B/to_a")
    scan = FolderScan(tmp_path / "data")
    assert names(scan.images, scan.folder) == [
        *("A/a.jpg", "A/to_b/b.jpg", "B/b.jpg", "B/to_a/a.jpg"),
    ]
    assert set(left(scan).values()) == {"loop"}
    assert {"A/up", "A/far_up", "A/to_b/to_a", "B/to_a/to_b"} <= set(left(scan))


def test_a_folder_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "I0/a.jpg", "I1/a.jpg")
    scandir = os.scandir

    def refuse(path: Path) -> Any:
        if Path(path).name == "I1":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    scan = FolderScan(tmp_path)
    assert names(scan.images, tmp_path) == ["I0/a.jpg"]
    assert left(scan) == {"I1": "no-access"}
    assert [text for _, text in folder_scan.sentences(scan.left_alone, tmp_path)] == [
        "1 folder that may not be read: I1; allow it"
    ]


def test_what_is_left_alone_is_counted_by_suffix_and_folder(tmp_path: Path) -> None:
    write(tmp_path, "I0/a.NEF", "I0/b.cr2", "I1/c.nef", *(f"I{n}/d.nef" for n in range(2, 6)))
    found = FolderScan(tmp_path).left_alone
    assert [text for _, text in folder_scan.sentences(found, tmp_path)] == [
        "7 raw camera files (.nef 6, .cr2 1) in I0, I1, I2; 3 more; "
        "save as JPEG or TIFF to have them read"
    ]
    first = next(iter(folder_scan.sentences(found, tmp_path, by_folder=True)))[1]
    assert first == (
        "2 raw camera files (.nef 1, .cr2 1) in I0; save as JPEG or TIFF to have them read"
    )


def test_loose_photographs_and_empty_folders_of_individuals_are_left_alone(tmp_path: Path) -> None:
    write(tmp_path, "loose.jpg", "I0/a.jpg", "I1/b.mov", "test/q.jpg", ".cache/x.txt")
    write(tmp_path, "work/kitbox.toml", "work/plugins/a.py")
    images = competition(root=tmp_path, images={"train_folder": "."}).images
    found = {one.path.name: one.reason for one in folder_scan.left_alone(images)}
    documents = dict.fromkeys(("kitbox.toml", "a.py"), "document")
    assert found == documents | {"loose.jpg": "loose", "b.mov": "other", "I1": "empty"}


def test_photographs_without_a_reader_are_counted_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "I0/a.HEIC", "I0/b.heif", "I1/c.jpg")
    images = competition(root=tmp_path, images={"train_folder": "."}).images
    assert list(folder_scan.lines(images)) == []
    monkeypatch.setattr(folder_scan, "find_spec", {}.get)
    assert list(folder_scan.lines(images)) == [
        "2 photographs are HEIC; to have them read: pip install 'kitbox[heic]'"
    ]


def test_counts_of_one_are_worded_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        tmp_path,
        "I0/2019/a.jpg",
        "I0/2020/b.heic",
        "I1/c.nef",
        "I1/c.cr2",
        "I1/c.dng",
        "I1/raf.raf",
    )
    images = competition(root=tmp_path, images={"train_folder": "."}).images
    monkeypatch.setattr(folder_scan, "find_spec", {}.get)
    found = "\n".join(folder_scan.lines(images))
    assert "photographs in I0/2019 show 'I0'; 1 more folder inside those of individuals" in found
    assert "1 photograph is HEIC; to have it read: pip" in found
    assert "4 raw camera files (.cr2 1, .dng 1, .nef 1; 1 other suffix) in I1" in found
