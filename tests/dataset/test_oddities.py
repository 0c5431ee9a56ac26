"""Oddities: what is odd about lists, names and folders though it can be read."""

from pathlib import Path

import pytest

from kitbox.competition import lists
from kitbox.dataset import data_check
from tests.circle import competition, image_set


def odd_names(*names: str, **given: object) -> list[str]:
    images = image_set(dict.fromkeys(names, "Ahab"))
    asked = competition(**given)  # type: ignore[arg-type]
    places = dict.fromkeys(names, "train.csv line 2")
    return [finding.what for finding in data_check.name_findings([images], asked, places)]


@pytest.mark.parametrize(
    ("name", "odd"),
    [
        ("whale (3).JPG", None),
        ("Täht-07_b.jpg", None),
        ("a b.jpg", None),
        ("a,b.jpg", "','"),
        ("<b>.jpg", "'<', '>'"),
        ("a\tb.jpg", "'U+0009'"),
        ("a\u200bb.jpg", "'U+200B'"),
        ("🐋.jpg", "'🐋'"),
        ('a"b.jpg', "'\"'"),
        ("a.jpg ", "a blank at its end"),
    ],
)
def test_a_name_that_programs_stumble_over_is_told(name: str, odd: str | None) -> None:
    expected = [] if odd is None else [f"the name of image '{name}' has {odd}"]
    assert odd_names(name) == expected


def test_a_blank_in_a_name_is_odd_where_blanks_part_the_answers() -> None:
    what = "the name of image 'a b.jpg' has a blank, which separates answers"
    assert odd_names("a b.jpg", answers="images") == [what]


def test_names_that_only_cases_or_forms_of_accents_tell_apart_are_told() -> None:
    assert odd_names("a.jpg", "A.jpg", "b.jpg") == [
        "the names of images 'A.jpg' and 'a.jpg' differ only in case or accents"
    ]
    assert len(odd_names("e\u0301.jpg", "é.jpg")) == 1


def test_marks_and_line_ends_of_every_list_are_told(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_bytes(b"\xef\xbb\xbfImage,Id\r\n")
    (tmp_path / "sample.csv").write_bytes(b"Image,Id\r\n")
    (tmp_path / "boxes.csv").write_bytes(b"image,x0,y0,x1,y1\n")
    given = competition(
        root=tmp_path,
        images={"train_list": "train.csv", "test_list": "sample.csv", "boxes": "boxes.csv"},
        form={"sample": "sample.csv"},
    )
    assert [(f.kind, f.where, f.action) for f in data_check.list_format_findings(given)] == [
        ("byte-order-mark", "train.csv line 1", "repair"),
        ("crlf", "train.csv line 1", "repair"),
        ("crlf", "sample.csv line 1", "repair"),
    ]


def test_an_image_of_a_faulty_row_is_listed_and_left_out(tmp_path: Path) -> None:
    for name in ("train/a.jpg", "train/b.jpg", "train/c.jpg", "test/x.jpg", "test/y.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "train.csv").write_text("Image,Id\na.jpg,Ahab\nb.jpg,\n")
    (tmp_path / "test.csv").write_text("Image\nx.jpg\n")
    given = competition(root=tmp_path, images={"train_list": "train.csv", "test_list": "test.csv"})
    survey = lists.survey(given)
    assert data_check.unlisted_files(survey, given) == [
        tmp_path / "train/c.jpg",
        tmp_path / "test/y.jpg",
    ]
    assert data_check.excluded_files(survey, given) == [tmp_path / "train/b.jpg"]
    assert survey.places == {"a.jpg": "train.csv line 2", "x.jpg": "test.csv line 2"}
