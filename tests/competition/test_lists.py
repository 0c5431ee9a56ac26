"""Lists: labelled, test and index images, and the actions on faulty rows."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kitbox.competition import lists
from kitbox.competition.check_rules import CheckRules
from kitbox.competition.settings import Competition
from kitbox.decisions.decision import Decision
from kitbox.decisions.decision_list import Decisions
from kitbox.errors import KitboxError
from tests.circle import competition

GO_ON = '; fix it, or set broken = "drop" in kitbox.toml to go on without'


def photographs(folder: Path, *names: str) -> None:
    """Create empty files; only their names are read here."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    photographs(tmp_path / "train", "a.jpg", "b.jpg", "c.jpg")
    photographs(tmp_path / "test", "x.jpg", "y.jpg")
    return tmp_path


def configured(data: Path, train: str | bytes | None = None, **images: Any) -> Competition:
    if train is not None:
        raw = train if isinstance(train, bytes) else train.encode()
        (data / "train.csv").write_bytes(raw)
        images = {"train_list": "train.csv", **images}
    return competition(root=data, images={"test_folder": None, **images})


def pairs(listed: lists.ListedImages) -> list[tuple[str, str]]:
    assert listed.labelled.labels is not None
    return list(
        zip(listed.labelled.image_ids.tolist(), listed.labelled.labels.tolist(), strict=True)
    )


def test_a_list_is_read_in_its_order(data: Path) -> None:
    listed = lists.read(configured(data, "Image,Id\nb.jpg,Boo\na.jpg,Ahab\n"))
    assert pairs(listed) == [("b.jpg", "Boo"), ("a.jpg", "Ahab")]
    assert listed.labelled.paths == (data / "train/b.jpg", data / "train/a.jpg")
    assert (listed.test, listed.findings, listed.labelled.boxes) == (None, (), None)


@pytest.mark.parametrize(
    "train",
    [
        b"\xef\xbb\xbfImage,Id\r\na.jpg,Ahab\r\nb.jpg,Boo\r\n",
        b"Image,Id\na.jpg,Ahab\nb.jpg,Boo",
        b"Image,Id\n\na.jpg,Ahab\n\n\nb.jpg,Boo\n\n",
        b'"Image","Id"\n"a.jpg","Ahab"\n"b.jpg","Boo"\n',
        b"year,Id,Image\n2018,Ahab,a.jpg\n2019,Boo,b.jpg\n",
        b"Image;Id\na.jpg;Ahab\nb.jpg;Boo\n",
        b"sep=;\nImage;Id\na.jpg;Ahab\nb.jpg;Boo\n",
        b"Image,Id,,\na.jpg,Ahab,,\nb.jpg,Boo,,\n,,,\n,,,\n",
    ],
    ids=[
        "byte-order mark and CRLF",
        "no last line feed",
        "blank lines",
        "quotes",
        "more columns",
        "semicolons",
        "Excel's line of the separator",
        "Excel's empty rows and columns",
    ],
)
def test_the_encoding_and_line_ends_of_a_list_do_not_matter(data: Path, train: bytes) -> None:
    assert pairs(lists.read(configured(data, train))) == [("a.jpg", "Ahab"), ("b.jpg", "Boo")]


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
            "{data}/train.csv is not UTF-8 at byte 16, on line 2; save it as UTF-8",
        ),
        (
            b"Image,Id\n" + b"a.jpg,Ahab\n" * 2000 + b"b.jpg,T\xe4ht\n",
            "{data}/train.csv is not UTF-8 at byte 22016, on line 2002; save it as UTF-8",
        ),
        (
            'Image,Id\na.jpg,"Ahab\nb.jpg,Boo\n',
            "{data}/train.csv line 2: the row has a quotation mark that is closed nowhere below; "
            "close or remove it",
        ),
        (
            'Image,Id\na.jpg,Ahab\nb.jpg,"Big" Boo\n',
            "{data}/train.csv line 3: a cell goes on behind its closing quotation mark (',' "
            "expected after '\"'); write a quotation mark inside a cell twice, as "
            '"the ""big"" one"',
        ),
        (
            "Image ,Id\na.jpg,Ahab\n",
            "{data}/train.csv line 1: no column 'Image' among 'Image ', Id; "
            "did you mean 'Image '?; correct the header, or the column's name in kitbox.toml",
        ),
        (
            "Image,Id\nd.jpg,Ahab\n",
            "{data}/train.csv names no usable image: train.csv line 2: "
            "image 'd.jpg' is not in train; correct the row or remove it",
        ),
        ("Image,Id\n", "{data}/train.csv names no usable image"),
        (
            "Image,Id\na.jpg,Ahab\nb.jpg,Smith, John\n",
            "{data}/train.csv line 3: 3 cells in 2 columns, ' John' is too many; "
            'put a value with a comma into quotes, as "Smith, John"',
        ),
    ],
    ids=[
        "missing column",
        "empty file",
        "undecodable byte",
        "undecodable byte far down",
        "open quote",
        "text behind a quote",
        "a blank in the header",
        "no image there",
        "no row",
        "a name with a comma",
    ],
)
@pytest.mark.parametrize("broken", ["stop", "drop"])
def test_an_unusable_list_stops_the_run(
    data: Path, train: str | bytes, message: str, broken: str
) -> None:
    with pytest.raises(KitboxError) as caught:
        lists.read(configured(data, train, broken=broken))
    assert str(caught.value) == message.format(data=data)


