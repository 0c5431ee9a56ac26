from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from kitbox.errors import KitboxError
from kitbox.fusion import fusion_model
from kitbox.fusion.fusion_method import METHODS, parse_fusion
from kitbox.fusion.fusion_model import FusionFit, expected_calibration_error
from kitbox.fusion.pair_table import PairTable, PairTruth
from kitbox.records import strings
from kitbox.scoring.thresholds import parts_of
from tests.pair_tables import drawn, table_of, truth_of


def fitted(text: str, table: PairTable, truth: PairTruth) -> FusionFit:
    beyond = np.linspace(-0.5, 0.1, 50), np.arange(50) == 49
    return fusion_model.cross_fit(parse_fusion(text), table, truth, beyond)


@pytest.mark.parametrize("text", METHODS)
def test_where_matches_tell_more_a_fusion_is_better_than_either_signal(text: str) -> None:
    table, truth = drawn()
    fit = fitted(text, table, truth)
    fused = roc_auc_score(truth.same, fit.probability)
    alone = [roc_auc_score(truth.same, table.values[:, column]) for column in (0, 1)]
    assert fused > max(alone) + 0.01
    assert fit.evidence["auc"] == pytest.approx(fused, abs=1e-3)
    assert fit.evidence["auc_of_similarity"] == pytest.approx(alone[0], abs=1e-6)
    assert fit.evidence["calibration_error"] < 0.03


@pytest.mark.parametrize("text", ["logit", "classifier"])
def test_a_useless_signal_does_no_harm(text: str) -> None:
    with_it, truth = drawn(useless=True)
    without, _ = drawn()
    plain = replace(with_it, signals=without.signals, values=with_it.values[:, [0, 2]])
    plain = replace(plain, local=without.local)
    areas = [
        roc_auc_score(truth.same, fitted(text, table, truth).probability)
        for table in (with_it, plain)
    ]
    assert areas[0] > areas[1] - 0.01


@pytest.mark.parametrize("text", METHODS)
def test_labels_of_a_part_change_nothing_in_its_own_probabilities(text: str) -> None:
    table, truth = drawn(40, 8)
    part = truth.part_of_first == 2
    shuffled = truth.same.copy()
    shuffled[part] = np.random.default_rng(7).permutation(shuffled[part])
    other = replace(truth, same=shuffled)
    before, after = (fitted(text, table, each).probability for each in (truth, other))
    assert (truth.same != shuffled).any()
    np.testing.assert_array_equal(before[part], after[part])
    assert (before[~part] != after[~part]).any()


def test_a_photograph_of_the_part_on_the_other_side_is_not_fitted_on_either() -> None:
    table, truth = drawn(60, 10)
    # individuals of part 2 are also candidates of queries of other parts
    second = np.where(np.arange(len(table)) % 7 == 0, 2, truth.part_of_second)
    truth = replace(truth, part_of_second=second)
    flipped = truth.same ^ ((second == 2) & (truth.part_of_first != 2))
    before, after = (
        fitted("logit", table, replace(truth, same=same)).probability
        for same in (truth.same, flipped)
    )
    own = truth.part_of_first == 2
    np.testing.assert_array_equal(before[own], after[own])


def both_ways(pairs: int = 150) -> tuple[PairTable, PairTruth]:
    """Return pairs of queries that are in their own gallery: each in both directions."""
    rng = np.random.default_rng(5)
    one, other = rng.integers(0, 40, pairs), rng.integers(40, 80, pairs)
    keys = np.unique(one * 100 + other)
    one, other = np.divmod(keys, 100)
    same = (one % 20) == (other % 20)
    values = np.stack([rng.normal(0.3 + 0.4 * same, 0.2), rng.poisson(1 + 9 * same)], axis=1)
    first, second = np.append(one, other), np.append(other, one)
    order = np.lexsort((second, first))
    back = np.empty(len(order), dtype=np.int64)
    back[order] = np.arange(len(order))
    turned = np.append(np.arange(len(keys)) + len(keys), np.arange(len(keys)))
    table = table_of(np.tile(values, (2, 1))[order].T.tolist(), local=1)
    table = replace(
        table,
        query=first[order],
        first=strings([f"i{n}" for n in first[order]]),
        second=strings([f"i{n}" for n in second[order]]),
        reverse=back[turned[order]],
    )
    label_of = {f"i{n}": f"whale {n % 20}" for n in range(80)}
    return table, PairTruth.of_labels(table, label_of, None)


