import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import AgglomerativeClustering

from kitbox.clusters import cluster_tree
from kitbox.clusters.linkage import Constraints, Linkage
from kitbox.records import Embeddings, strings
from kitbox.retrieval import neighbour_graph
from kitbox.retrieval.neighbour_graph import Shortlist
from tests.circle import at_angles, cosine, graph_of, placed


def random_embeddings(seed: int, count: int, dim: int = 4) -> Embeddings:
    vectors = np.random.default_rng(seed).normal(size=(count, dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Embeddings(strings([f"i{i:03}" for i in range(count)]), vectors.astype(np.float32))


def by_first_image(numbers: list[int]) -> list[int]:
    """Number clusters from 0 by their first image."""
    order = list(dict.fromkeys(numbers))
    return [order.index(number) for number in numbers]


@settings(max_examples=40)
@given(st.integers(0, 999), st.integers(2, 40), st.floats(-0.9, 0.99))
def test_clusters_are_those_of_average_linkage(seed: int, count: int, threshold: float) -> None:
    embeddings = random_embeddings(seed, count)
    oracle = AgglomerativeClustering(
        n_clusters=None, metric="cosine", linkage="average", distance_threshold=1 - threshold
    ).fit_predict(embeddings.vectors.astype(np.float64))
    found = cluster_tree.link(embeddings).cut(threshold)
    assert found.tolist() == by_first_image(oracle.tolist())


@pytest.mark.parametrize("rows", [1, 7, 256])
def test_clusters_do_not_depend_on_the_block_size(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    embeddings = random_embeddings(3, 50)
    whole = cluster_tree.link(embeddings)
    monkeypatch.setattr(cluster_tree, "_ROWS", rows)
    found = cluster_tree.link(embeddings).similarities
    np.testing.assert_allclose(found, whole.similarities, atol=1e-6)


def test_two_clusters_are_as_similar_as_their_pairs_are_on_average() -> None:
    found = cluster_tree.link(at_angles(0, 10, 60))
    wanted = [cosine(0, 10), (cosine(0, 60) + cosine(10, 60)) / 2]
    np.testing.assert_allclose(found.similarities, wanted, atol=1e-6)
    assert found.cut(wanted[0] + 0.01).tolist() == [0, 1, 2]
    assert found.cut(wanted[0] - 0.01).tolist() == [0, 0, 1]
    assert found.cut(wanted[1] - 0.01).tolist() == [0, 0, 0]


def test_look_alikes_do_not_chain_two_individuals() -> None:
    # neighbours are 10 degrees apart; the mean over pairs falls as clusters grow
    found = cluster_tree.link(at_angles(*range(0, 90, 10))).cut(cosine(0, 11))
    assert len(set(found.tolist())) > 1


def test_copies_join_at_a_similarity_of_one() -> None:
    found = cluster_tree.link(placed({"a": 30, "b": 30, "c": 90}))
    assert found.similarities[0] == pytest.approx(1)
    assert found.similarities[0] <= 1
    assert found.cut(0.9999).tolist() == [0, 0, 1]


def test_clusters_are_numbered_by_their_first_image() -> None:
    found = cluster_tree.link(placed({"a": 90, "b": 0, "c": 91, "d": 1, "e": 200})).cut(0.99)
    assert found.tolist() == [0, 1, 0, 1, 2]


@settings(max_examples=40)
@given(st.integers(0, 999), st.integers(0, 30), st.floats(-0.9, 0.99))
def test_an_image_is_alone_above_the_similarity_at_which_it_joins(
    seed: int, count: int, threshold: float
) -> None:
    found = cluster_tree.link(random_embeddings(seed, count))
    number = found.cut(threshold)
    alone = [bool((number == own).sum() == 1) for own in number]
    assert (found.alone_above < threshold).tolist() == alone


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_images_are_a_tree_without_joins(count: int) -> None:
    found = cluster_tree.link(random_embeddings(0, count))
    assert found.joins is None
    assert found.similarities.tolist() == []
    assert found.cut(0.5).tolist() == [0] * count
    assert np.isneginf(found.alone_above).all()


@pytest.mark.parametrize("by", ["average", "components"])
def test_more_images_are_linked_by_their_nearest(
    by: Linkage, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = graph_of(*[random_embeddings(5, 60)] * 2)
    dense = cluster_tree.link_queries(graph, by=by)
    monkeypatch.setattr(cluster_tree, "_MAX_IMAGES", 59)
    monkeypatch.setattr(neighbour_graph, "_ROWS", 7)
    # all pairs are among the 59 nearest
    sparse = cluster_tree.link_queries(graph, by=by)
    np.testing.assert_allclose(sparse.similarities, dense.similarities, atol=1e-5)
    for threshold in np.linspace(-0.5, 0.95, 12):
        assert sparse.cut(threshold).tolist() == dense.cut(threshold).tolist()


@pytest.mark.parametrize("rows", [1, 4, 256])
@pytest.mark.parametrize("k", [1, 3, 30])
def test_the_nearest_pairs_are_those_of_a_sorted_list(
    rows: int, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbour_graph, "_ROWS", rows)
    embeddings = random_embeddings(8, 20)
    graph = graph_of(embeddings, embeddings)
    cosines = embeddings.vectors.astype(np.float64) @ embeddings.vectors.T.astype(np.float64)
    np.fill_diagonal(cosines, -np.inf)
    wanted = {
        (min(row, int(other)), max(row, int(other)))
        for row in range(20)
        for other in np.argsort(-cosines[row])[: min(k, 19)]
    }
    found = cluster_tree.nearest_pairs(graph.query_blocks(), 20, k)
    pairs = list(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert pairs == sorted(wanted)
    np.testing.assert_allclose(found.similarity, [cosines[pair] for pair in pairs], atol=1e-6)
    outside = [
        cosines[one, other] for one in range(20) for other in range(one + 1, 20)
        if (one, other) not in wanted
    ]  # fmt: skip
    least = np.mean(outside) if outside else found.similarity.min()
    assert found.outside == pytest.approx(least, abs=1e-6)


def test_reranked_pairs_are_linked_above_the_limit_as_below(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    embeddings = at_angles(0, 10, 100, 110, 200)
    graph = graph_of(embeddings, embeddings)
    # 0 and 200 see each other, and 10 alone sees 110
    graph = graph.rerank(
        Shortlist(np.array([[4], [3], [-1], [-1], [0]]), np.full((5, 1), 0.999, np.float32))
    )
    dense = cluster_tree.link_queries(graph)
    monkeypatch.setattr(cluster_tree, "_MAX_IMAGES", 4)
    sparse = cluster_tree.link_queries(graph)
    np.testing.assert_allclose(sparse.joins, dense.joins, atol=1e-6)
    assert dense.cut(0.99).tolist() == [0, 1, 2, 3, 0]


def test_components_chain_images_and_keep_apart_what_has_to_be() -> None:
    embeddings = at_angles(0, 10, 20, 30)
    graph = graph_of(embeddings, embeddings)
    limit = cosine(0, 11)
    assert cluster_tree.link_queries(graph).cut(limit).tolist() == [0, 0, 1, 1]
    whole = cluster_tree.link_queries(graph, by="components")
    assert whole.cut(limit).tolist() == [0, 0, 0, 0]
    apart = Constraints(np.arange(4), np.array([[0, 3]]), np.zeros(4, np.bool_))
    found = cluster_tree.link_queries(graph, apart, "components")
    assert found.cut(-1).tolist() in ([0, 0, 0, 1], [0, 1, 1, 1], [0, 0, 1, 1])
    assert len(found.similarities) == 2


def test_linked_images_join_above_every_threshold() -> None:
    embeddings = at_angles(0, 90, 180)
    given_ = Constraints(np.array([0, 1, 0]), np.empty((0, 2), np.int64), np.zeros(2, np.bool_))
    found = cluster_tree.link_queries(graph_of(embeddings, embeddings), given_)
    assert found.cut(5.0).tolist() == [0, 1, 0]
    assert found.alone_above.tolist() == [np.inf, pytest.approx(0, abs=1e-6), np.inf]


def test_one_image_with_constraints_is_one_cluster() -> None:
    one = at_angles(0)
    found = cluster_tree.link_queries(graph_of(one, one), Constraints.none(1))
    assert found.cut(0.5).tolist() == [0]
