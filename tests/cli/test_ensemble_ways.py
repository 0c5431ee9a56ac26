"""An ensemble by each of its ways, by the command line: scored, submitted and made again."""

import json
from pathlib import Path
from typing import Any

import pytest

from kitbox.ensemble import dense_classifier
from kitbox.ensemble.ensemble import EnsembleOptions
from kitbox.records import Scores
from kitbox.scoring import local_score
from kitbox.scoring.local_score import LocalScore
from kitbox.workspace import Workspace
from tests.commands import RUN, invoke, kitbox, told
from tests.photographs import competition_on_disk, write_plugin
from tests.report.pages import Parsed, parsed

WAYS = (
    ("--combine", "labels"),
    ("--combine", "classifier", "--dims", "8"),
    ("--new-label", "learned"),
    ("--combine", "classifier", "--new-label", "learned", "--threshold", "30%"),
)

WORDS = {
    "labels": "Labels are ranked by the mean of the members' similarities.",
    "classifier": "Labels are ranked by a classifier of the joined embeddings.",
    "learned": "Unknown individuals are told by a judge fitted to other queries.",
}


def reported(place: Workspace, *arguments: str) -> tuple[Any, Parsed]:
    """Return what a report prints as JSON, and the page."""
    found = told(place, "report", *arguments)
    return found, parsed(Path(found["page"]))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return a workspace of two plugins that know nothing, asked about many strangers."""
    root = tmp_path_factory.mktemp("ways")
    with pytest.MonkeyPatch.context() as outside:
        outside.setenv("KITBOX_WORKSPACE", "")  # --workspace sets it: undone after this
        place, _ = competition_on_disk(root, individuals=24, each=4, tests=9)
        text = place.settings.read_text()
        text = text.replace("share = 0.2 ", "share = 0.5 ")
        place.settings.write_text(text.replace("unknown_share = 0.27", "unknown_share = 0.5"))
        write_plugin(place, "plain", epochs=0)
        write_plugin(place, "large", epochs=0, image_size=48)
        write_plugin(place, "narrow", epochs=0, embedding_dim=6)
        told(place, "train", "plain", "large", "narrow")
    return place


@pytest.fixture
def place(scene: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("KITBOX_WORKSPACE", str(scene.root))  # undone after the test
    monkeypatch.setattr(dense_classifier, "STEPS", 30)
    return scene


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_what_is_submitted_by_any_way_is_made_again_from_its_receipt(
    place: Workspace, way: tuple[str, ...]
) -> None:
    made = told(place, "ensemble", "plain", "large", *way, "--submit")
    written = json.loads((Path(made["submission"]) / "receipt.json").read_text())
    assert made["way"] == written["way"]
    assert made["way"] != EnsembleOptions().method_json()
    alone = told(place, "score", "plain", "large", *way)
    assert (alone["scores"], alone["way"]) == (made["scores"], made["way"])
    again = kitbox(place, "reproduce", made["submission"], "--device", "cpu", "--json")
    differing = [c for c in json.loads(again.stdout) if not c["equal"]]
    assert differing == []
    shown, page = reported(place, Path(made["submission"]).name)
    assert shown["scores"] == made["scores"]
    asked, other = reported(place, "plain", "large", *way)
    assert asked["scores"] == made["scores"]
    scale = made["threshold"].get("scale", "similarity").capitalize()
    for one in (page, other):
        assert f"{scale} of the first answer" in one.text
        assert WORDS[way[1]] in one.text
        queries = one.pack("queries")["queries"]
        mean = sum(queries["value"]) / len(queries["value"]) / 10_000
        assert mean == pytest.approx(made["scores"]["label_map_at_5"]["value"], abs=1e-4)


def test_a_member_may_have_fewer_dimensions_than_the_classifier_of_all(place: Workspace) -> None:
    way = ("--combine", "classifier", "--dims", "12")
    _, page = reported(place, "plain", "narrow", *way)
    members = page.pack("queries")["members"]
    assert [one["name"] for one in members] == ["plain", "narrow"]
    alone = told(place, "score", "narrow", *way[:2], "--dims", "6")["scores"]["label_map_at_5"]
    assert sum(members[1]["value"]) / len(members[1]["value"]) / 10_000 == pytest.approx(
        alone["value"], abs=1e-4
    )


def test_a_learned_new_label_is_told_with_what_it_is_worth(place: Workspace) -> None:
    shown = kitbox(place, "score", "plain", "large", "--new-label", "learned", *RUN).stderr
    assert "threshold: chance 0.5000 (fixed)" in shown
    assert "are told from known ones with an area under the ROC curve of " in shown
    evidence = told(place, "score", "plain", "--new-label", "learned")["threshold"]["new_label"]
    assert evidence["auc"]["queries"] == evidence["auc_of_similarity"]["queries"]


def test_a_threshold_on_probabilities_is_called_so(place: Workspace) -> None:
    shown = kitbox(place, "score", "plain", "--combine", "classifier", "--dims", "8", *RUN).stderr
    assert "threshold: probability 0." in shown
    settings = place.settings.read_text()
    closer = settings.replace("[task]", '[task]\nlabel_similarity = "closeness"')
    try:
        place.settings.write_text(closer)
        assert "threshold: closeness 0." in kitbox(place, "score", "plain", *RUN).stderr
    finally:
        place.settings.write_text(settings)


def test_folds_tell_each_what_its_learned_new_label_is_worth() -> None:
    area = {"value": 0.75, "low": 0.5, "high": 1.0, "queries": 9}
    fold = {
        "rule": "fixed",
        "scale": "chance",
        "new_label": {"auc": area, "auc_of_similarity": area},
    }
    evidence = {"rule": "fixed", "folds": [fold, fold]}
    told_of = local_score.threshold_sentences(
        LocalScore(
            scores=Scores(), outcomes={}, thresholds={"": 0.5}, evidence=evidence, individuals={}
        )
    )
    assert told_of[0] == "threshold: chance 0.5000 (fixed)"
    assert told_of[1] == told_of[2]
    assert told_of[1].endswith("by the first similarity alone of 0.750 [0.500, 1.000]")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("score", "plain", "--dims", "8"), "--dims 8 is the classifier's; "),
        (
            ("compare", "plain", "large", "--new-label", "learned", "--threshold", "0.5"),
            "--new-label learned judges by chances, not at a fixed similarity; ",
        ),
        (("ensemble", "plain", "--combine", "classifier", "--dims", "99"), "--dims 99: "),
    ],
)
def test_a_way_that_cannot_be_gone_is_one_sentence(
    place: Workspace, arguments: tuple[str, ...], message: str
) -> None:
    result = invoke(place, *arguments, *RUN)
    assert result.exit_code == 1
    assert str(result.exception).startswith(message)
