"""Each step beside a plain dense reference that looks at all pairs one by one."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage

from kitbox.clusters import cluster_tree
from kitbox.errors import KitboxError
from kitbox.records import Embeddings, Floats, Search, Strings, strings
from kitbox.retrieval import k_reciprocal, ranking, rerank_step, rerankers
from kitbox.retrieval.neighbour_graph import NeighbourGraph, neighbour_graphs
from kitbox.retrieval.rerankers import STEPS, parse_step, parse_steps, rerank, reranker
from tests.circle import at_angles, competition, cosine, graph_of, image_set, placed

Dense = NDArray[np.float64]


# Graphs of random vectors. Coordinates of halves make cosines exact, so that ties are ties.


def unit(rows: Dense) -> Dense:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def random_vectors(generator: np.random.Generator, count: int, kind: str) -> Floats:
    """Return unit rows: of clusters, of halves with many ties, or all the same."""
    if kind == "same":
        return np.full((count, 4), 0.5, dtype=np.float32)
    if kind == "ties":
        return generator.choice([-0.5, 0.5, 0.5], (count, 4)).astype(np.float32)
    centres = generator.normal(size=(4, 5))
    rows = centres[generator.integers(4, size=count)] + 0.5 * generator.normal(size=(count, 5))
    return unit(rows).astype(np.float32)


def random_graph(seed: int, queries: int, gallery: int, shared: int, kind: str) -> NeighbourGraph:
    """Return a graph of random vectors whose first queries are `shared` with the gallery."""
    generator = np.random.default_rng(seed)
    ids = strings([f"i{i:02}" for i in generator.permutation(queries + gallery)])
    shared = min(shared, queries)
    searched = generator.permutation(np.concatenate([ids[:shared], ids[queries:]]))
    search = Search("", ids[:queries], ids[:queries], searched)
    vectors = random_vectors(generator, queries + gallery, kind)
    return NeighbourGraph(search, Embeddings(ids, vectors), others=ids[:0])


SIZES = (st.integers(0, 9999), st.integers(0, 9), st.integers(1, 20), st.integers(0, 9))
GRAPHS = st.builds(random_graph, *SIZES, st.sampled_from(["clusters", "ties", "same"]))
CLUSTERED = st.builds(random_graph, *SIZES, st.just("clusters"))


# The slow reference.


class Images:
    """Vectors by image id, of a side of a search."""

    def __init__(self, ids: Strings, vectors: Floats) -> None:
        self.ids: list[str] = ids.tolist()
        self.vectors = vectors.astype(np.float64)

    def nearest(self, vector: Dense, k: int, without: str) -> list[int]:
        """Return the rows of the k images of highest cosine; of equals the first by id."""
        # single precision, as ties are decided in kitbox
        found = (self.vectors @ vector).astype(np.float32)
        rows = [row for row, name in enumerate(self.ids) if name != without]
        return sorted(rows, key=lambda row: (-found[row], self.ids[row]))[:k]

    def vector(self, name: str) -> Dense:
        return self.vectors[self.ids.index(name)]


def sides(graph: NeighbourGraph) -> tuple[Images, Images]:
    return tuple(Images(side.image_ids, side.vectors) for side in (graph.query, graph.gallery))  # type: ignore[return-value]


def without_own(graph: NeighbourGraph, similarity: Dense) -> Dense:
    own = graph.search.query_images[:, None] == graph.search.gallery_images
    return np.where(own, -np.inf, similarity)


def cosines(query: Images, gallery: Images) -> Dense:
    return query.vectors @ gallery.vectors.T


def moved(images: Images, gallery: Images, k: int, alpha: float) -> Images:
    found = Images(strings(images.ids), np.empty((0, 0)))
    rows = []
    for name, vector in zip(images.ids, images.vectors, strict=True):
        total = vector.copy()
        for row in gallery.nearest(vector, k, name):
            total += max(0.0, float(vector @ gallery.vectors[row])) ** alpha * gallery.vectors[row]
        rows.append(total / np.linalg.norm(total))
    found.vectors = np.array(rows).reshape(images.vectors.shape)
    return found


def slow_jaccard(query: Images, gallery: Images, k1: int, k2: int) -> Dense:
    """Return the Jaccard similarities (q, g), by sets and dense rows."""
    new = [row for row, name in enumerate(query.ids) if name not in gallery.ids]
    ids = gallery.ids + [query.ids[row] for row in new]
    vectors = np.concatenate([gallery.vectors, query.vectors[new]])
    for row, name in enumerate(gallery.ids):
        if name in query.ids:
            vectors[row] = query.vector(name)
    nodes = Images(strings(ids), vectors)
    order = [nodes.nearest(vectors[i], len(ids), ids[i]) for i in range(len(ids))]

    def reciprocal(i: int, k: int) -> set[int]:
        return {i} | {j for j in order[i][:k] if i in order[j][:k]}

    encoded = np.zeros((len(ids), len(ids)))
    for i in range(len(ids)):
        own = reciprocal(i, k1)
        members = set(own)
        for j in own:
            half = reciprocal(j, round(k1 / 2))
            if len(half & own) >= 2 / 3 * len(half) - 1e-9:
                members |= half
        for j in members:
            encoded[i, j] = math.exp(float(vectors[i] @ vectors[j]) - 1)
    encoded /= encoded.sum(axis=1, keepdims=True)
    encoded = np.array([encoded[[i, *order[i][: k2 - 1]]].mean(axis=0) for i in range(len(ids))])
    rows = [ids.index(name) for name in query.ids]
    found = np.zeros((len(rows), len(gallery.ids)))
    for place, i in enumerate(rows):
        for j in range(len(gallery.ids)):
            least, most = (f(encoded[i], encoded[j]).sum() for f in (np.minimum, np.maximum))
            found[place, j] = least / most
    return found


def slow_diffusion(query: Images, gallery: Images, given: Mapping[str, float]) -> Dense:
    """Return f (q, g), by inverting a matrix of each query's nearest images."""
    k, alpha, gamma = int(given["k"]), given["alpha"], given["gamma"]
    count = len(gallery.ids)
    near = [gallery.nearest(gallery.vectors[i], k, gallery.ids[i]) for i in range(count)]
    adjacent = np.zeros((count, count))
    for i in range(count):
        for j in near[i]:
            if i in near[j]:
                adjacent[i, j] = max(0.0, float(gallery.vectors[i] @ gallery.vectors[j])) ** gamma
    degree = adjacent.sum(axis=1)
    scale = np.where(degree > 0, degree, 1) ** -0.5
    spread = scale[:, None] * adjacent * scale
    found = np.zeros((len(query.ids), count))
    for row, (name, vector) in enumerate(zip(query.ids, query.vectors, strict=True)):
        among = gallery.nearest(vector, max(int(given["size"]), k), name)
        inverse = np.linalg.inv(np.eye(len(among)) - alpha * spread[np.ix_(among, among)])
        y = np.zeros(count)
        for j in gallery.nearest(vector, k, name):
            y[j] = max(0.0, float(vector @ gallery.vectors[j])) ** gamma
        found[row, among] = (1 - alpha) * inverse @ y[among]
    return found


