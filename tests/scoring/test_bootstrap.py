import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.errors import KitboxError
from kitbox.records import Score, strings
from kitbox.scoring import bootstrap
from kitbox.scoring.outcomes import (
    BalancedAccuracy,
    ClusterAgreement,
    GlobalAveragePrecision,
    Mean,
    Outcome,
)


def mean(values: np.ndarray | list[float]) -> Mean:
    return Mean(strings([f"q{i}" for i in range(len(values))]), np.asarray(values, np.float64))


def score(outcome: Outcome) -> Score:
    """Return the score of queries that each show another individual."""
    return bootstrap.score(outcome, {})


def slow(values: np.ndarray) -> tuple[float, float]:
    generator = np.random.default_rng(0)
    means = [
        np.mean([values[i] for i in generator.integers(len(values), size=len(values))])
        for _ in range(bootstrap.RESAMPLES)
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def test_an_interval_is_that_of_drawing_queries_one_by_one() -> None:
    values = np.array([0, 0.25, 1, 1, 0.5, 0.2, 1])
    found = score(mean(values))
    assert (found.low, found.high) == pytest.approx(slow(values))
    assert (found.value, found.queries) == (pytest.approx(values.mean()), 7)


def test_an_interval_does_not_depend_on_the_block_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = mean(np.linspace(0, 1, 31) ** 2)
    at_once = score(values)
    for chunk in (1, 31 * 7, 31 * 1999):
        monkeypatch.setattr(bootstrap, "_BLOCK_SIZE", chunk)
        found = score(values)
        assert (found.low, found.high) == pytest.approx((at_once.low, at_once.high), rel=1e-12)


def test_an_interval_is_as_wide_as_that_of_a_normal_approximation() -> None:
    # 400 queries, half of them right: 1.96 * sqrt(0.5 * 0.5 / 400) = 0.049 to each side
    found = score(mean(np.repeat([0.0, 1.0], 200)))
    assert found.value == 0.5
    assert found.high - found.value == pytest.approx(0.049, abs=0.004)
    assert found.value - found.low == pytest.approx(0.049, abs=0.004)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_a_mean_lies_between_the_extremes(values: list[float]) -> None:
    found = score(mean(values))
    bounds = [min(values), found.low, found.high, max(values)]
    assert np.all(np.diff(bounds) >= -1e-12)
    assert min(values) - 1e-12 <= found.value <= max(values) + 1e-12


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 1.0])
def test_equal_values_have_an_interval_without_width(value: float) -> None:
    # a thousand times 0.1 or 1/3 sums up to a little more or less than it should
    found = score(mean(np.full(1000, value)))
    assert [found.value, found.low, found.high] == pytest.approx([value] * 3)


def test_no_query_is_refused() -> None:
    message = r"^no query of the holdout has a match in the gallery; nothing to score$"
    with pytest.raises(KitboxError, match=message):
        score(mean([]))


def test_each_resample_draws_as_many_queries_as_there_are() -> None:
    drawn = np.concatenate(list(bootstrap.resample_weights(np.arange(17))))
    assert drawn.shape == (bootstrap.RESAMPLES, 17)
    assert (drawn.sum(axis=1) == 17).all()
    # of 17 queries each is left out of (16/17)^17 = 36 % of the resamples
    assert (drawn == 0).mean() == pytest.approx((16 / 17) ** 17, abs=0.01)


def test_a_metric_that_counts_no_query_is_refused() -> None:
    nothing = GlobalAveragePrecision(strings(["a", "b"]), np.ones(2), *np.zeros((2, 2), np.bool_))
    message = r"^the metric counts none of the 2 queries; nothing to score$"
    with pytest.raises(KitboxError, match=message):
        score(nothing)


def test_resamples_that_the_metric_does_not_count_are_left_out() -> None:
    # (2/3)^3 = 30 % of the resamples hold no query that has an answer
    first = np.array([True, False, False])
    outcome = GlobalAveragePrecision(strings(list("abc")), np.array([0.9, 0.5, 0.1]), first, first)
    found = score(outcome)
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


def test_metrics_that_are_no_mean_have_intervals() -> None:
    rng = np.random.default_rng(5)
    n = 300
    ids = strings([f"q{i}" for i in range(n)])
    identity = rng.choice([f"i{i}" for i in range(40)], size=n)
    cluster = np.where(rng.random(n) < 0.7, identity, "lost")
    right, group = rng.random(n) < 0.7, np.where(np.arange(n) < 150, "Lynx", "Turtle")
    confidence = rng.random(n) + right
    for outcome in (
        BalancedAccuracy(
            query_ids=ids, identity=identity, known=identity < "i3", correct=right, group=group
        ),
        GlobalAveragePrecision(ids, confidence, right, np.ones(n, np.bool_)),
        ClusterAgreement(query_ids=ids, cluster=cluster, identity=identity, group=group),
    ):
        found = score(outcome)
        assert found.low < found.value < found.high
        assert 0.04 < found.high - found.low < 0.3
        assert found.queries == n


def test_photographs_of_one_individual_are_drawn_together() -> None:
    # an easy individual is easy in all ten photographs: 40 individuals count, not 400 queries
    values = np.repeat(np.tile([0.0, 1.0], 20), 10)
    outcome = mean(values)
    individuals = {f"q{i}": f"i{i // 10}" for i in range(400)}
    found = bootstrap.score(outcome, individuals)
    assert found.high - found.value == pytest.approx(1.96 * np.sqrt(0.25 / 40), abs=0.012)
    assert found.queries == 400
    assert found.high - found.low > 2.5 * (score(outcome).high - score(outcome).low)


