import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import average_precision_score

from kitbox.records import strings
from kitbox.scoring import metrics
from tests.circle import ranking_of


def slow_average_precision(relevant: Sequence[bool], total: int, k: int) -> float:
    precisions = [
        sum(relevant[: rank + 1]) / (rank + 1) for rank in range(min(k, len(relevant)))
        if relevant[rank]
    ]  # fmt: skip
    return sum(precisions) / min(k, total)


HITS = arrays.arrays(np.bool_, st.tuples(st.integers(0, 8), st.integers(1, 12)))


@given(HITS, st.integers(1, 15), st.integers(0, 20))
def test_average_precision_equals_the_sum_over_ranks(hits: np.ndarray, k: int, more: int) -> None:
    total = np.maximum(hits.sum(axis=1) + more, 1)
    found = metrics.average_precision_at_k(hits, total, k)
    wanted = [
        slow_average_precision(row.tolist(), int(n), k) for row, n in zip(hits, total, strict=True)
    ]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    assert ((found >= 0) & (found <= 1)).all()


@given(HITS, st.integers(1, 15))
def test_recall_is_whether_anything_relevant_was_found(hits: np.ndarray, k: int) -> None:
    wanted = [float(any(row[:k])) for row in hits.tolist()]
    assert metrics.recall_at_k(hits, k).tolist() == wanted


def test_average_precision_is_divided_by_what_k_answers_can_reach() -> None:
    # Hits at ranks 1 and 3 of k = 3; four images are relevant. The precisions sum to 1 + 2/3.
    hits, total = np.array([[True, False, True]]), np.array([4])
    found = metrics.average_precision_at_k(hits, total, 3).item()
    assert found == pytest.approx((1 + 2 / 3) / 3)  # min(k, relevant): Kaggle's
    assert found != pytest.approx((1 + 2 / 3) / 2)  # hits found: as some libraries do
    assert found != pytest.approx((1 + 2 / 3) / 4)  # all relevant images: as ranx and trec_eval do


def test_one_relevant_image_found_first_is_perfect_at_any_k() -> None:
    # dividing by k itself would make it 0.01
    hits = np.arange(100)[None] == 0
    assert metrics.average_precision_at_k(hits, np.array([1]), 100).tolist() == [1.0]


def test_a_missing_query_scores_zero_and_is_not_skipped() -> None:
    answered = ranking_of({"q": [("Ahab", 0.5)], "r": []})
    by_label = metrics.label_average_precision_at_k(answered, strings(["Ahab", "Boo"]), 5)
    hits, total = answered.answers == "Ahab", np.array([1, 1])
    for found in (
        by_label,
        metrics.average_precision_at_k(hits, total, 5),
        metrics.recall_at_k(hits, 5),
        metrics.r_precision(hits, total),
        metrics.row_f1(answered.answers, hits, total),
    ):
        assert found.tolist() == [1.0, 0.0]  # the mean of those there are would be 1.0


def test_the_order_decides_where_all_similarities_are_equal() -> None:
    answered = ranking_of({"q": [("Ahab", 0.5), ("Boo", 0.5)]})
    first, second = strings(["Ahab"]), strings(["Boo"])
    # averaging over the ties would give 3/4 to both, or 1/2
    assert metrics.label_average_precision_at_k(answered, first, 5).tolist() == [1.0]
    assert metrics.label_average_precision_at_k(answered, second, 5).tolist() == [0.5]
    hits = np.array([[True, False]])
    assert metrics.average_precision_at_k(hits, np.array([1]), 5).tolist() == [1.0]


def test_a_row_shorter_than_k_is_scored_by_its_answers() -> None:
    # two of four relevant images, and nothing in places 3 to 5: (1 + 1) / min(5, 4)
    hits = np.array([[True, True]])
    assert metrics.average_precision_at_k(hits, np.array([4]), 5).tolist() == [0.5]
    assert metrics.recall_at_k(hits[:, :0], 5).tolist() == [0.0]


def test_recall_is_not_the_share_of_relevant_images() -> None:
    hits = np.array([[False, True, False, True]])
    assert metrics.recall_at_k(hits, 3).tolist() == [1.0]
    assert metrics.recall_at_k(hits, 1).tolist() == [0.0]


