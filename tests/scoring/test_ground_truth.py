import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kitbox.competition import protocol
from kitbox.errors import KitboxError
from kitbox.records import Holdout, ImageSet, Ranking, Search, strings
from kitbox.scoring.ground_truth import GroundTruth, metric_outcome, related_outcomes, relevance
from kitbox.scoring.outcomes import BalancedAccuracy, ClusterAgreement
from tests.circle import competition, image_set, ranking_of

UNKNOWN = "new_whale"


def of(
    query: ImageSet, gallery: ImageSet, expected: list[str] | None = None, **settings: object
) -> GroundTruth:
    toy = competition(**settings)  # type: ignore[arg-type]
    assert query.labels is not None
    answers = query.labels if expected is None else strings(expected)
    return GroundTruth.of_searches(
        protocol.searches(query, gallery, toy), query, answers, gallery, toy
    )


def slow_relevance(
    answered: list[str], own: str, label: str, gallery: dict[str, str], itself: bool
) -> tuple[list[bool], int]:
    others = {name for name, known in gallery.items() if known == label and name != own}
    others = set() if label in ("", UNKNOWN) else others
    relevant = others | ({own} if itself else set())
    return [name in relevant for name in answered], len(relevant)


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.integers(0, 30).map(str), st.sampled_from(["A", "B", "", UNKNOWN]), min_size=1
    ),
    st.dictionaries(
        st.integers(20, 50).map(str), st.sampled_from(["A", "B", "C", "", UNKNOWN]), min_size=1
    ),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_relevance_equals_looking_up_each_answer(
    gallery: dict[str, str], query: dict[str, str], itself: bool, random: object
) -> None:
    # an image that is a query and in the gallery has one label
    query = {name: gallery.get(name, label) for name, label in query.items()}
    answered = []
    for own in query:
        others = [name for name in gallery if name != own]
        random.shuffle(others)  # type: ignore[attr-defined]
        answered.append(([own] if itself else []) + [*others, "", "", ""][:3])
    known = of(
        image_set(query), image_set(gallery), answers="matches", task={"with_itself": itself}
    )
    found = Ranking(known.query_ids, np.array(answered), np.zeros((len(query), len(answered[0]))))
    wanted = [
        slow_relevance(row, own, label, gallery, itself)
        for row, (own, label) in zip(answered, query.items(), strict=True)
    ]
    relevant = relevance(found, known, with_itself=itself)
    assert relevant.tolist() == [row for row, _ in wanted]
    assert known.relevant.tolist() == [count for _, count in wanted]


def test_queries_of_a_scenario_are_matched_by_their_images() -> None:
    images = image_set({"a": "Ahab", "b": "Ahab", "c": "Boo"})
    settings = competition(answers="images", k=2)
    first = Search("first", strings(["q1", "q2"]), strings(["a", "c"]), strings(["a", "b"]))
    second = Search("second", strings(["q3"]), strings(["a"]), strings(["b", "c"]))
    assert images.labels is not None
    known = GroundTruth.of_searches([first, second], images, images.labels, images, settings)
    assert known.query_ids.tolist() == ["q1", "q2", "q3"]
    assert known.images.tolist() == ["a", "c", "a"]
    assert known.identity.tolist() == ["Ahab", "Boo", "Ahab"]
    assert known.groups.tolist() == ["first", "first", "second"]
    assert known.relevant.tolist() == [1, 0, 1]
    found = ranking_of({"q1": [("b", 0.9), ("", -1)], "q2": [("b", 0.9), ("a", 0.8)],
                     "q3": [("c", 0.9), ("b", 0.8)]})  # fmt: skip
    outcome = metric_outcome(found, known, settings)
    assert outcome.query_ids.tolist() == ["q1", "q3"]
    assert outcome.per_query is not None
    assert outcome.per_query.tolist() == [1.0, 0.5]


def test_a_query_without_label_is_named() -> None:
    images = image_set({"a": "Ahab"})
    search = Search("", strings(["q", "r"]), strings(["a", "x"]), strings(["a"]))
    with pytest.raises(KitboxError, match=r"^no label of query 'x'$"):
        GroundTruth.of_searches([search], images, strings(["Ahab"]), images, competition())


