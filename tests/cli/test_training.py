"""Training by the command line: from another network to its receipt, and what is told."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from kitbox.cli import terminal
from kitbox.cli.app import app
from kitbox.competition import settings
from kitbox.images.collection import collect
from kitbox.network.checkpoint import read_origin
from kitbox.training.reports import Warned
from kitbox.workspace import Workspace
from tests.photographs import competition_on_disk, finish, write_plugin
from tests.trainings import Place, write_pseudo_labels

RUN = ("--device", "cpu", "--precision", "32", "--workers", "0")


def invoke(place: Workspace, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["--workspace", str(place.root), *arguments])


def kitbox(place: Workspace, *arguments: str) -> Result:
    result = invoke(place, *arguments)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result


def told(place: Workspace, *arguments: str) -> Any:
    return json.loads(kitbox(place, *arguments, *RUN, "--json").stdout)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("KITBOX_WORKSPACE", "")  # --workspace sets it: undone after the test
    made, _ = competition_on_disk(tmp_path)
    write_plugin(made, "first", epochs=1)
    write_plugin(made, "second", epochs=1, image_size=48)
    return made


def test_a_network_that_goes_on_from_another_reproduces_with_its_receipt(place: Workspace) -> None:
    """Refitted on all images it goes on from a network of all images, and so it is made again."""
    told(place, "train", "first")
    told(place, "train", "first", "--on", "all")
    trained = kitbox(place, "train", "second", "--init-from", "first", *RUN)
    assert "starts from first (" in trained.stderr
    told(place, "train", "second", "--on", "all", "--init-from", "first")
    made = told(place, "ensemble", "second", "--submit")
    receipt = json.loads((Path(made["submission"]) / "receipt.json").read_text())
    (entry,) = receipt["plugins"]
    sources = {
        origin.on: checkpoint
        for checkpoint in place.runs.glob("first/*/last.safetensors")
        if (origin := read_origin(checkpoint))
    }
    assert (entry["init_from"], entry["trained_on"]) == ("first", "all")
    digests = {checkpoint["on"]: checkpoint["checkpoint"] for checkpoint in trained_on_both(place)}
    assert entry["weights"] == digests["all"]
    assert entry["scored_weights"] == digests["holdout"]
    again = ("reproduce", made["submission"], "--retrain", "--device", "cpu")
    result = kitbox(place, *again)
    assert "the list is the same, byte for byte" in result.stderr
    assert "differs" not in result.stdout
    for file in sources["holdout"].parent.glob("*.safetensors"):
        file.unlink()
    result = invoke(place, *again)
    assert str(result.exception).startswith(
        f"second went on from the checkpoint {digests['holdout'][:12]}, which is neither in "
    )


def test_each_side_of_a_receipt_is_made_again_from_where_it_came(place: Workspace) -> None:
    """The network that is scored may have gone on from another one, or have had another seed."""
    told(place, "train", "first")
    told(place, "train", "second", "--init-from", "first", "--seed", "3")
    told(place, "train", "second", "--on", "all")
    made = told(place, "ensemble", "second", "--submit")
    receipt = json.loads((Path(made["submission"]) / "receipt.json").read_text())
    (entry,) = receipt["plugins"]
    assert "init_from" not in entry
    assert (entry["scored_init_from"], entry["scored_seed"]) == ("first", 3)
    result = kitbox(place, "reproduce", made["submission"], "--retrain", "--device", "cpu")
    assert "the list is the same, byte for byte" in result.stderr
    assert "differs" not in result.stdout


def test_a_receipt_says_that_the_scored_network_may_have_seen_the_holdout(
    place: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, _ = competition_on_disk(tmp_path / "other", each=5)
    write_plugin(other, "first", epochs=1)
    told(other, "train", "first", "--on", "all")
    trained = kitbox(place, "train", "second", "--init-from", f"{other.root}/first", *RUN)
    assert "WARNING: it may have seen the holdout" in trained.stderr
    made = told(place, "ensemble", "second", "--submit")
    receipt = json.loads((Path(made["submission"]) / "receipt.json").read_text())
    assert receipt["plugins"][0]["may_have_seen_holdout"] is True
    result = kitbox(place, "reproduce", made["submission"], "--retrain", "--device", "cpu")
    assert "the list is the same, byte for byte" in result.stderr
    assert "differs" not in result.stdout
    (source,) = other.runs.glob("first/*/last.safetensors")
    monkeypatch.setenv("KITBOX_WEIGHTS", str(tmp_path / "weights"))
    place.weights.mkdir()
    source.rename(place.weights / "moved.safetensors")
    kitbox(place, "reproduce", made["submission"], "--retrain", "--device", "cpu")
    warning = "WARNING: second may have seen the holdout elsewhere; its local score may be too good"
    assert warning in kitbox(place, "score", "second", *RUN).stderr.splitlines()


def test_a_network_with_pseudo_labels_is_made_again_whatever_pseudo_csv_says_now(
    place: Workspace,
) -> None:
    write_plugin(place, "taking", epochs=1, pseudo_labels=True)
    competition = settings.read(place)
    _, collection = finish(collect(place, competition))
    there = Place(place, competition, collection)
    # the scored network learnt from none, the other one from two
    told(place, "train", "taking")
    write_pseudo_labels(there, {"t_0.png": "w_0", "t_1.png": "w_1"}, round_=2)
    told(place, "train", "taking", "--on", "all")
    made = told(place, "ensemble", "taking", "--submit")
    folder = Path(made["submission"])
    (entry,) = json.loads((folder / "receipt.json").read_text())["plugins"]
    assert entry["pseudo_round"] == 2
    assert (entry["scored_pseudo_labels"], entry["scored_pseudo_round"]) == (None, None)
    write_pseudo_labels(there, {"t_0.png": "w_2"})  # of the next round
    for run in place.runs.glob("taking/*"):
        shutil.rmtree(run)
    again = ("reproduce", str(folder), "--retrain", "--device", "cpu")
    result = kitbox(place, *again)
    assert "the list is the same, byte for byte" in result.stderr
    assert "differs" not in result.stdout
    kept = folder / f"pseudo_{entry['pseudo_labels'][:12]}.csv"
    kept.unlink()
    assert str(invoke(place, *again).exception) == (
        f"taking learnt from pseudo-labels that are neither {kept} nor in "
        f"{place.runs / 'taking'}; copy them to the former"
    )


def trained_on_both(place: Workspace) -> list[dict[str, str]]:
    """Return what is said of the first plugin's networks, which are there already."""
    return told(place, "train", "first") + told(place, "train", "first", "--on", "all")


