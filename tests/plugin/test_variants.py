"""Variants: every combination is built, named, written and found again; epochs are scaled."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.errors import KitboxError
from kitbox.network.backbone import is_backbone
from kitbox.plugin import discovery, variants
from kitbox.plugin.derivation import scale_epochs, with_settings
from kitbox.plugin.discovery import NamedPlugin
from kitbox.plugin.losses import ArcFace, Ramp, Triplet
from kitbox.plugin.plugin import Plugin
from kitbox.plugin.samplers import PK, Divide, Hardness, Shuffled
from kitbox.plugin.schedules import Multistep, Phase, Swa
from kitbox.plugin.variants import Budget, Variant
from kitbox.workspace import Workspace
from tests.plugin.test_plugin import ANOTHER, SMALL

OWN_EPOCHS = Budget()
BASE = NamedPlugin("resnet10t_64", Plugin(**SMALL), None, "test")


def combined(budget: Budget = OWN_EPOCHS, seeds: int = 1, base=BASE, **texts: str) -> list[Variant]:
    axes = {name: variants.axis_values(base.plugin, name, text) for name, text in texts.items()}
    return variants.combine(base, axes, budget, seeds)


def test_every_combination_is_built_once_and_named_by_its_differences() -> None:
    found = combined(
        image_size="64,64x64,64x128",
        backbone="base,resnet18",
        losses="base,Triplet(mining=semi_hard)",
        learning_rate="3e-4,1e-3",
    )
    names = [variant.name for variant in found]
    stems = ("resnet10t_64", "resnet18_64", "resnet10t_64x128", "resnet18_64x128")
    ends = ("", "_learning_rate_0.001")
    ends += tuple(f"_triplet_semi_hard{end}" for end in ends)
    assert names == [stem + end for stem in stems for end in ends]
    assert found[0].plugin == BASE.plugin
    assert found[-1].differs == (
        "image_size 64x128",
        "backbone resnet18",
        'Triplet(mining="semi_hard")',
        "learning_rate 0.001",
    )


@pytest.mark.parametrize("name", ["resnet10t_64", "resnet10t_64_own", "mine"])
def test_names_keep_the_pattern_and_the_suffix_of_the_base(name: str) -> None:
    base = NamedPlugin(name, BASE.plugin, None, "test")
    found = combined(base=base, image_size="96", losses="Triplet", budget=Budget(epochs=2))
    own = name.removeprefix("resnet10t_64").strip("_")
    assert [variant.name for variant in found] == [
        "_".join(part for part in ("resnet10t_96", own, "triplet_epochs_2") if part)
    ]
    named = NamedPlugin(found[0].name, found[0].plugin, None, "workspace")
    assert discovery.name_problem(named, is_backbone) is None


@pytest.mark.parametrize("name", [name for name in ANOTHER if name != "code"])
def test_a_written_file_holds_the_settings_of_the_variant(workspace: Workspace, name: str) -> None:
    plugin = with_settings(BASE.plugin, {name: ANOTHER[name]})
    variant = Variant("resnet10t_64_other", plugin, BASE.name, (f"{name} changed",))
    written = variants.write_variant(variant, Budget(), workspace)
    assert discovery.load("resnet10t_64_other", workspace).plugin == plugin
    assert written.path is not None
    assert max(map(len, written.path.read_text().splitlines())) <= 100


def test_a_written_file_names_its_base() -> None:
    [variant] = combined(budget=Budget(epochs=2), losses="ArcFace(margin=0.3)+Triplet")
    assert (
        variants.plugin_source(variant, Budget(epochs=2))
        == '''\
"""A variant of resnet10t_64.

