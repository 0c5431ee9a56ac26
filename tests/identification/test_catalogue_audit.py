from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from kitbox.catalogue.encounter_rule import encounters_of
from kitbox.errors import KitboxError
from kitbox.identification import catalogue_audit
from kitbox.identification.catalogue_audit import CatalogueAudit, audit
from kitbox.identification.catalogue_calibration import CatalogueCalibration, calibrate
from tests.identification.drawn_catalogue import DrawnCatalogue, draw, draw_noise

NO_PAIRS = np.empty((0, 2), dtype=np.int64)


def calibrated(drawn: DrawnCatalogue) -> CatalogueCalibration:
    names = np.array([str(code) for code in drawn.encounters])
    none = np.full(len(names), "")
    encounters = encounters_of(drawn.individuals, names, none, NO_PAIRS)
    return calibrate(drawn.vectors, drawn.individuals, encounters)[0]


@cache
def large() -> CatalogueCalibration:
    return calibrated(draw(250, noise=0.8))


@cache
def audited() -> CatalogueAudit:
    return audit(large(), 0.8)


def test_recall_is_the_share_of_photographs_whose_individual_comes_first() -> None:
    found, given = audited(), large()
    assert given.cross is not None
    known = ~np.isnan(given.cross.known.new)
    first = given.cross.known.probability[known].argmax(axis=1) == given.own[known]
    assert found.queries == given.pairs == known.sum()
    assert found.recall[1].value == pytest.approx(first.mean())
    assert found.recall[1].low < found.recall[1].value < found.recall[1].high
    assert found.recall[5].value > found.recall[1].value
    assert found.chance == {1: 1 / 250, 5: 5 / 250}


def test_recall_of_individuals_as_if_each_had_been_met_once() -> None:
    found, given = audited(), large()
    assert given.once is not None
    assert given.cross_once is not None
    first = given.cross_once.known.probability.argmax(axis=1) == given.once.own
    assert found.recall_once[1].value == pytest.approx(first.mean())
    assert found.recall_once[1].value < found.recall[1].value
    codes = {name: set() for name in given.gallery.individuals.tolist()}
    drawn = draw(250, noise=0.8)
    for name, code in zip(drawn.individuals.tolist(), drawn.encounters.tolist(), strict=True):
        codes[name].add(code)
    assert found.met_once == sum(len(each) == 1 for each in codes.values())
    told = f"as if each individual had been met once before, as {found.met_once} of them were: the"
    assert told in "; ".join(catalogue_audit.sentences(found))
    by_similarity = audit(replace(given, model=None, cross=None, cross_once=None), 0.8)
    values = given.once.evidence.signals.similarity.argmax(axis=1) == given.once.own
    assert by_similarity.recall_once[1].value == pytest.approx(values.mean())


def test_a_perfect_catalogue_needs_one_look_and_no_training() -> None:
    found = audit(calibrated(draw(40, noise=0.02)), 0.8)
    assert found.recall[1].value == 1
    assert found.look_through == 1
    assert found.look_through_by_chance == 38
    assert found.advice == (
        "the first individual is nearly always right: a trained plugin would add little"
    )


def test_the_depth_to_look_through_finds_95_percent_of_the_matches() -> None:
    found, given = audited(), large()
    assert given.cross is not None
    known = np.flatnonzero(~np.isnan(given.cross.known.new))
    values = given.cross.known.probability[known]
    order = np.argsort(-values, axis=1, kind="stable")
    ranks = 1 + np.argmax(order == given.own[known][:, None], axis=1)
    assert (ranks <= found.look_through).mean() >= 0.95
    assert (ranks <= found.look_through - 1).mean() < 0.95


def test_probabilities_are_as_right_as_they_say_where_200_pairs_have_one() -> None:
    found = audited()
    assert found.worst_gap is not None
    assert found.worst_gap < 0.06  # of 549 pairs, which vary by 0.03 alone; a straight line: 0.12
    assert sum(part.pairs for part in found.reliability) == 10 * (found.queries + len(large().own))


