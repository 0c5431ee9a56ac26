import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError
from kitbox.records import Embeddings, Holdout, strings
from kitbox.retrieval.neighbour_graph import NeighbourGraph, neighbour_graphs
from kitbox.retrieval.rerankers import reranker
from kitbox.scoring import local_score
from kitbox.scoring.outcomes import BalancedAccuracy, ClusterAgreement, GlobalAveragePrecision, Mean
from tests.circle import at_angles, competition, cosine, image_set, placed

UNKNOWN = "new_whale"


def holdout(
    train: dict[str, str],
    query: dict[str, str],
    answers: list[str],
    gallery: str = "train",
    groups: dict[str, str] | None = None,
) -> Holdout:
    searched = {"train": train, "test": query, "train+test": train | query}[gallery]
    sides = (image_set(images, groups) for images in (train, query, searched))
    return Holdout(*sides, strings(answers))


def values(found: local_score.LocalScore) -> dict[str, float]:
    return {name: score.value for name, score in found.scores.by_metric.items()}


# Two queries of known individuals and one of an unknown individual.
TRAIN = {"0": "Ahab", "20": "Ahab", "90": "Boo", "120": "Cleo"}
QUERY = {"3": "Ahab", "110": "Boo", "260": "Dora"}
ANSWERS = ["Ahab", "Boo", UNKNOWN]


def test_labels_are_scored_with_the_unknown_label_at_the_threshold() -> None:
    split = holdout(TRAIN, QUERY, ANSWERS)
    found = local_score.evaluate(at_angles(*map(int, {**TRAIN, **QUERY})), split, competition())
    # 3 finds Ahab first; 110 finds Cleo first and then Boo; 260 is 100 degrees from the nearest
    assert found.scores.main.value == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert found.scores.main.queries == 3
    assert math.cos(math.radians(100)) < found.thresholds[""] <= math.cos(math.radians(20))


def test_image_metrics_count_only_queries_that_have_a_match() -> None:
    split = holdout(TRAIN, QUERY, ANSWERS)
    found = local_score.evaluate(at_angles(*map(int, {**TRAIN, **QUERY})), split, competition())
    assert list(values(found)) == [
        "label_map_at_5",
        "map_at_20",
        "recall_at_1",
        "recall_at_5",
        "recall_at_20",
        "r_precision",
    ]
    # 3: both Ahabs come first: 1. 110: Cleo, then Boo, the only one: 1/2. 260 has no match.
    assert values(found)["map_at_20"] == pytest.approx((1 + 1 / 2) / 2)
    assert values(found)["recall_at_1"] == 0.5
    assert values(found)["recall_at_5"] == 1.0
    # 3 has two Ahabs in the first two, 110 has no Boo in the first
    assert values(found)["r_precision"] == 0.5
    assert found.scores.by_metric["map_at_20"].queries == 2


def test_image_answers_have_no_threshold() -> None:
    split = holdout(TRAIN, QUERY, ANSWERS)
    toy = competition(answers="images", k=20)
    found = local_score.evaluate(at_angles(*map(int, {**TRAIN, **QUERY})), split, toy)
    assert (found.thresholds, found.evidence) == ({}, {})
    assert next(iter(values(found))) == "map_at_20"
    assert found.scores.main.value == pytest.approx(0.75)


@pytest.mark.parametrize("k", [1, 5, 20, 30])
def test_the_competitions_own_metric_comes_first(k: int) -> None:
    split = holdout(TRAIN, QUERY, ANSWERS)
    embeddings = at_angles(*map(int, {**TRAIN, **QUERY}))
    for kind in ("images", "labels"):
        toy = competition(answers=kind, k=k)
        found = local_score.evaluate(embeddings, split, toy)
        assert next(iter(found.scores.by_metric)) == toy.metric


def test_a_competition_without_unknown_individuals_has_no_threshold() -> None:
    split = holdout(TRAIN, {"3": "Ahab", "110": "Boo"}, ["Ahab", "Boo"])
    toy = competition(unknown_label=None)
    found = local_score.evaluate(at_angles(*map(int, TRAIN), 3, 110), split, toy)
    assert (found.thresholds, found.evidence) == ({}, {})
    assert found.scores.main.value == pytest.approx(0.75)