@pytest.mark.parametrize(
    ("hits", "total", "value"),
    [
        ([1, 0, 0, 0, 0], 3, 1 / 3),
        ([1, 1, 1, 0, 0], 3, 1.0),
        ([1, 1, 1, 1, 1], 50, 1.0),
        ([0, 0, 0, 0, 1], 1, 1 / 5),
        ([0, 0, 0, 0, 0], 2, 0.0),
        ([0, 1, 0, 0, 1], 2, (1 / 2 + 2 / 5) / 2),
    ],
)
def test_average_precision_at_five_by_hand(hits: list[int], total: int, value: float) -> None:
    found = metrics.average_precision_at_k(np.array([hits], np.bool_), np.array([total]), 5)
    assert found.tolist() == pytest.approx([value])


def test_answers_beyond_k_do_not_count() -> None:
    short, long = np.array([[False, True]]), np.array([[False, True, True, True]])
    total = np.array([3])
    assert metrics.average_precision_at_k(long, total, 2) == metrics.average_precision_at_k(
        short, total, 2
    )


@pytest.mark.parametrize(
    ("truth", "k", "value"),
    [
        ("Ahab", 5, 1.0),
        ("Boo", 5, 1 / 2),
        ("new_whale", 5, 1 / 3),
        ("Cleo", 5, 1 / 4),
        ("Cleo", 3, 0.0),
        ("Dora", 5, 0.0),
    ],
)
def test_a_label_counts_by_its_rank(truth: str, k: int, value: float) -> None:
    names = ["Ahab", "Boo", "new_whale", "Cleo"]
    answered = ranking_of({"q": [(name, 0.5) for name in names]})
    found = metrics.label_average_precision_at_k(answered, strings([truth]), k)
    assert found.tolist() == [value]


def test_an_empty_place_is_no_answer_whatever_is_expected() -> None:
    answered = ranking_of({"q": [("Ahab", 0.5)], "r": [("Ahab", 0.5), ("Boo", 0.4)]})
    found = metrics.label_average_precision_at_k(answered, strings(["", ""]), 5)
    assert found.tolist() == [0.0, 0.0]


@given(
    st.lists(st.permutations(["A", "B", "C", "D", "E"]), min_size=1, max_size=10),
    st.lists(st.sampled_from(["A", "C", "E", "Z"]), min_size=10, max_size=10),
    st.integers(1, 6),
)
def test_label_precision_equals_the_reciprocal_rank(
    answers: list[list[str]], truths: list[str], k: int
) -> None:
    truths = truths[: len(answers)]
    answered = ranking_of({f"q{i}": [(a, 0.5) for a in row] for i, row in enumerate(answers)})
    found = metrics.label_average_precision_at_k(answered, strings(truths), k)
    wanted = [
        1 / (row.index(truth) + 1) if truth in row[:k] else 0.0
        for row, truth in zip(answers, truths, strict=True)
    ]
    assert found.tolist() == wanted


@given(HITS, st.data())
def test_r_precision_counts_the_first_r_answers(hits: np.ndarray, data: st.DataObject) -> None:
    total = np.array([data.draw(st.integers(1, 15)) for _ in hits], dtype=np.int64)
    wanted = [sum(row[:n]) / n for row, n in zip(hits.tolist(), total.tolist(), strict=True)]
    assert metrics.r_precision(hits, total).tolist() == wanted


def test_r_precision_divides_by_r_where_fewer_were_answered() -> None:
    hits = np.array([[True, True, False]])
    assert metrics.r_precision(hits, np.array([5])).tolist() == [2 / 5]
    assert metrics.r_precision(hits, np.array([2])).tolist() == [1.0]


def slow_f1(answers: set[str], relevant: set[str]) -> float:
    return 2 * len(answers & relevant) / (len(answers) + len(relevant))


@given(
    st.lists(
        st.tuples(
            st.sets(st.sampled_from("abcdef")), st.sets(st.sampled_from("abcdefgh"), min_size=1)
        ),
        min_size=1,
        max_size=8,
    )
)
def test_row_f1_compares_two_sets(rows: list[tuple[set[str], set[str]]]) -> None:
    answers = np.array([(sorted(given) + [""] * 6)[:6] for given, _ in rows])
    relevant = np.array(
        [[answer in true for answer in row] for row, (_, true) in zip(answers, rows, strict=True)]
    )
    found = metrics.row_f1(answers, relevant, np.array([len(true) for _, true in rows]))
    assert found.tolist() == [slow_f1(*row) for row in rows]


def test_row_f1_with_the_query_itself_among_the_answers() -> None:
    # itself, one of its two twins and another image: 2 · 2 / (3 + 3)
    answers = np.array([["me", "twin", "other", ""]])
    relevant = np.array([[True, True, False, False]])
    assert metrics.row_f1(answers, relevant, np.array([3])).tolist() == [4 / 6]


