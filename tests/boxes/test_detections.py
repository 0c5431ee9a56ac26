"""Detections: findings on suspicious boxes, and rows for boxes.csv."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kitbox.boxes import detections
from kitbox.boxes.detector import Detector, DetectorSettings
from kitbox.embedding.onnx_graph import ExportError
from kitbox.errors import KitboxWarning
from kitbox.records import strings
from tests.boxes.scenes import detected, scenes, tiny

USUAL = (np.array([0.1, 0.1, 0.5], np.float32), np.array([0.6, 0.6, 3.0], np.float32))
GOOD, APART, OVER = (10, 10, 40, 40), (60, 60, 90, 90), (15, 15, 45, 45)


def reasons(*images: detections.Detections) -> list[str]:
    ids = strings([str(n) for n in range(len(images))])
    findings = {f.image_id: f.reason for f in detections.review(ids, images, 0.4, USUAL)}
    return [findings.get(str(n), "") for n in range(len(images))]


def test_each_finding_has_its_reason() -> None:
    assert reasons(
        detected((0.9, GOOD)),
        detected(),
        detected((0.3, GOOD)),
        detected((0.45, GOOD)),
        detected((0.9, GOOD), (0.8, APART)),
        detected((0.9, GOOD), (0.5, APART)),
        detected((0.9, GOOD), (0.8, OVER)),
        detected((0.9, (0, 0, 95, 40))),
        detected((0.9, (0, 0, 15, 50))),
        detected((0.45, (0, 0, 95, 95)), (0.44, APART)),
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


def test_findings_are_sorted_by_confidence(tmp_path: Path) -> None:
    ids = strings(["a", "b", "c"])
    images = [detected((0.9, GOOD), (0.85, APART)), detected(), detected((0.42, GOOD))]
    detections.save_findings(tmp_path / "list.csv", detections.review(ids, images, 0.4, USUAL))
    assert (tmp_path / "list.csv").read_text().splitlines() == [
        "image,reason,confidence,box,other_box",
        "b,no confident box,0.0000,,",
        "c,low confidence,0.4200,10 10 40 40,",
        "a,two boxes apart,0.9000,10 10 40 40,60 60 90 90",
    ]


def test_the_bounds_of_usual_sizes_come_from_drawn_boxes(tmp_path: Path) -> None:
    drawn = scenes(tmp_path, 8)
    least, largest = detections.extent_bounds(drawn)
    for boxes in drawn.boxes:
        width, height = boxes[0, 2] - boxes[0, 0], boxes[0, 3] - boxes[0, 1]
        shares = np.array([width / 96, height / 64, width / height])
        assert (shares > least).all()
        assert (shares < largest).all()


def test_every_box_at_the_threshold_becomes_a_row() -> None:
    images = [detected((0.9, GOOD), (0.4, APART), (0.3, OVER)), detected((0.1, GOOD))]
    rows = detections.boxes_above(strings(["a", "b"]), images, 0.4)
    assert [(r.image_id, r.corners, r.source, r.drawn) for r in rows] == [
        ("a", GOOD, "detector", False),
        ("a", APART, "detector", False),
    ]


def test_a_box_that_was_clipped_to_the_edge_of_its_image_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FCOS clips boxes that it finds beside the image, which leaves a line."""
    Image.new("RGB", (200, 100)).save(tmp_path / "a.png")
    found = torch.tensor([[10.0, 64.0, 60.0, 64.0], [128, 0, 128, 30], [10, 10, 60, 40]])
    confidences = torch.tensor([0.9, 0.8, 0.7])
    detector = Detector(DetectorSettings(backbone="test_resnet", image_size=128))
    monkeypatch.setattr(detector, "boxes", lambda _: [(found, confidences)])
    batches = detections.detect(
        detector, [tmp_path / "a.png"], (64, 128), device="cpu", precision="fp32", workers=0
    )
    [(_, [each])] = batches
    np.testing.assert_allclose(each.boxes, [[15.625, 15.625, 93.75, 62.5]])
    np.testing.assert_allclose(each.confidences, [0.7])


def finding_detector() -> Detector:
    """Return a detector that takes many cells for objects, without training."""
    torch.manual_seed(0)
    detector = Detector(tiny())
    torch.nn.init.zeros_(detector.fcos.head.classification_head.cls_logits.bias)
    return detector


def found_by(detector: Detector, folder: Path, *, graph: bool) -> list[detections.Detections]:
    paths = [path for path in sorted(folder.iterdir()) if path.suffix == ".png"]
    batches = detections.detect(
        detector, paths, (64, 96), device="cpu", precision="32", workers=0, graph=graph
    )
    return [each for _, batch in batches for each in batch]


def test_a_graph_finds_the_boxes_that_torch_finds(tmp_path: Path) -> None:
    scenes(tmp_path, 18)  # more than a batch
    detector = finding_detector()
    expected = found_by(detector, tmp_path, graph=False)
    found = found_by(detector, tmp_path, graph=True)
    assert len(found) == 18
    for one, other in zip(found, expected, strict=True):
        assert len(other.boxes)
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-2)
        np.testing.assert_allclose(one.confidences, other.confidences, atol=1e-5)


def test_torch_detects_with_a_warning_where_no_graph_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ExportError("no such operator")

    monkeypatch.setattr(detections, "export", refuse)
    scenes(tmp_path, 1)
    with pytest.warns(KitboxWarning, match=r"torch detects, because .* \(no such operator\)"):
        assert found_by(finding_detector(), tmp_path, graph=True)[0].size == (96, 64)


def test_a_graph_that_differs_from_torch_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    off = detections.OnnxGraph.__call__
    monkeypatch.setattr(detections.OnnxGraph, "__call__", lambda *given: off(*given) + 0.01)
    with pytest.raises(ExportError, match=r"its outputs are 0\.01 away from those of torch"):
        detections._HeadGraph(finding_detector().eval(), (64, 96))