def slow_mean(images: Images, gallery: Images, k: int) -> Dense:
    found = []
    for name, vector in zip(images.ids, images.vectors, strict=True):
        near = [float(vector @ gallery.vectors[j]) for j in gallery.nearest(vector, k, name)]
        found.append(sum(near) / max(len(near), 1))
    return np.array(found)


def slow(text: str, graph: NeighbourGraph) -> Dense:
    """Return all similarities (q, g) after a step, a query's own -inf."""
    step, (query, gallery) = parse_step(text), sides(graph)
    given: dict[str, Any] = step.model_dump()
    if graph.others is not None and len(graph.others):
        others = Images(graph.others, graph.embeddings.of(graph.others).vectors)
    match step.kind:
        case "query_expansion":
            found = cosines(moved(query, gallery, given["k"], given["alpha"]), gallery)
        case "dba":
            both = (moved(side, gallery, given["k"], given["alpha"]) for side in (query, gallery))
            found = cosines(*both)
        case "k_reciprocal":
            jaccard = slow_jaccard(query, gallery, given["k1"], given["k2"])
            found = given["lambda"] * cosines(query, gallery) + (1 - given["lambda"]) * jaccard
        case "diffusion":
            spread = slow_diffusion(query, gallery, given)
            found = (1 - given["weight"]) * cosines(query, gallery) + given["weight"] * spread
        case "local_scaling":
            query_mean, gallery_mean = (
                slow_mean(side, gallery, given["k"]) for side in sides(graph)
            )
            found = cosines(query, gallery) - (query_mean[:, None] + gallery_mean) / 2
        case "score_normalisation":
            lower = given["beta"] * slow_mean(query, others, given["k"])
            found = cosines(query, gallery) - lower[:, None]
        case "subtraction":
            for _ in range(given["rounds"]):
                for side in (query, gallery):
                    near = [others.nearest(x, given["k"], "") for x in side.vectors]
                    away = [others.vectors[rows].mean(axis=0) for rows in near]
                    side.vectors = unit(
                        side.vectors - given["beta"] * np.reshape(away, side.vectors.shape)
                    )
            found = cosines(query, gallery)
    return without_own(graph, found)


