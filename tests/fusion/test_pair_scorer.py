import numpy as np
import pytest

from kitbox.fusion import pair_scorer
from kitbox.fusion.fusion_method import parse_fusion
from kitbox.fusion.pair_scorer import PairScorer, non_negative_logistic
from kitbox.fusion.probability_curve import ProbabilityCurve, logit
from tests.pair_tables import drawn, table_of, truth_of

# A curve that leaves probabilities as they are.
PLAIN = ProbabilityCurve(np.array([0.0, 1.0]), np.array([0.0, 1.0]))


def scorer_of(text: str, signals: int, **given: object) -> PairScorer:
    fields = {"prior": 0.5, "weights": np.ones(signals)} | given
    return PairScorer(method=parse_fusion(text), curves=(PLAIN,) * signals, **fields)  # type: ignore[arg-type]


def test_the_mean_is_that_of_the_signals_that_are_there() -> None:
    table = table_of([[0.2, 0.4], [0.6, 0.8], [0.7, 0.0]])
    found = scorer_of("mean", 3).probability(table)
    assert found.tolist() == pytest.approx([0.5, 0.4])
    partly = table_of([[0.2], [0.6], [np.nan]], local=2)
    assert scorer_of("mean", 3).probability(partly).tolist() == pytest.approx([0.4])


def test_logits_are_added_by_their_weights_above_the_prior() -> None:
    table = table_of([[0.5, 0.9], [0.8, 0.25]])
    scorer = scorer_of("logit", 2, prior=0.2, weights=np.array([1.0, 0.5]), offset=-1.0)
    odds = np.log(0.2 / 0.8)
    expected = [
        (np.log(1) - odds) + 0.5 * (np.log(4) - odds) - 1,
        (np.log(9) - odds) + 0.5 * (np.log(1 / 3) - odds) - 1,
    ]
    np.testing.assert_allclose(scorer.probability(table), 1 / (1 + np.exp(-np.array(expected))))


def test_a_missing_signal_says_nothing_in_a_sum_of_logits() -> None:
    scorer = scorer_of("logit", 3, prior=0.2, weights=np.ones(3))
    silent = table_of([[0.6], [0.2], [0.7]], local=2)
    missing = table_of([[0.6], [np.nan], [0.7]], local=2)
    assert scorer.probability(missing)[0] == pytest.approx(scorer.probability(silent)[0])


def test_boost_adds_a_share_of_what_is_left_to_one() -> None:
    # s = .5; both matchers raise what is left by half of l: .5 + .5·.4·.5 = .6, then + .5·.5·.4
    table = table_of([[0.5, 0.5], [0.4, 0.0], [0.5, 0.0]], local=2)
    found = scorer_of("boost:weight=0.5", 3).probability(table)
    assert found.tolist() == pytest.approx([0.7, 0.5])


def test_rank_sum_takes_the_mean_place_of_a_pair_in_the_lists_of_its_query() -> None:
    # of query 0 the places are (1, 2), (2, 1), (3, 3); of query 1 the second signal ties
    table = table_of(
        [[0.9, 0.8, 0.7, 0.3, 0.2], [0.5, 0.6, 0.1, 0.0, 0.0]], queries=[0, 0, 0, 1, 1]
    )
    found = scorer_of("rank_sum", 2).probability(table)
    assert found.tolist() == pytest.approx([0.75, 0.75, 0.0, 0.75, 0.25])


def test_votes_are_counted_and_ties_broken_by_the_global_probability() -> None:
    table = table_of([[0.9, 0.8, 0.7, 0.1], [0.0, 0.2, 0.0, 0.4]], queries=[0] * 4, local=1)
    found = pair_scorer._votes(2, table, table.whole)
    # the first two by similarity, the second and the fourth by matches; zeros have no vote
    assert found.tolist() == pytest.approx([1.9, 2.8, 0.7, 1.1])


