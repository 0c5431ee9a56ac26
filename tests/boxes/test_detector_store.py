"""Detectors on disk."""

from pathlib import Path

from kitbox.boxes import detector_store
from tests.boxes.scenes import detected


def test_detections_saved_before_a_power_cut_are_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "found.jsonl"
    detector_store.append_detections(path, {"a": detected((0.5, (1, 2, 3, 4)))})
    with path.open("a") as file:
        file.write('{"image": "b", "si')
    detector_store.append_detections(path, {"c": detected()})
    known = detector_store.load_detections(path)
    assert list(known) == ["a", "c"]
    assert known["a"].boxes.tolist() == [[1, 2, 3, 4]]
    assert known["c"].boxes.shape == (0, 4)
