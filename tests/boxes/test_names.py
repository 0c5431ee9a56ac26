"""Names: what a foreign list calls an image."""

from pathlib import Path

import pytest

from kitbox.boxes.box_import import ImageNames
from kitbox.competition.lists import ListedImages
from kitbox.records import ImageSet, strings


def listed(labelled: dict[str, str], test: dict[str, str] | None = None) -> ListedImages:
    """Return images from id → path."""
    sets = [
        None if of is None else ImageSet(strings(list(of)), tuple(map(Path, of.values())))
        for of in (labelled, test)
    ]
    assert sets[0] is not None
    return ListedImages(sets[0], sets[1], None, ())


WHALES = listed(
    {"7": "/d/train/ahab/one.jpg", "boo/two.jpg": "/d/train/boo/two.jpg", "x": "/d/train/x.y.jpg"},
    {"one.png": "/d/test/one.png", "two": "/d/test/two.jpg"},
)


@pytest.mark.parametrize(
    ("name", "image_id"),
    [
        ("7", "7"),  # an id
        ("one.jpg", "7"),  # a file
        ("x.y", "x"),  # a stem
        ("x.y.JPG", "x"),
        ("x.y.txt", None),
        ("x.y.0001", None),  # a frame that is not here
        ("one.jpeg", None),  # two stems
        ("/home/me/train/ahab/one.jpg", "7"),  # a path elsewhere
        ("C:\\me\\ahab\\one.jpg", "7"),
        (" one.jpg ", "7"),
        ("boo/two", "boo/two.jpg"),
        ("boo/two.jpg", "boo/two.jpg"),
        ("/data/boo/two.jpg", "boo/two.jpg"),
        ("test/two.jpg", "two"),
        ("two", "two"),  # an id is nearer than a file
        ("two.jpg", None),  # two files
        ("one", None),  # two stems
        ("three.jpg", None),
        ("", None),
        ("/", None),
    ],
)
def test_an_image_is_found_by_id_file_stem_or_path(name: str, image_id: str | None) -> None:
    assert ImageNames(WHALES).match([name]) == ({} if image_id is None else {name: image_id})


def test_images_of_one_folder_may_be_meant_alone() -> None:
    assert ImageNames(WHALES, Path("/d/test")).match(["two.jpg", "7", "one"]) == {
        "two.jpg": "two",
        "one": "one.png",
    }


def test_a_name_of_an_image_that_is_not_here_is_not_taken_for_another() -> None:
    found = ImageNames(listed({"a": "/d/train/1.jpg"})).match(["train/1.jpg", "test/1.jpg"])
    assert found == {"train/1.jpg": "a"}


def test_what_may_mean_another_image_is_told() -> None:
    names = ImageNames(listed({"7": "/d/one.jpg", "8": "/d/two.jpg", "c.png": "/d/c.JPG"}))
    found = names.match(["one.png", "/me/two.JPG", "two", "c.png", "c.tif"])
    assert names.doubtful(found) == {
        "one.png": "'one.png' is read as image '7', whose file is one.jpg",
        "two": "'two' is read as image '8', like '/me/two.JPG'",
    }