Changed: ArcFace(margin=0.3)+Triplet(); epochs 2. ArcFace+Triplet needs the sampler PK(), not
Shuffled(). Budget: 2 epochs.
"""

from kitbox import PK, ArcFace, Plugin, Triplet

plugin = Plugin(
    backbone="resnet10t",
    image_size=64,
    losses=(ArcFace(margin=0.3), Triplet()),
    sampler=PK(),
    epochs=2,
    warmup_epochs=0.5,
)
'''
    )


@pytest.mark.parametrize(
    ("losses", "sampler", "expected"),
    [
        ((ArcFace(),), Shuffled(), Shuffled()),
        ((ArcFace(),), PK(), PK()),
        ((Triplet(),), Shuffled(), PK()),
        ((Triplet(),), PK(images_per_label=2), PK(images_per_label=2)),
        ((Triplet(mining="sequence"),), PK(), Hardness()),
        ((Triplet(),), Hardness(), PK()),
        ((ArcFace(),), Hardness(), Shuffled()),
    ],
)
def test_losses_get_the_sampler_that_they_need(losses: Any, sampler: Any, expected: Any) -> None:
    settings: dict[str, Any] = {"losses": (Triplet(mining="sequence"),), "batch_size": 24}
    own = settings if isinstance(sampler, Hardness) else {"batch_size": 24, "losses": (ArcFace(),)}
    plugin = Plugin(**SMALL, **own, sampler=sampler)
    changes, notes = variants.fit_sampler(plugin, {"losses": losses})
    assert changes.get("sampler", sampler) == expected
    assert bool(notes) == (expected != sampler)


def test_a_requested_sampler_is_kept() -> None:
    requested = {"losses": (ArcFace(),), "sampler": PK()}
    assert variants.fit_sampler(BASE.plugin, requested) == (requested, [])


def test_another_backbone_does_not_read_the_package_of_the_first() -> None:
    plugin = with_settings(BASE.plugin, {"weights": "package:some_weights"})
    base = NamedPlugin("resnet10t_64", plugin, None, "test")
    same, other = combined(base=base, backbone="base,resnet18")
    assert (same.plugin.weights, same.notes) == ("package:some_weights", ())
    assert other.plugin.weights == "file"
    assert other.notes == (
        "resnet18 reads its weights from a file: "
        "package:some_weights holds those of another backbone",
    )


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"dropot": "0.1"}, "'dropot' is not a setting of Plugin; did you mean dropout?"),
        ({"dropout": "0.1,,0.2"}, "dropout = '0.1,,0.2' has an empty part between its commas"),
        ({"losses": "ArcFaces"}, "'ArcFaces' is not a loss; did you mean ArcFace?"),
        (
            {"dropout": "2"},
            "resnet10t_64 with dropout 2: dropout = 2 should be less than 1",
        ),
        (
            {"losses": "Triplet", "batch_size": "30"},
            "resnet10t_64 with Triplet(), batch_size 30: "
            "batch_size = 30 is not a multiple of images_per_label = 4",
        ),
    ],
)
def test_an_invalid_combination_is_named(texts: dict[str, str], message: str) -> None:
    with pytest.raises(KitboxError) as caught:
        combined(**texts)
    assert str(caught.value) == message


def test_a_budget_that_is_too_small_is_refused_before_anything_is_written() -> None:
    plugin = with_settings(BASE.plugin, {"schedule": Multistep(milestones=(2, 3))})
    base = NamedPlugin("resnet10t_64", plugin, None, "test")
    with pytest.raises(KitboxError, match=r"^resnet10t_64 with this budget: milestones"):
        combined(base=base, budget=Budget(epochs=1))


def test_each_seed_is_a_plugin_of_its_own() -> None:
    found = combined(seeds=2, dropout="0.1")
    assert [variant.plugin.seed for variant in found] == [0, 1]
    assert [variant.name for variant in found] == [
        "resnet10t_64_dropout_0.1_seed_0",
        "resnet10t_64_dropout_0.1_seed_1",
    ]


def test_a_plugin_that_has_the_settings_already_is_found(workspace: Workspace) -> None:
    [variant] = combined(dropout="0.1")
    assert variants.find_existing(variant, Budget(), workspace) is None
    written = variants.write_variant(variant, Budget(), workspace)
    assert variants.find_existing(variant, Budget(), workspace) == written
    renamed = workspace.plugins / "resnet10t_64_mine.py"
    assert written.path is not None
    written.path.rename(renamed)
    found = variants.find_existing(variant, Budget(), workspace)
    assert found is not None
    assert found.name == "resnet10t_64_mine"


def test_a_budget_in_minutes_fixes_the_epochs_once(workspace: Workspace) -> None:
    budget = Budget(minutes=10)
    [variant] = combined(budget=budget, dropout="0.1")
    assert variant.name == "resnet10t_64_dropout_0.1_minutes_10"
    assert variants.find_existing(variant, budget, workspace) is None
    variants.write_variant(variants.variant_with_epochs(variant, 7), budget, workspace)
    found = variants.find_existing(variant, budget, workspace)
    assert found is not None
    assert (found.plugin.epochs, found.plugin.warmup_epochs) == (7, 1.75)


def test_a_taken_name_gets_the_base_appended(workspace: Workspace) -> None:
    (workspace.plugins / "resnet18_64.py").write_text(
        "from kitbox import Plugin\nplugin = Plugin(backbone='resnet18', image_size=64, epochs=9)\n"
    )
    [variant] = combined(backbone="resnet18")
    assert variant.name == "resnet18_64"
    assert (
        variants.write_variant(variant, Budget(), workspace).name == "resnet18_64_like_resnet10t_64"
    )
    found = variants.find_existing(variant, Budget(), workspace)
    assert found is not None
    assert found.name == "resnet18_64_like_resnet10t_64"
    other = variants.variant_with_epochs(variant, 2)
    with pytest.raises(KitboxError, match="resnet18_64 and resnet18_64_like_resnet10t_64 exist"):
        variants.write_variant(other, Budget(), workspace)


def trained_plugin(**settings: Any) -> Plugin:
    """Return a plugin of ten epochs."""
    ten_epochs = {"backbone": "resnet10t", "image_size": 64, "epochs": 10, "embedding_dim": 64}
    return Plugin.model_validate(ten_epochs | settings)


def test_scaling_to_the_same_epochs_changes_nothing() -> None:
    assert scale_epochs(trained_plugin(), 10) == trained_plugin()


def test_half_the_epochs_halve_every_setting_in_epochs() -> None:
    whole = trained_plugin(
        warmup_epochs=2,
        losses=[ArcFace(ramp=Ramp(epochs=4))],
        schedule=Multistep(milestones=(4, 8)),
        averaging=Swa(from_epoch=6),
        divide=Divide(whole_from=8, undivided_from=10),
    )
    half = scale_epochs(whole, 5)
    assert (half.epochs, half.warmup_epochs) == (5, 1)
    assert half.losses == (ArcFace(ramp=Ramp(epochs=2)),)
    assert half.schedule == Multistep(milestones=(2, 4))
    assert half.averaging == Swa(from_epoch=3)
    assert half.divide == Divide(whole_from=4, undivided_from=5)


def test_a_frozen_plugin_can_be_scaled_to_some_epochs() -> None:
    assert scale_epochs(trained_plugin(epochs=0), 3).warmup_epochs == 1


def test_phases_keep_their_shares() -> None:
    phases = [Phase(epochs=2, frozen_backbone=True), Phase(epochs=8, image_size=96)]
    found = scale_epochs(trained_plugin(phases=phases), 5).phases
    assert found == (Phase(epochs=1, frozen_backbone=True), Phase(epochs=4, image_size=96))


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.integers(1, 60))
def test_scaled_phases_are_complete_and_add_up(lengths: list[int], epochs: int) -> None:
    whole = trained_plugin(
        epochs=sum(lengths), phases=[Phase(epochs=n) for n in lengths], warmup_epochs=0
    )
    if epochs < len(lengths):
        with pytest.raises(KitboxError, match="phases do not fit into"):
            scale_epochs(whole, epochs)
        return
    found = [phase.epochs for phase in scale_epochs(whole, epochs).phases]
    assert len(found) == len(lengths)
    assert sum(found) == epochs
    assert min(found) >= 1


def test_milestones_that_do_not_fit_are_refused() -> None:
    whole = trained_plugin(schedule=Multistep(milestones=(8, 9)))
    with pytest.raises(KitboxError) as caught:
        scale_epochs(whole, 2)
    assert str(caught.value) == (
        "milestones = (8, 9) do not fit into 2 epochs; give it more, or another schedule"
    )


@pytest.mark.parametrize(
    ("budget", "part", "sentence"),
    [
        (Budget(), None, "Budget: its own epochs"),
        (Budget(epochs=1), "epochs_1", "Budget: 1 epoch"),
        (Budget(epochs=3), "epochs_3", "Budget: 3 epochs"),
        (
            Budget(minutes=10),
            "minutes_10",
            "Budget: as many epochs as fit into 10 minutes, by a few timed steps",
        ),
        (Budget(minutes=0.5), "minutes_0.5", "Budget: as many epochs as fit into 0.5 minutes"),
    ],
)
def test_a_budget_is_a_part_of_a_name_and_a_sentence(
    budget: Budget, part: str | None, sentence: str
) -> None:
    assert budget.part == part
    assert budget.sentence.startswith(sentence)


def test_views_are_compared_and_not_swept() -> None:
    with pytest.raises(KitboxError, match=r"^views change no training, so there is nothing to sw"):
        variants.axis_values(BASE.plugin, "views", "flip,plain")
