import numpy as np
import pytest

from kitbox.ensemble import dense_classifier
from kitbox.errors import KitboxError
from kitbox.records import Search, strings
from kitbox.retrieval.ranking import known_images, rank_labels
from tests.circle import competition, image_set, placed
from tests.photographs import finish

# Ahab at 0, Boo at 120, Cleo at 240 degrees; images of the unknown label in between.
KNOWN = {
    f"{name}{number}": (name, angle + 4 * number)
    for name, angle in (("Ahab", 0), ("Boo", 120), ("Cleo", 240))
    for number in range(6)
}
STRANGE = {f"x{number}": ("new_whale", 60 + 120 * number) for number in range(3)}
LABELS = {image: name for image, (name, _) in (KNOWN | STRANGE).items()}
POINTS = placed({image: angle for image, (_, angle) in (KNOWN | STRANGE).items()} | {"q": 125})


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense_classifier, "STEPS", 40)


def ranked(gallery: list[str], queries: tuple[str, ...] = ("q",), dims: int | None = None):  # type: ignore[no-untyped-def]
    asked = competition()
    labelled = image_set(LABELS)
    events, classifier = finish(dense_classifier.fit(POINTS, labelled, asked, dims, "cpu"))
    assert [event.stage for event in events] == ["fit the classifier"]
    search = Search("", strings(list(queries)), strings(list(queries)), strings(gallery))
    known = known_images(search, labelled, asked)
    return rank_labels([classifier.measure(POINTS, search, known)], 5)


def test_labels_are_ranked_by_their_probability_and_the_unknown_is_none_of_them() -> None:
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


def test_a_gallery_of_nobody_answers_nothing() -> None:
    assert ranked(list(STRANGE)).answers.tolist() == [[""] * 5]


def test_images_that_are_not_given_to_learn_from_change_nothing() -> None:
    moved = placed(dict.fromkeys(LABELS, 0) | {"q": 125})
    vectors = np.where((POINTS.image_ids == "q")[:, None], -moved.vectors, POINTS.vectors)
    other = type(POINTS)(POINTS.image_ids, vectors)
    asked, learnt = competition(), image_set(LABELS)
    known = image_set({image: LABELS[image] for image in KNOWN})
    queries = strings(["Ahab0", "Boo3"])
    search = Search("", queries, queries, known.image_ids)
    blocks = []
    for embeddings in (POINTS, other):
        _, classifier = finish(dense_classifier.fit(embeddings, learnt, asked, None, "cpu"))
        blocks += list(classifier.measure(embeddings, search, known).blocks)
    (_, first), (_, again) = blocks
    assert (first == again).all()


def test_more_dimensions_than_there_are_is_refused() -> None:
    with pytest.raises(KitboxError) as caught:
        ranked(list(LABELS), dims=3)
    assert str(caught.value) == "--dims 3: 18 images in 2 dimensions have at most 2"
