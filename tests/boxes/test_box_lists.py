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


@pytest.mark.parametrize(
    "text",
    [
        "a/1.jpg,10,5,50,40,seal\na/2.jpg,,,,,\n",  # Keras-RetinaNet
        "a/2.jpg,,,,,\na/1.jpg,10,5,50,40,seal\n",
        "image,xmin,ymin,xmax,ymax,label\na/1.jpg,10,5,50,40,seal\na/2.jpg,,nan,NaN,,\n",  # VoTT
        '"image","bbox","class"\na/1.jpg,"[10.0, 5.0, 50.0, 40.0]",seal\na/2.jpg,"[nan, nan]",\n',
    ],
)
def test_a_class_and_rows_without_a_box_are_read(tmp_path: Path, text: str) -> None:
    rows = sorted(read_list(tmp_path, text).rows, key=lambda row: row.name)
    assert [(r.name, r.numbers, r.category, r.absent) for r in rows] == [
        ("a/1.jpg", (10, 5, 50, 40), "seal", ""),
        ("a/2.jpg", (), "", "its cells are empty"),
    ]


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ("image,width,height,class,xmin,ymin,xmax,ymax", (80, 60)),
        ("image,image_width,image_height,class,bbox_x,bbox_y,bbox_w,bbox_h", (80, 60)),
        ("image,width,height,class,left,top,right,bottom", (80, 60)),
        ("image,a,b,class,x,y,width,height", None),  # the width of the box
    ],
)
def test_columns_of_the_images_size_are_not_those_of_the_box(
    tmp_path: Path, header: str, size: tuple[int, int] | None
) -> None:
    [row] = read_list(tmp_path, f"{header}\na.jpg,80,60.0,seal,1,2,3,4\n").rows
    assert (row.numbers, row.category, row.size) == ((1, 2, 3, 4), "seal", size)


@pytest.mark.parametrize("size", ["0,60", "-1,-1", ",", "x,60", "nan,60", "inf,60"])
def test_a_size_that_is_none_is_left_out(tmp_path: Path, size: str) -> None:
    text = f"image,width,height,xmin,ymin,xmax,ymax\na.jpg,{size},1,2,3,4\n"
    assert read_list(tmp_path, text).rows[0].size is None


def test_a_csv_of_the_vgg_annotator_has_shapes(tmp_path: Path) -> None:
    header = "filename,file_size,region_count,region_id,region_shape_attributes,region_attributes"
    rows = [
        'a.jpg,12,1,0,"{""name"":""rect"",""x"":10,""y"":5,""width"":40,""height"":30}","{}"',
        'b.jpg,12,0,0,"{}","{}"',
        'c.jpg,12,1,0,"{""name"":""point"",""cx"":10}","{}"',
        'd.jpg,12,1,0,"{""name"":","{}"',
    ]
    found = read_list(tmp_path, "\n".join([header, *rows]))
    assert found.formats == ("xyxy",)
    assert [(row.name, row.numbers, row.absent) for row in found.rows] == [
        ("a.jpg", (10, 5, 50, 35), ""),
        ("b.jpg", (), "its cells are empty"),
        ("c.jpg", (), ""),
        ("d.jpg", (), ""),
    ]


VOC = """<annotation><filename>old.jpg</filename>
<size><width>80</width><height>60</height><depth>3</depth></size>
<object><name>seal</name><bndbox><xmin>10</xmin><ymin>5</ymin><xmax>50.5</xmax><ymax>40</ymax>
</bndbox></object></annotation>"""


@pytest.mark.parametrize("folder_is_given", [True, False])
def test_labels_of_pascal_voc_have_an_xml_for_each_image(
    tmp_path: Path, folder_is_given: bool
) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    (folder / "a.xml").write_text(VOC)
    if folder_is_given:
        (folder / "b.xml").write_text("<annotation><filename>b.jpg</filename></annotation>")
    found = box_lists.read(folder if folder_is_given else folder / "a.xml")
    assert found.formats == ("xyxy",)
    row, *others = found.rows
    assert (row.where, row.name, row.numbers) == ("labels/a.xml object 1", "a", (10, 5, 50.5, 40))
    assert (row.category, row.size) == ("seal", (80, 60))
    assert [(other.name, other.absent) for other in others] == (
        [("b", "it has no object")] if folder_is_given else []
    )


def test_broken_xml_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<annotation>")
    with pytest.raises(KitboxError, match=r"/a\.xml: is no XML \(no element found"):
        box_lists.read(tmp_path)


def test_classes_and_empty_files_of_yolo_labels_are_read(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("buoy\nseal\n")
    (tmp_path / "a.txt").write_text("1 0.5 0.5 0.2 0.1\n7 0.5 0.5 0.2 0.1\n")
    (tmp_path / "b.txt").write_text("\n")
    assert [(row.name, row.category, row.absent) for row in box_lists.read(tmp_path).rows] == [
        ("a", "seal", ""),
        ("a", "7", ""),
        ("b", "", "its file of labels is empty"),
    ]


def test_a_file_with_other_columns_does_not_fill_the_message(tmp_path: Path) -> None:
    header = ",".join([f"column{n}" for n in range(5000)] + ["x" * 5000])
    with pytest.raises(KitboxError) as caught:
        read_list(tmp_path, f"{header}\n1,2\n")
    assert "no column of images among column0, column1, " in str(caught.value)
    assert len(str(caught.value)) < 1000


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
