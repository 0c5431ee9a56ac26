"""Loss heads: each equals its definition, computed from angles or by a slow oracle."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.losses import CosFaceLoss, SubCenterArcFaceLoss
from torch import nn

from kitbox import (
    ArcFace,
    BinaryCrossEntropy,
    Contrastive,
    CosFace,
    CrossEntropy,
    Custom,
    Focal,
    Margin,
    MultiSimilarity,
    PowerMargin,
    Ramp,
    Triplet,
)
from kitbox.errors import KitboxError
from kitbox.network.loss_heads import build_loss_head
from kitbox.network.margins import Margins
from kitbox.plugin import source_code
from kitbox.plugin.source_code import SourceCode
from tests.network.toy import points
from tests.own_code import code_of

# margins of 0.5 and 0.2 for labels of 1 and 4 images
MARGIN = PowerMargin(coefficient=0.4, power=-1, constant=0.1)
COUNTS = np.array([1, 4])


def head_of(loss, *centers: float, counts=COUNTS) -> nn.Module:
    """Return a head whose labels' centers are at angles in degrees."""
    head = build_loss_head(loss, 2, counts)
    head.loss.W.data = points(*centers).T.clone()
    return head


def cross_entropy(logits: list[float], label: int) -> float:
    """Return −log of the softmax of logits at a label."""
    return math.log(sum(math.exp(logit) for logit in logits)) - logits[label]


def test_arcface_adds_each_labels_margin_to_its_angle() -> None:
    head = head_of(ArcFace(margin=MARGIN, scale=4.0), 0, 90)
    near, far = math.radians(30), math.radians(60)
    first = cross_entropy([4 * math.cos(near + 0.5), 4 * math.cos(far)], 0)
    second = cross_entropy([4 * math.cos(near), 4 * math.cos(far + 0.2)], 1)
    embeddings = points(30, 30)
    found = head(embeddings, torch.tensor([0, 1]))
    torch.testing.assert_close(found, torch.tensor((first + second) / 2))


def test_arcface_keeps_falling_where_angle_plus_margin_exceeds_half_a_turn() -> None:
    head = head_of(ArcFace(margin=0.5, scale=1.0), 0, 90)
    own = math.cos(math.radians(170)) - 0.5 * math.sin(0.5)
    expected = cross_entropy([own, math.cos(math.radians(80))], 0)
    torch.testing.assert_close(head(points(170), torch.tensor([0])), torch.tensor(expected))


def test_arcface_uses_the_nearest_center_of_each_label() -> None:
    head = head_of(ArcFace(margin=0.3, scale=4.0, centers=2), 0, 90, 180, 270)
    own, other = math.radians(20) + 0.3, math.radians(180 - 70)
    expected = cross_entropy([4 * math.cos(own), 4 * math.cos(other)], 0)
    torch.testing.assert_close(head(points(70), torch.tensor([0])), torch.tensor(expected))


def test_cosface_subtracts_each_labels_margin_from_its_cosine() -> None:
    head = head_of(CosFace(margin=MARGIN, scale=4.0), 0, 90)
    near, far = math.cos(math.radians(30)), math.cos(math.radians(60))
    first = cross_entropy([4 * (near - 0.5), 4 * far], 0)
    second = cross_entropy([4 * near, 4 * (far - 0.2)], 1)
    found = head(points(30, 30), torch.tensor([0, 1]))
    torch.testing.assert_close(found, torch.tensor((first + second) / 2))