def test_without_an_unknown_label_a_query_of_an_unknown_individual_scores_zero() -> None:
    # Of three labels for five places: the empty ones are no answer.
    split = holdout(TRAIN, QUERY, ["Ahab", "Boo", ""])
    toy = competition(unknown_label=None)
    found = local_score.evaluate(at_angles(*map(int, {**TRAIN, **QUERY})), split, toy)
    assert found.scores.main.value == pytest.approx((1 + 1 / 2 + 0) / 3)


def test_queries_in_the_gallery_find_each_other_and_never_themselves() -> None:
    query = {"200": "Dora", "210": "Dora", "3": "Ahab"}
    split = holdout(TRAIN, query, [UNKNOWN, UNKNOWN, "Ahab"], "train+test")
    toy = competition(gallery="train+test", answers="images", k=20)
    found = local_score.evaluate(at_angles(*map(int, {**TRAIN, **query})), split, toy)
    assert found.scores.main.value == pytest.approx(1.0)
    assert found.scores.main.queries == 3


def test_labels_of_queries_answer_no_query() -> None:
    # On the leaderboard test images have no labels, so that only training images can answer;
    # the two Doras, unknown to training, must not answer for each other here either.
    query = {"200": "Dora", "210": "Dora", "15": "Ahab"}
    split = holdout({"0": "Ahab"}, query, [UNKNOWN, UNKNOWN, "Ahab"], "train+test")
    toy = competition(gallery="train+test", k=1)
    found = local_score.evaluate(at_angles(0, 200, 210, 15), split, toy)
    # the Doras are 150 degrees and more from Ahab, 15 is at 15 degrees: all three are right
    assert found.scores.main.value == 1.0


def test_embeddings_of_other_images_are_refused() -> None:
    split = holdout(TRAIN, QUERY, ANSWERS)
    with pytest.raises(KitboxError, match=r"^no embedding of image '260'; these embeddings belong"):
        local_score.evaluate(at_angles(*map(int, TRAIN), 3, 110), split, competition())


def test_a_holdout_without_any_match_is_refused() -> None:
    split = holdout({"0": "Ahab"}, {"90": "Boo"}, [UNKNOWN])
    message = r"^no query of the holdout has a match in the gallery; nothing to score$"
    with pytest.raises(KitboxError, match=message):
        local_score.evaluate(at_angles(0, 90), split, competition(answers="images"))


def test_without_any_match_only_unknown_queries_are_scored() -> None:
    split = holdout({"0": "Ahab"}, {"90": "Boo"}, [UNKNOWN])
    found = local_score.evaluate(at_angles(0, 90), split, competition())
    assert values(found) == {"label_map_at_5": 1.0}


def test_a_perfect_network_scores_one() -> None:
    rng = np.random.default_rng(0)
    individuals = rng.integers(0, 12, size=120)
    names = [f"i{i}" for i in range(120)]
    embeddings: Embeddings = placed(
        {name: 30.0 * w + rng.uniform(-5, 5) for name, w in zip(names, individuals, strict=True)}
    )
    label_of = {name: f"w{w}" for name, w in zip(names, individuals, strict=True)}
    train, query = dict(list(label_of.items())[:90]), dict(list(label_of.items())[90:])
    split = holdout(train, query, list(query.values()))
    toy: Competition = competition()
    assert set(values(local_score.evaluate(embeddings, split, toy)).values()) == {1.0}


def evidence_of(found: local_score.LocalScore, *names: str) -> list[object]:
    return [found.evidence[name] for name in names]


