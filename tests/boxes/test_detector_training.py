"""Detectors: trained once, resumed after an interruption, their detections reused."""

from pathlib import Path

import numpy as np
import pytest

from kitbox.boxes import average_precision, detector_training
from kitbox.boxes.detector_data import BoxedImages
from kitbox.boxes.detector_store import TrainedDetector
from kitbox.boxes.detector_training import DetectorOptions
from kitbox.errors import KitboxError
from kitbox.files import digest_of_file
from kitbox.records import Progress
from kitbox.workspace import Workspace
from tests.boxes.scenes import scenes, tiny
from tests.photographs import finish

OPTIONS = DetectorOptions(device="cpu", precision="32", workers=0)


@pytest.fixture
def drawn(tmp_path: Path) -> BoxedImages:
    return scenes(tmp_path / "images", 12)


def train(
    drawn: BoxedImages, workspace: Workspace, **settings: object
) -> tuple[list[Progress], TrainedDetector]:
    reports, trained = finish(
        detector_training.train(drawn, tiny(**settings), "none", workspace, OPTIONS)
    )
    return reports, trained


def test_a_detector_is_trained_once(drawn: BoxedImages, workspace: Workspace) -> None:
    reports, first = train(drawn, workspace)
    assert [(r.done, r.total) for r in reports] == [(n, 4) for n in range(1, 5)]
    assert "epoch 2/2, loss" in reports[-1].note
    assert first.height_width == (32, 64)
    assert first.seconds > 0
    again, second = train(drawn, workspace)
    assert again == []
    assert second.folder == first.folder
    assert not first.folder.state.exists()


def test_other_boxes_and_other_settings_make_another_detector(
    drawn: BoxedImages, workspace: Workspace
) -> None:
    folders = {train(drawn, workspace, epochs=1)[1].folder.path}
    folders.add(train(drawn, workspace, epochs=1, seed=1)[1].folder.path)
    moved = BoxedImages(drawn.images, drawn.sizes, tuple(each + 1 for each in drawn.boxes))
    folders.add(train(moved, workspace, epochs=1)[1].folder.path)
    assert len(folders) == 3


def test_an_interrupted_training_resumes_to_the_same_weights(
    tmp_path: Path, drawn: BoxedImages
) -> None:
    digests = []
    for stop_after in (None, 3, 4):
        workspace = Workspace(tmp_path / str(stop_after))
        if stop_after is not None:
            stage = detector_training.train(drawn, tiny(epochs=3), "none", workspace, OPTIONS)
            for report in stage:
                if report.done == stop_after:
                    break
            stage.close()
        reports, trained = train(drawn, workspace, epochs=3)
        first_step = {None: 1, 3: 3, 4: 3}[stop_after]
        assert reports[0].done == first_step
        digests.append(digest_of_file(trained.folder.weights))
    assert len(set(digests)) == 1


def test_boxes_are_detected_once_in_an_image(drawn: BoxedImages, workspace: Workspace) -> None:
    _, trained = train(drawn, workspace, epochs=1)
    some = drawn.images.take(np.arange(5))
    reports, first = finish(detector_training.detect(trained, some, OPTIONS))
    assert (reports[-1].done, first.images_read) == (5, 5)
    assert first.images_per_second > 0
    _, more = finish(detector_training.detect(trained, drawn.images, OPTIONS))
    assert more.images_read == 7
    _, again = finish(detector_training.detect(trained, drawn.images, OPTIONS))
    assert (again.images_read, again.images_per_second) == (0, None)
    for one, other in zip(first.detections, again.detections[:5], strict=True):
        assert one.size == other.size == (96, 64)
        np.testing.assert_allclose(one.boxes, other.boxes)
        np.testing.assert_allclose(one.confidences, other.confidences)


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
    (trained.folder.path / name).write_bytes(content)
    with pytest.raises(KitboxError, match=f"{name} is damaged; train again with --fresh"):
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
    with pytest.raises(KitboxError, match=r"state\.pt is damaged; train again with --fresh"):
        train(drawn, workspace, epochs=3)


def test_two_processes_do_not_train_the_same_detector(
    drawn: BoxedImages, workspace: Workspace
) -> None:
    stage = detector_training.train(drawn, tiny(), "none", workspace, OPTIONS)
    next(stage)
    with pytest.raises(KitboxError, match="another process uses the detector"):
        train(drawn, workspace)
    stage.close()


@pytest.mark.slow
def test_a_detector_learns_bright_rectangles(tmp_path: Path, workspace: Workspace) -> None:
    drawn = scenes(tmp_path / "train", 96)
    _, trained = train(drawn, workspace, epochs=15, image_size=96, finest=8, convolutions=1)
    other = scenes(tmp_path / "other", 32, seed=7)
    _, run = finish(detector_training.detect(trained, other.images, OPTIONS))
    scores = average_precision.score(other.boxes, run.detections, 0.4, np.arange(32)).by_metric
    assert scores["ap50"].value > 0.9
    assert scores["crop_iou"].value > 0.7