@pytest.mark.parametrize(
    ("loss", "library"),
    [
        (ArcFace(margin=0.3, scale=8.0, centers=3), SubCenterArcFaceLoss),
        (CosFace(margin=0.3, scale=8.0), CosFaceLoss),
    ],
)
def test_lengths_of_embeddings_and_centers_are_ignored_as_in_the_library(loss, library) -> None:
    torch.manual_seed(0)
    head = build_loss_head(loss, 6, np.full(5, 4))
    with torch.no_grad():
        head.loss.W *= torch.logspace(-3, 3, head.loss.W.shape[1])
    embeddings = torch.randn(16, 6) * torch.logspace(-2, 2, 16)[:, None]
    labels = torch.arange(16) % 5
    found, expected = [], []
    for cosines, results in (
        (head.loss.get_cosine, found),
        (partial(library.get_cosine, head.loss), expected),
    ):
        head.loss.get_cosine = cosines
        leaf = embeddings.clone().requires_grad_()
        value = head(leaf, labels)
        results += [value.detach(), *torch.autograd.grad(value, [leaf, head.loss.W])]
    for ours, other in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("epoch", [0, 1, 2, 3])
@pytest.mark.parametrize("loss", [ArcFace, CosFace])
def test_a_ramp_uses_the_margin_reached_so_far(loss, epoch: int) -> None:
    growing = head_of(loss(margin=0.5, ramp=Ramp(start=0.1, epochs=2)), 0, 90)
    next(module for module in growing.modules() if isinstance(module, Margins)).epoch = epoch
    reached = head_of(loss(margin=[0.1, 0.3, 0.5, 0.5][epoch]), 0, 90)
    embeddings, labels = points(30, 80), torch.tensor([0, 1])
    torch.testing.assert_close(growing(embeddings, labels), reached(embeddings, labels))


@pytest.mark.parametrize("turn", [0, 180])
@pytest.mark.parametrize("loss", [ArcFace(), ArcFace(centers=2), CosFace()])
def test_gradients_are_finite_where_an_embedding_equals_its_center(loss, turn: int) -> None:
    head = head_of(loss, *[0] * 2 * getattr(loss, "centers", 1))
    embeddings = torch.tensor([[1.0 if turn == 0 else -1.0, 0.0]], requires_grad=True)
    head(embeddings, torch.tensor([0])).backward()
    assert torch.isfinite(embeddings.grad).all()
    assert torch.isfinite(head.loss.W.grad).all()


def test_cross_entropy_is_that_of_a_linear_classifier() -> None:
    head = build_loss_head(CrossEntropy(label_smoothing=0.1), 2, COUNTS)
    embeddings, labels = points(10, 200), torch.tensor([0, 1])
    logits = embeddings @ head.classifier.weight.T + head.classifier.bias
    expected = nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
    torch.testing.assert_close(head(embeddings, labels), expected)


def linear(loss, logits: list[list[float]]) -> tuple[nn.Module, torch.Tensor]:
    """Return a head and embeddings that have these logits."""
    count = len(logits[0])
    head = build_loss_head(loss, count, np.ones(count, np.int64))
    head.classifier.weight.data, head.classifier.bias.data = torch.eye(count), torch.zeros(count)
    return head, torch.tensor(logits, requires_grad=True)


def test_focal_weights_each_image_by_its_labels_probability() -> None:
    # probabilities 3/4 and 1/2: a mean of (1/4)²·log(4/3) and (1/2)²·log 2
    head, embeddings = linear(Focal(gamma=2.0), [[math.log(3), 0.0], [0.0, 0.0]])
    expected = (math.log(4 / 3) / 16 + math.log(2) / 4) / 2
    torch.testing.assert_close(head(embeddings, torch.tensor([0, 1])), torch.tensor(expected))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_is_finite_at_probabilities_of_zero_and_one(gamma: float) -> None:
    head, embeddings = linear(Focal(gamma=gamma), [[200.0, 0.0], [-200.0, 0.0]])
    head(embeddings, torch.tensor([0, 0])).backward()
    assert torch.isfinite(embeddings.grad).all()


def test_binary_cross_entropy_uses_the_positive_output_and_the_hardest_negatives() -> None:
    # 40 % of 4 negatives, rounded up, are 2
    head, embeddings = linear(BinaryCrossEntropy(hardest=0.4), [[1.0, 3.0, -2.0, 2.0, 0.0]])
    wrong = (math.log1p(math.exp(3)) + math.log1p(math.exp(2))) / 2
    expected = math.log1p(math.exp(-1)) + wrong
    torch.testing.assert_close(head(embeddings, torch.tensor([0])), torch.tensor(expected))