def whole(graph: NeighbourGraph) -> Floats:
    """Return all similarities (q, g) of a graph."""
    ids = graph.search.gallery_images
    blocks = [block for _, block in graph.blocks(ids)]
    return np.concatenate(blocks) if blocks else np.empty((0, len(ids)), np.float32)


TEXTS = [
    "query_expansion:k=1,alpha=3",
    "query_expansion:k=4,alpha=0.5",
    "dba:k=3,alpha=3",
    "dba:k=50,alpha=1",
    "k_reciprocal:k1=3,k2=1,lambda=0.3",
    "k_reciprocal:k1=5,k2=3,lambda=0.5",
    "k_reciprocal:k1=1,k2=6,lambda=1",
    "k_reciprocal:k1=30,k2=40,lambda=0.1",
    "diffusion:k=3,alpha=0.9,gamma=3,size=500,weight=0.5",
    "diffusion:k=3,alpha=0.9,gamma=1,size=5,weight=0.5",
    "diffusion:k=40,alpha=0.99,gamma=1,size=7,weight=0.9",
    "diffusion:k=2,alpha=0,gamma=2,weight=0.2",
    "local_scaling:k=2",
    "local_scaling:k=30",
]


@pytest.mark.parametrize("text", TEXTS)
@settings(max_examples=40, deadline=None)
@given(graph=GRAPHS)
def test_a_step_is_what_a_dense_reference_finds(text: str, graph: NeighbourGraph) -> None:
    reranked = parse_step(text)(graph)
    wanted = slow(text, graph)
    np.testing.assert_allclose(whole(reranked), wanted, atol=1e-5)
    # the nearest images are those of the same similarities
    found = reranked.shortlist(3)
    for row, similarities in enumerate(wanted):
        best = sorted(similarities[np.isfinite(similarities)].tolist(), reverse=True)[:3]
        assert found.similarity[row, : len(best)].tolist() == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize(
    "text",
    ["subtraction:beta=0.35,k=3,rounds=1", "subtraction:beta=0.2,k=9,rounds=3",
     "score_normalisation:beta=1,k=2", "score_normalisation:beta=0.5,k=30"],
)  # fmt: skip
@settings(max_examples=40, deadline=None)
@given(graph=GRAPHS, seed=st.integers(0, 99), count=st.integers(1, 8))
def test_a_step_beside_others_is_what_a_dense_reference_finds(
    text: str, graph: NeighbourGraph, seed: int, count: int
) -> None:
    rows = np.random.default_rng(seed).normal(size=(count, graph.embeddings.dim))
    others = strings([f"other {i}" for i in range(count)])
    embeddings = Embeddings(
        np.concatenate([graph.embeddings.image_ids, others]),
        np.concatenate([graph.embeddings.vectors, unit(rows).astype(np.float32)]),
    )
    graph = replace(graph, embeddings=embeddings, others=others)
    np.testing.assert_allclose(whole(parse_step(text)(graph)), slow(text, graph), atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    graph=CLUSTERED,
    first=st.sampled_from(["query_expansion:k=2,alpha=1", "dba:k=2,alpha=2"]),
    second=st.sampled_from([*TEXTS, "query_expansion", "dba"]),
)
def test_steps_follow_one_another(graph: NeighbourGraph, first: str, second: str) -> None:
    moved_graph = parse_step(first)(graph)
    wanted = slow(second, moved_graph)
    found = rerank(graph, parse_steps([first, second]))
    np.testing.assert_allclose(whole(found), wanted, atol=1e-5)


