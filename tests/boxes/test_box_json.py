"""Boxes in JSON: MegaDetector's, COCO's, camera traps' and VGG annotator's."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from kitbox.boxes import box_json, box_lists
from kitbox.boxes.box_formats import BoxList
from kitbox.errors import KitboxError

CONTENT = "SITE_WITH_A_LONG_NAME"


def read_json(folder: Path, document: Any, name: str = "boxes.json") -> BoxList:
    text = document if isinstance(document, str) else json.dumps(document)
    (folder / name).write_text(text, encoding="utf-8")
    return box_lists.read(folder / name)


def seen(found: BoxList) -> list[tuple[Any, ...]]:
    return [(r.name, r.numbers, r.confidence, r.category, r.size, r.absent) for r in found.rows]


MEGADETECTOR = {
    "info": {"format_version": "1.3", "detector": "md_v5a"},
    "detection_categories": {"1": "animal", "2": "person"},
    "images": [
        {
            "file": "a/1.jpg",
            "max_detection_conf": 0.9,
            "detections": [
                {"category": "1", "conf": 0.9, "bbox": [0.1, 0.2, 0.5, 0.6]},
                {"category": "2", "conf": 0.7, "bbox": [0, 0, 1, 1]},
            ],
        },
        {"file": "a/2.jpg", "width": 80, "height": 60, "detections": []},
        {"file": "a/3.jpg", "failure": "Failure image access", "detections": None},
        {"file": "a/4.jpg", "failure": "Failure image access"},
        {"file": "a/5.jpg", "detections": None},
    ],
}


def test_megadetector_is_read_with_categories_confidences_and_failures(tmp_path: Path) -> None:
    found = read_json(tmp_path, MEGADETECTOR)
    assert (found.formats, found.relative, found.threshold, found.frame) == (
        ("xywh",),
        True,
        0.2,
        "upright",
    )
    assert seen(found) == [
        ("a/1.jpg", (0.1, 0.2, 0.5, 0.6), 0.9, "animal", None, ""),
        ("a/1.jpg", (0, 0, 1, 1), 0.7, "person", None, ""),
        ("a/2.jpg", (), None, "", None, "MegaDetector found nothing"),
        ("a/3.jpg", (), None, "", None, "MegaDetector failed: Failure image access"),
        ("a/4.jpg", (), None, "", None, "MegaDetector failed: Failure image access"),
        ("a/5.jpg", (), None, "", None, "MegaDetector failed: it has no detections"),
    ]
    assert found.rows[1].where == "boxes.json image 1"


def test_megadetectors_own_threshold_and_usual_categories_are_used(tmp_path: Path) -> None:
    document = {
        "info": {"detector_metadata": {"typical_detection_threshold": 0.35}},
        "images": [
            {"file": "1", "detections": [{"category": "3", "conf": 1, "bbox": [0, 0, 1, 1]}]}
        ],
    }
    found = read_json(tmp_path, document, "found.txt")
    assert (found.threshold, found.rows[0].category) == (0.35, "vehicle")


COCO = {
    "images": [
        {"id": 7, "file_name": "a/1.jpg", "width": 96, "height": 64},
        {"id": "8", "file_name": "2.jpg"},
        {"id": 9, "file_name": "3.jpg", "width": None, "height": 0},
    ],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 1, "bbox": [10.5, 5.25, 40, 30]},
        {"id": 2, "image_id": 7, "category_id": 2, "bbox": ["1", 2, 3, 4], "score": 0.5},
        {"image_id": 8, "category_id": 0},
        {"id": "x", "image_id": 99, "category_id": 5, "bbox": [1, 2, 3]},
    ],
    "categories": [
        {"id": 1, "name": "seal"},
        {"id": 2, "name": "buoy"},
        {"id": 0, "name": "empty"},
    ],
}


def test_coco_and_camera_traps_are_read_with_sizes_and_categories(tmp_path: Path) -> None:
    found = read_json(tmp_path, COCO)
    assert (found.formats, found.threshold, found.frame) == (("xywh",), None, None)
    assert seen(found) == [
        ("a/1.jpg", (10.5, 5.25, 40, 30), None, "seal", (96, 64), ""),
        ("a/1.jpg", (1, 2, 3, 4), 0.5, "buoy", (96, 64), ""),
        ("2.jpg", (), None, "empty", None, "its annotation has no bbox"),
        ("99", (1, 2, 3), None, "5", None, ""),
        ("3.jpg", (), None, "", None, "it has no annotation"),
    ]
    assert [row.where for row in found.rows][2:] == [
        "boxes.json annotation 3",
        "boxes.json annotation x",
        "boxes.json image 9",
    ]


def test_results_of_coco_name_their_images_themselves(tmp_path: Path) -> None:
    document = [{"image_id": "1.jpg", "category_id": 3, "bbox": [1, 2, 30, 40], "score": 0.25}]
    assert seen(read_json(tmp_path, document)) == [("1.jpg", (1, 2, 30, 40), 0.25, "3", None, "")]


REGIONS = [
    {"shape_attributes": {"name": "rect", "x": 10, "y": 5, "width": 40, "height": 30}},
    {"shape_attributes": {"name": "polygon", "all_points_x": [4, 9], "all_points_y": [8, 2]}},
    {"shape_attributes": {"name": "circle", "cx": 20, "cy": 30, "r": 5}},
    {"shape_attributes": {"name": "ellipse", "cx": 20, "cy": 30, "rx": 5, "ry": 7}},
    {"shape_attributes": {"name": "point", "cx": 20, "cy": 30}},
    {"shape_attributes": {"name": "rect", "x": 10, "y": 5, "width": 10**400, "height": 30}},
]


@pytest.mark.parametrize("as_project", [True, False])
def test_shapes_of_the_vgg_annotator_are_read(tmp_path: Path, as_project: bool) -> None:
    images = {
        "1.jpg1234": {"filename": "1.jpg", "size": 1234, "regions": REGIONS},
        "2.jpg99": {"filename": "2.jpg", "size": 99, "regions": []},
    }
    document = {"_via_settings": {}, "_via_img_metadata": images} if as_project else images
    found = read_json(tmp_path, document)
    assert found.formats == ("xyxy",)
    assert [(row.name, row.numbers) for row in found.rows] == [
        ("1.jpg", (10, 5, 50, 35)),
        ("1.jpg", (4, 2, 9, 8)),
        ("1.jpg", (15, 25, 25, 35)),
        ("1.jpg", (15, 23, 25, 37)),
        ("1.jpg", ()),
        ("1.jpg", ()),
        ("2.jpg", ()),
    ]
    assert found.rows[-1].absent == "it has no region"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f'{{"images": ["{CONTENT}"', "line 1 column 36: no JSON: Expecting ',' delimiter; get"),
        (f'{{"{CONTENT}": [1]}}', "this JSON has no boxes of a known kind; kitbox reads Mega"),
        (f'["{CONTENT}"]', "this JSON has no boxes of a known kind"),
        (f'{{"images": [{{"{CONTENT}": 1}}]}}', "this JSON has no boxes of a known kind"),
        (f'{{"a": 1}}\n{{"{CONTENT}": 2}}\n', "line 2 column 1: no JSON: Extra data"),
        ("[" * 100_000, "this JSON cannot be read"),
        ("3", "this JSON has no boxes of a known kind"),
        ("", "is empty; get the whole file"),
        ("\ufeff \n", "is empty; get the whole file"),
    ],
)
def test_other_json_is_refused_without_its_content(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(KitboxError) as caught:
        read_json(tmp_path, text)
    assert message in str(caught.value)
    assert str(tmp_path / "boxes.json") in str(caught.value)
    assert CONTENT not in str(caught.value)


def test_values_that_are_no_numbers_are_kept_for_the_message(tmp_path: Path) -> None:
    boxes = [[1, 2, None, 4], [1, 2, "x", 4], "1 2 3 4", [10**400, 1, 2, 3], ["9" * 500]]
    annotations = [{"image_id": "1", "bbox": box} for box in boxes]
    found = read_json(tmp_path, {"images": [], "annotations": annotations})
    assert [row.numbers for row in found.rows] == [()] * 5
    assert found.rows[0].text == "1,2,None,4"
    assert all(len(row.text) <= 61 for row in found.rows)


def test_one_line_of_twenty_thousand_images_is_read_at_once(tmp_path: Path) -> None:
    detections = [{"category": "1", "conf": 0.9, "bbox": [0.1, 0.1, 0.5, 0.6]}] * 3
    images = [{"file": f"{CONTENT}/{n}.JPG", "detections": detections} for n in range(20_000)]
    start = time.perf_counter()
    found = read_json(tmp_path, {"images": images})
    assert len(found.rows) == 60_000
    assert time.perf_counter() - start < 20


def test_json_is_known_by_its_suffix_or_first_character(tmp_path: Path) -> None:
    for name, text, is_json in (
        ("a.json", "image,x,y,w,h", True),
        ("a.csv", '\ufeff\n {"a": 1}', True),
        ("a.txt", "[1]", True),
        ("a.csv", "image,x,y,w,h", False),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert box_json.is_json(tmp_path / name) is is_json