def test_each_query_is_scored_by_a_threshold_fitted_on_others() -> None:
    # Ten unknown queries, each with its own similarity to Ahab, and ten Ahabs above them all.
    train = {"0": "Ahab"}
    unknown = {str(30 + 5 * i): f"x{i}" for i in range(10)}
    query = unknown | {f"{i / 10:g}": "Ahab" for i in range(1, 11)}
    answers = [UNKNOWN] * 10 + ["Ahab"] * 10
    embeddings = at_angles(*map(float, {**train, **query}))
    found = local_score.evaluate(embeddings, holdout(train, query, answers), competition(k=1))
    assert values(found)["label_map_at_1"] == 1.0
    assert cosine(0, 30) < found.thresholds[""] < cosine(0, 1)
    assert evidence_of(found, "rule", "queries", "score", "score_on_the_same_queries") == [
        "best", 20, 1.0, 1.0,
    ]  # fmt: skip
    assert evidence_of(found, "unknown", "answered_unknown") == [0.5, 0.5]
    assert found.evidence["thresholds"] == {"": round(found.thresholds[""], 6)}


def test_a_query_is_not_scored_by_a_threshold_fitted_on_itself() -> None:
    # The unknown query is nearly as near as the others: only a threshold fitted on it is right.
    train, query = {"0": "Ahab", "180": "Boo"}, {"5": "Ahab", "175": "Boo", "20": "x"}
    split = holdout(train, query, ["Ahab", "Boo", UNKNOWN])
    found = local_score.evaluate(at_angles(0, 180, 5, 175, 20), split, competition(k=1))
    assert found.evidence["score_on_the_same_queries"] == 1.0
    assert found.scores.main.value == pytest.approx(2 / 3)
    assert found.evidence["score"] == pytest.approx(2 / 3, abs=1e-6)


def test_a_fixed_threshold_is_taken_as_it_is() -> None:
    toy = competition(k=1, threshold={"rule": "fixed", "similarity": 0.5})
    split = holdout(TRAIN, QUERY, ANSWERS)
    found = local_score.evaluate(at_angles(*map(int, {**TRAIN, **QUERY})), split, toy)
    assert found.thresholds == {"": 0.5}
    assert found.evidence["rule"] == "fixed"
    assert found.scores.main.value == pytest.approx(2 / 3)


def test_a_share_of_the_queries_is_answered_as_unknown() -> None:
    toy = competition(k=1, threshold={"rule": "share", "share": 1 / 3})
    split = holdout(TRAIN, QUERY, ANSWERS)
    found = local_score.evaluate(at_angles(*map(int, {**TRAIN, **QUERY})), split, toy)
    # 110 is 10 degrees from Cleo, 260 is 100 degrees from the nearest
    assert found.thresholds[""] == pytest.approx((cosine(260, 0) + cosine(110, 120)) / 2, abs=1e-6)
    assert found.evidence["answered_unknown"] == round(1 / 3, 4)


GROUPS = {"0": "Lynx", "20": "Lynx", "90": "Turtle", "120": "Turtle", "3": "Lynx",
          "110": "Turtle", "260": "Turtle"}  # fmt: skip


def test_one_label_a_query_is_scored_by_balanced_accuracies_in_each_group() -> None:
    toy = competition(
        answers="label",
        k=1,
        task={"within_group": True},
        threshold={"rule": "fixed", "similarity": 0.5},
    )
    split = holdout(TRAIN, QUERY, ANSWERS, groups=GROUPS)
    found = local_score.evaluate(at_angles(*map(int, {**TRAIN, **QUERY})), split, toy)
    assert list(values(found))[:3] == ["baks_baus", "baks", "baus"]
    # Lynx: Ahab is right. Turtle: Boo is called Cleo, 260 unknown: √(0 · 1)
    assert values(found)["baks_baus"] == 0.5
    assert (values(found)["baks"], values(found)["baus"]) == (0.5, 1.0)
    assert isinstance(found.outcomes["baks_baus"], BalancedAccuracy)
    # Lynx counts by BAKS alone here, and as 0 on a leaderboard
    assert local_score.threshold_sentences(found)[-1] == (
        "the holdout of Lynx has no query of unknown individuals and is scored by the others "
        "alone; a leaderboard scores such a set 0"
    )