def test_an_empty_place_is_no_answer_even_where_it_is_marked_relevant() -> None:
    answers, relevant = np.array([["a", ""]]), np.array([[True, True]])
    assert metrics.row_f1(answers, relevant, np.array([1])).tolist() == [1.0]


def test_row_f1_without_answers_and_relevant_images_is_one() -> None:
    answers, relevant = np.array([["", ""], ["a", ""]]), np.zeros((2, 2), np.bool_)
    assert metrics.row_f1(answers, relevant, np.array([0, 0])).tolist() == [1.0, 0.0]


def slow_gap(confidence: list[float], correct: list[bool], answerable: list[bool]) -> float:
    answered = [i for i in range(len(confidence)) if confidence[i] > -math.inf]
    answered.sort(key=lambda i: -confidence[i])  # a stable sort: the earlier of equals first
    hits = [correct[i] and answerable[i] for i in answered]
    return sum(sum(hits[: i + 1]) / (i + 1) for i in range(len(hits)) if hits[i]) / sum(answerable)


ANSWERS = st.lists(
    st.tuples(
        st.sampled_from([-math.inf, 0.0, 0.25, 0.5, 0.75, 1.0]), st.booleans(), st.booleans()
    ),
    min_size=1,
    max_size=20,
)


@given(ANSWERS)
def test_gap_equals_the_sum_over_one_list(answers: list[tuple[float, bool, bool]]) -> None:
    confidence, correct, answerable = (np.array(column) for column in zip(*answers, strict=True))
    found = metrics.global_average_precision(confidence, correct, answerable)
    if not answerable.any():
        assert np.isnan(found)
        return
    wanted = slow_gap(confidence.tolist(), correct.tolist(), answerable.tolist())
    assert float(found) == pytest.approx(wanted)
    assert 0 <= found <= 1


@given(
    st.permutations(range(12)),
    arrays.arrays(np.bool_, 12),
    arrays.arrays(np.int64, 12, elements=st.integers(0, 3)),
)
def test_gap_of_distinct_confidences_is_the_average_precision_of_one_list(
    places: list[int], correct: np.ndarray, drawn: np.ndarray
) -> None:
    correct[0], drawn[0] = True, 1
    confidence, weights = np.array(places, np.float64), drawn.astype(np.float64)
    everyone = np.ones(12, np.bool_)
    wanted = average_precision_score(correct, confidence, sample_weight=weights)
    # scikit-learn divides by the correct answers, GAP by the queries that have one
    wanted *= (weights * correct).sum() / weights.sum()
    assert float(
        metrics.global_average_precision(confidence, correct, everyone, weights)
    ) == pytest.approx(wanted)


def test_gap_by_hand() -> None:
    # falling confidence: right, wrong, a distractor, right; the fifth gave no answer.
    confidence = np.array([0.9, 0.8, 0.7, 0.6, -np.inf])
    correct = np.array([True, False, True, True, True])
    answerable = np.array([True, True, False, True, True])
    found = metrics.global_average_precision(confidence, correct, answerable)
    assert float(found) == pytest.approx((1 / 1 + 2 / 4) / 4)


def test_of_equally_confident_answers_the_earlier_query_comes_first() -> None:
    tied, everyone = np.zeros(2), np.ones(2, np.bool_)
    assert metrics.global_average_precision(tied, np.array([True, False]), everyone) == 1 / 2
    assert metrics.global_average_precision(tied, np.array([False, True]), everyone) == 1 / 4


PAIRS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans()),
    min_size=1,
    max_size=25,
)


@given(PAIRS)
def test_average_precision_over_pairs_is_that_of_each_query_alone(
    pairs: list[tuple[int, float, bool]],
) -> None:
    query, scores, hits = (np.array(column) for column in zip(*pairs, strict=True))
    found = metrics.pair_average_precision(query, scores, hits)
    assert len(found) == query.max() + 1
    for number in range(len(found)):
        own = query == number
        if hits[own].any():
            wanted = average_precision_score(hits[own], scores[own])
            assert found[number] == pytest.approx(wanted, abs=1e-12)
        else:
            assert np.isnan(found[number])


def test_average_precision_over_pairs_by_hand() -> None:
    # query 0: right at 1 and 3 of 3; query 1: both pairs are equally similar, one is right
    query, hits = np.array([0, 1, 0, 1, 0]), np.array([True, True, False, False, True])
    scores = np.array([0.9, 0.5, 0.8, 0.5, 0.1])
    found = metrics.pair_average_precision(query, scores, hits)
    assert found.tolist() == pytest.approx([(1 + 2 / 3) / 2, 1 / 2])
