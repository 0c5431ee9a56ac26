"""Heads that classify: each equals its definition, worked out with angles or written out slowly."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.losses import CosFaceLoss, SubCenterArcFaceLoss
from torch import nn

from kitbox import ArcFace, BinaryCrossEntropy, CosFace, CrossEntropy, Focal, PowerMargin, Ramp
from kitbox.network import loss_heads
from kitbox.network.margins import Margins
from tests.network.toy import points

# n^-1 of 1 and 4 images
MARGIN = PowerMargin(coefficient=0.4, power=-1, constant=0.1)
COUNTS = np.array([1, 4])
OF_LABEL = [0.5, 0.2]


def head_of(loss, *centers: float, counts=COUNTS) -> nn.Module:
    """Return a head whose labels' directions are at angles in degrees."""
    head = loss_heads.build(loss, 2, counts)
    head.loss.W.data = points(*centers).T.clone()
    return head


def surprise(logits: list[float], own: int) -> float:
    """Return −log of the softmax of logits at one of them."""
    return math.log(sum(math.exp(logit) for logit in logits)) - logits[own]


def test_arcface_adds_the_margin_of_each_label_to_the_own_angle() -> None:
    head = head_of(ArcFace(margin=MARGIN, scale=4.0), 0, 90)
    near, far = math.radians(30), math.radians(60)
    first = surprise([4 * math.cos(near + 0.5), 4 * math.cos(far)], 0)
    second = surprise([4 * math.cos(near), 4 * math.cos(far + 0.2)], 1)
    given = points(30, 30)
    found = head(given, torch.tensor([0, 1]))
    torch.testing.assert_close(found, torch.tensor((first + second) / 2))


def test_arcface_falls_on_where_the_angle_and_margin_pass_half_a_turn() -> None:
    head = head_of(ArcFace(margin=0.5, scale=1.0), 0, 90)
    own = math.cos(math.radians(170)) - 0.5 * math.sin(0.5)
    expected = surprise([own, math.cos(math.radians(80))], 0)
    torch.testing.assert_close(head(points(170), torch.tensor([0])), torch.tensor(expected))


def test_arcface_takes_the_nearest_center_of_each_label() -> None:
    head = head_of(ArcFace(margin=0.3, scale=4.0, centers=2), 0, 90, 180, 270)
    own, other = math.radians(20) + 0.3, math.radians(180 - 70)
    expected = surprise([4 * math.cos(own), 4 * math.cos(other)], 0)
    torch.testing.assert_close(head(points(70), torch.tensor([0])), torch.tensor(expected))


def test_cosface_takes_the_margin_of_each_label_from_the_own_cosine() -> None:
    head = head_of(CosFace(margin=MARGIN, scale=4.0), 0, 90)
    near, far = math.cos(math.radians(30)), math.cos(math.radians(60))
    first = surprise([4 * (near - 0.5), 4 * far], 0)
    second = surprise([4 * near, 4 * (far - 0.2)], 1)
    found = head(points(30, 30), torch.tensor([0, 1]))
    torch.testing.assert_close(found, torch.tensor((first + second) / 2))


@pytest.mark.parametrize(
    ("loss", "theirs"),
    [
        (ArcFace(margin=0.3, scale=8.0, centers=3), SubCenterArcFaceLoss),
        (CosFace(margin=0.3, scale=8.0), CosFaceLoss),
    ],
)
def test_the_lengths_of_embeddings_and_directions_count_as_little_as_in_theirs(
    loss, theirs
) -> None:
    torch.manual_seed(0)
    head = loss_heads.build(loss, 6, np.full(5, 4))
    with torch.no_grad():
        head.loss.W *= torch.logspace(-3, 3, head.loss.W.shape[1])
    embeddings, labels = (
        torch.randn(16, 6) * torch.logspace(-2, 2, 16)[:, None],
        torch.arange(16) % 5,
    )
    found, expected = [], []
    for cosines, kept in (
        (head.loss.get_cosine, found),
        (partial(theirs.get_cosine, head.loss), expected),
    ):
        head.loss.get_cosine = cosines
        given = embeddings.clone().requires_grad_()
        value = head(given, labels)
        kept += [value.detach(), *torch.autograd.grad(value, [given, head.loss.W])]
    for ours, other in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("epoch", [0, 1, 2, 3])
@pytest.mark.parametrize("loss", [ArcFace, CosFace])
def test_a_ramp_is_the_loss_with_the_margin_reached_so_far(loss, epoch: int) -> None:
    growing = head_of(loss(margin=0.5, ramp=Ramp(start=0.1, epochs=2)), 0, 90)
    next(module for module in growing.modules() if isinstance(module, Margins)).epoch = epoch
    reached = head_of(loss(margin=[0.1, 0.3, 0.5, 0.5][epoch]), 0, 90)
    given, labels = points(30, 80), torch.tensor([0, 1])
    torch.testing.assert_close(growing(given, labels), reached(given, labels))


