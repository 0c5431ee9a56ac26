"""Similarities of listed pairs, and their scores from 0 to 1."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.competition.protocol import PairList
from kitbox.errors import KitboxError
from kitbox.records import Search, strings
from kitbox.retrieval import neighbour_graph
from kitbox.retrieval.neighbour_graph import NeighbourGraph
from kitbox.scoring import pair_similarity
from tests.circle import at_angles, cosine, reverse_nearest

SEARCHES = (
    Search("", strings(["q0", "q10"]), strings(["0", "10"]), strings(["0", "10", "40", "90"])),
    Search("", strings(["s90"]), strings(["90"]), strings(["40", "0"])),
)
PAIRS = PairList(
    SEARCHES,
    np.array([1, 0, 0, 1, 0]),
    np.array([0, 1, 0, 0, 1]),
    np.array([0, 3, 2, 1, 0]),
)
ANGLES = ((90, 40), (10, 90), (0, 40), (90, 0), (10, 0))


@pytest.mark.parametrize("block", [1, 16_000_000])
def test_each_pair_has_the_cosine_of_its_images(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbour_graph, "_BLOCK_SIZE", block)
    points = at_angles(0, 10, 40, 90)
    graphs = [NeighbourGraph(search, points) for search in SEARCHES]
    found = pair_similarity.measure_pairs(graphs, PAIRS)
    assert found.tolist() == pytest.approx([cosine(a, b) for a, b in ANGLES], abs=1e-6)
    assert PAIRS.query_ids.tolist() == ["s90", "q10", "q0", "s90", "q10"]
    assert PAIRS.gallery_images.tolist() == ["40", "90", "40", "0", "0"]


def test_pairs_have_the_similarities_of_re_ranking() -> None:
    points = at_angles(0, 10, 40, 90)
    graphs = [reverse_nearest(NeighbourGraph(search, points)) for search in SEARCHES]
    # of q0 the nearest are 10, 40, 90, now with the similarities of 90, 40, 10
    found = pair_similarity.measure_pairs(
        graphs, PairList(SEARCHES, np.zeros(3, int), np.zeros(3, int), np.array([1, 2, 3]))
    )
    wanted = [cosine(0, 90), cosine(0, 40), cosine(0, 10)]
    assert found.tolist() == pytest.approx(wanted, abs=1e-6)


def test_a_pair_without_a_number_is_named() -> None:
    points = at_angles(0, 10, 40, 90)
    itself = PairList(SEARCHES, np.array([0]), np.array([1]), np.array([1]))
    graphs = [NeighbourGraph(search, points) for search in SEARCHES]
    with pytest.raises(KitboxError, match=r"the similarity of 'q10' and '10' is -inf"):
        pair_similarity.measure_pairs(graphs, itself)


@given(st.lists(st.floats(-5, 5, width=32), min_size=1), st.booleans())
def test_scores_lie_in_the_unit_range_and_keep_the_order(
    values: list[float], probability: bool
) -> None:
    similarity = np.array(values, dtype=np.float32)
    found = pair_similarity.unit_scores(similarity, probability=probability)
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    order = np.argsort(similarity)
    rises = np.diff(similarity[order].astype(np.float64)) > 0
    steps = np.diff(found.scores[order])
    assert (steps >= 0).all()
    assert (steps[~rises] == 0).all()
    # below the rounding of float64 two numbers beside 1 / 2 are one
    clear = rises & (np.diff(similarity[order].astype(np.float64)) > 1e-12)
    within = (similarity[order][1:] <= 1) | (found.scale == "linear")
    assert (steps[clear & within] > 0).all()


@pytest.mark.parametrize(
    ("values", "probability", "scale", "scores"),
    [
        ([-1, 0, 0.5, 1], False, "cosine", [0, 0.5, 0.75, 1]),
        ([0, 0.25, 1], True, "probability", [0, 0.25, 1]),
        ([-0.5, 1], True, "cosine", [0.25, 1]),
        ([-3, 0, 1], False, "linear", [0, 0.75, 1]),
        ([2, 2], False, "linear", [0, 0]),
    ],
)
def test_the_scale_is_told(
    values: list[float], probability: bool, scale: str, scores: list[float]
) -> None:
    similarity = np.array(values, dtype=np.float32)
    found = pair_similarity.unit_scores(similarity, probability=probability)
    assert (found.scale, found.scores.tolist()) == (scale, scores)
    assert "in the CSV" in found.sentence


def test_ties_are_counted_within_a_query() -> None:
    query, scores = np.array([0, 0, 1, 1, 1, 0, 2]), np.array([0.5, 0.5, 0.5, 0.1, 0.5, 0.5, 0.5])
    assert pair_similarity.count_ties(query, scores) == 5
    assert pair_similarity.count_ties(query[:0], scores[:0]) == 0


def test_the_best_pairs_of_each_query_are_ranked() -> None:
    found = pair_similarity.best_pairs(PAIRS, np.array([0.1, 0.5, 0.3, 0.1, 0.9]), 2)
    assert found.query_ids.tolist() == ["q0", "q10", "s90"]
    assert found.answers.tolist() == [["40", ""], ["0", "90"], ["40", "0"]]
    assert found.similarity.tolist() == [[0.3, -np.inf], [0.9, 0.5], [0.1, 0.1]]
