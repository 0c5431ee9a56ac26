import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.clusters import cluster_tree
from kitbox.errors import KitboxError
from kitbox.records import Embeddings, Ranking, Search, strings
from kitbox.retrieval import ranking
from kitbox.retrieval.neighbour_graph import NeighbourGraph, neighbour_graphs
from tests.circle import at_angles, competition, cosine, image_set, ranking_of


def search(query: dict[str, str] | list[str], gallery: list[str], name: str = "") -> Search:
    """Return a search of query ids (→ image ids, where these differ)."""
    ids = list(query)
    images = list(query.values()) if isinstance(query, dict) else ids
    return Search(name, strings(ids), strings(images), strings(gallery))


def rows(found: Ranking) -> list[list[str]]:
    return [[str(answer) for answer in row if answer] for row in found.answers]


CIRCLE = at_angles(*range(0, 360, 10))


def graphs(*searches: Search) -> tuple[NeighbourGraph, ...]:
    return neighbour_graphs(CIRCLE, searches)


def rank(*searches: Search, k: int = 3, **settings: object) -> Ranking:
    labelled = image_set(settings.pop("labelled", {}))  # type: ignore[arg-type]
    task = competition(k=k, **settings)  # type: ignore[arg-type]
    return ranking.rank(graphs(*searches), labelled, task)


def test_images_without_an_individual_answer_nothing() -> None:
    known = {"0": "new_whale", "30": "Boo", "40": ""}
    one = search(["10"], ["0", "20", "30", "40"])  # 20 has no label at all
    assert rows(rank(one, labelled=known)) == [["Boo"]]
    assert rows(rank(one, labelled=known, unknown_label=None)) == [["new_whale", "Boo"]]


def test_labels_of_images_outside_the_gallery_answer_nothing() -> None:
    known = {"0": "Ahab", "30": "Boo"}
    assert rows(rank(search(["10"], ["30"]), labelled=known)) == [["Boo"]]


def test_labels_are_measured_as_the_task_says() -> None:
    known = {"0": "Ahab", "20": "Ahab", "170": "Ahab", "40": "Boo"}
    one = search(["10"], list(known))
    of = {"best": "Ahab", "mean": "Boo", "sum": "Ahab"}
    for how, first in of.items():
        found = rank(one, labelled=known, task={"label_similarity": how, "label_images": 3})
        assert found.answers[0, 0] == first
    two = rank(one, labelled=known, task={"label_similarity": "mean", "label_images": 2})
    np.testing.assert_allclose(two.similarity[0, :2], [cosine(0, 10), cosine(40, 10)], atol=1e-6)


def test_each_group_is_searched_by_itself() -> None:
    lynx, turtle = search(["10"], ["40"], "Lynx"), search(["30"], ["0", "90"], "Turtle")
    found = rank(lynx, turtle, answers="images")
    assert found.query_ids.tolist() == ["10", "30"]
    assert rows(found) == [["40"], ["0", "90"]]
    known = {"40": "Ahab", "0": "Boo", "90": "Cleo"}
    assert rows(rank(lynx, turtle, labelled=known)) == [["Ahab"], ["Boo", "Cleo"]]


def test_queries_of_a_scenario_have_the_ids_of_the_scenario() -> None:
    # one image is a query of two galleries, and never finds itself
    first = search({"first-1": "10", "first-2": "200"}, ["0", "10", "90"], "first")
    second = search({"second-1": "10"}, ["10", "90"], "second")
    found = rank(first, second, answers="images")
    assert found.query_ids.tolist() == ["first-1", "first-2", "second-1"]
    assert rows(found) == [["0", "90"], ["90", "0", "10"], ["90"]]
    labelled = rank(first, second, labelled={"10": "Ahab", "90": "Boo"})
    assert rows(labelled) == [["Boo"], ["Boo", "Ahab"], ["Boo"]]


def test_a_query_among_its_own_matches_has_the_id_of_its_image() -> None:
    one = search({"query-id": "10"}, ["0", "10", "90"])
    found = rank(one, answers="matches", task={"with_itself": True})
    assert found.query_ids.tolist() == ["query-id"]
    assert rows(found) == [["10", "0", "90"]]
    assert found.similarity[0, 0] == 1


def test_a_ranking_may_be_wider_than_the_competition_asks() -> None:
    one, toy = search(["10"], ["0", "90"]), competition(answers="images", k=1)
    found = ranking.rank(graphs(one), image_set({}), toy, k=2)
    assert rows(found) == [["0", "90"]]