def test_each_group_may_have_its_own_threshold() -> None:
    toy = competition(
        answers="label", k=1, task={"within_group": True}, threshold={"by_group": True}
    )
    found = local_score.evaluate(
        at_angles(*map(int, {**TRAIN, **QUERY})),
        holdout(TRAIN, QUERY, ANSWERS, groups=GROUPS),
        toy,
    )
    assert set(found.thresholds) == {"Lynx", "Turtle"}


def test_a_group_without_training_images_is_scored() -> None:
    toy = competition(answers="label", k=1, task={"within_group": True})
    train = {"0": "Ahab", "20": "Ahab"}
    split = holdout(train, {"3": "Ahab", "110": "Dora"}, ["Ahab", UNKNOWN], groups=GROUPS)
    found = local_score.evaluate(at_angles(0, 20, 3, 110), split, toy)
    assert found.scores.main.value == 1.0
    assert found.scores.by_metric["recall_at_1"].queries == 1


def test_a_label_with_its_confidence_is_scored_over_all_queries() -> None:
    toy = competition(answers="label", k=1, unknown_label=None, task={"metric": "gap"})
    split = holdout(TRAIN, QUERY, ["Ahab", "Boo", ""])
    found = local_score.evaluate(at_angles(*map(int, {**TRAIN, **QUERY})), split, toy)
    assert isinstance(found.outcomes["gap"], GlobalAveragePrecision)
    # 3 is right and first; 110 is wrong, 260 a distractor: (1/1) / 2
    assert values(found)["gap"] == 0.5
    assert (found.thresholds, found.evidence) == ({}, {})


def test_matches_are_scored_by_f1_and_images_without_the_query_itself() -> None:
    toy = competition(
        gallery="test",
        answers="matches",
        k=3,
        unknown_label=None,
        task={"with_itself": True, "least": 2},
        threshold={"rule": "fixed", "similarity": cosine(0, 15)},
    )
    query = {"0": "Ahab", "10": "Ahab", "90": "Boo", "100": "Boo", "95": "Cleo"}
    split = holdout({"300": "x"}, query, list(query.values()), "test")
    found = local_score.evaluate(at_angles(300, *map(int, query)), split, toy)
    # Ahabs are right; Boos have Cleo too: 2 · 2 / (3 + 2); Cleo has both: 2 · 1 / (3 + 1)
    assert values(found)["row_f1"] == pytest.approx((1 + 1 + 0.8 + 0.8 + 0.5) / 5)
    # without itself: Boos find Cleo before each other, Cleo has no match
    assert values(found)["recall_at_1"] == 0.5
    assert found.scores.by_metric["recall_at_1"].queries == 4
    assert found.evidence["with_fewest_matches"] == 0.4
    assert isinstance(found.outcomes["row_f1"], Mean)


@pytest.mark.parametrize("rule", ["best", "balanced", "fixed", "share"])
def test_clusters_are_scored_by_the_agreement_of_pairs(rule: str) -> None:
    toy = competition(
        gallery="test",
        answers="clusters",
        task={"within_group": True},
        unknown_label=None,
        threshold={"rule": rule, "similarity": 0.9, "share": 0.5},
    )
    query = {"0": "Ahab", "10": "Ahab", "90": "Boo", "200": "Dora", "210": "Dora", "300": "Emma"}
    groups = {name: "Lynx" if int(name) < 100 else "Turtle" for name in query} | {"150": "Lynx"}
    split = holdout({"150": "x"}, query, list(query.values()), "test", groups)
    found = local_score.evaluate(at_angles(150, *map(int, query)), split, toy)
    assert list(values(found))[:2] == ["ari", "nmi"]
    assert isinstance(found.outcomes["ari"], ClusterAgreement)
    assert list(found.thresholds) == [""]
    assert evidence_of(found, "rule", "individuals") == [rule, 4]
    # the queries make the clusters together, so that none can be left out of the fit
    assert found.evidence.get("fitted_on_the_same_queries", False) == (rule in ("best", "balanced"))
    assert found.evidence["errors"]["mean_share"] == 0.0
    # a third of the images of each group is alone; half of them cannot be
    assert (values(found)["ari"], found.evidence["clusters"]) == (1.0, 4)
    assert found.evidence["score"] == 1.0


