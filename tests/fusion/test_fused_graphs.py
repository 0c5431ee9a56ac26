from dataclasses import replace

import numpy as np
import pytest

from kitbox.clusters import cluster_tree
from kitbox.fusion import pair_scorer
from kitbox.fusion.fused_graphs import (
    FusionSettings,
    fuse_holdout,
    fuse_test,
    fusion_sentences,
    with_probabilities,
)
from kitbox.fusion.fusion_method import parse_fusion
from kitbox.fusion.fusion_model import FusionModel
from kitbox.fusion.pair_signals import SignalSources
from kitbox.fusion.probability_curve import ProbabilityCurve
from kitbox.records import Embeddings, strings
from kitbox.retrieval import ranking
from kitbox.retrieval.neighbour_graph import NeighbourGraph
from tests.circle import competition, cosine, graph_of, image_set, placed
from tests.fusion.test_pair_signals import LABELS, collected, sources_of, two_queries
from tests.pair_tables import truth_of


def plain_model(graph: NeighbourGraph, *, height: float = 0.2) -> FusionModel:
    """Return a model whose pairs beyond a list have `height` times (1 + cosine) / 2."""
    found = collected(sources_of(graph)).table
    same = (np.arange(len(found)) % 2 == 0).tolist()
    scorer = pair_scorer.fit(parse_fusion("mean"), found, truth_of(same))
    outside = ProbabilityCurve(np.array([-1.0, 1.0]), np.array([0.0, height]))
    return FusionModel(signals=found.signals, scorer=scorer, outside=outside)


def test_pairs_of_lists_have_their_probability_and_others_that_of_the_curve() -> None:
    graph = two_queries()
    pairs = collected(sources_of(graph))
    probability = np.array([0.3, 0.8, 0.6, 0.5])
    (fused,) = with_probabilities([graph], pairs, probability, plain_model(graph))
    near = fused.nearest(4)
    assert near.gallery_ids.tolist() == [["b", "a", "c", "d"], ["c", "d", "b", "a"]]
    expected = [0.8, 0.3, *(0.1 * (1 + cosine(10, angle)) for angle in (50, 90))]
    np.testing.assert_allclose(near.similarity[0], expected, atol=1e-6)


def test_labels_matches_and_clusters_are_ranked_by_probabilities() -> None:
    graph = two_queries()
    pairs = collected(sources_of(graph))
    # q's nearest is as near to b as to a; r is nearer to c, but d has the matches
    probability = np.array([0.3, 0.8, 0.1, 0.9])
    fused = with_probabilities([graph], pairs, probability, plain_model(graph))
    labels = ranking.rank(fused, image_set({**LABELS, "d": "Dick"}), competition(k=3))
    assert labels.answers.tolist() == [["Ahab", "Boo", "Dick"], ["Dick", "Ahab", "Boo"]]
    np.testing.assert_allclose(labels.similarity[:, 0], [0.8, 0.9], atol=1e-6)
    matches = ranking.rank(fused, image_set(LABELS), competition(answers="matches", k=2))
    assert matches.answers.tolist() == [["b", "a"], ["d", "b"]]


def test_clusters_join_what_is_probably_one_individual() -> None:
    points = placed({"a": 0, "b": 10, "c": 20, "d": 170})
    graph = graph_of(points, points)
    pairs = collected(sources_of(graph), "logit:shortlist=3")
    names = zip(pairs.table.first.tolist(), pairs.table.second.tolist(), strict=True)
    probability = np.array([0.9 if {*pair} in ({"a", "d"}, {"b", "c"}) else 0.05 for pair in names])
    fused = with_probabilities([graph], pairs, probability, plain_model(graph, height=0.01))
    trees = cluster_tree.cluster_trees(fused)
    found = cluster_tree.cut_trees(trees, [graph.search], {"": 0.5})
    assert found.answers[:, 0].tolist() == ["cluster_0", "cluster_1", "cluster_1", "cluster_0"]


