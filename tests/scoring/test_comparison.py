import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.errors import KitboxError
from kitbox.records import strings
from kitbox.scoring import comparison
from kitbox.scoring.bootstrap import resample_weights
from kitbox.scoring.comparison import Difference, QueryChange
from kitbox.scoring.outcomes import (
    BalancedAccuracy,
    ClusterAgreement,
    GlobalAveragePrecision,
    Mean,
    Outcome,
)


def mean(values: np.ndarray | list[float], ids: list[str] | None = None) -> Mean:
    names = ids or [f"q{i}" for i in range(len(values))]
    return Mean(strings(names), np.asarray(values, np.float64))


def compare(a: Outcome, b: Outcome, names: tuple[str, str] = ("A", "B")) -> Difference:
    """Return the difference where each query shows another individual."""
    return comparison.compare(a, b, {}, names)


PAIRS = st.lists(st.tuples(*[st.sampled_from([0.0, 0.2, 0.5, 1.0])] * 2), min_size=1, max_size=9)


@given(PAIRS)
def test_exchanging_the_systems_changes_the_sign_of_the_difference(
    pairs: list[tuple[float, float]],
) -> None:
    a, b = (mean(values) for values in zip(*pairs, strict=True))
    there, back = compare(a, b), compare(b, a)
    assert (back.value, back.p) == (-there.value, there.p)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))


@given(PAIRS)
def test_p_is_the_share_of_all_swaps_that_differ_as_much(pairs: list[tuple[float, float]]) -> None:
    change = [after - before for before, after in pairs]
    dealt = [
        abs(sum(sign * each for sign, each in zip(signs, change, strict=True)))
        for signs in itertools.product([-1, 1], repeat=len(change))
    ]
    exact = np.mean(np.array(dealt) >= abs(sum(change)) - 1e-9)
    found = compare(*(mean(values) for values in zip(*pairs, strict=True))).p
    # of 10,000 swaps the share strays by 0.005 (one standard error) at most
    assert found == pytest.approx(exact, abs=0.02)


def test_the_interval_draws_the_same_queries_for_both() -> None:
    rng = np.random.default_rng(2)
    hard = rng.random(200)  # how hard a query is shows in both systems
    a, b = hard, np.clip(hard + 0.03, 0, 1)
    found = compare(mean(a), mean(b))
    drawn = np.concatenate([(w @ (b - a)) / 200 for w in resample_weights(np.arange(200))])
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])))
    assert found.high - found.low < 0.005  # apart, each mean strays by 0.04


def test_p_does_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = np.random.default_rng(3).random((2, 32))
    at_once = compare(mean(a), mean(b)).p
    monkeypatch.setattr(comparison, "_BLOCK_SIZE", 32 * 100)
    assert compare(mean(a), mean(b)).p == pytest.approx(at_once, abs=0.02)


def test_equal_systems_show_no_difference() -> None:
    found = compare(mean([0.5, 1.0, 0.0]), mean([0.5, 1.0, 0.0]), ("old", "new"))
    assert found.p == 1.0
    assert found.sentence == (
        "no difference is shown: new - old is 0.000 [0.000, 0.000], p = 1.000; "
        "the interval contains 0"
    )
    assert found.largest_changes(5) == ((), ())


def test_the_better_system_is_named_first() -> None:
    rng = np.random.default_rng(0)
    low = rng.random(400) * 0.8
    high = low + rng.random(400) * 0.1
    assert compare(mean(low), mean(high), ("old", "new")).sentence == (
        "new is better than old by 0.050 [0.048, 0.053], p < 0.001"
    )
    assert compare(mean(high), mean(low), ("old", "new")).sentence == (
        "old is better than new by 0.050 [0.048, 0.053], p < 0.001"
    )


@pytest.mark.parametrize(
    ("low", "high", "p", "sentence"),
    [
        (0.012, 0.055, 0.002, "B is better than A by 0.034 [0.012, 0.055], p = 0.002"),
        (0.012, 0.055, None, "B is better than A by 0.034 [0.012, 0.055]"),
        (
            -0.012,
            0.08,
            0.21,
            "no difference is shown: B - A is 0.034 [-0.012, 0.080], p = 0.210; "
            "the interval contains 0",
        ),
        (
            -0.012,
            0.08,
            None,
            "no difference is shown: B - A is 0.034 [-0.012, 0.080]; the interval contains 0",
        ),
        (
            0.001,
            0.08,
            0.06,
            "no difference is shown: B - A is 0.034 [0.001, 0.080], p = 0.060; "
            "the interval is clear of 0, but p is not below 0.05",
        ),
        (
            -0.001,
            0.08,
            0.04,
            "no difference is shown: B - A is 0.034 [-0.001, 0.080], p = 0.040; "
            "p is below 0.05, but the interval contains 0",
        ),
    ],
)
def test_the_sentence_reports_the_interval_and_p(
    low: float, high: float, p: float | None, sentence: str
) -> None:
    found = Difference(
        names=("A", "B"), value=0.034, low=low, high=high, p=p, query_ids=strings(["q"])
    )
    assert found.sentence == sentence
    assert found.as_json()["sentence"] == sentence
    assert found.as_json()["queries"] == 1


def test_the_queries_that_changed_most_are_listed_in_both_directions() -> None:
    a = mean([0.0, 1.0, 0.5, 0.5, 1.0, 0.0], list("uvwxyz"))
    b = mean([1.0, 0.0, 0.5, 0.7, 0.9, 0.5], list("uvwxyz"))
    found = compare(a, b).largest_changes(2)
    assert found is not None
    assert found[0] == (QueryChange("u", 0.0, 1.0), QueryChange("z", 0.0, 0.5))
    assert found[1] == (QueryChange("v", 1.0, 0.0), QueryChange("y", 1.0, 0.9))
    every = compare(a, b).largest_changes(100)
    assert every is not None
    assert [len(part) for part in every] == [3, 2]


