"""Loss heads: each equals its definition, written out slowly."""

import math

import pytest
import torch
from torch import nn

from kitbox import PK, ArcFace, CrossEntropy, Triplet
from kitbox.network.heads import ArcFaceHead, CrossEntropyHead, TrainedNetwork, TripletHead
from kitbox.network.network import Network
from tests.photographs import tiny


def embeddings(count: int = 6, dim: int = 8) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(3))


LABELS = torch.tensor([0, 0, 1, 1, 2, 2])


def test_arcface_adds_its_margin_in_radians_to_the_own_angle() -> None:
    torch.manual_seed(0)
    head = ArcFaceHead(ArcFace(margin=0.4, scale=20.0), 8, 3)
    given = embeddings()
    centers = nn.functional.normalize(head.loss.W.detach(), dim=0)
    cosine = nn.functional.normalize(given, dim=1) @ centers
    logits = cosine.clone()
    for row, label in enumerate(LABELS):
        logits[row, label] = math.cos(math.acos(float(cosine[row, label])) + 0.4)
    expected = nn.functional.cross_entropy(20.0 * logits, LABELS)
    torch.testing.assert_close(head(given, LABELS), expected, rtol=1e-4, atol=1e-4)


def test_cross_entropy_is_of_a_linear_classifier() -> None:
    head = CrossEntropyHead(CrossEntropy(label_smoothing=0.1), 8, 3)
    logits = embeddings() @ head.classifier.weight.T + head.classifier.bias
    expected = nn.functional.cross_entropy(logits, LABELS, label_smoothing=0.1)
    torch.testing.assert_close(head(embeddings(), LABELS), expected)


@pytest.mark.parametrize("margin", [0.3, "soft"])
def test_triplet_takes_the_hardest_positive_and_negative_of_each_anchor(margin) -> None:
    given = embeddings()
    unit = nn.functional.normalize(given, dim=1)
    distance = torch.cdist(unit, unit)
    losses = []
    for anchor in range(6):
        own = (LABELS[anchor] == LABELS).nonzero().ravel()
        positive = max(float(distance[anchor, i]) for i in own if i != anchor)
        negative = min(float(distance[anchor, i]) for i in range(6) if i not in own)
        gap = positive - negative
        losses.append(math.log1p(math.exp(gap)) if margin == "soft" else max(gap + margin, 0.0))
    # the mean is over the triplets that still say something, as Hermans et al. found best
    active = [loss for loss in losses if loss > 0]
    expected = torch.tensor(sum(active) / len(active))
    found = TripletHead(Triplet(margin=margin))(given, LABELS)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_losses_are_summed_by_their_weights() -> None:
    plugin = tiny(
        losses=[ArcFace(weight=2.0), CrossEntropy(weight=0.5), Triplet(weight=3.0)],
        sampler=PK(images_per_label=2),
    )
    trained = TrainedNetwork(Network(plugin), plugin, 3)
    pixels = torch.randint(0, 256, (6, 32, 32, 3), dtype=torch.uint8)
    total, terms = trained(pixels, LABELS)
    expected = 2 * terms["ArcFace"] + 0.5 * terms["CrossEntropy"] + 3 * terms["Triplet"]
    torch.testing.assert_close(total, expected)
    total.backward()
    assert all(p.grad is not None for p in trained.heads.parameters())


def test_angles_are_finite_where_an_embedding_meets_its_center_in_bfloat16() -> None:
    head = ArcFaceHead(ArcFace(), 8, 3)
    given = head.loss.W.detach().T[LABELS].clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16), torch.autocast("cpu", enabled=False):
        loss = head(given, LABELS)
    loss.backward()
    assert torch.isfinite(given.grad).all()