# Images, labels, matches and clusters follow.

LABELS = {"0": "Ahab", "20": "Boo", "30": "Boo", "90": "Cleo"}


def test_dba_moves_both_sides_to_their_nearest() -> None:
    graph = graph_of(at_angles(0, prefix="q"), at_angles(10, 30, 100))
    [found] = whole(parse_step("dba:k=1,alpha=0")(graph))
    # each goes half way to its nearest: q0 to 5, 10 and 30 to 20, 100 to 65
    np.testing.assert_allclose(found, [cosine(5, 20), cosine(5, 20), cosine(5, 65)], atol=1e-6)


def test_a_query_in_its_gallery_is_the_same_image_on_both_sides() -> None:
    points = at_angles(0, 10, 40, 90)
    graph = graph_of(points, points)
    found = parse_step("dba:k=1,alpha=0")(graph)
    assert found.expanded is None
    wanted = {"0": 5, "10": 5, "40": 25, "90": 65}
    np.testing.assert_allclose(found.embeddings.vectors, placed(wanted).vectors, atol=1e-6)
    # as a query 0 goes to 5, and sees the others where they are
    [first, *_] = whole(parse_step("query_expansion:k=1,alpha=0")(graph))
    np.testing.assert_allclose(
        first, [-np.inf, cosine(5, 10), cosine(5, 40), cosine(5, 90)], atol=1e-6
    )


def test_pairs_without_a_common_neighbour_stay_behind_all_that_have_one() -> None:
    # two groups: of a published form strangers have Jaccard distance 0 and come first
    graph = graph_of(at_angles(0, prefix="q"), at_angles(2, 4, 90, 92, 94))
    reranked = parse_step("k_reciprocal:k1=2,k2=1,lambda=0.5")(graph)
    assert reranked.nearest(5).gallery_ids.tolist() == [["2", "4", "90", "92", "94"]]
    [found] = whole(reranked)
    np.testing.assert_allclose(found[2:], [0.5 * cosine(0, a) for a in (90, 92, 94)], atol=1e-6)
    # q0, 2 and 4 are neighbours of each other: their rows of V differ by cosines alone
    rows = np.array([[math.exp(cosine(a, b) - 1) for b in (0, 2, 4)] for a in (0, 2, 4)])
    rows /= rows.sum(axis=1, keepdims=True)
    jaccard = [np.minimum(rows[0], row).sum() / np.maximum(rows[0], row).sum() for row in rows[1:]]
    wanted = [0.5 * cosine(0, a) + 0.5 * j for a, j in zip((2, 4), jaccard, strict=True)]
    np.testing.assert_allclose(found[:2], wanted, atol=1e-6)


def test_diffusion_reaches_images_that_cosines_do_not() -> None:
    chain = at_angles(20, 40, 60, 80)
    far = placed({"other": -79})
    gallery = Embeddings(
        np.concatenate([chain.image_ids, far.image_ids]),
        np.concatenate([chain.vectors, far.vectors]),
    )
    graph = graph_of(at_angles(0, prefix="q"), gallery)
    assert graph.nearest(5).gallery_ids[0].tolist() == ["20", "40", "60", "other", "80"]
    spread = parse_step("diffusion:k=2,alpha=0.9,gamma=1,weight=0.9")(graph)
    # the middle of the chain gets most: 80 has more than the image that no chain reaches
    assert spread.nearest(5).gallery_ids[0].tolist() == ["40", "20", "60", "80", "other"]


SIDES = {
    "labels": {"answers": "labels", "k": 3},
    "images": {"gallery": "index", "answers": "images", "k": 4},
    "matches": {"gallery": "index", "answers": "matches", "k": 3},
}


