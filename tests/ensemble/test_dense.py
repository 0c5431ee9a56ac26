import numpy as np
import torch

from kitbox.ensemble import dense_classifier

# Three classes at 0, 120 and 240 degrees, with a little noise.
GENERATOR = np.random.default_rng(0)
CLASSES = np.arange(60) % 3
ANGLES = np.radians(120 * CLASSES + GENERATOR.normal(0, 10, size=60))
VECTORS = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype(np.float32)


def loss(fitted: dense_classifier.DenseLayers) -> float:
    chances = fitted.probabilities(VECTORS)[np.arange(60), CLASSES]
    return float(-np.log(chances).mean())


def test_steps_lower_the_loss_until_classes_are_told_apart(monkeypatch) -> None:
    losses = []
    for steps in (1, 10, 60):
        monkeypatch.setattr(dense_classifier, "STEPS", steps)
        losses.append(loss(dense_classifier.fit_layers(VECTORS, CLASSES)))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.1
    assert losses[0] < np.log(3) + 0.2


def test_probabilities_are_of_all_classes_and_add_up_to_one(monkeypatch) -> None:
    monkeypatch.setattr(dense_classifier, "STEPS", 2)
    monkeypatch.setattr(dense_classifier, "_ROWS", 7)
    found = dense_classifier.fit_layers(VECTORS, CLASSES).probabilities(VECTORS)
    assert found.shape == (60, 3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


def test_the_same_vectors_give_the_same_layers_and_the_callers_draw_goes_on(monkeypatch) -> None:
    monkeypatch.setattr(dense_classifier, "STEPS", 5)
    torch.manual_seed(3)
    first = dense_classifier.fit_layers(VECTORS, CLASSES).probabilities(VECTORS)
    drawn = torch.rand(2).tolist()
    again = dense_classifier.fit_layers(VECTORS, CLASSES).probabilities(VECTORS)
    assert (first == again).all()
    torch.manual_seed(3)
    assert torch.rand(2).tolist() == drawn


def test_every_vector_comes_once_before_any_comes_again(monkeypatch) -> None:
    monkeypatch.setattr(dense_classifier, "STEPS", 16)
    batches = [rows.tolist() for rows in dense_classifier._batches(33)]
    assert {len(rows) for rows in batches} == {3}
    # 11 batches of three are one pass; five more begin the next
    first, then = (np.concatenate(part) for part in (batches[:11], batches[11:]))
    assert sorted(first.tolist()) == list(range(33))
    assert len(set(then.tolist())) == 15


def test_no_batch_is_larger_than_a_step_can_take(monkeypatch) -> None:
    monkeypatch.setattr(dense_classifier, "STEPS", 3)
    assert [len(rows) for rows in dense_classifier._batches(20_000)] == [512] * 3
