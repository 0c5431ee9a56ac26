"""Shortlists with counts: which pairs they ask for, and the order by counts alone."""

import numpy as np
import pytest

from kitbox.errors import KitboxError
from kitbox.keypoints import shortlist_matches
from kitbox.keypoints.classical_matchers import RootSift
from kitbox.keypoints.match_settings import MatchSettings
from kitbox.keypoints.matcher import MatchCounts
from kitbox.keypoints.pair_scores import MatchOptions
from kitbox.keypoints.shortlist_matches import MatchedShortlist, match_shortlists
from kitbox.records import Embeddings, ImageSet, Search, strings
from kitbox.retrieval.neighbour_graph import NeighbourGraph, Shortlist
from kitbox.workspace import Workspace
from tests.keypoints.flukes import draw_flukes, images_of
from tests.photographs import finish

NAN = float("nan")


def matched(similarity, score) -> MatchedShortlist:
    score = np.array(score, dtype=np.float32)
    rows = np.broadcast_to(np.arange(score.shape[1]), score.shape)
    shortlist = Shortlist(rows, np.array(similarity, dtype=np.float32))
    return MatchedShortlist(
        shortlist=shortlist, matches=score, inliers=score, confident=score, ratio=score, score=score
    )


def test_the_measured_images_exchange_their_similarities():
    found = matched([[0.9, 0.8, 0.7, 0.6]], [[0, 9, 0, 12]]).reordered()
    # 12 inliers get the best similarity, 9 the second; equals keep their order
    assert found.similarity.tolist() == pytest.approx(
        np.array([[0.7, 0.8, 0.6, 0.9]], dtype=np.float32)
    )


def test_an_image_that_was_not_measured_keeps_its_similarity():
    found = matched([[0.9, 0.8, 0.7], [0.5, 0.4, 0.3]], [[1, NAN, 5], [NAN, NAN, NAN]])
    wanted = np.array([[0.7, 0.8, 0.9], [0.5, 0.4, 0.3]], dtype=np.float32)
    assert found.reordered().similarity.tolist() == wanted.tolist()


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> ImageSet:
    return images_of(draw_flukes(tmp_path_factory.mktemp("flukes"), individuals=2, views=2))


@pytest.fixture
def counted(monkeypatch) -> list[int]:
    """Count 1, 2, … for each pair that is matched."""
    calls: list[int] = []

    def match(self, a, b):
        calls.append(len(calls) + 1)
        return MatchCounts(matches=len(calls), inliers=len(calls), confident=0, ratio=0)

    monkeypatch.setattr(RootSift, "match", match)
    return calls


def graph_of(images: ImageSet, angles, queries, gallery, name="") -> NeighbourGraph:
    """Return a graph of points on the circle, at some degrees."""
    at = np.radians(angles)
    vectors = np.stack([np.cos(at), np.sin(at)], axis=1).astype(np.float32)
    ids = images.image_ids
    search = Search(name, ids[queries], ids[queries], ids[gallery])
    return NeighbourGraph(search, Embeddings(ids, vectors))


def run(settings, graphs, images, workspace, **options):
    stage = match_shortlists(
        MatchSettings.parse(settings), graphs, images, workspace, MatchOptions(**options)
    )
    return finish(stage)


def test_a_pair_that_two_queries_ask_for_is_measured_once(images, tmp_path, counted):
    graph = graph_of(images, [0, 10, 30, 70], [0, 1, 2, 3], [0, 1, 2, 3])
    _, found = run("sift:size=128,shortlist=1", [graph], images, Workspace(tmp_path))
    # nearest: 0 → 1, 1 → 0, 2 → 1, 3 → 2
    assert found.shortlists[0].shortlist.rows.tolist() == [[1], [0], [1], [2]]
    assert len(counted) == 3
    score = found.shortlists[0].score
    assert score[0] == score[1]
    assert found.pairs.computed == 3


def test_the_budget_goes_to_the_nearest_of_all_queries_first(images, tmp_path, counted):
    graph = graph_of(images, [0, 10, 30, 70], [0, 3], [1, 2])
    _, found = run("sift:size=128,shortlist=2,budget=3", [graph], images, Workspace(tmp_path))
    assert found.shortlists[0].measured.tolist() == [[True, True], [True, False]]
    assert len(counted) == 3


