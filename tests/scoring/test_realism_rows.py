import dataclasses

import numpy as np
import pytest

from kitbox.competition.settings import Competition
from kitbox.dataset.collection import Collection
from kitbox.records import Score
from kitbox.scoring import holdout_realism
from kitbox.scoring.holdout_realism import HoldoutRealism
from tests.circle import competition
from tests.submission.collected import collection, unlabelled

LABELLED = {"a": "Ahab", "a2": "Ahab", "a3": "Ahab", "b": "Boo", "n": "new_whale"}


def collected(**shape: object) -> tuple[Collection, Competition]:
    """Return a collection that asks about 'a', and its competition."""
    asked = competition(holdout=shape)
    found = collection(asked, LABELLED, unlabelled("x", "y", "z"))
    digests = np.array([f"{number:064x}" for number in range(len(LABELLED))])
    return (
        dataclasses.replace(found, labelled=dataclasses.replace(found.labelled, digests=digests)),
        asked,
    )


def by_name(figures: list[holdout_realism.RealismRow]) -> dict[str, tuple[object, object]]:
    return {figure.name: (figure.holdout, figure.test) for figure in figures}


def judged(low: float, high: float, photographs: float = 3.0) -> HoldoutRealism:
    """Return a test whose share of unknown individuals lies between two, .27 on the holdout."""
    alike = Score(0.5, 0.45, 0.55, 100)
    share = Score((low + high) / 2, low, high, 100)
    return HoldoutRealism(
        separability=alike,
        unknown_share=share,
        holdout_unknown_share=0.27,
        photographs=photographs,
        holdout_photographs=3.0,
    )


def test_what_training_has_is_counted_beside_what_it_will_have() -> None:
    figures = by_name(holdout_realism.count_rows(*collected()))
    assert figures["training images"] == (4, 5)
    assert figures["training individuals"] == (2, 2)
    assert figures["queries"] == (1, 3)
    assert figures["gallery images"] == (4, 5)
    assert figures["queries of unknown individuals"] == ("0.0%", None)
    assert figures["unknown individuals"] == (0, None)


@pytest.mark.parametrize(("power", "mean"), [(0.0, "2.00"), (1.0, "2.50"), (2.0, "2.80")])
def test_an_asked_individual_has_as_many_photographs_as_it_is_drawn_for(
    power: float, mean: str
) -> None:
    # Ahab has three photographs and Boo one: (3·3 + 1·1) / (3 + 1) = 2.5 where photographs are
    # drawn; the holdout asks about Ahab, who keeps two
    figures = by_name(holdout_realism.count_rows(*collected(frequency_power=power)))
    assert figures["training photographs of an asked individual"] == (2.0, f"{mean} if drawn so")


def test_a_holdout_of_strangers_says_nothing_of_their_photographs() -> None:
    found, asked = collected()
    strangers = np.array(["new_whale"])
    holdout = dataclasses.replace(found.holdout, query_answers=strangers)
    figures = by_name(
        holdout_realism.count_rows(dataclasses.replace(found, holdout=holdout), asked)
    )
    assert "training photographs of an asked individual" not in figures
    assert figures["queries of unknown individuals"] == ("100.0%", None)
    assert figures["unknown individuals"] == (1, None)


def test_a_copy_of_the_query_in_training_is_counted() -> None:
    found, asked = collected()
    assert found.labelled.digests is not None
    copied = found.labelled.digests.copy()
    copied[1] = copied[0]
    labelled = dataclasses.replace(found.labelled, digests=copied)
    figures = by_name(
        holdout_realism.count_rows(dataclasses.replace(found, labelled=labelled), asked)
    )
    assert figures["near-duplicates of queries in training"] == (1, None)


def test_an_estimate_that_may_be_anything_is_called_so() -> None:
    wide = by_name(holdout_realism.estimate_rows(judged(0.0, 0.9)))[
        "unknown individuals, estimated"
    ]
    assert wide == ("27.0%", "45.0% [0.0%, 90.0%], too wide to tell")
    narrow = by_name(holdout_realism.estimate_rows(judged(0.2, 0.3)))[
        "unknown individuals, estimated"
    ]
    assert narrow == ("27.0%", "25.0% [20.0%, 30.0%]")


def test_a_share_outside_the_estimate_is_advised_against() -> None:
    asked = competition(holdout={"unknown_share": 0.27})
    assert holdout_realism.advice(judged(0.2, 0.3), asked) == []
    assert holdout_realism.advice(judged(0.0, 0.9), asked) == []
    [sentence] = holdout_realism.advice(judged(0.4, 0.5), asked)
    assert sentence == "more like the test: holdout.unknown_share = 0.45, where it is 0.27"


@pytest.mark.parametrize(("photographs", "way"), [(4.0, "raise"), (2.0, "lower")])
def test_other_numbers_of_photographs_are_told(photographs: float, way: str) -> None:
    [sentence] = holdout_realism.advice(judged(0.2, 0.3, photographs), competition())
    assert sentence.startswith(f"individuals that the test asks about have {photographs / 3:.2f} ")
    assert sentence.endswith(f"{way} holdout.frequency_power, which is 1")
    assert (
        holdout_realism.advice(judged(0.2, 0.3, photographs), competition(answers="images")) == []
    )
