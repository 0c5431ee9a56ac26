"""Folders of photographs under one root: the names of their images."""

from pathlib import Path

import pytest

from kitbox.catalogue import photograph_folders
from kitbox.catalogue.catalogue_list import CatalogueRow
from kitbox.competition.image_files import ImageFolder
from kitbox.errors import KitboxError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("cat/A/x.jpg", "card/season 1/y.jpg", "card/cat/z.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path / "workspace" / "photographs"


def test_a_folder_has_one_name_however_often_it_is_linked(root: Path, tmp_path: Path) -> None:
    first = photograph_folders.link(root, tmp_path / "cat")
    again = photograph_folders.link(root, tmp_path / "card" / ".." / "cat", "other")
    assert (first, again) == ("cat", "cat")
    assert photograph_folders.linked(root) == {"cat": (tmp_path / "cat").resolve()}


def test_a_folder_inside_a_linked_one_gets_no_link(root: Path, tmp_path: Path) -> None:
    photograph_folders.link(root, tmp_path / "cat")
    assert photograph_folders.link(root, tmp_path / "cat" / "A") == "cat/A"
    assert [path.name for path in root.iterdir()] == ["cat"]


def test_two_folders_of_one_name_and_odd_characters_are_told_apart(
    root: Path, tmp_path: Path
) -> None:
    found = [
        photograph_folders.link(root, tmp_path / name)
        for name in ("cat", "card/cat", "card/season 1")
    ]
    assert found == ["cat", "cat-2", "season-1"]


def test_images_are_found_by_their_names_below_the_root(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "card" / "season 1"
    photograph_folders.link(root, folder)
    (name,) = photograph_folders.names_of(root, folder, [folder / "y.jpg"])
    assert name == "season-1/y.jpg"
    match = ImageFolder(root, ".", "root", [name]).file_of(None, name, {})
    assert (match.file, match.kind) == (root / "season-1" / "y.jpg", "")


def test_a_file_keeps_its_first_name_when_a_folder_above_is_linked(
    root: Path, tmp_path: Path
) -> None:
    season, card = tmp_path / "card" / "season 1", tmp_path / "card"
    before = [photograph_folders.link(root, season)]
    before += photograph_folders.names_of(root, season, [season / "y.jpg"])
    photograph_folders.link(root, card)
    files = [season / "y.jpg", card / "cat" / "z.jpg"]
    assert before == ["season-1", "season-1/y.jpg"]
    assert photograph_folders.names_of(root, card, files) == ["season-1/y.jpg", "card/cat/z.jpg"]


def test_a_missing_folder_and_one_around_the_workspace_are_refused(
    root: Path, tmp_path: Path
) -> None:
    with pytest.raises(KitboxError, match=r"there is no folder .*gone; correct its name"):
        photograph_folders.link(root, tmp_path / "gone")
    with pytest.raises(KitboxError, match=r"lies inside .*; give a workspace outside"):
        photograph_folders.link(root, tmp_path)


def test_a_disk_that_is_not_plugged_in_stops_no_other_folder(root: Path, tmp_path: Path) -> None:
    photograph_folders.link(root, tmp_path / "cat")
    (tmp_path / "cat").rename(tmp_path / "elsewhere")
    assert photograph_folders.link(root, tmp_path / "card" / "cat") == "cat-2"
    assert photograph_folders.linked(root) == {"cat-2": (tmp_path / "card" / "cat").resolve()}
    assert photograph_folders.lost_target(root, "cat/A/x.jpg") == (tmp_path / "cat").resolve()
    assert photograph_folders.lost_target(root, "cat-2/z.jpg") is None
    (tmp_path / "elsewhere").rename(tmp_path / "cat")
    assert photograph_folders.link(root, tmp_path / "cat") == "cat"


def test_of_a_folder_around_the_workspace_what_is_in_it_is_linked(
    root: Path, tmp_path: Path
) -> None:
    loose = tmp_path / "IMG (1).jpg"
    loose.touch()
    files = [loose, tmp_path / "cat" / "A" / "x.jpg", tmp_path / "card" / "cat" / "z.jpg"]
    for _ in range(2):
        photograph_folders.link_files(root, tmp_path, files)
        names = photograph_folders.names_of(root, tmp_path, files)
        assert names == ["IMG-1-.jpg", "cat/A/x.jpg", "card/cat/z.jpg"]
        assert {path.name for path in root.iterdir()} == {"IMG-1-.jpg", "cat", "card"}
    assert all((root / name).is_file() for name in names)


def test_two_single_files_of_one_name_keep_their_suffix(root: Path, tmp_path: Path) -> None:
    (root.parent / "deep").mkdir(parents=True)
    files = [tmp_path / "a.JPG", root.parent / "a.JPG"]
    for file in files:
        file.touch()
    photograph_folders.link_files(root, tmp_path, files[:1])
    photograph_folders.link_files(root, root.parent, files[1:])
    assert photograph_folders.names_of(root, tmp_path, files) == ["a.JPG", "a-2.JPG"]


def test_a_link_among_the_photographs_around_the_workspace_is_followed(
    root: Path, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "far").symlink_to(tmp_path / "cat", target_is_directory=True)
    inner = here / "kit" / "photographs"
    file = here / "far" / "A" / "x.jpg"
    photograph_folders.link_files(inner, here, [file])
    assert photograph_folders.names_of(inner, here, [file]) == ["far/A/x.jpg"]
    photograph_folders.link(inner, tmp_path / "cat" / "A")
    assert len(list(inner.iterdir())) == 1


def test_a_file_outside_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(KitboxError, match=r"x\.jpg is in no linked folder"):
        photograph_folders.names_of(root, tmp_path / "cat", [tmp_path / "cat" / "A" / "x.jpg"])


def test_a_copy_that_is_there_already_stays(root: Path, tmp_path: Path) -> None:
    photograph_folders.link(root, tmp_path / "cat")
    (tmp_path / "cat" / "A" / "x.jpg").write_text("x")
    row = CatalogueRow("cat/A/x.jpg", "whale/A:1")
    for there in (0, 1):
        copied = photograph_folders.copy(root, [row], tmp_path / "grown")
        assert copied.there == there
        assert [one.image for one in copied.rows] == ["grown/whale/A-1/x.jpg"]
    assert (tmp_path / "grown" / "whale" / "A-1" / "x.jpg").read_text() == "x"
    assert len(list((tmp_path / "grown").rglob("*.jpg"))) == 1


def test_an_individuals_folder_has_its_name_with_blanks(root: Path, tmp_path: Path) -> None:
    photograph_folders.link(root, tmp_path / "cat")
    copied = photograph_folders.copy(
        root, [CatalogueRow("cat/A/x.jpg", "Big Ann")], tmp_path / "grown", ["Big-Ann"]
    )
    assert [one.image for one in copied.rows] == ["grown/Big Ann/x.jpg"]


@pytest.mark.parametrize(
    ("names", "others", "message"),
    [
        (["A:1", "A*1"], [], "the folder of 'A:1' would be that of 'A*1', 'A-1'; rename one of"),
        (["W?1"], ["W-1"], "the folder of 'W?1' would be that of 'W-1', 'W-1'; rename one of"),
        (["ann"], ["Ann"], "the folder of 'ann' would be that of 'Ann', 'ann'; rename one of"),
        (["Ann."], ["Ann"], "the folder of 'Ann.' would be that of 'Ann', 'Ann'; rename one of"),
    ],
)
def test_no_two_individuals_share_a_folder(
    root: Path, tmp_path: Path, names: list[str], others: list[str], message: str
) -> None:
    photograph_folders.link(root, tmp_path / "cat")
    rows = [CatalogueRow("cat/A/x.jpg", name) for name in names]
    with pytest.raises(KitboxError) as caught:
        photograph_folders.copy(root, rows, tmp_path / "grown", others)
    assert str(caught.value).startswith(message)
    assert not (tmp_path / "grown").exists()


def test_individuals_that_are_not_copied_may_share_one(root: Path, tmp_path: Path) -> None:
    photograph_folders.link(root, tmp_path / "cat")
    rows = [CatalogueRow("cat/A/x.jpg", "Bo")]
    photograph_folders.copy(root, rows, tmp_path / "grown", ["A:1", "A*1", "Bo"])
    assert (tmp_path / "grown" / "Bo" / "x.jpg").is_file()
