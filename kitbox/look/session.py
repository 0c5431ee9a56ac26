"""The desk at which people decide: what holds now, the next decision, and taking it back."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import RLock

from kitbox.competition import decisions
from kitbox.competition.boxes import Corners
from kitbox.competition.decisions import Decision, Decisions
from kitbox.errors import KitboxError
from kitbox.images import preprocessing
from kitbox.look.photographs import Photographs
from kitbox.workspace import Workspace


@dataclass(frozen=True)
class Standing:
    """Photographs as the decisions leave them."""

    photographs: Photographs
    decided: Decisions

    @cached_property
    def dropped(self) -> frozenset[str]:
        """Images that are left out."""
        return self.decided.dropped

    @cached_property
    def wrong(self) -> frozenset[str]:
        """Images whose label is not to be trusted."""
        return self.decided.wrong

    @cached_property
    def given(self) -> dict[str, str]:
        """Image id → the label that a person gave it."""
        return self.decided.labels

    @cached_property
    def training(self) -> frozenset[str]:
        """Images that are never asked about."""
        return self.decided.training

    @cached_property
    def drawn(self) -> dict[str, Corners]:
        """Image id → the box that a person drew."""
        return self.decided.boxes

    @cached_property
    def members(self) -> dict[str, list[str]]:
        """Label → its images that are still in, in the order of the lists."""
        found: dict[str, list[str]] = {}
        for image_id in self.photographs.rows:
            label = self.label(image_id)
            if label and not self.is_out(image_id):
                found.setdefault(label, []).append(image_id)
        return found

    def label(self, image_id: str) -> str:
        """Return whom an image shows, '' where nobody says."""
        label = self.given.get(image_id) or self.photographs.label(image_id)
        return self.decided.merged.get(label, label)

    def is_out(self, image_id: str) -> bool:
        """Return whether an image has left the labelled images."""
        return image_id in self.dropped or image_id in self.wrong

    def holds(self, decision: Decision) -> bool:
        """Return whether a decision would change nothing."""
        kind, subject, value = decision.kind, decision.subject, decision.value
        match kind:
            case "merge":
                return self.decided.merged.get(subject) == value
            case "label":
                return self.given.get(subject) == value
            case "box":
                return self.drawn.get(subject) == Decisions((decision,)).boxes[subject]
            case "fine":
                return frozenset({subject, value} - {""}) in self.decided.fine
        named = {"drop": self.dropped, "wrong": self.wrong, "train": self.training}
        return subject in named[kind]

    def after(self, decision: Decision) -> "Standing":
        """Return what holds with one more decision."""
        rows = (*self.decided.rows, decision)
        return Standing(self.photographs, Decisions(rows, self.decided.path))

    def left(self, images: Iterable[str]) -> list[str]:
        """Return those of some images that are still in."""
        return [image_id for image_id in images if not self.is_out(image_id)]

    def box(self, image_id: str) -> Corners | None:
        """Return an image's box, the drawn one first."""
        boxes = self.photographs.images.boxes
        if image_id in self.drawn or boxes is None:
            return self.drawn.get(image_id)
        x0, y0, x1, y1 = boxes[self.photographs.rows[image_id]].tolist()
        return None if x0 != x0 else (x0, y0, x1, y1)  # NaN: it has none

    def words(self, image_id: str) -> list[str]:
        """Return what was decided of an image, each in a word or two."""
        named = self.given.get(image_id) or self.photographs.label(image_id)
        said = {
            "merged": named in self.decided.merged,
            "dropped": image_id in self.dropped,
            "wrong label": image_id in self.wrong,
            "other label": image_id in self.given,
            "kept in training": image_id in self.training,
            "box drawn": image_id in self.drawn,
        }
        return [word for word, holds in said.items() if holds]


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
    width, height = preprocessing.upright_size(images.paths[standing.photographs.rows[image_id]])
    # a box thinner than a pixel would be read as the whole image
    if min(x0, y0) < 0 or not (x0 + 1 <= x1 <= width and y0 + 1 <= y1 <= height):
        raise KitboxError(
            f"box '{value}' does not lie within the {width}x{height} pixels of '{image_id}'; "
            "draw it inside the image"
        )


class Desk:
    """Decisions of a workspace, read again whenever decisions.csv changes.

    A decision is on disk before anyone is told so: nothing is lost with the process.
    """

    def __init__(self, workspace: Workspace, photographs: Photographs) -> None:
        """Sit down; nothing is read or written yet."""
        self.path = workspace.decisions
        self.photographs = photographs
        self._lock = RLock()
        self._stamp: tuple[int, ...] | None = None
        self._standing = Standing(photographs, Decisions())
        self._done: list[tuple[Decision, ...]] = []  # since the start, for undo

    @property
    def standing(self) -> Standing:
        """What holds by the file as it is on disk; raises KitboxError for a faulty row."""
        with self._lock:
            stamp = self._seen()
            if stamp != self._stamp:
                self._standing = Standing(self.photographs, decisions.load(self.path))
                self._stamp = stamp
            return self._standing

    def decide(self, wanted: Sequence[Decision]) -> tuple[Decision, ...]:
        """Write decisions that belong together, and return those that did not hold already.

        Raises KitboxError for one that makes no sense; then none is written.
        """
        with self._lock:
            standing, new = self.standing, []
            for decision in wanted:
                if not standing.holds(decision):
                    refuse(decision, standing)
                    standing = standing.after(decision)
                    new.append(decision)
            if new:
                decisions.add(self.path, *new)
                self._done.append(tuple(new))
            return tuple(new)

    def undo(self) -> tuple[Decision, ...]:
        """Take back what was decided last since the start; return what of it was still there."""
        with self._lock:
            if not self._done:
                raise KitboxError(
                    "nothing was decided since kitbox look started; "
                    "older decisions are taken back in the list of decisions"
                )
            refuse_taking_back(self._done[-1], self.standing)
            last = reversed(self._done[-1])  # a person may have removed rows meanwhile
            gone = [row for row in last if decisions.remove(self.path, row)]
            self._done.pop()
            return tuple(reversed(gone))

    def take_back(self, decision: Decision) -> None:
        """Remove one decision, whenever it was made."""
        with self._lock:
            refuse_taking_back([decision], self.standing)
            if not decisions.remove(self.path, decision):
                raise KitboxError(f"{self.path.name} has no such row any more; reload the page")
            for place in reversed(range(len(self._done))):
                if decision in self._done[place]:
                    left = list(self._done[place])
                    left.remove(decision)
                    self._done[place : place + 1] = [tuple(left)] if left else []
                    return

    def _seen(self) -> tuple[int, ...]:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return ()
        return status.st_ino, status.st_size, status.st_mtime_ns
