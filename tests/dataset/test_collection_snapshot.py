"""Snapshot of a collection: used while nothing has changed, and never after that."""

import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kitbox.competition import lists
from kitbox.competition.settings import Competition
from kitbox.dataset import collection, collection_snapshot
from kitbox.dataset.collection import Collection, collect
from kitbox.decisions import decision_file
from kitbox.decisions.decision import Decision
from kitbox.errors import KitboxError
from kitbox.workspace import Workspace
from tests.photographs import competition_on_disk, finish, picture
from tests.read_only import forbid_writing

Place = tuple[Workspace, Competition]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A competition with groups, encounters, times and a row that blanks repair."""
    workspace, competition = competition_on_disk(tmp_path)
    listed = competition.images.root / "train.csv"
    header, *rows = listed.read_text().splitlines()
    more = [
        f"{row},{'Ægir' if at % 2 else 'b'},e{at // 2},2022-05-{at + 1:02}"
        for at, row in enumerate(rows)
    ]
    listed.write_text("\n".join([f"{header},place,encounter,date", *more]) + "\n")
    return workspace, changed(
        competition,
        images={
            "group_column": "place",
            "encounter_column": "encounter",
            "time_column": "date",
            "broken": "drop",
        },
        holdout={"unknown_share": 0.3, "share": 0.4},
    )


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The readings of lists so far."""
    found: list[str] = []
    read = lists.read

    def counted(*given: Any) -> Any:
        found.append("read")
        return read(*given)

    monkeypatch.setattr(collection.lists, "read", counted)
    return found


def changed(competition: Competition, **parts: dict[str, Any]) -> Competition:
    settings = {name: getattr(competition, name) for name in type(competition).model_fields}
    settings |= {part: settings[part].model_copy(update=new) for part, new in parts.items()}
    return Competition(**settings)


def collected(place: Place) -> Collection | str:
    """Return the collection, or the error that there is instead."""
    try:
        found: Collection = finish(collect(*place))[1]
    except KitboxError as error:
        return str(error)
    return found


def anew(place: Place) -> Collection | str:
    """Return the collection, or the error, of another cache, where nothing is kept."""
    other = Workspace(place[0].root, ".other")
    shutil.rmtree(other.cache, ignore_errors=True)
    return collected((other, place[1]))


