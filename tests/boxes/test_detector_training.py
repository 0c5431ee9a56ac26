"""Detectors: trained once, resumed after an interruption, their detections reused."""

from pathlib import Path

import numpy as np
import pytest

from kitbox.boxes import average_precision, detector_store, detector_training
from kitbox.boxes.detector import Detector, default_epochs, default_patience
from kitbox.boxes.detector_data import BoxedImages
from kitbox.boxes.detector_store import TrainedDetector
from kitbox.boxes.detector_training import DetectorEpoch, DetectorEstimate, DetectorOptions
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
    drawn: BoxedImages, workspace: Workspace, held: BoxedImages | None = None, **settings: object
) -> tuple[list[Progress], TrainedDetector]:
    events, trained = train_with_events(drawn, workspace, held, **settings)
    return [event for event in events if isinstance(event, Progress)], trained


def train_with_events(
    drawn: BoxedImages, workspace: Workspace, held: BoxedImages | None = None, **settings: object
) -> tuple[list[object], TrainedDetector]:
    events, trained = finish(
        detector_training.train(drawn, tiny(**settings), "none", workspace, OPTIONS, held)
    )
    return events, trained


def scores_in_turn(monkeypatch: pytest.MonkeyPatch, *scores: float) -> None:
    """Give each epoch's detector the next of these scores on held-out images."""
    left = iter(scores)
    monkeypatch.setattr(detector_training, "_score", lambda *_: next(left))


def test_a_detector_is_trained_once(drawn: BoxedImages, workspace: Workspace) -> None:
    reports, first = train(drawn, workspace)
    assert [(r.done, r.total) for r in reports] == [(n, 4) for n in range(1, 5)]
    assert "epoch 2/2, loss" in reports[-1].note
    assert first.height_width == (32, 64)
    assert first.seconds > 0
    assert not first.folder.state.exists()
    first.folder.state.write_bytes(b"of a training that was killed at its end")
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
                if isinstance(report, Progress) and report.done == stop_after:
                    break
            stage.close()
        reports, trained = train(drawn, workspace, epochs=3)
        first_step = {None: 1, 3: 3, 4: 3}[stop_after]
        assert reports[0].done == first_step
        digests.append(digest_of_file(trained.folder.weights))
    assert len(set(digests)) == 1


def epochs_of(events: list[object]) -> list[tuple[int, float | None, int, bool]]:
    return [
        (event.epoch, event.ap, event.best_epoch, event.stopped)
        for event in events
        if isinstance(event, DetectorEpoch)
    ]


def test_a_training_stops_when_it_no_longer_learns_and_keeps_its_best_epoch(
    drawn: BoxedImages, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights: dict[float, object] = {}

    def score(detector: Detector, *_: object) -> float:
        ap = (0.0, 0.0, 0.5, 0.7, 0.6, 0.7)[len(weights)]
        state = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
        weights[len(weights) + 1] = state
        return ap

    monkeypatch.setattr(detector_training, "_score", score)
    events, trained = train_with_events(
        drawn.take(np.arange(8)), workspace, drawn.take(np.arange(8, 12)), epochs=9, patience=2
    )
    assert epochs_of(events) == [
        (1, 0.0, 1, False),
        (2, 0.0, 2, False),  # nothing is detected yet: it may still learn
        (3, 0.5, 3, False),
        (4, 0.7, 4, False),
        (5, 0.6, 4, False),
        (6, 0.7, 4, True),
    ]
    assert trained.epoch == 4
    kept = trained.detector.state_dict()
    best, last = weights[4], weights[6]
    assert isinstance(best, dict)
    assert isinstance(last, dict)
    assert all((kept[name] == best[name]).all() for name in kept)
    assert any((kept[name] != last[name]).any() for name in kept)


def test_without_patience_or_held_out_images_all_epochs_are_trained(
    drawn: BoxedImages, workspace: Workspace
) -> None:
    events, trained = train_with_events(drawn, workspace, None, patience=1)
    assert epochs_of(events) == [(1, None, 1, False), (2, None, 2, False)]
    assert trained.epoch == 2
    events, _ = train_with_events(drawn, workspace, drawn, patience=0)
    assert epochs_of(events) == [(1, None, 1, False), (2, None, 2, False)]


def test_the_digest_of_a_detector_without_patience_is_what_it_was(
    drawn: BoxedImages, workspace: Workspace
) -> None:
    key = detector_store.DetectorKey(
        settings=tiny().model_dump(mode="json"), data="d", weights="w", precision="32"
    )
    assert list(key.as_json()) == ["recipe", "data", "weights", "precision", "version"]
    assert "patience" not in key.settings
    held = train(drawn, workspace, drawn, epochs=1, patience=1)[1].folder
    other = train(drawn, workspace, drawn.take(np.arange(5)), epochs=1, patience=1)[1].folder
    assert len({held.path, other.path, train(drawn, workspace, epochs=1)[1].folder.path}) == 3


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_an_interrupted_training_remembers_its_best_epoch(
    drawn: BoxedImages,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    stop_after: int,
) -> None:
    settings = tiny(epochs=6, patience=2)
    scores_in_turn(monkeypatch, 0.7, 0.6, 0.5)
    stage = detector_training.train(drawn, settings, "none", workspace, OPTIONS, drawn)
    for event in stage:
        if isinstance(event, DetectorEpoch) and event.epoch == stop_after:
            break
    stage.close()
    scores_in_turn(monkeypatch, *(0.6, 0.5)[stop_after - 1 :])
    events, trained = finish(
        detector_training.train(drawn, settings, "none", workspace, OPTIONS, drawn)
    )
    assert [epoch for epoch, *_ in epochs_of(events)] == [2, 3][stop_after - 1 :]
    assert trained.epoch == 1


def test_the_time_of_a_training_is_estimated_after_its_first_steps(
    drawn: BoxedImages, workspace: Workspace
) -> None:
    events, _ = train_with_events(drawn, workspace, drawn, epochs=5, patience=1)
    [estimate] = [event for event in events if isinstance(event, DetectorEstimate)]
    before = [event for event in events[: events.index(estimate)] if isinstance(event, Progress)]
    assert len(before) == 1  # in the first epoch, of two steps
    assert (estimate.epochs, estimate.images) == (5, 12)
    assert estimate.seconds > 0
    assert estimate.seconds_per_image > 0


def test_fewer_boxes_take_more_epochs() -> None:
    assert [default_epochs(n) for n in (390, 5000, 195, 16, 1, 0)] == [6, 6, 12, 146, 1000, 1000]
    assert [default_patience(n) for n in (1, 6, 20, 146)] == [3, 3, 4, 29]


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
    while not isinstance(event := next(stage), DetectorEpoch) or event.epoch < 1:
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
