import numpy as np
import pytest

from kitbox.errors import KitboxError
from kitbox.records import Embeddings, Search, strings
from kitbox.retrieval import knn
from kitbox.retrieval.gallery_index import IndexedGallery
from kitbox.retrieval.neighbour_graph import NeighbourGraph, graph_stage
from kitbox.retrieval.rerankers import reranker

IMAGES, QUERIES, DIM = 3000, 60, 16


@pytest.fixture(scope="module")
def embeddings() -> Embeddings:
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((300, DIM), dtype=np.float32)
    noise = generator.standard_normal((IMAGES, DIM), dtype=np.float32)
    vectors = centres[np.arange(IMAGES) % 300] + 0.5 * noise
    vectors[1] = vectors[0]  # a copy
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = generator.permutation(IMAGES)
    return Embeddings(strings([f"{name:05}" for name in names]), vectors)


@pytest.fixture
def graph(embeddings: Embeddings) -> NeighbourGraph:
    ids = embeddings.image_ids
    return NeighbourGraph(Search("", ids[:QUERIES], ids[:QUERIES], ids), embeddings)


def indexed(text: str, graph: NeighbourGraph) -> IndexedGallery:
    step = reranker([text])
    assert step is not None
    index = step(graph).index
    assert isinstance(index, IndexedGallery)
    return index


@pytest.mark.parametrize("kind", ["sq8:lists=16,probes=16", "ivf_pq:lists=16,probes=16"])
def test_all_lists_and_all_candidates_give_exact_neighbours(
    kind: str, graph: NeighbourGraph
) -> None:
    found = indexed(f"{kind},candidates={IMAGES // 10}", graph).nearest_rows(graph.query, 10)
    exact = knn.nearest_rows(graph.query, graph.gallery, 10)
    np.testing.assert_array_equal(found[0], exact[0])  # copies in the same order too
    np.testing.assert_allclose(found[1], exact[1], atol=1e-6)


@pytest.mark.parametrize("kind", ["sq8:lists=64,probes=16", "ivf_pq:lists=64,probes=16"])
def test_recall_is_that_of_the_shortlists(kind: str, graph: NeighbourGraph) -> None:
    index = indexed(kind, graph)
    share, queries = index.recall(graph.query)
    exact, _ = knn.nearest_rows(graph.query, graph.gallery, 20)
    found, _ = index.nearest_rows(graph.query, 20)
    by_hand = [
        len(set(a) & set(b)) / 20 for a, b in zip(exact.tolist(), found.tolist(), strict=True)
    ]
    assert queries == QUERIES
    assert share == pytest.approx(np.mean(by_hand))
    assert 0.9 < share < 1


def test_one_list_of_many_loses_neighbours(graph: NeighbourGraph) -> None:
    few, _ = indexed("sq8:lists=64,probes=1", graph).recall(graph.query)
    more, _ = indexed("sq8:lists=64,probes=16", graph).recall(graph.query)
    assert few < more


def test_an_index_is_the_same_each_time_and_the_seed_changes_it(graph: NeighbourGraph) -> None:
    text = "ivf_pq:lists=32,probes=2,candidates=1"
    first, again, other = (
        indexed(each, graph).nearest_rows(graph.query, 20)
        for each in (text, text, f"{text},seed=1")
    )
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[0] != other[0]).any()


def test_a_query_never_finds_itself_and_rows_are_filled_up(graph: NeighbourGraph) -> None:
    rows, similarity = indexed("sq8:lists=300,probes=1", graph).nearest_rows(graph.query, 100)
    assert (rows != np.arange(QUERIES)[:, None]).all()
    assert (rows[:, -1] == -1).any()
    np.testing.assert_array_equal(rows == -1, np.isneginf(similarity))


def test_later_steps_search_in_the_index(graph: NeighbourGraph) -> None:
    exactly = "sq8:lists=8,probes=8,candidates=100"
    plain, looked_up = reranker(["dba"]), reranker([exactly, "dba", "query_expansion"])
    assert plain is not None
    assert looked_up is not None
    moved, found = plain(graph), looked_up(graph)
    np.testing.assert_allclose(found.gallery.vectors, moved.gallery.vectors, atol=1e-6)
    assert isinstance(found.index, IndexedGallery)
    np.testing.assert_array_equal(found.index.gallery.vectors, found.gallery.vectors)


def test_what_an_index_loses_is_told(graph: NeighbourGraph) -> None:
    notices = [
        event.notice
        for event in graph_stage(graph.embeddings, [graph.search], reranker(["sq8:lists=8"]))
        if event.notice
    ]
    assert notices == [
        "sq8:probes=32,candidates=4,lists=8,seed=0: finds 100.0% of the 20 nearest of 3000 "
        "images that exact search finds, by 60 queries"
    ]


def test_an_index_comes_first(graph: NeighbourGraph) -> None:
    with pytest.raises(KitboxError, match="name ivf_pq first"):
        reranker(["dba", "ivf_pq"])


def test_parts_of_a_vector_are_equal(graph: NeighbourGraph) -> None:
    with pytest.raises(KitboxError, match="16 dimensions have no 5 equal parts"):
        indexed("ivf_pq:parts=5", graph)


def test_a_small_gallery_needs_no_index(graph: NeighbourGraph, embeddings: Embeddings) -> None:
    ids = embeddings.image_ids
    small = NeighbourGraph(Search("", ids[:9], ids[:9], ids[:99]), embeddings)
    with pytest.raises(KitboxError, match="this one has 99 images; leave the step out"):
        indexed("sq8", small)
