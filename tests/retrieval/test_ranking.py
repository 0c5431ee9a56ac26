import math

import numpy as np
import pytest

from kitbox.errors import KitboxError
from kitbox.records import Embeddings, Ranking, Search, strings
from kitbox.retrieval import ranking
from tests.circle import at_angles, competition, cosine, image_set, ranking_of


def search(query: dict[str, str] | list[str], gallery: list[str], name: str = "") -> Search:
    """Return a search of query ids (→ image ids, where these differ)."""
    ids = list(query)
    images = list(query.values()) if isinstance(query, dict) else ids
    return Search(name, strings(ids), strings(images), strings(gallery))


def rows(found: Ranking) -> list[list[str]]:
    return [[str(answer) for answer in row if answer] for row in found.answers]


CIRCLE = at_angles(*range(0, 360, 10))


def rank(*searches: Search, k: int = 3, **asked: object) -> Ranking:
    labelled = image_set(asked.pop("labelled", {}))  # type: ignore[arg-type]
    settings = competition(k=k, **asked)  # type: ignore[arg-type]
    return ranking.rank(CIRCLE, searches, labelled, settings)


def test_images_of_nobody_answer_nothing() -> None:
    known = {"0": "new_whale", "30": "Boo", "40": ""}
    asked = search(["10"], ["0", "20", "30", "40"])  # 20 has no label at all
    assert rows(rank(asked, labelled=known)) == [["Boo"]]
    assert rows(rank(asked, labelled=known, unknown_label=None)) == [["new_whale", "Boo"]]


def test_labels_of_images_outside_the_gallery_answer_nothing() -> None:
    known = {"0": "Ahab", "30": "Boo"}
    assert rows(rank(search(["10"], ["30"]), labelled=known)) == [["Boo"]]


def test_a_label_is_as_similar_as_the_task_says() -> None:
    known = {"0": "Ahab", "20": "Ahab", "170": "Ahab", "40": "Boo"}
    asked = search(["10"], list(known))
    of = {"best": "Ahab", "mean": "Boo", "sum": "Ahab"}
    for how, first in of.items():
        found = rank(asked, labelled=known, task={"label_similarity": how, "label_images": 3})
        assert found.answers[0, 0] == first
    two = rank(asked, labelled=known, task={"label_similarity": "mean", "label_images": 2})
    np.testing.assert_allclose(two.similarity[0, :2], [cosine(0, 10), cosine(40, 10)], atol=1e-6)


def test_each_group_is_searched_by_itself() -> None:
    lynx, turtle = search(["10"], ["40"], "Lynx"), search(["30"], ["0", "90"], "Turtle")
    found = rank(lynx, turtle, answers="images")
    assert found.query_ids.tolist() == ["10", "30"]
    assert rows(found) == [["40"], ["0", "90"]]
    known = {"40": "Ahab", "0": "Boo", "90": "Cleo"}
    assert rows(rank(lynx, turtle, labelled=known)) == [["Ahab"], ["Boo", "Cleo"]]


def test_queries_of_a_scenario_are_called_as_the_scenario_calls_them() -> None:
    # one image is asked about twice, each time of another gallery, and never finds itself
    first = search({"first-1": "10", "first-2": "200"}, ["0", "10", "90"], "first")
    second = search({"second-1": "10"}, ["10", "90"], "second")
    found = rank(first, second, answers="images")
    assert found.query_ids.tolist() == ["first-1", "first-2", "second-1"]
    assert rows(found) == [["0", "90"], ["90", "0", "10"], ["90"]]
    labelled = rank(first, second, labelled={"10": "Ahab", "90": "Boo"})
    assert rows(labelled) == [["Boo"], ["Boo", "Ahab"], ["Boo"]]


def test_a_query_among_its_own_matches_is_called_as_its_image() -> None:
    asked = search({"question": "10"}, ["0", "10", "90"])
    found = rank(asked, answers="matches", task={"with_itself": True})
    assert found.query_ids.tolist() == ["question"]
    assert rows(found) == [["10", "0", "90"]]
    assert found.similarity[0, 0] == 1


def test_a_wider_ranking_may_be_asked_for() -> None:
    asked, settings = search(["10"], ["0", "90"]), competition(answers="images", k=1)
    found = ranking.rank(CIRCLE, [asked], image_set({}), settings, k=2)
    assert rows(found) == [["0", "90"]]


def test_a_group_without_gallery_has_no_answer_and_is_called_unknown() -> None:
    empty, full = search(["10"], [], "Lynx"), search(["30"], ["0"], "Turtle")
    asked = competition(answers="label", k=1)
    found = ranking.rank(CIRCLE, [empty, full], image_set({"0": "Ahab"}), asked)
    assert found.similarity[0].tolist() == [-math.inf]
    decided = ranking.apply_thresholds(found, np.array([-0.5, -0.5]), asked)
    assert decided.answers.tolist() == [["new_whale"], ["Ahab"]]


