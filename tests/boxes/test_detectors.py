"""Detectors: learnt once, gone on with after a stop, and what they found is remembered."""

from pathlib import Path

import numpy as np
import pytest

from kitbox.boxes import average_precision, detector_store, detector_training
from kitbox.boxes.detector_data import BoxedImages
from kitbox.boxes.detector_training import DetectorOptions, TrainedDetector
from kitbox.errors import KitboxError
from kitbox.files import digest_of_file
from kitbox.records import Progress
from kitbox.workspace import Workspace
from tests.boxes.scenes import found, scenes, tiny
from tests.photographs import finish

OPTIONS = DetectorOptions(device="cpu", precision="32", workers=0)


@pytest.fixture
def drawn(tmp_path: Path) -> BoxedImages:
    return scenes(tmp_path / "images", 12)


def train(
    drawn: BoxedImages, place: Workspace, **settings: object
) -> tuple[list[Progress], TrainedDetector]:
    reports, trained = finish(
        detector_training.train(drawn, tiny(**settings), "none", place, OPTIONS)
    )
    return reports, trained


def test_a_detector_is_learnt_once(drawn: BoxedImages, workspace: Workspace) -> None:
    reports, first = train(drawn, workspace)
    assert [(r.done, r.total) for r in reports] == [(n, 4) for n in range(1, 5)]
    assert "epoch 2/2, loss" in reports[-1].note
    assert first.height_width == (32, 64)
    assert first.seconds > 0
    again, second = train(drawn, workspace)
    assert again == []
    assert second.kept == first.kept
    assert not first.kept.state.exists()


def test_other_boxes_and_other_settings_make_another_detector(
    drawn: BoxedImages, workspace: Workspace
) -> None:
    folders = {train(drawn, workspace, epochs=1)[1].kept.folder}
    folders.add(train(drawn, workspace, epochs=1, seed=1)[1].kept.folder)
    moved = BoxedImages(drawn.images, drawn.sizes, tuple(each + 1 for each in drawn.boxes))
    folders.add(train(moved, workspace, epochs=1)[1].kept.folder)
    assert len(folders) == 3


def test_a_stopped_detector_goes_on_to_the_same_weights(tmp_path: Path, drawn: BoxedImages) -> None:
    digests = []
    for stop_after in (None, 3, 4):
        place = Workspace(tmp_path / str(stop_after))
        if stop_after is not None:
            stage = detector_training.train(drawn, tiny(epochs=3), "none", place, OPTIONS)
            for report in stage:
                if report.done == stop_after:
                    break
            stage.close()
        reports, trained = train(drawn, place, epochs=3)
        begun = {None: 1, 3: 3, 4: 3}[stop_after]
        assert reports[0].done == begun
        digests.append(digest_of_file(trained.kept.weights))
    assert len(set(digests)) == 1


def test_an_image_is_searched_once(drawn: BoxedImages, workspace: Workspace) -> None:
    _, trained = train(drawn, workspace, epochs=1)
    some = drawn.images.take(np.arange(5))
    reports, first = finish(detector_training.detect(trained, some, OPTIONS))
    assert (reports[-1].done, first.read) == (5, 5)
    assert first.images_per_second > 0
    _, more = finish(detector_training.detect(trained, drawn.images, OPTIONS))
    assert more.read == 7
    _, again = finish(detector_training.detect(trained, drawn.images, OPTIONS))
    assert (again.read, again.images_per_second) == (0, None)
    for one, other in zip(first.found, again.found[:5], strict=True):
        assert one.size == other.size == (96, 64)
        np.testing.assert_allclose(one.boxes, other.boxes)
        np.testing.assert_allclose(one.confidences, other.confidences)


def test_what_was_found_before_a_power_cut_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "found.jsonl"
    detector_store.append_detections(path, {"a": found((0.5, (1, 2, 3, 4)))})
    with path.open("a") as file:
        file.write('{"image": "b", "si')
    detector_store.append_detections(path, {"c": found()})
    known = detector_store.load_detections(path)
    assert list(known) == ["a", "c"]
    assert known["a"].boxes.tolist() == [[1, 2, 3, 4]]
    assert known["c"].boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("detector.safetensors", b"0" * 100),
        ("detector.json", b'{"causes": {}}'),
        ("detector.json", b"{"),
        ("found-32.jsonl", b'{"image": "a"}\n'),
        ("found-32.jsonl", b"[1]\n"),
    ],
)
def test_a_damaged_detector_is_named(
    drawn: BoxedImages, workspace: Workspace, name: str, content: bytes
) -> None:
    _, trained = train(drawn, workspace, epochs=1)
    (trained.kept.folder / name).write_bytes(content)
    with pytest.raises(KitboxError, match=f"{name} is damaged; learn anew with --fresh"):
        finish(
            detector_training.detect(train(drawn, workspace, epochs=1)[1], drawn.images, OPTIONS)
        )


@pytest.mark.parametrize("length", [0, 100, 10_000])
def test_a_damaged_state_is_named(drawn: BoxedImages, workspace: Workspace, length: int) -> None:
    stage = detector_training.train(drawn, tiny(epochs=3), "none", workspace, OPTIONS)
    while next(stage).done < 3:
        pass
    stage.close()
    [state] = workspace.detectors.glob("*/state.pt")
    state.write_bytes(state.read_bytes()[:length])
    with pytest.raises(KitboxError, match=r"state\.pt is damaged; learn anew with --fresh"):
        train(drawn, workspace, epochs=3)


def test_two_processes_do_not_learn_the_same(drawn: BoxedImages, workspace: Workspace) -> None:
    stage = detector_training.train(drawn, tiny(), "none", workspace, OPTIONS)
    next(stage)
    with pytest.raises(KitboxError, match="another process is at work on the detector"):
        train(drawn, workspace)
    stage.close()


@pytest.mark.slow
def test_bright_rectangles_are_learnt(tmp_path: Path, workspace: Workspace) -> None:
    learnt = scenes(tmp_path / "learnt", 96)
    _, trained = train(learnt, workspace, epochs=15, image_size=96, finest=8, convolutions=1)
    other = scenes(tmp_path / "other", 32, seed=7)
    _, sought = finish(detector_training.detect(trained, other.images, OPTIONS))
    scores = average_precision.score(other.boxes, sought.found, 0.4, np.arange(32)).by_metric
    assert scores["ap50"].value > 0.9
    assert scores["crop_iou"].value > 0.7
