"""Losses over pairs: each equals its definition, worked out over points on the circle."""

import math

import pytest
import torch
from torch import nn

from kitbox import Contrastive, Margin, MultiSimilarity, Triplet
from kitbox.network import loss_heads
from tests.network.toy import points

ANGLES, LABELS = [0.0, 50.0, 20.0, 170.0, 200.0, 140.0], [0, 0, 1, 1, 2, 2]


def chord(one: float, other: float) -> float:
    return 2 * math.sin(math.radians(abs(one - other)) / 2)


def found(loss, angles=ANGLES, labels=LABELS) -> torch.Tensor:
    torch.manual_seed(0)
    return loss_heads.build_pair_loss(loss, 3)(points(*angles), torch.tensor(labels))


def close(value: torch.Tensor, expected: float) -> None:
    torch.testing.assert_close(value, torch.tensor(expected), rtol=1e-4, atol=1e-4)


def mean_of_what_is_left(losses: list[float]) -> float:
    left = [loss for loss in losses if loss > 0]
    return sum(left) / len(left)


@pytest.mark.parametrize("margin", [0.3, "soft"])
def test_triplet_takes_the_hardest_positive_and_negative_of_each_anchor(margin) -> None:
    losses = []
    for anchor, label in enumerate(LABELS):
        reach = [(chord(ANGLES[anchor], a), other) for a, other in zip(ANGLES, LABELS, strict=True)]
        positive = max(length for length, other in reach if other == label)
        negative = min(length for length, other in reach if other != label)
        gap = positive - negative
        losses.append(math.log1p(math.exp(gap)) if margin == "soft" else max(gap + margin, 0.0))
    # the mean is over the triplets that still say something, as Hermans et al. found best
    close(found(Triplet(margin=margin)), mean_of_what_is_left(losses))


def test_a_sequence_is_taken_as_it_comes() -> None:
    # anchors at 0° and 90°, positives at 60° and 90°, negatives at 30° and 270°
    loss = found(
        Triplet(margin=0.2, mining="sequence"), [0, 90, 60, 90, 30, 270], [0, 1, 0, 1, 2, 3]
    )
    close(loss, chord(0, 60) - chord(0, 30) + 0.2)


def test_margin_loss_draws_pairs_within_and_pushes_others_beyond_its_boundary() -> None:
    # 0° and 60° are 1 apart, a tenth past 1.1 − 0.2; their closest negatives that are half a unit
    # away are at 300° and at 90°, 1 and 0.52 from them
    angles, labels = [0.0, 60.0, 90.0, 300.0], [0, 0, 1, 2]
    losses = []
    for anchor, positive, negative in [(0, 1, 3), (1, 0, 2)]:
        reach, room = (chord(angles[anchor], angles[i]) for i in (positive, negative))
        losses += [max(reach - 1.1 + 0.2, 0), max(1.1 - room + 0.2, 0)]
    close(found(Margin(beta=1.1, mining="closest"), angles, labels), mean_of_what_is_left(losses))


@pytest.mark.parametrize("learnt", ["all", "per_label"])
def test_a_learnt_boundary_moves_out_where_only_positives_are_too_near_it(learnt: str) -> None:
    # positives 60° apart are at 1, past 1.1 − 0.2; the negative is far beyond 1.1 + 0.2
    head = loss_heads.build_pair_loss(Margin(beta=1.1, learn_beta=learnt, mining="closest"), 3)
    head(points(0, 60, 210), torch.tensor([1, 1, 2])).backward()
    expected = [-1.0] if learnt == "all" else [0.0, -1.0, 0.0]
    torch.testing.assert_close(head.loss.beta.grad, torch.tensor(expected))
    assert isinstance(head.loss.beta, nn.Parameter)


def test_a_fixed_boundary_is_no_weight() -> None:
    assert not list(loss_heads.build_pair_loss(Margin(), 3).parameters())


def test_contrastive_draws_pairs_together_and_pushes_others_apart() -> None:
    loss = Contrastive(positive_margin=0.1, negative_margin=0.9)
    both = [(i, j) for i in range(6) for j in range(6) if i != j]
    reach = {(i, j): chord(ANGLES[i], ANGLES[j]) for i, j in both}
    drawn = [max(reach[i, j] - 0.1, 0) for i, j in both if LABELS[i] == LABELS[j]]
    pushed = [max(0.9 - reach[i, j], 0) for i, j in both if LABELS[i] != LABELS[j]]
    close(found(loss), mean_of_what_is_left(drawn) + mean_of_what_is_left(pushed))


def test_multi_similarity_weighs_the_pairs_that_its_mining_leaves() -> None:
    total = 0.0
    for i, label in enumerate(LABELS):
        cosine = {j: math.cos(math.radians(ANGLES[i] - ANGLES[j])) for j in range(6) if j != i}
        own = [c for j, c in cosine.items() if LABELS[j] == label]
        others = [c for j, c in cosine.items() if LABELS[j] != label]
        kept = [c for c in own if c - 0.1 < max(others)]
        refused = [c for c in others if c + 0.1 > min(own)]
        total += math.log1p(sum(math.exp(-2 * (c - 0.5)) for c in kept)) / 2
        total += math.log1p(sum(math.exp(50 * (c - 0.5)) for c in refused)) / 50
    close(found(MultiSimilarity()), total / 6)


PAIR_LOSSES = [
    *[
        Triplet(mining=way)
        for way in ("batch_hard", "semi_hard", "distance_weighted", "easy_positive", "random")
    ],
    *[Margin(mining=way, learn_beta="all") for way in ("distance_weighted", "closest")],
    Contrastive(),
    MultiSimilarity(),
]


@pytest.mark.parametrize("loss", PAIR_LOSSES, ids=repr)
def test_a_batch_with_nothing_to_learn_is_a_zero_with_a_gradient(loss) -> None:
    given = points(0, 90, 180, 270).requires_grad_()
    value = loss_heads.build_pair_loss(loss, 4)(given, torch.tensor([0, 1, 2, 3]))
    value.backward()
    assert value == 0
    assert not given.grad.any()


@pytest.mark.parametrize("loss", PAIR_LOSSES, ids=repr)
@pytest.mark.parametrize("each", [2, 20])  # above 25 rows distances are computed in another way
def test_gradients_are_finite_where_all_embeddings_have_fallen_together(loss, each: int) -> None:
    given = points(*[30.0] * 2 * each).requires_grad_()
    value = loss_heads.build_pair_loss(loss, 2)(given, torch.arange(2).repeat_interleave(each))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(given.grad).all()
