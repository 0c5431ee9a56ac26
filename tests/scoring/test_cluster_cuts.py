"""Cuts of trees by both measures of agreement, and the thresholds of anchors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

from kitbox.clusters.cluster_tree import ClusterTree, link
from kitbox.competition.settings import Competition
from kitbox.records import Holdout, strings
from kitbox.retrieval.neighbour_graph import neighbour_graphs
from kitbox.scoring import cluster_cuts, local_score
from kitbox.scoring.cluster_cuts import Agreement, agreement_curve
from kitbox.scoring.ground_truth import GroundTruth
from tests.circle import at_angles, competition, image_set

MEASURES = {"ari": adjusted_rand_score, "ami": adjusted_mutual_info_score}


@pytest.mark.parametrize("measure", ["ari", "ami"])
@settings(max_examples=40, deadline=None)
@given(
    angles=st.lists(st.integers(0, 3599), unique=True, min_size=1, max_size=20),
    seed=st.integers(0, 999),
)
def test_a_curve_has_the_agreement_after_each_join(
    measure: Agreement, angles: list[int], seed: int
) -> None:
    tree = link(at_angles(*(angle / 10 + (angle / 10) ** 2 / 1e5 for angle in angles)))
    identity = np.random.default_rng(seed).choice(["A", "B", "C", ""], size=len(angles))
    found = agreement_curve(tree, strings(identity), measure)
    assert len(found) == len(tree.similarities) + 1
    named = identity != ""
    if not named.any():
        return
    for step, limit in enumerate([2.0, *(tree.similarities - 1e-9)]):
        clusters = tree.cut(limit)[named]
        if step and step < len(found) - 1 and tree.similarities[step] > limit:
            continue  # a tie with the next join
        wanted = MEASURES[measure](identity[named], clusters)
        assert found[step] == pytest.approx(wanted, abs=1e-9)


def test_the_agreement_of_constrained_clusters_is_that_after_their_joins() -> None:
    # 0 and 2 are linked, and 1 joins none
    tree = ClusterTree(4, np.array([[0, 2, -np.inf], [3, 4, 0.5]]))
    identity = strings(["A", "B", "A", "A"])
    for measure in cluster_cuts.AGREEMENTS:
        wanted = [
            MEASURES[measure](identity, clusters)
            for clusters in ([0, 1, 2, 3], [0, 1, 0, 2], [0, 1, 0, 0])
        ]
        found = agreement_curve(tree, identity, measure)
        np.testing.assert_allclose(found, wanted, atol=1e-12)
    assert tree.cut(0.6).tolist() == [0, 1, 0, 2]
    assert tree.cut(0.5).tolist() == [0, 1, 0, 0]


# Six whales, one of whom has half of the photographs, in pairs of look-alikes.
QUERY = {
    "0": "A", "4": "A", "9": "A", "15": "A", "40": "B", "46": "C", "80": "D", "85": "E",
    "120": "F", "130": "F",
}  # fmt: skip


def split(query: dict[str, str], train: dict[str, str], gallery: str = "test") -> Holdout:
    searched = query if gallery == "test" else {**train, **query}
    sides = (image_set(part) for part in (train, query, searched))
    return Holdout(*sides, strings(list(query.values())))


def toy(rule: str = "best", **task: object) -> Competition:
    return competition(
        gallery="train+test" if task.get("anchors") else "test",
        answers="clusters",
        unknown_label=None,
        task=task,
        threshold={"rule": rule, "similarity": 0.95 if rule == "fixed" else None},
    )


@pytest.mark.parametrize("rule", ["best", "ami"])
def test_the_cut_is_best_by_the_rule_and_both_agreements_are_told(rule: str) -> None:
    holdout = split(QUERY, {"300": "x"})
    embeddings = at_angles(300, *map(int, QUERY))
    found = local_score.evaluate(embeddings, holdout, toy(rule))
    tree = link(embeddings.of(holdout.query.image_ids))
    identity = holdout.query.labels
    limits = [2.0, *(tree.similarities - 1e-9)]
    by = {
        name: [measure(identity, tree.cut(limit)) for limit in limits]
        for name, measure in MEASURES.items()
    }
    own = "ami" if rule == "ami" else "ari"
    [limit] = found.thresholds.values()
    assert MEASURES[own](identity, tree.cut(limit)) == pytest.approx(max(by[own]))
    agreement = found.evidence["agreement"]
    assert agreement["ari"]["ari"] == pytest.approx(max(by["ari"]), abs=1e-6)
    assert agreement["ami"]["ami"] == pytest.approx(max(by["ami"]), abs=1e-6)
    assert agreement["ari"]["ami"] <= agreement["ami"]["ami"]
    assert found.scores.main.value == pytest.approx(agreement[own]["ari"], abs=1e-6)
    other = "AMI is best (--threshold ami)" if rule == "best" else "ARI is best (--threshold best)"
    assert any(other in sentence for sentence in local_score.threshold_sentences(found))


def test_both_measures_may_cut_at_different_similarities() -> None:
    # two pairs that are alike, and six photographs of one whale in a chain
    identity = strings(["A", "A", "A", "A", "B", "C"])
    joins = np.array([[0, 1, 0.1], [2, 3, 0.2], [4, 5, 0.3], [6, 7, 0.4], [8, 9, 0.5]])
    tree = ClusterTree(6, joins)
    best = {
        name: int(np.argmax(agreement_curve(tree, identity, name)))
        for name in cluster_cuts.AGREEMENTS
    }
    by_hand = {
        name: int(np.argmax([measure(identity, tree.cut(at)) for at in
                             (2, 0.9, 0.8, 0.7, 0.6, 0.5)]))
        for name, measure in MEASURES.items()
    }  # fmt: skip
    assert best == by_hand


TRAIN = {"2": "A", "122": "F", "300": "G"}


@pytest.mark.parametrize("rule", ["best", "ami", "fixed"])
def test_anchors_are_fitted_and_score_at_least_as_well_as_none(rule: str) -> None:
    holdout = split(QUERY, TRAIN, "train+test")
    embeddings = at_angles(*map(int, TRAIN), *map(int, QUERY))
    plain = local_score.evaluate(embeddings, split(QUERY, TRAIN), toy(rule))
    found = local_score.evaluate(embeddings, holdout, toy(rule, anchors=True))
    if rule == "fixed":
        assert found.thresholds == {"": 0.95}
        assert found.evidence["anchored"] == 6  # as near as 18 degrees: all A and F
        return
    assert sorted(found.thresholds) == ["", "anchor:"]
    own = "ami" if rule == "ami" else "ari"
    assert found.evidence["agreement"][own][own] >= plain.evidence["agreement"][own][own]
    assert found.evidence["anchored"] in (0, 6)
    sentences = local_score.threshold_sentences(found)
    assert sentences[0].startswith(("threshold of anchors: similarity", "threshold: similarity"))
    assert any("queries anchored" in sentence for sentence in sentences)


def test_the_threshold_of_anchors_is_the_best_of_those_tried() -> None:
    query = {"0": "A", "10": "A", "30": "B", "38": "B", "60": "C", "66": "D"}
    train = {"5": "A", "34": "B"}
    embeddings = at_angles(*map(int, train), *map(int, query))
    settings_ = toy(anchors=True)
    holdout = split(query, train, "train+test")
    searches = local_score.holdout_searches(holdout, settings_)
    graphs = neighbour_graphs(embeddings, searches)
    truth = GroundTruth.of_holdout(holdout, searches, settings_)
    cuts = cluster_cuts.fit_cuts(graphs, truth, settings_, holdout.train)
    # A and B are 5 and 4 degrees from theirs, C and D more than 26 and alone: all is right
    assert cuts.evidence["agreement"]["ari"] == {"ari": 1.0, "ami": 1.0}
    limit = cuts.thresholds["anchor:"]
    assert limit > np.cos(np.radians(26))
    assert cuts.evidence["anchored"] == 4 * (limit <= np.cos(np.radians(5)))


def test_each_group_has_its_thresholds() -> None:
    groups = {name: "Lynx" if int(name) < 100 else "Owl" for name in {**QUERY, **TRAIN}}
    settings_ = competition(
        gallery="train+test",
        answers="clusters",
        unknown_label=None,
        task={"anchors": True, "within_group": True},
        threshold={"by_group": True},
    )
    sides = (image_set(part, groups) for part in (TRAIN, QUERY, {**TRAIN, **QUERY}))
    holdout = Holdout(*sides, strings(list(QUERY.values())))
    found = local_score.evaluate(at_angles(*map(int, TRAIN), *map(int, QUERY)), holdout, settings_)
    assert sorted(found.thresholds) == ["Lynx", "Owl", "anchor:Lynx", "anchor:Owl"]
    sentences = local_score.threshold_sentences(found)
    assert any(each.startswith("threshold of anchors in Lynx: ") for each in sentences)
    assert any(each.startswith("threshold of Owl: similarity") for each in sentences)
