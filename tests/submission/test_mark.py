"""Scores of a submission by true labels, for each kind of answer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from kitbox.competition.settings import Competition
from kitbox.dataset.collection import Collection
from kitbox.errors import KitboxError
from kitbox.records import Search, strings
from kitbox.submission.mark import score_submission
from tests.circle import competition
from tests.submission.collected import collection, unlabelled

TRAIN = {"a": "Ahab", "b": "Boo", "c": "Ahab"}
# image: the label that a scorer expects, and who is shown
TRUTH = {"x": ("Ahab", "Ahab"), "y": ("new_whale", "Zoe"), "z": ("new_whale", "Zoe")}
GROUPS = {"w": "lynx", "x": "lynx", "y": "lynx", "z": "turtle"}


def scored(
    folder: Path,
    rows: Sequence[str],
    toy: Competition,
    images: Collection,
    truth: Mapping[str, tuple[str, str]] = TRUTH,
) -> dict[str, Any]:
    """Return the values of a submission of these rows by metric, and the number of queries."""
    text = [",".join(toy.submission.header), *rows]
    (folder / "submission.csv").write_text("\n".join(text) + "\n")
    lines = [f"{name},{label},{who},{GROUPS.get(name, '')}" for name, (label, who) in truth.items()]
    (folder / "truth.csv").write_text("image,label,individual,group\n" + "\n".join(lines) + "\n")
    found = score_submission(folder / "submission.csv", folder / "truth.csv", toy, images).scores
    assert next(iter(found.by_metric)) == toy.metric
    values = {name: pytest.approx(score.value) for name, score in found.by_metric.items()}
    return values | {"queries": found.main.queries}


def test_labels_score_by_the_rank_of_the_expected_one(tmp_path: Path) -> None:
    toy = competition(k=2)
    images = collection(toy, TRAIN, unlabelled("x", "y", "z"))
    # right at rank 1, right at rank 2, never right
    rows = ["x,Ahab new_whale", "y,Ahab new_whale", "z,Ahab Boo"]
    assert scored(tmp_path, rows, toy, images) == {"label_map_at_2": (1 + 1 / 2) / 3, "queries": 3}


def test_a_query_without_a_row_scores_0_and_the_order_of_rows_does_not_matter(
    tmp_path: Path,
) -> None:
    toy = competition(k=2)
    images = collection(toy, TRAIN, unlabelled("x", "y", "z"))
    rows = ["z,new_whale Boo", "x,Boo Ahab"]
    assert scored(tmp_path, rows, toy, images) == {"label_map_at_2": (1 / 2 + 1) / 3, "queries": 3}


def test_a_key_may_have_any_of_the_unknown_labels(tmp_path: Path) -> None:
    toy = competition(k=2, unknown_label=["new_whale", "NA", ""])
    images = collection(toy, TRAIN, unlabelled("x", "y", "z"))
    truth = {"x": ("NA", "u"), "y": ("", "v"), "z": ("Boo", "Boo")}
    rows = ["x,new_whale Boo", "y,Ahab new_whale", "z,Ahab Boo"]
    found = scored(tmp_path, rows, toy, images, truth)
    assert found == {"label_map_at_2": (1 + 1 / 2 + 1 / 2) / 3, "queries": 3}


def test_images_match_by_individual_even_without_a_label(tmp_path: Path) -> None:
    toy = competition(answers="images", k=2, gallery="train+test")
    images = collection(toy, TRAIN, unlabelled("x", "y", "z"))
    # x matches a and c, of which one comes second; y matches z; z finds y second
    rows = ["x,b a", "y,z a", "z,b y"]
    assert scored(tmp_path, rows, toy, images) == {
        "map_at_2": (1 / 4 + 1 + 1 / 2) / 3,
        "recall_at_1": 1 / 3,
        "queries": 3,
    }


def test_a_query_without_a_match_is_not_counted(tmp_path: Path) -> None:
    toy = competition(answers="images", k=1)
    images = collection(toy, TRAIN, unlabelled("x", "y", "z"))
    found = scored(tmp_path, ["x,a", "y,a", "z,a"], toy, images)
    assert found == {"map_at_1": 1, "recall_at_1": 1, "queries": 1}


def test_an_index_is_searched_by_the_labels_of_the_key(tmp_path: Path) -> None:
    toy = competition(
        answers="images", k=2, gallery="index", images={"index_folder": "i"}, unknown_label=None
    )
    images = collection(toy, TRAIN, unlabelled("x"), unlabelled("y", "z"))
    truth = {"x": ("7", "u"), "y": ("7", "u"), "z": ("8", "v")}
    found = scored(tmp_path, ["x,z y"], toy, images, truth)
    assert found == {"map_at_2": 1 / 2, "recall_at_1": 0, "queries": 1}
    del truth["z"]
    with pytest.raises(KitboxError, match=r"truth\.csv has no row of image 'z'$"):
        scored(tmp_path, ["x,z y"], toy, images, truth)


def test_queries_of_scenarios_are_scored_by_the_image_that_they_show(tmp_path: Path) -> None:
    toy = competition(
        answers="images",
        k=2,
        gallery="test",
        unknown_label=None,
        form={"layout": "long", "header": ("query_id", "image", "score")},
    )
    test = unlabelled("x", "y", "z")
    searches = (
        Search("s1", strings(["s1-x"]), strings(["x"]), strings(["x", "y"])),
        Search("s2", strings(["s2-x", "s2-z"]), strings(["x", "z"]), strings(["y"])),
    )
    images = collection(toy, TRAIN, test, searches=searches)
    truth = {"x": ("u", "u"), "y": ("u", "u"), "z": ("v", "v")}
    # the rows of a query count by their score: y comes second for s1-x; z has no match in s2
    rows = ["s1-x,y,0.9", "s1-x,z,0.95", "s2-z,y,0.1"]
    assert scored(tmp_path, rows, toy, images, truth) == {
        "map_at_2": (1 / 2 + 0) / 2,
        "recall_at_1": 0,
        "queries": 2,
    }


def test_an_image_outside_the_querys_own_gallery_is_a_miss(tmp_path: Path) -> None:
    toy = competition(answers="images", k=2, gallery="test", unknown_label=None)
    test = unlabelled("x", "y", "z")
    searches = (Search("s1", strings(["x"]), strings(["x"]), strings(["x", "z"])),)
    images = collection(toy, TRAIN, test, searches=searches)
    truth = dict.fromkeys("xyz", ("u", "u"))
    # y shows the same individual but is not searched; z, the only match, comes second
    assert scored(tmp_path, ["x,y z"], toy, images, truth)["map_at_2"] == 1 / 2


def test_matches_count_the_query_itself(tmp_path: Path) -> None:
    toy = competition(
        answers="matches",
        k=3,
        gallery="test",
        unknown_label=None,
        task={"with_itself": True, "least": 2},
    )
    images = collection(toy, TRAIN, unlabelled("x", "y", "z"))
    truth = {"x": ("7", "7"), "y": ("7", "7"), "z": ("8", "8")}
    # of x all are right, of y two of three, of z one of two
    rows = ["x,x y", "y,y x z", "z,z x"]
    f1 = (1 + 2 * 2 / (3 + 2) + 2 * 1 / (2 + 1)) / 3
    assert scored(tmp_path, rows, toy, images, truth) == {"row_f1": f1, "queries": 3}


def test_a_single_label_counts_by_its_confidence(tmp_path: Path) -> None:
    toy = competition(
        answers="label", k=1, unknown_label=None, task={"metric": "gap"}, form={"layout": "scored"}
    )
    images = collection(toy, TRAIN, unlabelled("x", "y", "z"))
    truth = {"x": ("Ahab", "Ahab"), "y": ("", "Zoe"), "z": ("Boo", "Boo")}
    # the surest answer is of a photograph without a landmark; then one is right of two
    rows = ["x,Ahab 0.5", "y,Ahab 0.9", "z,"]
    assert scored(tmp_path, rows, toy, images, truth) == {"gap": (1 / 2) / 2, "queries": 3}


def test_known_and_unknown_individuals_weigh_the_same(tmp_path: Path) -> None:
    toy = competition(answers="label", k=1)
    images = collection(toy, TRAIN, unlabelled("w", "x", "y", "z"))
    truth = TRUTH | {"w": ("Boo", "Boo")}
    rows = ["w,Ahab", "x,Ahab", "y,new_whale", "z,Ahab"]
    assert scored(tmp_path, rows, toy, images, truth) == {
        "baks_baus": 1 / 2,  # Ahab of Ahab and Boo, and half of Zoe's photographs
        "baks": 1 / 2,
        "baus": 1 / 2,
        "queries": 4,
    }


def test_clusters_are_scored_by_individual(tmp_path: Path) -> None:
    toy = competition(answers="clusters", gallery="test", unknown_label=None)
    images = collection(toy, TRAIN, unlabelled("w", "x", "y", "z"))
    truth = {"w": ("u", "u"), "x": ("u", "u"), "y": ("v", "v"), "z": ("v", "v")}
    rows = ["w,c1", "x,c1", "y,c2", "z,c2"]
    assert scored(tmp_path, rows, toy, images, truth) == {"ari": 1, "nmi": 1, "queries": 4}


@pytest.mark.parametrize("missing", ["submission.csv", "truth.csv"])
def test_a_missing_file_is_an_error(tmp_path: Path, missing: str) -> None:
    images = collection(competition(), TRAIN, unlabelled("x"))
    for name in {"submission.csv", "truth.csv"} - {missing}:
        (tmp_path / name).touch()
    with pytest.raises(KitboxError) as caught:
        score_submission(tmp_path / "submission.csv", tmp_path / "truth.csv", competition(), images)
    assert str(caught.value) == f"there is no file {tmp_path / missing}"


def test_a_submission_in_another_format_is_an_error_that_points_to_the_lint(tmp_path: Path) -> None:
    images = collection(competition(), TRAIN, unlabelled("x", "y", "z"))
    with pytest.raises(KitboxError) as caught:
        scored(tmp_path, ["x,Ahab Ahab"], competition(), images)
    path = tmp_path / "submission.csv"
    assert str(caught.value) == (
        f"{path}: an answer to query 'x' is repeated; "
        f"'kitbox submission lint {path}' lists all findings"
    )


def test_a_row_without_a_query_is_an_error(tmp_path: Path) -> None:
    images = collection(competition(), TRAIN, unlabelled("x", "y", "z"))
    with pytest.raises(KitboxError) as caught:
        scored(tmp_path, ["x,Ahab", "y.jpg,Boo", "z.jpg,Boo"], competition(), images)
    path = tmp_path / "submission.csv"
    assert str(caught.value) == (
        f"{path}: 'y.jpg' is not a query; 1 more like it; "
        f"'kitbox submission lint {path}' lists all findings"
    )


@pytest.mark.parametrize("columns", [3, 4])
def test_a_key_needs_no_group(tmp_path: Path, columns: int) -> None:
    images = collection(competition(), TRAIN, unlabelled("x"))
    (tmp_path / "submission.csv").write_text("Image,Id\nx,Ahab\n")
    rows = (("image", "label", "individual", "group"), ("x", "Ahab", "Ahab", "lynx"))
    (tmp_path / "truth.csv").write_text("".join(",".join(row[:columns]) + "\n" for row in rows))
    found = score_submission(
        tmp_path / "submission.csv", tmp_path / "truth.csv", competition(), images
    )
    assert found.scores.main.value == 1


def test_a_key_without_a_test_image_is_named(tmp_path: Path) -> None:
    images = collection(competition(), TRAIN, unlabelled("w", "x", "y", "v"))
    with pytest.raises(KitboxError) as caught:
        scored(tmp_path, ["x,Ahab"], competition(), images)
    assert str(caught.value) == (
        f"{tmp_path / 'truth.csv'} has no row of image 'w'; 1 more like it"
    )


def test_a_competition_without_test_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KitboxError, match=r"has no test images; set images\.test_folder"):
        scored(tmp_path, [], competition(), collection(competition(), TRAIN, None))


def test_a_repeated_answer_counts_once_where_the_scorer_is_lenient(tmp_path: Path) -> None:
    toy = competition(k=3)
    images = collection(toy, TRAIN, unlabelled("x", "y", "z"))
    (tmp_path / "submission.csv").write_text("Image,Id\nx,Boo Boo Ahab\ny,new_whale new_whale\n")
    (tmp_path / "truth.csv").write_text(
        "image,label,individual\nx,Ahab,Ahab\ny,new_whale,Zoe\nz,new_whale,Zoe\n"
    )
    files = tmp_path / "submission.csv", tmp_path / "truth.csv"
    with pytest.raises(KitboxError, match="an answer to query 'x' is repeated"):
        score_submission(*files, toy, images)
    found = score_submission(*files, toy, images, lenient=True)
    # the repeated answer keeps its rank, so that Ahab is third
    assert found.scores.main.value == pytest.approx((1 / 3 + 1 + 0) / 3)
    assert (found.halves, found.notes) == ({}, ())


def test_an_unknown_usage_is_an_error_with_its_line(tmp_path: Path) -> None:
    images = collection(competition(), TRAIN, unlabelled("x"))
    (tmp_path / "submission.csv").write_text("Image,Id\nx,Ahab\n")
    (tmp_path / "truth.csv").write_text("image,label,individual,Usage\nx,Ahab,Ahab,test\n")
    with pytest.raises(KitboxError) as caught:
        score_submission(tmp_path / "submission.csv", tmp_path / "truth.csv", competition(), images)
    assert str(caught.value) == (
        f"{tmp_path / 'truth.csv'} line 2: 'test' is no usage; write Public, Private or Ignored"
    )


def test_two_individuals_of_an_image_are_refused_where_images_are_the_answers(
    tmp_path: Path,
) -> None:
    toy = competition(answers="images", k=2, gallery="test", unknown_label=None)
    images = collection(toy, TRAIN, unlabelled("x", "y"))
    (tmp_path / "submission.csv").write_text("Image,Id\nx,y\ny,x\n")
    (tmp_path / "truth.csv").write_text("image,label,individual\nx,A,A\ny,A,A\nx,B,B\n")
    with pytest.raises(KitboxError) as caught:
        score_submission(tmp_path / "submission.csv", tmp_path / "truth.csv", toy, images)
    assert str(caught.value) == (
        f"{tmp_path / 'truth.csv'} line 4: 'x' has a second row; images are scored by the one "
        "individual that an image shows; remove one row"
    )


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        ("Image,Id\nx,y\nw,x\n", " line 3: 'w' is not a query"),
        ("Image,Id\nx,y\n", " has no row of query 'y'"),
    ],
)
def test_a_solution_names_every_query_and_no_other(
    truth: str, message: str, tmp_path: Path
) -> None:
    toy = competition(answers="images", k=2, gallery="test", unknown_label=None)
    images = collection(toy, TRAIN, unlabelled("x", "y"))
    (tmp_path / "submission.csv").write_text("Image,Id\nx,y\ny,x\n")
    (tmp_path / "truth.csv").write_text(truth)
    with pytest.raises(KitboxError) as caught:
        score_submission(tmp_path / "submission.csv", tmp_path / "truth.csv", toy, images)
    assert str(caught.value) == f"{tmp_path / 'truth.csv'}{message}"
