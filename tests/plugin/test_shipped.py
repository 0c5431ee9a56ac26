"""Contract of every shipped plugin, shrunk to a tiny network: it takes a step and embeds."""

import numpy as np
import pytest
import torch

from kitbox.network import inference
from kitbox.network.network import Network
from kitbox.network.trained_network import TrainedNetwork
from kitbox.plugin import discovery
from kitbox.plugin.samplers import PK
from kitbox.plugin.schedules import Multistep
from kitbox.samplers.batch_samplers import UNKNOWN
from kitbox.samplers.planner import build_planner
from kitbox.training import optimizer
from tests.photographs import TINY

NAMES = discovery.plugin_names(None)


@pytest.mark.parametrize("name", NAMES)
def test_a_plugin_takes_a_step_and_embeds_unit_rows(name: str) -> None:
    plugin = discovery.load(name, None).plugin
    shrunk = {"backbone": TINY, "image_size": 32, "batch_size": 12, "pooled_maps": (), "phases": ()}
    plugin = plugin.model_copy(update=shrunk)
    known = np.repeat(np.arange(6), 4)
    labels = np.append(known, [UNKNOWN] * 4) if plugin.unknown_share else known
    counts = np.tile(np.bincount(known), 2 if plugin.flip_identities else 1)
    plan = build_planner(plugin, labels, plugin.seed)
    vectors = np.eye(len(labels), dtype=np.float32)
    batch = plan.plan(1, vectors if plan.required_vectors(1) else None)[0]
    torch.manual_seed(0)
    trained = TrainedNetwork(Network(plugin), plugin, counts).train()
    pixels = torch.randint(0, 256, (len(batch), 32, 32, 3), dtype=torch.uint8)
    before = [parameter.detach().clone() for parameter in trained.parameters()]
    loss, terms = trained(pixels, torch.from_numpy(batch.labels), batch.learner)
    assert {loss.kind for loss in plugin.losses} <= set(terms)
    loss.backward()
    optimizer.build_optimizer(plugin, trained).step()
    moved = [bool((a != b).any()) for a, b in zip(before, trained.parameters(), strict=True)]
    assert all(moved)
    batches = [(pixels, torch.arange(len(batch)))]
    vectors, _ = next(
        inference.embed_batches(trained.network, batches, device="cpu", precision="32")
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


def test_the_first_gdsc_2020_networks_have_the_defaults_of_its_program() -> None:
    first = discovery.load("resnet34_224_triplet", None).plugin
    second = discovery.load("densenet121_224_triplet", None).plugin
    assert (first.backbone, second.backbone) == ("resnet34", "densenet121")
    assert second == first.model_copy(update={"backbone": "densenet121"})
    assert (first.height_width, first.embedding_dim, first.epochs) == ((224, 224), 256, 80)
    assert (first.learning_rate, first.final_learning_rate) == (2e-4, 1e-6)
    assert (first.weight_decay, first.warmup_epochs, first.gradient_clip) == (1e-3, 2, None)
    assert (first.losses[0].kind, first.losses[0].margin) == ("Triplet", "soft")
    assert first.losses[0].mining == "batch_hard"
    assert first.sampler == PK(images_per_label=4)
    assert first.batch_size / 4 == 16


def test_the_second_gdsc_2020_network_starts_from_the_first() -> None:
    for name, before in (
        ("resnet34_620", "resnet34_224_triplet"),
        ("densenet121_480", "densenet121_224_triplet"),
    ):
        after, first = (discovery.load(each, None).plugin for each in (name, before))
        for same in ("backbone", "embedding_dim", "neck", "pooling", "optimizer", "weight_decay"):
            assert getattr(after, same) == getattr(first, same)


def test_the_third_of_humpback_2019_has_the_settings_of_its_config() -> None:
    plugin = discovery.load("densenet121_320_humpback3rd", None).plugin
    assert (plugin.backbone, plugin.height_width) == ("densenet121", (320, 320))
    assert (plugin.losses[0].kind, plugin.losses[0].margin) == ("ArcFace", 0.5)
    assert plugin.losses[0].scale == 65.0
    assert (plugin.embedding_dim, plugin.dropout, plugin.flip_identities) == (512, 0.5, True)
    assert (plugin.epochs, plugin.batch_size, plugin.min_images_per_label) == (300, 32, 1)
    assert (plugin.learning_rate, plugin.weight_decay) == (5e-4, 5e-4)
    assert plugin.schedule == Multistep(milestones=(150, 200), factor=0.5)
    assert plugin.averaging is not None
    assert plugin.epochs - plugin.averaging.from_epoch + 1 == 10
    assert 1 + 2 * plugin.crop_margin == 1.3


def test_the_first_of_humpback_2019_has_the_settings_of_its_program() -> None:
    plugin = discovery.load("legacy_senet154_256x512_humpback1st", None).plugin
    hardest, triplet = plugin.losses
    assert (plugin.backbone, plugin.height_width) == ("legacy_senet154", (256, 512))
    assert (hardest.kind, round(hardest.hardest * 10_008)) == ("BinaryCrossEntropy", 30)
    assert (triplet.kind, triplet.margin, triplet.weight) == ("Triplet", 0.3, 1.0)
    assert (plugin.batch_size, plugin.unknown_share * plugin.batch_size) == (12 * 4, 12)
    assert (plugin.optimizer, plugin.weight_decay, plugin.gradient_clip) == ("adam", 2e-4, 5.0)
    assert plugin.learning_rate == plugin.final_learning_rate == 3e-4
    assert (plugin.dropout, plugin.flip_identities, plugin.pseudo_labels) == (0.2, True, True)
    assert [phase.min_images_per_label for phase in plugin.phases] == [10, None, None]
    assert [phase.rate for phase in plugin.phases] == [1.0, 1.0, 0.1]


def test_the_tenth_of_humpback_2019_has_the_settings_of_its_write_up() -> None:
    plugin = discovery.load("densenet169_672_humpback10th", None).plugin
    source = discovery.load("resnet50_224_divided", None).plugin
    assert (plugin.backbone, plugin.batch_size) == ("densenet169", 96)
    assert [phase.image_size or plugin.image_size for phase in plugin.phases] == [448, 672]
    assert plugin.schedule == Multistep(milestones=(100,), factor=0.1)
    assert plugin.divide is not None
    assert source.divide is not None
    assert (plugin.divide.learners, plugin.divide.every) == (8, 2)
    assert (source.divide.learners, source.divide.every) == (8, 2)
    assert (plugin.losses, plugin.sampler) == (source.losses, source.sampler)
