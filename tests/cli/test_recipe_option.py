"""Recipes on the command line: the same answers as the options that they hold."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kitbox.ensemble.recipe import Recipe
from kitbox.keypoints.match_settings import MatchSettings
from kitbox.project import Project, open_project
from kitbox.workspace import Workspace
from tests.commands import RUN, error_of, json_of, kitbox
from tests.photographs import competition_on_disk, write_plugin
from tests.report.parsed_page import parse

# Both members differ in all that a member has.
NAMES = ("plain", "large@views=plain+flip")
STEP = "dba:k=2,alpha=3"
OPTIONS = (
    *NAMES, "--weights", "2,0.5", "--whiten", "none,4", "--threshold", "40%", "--rerank", "dba:k=2",
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Return a workspace of two networks that are not trained, and a recipe of both."""
    workspace, _ = competition_on_disk(tmp_path_factory.mktemp("recipes"))
    write_plugin(workspace, "plain", epochs=0)
    write_plugin(workspace, "large", epochs=0, image_size=48)
    best = Recipe.of(NAMES, weights=[2, 0.5], whiten=[None, 4], threshold="40%", rerank=["dba:k=2"])
    best.write(workspace.root / "best.toml")
    return workspace


@pytest.fixture
def default(place: Workspace) -> Any:
    """Name the recipe in kitbox.toml, while a test runs."""
    settings = place.settings.read_text()
    place.settings.write_text(f'{settings}\n[ensemble]\nrecipe = "best.toml"\n')
    yield place
    place.settings.write_text(settings)


def whales_of(place: Workspace) -> Project:
    return open_project(place.root, device="cpu", precision="32", workers=0)


def test_a_recipe_scores_as_its_options_do(place: Workspace) -> None:
    by_options, by_file = (
        json_of(place, "score", *given) for given in (OPTIONS, ("--recipe", "best.toml"))
    )
    assert by_file == by_options
    assert [one.get("whiten") for one in by_file["plugins"]] == [None, 4]
    assert [one["weight"] for one in by_file["plugins"]] == [2, 0.5]
    assert by_file["whiten"] is None
    assert by_file["way"]["rerank"] == [STEP]
    without = json_of(place, "score", *OPTIONS[:-2])["scores"]
    for step in by_file["steps"]:
        assert step["rerank"] == STEP
        assert step["value"] == by_file["scores"][step["metric"]]["value"]
        before = without[step["metric"]]["value"]
        assert step["difference"] == pytest.approx(step["value"] - before, abs=2e-6)
    assert [step["metric"] for step in by_file["steps"]] == ["label_map_at_5", "map_at_20"]
    shown = kitbox(place, "score", "--recipe", "best.toml", *RUN).stderr
    assert f"--rerank {STEP}: map_at_20 " in shown
    assert f"{place.root / 'best.toml'}: 2 members: 2 plain, 0.5 large@views=plain+flip" in shown


def test_a_recipe_of_the_settings_is_used_where_no_plugin_is_named(default: Workspace) -> None:
    assert json_of(default, "score") == json_of(default, "score", "--recipe", "best.toml")
    assert len(json_of(default, "score", "plain")["plugins"]) == 1
    assert error_of(default, "score", "--whiten", "8") == (
        "--whiten is beside the recipe best.toml, which decides it; change it there, or name "
        "plugins in place of the recipe"
    )


