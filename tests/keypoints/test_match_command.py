"""The command 'match' on drawn flukes: its figures, its cache, and its mistakes."""

import numpy as np
import pytest

import kitbox
from kitbox.competition import presets
from kitbox.ensemble.recipe import Recipe
from kitbox.keypoints.match_settings import MatchSettings
from kitbox.synthetic import whale_competition
from kitbox.workspace import Workspace
from tests.commands import RUN, error_of, invoke, json_of
from tests.commands import kitbox as run_kitbox
from tests.photographs import finish, write_plugin

SIFT = "sift:size=256,points=300"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Workspace:
    root = tmp_path_factory.mktemp("whales")
    finish(
        whale_competition.draw(root / "data", individuals=8, photographs=48, seed=1, long_side=400)
    )
    workspace = Workspace(root / "workspace")
    presets.init(workspace, "humpback", root / "data", broken="drop")
    write_plugin(workspace, "frozen_32", epochs=0)
    return workspace


def match(place: Workspace, *options: str):
    return json_of(place, "match", "frozen_32", "--with", SIFT, "--shortlist", "6", *options)


def test_the_holdout_is_matched_once_and_compared_with_the_similarity(place):
    [first] = match(place)["matches"]
    [again] = match(place)["matches"]
    assert first["matcher"] == "sift:shortlist=6,points=300,size=256"
    assert first["queries"] == "holdout"
    assert first["matched"] > 20
    assert (first["cached"], first["left_out"]) == (0, 0)
    assert (again["matched"], again["cached"]) == (0, first["matched"])
    assert again["seconds_a_pair"] is None
    assert again["effect"] == first["effect"]
    # a network of random weights knows nothing, matches do
    separation = first["separation"]
    assert separation["auc"] > 0.7 > separation["auc_of_similarity"]
    assert separation["same"] > 0
    by_metric = {one["metric"]: one for one in first["effect"]}
    assert next(iter(by_metric)) == "label_map_at_5"
    found = by_metric["map_at_20"]
    assert found["after"] - found["before"] == pytest.approx(found["difference"])
    assert found["low"] <= found["difference"] <= found["high"]
    assert found["difference"] > 0
    assert found["names"] == ["similarity", "sift alone"]


def test_several_matchers_and_the_test_are_a_row_each(place):
    found = match(place, "--with", "orb:size=256,shortlist=2", "--queries", "all", "--budget", "12")
    rows = found["matches"]
    assert [(row["matcher"].partition(":")[0], row["queries"]) for row in rows] == [
        *(("sift", "holdout"), ("orb", "holdout")),
        *(("sift", "test"), ("orb", "test")),
    ]
    assert all(row["matched"] + row["cached"] <= 12 for row in rows)
    assert all(row["matched"] + row["cached"] + row["left_out"] == row["pairs"] for row in rows)
    assert rows[0]["left_out"] > 0
    assert "effect" in rows[1]
    assert "effect" not in rows[2]


def test_without_a_matcher_those_of_the_recipe_are_taken(place, tmp_path):
    file = tmp_path / "best.toml"
    Recipe.of(["frozen_32"], match=(f"{SIFT},shortlist=2", "orb:size=256,shortlist=3")).write(file)
    rows = json_of(place, "match", "--recipe", str(file))["matches"]
    assert [row["matcher"].partition(":")[0] for row in rows] == ["sift", "orb"]
    whales = kitbox.open(place.root, device="cpu", workers=0, progress=lambda _: None)
    table = whales.match(recipe=file)
    assert table.columns[:2] == ("matcher", "image")
    found, counts = np.unique(table["matcher"], return_counts=True)
    assert found.tolist() == [
        "orb:shortlist=3,size=256",
        "sift:shortlist=2,points=300,size=256",
    ]
    assert counts[0] * 2 == counts[1] * 3
    both = whales.match(recipe=file, matcher=SIFT, shortlist=2, budget=4, queries="all")
    assert "matcher" not in both.columns
    assert set(both["image"]) == {
        *whales.match(recipe=file, matcher=SIFT, shortlist=1)["image"],
        *whales.match(recipe=file, matcher=SIFT, shortlist=1, queries="test")["image"],
    }
    assert 0 < np.isfinite(both["inliers"]).sum() <= 2 * 2 * 4
    [row] = json_of(place, "match", "--recipe", str(file), "--with", "sift:shortlist=1")["matches"]
    assert row["matcher"] == "sift:shortlist=1"


