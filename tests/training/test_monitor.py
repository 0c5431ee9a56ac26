"""The collapse monitor: silent while a training learns, one warning per collapse."""

import math

import pytest

from kitbox import ArcFace, Contrastive, Margin, Triplet
from kitbox.plugin.losses import Loss
from kitbox.training.monitor import CollapseMonitor, collapsed_loss


def warnings_of(losses: tuple[Loss, ...], epochs: list[tuple[float, float]]) -> list[str | None]:
    """Return the warnings about epochs of (loss, spread), with the same value for all losses."""
    monitor = CollapseMonitor(losses)
    return [
        monitor.warning({loss.kind: value for loss in losses}, spread) for value, spread in epochs
    ]


COLLAPSED = [(0.4, 1.1), (0.28, 0.5), (0.207, 0.04), (0.201, 0.01), (0.2, 0.008), (0.2, 0.008)]


def test_a_collapse_is_warned_of_once_after_three_epochs() -> None:
    warnings = warnings_of((Triplet(margin=0.2),), COLLAPSED)
    assert [text is not None for text in warnings] == [False] * 4 + [True, False]
    assert warnings[4] == (
        "the embeddings have collapsed: Triplet stands at 0.2 for 3 epochs, and a batch's "
        "embeddings are 0.008 apart, 1.1 at most so far; lower learning_rate, or begin with "
        "easier negatives"
    )


def test_a_collapse_in_the_first_epoch_is_noticed() -> None:
    assert warnings_of((Triplet(margin="soft"),), [(math.log(2), 0.02)] * 3)[2] is not None


@pytest.mark.parametrize(
    "epochs",
    [
        # learns
        [(0.35, 1.1), (0.2, 1.2), (0.12, 1.25), (0.08, 1.3), (0.05, 1.3)],
        # batch-hard triplets may stay at the margin for long; the spread stays large then
        [(0.24, 0.9), (0.21, 0.8), (0.2, 0.7), (0.2, 0.7), (0.2, 0.8), (0.2, 0.9)],
        # close together, as from random weights, but learning
        [(0.2, 0.04), (0.2, 0.04), (0.15, 0.1), (0.12, 0.3), (0.1, 0.6)],
    ],
)
def test_a_training_that_learns_gets_no_warning(epochs: list[tuple[float, float]]) -> None:
    assert warnings_of((Triplet(margin=0.2),), epochs) == [None] * len(epochs)


def test_a_second_collapse_is_warned_of_again() -> None:
    warnings = warnings_of((Triplet(margin=0.2),), [*COLLAPSED, (0.1, 1.0), *[(0.2, 0.01)] * 3])
    assert [place for place, text in enumerate(warnings) if text] == [4, 9]


def test_a_loss_without_pairs_left_to_mine_has_collapsed_too() -> None:
    assert (
        warnings_of((Triplet(margin=0.2, mining="semi_hard"),), [(0.0, 0.001)] * 3)[2] is not None
    )


@pytest.mark.parametrize(
    ("loss", "at"),
    [
        (Triplet(margin=0.3), 0.3),
        (Triplet(margin="soft"), math.log(2)),
        (Contrastive(negative_margin=0.7), 0.7),
        (Margin(), None),
    ],
)
def test_the_value_of_each_collapsed_loss(
    loss: Triplet | Contrastive | Margin, at: float | None
) -> None:
    assert collapsed_loss(loss) == at


def test_for_a_margin_loss_the_spread_alone_decides() -> None:
    assert warnings_of((Margin(),), [(1.4, 1.2), *[(0.9, 0.02)] * 3])[3] is not None
    assert warnings_of((Margin(),), [(1.4, 1.2), *[(0.9, 1.0)] * 3]) == [None] * 4


def test_the_values_of_two_losses_of_a_kind_add_up() -> None:
    losses = (Triplet(margin=0.2), Triplet(margin=0.3, mining="random"))
    assert warnings_of(losses, [(0.5, 0.01)] * 3)[2] is not None
    assert warnings_of(losses, [(0.2, 0.01)] * 3)[2] is None


def test_classification_losses_are_not_watched() -> None:
    assert warnings_of((ArcFace(),), [(0.2, 0.0)] * 5) == [None] * 5
