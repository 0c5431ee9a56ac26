"""Margins of labels, computed by hand, and their growth over the first epochs."""

import numpy as np
import pytest
import torch

from kitbox import PowerMargin, Ramp, RarityMargin
from kitbox.network.margins import Margins, label_margins


def test_a_power_margin_falls_with_the_number_of_images() -> None:
    margin = PowerMargin(coefficient=0.3, power=-1 / 3, constant=0.05)
    np.testing.assert_allclose(label_margins(margin, np.array([1, 8, 27])), [0.35, 0.2, 0.15])


def test_a_rarity_margin_is_largest_for_the_rarest_and_least_for_the_most_frequent_label() -> None:
    # n^(-1/4) of 1, 16, 81 is 1, 1/2, 1/3; the middle lies a quarter of the way up
    margin = RarityMargin(least=0.05, most=0.45)
    np.testing.assert_allclose(label_margins(margin, np.array([16, 81, 1])), [0.15, 0.05, 0.45])


def test_equally_frequent_labels_have_the_least_margin() -> None:
    np.testing.assert_allclose(label_margins(RarityMargin(), np.array([3, 3])), [0.05, 0.05])


def test_a_label_without_images_counts_as_one_with_a_single_image() -> None:
    for margin in (PowerMargin(), RarityMargin()):
        none, one, _ = label_margins(margin, np.array([0, 1, 5]))
        assert none == one


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0, [0.2, 0.2]), (2, [0.35, 0.15]), (4, [0.5, 0.1]), (9, [0.5, 0.1])]
)
def test_margins_grow_from_the_start_to_their_final_values(
    epoch: float, expected: list[float]
) -> None:
    margin = PowerMargin(coefficient=0.5, power=-1, constant=0)
    margins = Margins(margin, np.array([1, 5]), Ramp(start=0.2, epochs=4))
    margins.epoch = epoch
    torch.testing.assert_close(margins(torch.tensor([0, 1])), torch.tensor(expected))


def test_margins_are_not_stored_in_a_checkpoint() -> None:
    assert not Margins(0.5, np.array([1, 5])).state_dict()