def drawn_sources(seed: int = 0, whales: int = 40) -> tuple[SignalSources, dict[str, str]]:
    """Return a holdout of whales that two members see, each with noise of its own."""
    rng = np.random.default_rng(seed)
    images = [f"{side}{whale}" for side in "qgh" for whale in range(whales)]
    centres = rng.normal(size=(2, whales, 16))

    def seen(member: int, noise: float) -> Embeddings:
        rows = np.tile(centres[member], (3, 1)) + rng.normal(size=(3 * whales, 16)) * noise
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return Embeddings(strings(images), unit.astype(np.float32))

    members = {"one": seen(0, 0.9), "other": seen(1, 0.9), "noise": seen(0, 30.0)}
    joined = np.concatenate([each.vectors for each in members.values()], axis=1) / np.sqrt(3)
    both = Embeddings(strings(images), joined.astype(np.float32))
    queries, gallery = strings(images[:whales]), strings(images[whales:])
    graph = graph_of(both.of(queries), both.of(gallery))
    label_of = {image: f"whale {image[1:]}" for image in images}
    sources = replace(
        sources_of(graph, members=members),
        images=image_set(label_of),
        known=image_set({image: label_of[image] for image in gallery.tolist()}),
    )
    return sources, label_of


def followed(stage):  # type: ignore[no-untyped-def]
    while True:
        try:
            next(stage)
        except StopIteration as end:
            return end.value


def hits(graphs: tuple[NeighbourGraph, ...]) -> float:
    near = graphs[0].nearest(1)
    return float(
        np.mean(
            [a[1:] == b[1:] for a, b in zip(near.query_ids, near.gallery_ids[:, 0], strict=True)]
        )
    )


@pytest.mark.parametrize("text", ["logit:shortlist=20", "classifier:shortlist=20"])
def test_members_that_are_fused_are_better_than_joined_with_noise(text: str) -> None:
    sources, label_of = drawn_sources()
    settings = FusionSettings.parse(text, [])
    assert settings is not None
    fused = followed(fuse_holdout(sources, settings, label_of, None))
    assert hits(fused.graphs) >= hits(tuple(sources.graphs)) - (0.1 if "class" in text else 0)
    test, _ = drawn_sources(1)
    again = followed(fuse_test(test, settings, fused.model))
    near = again[0].nearest(5).similarity
    assert ((near > 0) & (near < 1)).all()


def test_a_useless_member_has_less_weight_than_the_others_and_is_named() -> None:
    sources, label_of = drawn_sources(whales=80)
    settings = FusionSettings.parse("logit:shortlist=20", [])
    assert settings is not None
    evidence = followed(fuse_holdout(sources, settings, label_of, None)).evidence
    weights = evidence["weights"]
    assert weights["noise"] < min(weights["one"], weights["other"]) / 10
    # the mean with the noise says nothing that its members do not say better
    assert weights["similarity"] < 0.005
    first, second = fusion_sentences(evidence)
    assert first.startswith("fusion by logit:shortlist=20 of similarity 0.00, one 1.")
    assert second == "similarity and noise have weight 0: no help to the other signals"


def small(query: dict[str, float], gallery: dict[str, float]) -> SignalSources:
    """Return a search of a few points, which one member sees."""
    return sources_of(graph_of(placed(query), placed(gallery)))


@pytest.mark.parametrize("text", ["logit", "mean", "rank_sum", "vote", "classifier"])
@pytest.mark.parametrize(
    ("query", "gallery", "same", "expected"),
    [
        ({"q": 0}, {"a": 20}, "qa", ["a", ""]),  # a gallery of one image
        ({"q": 0, "r": 0}, {"a": 0, "b": 0, "c": 0}, "qa", ["a", "b"]),  # all alike
        ({"q": 0, "r": 5}, {"b": 9, "a": 20}, "qrab", ["b", "a"]),  # all of one individual
        ({"q": 0, "r": 5}, {"b": 9, "a": 20}, "", ["b", "a"]),  # all of different ones
    ],
)
def test_too_few_pairs_keep_the_order_of_the_similarity(
    text: str, query: dict[str, float], gallery: dict[str, float], same: str, expected: list[str]
) -> None:
    label_of = {image: "Ahab" if image in same else image for image in [*query, *gallery]}
    settings = FusionSettings.parse(text, [])
    assert settings is not None
    fused = followed(fuse_holdout(small(query, gallery), settings, label_of, None))
    near = fused.graphs[0].nearest(2)
    assert near.gallery_ids[0].tolist() == expected
    there = near.similarity[near.gallery_ids != ""]
    assert ((there > 0) & (there < 1)).all()


