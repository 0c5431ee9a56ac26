"""Files of images: named by ids or templates, never outside their folder."""

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


def test_a_name_that_differs_in_case_is_reported_and_not_read(
    folder: image_files.ImageFolder,
) -> None:
    placed = folder.file_of("{id}", "3/X.PNG", {"id": "3/X.PNG"})
    what = "image '3/X.PNG' is not in train, but 'x.png' is; rename one of them"
    assert placed == image_files.FileMatch(None, "case", what)


@pytest.mark.parametrize(
    ("template", "image_id"), [(None, "3/x.png "), ("3/{id}.png", " x"), ("3/{id}.*", "x\t")]
)
def test_blanks_around_the_name_of_a_file_are_reported(
    folder: image_files.ImageFolder, template: str | None, image_id: str
) -> None:
    placed = folder.file_of(template, image_id, {"id": image_id})
    what = f"image '{image_id}' has blanks around its name; read as '3/x.png'"
    assert placed == image_files.FileMatch(folder.path / "3" / "x.png", "blank-in-name", what)


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
