"""Forward selection against brute force, and the vote of bags."""

from collections.abc import Generator
from itertools import product

import numpy as np
import pytest

from kitbox.records import Progress
from kitbox.selection.forward_selection import Counts, bag_weights, select, vote
from tests.photographs import finish

# Predictions of four members for six queries; an ensemble is the weighted mean of its members.
TRUTH = np.array([1.0, 0.0, 1.0, 1.0, 0.0, 0.0])
VOTES = {
    "a": np.array([0.9, 0.2, 0.4, 0.8, 0.1, 0.4]),
    "b": np.array([0.6, 0.4, 0.9, 0.3, 0.2, 0.1]),
    "c": np.array([0.8, 0.6, 0.7, 0.9, 0.6, 0.2]),
    "d": np.array([0.1, 0.9, 0.2, 0.3, 0.8, 0.7]),
}


def mean_score(counts: Counts) -> float:
    """Return 1 minus the mean square error of the mean vote; a copy votes as its original."""
    total = sum(counts.values())
    mean = sum(count / total * VOTES[name[0]] for name, count in counts.items())
    return float(1 - np.mean((mean - TRUTH) ** 2))


def score(counts: Counts) -> Generator[Progress, None, float]:
    yield Progress("score", 0, 1)
    return mean_score(counts)


def test_forward_selection_finds_what_brute_force_finds() -> None:
    # the error is convex in the shares, so that greedy steps come within one part of the best
    chosen = finish(select(list(VOTES), score))[1]
    every = [
        dict(zip(VOTES, counts, strict=True))
        for counts in product(range(9), repeat=4)
        if 0 < sum(counts) <= 8
    ]
    best = max(mean_score({n: c for n, c in counts.items() if c}) for counts in every)
    assert mean_score(chosen) == pytest.approx(best, abs=2e-3)
    assert mean_score(chosen) > max(mean_score({name: 1}) for name in VOTES) + 0.01
    assert "d" not in chosen


def test_every_step_is_the_best_that_is_left() -> None:
    chosen = finish(select(list(VOTES), score))[1]
    reached = mean_score(chosen)
    for name in VOTES:
        assert mean_score(chosen | {name: chosen.get(name, 0) + 1}) <= reached + 1e-9


def test_a_copy_adds_nothing() -> None:
    chosen = finish(select(["a", "a copy", "b", "c"], score))[1]
    assert "a copy" not in chosen
    assert chosen == finish(select(["a", "b", "c"], score))[1]


def test_members_without_a_score_are_not_chosen() -> None:
    def undefined(counts: Counts) -> Generator[Progress, None, float]:
        yield from ()
        return float("nan") if "b" in counts else 0.5

    assert finish(select(["b", "a"], undefined))[1] == {"a": 1}


def test_a_bag_draws_individuals_with_all_their_queries() -> None:
    individuals = np.array([0, 0, 1, 2, 2, 2, 3])
    inside = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0])
    bags = [*bag_weights(individuals, inside, 40, [0, 1], replacement=True)]
    for bag in bags:
        assert bag[0] == bag[1]
        assert bag[3] == bag[4] == bag[5]
        assert bag[0] + bag[2] + bag[3] == 3  # three individuals are drawn
        assert bag[6] == 0
    assert np.mean(bags, axis=0)[:6] == pytest.approx(np.ones(6), abs=0.35)
    again = [*bag_weights(individuals, inside, 40, [0, 1], replacement=True)]
    assert np.array_equal(bags, again)
    for half in bag_weights(individuals, inside, 10, [0, 1], replacement=False):
        assert half[[0, 2, 3]].sum() == 1
        assert half.max() == 1


def test_a_vote_keeps_what_half_of_the_bags_chose() -> None:
    names = ["a", "b", "c"]
    selections = [{"a": 3, "b": 1}, {"a": 1, "b": 1}, {"a": 1}, {"a": 1, "c": 1}]
    # mean shares: a (.75 + .5 + 1 + .5) / 4 = .6875, b (.25 + .5) / 4 = .1875; b / a = .27
    assert vote(selections, names) == {"a": 1.0, "b": 0.25}
    # c is in a quarter of them only; without a majority the largest share stays
    assert vote([{"a": 1}, {"b": 1}, {"c": 1}], names) == {"a": 1.0}
    # a share is never rounded to nothing: .02 / .98 of two bags
    assert vote([{"a": 49, "b": 1}] * 2, names) == {"a": 1.0, "b": 0.05}
