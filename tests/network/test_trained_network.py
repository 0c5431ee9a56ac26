"""Network with loss heads: every loss trains; loss weights, unknowns, mixup and slices."""

import numpy as np
import pytest
import torch
from torch import nn

from kitbox import (
    PK,
    ArcFace,
    BinaryCrossEntropy,
    Contrastive,
    CosFace,
    CrossEntropy,
    Divide,
    Focal,
    Hardness,
    Margin,
    MultiSimilarity,
    Ramp,
    RarityMargin,
    Triplet,
)
from kitbox.network.network import Network
from kitbox.network.trained_network import TrainedNetwork
from tests.network.toy import losses, points, trained
from tests.photographs import tiny

MININGS = ("batch_hard", "semi_hard", "distance_weighted", "easy_positive", "random")
EVERY_LOSS = [
    ArcFace(),
    ArcFace(centers=3, margin=RarityMargin(), ramp=Ramp()),
    CosFace(),
    CrossEntropy(label_smoothing=0.1),
    Focal(),
    BinaryCrossEntropy(hardest=0.5),
    *[Triplet(mining=mining) for mining in MININGS],
    Triplet(mining="sequence"),
    Triplet(margin="soft"),
    Margin(),
    Margin(learn_beta="all", mining="closest"),
    Margin(learn_beta="per_label"),
    Contrastive(),
    MultiSimilarity(),
]
LABELS = [0, 0, 1, 1, 2, 2]


def plugin_of(*losses, **settings):
    """Return a plugin of losses, with the sampler that they need."""
    sequenced = any(getattr(loss, "mining", "") == "sequence" for loss in losses)
    sampler = Hardness() if sequenced else PK(images_per_label=2)
    return tiny(losses=losses, sampler=sampler, batch_size=6, **settings)


