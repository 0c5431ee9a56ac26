"""Lists of boxes of other programs, and the formats of their numbers."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.boxes import box_formats, box_lists
from kitbox.errors import KitboxError


def read_list(folder: Path, text: str) -> box_formats.BoxList:
    (folder / "drawn.csv").write_text(text, encoding="utf-8")
    return box_lists.read(folder / "drawn.csv")


@pytest.mark.parametrize(
    ("header", "formats"),
    [
        ("image,x0,y0,x1,y1", ("xyxy",)),
        ("filename,width,height,class,xmin,ymin,xmax,ymax", ("xyxy",)),
        ("Image,Left,Top,Right,Bottom", ("xyxy",)),
        ("image,cx,cy,w,h", ("yolo",)),
        ("image,x_center,y_center,width,height", ("yolo",)),
        ("new_path,x,y,w,h", ("xywh", "gdsc", "yolo")),
        ("file,left,top,width,height", ("xywh", "gdsc", "yolo")),
    ],
)
def test_a_header_limits_the_possible_formats(
    tmp_path: Path, header: str, formats: tuple[str, ...]
) -> None:
    columns = header.count(",")
    numbers = ",".join(str(number) for number in range(columns))
    found = read_list(tmp_path, f"{header}\na.jpg,{numbers}\n")
    assert found.formats == formats
    [row] = found.rows
    assert (row.name, row.where) == ("a.jpg", "drawn.csv line 2")
    assert row.numbers == tuple(range(columns - 4, columns))


@pytest.mark.parametrize(
    "text",
    [
        "a.jpg,10 20 30 25 12 40\nb.jpg,1 2 3 4\n",
        "a.jpg,10,20,30,25,12,40\nb.jpg,1,2,3,4\n",
        "a.jpg 10 20 30 25 12 40\nb.jpg 1 2 3 4\n",
        "a.jpg;10;20;30;25;12;40\nb.jpg;1;2;3;4\n",
        "Image;points\na.jpg;10 20 30 25 12 40\nb.jpg;1 2 3 4\n",
        "Image,points\na.jpg,10 20 30 25 12 40\nb.jpg,1 2 3 4\n",
        'Image,outline\na.jpg,"[(10, 20), (30, 25), (12, 40)]"\nb.jpg,"(1, 2), (3, 4)"\n',
        "\ufeffa.jpg,10 20 30 25 12 40\r\n\r\nb.jpg,1 2 3 4\r\n",
    ],
)
def test_outlines_are_read_with_any_separators(tmp_path: Path, text: str) -> None:
    found = read_list(tmp_path, text)
    assert found.formats == ("points",)
    assert [(row.name, row.numbers) for row in found.rows] == [
        ("a.jpg", (10, 20, 30, 25, 12, 40)),
        ("b.jpg", (1, 2, 3, 4)),
    ]
    assert box_formats.to_corners(found.rows[0].numbers, "points", (1, 1)) == (10, 20, 30, 40)


@pytest.mark.parametrize("text", ["a.jpg,1,2,3,4\n", "image,bbox\na.jpg,[1. 2. 3. 4.]\n"])
def test_four_numbers_without_names_allow_all_formats(tmp_path: Path, text: str) -> None:
    found = read_list(tmp_path, text)
    assert found.formats == ("xyxy", "xywh", "yolo")
    assert found.rows[0].numbers == (1, 2, 3, 4)


def test_a_folder_of_labels_has_a_file_for_each_image(tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    (folder / "deep").mkdir(parents=True)
    (folder / "classes.txt").write_text("fluke\n")
    (folder / "a.b.txt").write_text("0 0.5 0.5 0.2 0.1\n0 0.1 0.2 0.3 0.4 0.75\n")
    (folder / "deep" / "c.txt").write_text("\n0 0.5 0.5 0.2\n")
    found = box_lists.read(folder)
    assert (found.formats, found.relative) == (("yolo",), True)
    assert [(row.where, row.name, row.numbers, row.confidence) for row in found.rows] == [
        ("labels/a.b.txt line 1", "a.b", (0.5, 0.5, 0.2, 0.1), None),
        ("labels/a.b.txt line 2", "a.b", (0.1, 0.2, 0.3, 0.4), 0.75),
        ("labels/deep/c.txt line 2", "deep/c", (), None),
    ]


def test_numbers_are_shares_if_most_are_small(tmp_path: Path) -> None:
    header = "image,cx,cy,w,h\n"
    assert read_list(tmp_path, header + "a,.5,.5,1.02,.2\nb,.5,.5,.1,.1\nc,500,1,2,3\n").relative
    assert not read_list(tmp_path, header + "a,50,50,10,20\nb,60,60,10,10\nc,.5,.5,1,1\n").relative


def test_text_that_is_no_number_is_kept_for_the_message(tmp_path: Path) -> None:
    found = read_list(tmp_path, "image,x0,y0,x1,y1,conf\na,1,2,x,4,0.5\nb,1,2,3,,\nc,1,2,3,4,0.9\n")
    assert [row.text for row in found.rows] == ["1,2,x,4", "1,2,3,", "1,2,3,4"]
    assert [len(row.numbers) for row in found.rows] == [0, 3, 4]
    assert [row.confidence for row in found.rows] == [0.5, None, 0.9]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "{path} is empty; get the whole file"),
        ("\n\n", "{path} is empty; get the whole file"),
        ("image,x,y,w,h\n", "{path} has a header and no box; get the whole file"),
        (
            "image,a,b\nx,1,2\n",
            "{path} line 1: no column of four numbers, as x0,y0,x1,y1 or x,y,w,h "
            "among image, a, b; name them so",
        ),
        (
            "who,x,y,w,h\nx,1,2,3,4\n",
            "{path} line 1: no column of images among who, x, y, w, h; name them so",
        ),
    ],
)
def test_a_list_without_boxes_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(KitboxError) as caught:
        read_list(tmp_path, text)
    assert str(caught.value) == message.format(path=tmp_path / "drawn.csv")


def test_a_missing_list_and_a_folder_without_labels_are_named(tmp_path: Path) -> None:
    with pytest.raises(KitboxError) as caught:
        box_lists.read(tmp_path / "drawn.csv")
    assert str(caught.value) == f"there is no list of boxes {tmp_path / 'drawn.csv'}"
    with pytest.raises(
        KitboxError, match=r"has no labels; a file NAME.txt has lines of 'class cx cy w h'"
    ):
        box_lists.read(tmp_path)


@given(*(st.integers(0, 100) for _ in range(4)))
def test_all_formats_of_a_box_give_the_same_corners(x: int, y: int, wide: int, high: int) -> None:
    expected = (x, y, x + wide, y + high)
    for box_format, numbers in {
        "xyxy": expected,
        "gdsc": expected,
        "xywh": (x, y, wide, high),
        "yolo": (x + wide / 2, y + high / 2, wide, high),
        "points": (x + wide, y, x, y + high),
    }.items():
        assert box_formats.to_corners(numbers, box_format, (1, 1)) == expected
        shares = tuple(n / side for n, side in zip(numbers, (200, 400) * 2, strict=True))
        assert box_formats.to_corners(shares, box_format, (200, 400)) == pytest.approx(expected)
