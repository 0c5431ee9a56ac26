"""Contract of every shipped plugin: its layout, and shrunk to a tiny network a step."""

from dataclasses import dataclass

import numpy as np
import pytest
import timm
import torch

from kitbox.network import inference
from kitbox.network.backbone import data_config
from kitbox.network.network import Network
from kitbox.network.trained_network import TrainedNetwork
from kitbox.plugin import discovery
from kitbox.plugin.losses import ArcFace
from kitbox.plugin.samplers import PK
from kitbox.plugin.schedules import Ema, Multistep
from kitbox.samplers.batch_samplers import UNKNOWN
from kitbox.samplers.planner import build_planner
from kitbox.training import optimizer
from tests.photographs import TINY

NAMES = discovery.plugin_names(None)
# A small network of the family, and a size that it takes, for those that TINY does not stand for.
FAMILIES = {
    "convnext_base_384": ("test_convnext", 32),
    "dinov2_base_518": ("test_vit", 32),
    "dinov3_base_256": ("test_vit", 32),
    "eva02_large_448": ("eva02_tiny_patch14_224", 28),
    "megadescriptor_t_224": ("swin_tiny_patch4_window7_224", 56),
}


# With settings that only one plugin has: megadescriptor_l_384 is megadescriptor_t_224, but larger.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "megadescriptor_l_384"])
def test_a_plugin_takes_a_step_and_embeds_unit_rows(name: str) -> None:
    plugin = discovery.load(name, None).plugin
    backbone, side = FAMILIES.get(name, (TINY, 32))
    shrunk = {
        "backbone": backbone,
        "image_size": side,
        "batch_size": 12,
        "pooled_maps": (),
        "phases": (),
    }
    plugin = plugin.model_copy(update=shrunk)
    if plugin.frozen:  # a copy of it is trained so
        plugin = plugin.model_copy(update={"losses": (ArcFace(),), "epochs": 1})
    known = np.repeat(np.arange(6), 4)
    labels = np.append(known, [UNKNOWN] * 4) if plugin.unknown_share else known
    counts = np.tile(np.bincount(known), 2 if plugin.flip_identities else 1)
    plan = build_planner(plugin, labels, plugin.seed)
    vectors = np.eye(len(labels), dtype=np.float32)
    batch = plan.plan(1, vectors if plan.required_vectors(1) else None)[0]
    torch.manual_seed(0)
    trained = TrainedNetwork(Network(plugin), plugin, counts).train()
    pixels = torch.randint(0, 256, (len(batch), side, side, 3), dtype=torch.uint8)
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


@dataclass(frozen=True)
class Layout:
    """What is known of a network; `features` is its last map or what is pooled."""

    dimensions: int
    millions: float
    features: tuple[int, ...]
    tensors: dict[str, tuple[int, ...]]


LAYOUTS = {
    "convnext_base_384": Layout(
        512, 88.1, (1024, 12, 12), {"backbone.stem.0.weight": (128, 3, 4, 4)}
    ),
    "dinov2_base_518": Layout(
        768,
        86.6,
        (768,),
        {
            "backbone.cls_token": (1, 1, 768),
            "backbone.pos_embed": (1, 1 + 37 * 37, 768),
            "backbone.patch_embed.proj.weight": (768, 3, 14, 14),
        },
    ),
    "dinov3_base_256": Layout(
        768,
        85.6,
        (768,),
        {
            "backbone.cls_token": (1, 1, 768),
            "backbone.reg_token": (1, 4, 768),
            "backbone.patch_embed.proj.weight": (768, 3, 16, 16),
        },
    ),
    "eva02_large_448": Layout(
        1024,
        304.1,
        (1024, 32 * 32, 1),
        {
            "backbone.fc_norm.weight": (1024,),
            "backbone.pos_embed": (1, 1 + 32 * 32, 1024),
            "pooling.powers": (1,),
            "neck.1.running_mean": (1024,),
        },
    ),
    "megadescriptor_l_384": Layout(
        1536,
        195.2,
        (1536, 12, 12),
        {
            "backbone.patch_embed.proj.weight": (192, 3, 4, 4),
            "backbone.layers.0.blocks.0.attn.relative_position_bias_table": (23 * 23, 6),
            "backbone.norm.weight": (1536,),
        },
    ),
    "megadescriptor_t_224": Layout(
        768,
        27.5,
        (768, 7, 7),
        {
            "backbone.patch_embed.proj.weight": (96, 3, 4, 4),
            "backbone.layers.0.blocks.0.attn.relative_position_bias_table": (13 * 13, 3),
        },
    ),
    "miewid_msv3_440": Layout(
        2152,
        51.1,
        (2152, 14, 14),
        {
            "backbone.conv_stem.weight": (32, 3, 3, 3),
            "backbone.bn1.running_mean": (32,),
            "backbone.conv_head.weight": (2152, 328, 1, 1),
            "backbone.bn2.running_var": (2152,),
            "pooling.powers": (1,),
            "neck.1.weight": (2152,),
            "neck.1.running_var": (2152,),
        },
    ),
}


