"""Fusion through the command line: score, submission, receipt, reproduction, and its mistakes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import kitbox
from kitbox.competition import presets
from kitbox.ensemble.ensemble import Ensemble, EnsembleOptions
from kitbox.errors import KitboxError
from kitbox.keypoints.match_settings import MatchSettings
from kitbox.submission import bundle, submission
from kitbox.synthetic import whale_competition
from kitbox.workspace import Workspace
from tests import commands
from tests.circle import competition
from tests.commands import RUN, error_of, json_of
from tests.photographs import finish, write_plugin

SIFT = "sift:shortlist=8,points=300,size=256"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("fusion")
    finish(
        whale_competition.draw(root / "data", individuals=10, photographs=60, seed=2, long_side=400)
    )
    workspace = Workspace(root / "workspace")
    presets.init(workspace, "humpback", root / "data", broken="drop")
    write_plugin(workspace, "frozen_32", epochs=0)
    return workspace


def test_matches_are_fused_and_paired_with_the_score_without_them(place: Workspace) -> None:
    plain = json_of(place, "score", "frozen_32")
    found = json_of(place, "score", "frozen_32", "--match", SIFT)
    assert found["way"]["match"] == [MatchSettings.parse(SIFT).full]
    [evidence] = found["fusion"]
    assert evidence["method"] == "logit"
    assert list(evidence["weights"]) == ["similarity", "sift"]
    # a network of random weights knows nothing, matches do
    weights = list(evidence["weights"].values())
    assert weights[1] > weights[0]
    assert evidence["auc"] > evidence["auc_of_similarity"] + 0.05
    assert 0 <= evidence["calibration_error"] < 0.15
    assert found["scores"]["map_at_20"]["value"] > plain["scores"]["map_at_20"]["value"] + 0.05
    steps = {step["metric"]: step for step in found["steps"]}
    gain = found["scores"]["map_at_20"]["value"] - plain["scores"]["map_at_20"]["value"]
    assert steps["map_at_20"]["fusion"] == SIFT
    assert steps["map_at_20"]["difference"] == pytest.approx(gain)
    assert found["threshold"]["scale"] == "probability"
    assert 0 < found["threshold"]["thresholds"][""] < 1


def test_people_read_the_weights_and_how_far_probabilities_are_off(place: Workspace) -> None:
    told = commands.kitbox(
        place, "score", "frozen_32", "--match", SIFT, "--fusion", "mean", *RUN
    ).stderr
    assert "fusion by mean of similarity, sift: probabilities are off by 0." in told
    assert "of them of one individual, each by a fit without its individuals" in told


def test_a_budget_and_a_fixed_threshold_are_told_and_recorded(place: Workspace) -> None:
    text = "sift:shortlist=8,budget=40,points=300,size=256"
    do = ("ensemble", "frozen_32", "--match", text, "--threshold", "0.35", "--submit")
    told = commands.kitbox(place, *do, *RUN, "--json")
    made = json.loads(told.stdout)
    receipt = json.loads((Path(made["submission"]) / "receipt.json").read_text())
    left = receipt["fusion"]["over_budget"]["sift"]
    assert left > 0
    assert receipt["way"]["match"] == [MatchSettings.parse(text).full]
    lines = " ".join(told.stderr.split())
    assert f"sift: the budget of 40 pairs leaves out {left} of {left + 40}; they keep" in lines
    note = "the fixed threshold 0.35 cuts fused probabilities, not the similarities of embeddings"
    assert lines.count(note) == 1
    assert receipt["threshold_note"].startswith(note)
    again = commands.kitbox(place, "reproduce", made["submission"], "--device", "cpu").stderr
    assert "the submission is the same, byte for byte" in again
    wrong = error_of(place, "score", "frozen_32", "--match", text, "--threshold", "-0.35")
    assert wrong.startswith("a fixed threshold of -0.35 cuts fused probabilities, which lie betwee")


@pytest.mark.parametrize("how", [("--match", SIFT), ("--fusion", "classifier", "--match", SIFT)])
def test_a_submission_is_made_and_reproduced_byte_for_byte(
    place: Workspace, how: tuple[str, ...]
) -> None:
    made = json_of(place, "ensemble", "frozen_32", *how, "--submit")
    receipt = json.loads((Path(made["submission"]) / "receipt.json").read_text())
    assert receipt["way"]["match"] == [MatchSettings.parse(SIFT).full]
    assert receipt["fusion"]["signals"] == ["similarity", "sift"]
    assert receipt["fusion"].get("weights", {}) == made["fusion"][0].get("weights", {})
    packed = bundle.ensemble_arguments(receipt)
    assert packed[packed.index("--match") + 1] == MatchSettings.parse(SIFT).full
    told = commands.kitbox(place, "reproduce", made["submission"], "--device", "cpu").stderr
    assert "the submission is the same, byte for byte" in told


def test_python_scores_a_fusion_as_the_command_does(place: Workspace) -> None:
    found = json_of(place, "score", "frozen_32", "--match", SIFT)
    whales = kitbox.open(place.root, device="cpu", precision="32", workers=0, progress=print)
    score = whales.score("frozen_32", match=SIFT)
    assert score.by_metric["map_at_20"].value == found["scores"]["map_at_20"]["value"]


def test_members_are_fused_without_matches(place: Workspace) -> None:
    found = json_of(
        place, "score", "frozen_32", "frozen_32@views=flip", "--fusion", "logit:shortlist=20"
    )
    [evidence] = found["fusion"]
    assert evidence["signals"] == ["similarity", "frozen_32", "frozen_32@views=flip"]
    assert min(evidence["weights"].values()) >= 0


def test_a_classifier_of_labels_is_blended_with_neighbours(place: Workspace) -> None:
    blended = json_of(
        place, "score", "frozen_32", "--combine", "classifier", "--match", SIFT,
        "--fusion", "logit:blend=0.3",
    )  # fmt: skip
    alone = json_of(place, "score", "frozen_32", "--combine", "classifier")
    name = next(iter(alone["scores"]))
    assert blended["scores"][name]["value"] > alone["scores"][name]["value"]
    made = json_of(
        place, "ensemble", "frozen_32", "--combine", "classifier", "--match", SIFT,
        "--fusion", "logit:blend=0.3", "--submit",
    )  # fmt: skip
    told = commands.kitbox(place, "reproduce", made["submission"], "--device", "cpu").stderr
    assert "the submission is the same, byte for byte" in told


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--fusion", "logits"), "there is no method of fusion 'logits'; did you mean logit?"),
        (("--match", "shift"), "there is no matcher 'shift'"),
        (("--fusion", "boost"), "--fusion: boost raises similarities by local matches"),
        (
            ("--match", "sift", "--combine", "labels"),
            "--combine labels averages similarities of labels, and --match those of pairs",
        ),
        (
            ("--fusion", "mean", "--combine", "classifier"),
            "--combine classifier ranks labels without --fusion; blend both, as "
            "--fusion mean:blend=0.5",
        ),
        (("--fusion", "logit:blend=.5"), "blend=0.5 is the share of a classifier of labels"),
    ],
)
def test_mistakes_are_one_sentence(
    place: Workspace, options: tuple[str, ...], message: str
) -> None:
    assert message in error_of(place, "score", "frozen_32", *options, *RUN)


def test_a_centre_is_no_image_to_match() -> None:
    toy = competition(task={"label_similarity": "centre"})
    with pytest.raises(KitboxError, match="a label's centre is no image, so that --match does not"):
        EnsembleOptions(match=("sift",)).check(toy)
    by_images = replace(EnsembleOptions(), fusion="mean")
    by_images.check(competition())


def test_without_a_holdout_there_is_nothing_to_fit_a_fusion_on() -> None:
    with pytest.raises(
        KitboxError, match=r"fitted on a holdout, and there is none: too few; leave"
    ):
        submission.unfitted_thresholds(EnsembleOptions(match=("sift",)), competition(), "too few")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (EnsembleOptions(match=("sift",)), "--match"),
        (EnsembleOptions(fusion="mean"), "--fusion"),
        (EnsembleOptions(unknown="learned"), "--new-label learned"),
    ],
)
def test_a_submission_without_the_model_of_its_options_is_refused(
    place: Workspace, options: EnsembleOptions, named: str
) -> None:
    whales = kitbox.open(place.root, progress=[].append)
    ensemble = Ensemble(
        collection=whales.collection(),
        competition=whales.competition,
        workspace=place,
        options=options,
    )
    with pytest.raises(
        KitboxError, match=f"^{named} needs the model that is fitted on the holdout, and there is"
    ):
        next(submission.make_submission(ensemble, {"": 0.5}))
