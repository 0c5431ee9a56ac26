from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kitbox.records import strings
from kitbox.scoring import metrics
from tests.circle import ranking


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


def test_answers_beyond_k_count_nothing() -> None:
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
    answered = ranking({"q": [(name, 0.5) for name in names]})
    found = metrics.label_average_precision_at_k(answered, strings([truth]), k)
    assert found.tolist() == [value]


def test_an_empty_place_is_no_answer_whatever_the_truth() -> None:
    answered = ranking({"q": [("Ahab", 0.5)], "r": [("Ahab", 0.5), ("Boo", 0.4)]})
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
    answered = ranking({f"q{i}": [(a, 0.5) for a in row] for i, row in enumerate(answers)})
    found = metrics.label_average_precision_at_k(answered, strings(truths), k)
    wanted = [
        1 / (row.index(truth) + 1) if truth in row[:k] else 0.0
        for row, truth in zip(answers, truths, strict=True)
    ]
    assert found.tolist() == wanted