def test_empty_cells_at_the_end_of_a_row_are_ignored(data: Path) -> None:
    listed = lists.read(configured(data, "Image,Id\na.jpg,Ahab,, \nb.jpg,Boo,\n")).labelled
    assert listed.labels is not None
    assert listed.labels.tolist() == ["Ahab", "Boo"]


@pytest.mark.parametrize("broken", ["stop", "drop"])
def test_a_missing_list_stops_the_run(data: Path, broken: str) -> None:
    with pytest.raises(KitboxError) as caught:
        lists.read(configured(data, train_list="trian.csv", broken=broken))
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
        "train.csv line 3: image 'b.jpg' has an empty label; fill it in or remove the row, or "
        'where nobody knows the individual set unknown_label = ["new_whale", ""] in kitbox.toml',
        [("a.jpg", "Ahab")],
    ),
    "short row": (
        "b.jpg\n",
        "train.csv line 3: image 'b.jpg' has an empty label; fill it in or remove the row, or "
        'where nobody knows the individual set unknown_label = ["new_whale", ""] in kitbox.toml',
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
        "train.csv line 3: label 'Boo ' has blanks around it; read as 'Boo'",
        [("a.jpg", "Ahab"), ("b.jpg", "Boo")],
    ),
}


@pytest.mark.parametrize(("row", "message", "others"), FAULTY.values(), ids=FAULTY)
def test_a_faulty_row_stops_the_run(data: Path, row: str, message: str, others: Any) -> None:
    with pytest.raises(KitboxError) as caught:
        lists.read(configured(data, "Image,Id\na.jpg,Ahab\n" + row))
    assert str(caught.value) == message + GO_ON
    assert caught.value.where == "train.csv line 3"


@pytest.mark.parametrize(("row", "message", "others"), FAULTY.values(), ids=FAULTY)
def test_a_faulty_row_is_left_out_and_reported_with_broken_drop(
    data: Path, row: str, message: str, others: list[tuple[str, str]]
) -> None:
    listed = lists.read(configured(data, "Image,Id\na.jpg,Ahab\n" + row, broken="drop"))
    assert pairs(listed) == others
    assert [str(finding) for finding in listed.findings] == [message]


BLANK = "image 'b.jpg ' has blanks around its name; read as 'b.jpg'"


def test_a_name_with_a_blank_at_its_end_is_read_without_it(data: Path) -> None:
    rows = "Image,Id\na.jpg,Ahab\nb.jpg ,Boo\n"
    with pytest.raises(KitboxError) as caught:
        lists.read(configured(data, rows))
    assert str(caught.value) == f"train.csv line 3: {BLANK}{GO_ON}"
    listed = lists.read(configured(data, rows, broken="drop"))
    assert pairs(listed) == [("a.jpg", "Ahab"), ("b.jpg", "Boo")]
    assert [str(finding) for finding in listed.findings] == [f"train.csv line 3: {BLANK}"]


def test_a_query_keeps_the_blank_in_its_name(data: Path) -> None:
    (data / "sample.csv").write_text("Image,Id\ny.jpg ,\nx.jpg,\n")
    given = {"test_folder": "test", "test_list": "sample.csv", "broken": "drop"}
    test = lists.read(configured(data, ONE, **given)).test
    assert test is not None
    assert test.image_ids.tolist() == ["y.jpg ", "x.jpg"]
    assert test.paths[0] == data / "test" / "y.jpg"


def test_a_name_that_differs_in_case_is_read_and_only_a_survey_tells_it(data: Path) -> None:
    given = configured(data, "Image,Id\na.jpg,Ahab\nB.JPG,Boo\n")
    found = lists.read(given)
    assert found.labelled.image_ids.tolist() == ["a.jpg", "B.JPG"]
    assert found.labelled.paths[1] == data / "train" / "b.jpg"
    assert found.findings == ()
    [finding] = lists.survey(given).findings
    assert str(finding) == "train.csv line 3: image 'B.JPG' is read as 'b.jpg'"
    assert (finding.kind, finding.action) == ("case", "repair")


def test_other_names_can_be_refused(data: Path) -> None:
    given = with_rules(configured(data, "Image,Id\nB.JPG,Boo\n"), stop=["case"])
    with pytest.raises(KitboxError, match=r"^train.csv line 2: image 'B.JPG' is read as 'b.jpg'; "):
        lists.read(given)


def test_two_names_of_one_file_are_a_repeated_row(data: Path) -> None:
    rows = "Image,Id\na.jpg,Ahab\nA.JPG,{}\nb.jpg,Boo\n"
    same = lists.read(configured(data, rows.format("Ahab"), broken="drop"))
    assert [str(finding) for finding in same.findings] == [
        "train.csv line 3: image 'A.JPG' is the file of 'a.jpg' on line 2; remove one row"
    ]
    assert same.labelled.image_ids.tolist() == ["a.jpg", "b.jpg"]
    other = lists.read(configured(data, rows.format("Boo"), broken="drop"))
    assert [str(finding) for finding in other.findings] == [
        "train.csv line 3: image 'A.JPG' is the file of 'a.jpg' on line 2 as 'Ahab', "
        "here as 'Boo'; remove one row"
    ]
    assert other.labelled.image_ids.tolist() == ["b.jpg"]


def test_a_query_named_in_two_ways_stops_the_run(data: Path) -> None:
    (data / "sample.csv").write_text("Image\nx.jpg\nX.jpg\n")
    with pytest.raises(KitboxError) as caught:
        lists.read(configured(data, ONE, test_folder="test", test_list="sample.csv"))
    assert str(caught.value) == (
        "sample.csv line 3: image 'X.jpg' is the file of 'x.jpg' on line 2; remove one row"
    )


