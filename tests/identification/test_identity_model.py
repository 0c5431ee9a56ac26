from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from kitbox.errors import KitboxError
from kitbox.identification import identity_model
from kitbox.identification.identity_model import (
    IdentityModel,
    Knots,
    Signals,
    cross_fit,
    expected_new_share,
    has_own,
    log_loss,
    part_models,
    without_own,
)
from tests.identification.drawn_catalogue import (
    DrawnCatalogue,
    draw,
    draw_noise,
    draw_queries,
    draw_similarities,
    signals_of,
    unit,
)


def cross_fitted(signals, own, individuals, new_share):
    models = part_models(signals, own, individuals)
    return cross_fit(models, signals, own, individuals, new_share)


@cache
def catalogue() -> DrawnCatalogue:
    return draw(80)


@cache
def fitted() -> IdentityModel:
    return identity_model.fit(catalogue().signals, catalogue().own)


def small(*similarity: float) -> Signals:
    values = np.array([similarity], dtype=np.float32)
    return Signals(similarity=values, photographs=np.ones_like(values, dtype=np.int64))


def test_probabilities_of_all_individuals_and_of_a_new_one_sum_to_1():
    model = IdentityModel(slopes=(2.0,), intercept=-1.0)
    found = model.identities(small(0.5, 1.0), 0.5)
    # by hand: log-odds 0 and 1 against 0 of a new one
    total = 1 + np.e + 1
    np.testing.assert_allclose(found.probability, [[1 / total, np.e / total]])
    np.testing.assert_allclose(found.new, [1 / total])
    # three new ones for each known one: the odds of individuals are a third
    rarer = model.identities(small(0.5, 1.0), 0.75)
    np.testing.assert_allclose(rarer.new, [3 / (3 + 1 + np.e)])


def test_an_individual_without_photograph_has_probability_0():
    model = IdentityModel(slopes=(2.0,), intercept=-1.0)
    found = model.identities(small(0.5, -np.inf), 0.5)
    np.testing.assert_allclose(found.probability, [[0.5, 0]])


def test_certain_answers_do_not_overflow():
    model = IdentityModel(slopes=(5000.0,), intercept=0.0)
    found = model.identities(small(1.0, -1.0), 0.5)
    np.testing.assert_allclose([*found.probability[0], *found.new], [1, 0, 0])


def test_probabilities_of_new_photographs_are_as_often_right_as_they_say():
    # and rather too low: a new photograph has an encounter more to be found by than those that the
    # catalogue was asked about
    vectors, labels = draw_queries(catalogue(), 3000, new_share=0.25)
    gallery = catalogue().gallery
    found = fitted().identities(signals_of(vectors, gallery), 0.25)
    best, top = found.probability.argmax(axis=1), found.probability.max(axis=1)
    right = gallery.individuals[best] == labels
    for stated, happened in ((top, right), (found.new, labels == "")):
        for low in np.arange(0, 1, 0.2):
            rows = (stated >= low) & (stated < low + 0.2)
            if rows.sum() >= 200:
                assert abs(stated[rows].mean() - happened[rows].mean()) < 0.12
        assert abs(stated.mean() - happened.mean()) < 0.07


@pytest.mark.parametrize("shape", ["straight", "bent up", "bent down"])
def test_stated_probabilities_are_right_whatever_the_curve_of_their_log_odds(shape):
    model = identity_model.fit(*draw_similarities(1500, shape))
    signals, own = draw_similarities(4000, shape, new_share=0.3, seed=1)
    found = model.identities(signals, 0.3)
    is_own = own[:, None] == np.arange(signals.similarity.shape[1])
    bins = 0
    for stated, happened in ((found.probability, is_own), (found.new, own < 0)):
        for low in np.arange(0, 1, 0.1):
            chosen = (stated >= low) & (stated < low + 0.1)
            if chosen.sum() >= 200:
                assert abs(stated[chosen].mean() - happened[chosen].mean()) < 0.05
                bins += 1
    assert bins >= 8


