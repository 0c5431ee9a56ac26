"""Boxes of other programs: their formats, and findings on them."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kitbox.boxes import box_import
from kitbox.boxes.box_formats import BoxFormat
from kitbox.boxes.box_import import BoxImport, ImageNames
from kitbox.competition.lists import ListedImages
from kitbox.errors import KitboxError
from kitbox.records import ImageSet, strings
from tests.photographs import finish

GO_ON = '; fix it, or set broken = "drop" in kitbox.toml to go on without'
SIDE = (100, 60)


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> ListedImages:
    """Return ten images of 100 x 60 pixels, 0.jpg to 9.jpg."""
    folder = tmp_path_factory.mktemp("photographs")
    files = [folder / f"{number}.jpg" for number in range(10)]
    for file in files:
        Image.new("RGB", SIDE, (0, 80, 120)).save(file)
    return ListedImages(ImageSet(strings([f.name for f in files]), tuple(files)))


def imported(listed: ListedImages, file: Path, **given: Any) -> BoxImport:
    options = {"source": "me", "broken": "drop", **given}
    found: BoxImport = finish(box_import.import_boxes(file, listed, **options))[1]
    return found


def drawn(folder: Path, *rows: str, header: str = "image,x0,y0,x1,y1") -> Path:
    (folder / "drawn.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder / "drawn.csv"


def test_boxes_are_in_pixels_of_the_image(tmp_path: Path, photographs: ListedImages) -> None:
    found = imported(photographs, drawn(tmp_path, "1,10,20,30,40", "/me/2.jpg,1,2,33.5,44"))
    assert [(box.image_id, box.corners, box.source) for box in found.boxes] == [
        ("1.jpg", (10, 20, 30, 40), "me"),
        ("2.jpg", (1, 2, 33.5, 44), "me"),
    ]
    assert (found.format, found.relative, found.findings) == ("xyxy", False, ())


def test_shares_are_of_the_upright_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter, so 40 wide and 80 high
    Image.new("RGB", (80, 40)).save(tmp_path / "turned.jpg", exif=exif)
    listed = ListedImages(ImageSet(strings(["turned.jpg"]), (tmp_path / "turned.jpg",)))
    file = drawn(tmp_path, "turned,.5,.5,.5,.25", header="image,cx,cy,w,h")
    assert imported(listed, file).boxes[0].corners == (10, 30, 30, 50)


@pytest.mark.parametrize(
    ("rows", "box_format", "inside"),
    [
        ([f"{n},60,30,{90 + n},50" for n in range(10)], "gdsc", {"xywh": 0, "gdsc": 10}),
        ([f"{n},60,30,{20 + n},25" for n in range(10)], "xywh", {"xywh": 10, "gdsc": 0}),
    ],
)
def test_the_images_decide_between_sizes_and_second_corners(
    tmp_path: Path,
    photographs: ListedImages,
    rows: list[str],
    box_format: str,
    inside: dict[str, int],
) -> None:
    found = imported(photographs, drawn(tmp_path, *rows, header="new_path,x,y,w,h"))
    assert (found.format, found.fits, len(found.boxes)) == (box_format, inside, 10)


def test_an_ambiguous_format_is_not_guessed(tmp_path: Path, photographs: ListedImages) -> None:
    file = drawn(tmp_path, "1,10,10,40,30", "2,9,9,50,30", header="image,x,y,w,h")
    with pytest.raises(KitboxError) as caught:
        imported(photographs, file)
    assert str(caught.value) == (
        f"{file}: of 2 boxes 2 as xywh and 2 as gdsc lie inside their images; "
        "choose one with --form xywh or --form gdsc"
    )
    formats: tuple[BoxFormat, ...] = ("xywh", "gdsc")
    corners = [imported(photographs, file, box_format=each).boxes[0].corners for each in formats]
    assert corners == [(10, 10, 50, 40), (10, 10, 40, 30)]


def test_one_faulty_row_of_many_does_not_decide_the_format(
    tmp_path: Path, photographs: ListedImages
) -> None:
    rows = [f"{n % 10},10,10,{20 + n % 50},30" for n in range(99)] + ["1,60,30,90,50"]
    file = drawn(tmp_path, *rows, header="image,x,y,w,h")
    with pytest.raises(KitboxError, match="of 100 boxes 100 as gdsc and 99 as xywh lie inside"):
        imported(photographs, file)


def test_boxes_of_larger_images_are_refused_together(
    tmp_path: Path, photographs: ListedImages
) -> None:
    file = drawn(tmp_path, *(f"{n},30,{180 + n},300,350" for n in range(10)))
    with pytest.raises(KitboxError) as caught:
        imported(photographs, file)
    assert str(caught.value) == (
        f"{file}: read as two corners x0,y0,x1,y1, 0 of 10 boxes lie inside their images; "
        "give another --form, or boxes drawn on images of this size"
    )


FINE = [f"{number},10,10,60,40" for number in range(7)]


@pytest.mark.parametrize(
    ("row", "kind", "what"),
    [
        ("9,20,30,x,40", "refused", "box 20,30,x,40 is not four numbers; correct the row"),
        ("9,30,20,10,40", "refused", "box 30,20,10,40 is empty, read as xyxy; correct the row"),
        (
            "9,110,5,130,40",
            "refused",
            "box 110,5,130,40 lies outside image '9.jpg', which has 100x60 pixels; correct it",
        ),
        (
            "9,98,5,130,40",
            "refused",
            "box 98,5,130,40 has only 2x35 pixels in image '9.jpg', which has 100x60 pixels; "
            "correct or remove it",
        ),
        (
            "9,80,5,130,40",
            "cut",
            "box 80,5,130,40 reaches 30 pixels out of image '9.jpg', which has 100x60 pixels",
        ),
        (
            "9,0,0,100,60",
            "whole",
            "box 0,0,100,60 covers all of image '9.jpg', which has 100x60 pixels",
        ),
        ("1,10,10,60,40", "repeated", "box 10,10,60,40 is the same as in drawn.csv line 3"),
        ("77.jpg,1,1,9,9", "unmatched", "no image, or more than one, is '77.jpg'"),
    ],
)
def test_odd_boxes_are_reported_by_line(
    tmp_path: Path, photographs: ListedImages, row: str, kind: str, what: str
) -> None:
    found = imported(photographs, drawn(tmp_path, *FINE, row))
    assert [(finding.kind, str(finding)) for finding in found.findings] == [
        (kind, f"drawn.csv line 9: {what}")
    ]
    assert len(found.boxes) == 7 + (kind in ("cut", "whole"))


def test_a_box_over_the_edge_is_cut_there(tmp_path: Path, photographs: ListedImages) -> None:
    found = imported(photographs, drawn(tmp_path, *FINE, "9,-0.4,20,130,60.9"))
    assert found.boxes[-1].corners == (0, 20, 100, 60)


def test_an_invalid_box_stops_the_import_unless_broken_is_drop(
    tmp_path: Path, photographs: ListedImages
) -> None:
    file = drawn(tmp_path, *FINE, "9,1,2,3", "8,1,2,3")
    with pytest.raises(KitboxError) as caught:
        imported(photographs, file, broken="stop")
    assert str(caught.value) == (
        f"drawn.csv line 9: box 1,2,3, is not four numbers; correct the row; 1 more like it{GO_ON}"
    )


def test_a_box_of_an_unreadable_image_is_refused(tmp_path: Path, photographs: ListedImages) -> None:
    (tmp_path / "page.jpg").write_text("<html>")
    shutil.copy(photographs.labelled.paths[0], tmp_path / "good.jpg")
    names = ["page.jpg", "good.jpg"]
    listed = ListedImages(ImageSet(strings(names), tuple(tmp_path / name for name in names)))
    found = imported(listed, drawn(tmp_path, "page,1,2,30,40", "good,1,2,30,40"))
    [finding] = found.findings
    assert str(finding) == (
        f"drawn.csv line 2: image {tmp_path / 'page.jpg'} is not an image but a web page; "
        "replace or remove it"
    )
    assert [box.image_id for box in found.boxes] == ["good.jpg"]


def test_a_detected_box_keeps_its_confidence(tmp_path: Path, photographs: ListedImages) -> None:
    header = "image,x0,y0,x1,y1,score"
    rows = ("1,1,2,30,40,0.75", "1,1,2,30,50,", "2,1,2,30,40,87")
    found = imported(photographs, drawn(tmp_path, *rows, header=header))
    assert [(box.confidence, box.drawn) for box in found.boxes] == [(0.75, False), (None, True)]
    [finding] = found.findings
    assert "has confidence 87, which is not between 0 and 1" in finding.what


def test_a_list_of_other_images_is_refused(tmp_path: Path, photographs: ListedImages) -> None:
    file = drawn(tmp_path, "whale,1,2,3,4")
    with pytest.raises(KitboxError) as caught:
        imported(photographs, file)
    assert str(caught.value) == (
        f"{file} has no box for any image: it names 'whale', "
        "but image names look like '0.jpg'; correct its names"
    )


@pytest.mark.parametrize("header", ["image,x0,y0,x1,y1", "image,x,y,w,h"])
def test_the_only_box_is_named_if_it_is_not_four_numbers(
    tmp_path: Path, photographs: ListedImages, header: str
) -> None:
    file = drawn(tmp_path, "1,nan,0,10,10", header=header)
    with pytest.raises(KitboxError) as caught:
        imported(photographs, file, broken="stop")
    assert str(caught.value) == (
        f"drawn.csv line 2: box nan,0,10,10 is not four numbers; correct the row{GO_ON}"
    )


def test_a_folder_without_a_listed_image_is_named(
    tmp_path: Path, photographs: ListedImages
) -> None:
    nowhere = tmp_path / "nowhere"
    with pytest.raises(KitboxError) as caught:
        imported(photographs, drawn(tmp_path, *FINE), folder=nowhere)
    assert str(caught.value) == f"no listed image lies in {nowhere}; correct --images"


coordinates = st.integers(-20, 130)


@given(st.lists(st.tuples(coordinates, coordinates, coordinates, coordinates), max_size=5))
def test_every_row_is_imported_or_reported(
    tmp_path_factory: pytest.TempPathFactory,
    photographs: ListedImages,
    rows: list[tuple[int, int, int, int]],
) -> None:
    lines = [*FINE, *(f"8,{x0},{y0},{x1},{y1}" for x0, y0, x1, y1 in rows)]
    found = imported(photographs, drawn(tmp_path_factory.mktemp("b"), *lines))
    left_out = len(found.of_kind("refused")) + len(found.of_kind("repeated"))
    assert len(found.boxes) + left_out == len(lines)
    for x0, y0, x1, y1 in (box.corners for box in found.boxes):
        assert 0 <= x0 < x1 <= SIDE[0]
        assert 0 <= y0 < y1 <= SIDE[1]
        # the part of a box inside its image remains
        assert any(
            (x0, y0, x1, y1) == (max(a, 0), max(b, 0), min(c, SIDE[0]), min(d, SIDE[1]))
            for a, b, c, d in [*rows, (10, 10, 60, 40)]
        )


def test_a_frame_does_not_match_an_image_and_another_suffix_is_reported(
    tmp_path: Path, photographs: ListedImages
) -> None:
    rows = ("1,1,2,30,40", "1.0001,1,2,40,40", "1.png,3,4,50,50", "2.png,1,2,30,40")
    found = imported(photographs, drawn(tmp_path, *rows, "2.png,1,2,50,40"))
    assert [(finding.kind, str(finding)) for finding in found.findings] == [
        ("unmatched", "drawn.csv line 3: no image, or more than one, is '1.0001'"),
        ("unverified", "drawn.csv line 4: '1.png' is read as image '1.jpg', like '1'"),
        ("unverified", "drawn.csv line 5: '2.png' is read as image '2.jpg', whose file is 2.jpg"),
    ]
    assert len(found.boxes) == 4


def listed(labelled: dict[str, str], test: dict[str, str] | None = None) -> ListedImages:
    """Return images from id → path."""
    sets = [
        None if of is None else ImageSet(strings(list(of)), tuple(map(Path, of.values())))
        for of in (labelled, test)
    ]
    assert sets[0] is not None
    return ListedImages(sets[0], test=sets[1])


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
def test_an_image_is_matched_by_id_file_stem_or_path(name: str, image_id: str | None) -> None:
    assert ImageNames(WHALES).match([name]) == ({} if image_id is None else {name: image_id})


def test_only_images_in_a_folder_match_where_one_is_given() -> None:
    assert ImageNames(WHALES, Path("/d/test")).match(["two.jpg", "7", "one"]) == {
        "two.jpg": "two",
        "one": "one.png",
    }


def test_a_name_of_a_missing_image_does_not_match_another_one() -> None:
    matches = ImageNames(listed({"a": "/d/train/1.jpg"})).match(["train/1.jpg", "test/1.jpg"])
    assert matches == {"train/1.jpg": "a"}


def test_names_that_may_mean_another_image_are_suspicious() -> None:
    names = ImageNames(listed({"7": "/d/one.jpg", "8": "/d/two.jpg", "c.png": "/d/c.JPG"}))
    matches = names.match(["one.png", "/me/two.JPG", "two", "c.png", "c.tif"])
    assert names.suspicious(matches) == {
        "one.png": "'one.png' is read as image '7', whose file is one.jpg",
        "two": "'two' is read as image '8', like '/me/two.JPG'",
    }