def test_a_name_that_several_files_bear_is_never_read(data: Path) -> None:
    photographs(data / "train", "day0/IMG_1.jpg", "day1/IMG_1.jpg")
    rows = "Image,Id\na.jpg,Ahab\nIMG_1.jpg,Boo\n"
    what = (
        "train.csv line 3: image 'IMG_1.jpg' is day0/IMG_1.jpg and day1/IMG_1.jpg; write its "
        "folder before it, or name the column of folders in images.folder_column"
    )
    with pytest.raises(KitboxError) as caught:
        lists.read(configured(data, rows))
    assert str(caught.value) == what + GO_ON
    found = lists.read(configured(data, rows, broken="drop"))
    assert [str(finding) for finding in found.findings] == [what]
    assert found.labelled.image_ids.tolist() == ["a.jpg"]
    # the same in the list of queries, where no row may be left out
    (data / "sample.csv").write_text("Image\nIMG_1.jpg\n")
    queries = {"test_folder": "train", "test_list": "sample.csv", "broken": "drop"}
    with pytest.raises(KitboxError, match=r"^sample.csv line 2: image 'IMG_1.jpg' is day0/IMG_1"):
        lists.read(configured(data, ONE, **queries))


def test_names_are_not_looked_for_in_the_folder_of_test_images(data: Path) -> None:
    given = {"train_folder": ".", "test_folder": "test"}
    photographs(data / "test", "day1/a.jpg", "only.jpg")
    found = lists.read(configured(data, ONE, **given))
    assert found.labelled.paths == (data / "train/a.jpg",)
    around = {"train_folder": "train", "test_folder": "."}
    assert lists.read(configured(data, ONE, **around)).labelled.paths == (data / "train/a.jpg",)
    with pytest.raises(KitboxError, match=r"'only\.jpg' is not in the data folder; "):
        lists.read(configured(data, "Image,Id\nonly.jpg,Ahab\n", **given))


def test_a_folder_column_names_the_folder_of_each_image(data: Path) -> None:
    photographs(data / "train", "day0/IMG_1.jpg", "2023/day1/IMG_1.jpg")
    rows = "Image,Id,day\nIMG_1.jpg,Ahab,day0\nIMG_1.jpg,Boo,day1/\nb.jpg,Boo,\n"
    (data / "sample.csv").write_text("Image\nx.jpg\n")  # a list of queries may have none
    queries = {"test_folder": "test", "test_list": "sample.csv"}
    found = lists.read(configured(data, rows, folder_column="day", **queries))
    assert found.labelled.image_ids.tolist() == ["day0/IMG_1.jpg", "day1/IMG_1.jpg", "b.jpg"]
    assert [path.relative_to(data / "train").as_posix() for path in found.labelled.paths] == [
        *("day0/IMG_1.jpg", "2023/day1/IMG_1.jpg", "b.jpg")
    ]
    assert found.labelled.labels.tolist() == ["Ahab", "Boo", "Boo"]
    assert found.test is not None
    assert found.test.image_ids.tolist() == ["x.jpg"]


def test_a_check_rule_overrides_images_broken(data: Path) -> None:
    given = configured(data, "Image,Id\na.jpg,Ahab\na.jpg,Ahab\nb.jpg,\n")
    found = lists.read(with_rules(given, keep=["repeated"], drop=["no-label"]))
    assert [finding.action for finding in found.findings] == ["repair", "drop"]
    dropping = configured(data, "Image,Id\na.jpg,Ahab\nb.jpg,\n", broken="drop")
    with pytest.raises(KitboxError, match=r"or take 'no-label' out of check.stop in kitbox.toml"):
        lists.read(with_rules(dropping, stop=["no-label"]))


def with_rules(given: Competition, **check: list[str]) -> Competition:
    return given.model_copy(update={"check": CheckRules.model_validate(check)})


def test_a_survey_reports_everything_that_stops_a_reading(data: Path) -> None:
    (data / "sample.csv").write_text("Image,n\nx.jpg,\nz.jpg,\nx.jpg,\n,5\n")
    rows = "Image,Id\na.jpg,Ahab\nd.jpg,Dora\nb.jpg,Smith, John\nc.jpg,Cleo\n"
    given = {"test_folder": "test", "test_list": "sample.csv", "index_folder": "idx"}
    survey = lists.survey(configured(data, rows, **given))
    assert survey.labelled is not None
    assert survey.test is not None
    assert survey.labelled.image_ids.tolist() == ["a.jpg", "c.jpg"]
    assert survey.test.image_ids.tolist() == ["x.jpg"]
    assert [(finding.kind, finding.where, finding.action) for finding in survey.findings] == [
        ("list", "train.csv line 4", "stop"),
        ("missing", "train.csv line 3", "stop"),
        ("missing", "sample.csv line 3", "stop"),
        ("repeated-query", "sample.csv line 4", "stop"),
        ("no-name", "sample.csv line 5", "stop"),
        ("list", "kitbox.toml", "stop"),
    ]
    assert "there is no folder" in survey.findings[-1].what
    assert survey.places == {
        "a.jpg": "train.csv line 2",
        "c.jpg": "train.csv line 5",
        "x.jpg": "sample.csv line 2",
    }


def test_a_survey_blames_the_right_file_in_a_folder_with_a_colon_in_its_name(
    tmp_path: Path,
) -> None:
    data = tmp_path / "flukes: 2020 line 7"
    photographs(data / "train", "a.jpg")
    (data / "boxes.csv").write_text("image,x0,y0,x1,y1\na.jpg,4,4,2,2\n")
    survey = lists.survey(configured(data, "Image,Name\na.jpg,Ahab\n", boxes="boxes.csv"))
    assert [finding.where for finding in survey.findings] == [
        f"{data}/train.csv line 1",
        "boxes.csv line 2",
    ]
    assert survey.findings[0].what == (
        "no column 'Id' among Image, Name; correct the header, or the column's name in kitbox.toml"
    )