def test_thirty_photographs_are_enough_for_a_curve_that_is_nearly_straight():
    losses = []
    for seed in range(4):
        model = identity_model.fit(*draw_similarities(30, "straight", seed=seed))
        signals, own = draw_similarities(1000, "straight", new_share=0.3, seed=10)
        found = model.identities(signals, 0.3)
        right = np.where(own < 0, found.new, found.probability[np.arange(1000), own])
        losses.append(-np.log(right).mean())
    # the log-odds of the individual against another one are known: 2.5·similarity - 2.5²/2
    true = IdentityModel(slopes=(2.5,), intercept=-(2.5**2) / 2 - np.log(40))
    found = true.identities(signals, 0.3)
    right = np.where(own < 0, found.new, found.probability[np.arange(1000), own])
    assert np.mean(losses) < -np.log(right).mean() + 0.05


def test_a_model_goes_through_its_knots():
    model = IdentityModel(slopes=(0.0, 2.0, 1.0), intercept=1.0, knots=Knots((0.5, 1.0)))
    found = model.identities(small(0.25, 0.75, 2.0), 0.5)
    # by hand, of similarities kept within knots: 1 + 0·0.25 + 2·0.5 + 1·1 and so on
    np.testing.assert_allclose(np.log(found.probability / found.new[:, None]), [[3, 3.5, 5]])


def test_equal_similarities_are_no_reason_for_anything():
    signals, own = draw_similarities(50, "straight")
    equal = Signals(
        similarity=np.full_like(signals.similarity, 0.5), photographs=signals.photographs
    )
    model = identity_model.fit(equal, own)
    assert model.knots == Knots()
    found = model.identities(equal, 0.5)
    np.testing.assert_allclose(found.new, 0.5, atol=0.01)
    np.testing.assert_allclose(found.probability, 0.5 / 40, atol=0.001)


def test_similarity_never_counts_against_an_individual():
    given = catalogue().signals
    there = np.isfinite(given.similarity)
    reversed_ = replace(given, similarity=np.where(there, -given.similarity, -np.inf))
    assert max(identity_model.fit(reversed_, catalogue().own).slopes) == 0


def test_individuals_met_once_stay_possible_although_the_catalogue_cannot_ask_about_them():
    drawn = draw_noise([1] * 40 + [2] * 20)
    model = identity_model.fit(drawn.signals, drawn.own)
    assert model.of_count == pytest.approx(0)
    found = model.identities(signals_of(drawn.vectors, drawn.gallery), 0.5)
    ratio = found.probability[:, 40:].mean() / found.probability[:, :40].mean()
    assert 0.9 < ratio < 1.1


def test_matches_that_tell_individuals_apart_have_weight_and_help():
    drawn, own = catalogue(), catalogue().own
    signals = drawn.signals
    matches = np.zeros_like(signals.similarity)
    rows = np.flatnonzero(has_own(signals, own))
    matches[rows, own[rows]] = 3.0
    helped = Signals(
        similarity=signals.similarity, photographs=signals.photographs, matches=matches
    )
    assert identity_model.fit(helped, own).match_slopes[0] > 0.5
    losses = [
        log_loss(cross_fitted(given, own, drawn.individuals, 0.3), own, 0.3)
        for given in (signals, helped)
    ]
    assert losses[1] < losses[0] - 0.2