def test_each_search_has_its_own_shortlist(images, tmp_path, counted):
    graphs = [
        graph_of(images, [0, 10, 30, 70], [0], [1, 2, 3], "a"),
        graph_of(images, [0, 10, 30, 70], [3, 2], [0], "b"),
    ]
    yielded, found = run("sift:size=128,shortlist=2", graphs, images, Workspace(tmp_path))
    assert [one.shortlist.rows.tolist() for one in found.shortlists] == [[[0, 1]], [[0, -1]] * 2]
    assert [one.measured.tolist() for one in found.shortlists] == [
        [[True, True]],
        [[True, False], [True, False]],
    ]
    columns = found.columns({"0_0.png": "w_0", "0_1.png": "w_0"})
    assert columns["image"].tolist() == ["0_0.png", "0_0.png", "1_1.png", "1_0.png"]
    assert columns["neighbour"].tolist() == ["0_1.png", "1_0.png", "0_0.png", "0_0.png"]
    assert columns["label"].tolist() == ["w_0", "w_0", "", ""]
    assert columns["neighbour_label"].tolist() == ["w_0", "", "w_0", "w_0"]
    assert columns["rank"].tolist() == [1, 2, 1, 1]
    # 0 and 2 are a pair of both searches
    assert columns["inliers"][1] == columns["inliers"][3]
    assert len(counted) == 3
    assert [event.notice for event in yielded if "cut" in event.notice] == []


def test_a_shortlist_longer_than_the_gallery_is_cut_and_told(images, tmp_path, counted):
    graph = graph_of(images, [0, 10, 30, 70], [0, 1, 2, 3], [0, 1, 2, 3])
    yielded, found = run("sift:size=128,shortlist=50", [graph], images, Workspace(tmp_path))
    assert found.shortlists[0].score.shape == (4, 3)
    assert len(counted) == 6
    assert yielded[0].notice == (
        "sift: the shortlist of 50 is cut to 3: the largest gallery has 3 other images"
    )


def test_a_shortlist_longer_than_memory_is_cut_and_told(images, tmp_path, counted, monkeypatch):
    monkeypatch.setattr(shortlist_matches, "_MOST_PAIRS", 9)
    graph = graph_of(images, [0, 10, 30, 70], [0, 1, 2, 3], [0, 1, 2, 3])
    yielded, found = run("sift:size=128,shortlist=3", [graph], images, Workspace(tmp_path))
    assert found.shortlists[0].score.shape == (4, 2)
    assert yielded[0].notice == (
        "sift: the shortlist of 3 is cut to 2: 4 queries have room for no more pairs"
    )


def test_a_gallery_of_the_query_alone_has_no_pairs(images, tmp_path, counted):
    graph = graph_of(images, [0, 10, 30, 70], [0], [0])
    _, found = run("sift:size=128", [graph], images, Workspace(tmp_path))
    assert found.shortlists[0].shortlist.rows.size == 0
    assert len(found.pairs) == 0
    assert found.columns({})["image"].tolist() == []
    assert found.reordered()[0].nearest(1).gallery_ids.tolist() == [[""]]


def test_an_empty_gallery_has_no_pairs(images, tmp_path, counted):
    graph = graph_of(images, [0, 10, 30, 70], [0, 1], [])
    _, found = run("sift:size=128", [graph], images, Workspace(tmp_path))
    assert len(found.pairs) == 0


def test_counts_that_come_back_reorder_the_graph(images, tmp_path):
    graph = graph_of(images, [0, 50, 10, 70], [0], [1, 2, 3])
    assert graph.nearest(3).gallery_ids.tolist() == [["1_0.png", "0_1.png", "1_1.png"]]
    _, found = run("sift:size=320,shortlist=2", [graph], images, Workspace(tmp_path))
    assert found.shortlists[0].inliers[0, 1] > found.shortlists[0].inliers[0, 0]
    assert found.reordered()[0].nearest(3).gallery_ids.tolist() == [
        ["0_1.png", "1_0.png", "1_1.png"]
    ]


def test_ids_are_looked_up_in_the_images(images, tmp_path):
    graph = graph_of(images, [0, 50, 10, 70], [0], [1])
    with pytest.raises(KitboxError, match="there is no image '0_1"):
        run("sift", [graph], images.of(strings(["0_0.png"])), Workspace(tmp_path))
