"""Boxes of other programs: their formats, and findings on them."""

import json
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
from kitbox.boxes.orientation import TurnedBoxes
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


def test_width_and_height_are_meant_unless_the_images_speak_against_it(
    tmp_path: Path, photographs: ListedImages
) -> None:
    header = "image,x,y,width,height"
    found = imported(photographs, drawn(tmp_path, "1,10,10,40,30", header=header))
    assert (found.format, found.boxes[0].corners) == ("xywh", (10, 10, 50, 40))
    rows = [f"{n},60,30,{90 + n},50" for n in range(10)]
    assert imported(photographs, drawn(tmp_path, *rows, header=header)).format == "gdsc"
    shares = drawn(tmp_path, "1,.4,.4,.5,.5", "2,.4,.4,.6,.5", header=header)
    with pytest.raises(KitboxError, match="of 2 boxes 2 as xywh and 2 as gdsc lie inside"):
        imported(photographs, shares)


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


def turned_photographs(folder: Path, orientations: list[int]) -> ListedImages:
    """Return photographs of 80x60 raw pixels, named by the EXIF orientation that turns them."""
    files = []
    for turned in orientations:
        exif = Image.Exif()
        exif[0x0112] = turned
        files.append(folder / f"{turned}.jpg")
        Image.new("RGB", (80, 60)).save(files[-1], exif=exif)
    return ListedImages(ImageSet(strings([f.name for f in files]), tuple(files)))


def corners_of(found: BoxImport) -> dict[str, tuple[float, ...]]:
    return {box.image_id.removesuffix(".jpg"): box.corners for box in found.boxes}


# Where the raw box 10,5,50,45 of 80x60 pixels lies in the upright photograph.
UPRIGHT = {
    "1": (10, 5, 50, 45),
    "2": (30, 5, 70, 45),
    "3": (30, 15, 70, 55),
    "4": (10, 15, 50, 55),
    "5": (5, 10, 45, 50),
    "6": (15, 10, 55, 50),
    "7": (15, 30, 55, 70),
    "8": (5, 30, 45, 70),
}
ALL = list(range(1, 9))
SIZED = "image,width,height,xmin,ymin,xmax,ymax"


def test_raw_boxes_are_turned_by_all_orientations(tmp_path: Path) -> None:
    photographs = turned_photographs(tmp_path, ALL)
    file = drawn(tmp_path, *(f"{n},10,5,50,45" for n in ALL))
    found = imported(photographs, file, frame="raw")
    assert corners_of(found) == UPRIGHT
    assert found.turned == TurnedBoxes(raw=7)
    upright = imported(photographs, file, frame="upright")
    assert set(corners_of(upright).values()) == {(10, 5, 50, 45)}
    assert upright.turned == TurnedBoxes(upright=7)


def test_the_lists_own_size_decides_and_the_others_follow(tmp_path: Path) -> None:
    photographs = turned_photographs(tmp_path, ALL)
    file = drawn(tmp_path, *(f"{n},80,60,10,5,50,45" for n in ALL), header=SIZED)
    found = imported(photographs, file)
    assert corners_of(found) == UPRIGHT
    assert found.turned == TurnedBoxes(raw=7, followed=3)  # 2, 3 and 4 keep the size
    rows = [f"{n},{'60,80' if n > 4 else '80,60'},10,5,50,45" for n in ALL]
    found = imported(photographs, drawn(tmp_path, *rows, header=SIZED))
    assert set(corners_of(found).values()) == {(10, 5, 50, 45)}
    assert found.turned == TurnedBoxes(upright=7, followed=3)


def test_each_box_is_turned_by_its_own_size_where_a_list_mixes_both(tmp_path: Path) -> None:
    photographs = turned_photographs(tmp_path, [6, 8, 3])
    rows = ("6,80,60,10,5,50,45", "8,60,80,10,5,50,45", "3,80,60,10,5,50,45")
    found = imported(photographs, drawn(tmp_path, *rows, header=SIZED))
    assert corners_of(found) == {"6": UPRIGHT["6"], "8": (10, 5, 50, 45), "3": (10, 5, 50, 45)}
    assert found.turned == TurnedBoxes(raw=1, upright=1, unclear=1)
    assert "unclear boxes fit both ways" in found.notes("best")[1]


def test_without_a_size_a_box_that_fits_only_one_way_decides(tmp_path: Path) -> None:
    photographs = turned_photographs(tmp_path, [6, 8, 3])
    file = drawn(tmp_path, "6,10,5,78,45", "8,10,5,50,45", "3,10,5,50,45")
    found = imported(photographs, file)
    assert corners_of(found) == {"6": (15, 10, 55, 78), "8": UPRIGHT["8"], "3": UPRIGHT["3"]}
    assert found.turned == TurnedBoxes(raw=3, followed=2)
    found = imported(photographs, drawn(tmp_path, "6,10,5,50,78", "8,10,5,50,45"))
    assert corners_of(found) == {"6": (10, 5, 50, 78), "8": (10, 5, 50, 45)}
    assert found.turned == TurnedBoxes(upright=2, followed=1)


