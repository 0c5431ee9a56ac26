"""Scores, comparisons, thresholds and ensembles, on tiny competitions."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kitbox.cli.score import print_threshold
from kitbox.ensemble import dense_classifier
from kitbox.ensemble.ensemble import EnsembleOptions
from kitbox.records import Scores
from kitbox.scoring import local_score
from kitbox.scoring.local_score import LocalScore
from kitbox.workspace import Workspace
from tests.commands import RUN, error_of, invoke, json_of, kitbox
from tests.photographs import competition_on_disk, write_plugin
from tests.read_only import forbid_writing
from tests.report.parsed_page import ParsedPage, parse


@pytest.fixture(scope="module")
def two_folds(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return a workspace of two folds, with two networks for each fold."""
    root = tmp_path_factory.mktemp("results")
    workspace, _ = competition_on_disk(root, individuals=8, tests=9)
    text = workspace.settings.read_text()
    workspace.settings.write_text(text.replace("seed = 0", "seed = 0\nfolds = 2"))
    write_plugin(workspace, "plain", epochs=1)
    write_plugin(workspace, "large", epochs=1, image_size=48)
    done = json_of(workspace, "train", "plain", "large", "--fold", "all")
    assert [(entry["name"], entry["fold"]) for entry in done] == [
        ("plain", 1),
        ("large", 1),
        ("plain", 2),
        ("large", 2),
    ]
    assert len({entry["path"] for entry in done}) == 4
    return workspace


def test_the_score_over_all_folds_is_that_of_all_their_queries(two_folds: Workspace) -> None:
    fixed = ("score", "plain", "--threshold", "0.5", "--fold")
    folds = [json_of(two_folds, *fixed, number)["scores"]["label_map_at_5"] for number in "12"]
    pooled = json_of(two_folds, *fixed, "all")["scores"]["label_map_at_5"]
    assert pooled["queries"] == sum(fold["queries"] for fold in folds) >= 30
    mean = sum(fold["value"] * fold["queries"] for fold in folds) / pooled["queries"]
    assert pooled["value"] == pytest.approx(mean, abs=1e-6)
    assert pooled["low"] <= mean <= pooled["high"]


def test_commands_import_no_package_that_cached_embeddings_do_not_need(
    two_folds: Workspace,
) -> None:
    """torch and what it draws in take four fifths of the time of a cached score."""
    commands = [
        ["score", "plain", "--fold", "1"],
        ["compare", "plain", "large", "--fold", "1"],
        ["embed", "plain", "--fold", "1"],
    ]
    for command in commands:
        kitbox(two_folds, *command, *RUN)
    script = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from kitbox.cli.app import app\n"
        f"for command in {commands}:\n"
        f"    done = CliRunner().invoke(app, [*command, *{RUN}])\n"
        "    assert done.exit_code == 0, done.output\n"
        "print({'torch', 'torchvision', 'timm', 'matplotlib', 'pandas', 'albumentations', 'optuna',"
        " 'cv2', 'onnx', 'onnxruntime', 'imagehash', 'sympy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=two_folds.root, capture_output=True, text=True
    )
    assert done.stdout.strip() == "set()", done.stderr


def test_each_fold_has_its_threshold_and_their_mean_is_printed(two_folds: Workspace) -> None:
    folds = [json_of(two_folds, "score", "plain", "--fold", n)["threshold"] for n in "12"]
    assert [fold["rule"] for fold in folds] == ["best", "best"]
    assert json_of(two_folds, "score", "plain", "--fold", "all")["threshold"]["folds"] == folds
    mean = sum(fold["thresholds"][""] for fold in folds) / 2
    shown = kitbox(two_folds, "score", "plain", "--fold", "all", *RUN).stderr
    assert f"threshold: similarity {mean:.4f} (best)" in shown


@pytest.mark.parametrize(
    ("given", "rule", "threshold"),
    [
        ("0.35", "fixed", 0.35),
        ("-0.2", "fixed", -0.2),
        ("25%", "share", None),
        ("best", "best", None),
        ("balanced", "balanced", None),
    ],
)
def test_a_threshold_is_best_a_similarity_or_a_share(
    two_folds: Workspace, given: str, rule: str, threshold: float | None
) -> None:
    evidence = json_of(two_folds, "score", "plain", f"--threshold={given}")["threshold"]
    assert evidence["rule"] == rule
    assert threshold in (None, evidence["thresholds"][""])
    errors = evidence["errors"]
    assert errors["known_queries"] + errors["unknown_queries"] == evidence["queries"]
    if rule == "share":
        assert evidence["answered_unknown"] == pytest.approx(0.25, abs=0.5 / evidence["queries"])


