from typing import Any

import pytest

from kitbox.errors import KitboxError
from kitbox.plugin import discovery, variants
from kitbox.plugin.discovery import NamedPlugin
from kitbox.plugin.losses import ArcFace, Triplet
from kitbox.plugin.plugin import Plugin
from kitbox.plugin.samplers import PK, Hardness, Shuffled
from kitbox.plugin.schedules import Multistep
from kitbox.plugin.variants import Budget, Variant, with_settings
from kitbox.workspace import Workspace
from tests.plugin.test_plugin import ANOTHER, SMALL

OWN = Budget()
BASE = NamedPlugin("resnet10t_64", Plugin(**SMALL), None, "test")


def combined(budget: Budget = OWN, seeds: int = 1, base=BASE, **texts: str) -> list[Variant]:
    axes = {name: variants.axis_values(base.plugin, name, text) for name, text in texts.items()}
    return variants.combine(base, axes, budget, seeds)


def test_every_combination_is_built_once_and_named_by_its_differences() -> None:
    found = combined(
        image_size="64,64x64,64x128",
        backbone="base,resnet18",
        losses="base,Triplet(mining=semi_hard)",
        learning_rate="3e-4,1e-3",
    )
    names = [one.name for one in found]
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
    assert [one.name for one in found] == [
        "_".join(part for part in ("resnet10t_96", own, "triplet_epochs_2") if part)
    ]
    named = NamedPlugin(found[0].name, found[0].plugin, None, "workspace")
    assert discovery.name_problem(named) is None


@pytest.mark.parametrize("name", ANOTHER)
def test_a_written_file_holds_the_settings_of_the_variant(workspace: Workspace, name: str) -> None:
    plugin = with_settings(BASE.plugin, {name: ANOTHER[name]})
    one = Variant("resnet10t_64_other", plugin, BASE.name, (f"{name} changed",))
    written = variants.write_variant(one, Budget(), workspace)
    assert discovery.load("resnet10t_64_other", workspace).plugin == plugin
    assert written.path is not None
    assert max(map(len, written.path.read_text().splitlines())) <= 100


def test_a_written_file_names_its_base() -> None:
    [one] = combined(budget=Budget(epochs=2), losses="ArcFace(margin=0.3)+Triplet")
    assert (
        variants.plugin_source(one, Budget(epochs=2))
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
    ("losses", "sampler", "wanted"),
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
def test_losses_get_the_sampler_that_they_need(losses: Any, sampler: Any, wanted: Any) -> None:
    settings: dict[str, Any] = {"losses": (Triplet(mining="sequence"),), "batch_size": 24}
    own = settings if isinstance(sampler, Hardness) else {"batch_size": 24, "losses": (ArcFace(),)}
    plugin = Plugin(**SMALL, **own, sampler=sampler)
    changes, notes = variants.fit_sampler(plugin, {"losses": losses})
    assert changes.get("sampler", sampler) == wanted
    assert bool(notes) == (wanted != sampler)


def test_a_requested_sampler_is_kept() -> None:
    asked = {"losses": (ArcFace(),), "sampler": PK()}
    assert variants.fit_sampler(BASE.plugin, asked) == (asked, [])


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
    assert [one.plugin.seed for one in found] == [0, 1]
    assert [one.name for one in found] == [
        "resnet10t_64_dropout_0.1_seed_0",
        "resnet10t_64_dropout_0.1_seed_1",
    ]


def test_settings_of_an_existing_plugin_are_not_written_again(workspace: Workspace) -> None:
    [one] = combined(dropout="0.1")
    assert variants.find_existing(one, Budget(), workspace) is None
    written = variants.write_variant(one, Budget(), workspace)
    assert variants.find_existing(one, Budget(), workspace) == written
    renamed = workspace.plugins / "resnet10t_64_mine.py"
    assert written.path is not None
    written.path.rename(renamed)
    found = variants.find_existing(one, Budget(), workspace)
    assert found is not None
    assert found.name == "resnet10t_64_mine"


def test_a_budget_in_minutes_fixes_the_epochs_once(workspace: Workspace) -> None:
    budget = Budget(minutes=10)
    [one] = combined(budget=budget, dropout="0.1")
    assert one.name == "resnet10t_64_dropout_0.1_minutes_10"
    assert variants.find_existing(one, budget, workspace) is None
    variants.write_variant(variants.variant_with_epochs(one, 7), budget, workspace)
    found = variants.find_existing(one, budget, workspace)
    assert found is not None
    assert (found.plugin.epochs, found.plugin.warmup_epochs) == (7, 1.75)


def test_a_taken_name_gets_the_base_appended(workspace: Workspace) -> None:
    (workspace.plugins / "resnet18_64.py").write_text(
        "from kitbox import Plugin\nplugin = Plugin(backbone='resnet18', image_size=64, epochs=9)\n"
    )
    [one] = combined(backbone="resnet18")
    assert one.name == "resnet18_64"
    assert variants.write_variant(one, Budget(), workspace).name == "resnet18_64_like_resnet10t_64"
    found = variants.find_existing(one, Budget(), workspace)
    assert found is not None
    assert found.name == "resnet18_64_like_resnet10t_64"
    other = variants.variant_with_epochs(one, 2)
    with pytest.raises(KitboxError, match="resnet18_64 and resnet18_64_like_resnet10t_64 exist"):
        variants.write_variant(other, Budget(), workspace)