def test_queries_of_one_search_keep_the_groups_of_their_list() -> None:
    query = image_set({"q": "A", "r": "B"}, {"q": "Lynx", "r": "Turtle"})
    assert of(query, image_set({"a": "A"})).groups.tolist() == ["Lynx", "Turtle"]
    assert of(image_set({"q": "A"}), image_set({"a": "A"})).groups.tolist() == [""]


def test_the_ground_truth_of_some_rows_is_that_of_their_queries() -> None:
    query = image_set({"q": "A", "r": "B", "s": "C"}, {"q": "x", "r": "y", "s": "z"})
    known = of(query, image_set({"a": "A", "b": "B", "c": "B"})).take(np.array([2, 1]))
    assert known.query_ids.tolist() == known.images.tolist() == ["s", "r"]
    assert known.expected.tolist() == known.identity.tolist() == ["C", "B"]
    assert known.groups.tolist() == ["z", "y"]
    assert known.relevant.tolist() == [0, 2]


def test_the_ground_truth_of_a_holdout_has_expected_answers_and_identities() -> None:
    train, query = image_set({"a": "Ahab", "b": UNKNOWN}), image_set({"q": "Ahab", "r": "Dora"})
    split = Holdout(train, query, train, strings(["Ahab", UNKNOWN]))
    settings = competition()
    known = GroundTruth.of_holdout(split, protocol.searches(query, train, settings), settings)
    assert known.expected.tolist() == ["Ahab", UNKNOWN]
    assert known.identity.tolist() == ["Ahab", "Dora"]
    assert known.relevant.tolist() == [1, 0]
    assert known.label_of == {"a": "Ahab", "b": ""}


QUERY = image_set({"q": "Ahab", "r": "Boo", "s": "Dora"})
GALLERY = image_set({"a": "Ahab", "b": "Boo", "c": "Boo"})
EXPECTED = ["Ahab", "Boo", UNKNOWN]
LABELS = {
    "q": [("Ahab", 0.9), ("Boo", 0.5)],
    "r": [("Ahab", 0.8), ("Boo", 0.4)],
    "s": [("Ahab", 0.7), (UNKNOWN, 0.6)],
}


def test_image_answers_are_scored_where_the_individual_is_in_the_gallery() -> None:
    settings = {"answers": "images", "k": 2}
    found = ranking_of({"q": [("a", 0.9), ("b", 0.5)], "r": [("a", 0.9), ("c", 0.5)],
                     "s": [("a", 0.9), ("b", 0.5)]})  # fmt: skip
    outcome = metric_outcome(found, of(QUERY, GALLERY, **settings), competition(**settings))  # type: ignore[arg-type]
    assert outcome.query_ids.tolist() == ["q", "r"]
    assert outcome.value == pytest.approx((1 + (1 / 2) / 2) / 2)


def test_label_answers_are_scored_by_the_rank_of_the_right_one() -> None:
    known = of(QUERY, GALLERY, EXPECTED, k=2)
    assert metric_outcome(ranking_of(LABELS), known, competition(k=2)).value == pytest.approx(2 / 3)


def test_matches_are_scored_by_f1_with_the_query_itself() -> None:
    settings = {"answers": "matches", "k": 3, "task": {"with_itself": True}}
    query = image_set({"q": "Ahab", "r": "Boo", "s": "Boo"})
    known = of(query, query, **settings)
    assert known.relevant.tolist() == [1, 2, 2]
    found = ranking_of({"q": [("q", 1), ("r", 0.9)], "r": [("r", 1), ("s", 0.9)], "s": [("s", 1)]})
    outcome = metric_outcome(found, known, competition(**settings))  # type: ignore[arg-type]
    assert outcome.per_query is not None
    assert outcome.per_query.tolist() == pytest.approx([2 / 3, 1, 2 / 3])


