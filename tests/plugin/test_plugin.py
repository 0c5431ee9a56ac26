"""Plugins: fingerprints cover every setting, and settings that cannot work are refused."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import kitbox
from kitbox.plugin import discovery
from kitbox.plugin.derivation import with_settings
from kitbox.plugin.losses import ArcFace, CrossEntropy, Loss, Triplet
from kitbox.plugin.plugin import Plugin
from kitbox.plugin.samplers import PK, Balanced, Divide, Shuffled
from kitbox.plugin.schedules import Ema, Multistep, Phase
from kitbox.value import explain

SMALL: dict[str, Any] = {"backbone": "resnet10t", "image_size": 64, "epochs": 4}

# Fingerprint of a plugin with all defaults; it changes only with an entry in "Scores may move".
DEFAULTS = "cc9a45671ddc2724ecbe69ff092697ba544cb5546f7d801c652a0c438232fa60"
SHIPPED: dict[str, str] = json.loads(
    Path(__file__).with_name("fingerprints.json").read_text("utf-8")
)

# For each setting a value that is neither SMALL's nor the default.
ANOTHER = {
    "backbone": "resnet18",
    "image_size": (64, 128),
    "weights": "none",
    "pooling": "gem",
    "gem_power": 4.0,
    "pooled_maps": (2, 3),
    "embedding_dim": None,
    "neck": "none",
    "dropout": 0.1,
    "drop_path": 0.1,
    "frozen_batchnorm": True,
    "synchronised_batchnorm": True,
    "checkpointing": True,
    "train_last_blocks": 4,
    "embedding_mixup": 0.2,
    "divide": Divide(),
    "unknown_share": 0.25,
    "box_choice": "random",
    "flip_identities": True,
    "phases": (Phase(epochs=1, frozen_backbone=True), Phase(epochs=3)),
    "accumulate": 2,
    "layer_decay": 0.8,
    "schedule": Multistep(milestones=(2,)),
    "averaging": Ema(),
    "losses": (ArcFace(margin=0.4),),
    "sampler": PK(),
    "augmentation": "none",
    "crop": False,
    "crop_margin": 0.1,
    "min_images_per_label": 2,
    "ignored_labels": ("boat",),
    "pseudo_labels": True,
    "epochs": 5,
    "batch_size": 16,
    "optimizer": "sgd",
    "learning_rate": 1e-3,
    "head_learning_rate": 1e-2,
    "final_learning_rate": 1e-5,
    "weight_decay": 0.0,
    "warmup_epochs": 2.0,
    "gradient_clip": None,
    "score_every": 1,
    "seed": 1,
    "views": ("plain", "flip"),
    "code": {"mymodels.py": "0" * 64},
}


@pytest.mark.parametrize(("name", "fingerprint"), SHIPPED.items())
def test_a_published_plugin_keeps_its_fingerprint(name: str, fingerprint: str) -> None:
    assert discovery.load(name, None).plugin.fingerprint == fingerprint


def test_the_fingerprint_of_every_shipped_plugin_is_recorded() -> None:
    assert set(SHIPPED) == set(discovery.plugin_names(None))


def test_the_defaults_keep_their_fingerprint() -> None:
    plugin = Plugin(backbone="resnet34", image_size=64, epochs=1, warmup_epochs=0)
    assert plugin.fingerprint == DEFAULTS


def test_another_value_of_every_setting_is_listed() -> None:
    assert set(ANOTHER) == set(Plugin.model_fields)


def test_views_are_no_part_of_the_fingerprint_and_the_record() -> None:
    plugin = Plugin(**SMALL, views=("plain", "flip"))
    assert plugin != Plugin(**SMALL)
    assert plugin.fingerprint == Plugin(**SMALL).fingerprint
    assert plugin.recorded == Plugin(**SMALL).recorded


@pytest.mark.parametrize("name", [name for name in ANOTHER if name != "views"])
def test_every_setting_is_part_of_the_fingerprint(name: str) -> None:
    assert Plugin(**{**SMALL, name: ANOTHER[name]}).fingerprint != Plugin(**SMALL).fingerprint


@pytest.mark.parametrize(
    ("loss", "other"),
    [
        (ArcFace(), ArcFace(scale=31)),
        (ArcFace(), ArcFace(weight=2)),
        (ArcFace(), CrossEntropy()),
        (CrossEntropy(), CrossEntropy(label_smoothing=0.1)),
    ],
)
def test_every_setting_of_a_loss_is_part_of_the_fingerprint(loss: Loss, other: Loss) -> None:
    one, two = (Plugin(**SMALL, losses=(each,)).fingerprint for each in (loss, other))
    assert one != two


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"losses": [ArcFace()]}, {"losses": (ArcFace(),)}),
        ({"losses": [{"kind": "ArcFace"}]}, {"losses": (ArcFace(),)}),
        ({"weight_decay": 0}, {"weight_decay": 0.0}),
        ({"sampler": Shuffled()}, {}),
    ],
)
def test_equal_settings_written_differently_have_one_fingerprint(
    one: dict[str, Any], two: dict[str, Any]
) -> None:
    assert Plugin(**SMALL, **one).fingerprint == Plugin(**SMALL, **two).fingerprint


def test_settings_survive_json() -> None:
    alone = {"unknown_share": 0.0, "flip_identities": False}  # divide excludes these
    plugin = Plugin(**{**SMALL, **ANOTHER, **alone, "epochs": 4, "embedding_dim": 128})
    again = Plugin.read(json.loads(plugin.model_dump_json()))
    assert again == plugin
    assert again.fingerprint == plugin.fingerprint


@pytest.mark.parametrize(
    ("pooling", "recorded"),
    [(None, "average"), ("average", "mean"), ("gem", "gem"), ("cls+mean", "cls+mean")],
)
def test_a_pooling_that_is_left_open_is_recorded_as_the_default_of_old(
    pooling: str | None, recorded: str
) -> None:
    plugin = Plugin(**SMALL, pooling=pooling)
    assert plugin.model_dump(mode="json")["pooling"] == recorded
    assert Plugin.read(plugin.model_dump(mode="json")) == plugin
    assert with_settings(plugin, {"seed": 1}).pooling == pooling


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"losses": ()}, "losses is empty but epochs = 4; name a loss"),
        (
            {"losses": (Triplet(),)},
            "a Triplet loss needs several images of a label; set sampler=PK()",
        ),
        (
            {"losses": (ArcFace(), Triplet())},
            "a Triplet loss needs several images of a label; set sampler=PK()",
        ),
        (
            {"sampler": PK(images_per_label=3), "batch_size": 32},
            "batch_size = 32 is not a multiple of images_per_label = 3",
        ),
        (
            {"sampler": PK(images_per_label=8), "batch_size": 8},
            "a PK batch needs two labels; raise batch_size",
        ),
        (
            {"learning_rate": 1e-3, "final_learning_rate": 2e-3},
            "final_learning_rate = 0.002 is above learning_rate = 0.001",
        ),
        ({"warmup_epochs": 5}, "warmup_epochs = 5.0 exceeds epochs = 4"),
        ({"image_size": 5}, "image_size = 5 should be greater than or equal to 16"),
        ({"image_size": 8192}, "image_size = 8192 should be less than or equal to 4096"),
        ({"batch_size": 1}, "batch_size = 1 should be greater than or equal to 2"),
        ({"dropout": 1}, "dropout = 1 should be less than 1"),
        ({"learning_rate": 0}, "learning_rate = 0 should be greater than 0"),
        (
            {"weights": "imagenet"},
            "weights = 'imagenet' is none of hub, file, file:NAME, package:NAME, local-dir:FOLDER, "
            "hf-hub:OWNER/NAME and none; a path is given to 'kitbox train NAME --weights FILE'",
        ),
        (
            {"pooling": "max"},
            "pooling = 'max' should be 'average', 'gem', 'gem_learned', 'cls', 'cls+mean' or "
            "'native'",
        ),
        ({"train_last_blocks": -1}, "train_last_blocks = -1 should be greater than or equal to 0"),
        ({"bacth_size": 16}, "'bacth_size' is not a setting of Plugin; did you mean batch_size?"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Plugin(**{**SMALL, **settings})
    assert explain(caught.value) == message


@pytest.mark.parametrize("name", ["backbone", "image_size", "epochs"])
def test_settings_without_a_sensible_default_are_required(name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Plugin(**{key: value for key, value in SMALL.items() if key != name})
    assert explain(caught.value) == f"{name} is missing"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"margin": math.pi / 2}, f"margin = {math.pi / 2} should be less than {math.pi / 2}"),
        ({"margin": -0.1}, "margin = -0.1 should be greater than or equal to 0"),
        ({"scale": 0}, "scale = 0 should be greater than 0"),
        ({"margn": 0.5}, "'margn' is not a setting of ArcFace; did you mean margin?"),
    ],
)
def test_an_arcface_that_cannot_work_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ArcFace(**settings)
    assert explain(caught.value) == message


@pytest.mark.parametrize(
    "settings",
    [
        {"sampler": PK(coverage="random")},
        {"sampler": Balanced()},
        {"unknown_share": 0.25},
        {"flip_identities": True},
        {"phases": (Phase(epochs=2, min_images_per_label=3), Phase(epochs=2))},
    ],
)
def test_divide_needs_every_image_in_every_epoch(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        Plugin(**{**SMALL, "divide": Divide(), **settings})
    assert explain(caught.value) == (
        "divide excludes unknown_share, flip_identities and min_images_per_label of a phase, "
        "and needs a sampler that shows every image: Shuffled or PK(coverage='full')"
    )


def test_undivided_epochs_come_after_whole_ones() -> None:
    assert Divide(whole_from=5, undivided_from=5)
    with pytest.raises(ValidationError) as caught:
        Divide(whole_from=6, undivided_from=5)
    assert explain(caught.value) == "whole_from = 6 is after undivided_from = 5"


@pytest.mark.parametrize("margin", [-1, "hard"])
def test_the_margin_of_a_triplet_loss_is_a_distance_or_soft(margin: Any) -> None:
    assert Triplet(margin="soft").margin == "soft"
    with pytest.raises(ValidationError) as caught:
        Triplet(margin=margin)
    assert explain(caught.value).startswith(f"margin = {margin!r} should be ")


def test_a_plugin_without_epochs_needs_no_loss() -> None:
    plugin = Plugin(backbone="resnet10t", image_size=64, epochs=0, losses=())
    assert plugin.losses == ()


@pytest.mark.parametrize(
    ("loss", "needs"), [(ArcFace(), False), (CrossEntropy(), False), (Triplet(), True)]
)
def test_a_loss_declares_whether_it_needs_pairs(loss: Loss, needs: bool) -> None:
    assert loss.needs_pairs is needs


@pytest.mark.parametrize(
    ("size", "height_width", "pixels"),
    [
        (620, (620, 620), "620"),
        ((160, 320), (160, 320), "160x320"),
        ((64, 64), (64, 64), "64"),
    ],
)
def test_an_image_size_is_height_and_width(size: Any, height_width: Any, pixels: str) -> None:
    plugin = Plugin(**{**SMALL, "image_size": size})
    assert (plugin.height_width, plugin.pixels) == (height_width, pixels)


def test_kitbox_exports_the_vocabulary() -> None:
    assert kitbox.Plugin is Plugin
    assert all(getattr(kitbox, name) is not None for name in kitbox.__all__)
    with pytest.raises(AttributeError, match="module 'kitbox' has no attribute 'SubCenterArcFace'"):
        kitbox.SubCenterArcFace  # noqa: B018


def test_the_public_names_are_listed() -> None:
    assert dir(kitbox) == sorted(kitbox.__all__)
