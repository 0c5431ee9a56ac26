"""Review items: copies, label conflicts and suspects are found, and settled by decisions."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kitbox.dataset import label_errors
from kitbox.decisions.decision import Decision
from kitbox.look import photographs, review_items
from kitbox.look.review_items import Review, ReviewItem, prepare
from kitbox.records import Embeddings, strings
from tests.look.sample_review import HOSTILE_ID, HOSTILE_LABEL


def open_duplicates(review: Review) -> list[ReviewItem]:
    return review_items.find_duplicates(review.session.state, 6)


def item_of(review: Review, *images: str) -> ReviewItem:
    [item] = [item for item in review.duplicates if set(images) <= set(item.images)]
    return item


def test_label_conflicts_come_before_copies_under_one_label(review: Review) -> None:
    kinds = [(item.kind, set(item.images), set(item.labels)) for item in review.duplicates]
    conflicts = [
        ("copies", {"1_0.png", "conflict.png"}, {"w_1", "w_2"}),
        ("copies", {"5_3.png", HOSTILE_ID}, {"w_5", HOSTILE_LABEL}),
    ]
    assert sorted(kinds[:2], key=str) == sorted(conflicts, key=str)
    assert ("copies", {"0_0.png", "copy.png"}, {"w_0"}) in kinds[2:]


SETTLED = {
    "one of the two dropped": [Decision("drop", "conflict.png")],
    "one label not trusted": [Decision("wrong", "1_0.png")],
    "labels merged": [Decision("merge", "w_2", "w_1")],
    "labels merged in another": [Decision("merge", "w_2", "w_4"), Decision("merge", "w_1", "w_4")],
    "another label": [Decision("label", "conflict.png", "w_1")],
    "found fine": [Decision("fine", "conflict.png", "1_0.png")],
}
OPEN = {
    "nothing decided": [],
    "merged with others": [Decision("merge", "w_2", "w_4")],
    "something else fine": [Decision("fine", "conflict.png", "0_0.png")],
    "kept in training": [Decision("train", "conflict.png")],
    "a box": [Decision("box", "conflict.png", "1 1 30 30")],
}


@pytest.mark.parametrize("decided", SETTLED.values(), ids=SETTLED)
def test_a_decision_settles_a_label_conflict(review: Review, decided: list[Decision]) -> None:
    review.session.decide(decided)
    assert item_of(review, "1_0.png", "conflict.png").is_settled(review.session.state)
    # at the next start it may still be listed as a copy under one label
    left = [item for item in open_duplicates(review) if "conflict.png" in item.images]
    assert all(len(item.labels) == 1 for item in left)
    for _ in decided:
        review.session.take_back(review.session.state.decisions.rows[-1])
    assert not item_of(review, "1_0.png", "conflict.png").is_settled(review.session.state)


@pytest.mark.parametrize("decided", OPEN.values(), ids=OPEN)
def test_unrelated_decisions_leave_a_conflict_open(review: Review, decided: list[Decision]) -> None:
    if decided:
        review.session.decide(decided)
    assert not item_of(review, "1_0.png", "conflict.png").is_settled(review.session.state)
    assert any("conflict.png" in item.images for item in open_duplicates(review))


def test_a_copy_under_one_label_is_settled_by_a_drop_or_by_keeping_one_in_training(
    review: Review,
) -> None:
    item = item_of(review, "0_0.png", "copy.png")
    for decision in (Decision("drop", "0_0.png"), Decision("train", "copy.png")):
        review.session.decide([decision])
        assert item.is_settled(review.session.state)
        review.session.undo()
    assert not item.is_settled(review.session.state)


def test_a_group_is_settled_once_every_link_is_marked_as_fine(review: Review) -> None:
    item = item_of(review, "0_0.png", "copy.png")
    review.session.decide([Decision("fine", one, other) for one, other in item.pairs])
    assert item.is_settled(review.session.state)
    assert item.images not in [other.images for other in open_duplicates(review)]


def embeddings_at(review: Review, angles: dict[str, float]) -> Embeddings:
    """Return points on the unit circle at these angles in degrees, all other images far away."""
    ids = review.photographs.readable.tolist()
    turn = np.radians([angles.get(i, 100 + 0.001 * n) for n, i in enumerate(ids)])
    vectors = np.stack([np.cos(turn), np.sin(turn)], axis=1).astype(np.float32)
    return Embeddings(strings(ids), vectors)


def suspects_of(review: Review, angles: dict[str, float]) -> list[ReviewItem]:
    embeddings, state = embeddings_at(review, angles), review.session.state
    return review_items.find_suspects(
        embeddings, review_items.nearest_labelled(embeddings, state), state
    )


def test_images_are_compared_once_for_suspects_and_duplicates(
    review: Review, monkeypatch: pytest.MonkeyPatch
) -> None:
    search, calls = label_errors.NearestSearch, []

    def counted(*given: Any) -> label_errors.NearestSearch:
        calls.append(given)
        return search(*given)

    monkeypatch.setattr(label_errors, "NearestSearch", counted)
    prepare(review.name, review.session, 6, ("tiny",), embeddings_at(review, {"0_1.png": 0.0}))
    assert len(calls) == 1


def test_two_labels_that_look_like_one_individual_are_a_suspect(review: Review) -> None:
    near = {"0_1.png": 0.0, "3_1.png": 1.0, "0_0.png": 40.0, "3_0.png": -40.0}
    suspects = suspects_of(review, near)
    [item] = [item for item in suspects if item.kind == "mutual" and "0_1.png" in item.images]
    assert set(item.labels) == {"w_0", "w_3"}
    assert item.pairs == (item.images,)
    assert item.similarity == pytest.approx(np.cos(np.radians(1)), abs=1e-6)
    review.session.decide([Decision("fine", *item.images)])
    assert item.is_settled(review.session.state)
    again = suspects_of(review, near)
    assert item.images not in [other.images for other in again]


def test_excluded_images_are_no_suspects(review: Review) -> None:
    near = {"0_1.png": 0.0, "3_1.png": 1.0, "0_0.png": 40.0, "3_0.png": -40.0}
    review.session.decide([Decision("drop", "0_1.png")])
    suspects = suspects_of(review, near)
    assert not any("0_1.png" in item.images for item in suspects)


def test_a_label_assigned_earlier_does_not_hide_a_new_suspect(review: Review) -> None:
    near = {"0_1.png": 0.0, "3_1.png": 1.0, "0_0.png": 40.0, "3_0.png": -40.0, "4_0.png": 80.0}
    review.session.decide([Decision("label", "0_1.png", "w_4")])
    suspects = suspects_of(review, near)
    [item] = [item for item in suspects if set(item.images) == {"0_1.png", "3_1.png"}]
    assert set(item.labels) == {"w_4", "w_3"}
    review.session.decide([Decision("label", "0_1.png", "w_new")])
    assert item.is_settled(review.session.state)


def test_three_copies_stay_open_until_they_have_one_label(review: Review) -> None:
    images = ("1_0.png", "2_0.png", "2_1.png")
    item = ReviewItem(
        kind="copies", images=images, labels=("w_1", "w_2"), pairs=(images[:2], images[1:])
    )
    review.session.decide([Decision("drop", "2_0.png")])
    assert not item.is_settled(review.session.state)
    review.session.decide([Decision("label", "2_1.png", "w_1")])
    assert item.is_settled(review.session.state)


def test_excluded_images_are_not_shown_in_later_items(review: Review) -> None:
    review.session.decide([Decision("drop", "conflict.png")])
    assert not any("conflict.png" in item.images for item in open_duplicates(review))
    assert any({"0_0.png", "copy.png"} == set(item.images) for item in open_duplicates(review))


def test_a_split_label_is_settled_as_fine_by_new_labels_or_as_wrong(review: Review) -> None:
    images = ("0_0.png", "0_1.png", "0_2.png", "0_3.png")
    item = ReviewItem(kind="split", images=images, labels=("w_0",), similarity=0.2, first=2)
    state = review.session.state
    assert not item.is_settled(state)
    for decided in (
        [Decision("fine", "w_0")],
        [Decision("label", "0_2.png", "w_new"), Decision("label", "0_3.png", "w_new")],
        [Decision("wrong", "0_3.png")],
    ):
        review.session.decide(decided)
        assert item.is_settled(review.session.state)
        review.session.undo()


def test_images_with_very_similar_embeddings_are_duplicates(review: Review) -> None:
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(len(review.photographs.readable), 64))
    ids = review.photographs.readable.tolist()
    vectors[ids.index("t_3.png")] = vectors[ids.index("4_2.png")] + 0.01
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    embeddings = Embeddings(strings(ids), vectors.astype(np.float32))
    limit = review_items.nearest_labelled(embeddings, review.session.state).limit
    groups = review_items.find_duplicates(review.session.state, 6, embeddings, limit)
    [item] = [item for item in groups if "t_3.png" in item.images]
    assert item.kind == "neighbours"
    assert {"4_2.png", "t_3.png"} <= set(item.images)
    assert ("4_2.png", "t_3.png") in item.pairs


def test_hash_embeddings_measure_the_bits_that_differ(review: Review) -> None:
    embeddings = photographs.hash_embeddings(review.photographs)
    assert "broken.png" not in embeddings.image_ids
    (first, similarity), *_ = photographs.nearest(embeddings, "copy.png", 3)
    assert (first, similarity) == ("0_0.png", pytest.approx(1))
    hashes = review.photographs.signatures.hashes
    rows = [review.photographs.rows[i] for i in ("0_0.png", "3_0.png")]
    bits = int(np.unpackbits(hashes[rows[0]] ^ hashes[rows[1]]).sum())
    found = photographs.least_similarity(embeddings, ("0_0.png", "3_0.png"))
    assert found == pytest.approx(1 - bits / 32, abs=1e-6)
    assert photographs.nearest(embeddings, "broken.png", 3) == []
    assert photographs.least_similarity(embeddings, ("0_0.png", "broken.png")) is None


def test_a_pair_has_the_images_that_the_user_chose(review: Review) -> None:
    item = review_items.side_by_side(["0_0.png", "1_0.png"], review.session.state)
    assert item == replace(item, kind="pair", labels=("w_0", "w_1"), similarity=None)
    assert item.pairs == (("0_0.png", "1_0.png"),)
