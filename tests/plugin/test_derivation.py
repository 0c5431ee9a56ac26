"""Derived plugins: the name holds the changed settings, and every command reads it."""

import pytest

from kitbox.errors import KitboxError
from kitbox.plugin import derivation, discovery
from kitbox.plugin.plugin import Plugin
from kitbox.workspace import Workspace
from tests.photographs import tiny, write_plugin

BASE = tiny(epochs=10, warmup_epochs=2, learning_rate=1e-3, final_learning_rate=1e-4)


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("a@epochs=2", "a@epochs=2"),
        ("a@learning_rate=1e-3,epochs=2", "a@epochs=2,learning_rate=0.001"),
        ("a@image_size=64x64", "a@image_size=64"),
        ("a@image_size=64x96,pooling=gem", "a@image_size=64x96,pooling=gem"),
        ("a", "a"),
    ],
)
def test_a_name_is_written_in_one_way(name: str, canonical: str) -> None:
    base, changes = derivation.split_name(name)
    assert derivation.join_name(base, changes) == canonical
    assert derivation.split_name(canonical) == (base, changes)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a@epoch=2", "a@epoch=2: 'epoch' is not a setting of Plugin; did you mean epochs?"),
        ("a@epochs", "'a@epochs' is not a plugin's name with changed settings; write it as res"),
        ("a@epochs=1,epochs=2", "is not a plugin's name with changed settings"),
        ("a@", "is not a plugin's name with changed settings"),
        ("a@losses=ArcFace(margin=1)", "is not a plugin's name with changed settings"),
    ],
)
def test_what_is_no_name_is_refused(name: str, message: str) -> None:
    with pytest.raises(KitboxError) as caught:
        derivation.split_name(name)
    assert message in str(caught.value)


def test_epochs_scale_the_whole_training_and_the_last_rate_keeps_its_proportion() -> None:
    derived = derivation.derive(BASE, {"epochs": 5, "learning_rate": 2e-3})
    assert (derived.epochs, derived.warmup_epochs) == (5, 1)
    assert (derived.learning_rate, derived.final_learning_rate) == (2e-3, 2e-4)
    assert derivation.derive(BASE, {"epochs": 0}).frozen


def test_a_derived_plugin_is_loaded_by_its_name(workspace: Workspace) -> None:
    write_plugin(workspace, "mine", epochs=4)
    base = discovery.load("mine", workspace)
    named = discovery.load("mine@learning_rate=0.01,epochs=1", workspace)
    assert named.name == "mine@epochs=1,learning_rate=0.01"
    assert isinstance(named.plugin, Plugin)
    assert (named.plugin.epochs, named.plugin.learning_rate) == (1, 0.01)
    assert named.plugin.fingerprint != base.plugin.fingerprint
    assert discovery.load("mine@epochs=4", workspace) == base
    with pytest.raises(KitboxError, match="mine@batch_size=1: batch_size = 1 should be greater"):
        discovery.load("mine@batch_size=1", workspace)
    with pytest.raises(KitboxError, match=r"no plugin named min; did you mean mine\?"):
        discovery.load("min@epochs=1", workspace)