def test_the_training_that_was_asked_for_last_is_the_one_that_is_scored(place: Workspace) -> None:
    told(place, "train", "first")
    [plain] = told(place, "train", "second")
    scored = kitbox(place, "score", "second", *RUN)
    assert "finished trainings" not in scored.stderr
    [gone_on] = told(place, "train", "second", "--init-from", "first")
    assert plain["checkpoint"] != gone_on["checkpoint"]
    for train, one, came in (
        ((), plain, "from none"),
        (("--init-from", "first"), gone_on, "from first"),
    ):
        assert told(place, "train", "second", *train) == [one]
        scored = kitbox(place, "score", "second", *RUN, "--json")
        assert json.loads(scored.stdout)["plugins"][0]["checkpoint"] == one["checkpoint"]
        assert scored.stderr.splitlines()[0] == (
            "second: of 2 finished trainings that differ in where they began or in pseudo-labels "
            f"the newest is taken: {came}, without pseudo-labels"
        )


def test_two_places_to_start_from_are_refused(place: Workspace) -> None:
    result = invoke(place, "train", "second", "--init-from", "first", "--weights", "none")
    assert str(result.exception) == (
        "--weights and --init-from both say where to start; give one of them"
    )
    result = invoke(place, "train", "second", "--init-from", "first", *RUN)
    assert str(result.exception) == (
        "--init-from first: first is not trained; run 'kitbox train first', or give a checkpoint "
        "file"
    )


def test_a_warning_stays_in_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    def stage():  # type: ignore[no-untyped-def]
        yield Warned(3, "the embeddings have collapsed")
        return 1

    assert terminal.follow(stage()) == 1
    assert capsys.readouterr().err == "warning: the embeddings have collapsed\n"
