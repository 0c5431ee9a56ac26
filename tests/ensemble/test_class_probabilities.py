from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from kitbox.ensemble import class_probabilities
from kitbox.ensemble.class_probabilities import ClassifierHead
from kitbox.network.checkpoint import Origin, save_checkpoint
from kitbox.network.network import Network
from kitbox.network.trained_network import TrainedNetwork
from kitbox.plugin.losses import ArcFace, CosFace, CrossEntropy, Focal, Loss, Triplet
from kitbox.plugin.plugin import Plugin
from kitbox.plugin.samplers import PK
from kitbox.records import Checkpoint, strings
from tests.photographs import tiny

LABELS = ("Ahab", "Boo", "Cid")


def saved(path: Path, plugin: Plugin, epoch: int = 2) -> tuple[TrainedNetwork, Checkpoint]:
    torch.manual_seed(0)
    trained = TrainedNetwork(Network(plugin), plugin, np.ones(len(LABELS), dtype=np.int64))
    settings = plugin.model_dump(mode="json")
    origin = Origin(
        plugin="tiny",
        settings=settings,
        fingerprint=plugin.fingerprint,
        labels=LABELS,
        epoch=epoch,
        on="holdout",
        data="d",
        weights="none",
        seed=0,
        precision="32",
    )
    return trained, save_checkpoint(path / "last.safetensors", trained, origin)


EMBEDDINGS = torch.randn(5, 16, generator=torch.Generator().manual_seed(1)) * 3


def test_a_linear_classifier_takes_the_length_of_embeddings(tmp_path: Path) -> None:
    trained, saved_checkpoint = saved(tmp_path, tiny(losses=[ArcFace(), CrossEntropy()]))
    own = class_probabilities.load_classifier(saved_checkpoint)
    assert own is not None
    assert own.homogeneous
    assert own.labels.tolist() == list(LABELS)
    with torch.inference_mode():
        expected = trained.heads[1].classifier(EMBEDDINGS).softmax(dim=1)  # type: ignore[union-attr,operator]
    with_one = normalize(torch.cat([EMBEDDINGS, torch.ones(5, 1)], dim=1)).numpy()
    np.testing.assert_allclose(own.probabilities(with_one), expected.numpy(), atol=1e-6)


def test_a_classifier_of_angles_is_used_without_its_margin(tmp_path: Path) -> None:
    trained, saved_checkpoint = saved(tmp_path, tiny(losses=[ArcFace(scale=4.0)]))
    own = class_probabilities.load_classifier(saved_checkpoint)
    assert own is not None
    assert not own.homogeneous
    weight = normalize(trained.state_dict()["heads.0.loss.W"], dim=0)
    expected = (4 * normalize(EMBEDDINGS) @ weight).softmax(dim=1)
    unit = normalize(EMBEDDINGS).numpy()
    np.testing.assert_allclose(own.probabilities(unit), expected.numpy(), atol=1e-6)


def test_the_nearest_of_several_centers_counts() -> None:
    points = {angle: (np.cos(np.radians(angle)), np.sin(np.radians(angle))) for angle in (0, 90)}
    directions = np.array([[points[0], points[90]], [points[0], points[0]]], dtype=np.float32)
    own = ClassifierHead(strings(["Ahab", "Boo"]), directions, None, 2.0)
    found = own.probabilities(np.array([points[90]], dtype=np.float32))
    # logits are 2·cos 0° = 2 and 2·cos 90° = 0
    assert found[0].tolist() == pytest.approx([np.e**2 / (np.e**2 + 1), 1 / (np.e**2 + 1)])


@pytest.mark.parametrize("loss", [ArcFace(centers=2, scale=4.0), CosFace(scale=4.0)], ids=repr)
def test_probabilities_equal_those_of_the_head_without_its_margin(
    tmp_path: Path, loss: Loss
) -> None:
    trained, saved_checkpoint = saved(tmp_path, tiny(losses=[Focal(), loss], dropout=0.5))
    own = class_probabilities._load_head(saved_checkpoint, 1, loss, strings(LABELS))
    assert own is not None
    with torch.inference_mode():
        expected = trained.heads[1].loss.get_logits(EMBEDDINGS).softmax(dim=1)  # type: ignore[union-attr,operator]
    unit = normalize(EMBEDDINGS).numpy()
    np.testing.assert_allclose(own.probabilities(unit), expected.numpy(), atol=1e-6)
    first = class_probabilities.load_classifier(saved_checkpoint)
    assert first is not None
    assert first.homogeneous  # the linear one goes before that of angles


