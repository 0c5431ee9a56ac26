"""The contract of every shipped plugin, shrunk to a tiny network: one step, unit rows out."""

import numpy as np
import pytest
import torch

from kitbox.network import inference
from kitbox.network.heads import TrainedNetwork
from kitbox.network.network import Network
from kitbox.plugin import discovery
from kitbox.training import preparation
from kitbox.training.planning import planner
from tests.photographs import TINY

NAMES = discovery.names(None)


@pytest.mark.parametrize("name", NAMES)
def test_a_plugin_takes_a_step_and_gives_unit_rows(name: str) -> None:
    plugin = discovery.load(name, None).plugin
    shrunk = {"backbone": TINY, "image_size": 32, "batch_size": 12, "pooled_maps": ()}
    plugin = plugin.model_copy(update=shrunk)
    labels = np.repeat(np.arange(6), 4)
    plan = planner(plugin, labels, plugin.seed)
    vectors = np.eye(len(labels), dtype=np.float32)
    batch = plan.plan(1, vectors if plan.needs(1) else None)[0]
    torch.manual_seed(0)
    trained = TrainedNetwork(Network(plugin), plugin, np.bincount(labels)).train()
    pixels = torch.randint(0, 256, (len(batch), 32, 32, 3), dtype=torch.uint8)
    before = [parameter.detach().clone() for parameter in trained.parameters()]
    loss, terms = trained(pixels, torch.from_numpy(batch.labels), batch.learner)
    assert {loss.kind for loss in plugin.losses} <= set(terms)
    loss.backward()
    preparation.optimizer(plugin, trained).step()
    moved = [bool((a != b).any()) for a, b in zip(before, trained.parameters(), strict=True)]
    assert all(moved)
    batches = [(pixels, torch.arange(len(batch)))]
    vectors, _ = next(
        inference.unit_vectors(trained.network, batches, device="cpu", precision="32")
    )
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_the_gdsc_2020_plugins_have_the_settings_of_the_solution() -> None:
    first = discovery.load("resnet34_620", None).plugin
    second = discovery.load("densenet121_480", None).plugin
    assert (first.backbone, first.height_width, first.batch_size) == ("resnet34", (620, 620), 32)
    assert (second.backbone, second.height_width) == ("densenet121", (480, 480))
    assert (first.epochs, first.dropout, first.pseudo_labels) == (70, 0.0, True)
    assert (second.epochs, second.dropout, second.pseudo_labels) == (90, 0.5, False)
    assert second.batch_size == 16
    for plugin in (first, second):
        assert (plugin.learning_rate, plugin.final_learning_rate) == (2.5e-4, 5e-5)
        assert (plugin.embedding_dim, plugin.weight_decay) == (256, 1e-3)
        assert plugin.gradient_clip is None
        assert [loss.kind for loss in plugin.losses] == ["ArcFace", "CrossEntropy"]
        assert (plugin.losses[0].margin, plugin.losses[0].scale) == (0.5, 30.0)