def test_the_effect_of_the_threshold_is_printed(two_folds: Workspace) -> None:
    shown = kitbox(two_folds, "score", "plain", "--threshold", "1", *RUN).stderr
    assert "threshold: similarity 1.0000 (fixed)" in shown
    assert "of the queries are unknown, 100.0% were answered so" in shown
    best = kitbox(two_folds, "score", "plain", *RUN).stderr
    assert "each query was scored by a threshold fitted without it; fitted on the same" in best


def _local_score(evidence: dict[str, object]) -> LocalScore:
    return LocalScore(
        scores=Scores(), outcomes={}, thresholds={"": 0.5}, evidence=evidence, individuals={}
    )


def test_clusters_are_reported_as_scored_at_a_cut_of_the_same_queries(
    capsys: pytest.CaptureFixture[str],
) -> None:
    evidence = {"rule": "best", "fitted_on_the_same_queries": True}
    for given in (evidence, {"rule": "best", "folds": [evidence]}):
        print_threshold(_local_score(given))
        shown = capsys.readouterr().err
        assert "the clusters were scored at the cut that is best for the same queries" in shown
    print_threshold(_local_score({"rule": "fixed"}))
    assert "same queries" not in capsys.readouterr().err


def test_one_metric_can_be_shown_alone(two_folds: Workspace) -> None:
    command = ("score", "plain", "large", "--weights", "2,1", "--metric", "recall_at_5")
    assert list(json_of(two_folds, *command)["scores"]) == ["recall_at_5"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("score", "plain", "--threshold", "high"),
            "threshold high is not best, ami, balanced, a similarity as 0.35, or a share as 16.5%",
        ),
        (("score", "plain", "--threshold", "120%"), "threshold 120%: "),
        (
            ("score", "plain", "--threshold", "16.5"),
            "threshold 16.5 is no similarity, which lies between -1 and 1; write 16.5% for a share",
        ),
        (
            ("score", "resnet34_620", "--fold", "2"),
            "resnet34_620 is not trained on holdout; run 'kitbox train resnet34_620 --fold 2'",
        ),
        (
            ("embed", "resnet34_620", "--fold", "2"),
            "resnet34_620 is not trained on holdout; run 'kitbox train resnet34_620 --fold 2'",
        ),
        (
            ("score", "plain", "--metric", "recall_at_6"),
            "no metric recall_at_6; did you mean recall",
        ),
        (
            ("score", "plain", "--fold", "3"),
            "--fold 3: kitbox.toml has holdout.folds = 2; give 1 to 2, or all",
        ),
        (("score", "plain", "--fold", "0"), "--fold 0: kitbox.toml has holdout.folds = 2"),
        (("score", "plain", "--weights", "a"), "--weights a is not numbers with commas, as 2,1"),
        (("score", "plain", "--weights", "1,2"), "--weights names 2 weights for 1 plugins"),
        (("compare", "plain", "larg"), "no plugin named larg; did you mean large?"),
        (("train", "plain", "--on", "all", "--fold", "2"), "--on all trains on every label"),
    ],
)
def test_a_score_that_is_not_possible_is_an_error(
    two_folds: Workspace, arguments: tuple[str, ...], message: str
) -> None:
    assert error_of(two_folds, *arguments).startswith(message)


def test_a_threshold_is_an_error_where_answers_have_none(
    two_folds: Workspace, tmp_path: Path
) -> None:
    other = Workspace(tmp_path / "images")
    data = str(two_folds.root.parent / "data")
    kitbox(two_folds, "init", str(other.root), "--preset", "gdsc2020", "--data", data)
    assert error_of(other, "score", "plain", "--threshold", "0.3") == (
        "the answers of gdsc2020 have no threshold; leave --threshold out"
    )


