"""Pseudo-labelled images are learnt from, and the holdout stays unseen."""

from dataclasses import replace

import numpy as np
import pytest

from kitbox.competition.decisions import Decision, Decisions
from kitbox.competition.pseudo_labels import PseudoLabel, holdout_digest
from kitbox.dataset.collection import Collection
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


def looks(*numbers: int) -> Signatures:
    """Return looks that agree where the numbers do, and else in nothing."""
    rows = [np.random.default_rng(number) for number in numbers]
    hashes = np.stack([row.integers(0, 256, 8, dtype=np.uint8) for row in rows])
    return Signatures(hashes, np.stack([row.integers(0, 256, 256, dtype=np.uint8) for row in rows]))


@pytest.fixture
def scene() -> Collection:
    """Return q, asked about by the holdout, a, b and c to learn from, and four test images."""
    labelled = with_digests(image_set({"q": "Ahab", "a": "Ahab", "b": "Boo", "c": "Cid"}))
    test = with_digests(unlabelled("t1", "t2", "t3", "t4"))
    boxes = np.array([[0, 0, 5, 5], *[[np.nan] * 4] * 3], dtype=np.float32)
    made = collection(competition(), labelled, replace(test, boxes=boxes))
    return replace(made, signatures=looks(0, 1, 2, 3), test_signatures=looks(11, 12, 13, 14))


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


def test_test_images_come_behind_the_labelled_ones_with_all_they_have(scene: Collection) -> None:
    images = scene.holdout.train
    found = with_pseudo_labels(images, scene, [row(scene, "t3", "Boo"), row(scene, "t1", "Ahab")])
    assert found.image_ids.tolist() == ["a", "b", "c", "t3", "t1"]
    assert found.labels is not None
    assert found.labels.tolist()[3:] == ["Boo", "Ahab"]
    assert found.digests is not None
    assert found.digests.tolist()[3:] == ["t3", "t1"]
    assert found.boxes is not None
    assert found.boxes[4].tolist() == [0, 0, 5, 5]
    assert np.isnan(found.boxes[:4]).all()
    assert with_pseudo_labels(images, scene, []) is images


def test_labels_by_networks_that_know_the_holdout_are_refused_for_it(scene: Collection) -> None:
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


def test_a_row_by_hand_is_told_what_to_write(scene: Collection) -> None:
    added = replace(row(scene, "t1", "Boo"), holdout="")
    here = holdout_digest(scene.holdout.query.image_ids)
    with pytest.raises(KitboxError) as caught:
        usable_pseudo_labels(scene.holdout.train, scene, [added], "holdout")
    assert str(caught.value) == (
        "pseudo.csv line 2: on = 'holdout' with an empty column holdout; write "
        f"{here} there if its label does not depend on the holdout's answers, else on = all"
    )


def test_a_training_on_all_takes_labels_of_either(scene: Collection) -> None:
    rows = [row(scene, "t1", "Boo", "all"), row(scene, "t2", "Cid")]
    assert usable_pseudo_labels(scene.labelled, scene, rows, "all") == tuple(rows)


def test_copies_of_labelled_images_and_grey_ones_are_never_taken(scene: Collection) -> None:
    """t1 has the bytes of the query q, t2 looks like it, t3 cannot be read."""
    assert scene.test is not None
    scene = replace(
        scene,
        test=with_digests(scene.test, t1="q"),
        test_signatures=looks(11, 0, 13, 14),
        unreadable=frozenset({"t3"}),
    )
    assert pseudo_label_candidates(scene).tolist() == [False, False, False, True]
    rows = [row(scene, f"t{number}", "Boo") for number in (1, 2, 3, 4)]
    assert usable_pseudo_labels(scene.holdout.train, scene, rows, "holdout") == (rows[3],)
    # without looks the bytes alone tell
    assert pseudo_label_candidates(replace(scene, test_signatures=None)).tolist() == [
        False,
        True,
        False,
        True,
    ]


def test_a_label_that_is_not_learnt_is_left_out(scene: Collection) -> None:
    few = scene.holdout.train.of(strings(["a", "b"]))
    rows = [row(scene, "t1", "Cid"), row(scene, "t2", "Boo")]
    assert usable_pseudo_labels(few, scene, rows, "holdout") == (rows[1],)


def test_merged_individuals_go_by_the_name_that_stays(scene: Collection) -> None:
    scene = replace(scene, decisions=Decisions((Decision("merge", "Boo Jr", "Boo"),)))
    found = usable_pseudo_labels(
        scene.holdout.train, scene, [row(scene, "t1", "Boo Jr")], "holdout"
    )
    assert [each.label for each in found] == ["Boo"]


@pytest.mark.parametrize(
    ("image", "label", "message"),
    [
        ("a", "Boo", "pseudo.csv line 2: 'a' is no test image; remove the row"),
        ("t11", "Boo", "pseudo.csv line 2: 't11' is no test image; did you mean t1?"),
        ("t1", "Ahap", "pseudo.csv line 2: 'Ahap' is no label; did you mean Ahab?"),
        ("t1", "Zoe", "pseudo.csv line 2: 'Zoe' is no label; correct or remove the row"),
    ],
)
def test_a_row_about_what_is_not_there_is_named(
    scene: Collection, image: str, label: str, message: str
) -> None:
    with pytest.raises(KitboxError) as caught:
        usable_pseudo_labels(scene.holdout.train, scene, [row(scene, image, label)], "holdout")
    assert str(caught.value) == message
