"""Balance: labels of queries that are answered together."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kitbox.errors import KitboxError
from kitbox.records import Floats, strings
from kitbox.retrieval import balance
from kitbox.retrieval.balance import (
    Assignment,
    BalancedLabels,
    BalanceMethod,
    EachLabel,
    LabelSizes,
    Sinkhorn,
    apply_balance,
    parse_balance,
    whole_sizes,
)
from kitbox.retrieval.label_similarity import LabelSimilarities

# Few values, so that many are equal.
VALUES = st.sampled_from([-np.inf, 0.0, 0.25, 0.5, 0.75, 1.0])
MATRICES = st.tuples(st.integers(1, 5), st.integers(1, 4)).flatmap(
    lambda shape: st.lists(VALUES, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]).map(
        lambda values: np.array(values, dtype=np.float32).reshape(shape)
    )
)


def measured(similarity: Any, ids: list[str] | None = None) -> LabelSimilarities:
    array = np.asarray(similarity, dtype=np.float32)
    names = ids or [f"q{number}" for number in range(len(array))]
    labels = strings([f"w{number}" for number in range(array.shape[1])])
    middle = len(array) // 2
    parts = [slice(0, middle), slice(middle, len(array))]
    return LabelSimilarities(strings(names), labels, iter([(rows, array[rows]) for rows in parts]))


def matrix(found: BalancedLabels) -> Floats:
    return np.concatenate([block for _, block in found.measured.blocks])


def balanced(similarity: Any, method: BalanceMethod, photographs: Any = None) -> Floats:
    counts = None if photographs is None else np.asarray(photographs)
    return matrix(apply_balance(measured(similarity), method, counts))


def first(similarity: Floats) -> list[int]:
    return similarity.argmax(axis=1).tolist()


def best_total(similarity: Floats, places: list[int]) -> tuple[int, float]:
    """Return the most queries with a place, and their largest total similarity, by trying all."""
    best = (0, 0.0)
    choices = [None, *range(similarity.shape[1])]
    for chosen in itertools.product(choices, repeat=len(similarity)):
        taken = [chosen.count(label) for label in range(similarity.shape[1])]
        given_ = [(row, label) for row, label in enumerate(chosen) if label is not None]
        total = sum(float(similarity[pair]) for pair in given_)
        if all(a <= b for a, b in zip(taken, places, strict=True)) and total > -np.inf:
            best = max(best, (len(given_), total))
    return best


@settings(max_examples=60, deadline=None)
@given(MATRICES, st.integers(1, 3))
def test_an_assignment_has_the_largest_total_of_all(similarity: Floats, most: int) -> None:
    result = apply_balance(measured(similarity), Assignment(most=most))
    found = matrix(result)
    count, total = best_total(similarity, [most] * similarity.shape[1])
    assert result.without_place == len(similarity) - count
    # a query with a place has its label alone at the top, at the similarity that it had
    unchanged = (found == similarity).all(axis=1)
    tops = found.argmax(axis=1)
    placed = ~unchanged
    assert (found[placed, tops[placed]] == similarity[placed, tops[placed]]).all()
    if count == len(similarity):
        own = similarity[np.arange(len(similarity)), tops]
        assert own.sum() == pytest.approx(total)
        assert max(np.bincount(tops)) <= most


@settings(max_examples=60, deadline=None)
@given(MATRICES, st.sampled_from([0.0, 0.25, 0.5, 9.0]))
def test_each_label_that_a_query_can_give_up_for_is_a_first_answer(
    similarity: Floats, within: float
) -> None:
    found = balanced(similarity, EachLabel(within=within))
    best = similarity.max(axis=1)
    tops = first(found)
    # the most labels that distinct queries can cover, and the least total loss, by trying all
    choices = [
        [None]
        + [label for label in range(similarity.shape[1])
           if np.isfinite(similarity[row, label]) and best[row] - similarity[row, label] <= within]
        for row in range(len(similarity))
    ]  # fmt: skip
    wanted = (0, 0.0)
    for chosen in itertools.product(*choices):
        labels = [label for label in chosen if label is not None]
        if len(set(labels)) == len(labels):
            loss = sum(
                float(best[row] - similarity[row, label])
                for row, label in enumerate(chosen)
                if label is not None
            )
            wanted = max(wanted, (len(labels), -loss))
    rows = [row for row in range(len(similarity)) if np.isfinite(best[row])]
    assert len({tops[row] for row in rows}) >= wanted[0]
    lost = sum(float(best[row] - similarity[row, tops[row]]) for row in rows)
    assert lost == pytest.approx(-wanted[1])


@settings(max_examples=40, deadline=None)
@given(MATRICES, st.sampled_from(["equal", "train"]))
def test_sizes_are_filled_at_the_largest_total(similarity: Floats, like: Any) -> None:
    similarity = np.where(np.isneginf(similarity), -1, similarity).astype(np.float32)
    photographs = np.arange(1, similarity.shape[1] + 1)
    found = balanced(similarity, LabelSizes(like=like), photographs)
    shares = photographs / photographs.sum() if like == "train" else np.ones(len(photographs))
    places = whole_sizes(shares, len(similarity)).tolist()
    tops = found.argmax(axis=1)
    assert np.bincount(tops, minlength=len(places)).tolist() == places
    own = similarity[np.arange(len(similarity)), tops]
    assert own.sum() == pytest.approx(best_total(similarity, places)[1])


@pytest.mark.parametrize(
    ("shares", "total", "sizes"),
    [
        ([0.5, 0.5], 3, [2, 1]),
        ([1, 1, 1], 3, [1, 1, 1]),
        ([3, 1], 2, [2, 0]),
        ([0.7, 0.2, 0.1], 10, [7, 2, 1]),
        ([1, 1, 1], 2, [1, 1, 0]),
    ],
)
def test_whole_sizes_have_the_largest_remainders(
    shares: list[float], total: int, sizes: list[int]
) -> None:
    assert whole_sizes(np.array(shares, dtype=np.float64), total).tolist() == sizes


# Two labels that three queries compete for.
CONTESTED = [[0.9, 0.8, 0.1], [0.9, 0.3, 0.2], [0.7, 0.65, 0.6]]


@pytest.mark.parametrize(
    ("method", "firsts", "moved", "without_place"),
    [
        (EachLabel(within=0.1), [1, 0, 2], 2, 0),
        (EachLabel(within=0.09), [0, 0, 1], 1, 0),  # .05 for the second label; the third is far
        (EachLabel(within=0), [0, 0, 0], 0, 0),
        (Assignment(), [1, 0, 2], 2, 0),
        (Assignment(most=2), [0, 0, 1], 1, 0),
        (Assignment(most=3), [0, 0, 0], 0, 0),
        (LabelSizes(like="equal"), [1, 0, 2], 2, 0),
        (LabelSizes(like="train"), [0, 0, 1], 1, 0),
    ],
)
def test_contested_labels_by_hand(
    method: BalanceMethod, firsts: list[int], moved: int, without_place: int
) -> None:
    photographs = np.array([5, 3, 1])  # of 3 queries 1.67, 1 and .33
    result = apply_balance(measured(CONTESTED), method, photographs)
    assert (result.queries, result.moved, result.without_place) == (3, moved, without_place)
    assert first(matrix(result)) == firsts


def test_the_other_labels_of_a_moved_query_keep_their_order() -> None:
    found = balanced(
        [[0.9, 0.8, 0.85, 0.1], [0.9, 0.0, 0.0, 0.0], [0.0, 0.0, 0.9, 0.0]], EachLabel()
    )
    # w1 comes first at its own similarity, and all others lose the .1 that it lacked
    assert found[0].tolist() == pytest.approx([0.8, 0.8, 0.75, 0.0], abs=1e-6)
    assert first(found) == [1, 0, 2]
    assert found[0, 0] < found[0, 1]
    assert found[1:].tolist() == pytest.approx(np.array([[0.9, 0, 0, 0], [0, 0, 0.9, 0]]), abs=1e-6)


def test_more_queries_than_places_are_counted_and_stay_as_they_are() -> None:
    similarity = np.array([[0.9, 0.1], [0.8, 0.7], [0.6, 0.2]], dtype=np.float32)
    result = apply_balance(measured(similarity), Assignment())
    found = matrix(result)
    assert result.without_place == 1
    assert first(found) == [0, 1, 0]
    assert found[2].tolist() == similarity[2].tolist()


def test_with_fewer_queries_than_labels_each_has_a_label_of_its_own() -> None:
    similarity = [[0.9, 0.85, 0.1, 0.0], [0.9, 0.2, 0.1, 0.0]]
    for method in (EachLabel(), Assignment()):
        assert first(balanced(similarity, method)) == [1, 0]


@pytest.mark.parametrize("method", [EachLabel(), Assignment(), LabelSizes(), Sinkhorn()])
def test_one_label_is_the_answer_of_all(method: BalanceMethod) -> None:
    result = apply_balance(measured([[0.5], [0.25], [0.75]]), method, np.array([4]))
    assert matrix(result).tolist() == [[0.5], [0.25], [0.75]]
    assert result.moved == 0


@pytest.mark.parametrize("method", [EachLabel(), Assignment(), LabelSizes(), Sinkhorn()])
def test_no_query_and_no_label_are_left_alone(method: BalanceMethod) -> None:
    for shape in ((0, 3), (3, 0)):
        result = apply_balance(measured(np.zeros(shape)), method, np.ones(shape[1], dtype=np.int64))
        assert (list(result.measured.blocks), result.moved) == ([], 0)


@pytest.mark.parametrize("method", [EachLabel(), Assignment(), LabelSizes(), Sinkhorn(rounds=9)])
def test_a_query_that_is_similar_to_no_label_gets_none(method: BalanceMethod) -> None:
    similarity = np.array([[-np.inf, -np.inf], [0.5, 0.25], [0.5, 0.5]], dtype=np.float32)
    found = balanced(similarity, method, [1, 1])
    assert np.isneginf(found[0]).all()
    assert np.isfinite(found[1:]).all()


def sinkhorn_sums(similarity: Floats, temperature: float) -> Floats:
    odds = np.exp(similarity.astype(np.float64) / temperature)
    return np.asarray((odds / odds.sum(axis=1, keepdims=True)).sum(axis=0))


@pytest.mark.parametrize("temperature", [0.02, 0.1, 1.0])
@pytest.mark.parametrize("like", ["equal", "train"])
def test_sinkhorn_gives_each_label_its_share(temperature: float, like: Any) -> None:
    draw = np.random.default_rng(0)
    similarity = draw.uniform(-1, 1, (40, 6)).astype(np.float32)
    similarity[:, 0] += 0.5  # a hub
    photographs = np.array([1, 2, 3, 4, 5, 5])
    method = Sinkhorn(temperature=temperature, rounds=5000, like=like)
    found = balanced(similarity, method, photographs)
    wanted = photographs * 2.0 if like == "train" else np.full(6, 40 / 6)
    assert sinkhorn_sums(found, temperature) == pytest.approx(wanted, rel=1e-3)
    # only an offset of each label was added, 0 on average
    offsets = (found - similarity).mean(axis=0)
    assert found - similarity == pytest.approx(np.tile(offsets, (40, 1)), abs=1e-6)
    assert offsets @ wanted == pytest.approx(0, abs=1e-5)


def test_sinkhorn_reaches_a_label_that_is_far_from_all_queries() -> None:
    found = balanced([[1.0, -1.0]] * 4, Sinkhorn(temperature=0.001, like="equal"))
    assert sinkhorn_sums(found, 0.001) == pytest.approx([2, 2], rel=1e-3)


def test_sinkhorn_is_computed_in_blocks_of_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    similarity = np.random.default_rng(1).uniform(-1, 1, (20, 5)).astype(np.float32)
    whole = balanced(similarity, Sinkhorn(), np.ones(5, dtype=np.int64))
    monkeypatch.setattr(balance, "row_blocks", lambda rows, _: iter([slice(0, 7), slice(7, rows)]))
    assert balanced(similarity, Sinkhorn(), np.ones(5, dtype=np.int64)) == pytest.approx(
        whole, abs=1e-6
    )


@pytest.mark.parametrize("method", [EachLabel(), Assignment(), LabelSizes(like="equal")])
def test_ties_are_broken_by_names_and_not_by_the_order_of_the_list(method: BalanceMethod) -> None:
    equal = np.full((4, 4), 0.5, dtype=np.float32)
    ids = ["d", "b", "a", "c"]
    one = matrix(apply_balance(measured(equal, ids), method))
    turned = matrix(apply_balance(measured(equal, ids[::-1]), method))
    assert first(one) == first(turned)[::-1]
    assert sorted(first(one)) == [0, 1, 2, 3]
    again = matrix(apply_balance(measured(equal, ids), method))
    assert one.tobytes() == again.tobytes()


@pytest.mark.parametrize(
    ("text", "method"),
    [
        ("each_label", EachLabel(within=0.1)),
        ("each_label:within=0.3", EachLabel(within=0.3)),
        ("assignment: most = 2", Assignment(most=2)),
        ("sizes:like=equal", LabelSizes(like="equal")),
        ("sinkhorn:temperature=0.1,rounds=5", Sinkhorn(temperature=0.1, rounds=5)),
    ],
)
def test_a_balance_has_a_text(text: str, method: BalanceMethod) -> None:
    assert parse_balance(text) == method
    assert parse_balance(str(method)) == method


def test_the_text_of_a_balance_has_all_its_settings() -> None:
    assert str(Sinkhorn()) == "sinkhorn:temperature=0.05,rounds=100,like=train"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("asignment", "there is no balance 'asignment'; did you mean assignment?"),
        ("fair", "there is no balance 'fair'; there are each_label, assignment, sizes, sinkhorn"),
        ("sizes:like=test", "the balance 'sizes:like=test': like = 'test' should be 'equal' or"),
        ("assignment:most=0", "the balance 'assignment:most=0': most = 0 should be greater than"),
        ("assignment:least=1", "the balance 'assignment:least=1': assignment has no setting 'lea"),
        (
            "sinkhorn:0.1",
            "the balance 'sinkhorn:0.1': '0.1' is no setting with a value; write each as "
            "NAME=VALUE; it has temperature, rounds, like",
        ),
        ("sinkhorn:temperature=nan", "the balance 'sinkhorn:temperature=nan': temperature = nan"),
    ],
)
def test_a_wrong_balance_is_one_sentence(text: str, message: str) -> None:
    with pytest.raises(KitboxError) as caught:
        parse_balance(text)
    assert str(caught.value).startswith(message)


def test_what_memory_does_not_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balance, "_MOST_COSTS", 8)
    with pytest.raises(KitboxError) as caught:
        balanced(CONTESTED, Assignment())
    assert str(caught.value) == (
        "balance: 3 queries and 3 labels are 9 similarities, more than 8; use --balance sinkhorn, "
        "or leave it out"
    )
    balanced(CONTESTED, Sinkhorn())
    monkeypatch.setattr(balance, "_MOST_SIMILARITIES", 8)
    with pytest.raises(KitboxError, match="more than 8; leave --balance out"):
        balanced(CONTESTED, Sinkhorn())