REFITTED = {
    "labels": (TRAIN, QUERY, ANSWERS, {"k": 2}),
    "matches": (
        {"300": "x"},
        {"0": "Ahab", "10": "Ahab", "90": "Boo", "103": "Boo", "95": "Cleo", "200": "Dora"},
        None,
        {"gallery": "test", "k": 3, "unknown_label": None},
    ),
    "clusters": (
        {"300": "x"},
        {"0": "Ahab", "10": "Ahab", "90": "Boo", "103": "Boo", "95": "Cleo", "200": "Dora"},
        None,
        {"gallery": "test", "unknown_label": None},
    ),
}


@pytest.mark.parametrize("answers", REFITTED)
@pytest.mark.parametrize("step", [None, "dba:k=1", "k_reciprocal:k1=2", "local_scaling:k=2"])
def test_thresholds_are_fitted_to_what_the_last_step_makes_of_similarities(
    answers: str, step: str | None
) -> None:
    train, query, expected, task = REFITTED[answers]
    toy = competition(answers=answers, **task)  # type: ignore[arg-type]
    split = holdout(
        train, query, expected or list(query.values()), str(task.get("gallery", "train"))
    )
    searches = local_score.holdout_searches(split, toy)
    embeddings = at_angles(*map(int, {**train, **query}))
    rerank = reranker([] if step is None else [step])

    def halved(graph: NeighbourGraph) -> NeighbourGraph:
        return (graph if rerank is None else rerank(graph)).mapped((0, 1), (0.1, 0.6))

    before, after = (
        local_score.score_answers(
            local_score.answer_queries(neighbour_graphs(embeddings, searches, each), split, toy),
            toy,
        )
        for each in (rerank, halved)
    )
    # a line through all similarities moves the threshold along, and changes no answer
    assert values(after) == values(before)
    assert after.thresholds[""] == pytest.approx(0.1 + before.thresholds[""] / 2, abs=1e-5)
    assert after.evidence["errors"] == before.evidence["errors"]
    if step is not None:
        plain = local_score.evaluate(embeddings, split, toy)
        assert abs(plain.thresholds[""] - before.thresholds[""]) > 1e-3


def test_r_precision_is_left_out_where_it_needs_too_many_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    split, embeddings = holdout(TRAIN, QUERY, ANSWERS), at_angles(*map(int, {**TRAIN, **QUERY}))
    whole = values(local_score.evaluate(embeddings, split, competition()))
    monkeypatch.setattr(local_score, "_MAX_ANSWERS", 5)  # three queries, two Ahabs
    assert values(local_score.evaluate(embeddings, split, competition())) == {
        name: value for name, value in whole.items() if name != "r_precision"
    }


def test_intervals_draw_individuals_and_not_photographs() -> None:
    # forty photographs of Ahab are found, forty of Boo are not: two individuals, not eighty
    train = {"0": "Ahab", "180": "Boo"}
    query = {f"{i / 10:g}": "Ahab" if i % 2 else "Boo" for i in range(1, 81)}
    split = holdout(train, query, list(query.values()))
    toy = competition(unknown_label=None, k=1)
    found = local_score.evaluate(at_angles(*map(float, {**train, **query})), split, toy)
    assert (found.individuals["0.1"], found.individuals["0.2"]) == ("Ahab", "Boo")
    main = found.scores.main
    assert (main.low, main.value, main.high) == (0.0, 0.5, 1.0)


@pytest.mark.parametrize("rule", ["best", "share"])
def test_without_groups_in_the_test_that_of_the_first_answer_selects_the_threshold(
    rule: str,
) -> None:
    # the unknown query shows a turtle, but is nearest to a lynx
    train, query = {"0": "Ahab", "180": "Boo"}, {"5": "Ahab", "60": "Dora"}
    groups = {"0": "Lynx", "180": "Turtle", "5": "Lynx", "60": "Turtle"}
    toy = competition(
        answers="label", k=1, threshold={"by_group": True, "rule": rule, "share": 0.5}
    )
    split = holdout(train, query, ["Ahab", UNKNOWN], groups=groups)
    embeddings = at_angles(0, 180, 5, 60)
    given = local_score.evaluate(embeddings, split, toy)
    assert set(given.thresholds) == {"Lynx", "Turtle"}
    without = local_score.evaluate(embeddings, split, toy, test_has_groups=False)
    assert set(without.thresholds) == {"Lynx"}
    assert cosine(0, 60) < without.thresholds["Lynx"] < cosine(0, 5)


