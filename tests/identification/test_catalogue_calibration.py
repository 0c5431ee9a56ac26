from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from kitbox.catalogue.encounter_rule import Encounters, encounters_of
from kitbox.identification import catalogue_calibration
from kitbox.identification.catalogue_calibration import calibrate, fitted, gather
from tests.identification.drawn_catalogue import (
    DIM,
    DrawnCatalogue,
    draw,
    draw_noise,
    signals_of,
    unit,
)

NO_PAIRS = np.empty((0, 2), dtype=np.int64)


def encounters(drawn: DrawnCatalogue) -> Encounters:
    names = np.array([str(code) for code in drawn.encounters])
    return encounters_of(drawn.individuals, names, np.full(len(names), ""), NO_PAIRS)


def test_a_catalogue_is_asked_about_each_photograph_without_its_encounter() -> None:
    drawn = draw(30)
    found, evidence = calibrate(drawn.vectors, drawn.individuals, encounters(drawn))
    np.testing.assert_allclose(found.signals.similarity, drawn.signals.similarity, atol=1e-6)
    assert found.model is not None
    assert found.cross is not None
    assert found.too_small == ""
    met = [len(set(drawn.encounters[drawn.individuals == name])) for name in drawn.individuals]
    assert found.pairs == sum(count > 1 for count in met)
    assert 0 < found.loss < np.log(31)
    # what speaks for a candidate is never of the encounter that is asked about
    for row in range(len(drawn.vectors)):
        shown = evidence.photographs[row]
        rows = shown[shown >= 0]
        assert (drawn.encounters[rows] != drawn.encounters[row]).all()


def test_candidates_are_the_most_similar_individuals_with_their_best_photographs() -> None:
    drawn = draw(30)
    gallery = drawn.gallery
    evidence = gather(drawn.vectors[:3], gallery)
    for row in range(3):
        cosines = drawn.vectors @ drawn.vectors[row]
        order = list(dict.fromkeys(drawn.individuals[np.argsort(-cosines)].tolist()))
        named = gallery.individuals[evidence.candidates[row]].tolist()
        assert named == order[:10]
        own = np.flatnonzero(drawn.individuals == order[0])
        expected = own[np.argsort(-cosines[own])][:3].tolist()
        shown = evidence.photographs[row, 0]
        assert shown[shown >= 0].tolist() == expected


def test_of_very_many_photographs_some_are_drawn_always_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = draw(30)
    monkeypatch.setattr(catalogue_calibration, "_MOST_CELLS", 30 * 60)
    monkeypatch.setattr(catalogue_calibration, "_FEWEST_QUERIES", 10)
    found, _ = calibrate(drawn.vectors, drawn.individuals, encounters(drawn))
    again, _ = calibrate(drawn.vectors, drawn.individuals, encounters(drawn))
    assert len(found.rows) == 60
    assert found.rows.tolist() == again.rows.tolist()
    assert found.sampled_from == len(drawn.vectors)


def test_only_photographs_that_may_be_asked_about_are() -> None:
    drawn = draw(30)
    asked = np.arange(0, len(drawn.vectors), 2)
    found, _ = calibrate(drawn.vectors, drawn.individuals, encounters(drawn), asked)
    assert found.rows.tolist() == asked.tolist()
    assert found.signals.similarity.shape == (len(asked), 30)


def test_photographs_are_asked_about_as_if_each_individual_had_been_met_once() -> None:
    drawn = draw(30)
    found, _ = calibrate(drawn.vectors, drawn.individuals, encounters(drawn))
    once = found.once
    assert once is not None
    assert found.gallery.individuals[once.own].tolist() == drawn.individuals[once.rows].tolist()
    # one photograph or two of one encounter are left of each individual, drawn four times
    assert set(np.unique(once.evidence.signals.photographs).tolist()) == {1, 2}
    met = np.array([len(set(drawn.encounters[drawn.individuals == n])) for n in drawn.individuals])
    assert set(once.rows.tolist()) <= set(np.flatnonzero(met > 1).tolist())
    assert len(once.rows) > 2 * (met > 1).sum()
    for row, photographs in zip(once.rows, once.evidence.photographs, strict=True):
        shown = photographs[photographs >= 0]
        assert (drawn.encounters[shown] != drawn.encounters[row]).all()
    own = once.evidence.signals.similarity[np.arange(len(once.rows)), once.own]
    assert np.isfinite(own).all()
    again, _ = calibrate(drawn.vectors, drawn.individuals, encounters(drawn))
    assert again.once is not None
    assert again.once.rows.tolist() == once.rows.tolist()


