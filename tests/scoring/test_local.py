import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError
from kitbox.records import Embeddings, Holdout, ImageSet, Ranking, strings
from kitbox.retrieval.answers import with_unknown
from kitbox.scoring import local
from kitbox.scoring.metrics import label_average_precision_at_k
from tests.circle import at_angles, competition, image_set, placed, ranking

UNKNOWN = "new_whale"


def holdout(
    train: dict[str, str], query: dict[str, str], answers: list[str], gallery: str = "train"
) -> Holdout:
    searched = {"train": train, "test": query, "train+test": train | query}[gallery]
    return Holdout(image_set(train), image_set(query), image_set(searched), strings(answers))


def values(found: local.LocalScore) -> dict[str, float]:
    return {name: score.value for name, score in found.scores.by_metric.items()}


# Two queries of known individuals and one of an individual that nobody has seen.
TRAIN = {"0": "Ahab", "20": "Ahab", "90": "Boo", "120": "Cleo"}
QUERY = {"3": "Ahab", "110": "Boo", "260": "Dora"}
ANSWERS = ["Ahab", "Boo", UNKNOWN]


def test_labels_are_scored_with_the_unknown_in_its_place() -> None:
    split = holdout(TRAIN, QUERY, ANSWERS)
    found = local.evaluate(at_angles(*map(int, {**TRAIN, **QUERY})), split, competition())
    # 3 finds Ahab first; 110 finds Cleo first and then Boo; 260 is 100 degrees from the nearest
    assert found.scores.main.value == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert found.scores.main.queries == 3
    assert found.threshold is not None
    assert math.cos(math.radians(100)) < found.threshold <= math.cos(math.radians(20))


def test_image_metrics_count_queries_that_have_a_match_only() -> None:
    split = holdout(TRAIN, QUERY, ANSWERS)
    found = local.evaluate(at_angles(*map(int, {**TRAIN, **QUERY})), split, competition())
    assert list(values(found)) == [
        "label_map_at_5",
        "map_at_20",
        "recall_at_1",
        "recall_at_5",
        "recall_at_20",
    ]
    # 3: both Ahabs come first: 1. 110: Cleo, then Boo, the only one: 1/2. 260 has no match.
    assert values(found)["map_at_20"] == pytest.approx((1 + 1 / 2) / 2)
    assert values(found)["recall_at_1"] == 0.5
    assert values(found)["recall_at_5"] == 1.0
    assert found.scores.by_metric["map_at_20"].queries == 2


def test_where_images_are_asked_for_there_is_no_threshold() -> None:
    split = holdout(TRAIN, QUERY, ANSWERS)
    asked = competition(answers="images", k=20)
    found = local.evaluate(at_angles(*map(int, {**TRAIN, **QUERY})), split, asked)
    assert found.threshold is None
    assert next(iter(values(found))) == "map_at_20"
    assert found.scores.main.value == pytest.approx(0.75)


@pytest.mark.parametrize("k", [1, 5, 20, 30])
def test_the_competitions_own_metric_comes_first(k: int) -> None:
    split = holdout(TRAIN, QUERY, ANSWERS)
    embeddings = at_angles(*map(int, {**TRAIN, **QUERY}))
    for kind in ("images", "labels"):
        asked = competition(answers=kind, k=k)
        found = local.evaluate(embeddings, split, asked)
        assert next(iter(found.scores.by_metric)) == asked.metric


def test_a_competition_without_unknown_individuals_has_no_threshold() -> None:
    split = holdout(TRAIN, {"3": "Ahab", "110": "Boo"}, ["Ahab", "Boo"])
    asked = competition(unknown_label=None)
    found = local.evaluate(at_angles(*map(int, TRAIN), 3, 110), split, asked)
    assert found.threshold is None
    assert found.scores.main.value == pytest.approx(0.75)


def test_without_a_name_for_the_unknown_a_held_out_individual_scores_nothing() -> None:
    # Of three labels asked for, five places: the empty ones are no answer.
    split = holdout(TRAIN, QUERY, ["Ahab", "Boo", ""])
    asked = competition(unknown_label=None)
    found = local.evaluate(at_angles(*map(int, {**TRAIN, **QUERY})), split, asked)
    assert found.scores.main.value == pytest.approx((1 + 1 / 2 + 0) / 3)


def test_queries_in_the_gallery_find_each_other_and_never_themselves() -> None:
    query = {"200": "Dora", "210": "Dora", "3": "Ahab"}
    split = holdout(TRAIN, query, [UNKNOWN, UNKNOWN, "Ahab"], "train+test")
    asked = competition(gallery="train+test", answers="images", k=20)
    found = local.evaluate(at_angles(*map(int, {**TRAIN, **query})), split, asked)
    assert found.scores.main.value == pytest.approx(1.0)
    assert found.scores.main.queries == 3


def test_labels_of_queries_answer_no_query() -> None:
    # On the leaderboard test images have no labels, so that only training images can answer;
    # the two Doras, unknown to training, must not answer for each other here either.
    query = {"200": "Dora", "210": "Dora", "15": "Ahab"}
    split = holdout({"0": "Ahab"}, query, [UNKNOWN, UNKNOWN, "Ahab"], "train+test")
    asked = competition(gallery="train+test", k=1)
    found = local.evaluate(at_angles(0, 200, 210, 15), split, asked)
    # the Doras are 150 degrees and more from Ahab, 15 is at 15 degrees: all three are right
    assert found.scores.main.value == 1.0


def test_embeddings_of_other_images_are_refused() -> None:
    split = holdout(TRAIN, QUERY, ANSWERS)
    with pytest.raises(KitboxError, match=r"^no embedding of image '260'; these embeddings were"):
        local.evaluate(at_angles(*map(int, TRAIN), 3, 110), split, competition())