@pytest.mark.parametrize("answers", SIDES)
@pytest.mark.parametrize(
    "text",
    ["query_expansion:k=1", "dba:k=1", "k_reciprocal:k1=2", "diffusion:k=2", "local_scaling"],
)
def test_every_kind_of_answer_follows_a_step(answers: str, text: str) -> None:
    graph = graph_of(at_angles(1, 62, prefix="q"), at_angles(0, 20, 30, 90))
    task = competition(**SIDES[answers], images={"index_folder": "index"})  # type: ignore[arg-type]
    [reranked] = neighbour_graphs(graph.embeddings, [graph.search], reranker([text]))
    found = ranking.rank([reranked], image_set(LABELS), task)
    wanted = slow(text, graph)
    if answers == "labels":
        wanted = np.stack([wanted[:, 0], wanted[:, 1:3].max(axis=1), wanted[:, 3]], axis=1)
    names = np.array(["Ahab", "Boo", "Cleo"] if answers == "labels" else list(LABELS))
    order = np.argsort(-wanted, axis=1)[:, : task.task.k]
    assert found.answers.tolist() == names[order].tolist()
    np.testing.assert_allclose(found.similarity, np.take_along_axis(wanted, order, 1), atol=1e-5)


@pytest.mark.parametrize(
    "text", ["query_expansion:k=1", "dba:k=2", "k_reciprocal", "diffusion:k=2"]
)
def test_clusters_follow_a_step_in_all_their_pairs(text: str) -> None:
    points = at_angles(0, 11, 25, 90, 97, 110, 200)
    graph = graph_of(points, points)
    [reranked] = neighbour_graphs(points, [graph.search], reranker([text]))
    tree = cluster_tree.cluster_trees([reranked])[""]
    one_side = slow(text, graph)
    both = ((one_side + one_side.T) / 2)[np.triu_indices(len(points), 1)]
    wanted = 1 - linkage(1 - both, method="average")[:, 2]
    np.testing.assert_allclose(tree.similarities, wanted, atol=1e-5)


# Text, order and others.


@pytest.mark.parametrize("kind", STEPS)
def test_the_text_of_a_step_gives_the_step_back(kind: str) -> None:
    step = parse_step(kind)
    assert str(step).startswith(f"{kind}:")
    assert parse_step(str(step)) == step
    assert len(str(step).split(",")) == len(step.settings)


def test_settings_are_written_in_one_way() -> None:
    assert str(parse_step(" dba : alpha = 1.50 , k=2 ")) == "dba:k=2,alpha=1.5"
    assert str(parse_step("k_reciprocal:lambda=.30000000000000004")) == (
        "k_reciprocal:k1=8,k2=2,lambda=0.30000000000000004"
    )


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("dbaa", "there is no re-ranking step 'dbaa'; did you mean dba?"),
        ("", f"there is no re-ranking step ''; there are {', '.join(STEPS)}"),
        ("dba:kk=2", "the re-ranking step 'dba:kk=2': dba has no setting 'kk'; did you mean k?"),
        ("dba:k", "the re-ranking step 'dba:k': 'k' is no setting with a value; write each as"),
        ("dba:k=2,k=3", "the re-ranking step 'dba:k=2,k=3': k is given twice; leave one out"),
        ("dba:k=0", "the re-ranking step 'dba:k=0': k = 0 should be greater than or equal to 1"),
        ("dba:alpha=nan", "the re-ranking step 'dba:alpha=nan': alpha = nan should be"),
        ("k_reciprocal:lambda=0", "the re-ranking step 'k_reciprocal:lambda=0': lambda = 0 should"),
        ("diffusion:alpha=1", "the re-ranking step 'diffusion:alpha=1': alpha = 1 should be less"),
    ],
)
def test_a_wrong_text_is_one_sentence(text: str, what: str) -> None:
    with pytest.raises(KitboxError) as caught:
        parse_step(text)
    assert str(caught.value).startswith(what)