def test_individuals_photographed_often_are_no_likelier_than_others() -> None:
    """How often each will come again is not known; those met once could not be asked about."""
    drawn = draw(200, noise=0.8)
    found, _ = calibrate(drawn.vectors, drawn.individuals, encounters(drawn))
    assert found.model is not None
    assert found.model.of_count <= 0
    shown = np.random.default_rng(4).integers(200, size=3000)  # each as often
    noise = np.hypot(0.8, 0.3) * np.random.default_rng(5).normal(size=(3000, DIM))
    signals = signals_of(unit(drawn.centres[shown] + noise), drawn.gallery)
    stated = found.model.identities(signals, 0.001).probability  # none is new
    best = np.argsort(-stated, axis=1)[:, :5]
    right = best == shown[:, None]
    stated = np.take_along_axis(stated, best, axis=1)
    for low, high in pairwise((0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)):
        chosen = (stated >= low) & (stated < high)
        assert chosen.sum() >= 200
        assert stated[chosen].mean() == pytest.approx(right[chosen].mean(), abs=0.08)


def test_everyone_photographed_once_is_no_calibration_and_says_why() -> None:
    drawn = draw(30)
    first = np.unique(drawn.individuals, return_index=True)[1]
    once = DrawnCatalogue(
        drawn.vectors[first], drawn.individuals[first], drawn.encounters[first], drawn.centres
    )
    found, evidence = calibrate(once.vectors, once.individuals, encounters(once))
    assert found.model is None
    assert found.too_small == (
        "no photograph shows an individual met at another encounter, and 30 are the least"
    )
    assert found.loss == np.inf
    assert (evidence.candidates >= 0).all()


def test_one_individual_is_no_calibration() -> None:
    drawn = draw(30)
    of_one = np.full(len(drawn.individuals), "anna")
    found, _ = calibrate(drawn.vectors, of_one, encounters(drawn))
    assert found.too_small == "the catalogue has one individual, 'anna'"


def test_a_few_pairs_are_counted_and_one_individual_with_all_pairs_is_too_few() -> None:
    drawn = draw(8)
    found, _ = calibrate(drawn.vectors, drawn.individuals, encounters(drawn))
    assert found.pairs < 30
    assert found.too_small == (
        f"{found.pairs} photographs show an individual met at another encounter, and 30 are the "
        "least"
    )
    many = draw(60)
    given, _ = calibrate(many.vectors, many.individuals, encounters(many))
    only = np.where(given.own == 5, given.own, -1)
    rows = np.repeat(np.flatnonzero(only == 5), 40)
    one = replace(
        given,
        own=only[rows],
        individuals=given.individuals[rows],
        signals=given.signals.take(rows),
        model=None,
        cross=None,
    )
    assert fitted(one).too_small == "all photographs of several encounters show one individual"


@pytest.mark.parametrize("counts", [[3] * 40, [2, 3, 4, 5, 6] * 8], ids=["equal", "uneven"])
def test_how_many_photographs_an_individual_has_gives_the_right_one_away_to_nobody(
    counts: list[int],
) -> None:
    drawn = draw_noise(counts)
    found, _ = calibrate(drawn.vectors, drawn.individuals, encounters(drawn))
    assert found.model is not None
    assert found.cross is not None
    of_count = found.model.of_count
    assert abs(of_count) < 1e-6 if len(set(counts)) == 1 else -1 < of_count <= 0
    rows = np.arange(len(found.own))
    assert found.cross.known.probability[rows, found.own].mean() < 2 / len(counts)
    # without anything to tell them by, known individuals are as new as all are expected to be
    fresh = unit(np.random.default_rng(9).normal(size=(200, drawn.vectors.shape[1])))
    new = found.model.identities(signals_of(fresh, drawn.gallery), found.expected_new).new
    assert found.expected_new == 0.1
    assert new.max() < 0.3
    assert new.mean() == pytest.approx(found.cross.known.new.mean(), abs=0.03)