def test_a_holdout_without_any_match_is_refused() -> None:
    split = holdout({"0": "Ahab"}, {"90": "Boo"}, [UNKNOWN])
    message = r"^no query of the holdout has a match in the gallery; nothing to score$"
    with pytest.raises(KitboxError, match=message):
        local.evaluate(at_angles(0, 90), split, competition())


def brute_force(answered: Ranking, truth: list[str], k: int) -> float:
    """Return the best MAP@k that any threshold reaches: below all, between any two, above all."""
    finite = answered.similarity[np.isfinite(answered.similarity)].tolist()
    return max(score_at(answered, truth, threshold, k) for threshold in [*finite, max(finite) + 1])


def score_at(answered: Ranking, truth: list[str], threshold: float, k: int) -> float:
    placed_ = with_unknown(answered, UNKNOWN, threshold)
    return float(label_average_precision_at_k(placed_, strings(truth), k).mean())


# Similarities in 64ths, so that thresholds are exact; answers A to D, rows of 1 to 3.
ROWS = st.lists(
    st.tuples(
        st.permutations(["A", "B", "C", "D"]),
        st.lists(st.integers(-64, 64), min_size=1, max_size=3),
        st.sampled_from(["A", "B", "C", UNKNOWN]),
    ),
    min_size=1,
    max_size=20,
)


@given(ROWS)
def test_the_best_threshold_is_as_good_as_the_best_of_all(
    rows: list[tuple[list[str], list[int], str]],
) -> None:
    answered = ranking(
        {
            f"q{i}": [
                (name, value / 64)
                for name, value in zip(names, sorted(numbers, reverse=True), strict=False)
            ]
            for i, (names, numbers, _) in enumerate(rows)
        }
    )
    truth = [true for _, _, true in rows]
    threshold = local.best_threshold(answered, strings(truth), UNKNOWN, answered.k)
    reached = score_at(answered, truth, threshold, answered.k)
    assert reached == pytest.approx(brute_force(answered, truth, answered.k))


def test_a_holdout_of_unknown_individuals_is_all_called_unknown() -> None:
    answered = ranking({"q": [("A", 0.9), ("B", 0.5)], "r": [("A", 0.7), ("B", 0.2)]})
    threshold = local.best_threshold(answered, strings([UNKNOWN] * 2), UNKNOWN, 2)
    assert score_at(answered, [UNKNOWN] * 2, threshold, 2) == 1.0


def test_a_holdout_of_known_individuals_calls_none_unknown() -> None:
    answered = ranking({"q": [("A", 0.75), ("B", 0.5)], "r": [("A", 0.75), ("B", 0.25)]})
    threshold = local.best_threshold(answered, strings(["A", "B"]), UNKNOWN, 2)
    assert threshold <= 0.25
    assert score_at(answered, ["A", "B"], threshold, 2) == 0.75


def test_of_equally_good_thresholds_the_middle_one_is_taken() -> None:
    # known at 0.8, unknown at 0.2: whatever lies between is right
    answered = ranking({"q": [("A", 0.8)], "r": [("A", 0.2)]})
    threshold = local.best_threshold(answered, strings(["A", UNKNOWN]), UNKNOWN, 1)
    assert threshold == pytest.approx(0.5, abs=0.01)


def slow_relevance(
    answered: list[str], own: str, label: str, gallery: dict[str, str]
) -> tuple[list[bool], int]:
    others = {name for name, known in gallery.items() if known == label and name != own}
    return [name in others and label not in ("", UNKNOWN) for name in answered], (
        0 if label in ("", UNKNOWN) else len(others)
    )


@given(
    st.dictionaries(
        st.integers(0, 30).map(str), st.sampled_from(["A", "B", "", UNKNOWN]), min_size=1
    ),
    st.dictionaries(
        st.integers(20, 50).map(str), st.sampled_from(["A", "B", "C", "", UNKNOWN]), min_size=1
    ),
    st.randoms(use_true_random=False),
)
def test_relevance_equals_looking_up_each_answer(
    gallery: dict[str, str], query: dict[str, str], random: object
) -> None:
    # an image that is a query and in the gallery has one label
    query = {name: gallery.get(name, label) for name, label in query.items()}
    answered = []
    for own in query:
        others = [name for name in gallery if name != own]
        random.shuffle(others)  # type: ignore[attr-defined]
        answered.append([*others, "", "", ""][:3])
    images: list[ImageSet] = [image_set(query), image_set(gallery)]
    relevant, total = local.relevance(np.array(answered), *images, UNKNOWN)
    wanted = [
        slow_relevance(row, own, label, gallery)
        for row, (own, label) in zip(answered, query.items(), strict=True)
    ]
    assert relevant.tolist() == [row for row, _ in wanted]
    assert total.tolist() == [count for _, count in wanted]


def test_a_perfect_network_scores_one() -> None:
    rng = np.random.default_rng(0)
    who = rng.integers(0, 12, size=120)
    names = [f"i{i}" for i in range(120)]
    embeddings: Embeddings = placed(
        {name: 30.0 * w + rng.uniform(-5, 5) for name, w in zip(names, who, strict=True)}
    )
    label_of = {name: f"w{w}" for name, w in zip(names, who, strict=True)}
    train, query = dict(list(label_of.items())[:90]), dict(list(label_of.items())[90:])
    split = holdout(train, query, list(query.values()))
    asked: Competition = competition()
    assert set(values(local.evaluate(embeddings, split, asked)).values()) == {1.0}
