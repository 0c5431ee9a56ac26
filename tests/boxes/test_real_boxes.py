"""A small detector on the real humpback photographs, if present: trains in a minute."""

import csv
from pathlib import Path

import numpy as np
import pytest

from kitbox.boxes import average_precision, detector_data, detector_training
from kitbox.boxes.detector import DetectorSettings
from kitbox.boxes.detector_training import DetectorOptions
from kitbox.files import digest_of_file
from kitbox.records import ImageSet, strings
from kitbox.workspace import Workspace
from tests.photographs import finish
from tests.test_real import HUMPBACK, WEIGHTS


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.skipif(
    not (HUMPBACK.is_dir() and WEIGHTS.is_dir()),
    reason=f"the humpback photographs are not in {HUMPBACK}; name their place by KITBOX_SHARED",
)
def test_four_epochs_on_small_photographs_detect_most_flukes(workspace: Workspace) -> None:
    with (HUMPBACK / "boxes.csv").open() as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    paths = [path for side in ("train", "test") for path in _boxed(HUMPBACK / side, rows)]
    digests = strings([digest_of_file(path) for path in paths])
    images = ImageSet(strings([path.name for path in paths]), tuple(paths), digests=digests)
    corners = {i: [tuple(float(r[c]) for c in ("x0", "y0", "x1", "y1"))] for i, r in rows.items()}
    drawn = detector_data.with_boxes(images, corners)
    training, held = detector_data.split(np.arange(len(drawn)), 1 - 300 / len(drawn), 0)
    settings = DetectorSettings(image_size=96, epochs=4)
    source = WEIGHTS / "mobilenetv2_100.safetensors"
    options = DetectorOptions(device="cpu")
    _, trained = finish(
        detector_training.train(drawn.take(training), settings, source, workspace, options)
    )
    test = drawn.take(held)
    _, run = finish(detector_training.detect(trained, test.images, options))
    scores = average_precision.score(
        test.boxes, run.detections, 0.4, np.arange(len(test))
    ).by_metric
    assert len(test) == 281
    assert scores["ap50"].value > 0.85
    assert scores["crop_iou"].value > 0.75


def _boxed(folder: Path, rows: dict[str, dict[str, str]]) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name in rows)