def test_weights_are_those_of_a_slow_search_and_not_below_zero() -> None:
    rng = np.random.default_rng(3)
    same = rng.random(400) < 0.3
    values = np.stack([rng.normal(1.5 * same, 1), rng.normal(-0.5 * same, 1)], axis=1)

    def loss(weights: np.ndarray, offset: float) -> float:
        scores = values @ weights + offset
        return float(np.logaddexp(0, scores).sum() - scores[same].sum() + weights @ weights / 2)

    weights, offset = non_negative_logistic(values, same)
    grid = [
        (loss(np.array([a, b]), c), a, b)
        for a in np.arange(0.5, 2.5, 0.1)
        for b in np.arange(0, 0.5, 0.1)
        for c in np.arange(-3, 0, 0.1)
    ]
    best, first, second = min(grid)
    assert weights[0] == pytest.approx(first, abs=0.1)
    assert weights[1] == second == 0.0  # unbounded it would be negative
    assert loss(weights, offset) <= best


def test_a_useless_signal_gets_no_weight() -> None:
    table, truth = drawn(400, useless=True)
    scorer = pair_scorer.fit(parse_fusion("logit"), table, truth)
    logits = [
        logit(curve.probability(table.values[:, column]))
        for column, curve in enumerate(scorer.curves)
    ]
    reach = [weight * each.std() for weight, each in zip(scorer.weights, logits, strict=True)]
    assert reach[1] < 0.05
    assert min(reach[0], reach[2]) > 0.5


def test_with_pairs_of_one_kind_the_global_similarity_decides() -> None:
    table = table_of([[0.1, 0.5, 0.3], [2.0, 0.0, 1.0]], local=1)
    for right in (False, True):
        truth = truth_of([right] * 3)
        for text in ("logit", "mean", "boost", "vote"):
            scorer = pair_scorer.fit(parse_fusion(text), table, truth)
            found = scorer.probability(table)
            assert ((found > 0) & (found < 1)).all()
            assert np.argsort(found).tolist() == [0, 2, 1]


def test_signals_that_are_all_constant_leave_all_pairs_equal() -> None:
    table = table_of([[0.4] * 6, [0.0] * 6], local=1)
    scorer = pair_scorer.fit(parse_fusion("logit"), table, truth_of([True, True, *[False] * 4]))
    found = scorer.probability(table)
    assert np.ptp(found) == 0
    assert found[0] == pytest.approx(1 / 3, abs=0.06)


def test_a_pair_without_keypoints_has_the_calibrated_global_similarity() -> None:
    table, truth = drawn()
    values = table.values.copy()
    values[:3, 1] = np.nan
    blank = table_of(values.T.tolist(), queries=table.query.tolist(), local=1)
    for text in ("logit", "mean", "boost", "rank_sum", "vote"):
        scorer = pair_scorer.fit(parse_fusion(text), blank, truth)
        expected = scorer.curves[0].probability(blank.whole[:3])
        np.testing.assert_allclose(scorer.probability(blank)[:3], expected)


@pytest.mark.parametrize("text", ["logit", "mean", "boost", "rank_sum", "vote"])
def test_both_directions_of_a_pair_have_one_probability(text: str) -> None:
    rng = np.random.default_rng(4)
    pairs = 60
    similarity, matches = rng.random(pairs), rng.poisson(3, pairs).astype(float)
    reverse = np.concatenate([np.arange(pairs) + pairs, np.arange(pairs)])
    queries = np.concatenate([np.sort(rng.integers(0, 9, pairs)), np.arange(9, 9 + pairs)])
    table = table_of(
        [np.tile(similarity, 2).tolist(), np.tile(matches, 2).tolist()],
        queries=queries.tolist(),
        local=1,
        reverse=reverse.tolist(),
    )
    same = np.tile(similarity + 0.1 * matches > 1, 2)
    found = pair_scorer.fit(parse_fusion(text), table, truth_of(same.tolist())).probability(table)
    np.testing.assert_array_equal(found[:pairs], found[pairs:])
