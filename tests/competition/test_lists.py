from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kitbox.competition import lists
from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError
from tests.circle import competition

GO_ON = '; mend it, or set broken = "drop" in kitbox.toml to go on without'


def photographs(folder: Path, *names: str) -> None:
    """Make files of these names; only their names are read here."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    photographs(tmp_path / "train", "a.jpg", "b.jpg", "c.jpg")
    photographs(tmp_path / "test", "x.jpg", "y.jpg")
    return tmp_path


def asked(data: Path, train: str | bytes | None = None, **images: Any) -> Competition:
    if train is not None:
        raw = train if isinstance(train, bytes) else train.encode()
        (data / "train.csv").write_bytes(raw)
        images = {"train_list": "train.csv", **images}
    return competition(root=data, images={"test_folder": None, **images})


def pairs(listed: lists.Listed) -> list[tuple[str, str]]:
    assert listed.labelled.labels is not None
    return list(
        zip(listed.labelled.image_ids.tolist(), listed.labelled.labels.tolist(), strict=True)
    )


def test_a_list_is_read_in_its_order(data: Path) -> None:
    listed = lists.read(asked(data, "Image,Id\nb.jpg,Boo\na.jpg,Ahab\n"))
    assert pairs(listed) == [("b.jpg", "Boo"), ("a.jpg", "Ahab")]
    assert listed.labelled.paths == (data / "train/b.jpg", data / "train/a.jpg")
    assert (listed.test, listed.faults, listed.labelled.boxes) == (None, (), None)


@pytest.mark.parametrize(
    "train",
    [
        b"\xef\xbb\xbfImage,Id\r\na.jpg,Ahab\r\nb.jpg,Boo\r\n",
        b"Image,Id\na.jpg,Ahab\nb.jpg,Boo",
        b"Image,Id\n\na.jpg,Ahab\n\n\nb.jpg,Boo\n\n",
        b'"Image","Id"\n"a.jpg","Ahab"\n"b.jpg","Boo"\n',
        b"seen,Id,Image\n2018,Ahab,a.jpg\n2019,Boo,b.jpg\n",
    ],
    ids=["byte-order mark and CRLF", "no last line feed", "blank lines", "quotes", "more columns"],
)
def test_how_a_list_was_saved_does_not_matter(data: Path, train: bytes) -> None:
    assert pairs(lists.read(asked(data, train))) == [("a.jpg", "Ahab"), ("b.jpg", "Boo")]


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (
            "Image,Whale\na.jpg,Ahab\n",
            "{data}/train.csv line 1: no column 'Id' among Image, Whale; "
            "correct the header, or the column's name in kitbox.toml",
        ),
        (
            "",
            "{data}/train.csv line 1: no column 'Image' among nothing; "
            "correct the header, or the column's name in kitbox.toml",
        ),
        (
            b"Image,Id\na.jpg,T\xe4ht\n",
            "{data}/train.csv is not UTF-8 at byte 16; save it as UTF-8",
        ),
        (
            b"Image,Id\n" + b"a.jpg,Ahab\n" * 2000 + b"b.jpg,T\xe4ht\n",
            "{data}/train.csv is not UTF-8 at byte 22016; save it as UTF-8",
        ),
        ('Image,Id\na.jpg,"Ahab\n', "{data}/train.csv line 2: unexpected end of data"),
        (
            "Image,Id\nd.jpg,Ahab\n",
            "{data}/train.csv names no usable image: train.csv line 2: "
            "image 'd.jpg' is not in train; correct the row or remove it",
        ),
        ("Image,Id\n", "{data}/train.csv names no usable image"),
    ],
    ids=[
        "missing column",
        "empty file",
        "undecodable byte",
        "undecodable byte far down",
        "open quote",
        "no image there",
        "no row",
    ],
)
@pytest.mark.parametrize("broken", ["stop", "drop"])
def test_a_list_that_cannot_be_used_stops_the_run(
    data: Path, train: str | bytes, message: str, broken: str
) -> None:
    with pytest.raises(KitboxError) as caught:
        lists.read(asked(data, train, broken=broken))
    assert str(caught.value) == message.format(data=data)


@pytest.mark.parametrize("broken", ["stop", "drop"])
def test_a_missing_list_stops_the_run(data: Path, broken: str) -> None:
    with pytest.raises(KitboxError) as caught:
        lists.read(asked(data, train_list="trian.csv", broken=broken))
    assert str(caught.value) == (
        f"there is no list {data}/trian.csv; correct its name in kitbox.toml"
    )


FAULTY = {
    "missing file": (
        "d.jpg,Dora\n",
        "train.csv line 3: image 'd.jpg' is not in train; correct the row or remove it",
        [("a.jpg", "Ahab")],
    ),
    "path that leaves the folder": (
        "../test/x.jpg,Xena\n",
        "train.csv line 3: image '../test/x.jpg' leaves the folder train; correct the name",
        [("a.jpg", "Ahab")],
    ),
    "absolute path": (
        "/etc/hostname,Xena\n",
        "train.csv line 3: image '/etc/hostname' leaves the folder train; correct the name",
        [("a.jpg", "Ahab")],
    ),
    "folder in the place of a file": (
        ".,Xena\n",
        "train.csv line 3: image '.' is not in train; correct the row or remove it",
        [("a.jpg", "Ahab")],
    ),
    "empty label": (
        "b.jpg,\n",
        "train.csv line 3: image 'b.jpg' has an empty label; fill it in or remove the row",
        [("a.jpg", "Ahab")],
    ),
    "short row": (
        "b.jpg\n",
        "train.csv line 3: image 'b.jpg' has an empty label; fill it in or remove the row",
        [("a.jpg", "Ahab")],
    ),
    "repeated row": (
        "a.jpg,Ahab\n",
        "train.csv line 3: image 'a.jpg' is on line 2 already; remove one row",
        [("a.jpg", "Ahab")],
    ),
    "conflicting labels": (
        "a.jpg,Boo\nc.jpg,Cleo\n",
        "train.csv line 3: image 'a.jpg' is on line 2 already as 'Ahab', here as 'Boo'; "
        "remove one row",
        [("c.jpg", "Cleo")],
    ),
    "trailing blank": (
        "b.jpg,Boo \n",
        "train.csv line 3: label 'Boo ' has a blank at its end; read as 'Boo'",
        [("a.jpg", "Ahab"), ("b.jpg", "Boo")],
    ),
}


@pytest.mark.parametrize(("row", "fault", "kept"), FAULTY.values(), ids=FAULTY)
def test_a_faulty_row_stops_the_run(data: Path, row: str, fault: str, kept: Any) -> None:
    with pytest.raises(KitboxError) as caught:
        lists.read(asked(data, "Image,Id\na.jpg,Ahab\n" + row))
    assert str(caught.value) == fault + GO_ON


@pytest.mark.parametrize(("row", "fault", "kept"), FAULTY.values(), ids=FAULTY)
def test_a_faulty_row_is_left_out_and_told_where_that_is_wished(
    data: Path, row: str, fault: str, kept: list[tuple[str, str]]
) -> None:
    listed = lists.read(asked(data, "Image,Id\na.jpg,Ahab\n" + row, broken="drop"))
    assert pairs(listed) == kept
    assert [str(found) for found in listed.faults] == [fault]


def test_the_first_faulty_row_is_shown_and_the_others_are_counted(data: Path) -> None:
    with pytest.raises(KitboxError) as caught:
        lists.read(asked(data, "Image,Id\na.jpg,Ahab\nd.jpg,D\nb.jpg,\nc.jpg,Cleo\n"))
    assert str(caught.value) == (
        "train.csv line 3: image 'd.jpg' is not in train; correct the row or remove it; "
        "1 more like it" + GO_ON
    )


def test_a_third_row_of_a_conflicting_image_does_not_bring_it_back(data: Path) -> None:
    rows = "a.jpg,Ahab\na.jpg,Boo\na.jpg,Ahab\nb.jpg,Boo\n"
    listed = lists.read(asked(data, "Image,Id\n" + rows, broken="drop"))
    assert pairs(listed) == [("b.jpg", "Boo")]


def test_without_a_list_folders_are_labels(tmp_path: Path) -> None:
    photographs(
        tmp_path / "train",
        "Boo/2.JPG",
        "Boo/1.png",
        "Ahab/1.jpeg",
        "Ahab/notes.txt",
        "Ahab/._1.jpeg",
        ".cache/1.jpg",
        "map.jpg",
    )
    listed = lists.read(asked(tmp_path))
    assert pairs(listed) == [("Ahab/1.jpeg", "Ahab"), ("Boo/1.png", "Boo"), ("Boo/2.JPG", "Boo")]


def test_test_images_inside_the_folder_of_folders_are_no_individual(tmp_path: Path) -> None:
    photographs(tmp_path, "Ahab/1.jpg", "test/x.jpg")
    listed = lists.read(asked(tmp_path, train_folder=".", test_folder="test"))
    assert pairs(listed) == [("Ahab/1.jpg", "Ahab")]
    assert listed.test is not None
    assert listed.test.image_ids.tolist() == ["x.jpg"]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            {"train_folder": "trian"},
            "there is no folder {data}/trian; correct images.train_folder",
        ),
        (
            {"train_folder": "test"},
            "{data}/test names no usable image",
        ),
    ],
)
def test_a_folder_without_individuals_is_named(
    data: Path, images: dict[str, str], message: str
) -> None:
    with pytest.raises(KitboxError) as caught:
        lists.read(asked(data, **images))
    assert str(caught.value) == message.format(data=data)


ONE = "Image,Id\na.jpg,Ahab\n"


def test_without_a_list_every_test_image_is_a_query_in_the_order_of_names(data: Path) -> None:
    photographs(data / "test", "w.png", "readme.md", ".hidden.jpg")
    test = lists.read(asked(data, ONE, test_folder="test")).test
    assert test is not None
    assert test.image_ids.tolist() == ["w.png", "x.jpg", "y.jpg"]
    assert test.labels is None


def test_a_list_of_queries_keeps_its_order(data: Path) -> None:
    (data / "sample.csv").write_text("Image,Id\ny.jpg,A B C D E\nx.jpg,A B C D E\n")
    test = lists.read(asked(data, ONE, test_folder="test", test_list="sample.csv")).test
    assert test is not None
    assert test.image_ids.tolist() == ["y.jpg", "x.jpg"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            "z.jpg\n",
            "sample.csv line 3: image 'z.jpg' is not in test; correct the row or remove it",
        ),
        ("x.jpg\n", "sample.csv line 3: image 'x.jpg' is listed twice; remove one row"),
        (
            "../train/a.jpg\n",
            "sample.csv line 3: image '../train/a.jpg' leaves the folder test; correct the name",
        ),
    ],
)
@pytest.mark.parametrize("broken", ["stop", "drop"])
def test_a_query_that_cannot_be_answered_is_never_left_out(
    data: Path, rows: str, message: str, broken: str
) -> None:
    (data / "sample.csv").write_text("Image\nx.jpg\n" + rows)
    with pytest.raises(KitboxError) as caught:
        lists.read(asked(data, ONE, test_folder="test", test_list="sample.csv", broken=broken))
    assert str(caught.value) == message


def test_a_missing_test_folder_is_named(data: Path) -> None:
    with pytest.raises(KitboxError) as caught:
        lists.read(asked(data, ONE, test_folder="tset"))
    assert str(caught.value) == f"there is no folder {data}/tset; correct images.test_folder"


@pytest.mark.parametrize("more", ["", "; 1 more like it"])
def test_a_name_in_training_and_test_is_refused(data: Path, more: str) -> None:
    photographs(data / "test", "a.jpg", *(["b.jpg"] if more else []))
    with pytest.raises(KitboxError) as caught:
        lists.read(asked(data, "Image,Id\na.jpg,Ahab\nb.jpg,Boo\n", test_folder="test"))
    assert str(caught.value) == (
        f"image 'a.jpg' is in the training images and in the test images{more}; "
        "rename it in one of them"
    )


def test_boxes_belong_to_images_by_name(data: Path) -> None:
    (data / "boxes.csv").write_text("image,x0,y0,x1,y1\nx.jpg,1,2,3,4\nb.jpg,5,6,7.5,8\n")
    listed = lists.read(
        asked(data, "Image,Id\na.jpg,Ahab\nb.jpg,Boo\n", test_folder="test", boxes="boxes.csv")
    )
    assert listed.labelled.boxes is not None
    assert listed.labelled.boxes.dtype == np.float32
    np.testing.assert_array_equal(listed.labelled.boxes, [[np.nan] * 4, [5, 6, 7.5, 8]])
    assert listed.test is not None
    np.testing.assert_array_equal(listed.test.boxes, [[1, 2, 3, 4], [np.nan] * 4])


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ("1,2,3", "boxes.csv line 2: box 1,2,3, is not four numbers"),
        ("1,2,3,x", "boxes.csv line 2: box 1,2,3,x is not four numbers"),
        (
            "3,2,1,4",
            "boxes.csv line 2: box 3,2,1,4 is empty; "
            "the columns are x0,y0,x1,y1 with x0 < x1 and y0 < y1",
        ),
        (
            "1,4,3,4",
            "boxes.csv line 2: box 1,4,3,4 is empty; "
            "the columns are x0,y0,x1,y1 with x0 < x1 and y0 < y1",
        ),
        ("1,2,nan,4", "boxes.csv line 2: box 1,2,nan,4 is "),
        ("1,2,inf,4", "boxes.csv line 2: box 1,2,inf,4 is "),
    ],
)
def test_a_box_that_is_none_is_refused(data: Path, box: str, message: str) -> None:
    (data / "boxes.csv").write_text(f"image,x0,y0,x1,y1\na.jpg,{box}\n")
    with pytest.raises(KitboxError) as caught:
        lists.read(asked(data, ONE, boxes="boxes.csv"))
    assert str(caught.value).startswith(message)
