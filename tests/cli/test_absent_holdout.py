"""What works without a holdout, and what is said where one is needed."""

import json
from pathlib import Path

import pytest

from kitbox.workspace import Workspace
from tests.commands import RUN, error_of, json_of, kitbox
from tests.photographs import competition_on_disk, write_plugin

ONCE = (
    "there is no holdout to score on: every individual was photographed once (6 labelled images "
    "of 6 individuals); add a second photograph of some individuals, or train on every label with "
    "'kitbox train NAME --on all'"
)

SIMILARITY = "a similarity as --threshold 0.35, or "


def photographed_once(root: Path) -> Workspace:
    """Return a workspace whose list names one photograph of each of six individuals."""
    workspace, competition = competition_on_disk(root, individuals=6, each=2, tests=8)
    table = competition.images.root / "train.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(line for line in lines if "_1.png" not in line) + "\n")
    return workspace


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return a workspace of individuals with one photograph each, and a network of them all."""
    workspace = photographed_once(tmp_path_factory.mktemp("once"))
    write_plugin(workspace, "plain", epochs=1)
    assert json_of(workspace, "train", "plain", "--on", "all")[0]["on"] == "all"
    return workspace


@pytest.mark.parametrize(
    "arguments",
    [
        ("data", "holdout"),
        ("train", "plain"),
        ("score", "plain"),
        ("compare", "plain", "plain"),
        ("ensemble", "plain"),
        ("report", "plain"),
        ("pseudo", "plain"),
        ("sweep", "plain", "--image-size", "base,48"),
        ("data", "holdout", "--by", "plain"),
    ],
)
def test_a_command_that_needs_a_holdout_says_why_there_is_none(
    once: Workspace, arguments: tuple[str, ...]
) -> None:
    assert error_of(once, *arguments) == ONCE
    assert not list(once.plugins.glob("*48*"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("embed", "plain", *RUN),
        ("report",),
        ("report", "--by", "plain"),
        ("data", "check"),
        ("data", "duplicates"),
        ("data", "duplicates", "--by", "plain", *RUN),
        ("data", "prepare", "plain"),
        ("leaderboard",),
    ],
)
def test_a_command_that_needs_no_holdout_works_without_one(
    once: Workspace, arguments: tuple[str, ...]
) -> None:
    kitbox(once, *arguments)


def test_the_page_about_the_data_says_why_there_is_no_holdout(once: Workspace) -> None:
    page = Path(json.loads(kitbox(once, "report", "--json").stdout)["page"])
    assert "every individual was photographed once (6 labelled images" in page.read_text()


def test_the_written_holdout_has_no_queries(once: Workspace) -> None:
    kitbox(once, "data", "duplicates")
    assert "query" not in once.holdout.read_text()


def test_a_submission_without_a_holdout_has_no_local_score_and_says_so(once: Workspace) -> None:
    made = json_of(once, "ensemble", "plain", "--submit", "--threshold", "0.35")
    reason = "every individual was photographed once (6 labelled images of 6 individuals)"
    assert (made["scores"], made["no_local_score"]) == ({}, reason)
    assert (made["threshold"], made["thresholds"]) == (None, {"": 0.35})
    assert made["plugins"][0]["dim"] == made["dim"] == 16
    receipt = json.loads((Path(made["submission"]) / "receipt.json").read_text())
    assert (receipt["scores"], receipt["no_local_score"]) == ({}, reason)
    assert "scored_checkpoint" not in receipt["plugins"][0]
    [line] = (once.submissions / "ledger.jsonl").read_text().splitlines()
    assert (json.loads(line)["scores"], json.loads(line)["no_local_score"]) == ({}, reason)
    shown = kitbox(once, "ensemble", "plain", "--submit", "--threshold", "0.35", *RUN).stderr
    assert f"no local score, because there is no holdout: {reason}" in shown
    assert "no holdout" in kitbox(once, "leaderboard").stdout
    again = kitbox(once, "reproduce", made["submission"], "--device", "cpu")
    assert "the submission is the same, byte for byte" in again.stderr
    trained_again = kitbox(once, "reproduce", made["submission"], "--device", "cpu", "--retrain")
    assert "the submission is the same, byte for byte" in trained_again.stderr


def test_a_share_of_unknown_answers_needs_no_holdout(once: Workspace) -> None:
    made = json_of(once, "ensemble", "plain", "--submit", "--threshold", "25%")
    answers = Path(made["csv"]).read_text().splitlines()[1:]
    assert sum(",new_whale " in line for line in answers) == 2
    again = kitbox(once, "reproduce", made["submission"], "--device", "cpu")
    assert "the submission is the same, byte for byte" in again.stderr


@pytest.mark.parametrize(
    ("options", "fitted", "advice"),
    [
        ((), "the threshold 'best'", "a similarity as --threshold 0.35, or "),
        (
            ("--new-label", "learned"),
            "--new-label learned",
            "a similarity as --threshold 0.35, or ",
        ),
        (("--combine", "classifier"), "the threshold 'best'", ""),
    ],
)
def test_a_rule_that_is_fitted_on_the_holdout_names_the_others(
    once: Workspace, options: tuple[str, ...], fitted: str, advice: str
) -> None:
    assert error_of(once, "ensemble", "plain", "--submit", *options) == (
        f"{fitted} is fitted on a holdout, and there is none: every individual was photographed "
        f"once (6 labelled images of 6 individuals); give {advice}the share of queries without an "
        "answer as --threshold 16.5%"
    )


def test_without_a_network_of_all_labels_the_command_that_trains_one_is_named(
    tmp_path: Path,
) -> None:
    workspace = photographed_once(tmp_path)
    write_plugin(workspace, "plain", epochs=1)
    told = error_of(workspace, "ensemble", "plain", "--submit", "--threshold", "0.3")
    assert told == "plain is not trained on all; run 'kitbox train plain --on all'"
    assert error_of(workspace, "embed", "plain") == told
    assert error_of(workspace, "data", "duplicates", "--by", "plain") == told


def test_one_individual_alone_cannot_be_trained_on(tmp_path: Path) -> None:
    workspace, _ = competition_on_disk(tmp_path, individuals=1, each=4)
    write_plugin(workspace, "plain", epochs=1)
    assert error_of(workspace, "train", "plain", "--on", "all") == (
        "every labelled image shows one individual, 'w_0'; a training needs two"
    )