def test_boxes_that_fit_both_ways_are_counted_with_the_option(tmp_path: Path) -> None:
    photographs = turned_photographs(tmp_path, [1, 6, 8])
    found = imported(photographs, drawn(tmp_path, *(f"{n},10,5,50,45" for n in (1, 6, 8))))
    assert set(corners_of(found).values()) == {(10, 5, 50, 45)}
    assert found.turned == TurnedBoxes(unclear=2)
    assert found.notes("best") == [
        "boxes on photographs that EXIF turns: 0 drawn on the raw pixels, 0 on the upright "
        "photograph, 2 unclear",
        "unclear boxes fit both ways and are read as drawn on the upright photograph: look "
        "at them with --sheet, and give --raw if the program shows raw pixels, as labelImg and "
        "VoTT do, or --upright if it does not",
    ]
    assert (
        imported(turned_photographs(tmp_path, [1]), drawn(tmp_path, "1,9,9,20,20")).notes("best")
        == []
    )


def test_a_box_that_is_the_same_both_ways_is_not_counted(tmp_path: Path) -> None:
    photographs = turned_photographs(tmp_path, [3, 6])
    file = drawn(tmp_path, "3,0.25,0.25,0.75,0.75", "6,0,0,1,1")
    found = imported(photographs, file)
    assert corners_of(found) == {"3": (20, 15, 60, 45), "6": (0, 0, 60, 80)}
    assert found.turned == TurnedBoxes()


def test_a_list_of_raw_boxes_is_not_refused_as_one_of_other_images(tmp_path: Path) -> None:
    photographs = turned_photographs(tmp_path, [6, 8])
    file = drawn(tmp_path, "6,40,5,39,45", "8,45,5,34,45", header="image,x,y,w,h")
    found = imported(photographs, file)
    assert (found.format, found.turned) == ("xywh", TurnedBoxes(raw=2))
    assert corners_of(found) == {"6": (10, 40, 55, 79), "8": (5, 1, 50, 35)}


def test_raw_shares_are_of_the_raw_size(tmp_path: Path) -> None:
    photographs = turned_photographs(tmp_path, [6])
    file = drawn(tmp_path, "6,.125,.25,.5,.5", header="image,cx,cy,w,h")
    file.write_text("image,x0,y0,x1,y1\n6,0.125,0.25,0.5,0.5\n")
    assert corners_of(imported(photographs, file, frame="raw")) == {"6": (30, 10, 45, 40)}
    assert imported(photographs, file).turned == TurnedBoxes(unclear=1)


def test_boxes_drawn_on_a_copy_of_another_size_are_scaled_and_told(tmp_path: Path) -> None:
    photographs = turned_photographs(tmp_path, [1, 6])
    rows = ("1,160,120,20,10,100,90", "6,40,30,5,2.5,25,22.5")
    found = imported(photographs, drawn(tmp_path, *rows, header=SIZED))
    assert corners_of(found) == {"1": (10, 5, 50, 45), "6": UPRIGHT["6"]}
    assert [str(finding) for finding in found.of_kind("scaled")] == [
        "drawn.csv line 2: box 20,10,100,90: image '1.jpg' has 80x60 pixels, the list has 160x120, "
        "a copy of another size",
        "drawn.csv line 3: box 5,2.5,25,22.5: image '6.jpg' has 60x80 pixels, the list has 40x30, "
        "a copy of another size",
    ]


def test_a_size_of_another_shape_may_be_another_image(tmp_path: Path) -> None:
    photographs = turned_photographs(tmp_path, [1])
    found = imported(photographs, drawn(tmp_path, "1,500,500,10,5,50,45", header=SIZED))
    assert corners_of(found) == {"1": (10, 5, 50, 45)}
    [finding] = found.findings
    assert (finding.kind, finding.what) == (
        "unverified",
        "image '1.jpg' has 80x60 pixels, but the list has 500x500",
    )


def megadetector(folder: Path, images: dict[str, list[tuple[str, float]] | None]) -> Path:
    """Write detections as (category, confidence); None is a failure."""
    document = {
        "detection_categories": {"1": "animal", "2": "person", "3": "vehicle"},
        "images": [
            {"file": name, "failure": "Failure image access", "detections": None}
            if found is None
            else {
                "file": name,
                "detections": [
                    {"category": category, "conf": conf, "bbox": [0.1, 0.1, 0.5, 0.5 + conf / 10]}
                    for category, conf in found
                ],
            }
            for name, found in images.items()
        ],
    }
    (folder / "md.json").write_text(json.dumps(document))
    return folder / "md.json"