# One plugin of each backbone.
EACH_BACKBONE = {discovery.load(name, None).plugin.backbone: name for name in NAMES}.values()


@pytest.mark.parametrize("name", EACH_BACKBONE)
def test_the_network_of_a_plugin_runs_at_its_size(name: str) -> None:
    """On the meta device, so that it has no weights and no result, but shapes."""
    plugin = discovery.load(name, None).plugin
    with torch.device("meta"), torch.no_grad():
        network = Network(plugin).eval()
        pixels = torch.zeros((1, *plugin.height_width, 3), dtype=torch.uint8)
        maps = network.feature_maps.compute(network.backbone, network.normalisation(pixels))
        embeddings = network.neck(network.pooling(maps))
    assert embeddings.shape == (1, network.embedding_dim)
    if name not in LAYOUTS:
        return
    layout, state = LAYOUTS[name], network.state_dict()
    assert network.embedding_dim == layout.dimensions
    assert maps[0].shape[1:] == layout.features
    parameters = sum(p.numel() for p in network.parameters()) / 1e6
    assert parameters == pytest.approx(layout.millions, abs=0.1)
    assert {key: tuple(state[key].shape) for key in layout.tensors} == layout.tensors


@pytest.mark.parametrize("name", NAMES)
def test_a_plugin_states_the_source_and_the_licence_of_its_weights(name: str) -> None:
    terms = discovery.load(name, None).terms
    assert terms.source
    assert terms.licence


def test_the_licences_are_those_that_the_owners_state() -> None:
    licences = {name: discovery.load(name, None).terms.licence for name in LAYOUTS}
    assert licences == {
        "convnext_base_384": "Apache-2.0",
        "dinov2_base_518": "Apache-2.0",
        "dinov3_base_256": "DINOv3 License",
        "eva02_large_448": "MIT",
        "megadescriptor_l_384": "CC-BY-NC-4.0",
        "megadescriptor_t_224": "CC-BY-NC-4.0",
        "miewid_msv3_440": "not stated",
    }
    for name, licence in licences.items():
        plugin = discovery.load(name, None).plugin
        if plugin.weights == "hub":
            in_timm = timm.models.get_pretrained_cfg(plugin.backbone).license
            assert licence.lower().replace(" ", "-") == in_timm


def test_networks_of_others_are_frozen_and_normalised_by_imagenet() -> None:
    frozen = {name for name in NAMES if discovery.load(name, None).plugin.frozen}
    frozen.remove("tf_efficientnet_lite0_224_frozen")  # normalised as its authors did
    assert frozen == {*LAYOUTS} - {"convnext_base_384", "eva02_large_448"}
    for name in frozen:
        plugin = discovery.load(name, None).plugin
        assert (plugin.embedding_dim, plugin.losses, plugin.dropout) == (None, (), 0)
        config = data_config(plugin.backbone)
        assert (config.mean, config.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_the_fourth_of_jaguars_2026_has_the_settings_of_its_program() -> None:
    plugin = discovery.load("eva02_large_448", None).plugin
    assert (plugin.pooling, plugin.gem_power, plugin.neck) == ("gem_learned", 3.0, "batchnorm")
    assert (plugin.losses[0].kind, plugin.losses[0].margin) == ("ArcFace", 0.5)
    assert plugin.losses[0].scale == 30.0
    assert (plugin.epochs, plugin.batch_size, plugin.accumulate) == (20, 4, 4)
    assert plugin.averaging == Ema(decay=0.999)
    assert plugin.checkpointing


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
