"""A frozen plugin (epochs = 0) needs no training, whatever the images are."""

import json
import shutil
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kitbox.decisions import decision_file
from kitbox.decisions.decision import Decision
from kitbox.network.network import Network
from kitbox.plugin import discovery
from kitbox.training import runs, transfer
from kitbox.training.context import TrainOptions
from kitbox.workspace import Workspace
from tests.commands import RUN, error_of, invoke, json_of, kitbox
from tests.photographs import competition_on_disk, picture, tiny, write_plugin


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    workspace, _ = competition_on_disk(tmp_path, individuals=8, tests=9)
    write_plugin(workspace, "plain", epochs=0)
    write_plugin(workspace, "large", epochs=0, image_size=48)
    return workspace


def networks(workspace: Workspace) -> list[Path]:
    return sorted(workspace.runs.glob("*/*/*.safetensors"))


def test_every_command_takes_a_frozen_plugin_as_it_is(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "shipped_folder", lambda: place.plugins)  # these two alone
    assert "frozen" in kitbox(place, "plugins").stdout
    for command in (
        ("score", "plain"),
        ("compare", "plain", "large"),
        ("embed", "plain"),
        ("data", "duplicates", "--by", "plain"),
        ("pseudo", "plain", "--threshold", "0.1"),
        ("pseudo", "plain", "--threshold", "0.1", "--on", "all"),
        ("report", "plain", "large"),
    ):
        shown = kitbox(place, *command, *RUN).stderr
        assert "refits it on every label" not in shown
    assert [path.name for path in networks(place)] == ["last.safetensors"] * 2
    assert "plain (frozen): 32 images × 16" in kitbox(place, "embed", "plain", *RUN).stderr


def test_a_frozen_plugin_takes_new_images_decisions_and_holdouts(place: Workspace) -> None:
    before = json_of(place, "score", "plain")["plugins"]
    data = place.root.parent / "data"
    picture(data / "train" / "new.png", 3, 77)
    with (data / "train.csv").open("a") as file:
        file.write("new.png,w_3\n")
    assert json_of(place, "score", "plain")["plugins"] == before
    decision_file.add(place.decisions, Decision("merge", "w_7", "w_6"))
    assert json_of(place, "score", "plain")["plugins"] == before
    settings = place.settings.read_text()
    place.settings.write_text(settings.replace("seed = 0", "seed = 5"))
    assert json_of(place, "score", "plain")["plugins"] == before
    assert json_of(place, "ensemble", "plain", "--submit")["plugins"] == before
    shown = kitbox(place, "data", "duplicates", "--by", "plain", *RUN).stderr
    assert "as they were before" not in shown
    assert len(networks(place)) == 1


def test_training_a_frozen_plugin_prepares_its_network(place: Workspace) -> None:
    shown = kitbox(place, "train", "plain", *RUN).stderr
    assert "plain: frozen (epochs = 0): there is nothing to train, " in shown
    [first] = json_of(place, "train", "plain")
    [on_all] = json_of(place, "train", "plain", "--on", "all")
    assert first == on_all
    assert (first["on"], first["fold"], first["epoch"]) == ("none", None, 0)
    assert networks(place) == [Path(first["path"])]
    [other] = json_of(place, "train", "plain", "--seed", "3")
    assert other["checkpoint"] != first["checkpoint"]
    assert json_of(place, "score", "plain")["plugins"][0]["checkpoint"] == other["checkpoint"]
    json_of(place, "train", "plain")  # asked for last
    assert json_of(place, "score", "plain")["plugins"][0]["checkpoint"] == first["checkpoint"]


def test_the_network_is_the_initial_one_without_heads(place: Workspace) -> None:
    [made] = json_of(place, "train", "plain")
    transfer.seed_everything(0)
    state = Network(tiny(epochs=0)).state_dict()
    saved = load_file(made["path"])
    assert set(saved) == {f"network.{name}" for name in state}
    assert all(torch.equal(saved[f"network.{name}"], state[name]) for name in state)


def test_building_it_does_not_disturb_random_numbers(place: Workspace) -> None:
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    transfer.build_if_frozen(discovery.load("plain", place), place)
    assert torch.equal(torch.rand(3), expected)