def test_verdicts_are_shares_and_new_individuals_are_found() -> None:
    found = audited()
    assert sum(found.verdicts.values()) == pytest.approx(1)
    assert sum(found.new_verdicts.values()) == pytest.approx(1)
    assert found.verdicts["right"] > 5 * found.verdicts["wrong"]
    assert found.new_recall is not None
    assert found.new_recall > 0.2  # 5 % where chance is all
    stricter = audit(large(), 0.99)
    assert stricter.verdicts["wrong"] <= found.verdicts["wrong"]
    assert stricter.verdicts["undecided"] > found.verdicts["undecided"]


def test_training_would_pay_with_many_individuals_and_not_with_few() -> None:
    assert audited().advice.startswith(f"{met_again(large())} individuals were met more than once")
    few = audit(calibrated(draw(30, noise=1.5)), 0.8)
    assert "too few to train on (50)" in few.advice


def met_again(given: CatalogueCalibration) -> int:
    assert given.cross is not None
    return len(set(given.individuals[~np.isnan(given.cross.known.new)].tolist()))


def test_without_calibration_recall_is_by_similarity_and_the_reason_is_told() -> None:
    given = replace(large(), model=None, cross=None, too_small="it is too small")
    found = audit(given, 0.8)
    assert found.recall[1].value > 0.3
    assert found.verdicts == {}
    assert found.worst_gap is None
    assert "not calibrated: it is too small" in catalogue_audit.sentences(found)


def test_a_catalogue_where_nobody_is_met_again_has_nothing_to_audit() -> None:
    drawn = draw(30)
    first = np.unique(drawn.individuals, return_index=True)[1]
    once = DrawnCatalogue(
        drawn.vectors[first], drawn.individuals[first], drawn.encounters[first], drawn.centres
    )
    with pytest.raises(KitboxError, match="there is nothing to audit: no photograph shows an indi"):
        audit(calibrated(once), 0.8)


def test_sentences_and_json_say_the_same() -> None:
    found = audited()
    text = "; ".join(catalogue_audit.sentences(found))
    document = found.as_json()
    assert f"{document['recall']['1']['value']:.1%}"[:3] in text
    assert f"look through {document['look_through']} individuals a photograph" in text
    assert document["worst_gap"] == found.worst_gap
    assert len(document["reliability"]) == len(found.reliability)
    assert document["new_reliability"][0]["pairs"] == found.new_reliability[0].pairs
    assert document["log_loss"] == large().loss


def test_every_photograph_counts_twice_in_the_probability_of_a_new_one() -> None:
    found, given = audited(), large()
    assert sum(part.pairs for part in found.new_reliability) == found.queries + len(given.own)
    # by hand: the photographs without their individual weigh as much as new ones are expected
    share = given.expected_new
    assert given.cross is not None
    known, unknown = given.cross.known.new, given.cross.unknown.new
    known = known[~np.isnan(known)]
    of_new = share * (unknown < 0.02).mean()
    of_known = (1 - share) * (known < 0.02).mean()
    assert found.new_reliability[0].low == 0
    assert found.new_reliability[0].right == pytest.approx(of_new / (of_new + of_known))


@pytest.mark.parametrize("counts", [[3] * 40, [2, 3, 4, 5, 6] * 8], ids=["equal", "uneven"])
def test_vectors_that_say_nothing_are_as_good_as_chance(counts: list[int]) -> None:
    found = audit(calibrated(draw_noise(counts)), 0.8)
    # the most photographed ones are met most often, 6 of 160 each, which is known beforehand
    assert found.recall[1].value < 0.06
    assert found.recall[5].value < 0.25
    assert found.look_through > 30
    assert found.verdicts["undecided"] == 1


def test_of_individuals_as_good_as_the_right_one_each_comes_first_as_often() -> None:
    given = large()
    tied = replace(
        given.signals, similarity=np.where(np.isfinite(given.signals.similarity), 0.5, -np.inf)
    )
    found = audit(replace(given, signals=tied, model=None, cross=None, too_small="none"), 0.8)
    assert found.recall[1].value == pytest.approx(1 / 250, rel=0.02)
    assert found.recall[5].value == pytest.approx(5 / 250, rel=0.02)
    assert found.look_through == found.look_through_by_chance
