"""Several classifiers make one guess: labels meet by name."""

import numpy as np
import pytest

from kitbox.ensemble import class_probabilities
from kitbox.ensemble.class_probabilities import ClassifierHead
from kitbox.records import strings


def knowing(*labels: str) -> ClassifierHead:
    """Return a classifier whose probabilities are softmaxes of the vectors themselves."""
    directions = np.eye(len(labels), dtype=np.float32)[:, None]
    return ClassifierHead(strings(labels), directions, None, 1.0)


def logits(*rows: tuple[float, ...]) -> np.ndarray:
    """Return vectors whose softmax gives these probabilities."""
    return np.log(np.array(rows, dtype=np.float32))


def test_labels_of_several_classifiers_meet_by_name() -> None:
    parts = [
        (knowing("Ahab", "Boo"), logits((0.8, 0.2), (0.4, 0.6))),
        (knowing("Boo", "Ahab"), logits((0.1, 0.9), (0.9, 0.1))),
    ]
    found = class_probabilities.mean_predictions(strings(["t1", "t2"]), parts, np.array([0.5, 0.5]))
    assert found.labels.tolist() == ["Ahab", "Boo"]
    assert found.confidence.tolist() == pytest.approx([0.85, 0.75])
    assert found.gap.tolist() == pytest.approx([0.7, 0.5])


def test_a_label_that_a_classifier_does_not_know_is_unlikely_to_it() -> None:
    parts = [
        (knowing("Ahab", "Cid"), logits((0.1, 0.9))),
        (knowing("Ahab", "Boo"), logits((0.6, 0.4))),
    ]
    found = class_probabilities.mean_predictions(strings(["t1"]), parts, np.array([0.25, 0.75]))
    # Ahab .25 · .1 + .75 · .6, Boo .75 · .4, Cid .25 · .9
    assert found.labels.tolist() == ["Ahab"]
    assert (found.confidence[0], found.second[0]) == pytest.approx((0.475, 0.3))


def test_one_label_alone_has_no_second() -> None:
    found = class_probabilities.mean_predictions(
        strings(["t1"]), [(knowing("Ahab"), logits((1.0,)))], np.array([1.0])
    )
    assert (found.confidence[0], found.second[0]) == pytest.approx((1, 0))


def test_parts_of_the_images_are_taken_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    rows = generator.dirichlet([1, 1, 1], size=7).astype(np.float32)
    parts = [(knowing("Ahab", "Boo", "Cid"), np.log(rows))]
    ids = strings([f"t{row}" for row in range(7)])
    monkeypatch.setattr(class_probabilities, "_BLOCK_SIZE", 6)  # two images at a time
    found = class_probabilities.mean_predictions(ids, parts, np.array([1.0]))
    assert found.labels.tolist() == [("Ahab", "Boo", "Cid")[row] for row in rows.argmax(axis=1)]
    np.testing.assert_allclose(found.confidence, rows.max(axis=1), rtol=1e-5)
    np.testing.assert_allclose(found.second, np.sort(rows, axis=1)[:, -2], rtol=1e-5)