def test_the_first_faulty_row_is_named_and_the_others_are_counted(data: Path) -> None:
    with pytest.raises(KitboxError) as caught:
        lists.read(configured(data, "Image,Id\na.jpg,Ahab\nd.jpg,D\nb.jpg,\nc.jpg,Cleo\n"))
    assert str(caught.value) == (
        "train.csv line 3: image 'd.jpg' is not in train; correct the row or remove it; "
        "1 more like it" + GO_ON
    )


def test_a_third_row_does_not_bring_a_conflicting_image_back(data: Path) -> None:
    rows = "a.jpg,Ahab\na.jpg,Boo\na.jpg,Ahab\nb.jpg,Boo\n"
    listed = lists.read(configured(data, "Image,Id\n" + rows, broken="drop"))
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
    listed = lists.read(configured(tmp_path))
    assert pairs(listed) == [("Ahab/1.jpeg", "Ahab"), ("Boo/1.png", "Boo"), ("Boo/2.JPG", "Boo")]


def test_test_images_among_the_folders_of_individuals_are_left_out(tmp_path: Path) -> None:
    photographs(tmp_path, "Ahab/1.jpg", "test/x.jpg")
    listed = lists.read(configured(tmp_path, train_folder=".", test_folder="test"))
    assert pairs(listed) == [("Ahab/1.jpg", "Ahab")]
    assert listed.test is not None
    assert listed.test.image_ids.tolist() == ["x.jpg"]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            {"train_folder": "trian"},
            "there is no folder {data}/trian; correct images.train_folder; did you mean train?",
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
        lists.read(configured(data, **images))
    assert str(caught.value) == message.format(data=data)


ONE = "Image,Id\na.jpg,Ahab\n"


def test_without_a_list_every_test_image_is_a_query_sorted_by_name(data: Path) -> None:
    photographs(data / "test", "w.png", "readme.md", ".hidden.jpg")
    test = lists.read(configured(data, ONE, test_folder="test")).test
    assert test is not None
    assert test.image_ids.tolist() == ["w.png", "x.jpg", "y.jpg"]
    assert test.labels is None


def test_a_list_of_queries_keeps_its_order(data: Path) -> None:
    (data / "sample.csv").write_text("Image,Id\ny.jpg,A B C D E\nx.jpg,A B C D E\n")
    test = lists.read(configured(data, ONE, test_folder="test", test_list="sample.csv")).test
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
def test_a_query_without_a_file_is_never_left_out(
    data: Path, rows: str, message: str, broken: str
) -> None:
    (data / "sample.csv").write_text("Image\nx.jpg\n" + rows)
    with pytest.raises(KitboxError) as caught:
        lists.read(configured(data, ONE, test_folder="test", test_list="sample.csv", broken=broken))
    assert str(caught.value) == message


def test_a_missing_test_folder_is_named(data: Path) -> None:
    with pytest.raises(KitboxError) as caught:
        lists.read(configured(data, ONE, test_folder="tset"))
    assert str(caught.value) == (
        f"there is no folder {data}/tset; correct images.test_folder; did you mean test?"
    )


@pytest.mark.parametrize("more", ["", "; 1 more like it"])
def test_a_name_in_training_and_test_is_refused(data: Path, more: str) -> None:
    photographs(data / "test", "a.jpg", *(["b.jpg"] if more else []))
    with pytest.raises(KitboxError) as caught:
        lists.read(configured(data, "Image,Id\na.jpg,Ahab\nb.jpg,Boo\n", test_folder="test"))
    assert str(caught.value) == (
        f"image 'a.jpg' is in the training images and in the test images{more}; "
        "rename it in one of them, or name it with a folder before it"
    )


@pytest.mark.parametrize("unknown", ["new_whale", None])
def test_unlabelled_photographs_are_listed(data: Path, unknown: str | None) -> None:
    photographs(data / "train", "may/d.jpg")
    given = {"unlabelled": True, "unknown_label": unknown, "train_folder": "."}
    listed = lists.read(configured(data, test_folder="test", **given))
    label = unknown or ""
    names = ["train/a.jpg", "train/b.jpg", "train/c.jpg", "train/may/d.jpg"]
    assert pairs(listed) == [(name, label) for name in names]
    assert listed.test is not None
    assert listed.test.image_ids.tolist() == ["x.jpg", "y.jpg"]


def test_boxes_belong_to_images_by_name(data: Path) -> None:
    (data / "boxes.csv").write_text("image,x0,y0,x1,y1\nx.jpg,1,2,3,4\nb.jpg,5,6,7.5,8\n")
    listed = lists.read(
        configured(data, "Image,Id\na.jpg,Ahab\nb.jpg,Boo\n", test_folder="test", boxes="boxes.csv")
    )
    assert listed.labelled.boxes is not None
    assert listed.labelled.boxes.dtype == np.float32
    np.testing.assert_array_equal(listed.labelled.boxes, [[np.nan] * 4, [5, 6, 7.5, 8]])
    assert listed.test is not None
    np.testing.assert_array_equal(listed.test.boxes, [[1, 2, 3, 4], [np.nan] * 4])


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ("1,2,3", "boxes.csv line 2: box 1,2,3, is not four numbers; correct the row"),
        ("1,2,3,x", "boxes.csv line 2: box 1,2,3,x is not four numbers; correct the row"),
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
def test_an_invalid_box_is_refused(data: Path, box: str, message: str) -> None:
    (data / "boxes.csv").write_text(f"image,x0,y0,x1,y1\na.jpg,{box}\n")
    with pytest.raises(KitboxError) as caught:
        lists.read(configured(data, ONE, boxes="boxes.csv"))
    assert str(caught.value).startswith(message)