def test_two_processes_at_once_build_it_once(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin, lock = discovery.load("plain", place), runs.lock

    def after_another(run: runs.Run, *, wait: bool = False) -> AbstractContextManager[None]:
        monkeypatch.undo()
        transfer.frozen_checkpoint(plugin, place, TrainOptions())  # the other process
        return lock(run, wait=wait)

    monkeypatch.setattr(runs, "lock", after_another)
    built = transfer.frozen_checkpoint(plugin, place, TrainOptions())
    events = runs.Run(built.path.parent).events()
    assert [event["event"] for event in events] == ["finished"]


def test_its_submission_is_reproduced_where_its_network_is_not(
    place: Workspace, tmp_path: Path
) -> None:
    made = json_of(place, "ensemble", "plain", "large", "--submit")
    receipt = json.loads((Path(made["submission"]) / "receipt.json").read_text())
    assert [entry["trained_on"] for entry in receipt["plugins"]] == ["none", "none"]
    other = Workspace(tmp_path / "other")
    other.root.mkdir()
    shutil.copy(place.settings, other.settings)
    shutil.copytree(place.plugins, other.plugins)
    for options in ((), ("--retrain",)):
        found = invoke(other, "reproduce", made["submission"], "--device", "cpu", *options)
        assert "the submission is the same, byte for byte" in found.stderr
        assert "differs" not in found.stdout


def test_a_training_may_start_from_a_frozen_plugin(place: Workspace) -> None:
    write_plugin(place, "trained", epochs=1)
    shown = kitbox(place, "train", "trained", "--init-from", "plain", *RUN).stderr
    assert "starts from plain" in shown
    assert "may have seen the holdout" not in shown
    assert "may have seen" not in kitbox(place, "score", "trained", *RUN).stderr


def test_a_frozen_plugin_of_a_trained_network_is_bound_to_its_images(place: Workspace) -> None:
    write_plugin(place, "trained", epochs=1)
    kitbox(place, "train", "trained", *RUN)
    [made] = json_of(place, "train", "plain", "--init-from", "trained")
    assert (made["on"], made["fold"]) == ("holdout", 1)
    assert json_of(place, "score", "plain")["plugins"][0]["checkpoint"] == made["checkpoint"]
    decision_file.add(place.decisions, Decision("merge", "w_7", "w_6"))
    told = error_of(place, "score", "plain")
    assert told.startswith("plain was trained on other images, labels or boxes than there are now")
    assert "run 'kitbox train plain --init-from " in told


def test_networks_of_earlier_releases_are_left_alone(place: Workspace) -> None:
    [made] = json_of(place, "train", "plain")
    run = Path(made["path"]).parent
    key = json.loads((run / "run.json").read_text())
    old = run.parent / "0123456789ab"
    shutil.copytree(run, old)
    (old / "run.json").write_text(json.dumps(key | {"on": "holdout", "data": "of other images"}))
    shutil.rmtree(run)
    found = json_of(place, "score", "plain")["plugins"][0]["checkpoint"]
    assert found == made["checkpoint"]
    assert run.is_dir()


def test_without_a_holdout_it_is_submitted_too(tmp_path: Path) -> None:
    workspace, competition = competition_on_disk(tmp_path, individuals=6, each=2)
    table = competition.images.root / "train.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(line for line in lines if "_1.png" not in line) + "\n")
    write_plugin(workspace, "plain", epochs=0)
    made = json_of(workspace, "ensemble", "plain", "--submit", "--threshold", "0.35")
    assert made["scores"] == {}
    kitbox(workspace, "embed", "plain", *RUN)
    kitbox(workspace, "data", "duplicates", "--by", "plain", *RUN)


def test_a_frozen_plugin_whose_weights_are_missing_says_whose_they_are(place: Workspace) -> None:
    assert error_of(place, "score", "miewid_msv3_440", *RUN) == (
        "miewid_msv3_440 is frozen, and its network cannot be built: there is no file "
        f"miewid-msv3.safetensors (or .pth, .pt, .bin) in {place.weights}, nor a folder "
        "miewid-msv3 with one (a file that you bring, of conservationxlabs/miewid-msv3; licence "
        "not stated); put it there, name one with --weights FILE, or the folder with "
        "KITBOX_WEIGHTS; --weights belongs to 'kitbox train miewid_msv3_440', which builds the "
        "network too"
    )


def test_a_frozen_plugin_out_of_the_hubs_reach_says_where_a_file_goes(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError

    monkeypatch.setattr("timm.models._builder.load_pretrained", unreachable)
    write_plugin(place, "far", epochs=0, backbone="test_vit.r160_in1k", weights="hub")
    # the advice for a training, random weights, is no use to a frozen network
    assert error_of(place, "score", "far", *RUN) == (
        "far is frozen, and its network cannot be built: cannot download the weights of "
        f"test_vit.r160_in1k (ConnectionError); put its file into {place.weights} and name "
        "far@weights=file, or give it to 'kitbox train far', which builds the network too, with "
        "--weights FILE"
    )