def test_queries_without_an_individual_are_each_one_of_their_own() -> None:
    ids = strings(list("abcde"))
    found = bootstrap.number_individuals(ids, {"a": "", "b": "Boo", "c": "", "e": "Boo"})
    assert found.tolist() == [0, 1, 2, 3, 1]
    # an individual that has the name of a query is not that query
    assert bootstrap.number_individuals(strings(["a", "b"]), {"b": "a"}).tolist() == [0, 1]


def test_an_individual_in_balanced_accuracies_is_one_of_those_averaged() -> None:
    # 100 individuals, half of them found in all their photographs
    ids = strings([f"q{i}" for i in range(300)])
    identity = strings([f"i{i % 100}" for i in range(300)])
    right = np.arange(300) % 100 < 50
    outcome = BalancedAccuracy(
        query_ids=ids,
        identity=identity,
        known=np.ones(300, np.bool_),
        correct=right,
        group=strings(["g"] * 300),
    )
    found = bootstrap.score(outcome, dict(zip(ids.tolist(), identity.tolist(), strict=True)))
    assert found.high - found.value == pytest.approx(1.96 * np.sqrt(0.25 / 100), abs=0.015)


def test_halves_hold_no_individual_twice() -> None:
    clusters = np.array([0, 1, 1, 2, 3, 4, 0])
    drawn = np.concatenate(list(bootstrap.half_weights(clusters)))
    assert drawn.shape == (bootstrap.RESAMPLES, 7)
    _, firsts = np.unique(clusters, return_index=True)
    assert (drawn == drawn[:, firsts][:, clusters]).all()
    assert (drawn[:, firsts].sum(axis=1) == 2).all()
    assert drawn[:, firsts].mean(axis=0) == pytest.approx([2 / 5] * 5, abs=0.05)


def one_of(kind: str, rng: np.random.Generator, n: int) -> tuple[Outcome, dict[str, str]]:
    """Return an outcome of n queries of about n / 3 individuals."""
    ids = strings([f"q{i}" for i in range(n)])
    identity = rng.choice([f"i{i}" for i in range(n // 3)], size=n)
    right, group = rng.random(n) < 0.7, rng.choice(["Lynx", "Turtle"], size=n)
    cluster = np.where(right, identity, rng.choice(["lost", "found"], size=n))
    outcome = {
        "mean": Mean(ids, rng.random(n)),
        "gap": GlobalAveragePrecision(ids, rng.random(n) + right, right, np.ones(n, np.bool_)),
        "balanced": BalancedAccuracy(
            query_ids=ids, identity=identity, known=identity < "i3", correct=right, group=group
        ),
        "ari": ClusterAgreement(query_ids=ids, cluster=cluster, identity=identity, group=group),
        "nmi": ClusterAgreement(
            query_ids=ids, cluster=cluster, identity=identity, group=group, which="nmi"
        ),
    }[kind]
    return outcome, dict(zip(ids.tolist(), identity.tolist(), strict=True))


@pytest.mark.parametrize("kind", ["mean", "gap", "balanced", "ari", "nmi"])
@pytest.mark.parametrize("seed", range(5))
def test_an_interval_contains_its_value(kind: str, seed: int) -> None:
    outcome, individuals = one_of(kind, np.random.default_rng(seed), 90)
    found = bootstrap.score(outcome, individuals)
    assert found.low < found.value < found.high
    alone = score(outcome)  # as if each query showed another individual
    assert alone.low < alone.value < alone.high


@pytest.mark.parametrize("kind", ["mean", "gap", "balanced", "ari", "nmi"])
def test_one_individual_alone_has_an_interval_without_width(kind: str) -> None:
    outcome, individuals = one_of(kind, np.random.default_rng(0), 6)
    found = bootstrap.score(outcome, dict.fromkeys(individuals, "Ahab"))
    assert (found.low, found.high) == pytest.approx((found.value, found.value))


def strayed(rng: np.random.Generator, individuals: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Return individuals and clusters: photographs are in a neighbour's cluster or alone."""
    identity = np.repeat(np.arange(individuals), 1 + rng.geometric(0.3, individuals))
    hard, u = rng.beta(1, 3, individuals)[identity], rng.random(len(identity))
    cluster = np.where(u < hard, identity // 2 * 2, identity)
    return identity, np.where(u < hard / 2, 1000 + np.arange(len(identity)), cluster)


@pytest.mark.parametrize("which", ["ari", "nmi"])
def test_intervals_of_clusters_cover_the_scores_of_other_individuals(which: str) -> None:
    rng = np.random.default_rng(1)

    def clustering() -> tuple[ClusterAgreement, dict[str, str]]:
        identity, cluster = (column.astype(np.str_) for column in strayed(rng))
        ids = strings([f"q{i}" for i in range(len(identity))])
        group = strings(["g"] * len(ids))
        shown = dict(zip(ids.tolist(), identity.tolist(), strict=True))
        return ClusterAgreement(
            query_ids=ids, cluster=cluster, identity=identity, group=group, which=which
        ), shown  # type: ignore[arg-type]

    expected = np.mean([clustering()[0].value for _ in range(200)])
    found = [bootstrap.score(*clustering()) for _ in range(30)]
    assert np.mean([score.low <= expected <= score.high for score in found]) >= 0.85
