import time

import faiss
import numpy as np
import pytest

from kitbox.errors import KitboxError
from kitbox.records import Embeddings, Search, strings
from kitbox.retrieval import knn, neighbour_graph
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
    measured = index.measure_recall(graph.query)
    exact, _ = knn.nearest_rows(graph.query, graph.gallery, 20)
    found, _ = index.nearest_rows(graph.query, 20)
    by_hand = [
        len(set(a) & set(b)) / 20 for a, b in zip(exact.tolist(), found.tolist(), strict=True)
    ]
    assert measured.queries == QUERIES
    assert measured.recall == pytest.approx(np.mean(by_hand))
    assert 0.9 < measured.recall < 1


@pytest.mark.parametrize("kind", ["sq8", "ivf_pq"])
def test_faiss_says_nothing_of_a_gallery_just_large_enough(
    kind: str, embeddings: Embeddings, capfd: pytest.CaptureFixture[str]
) -> None:
    ids = embeddings.image_ids[:256]
    indexed(kind, NeighbourGraph(Search("", ids[:9], ids[:9], ids), embeddings))
    assert capfd.readouterr() == ("", "")


def test_one_list_of_many_loses_neighbours(graph: NeighbourGraph) -> None:
    few = indexed("sq8:lists=64,probes=1", graph).measure_recall(graph.query)
    more = indexed("sq8:lists=64,probes=16", graph).measure_recall(graph.query)
    assert few.recall < more.recall


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


def test_an_index_is_named_where_exact_search_takes_minutes(
    graph: NeighbourGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    def notices(*steps: str, of_images: bool = True) -> list[str]:
        stage = graph_stage(graph.embeddings, [graph.search], reranker(steps), of_images=of_images)
        return [event.notice for event in stage if event.notice]

    assert notices() == []
    monkeypatch.setattr(knn, "_SECONDS_OF_WORK", 1.0)
    assert notices() == []  # it is timed, and takes no second
    monkeypatch.setattr(knn, "_knn_of_block", lambda *_: time.sleep(0.001))
    monkeypatch.setattr(neighbour_graph, "_LONG", 0.001)
    [sentence] = notices()
    assert sentence.startswith(f"exact search of {QUERIES} queries in {IMAGES} images takes about ")
    assert "with --rerank sq8 they are looked up in an index" in sentence
    assert notices(of_images=False) == []


def test_the_time_of_an_exact_search_is_that_of_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([5.0, 5.5])
    monkeypatch.setattr(knn, "_SECONDS_OF_WORK", 1.0)
    monkeypatch.setattr(knn, "_TIMED_QUERIES", 2)
    monkeypatch.setattr(knn, "_TIMED_IMAGES", 10)
    monkeypatch.setattr(knn.time, "perf_counter", lambda: next(now))
    vectors = np.eye(40, dtype=np.float32)
    images = Embeddings(strings([f"{number:02}" for number in range(40)]), vectors)
    query = images.of(images.image_ids[:6])
    assert knn.expected_seconds(query, images) == pytest.approx(0.5 * 3 * 4)


def test_an_index_comes_first(graph: NeighbourGraph) -> None:
    with pytest.raises(KitboxError, match="name ivf_pq first"):
        reranker(["dba", "ivf_pq"])


def test_parts_of_a_vector_are_equal(graph: NeighbourGraph) -> None:
    with pytest.raises(KitboxError, match="16 dimensions have no 5 equal parts"):
        indexed("ivf_pq:parts=5", graph)


def test_a_small_group_is_searched_exactly_beside_a_large_one(embeddings: Embeddings) -> None:
    ids = embeddings.image_ids
    searches = [
        Search("whales", ids[:9], ids[:9], ids),
        Search("seals", ids[:9], ids[:9], ids[:99]),
    ]
    stage = graph_stage(embeddings, searches, reranker(["sq8:lists=8", "dba"]))
    notices = []
    while True:
        try:
            notices.append(next(stage).notice)
        except StopIteration as end:
            large, small = end.value
            break
    step = "sq8:probes=32,candidates=4,lists=8,seed=0"
    assert [notice for notice in notices if notice] == [
        f"{step}: finds 100.0% of the 20 nearest of 3000 images of whales that exact search finds, "
        "by 9 queries",
        f"{step}: the 99 gallery images of seals are searched exactly; an index needs 256",
    ]
    exactly = reranker(["dba"])
    assert exactly is not None
    plain = exactly(NeighbourGraph(searches[1], embeddings))
    np.testing.assert_array_equal(small.nearest(5).gallery_ids, plain.nearest(5).gallery_ids)
    np.testing.assert_array_equal(small.nearest(5).similarity, plain.nearest(5).similarity)
    assert large.index_recall.as_json() == {
        "step": step, "search": "whales", "gallery": 3000, "k": 20, "queries": 9, "recall": 1.0
    }  # fmt: skip


def test_steps_that_move_queries_alone_keep_the_index(graph: NeighbourGraph) -> None:
    step, moved = reranker(["sq8:lists=8"]), reranker(["query_expansion"])
    assert step is not None
    assert moved is not None
    looked_up = step(graph)
    assert moved(looked_up).index is looked_up.index


@pytest.mark.parametrize("kind", ["sq8:lists=64,probes=4", "ivf_pq:lists=64,probes=4"])
def test_threads_do_not_change_what_is_found(kind: str, graph: NeighbourGraph) -> None:
    before = faiss.omp_get_max_threads()
    found = []
    try:
        for threads in (1, 2):
            faiss.omp_set_num_threads(threads)
            found.append(indexed(kind, graph).nearest_rows(graph.query, 20))
    finally:
        faiss.omp_set_num_threads(before)
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])