def test_both_errors_of_a_threshold_are_told_in_counts_and_shares() -> None:
    # the metric forgives 'new_whale' before the right answer; a person reads only the first one
    train, query = {"0": "Ahab", "180": "Boo"}, {"5": "Ahab", "175": "Boo", "40": "x", "70": "y"}
    split = holdout(train, query, ["Ahab", "Boo", UNKNOWN, UNKNOWN])
    toy = competition(k=2, threshold={"rule": "fixed", "similarity": cosine(0, 50)})
    found = local_score.evaluate(at_angles(0, 180, 5, 175, 40, 70), split, toy)
    assert found.evidence["errors"] == {
        "known_queries": 2,
        "known_answered_unknown": 0,
        "unknown_queries": 2,
        "unknown_answered_known": 1,
        "mean_share": 0.25,
    }
    assert (
        "of 2 queries of known individuals 0 (0.0%) are answered as unknown, "
        "of 2 of unknown ones 1 (50.0%) as known"
    ) in local_score.threshold_sentences(found)


def test_the_rule_best_names_the_balanced_one_where_it_errs() -> None:
    train, query = {"0": "Ahab", "180": "Boo"}, {"5": "Ahab", "175": "Boo", "20": "x"}
    split = holdout(train, query, ["Ahab", "Boo", UNKNOWN])
    embeddings = at_angles(0, 180, 5, 175, 20)
    advice = (
        "'best' serves the competition's metric; --threshold balanced takes the least mean of both "
        "shares"
    )
    found = local_score.evaluate(embeddings, split, competition(k=1))
    assert local_score.threshold_sentences(found)[-1] == advice
    toy = competition(k=1, threshold={"rule": "balanced"}, holdout={"unknown_share": 0.3})
    balanced = local_score.evaluate(embeddings, split, toy)
    sentences = local_score.threshold_sentences(balanced)
    assert sentences[0] == f"threshold: similarity {balanced.thresholds['']:.4f} (balanced)"
    assert cosine(0, 20) < balanced.thresholds[""] < cosine(0, 5)
    assert advice not in sentences
    assert "a threshold fitted without it" in sentences[1]


@pytest.mark.parametrize("seed", range(5))
def test_pairs_of_the_holdouts_queries_have_the_identity_balanced_map(seed: int) -> None:
    draw = np.random.default_rng(seed)
    names = [f"q{number}" for number in range(14)]
    label = dict(zip(names, draw.choice(["A", "B", "C", "D", "E"], 14).tolist(), strict=True))
    # a few angles, so that many similarities are equal
    angle = dict(zip(names, draw.choice([0, 30, 60, 90], 14).tolist(), strict=True))
    query = image_set(label)
    toy = competition(answers="pairs", gallery="test", unknown_label=None)
    split = Holdout(image_set({"t": "A"}), query, query, query.labels)
    found = local_score.evaluate(placed(angle), split, toy)
    by_individual: dict[str, list[float]] = {}
    for name in names:
        others = [other for other in names if other != name]
        hits = [label[other] == label[name] for other in others]
        if any(hits):
            # as float32, so that what is equal there is equal here
            scores = [np.float32(cosine(angle[name], angle[other])) for other in others]
            one = average_precision_score(hits, np.round(scores, 5))
            by_individual.setdefault(label[name], []).append(one)
    means = [np.mean(values) for values in by_individual.values()]
    score = found.scores.by_metric["identity_balanced_map"]
    assert next(iter(found.scores.by_metric)) == "identity_balanced_map"
    assert score.value == pytest.approx(np.mean(means))
    assert score.queries == sum(map(len, by_individual.values()))
    assert score.low <= score.value <= score.high
    assert found.thresholds == {}
