"""Files of images: named by ids or templates, never outside their folder."""

import os
import unicodedata
from pathlib import Path

import pytest

from kitbox.competition import image_files
from kitbox.errors import KitboxError


@pytest.fixture
def folder(tmp_path: Path) -> image_files.ImageFolder:
    for name in ("train/a/b/c/abc.jpg", "train/3/x.png", "train/twice.jpg", "train/twice.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "outside.jpg").touch()
    return image_files.ImageFolder(tmp_path / "train", "train", "train_folder")


@pytest.mark.parametrize(
    ("template", "row", "found"),
    [
        ("{id[0]}/{id[1]}/{id[2]}/{id}.*", {"id": "abc"}, "a/b/c/abc.jpg"),
        ("{chain}/{id}", {"id": "x.png", "chain": "3"}, "3/x.png"),
        ("{chain}/{id}.*", {"id": "x", "chain": "3"}, "3/x.png"),
        ("3/{id:x<1}.png", {"id": ""}, "3/x.png"),
        ("a/b/c/abc.jpg", {"id": "whatever"}, "a/b/c/abc.jpg"),
        (None, {"id": "3/x.png"}, "3/x.png"),
    ],
)
def test_a_template_names_a_file(
    folder: image_files.ImageFolder, template: str | None, row: dict[str, str], found: str
) -> None:
    assert folder.file_of(template, row["id"], row) == image_files.FileMatch(folder.path / found)


@pytest.mark.parametrize(
    ("template", "image_id", "message"),
    [
        (
            "{id[0]}/{id[1]}/{id[2]}/{id}.*",
            "ab",
            "image 'ab' has no name by '{id[0]}/{id[1]}/{id[2]}/{id}.*' "
            "(string index out of range); correct it",
        ),
        (
            "{id:d}",
            "ab",
            "image 'ab' has no name by '{id:d}' "
            "(Unknown format code 'd' for object of type 'str'); correct it",
        ),
        ("{id}.*", "abc", "image 'abc.*' is not in train; correct the row or remove it"),
        ("{id}", "../outside.jpg", "image '../outside.jpg' leaves the folder train; "),
        ("../{id}", "outside.jpg", "image '../outside.jpg' leaves the folder train; "),
        ("{id}.*", "../outside", "image '../outside.*' leaves the folder train; correct the name"),
        ("3/../../{id}", "outside.jpg", "image '3/../../outside.jpg' leaves the folder train; "),
        ("/{id}", "etc/hostname", "image '/etc/hostname' leaves the folder train; "),
        ("{id}.*", "twice", "image 'twice.*' is twice.jpg and twice.png; remove one of them"),
        ("{id}.*", "", "image '.*' is not in train; correct the row or remove it"),
        ("{id}", "3", "image '3' is not in train; correct the row or remove it"),
    ],
)
def test_a_name_without_a_file_is_reported(
    folder: image_files.ImageFolder, template: str, image_id: str, message: str
) -> None:
    placed = folder.file_of(template, image_id, {"id": image_id})
    assert placed.file is None
    assert placed.kind == ("outside" if "leaves" in message else "missing")
    assert placed.what.startswith(message)


@pytest.mark.parametrize("template", ["{id}", "{id}.*", "{id}/x.png", "{id}/x.*"])
def test_a_name_that_no_file_can_have_is_missing(
    folder: image_files.ImageFolder, template: str
) -> None:
    placed = folder.file_of(template, "a" * 300, {"id": "a" * 300})
    assert (placed.file, placed.kind) == (None, "missing")
    assert placed.what.endswith("; correct the row or remove it")


def test_a_built_name_may_differ_in_case(folder: image_files.ImageFolder) -> None:
    placed = folder.file_of("{id}", "3/X.PNG", {"id": "3/X.PNG"})
    what = "image '3/X.PNG' is read as '3/x.png'"
    assert placed == image_files.FileMatch(folder.path / "3" / "x.png", "case", what)


def sea(tmp_path: Path, *names: str) -> Path:
    for name in names:
        (tmp_path / "seals" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "seals" / name).touch()
    return tmp_path / "seals"


def match(root: Path, *listed: str) -> list[str]:
    """Return the files of listed names, or "kind: what" of those without one."""
    folder = image_files.ImageFolder(root, ".", "train_folder", listed)
    found = [folder.file_of(None, name, {"Image": name}) for name in listed]
    return [
        f"{each.kind}: {each.what}" if each.file is None else each.file.relative_to(root).as_posix()
        for each in found
    ]


DAYS = ("day0/IMG_1.JPG", "day0/IMG_2.JPG", "day1/IMG_1.JPG", "day1/IMG_2.JPG", "one.jpg")


@pytest.mark.parametrize(
    ("listed", "found", "kind"),
    [
        ("day1/IMG_1.JPG", "day1/IMG_1.JPG", ""),
        ("./day1/IMG_1.JPG", "day1/IMG_1.JPG", ""),
        ("one.jpg", "one.jpg", ""),
        (r"day1\IMG_1.JPG", "day1/IMG_1.JPG", "path"),
        ("/day1/IMG_1.JPG", "day1/IMG_1.JPG", "path"),
        ("seals/day1/IMG_1.JPG", "day1/IMG_1.JPG", "path"),
        ("../seals/day1/IMG_1.JPG", "day1/IMG_1.JPG", "path"),
        (r"C:\Users\jo\photos\day1\IMG_1.JPG", "day1/IMG_1.JPG", "path"),
        ("https://host/day1/IMG_1.JPG", "day1/IMG_1.JPG", "path"),
        ("day1/img_1.jpg", "day1/IMG_1.JPG", "case"),
        ("DAY1/IMG_1.JPG", "day1/IMG_1.JPG", "case"),
        (r"C:\seals\DAY1\img_1.jpg", "day1/IMG_1.JPG", "path"),
        ("day1/IMG_1", "day1/IMG_1.JPG", "path"),
        ("one", "one.jpg", "path"),
        ("ONE", "one.jpg", "path"),
    ],
)
def test_a_listed_name_finds_its_one_file(
    tmp_path: Path, listed: str, found: str, kind: str
) -> None:
    root = sea(tmp_path, *DAYS)
    placed = image_files.ImageFolder(root, ".", "train_folder", [listed]).file_of(None, listed, {})
    assert (placed.file, placed.kind) == (root / found, kind)
    assert placed.what == (f"image '{listed}' is read as '{found}'" if kind else "")


def test_a_path_in_the_data_folder_itself_is_read_beside_any_other_names(tmp_path: Path) -> None:
    root = sea(tmp_path, "a.jpg", "b.jpg")
    assert match(root, "a.jpg", str(root / "b.jpg")) == ["a.jpg", "b.jpg"]


def test_a_file_name_in_latin_1_is_found_by_its_letters(tmp_path: Path) -> None:
    odd = os.fsdecode(b"Mu\xf1oz_1.jpg")
    assert match(sea(tmp_path, odd, "Munoz_2.jpg"), "Muñoz_1.jpg") == [odd]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accents_are_the_same_in_both_unicode_forms(tmp_path: Path, form: str) -> None:
    names = {each: unicodedata.normalize(each, "Möwe/Zoë é.jpg") for each in ("NFC", "NFD")}
    root = sea(tmp_path, names.pop(form))
    [other] = names.values()
    placed = image_files.ImageFolder(root, ".", "train_folder").file_of(None, other, {})
    assert placed.kind == "case"
    assert placed.file is not None
    assert placed.file.is_file()


@pytest.mark.parametrize(
    ("listed", "files"),
    [
        ("IMG_1.JPG", "day0/IMG_1.JPG and day1/IMG_1.JPG"),
        ("img_1.jpg", "day0/IMG_1.JPG and day1/IMG_1.JPG"),
        ("IMG_1", "day0/IMG_1.JPG and day1/IMG_1.JPG"),
        ("both.jpg", "both.jpg and day0/both.jpg and 1 more"),
    ],
)
def test_a_name_that_several_files_bear_is_ambiguous(
    tmp_path: Path, listed: str, files: str
) -> None:
    root = sea(tmp_path, *DAYS, "both.jpg", "day0/both.jpg", "day1/both.jpg")
    assert match(root, listed) == [
        f"ambiguous: image '{listed}' is {files}; write its folder before it, or name the column "
        "of folders in images.folder_column"
    ]


def test_two_suffixes_of_a_name_without_one_are_ambiguous(tmp_path: Path) -> None:
    assert match(sea(tmp_path, "a.jpg", "a.png"), "a") == [
        "ambiguous: image 'a' is a.jpg and a.png; write the name of the file, or remove one of them"
    ]


def test_a_link_to_a_folder_makes_no_name_ambiguous(tmp_path: Path) -> None:
    root = sea(tmp_path, "day0/IMG_1.JPG", "day1/IMG_2.JPG")
    (root / "latest").symlink_to(root / "day1")
    assert match(root, "IMG_1.JPG", "IMG_2.JPG") == ["day0/IMG_1.JPG", "day1/IMG_2.JPG"]


def test_the_file_written_as_in_the_list_comes_first(tmp_path: Path) -> None:
    root = sea(tmp_path, "day0/a.jpg", "day1/A.jpg")
    assert match(root, "a.jpg", "A.jpg") == ["day0/a.jpg", "day1/A.jpg"]
    assert match(root, "A.JPG")[0].startswith("ambiguous: image 'A.JPG' is day0/a.jpg and ")


def test_another_folder_is_another_photograph(tmp_path: Path) -> None:
    assert match(sea(tmp_path, "day0/IMG_1.JPG"), "day7/IMG_1.JPG") == [
        "missing: image 'day7/IMG_1.JPG' is not in the data folder, but 'day0/IMG_1.JPG' is; "
        "correct the row or remove it"
    ]


def test_leading_folders_are_left_out_where_all_names_have_the_same(tmp_path: Path) -> None:
    root = sea(tmp_path, "IMG_1.JPG", "IMG_2.JPG")
    assert match(root, r"E:\trip\IMG_1.JPG", r"E:\trip\IMG_2.JPG") == ["IMG_1.JPG", "IMG_2.JPG"]
    # a copy without folders is as good if the names differ
    assert match(root, r"E:\day0\IMG_1.JPG", r"E:\day1\IMG_2.JPG") == ["IMG_1.JPG", "IMG_2.JPG"]
    what = "missing: image '{}' is not in the data folder, but 'IMG_{}.JPG' is; "
    names = (r"E:\day0\IMG_1.JPG", r"E:\day1\IMG_1.JPG", r"E:\day1\IMG_2.JPG")
    for found, name in zip(match(root, *names), names, strict=True):
        assert found.startswith(what.format(name, name[-5]))
    # the loose files are in the list, those of the other folder are missing
    names = ("IMG_1.JPG", "IMG_2.JPG", "day7/IMG_1.JPG")
    assert match(root, *names)[2].startswith(what.format("day7/IMG_1.JPG", 1))


def test_a_hint_names_the_file_with_the_same_letters_and_numbers(tmp_path: Path) -> None:
    root = sea(tmp_path, "day0/IMG_0001.JPG", "day0/IMG_0002.JPG")
    for name in ("IMG 1.jpg", "img-01", "IMG_0001.png"):
        assert match(root, name) == [
            f"missing: image '{name}' is not in the data folder, but 'day0/IMG_0001.JPG' is; "
            "correct the row or remove it"
        ]
    assert match(root, "IMG_0003.JPG") == [
        "missing: image 'IMG_0003.JPG' is not in the data folder; correct the row or remove it"
    ]
    assert match(root, "/photos/img-1.jpg") == [
        "outside: image '/photos/img-1.jpg' leaves the data folder, but 'day0/IMG_0001.JPG' is in "
        "it; correct the name"
    ]


@pytest.mark.parametrize(
    ("template", "image_id"), [(None, "3/x.png "), ("3/{id}.png", " x"), ("3/{id}.*", "x\t")]
)
def test_blanks_around_the_name_of_a_file_are_reported(
    folder: image_files.ImageFolder, template: str | None, image_id: str
) -> None:
    placed = folder.file_of(template, image_id, {"id": image_id})
    what = f"image '{image_id}' has blanks around its name; read as '3/x.png'"
    assert placed == image_files.FileMatch(folder.path / "3" / "x.png", "blank-in-name", what)


def test_an_animal_has_the_file_of_its_photograph(tmp_path: Path) -> None:
    for name in ("in/a.jpg", "in/b#2.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = ["in/a.jpg#1", "in/a.jpg#2", "in/b#2.jpg", "in/c.jpg#1"]
    folder = image_files.ImageFolder(tmp_path, ".", "root", names)
    found = [folder.file_of(None, name, {}) for name in names]
    assert [match.file for match in found] == [
        *(tmp_path / "in" / name for name in ("a.jpg", "a.jpg", "b#2.jpg")),
        None,
    ]
    assert found[3].what.startswith("image 'in/c.jpg#1' is not in the data folder")
    assert [image_files.photograph_of(name) for name in names] == [
        "in/a.jpg",
        "in/a.jpg",
        "in/b#2.jpg",
        "in/c.jpg",
    ]


def test_a_template_takes_its_parts_from_columns() -> None:
    assert image_files.template_columns("{chain}/{id[0]}/{photo id}.*", "train_file") == [
        "chain",
        "id",
        "photo id",
    ]
    assert image_files.template_columns(None, "train_file") == []


@pytest.mark.parametrize(
    ("template", "part"),
    [
        ("{id.__class__}", "id.__class__"),
        ("{id[0].__class__}", "id[0].__class__"),
        ("{id[__class__]}", "id[__class__]"),
        ("{id[-1]}", "id[-1]"),
        ("{id[0][1]}", "id[0][1]"),
        ("{}", ""),
        ("{[0]}", "[0]"),
        ("{id:{width}}", "id"),
    ],
)
def test_a_part_that_is_not_a_column_is_refused(template: str, part: str) -> None:
    with pytest.raises(KitboxError) as caught:
        image_files.template_columns(template, "train_file")
    assert str(caught.value) == (
        f"images.train_file = '{template}': '{{{part}}}' is not a column, as {{image}} is, "
        "or a letter of one, as {image[0]} is"
    )


def test_an_open_brace_is_refused() -> None:
    with pytest.raises(KitboxError) as caught:
        image_files.template_columns("{id", "test_file")
    assert str(caught.value) == (
        "images.test_file = '{id': expected '}' before end of string; correct it"
    )


def test_a_missing_folder_gets_a_suggestion(tmp_path: Path) -> None:
    (tmp_path / "train_images").mkdir()
    with pytest.raises(KitboxError) as caught:
        image_files.ImageFolder(tmp_path / "train_image", "train_image", "train_folder")
    assert str(caught.value) == (
        f"there is no folder {tmp_path}/train_image; correct images.train_folder; "
        "did you mean train_images?"
    )
