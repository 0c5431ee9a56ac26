"""Boxes: the valid ones of each image, and the workspace's list."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.competition import boxes, lists
from kitbox.competition.boxes import Box
from kitbox.competition.settings import ImageSettings
from kitbox.errors import KitboxError
from tests.circle import competition

HEADER = "image,x0,y0,x1,y1,confidence,source\n"


def listed(path: Path, *rows: str) -> Path:
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows))
    return path


def images(root: Path, **given: Any) -> ImageSettings:
    return ImageSettings(root=root, train_folder="train", **given)


def test_a_workspace_without_boxes_has_none(tmp_path: Path) -> None:
    assert boxes.read(images(tmp_path), tmp_path / "boxes.csv") == {}
    assert boxes.read(images(tmp_path)) == {}


def test_a_box_of_the_workspace_overrides_that_of_the_data(tmp_path: Path) -> None:
    listed(tmp_path / "given.csv", "a,0,0,1,1,,", "b,0,0,2,2,,")
    mine = listed(tmp_path / "boxes.csv", "b,0,0,3,3,,mine")
    found = boxes.read(images(tmp_path, boxes="given.csv"), mine)
    assert found == {"a": (0, 0, 1, 1), "b": (0, 0, 3, 3)}


def test_a_drawn_box_overrides_a_detected_one(tmp_path: Path) -> None:
    listed(tmp_path / "given.csv", "a,0,0,1,1,,", "d,0,0,9,9,0.9,")
    mine = listed(
        tmp_path / "boxes.csv",
        *("a,0,0,2,2,1,detector", "b,0,0,3,3,,me", "b,0,0,4,4,0.9,detector"),
        *("c,0,0,5,5,0.2,detector", "d,0,0,6,6,0.1,detector"),
    )
    found = boxes.read(images(tmp_path, boxes="given.csv"), mine)
    assert {name: box[2] for name, box in found.items()} == {"a": 1, "b": 3, "c": 5, "d": 6}


def test_of_several_sources_the_last_counts(tmp_path: Path) -> None:
    mine = listed(tmp_path / "boxes.csv", "a,0,0,1,1,,me", "a,0,0,2,2,,you", "b,0,0,3,3,,me")
    found = boxes.read_all(images(tmp_path), mine)
    assert {name: [box.source for box in of] for name, of in found.items()} == {
        "a": ["me"],
        "b": ["me"],
    }


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("best", (5, 0, 6, 1)), ("largest", (0, 0, 4, 4)), ("union", (0, 0, 6, 4))],
)
def test_one_of_several_boxes_is_chosen(tmp_path: Path, rule: str, expected: object) -> None:
    rows = ("a,0,0,4,4,0.3,detector", "a,5,0,6,1,0.8,detector", "a,1,0,2,1,0.8,detector")
    mine = listed(tmp_path / "boxes.csv", *rows)
    chosen_by = images(tmp_path, several_boxes=rule)
    assert boxes.read(chosen_by, mine) == {"a": expected}
    assert [box.confidence for box in boxes.read_all(chosen_by, mine)["a"]] == [0.8, 0.8, 0.3]


def test_the_first_drawn_box_is_the_best(tmp_path: Path) -> None:
    mine = listed(tmp_path / "boxes.csv", "a,0,0,4,4,,me", "a,5,0,60,100,,me")
    assert boxes.read(images(tmp_path), mine) == {"a": (0, 0, 4, 4)}


sources = st.sampled_from(["", "me", "you", "detector"])
written = st.builds(
    Box,
    st.sampled_from("ab"),
    st.tuples(st.just(0.0), st.just(0.0), st.integers(1, 99).map(float), st.just(5.0)),
    st.none() | st.sampled_from([0.0, 0.25, 1.0]),
    sources,
)


@given(st.lists(written, max_size=8), st.lists(written, max_size=8))
def test_the_chosen_box_is_that_of_a_slow_search(
    tmp_path_factory: pytest.TempPathFactory, data: list[Box], mine: list[Box]
) -> None:
    root = tmp_path_factory.mktemp("boxes")
    for name, rows in (("given.csv", data), ("boxes.csv", mine)):
        shown = ("" if box.confidence is None else box.confidence for box in rows)
        texts = zip(rows, shown, strict=True)
        lines = (f"{b.image_id},{','.join(map(str, b.corners))},{c},{b.source}" for b, c in texts)
        listed(root / name, *lines)
    found = boxes.read(images(root, boxes="given.csv"), root / "boxes.csv")
    rows = [(0, b) for b in data] + [(1, b) for b in mine]

    def last(here: int, source: str) -> int:
        return max(i for i, (h, b) in enumerate(rows) if (h, b.source) == (here, source))

    for name in {box.image_id for _, box in rows}:
        own = [
            (box.drawn, last(here, box.source), box) for here, box in rows if box.image_id == name
        ]
        top = max(key[:2] for key in own)
        best = max((box for *key, box in own if tuple(key) == top), key=lambda b: b.confidence or 0)
        assert found[name] == best.corners


def test_boxes_of_a_source_are_replaced_and_others_stay(tmp_path: Path) -> None:
    path = listed(tmp_path / "boxes.csv", "a,0,0,1,1,,me", "b,0,0,2,2,0.5,detector")
    added = [Box("c", (0.125, 0, 3.5, 3), None, "me"), Box("a", (0, 0, 4, 4), None, "me")]
    assert boxes.replace(path, "me", added) == 1
    assert path.read_text() == (
        HEADER + "b,0,0,2,2,0.5,detector\nc,0.12,0,3.5,3,,me\na,0,0,4,4,,me\n"
    )
    assert boxes.replace(path, "me", []) == 2
    assert path.read_text() == HEADER + "b,0,0,2,2,0.5,detector\n"


def test_an_odd_name_is_read_as_it_was_saved(tmp_path: Path) -> None:
    box = Box('émoji 🐋, "<b>".jpg', (0.0, 0.0, 5.0, 5.0), None, "a,b")
    boxes.replace(tmp_path / "boxes.csv", "a,b", [box])
    assert boxes.read_file(tmp_path / "boxes.csv", "boxes.csv") == [box]


@pytest.mark.parametrize("confidence", ["2", "-0.1", "nan", "high"])
def test_an_invalid_confidence_is_refused(tmp_path: Path, confidence: str) -> None:
    path = listed(tmp_path / "boxes.csv", f"a,0,0,1,1,{confidence},detector")
    with pytest.raises(KitboxError) as caught:
        boxes.read(images(tmp_path), path)
    assert str(caught.value) == (
        f"{path} line 2: box 0,0,1,1 has confidence '{confidence}', which is not between 0 and 1"
    )


def test_listed_images_have_the_boxes_of_the_workspace(tmp_path: Path) -> None:
    for name in ("train/ahab/a.jpg", "test/x.jpg"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    given = competition(root=tmp_path)
    mine = listed(tmp_path / "boxes.csv", "ahab/a.jpg,0,0,1,1,,me", "x.jpg,0,0,2,2,,me")
    found = lists.read(given, mine)
    assert found.labelled.boxes is not None
    assert found.test is not None
    assert found.test.boxes is not None
    assert (found.labelled.boxes[0, 2], found.test.boxes[0, 2]) == (1, 2)
    unlisted = listed(tmp_path / "boxes.csv", "b.jpg,0,0,1,1,,me")
    with pytest.raises(KitboxError, match=r"boxes.csv has no box for any image: it names 'b.jpg'"):
        lists.read(given, unlisted)


def test_several_animals_in_a_photograph_are_images_of_their_own(tmp_path: Path) -> None:
    found = [
        Box("a.jpg", (50, 0, 60, 9), 0.9),
        Box("a.jpg", (0, 5, 9, 9), 0.8),
        Box("a.jpg", (0, 0, 9, 4)),
    ]
    assert boxes.animals("a.jpg", found) == {
        "a.jpg#1": (0, 0, 9, 4),
        "a.jpg#2": (0, 5, 9, 9),
        "a.jpg#3": (50, 0, 60, 9),
    }
    assert boxes.animals("a.jpg", found[:1]) == {"a.jpg": (50, 0, 60, 9)}
    mine = listed(tmp_path / "boxes.csv", "a,5,0,9,9,0.9,", "a,0,0,4,4,0.8,", "b,0,0,1,1,,")
    assert boxes.read_with_animals(images(tmp_path), mine) == {
        "a": (5, 0, 9, 9),
        "a#1": (0, 0, 4, 4),
        "a#2": (5, 0, 9, 9),
        "b": (0, 0, 1, 1),
    }