def test_boxes_that_name_no_image_are_refused(data: Path) -> None:
    (data / "boxes.csv").write_text("image,x0,y0,x1,y1\ntrain/a.jpg,1,2,3,4\n")
    with pytest.raises(KitboxError) as caught:
        lists.read(configured(data, ONE, boxes="boxes.csv"))
    assert str(caught.value) == (
        "boxes.csv has no box for any image: it names 'train/a.jpg', "
        "but image names look like 'a.jpg'; correct its names"
    )


def test_a_misspelt_column_gets_a_suggestion(data: Path) -> None:
    with pytest.raises(KitboxError) as caught:
        lists.read(configured(data, ONE, image_column="Imge"))
    assert str(caught.value) == (
        f"{data}/train.csv line 1: no column 'Imge' among Image, Id; did you mean Image?; "
        "correct the header, or the column's name in kitbox.toml"
    )


def test_a_folder_in_place_of_a_list_is_refused(data: Path) -> None:
    with pytest.raises(KitboxError, match=r"there is no list .*/test; correct its name in"):
        lists.read(configured(data, train_list="test"))


@pytest.mark.parametrize("broken", ["stop", "drop"])
def test_a_missing_folder_of_listed_images_is_named(data: Path, broken: str) -> None:
    with pytest.raises(KitboxError) as caught:
        lists.read(configured(data, ONE, train_folder="trains", broken=broken))
    assert str(caught.value) == (
        f"there is no folder {data}/trains; correct images.train_folder; did you mean train?"
    )


def test_a_column_may_have_any_name(data: Path) -> None:
    header = "image.file:name[0]"
    listed = lists.read(configured(data, f"{header},Id\na.jpg,Ahab\n", image_column=header))
    assert pairs(listed) == [("a.jpg", "Ahab")]


def test_a_row_without_an_image_is_faulty(data: Path) -> None:
    with pytest.raises(KitboxError) as caught:
        lists.read(configured(data, "Image,Id\na.jpg,Ahab\n,Boo\n"))
    assert str(caught.value) == (
        "train.csv line 3: the column 'Image' is empty; fill it in or remove the row" + GO_ON
    )


def test_a_file_name_is_built_from_the_columns_of_its_row(data: Path) -> None:
    photographs(data / "train", "3/e.jpg", "4/f.png")
    listed = lists.read(
        configured(
            data,
            "Image,chain,Id\ng,3,Ahab\nf,4,Boo\n",
            train_file="{chain}/{Image}.*",
            broken="drop",
        )
    )
    assert pairs(listed) == [("f", "Boo")]
    assert listed.labelled.paths == (data / "train/4/f.png",)
    assert [str(finding) for finding in listed.findings] == [
        "train.csv line 2: image '3/g.*' is not in train; correct the row or remove it"
    ]


def test_a_file_template_needs_its_columns(data: Path) -> None:
    with pytest.raises(KitboxError, match=r"train\.csv line 1: no column 'chain' among Image, Id;"):
        lists.read(configured(data, ONE, train_file="{chain}/{Image}"))


def test_many_ids_may_share_a_file(data: Path) -> None:
    rows = "Image,file,Id\np1,a.jpg,Ahab\np2,a.jpg,Boo\n"
    listed = lists.read(configured(data, rows, train_file="{file}"))
    assert listed.labelled.paths == (data / "train/a.jpg",) * 2


def test_one_list_of_all_images_has_a_split_column(data: Path) -> None:
    rows = "Image,Id,split\nb.jpg,Boo,database\ny.jpg,,query\na.jpg,Ahab,database\nx.jpg,,query\n"
    photographs(data, "all/a.jpg", "all/b.jpg", "all/x.jpg", "all/y.jpg")
    given = {"split_column": "split", "train_split": "database", "test_split": "query"}
    listed = lists.read(configured(data, rows, train_folder="all", **given))
    assert pairs(listed) == [("b.jpg", "Boo"), ("a.jpg", "Ahab")]
    assert listed.test is not None
    assert listed.test.image_ids.tolist() == ["y.jpg", "x.jpg"]
    assert listed.test.paths == (data / "all/y.jpg", data / "all/x.jpg")


@pytest.mark.parametrize("setting", ["train_split", "test_split"])
def test_a_split_without_rows_is_named(data: Path, setting: str) -> None:
    rows = "Image,Id,split\na.jpg,Ahab,train\nb.jpg,,test\n"
    with pytest.raises(KitboxError) as caught:
        lists.read(configured(data, rows, split_column="split", **{setting: "database"}))
    assert str(caught.value) == (
        f"{data}/train.csv has no row where split is 'database'; correct images.{setting}"
    )


def test_a_separate_list_of_queries_has_no_split(data: Path) -> None:
    (data / "queries.csv").write_text("Image\nx.jpg\n")
    rows = "Image,Id,split\na.jpg,Ahab,train\nb.jpg,Boo,none\n"
    listed = lists.read(
        configured(data, rows, split_column="split", test_list="queries.csv", test_folder="test")
    )
    assert pairs(listed) == [("a.jpg", "Ahab")]
    assert listed.test is not None
    assert listed.test.image_ids.tolist() == ["x.jpg"]