def test_a_query_outside_the_gallery_is_among_its_own_matches() -> None:
    settings = {"answers": "matches", "k": 3, "task": {"with_itself": True}}
    known = of(image_set({"q": "Ahab", "r": ""}), GALLERY, **settings)
    found = ranking_of({"q": [("q", 1), ("a", 0.9)], "r": [("r", 1)]})
    outcome = metric_outcome(found, known, competition(**settings))  # type: ignore[arg-type]
    assert outcome.per_query is not None
    assert outcome.per_query.tolist() == [1, 1]


@pytest.mark.parametrize("unknown_label", [UNKNOWN, None])
def test_one_label_with_its_confidence_is_scored_over_all_queries(
    unknown_label: str | None,
) -> None:
    settings = {"answers": "label", "task": {"metric": "gap"}, "unknown_label": unknown_label}
    expected = ["Ahab", "Boo", unknown_label or ""]
    known = of(QUERY, GALLERY, expected, **settings)
    first = {query: row[:1] for query, row in LABELS.items()}
    outcome = metric_outcome(ranking_of(first), known, competition(**settings))  # type: ignore[arg-type]
    # q is right, and first of all; r is wrong, s a distractor: (1/1) / 2
    assert outcome.value == 0.5
    silent = ranking_of({**first, "q": [("", -math.inf)]})
    assert metric_outcome(silent, known, competition(**settings)).value == 0  # type: ignore[arg-type]


def test_one_label_or_the_unknown_is_scored_by_balanced_accuracies() -> None:
    query = image_set(
        {"q": "Ahab", "r": "Boo", "s": "Dora", "t": ""}, dict.fromkeys("qrst", "Lynx")
    )
    settings = {"answers": "label"}
    known = of(query, GALLERY, ["Ahab", "Boo", UNKNOWN, UNKNOWN], **settings)
    found = ranking_of({"q": [("Ahab", 0.9)], "r": [("Ahab", 0.8)], "s": [(UNKNOWN, 0.6)],
                     "t": [("Ahab", 0.9)]})  # fmt: skip
    outcome = metric_outcome(found, known, competition(**settings))  # type: ignore[arg-type]
    assert outcome.value == pytest.approx(math.sqrt(1 / 2 * 1 / 2))
    parts = related_outcomes(found, known, competition(**settings))  # type: ignore[arg-type]
    assert {name: part.value for name, part in parts.items()} == {"baks": 0.5, "baus": 0.5}
    assert isinstance(outcome, BalancedAccuracy)
    assert outcome.identity.tolist() == ["Ahab", "Boo", "Dora", "t"]


def test_clusters_are_scored_by_the_images_of_known_individuals() -> None:
    query = image_set({"q": "Ahab", "r": "Ahab", "s": "Boo", "t": ""})
    settings = {"answers": "clusters"}
    known = of(query, query, **settings)
    cluster_of = {"q": "first", "r": "first", "s": "second", "t": "first"}
    found = ranking_of({name: [(cluster, 0.5)] for name, cluster in cluster_of.items()})
    outcome = metric_outcome(found, known, competition(**settings))  # type: ignore[arg-type]
    assert isinstance(outcome, ClusterAgreement)
    assert outcome.query_ids.tolist() == ["q", "r", "s"]
    assert outcome.value == 1.0
    further = related_outcomes(found, known, competition(**settings))  # type: ignore[arg-type]
    assert {name: part.value for name, part in further.items()} == {"nmi": 1.0}


def test_other_metrics_have_no_related_outcomes() -> None:
    known = of(QUERY, GALLERY, EXPECTED, k=2)
    assert related_outcomes(ranking_of(LABELS), known, competition(k=2)) == {}


def test_a_related_outcome_that_counts_no_query_is_left_out() -> None:
    settings = competition(answers="label", k=1)
    known = image_set({"q": "Ahab"})
    gallery = image_set({"a": "Ahab"})
    searches = protocol.searches(known, gallery, settings)
    facts = GroundTruth.of_searches(searches, known, strings(["Ahab"]), gallery, settings)
    assert set(related_outcomes(ranking_of({"q": [("Ahab", 0.9)]}), facts, settings)) == {"baks"}