def scattered(dim: int = 8) -> torch.Tensor:
    return torch.randn(6, dim, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("loss", EVERY_LOSS, ids=repr)
def test_a_step_lowers_the_loss(loss) -> None:
    network = trained(plugin_of(loss), scattered(), 1, 4, 9)
    # a step so small that mining selects the same triplets again
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    values = []
    for _ in range(2):
        torch.manual_seed(1)  # the same random draws
        value, _ = losses(network, LABELS)
        values.append(value.item())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert 0 < values[1] < values[0]


class Projected(nn.Module):
    """A network whose embeddings are bfloat16 under autocast; the first two are equal."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding_dim = 8
        self.neck = nn.Linear(8, 8, bias=False)

    def forward(self, _: torch.Tensor) -> torch.Tensor:
        """Return embeddings (6, 8)."""
        return self.neck(scattered()[[0, 0, 2, 3, 4, 5]])


@pytest.mark.parametrize("loss", EVERY_LOSS, ids=repr)
def test_loss_and_gradients_are_finite_in_bfloat16(loss) -> None:
    torch.manual_seed(0)
    network = TrainedNetwork(Projected(), plugin_of(loss), np.array([1, 4, 9])).train()
    with torch.autocast("cpu", torch.bfloat16):
        assert network.network(torch.empty(0)).dtype == torch.bfloat16
        value, terms = losses(network, LABELS)
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert list(terms) == [loss.kind]
    gradients = [weights.grad for weights in network.parameters()]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)


def test_every_weight_of_network_and_heads_has_a_gradient() -> None:
    plugin = plugin_of(ArcFace(), BinaryCrossEntropy(), Margin())
    network = TrainedNetwork(Network(plugin), plugin, np.array([1, 4, 9])).train()
    pixels = torch.randint(0, 256, (6, 32, 32, 3), dtype=torch.uint8)
    network(pixels, torch.tensor(LABELS))[0].backward()
    assert all(weights.grad is not None for weights in network.parameters())


def test_losses_are_summed_by_their_weights() -> None:
    plugin = plugin_of(ArcFace(weight=2.0), CrossEntropy(weight=0.5), Triplet(weight=3.0))
    total, terms = losses(trained(plugin, scattered(), 1, 4, 9), LABELS)
    expected = 2 * terms["ArcFace"] + 0.5 * terms["CrossEntropy"] + 3 * terms["Triplet"]
    torch.testing.assert_close(total, expected)


def test_losses_of_one_kind_are_reported_as_their_sum() -> None:
    plugin = plugin_of(Contrastive(), Contrastive(negative_margin=1.9, weight=0.5))
    network = trained(plugin, scattered(), 1, 4, 9)
    _, terms = losses(network, LABELS)
    one, two = (head(scattered(), torch.tensor(LABELS)) for head in network.heads)
    torch.testing.assert_close(terms, {"Contrastive": one + two})


def test_dropout_applies_only_to_losses_that_take_it() -> None:
    plugin = plugin_of(Contrastive(), CrossEntropy(), dropout=0.5)
    network = trained(plugin, scattered(), 1, 4, 9)
    (_, one), (_, two) = (losses(network, LABELS) for _ in range(2))
    assert one["Contrastive"] == two["Contrastive"]
    assert one["CrossEntropy"] != two["CrossEntropy"]


def test_margins_grow_with_the_epochs() -> None:
    network = trained(plugin_of(ArcFace(ramp=Ramp(epochs=4))), scattered(), 1, 4, 9)
    values = []
    for epoch in (0, 2.5, 4, 5):
        network.set_epoch(epoch)
        values.append(losses(network, LABELS)[0].item())
    assert values[0] < values[1] < values[2] == values[3]


CLASSIFYING = [ArcFace(), CosFace(), CrossEntropy(), Focal()]


@pytest.mark.parametrize("loss", CLASSIFYING, ids=repr)
def test_losses_that_classify_leave_unknowns_out(loss) -> None:
    plugin, embeddings = plugin_of(loss), scattered()
    some, _ = losses(trained(plugin, embeddings, 1, 4, 9), [0, -1, 1, -1, 2, 2])
    alone, _ = losses(trained(plugin, embeddings[[0, 2, 4, 5]], 1, 4, 9), [0, 1, 2, 2])
    torch.testing.assert_close(some, alone)


@pytest.mark.parametrize("loss", CLASSIFYING, ids=repr)
def test_a_batch_of_unknowns_has_zero_loss_with_gradients_for_all_weights(loss) -> None:
    network = trained(plugin_of(loss), scattered(), 1, 4, 9)
    value, _ = losses(network, [-1] * 6)
    value.backward()
    assert value == 0
    assert all(not weights.grad.any() for weights in network.parameters())


def test_unknowns_are_negatives_of_every_label_in_binary_cross_entropy() -> None:
    network = trained(plugin_of(BinaryCrossEntropy(hardest=1.0)), scattered(), 1, 4, 9)
    value, _ = losses(network, [-1] * 6)
    logits = network.heads[0].classifier(scattered())
    torch.testing.assert_close(value, nn.functional.softplus(logits).mean())


def test_pair_losses_treat_each_unknown_as_an_individual() -> None:
    # 60° is a distance of 1: the only loss is 2 − 1, between the two unknowns
    plugin = plugin_of(Contrastive(negative_margin=2.0))
    value, _ = losses(trained(plugin, points(0, 60), 1, 1), [-1, -1])
    torch.testing.assert_close(value, torch.tensor(1.0))


def test_boundaries_by_label_work_with_unknowns() -> None:
    plugin = plugin_of(Margin(learn_beta="per_label", mining="closest"))
    network = trained(plugin, points(0, 60, 100, 200), 1, 1)
    losses(network, [1, 1, -1, -1])[0].backward()
    assert [bool(gradient) for gradient in network.heads[0].loss.beta.grad] == [False, True]


def test_mixed_embeddings_have_both_labels() -> None:
    network = trained(plugin_of(CrossEntropy(), embedding_mixup=0.4), scattered(), 1, 4, 9)
    torch.manual_seed(5)
    found, _ = losses(network, LABELS)
    torch.manual_seed(5)
    share = float(torch.distributions.Beta(0.4, 0.4).sample())
    other = torch.randperm(6)
    labels = torch.tensor(LABELS)
    logits = network.heads[0].classifier(share * scattered() + (1 - share) * scattered()[other])
    both = nn.functional.one_hot(labels) * share + nn.functional.one_hot(labels[other]) * (
        1 - share
    )
    torch.testing.assert_close(found, nn.functional.cross_entropy(logits, both))


def test_embeddings_are_mixed_for_losses_that_classify_and_in_training_only() -> None:
    plain = plugin_of(CrossEntropy(), Contrastive())
    mixing = plugin_of(CrossEntropy(), Contrastive(), embedding_mixup=0.4)
    (_, one), (_, two) = (losses(trained(p, scattered(), 1, 4, 9), LABELS) for p in (plain, mixing))
    assert one["Contrastive"] == two["Contrastive"]
    assert one["CrossEntropy"] != two["CrossEntropy"]
    (_, one), (_, two) = (
        losses(trained(p, scattered(), 1, 4, 9).eval(), LABELS) for p in (plain, mixing)
    )
    assert one == two


def test_unknowns_are_not_mixed() -> None:
    plugin = plugin_of(CrossEntropy(), embedding_mixup=0.4)
    network = trained(plugin, scattered(), 1, 4, 9)
    for _ in range(5):
        losses(network, [0, -1, 1, -1, 2, -1])[0].backward()
    gradients = network.network.embeddings.grad
    assert gradients[0::2].any(1).all()
    assert not gradients[1::2].any()


def divided(*losses) -> TrainedNetwork:
    return trained(plugin_of(*losses, divide=Divide(learners=4)), scattered(), 1, 4, 9)


@pytest.mark.parametrize("loss", [ArcFace(), Margin(learn_beta="per_label")], ids=repr)
def test_a_learner_trains_its_slice_with_its_own_head(loss) -> None:
    network = divided(loss)
    torch.manual_seed(1)
    value, _ = losses(network, LABELS, learner=2)
    value.backward()
    gradients = network.network.embeddings.grad.abs().sum(0)
    assert gradients[4:6].all()
    assert not gradients[[0, 1, 2, 3, 6, 7]].any()
    trained_heads = [any(w.grad.any() for w in head.parameters()) for head in network.heads]
    # the head of the whole embedding, then those of learners 0 to 3
    assert trained_heads == [False, False, False, True, False]
    alone = network.heads[3]
    torch.manual_seed(1)
    torch.testing.assert_close(value, alone(scattered()[:, 4:6], torch.tensor(LABELS)))


def test_without_a_learner_the_first_heads_train_the_whole_embedding() -> None:
    network = divided(ArcFace(), Contrastive())
    value, _ = losses(network, LABELS)
    value.backward()
    assert network.network.embeddings.grad.abs().sum(0).all()
    labels = torch.tensor(LABELS)
    expected = sum(network.heads[i](scattered(), labels) for i in (0, 1))
    torch.testing.assert_close(value, expected)


def test_every_weight_of_unused_heads_has_a_gradient_of_zero() -> None:
    network = divided(CosFace(), Margin(learn_beta="all"))
    losses(network, LABELS, learner=0)[0].backward()
    assert all(weights.grad is not None for weights in network.heads.parameters())


def test_learned_boundaries_and_sub_centers_are_saved_with_the_weights() -> None:
    with_weights = ArcFace(centers=3), Margin(beta=0.4, learn_beta="per_label")
    plugin = plugin_of(*with_weights, divide=Divide(learners=2))
    one = trained(plugin, scattered(), 1, 4, 9)
    optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
    losses(one, LABELS, learner=1)[0].backward()
    optimizer.step()
    assert (one.heads[5].loss.beta > 0.4).all()
    assert one.heads[4].loss.W.shape == (4, 9)
    other = trained(plugin, scattered(), 1, 4, 9)
    other.load_state_dict(one.state_dict())
    for learner in (None, 0, 1):
        values = []
        for network in (one, other):
            torch.manual_seed(1)
            values.append(losses(network, LABELS, learner)[0])
        assert values[0] == values[1]


def test_tensor_names_of_an_undivided_plugin_do_not_change() -> None:
    network = trained(plugin_of(ArcFace(), CrossEntropy(), Triplet()), scattered(), 1, 4, 9)
    names = [name for name in network.state_dict() if name.startswith("heads")]
    assert names == ["heads.0.loss.W", "heads.1.classifier.weight", "heads.1.classifier.bias"]