def same(one: Any, other: Any) -> bool:
    """Return whether two records have the same values, of the same types."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        equal = np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
        return one.dtype == other.dtype and equal
    if is_dataclass(one):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    if isinstance(one, tuple | list) and one and not isinstance(one[0], Path):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def rewrite(path: Path, text: str) -> None:
    """Write a file whose times stay as they are, as far as a program can do that."""
    before = path.stat()
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_what_was_read_is_used_again(place: Place, readings: list[str]) -> None:
    (place[1].images.root / "train" / "2_1.png").write_bytes(b"no image")
    first = collected(place)
    assert readings == ["read"]
    second = collected(place)
    assert readings == ["read"]
    assert isinstance(first, Collection)
    assert [finding.image_id for finding in first.findings] == ["2_1.png"]
    assert len(first.holdout.query)
    assert same(first, second)
    assert same(second, anew(place))


def touch(file: Path) -> None:
    os.utime(file, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns + 1_000_000_000))


def other_pixels(file: Path) -> None:
    """Put another photograph of the same size and times in the place of a file."""
    before, data = file.stat(), bytearray(file.read_bytes())
    data[-20] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_by_copy(file: Path) -> None:
    shutil.copy2(file, beside := file.with_name("beside.png"))
    beside.replace(file)


CHANGES: dict[str, Callable[[Path, Path], object]] = {
    "a photograph is touched": lambda root, _: touch(root / "train/0_0.png"),
    "a photograph is changed": lambda root, _: other_pixels(root / "train/0_0.png"),
    "a test photograph is changed": lambda root, _: other_pixels(root / "test/t_0.png"),
    "a photograph is replaced": lambda root, _: replace_by_copy(root / "train/0_0.png"),
    "a photograph is gone": lambda root, _: (root / "train/0_0.png").unlink(),
    "a test photograph is gone": lambda root, _: (root / "test/t_0.png").unlink(),
    "a photograph has other capitals": lambda root, _: (root / "train/0_0.png").rename(
        root / "train/0_0.PNG"
    ),
    "a photograph is elsewhere": lambda root, _: (
        (root / "train/new").mkdir(),
        (root / "train/0_0.png").rename(root / "train/new/0_0.png"),
    ),
    "a name means two photographs": lambda root, _: [
        picture(root / "train" / folder / "0_0.png", 3, number)
        for number, folder in enumerate(("one", "two"))
    ],
    "the folder of the test is gone": lambda root, _: shutil.rmtree(root / "test"),
    "a label is changed": lambda root, _: rewrite(
        root / "train.csv", (root / "train.csv").read_text().replace("w_0", "w_9", 1)
    ),
    "the order of the sample is changed": lambda root, _: rewrite(
        root / "sample_submission.csv",
        (root / "sample_submission.csv")
        .read_text()
        .replace("t_0", "t_x")
        .replace("t_1", "t_0")
        .replace("t_x", "t_1"),
    ),
    "the sample is gone": lambda root, _: (root / "sample_submission.csv").unlink(),
    "there are boxes": lambda _, workspace: (workspace / "boxes.csv").write_text(
        "image,x0,y0,x1,y1,confidence,source\n0_0.png,1,1,30,30,,drawn\n"
    ),
    "an image is dropped": lambda _, workspace: decision_file.add(
        workspace / "decisions.csv", Decision("drop", "0_0.png")
    ),
    "a label is decided": lambda _, workspace: decision_file.add(
        workspace / "decisions.csv", Decision("label", "0_0.png", "w_1")
    ),
    "an image is never a query": lambda _, workspace: decision_file.add(
        workspace / "decisions.csv",
        *(Decision("train", f"{one}_{number}.png") for one in range(6) for number in range(2)),
    ),
    "a decision names no image": lambda _, workspace: decision_file.add(
        workspace / "decisions.csv", Decision("drop", "nowhere.png")
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_is_seen(place: Place, readings: list[str], change: str) -> None:
    before = collected(place)
    CHANGES[change](place[1].images.root, place[0].root)
    found = collected(place)
    assert readings == ["read", "read"]
    assert same(found, anew(place))
    quiet = ("a photograph is touched", "a photograph is replaced")
    assert same(found, before) == (change in quiet)
    assert same(collected(place), found)  # what was read after the change is kept in turn


@pytest.mark.parametrize(
    ("part", "new"),
    [
        ("holdout", {"seed": 1}),
        ("holdout", {"folds": 2, "share": 0.2, "unknown_share": 0.0}),
        ("images", {"unknown_labels": ("w_1",)}),
        ("images", {"group_column": None}),
        ("images", {"train_folder": "."}),
    ],
)
def test_other_settings_are_read_by(
    place: Place, readings: list[str], part: str, new: dict[str, Any]
) -> None:
    collected(place)
    other = place[0], changed(place[1], **{part: new})
    found = collected(other)
    assert readings == ["read", "read"]
    assert same(found, anew(other))


def test_rules_of_the_check_are_settings_too(place: Place) -> None:
    file = place[1].images.root / "train" / "0_0.png"
    file.write_bytes(file.read_bytes()[:-300])
    left_out = collected(place)
    keeps = place[0], changed(place[1], check={"keep": ("truncated",)})
    kept = collected(keeps)
    assert isinstance(left_out, Collection)
    assert isinstance(kept, Collection)
    assert (len(left_out.labelled), len(kept.labelled)) == (23, 24)
    assert same(kept, anew(keeps))
    assert same(kept, collected(keeps))


def test_a_threshold_reads_nothing_again(place: Place, readings: list[str]) -> None:
    collected(place)
    collected((place[0], place[1].with_threshold("0.5")))
    assert readings == ["read"]


def test_links_of_images_read_nothing_again_and_count(place: Place, readings: list[str]) -> None:
    collected(place)
    decision_file.add(place[0].decisions, Decision("same", "t_0.png", "0_0.png"))
    found = collected(place)
    assert readings == ["read"]
    assert isinstance(found, Collection)
    assert "t_0.png" in found.links.individual_of
    assert same(found, anew(place))


def test_another_release_reads_again(
    place: Place, readings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    collected(place)
    monkeypatch.setattr("kitbox.__version__", "99.0")
    collected(place)
    assert readings == ["read", "read"]


def test_a_link_to_another_name_of_its_file_is_seen(place: Place, readings: list[str]) -> None:
    train = place[1].images.root / "train"
    (train / "again").mkdir()
    (train / "again" / "0_0.png").symlink_to(train / "0_0.png")
    collected(place)
    (train / "beside.png").hardlink_to(train / "0_0.png")
    collected(place)
    (train / "again" / "0_0.png").unlink()
    (train / "again" / "0_0.png").symlink_to(train / "beside.png")
    collected(place)
    assert len(readings) == 3


def test_a_link_to_a_folder_above_it_ends(place: Place, readings: list[str]) -> None:
    train = place[1].images.root / "train"
    (train / "up").symlink_to(place[1].images.root)
    (train / "gone").symlink_to(train / "nowhere")
    assert same(collected(place), collected(place))
    assert readings == ["read"]


def test_an_edited_holdout_is_written_again(place: Place, readings: list[str]) -> None:
    collected(place)
    expected = place[0].holdout.read_bytes()
    for text in ("edited", None):
        place[0].holdout.unlink() if text is None else place[0].holdout.write_text(text)
        collected(place)
        assert place[0].holdout.read_bytes() == expected
    assert readings == ["read"]


def test_a_changed_byte_of_the_snapshot_changes_no_result(place: Place) -> None:
    expected = collected(place)
    path = place[0].cache / "collection.safetensors"
    whole = path.read_bytes()
    places = np.random.default_rng(0).integers(0, len(whole), 30).tolist()
    damaged = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in places]
    seal = whole.rindex(b"kitbox sha256")
    damaged += [whole[:seal] + b"x" + whole[seal + 1 :], whole[:-1], whole[:seal], whole[:500], b""]
    for data in damaged:
        path.write_bytes(data)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            assert same(collected(place), expected)
        [warning] = told if data != whole[:seal] else [None]
        assert warning is None or str(warning.message) == (
            f"{path} is damaged; the lists are read again, and it is made again"
        )
        assert path.read_bytes()[-32:] == whole[-32:] or data == whole[:seal]


def test_that_of_another_workspace_is_not_used(
    tmp_path: Path, place: Place, readings: list[str]
) -> None:
    other = competition_on_disk(tmp_path / "other", each=5)
    collected(place)
    collected(other)
    kept, copied = (each[0].cache / "collection.safetensors" for each in (place, other))
    shutil.copy2(copied, kept)
    assert same(collected(place), anew(place))
    assert len(readings) == 4


def test_what_changes_while_it_is_read_is_not_kept(
    place: Place, readings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, listed = lists.read, place[1].images.root / "train.csv"
    before = listed.read_text()

    def slowly(*given: Any) -> Any:
        listed.write_text(before.replace("w_0", "w_9", 1))
        return read(*given)

    with monkeypatch.context() as patch:
        patch.setattr(collection.lists, "read", slowly)
        collected(place)
    listed.write_text(before)
    assert same(collected(place), anew(place))


def test_a_file_that_the_system_cannot_read_is_tried_again(
    place: Place, readings: list[str]
) -> None:
    file = place[1].images.root / "train" / "0_0.png"
    file.unlink()
    file.symlink_to("/proc/self/mem")  # its first byte cannot be read, as of a bad sector
    collected(place)
    collected(place)
    assert readings == ["read", "read"]


def test_a_workspace_that_is_only_read_has_it_or_does_without(
    place: Place, readings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = collected(place)
    with monkeypatch.context() as patch:
        forbid_writing(patch, place[0].root)
        assert same(collected(place), expected)
    assert readings == ["read"]
    (place[0].cache / "collection.safetensors").unlink()
    with monkeypatch.context() as patch:
        forbid_writing(patch, place[0].root)
        assert same(collected(place), expected)
    assert readings == ["read", "read"]


def test_boxes_of_photographs_of_other_seasons_are_looked_up_each_time(
    place: Place, readings: list[str]
) -> None:
    workspace, competition = place
    root = competition.images.root
    picture(root / "older" / "x.png", 1, 1)
    workspace.boxes.write_text(
        "image,x0,y0,x1,y1,confidence,source\nolder/x.png,1,1,30,30,,drawn\n"
    )
    catalogue = competition.catalogue.model_copy(update={"source": "older"})
    settings = workspace, competition.model_copy(update={"catalogue": catalogue})
    assert isinstance(collected(settings), Collection)
    (root / "older" / "x.png").unlink()
    assert "has no box for any image" in str(collected(settings))
    assert readings == ["read", "read"]


def test_letters_of_any_script_are_kept() -> None:
    for texts in (["", "a"], ["ä"], ["字"], ["\U0001f433", "b\udcff"], []):
        array = np.array(texts, dtype=np.str_)
        found = collection_snapshot._texts(collection_snapshot._codes(array))
        assert found.dtype == array.dtype
        assert found.tolist() == texts