def test_few_matches_mean_nothing_and_many_settle_it():
    # any two photographs share about 8 keypoints by chance, a third of those of one animal 50
    generator = np.random.default_rng(0)
    signals, own = draw_similarities(600, "straight")
    rows = np.arange(len(own))
    found = generator.poisson(8, size=signals.similarity.shape)
    found[rows, own] = np.where(generator.random(len(own)) < 1 / 3, 50, found[rows, own])
    matched = replace(signals, matches=np.log1p(found))
    model = identity_model.fit(matched, own)

    def odds(matches: int) -> float:
        values = np.array([[0.0, 0.0]], dtype=np.float32)
        given = replace(small(0.0, 0.0), matches=values + np.log1p(matches))
        identities = model.identities(given, 0.5)
        return float(np.log(identities.probability[0, 0] / identities.new[0]))

    assert abs(odds(10) - odds(6)) < 1
    assert odds(50) - odds(10) > 4


def test_cross_fitted_probabilities_are_by_models_of_other_individuals(monkeypatch):
    drawn, seen = catalogue(), []
    honest = identity_model.fit

    def watched(signals: Signals, own: np.ndarray) -> IdentityModel:
        seen.append(set(own.tolist()))
        return honest(signals, own)

    monkeypatch.setattr(identity_model, "fit", watched)
    found = cross_fitted(drawn.signals, drawn.own, drawn.individuals, 0.3)
    everybody = set(drawn.own.tolist())
    left_out = [everybody - part for part in seen]
    assert len(left_out) == 5
    assert set().union(*left_out) == everybody
    assert sum(map(len, left_out)) == len(everybody)
    known = has_own(drawn.signals, drawn.own)
    assert np.isnan(found.known.new).tolist() == (~known).tolist()
    total = found.unknown.probability.sum(axis=1) + found.unknown.new
    np.testing.assert_allclose(total, 1)
    rows = np.arange(len(drawn.own))
    assert (found.unknown.probability[rows, drawn.own] == 0).all()


def test_without_its_individual_a_query_keeps_all_others():
    drawn = catalogue()
    before, after = drawn.signals.similarity, without_own(drawn.signals, drawn.own).similarity
    rows = np.arange(len(drawn.own))
    assert np.isneginf(after[rows, drawn.own]).all()
    changed = before != after
    changed[rows, drawn.own] = False
    assert not changed.any()


def test_the_expected_share_of_new_individuals_is_that_of_those_met_once():
    individuals = np.array(["a", "a", "a", "b", "c", "c"])
    encounters = np.array([0, 0, 1, 2, 3, 3])
    # encounters: a twice, b once, c once
    assert expected_new_share(individuals, encounters) == 0.5
    assert expected_new_share(individuals[:3], encounters[:3]) == 0.1
    assert expected_new_share(individuals[3:], encounters[3:]) == 0.9


def test_nothing_is_calibrated_where_nobody_is_met_again_or_there_is_one_individual():
    signals = small(-np.inf, 0.5)
    with pytest.raises(KitboxError, match="nothing to calibrate"):
        identity_model.fit(signals, np.array([0]))
    with pytest.raises(KitboxError, match="all photographs show one individual"):
        cross_fitted(small(0.5), np.array([0]), np.array(["a"]), 0.5)


def test_each_part_of_a_cross_fit_leaves_individuals_that_are_met_again_to_the_others():
    generator = np.random.default_rng(0)
    names = np.repeat([f"w{number}" for number in range(6)], [100] * 4 + [20] * 2)
    encounters = np.where(np.arange(440) < 400, np.arange(440) // 100, 4 + np.arange(440) // 10)
    vectors = unit(
        generator.normal(size=(6, 24))[np.repeat(range(6), [100] * 4 + [20] * 2)]
        + generator.normal(size=(440, 24))
    )
    drawn = DrawnCatalogue(vectors, names, encounters, np.zeros((6, 24)))
    found = cross_fitted(drawn.signals, drawn.own, names, 0.3)
    assert np.isfinite(found.known.new).tolist() == [False] * 400 + [True] * 40
    assert np.isfinite(found.unknown.new).all()
    with pytest.raises(KitboxError, match="fewer than two individuals are met again"):
        cross_fitted(drawn.signals.take(np.arange(420)), drawn.own[:420], names[:420], 0.3)
