"""Adds pseudo-labelled test images to what a plugin learns from, and keeps the holdout unseen."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kitbox.competition.pseudo_labels import PseudoLabel, holdout_digest, renamed
from kitbox.competition.settings import HoldoutShape
from kitbox.errors import KitboxError, did_you_mean
from kitbox.images import likeness
from kitbox.images.collection import Collection
from kitbox.records import ImageSet, strings

_BITS: int = HoldoutShape().near_duplicate_bits


def joined(images: ImageSet, collection: Collection, rows: Sequence[PseudoLabel]) -> ImageSet:
    """Return the images with the test images that rows name, as `used` returns these."""
    if not rows or collection.test is None:
        return images
    taken = collection.test.of(strings([row.image_id for row in rows]))
    return images.together_with(taken.with_labels(strings([row.label for row in rows])))


def used(
    images: ImageSet,
    collection: Collection,
    rows: Sequence[PseudoLabel],
    on: str,
    bits: int = _BITS,
) -> tuple[PseudoLabel, ...]:
    """Return the rows that may be learnt from beside `images`, under the labels that stay.

    A row is left out where its label is none of the images', and where its image is a labelled one
    again: a file of equal bytes, or near-duplicates whose hashes differ in at most `bits`.
    Raises KitboxError for an image that is no test image, a label that nobody has, and for rows
    of networks that have seen the answers of the holdout that this training is scored on.
    """
    if not rows:
        return ()
    if on == "holdout":
        _refuse_leaks(collection, rows)
    assert images.labels is not None and collection.labelled.labels is not None  # noqa: S101, PT018
    labels, known = set(images.labels.tolist()), set(collection.labelled.labels.tolist())
    test = [] if collection.test is None else collection.test.image_ids.tolist()
    free = dict(zip(test, free_images(collection, bits).tolist(), strict=True))
    kept = []
    for given in rows:
        row = renamed(given, collection.decided.merged.get(given.label, given.label))
        if row.image_id not in free:
            raise KitboxError(
                f"pseudo.csv line {row.line}: '{row.image_id}' is no test image"
                f"{did_you_mean(row.image_id, free) or '; remove the row'}"
            )
        if row.label not in known:
            raise KitboxError(
                f"pseudo.csv line {row.line}: '{row.label}' is no label"
                f"{did_you_mean(row.label, known) or '; correct or remove the row'}"
            )
        if row.label in labels and free[row.image_id]:
            kept.append(row)
    return tuple(kept)


def free_images(collection: Collection, bits: int = _BITS) -> NDArray[np.bool_]:
    """Return which test images (t,) can be given a label: readable, and no labelled image again."""
    test, labelled = collection.test, collection.labelled
    if test is None:
        return np.zeros(0, dtype=np.bool_)
    free = ~np.isin(test.image_ids, [*labelled.image_ids.tolist(), *collection.blank])
    if collection.test_looks is not None:
        free &= ~likeness.repeated(labelled, collection.looks, test, collection.test_looks, bits)
    elif test.digests is not None and labelled.digests is not None:
        free &= ~np.isin(test.digests, labelled.digests)
    return np.asarray(free, dtype=np.bool_)


def _refuse_leaks(collection: Collection, rows: Sequence[PseudoLabel]) -> None:
    """Raise KitboxError for rows whose makers have learnt what the holdout asks."""
    here = holdout_digest(collection.holdout.query.image_ids)
    for row in rows:
        if row.on == "holdout" and row.holdout == here:
            continue
        if row.on == "holdout" and not row.holdout:
            raise KitboxError(
                f"pseudo.csv line {row.line}: on = 'holdout' with an empty column holdout; write "
                f"{here} there where its label owes nothing to the holdout's answers, else on = all"
            )
        seen = (
            "all labels, among them"
            if row.on == "all"
            else "another holdout's training side, among it"
        )
        names = "NAME..." if row.made_by.startswith("import ") else row.made_by.replace("+", " ")
        raise KitboxError(
            f"pseudo.csv line {row.line}: made by networks that learnt from {seen} "
            "answers of the holdout that this training is scored on; "
            f"make others with 'kitbox pseudo {names} --on holdout'"
        )