def test_misspelt_groups_are_corrected(data: Path) -> None:
    rows = "Image,Id,species\na.jpg,Ahab,kiler_whale\nb.jpg,Boo,killer_whale\nc.jpg,Cleo,beluga\n"
    given = {"group_column": "species", "group_names": {"kiler_whale": "killer_whale"}}
    found = lists.read(configured(data, rows, **given)).labelled.groups
    assert found is not None
    assert found.tolist() == ["killer_whale", "killer_whale", "beluga"]


def test_a_list_without_the_species_has_no_groups(data: Path) -> None:
    (data / "sample.csv").write_text("Image,Id\nx.jpg,A\n")
    rows = "Image,Id,species\na.jpg,Ahab,beluga\n"
    given = {"group_column": "species", "test_folder": "test", "test_list": "sample.csv"}
    listed = lists.read(configured(data, rows, **given))
    assert listed.test is not None
    assert listed.test.groups is None


def test_times_in_several_formats_are_seconds(data: Path) -> None:
    rows = (
        "Image,Id,met,at\n"
        "a.jpg,Ahab,e1,1970-01-02\n"
        "b.jpg,Boo,,1970-01-01 00:01:00\n"
        "c.jpg,Cleo,e1,\n"
    )
    found = lists.read(configured(data, rows, encounter_column="met", time_column="at")).labelled
    assert found.encounters is not None
    assert found.encounters.tolist() == ["e1", "", "e1"]
    np.testing.assert_array_equal(found.times, [86400, 60, np.nan])


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2020-06-01T05:00:00Z", datetime(2020, 6, 1, 5, tzinfo=UTC)),
        ("2020-06-01T05:00:00+02:00", datetime(2020, 6, 1, 3, tzinfo=UTC)),
        (" 2020-06-01 ", datetime(2020, 6, 1, tzinfo=UTC)),
    ],
)
def test_a_time_without_a_zone_is_utc(data: Path, text: str, moment: datetime) -> None:
    found = lists.read(configured(data, f"Image,Id,at\na.jpg,Ahab,{text}\n", time_column="at"))
    assert found.labelled.times is not None
    assert found.labelled.times.tolist() == [moment.timestamp()]


def test_a_column_of_times_without_a_time_is_refused(data: Path) -> None:
    with pytest.raises(KitboxError) as caught:
        lists.read(
            configured(data, "Image,Id,at\na.jpg,Ahab,\nb.jpg,Boo,31/05/2022\n", time_column="at")
        )
    assert str(caught.value) == (
        "train.csv line 3: time '31/05/2022' is not understood: the year does not come "
        "first; write it as 2022-05-31 or 2022-05-31 14:05; or correct "
        "images.time_column = 'at'"
    )


def timed(data: Path, *times: str, **holdout: Any) -> Competition:
    """A list of four photographs of one individual, and their times."""
    names = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    photographs(data / "train", *names)
    rows = "".join(f"{name},Ahab,{time}\n" for name, time in zip(names, times, strict=False))
    given = configured(data, "Image,Id,at\n" + rows, time_column="at")
    return competition(root=data, images=given.images.model_dump(), holdout=holdout)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2020:06:01 08:30:00", datetime(2020, 6, 1, 8, 30, tzinfo=UTC)),
        ("2020/6/1 8:30", datetime(2020, 6, 1, 8, 30, tzinfo=UTC)),
        ("2020.06.01", datetime(2020, 6, 1, tzinfo=UTC)),
        ("20200601", datetime(2020, 6, 1, tzinfo=UTC)),
        ("2020-06-01T08:30:00.250Z", datetime(2020, 6, 1, 8, 30, 0, 250_000, tzinfo=UTC)),
        ("2020-06-01 08:30:00 UTC", datetime(2020, 6, 1, 8, 30, tzinfo=UTC)),
        ("2020-06-01 10:30:00 +02:00", datetime(2020, 6, 1, 8, 30, tzinfo=UTC)),
    ],
)
def test_a_date_with_the_year_first_is_understood(data: Path, text: str, moment: datetime) -> None:
    found = lists.read(timed(data, text))
    assert found.labelled.times is not None
    assert found.labelled.times.tolist() == [moment.timestamp()]
    assert found.findings == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("31/05/2022", ": the year does not come first"),
        ("5.6.22 14:05", ": the year does not come first"),
        ("14:05", ": the date is missing"),
        ("2022", ": the day is missing"),
        ("2022-05", ": the day is missing"),
        ("2021-02-30", ": there is no such day or time"),
        ("2021:13:01 10:00:00", ": there is no such day or time"),
        ("44712.5868", ": it is the number by which Excel keeps a day"),
        ("1654005900", ": it counts from 1970"),
        ("May 2019", ""),
    ],
)
def test_a_time_that_is_not_understood_is_a_finding(data: Path, text: str, why: str) -> None:
    found = lists.read(timed(data, "2022-05-31", text, "", text))
    expected = f"time '{text}' is not understood{why}; write it as 2022-05-31 or 2022-05-31 14:05"
    assert [(each.kind, str(each), each.action) for each in found.findings] == [
        ("time", f"train.csv line 3: {expected}", "keep"),
        ("time", f"train.csv line 5: {expected}", "keep"),
    ]
    assert found.labelled.times is not None
    assert np.isnan(found.labelled.times).tolist() == [False, True, True, True]