def test_people_read_a_table_and_sentences(place):
    result = invoke(place, "match", "frozen_32", "--with", SIFT, "--shortlist", "6")
    assert result.exit_code == 0, result.output
    assert "seconds a pair" in result.stdout
    assert "area under the ROC curve of the inliers" in result.stderr
    assert "map_at_20: similarity 0." in result.stderr
    begin = invoke(place, "match", "frozen_32", "--with", f"{SIFT},ratio=0.8", "--shortlist", "3")
    assert "sift: " in begin.stderr
    assert " pairs, 0 cached; " in begin.stderr


def test_python_returns_the_same_counts(place):
    told: list[object] = []
    whales = kitbox.open(place.root, device="cpu", precision="32", workers=0, progress=told.append)
    table = whales.match("frozen_32", matcher=f"{SIFT},shortlist=6")
    assert table.columns == (
        *("image", "label", "rank", "neighbour", "neighbour_label", "similarity"),
        *("matches", "inliers", "confident", "ratio"),
    )
    same = (table["label"] == table["neighbour_label"]) & (table["label"] != "new_whale")
    assert np.nanmean(table["inliers"][same]) > np.nanmean(table["inliers"][~same])
    [row] = match(place)["matches"]
    assert len(table) >= row["pairs"]  # a pair may stand in two shortlists
    assert row["cached"] > 0
    assert row["matched"] == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--with", "shift"), "there is no matcher 'shift'; did you mean sift?"),
        (("--with", "sift:ratio=2"),
         "the matcher 'sift:ratio=2': ratio = 2 should be less than or equal to 1"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(place, options, sentence):
    assert error_of(place, "match", "frozen_32", *options) == sentence


def test_a_mistake_of_python_is_the_same_sentence(place):
    with pytest.raises(kitbox.errors.KitboxError, match=r"^there is no matcher 'x'"):
        kitbox.open(place.root).match("frozen_32", matcher="x")


def test_a_test_without_images_has_no_shortlist(place, tmp_path):
    text = place.settings.read_text()
    other = Workspace(tmp_path)
    other.settings.write_text(
        "\n".join(line for line in text.splitlines() if not line.startswith("test_"))
    )
    write_plugin(other, "frozen_32", epochs=0)
    assert "no test images" in error_of(other, "match", "frozen_32", "--queries", "test")


def test_imported_embeddings_have_a_shortlist_too(place, tmp_path):
    whales = kitbox.open(place.root, device="cpu", workers=0, progress=[].append)
    images = whales.images
    vectors = np.random.default_rng(0).normal(size=(len(images), 4)).astype(np.float32)
    np.savez(tmp_path / "random.npz", image_ids=images["image"], vectors=vectors)
    imported = invoke(
        place, "embeddings", "import", str(tmp_path / "random.npz"), "--name", "random"
    )
    assert imported.exit_code == 0, imported.output
    table = whales.match("random", "frozen_32", matcher=f"{SIFT},shortlist=2", weights=[9, 1])
    queries = len(whales.collection().holdout.query)
    assert table["rank"].tolist() == [1, 2] * queries
    same = (table["label"] == table["neighbour_label"]) & (table["label"] != "new_whale")
    assert np.isfinite(table["inliers"]).all()
    assert table["inliers"][~same].mean() < 4


def test_settings_of_answers_in_a_recipe_are_told(place, tmp_path):
    recipe = tmp_path / "one.toml"
    recipe.write_text(
        'match = ["orb"]\nthreshold = "40%"\nrerank = ["dba"]\n[[members]]\nname = "frozen_32"\n'
    )
    do = ("match", "--recipe", str(recipe), "--with", SIFT, "--shortlist", "2", "--budget", "2")
    assert (
        "without effect here: threshold, match of the recipe" in run_kitbox(place, *do, *RUN).stderr
    )
    shown = []
    whales = kitbox.open(place.root, device="cpu", workers=0, progress=shown.append)
    whales.match(recipe=recipe, matcher=f"{SIFT},shortlist=2", budget=2)
    assert "without effect here: threshold, match of the recipe" in shown


def test_a_shortlist_is_that_of_the_option_unless_the_matcher_has_its_own():
    for text, length in (
        ("sift", 50),
        ("sift:points=80,shortlist=7", 7),
        ("disk:weights=file:shortlist/disk.pth", 50),
        ("sift:shortlist=20", 20),
    ):
        assert MatchSettings.parse(text, shortlist=50).shortlist == length