def test_a_query_of_a_group_without_gallery_is_answered_as_unknown() -> None:
    empty, full = search(["10"], [], "Lynx"), search(["30"], ["0"], "Turtle")
    toy = competition(answers="label", k=1)
    found = ranking.rank(graphs(empty, full), image_set({"0": "Ahab"}), toy)
    assert found.similarity[0].tolist() == [-math.inf]
    decided = ranking.apply_thresholds(found, np.array([-0.5, -0.5]), toy)
    assert decided.answers.tolist() == [["new_whale"], ["Ahab"]]


def test_a_search_without_gallery_finds_no_images() -> None:
    found = ranking.rank_images(graphs(search(["10"], [], "a"), search(["30"], ["0"], "b")), 2)
    assert found.answers.tolist() == [["", ""], ["0", ""]]
    assert np.isneginf(found.similarity[0]).all()


def test_an_empty_gallery_is_refused() -> None:
    with pytest.raises(KitboxError, match=r"^the gallery is empty$"):
        rank(search(["10"], []), answers="images")


ROWS = {"q": [("Ahab", 0.9), ("Boo", 0.6)], "r": [("Cleo", 0.4), ("Dora", 0.2)]}
LIMITS = np.array([0.7, 0.5])


@pytest.mark.parametrize(
    ("settings", "wanted"),
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
def test_answers_are_cut_by_their_kind(
    settings: dict[str, object], wanted: list[list[str]]
) -> None:
    found = ranking.apply_thresholds(ranking_of(ROWS), LIMITS, competition(k=2, **settings))  # type: ignore[arg-type]
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
    trees = cluster_tree.cluster_trees(graphs(lynx, turtle))
    found = cluster_tree.cut_trees(trees, [lynx, turtle], {"": 0.9})
    assert dict(zip(found.query_ids.tolist(), found.answers[:, 0].tolist(), strict=True)) == {
        "0": "cluster_Lynx_0", "10": "cluster_Lynx_0", "90": "cluster_Lynx_1",
        "a": "cluster_Turtle_0", "b": "cluster_Turtle_1", "c": "cluster_Turtle_0",
    }  # fmt: skip
    assert set(found.similarity[:, 0].tolist()) == {float(np.float32(0.9))}


def test_each_group_may_be_cut_at_its_own_similarity() -> None:
    both = [search(["0", "10"], [], "Lynx"), search(["90", "100"], [], "Turtle")]
    found = cluster_tree.cut_trees(
        cluster_tree.cluster_trees(graphs(*both)), both, {"Lynx": 0.999, "Turtle": 0.9}
    )
    assert found.answers[:, 0].tolist() == [
        "cluster_Lynx_0", "cluster_Lynx_1", "cluster_Turtle_0", "cluster_Turtle_0",
    ]  # fmt: skip


def test_clusters_of_one_search_have_no_group_in_their_name() -> None:
    alone = search(["0"], [])
    found = cluster_tree.cut_trees(cluster_tree.cluster_trees(graphs(alone)), [alone], {"": 0.5})
    assert found.answers.tolist() == [["cluster_0"]]


def test_a_ranking_is_put_into_the_order_of_the_queries() -> None:
    found = ranking.reorder(ranking_of(ROWS), strings(["r", "q"]))
    assert found.query_ids.tolist() == ["r", "q"]
    assert found.answers.tolist() == [["Cleo", "Dora"], ["Ahab", "Boo"]]


def test_a_query_that_was_not_ranked_is_named() -> None:
    message = r"^query 's' was not ranked; 1 more like it$"
    with pytest.raises(KitboxError, match=message):
        ranking.reorder(ranking_of(ROWS), strings(["q", "s", "t"]))


def test_embeddings_of_other_images_are_refused() -> None:
    others: Embeddings = at_angles(10)
    with pytest.raises(KitboxError, match=r"^no embedding of image '0'; these embeddings belong"):
        ranking.rank_images(neighbour_graphs(others, [search(["10"], ["0"])]), 1)


ROW = {"q": [("Ahab", 0.9), ("Boo", 0.6), ("Cleo", 0.3)]}


@pytest.mark.parametrize(
    ("threshold", "wanted", "similarity"),
    [
        (0.95, ["new_whale", "Ahab", "Boo"], [0.95, 0.9, 0.6]),
        (0.7, ["Ahab", "new_whale", "Boo"], [0.9, 0.7, 0.6]),
        (0.6, ["Ahab", "Boo", "new_whale"], [0.9, 0.6, 0.6]),
        (0.5, ["Ahab", "Boo", "new_whale"], [0.9, 0.6, 0.5]),
        (0.3, ["Ahab", "Boo", "Cleo"], [0.9, 0.6, 0.3]),
        (-1.0, ["Ahab", "Boo", "Cleo"], [0.9, 0.6, 0.3]),
    ],
)
def test_the_unknown_label_stands_before_the_first_answer_below_the_threshold(
    threshold: float, wanted: list[str], similarity: list[float]
) -> None:
    # 0.6 and 0.3 as float32, which is what similarities are
    found = ranking.insert_unknown(ranking_of(ROW), "new_whale", float(np.float32(threshold)))
    assert found.answers.tolist() == [wanted]
    np.testing.assert_allclose(found.similarity, [similarity], atol=1e-7)
    assert found.similarity.dtype == np.float32


def test_after_fewer_answers_than_k_the_unknown_label_is_the_last() -> None:
    rows_ = {"q": [("A", 0.9), ("B", 0.6), ("C", 0.3)], "r": [("A", 0.9)]}
    found = ranking.insert_unknown(ranking_of(rows_), "new_whale", 0.1)
    assert found.answers.tolist() == [["A", "B", "C"], ["A", "new_whale", ""]]
    assert found.similarity[1].tolist() == pytest.approx([0.9, 0.1, -math.inf])


def place_unknown(row: Sequence[tuple[str, float]], threshold: float) -> list[str]:
    above = [answer for answer, similarity in row if similarity >= threshold]
    below = [answer for answer, similarity in row if similarity < threshold]
    return [*above, "new_whale", *below][: len(row)]


@given(
    st.lists(st.lists(st.integers(-50, 50), min_size=4, max_size=4), min_size=1, max_size=10),
    st.integers(-60, 60),
)
def test_the_unknown_label_is_placed_as_by_a_loop(values: list[list[int]], threshold: int) -> None:
    given_rows = {
        f"q{i}": [
            (f"w{j}", value / 64) for j, value in enumerate(sorted(row, reverse=True))
        ]  # 64ths are exact in float32
        for i, row in enumerate(values)
    }
    found = ranking.insert_unknown(ranking_of(given_rows), "new_whale", threshold / 64)
    assert found.answers.tolist() == [
        place_unknown(row, threshold / 64) for row in given_rows.values()
    ]


def test_a_long_unknown_label_is_not_truncated() -> None:
    short = Ranking(strings(["q"]), np.array([["A"]]), np.array([[0.5]], np.float32))
    assert ranking.insert_unknown(short, "new_individual", 0.9).answers.tolist() == [
        ["new_individual"]
    ]


def test_each_query_may_have_a_threshold_of_its_own() -> None:
    both = ranking_of({"q": [("A", 0.9), ("B", 0.5)], "r": [("A", 0.9), ("B", 0.5)]})
    found = ranking.insert_unknown(both, "new_whale", np.array([0.95, 0.7]))
    assert found.answers.tolist() == [["new_whale", "A"], ["A", "new_whale"]]
    left = ranking.drop_below(both, np.array([0.95, 0.7]), 0)
    assert left.answers.tolist() == [["", ""], ["A", ""]]


@pytest.mark.parametrize(
    ("threshold", "least", "wanted"),
    [
        (0.5, 0, ["a", "b", ""]),
        (0.6, 0, ["a", "", ""]),
        (0.95, 0, ["", "", ""]),
        (0.95, 1, ["a", "", ""]),
        (0.95, 2, ["a", "b", ""]),
        (0.95, 9, ["a", "b", ""]),
        (-1.0, 0, ["a", "b", ""]),
    ],
)
def test_matches_end_at_the_threshold_but_not_before_the_fewest(
    threshold: float, least: int, wanted: list[str]
) -> None:
    row = Ranking(
        strings(["q"]), np.array([["a", "b", ""]]), np.array([[0.9, 0.5, -math.inf]], np.float32)
    )
    found = ranking.drop_below(row, threshold, least)
    assert found.answers.tolist() == [wanted]
    assert np.isneginf(found.similarity).tolist() == [[name == "" for name in wanted]]
    assert found.similarity.dtype == np.float32


def test_a_query_is_the_first_of_its_own_matches_by_its_image_id() -> None:
    row = ranking_of({"query-1": [("a", 0.9), ("b", 0.5)], "query-2": [("a", 0.7)]})
    found = ranking.prepend_itself(row, strings(["q", "a_long_name.jpg"]))
    assert found.query_ids.tolist() == ["query-1", "query-2"]
    assert found.answers.tolist() == [["q", "a"], ["a_long_name.jpg", "a"]]
    assert found.similarity.tolist() == [[1, pytest.approx(0.9)], [1, pytest.approx(0.7)]]
    assert found.similarity.dtype == np.float32


def test_a_copy_is_no_more_similar_than_the_query_itself() -> None:
    # cosines of float32 may be a little above 1
    row = ranking_of({"q": [("double", 1.0000001), ("b", 0.5)]})
    found = ranking.prepend_itself(row, strings(["q"]))
    assert found.answers.tolist() == [["q", "double"]]
    assert found.similarity.tolist() == [[1, 1]]