def test_times_of_two_kinds_are_a_finding(data: Path) -> None:
    times = ("2022-05-31 14:05", "2022-05-31T14:05+02:00", "2022-05-31", "2022-06-01 10:00Z")
    found = lists.read(timed(data, *times)).findings
    zone = (
        "train.csv line 2: time '2022-05-31 14:05' has no zone and is read as UTC; 1 more like it, "
        "while 2 times have one; write all of them alike"
    )
    assert [str(each) for each in found] == [zone]
    found = lists.read(timed(data, *times, encounter_minutes=30)).findings
    assert [str(each) for each in found] == [
        zone,
        "train.csv line 4: time '2022-05-31' has no time of day and is read as midnight, "
        "while 3 times have one; write all of them alike",
    ]


def test_images_that_the_holdout_cannot_keep_with_their_encounter_are_counted(data: Path) -> None:
    given = timed(data, "2022-05-31 14:05", "5/31/2022", "", "2022-05-31 14:07")
    assert [each.kind for each in lists.read(given).findings] == ["time"]
    given = timed(
        data, "2022-05-31 14:05", "5/31/2022", "", "2022-05-31 14:07", encounter_minutes=30
    )
    assert [str(each) for each in lists.read(given).findings][1:] == [
        "train.csv line 3: 2 of 4 labelled images have no time in 'at' that is understood; each is "
        "an encounter of its own, "
        "so that the holdout may have photographs of one encounter on both sides; fill it in"
    ]
    assert [each.kind for each in lists.survey(given).findings] == ["time", "encounter"]


def test_an_empty_encounter_is_told_where_others_have_one(data: Path) -> None:
    rows = "Image,Id,met\na.jpg,Ahab,1\nb.jpg,Ahab,\nc.jpg,Boo,\n"
    [found] = lists.read(configured(data, rows, encounter_column="met")).findings
    # an individual with one photograph cannot be torn
    assert str(found).startswith(
        "train.csv line 3: 1 of 3 labelled images have no value in 'met'; each is"
    )


def sampled(data: Path, sample: str | None, **submission: Any) -> Competition:
    given = configured(data, ONE, test_folder="test").model_dump()
    if sample is not None:
        (data / "sample.csv").write_text(sample)
        given["submission"] |= {"sample": "sample.csv", **submission}
    return Competition.model_validate(given)


def test_queries_keep_the_order_of_the_sample_submission(data: Path) -> None:
    test = lists.read(sampled(data, "Image,Id\ny.jpg,A\nx.jpg,A\n")).test
    assert test is not None
    assert test.image_ids.tolist() == ["y.jpg", "x.jpg"]
    assert test.paths == (data / "test/y.jpg", data / "test/x.jpg")


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (
            "Image,Id\ny.jpg,A\n",
            "{data}/sample.csv has no row for test image 'x.jpg'; get the whole file",
        ),
        (
            "Image,Id\nx.jpg,A\nw.jpg,A\ny.jpg,A\nz.jpg,A\n",
            "{data}/sample.csv names 'w.jpg', which is not a test image; 1 more like it; "
            "get all test images, or correct submission.sample",
        ),
        (
            "image,Id\nx.jpg,A\n",
            "{data}/sample.csv line 1: no column 'Image' among image, Id; did you mean image?; "
            "correct the header, or the column's name in kitbox.toml",
        ),
    ],
)
def test_a_sample_submission_of_other_images_is_refused(
    data: Path, sample: str, message: str
) -> None:
    with pytest.raises(KitboxError) as caught:
        lists.read(sampled(data, sample))
    assert str(caught.value) == message.format(data=data)


@pytest.mark.parametrize(
    "submission", [{"layout": "long", "header": ("query", "image", "score")}, {"header": ()}]
)
def test_a_sample_without_a_row_for_each_query_gives_no_order(
    data: Path, submission: dict[str, Any]
) -> None:
    test = lists.read(sampled(data, "query,image,score\nz,a.jpg,0\n", **submission)).test
    assert test is not None
    assert test.image_ids.tolist() == ["x.jpg", "y.jpg"]


def indexed(data: Path, **images: Any) -> Competition:
    given = configured(data, ONE, test_folder="test", index_folder="index", **images).model_dump()
    given["task"] = {"gallery": "index", "answers": "images", "k": 3}
    return Competition.model_validate(given)


def test_an_index_is_a_gallery_without_labels(data: Path) -> None:
    photographs(data / "index", "0/1/0123.jpg", "f/f/ffff.jpg")
    found = lists.read(indexed(data, bare_ids=True)).index
    assert found is not None
    assert found.image_ids.tolist() == ["0123", "ffff"]
    assert found.labels is None


@pytest.mark.parametrize(("name", "side"), [("a.jpg", "training images"), ("x.jpg", "test images")])
def test_an_index_shares_no_name_with_other_images(data: Path, name: str, side: str) -> None:
    photographs(data / "index", name)
    with pytest.raises(KitboxError) as caught:
        lists.read(indexed(data))
    assert str(caught.value) == (
        f"image '{name}' is in the {side} and in the index; rename it in one of them, "
        "or name it with a folder before it"
    )


def test_files_of_one_name_in_two_folders_are_two_photographs(data: Path) -> None:
    photographs(data / "test", "2024-05-01/x.jpg", "2024-05-02/x.jpg")
    test = lists.read(configured(data, ONE, test_folder="test")).test
    assert test is not None
    assert test.image_ids.tolist() == ["2024-05-01/x.jpg", "2024-05-02/x.jpg", "x.jpg", "y.jpg"]
    assert [path.relative_to(data / "test").as_posix() for path in test.paths] == [
        *("2024-05-01/x.jpg", "2024-05-02/x.jpg", "x.jpg", "y.jpg")
    ]


