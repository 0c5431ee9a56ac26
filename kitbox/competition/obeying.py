"""Obeys decisions: images as the lists name them become images as people decided."""

from dataclasses import replace

import numpy as np

from kitbox.competition.boxes import Corners
from kitbox.competition.decisions import Decisions
from kitbox.competition.lists import Listed
from kitbox.errors import KitboxError, did_you_mean
from kitbox.records import ImageSet, rows_of, strings


def apply(listed: Listed, decided: Decisions, unknown: str | None = None) -> Listed:
    """Return what the lists name as it was decided; `unknown` is the label of no individual.

    Raises KitboxError, with file and line, for an image or a label that no list knows.
    """
    if not decided.rows:
        return listed
    _refuse_strangers(listed, decided, unknown)
    away = list(decided.dropped)
    labelled = _relabelled(listed.labelled, decided)
    labelled = labelled.take(~np.isin(labelled.image_ids, [*away, *decided.wrong]))
    if not len(labelled):
        raise KitboxError(f"{decided.path} leaves no labelled image; take back some decisions")
    index = listed.index and listed.index.take(~np.isin(listed.index.image_ids, away))
    return replace(
        listed,
        labelled=_boxed(labelled, decided.boxes),
        test=listed.test and _boxed(listed.test, decided.boxes),
        index=index and _boxed(index, decided.boxes),
    )


def _relabelled(labelled: ImageSet, decided: Decisions) -> ImageSet:
    assert labelled.labels is not None  # noqa: S101  labelled images
    labels, merged = decided.labels, decided.merged
    now = [
        labels.get(image_id, label)
        for image_id, label in zip(
            labelled.image_ids.tolist(), labelled.labels.tolist(), strict=True
        )
    ]
    return labelled.with_labels(strings([merged.get(label, label) for label in now]))


def _boxed(images: ImageSet, boxes: dict[str, Corners]) -> ImageSet:
    rows = rows_of(strings(list(boxes)), images.image_ids)
    if not (rows >= 0).any():
        return images
    corners = np.full((len(images), 4), np.nan, dtype=np.float32)
    if images.boxes is not None:
        corners[:] = images.boxes
    corners[rows[rows >= 0]] = np.array(list(boxes.values()), dtype=np.float32)[rows >= 0]
    return replace(images, boxes=corners)


def _refuse_strangers(listed: Listed, decided: Decisions, unknown: str | None) -> None:
    """Raise KitboxError for the first row about an image or a label that no list knows."""
    assert listed.labelled.labels is not None  # noqa: S101  labelled images
    faulty = {fault.image_id: fault for fault in listed.faults if fault.image_id}
    left_out = {*faulty, *listed.settled}
    labelled = set(listed.labelled.image_ids.tolist())
    index, test = (
        set() if part is None else set(part.image_ids.tolist())
        for part in (listed.index, listed.test)
    )
    images = labelled | index | test
    # a name that a later row of its image took away again is still one that a person gave
    given = {row.value for row in decided.rows_of("label")}
    labels = {*listed.labelled.labels.tolist(), *given}
    for row, line in zip(decided.rows, decided.lines, strict=True):
        names = [name for name in (row.subject, row.value) if name]
        match row.kind:
            case "merge":
                known, what = labels - {unknown}, "label of an individual"
            case "fine":
                known, what = images | labels | left_out, "image or label"
            case "box":
                names, known, what = names[:1], images, "image"
            case "drop":
                names, known, what = names[:1], labelled | index | left_out, "labelled image"
            case "label":
                names, known, what = names[:1], labelled, "labelled image"
            case _:
                names, known, what = names[:1], labelled | left_out, "labelled image"
        for name in names:
            if name not in known:
                mend = "; correct or remove the row"
                if name in test:
                    aside = f" but a test image{mend}"
                elif name in faulty:
                    aside = f"; see {faulty[name]}"
                else:
                    aside = did_you_mean(name, known)
                raise KitboxError(
                    f"{decided.path} line {line}: '{name}' is no {what}{aside or mend}"
                )
