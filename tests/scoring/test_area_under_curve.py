import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from kitbox.records import strings
from kitbox.scoring.outcomes import AreaUnderCurve


def area_of(values: list[float], positive: list[bool]) -> AreaUnderCurve:
    query_ids = strings([f"q{i}" for i in range(len(values))])
    return AreaUnderCurve(query_ids, np.array(values), np.array(positive))


@pytest.mark.parametrize(
    ("values", "area"),
    [([3, 2, 1, 0], 1.0), ([0, 1, 2, 3], 0.0), ([1, 1, 1, 1], 0.5), ([3, 1, 2, 0], 0.75)],
)
def test_the_area_counts_pairs_in_the_right_order_and_ties_as_half(
    values: list[float], area: float
) -> None:
    assert area_of(values, [True, True, False, False]).value == area


QUERIES = st.lists(
    st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 3)), min_size=2, max_size=12
)


@given(QUERIES)
def test_a_weight_counts_as_so_many_queries(queries: list[tuple[int, bool, int]]) -> None:
    values, positive, weights = (list(part) for part in zip(*queries, strict=True))
    found = area_of(values, positive).over(np.array([weights], dtype=np.float64))[0]
    repeated = [(m, n) for n, m, w in queries for _ in range(w)]
    if len({m for m, _ in repeated}) < 2:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(roc_auc_score(*zip(*repeated, strict=True)))
