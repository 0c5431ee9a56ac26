"""Links and anchors as constraints on clusters."""

import numpy as np
import pytest

from kitbox.clusters.cluster_tree import cluster_trees, cut_trees
from kitbox.clusters.constraints import Anchors, constrain, constraints_of, cuts_of, nearest_known
from kitbox.decisions.decision import Decision
from kitbox.decisions.decision_list import Decisions
from kitbox.decisions.image_links import Links
from kitbox.records import Search, strings
from tests.circle import at_angles, competition, cosine, graph_of, image_set

LABELS = {"a": "Ahab", "a2": "Ahab", "b": "Boo"}


def links(*rows: tuple[str, str, str]) -> Links:
    return Decisions(tuple(Decision(*row) for row in rows)).link(LABELS)


def search_of(*names: str) -> Search:
    ids = strings(names)
    return Search("", ids, ids, ids)


def anchors(*given: tuple[str, float]) -> Anchors:
    return Anchors(strings([label for label, _ in given]), np.array([value for _, value in given]))


def test_queries_of_one_individual_start_in_one_cluster() -> None:
    given = links(("same", "x", "y"), ("same", "y", "z"), ("different", "z", "w"))
    found = constrain(search_of("w", "x", "v", "y", "z"), given)
    assert found.start.tolist() == [0, 1, 2, 1, 1]
    assert sorted(found.apart[0].tolist()) == [0, 1]
    assert not found.closed.any()


def test_queries_linked_to_labelled_images_are_together_or_apart_by_the_labels() -> None:
    given = links(("same", "x", "a"), ("same", "y", "a2"), ("same", "z", "b"))
    found = constrain(search_of("x", "z", "y"), given)
    assert found.start.tolist() == [0, 1, 0]
    assert found.apart.tolist() == [[0, 1]]


def test_nothing_is_constrained_without_links() -> None:
    assert not constrain(search_of("x", "y"), Links()).binding
    assert not constrain(search_of("x", "y"), links(("same", "p", "q"))).binding
    assert constrain(search_of(), Links()).start.tolist() == []


def test_anchored_queries_form_the_cluster_of_their_individual() -> None:
    given = anchors(("Ahab", 0.9), ("Boo", 0.8), ("Ahab", 0.7), ("Ahab", 0.2))
    found = constrain(search_of("x", "y", "z", "w"), Links(), given, 0.7)
    assert found.start.tolist() == [0, 1, 0, 2]
    assert found.closed.tolist() == [True, True, False]
    assert found.anchored == 3


def test_an_anchor_yields_to_a_link() -> None:
    # w is nearest to Boo but linked to Ahab; y may not be with x, which is nearer to Ahab
    given = anchors(("Ahab", 0.9), ("Ahab", 0.8), ("", -np.inf), ("Boo", 0.95))
    linked = links(("different", "x", "y"), ("same", "w", "a"))
    found = constrain(search_of("x", "y", "z", "w"), linked, given, 0.5)
    assert found.start.tolist() == [0, 1, 2, 0]
    assert found.closed.tolist() == [True, False, False]
    # a link anchors below every threshold
    found = constrain(search_of("x", "y", "z", "w"), linked, given, 2.0)
    assert (found.start.tolist(), found.anchored) == ([0, 1, 2, 3], 1)


def test_a_linked_query_is_anchored_as_the_nearest_of_its_group() -> None:
    given = anchors(("Ahab", 0.9), ("Boo", 0.3), ("Boo", 0.8))
    found = constrain(search_of("x", "y", "z"), links(("same", "x", "y")), given, 0.7)
    assert found.start.tolist() == [0, 0, 1]
    assert found.anchored == 3


@pytest.mark.parametrize(
    ("thresholds", "limit"),
    [
        ({"": 0.5, "anchor:": 0.8}, 0.8),
        ({"anchor:Lynx": 0.7, "anchor:": 0.8, "Lynx": 0.1}, 0.7),
        ({"anchor:Owl": 0.7, "anchor:Turtle": 0.9}, 0.8),  # a group without one: the median
        ({"": 0.5}, 0.5),
    ],
)
def test_the_threshold_of_anchors_is_that_of_the_group(
    thresholds: dict[str, float], limit: float
) -> None:
    search = Search("Lynx", strings(["x", "y"]), strings(["x", "y"]), strings([]))
    for value, count in ((limit, 2), (limit - 1e-6, 0)):
        near = {"Lynx": anchors(("Ahab", value), ("Boo", value))}
        assert constraints_of([search], Links(), near, thresholds)["Lynx"].anchored == count


def test_thresholds_of_anchors_cut_no_tree() -> None:
    assert cuts_of({"": 0.5, "anchor:": 0.8, "anchor:Lynx": 0.1}) == {"": 0.5}


def test_the_others_merge_only_among_themselves() -> None:
    train = {"0": "Ahab", "90": "Boo"}
    gallery = at_angles(0, 90, 2, 5, 12, 15, 85, 200)
    graph = graph_of(at_angles(2, 5, 12, 15, 85, 200), gallery)
    toy = competition(
        answers="clusters", gallery="train+test", unknown_label=None, task={"anchors": True}
    )
    near = nearest_known([graph], image_set(train), toy)
    assert near[""].labels.tolist() == ["Ahab", "Ahab", "Ahab", "Ahab", "Boo", "Boo"]
    assert near[""].similarity[3] == pytest.approx(cosine(0, 15))
    thresholds = {"": cosine(0, 20), "anchor:": cosine(0, 6)}
    constraints = constraints_of([graph.search], anchors=near, thresholds=thresholds)
    found = cut_trees(cluster_trees([graph], constraints=constraints), [graph.search], thresholds)
    # 12 and 15 are near 5, which is anchored; without anchors all four were one cluster
    assert found.answers[:, 0].tolist() == [f"cluster_{n}" for n in (0, 0, 1, 1, 2, 3)]
    plain = cut_trees(cluster_trees([graph]), [graph.search], thresholds)
    assert plain.answers[:, 0].tolist() == [f"cluster_{n}" for n in (0, 0, 0, 0, 1, 2)]
    given = Decisions((Decision("different", "2", "0"),)).link(train)
    far = nearest_known([graph], image_set(train), toy, given)[""]
    assert far.labels[0] == "Boo"
