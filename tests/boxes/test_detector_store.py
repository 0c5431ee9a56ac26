"""Detectors on disk."""

import re
from pathlib import Path

import pytest

from kitbox import files
from kitbox.boxes import detector_store
from kitbox.boxes.detector import Detector, DetectorSettings
from kitbox.boxes.detector_store import DetectorFolder, DetectorKey
from kitbox.errors import KitboxError, KitboxWarning
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


def test_a_detection_without_area_of_an_earlier_release_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "found.jsonl"
    found = detected((0.6, (83.5, 134.4, 260.1, 134.4)), (0.5, (1, 2, 3, 4)))
    detector_store.append_detections(path, {"a": found})
    known = detector_store.load_detections(path)["a"]
    assert known.boxes.tolist() == [[1, 2, 3, 4]]
    assert known.confidences.tolist() == [0.5]


def test_a_changed_detection_is_left_out_and_told(tmp_path: Path) -> None:
    path = tmp_path / "found.jsonl"
    found = {name: detected((0.5, (1, 2, 3, 4))) for name in "abc"}
    detector_store.append_detections(path, found)
    whole = path.read_text()
    path.write_text(whole.replace("2.0", "7.0", 1))
    with pytest.warns(KitboxWarning, match=r"is damaged in 1 line; boxes are detected there again"):
        assert list(detector_store.load_detections(path)) == ["b", "c"]
    path.write_text(whole.replace('"a"', '"z"', 1))  # those of another image
    with pytest.warns(KitboxWarning, match=r"is damaged in 1 line"):
        assert list(detector_store.load_detections(path)) == ["b", "c"]
    path.write_text(whole.replace('"size"', '"sizf"', 1))
    with pytest.warns(KitboxWarning, match=r"is damaged in 1 line"):
        assert list(detector_store.load_detections(path)) == ["b", "c"]
    path.write_text(re.sub(r', "checksum": "\w{8}"', "", whole))  # of an earlier release
    assert list(detector_store.load_detections(path)) == ["a", "b", "c"]


def test_a_changed_byte_of_a_detector_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, settings = (
        DetectorFolder(tmp_path),
        DetectorSettings(backbone="mobilenetv3_small_050", image_size=32),
    )
    key = DetectorKey(
        settings=settings.model_dump(mode="json"), data="", weights="", precision="32"
    )
    detector_store.save(folder, Detector(settings), key, (64, 64), 1.0, 1)
    assert detector_store.load(folder).epoch == 1
    whole = folder.weights.read_bytes()
    for at in (9, len(whole) // 2, len(whole) - 1):
        folder.weights.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        monkeypatch.setattr(files, "_KNOWN_DIGESTS", {})
        with pytest.raises(KitboxError, match=r"safetensors is damaged; train again with --fresh"):
            detector_store.load(folder)