def test_two_files_of_one_bare_id_are_refused(data: Path) -> None:
    photographs(data / "test", "deep/x.jpg")
    with pytest.raises(KitboxError) as caught:
        lists.read(configured(data, ONE, test_folder="test", bare_ids=True))
    assert str(caught.value) == (
        f"{data}/test/x.jpg and {data}/test/deep/x.jpg have the same name, 'x'; rename one of them"
    )


def test_an_individual_may_be_called_test(tmp_path: Path) -> None:
    photographs(tmp_path, "train/Ahab/1.jpg", "train/test/2.jpg", "test/x.jpg")
    listed = lists.read(configured(tmp_path, test_folder="test"))
    assert pairs(listed) == [("Ahab/1.jpg", "Ahab"), ("test/2.jpg", "test")]


def test_scenarios_without_test_images_use_labelled_ones(data: Path) -> None:
    given = configured(data, ONE).model_dump()
    given["task"] |= {"answers": "images", "gallery": "test", "scenarios": "scenarios.csv"}
    listed = lists.read(Competition.model_validate(given))
    assert listed.test is not None
    assert listed.test.image_ids.tolist() == ["a.jpg"]
    assert listed.test.labels is None


FAULTY_LIST = "Image,Id\na.jpg,Ahab\na.jpg,Boo\nb.jpg,\nc.jpg,Cleo\nz.jpg,Cleo\n"


def settled(data: Path, *rows: tuple[str, ...], broken: str = "stop") -> lists.ListedImages:
    """Return the listed images where these decisions settle faulty rows."""
    decided = Decisions(tuple(Decision(*row) for row in rows), lines=tuple(range(2, len(rows) + 2)))
    given = configured(data, FAULTY_LIST, broken=broken)
    return lists.apply_decisions(lists.read(given, decisions=decided), decided)


@pytest.mark.parametrize("broken", ["stop", "drop"])
@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (
            [("label", "a.jpg", "Boo"), ("label", "b.jpg", "Dory"), ("drop", "z.jpg")],
            [("a.jpg", "Boo"), ("b.jpg", "Dory"), ("c.jpg", "Cleo")],
        ),
        (
            [("wrong", "a.jpg"), ("drop", "b.jpg"), ("wrong", "z.jpg"), ("train", "z.jpg")],
            [("c.jpg", "Cleo")],
        ),
    ],
)
def test_a_decision_settles_findings_on_the_rows_of_its_image(
    data: Path, rows: list[tuple[str, ...]], expected: list[tuple[str, str]], broken: str
) -> None:
    found = settled(data, *rows, broken=broken)
    assert pairs(found) == expected
    assert found.findings == ()


def test_the_decided_one_of_two_labels_is_not_a_new_label(data: Path) -> None:
    decided = Decisions((Decision("label", "a.jpg", "Boo"),))
    found = lists.read(configured(data, FAULTY_LIST, broken="drop"), decisions=decided)
    assert pairs(found) == [("a.jpg", "Boo"), ("c.jpg", "Cleo")]
    assert [finding.image_id for finding in found.findings] == ["b.jpg", "z.jpg"]


def test_an_image_without_a_file_gets_no_label(data: Path) -> None:
    with pytest.raises(KitboxError) as caught:
        settled(data, ("label", "z.jpg", "Cleo"), broken="drop")
    assert "line 2: 'z.jpg' is no labelled image; see train.csv line 6: " in str(caught.value)


def test_a_settled_image_has_no_finding(data: Path) -> None:
    decided = Decisions((Decision("label", "a.jpg", "Boo"), Decision("drop", "z.jpg")))
    found = lists.survey(configured(data, FAULTY_LIST), decisions=decided)
    assert [finding.image_id for finding in found.findings] == ["b.jpg"]


SEVERAL = ["unknown", "NA", "", "unidentified_*"]


def test_each_unknown_label_is_read_as_the_first(data: Path) -> None:
    photographs(data / "train", "d.jpg", "e.jpg", "f.jpg")
    rows = "a.jpg,Ahab\nb.jpg,NA\nc.jpg,\nd.jpg,unidentified_12\ne.jpg,na\nf.jpg,unknown\n"
    found = lists.read(configured(data, f"Image,Id\n{rows}", unknown_label=SEVERAL))
    assert [label for _, label in pairs(found)] == [
        "Ahab", "unknown", "unknown", "unknown", "na", "unknown"
    ]  # fmt: skip
    assert found.findings == ()


def test_folders_with_an_unknown_label_are_read_as_the_first(tmp_path: Path) -> None:
    photographs(tmp_path, "Ahab/a.jpg", "NA/b.jpg", "unidentified_3/c.jpg")
    found = lists.read(configured(tmp_path, train_folder=".", unknown_label=SEVERAL))
    assert pairs(found) == [
        ("Ahab/a.jpg", "Ahab"),
        ("NA/b.jpg", "unknown"),
        ("unidentified_3/c.jpg", "unknown"),
    ]


def test_a_decided_label_may_be_one_of_several_unknown_ones(data: Path) -> None:
    given = configured(data, "Image,Id\na.jpg,Ahab\nb.jpg,Boo\n", unknown_label=SEVERAL)
    decided = Decisions((Decision("label", "b.jpg", "NA"),), lines=(2,))
    found = lists.apply_decisions(lists.read(given, decisions=decided), decided, given.images)
    assert pairs(found) == [("a.jpg", "Ahab"), ("b.jpg", "unknown")]
    merged = Decisions((Decision("merge", "unknown", "Ahab"),), lines=(2,))
    with pytest.raises(KitboxError, match="'unknown' is no label of an individual"):
        lists.apply_decisions(found, merged, given.images)