def test_binary_cross_entropy_of_an_unknown_has_no_positive_output() -> None:
    head, embeddings = linear(BinaryCrossEntropy(hardest=1.0), [[1.0, 3.0]])
    expected = (math.log1p(math.exp(1)) + math.log1p(math.exp(3))) / 2
    torch.testing.assert_close(head(embeddings, torch.tensor([-1])), torch.tensor(expected))


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
    head, embeddings = linear(BinaryCrossEntropy(hardest=share), [logits for logits, _ in images])
    found = head(embeddings, torch.tensor([label for _, label in images]))
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-4)


def test_a_share_that_is_whole_up_to_rounding_uses_no_additional_output() -> None:
    head = build_loss_head(BinaryCrossEntropy(hardest=0.07), 2, np.ones(101, np.int64))
    assert head.hardest_of_known == 7


ANGLES, LABELS = [0.0, 50.0, 20.0, 170.0, 200.0, 140.0], [0, 0, 1, 1, 2, 2]


def chord(one: float, other: float) -> float:
    return 2 * math.sin(math.radians(abs(one - other)) / 2)


def pair_head(loss, label_count: int = 3) -> nn.Module:
    return build_loss_head(loss, 2, np.ones(label_count, np.int64))


def pair_loss(loss, angles=ANGLES, labels=LABELS) -> torch.Tensor:
    torch.manual_seed(0)
    return pair_head(loss)(points(*angles), torch.tensor(labels))


def assert_close(value: torch.Tensor, expected: float) -> None:
    torch.testing.assert_close(value, torch.tensor(expected), rtol=1e-4, atol=1e-4)


def mean_of_positive(losses: list[float]) -> float:
    positive = [loss for loss in losses if loss > 0]
    return sum(positive) / len(positive)


@pytest.mark.parametrize("margin", [0.3, "soft"])
def test_triplet_uses_the_hardest_positive_and_negative_of_each_anchor(margin) -> None:
    losses = []
    for anchor, label in enumerate(LABELS):
        reach = [(chord(ANGLES[anchor], a), other) for a, other in zip(ANGLES, LABELS, strict=True)]
        positive = max(length for length, other in reach if other == label)
        negative = min(length for length, other in reach if other != label)
        gap = positive - negative
        losses.append(math.log1p(math.exp(gap)) if margin == "soft" else max(gap + margin, 0.0))
    # the mean is over the triplets with a loss, as Hermans et al. found best
    assert_close(pair_loss(Triplet(margin=margin)), mean_of_positive(losses))


def test_a_sequence_is_used_in_its_order() -> None:
    # anchors at 0° and 90°, positives at 60° and 90°, negatives at 30° and 270°
    loss = pair_loss(
        Triplet(margin=0.2, mining="sequence"), [0, 90, 60, 90, 30, 270], [0, 1, 0, 1, 2, 3]
    )
    assert_close(loss, chord(0, 60) - chord(0, 30) + 0.2)


def test_margin_loss_pulls_positives_within_and_pushes_negatives_beyond_its_boundary() -> None:
    # 0° and 60° are 1 apart, 0.1 beyond 1.1 − 0.2; their closest negatives at a distance of 0.5 or
    # more are at 300° and 90°, 1 and 0.52 from them
    angles, labels = [0.0, 60.0, 90.0, 300.0], [0, 0, 1, 2]
    losses = []
    for anchor, positive, negative in [(0, 1, 3), (1, 0, 2)]:
        near, far = (chord(angles[anchor], angles[i]) for i in (positive, negative))
        losses += [max(near - 1.1 + 0.2, 0), max(1.1 - far + 0.2, 0)]
    assert_close(
        pair_loss(Margin(beta=1.1, mining="closest"), angles, labels), mean_of_positive(losses)
    )


