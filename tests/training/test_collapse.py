"""The collapse monitor: silent while a training learns, one sentence when it has collapsed."""

import math

import pytest

from kitbox import ArcFace, Contrastive, Margin, Triplet
from kitbox.plugin.losses import Loss
from kitbox.training.monitor import CollapseMonitor, collapsed_loss


def told(losses: tuple[Loss, ...], epochs: list[tuple[float, float]]) -> list[str | None]:
    """Return what a monitor says of epochs of (loss, spread); all losses stand at the same."""
    monitor = CollapseMonitor(losses)
    return [
        monitor.warning({loss.kind: value for loss in losses}, apart) for value, apart in epochs
    ]


COLLAPSED = [(0.4, 1.1), (0.28, 0.5), (0.207, 0.04), (0.201, 0.01), (0.2, 0.008), (0.2, 0.008)]


def test_a_collapse_is_said_once_after_three_epochs_of_it() -> None:
    said = told((Triplet(margin=0.2),), COLLAPSED)
    assert [text is not None for text in said] == [False] * 4 + [True, False]
    assert said[4] == (
        "the embeddings have collapsed: Triplet stands at 0.2 for 3 epochs, and a batch's "
        "embeddings are 0.008 apart, 1.1 at most so far; lower learning_rate, or begin with "
        "easier negatives"
    )


def test_a_collapse_in_the_first_epoch_is_noticed() -> None:
    assert told((Triplet(margin="soft"),), [(math.log(2), 0.02)] * 3)[2] is not None


@pytest.mark.parametrize(
    "epochs",
    [
        # learns
        [(0.35, 1.1), (0.2, 1.2), (0.12, 1.25), (0.08, 1.3), (0.05, 1.3)],
        # batch-hard triplets stand at the margin for long before they fall; the spread does not
        [(0.24, 0.9), (0.21, 0.8), (0.2, 0.7), (0.2, 0.7), (0.2, 0.8), (0.2, 0.9)],
        # near together, as a network from random weights may be, but learning
        [(0.2, 0.04), (0.2, 0.04), (0.15, 0.1), (0.12, 0.3), (0.1, 0.6)],
    ],
)
def test_a_training_that_learns_is_left_alone(epochs: list[tuple[float, float]]) -> None:
    assert told((Triplet(margin=0.2),), epochs) == [None] * len(epochs)


def test_a_second_collapse_is_said_again() -> None:
    said = told((Triplet(margin=0.2),), [*COLLAPSED, (0.1, 1.0), *[(0.2, 0.01)] * 3])
    assert [place for place, text in enumerate(said) if text] == [4, 9]


def test_a_loss_without_pairs_left_to_mine_has_collapsed_too() -> None:
    assert told((Triplet(margin=0.2, mining="semi_hard"),), [(0.0, 0.001)] * 3)[2] is not None


@pytest.mark.parametrize(
    ("loss", "at"),
    [
        (Triplet(margin=0.3), 0.3),
        (Triplet(margin="soft"), math.log(2)),
        (Contrastive(negative_margin=0.7), 0.7),
        (Margin(), None),
    ],
)
def test_where_a_loss_stands_in_a_collapse(
    loss: Triplet | Contrastive | Margin, at: float | None
) -> None:
    assert collapsed_loss(loss) == at


def test_a_margin_loss_is_judged_by_the_spread_alone() -> None:
    assert told((Margin(),), [(1.4, 1.2), *[(0.9, 0.02)] * 3])[3] is not None
    assert told((Margin(),), [(1.4, 1.2), *[(0.9, 1.0)] * 3]) == [None] * 4


def test_two_losses_of_a_kind_stand_at_the_sum_of_theirs() -> None:
    losses = (Triplet(margin=0.2), Triplet(margin=0.3, mining="random"))
    assert told(losses, [(0.5, 0.01)] * 3)[2] is not None
    assert told(losses, [(0.2, 0.01)] * 3)[2] is None


def test_losses_that_classify_are_not_followed() -> None:
    assert told((ArcFace(),), [(0.2, 0.0)] * 5) == [None] * 5