def test_a_submission_of_a_recipe_is_made_again_without_it(place: Workspace) -> None:
    path = place.root / "other.toml"
    path.write_text((place.root / "best.toml").read_text())
    made = json_of(place, "ensemble", "--recipe", str(path), "--submit")
    path.unlink()
    receipt = json.loads((Path(made["submission"]) / "receipt.json").read_text())
    assert Recipe.parse(receipt["recipe"]) == Recipe.read(place.root / "best.toml")
    assert [one.get("whiten", "none") for one in receipt["plugins"]] == ["none", 4]
    again = kitbox(place, "reproduce", made["submission"], "--device", "cpu", "--json")
    assert [one for one in json.loads(again.stdout) if not one["equal"]] == []
    csv = Path(made["csv"]).read_bytes()
    assert Path(json_of(place, "ensemble", *OPTIONS, "--submit")["csv"]).read_bytes() == csv
    page = json_of(place, "report", Path(made["submission"]).name)
    assert page["scores"] == made["scores"]
    assert receipt["way"]["rerank"] == [STEP]
    text = parse(Path(page["page"])).text
    assert "large is whitened to 4 dimensions." in text
    assert f"Neighbours are re-ranked by {STEP}." in text


def test_all_stages_together_are_made_again_byte_for_byte(place: Workspace) -> None:
    stages = {"rerank": ["dba:k=2"], "match": ["orb:shortlist=4"], "fusion": "mean"}
    recipe = Recipe.of(NAMES, whiten=[None, 4], threshold="40%", balance="sinkhorn", **stages)
    recipe.write(place.root / "all.toml")
    made = json_of(place, "ensemble", "--recipe", "all.toml", "--submit")
    way = {name: made["way"][name] for name in ("rerank", "match", "fusion", "balance")}
    assert way == {
        "rerank": [STEP],
        "match": [MatchSettings.parse("orb:shortlist=4").full],
        "fusion": recipe.fusion,
        "balance": recipe.balance,
    }
    again = kitbox(place, "reproduce", made["submission"], "--device", "cpu", "--json")
    assert [one for one in json.loads(again.stdout) if not one["equal"]] == []
    found = json_of(place, "score", "--recipe", "all.toml")
    assert found["scores"] == made["scores"]
    kinds = [next(iter(step)) for step in found["steps"]]
    assert list(dict.fromkeys(kinds)) == ["rerank", "fusion", "balance"]
    # re-ranking changes the shortlists, and other pairs are not matched to tell its gain
    assert [
        kind for kind, step in zip(kinds, found["steps"], strict=True) if "unmatched" in step
    ] == (["rerank"] * kinds.count("rerank"))
    unmatched = [*NAMES, "--whiten", "none,4", "--threshold", "40%", "--balance", "sinkhorn"]
    plain, reranked = (
        json_of(place, "score", *unmatched, *more)["scores"]["map_at_20"]["value"]
        for more in ((), ("--rerank", "dba:k=2"))
    )
    [step] = [s for s in found["steps"] if "rerank" in s and s["metric"] == "map_at_20"]
    assert (step["value"], step["difference"]) == pytest.approx(
        (reranked, reranked - plain), abs=2e-6
    )


def test_a_report_of_a_recipe_has_its_scores(place: Workspace) -> None:
    page = json_of(place, "report", "--recipe", "best.toml")
    assert page["scores"] == json_of(place, "score", *OPTIONS)["scores"]
    assert error_of(place, "report", "--recipe", "best.toml", "--by", "plain") == (
        "--by shows the data; leave it out, or the names before it"
    )


def test_a_recipe_is_a_side_of_a_comparison(place: Workspace) -> None:
    found = json_of(place, "compare", "plain", "best.toml", "--metric", "recall_at_1")
    assert found["names"] == ["plain", "best.toml"]
    scores = [
        json_of(place, "score", *given)["scores"]["recall_at_1"]["value"]
        for given in (("plain",), ("--recipe", "best.toml"))
    ]
    assert found["difference"] == pytest.approx(scores[1] - scores[0], abs=2e-6)
    assert error_of(place, "compare", "plain", "best.toml", "--dims", "4").startswith(
        "--dims is beside the recipe best.toml, which decides it; "
    )


