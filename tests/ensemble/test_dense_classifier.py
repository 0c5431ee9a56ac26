import numpy as np
import pytest
import torch

from kitbox.ensemble import dense_classifier
from kitbox.errors import KitboxError
from kitbox.records import Search, strings
from kitbox.retrieval.ranking import known_images, rank_labels
from tests.circle import competition, image_set, placed
from tests.photographs import finish

# Three classes at 0, 120 and 240 degrees, with a little noise.
GENERATOR = np.random.default_rng(0)
CLASSES = np.arange(60) % 3
ANGLES = np.radians(120 * CLASSES + GENERATOR.normal(0, 10, size=60))
VECTORS = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype(np.float32)


def loss(fitted: dense_classifier.DenseLayers) -> float:
    chances = fitted.probabilities(VECTORS)[np.arange(60), CLASSES]
    return float(-np.log(chances).mean())


def test_steps_lower_the_loss_until_classes_are_separated(monkeypatch) -> None:
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


def test_fits_are_reproducible_and_leave_random_numbers_as_they_were(monkeypatch) -> None:
    monkeypatch.setattr(dense_classifier, "STEPS", 5)
    torch.manual_seed(3)
    first = dense_classifier.fit_layers(VECTORS, CLASSES).probabilities(VECTORS)
    drawn = torch.rand(2).tolist()
    again = dense_classifier.fit_layers(VECTORS, CLASSES).probabilities(VECTORS)
    assert (first == again).all()
    torch.manual_seed(3)
    assert torch.rand(2).tolist() == drawn


def test_every_vector_is_used_once_before_any_is_used_again(monkeypatch) -> None:
    monkeypatch.setattr(dense_classifier, "STEPS", 16)
    batches = [rows.tolist() for rows in dense_classifier._batches(33)]
    assert {len(rows) for rows in batches} == {3}
    # 11 batches of three are one pass; five more begin the next
    first, then = (np.concatenate(part) for part in (batches[:11], batches[11:]))
    assert sorted(first.tolist()) == list(range(33))
    assert len(set(then.tolist())) == 15


def test_batches_have_at_most_512_vectors(monkeypatch) -> None:
    monkeypatch.setattr(dense_classifier, "STEPS", 3)
    assert [len(rows) for rows in dense_classifier._batches(20_000)] == [512] * 3


# Ahab at 0, Boo at 120, Cleo at 240 degrees; images of the unknown label in between.
KNOWN = {
    f"{name}{number}": (name, angle + 4 * number)
    for name, angle in (("Ahab", 0), ("Boo", 120), ("Cleo", 240))
    for number in range(6)
}
UNKNOWN = {f"x{number}": ("new_whale", 60 + 120 * number) for number in range(3)}
LABELS = {image: name for image, (name, _) in (KNOWN | UNKNOWN).items()}
POINTS = placed({image: angle for image, (_, angle) in (KNOWN | UNKNOWN).items()} | {"q": 125})


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense_classifier, "STEPS", 40)


def ranked(gallery: list[str], queries: tuple[str, ...] = ("q",), dims: int | None = None):  # type: ignore[no-untyped-def]
    toy = competition()
    labelled = image_set(LABELS)
    events, classifier = finish(dense_classifier.fit(POINTS, labelled, toy, dims, "cpu"))
    assert [event.stage for event in events] == ["fit the classifier"]
    search = Search("", strings(list(queries)), strings(list(queries)), strings(gallery))
    known = known_images(search, labelled, toy)
    return rank_labels([classifier.measure(POINTS, search, known)], 5)


def test_labels_are_ranked_by_their_probability_without_the_unknown_label() -> None:
    found = ranked(list(LABELS))
    assert found.answers[0, 0] == "Boo"
    assert set(found.answers[0, 1:3].tolist()) == {"Ahab", "Cleo"}
    assert found.answers[0, 3:].tolist() == ["", ""]
    assert found.similarity[0, :3].sum() == pytest.approx(1, abs=1e-6)
    assert found.similarity[0, 0] > 0.5


def test_only_labels_of_the_searched_gallery_answer() -> None:
    found = ranked([image for image in KNOWN if image.startswith(("Ahab", "Cleo"))])
    assert set(found.answers[0, :2].tolist()) == {"Ahab", "Cleo"}
    assert found.similarity[0, 0] < 0.5


def test_a_gallery_without_known_individuals_has_no_answers() -> None:
    assert ranked(list(UNKNOWN)).answers.tolist() == [[""] * 5]


def test_images_outside_the_training_set_do_not_change_the_classifier() -> None:
    moved = placed(dict.fromkeys(LABELS, 0) | {"q": 125})
    vectors = np.where((POINTS.image_ids == "q")[:, None], -moved.vectors, POINTS.vectors)
    other = type(POINTS)(POINTS.image_ids, vectors)
    toy, labelled = competition(), image_set(LABELS)
    known = image_set({image: LABELS[image] for image in KNOWN})
    queries = strings(["Ahab0", "Boo3"])
    search = Search("", queries, queries, known.image_ids)
    blocks = []
    for embeddings in (POINTS, other):
        _, classifier = finish(dense_classifier.fit(embeddings, labelled, toy, None, "cpu"))
        blocks += list(classifier.measure(embeddings, search, known).blocks)
    (_, first), (_, again) = blocks
    assert (first == again).all()


def test_more_dimensions_than_there_are_are_refused() -> None:
    with pytest.raises(KitboxError) as caught:
        ranked(list(LABELS), dims=3)
    assert str(caught.value) == "--dims 3: 18 images in 2 dimensions have at most 2"
