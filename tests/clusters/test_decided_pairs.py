"""Links of images have the last word on similarities and answers."""

import numpy as np
import pytest

from kitbox.clusters.decided_pairs import (
    link_answers,
    link_graph,
    link_labels,
    link_limits,
    rank_linked,
)
from kitbox.decisions.decision import Decision
from kitbox.decisions.decision_list import Decisions
from kitbox.decisions.image_links import Links
from kitbox.records import Search, strings
from kitbox.retrieval import ranking
from kitbox.retrieval.label_similarity import Similarity
from kitbox.retrieval.neighbour_graph import NeighbourGraph, Shortlist, SimilarityMap
from tests.circle import at_angles, competition, cosine, graph_of, image_set, ranking_of

LABELS = {"0": "Ahab", "20": "Ahab", "90": "Boo", "180": "Cleo"}


def links(*rows: tuple[str, str, str]) -> Links:
    return Decisions(tuple(Decision(*row) for row in rows)).link(LABELS)


def graph(*queries: int) -> NeighbourGraph:
    return graph_of(at_angles(*queries, prefix="q"), at_angles(*map(int, LABELS)))


def nearest(found: NeighbourGraph, k: int = 4) -> list[list[str]]:
    return [row.tolist() for row in found.nearest(k).gallery_ids]


def test_a_graph_without_links_of_its_images_stays_as_it_is() -> None:
    before = graph(5)
    assert link_graph(before, Links()) is before
    assert link_graph(before, links(("same", "x", "y"))) is before


def test_linked_images_come_first_and_those_of_others_last() -> None:
    given = links(("same", "q5", "180"), ("different", "q80", "90"))
    found = link_graph(graph(5, 80), given)
    assert nearest(found) == [["180", "0", "20", "90"], ["20", "0", "180", "90"]]
    similarity = found.nearest(4).similarity
    assert (similarity[0, 0], similarity[1, 3]) == (1, -1)


def test_a_link_to_one_image_counts_for_all_of_its_individual() -> None:
    given = links(("same", "q80", "20"), ("different", "q5", "0"))
    assert nearest(link_graph(graph(5, 80), given)) == [
        ["90", "180", "0", "20"], ["0", "20", "90", "180"]
    ]  # fmt: skip


def test_a_pair_apart_is_last_even_at_a_similarity_of_one_after_reranking() -> None:
    plain = graph(0)
    assert plain.nearest(1).similarity[0, 0] == pytest.approx(1)
    reranked = plain.rerank(
        Shortlist(np.array([[0, 3]]), np.array([[5.0, -3.0]], dtype=np.float32)),
        SimilarityMap.linear(2.0),
    )
    given = links(("different", "q0", "0"), ("same", "q0", "90"))
    found = link_graph(reranked, given)
    assert nearest(found, 1) == [["90"]]
    assert found.nearest(4).similarity[0].tolist() == [5, -3, -3, -3]


@pytest.mark.parametrize("similarity", ["best", "mean", "sum", "centre", "closeness"])
def test_the_label_of_a_linked_query_comes_first_however_it_is_measured(
    similarity: Similarity,
) -> None:
    toy = competition(k=3, task={"label_similarity": similarity, "label_images": 2})
    given = links(("same", "q5", "180"), ("different", "q90", "90"))
    found = rank_linked([graph(5, 90)], image_set(LABELS), toy, toy.task.k, given)
    assert found.answers[0].tolist() == ["Cleo", "Ahab", "Boo"]
    assert found.answers[1, 2] == "Boo"
    assert (np.diff(found.similarity, axis=1) < 0).all()  # no tie with a linked label


def test_images_are_ranked_with_links() -> None:
    toy = competition(answers="images", k=2, unknown_label=None)
    given = links(("same", "q5", "180"))
    found = rank_linked([graph(5, 90)], image_set(LABELS), toy, toy.task.k, given)
    assert found.answers.tolist() == [["180", "0"], ["90", "20"]]


def test_labels_of_others_stay_where_a_link_says_nothing_about_them() -> None:
    plain = ranking.measure_labels(graph(5, 80), image_set(LABELS), competition())
    again = ranking.measure_labels(graph(5, 80), image_set(LABELS), competition())
    given = links(("same", "q5", "elsewhere"), ("different", "q80", "180"))
    linked = link_labels(again, graph(5, 80).search, given)
    (_, before), (_, after) = next(plain.blocks), next(linked.blocks)
    assert (before[0] == after[0]).all()
    assert (before[1, :2] == after[1, :2]).all()
    assert after[1, 2] == -1 < before[1, 2] == pytest.approx(cosine(80, 180))