def test_a_step_that_reads_cosines_comes_before_one_that_replaces_them() -> None:
    parse_steps(["query_expansion", "dba", "k_reciprocal", "score_normalisation"])
    with pytest.raises(KitboxError) as caught:
        parse_steps(["dba", "k_reciprocal", "query_expansion"])
    assert str(caught.value) == (
        "the re-ranking step query_expansion reads cosines, which k_reciprocal replaces; name "
        "query_expansion first, or leave one out"
    )
    graph = parse_step("local_scaling")(graph_of(at_angles(0, prefix="q"), at_angles(10, 20)))
    with pytest.raises(KitboxError, match=r"^the re-ranking step dba reads cosines, which an earl"):
        parse_step("dba")(graph)


def test_score_normalisation_lowers_what_k_reciprocal_found() -> None:
    graph = graph_of(at_angles(0, prefix="q"), at_angles(10, 20, 80))
    other = placed({"other": 60})
    embeddings = Embeddings(
        np.concatenate([graph.embeddings.image_ids, other.image_ids]),
        np.concatenate([graph.embeddings.vectors, other.vectors]),
    )
    graph = replace(graph, embeddings=embeddings, others=other.image_ids)
    before = parse_step("k_reciprocal:k1=1,lambda=0.4")(graph)
    after = parse_step("score_normalisation:beta=0.5,k=1")(before)
    # the other is outside of the shortlist, at .4 · cos 60°
    np.testing.assert_allclose(whole(after), whole(before) - 0.5 * 0.4 * 0.5, atol=1e-6)


def test_nothing_is_done_without_steps_queries_or_gallery() -> None:
    assert reranker([]) is None
    graph = graph_of(at_angles(0, prefix="q"), at_angles(10))
    for kind in ("query_expansion", "dba", "k_reciprocal", "diffusion", "local_scaling"):
        for query, gallery in (([], ["10"]), (["q0"], [])):
            search = Search("", strings(query), strings(query), strings(gallery))
            empty = replace(graph, search=search)
            assert parse_step(kind)(empty) is empty


def test_a_vector_that_vanishes_is_named() -> None:
    graph = graph_of(at_angles(0, prefix="q"), at_angles(180))
    with pytest.raises(KitboxError) as caught:
        parse_step("query_expansion:k=1,alpha=0")(graph)
    assert str(caught.value) == (
        "query_expansion leaves nothing of the embedding of image 'q0'; choose another alpha, beta "
        "or k"
    )


def test_zero_and_nan_vectors_are_refused_before_any_step() -> None:
    for value, length in ((0, "0"), (np.nan, "nan")):
        with pytest.raises(
            KitboxError, match=f"^the embedding of image 'b' has length {length}, not"
        ):
            Embeddings(strings(["a", "b"]), np.array([[1, 0], [value, 0]], np.float32))


@settings(max_examples=30, deadline=None)
@given(graph=CLUSTERED, text=st.sampled_from(TEXTS[4:12]), most=st.integers(1, 5))
def test_of_more_pairs_than_memory_holds_the_nearest_stay_exact(
    graph: NeighbourGraph, text: str, most: int
) -> None:
    wanted = slow(text, graph)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rerank_step, "_FEWEST", most)
        patch.setattr(rerank_step, "_PAIRS", 1)
        patch.setattr(k_reciprocal, "_TERMS", 30)
        reranked = parse_step(text)(graph)
    found = reranked.shortlist(most)
    assert reranked.reranked is None or reranked.reranked.rows.shape[1] <= most
    for row, similarities in enumerate(wanted):
        best = sorted(similarities[np.isfinite(similarities)].tolist(), reverse=True)[:most]
        assert found.similarity[row, : len(best)].tolist() == pytest.approx(best, abs=1e-5)