def test_other_queries_are_refused_and_the_first_is_named() -> None:
    message = r"^query 2 is 'b' in old but 'c' in new; score both on the same holdout$"
    with pytest.raises(KitboxError, match=message):
        compare(mean([1, 1], ["a", "b"]), mean([1, 1], ["a", "c"]), ("old", "new"))
    message = r"^query 3 is 'c' in A but missing in B; score both on the same holdout$"
    with pytest.raises(KitboxError, match=message):
        compare(mean([1, 1, 1], ["a", "b", "c"]), mean([1, 1], ["a", "b"]))
    message = r"^query 1 is missing in A but 'a' in B; score both on the same holdout$"
    with pytest.raises(KitboxError, match=message):
        compare(mean([]), mean([1], ["a"]))


def test_a_comparison_without_queries_is_refused() -> None:
    with pytest.raises(KitboxError, match=r"^A and B have no query; nothing to compare$"):
        compare(mean([]), mean([]))
    nothing = GlobalAveragePrecision(strings(["a"]), np.ones(1), *np.zeros((2, 1), np.bool_))
    with pytest.raises(KitboxError, match=r"^the metric counts none of the 1 queries; nothing to"):
        compare(nothing, nothing)


N = 120
IDS = strings([f"q{i}" for i in range(N)])
IDENTITY = strings([f"i{i % 30}" for i in range(N)])
GROUP = strings(["Lynx", "Turtle"] * (N // 2))


def balanced(share: float, seed: int) -> BalancedAccuracy:
    right = np.random.default_rng(seed).random(N) < share
    return BalancedAccuracy(
        query_ids=IDS, identity=IDENTITY, known=np.arange(N) % 30 < 20, correct=right, group=GROUP
    )


def certain(share: float, seed: int, scale: float = 1.0) -> GlobalAveragePrecision:
    rng = np.random.default_rng(seed)
    right = rng.random(N) < share
    return GlobalAveragePrecision(IDS, scale * (rng.random(N) + right), right, np.ones(N, np.bool_))


def test_different_metrics_are_not_compared() -> None:
    message = r"^A and B were scored by different metrics; score both by one$"
    with pytest.raises(KitboxError, match=message):
        compare(balanced(0.5, 0), certain(0.5, 0))


@pytest.mark.parametrize("outcome", [balanced, certain])
def test_metrics_that_are_no_mean_are_compared_by_swapping(outcome: object) -> None:
    worse, better, same = outcome(0.4, 1), outcome(0.9, 2), outcome(0.4, 3)  # type: ignore[operator]
    found = compare(worse, better)
    assert found.p == pytest.approx(1 / (comparison.FEWER_PERMUTATIONS + 1))
    assert found.low > 0.2
    assert found.largest_changes(3) is None
    assert "B is better than A by" in found.sentence
    alike = compare(worse, same)
    assert alike.p is not None
    assert alike.p > 0.1


def test_confidences_on_another_scale_make_no_difference() -> None:
    found = compare(certain(0.6, 4), certain(0.6, 4, scale=100.0))
    assert (found.value, found.p) == (0.0, 1.0)


def test_clusters_are_compared_by_their_interval_alone() -> None:
    rng = np.random.default_rng(0)
    found_all = np.where(rng.random(N) < 0.9, IDENTITY, "lost")
    found_some = np.where(rng.random(N) < 0.4, IDENTITY, "lost")
    found = compare(
        ClusterAgreement(query_ids=IDS, cluster=found_some, identity=IDENTITY, group=GROUP),
        ClusterAgreement(query_ids=IDS, cluster=found_all, identity=IDENTITY, group=GROUP),
    )
    assert found.p is None
    assert found.sentence.startswith("B is better than A by 0.")
    assert "p =" not in found.sentence


def shown_in(photographs: int) -> dict[str, str]:
    """Return the individual of each query, the same in so many of them in a row."""
    return {f"q{i}": f"i{i // photographs}" for i in range(N)}


def test_the_interval_of_a_difference_draws_individuals() -> None:
    after = np.repeat(np.random.default_rng(5).normal(0.02, 0.1, size=N // 10), 10)
    a, b = mean(np.full(N, 0.5)), mean(0.5 + after)
    apart, together = compare(a, b), comparison.compare(a, b, shown_in(10))
    assert together.value == apart.value
    assert together.high - together.low > 2.5 * (apart.high - apart.low)


def test_p_swaps_whole_individuals() -> None:
    # twelve photographs of two individuals: of four swaps two differ as much
    b = mean(np.full(12, 0.5), [f"q{i}" for i in range(12)])
    found = comparison.compare(mean(np.zeros(12)), b, {f"q{i}": f"i{i % 2}" for i in range(12)})
    assert found.p == pytest.approx(0.5, abs=0.02)


def test_metrics_that_are_no_mean_swap_whole_individuals() -> None:
    wrong, right = np.zeros(N, np.bool_), np.ones(N, np.bool_)
    a, b = (
        BalancedAccuracy(
            query_ids=IDS, identity=IDENTITY, known=right, correct=correct, group=GROUP
        )
        for correct in (wrong, right)
    )
    found = comparison.compare(a, b, shown_in(N // 2))
    assert found.p == pytest.approx(0.5, abs=0.05)
