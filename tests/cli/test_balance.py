"""Balance on the command line: scored against the same ensemble without it, and made again."""

import json
from pathlib import Path

import pytest

from kitbox.workspace import Workspace
from tests.commands import RUN, error_of, invoke, json_of, kitbox
from tests.photographs import competition_on_disk, write_plugin


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace, _ = competition_on_disk(tmp_path_factory.mktemp("balance"), individuals=10)
    write_plugin(workspace, "plain", epochs=0)
    return workspace


def test_balance_is_scored_against_the_same_ensemble_without_it(place: Workspace) -> None:
    given = ("score", "plain", "--balance", "assignment:most=2", "--threshold", "20%")
    shown = kitbox(place, *given, *RUN).stderr
    assert shown.count("have another label") == 1
    assert shown.count("the score says little about the balance") == 1
    assert "--balance assignment:most=2: label_map_at_5" in shown
    report = json_of(place, *given)
    [gain] = report["steps"]
    assert gain["balance"] == "assignment:most=2"
    plain = json_of(place, "score", "plain", "--threshold", "20%")
    metric = next(iter(plain["scores"]))
    assert gain["metric"] == metric
    before, after = (one["scores"][metric]["value"] for one in (plain, report))
    assert gain["difference"] == pytest.approx(after - before, abs=1e-6)


@pytest.mark.parametrize("method", ["sinkhorn:like=equal", "each_label", "sizes"])
def test_a_balanced_submission_is_made_again_byte_for_byte(place: Workspace, method: str) -> None:
    made = json_of(
        place, "ensemble", "plain", "--balance", method, "--threshold", "20%", "--submit"
    )
    receipt = json.loads((Path(made["submission"]) / "receipt.json").read_text())
    assert receipt["way"]["balance"].startswith(f"{method.partition(':')[0]}:")
    again = invoke(place, "reproduce", made["submission"], "--device", "cpu")
    assert "the submission is the same, byte for byte" in again.stderr
    assert "no findings" in kitbox(place, "submission", "lint", made["csv"]).stderr


def test_a_wrong_balance_is_one_sentence(place: Workspace) -> None:
    assert error_of(place, "score", "plain", "--balance", "sizes:like=test") == (
        "the balance 'sizes:like=test': like = 'test' should be 'equal' or 'train'"
    )
