"""The classifier of a checkpoint gives the probabilities that its head was trained to give."""

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


def test_a_linear_classifier_is_given_the_length_of_embeddings(tmp_path: Path) -> None:
    trained, kept = saved(tmp_path, tiny(losses=[ArcFace(), CrossEntropy()]))
    own = class_probabilities.load_classifier(kept)
    assert own is not None
    assert own.homogeneous
    assert own.labels.tolist() == list(LABELS)
    with torch.inference_mode():
        expected = trained.heads[1].classifier(EMBEDDINGS).softmax(dim=1)  # type: ignore[union-attr,operator]
    with_one = normalize(torch.cat([EMBEDDINGS, torch.ones(5, 1)], dim=1)).numpy()
    np.testing.assert_allclose(own.probabilities(with_one), expected.numpy(), atol=1e-6)


def test_a_classifier_of_angles_is_asked_without_its_margin(tmp_path: Path) -> None:
    trained, kept = saved(tmp_path, tiny(losses=[ArcFace(scale=4.0)]))
    own = class_probabilities.load_classifier(kept)
    assert own is not None
    assert not own.homogeneous
    weight = normalize(trained.state_dict()["heads.0.loss.W"], dim=0)
    expected = (4 * normalize(EMBEDDINGS) @ weight).softmax(dim=1)
    unit = normalize(EMBEDDINGS).numpy()
    np.testing.assert_allclose(own.probabilities(unit), expected.numpy(), atol=1e-6)


def test_the_best_of_several_centers_counts() -> None:
    points = {angle: (np.cos(np.radians(angle)), np.sin(np.radians(angle))) for angle in (0, 90)}
    directions = np.array([[points[0], points[90]], [points[0], points[0]]], dtype=np.float32)
    own = ClassifierHead(strings(["Ahab", "Boo"]), directions, None, 2.0)
    found = own.probabilities(np.array([points[90]], dtype=np.float32))
    # logits are 2·cos 0° = 2 and 2·cos 90° = 0
    assert found[0].tolist() == pytest.approx([np.e**2 / (np.e**2 + 1), 1 / (np.e**2 + 1)])


@pytest.mark.parametrize("loss", [ArcFace(centers=2, scale=4.0), CosFace(scale=4.0)], ids=repr)
def test_the_head_itself_says_the_same_without_its_margin(tmp_path: Path, loss: Loss) -> None:
    trained, kept = saved(tmp_path, tiny(losses=[Focal(), loss], dropout=0.5))
    own = class_probabilities._load_head(kept, 1, loss, strings(LABELS))
    assert own is not None
    with torch.inference_mode():
        expected = trained.heads[1].loss.get_logits(EMBEDDINGS).softmax(dim=1)  # type: ignore[union-attr,operator]
    unit = normalize(EMBEDDINGS).numpy()
    np.testing.assert_allclose(own.probabilities(unit), expected.numpy(), atol=1e-6)
    first = class_probabilities.load_classifier(kept)
    assert first is not None
    assert first.homogeneous  # the linear one goes before that of angles


def test_outputs_beyond_the_labels_take_their_share_and_answer_nothing() -> None:
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
def test_a_network_that_learnt_no_classifier_has_none(
    tmp_path: Path, settings: dict[str, object], epoch: int
) -> None:
    _, kept = saved(tmp_path, tiny(**settings), epoch)
    assert class_probabilities.load_classifier(kept) is None
