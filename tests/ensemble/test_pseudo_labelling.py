"""How right pseudo-labels are: the rule is asked of the holdout."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.ensemble import pseudo_labelling
from kitbox.ensemble.class_probabilities import Predictions
from kitbox.ensemble.pseudo_labelling import PseudoLabelRule
from kitbox.records import Holdout, strings
from tests.circle import image_set


def asked(*rows: tuple[str, str]) -> Holdout:
    """Return a holdout from (individual, answer that a scorer expects) of each query."""
    query = image_set({f"q{number}": label for number, (label, _) in enumerate(rows)})
    nothing = query.take(np.zeros(len(query), dtype=np.bool_))
    return Holdout(nothing, query, nothing, strings([answer for _, answer in rows]))


def guessed(*rows: tuple[str, float]) -> Predictions:
    labels, confidence = zip(*rows, strict=True)
    ids = strings([f"q{number}" for number in range(len(rows))])
    return Predictions(ids, strings(labels), np.array(confidence), np.zeros(len(rows)))


def test_precision_and_coverage_by_hand() -> None:
    holdout = asked(("Ahab", "Ahab"), ("Boo", "Boo"), ("Zoe", "new_whale"), ("Ahab", "Ahab"))
    found = guessed(("Ahab", 0.95), ("Cid", 0.8), ("Boo", 0.97), ("Ahab", 0.92))
    precision, coverage = pseudo_labelling.measure_precision(
        found, holdout, PseudoLabelRule(), "new_whale"
    )
    assert precision is not None
    assert (precision.value, precision.queries) == (pytest.approx(2 / 3), 3)
    assert (coverage.value, coverage.queries) == (3 / 4, 4)
    # a resample may hold Ahab alone, who is right twice, or Zoe alone, who never is
    assert (precision.low, precision.high) == (0, 1)


def test_a_rule_that_labels_nothing_has_no_precision() -> None:
    precision, coverage = pseudo_labelling.measure_precision(
        guessed(("Ahab", 0.5)), asked(("Ahab", "Ahab")), PseudoLabelRule(), None
    )
    assert (precision, coverage.value) == (None, 0)


def test_labels_that_are_all_right_are_not_sure_to_be_right() -> None:
    """Of 3 individuals all right: a share of .292 right gives that in 2.5 % of cases."""
    names = ("Ahab", "Boo", "Cid", "Cid")
    precision, _ = pseudo_labelling.measure_precision(
        guessed(*((name, 0.95) for name in names)),
        asked(*((n, n) for n in names)),
        PseudoLabelRule(),
        None,
    )
    assert precision is not None
    assert precision.low**3 == pytest.approx(0.025)
    assert (precision.value, precision.high) == (1, 1)


labels = st.sampled_from(["Ahab", "Boo", "new_whale"])


@given(st.lists(st.tuples(labels, labels, st.integers(0, 10)), min_size=1, max_size=20))
def test_precision_equals_a_slow_one(rows: list[tuple[str, str, int]]) -> None:
    rule = PseudoLabelRule(threshold=0.5, per_label=2)
    found = guessed(*((label, tenths / 10) for _, label, tenths in rows))
    precision, coverage = pseudo_labelling.measure_precision(
        found, asked(*((true, true) for true, _, _ in rows)), rule, "new_whale"
    )
    taken = []
    for label in ("Ahab", "Boo"):
        sure = [(-n, f"q{i}", true) for i, (true, mine, n) in enumerate(rows) if mine == label]
        taken += [true == label for n, _, true in sorted(sure)[:2] if -n > 5]
    assert coverage.value == pytest.approx(len(taken) / len(rows))
    if taken:
        assert precision is not None
        assert precision.value == pytest.approx(sum(taken) / len(taken))
