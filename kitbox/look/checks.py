"""Refuses decisions that could not be obeyed, or that would do harm."""

import unicodedata
from collections.abc import Sequence

from kitbox.competition.decisions import Decision
from kitbox.errors import KitboxError
from kitbox.images import reading
from kitbox.look.standing import Standing

# of what a person types: enough for a name or a remark, and no essay
_LONGEST = 250


def refuse(decision: Decision, standing: Standing) -> None:
    """Raise KitboxError where a decision names what is not there, or says nothing new."""
    kind, subject, value = decision.kind, decision.subject, decision.value
    _typed("note", decision.note)
    match kind:
        case "merge":
            _merge(subject, value, standing)
        case "fine":
            _fine(subject, value, standing)
        case "box":
            _known(subject, standing)
            _box(subject, value, standing)
        case _:
            _labelled(kind, subject, standing)
    if kind == "label":
        _label(value, standing)


def refuse_taking_back(gone: Sequence[Decision], standing: Standing) -> None:
    """Raise KitboxError where rows are taken back that alone give a name that others speak of."""
    left = list(standing.decided.rows)
    for decision in gone:
        if decision in left:
            left.remove(decision)
    named = {row.value for row in left if row.kind == "label"}
    given = {row.value for row in standing.decided.rows_of("label")}
    lost = given - named - standing.photographs.names
    for row in left:
        if row.kind == "merge" or (row.kind == "fine" and not row.value):
            for name in lost & {row.subject, row.value}:
                words = " ".join(part for part in (row.kind, row.subject, row.value) if part)
                raise KitboxError(
                    f"'{name}' is a name by this decision alone, and '{words}' needs it; "
                    "take that back first"
                )


def _typed(what: str, text: str) -> None:
    if len(text) > _LONGEST:
        raise KitboxError(
            f"{what} '{text[:20]}' … is longer than {_LONGEST} characters; shorten it"
        )
    for letter in text:
        if unicodedata.category(letter) in ("Cc", "Cs"):
            raise KitboxError(
                f"{what} '{ascii(text)[1:-1]}' has a character that is no text, "
                f"U+{ord(letter):04X}; leave it out"
            )


def _label(value: str, standing: Standing) -> None:
    if value in standing.decided.merged:
        stays = standing.decided.merged[value]
        raise KitboxError(f"'{value}' is '{stays}' since a merge; give the image that label")
    if value in _labels(standing):
        return  # as the lists write it
    _typed("label", value)
    if value != value.strip():
        raise KitboxError(f"label '{value}' has a blank at its end; leave it out")


def _known(image_id: str, standing: Standing) -> None:
    if image_id not in standing.photographs.rows:
        raise KitboxError(f"there is no image '{image_id}'; choose one of the lists")


def _labelled(kind: str, image_id: str, standing: Standing) -> None:
    _known(image_id, standing)
    side = standing.photographs.side(image_id)
    if side == "labelled" or (kind == "drop" and side == "index"):
        return
    if kind == "drop":
        raise KitboxError(
            f"'{image_id}' is a test image and cannot be dropped: an answer to it is asked for"
        )
    raise KitboxError(f"'{image_id}' is of the {side} images, where no label is known")


def _labels(standing: Standing) -> frozenset[str]:
    return standing.photographs.names | set(standing.given.values())


def _merge(subject: str, value: str, standing: Standing) -> None:
    known, merged = _labels(standing), standing.decided.merged
    for label in (subject, value):
        if label not in known:
            raise KitboxError(f"no image shows '{label}'; merge two labels that images have")
        if label == standing.photographs.unknown:
            raise KitboxError(f"'{label}' is nobody in particular; give the image a label instead")
        if label in merged:  # another window of the browser shows it as it was
            raise KitboxError(f"'{label}' is called '{merged[label]}' now; reload the page")


def _fine(subject: str, value: str, standing: Standing) -> None:
    if value:
        _known(subject, standing)
        _known(value, standing)
    elif subject not in _labels(standing):
        raise KitboxError(f"no image shows '{subject}'; name a label that images have")


def _box(image_id: str, value: str, standing: Standing) -> None:
    x0, y0, x1, y1 = (float(corner) for corner in value.split())  # checked with the decision
    images = standing.photographs.images
    width, height = reading.upright_size(images.paths[standing.photographs.rows[image_id]])
    # a box thinner than a pixel would be read as the whole image
    if min(x0, y0) < 0 or not (x0 + 1 <= x1 <= width and y0 + 1 <= y1 <= height):
        raise KitboxError(
            f"box '{value}' does not lie within the {width}x{height} pixels of '{image_id}'; "
            "draw it inside the image"
        )