@pytest.mark.parametrize("learn_beta", ["all", "per_label"])
def test_a_learned_boundary_moves_out_where_only_positives_have_a_loss(learn_beta: str) -> None:
    # positives 60° apart are at 1, past 1.1 − 0.2; the negative is far beyond 1.1 + 0.2
    head = pair_head(Margin(beta=1.1, learn_beta=learn_beta, mining="closest"))
    head(points(0, 60, 210), torch.tensor([1, 1, 2])).backward()
    expected = [-1.0] if learn_beta == "all" else [0.0, -1.0, 0.0]
    torch.testing.assert_close(head.loss.beta.grad, torch.tensor(expected))
    assert isinstance(head.loss.beta, nn.Parameter)


def test_a_fixed_boundary_is_not_a_parameter() -> None:
    assert not list(pair_head(Margin()).parameters())


def test_contrastive_pulls_positives_together_and_pushes_negatives_apart() -> None:
    loss = Contrastive(positive_margin=0.1, negative_margin=0.9)
    pairs = [(i, j) for i in range(6) for j in range(6) if i != j]
    distance = {(i, j): chord(ANGLES[i], ANGLES[j]) for i, j in pairs}
    pulled = [max(distance[i, j] - 0.1, 0) for i, j in pairs if LABELS[i] == LABELS[j]]
    pushed = [max(0.9 - distance[i, j], 0) for i, j in pairs if LABELS[i] != LABELS[j]]
    assert_close(pair_loss(loss), mean_of_positive(pulled) + mean_of_positive(pushed))


def test_multi_similarity_weights_the_pairs_that_its_mining_selects() -> None:
    total = 0.0
    for i, label in enumerate(LABELS):
        cosine = {j: math.cos(math.radians(ANGLES[i] - ANGLES[j])) for j in range(6) if j != i}
        own = [c for j, c in cosine.items() if LABELS[j] == label]
        others = [c for j, c in cosine.items() if LABELS[j] != label]
        positives = [c for c in own if c - 0.1 < max(others)]
        negatives = [c for c in others if c + 0.1 > min(own)]
        total += math.log1p(sum(math.exp(-2 * (c - 0.5)) for c in positives)) / 2
        total += math.log1p(sum(math.exp(50 * (c - 0.5)) for c in negatives)) / 50
    assert_close(pair_loss(MultiSimilarity()), total / 6)


PAIR_LOSSES = [
    *[
        Triplet(mining=mining)
        for mining in ("batch_hard", "semi_hard", "distance_weighted", "easy_positive", "random")
    ],
    *[Margin(mining=mining, learn_beta="all") for mining in ("distance_weighted", "closest")],
    Contrastive(),
    MultiSimilarity(),
]


@pytest.mark.parametrize("loss", PAIR_LOSSES, ids=repr)
def test_a_batch_without_pairs_has_zero_loss_with_a_gradient(loss) -> None:
    embeddings = points(0, 90, 180, 270).requires_grad_()
    value = pair_head(loss, 4)(embeddings, torch.tensor([0, 1, 2, 3]))
    value.backward()
    assert value == 0
    assert not embeddings.grad.any()


@pytest.mark.parametrize("loss", PAIR_LOSSES, ids=repr)
# torch computes distances of more than 25 rows differently
@pytest.mark.parametrize("each", [2, 20])
def test_gradients_are_finite_where_all_embeddings_are_equal(loss, each: int) -> None:
    embeddings = points(*[30.0] * 2 * each).requires_grad_()
    value = pair_head(loss, 2)(embeddings, torch.arange(2).repeat_interleave(each))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(embeddings.grad).all()