CLOSED = {"gallery": "index", "answers": "images", "images": {"index_folder": "index"}}


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({}, ", and the gallery of toy holds the labelled images; leave it out"),
        (CLOSED, ", and the labelled images may show individuals of the test: "
         "holdout.unknown_share is 0, not 1; leave it out"),
        (CLOSED | {"holdout": {"unknown_share": 1, "distractors": True}},
         ", and with holdout.distractors the labelled images are in the holdout's gallery, where "
         "it would flatter; leave it out, or set holdout.distractors = false"),
    ],
)  # fmt: skip
def test_a_step_without_sure_others_is_refused(given: dict[str, Any], what: str) -> None:
    with pytest.raises(KitboxError) as caught:
        reranker(["dba", "subtraction"], image_set(LABELS), competition(**given))
    assert str(caught.value) == (
        "the re-ranking step subtraction needs images that surely show nobody who is searched for"
        + what
    )
    with pytest.raises(KitboxError, match=r"nobody who is searched for, and there are none; leave"):
        parse_step("score_normalisation")(graph_of(at_angles(0, prefix="q"), at_angles(10)))


def test_an_index_of_images_is_refused_where_labels_are_ranked() -> None:
    with pytest.raises(KitboxError, match="the index sq8 finds the nearest images, and answers of"):
        rerankers.check_steps(parse_steps(["sq8", "dba"]), competition(task={"answers": "labels"}))
    rerankers.check_steps(parse_steps(["sq8", "dba"]), competition(task={"answers": "images"}))


def test_centres_of_labels_go_with_steps_that_move_vectors() -> None:
    centres = competition(task={"label_similarity": "centre"})
    rerankers.check_steps(parse_steps(["query_expansion", "dba"]), centres)
    for kind in ("k_reciprocal", "diffusion", "local_scaling"):
        with pytest.raises(KitboxError) as caught:
            reranker([kind], image_set(LABELS), centres)
        assert str(caught.value) == (
            f'the re-ranking step {kind} compares images, and task.label_similarity is "centre"; '
            'choose "best" or another, or leave the step out'
        )
    graph = graph_of(at_angles(1, prefix="q"), at_angles(0, 20, 30, 90))
    [reranked] = neighbour_graphs(
        graph.embeddings, [graph.search], reranker(["dba:k=1,alpha=0"], image_set(LABELS), centres)
    )
    found = ranking.rank([reranked], image_set(LABELS), centres)
    # q1 and 0 go to 0.5 and 10, both of Boo to 25, 90 to 60
    assert found.answers[0, :3].tolist() == ["Ahab", "Boo", "Cleo"]
    wanted = [cosine(0.5, 10), cosine(0.5, 25), cosine(0.5, 60)]
    np.testing.assert_allclose(found.similarity[0, :3], wanted, atol=1e-6)


def test_others_are_labelled_images_of_known_individuals_outside_of_the_search() -> None:
    task = competition(**CLOSED, holdout={"unknown_share": 1})  # type: ignore[arg-type]
    labelled = image_set({"30": "Boo", "50": "new_whale", "60": "Ahab", "70": ""})
    points = at_angles(0, 10, 20, 30, 50, 60, 70)
    search = Search("", strings(["0"]), strings(["0"]), strings(["10", "20"]))
    assert rerankers.known_others(search, labelled, task).tolist() == ["30", "60"]
    [graph] = neighbour_graphs(
        points, [search], reranker(["score_normalisation:beta=1,k=1"], labelled, task)
    )
    np.testing.assert_allclose(
        whole(graph), [[cosine(0, 10) - cosine(0, 30), cosine(0, 20) - cosine(0, 30)]], atol=1e-6
    )
    with pytest.raises(KitboxError, match=r"^image '10' is labelled and takes part in the search"):
        rerankers.known_others(search, image_set({"10": "Boo"}), task)
    with pytest.raises(KitboxError, match=r"^no labelled image is left to compare with"):
        rerankers.known_others(search, image_set({"50": "new_whale"}), task)


def test_others_are_of_the_group_that_is_searched() -> None:
    task = competition(
        **CLOSED, holdout={"unknown_share": 1}, task={"within_group": True}  # type: ignore[arg-type]
    )  # fmt: skip
    labelled = image_set({"30": "Boo", "60": "Ahab"}, {"30": "lynx", "60": "turtle"})
    search = Search("turtle", strings(["0"]), strings(["0"]), strings(["10"]))
    assert rerankers.known_others(search, labelled, task).tolist() == ["60"]
    with pytest.raises(KitboxError, match=r"^no labelled image of newt is left to compare with"):
        rerankers.known_others(replace(search, name="newt"), labelled, task)
