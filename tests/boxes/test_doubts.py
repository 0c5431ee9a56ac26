"""Doubts: what a person should look at, and why."""

from pathlib import Path

import numpy as np

from kitbox.boxes import detections
from kitbox.records import strings
from tests.boxes.scenes import found, scenes

USUAL = (np.array([0.1, 0.1, 0.5], np.float32), np.array([0.6, 0.6, 3.0], np.float32))
GOOD, APART, OVER = (10, 10, 40, 40), (60, 60, 90, 90), (15, 15, 45, 45)


def why(*seen: detections.Detections) -> list[str]:
    ids = strings([str(n) for n in range(len(seen))])
    listed = {d.image_id: d.why for d in detections.review(ids, seen, 0.4, USUAL)}
    return [listed.get(str(n), "") for n in range(len(seen))]


def test_each_doubt_has_its_reason() -> None:
    assert why(
        found((0.9, GOOD)),
        found(),
        found((0.3, GOOD)),
        found((0.45, GOOD)),
        found((0.9, GOOD), (0.8, APART)),
        found((0.9, GOOD), (0.5, APART)),
        found((0.9, GOOD), (0.8, OVER)),
        found((0.9, (0, 0, 95, 40))),
        found((0.9, (0, 0, 15, 50))),
        found((0.45, (0, 0, 95, 95)), (0.44, APART)),
    ) == [
        "",
        "no confident box",
        "no confident box",
        "low confidence",
        "two boxes apart",
        "",
        "",
        "odd size",
        "odd size",
        "low confidence, odd size",
    ]


def test_the_least_confident_stand_first_in_the_list(tmp_path: Path) -> None:
    ids = strings(["a", "b", "c"])
    seen = [found((0.9, GOOD), (0.85, APART)), found(), found((0.42, GOOD))]
    detections.save_findings(tmp_path / "list.csv", detections.review(ids, seen, 0.4, USUAL))
    assert (tmp_path / "list.csv").read_text().splitlines() == [
        "image,why,confidence,box,other_box",
        "b,no confident box,0.0000,,",
        "c,low confidence,0.4200,10 10 40 40,",
        "a,two boxes apart,0.9000,10 10 40 40,60 60 90 90",
    ]


def test_the_drawn_boxes_tell_what_is_usual(tmp_path: Path) -> None:
    drawn = scenes(tmp_path, 8)
    least, largest = detections.extent_bounds(drawn)
    for boxes in drawn.boxes:
        wide, high = boxes[0, 2] - boxes[0, 0], boxes[0, 3] - boxes[0, 1]
        shares = np.array([wide / 96, high / 64, wide / high])
        assert (shares > least).all()
        assert (shares < largest).all()


def test_every_box_at_the_threshold_becomes_a_row() -> None:
    seen = [found((0.9, GOOD), (0.4, APART), (0.3, OVER)), found((0.1, GOOD))]
    rows = detections.boxes_above(strings(["a", "b"]), seen, 0.4)
    assert [(r.image_id, r.corners, r.source, r.drawn) for r in rows] == [
        ("a", GOOD, "detector", False),
        ("a", APART, "detector", False),
    ]
