"""Miners, on points of the circle by hand, and on random ones against slow oracles."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kitbox.network import miners
from tests.network.toy import points

# a Golomb ruler times 5°: no two pairs of points have equal distances
RULER = [0.0, 5.0, 20.0, 45.0, 75.0, 110.0, 160.0, 170.0]
ORDERS, LABELS = st.permutations(RULER), st.lists(st.integers(0, 3), min_size=8, max_size=8)


def mined(name: str, angles: list[float], labels: list[int]) -> list[tuple[int, int, int]]:
    torch.manual_seed(0)
    triplets = miners.MINERS[name](points(*angles), torch.tensor(labels))
    return [tuple(int(row) for row in triplet) for triplet in zip(*triplets, strict=True)]


def sides(labels: list[int], anchor: int) -> tuple[list[int], list[int]]:
    """Return the positives and the negatives of an anchor."""
    own = [i for i, label in enumerate(labels) if label == labels[anchor] and i != anchor]
    return own, [i for i, label in enumerate(labels) if label != labels[anchor]]


def test_semi_hard_uses_the_nearest_negative_beyond_each_positive() -> None:
    # from 0° the positives are at 40° and 100°, the negatives at 20°, 65° and 120°
    triplets = mined("semi_hard", [0, 40, 100, 20, 65, 120], [0, 0, 0, 1, 2, 3])
    assert {(0, 1, 4), (0, 2, 5)} <= set(triplets)
    # no negative is further from 100° than the positive at 0°
    assert [t for t in triplets if t[0] == 2] == [(2, 1, 3)]


def test_easy_positive_uses_the_nearest_positive_and_a_negative_beyond_it() -> None:
    triplets = mined("easy_positive", [0, 40, 100, 20, 65, 120], [0, 0, 0, 1, 2, 3])
    assert triplets == [(0, 1, 4), (1, 0, 5), (2, 1, 3)]


def test_batch_hard_uses_the_furthest_positive_and_the_nearest_negative() -> None:
    triplets = mined("batch_hard", [0, 40, 100, 20, 65, 120], [0, 0, 0, 1, 2, 3])
    assert triplets == [(0, 2, 3), (1, 2, 3), (2, 0, 5)]


def test_closest_uses_as_many_negatives_as_positives_and_none_too_near() -> None:
    # a distance of 0.5 is 28.96°: the negative at 20° is too near to 0°
    triplets = mined("closest", [0, 5, 355, 20, 40, 90, 180], [0, 0, 0, 1, 2, 3, 4])
    assert [t for t in triplets if t[0] == 0] == [(0, 1, 4), (0, 2, 5)]


def test_closest_uses_negatives_that_are_too_near_rather_than_none() -> None:
    # collapsed embeddings: the furthest negatives come first
    triplets = mined("closest", [0, 1, 2, 5, 3], [0, 0, 0, 1, 2])
    assert [t for t in triplets if t[0] == 0] == [(0, 1, 3), (0, 2, 4)]


def test_closest_repeats_negatives_so_that_every_positive_counts() -> None:
    triplets = mined("closest", [0, 5, 355, 90], [0, 0, 0, 1])
    assert [t for t in triplets if t[0] == 0] == [(0, 1, 3), (0, 2, 3)]


def test_a_sequence_is_thirds_of_the_batch() -> None:
    assert mined("sequence", [0, 1, 2, 3, 4, 5], [0, 1, 0, 1, 5, 6]) == [(0, 2, 4), (1, 3, 5)]


def test_distance_weights_are_inverse_to_the_density_of_distances() -> None:
    distances = torch.tensor([[0.6, 1.0, 1.3, 1.5]])
    negative = torch.tensor([[True, True, True, True]])
    inverse = [1 / (m**6 * (1 - m * m / 4) ** 2.5) for m in (0.6, 1.0, 1.3)]
    expected = torch.tensor([[value / sum(inverse) for value in inverse] + [0.0]])
    torch.testing.assert_close(miners.distance_weights(distances, negative, 8), expected)


def test_negatives_nearer_than_the_least_distance_are_weighted_as_at_it() -> None:
    negative = torch.tensor([[True, True, False]])
    weights = miners.distance_weights(torch.tensor([[0.1, 0.5, 0.7]]), negative, 8)
    torch.testing.assert_close(weights, torch.tensor([[0.5, 0.5, 0.0]]))


def test_one_near_negative_does_not_zero_the_weights_of_other_anchors() -> None:
    # in 512 dimensions the first row's weights are e^297 times those of the second
    distances = torch.tensor([[0.2, 1.0], [1.0, 1.0]])
    weights = miners.distance_weights(distances, torch.ones(2, 2, dtype=torch.bool), 512)
    torch.testing.assert_close(weights, torch.tensor([[1.0, 0.0], [0.5, 0.5]]))


def test_any_negative_is_drawn_where_all_are_far() -> None:
    distances = torch.tensor([[1.5, 2.0, 0.3]])
    weights = miners.distance_weights(distances, torch.tensor([[True, True, False]]), 512)
    torch.testing.assert_close(weights, torch.tensor([[0.5, 0.5, 0.0]]))


@given(ORDERS, LABELS)
@settings(max_examples=40, deadline=None)
def test_semi_hard_equals_its_definition(angles: list[float], labels: list[int]) -> None:
    expected = []
    for anchor in range(len(labels)):
        own, others = sides(labels, anchor)
        for positive in own:
            reach = abs(angles[anchor] - angles[positive])
            beyond = [i for i in others if abs(angles[anchor] - angles[i]) > reach]
            if beyond:
                nearest = min(beyond, key=lambda i: abs(angles[anchor] - angles[i]))
                expected.append((anchor, positive, nearest))
    assert mined("semi_hard", angles, labels) == expected


@given(ORDERS, LABELS)
@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("miner", ["random", "distance_weighted", "closest"])
def test_every_anchor_with_positives_and_negatives_has_valid_triplets(
    miner: str, angles: list[float], labels: list[int]
) -> None:
    triplets = mined(miner, angles, labels)
    for anchor in range(len(labels)):
        own, others = sides(labels, anchor)
        of_anchor = [t for t in triplets if t[0] == anchor]
        assert all(p in own and n in others for _, p, n in of_anchor)
        positives = [p for _, p, _ in of_anchor]
        if not own or not others:
            assert not of_anchor
        elif miner == "random":
            assert len(positives) == 1
        else:
            assert positives == own


@pytest.mark.parametrize("miner", sorted(set(miners.MINERS) - {"sequence"}))
@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3]])
def test_a_batch_without_negatives_or_positives_has_no_triplets(miner: str, labels) -> None:
    assert mined(miner, [0, 20, 40, 60], labels) == []