def test_images_of_a_search_without_gallery_are_none() -> None:
    found = ranking.rank_images(CIRCLE, [search(["10"], [], "a"), search(["30"], ["0"], "b")], 2)
    assert found.answers.tolist() == [["", ""], ["0", ""]]
    assert np.isneginf(found.similarity[0]).all()


def test_an_empty_gallery_is_refused() -> None:
    with pytest.raises(KitboxError, match=r"^the gallery is empty$"):
        rank(search(["10"], []), answers="images")


ROWS = {"q": [("Ahab", 0.9), ("Boo", 0.6)], "r": [("Cleo", 0.4), ("Dora", 0.2)]}
LIMITS = np.array([0.7, 0.5])


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({"answers": "images"}, [["Ahab", "Boo"], ["Cleo", "Dora"]]),
        ({"answers": "labels"}, [["Ahab", "new_whale"], ["new_whale", "Cleo"]]),
        ({"answers": "labels", "unknown_label": None}, [["Ahab", "Boo"], ["Cleo", "Dora"]]),
        ({"answers": "label"}, [["Ahab", "new_whale"], ["new_whale", "Cleo"]]),
        ({"answers": "label", "task": {"metric": "gap"}}, [["Ahab", "Boo"], ["Cleo", "Dora"]]),
        ({"answers": "matches", "task": {"least": 0}}, [["Ahab", ""], ["", ""]]),
        ({"answers": "matches", "task": {"least": 1}}, [["Ahab", ""], ["Cleo", ""]]),
    ],
)
def test_answers_end_as_their_kind_wants(asked: dict[str, object], wanted: list[list[str]]) -> None:
    found = ranking.apply_thresholds(ranking_of(ROWS), LIMITS, competition(k=2, **asked))  # type: ignore[arg-type]
    assert found.answers.tolist() == wanted


def test_a_group_without_threshold_takes_that_of_all_groups_or_the_median() -> None:
    names = strings(["Turtle", "Lynx", "Newt", "Lynx"])
    found = ranking.query_thresholds({"Lynx": 0.5, "Turtle": 0.25, "": 0.125}, names)
    assert found.tolist() == [0.25, 0.5, 0.125, 0.5]
    found = ranking.query_thresholds({"Lynx": 0.5, "Turtle": 0.25}, names)
    assert found.tolist() == [0.25, 0.5, 0.375, 0.5]
    assert ranking.query_thresholds({"": 0.5}, strings([])).shape == (0,)


def test_no_threshold_at_all_is_refused() -> None:
    message = r"^there is no threshold; set threshold\.rule in kitbox\.toml$"
    with pytest.raises(KitboxError, match=message):
        ranking.query_thresholds({}, strings(["Lynx"]))


def test_clusters_are_named_by_their_group_and_number() -> None:
    lynx = search(["0", "10", "90"], [], "Lynx")
    turtle = search({"a": "200", "b": "0", "c": "210"}, [], "Turtle")
    trees = ranking.cluster_trees(CIRCLE, [lynx, turtle])
    found = ranking.cut_trees(trees, [lynx, turtle], {"": 0.9})
    assert dict(zip(found.query_ids.tolist(), found.answers[:, 0].tolist(), strict=True)) == {
        "0": "cluster_Lynx_0", "10": "cluster_Lynx_0", "90": "cluster_Lynx_1",
        "a": "cluster_Turtle_0", "b": "cluster_Turtle_1", "c": "cluster_Turtle_0",
    }  # fmt: skip
    assert set(found.similarity[:, 0].tolist()) == {float(np.float32(0.9))}


def test_each_group_may_be_cut_elsewhere() -> None:
    both = [search(["0", "10"], [], "Lynx"), search(["90", "100"], [], "Turtle")]
    found = ranking.cut_trees(
        ranking.cluster_trees(CIRCLE, both), both, {"Lynx": 0.999, "Turtle": 0.9}
    )
    assert found.answers[:, 0].tolist() == [
        "cluster_Lynx_0", "cluster_Lynx_1", "cluster_Turtle_0", "cluster_Turtle_0",
    ]  # fmt: skip


def test_clusters_of_one_search_have_no_group_in_their_name() -> None:
    alone = search(["0"], [])
    found = ranking.cut_trees(ranking.cluster_trees(CIRCLE, [alone]), [alone], {"": 0.5})
    assert found.answers.tolist() == [["cluster_0"]]


def test_rows_are_put_into_the_order_of_the_queries() -> None:
    found = ranking.reorder(ranking_of(ROWS), strings(["r", "q"]))
    assert found.query_ids.tolist() == ["r", "q"]
    assert found.answers.tolist() == [["Cleo", "Dora"], ["Ahab", "Boo"]]


def test_a_query_that_was_not_ranked_is_named() -> None:
    message = r"^query 's' was not ranked; 1 more like it$"
    with pytest.raises(KitboxError, match=message):
        ranking.reorder(ranking_of(ROWS), strings(["q", "s", "t"]))


def test_embeddings_of_other_images_are_refused() -> None:
    others: Embeddings = at_angles(10)
    with pytest.raises(KitboxError, match=r"^no embedding of image '0'; these embeddings were"):
        ranking.rank_images(others, [search(["10"], ["0"])], 1)