def test_outputs_beyond_the_labels_have_probabilities_but_no_labels() -> None:
    directions = np.eye(4, dtype=np.float32)[:, None]
    own = ClassifierHead(strings(["Ahab", "Boo"]), directions, None, 1.0)
    found = own.probabilities(np.array([[0, 0, 1, 0]], dtype=np.float32))
    assert found[0].tolist() == pytest.approx([1 / (np.e + 3)] * 2)


@pytest.mark.parametrize(
    ("settings", "epoch"),
    [
        ({"losses": [Triplet()], "sampler": PK(images_per_label=2)}, 2),
        ({"losses": [ArcFace()]}, 0),
    ],
)
def test_a_network_trained_without_a_classifier_has_none(
    tmp_path: Path, settings: dict[str, object], epoch: int
) -> None:
    _, saved_checkpoint = saved(tmp_path, tiny(**settings), epoch)
    assert class_probabilities.load_classifier(saved_checkpoint) is None


def classifier_of(*labels: str) -> ClassifierHead:
    """Return a classifier whose probabilities are softmaxes of the vectors themselves."""
    directions = np.eye(len(labels), dtype=np.float32)[:, None]
    return ClassifierHead(strings(labels), directions, None, 1.0)


def logits(*rows: tuple[float, ...]) -> np.ndarray:
    """Return vectors whose softmax gives these probabilities."""
    return np.log(np.array(rows, dtype=np.float32))


def test_labels_of_several_classifiers_are_matched_by_name() -> None:
    parts = [
        (classifier_of("Ahab", "Boo"), logits((0.8, 0.2), (0.4, 0.6))),
        (classifier_of("Boo", "Ahab"), logits((0.1, 0.9), (0.9, 0.1))),
    ]
    found = class_probabilities.mean_predictions(strings(["t1", "t2"]), parts, np.array([0.5, 0.5]))
    assert found.labels.tolist() == ["Ahab", "Boo"]
    assert found.confidence.tolist() == pytest.approx([0.85, 0.75])
    assert found.gap.tolist() == pytest.approx([0.7, 0.5])


def test_a_label_that_a_classifier_lacks_has_probability_zero_by_it() -> None:
    parts = [
        (classifier_of("Ahab", "Cid"), logits((0.1, 0.9))),
        (classifier_of("Ahab", "Boo"), logits((0.6, 0.4))),
    ]
    found = class_probabilities.mean_predictions(strings(["t1"]), parts, np.array([0.25, 0.75]))
    # Ahab .25 · .1 + .75 · .6, Boo .75 · .4, Cid .25 · .9
    assert found.labels.tolist() == ["Ahab"]
    assert (found.confidence[0], found.second[0]) == pytest.approx((0.475, 0.3))


def test_one_label_alone_has_a_second_probability_of_zero() -> None:
    found = class_probabilities.mean_predictions(
        strings(["t1"]), [(classifier_of("Ahab"), logits((1.0,)))], np.array([1.0])
    )
    assert (found.confidence[0], found.second[0]) == pytest.approx((1, 0))


def test_predictions_do_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    rows = generator.dirichlet([1, 1, 1], size=7).astype(np.float32)
    parts = [(classifier_of("Ahab", "Boo", "Cid"), np.log(rows))]
    ids = strings([f"t{row}" for row in range(7)])
    monkeypatch.setattr(class_probabilities, "_BLOCK_SIZE", 6)  # two images at a time
    found = class_probabilities.mean_predictions(ids, parts, np.array([1.0]))
    assert found.labels.tolist() == [("Ahab", "Boo", "Cid")[row] for row in rows.argmax(axis=1)]
    np.testing.assert_allclose(found.confidence, rows.max(axis=1), rtol=1e-5)
    np.testing.assert_allclose(found.second, np.sort(rows, axis=1)[:, -2], rtol=1e-5)
