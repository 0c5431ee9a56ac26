"""Trainings: started from another network, with pseudo-labels, and reproduced."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from kitbox import PK, Divide, Ema, Margin
from kitbox.network.checkpoint import read_origin
from kitbox.plugin import discovery
from kitbox.workspace import Workspace
from tests.commands import RUN, invoke, json_of, kitbox
from tests.photographs import TINY, competition_on_disk, tiny, write_plugin
from tests.trainings import load_place, write_plugin_file, write_pseudo_labels


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made, _ = competition_on_disk(tmp_path)
    write_plugin(made, "first", epochs=1)
    write_plugin(made, "second", epochs=1, image_size=48)
    return made


def test_a_network_started_from_another_is_reproduced_from_its_receipt(
    workspace: Workspace,
) -> None:
    """Refitted on all images, it starts from a network of all images, also when reproduced."""
    json_of(workspace, "train", "first")
    json_of(workspace, "train", "first", "--on", "all")
    trained = kitbox(workspace, "train", "second", "--init-from", "first", *RUN)
    assert "starts from first (" in trained.stderr
    json_of(workspace, "train", "second", "--on", "all", "--init-from", "first")
    made = json_of(workspace, "ensemble", "second", "--submit")
    receipt = json.loads((Path(made["submission"]) / "receipt.json").read_text())
    (entry,) = receipt["plugins"]
    sources = {
        origin.on: checkpoint
        for checkpoint in workspace.runs.glob("first/*/last.safetensors")
        if (origin := read_origin(checkpoint))
    }
    assert (entry["init_from"], entry["trained_on"]) == ("first", "all")
    digests = {
        checkpoint["on"]: checkpoint["checkpoint"] for checkpoint in trained_on_both(workspace)
    }
    assert entry["weights"] == digests["all"]
    assert entry["scored_weights"] == digests["holdout"]
    again = ("reproduce", made["submission"], "--retrain", "--device", "cpu")
    result = kitbox(workspace, *again)
    assert "the submission is the same, byte for byte" in result.stderr
    assert "differs" not in result.stdout
    for file in sources["holdout"].parent.glob("*.safetensors"):
        file.unlink()
    result = invoke(workspace, *again)
    assert str(result.exception).startswith(
        f"second started from the checkpoint {digests['holdout'][:12]}, which is neither in "
    )


def test_each_side_of_a_receipt_is_reproduced_from_its_own_start(workspace: Workspace) -> None:
    """The scored network may have another start or another seed."""
    json_of(workspace, "train", "first")
    json_of(workspace, "train", "second", "--init-from", "first", "--seed", "3")
    json_of(workspace, "train", "second", "--on", "all")
    made = json_of(workspace, "ensemble", "second", "--submit")
    receipt = json.loads((Path(made["submission"]) / "receipt.json").read_text())
    (entry,) = receipt["plugins"]
    assert "init_from" not in entry
    assert (entry["scored_init_from"], entry["scored_seed"]) == ("first", 3)
    result = kitbox(workspace, "reproduce", made["submission"], "--retrain", "--device", "cpu")
    assert "the submission is the same, byte for byte" in result.stderr
    assert "differs" not in result.stdout


def test_a_receipt_marks_a_scored_network_that_may_have_seen_the_holdout(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, _ = competition_on_disk(tmp_path / "other", each=5)
    write_plugin(other, "first", epochs=1)
    json_of(other, "train", "first", "--on", "all")
    trained = kitbox(workspace, "train", "second", "--init-from", f"{other.root}/first", *RUN)
    assert "warning: it may have seen the holdout" in trained.stderr
    made = json_of(workspace, "ensemble", "second", "--submit")
    receipt = json.loads((Path(made["submission"]) / "receipt.json").read_text())
    assert receipt["plugins"][0]["may_have_seen_holdout"] is True
    result = kitbox(workspace, "reproduce", made["submission"], "--retrain", "--device", "cpu")
    assert "the submission is the same, byte for byte" in result.stderr
    assert "differs" not in result.stdout
    (source,) = other.runs.glob("first/*/last.safetensors")
    monkeypatch.setenv("KITBOX_WEIGHTS", str(tmp_path / "weights"))
    workspace.weights.mkdir()
    source.rename(workspace.weights / "moved.safetensors")
    kitbox(workspace, "reproduce", made["submission"], "--retrain", "--device", "cpu")
    warning = "warning: second may have seen the holdout elsewhere; its local score may be too good"
    assert warning in kitbox(workspace, "score", "second", *RUN).stderr.splitlines()


def test_a_network_with_pseudo_labels_is_reproduced_whatever_pseudo_csv_holds_now(
    workspace: Workspace,
) -> None:
    write_plugin(workspace, "taking", epochs=1, pseudo_labels=True)
    there = load_place(workspace)
    # the scored network has no pseudo-labels, the other one two
    json_of(workspace, "train", "taking")
    write_pseudo_labels(there, {"t_0.png": "w_0", "t_1.png": "w_1"}, round_=2)
    json_of(workspace, "train", "taking", "--on", "all")
    made = json_of(workspace, "ensemble", "taking", "--submit")
    folder = Path(made["submission"])
    (entry,) = json.loads((folder / "receipt.json").read_text())["plugins"]
    assert entry["pseudo_round"] == 2
    assert (entry["scored_pseudo_labels"], entry["scored_pseudo_round"]) == (None, None)
    write_pseudo_labels(there, {"t_0.png": "w_2"})  # of the next round
    for run in workspace.runs.glob("taking/*"):
        shutil.rmtree(run)
    again = ("reproduce", str(folder), "--retrain", "--device", "cpu")
    result = kitbox(workspace, *again)
    assert "the submission is the same, byte for byte" in result.stderr
    assert "differs" not in result.stdout
    kept = folder / f"pseudo_{entry['pseudo_labels'][:12]}.csv"
    kept.unlink()
    assert str(invoke(workspace, *again).exception) == (
        f"taking was trained on pseudo-labels that are neither {kept} nor in "
        f"{workspace.runs / 'taking'}; copy them to the former"
    )


def trained_on_both(workspace: Workspace) -> list[dict[str, str]]:
    """Return the two finished trainings of the first plugin."""
    return json_of(workspace, "train", "first") + json_of(
        workspace, "train", "first", "--on", "all"
    )


def test_the_latest_training_is_scored(workspace: Workspace) -> None:
    json_of(workspace, "train", "first")
    [plain] = json_of(workspace, "train", "second")
    scored = kitbox(workspace, "score", "second", *RUN)
    assert "finished trainings" not in scored.stderr
    [gone_on] = json_of(workspace, "train", "second", "--init-from", "first")
    assert plain["checkpoint"] != gone_on["checkpoint"]
    for train, one, came in (
        ((), plain, "from none"),
        (("--init-from", "first"), gone_on, "from first"),
    ):
        assert json_of(workspace, "train", "second", *train) == [one]
        scored = kitbox(workspace, "score", "second", *RUN, "--json")
        assert json.loads(scored.stdout)["plugins"][0]["checkpoint"] == one["checkpoint"]
        assert scored.stderr.splitlines()[0] == (
            "second: 2 finished trainings differ in initial weights or pseudo-labels; "
            f"the newest is taken: {came}, without pseudo-labels"
        )


def test_networks_of_different_methods_are_scored_together(workspace: Workspace) -> None:
    pairs = {"losses": [Margin()], "sampler": PK(images_per_label=2)}
    write_plugin_file(workspace, "divided", tiny(epochs=1, divide=Divide(learners=2), **pairs))
    write_plugin_file(workspace, "mirrored", tiny(epochs=1, flip_identities=True, averaging=Ema()))
    trained = json_of(workspace, "train", "divided", "mirrored")
    assert [entry["epoch"] for entry in trained] == [1, 1]
    for names in (["divided"], ["mirrored"], ["divided", "mirrored"]):
        scores = json_of(workspace, "score" if len(names) == 1 else "ensemble", *names)["scores"]
        assert 0 < scores["label_map_at_5"]["value"] <= 1


def test_a_receipt_names_the_pseudo_labels_and_other_ones_differ(workspace: Workspace) -> None:
    text = workspace.settings.read_text()
    # photographs of an individual are alike here, too much to be two
    workspace.settings.write_text(text.replace("seed = 0", "seed = 0\nnear_duplicate_bits = 0"))
    write_plugin_file(workspace, "more", tiny(epochs=1, pseudo_labels=True))
    write_pseudo_labels(load_place(workspace), {"t_0.png": "w_0", "t_1.png": "w_1"}, round_=2)
    json_of(workspace, "train", "more")
    made = json_of(workspace, "ensemble", "more", "--submit")
    receipt = json.loads((Path(made["submission"]) / "receipt.json").read_text())
    (entry,) = receipt["plugins"]
    assert entry["pseudo_round"] == 2
    again = ("reproduce", made["submission"], "--retrain", "--device", "cpu", "--json")
    compared = {entry["what"]: entry for entry in json.loads(kitbox(workspace, *again).stdout)}
    assert all(entry["equal"] for entry in compared.values())
    assert compared["pseudo-labels more"]["recorded"] == entry["pseudo_labels"]
    write_pseudo_labels(load_place(workspace), {"t_0.png": "w_1"})
    kept = Path(made["submission"]) / f"pseudo_{entry['pseudo_labels'][:12]}.csv"
    kept.write_text(workspace.pseudo_labels.read_text())
    compared = {entry["what"]: entry for entry in json.loads(invoke(workspace, *again).stdout)}
    assert not compared["pseudo-labels more"]["equal"]
    assert not compared["checkpoint more"]["equal"]


def test_two_starts_of_a_training_are_an_error(workspace: Workspace) -> None:
    result = invoke(workspace, "train", "second", "--init-from", "first", "--weights", "none")
    assert str(result.exception) == (
        "--weights and --init-from both say where to start; give one of them"
    )
    result = invoke(workspace, "train", "second", "--init-from", "first", *RUN)
    assert str(result.exception) == (
        "--init-from first: first is not trained; run 'kitbox train first', or give a checkpoint "
        "file"
    )


def test_a_quick_try_has_a_name_that_other_commands_take(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "shipped_folder", lambda: workspace.plugins)  # no others
    (trained,) = json_of(workspace, "train", "first", "--learning-rate", "1e-3", "--epochs", "2")
    name = "first@epochs=2,learning_rate=0.001"
    assert (trained["name"], trained["epoch"]) == (name, 2)
    assert json_of(workspace, "score", name)["plugins"][0]["name"] == name
    made = json_of(workspace, "ensemble", name, "--submit")
    receipt = json.loads((Path(made["submission"]) / "receipt.json").read_text())
    assert [entry["name"] for entry in receipt["plugins"]] == [name]
    again = kitbox(workspace, "reproduce", made["submission"], "--device", "cpu")
    assert "the submission is the same, byte for byte" in again.stderr
    rows = {row["name"]: row for row in json.loads(kitbox(workspace, "plugins", "--json").stdout)}
    assert rows[name]["trained_on"] == ["holdout"]
    assert rows["first"]["trained_on"] == []


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"weights": "file"}, "WEIGHTS"),
        (
            {"weights": "file", "backbone": "resnet10t"},
            "there is no file resnet10t.safetensors (or .pth, .pt, .bin) in ",
        ),
        ({"weights": "package:nowhere"}, "the weights are in the package nowhere"),
        ({"min_images_per_label": 9}, "0 labels have 9 or more images to train on"),
    ],
)
@pytest.mark.parametrize("epochs", [0, 1])
def test_a_mistake_of_the_second_plugin_shows_before_the_first_is_trained(
    workspace: Workspace,
    settings: dict[str, object],
    told: str,
    epochs: int,
) -> None:
    weights = workspace.weights / f"{TINY}.safetensors"
    weights.parent.mkdir(parents=True, exist_ok=True)
    save_file({"layer.weight": torch.zeros(1)}, weights)
    write_plugin(workspace, "third", epochs=epochs, **settings)
    result = invoke(workspace, "train", "first", "third", *RUN)
    if not epochs and "weights" not in settings:
        assert result.exit_code == 0  # nothing is trained on labels
        return
    told = told.replace("WEIGHTS", str(weights))
    assert str(result.exception).startswith("third: ")
    assert told in str(result.exception)
    assert not workspace.runs.exists()


def test_checking_plugins_first_leaves_their_weights_as_they_are(workspace: Workspace) -> None:
    both = {entry["name"]: entry for entry in json_of(workspace, "train", "first", "second")}
    for name, entry in both.items():
        [alone] = json_of(workspace, "train", name, "--fresh")
        assert alone["checkpoint"] == entry["checkpoint"]


def test_what_is_trained_and_measured_needs_no_torch(workspace: Workspace) -> None:
    write_plugin(workspace, "frozen", epochs=0)
    trained = json_of(workspace, "train", "first", "second", "frozen")
    script = (
        "import json, sys\n"
        "from typer.testing import CliRunner\n"
        "from kitbox.cli.app import app\n"
        "for command in json.loads(sys.argv[1]):\n"
        "    result = CliRunner().invoke(app, command)\n"
        "    assert result.exit_code == 0, result.output + repr(result.exception)\n"
        "    print(json.dumps(json.loads(result.stdout)))\n"
        "print(sorted({'torch', 'timm', 'lightning_fabric'} & set(sys.modules)))"
    )
    commands = [
        ["train", "first", "second", "frozen", *RUN, "--json"],
        ["data", "prepare", "--json"],
        ["data", "prepare", "--drop", "first", "--json"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(commands)],
        capture_output=True,
        text=True,
        cwd=workspace.root,
    )
    assert done.returncode == 0, done.stderr
    again, prepared, dropped, heavy = done.stdout.splitlines()
    assert json.loads(again) == trained
    assert json.loads(prepared)["plugins"] == ["first", "frozen", "second"]
    assert len(json.loads(dropped)) == 1  # that of the second's size
    assert heavy == "[]"
