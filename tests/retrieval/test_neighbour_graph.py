from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage

from kitbox.clusters import cluster_tree
from kitbox.errors import KitboxError
from kitbox.records import Embeddings, Floats, Search, Strings, strings
from kitbox.retrieval import knn, label_similarity, neighbour_graph, ranking
from kitbox.retrieval.neighbour_graph import (
    NeighbourGraph,
    Shortlist,
    SimilarityMap,
    graph_stage,
    neighbour_graphs,
)
from tests.circle import (
    at_angles,
    competition,
    cosine,
    graph_of,
    image_set,
    placed,
    reverse_nearest,
)


def random_graph(seed: int, queries: int, gallery: int, shared: int) -> NeighbourGraph:
    """Return the graph of random unit rows; the first queries are `shared` with the gallery."""
    generator = np.random.default_rng(seed)
    vectors = generator.normal(size=(queries + gallery, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = strings([f"i{i:02}" for i in generator.permutation(queries + gallery)])
    shared = min(shared, queries)
    searched = generator.permutation(np.concatenate([ids[:shared], ids[queries:]]))
    search = Search("", ids[:queries], ids[:queries], searched)
    return NeighbourGraph(search, Embeddings(ids, vectors.astype(np.float32)))


def random_shortlist(graph: NeighbourGraph, size: int, seed: int) -> Shortlist:
    """Return random similarities of random gallery images, and of none in some places."""
    generator = np.random.default_rng(seed)
    shape = (len(graph.search.query_ids), len(graph.search.gallery_images))
    rows = np.argsort(generator.random(shape), axis=1)[:, :size]
    rows[generator.random(rows.shape) < 0.2] = -1
    return Shortlist(rows, generator.integers(-4, 9, rows.shape).astype(np.float32) / 4)


def slow_similarities(graph: NeighbourGraph, *shortlists: Shortlist) -> Floats:
    """Return all similarities (q, g), replaced one by one, a query's own -inf."""
    found = graph.query.vectors @ graph.gallery.vectors.T
    for shortlist in shortlists:
        for query, (rows, values) in enumerate(
            zip(shortlist.rows.tolist(), shortlist.similarity.tolist(), strict=True)
        ):
            for row, value in zip(rows, values, strict=True):
                if row >= 0:
                    found[query, row] = value
    own = graph.search.query_images[:, None] == graph.search.gallery_images
    return np.where(own, -np.inf, found).astype(np.float32)


GRAPHS = st.builds(
    random_graph, st.integers(0, 999), st.integers(0, 8), st.integers(1, 20), st.integers(0, 4)
)


@given(GRAPHS, st.integers(1, 12))
def test_without_reranking_the_nearest_are_those_of_the_search(
    graph: NeighbourGraph, k: int
) -> None:
    found, wanted = graph.nearest(k), knn.nearest(graph.query, graph.gallery, k)
    assert found.gallery_ids.tolist() == wanted.gallery_ids.tolist()
    assert found.similarity.tolist() == wanted.similarity.tolist()


@settings(max_examples=200)
@given(GRAPHS, st.integers(1, 12), st.integers(0, 6), st.integers(0, 999))
def test_reranked_similarities_are_ranked_with_the_cosines_of_all_others(
    graph: NeighbourGraph, k: int, size: int, seed: int
) -> None:
    shortlist = random_shortlist(graph, size, seed)
    found = graph.rerank(shortlist).nearest(k)
    ids = graph.search.gallery_images.tolist()
    for row, similarities in enumerate(slow_similarities(graph, shortlist)):
        pairs = sorted((-float(s), name) for s, name in zip(similarities, ids, strict=True))
        wanted = [(name, -s) for s, name in pairs if s < np.inf][:k]
        answers = [name for name in found.gallery_ids[row].tolist() if name]
        assert found.similarity[row, : len(wanted)] == pytest.approx([s for _, s in wanted])
        assert len(answers) == len(wanted)
        # cosines that are equal but for rounding may change places
        assert [similarities[ids.index(name)] for name in answers] == pytest.approx(
            [s for _, s in wanted]
        )


@settings(max_examples=100)
@given(GRAPHS, st.integers(0, 6), st.integers(0, 999), st.sampled_from([1, 7, 10**6]))
def test_blocks_hold_the_same_similarities_of_any_gallery_images(
    graph: NeighbourGraph, size: int, seed: int, held: int
) -> None:
    first, second = (random_shortlist(graph, size, seed + i) for i in range(2))
    reranked = graph.rerank(first).rerank(second)
    order = np.random.default_rng(seed).permutation(len(graph.search.gallery_images))
    order = order[: len(order) // 2 + 1]
    found = np.full((len(graph.query), len(order)), np.nan, dtype=np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbour_graph, "_BLOCK_SIZE", held)
        for rows, similarity in reranked.blocks(graph.search.gallery_images[order]):
            found[rows] = similarity
    wanted = slow_similarities(graph, first, second)[:, order]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


LABELS = {"0": "Ahab", "20": "Boo", "30": "Boo", "90": "Cleo"}


def test_a_reranking_step_moves_images_and_labels() -> None:
    graph = graph_of(at_angles(1, prefix="q"), at_angles(0, 20, 30, 90))
    assert graph.nearest(4).gallery_ids.tolist() == [["0", "20", "30", "90"]]
    assert reverse_nearest(graph).nearest(4).gallery_ids.tolist() == [["30", "20", "0", "90"]]
    task, known = competition(k=3), image_set(LABELS)
    assert ranking.rank([graph], known, task).answers.tolist() == [["Ahab", "Boo", "Cleo"]]
    moved = ranking.rank([reverse_nearest(graph)], known, task)
    assert moved.answers.tolist() == [["Boo", "Ahab", "Cleo"]]
    np.testing.assert_allclose(
        moved.similarity, [[cosine(0, 1), cosine(1, 30), cosine(1, 90)]], atol=1e-6
    )


@pytest.mark.parametrize("how", ["mean", "sum", "closeness"])
def test_a_reranking_step_moves_labels_however_they_are_measured(how: str) -> None:
    graph = graph_of(at_angles(1, prefix="q"), at_angles(0, 20, 30, 90))
    task = competition(k=3, task={"label_similarity": how, "label_images": 1})
    plain, moved = (
        ranking.rank([each], image_set(LABELS), task).answers[0, 0]
        for each in (graph, reverse_nearest(graph))
    )
    # Boo's two images exchange places with Ahab's: both were further away than it
    assert plain == "Ahab"
    assert moved == "Boo"


def test_a_reranking_step_moves_matches() -> None:
    graph = graph_of(at_angles(1, prefix="q"), at_angles(0, 20, 30, 90))
    task = competition(gallery="index", answers="matches", k=3, images={"index_folder": "index"})
    limits = np.array([cosine(1, 0) - 1e-3])
    for each, match in ((graph, "0"), (reverse_nearest(graph), "30")):
        found = ranking.apply_thresholds(ranking.rank([each], image_set({}), task), limits, task)
        assert [answer for answer in found.answers[0].tolist() if answer] == [match]


def test_reranked_pairs_of_queries_are_clustered_by_the_mean_of_both_sides() -> None:
    points = at_angles(0, 10, 90)
    search = Search("", points.image_ids, points.image_ids, points.image_ids)
    [plain] = neighbour_graphs(points, [search])
    # 0 sees 90 at .98, 90 sees 0 by its cosine of 0; both see 10 and 90 at .9
    rows = np.array([[2, -1], [2, -1], [1, -1]])
    shortlist = Shortlist(rows, np.array([[0.98, 0.5], [0.9, 0.5], [0.9, 0.5]], dtype=np.float32))
    reranked = plain.rerank(shortlist)
    first, second, similarity = reranked.query_pairs() or pytest.fail("no pairs")
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == [(0, 2), (1, 2)]
    assert similarity.tolist() == pytest.approx([0.49, 0.9], abs=1e-6)
    trees = {
        "plain": cluster_tree.cluster_trees([plain])[""],
        "new": cluster_tree.cluster_trees([reranked])[""],
    }
    assert trees["plain"].cut(0.6).tolist() == [0, 0, 1]
    assert trees["new"].similarities.tolist() == pytest.approx(
        [cosine(0, 10), (0.49 + 0.9) / 2], abs=1e-6
    )
    assert trees["new"].cut(0.6).tolist() == [0, 0, 0]


def test_the_last_of_two_reranking_steps_counts_where_both_have_an_image() -> None:
    graph = graph_of(at_angles(0, prefix="q"), at_angles(10, 20, 30))
    first = graph.rerank(Shortlist(np.array([[1, 2]]), np.array([[0.99, 0.999]], np.float32)))
    assert first.nearest(3).gallery_ids.tolist() == [["30", "20", "10"]]
    second = first.rerank(Shortlist(np.array([[2]]), np.array([[0.5]], np.float32)))
    assert second.nearest(3).gallery_ids.tolist() == [["20", "10", "30"]]
    assert second.shortlist(1).rows.tolist() == [[1]]


def test_each_search_is_reranked_by_itself() -> None:
    points = at_angles(0, 10, 20, 30, 40)
    searches = [
        Search("a", strings(["0"]), strings(["0"]), strings(["10", "20", "30", "40"])),
        Search("b", strings(["again"]), strings(["0"]), strings(["40", "20", "30"])),
    ]
    graphs = neighbour_graphs(points, searches, reverse_nearest)
    assert graphs[0].nearest(4).gallery_ids.tolist() == [["30", "20", "10", "40"]]
    assert graphs[1].nearest(3).gallery_ids.tolist() == [["40", "30", "20"]]
    assert ranking.rank_images(graphs, 1).query_ids.tolist() == ["0", "again"]


def test_the_stage_tells_which_search_is_reranked() -> None:
    points = at_angles(0, 10, 20, 30, 40)
    searches = [
        Search(name, strings(["0"]), strings(["0"]), strings(["10", "20", "30"])) for name in "ab"
    ]
    stage = graph_stage(points, searches, reverse_nearest)
    told = [(event.done, event.total, event.note) for event in (next(stage), next(stage))]
    assert told == [(0, 2, "a"), (1, 2, "b")]
    with pytest.raises(StopIteration) as end:
        next(stage)
    for graph in end.value.value:
        assert graph.nearest(3).gallery_ids.tolist() == [["30", "20", "10"]]
    with pytest.raises(StopIteration):
        next(graph_stage(points, searches))


def test_a_search_without_gallery_has_no_neighbours() -> None:
    search = Search("", strings(["q"]), strings(["0"]), strings([]))
    graph = NeighbourGraph(search, at_angles(0))
    assert graph.nearest(2).gallery_ids.tolist() == [["", ""]]
    assert reverse_nearest(graph).nearest(2).gallery_ids.tolist() == [["", ""]]


def test_the_centre_of_a_label_is_refused_after_reranking() -> None:
    graph = reverse_nearest(graph_of(at_angles(1, prefix="q"), at_angles(0, 20, 30, 90)))
    with pytest.raises(KitboxError) as caught:
        label_similarity.measure(graph, image_set(LABELS), "centre")
    assert str(caught.value) == (
        "a label's centre is no image, so that re-ranking does not move it; choose another "
        "task.label_similarity"
    )


def test_a_shortlist_has_a_similarity_for_each_row() -> None:
    with pytest.raises(KitboxError, match=r"^a shortlist of \(1, 2\) rows but \(1, 1\) similar"):
        Shortlist(np.zeros((1, 2), np.int64), np.zeros((1, 1), np.float32))


def random_map(graph: NeighbourGraph, seed: int) -> SimilarityMap:
    """Return a map with offsets or without, and with a curve of up to four knots."""
    generator = np.random.default_rng(seed)
    offsets = [
        None if generator.random() < 0.3 else generator.normal(size=len(ids)).astype(np.float32)
        for ids in (graph.search.query_images, graph.search.gallery_images)
    ]
    knots = int(generator.choice([0, 2, 3, 4]))
    x, y = (np.cumsum(generator.uniform(0.1, 1, knots)) - 1 for _ in range(2))
    return SimilarityMap(offsets[0], offsets[1], tuple(x.tolist()), tuple(y.tolist()))


def slow_curve(value: float, x: Sequence[float], y: Sequence[float]) -> float:
    """Return the value of a curve, found knot by knot."""
    if not x:
        return value
    place = max(i for i in range(len(x) - 1) if i == 0 or value >= x[i])
    slope = (y[place + 1] - y[place]) / (x[place + 1] - x[place])
    return y[place] + slope * (value - x[place])


def slow_map(graph: NeighbourGraph, *, moved: Floats | None = None) -> Floats:
    """Return the similarities (q, g) outside of shortlists, one by one."""
    outside = graph.outside
    found = (graph.query.vectors if moved is None else moved) @ graph.gallery.vectors.T
    for query in range(len(found)):
        for row in range(found.shape[1]):
            value = float(found[query, row])
            value += 0.0 if outside.of_query is None else float(outside.of_query[query])
            value += 0.0 if outside.of_gallery is None else float(outside.of_gallery[row])
            found[query, row] = slow_curve(value, outside.x, outside.y)
    return found


def whole(graph: NeighbourGraph, ids: Strings) -> Floats:
    """Return all blocks of a graph as one matrix."""
    blocks = [block for _, block in graph.blocks(ids)]
    return np.concatenate(blocks) if blocks else np.empty((0, len(ids)), np.float32)


@settings(max_examples=150)
@given(GRAPHS, st.integers(1, 25), st.integers(0, 6), st.integers(0, 999))
def test_pairs_outside_of_shortlists_are_ranked_by_what_the_map_makes_of_their_cosines(
    graph: NeighbourGraph, k: int, size: int, seed: int
) -> None:
    shortlist, outside = random_shortlist(graph, size, seed), random_map(graph, seed)
    reranked = graph.rerank(shortlist, outside)
    wanted = slow_map(reranked)
    for query, row in zip(*np.nonzero(shortlist.rows >= 0), strict=True):
        wanted[query, shortlist.rows[query, row]] = shortlist.similarity[query, row]
    ids = graph.search.gallery_images
    wanted[graph.search.query_images[:, None] == ids] = -np.inf
    np.testing.assert_allclose(whole(reranked, ids), wanted, atol=1e-5)
    found = reranked.shortlist(k)
    assert found.rows.shape == (len(wanted), k)
    for row, similarities in enumerate(wanted):
        best = sorted(similarities[np.isfinite(similarities)].tolist(), reverse=True)[:k]
        assert found.similarity[row, : len(best)].tolist() == pytest.approx(best, abs=1e-5)
        assert (found.rows[row, len(best) :] == -1).all()
        chosen = found.rows[row, : len(best)]
        assert similarities[chosen].tolist() == pytest.approx(best, abs=1e-5)
        assert len(set(chosen.tolist())) == len(best)


def test_equal_similarities_are_ordered_by_id_with_a_map() -> None:
    graph = graph_of(at_angles(0, prefix="q"), placed({"c": 10, "a": -10, "b": 10, "d": 40}))
    mapped = graph.mapped((0, 1), (0, 0.5))
    assert mapped.nearest(4).gallery_ids.tolist() == [["a", "b", "c", "d"]]
    # the first two by offsets alone
    outside = SimilarityMap(of_gallery=np.array([0, -2, 0, 1], np.float32))
    moved = graph.rerank(
        Shortlist(np.empty((1, 0), np.int64), np.empty((1, 0), np.float32)), outside
    )
    assert moved.nearest(4).gallery_ids.tolist() == [["d", "b", "c", "a"]]


@settings(max_examples=100)
@given(st.integers(0, 999), st.integers(0, 9), st.integers(0, 6), st.booleans())
def test_pairs_of_queries_are_the_mean_of_what_both_sides_see(
    seed: int, count: int, size: int, expand: bool
) -> None:
    plain = random_graph(seed, count, 1, 0)
    search = plain.search
    graph = NeighbourGraph(
        Search("", search.query_ids, search.query_images, search.query_images[::-1]),
        plain.embeddings,
    )
    moved = random_graph(seed + 1, count, 1, 0).query.vectors
    if expand:
        graph = replace(graph, expanded=Embeddings(search.query_images, moved))
    graph = graph.rerank(random_shortlist(graph, size, seed), random_map(graph, seed))
    one_side = whole(graph, search.query_images)
    wanted = (one_side + one_side.T) / 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbour_graph, "_ROWS", 4)
        blocks = list(graph.query_blocks())
    for rows, block in blocks:
        among = np.triu_indices(count - rows.start, 1)
        known = among[0] < len(block)
        first, second = among[0][known], among[1][known]
        np.testing.assert_allclose(
            block[first, second], wanted[rows.start :, rows.start :][first, second], atol=1e-5
        )
    assert sum(len(block) for _, block in blocks) == count
    first, second, similarity = graph.query_pairs() or pytest.fail("no pairs")
    np.testing.assert_allclose(similarity, wanted[first, second], atol=1e-5)
    tree = cluster_tree.link_queries(graph)
    if count > 1:
        distances = 1 - wanted[np.triu_indices(count, 1)].astype(np.float64)
        oracle = linkage(distances, method="average")
        np.testing.assert_allclose(tree.similarities, 1 - oracle[:, 2], atol=1e-5)


@settings(max_examples=100)
@given(GRAPHS, st.integers(0, 6), st.integers(0, 999))
def test_a_curve_over_a_graph_moves_all_its_similarities(
    graph: NeighbourGraph, size: int, seed: int
) -> None:
    before = graph.rerank(random_shortlist(graph, size, seed), random_map(graph, seed))
    curve = random_map(graph, seed + 1)
    after = before.mapped(curve.x, curve.y)
    ids = graph.search.gallery_images
    found, was = whole(after, ids), whole(before, ids)
    for new, old in zip(found.ravel().tolist(), was.ravel().tolist(), strict=True):
        assert new == pytest.approx(slow_curve(old, curve.x, curve.y), abs=1e-4)


@settings(max_examples=50)
@given(GRAPHS, st.integers(0, 6), st.integers(0, 999))
def test_a_curve_with_bounds_keeps_every_order_and_stays_within_them(
    graph: NeighbourGraph, size: int, seed: int
) -> None:
    before = graph.rerank(random_shortlist(graph, size, seed), random_map(graph, seed))
    after = before.mapped((-0.5, 0, 0.5), (0.2, 0.3, 0.6), (0, 1))
    ids = graph.search.gallery_images
    for old, new in zip(whole(before, ids), whole(after, ids), strict=True):
        there = np.isfinite(old)
        assert ((new[there] > 0) & (new[there] < 1)).all()
        assert np.isneginf(new[~there]).all()
        order = np.argsort(old[there])
        assert (np.diff(new[there][order]) >= 0).all()
        apart = np.diff(old[there][order]) > 1e-4
        assert (np.diff(new[there][order])[apart] > 0).all()


def test_a_line_and_a_curve_with_bounds_are_one_curve() -> None:
    # 2 · cosine + 1, then (0, .2) to (1, .6): .4 is left above, a line of slope .4 from 1 on
    line = SimilarityMap.linear(2.0, 1.0)
    both = line.then((0, 1), (0.2, 0.6), (0, 1))
    cosine = np.array([-1, -0.5, 0, 1], np.float32)  # -1, 0, 1 and 3 after the line
    expected = [0.2 - 0.4 * 0.2 / (0.2 + 0.4), 0.2, 0.6, 0.6 + 0.8 * 0.4 / (0.4 + 0.8)]
    np.testing.assert_allclose(both.curve(cosine), expected, rtol=1e-6)
    far = both.curve(np.array([-1e30, -np.inf, 1e30], np.float32))
    assert 0 < far[0] < far[2] < 1
    assert np.isneginf(far[1])  # what a list lacks
    with pytest.raises(KitboxError, match="no curve of similarities follows one that has bounds"):
        both.then((0, 1), (0, 1))
    with pytest.raises(KitboxError, match="knots y of a curve of similarities are not within its"):
        SimilarityMap(x=(0, 1), y=(-0.1, 0.5), between=(0, 1))


def test_offsets_of_queries_are_subtracted_after_a_line() -> None:
    graph = graph_of(at_angles(0, 90, prefix="q"), at_angles(0))
    lower = SimilarityMap.linear(0.5, 0.1).minus(np.array([0.25, -0.5], np.float32))
    found = whole(replace(graph, outside=lower), graph.search.gallery_images)
    np.testing.assert_allclose(found, [[0.6 - 0.25], [0.1 + 0.5]], atol=1e-6)
    with pytest.raises(KitboxError, match=r"^offsets of queries come before a curve"):
        SimilarityMap(x=(0, 1, 2), y=(0, 1, 3)).minus(np.zeros(1, np.float32))


@pytest.mark.parametrize(
    ("x", "y", "what"),
    [
        ((0.0,), (0.0,), "a curve of similarities has as many x as y, two or more, not 1 and 1"),
        ((0.0, 1.0), (0.0,), "a curve of similarities has as many x as y, two or more, not 2 and"),
        ((0.0, 0.0), (0.0, 1.0), "the knots x of a curve of similarities have to rise"),
        ((0.0, 1.0), (1.0, 1.0), "the knots y of a curve of similarities have to rise"),
        ((0.0, float("nan")), (0.0, 1.0), "the knots x of a curve of similarities have to rise"),
    ],
)
def test_a_curve_that_does_not_rise_is_refused(
    x: tuple[float, ...], y: tuple[float, ...], what: str
) -> None:
    with pytest.raises(KitboxError) as caught:
        SimilarityMap(x=x, y=y)
    assert str(caught.value).startswith(what)


def test_numbers_that_are_none_are_refused() -> None:
    nan = np.array([[np.nan, np.nan]], np.float32)
    with pytest.raises(KitboxError, match=r"^1 similarities of a shortlist are no numbers"):
        Shortlist(np.array([[0, -1]]), nan)
    with pytest.raises(KitboxError, match=r"^offsets of_query of similarities are no numbers"):
        SimilarityMap(of_query=nan[0])
    graph = graph_of(at_angles(0, prefix="q"), at_angles(10))
    with pytest.raises(KitboxError, match=r"^2 offsets of_query of 1 images"):
        replace(graph, outside=SimilarityMap(of_query=np.zeros(2, np.float32)))


def test_the_centre_of_a_label_follows_moved_vectors_and_curves() -> None:
    graph = graph_of(at_angles(1, prefix="q"), at_angles(0, 20, 30, 90))
    moved = replace(graph, expanded=Embeddings(strings(["q1"]), at_angles(40).vectors))
    moved = replace(moved.mapped((0, 1), (0.5, 1)), others=None)
    [(_, found)] = label_similarity.measure(moved, image_set(LABELS), "centre").blocks
    wanted = [0.5 + cosine(40, angle) / 2 for angle in (0, 25, 90)]
    np.testing.assert_allclose(found, [wanted], atol=1e-6)
