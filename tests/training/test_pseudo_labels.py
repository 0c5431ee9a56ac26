"""Pseudo-labelled images join the training set without leaks from the holdout."""

from dataclasses import replace

import numpy as np
import pytest

from kitbox.competition.pseudo_labels import PseudoLabel, holdout_digest
from kitbox.dataset.collection import Collection
from kitbox.decisions.decision import Decision
from kitbox.decisions.decision_list import Decisions
from kitbox.errors import KitboxError
from kitbox.images.file_index import Signatures
from kitbox.records import ImageSet, strings
from kitbox.training.training_set import (
    pseudo_label_candidates,
    usable_pseudo_labels,
    with_pseudo_labels,
)
from tests.circle import competition, image_set
from tests.submission.collected import collection, unlabelled


def with_digests(images: ImageSet, **others: str) -> ImageSet:
    names = images.image_ids.tolist()
    return replace(images, digests=strings([others.get(name, name) for name in names]))


def signatures(*numbers: int) -> Signatures:
    """Return signatures that are equal for equal numbers, and random otherwise."""
    rows = [np.random.default_rng(number) for number in numbers]
    hashes = np.stack([row.integers(0, 256, 8, dtype=np.uint8) for row in rows])
    return Signatures(hashes, np.stack([row.integers(0, 256, 256, dtype=np.uint8) for row in rows]))


@pytest.fixture
def scene() -> Collection:
    """Return q, a query of the holdout, a, b and c to train on, and four test images."""
    labelled = with_digests(image_set({"q": "Ahab", "a": "Ahab", "b": "Boo", "c": "Cid"}))
    test = with_digests(unlabelled("t1", "t2", "t3", "t4"))
    boxes = np.array([[0, 0, 5, 5], *[[np.nan] * 4] * 3], dtype=np.float32)
    made = collection(competition(), labelled, replace(test, boxes=boxes))
    return replace(
        made, signatures=signatures(0, 1, 2, 3), test_signatures=signatures(11, 12, 13, 14)
    )


def row(scene: Collection, image: str, label: str, on: str = "holdout", line: int = 2):  # type: ignore[no-untyped-def]
    digest = holdout_digest(scene.holdout.query.image_ids) if on == "holdout" else ""
    return PseudoLabel(
        image_id=image,
        label=label,
        confidence=0.9,
        gap=0.5,
        round=1,
        source="one+two",
        on=on,
        holdout=digest,
        line=line,
    )


def test_pseudo_labelled_images_come_last_with_their_digests_and_boxes(scene: Collection) -> None:
    images = scene.holdout.train
    joined = with_pseudo_labels(images, scene, [row(scene, "t3", "Boo"), row(scene, "t1", "Ahab")])
    assert joined.image_ids.tolist() == ["a", "b", "c", "t3", "t1"]
    assert joined.labels is not None
    assert joined.labels.tolist()[3:] == ["Boo", "Ahab"]
    assert joined.digests is not None
    assert joined.digests.tolist()[3:] == ["t3", "t1"]
    assert joined.boxes is not None
    assert joined.boxes[4].tolist() == [0, 0, 5, 5]
    assert np.isnan(joined.boxes[:4]).all()
    assert with_pseudo_labels(images, scene, []) is images


def test_labels_by_networks_that_know_the_holdout_are_refused(scene: Collection) -> None:
    with pytest.raises(KitboxError) as caught:
        usable_pseudo_labels(
            scene.holdout.train, scene, [row(scene, "t1", "Boo", "all", 5)], "holdout"
        )
    assert str(caught.value) == (
        "pseudo.csv line 5: made by networks trained on all labels, among them answers of "
        "the holdout that this training is scored on; make others with "
        "'kitbox pseudo one two --on holdout'"
    )
    other = replace(row(scene, "t1", "Boo"), holdout="0123456789ab", source="import some.csv")
    with pytest.raises(KitboxError) as caught:
        usable_pseudo_labels(scene.holdout.train, scene, [other], "holdout")
    assert str(caught.value) == (
        "pseudo.csv line 2: made by networks trained on another holdout's training side, "
        "among it answers of the holdout that this training is scored on; make others with "
        "'kitbox pseudo NAME... --on holdout'"
    )


def test_the_error_for_a_row_written_by_hand_says_what_to_write(scene: Collection) -> None:
    added = replace(row(scene, "t1", "Boo"), holdout="")
    here = holdout_digest(scene.holdout.query.image_ids)
    with pytest.raises(KitboxError) as caught:
        usable_pseudo_labels(scene.holdout.train, scene, [added], "holdout")
    assert str(caught.value) == (
        "pseudo.csv line 2: on = 'holdout' with an empty column holdout; write "
        f"{here} there if its label does not depend on the holdout's answers, else on = all"
    )


def test_a_training_on_all_uses_labels_of_either_side(scene: Collection) -> None:
    rows = [row(scene, "t1", "Boo", "all"), row(scene, "t2", "Cid")]
    assert usable_pseudo_labels(scene.labelled, scene, rows, "all") == tuple(rows)


def test_copies_of_labelled_images_and_unreadable_images_are_left_out(scene: Collection) -> None:
    """t1 has the bytes of the query q, t2 the signature of it, t3 cannot be read."""
    assert scene.test is not None
    scene = replace(
        scene,
        test=with_digests(scene.test, t1="q"),
        test_signatures=signatures(11, 0, 13, 14),
        unreadable=frozenset({"t3"}),
    )
    assert pseudo_label_candidates(scene).tolist() == [False, False, False, True]
    rows = [row(scene, f"t{number}", "Boo") for number in (1, 2, 3, 4)]
    assert usable_pseudo_labels(scene.holdout.train, scene, rows, "holdout") == (rows[3],)
    # without signatures only equal bytes count
    assert pseudo_label_candidates(replace(scene, test_signatures=None)).tolist() == [
        False,
        True,
        False,
        True,
    ]


def test_a_label_outside_the_training_set_is_left_out(scene: Collection) -> None:
    few = scene.holdout.train.of(strings(["a", "b"]))
    rows = [row(scene, "t1", "Cid"), row(scene, "t2", "Boo")]
    assert usable_pseudo_labels(few, scene, rows, "holdout") == (rows[1],)


def test_a_merged_label_is_replaced_by_the_one_it_was_merged_into(scene: Collection) -> None:
    scene = replace(scene, decisions=Decisions((Decision("merge", "Boo Jr", "Boo"),)))
    usable = usable_pseudo_labels(
        scene.holdout.train, scene, [row(scene, "t1", "Boo Jr")], "holdout"
    )
    assert [each.label for each in usable] == ["Boo"]


@pytest.mark.parametrize(
    ("image", "label", "message"),
    [
        ("a", "Boo", "pseudo.csv line 2: 'a' is no test image; remove the row"),
        ("t11", "Boo", "pseudo.csv line 2: 't11' is no test image; did you mean t1?"),
        ("t1", "Ahap", "pseudo.csv line 2: 'Ahap' is no label; did you mean Ahab?"),
        ("t1", "Zoe", "pseudo.csv line 2: 'Zoe' is no label; correct or remove the row"),
    ],
)
def test_a_row_with_an_unknown_image_or_label_is_named(
    scene: Collection, image: str, label: str, message: str
) -> None:
    with pytest.raises(KitboxError) as caught:
        usable_pseudo_labels(scene.holdout.train, scene, [row(scene, image, label)], "holdout")
    assert str(caught.value) == message
