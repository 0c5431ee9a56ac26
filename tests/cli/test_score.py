"""Scores, comparisons and thresholds by the command line, over two folds of a tiny competition."""

import json
import shutil
from pathlib import Path

import pytest

from kitbox.cli.score import print_threshold
from kitbox.records import Scores
from kitbox.scoring.local_score import LocalScore
from kitbox.workspace import Workspace
from tests.commands import RUN, invoke, kitbox, refused, told
from tests.photographs import competition_on_disk, write_plugin


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return a workspace of two folds and two plugins that know nothing, for either fold."""
    root = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as outside:
        outside.setenv("KITBOX_WORKSPACE", "")  # --workspace sets it: undone after this
        place, _ = competition_on_disk(root, individuals=8, tests=9)
        text = place.settings.read_text()
        place.settings.write_text(text.replace("seed = 0", "seed = 0\nfolds = 2"))
        write_plugin(place, "plain", epochs=0)
        write_plugin(place, "large", epochs=0, image_size=48)
        done = told(place, "train", "plain", "large", "--fold", "all")
    assert [(entry["name"], entry["fold"]) for entry in done] == [
        ("plain", 1),
        ("large", 1),
        ("plain", 2),
        ("large", 2),
    ]
    assert len({entry["path"] for entry in done}) == 4
    return place


@pytest.fixture
def place(scene: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("KITBOX_WORKSPACE", str(scene.root))  # undone after the test
    return scene


def test_the_score_over_all_folds_is_that_of_all_their_queries(place: Workspace) -> None:
    fixed = ("score", "plain", "--threshold", "0.5", "--fold")
    folds = [told(place, *fixed, number)["scores"]["label_map_at_5"] for number in "12"]
    pooled = told(place, *fixed, "all")["scores"]["label_map_at_5"]
    assert pooled["queries"] == sum(fold["queries"] for fold in folds) >= 30
    mean = sum(fold["value"] * fold["queries"] for fold in folds) / pooled["queries"]
    assert pooled["value"] == pytest.approx(mean, abs=1e-6)
    assert pooled["low"] <= mean <= pooled["high"]


def test_each_fold_has_its_threshold_and_their_mean_is_told(place: Workspace) -> None:
    folds = [told(place, "score", "plain", "--fold", n)["threshold"] for n in "12"]
    assert [fold["rule"] for fold in folds] == ["best", "best"]
    assert told(place, "score", "plain", "--fold", "all")["threshold"]["folds"] == folds
    mean = sum(fold["thresholds"][""] for fold in folds) / 2
    shown = kitbox(place, "score", "plain", "--fold", "all", *RUN).stderr
    assert f"threshold: similarity {mean:.4f} (best)" in shown


@pytest.mark.parametrize(
    ("given", "rule", "threshold"),
    [
        ("0.35", "fixed", 0.35),
        ("-0.2", "fixed", -0.2),
        ("25%", "share", None),
        ("best", "best", None),
    ],
)
def test_a_threshold_is_best_a_similarity_or_a_share(
    place: Workspace, given: str, rule: str, threshold: float | None
) -> None:
    evidence = told(place, "score", "plain", f"--threshold={given}")["threshold"]
    assert evidence["rule"] == rule
    assert threshold in (None, evidence["thresholds"][""])
    if rule == "share":
        assert evidence["answered_unknown"] == pytest.approx(0.25, abs=0.5 / evidence["queries"])


def test_what_the_threshold_does_is_told_to_people(place: Workspace) -> None:
    shown = kitbox(place, "score", "plain", "--threshold", "1", *RUN).stderr
    assert "threshold: similarity 1.0000 (fixed)" in shown
    assert "of the queries are unknown, 100.0% were answered so" in shown
    best = kitbox(place, "score", "plain", *RUN).stderr
    assert "each query was scored by a threshold fitted without it; fitted on the same" in best


def _local_score(evidence: dict[str, object]) -> LocalScore:
    return LocalScore(
        scores=Scores(), outcomes={}, thresholds={"": 0.5}, evidence=evidence, individuals={}
    )


def test_clusters_are_said_to_be_scored_at_a_cut_of_the_same_queries(
    capsys: pytest.CaptureFixture[str],
) -> None:
    evidence = {"rule": "best", "fitted_on_the_same_queries": True}
    for told_of in (evidence, {"rule": "best", "folds": [evidence]}):
        print_threshold(_local_score(told_of))
        shown = capsys.readouterr().err
        assert "the clusters were scored at the cut that is best for the same queries" in shown
    print_threshold(_local_score({"rule": "fixed"}))
    assert "same queries" not in capsys.readouterr().err


def test_one_metric_can_be_shown_alone(place: Workspace) -> None:
    asked = ("score", "plain", "large", "--weights", "2,1", "--metric", "recall_at_5")
    assert list(told(place, *asked)["scores"]) == ["recall_at_5"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("score", "plain", "--threshold", "high"),
            "threshold high is not best, a similarity as 0.35, or a share as 16.5%",
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
def test_what_cannot_be_scored_is_one_sentence(
    place: Workspace, arguments: tuple[str, ...], message: str
) -> None:
    assert refused(place, *arguments).startswith(message)


def test_a_threshold_where_answers_have_none_is_refused(place: Workspace, tmp_path: Path) -> None:
    other = Workspace(tmp_path / "images")
    data = str(place.root.parent / "data")
    kitbox(place, "init", str(other.root), "--preset", "gdsc2020", "--data", data)
    assert refused(other, "score", "plain", "--threshold", "0.3") == (
        "the answers of gdsc2020 have no threshold; leave --threshold out"
    )


@pytest.mark.parametrize("fold", ["1", "all"])
def test_a_comparison_is_paired_and_turned_round_has_the_other_sign(
    place: Workspace, fold: str
) -> None:
    there = told(place, "compare", "plain", "large", "--fold", fold)
    back = told(place, "compare", "large", "plain", "--fold", fold)
    assert there["metric"] == "label_map_at_5"
    assert there["names"] == ["plain", "large"]
    assert there["difference"] == -back["difference"]
    assert [c["query_id"] for c in there["gained"]] == [c["query_id"] for c in back["lost"]]
    scores = [told(place, "score", name, "--fold", fold)["scores"] for name in there["names"]]
    values = [score["label_map_at_5"]["value"] for score in scores]
    assert there["difference"] == pytest.approx(values[1] - values[0], abs=2e-6)


def test_a_plugin_is_not_better_than_itself(place: Workspace) -> None:
    same = told(place, "compare", "plain", "plain", "--metric", "recall_at_1")
    assert (same["metric"], same["difference"], same["p"]) == ("recall_at_1", 0, 1)
    assert same["gained"] == same["lost"] == []


def test_an_ensemble_is_compared_and_queries_that_moved_are_listed(place: Workspace) -> None:
    asked = ("compare", "plain", "plain+large", "--changed")
    shown = kitbox(place, *asked, "1", *RUN)
    assert "plain+large" in shown.stdout
    assert "plain" in shown.stderr  # the sentence
    moved = told(place, *asked, "50")
    for title in ("gained", "lost"):
        assert (f"{title} most by plain+large" in shown.stdout) == bool(moved[title])
    assert not set(told(place, *asked, "0")["gained"])


def test_embeddings_of_all_folds_are_filled_and_of_the_test_once(place: Workspace) -> None:
    sizes = [entry["images"] for entry in told(place, "embed", "plain", "--fold", "all")]
    assert sorted(sizes) == [9, 32, 32, 32]  # the test; for each fold and for the leaderboard
    assert [entry["images"] for entry in told(place, "embed", "plain", "--fold", "2")] == [32]


def test_a_list_cut_by_a_given_threshold_is_made_again_with_it(place: Workspace) -> None:
    made = told(place, "ensemble", "plain", "--threshold", "1", "--submit")
    assert made["thresholds"] == {"": 1.0}
    text = Path(made["csv"]).read_text()
    assert all(line.split(",")[1].startswith("new_whale ") for line in text.splitlines()[1:])
    again = kitbox(place, "reproduce", made["submission"], "--device", "cpu")
    assert "the submission is the same, byte for byte" in again.stderr
    # kitbox.toml has another rule, and that is told, but is no difference
    assert "differs" not in again.stdout
    assert (
        "the receipt's threshold was applied (rule fixed, similarity 1.0); "
        "kitbox.toml has another (rule best)"
    ) in again.stderr
    compared = json.loads(
        kitbox(place, "reproduce", made["submission"], "--device", "cpu", "--json").stdout
    )
    [threshold] = [entry for entry in compared if entry["what"] == "threshold"]
    assert threshold == {"what": "threshold", "recorded": "1.0", "again": "1.0", "equal": True}


def test_a_share_of_the_test_is_answered_unknown_and_so_again(place: Workspace) -> None:
    made = told(place, "ensemble", "plain", "--threshold", "33.3%", "--submit")
    lines = Path(made["csv"]).read_text().splitlines()[1:]
    assert sum(line.split(",")[1].startswith("new_whale ") for line in lines) == 3  # of 9
    again = kitbox(place, "reproduce", made["submission"], "--device", "cpu")
    assert "the submission is the same, byte for byte" in again.stderr


def test_lint_tells_the_first_findings_and_counts_the_others(place: Workspace, tmp_path) -> None:
    made = told(place, "ensemble", "plain", "--submit")
    path = tmp_path / "list.csv"
    shutil.copy(made["csv"], path)
    assert f"{path}: no findings" in kitbox(place, "submission", "lint", str(path)).stderr
    strangers = "".join(f"q{n},a b c d e\n" for n in range(60))
    path.write_text(path.read_text() + strangers)
    result = invoke(place, "submission", "lint", str(path), "--json")
    assert result.exit_code == 1
    findings = json.loads(result.stdout)
    assert len(findings) == 60
    assert findings[0]["line"] == 11
    assert findings[0]["column"] == 1
    assert findings[0]["what"].startswith("'q0' is not a query")
    shown = invoke(place, "submission", "lint", str(path)).stderr.splitlines()
    assert shown[0].startswith(f"{path} line 11, column 1: 'q0' is not a query")
    assert shown[-1] == f"{path}: 10 more; --json lists them all"


def test_lint_tells_a_list_that_was_sent_before(place: Workspace) -> None:
    from kitbox.submission import ledger

    made = told(place, "ensemble", "plain", "--note", "sent", "--submit")
    name = Path(made["submission"]).name
    digest = json.loads((Path(made["submission"]) / "receipt.json").read_text())["csv"]["sha256"]
    ledger.append(place, "sending", name, sha256=digest, description="one")
    ledger.append(place, "sent", name, ref=7)
    result = invoke(place, "submission", "lint", made["csv"])
    assert result.exit_code == 1
    assert f"these bytes were sent before, as {name}, and would score the same" in result.stderr