@pytest.mark.parametrize("fold", ["1", "all"])
def test_a_comparison_is_paired_and_its_reverse_has_the_opposite_sign(
    two_folds: Workspace, fold: str
) -> None:
    there = json_of(two_folds, "compare", "plain", "large", "--fold", fold)
    back = json_of(two_folds, "compare", "large", "plain", "--fold", fold)
    assert there["metric"] == "label_map_at_5"
    assert there["names"] == ["plain", "large"]
    assert there["difference"] == -back["difference"]
    assert [c["query_id"] for c in there["gained"]] == [c["query_id"] for c in back["lost"]]
    scores = [
        json_of(two_folds, "score", name, "--fold", fold)["scores"] for name in there["names"]
    ]
    values = [score["label_map_at_5"]["value"] for score in scores]
    assert there["difference"] == pytest.approx(values[1] - values[0], abs=2e-6)


def test_a_plugin_is_not_better_than_itself(two_folds: Workspace) -> None:
    same = json_of(two_folds, "compare", "plain", "plain", "--metric", "recall_at_1")
    assert (same["metric"], same["difference"], same["p"]) == ("recall_at_1", 0, 1)
    assert same["gained"] == same["lost"] == []


def test_an_ensemble_is_compared_and_changed_queries_are_listed(two_folds: Workspace) -> None:
    command = ("compare", "plain", "plain+large", "--changed")
    shown = kitbox(two_folds, *command, "1", *RUN)
    assert "plain+large" in shown.stdout
    assert "plain" in shown.stderr  # the sentence
    moved = json_of(two_folds, *command, "50")
    for title in ("gained", "lost"):
        assert (f"{title} most by plain+large" in shown.stdout) == bool(moved[title])
    assert not set(json_of(two_folds, *command, "0")["gained"])


def test_embed_fills_the_cache_for_all_folds_and_once_for_the_test(two_folds: Workspace) -> None:
    sizes = [entry["images"] for entry in json_of(two_folds, "embed", "plain", "--fold", "all")]
    assert sorted(sizes) == [9, 32, 32, 32]  # the test; for each fold and for the leaderboard
    assert [entry["images"] for entry in json_of(two_folds, "embed", "plain", "--fold", "2")] == [
        32
    ]


def test_a_submission_with_a_given_threshold_is_reproduced_with_it(two_folds: Workspace) -> None:
    made = json_of(two_folds, "ensemble", "plain", "--threshold", "1", "--submit")
    assert made["thresholds"] == {"": 1.0}
    text = Path(made["csv"]).read_text()
    assert all(line.split(",")[1].startswith("new_whale ") for line in text.splitlines()[1:])
    again = kitbox(two_folds, "reproduce", made["submission"], "--device", "cpu")
    assert "the submission is the same, byte for byte" in again.stderr
    # another rule in kitbox.toml is a note, not a difference
    assert "differs" not in again.stdout
    assert (
        "the receipt's threshold was applied (rule fixed, similarity 1.0); "
        "kitbox.toml has another (rule best)"
    ) in again.stderr
    compared = json.loads(
        kitbox(two_folds, "reproduce", made["submission"], "--device", "cpu", "--json").stdout
    )
    [threshold] = [entry for entry in compared if entry["what"] == "threshold"]
    assert threshold == {"what": "threshold", "recorded": "1.0", "again": "1.0", "equal": True}


def test_a_share_of_the_test_is_answered_unknown_and_reproduced(two_folds: Workspace) -> None:
    made = json_of(two_folds, "ensemble", "plain", "--threshold", "33.3%", "--submit")
    lines = Path(made["csv"]).read_text().splitlines()[1:]
    assert sum(line.split(",")[1].startswith("new_whale ") for line in lines) == 3  # of 9
    again = kitbox(two_folds, "reproduce", made["submission"], "--device", "cpu")
    assert "the submission is the same, byte for byte" in again.stderr


def test_a_balanced_threshold_is_in_the_receipt_and_reproduced(two_folds: Workspace) -> None:
    made = json_of(two_folds, "ensemble", "plain", "--threshold", "balanced", "--submit")
    written = json.loads((Path(made["submission"]) / "receipt.json").read_text())
    assert written["competition"]["threshold"]["rule"] == "balanced"
    assert written["threshold_evidence"]["errors"] == made["threshold"]["errors"]
    again = kitbox(two_folds, "reproduce", made["submission"], "--device", "cpu")
    assert "the submission is the same, byte for byte" in again.stderr
    page = json_of(two_folds, "report", Path(made["submission"]).name)["page"]
    assert "(balanced)." in " ".join(parse(Path(page)).words)


