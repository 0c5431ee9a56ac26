"""Graphs compared on the same holdout, and pairs told apart."""

import numpy as np
import pytest

from kitbox.records import strings
from kitbox.scoring.graph_comparison import separate_pairs


def test_the_area_is_the_chance_that_a_true_pair_has_the_higher_value():
    labels, others = strings(list("aabbc")), strings(list("abbcc"))
    # true pairs 0, 2 and 4; wrong ones 1 and 3
    found = separate_pairs(
        labels, others, np.array([9, 5, 4, 5, 5]), np.array([0.1, 0.2, 0.9, 0.8, 0.8]), None
    )
    assert (found.pairs, found.same) == (5, 3)
    # 9 beats both, 4 none, 5 ties with both: (2 + 0 + 1) / 6
    assert found.auc == pytest.approx(0.5)
    # .1 beats none, .9 both, .8 one and ties with one: 3.5 / 6
    assert found.auc_of_similarity == pytest.approx(3.5 / 6)


def test_pairs_without_a_score_or_a_label_do_not_count():
    labels, others = (
        strings(["a", "a", "", "new", "a", "b"]),
        strings(["a", "b", "", "new", "a", ""]),
    )
    found = separate_pairs(
        labels, others, np.array([1, 0, 5, 5, np.nan, 5]), np.array([1.0, 0, 5, 5, 0, 5]), "new"
    )
    assert (found.pairs, found.same, found.auc, found.auc_of_similarity) == (2, 1, 1, 1)


def test_pairs_of_one_kind_have_no_area():
    same = strings(["a", "b"])
    found = separate_pairs(same, same, np.ones(2), np.ones(2), None)
    assert (found.pairs, found.same, found.auc) == (2, 2, None)