def test_neighbours_and_vectors_of_a_recipe_leave_out_what_is_about_answers(
    place: Workspace, tmp_path: Path
) -> None:
    out = tmp_path / "near.csv"
    do = ("neighbours", "--recipe", "best.toml", "--k", "2", "--out", str(out))
    shown = kitbox(place, *do, *RUN).stderr
    assert "without effect here: threshold of the recipe" in shown
    plain = whales_of(place).neighbours(*NAMES, weights=[2, 0.5], whiten=[None, 4], k=2)
    file = tmp_path / "both.npz"
    made = json_of(place, "embeddings", "export", "--recipe", "best.toml", "--out", str(file))
    assert made["dim"] == 16 + 4
    whales = whales_of(place)
    with np.load(file) as found, pytest.warns(match="without effect here: threshold, rerank of "):
        np.testing.assert_array_equal(
            found["embeddings"], whales.embeddings(recipe="best.toml").vectors
        )
    near = whales.neighbours(*NAMES, weights=[2, 0.5], whiten=[None, 4], rerank="dba:k=2", k=2)
    rows = [line.split(",") for line in out.read_text().splitlines()[1:]]
    assert [row[3] for row in rows] == near["neighbour"].tolist()
    assert not np.allclose(near["similarity"], plain["similarity"], atol=1e-4)


def test_python_scores_and_submits_a_recipe(place: Workspace) -> None:
    whales = whales_of(place)
    scores = whales.score(recipe="best.toml")
    assert scores.as_json() == json_of(place, "score", *OPTIONS)["scores"]
    made = whales.submit(recipe="best.toml")
    assert made.score is not None
    assert made.score.score.scores == scores
    assert Recipe.parse(made.receipt["recipe"]) == Recipe.read(place.root / "best.toml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("score",), "name a plugin, or a recipe with --recipe FILE; 'kitbox plugins' lists "),
        (("score", "plain", "--recipe", "best.toml"), "plain is named beside --recipe best.toml; "),
        (("score", "--recipe", "gone.toml"), "cannot read the recipe "),
        (("score", "--recipe", "best.toml", "--weights", "1,2"), "--weights is beside the recipe "),
        (("score", "--recipe", "best.toml", "--view", "flip"), "--view is beside the recipe best"),
        (("score", "plain", "--whiten", "4,4"), "--whiten names 2 dimensions for 1 plugin"),
        (("score", "plain", "--whiten", "few"), "--whiten few is neither dimensions, as 256, nor "),
        (("score", "plain", "--whiten", "1"), "--whiten 1: give 2 dimensions or more"),
        (("ensemble", "plain", "--weights", "0"), "the weight of plain is 0; give it a finite "),
        (("score", "plain", "--rerank", "dbx"), "there is no re-ranking step 'dbx'; did you mean "),
        (
            ("score", "plain", "--combine", "classifier", "--rerank", "dba"),
            "--rerank changes similarities, and --combine classifier ranks by probability; ",
        ),
        (
            ("ensemble", "plain", "--rerank", "subtraction", "--submit"),
            "the re-ranking step subtraction needs images that surely show nobody who is searched ",
        ),
        (("report", "--whiten", "4"), "--whiten is about plugins; name them, or leave it out"),
        (("pseudo", "--recipe", "best.toml", "--import", "x.csv"), "name trained plugins, or a "),
    ],
)
def test_a_recipe_that_is_not_possible_is_an_error(
    place: Workspace, arguments: tuple[str, ...], message: str
) -> None:
    assert error_of(place, *arguments).startswith(message)


def test_pseudo_labels_by_a_recipe_are_those_of_its_members(place: Workspace) -> None:
    rule = ("--threshold", "0.2")
    Recipe.of(NAMES, weights=[2, 0.5]).write(place.root / "unwhitened.toml")
    by_names, by_file = (
        json_of(place, "pseudo", *given, *rule)
        for given in ((*NAMES, "--weights", "2,0.5"), ("--recipe", "unwhitened.toml"))
    )
    assert by_file | {"kept": None} == by_names | {"kept": None}
    shown = kitbox(place, "pseudo", "--recipe", "best.toml", *rule, *RUN).stderr
    assert "without effect here: threshold of the recipe" in shown