def test_errors_of_all_folds_are_added(two_folds: Workspace) -> None:
    fold_errors = [
        json_of(two_folds, "score", "plain", "--fold", n)["threshold"]["errors"] for n in "12"
    ]
    pooled = json_of(two_folds, "score", "plain", "--fold", "all")["threshold"]["errors"]
    for name in ("known_queries", "known_answered_unknown", "unknown_answered_known"):
        assert pooled[name] == sum(errors[name] for errors in fold_errors)
    shown = kitbox(two_folds, "score", "plain", "--fold", "all", *RUN).stderr
    assert f"of {pooled['known_queries']} queries of known individuals" in shown


def test_score_and_compare_fit_into_80_columns(
    two_folds: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = ("plain", "plain+large")
    for arguments in (("compare", *names), ("score", "plain", "large")):
        shown = kitbox(two_folds, *arguments, *RUN)
        lines = [*shown.stdout.splitlines(), *shown.stderr.splitlines()]
        assert max(map(len, lines)) <= 80
        assert "…" not in shown.stdout
    assert "map_at_20" in shown.stdout


WAYS = (
    ("--combine", "labels"),
    ("--combine", "classifier", "--dims", "8"),
    ("--new-label", "learned"),
    ("--combine", "classifier", "--new-label", "learned", "--threshold", "30%"),
)

WORDS = {
    "labels": "Labels are ranked by the mean of the members' similarities.",
    "classifier": "Labels are ranked by a classifier of the meta-embeddings.",
    "learned": "Unknown individuals are recognised by a model fitted to other queries.",
}


def reported(ensembles: Workspace, *arguments: str) -> tuple[Any, ParsedPage]:
    """Return what a report prints as JSON, and the page."""
    found = json_of(ensembles, "report", *arguments)
    return found, parse(Path(found["page"]))


@pytest.fixture(scope="module")
def trained_ways(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return a workspace of three untrained networks, with many unknown queries."""
    root = tmp_path_factory.mktemp("ways")
    ensembles, _ = competition_on_disk(root, individuals=24, each=4, tests=9)
    text = ensembles.settings.read_text()
    text = text.replace("share = 0.2 ", "share = 0.5 ")
    ensembles.settings.write_text(text.replace("unknown_share = 0.27", "unknown_share = 0.5"))
    write_plugin(ensembles, "plain", epochs=0)
    write_plugin(ensembles, "large", epochs=0, image_size=48)
    write_plugin(ensembles, "narrow", epochs=0, embedding_dim=6)
    return ensembles


@pytest.fixture
def ensembles(trained_ways: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setattr(dense_classifier, "STEPS", 30)
    return trained_ways


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_a_submission_of_any_ensemble_is_reproduced_from_its_receipt(
    ensembles: Workspace, way: tuple[str, ...]
) -> None:
    made = json_of(ensembles, "ensemble", "plain", "large", *way, "--submit")
    written = json.loads((Path(made["submission"]) / "receipt.json").read_text())
    assert made["way"] == written["way"]
    assert made["way"] != EnsembleOptions().method_json()
    alone = json_of(ensembles, "score", "plain", "large", *way)
    assert (alone["scores"], alone["way"]) == (made["scores"], made["way"])
    result = kitbox(ensembles, "reproduce", made["submission"], "--device", "cpu", "--json")
    differing = [c for c in json.loads(result.stdout) if not c["equal"]]
    assert differing == []
    shown, page = reported(ensembles, Path(made["submission"]).name)
    assert shown["scores"] == made["scores"]
    again, other = reported(ensembles, "plain", "large", *way)
    assert again["scores"] == made["scores"]
    scale = made["threshold"].get("scale", "similarity").capitalize()
    for one in (page, other):
        assert f"{scale} of the first answer" in one.text
        assert WORDS[way[1]] in one.text
        queries = one.chunk("queries")["queries"]
        mean = sum(queries["value"]) / len(queries["value"]) / 10_000
        assert mean == pytest.approx(made["scores"]["label_map_at_5"]["value"], abs=1e-4)


def test_a_plugin_may_have_fewer_dimensions_than_the_classifier_of_all(
    ensembles: Workspace,
) -> None:
    way = ("--combine", "classifier", "--dims", "12")
    _, page = reported(ensembles, "plain", "narrow", *way)
    members = page.chunk("queries")["members"]
    assert [one["name"] for one in members] == ["plain", "narrow"]
    alone = json_of(ensembles, "score", "narrow", *way[:2], "--dims", "6")["scores"][
        "label_map_at_5"
    ]
    assert sum(members[1]["value"]) / len(members[1]["value"]) / 10_000 == pytest.approx(
        alone["value"], abs=1e-4
    )


def test_a_learned_new_label_is_printed_with_its_evidence(ensembles: Workspace) -> None:
    shown = kitbox(ensembles, "score", "plain", "large", "--new-label", "learned", *RUN).stderr
    assert "threshold: chance 0.5000 (fixed)" in shown
    assert "are distinguished from known ones with an area under the ROC curve of " in shown
    evidence = json_of(ensembles, "score", "plain", "--new-label", "learned")["threshold"][
        "new_label"
    ]
    assert evidence["auc"]["queries"] == evidence["auc_of_similarity"]["queries"]


def test_a_threshold_is_printed_with_the_name_of_its_scale(ensembles: Workspace) -> None:
    shown = kitbox(
        ensembles, "score", "plain", "--combine", "classifier", "--dims", "8", *RUN
    ).stderr
    assert "threshold: probability 0." in shown
    settings = ensembles.settings.read_text()
    closer = settings.replace("[task]", '[task]\nlabel_similarity = "closeness"')
    try:
        ensembles.settings.write_text(closer)
        assert "threshold: closeness 0." in kitbox(ensembles, "score", "plain", *RUN).stderr
    finally:
        ensembles.settings.write_text(settings)


def test_each_fold_has_the_evidence_of_its_learned_new_label() -> None:
    area = {"value": 0.75, "low": 0.5, "high": 1.0, "queries": 9}
    fold = {
        "rule": "fixed",
        "scale": "chance",
        "new_label": {"auc": area, "auc_of_similarity": area},
    }
    evidence = {"rule": "fixed", "folds": [fold, fold]}
    sentences = local_score.threshold_sentences(
        LocalScore(
            scores=Scores(), outcomes={}, thresholds={"": 0.5}, evidence=evidence, individuals={}
        )
    )
    assert sentences[0] == "threshold: chance 0.5000 (fixed)"
    assert sentences[1] == sentences[2]
    assert sentences[1].endswith("by the first similarity alone of 0.750 [0.500, 1.000]")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("score", "plain", "--dims", "8"), "--dims 8 is the classifier's; "),
        (
            ("compare", "plain", "large", "--new-label", "learned", "--threshold", "0.5"),
            "--new-label learned cuts at a probability, not at a fixed similarity; ",
        ),
        (("ensemble", "plain", "--combine", "classifier", "--dims", "99"), "--dims 99: "),
    ],
)
def test_options_that_exclude_each_other_are_an_error(
    ensembles: Workspace, arguments: tuple[str, ...], message: str
) -> None:
    result = invoke(ensembles, *arguments, *RUN)
    assert result.exit_code == 1
    assert str(result.exception).startswith(message)


def test_what_is_cached_is_read_where_nothing_can_be_written(
    two_folds: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = (
        ("score", "plain", *RUN, "--json"),
        ("ensemble", "plain", "large", *RUN, "--json"),
        ("leaderboard",),
        ("data", "holdout"),
    )
    expected = [kitbox(two_folds, *command).stdout for command in commands]
    before = {path: path.stat().st_mtime_ns for path in two_folds.root.rglob("*")}
    forbid_writing(monkeypatch, two_folds.root)
    assert [kitbox(two_folds, *command).stdout for command in commands] == expected
    assert "written to" not in kitbox(two_folds, "data", "holdout").stderr
    error = error_of(two_folds, "ensemble", "plain", "large", *RUN, "--submit")
    assert error.startswith(f"cannot write {two_folds.root}/")
    assert "Read-only" in error
    assert {path: path.stat().st_mtime_ns for path in two_folds.root.rglob("*")} == before


def test_a_check_where_nothing_can_be_written_shows_its_findings(
    two_folds: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = kitbox(two_folds, "data", "check")
    forbid_writing(monkeypatch, two_folds.root)
    shown = kitbox(two_folds, "data", "check")
    assert shown.stdout == written.stdout
    reports = two_folds.reports
    assert f"no report: cannot write {reports / 'check.csv'}: {reports} cannot be" in shown.stderr
    assert "with images:" not in shown.stderr
    document = json.loads(kitbox(two_folds, "data", "check", "--json").stdout)
    assert document["csv"] is document["page"] is None
