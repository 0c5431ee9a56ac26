"""The rule by which a guess becomes a label, on tables that can be read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.ensemble.class_probabilities import Predictions
from kitbox.ensemble.pseudo_labelling import PseudoLabelRule, select
from kitbox.records import strings


def guesses(*rows: tuple[str, str, float, float]) -> Predictions:
    """Return guesses from (image, likeliest label, its probability, the next one's)."""
    ids, labels, first, second = zip(*rows, strict=True)
    return Predictions(strings(ids), strings(labels), np.array(first), np.array(second))


TABLE = guesses(
    ("t0", "Ahab", 0.95, 0.03),
    ("t1", "Ahab", 0.99, 0.01),
    ("t2", "Ahab", 0.90, 0.05),
    ("t3", "Boo", 0.92, 0.08),
    ("t4", "new_whale", 0.99, 0.01),
    ("t5", "", 0.0, 0.0),
)


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        (PseudoLabelRule(), "t0 t1 t3"),  # 0.9 is not above 0.9
        (PseudoLabelRule(threshold=0.89), "t0 t1 t2 t3"),
        (PseudoLabelRule(threshold=0.89, gap=0.9), "t0 t1"),
        (PseudoLabelRule(threshold=0.89, per_label=1), "t1 t3"),
        (PseudoLabelRule(threshold=0.89, per_label=2), "t0 t1 t3"),
        (PseudoLabelRule(threshold=0.0, per_label=None), "t0 t1 t2 t3"),
        (PseudoLabelRule(threshold=1.0), ""),
    ],
)
def test_threshold_gap_and_cap_by_hand(rule: PseudoLabelRule, kept: str) -> None:
    assert TABLE.image_ids[select(TABLE, rule, "new_whale")].tolist() == kept.split()


def test_of_equals_the_first_by_id_is_taken() -> None:
    even = guesses(("t9", "Ahab", 0.95, 0.0), ("t1", "Ahab", 0.95, 0.0))
    assert select(even, PseudoLabelRule(per_label=1), None).tolist() == [False, True]


probabilities = st.integers(0, 10).map(lambda tenths: tenths / 10)


@given(
    st.lists(
        st.tuples(st.sampled_from(["", "Ahab", "Boo", "?"]), probabilities, probabilities),
        min_size=1,
        max_size=12,
    ),
    probabilities,
    probabilities,
    st.integers(1, 3),
)
def test_the_rule_equals_a_slow_one(rows, threshold, gap, per_label) -> None:  # type: ignore[no-untyped-def]
    table = guesses(
        *((f"t{i:02}", label, max(p, q), min(p, q)) for i, (label, p, q) in enumerate(rows))
    )
    found = select(table, PseudoLabelRule(threshold, gap, per_label), "?")
    sure = [
        i
        for i, label in enumerate(table.labels)
        if label not in ("", "?") and table.confidence[i] > threshold and table.gap[i] >= gap
    ]
    ahead = {
        i: sum(
            table.labels[j] == table.labels[i]
            and (-table.confidence[j], j) < (-table.confidence[i], i)
            for j in sure
        )
        for i in sure
    }
    assert np.flatnonzero(found).tolist() == [i for i in sure if ahead[i] < per_label]