@pytest.mark.parametrize("turn", [0, 180])
@pytest.mark.parametrize("loss", [ArcFace(), ArcFace(centers=2), CosFace()])
def test_gradients_are_finite_where_an_embedding_meets_its_center(loss, turn: int) -> None:
    head = head_of(loss, *[0] * 2 * getattr(loss, "centers", 1))
    given = torch.tensor([[1.0 if turn == 0 else -1.0, 0.0]], requires_grad=True)
    head(given, torch.tensor([0])).backward()
    assert torch.isfinite(given.grad).all()
    assert torch.isfinite(head.loss.W.grad).all()


def test_cross_entropy_is_of_a_linear_classifier() -> None:
    head = loss_heads.build(CrossEntropy(label_smoothing=0.1), 2, COUNTS)
    given, labels = points(10, 200), torch.tensor([0, 1])
    logits = given @ head.classifier.weight.T + head.classifier.bias
    expected = nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
    torch.testing.assert_close(head(given, labels), expected)


def linear(loss, logits: list[list[float]]) -> tuple[nn.Module, torch.Tensor]:
    """Return a head and embeddings whose logits are given."""
    count = len(logits[0])
    head = loss_heads.build(loss, count, np.ones(count, np.int64))
    head.classifier.weight.data, head.classifier.bias.data = torch.eye(count), torch.zeros(count)
    return head, torch.tensor(logits, requires_grad=True)


def test_focal_weighs_each_image_by_its_own_probability() -> None:
    # probabilities 3/4 and 1/2: a mean of (1/4)²·log(4/3) and (1/2)²·log 2
    head, given = linear(Focal(gamma=2.0), [[math.log(3), 0.0], [0.0, 0.0]])
    expected = (math.log(4 / 3) / 16 + math.log(2) / 4) / 2
    torch.testing.assert_close(head(given, torch.tensor([0, 1])), torch.tensor(expected))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_is_finite_where_nothing_is_left_to_learn(gamma: float) -> None:
    head, given = linear(Focal(gamma=gamma), [[200.0, 0.0], [-200.0, 0.0]])
    head(given, torch.tensor([0, 0])).backward()
    assert torch.isfinite(given.grad).all()


def test_binary_cross_entropy_counts_the_own_output_and_the_hardest_others() -> None:
    # of 4 others 40 % are 2 at least
    head, given = linear(BinaryCrossEntropy(hardest=0.4), [[1.0, 3.0, -2.0, 2.0, 0.0]])
    wrong = (math.log1p(math.exp(3)) + math.log1p(math.exp(2))) / 2
    expected = math.log1p(math.exp(-1)) + wrong
    torch.testing.assert_close(head(given, torch.tensor([0])), torch.tensor(expected))


def test_to_binary_cross_entropy_an_unknown_is_none_of_the_labels() -> None:
    head, given = linear(BinaryCrossEntropy(hardest=1.0), [[1.0, 3.0]])
    expected = (math.log1p(math.exp(1)) + math.log1p(math.exp(3))) / 2
    torch.testing.assert_close(head(given, torch.tensor([-1])), torch.tensor(expected))


@given(
    st.lists(
        st.tuples(st.lists(st.floats(-9, 9), min_size=7, max_size=7), st.integers(-1, 6)),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from([0.01, 1 / 6, 0.2, 0.5, 1.0]),
)
@settings(max_examples=40, deadline=None)
def test_binary_cross_entropy_equals_its_definition(images, share: float) -> None:
    right, wrong = [], []
    for logits, label in images:
        others = sorted((x for i, x in enumerate(logits) if i != label), reverse=True)
        hardest = others[: math.ceil(share * len(others) - 1e-9)]
        wrong.append(sum(math.log1p(math.exp(x)) for x in hardest) / len(hardest))
        right += [math.log1p(math.exp(-logits[label]))] if label >= 0 else []
    expected = sum(wrong) / len(wrong) + (sum(right) / len(right) if right else 0)
    head, given = linear(BinaryCrossEntropy(hardest=share), [logits for logits, _ in images])
    found = head(given, torch.tensor([label for _, label in images]))
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-4)


def test_a_share_that_is_whole_but_for_rounding_takes_no_output_more() -> None:
    head = loss_heads.build(BinaryCrossEntropy(hardest=0.07), 2, np.ones(101, np.int64))
    assert head.hardest_of_known == 7