def test_a_linked_label_is_answered_before_the_unknown_one() -> None:
    search = Search("", strings(["x", "y", "z"]), strings(["x", "y", "z"]), strings([]))
    given = links(("same", "x", "0"), ("same", "y", "180"))
    rows = {
        "x": [("new", 0.9), ("Ahab", 0.8), ("Boo", 0.1)],
        "y": [("new", 1.5), ("Boo", 0.8), ("Ahab", 0.1)],
        "z": [("new", 0.9), ("Ahab", 0.8), ("Boo", 0.1)],
    }
    found = link_answers(ranking_of(rows), [search], given, strings(["Ahab", "Boo", "Cleo"]))
    assert found.answers.tolist() == [
        ["Ahab", "new", "Boo"], ["Cleo", "new", "Boo"], ["new", "Ahab", "Boo"]
    ]  # fmt: skip
    np.testing.assert_allclose(found.similarity[:2], [[1, 0.9, 0.1], [1.5, 1.5, 0.8]])
    # a label that no answer may have
    found = link_answers(ranking_of(rows), [search], given, strings(["Boo"]))
    assert found.answers[:2, 0].tolist() == ["new", "new"]


def test_no_threshold_cuts_a_linked_image_or_label() -> None:
    images = strings(["w", "x", "y", "z"])
    search = Search("", images, images, images)
    given = links(("same", "x", "0"), ("different", "z", "90"), ("same", "w", "elsewhere"))
    found = ranking_of({name: [("0", 0.75), ("20", 0.5)] for name in images.tolist()})
    assert link_limits(np.full(4, 1.1), found, [search], given).tolist() == [1.1, 0.75, 1.1, 1.1]
    limits = link_limits(np.full(4, 1.1), found, [search], given, with_itself=True)
    assert limits.tolist() == [1.1, 0.5, 1.1, 1.1]  # 20 is an Ahab too
    assert link_limits(np.zeros(4), found, [search], given).tolist() == [0, 0, 0, 0]
    labels = ranking_of({name: [("Ahab", 0.75), ("Boo", 0.5)] for name in images.tolist()})
    assert link_limits(np.full(4, 1.1), labels, [search], given).tolist() == [1.1, 0.75, 1.1, 1.1]
    single = ranking_of({name: [(name, 1.0)] for name in images.tolist()})
    limits = link_limits(np.full(4, 1.1), single, [search], given, with_itself=True)
    assert limits.tolist() == [1.1] * 4


def test_a_new_individual_is_least_similar_to_all_that_have_a_label() -> None:
    given = links(("new", "q5", ""), ("same", "q5", "80"))
    toy = competition(answers="images", k=4, unknown_label=None)
    gallery = at_angles(*map(int, LABELS), 80)
    before = graph_of(at_angles(5, 95, prefix="q"), gallery)
    found = rank_linked([before], image_set(LABELS), toy, 4, given)
    assert found.answers[0].tolist()[0] == "80"  # the one image without a label
    assert (found.similarity[0, 1:] == -1).all()
    assert found.answers[1].tolist() == ["90", "80", "20", "180"]
    labels = competition(k=3)
    found = rank_linked([graph(5, 95)], image_set(LABELS), labels, 3, given)
    assert found.answers[0].tolist() == ["Ahab", "Boo", "Cleo"]  # in their order, and below -1
    assert found.similarity[0, 0] == pytest.approx(min(-1, cosine(5, 180)), abs=1e-3)
    assert found.similarity[1, 0] == pytest.approx(cosine(95, 90))


def test_a_new_individual_takes_no_memory_for_each_labelled_image() -> None:
    given = links(("new", "q5", ""), ("different", "q95", "90"), ("same", "q5", "80"))
    gallery = at_angles(*map(int, LABELS), 80)
    found = link_graph(graph_of(at_angles(5, 95, prefix="q"), gallery), given)
    assert found.reranked is not None
    assert found.reranked.rows.shape == (2, 1)
    assert nearest(found, 5)[0][0] == "80"
    assert found.nearest(5).similarity[0].tolist() == [1, -1, -1, -1, -1]
    assert nearest(found, 5)[1] == ["80", "20", "180", "0", "90"]
    ((_, block),) = found.blocks(strings(["80", "0"]))  # some gallery images, in another order
    assert block[0].tolist() == [1, -1]


def test_the_unknown_label_is_the_first_answer_for_a_new_individual() -> None:
    search = Search("", strings(["x", "y"]), strings(["x", "y"]), strings([]))
    rows = {"x": [("Ahab", 0.8), ("Boo", 0.1)], "y": [("Ahab", 0.8), ("nobody", 0.3)]}
    known = strings(["Ahab", "Boo"])
    both = links(("new", "x", ""), ("new", "y", ""))
    found = link_answers(ranking_of(rows), [search], both, known, "nobody")
    assert found.answers.tolist() == [["nobody", "Ahab"], ["nobody", "Ahab"]]
    found = link_answers(ranking_of(rows), [search], both, known)
    assert found.answers[0].tolist() == ["Ahab", "Boo"]