CIRCLE = """\
import torch
from torch import nn

class Circle(nn.Module):
    def __init__(self, embedding_dim, label_counts, scale=1.0):
        super().__init__()
        self.scale = scale
        self.centers = nn.Parameter(torch.eye(embedding_dim)[: len(label_counts)])

    def forward(self, embeddings, labels):
        return self.scale * (1 - (embeddings * self.centers[labels]).sum(1)).mean()
"""


def own_head(root, body: str = "", loss: Custom | None = None, text: str = "") -> nn.Module:
    """Return the head of a user's own loss, with this body of its forward."""
    class_ = f"import torch\n\nclass Mine(torch.nn.Module):\n    def forward(self, e, y):\n{body}"
    loss = loss or Custom("mylosses:Mine")
    code = code_of(root, loss.function, text or class_)
    return build_loss_head(loss, 2, COUNTS, code)


def test_an_own_loss_is_built_for_the_embeddings_and_labels(tmp_path) -> None:
    loss = Custom("mylosses:Circle", settings={"scale": 3})
    head = own_head(tmp_path, loss=loss, text=CIRCLE)
    found = head(points(0, 60), torch.tensor([0, 1]))
    torch.testing.assert_close(found, torch.tensor(3 * (1 - math.cos(math.radians(30))) / 2))
    assert [tuple(each.shape) for each in head.parameters()] == [(2, 2)]


def test_a_loss_of_a_package_needs_no_module(tmp_path) -> None:
    function = "pytorch_metric_learning.losses:CircleLoss"
    code = SourceCode.of([function], source_code.read([function], tmp_path))
    head = build_loss_head(Custom(function, settings={"m": 0.3}, pairs=True), 2, COUNTS, code)
    assert head(points(0, 5, 60, 70), torch.tensor([0, 0, 1, 1])) > 0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "        return e.sum(1)",
            "mylosses:Mine: its loss of a batch is a Tensor of shape (8,); ",
        ),
        ("        return 1.5", "mylosses:Mine: its loss of a batch is a float; return one number"),
        (
            "        return y.sum()",
            "mylosses:Mine: its loss of a batch is a Tensor of torch.int64; ",
        ),
        (
            "        return (e - e).sum() / 0",
            "mylosses:Mine: its loss is nan for 8 random embeddings of unit length",
        ),
        (
            "        return ((e - e) ** 2).sum().sqrt()",
            "mylosses:Mine: the gradient of its loss is not finite for 8 random embeddings",
        ),
        ("        return e.detach().sum()", "mylosses:Mine: its loss has no gradient for 8 random"),
        ("        return e @ y", "mylosses.py line 5: RuntimeError: size mismatch, got"),
    ],
)
def test_an_own_loss_that_cannot_be_trained_is_refused_when_it_is_built(
    tmp_path, body: str, message: str
) -> None:
    with pytest.raises(KitboxError) as caught:
        own_head(tmp_path, body)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("loss", "text", "message"),
    [
        (
            Custom("mylosses:Circle", settings={"scal": 1}),
            CIRCLE,
            "mylosses:Circle: it takes no 'scal'; did you mean scale?",
        ),
        (
            Custom("mylosses:circle"),
            "def circle(label_count): return print",
            "mylosses:circle: it returns a builtin_function_or_method; return a torch.nn.Module",
        ),
    ],
)
def test_an_own_loss_that_cannot_be_built_is_refused(
    tmp_path, loss: Custom, text: str, message: str
) -> None:
    with pytest.raises(KitboxError) as caught:
        own_head(tmp_path, loss=loss, text=text)
    assert str(caught.value).startswith(message)


def test_trying_an_own_loss_changes_neither_it_nor_the_seed(tmp_path) -> None:
    text = CIRCLE.replace("        return", "        self.seen = len(labels)\n        return")
    torch.manual_seed(3)
    head = own_head(tmp_path, loss=Custom("mylosses:Circle"), text=text)
    drawn = float(torch.rand(()))
    torch.manual_seed(3)
    assert drawn == float(torch.rand(()))
    assert not hasattr(head.loss, "seen")