def test_animals_of_megadetector_are_taken_from_a_confidence_on(
    tmp_path: Path, photographs: ListedImages
) -> None:
    file = megadetector(
        tmp_path,
        {
            "0.jpg": [("2", 0.99), ("1", 0.9), ("1", 0.3), ("1", 0.01)],
            "1.jpg": [("1", 0.25)],
            "2.jpg": [("2", 0.8)],
            "3.jpg": [("1", 0.1)],
            "4.jpg": [],
            "5.jpg": None,
            "elsewhere.jpg": [("1", 0.9), ("3", 0.9)],
        },
    )
    found = imported(photographs, file)
    assert [(box.image_id, box.confidence) for box in found.boxes] == [
        ("0.jpg", 0.9),
        ("0.jpg", 0.3),
        ("1.jpg", 0.25),
    ]
    assert found.boxes[0].corners == (10, 6, 60, 41.4)
    assert found.notes("best") == [
        "categories: animal 5; left out: person 2; --category takes others",
        "left out: 2 boxes with a confidence below 0.2; --threshold sets another",
        'images with several boxes: 1; all are written, and several_boxes = "best" in kitbox.toml '
        "chooses",
    ]
    assert found.notes("best", catalogue=True)[-1] == (
        "images with several boxes: 1; all are written, and each is an animal of its own to "
        "'kitbox identify'; of a photograph that the catalogue has whole, several_boxes = \"best\" "
        "in kitbox.toml chooses"
    )
    less = "its boxes are of another category or of less confidence"
    assert [(f.kind, f.where, f.what) for f in found.findings] == [
        ("without", "md.json image 3", f"image '2.jpg' has no box: {less}"),
        ("without", "md.json image 4", f"image '3.jpg' has no box: {less}"),
        ("without", "md.json image 5", "image '4.jpg' has no box: MegaDetector found nothing"),
        (
            "without",
            "md.json image 6",
            "image '5.jpg' has no box: MegaDetector failed: Failure image access",
        ),
        ("unmatched", "md.json image 7", "no image, or more than one, is 'elsewhere.jpg'"),
    ]
    people = imported(photographs, file, categories=["Person"], threshold=0.9)
    assert [(box.image_id, box.confidence) for box in people.boxes] == [("0.jpg", 0.99)]
    assert len(imported(photographs, file, threshold=0).boxes) == 5
    with pytest.raises(KitboxError) as caught:
        imported(photographs, file, categories=["animals"])
    assert str(caught.value) == (
        f"{file}: no box is of category 'animals'; did you mean animal?; its categories are "
        "animal 5, person 2"
    )
    with pytest.raises(KitboxError) as caught:
        imported(photographs, file, threshold=0.95)
    assert str(caught.value) == (
        f"{file}: all 5 boxes have a confidence below 0.95; lower --threshold"
    )


def test_megadetector_turns_photographs_itself(tmp_path: Path) -> None:
    photographs = turned_photographs(tmp_path, [6, 8])
    found = imported(photographs, megadetector(tmp_path, {"6": [("1", 0.9)], "8": [("1", 0.9)]}))
    assert corners_of(found)["6"] == (6, 8, 36, 55.2)
    assert found.turned == TurnedBoxes(upright=2)


def test_the_size_in_coco_decides_and_its_categories_can_be_chosen(tmp_path: Path) -> None:
    photographs = turned_photographs(tmp_path, [6, 1])
    document = {
        "images": [
            {"id": 1, "file_name": "6.jpg", "width": 80, "height": 60},
            {"id": 2, "file_name": "1.jpg", "width": 80, "height": 60},
        ],
        "annotations": [
            {"id": n, "image_id": image, "category_id": category, "bbox": [10, 5, 40, 40 - n]}
            for n, (image, category) in enumerate([(1, 1), (1, 2), (2, 2)])
        ],
        "categories": [{"id": 1, "name": "seal"}, {"id": 2, "name": "buoy"}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(document))
    found = imported(photographs, tmp_path / "coco.json")
    assert len(found.boxes) == 3
    assert found.boxes[0].corners == UPRIGHT["6"]
    assert found.notes("largest") == [
        "categories: buoy 2, seal 1; --category takes some of them",
        "boxes on photographs that EXIF turns: 2 drawn on the raw pixels, 0 on the upright "
        "photograph, 0 unclear",
        'images with several boxes: 1; all are written, and several_boxes = "largest" in '
        "kitbox.toml chooses",
    ]
    seals = imported(photographs, tmp_path / "coco.json", categories=["seal"])
    assert corners_of(seals) == {"6": UPRIGHT["6"]}
    assert [finding.kind for finding in seals.findings] == ["without"]


def test_rows_without_a_box_do_not_stop_an_import(
    tmp_path: Path, photographs: ListedImages
) -> None:
    found = imported(photographs, drawn(tmp_path, *FINE, "8,,,,", "9,nan,nan,nan,nan"))
    assert [str(finding) for finding in found.of_kind("without")] == [
        "drawn.csv line 9: image '8.jpg' has no box: its cells are empty",
        "drawn.csv line 10: image '9.jpg' has no box: its cells are empty",
    ]
    with pytest.raises(
        KitboxError, match=r"has no box for any image here: drawn\.csv line 2: its c"
    ):
        imported(photographs, drawn(tmp_path, "8,,,,"))