def test_where_no_signal_helps_no_signal_is_compared_with_the_others() -> None:
    evidence = {
        "method": "logit",
        "signals": ["similarity", "sift"],
        "weights": {"similarity": 0.001, "sift": 0.0},
        "pairs": 1200,
        "same": 40,
        "calibration_error": 0.01234,
    }
    assert fusion_sentences(evidence)[1:] == [
        "all signals have weight 0: on the holdout nothing tells pairs of one individual from "
        "others; leave --fusion and --match out"
    ]
    alone = evidence | {"signals": ["similarity"], "weights": {"similarity": 0.001}}
    assert fusion_sentences(alone)[1].startswith("similarity has weight 0: on the holdout nothing")
    # without pairs of both kinds no weight was fitted
    unfitted = evidence | {"same": 0, "weights": {"similarity": 1.0, "sift": 0.0}}
    assert "weight 0" not in " ".join(fusion_sentences(unfitted))
    some = evidence | {"weights": {"similarity": 1.0, "sift": 0.0}}
    assert fusion_sentences(some)[1] == "sift has weight 0: no help to the other signals"


def test_pairs_beyond_a_budget_are_told() -> None:
    evidence = {
        "method": "mean",
        "signals": ["similarity", "sift"],
        "pairs": 1200,
        "same": 40,
        "calibration_error": 0.01234,
        "over_budget": {"sift": 1, "orb": 1300},
    }
    assert fusion_sentences(evidence)[1:] == [
        "the budget of sift left out 1 pair, which keeps the global similarity",
        "the budget of orb left out 1300 pairs, which keep the global similarity",
    ]


def test_similarities_of_the_test_far_from_those_of_the_holdout_are_probabilities() -> None:
    settings = FusionSettings.parse("logit:shortlist=1", [])
    assert settings is not None
    # the holdout's similarities are within 1e-4 of each other
    near = {"a": 1.00, "b": 1.01, "c": 1.02}
    label_of = {"q": "a", "r": "b", "a": "a", "b": "b", "c": "c"}
    fused = followed(fuse_holdout(small({"q": 0.0, "r": 0.01}, near), settings, label_of, None))
    test = small({"q": 0.0, "r": 3.0}, {"a": 2.0, "b": 60.0, "c": 120.0, "d": 180.0})
    [graph] = followed(fuse_test(test, settings, fused.model))
    found = graph.nearest(4)
    assert [row.tolist() for row in found.gallery_ids] == [["a", "b", "c", "d"]] * 2
    assert ((found.similarity > 0) & (found.similarity < 1)).all()
    assert (np.diff(found.similarity, axis=1) < 0).all()


def test_sentences_tell_what_was_lacking() -> None:
    evidence = {
        "method": "mean",
        "signals": ["similarity", "sift"],
        "pairs": 1200,
        "same": 0,
        "calibration_error": 0.01234,
        "without_keypoints": {"sift": 1, "orb": 3},
    }
    assert fusion_sentences(evidence) == [
        "fusion by mean of similarity, sift: probabilities are off by 0.012 on average over 1,200 "
        "pairs, 0 of them of one individual, each by a fit without its individuals",
        "no pair of the shortlists shows one individual, so that fusion keeps the order of the "
        "global similarity",
        "1 photograph has no keypoints of sift and keeps the global similarity",
        "3 photographs have no keypoints of orb and keep the global similarity",
    ]
