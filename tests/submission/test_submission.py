"""Submissions of toy embeddings: thresholds, groups, clusters and numbers of answers."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kitbox.competition.settings import Competition
from kitbox.dataset.collection import Collection
from kitbox.decisions.decision import Decision
from kitbox.decisions.decision_list import Decisions
from kitbox.embedding.embedder import EmbedOptions
from kitbox.ensemble.ensemble import Ensemble, EnsembleOptions
from kitbox.ensemble.meta_embedding import MetaEmbedding
from kitbox.errors import KitboxError
from kitbox.records import ImageSet, Search, Strings, strings
from kitbox.submission import submission
from kitbox.submission.submission import Submission
from tests.circle import competition, cosine, image_set, placed
from tests.photographs import finish
from tests.submission.collected import collection, unlabelled

# Ahab is at 0 degrees, Boo at 90; queries come nearer to one or the other.
TRAIN = {"a": "Ahab", "b": "Boo"}
POINTS = placed({"a": 0, "b": 90, "x": 10, "y": 60, "z": 36})


def make(
    monkeypatch: pytest.MonkeyPatch,
    workspace,
    toy: Competition,
    images: Collection,
    fitted: dict[str, float] | None = None,
    top_k: int | None = None,
) -> Submission:
    """Make a submission of points, as if a network had embedded the images there."""

    def assemble(_ensemble: Ensemble, sets: list[ImageSet], _gallery_ids: Strings):
        yield from ()
        return MetaEmbedding(POINTS.of(np.concatenate([part.image_ids for part in sets])), (2,))

    monkeypatch.setattr(submission, "assemble", assemble)
    ensemble = Ensemble(
        members=[],
        collection=images,
        competition=toy,
        workspace=workspace,
        options=EnsembleOptions(top_k=top_k),
        embed_options=EmbedOptions(device="cpu"),
    )
    _, made = finish(submission.make_submission(ensemble, fitted or {}))
    return made


def lines(made: Submission) -> list[str]:
    return made.text.splitlines()[1:]


def test_the_unknown_label_is_placed_by_the_threshold_of_the_holdout(
    monkeypatch, workspace
) -> None:
    toy = competition(k=3)
    images = collection(toy, TRAIN, unlabelled("x", "y", "z"))
    made = make(monkeypatch, workspace, toy, images, fitted={"": cosine(0, 33)})
    assert lines(made) == ["x,Ahab new_whale Boo", "y,Boo new_whale Ahab", "z,new_whale Ahab Boo"]
    assert (made.thresholds, made.queries, made.gallery) == ({"": cosine(0, 33)}, 3, 2)


def test_a_share_is_met_on_the_test_whatever_the_holdout_threshold(monkeypatch, workspace) -> None:
    toy = competition(answers="label", k=1, threshold={"rule": "share", "share": 1 / 3})
    images = collection(toy, TRAIN, unlabelled("x", "y", "z"))
    made = make(monkeypatch, workspace, toy, images, fitted={"": 99.0})
    assert lines(made) == ["x,Ahab", "y,Boo", "z,new_whale"]
    assert cosine(0, 36) < made.thresholds[""] < cosine(60, 90)


def test_rows_are_in_the_order_of_the_test_whatever_their_groups(monkeypatch, workspace) -> None:
    toy = competition(answers="label", k=1, task={"within_group": True})
    train = replace(image_set(TRAIN), groups=strings(["lynx", "turtle"]))
    test = replace(unlabelled("x", "y", "z"), groups=strings(["turtle", "lynx", "turtle"]))
    made = make(monkeypatch, workspace, toy, collection(toy, train, test), fitted={"": -1.0})
    assert lines(made) == ["x,Boo", "y,Ahab", "z,Boo"]


def test_each_group_has_its_threshold_and_without_a_group_the_first_answer_decides(
    monkeypatch, workspace
) -> None:
    toy = competition(answers="label", k=1, threshold={"by_group": True})
    train = replace(image_set(TRAIN), groups=strings(["lynx", "turtle"]))
    fitted = {"lynx": cosine(0, 20), "turtle": cosine(0, 40)}
    grouped = replace(unlabelled("x", "y", "z"), groups=strings(["turtle", "lynx", "turtle"]))
    made = make(monkeypatch, workspace, toy, collection(toy, train, grouped), fitted=fitted)
    assert lines(made) == ["x,Ahab", "y,new_whale", "z,Ahab"]
    ungrouped = collection(toy, train, unlabelled("x", "y", "z"))
    made = make(monkeypatch, workspace, toy, ungrouped, fitted=fitted)
    assert lines(made) == ["x,Ahab", "y,Boo", "z,new_whale"]


def test_groups_are_found_by_image_where_queries_have_their_own_names(
    monkeypatch, workspace
) -> None:
    toy = competition(answers="label", k=1, threshold={"by_group": True})
    train = replace(image_set(TRAIN), groups=strings(["lynx", "turtle"]))
    test = replace(unlabelled("x", "y", "z"), groups=strings(["lynx", "turtle", "turtle"]))
    one = Search("", strings(["q1", "q2"]), strings(["z", "x"]), strings(["a", "b"]))
    images = collection(toy, train, test, searches=(one,))
    fitted = {"lynx": cosine(0, 5), "turtle": cosine(0, 40)}
    made = make(monkeypatch, workspace, toy, images, fitted=fitted)
    assert lines(made) == ["q1,Ahab", "q2,new_whale"]


def test_thresholds_by_group_need_groups(monkeypatch, workspace) -> None:
    toy = competition(answers="label", k=1, threshold={"by_group": True})
    images = collection(toy, TRAIN, unlabelled("x"))
    with pytest.raises(KitboxError) as caught:
        make(monkeypatch, workspace, toy, images, fitted={"": 0.0})
    assert str(caught.value) == "threshold.by_group needs images.group_column"


@pytest.mark.parametrize(
    ("threshold", "fitted"),
    [({}, {"": cosine(0, 20)}), ({"rule": "share", "share": 1.0}, {"": -1.0})],
    ids=["of the holdout", "by share"],
)
def test_clusters_are_cut_at_the_threshold(monkeypatch, workspace, threshold, fitted) -> None:
    toy = competition(answers="clusters", gallery="test", threshold=threshold)
    images = collection(toy, TRAIN, unlabelled("x", "y", "z"))
    made = make(monkeypatch, workspace, toy, images, fitted=fitted)
    assert lines(made) == ["x,cluster_0", "y,cluster_1", "z,cluster_2"]


def linked(images: Collection, *rows: tuple[str, str, str]) -> Collection:
    """Return the collection with links of decisions.csv."""
    labels = dict(
        zip(images.labelled.image_ids.tolist(), images.labelled.labels.tolist(), strict=True)
    )
    decided = Decisions(tuple(Decision(*row) for row in rows))
    return replace(images, decisions=decided, links=decided.link(labels))


def test_links_of_test_images_decide_their_clusters(monkeypatch, workspace) -> None:
    toy = competition(answers="clusters", gallery="test")
    images = collection(toy, TRAIN, unlabelled("x", "y", "z"))
    whole, none = {"": cosine(0, 60)}, {"": 2.0}
    assert lines(make(monkeypatch, workspace, toy, images, whole)) == [
        "x,cluster_0", "y,cluster_0", "z,cluster_0"
    ]  # fmt: skip
    apart = linked(images, ("different", "z", "y"), ("same", "x", "z"))
    found = lines(make(monkeypatch, workspace, toy, apart, whole))
    assert found == ["x,cluster_0", "y,cluster_1", "z,cluster_0"]
    assert lines(make(monkeypatch, workspace, toy, apart, none)) == found
    # x and y show two individuals of the labelled images, and z is nearer to y
    by_label = linked(images, ("same", "x", "a"), ("same", "y", "b"))
    found = lines(make(monkeypatch, workspace, toy, by_label, whole))
    assert found == ["x,cluster_0", "y,cluster_1", "z,cluster_1"]


@pytest.mark.parametrize("linkage", ["average", "components"])
def test_anchored_test_images_form_clusters_of_their_own(monkeypatch, workspace, linkage) -> None:
    toy = competition(
        answers="clusters", gallery="train+test", task={"anchors": True, "linkage": linkage}
    )
    images = collection(toy, TRAIN, unlabelled("x", "y", "z"))
    fitted = {"": cosine(0, 27), "anchor:": cosine(0, 11)}
    # x is anchored to Ahab, y and z are not and join
    assert lines(make(monkeypatch, workspace, toy, images, fitted)) == [
        "x,cluster_0", "y,cluster_1", "z,cluster_1"
    ]  # fmt: skip
    fitted["anchor:"] = cosine(0, 37)
    assert lines(make(monkeypatch, workspace, toy, images, fitted)) == [
        "x,cluster_0", "y,cluster_1", "z,cluster_0"
    ]  # fmt: skip
    told = linked(images, ("different", "z", "a"))
    assert lines(make(monkeypatch, workspace, toy, told, fitted)) == [
        "x,cluster_0", "y,cluster_1", "z,cluster_2"
    ]  # fmt: skip


def test_links_have_the_last_word_on_labels_matches_and_images(monkeypatch, workspace) -> None:
    labels = competition(k=3)
    rows = (("same", "z", "b"), ("different", "x", "a"), ("same", "y", "z"))
    test = unlabelled("x", "y", "z")
    told = linked(collection(labels, TRAIN, test), *rows)
    # above all similarities, as where the holdout has no known individual
    made = make(monkeypatch, workspace, labels, told, fitted={"": 1.1})
    assert lines(made) == ["x,new_whale Boo Ahab", "y,Boo new_whale Ahab", "z,Boo new_whale Ahab"]
    one = competition(answers="label", k=1)
    made = make(monkeypatch, workspace, one, told, fitted={"": -1.0})
    assert lines(made) == ["x,Boo", "y,Boo", "z,Boo"]
    matches = competition(
        answers="matches", k=3, gallery="train+test", unknown_label=None, task={"least": 0}
    )
    told = linked(collection(matches, TRAIN, test), *rows)
    made = make(monkeypatch, workspace, matches, told, fitted={"": 1.1})
    assert lines(made) == ["x,", "y,b z", "z,b y"]
    nearest = competition(answers="images", k=2, gallery="train+test", unknown_label=None)
    made = make(monkeypatch, workspace, nearest, told)
    assert lines(made) == ["x,z y", "y,b z", "z,b y"]


def test_a_new_individual_of_a_link_is_no_label_of_the_leaderboard(monkeypatch, workspace) -> None:
    toy = competition(answers="label", k=1)
    images = collection(toy, TRAIN, unlabelled("x", "y", "z"))
    told = linked(replace(images, new_labels=frozenset({"Ahab"})), ("same", "x", "a"))
    made = make(monkeypatch, workspace, toy, told, fitted={"": cosine(0, 40)})
    assert lines(made)[0] == "x,new_whale"


def test_links_of_pairs_are_their_most_and_least_similar(monkeypatch, workspace) -> None:
    toy = competition(answers="pairs", gallery="test", unknown_label=None)
    images = collection(toy, TRAIN, unlabelled("x", "y", "z"))
    told = linked(images, ("same", "x", "y"), ("different", "z", "y"))
    # so that z and x are different too
    found = [line.split(",") for line in lines(make(monkeypatch, workspace, toy, told))]
    assert {(query, image): float(score) for query, image, score in found} == {
        ("x", "y"): 1, ("y", "x"): 1, ("x", "z"): 0, ("z", "x"): 0, ("y", "z"): 0, ("z", "y"): 0
    }  # fmt: skip


def test_top_k_may_be_smaller_where_a_submission_may_have_fewer_answers(
    monkeypatch, workspace
) -> None:
    toy = competition(
        answers="images", k=3, gallery="train+test", unknown_label=None, task={"least": 1}
    )
    images = collection(toy, TRAIN, unlabelled("x", "y", "z"))
    assert lines(make(monkeypatch, workspace, toy, images))[0] == "x,a z y"
    made = make(monkeypatch, workspace, toy, images, top_k=1)
    assert lines(made) == ["x,a", "y,z", "z,y"]


def test_top_k_may_be_1_where_the_query_is_its_own_match(monkeypatch, workspace) -> None:
    toy = competition(
        answers="matches",
        k=3,
        gallery="test",
        task={"with_itself": True},
        threshold={"rule": "share", "share": 0.5},
    )
    images = collection(toy, TRAIN, unlabelled("x", "y", "z"))
    assert lines(make(monkeypatch, workspace, toy, images, top_k=1)) == ["x,x", "y,y", "z,z"]


@pytest.mark.parametrize(
    ("task", "top_k", "message"),
    [
        ({"k": 2}, 3, "--top-k 3: a submission has 2 answers a query; leave it out"),
        ({"k": 2}, 1, "--top-k 1: a submission has 2 answers a query; leave it out"),
        (
            {"answers": "images", "k": 3, "task": {"least": 2}},
            1,
            "--top-k 1: a submission has 2 to 3 answers a query; leave it out",
        ),
        (
            {"answers": "matches", "k": 3, "task": {"with_itself": True, "least": 2}},
            1,
            "--top-k 1: a submission has 2 to 3 answers a query; leave it out",
        ),
        (
            {"answers": "label", "k": 1},
            2,
            "--top-k 2: a submission has 1 answer a query; leave it out",
        ),
        (
            {"answers": "clusters", "gallery": "test", "k": 1},
            2,
            "--top-k 2: a submission has 1 answer a query; leave it out",
        ),
    ],
)
def test_a_number_of_answers_that_no_submission_may_have_is_an_error(
    monkeypatch, workspace, task: dict[str, Any], top_k: int, message: str
) -> None:
    toy = competition(**task)
    images = collection(toy, TRAIN, unlabelled("x", "y", "z"))
    with pytest.raises(KitboxError) as caught:
        make(monkeypatch, workspace, toy, images, fitted={"": 0.0}, top_k=top_k)
    assert str(caught.value) == message


@pytest.mark.parametrize("top_k", [None, 1])
def test_a_submission_with_fewer_answers_is_linted_too(
    monkeypatch, workspace, top_k: int | None
) -> None:
    toy = competition(k=2, task={"least": 1}, form={"largest_mb": 1e-6})
    images = collection(toy, TRAIN, unlabelled("x", "y"))
    with pytest.raises(KitboxError, match="the submission would be refused: line 1, column 1: "):
        make(monkeypatch, workspace, toy, images, fitted={"": 0.0}, top_k=top_k)


def test_a_submission_with_a_lint_finding_is_an_error(monkeypatch, workspace) -> None:
    toy = competition(k=2, form={"largest_mb": 1e-6})
    images = collection(toy, TRAIN, unlabelled("x", "y"))
    with pytest.raises(KitboxError) as caught:
        make(monkeypatch, workspace, toy, images, fitted={"": 0.0})
    assert str(caught.value).startswith(
        "the submission would be refused: line 1, column 1: the file has 0.0 MB, more than "
    )


def test_a_competition_without_test_images_is_an_error(monkeypatch, workspace) -> None:
    images = collection(competition(), TRAIN, None)
    with pytest.raises(KitboxError, match=r"has no test images; set images\.test_folder"):
        make(monkeypatch, workspace, competition(), images)