@pytest.mark.parametrize("text", ["logit", "rank_sum", "classifier"])
def test_both_directions_have_one_probability_from_a_fit_without_both_individuals(
    text: str,
) -> None:
    table, truth = both_ways()
    found = fitted(text, table, truth).probability
    np.testing.assert_array_equal(found, found[table.reverse])
    # the other labels of both parts may be anything
    parts = (int(truth.part_of_first[0]), int(truth.part_of_second[0]))
    pair = np.isin(truth.part_of_first, parts) & np.isin(truth.part_of_second, parts)
    wrong = np.where(truth.touches(parts), ~truth.same, truth.same)
    again = fitted(text, table, replace(truth, same=wrong)).probability
    np.testing.assert_array_equal(
        found[pair & (truth.part_of_first != truth.part_of_second)],
        again[pair & (truth.part_of_first != truth.part_of_second)],
    )


def test_truth_comes_from_labels_and_the_unknown_label_differs_from_all() -> None:
    table = table_of([[0.1] * 5])
    table = replace(
        table,
        first=strings(["a", "a", "a", "n", "a"]),
        second=strings(["b", "c", "n", "m", "x"]),
    )
    label_of = {"a": "Ahab", "b": "Ahab", "c": "Boo", "n": "new_whale", "m": "new_whale"}
    truth = PairTruth.of_labels(table, label_of, "new_whale")
    assert truth.same.tolist() == [True, False, False, False, False]
    # of two unknown whales, and of a photograph without label, nothing is known
    assert truth.counted.tolist() == [True, True, True, False, False]
    assert truth.part_of_second[0] == parts_of(strings(["Ahab"]))[0] == truth.part_of_first[0]


def test_one_true_pair_is_enough_to_keep_the_order_of_similarity() -> None:
    values = np.linspace(0, 1, 40)
    table = table_of([values.tolist(), [0.0] * 40], local=1)
    fit = fitted("logit", table, truth_of((np.arange(40) == 39).tolist()))
    assert fit.evidence["same"] == 1
    assert fit.evidence["fits_without_both_kinds"] == 1
    for part in range(5):
        assert (np.diff(fit.probability[np.arange(40) % 5 == part]) > 0).all()


def test_a_silent_pair_is_not_behind_a_less_similar_one_that_was_not_looked_at() -> None:
    rng = np.random.default_rng(6)
    same = rng.random(2000) < 0.2
    similarity = rng.random(2000)
    # matches alone tell: a pair without any is surely of two individuals
    matches = np.where(same, 3.0, 0.0)
    table = table_of([similarity.tolist(), matches.tolist()], local=1)
    beyond = rng.random(400) * 0.5, rng.random(400) < 0.1
    model = fusion_model.cross_fit(
        parse_fusion("logit"), table, truth_of(same.tolist()), beyond
    ).model
    silent = table_of([[0.3, 0.5], [0.0, 0.0]], local=1)
    silent = replace(silent, next_outside=np.array([0.2999, 0.4999]))
    assert (model.scorer.probability(silent) < model.outside.probability(silent.whole)).all()
    silent = replace(silent, signals=table.signals)
    found = model.probability(silent)
    less_similar = model.outside.probability(np.array([0.2999, 0.4999]))
    assert (found > less_similar).all()


def test_pairs_of_which_nothing_is_known_are_refused() -> None:
    table, truth = drawn(3, 3)
    nothing = replace(truth, counted=np.zeros(len(table), dtype=np.bool_))
    with pytest.raises(KitboxError, match="no pair of the shortlists has two photographs of known"):
        fitted("logit", table, nothing)


def test_a_model_refuses_pairs_of_other_signals() -> None:
    table, truth = drawn(20, 5)
    other, _ = drawn(20, 5, useless=True)
    with pytest.raises(KitboxError, match="fusion was fitted on similarity, signal 1"):
        fitted("mean", table, truth).model.probability(other)


@pytest.mark.parametrize("text", ["logit", "classifier"])
def test_the_same_pairs_give_the_same_bytes(text: str) -> None:
    table, truth = drawn(40, 8)
    one, other = (fitted(text, table, truth) for _ in range(2))
    assert one.probability.tobytes() == other.probability.tobytes()
    assert one.evidence == other.evidence


def test_the_calibration_error_is_the_mean_distance_of_bins_from_their_share() -> None:
    probability = np.array([0.1, 0.15, 0.9, 1.0])
    same = np.array([False, True, True, True])
    # bin .1–.2: mean .125 against .5, weight 1/2; bin .9–1: mean .95 against 1, weight 1/2
    assert expected_calibration_error(probability, same) == pytest.approx(
        (abs(0.125 - 0.5) + abs(0.95 - 1)) / 2
    )
