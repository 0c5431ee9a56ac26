"""Decisions made on the review page: their current effect, checks of new ones, and undo."""

import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from threading import RLock

from kitbox.decisions import decision_file
from kitbox.decisions.decision import PAIR_KINDS, Decision
from kitbox.decisions.decision_list import Decisions
from kitbox.decisions.image_links import ContradictionError, Links, SoundLinks
from kitbox.errors import KitboxError
from kitbox.images import preprocessing
from kitbox.look.photographs import Photographs
from kitbox.records import Corners
from kitbox.workspace import Workspace

# Characters that a user may type: enough for a name or a note.
_MAX_TEXT = 250


def _now() -> str:
    """Return the time in UTC, in seconds, by ISO 8601."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class DecisionSession:
    """The decisions of a workspace, read again whenever decisions.csv changes, with undo.

    A decision is on disk before a method returns: nothing is lost if the process dies. `by` is who
    decides, '' for nobody in particular.
    """

    def __init__(
        self,
        workspace: Workspace,
        photographs: Photographs,
        by: str = "",
        clock: Callable[[], str] = _now,
    ) -> None:
        """Start with nothing to undo; no file is read or written yet. `clock` tells the time.

        Raises KitboxError for a name that no row can hold.
        """
        _check_text("the name of who decides", by)
        self.by = by.strip()
        self.clock = clock
        self.path = workspace.decisions
        self.photographs = photographs
        self._lock = RLock()
        self._stamp: tuple[int, ...] | None = None
        self._state = ReviewState(photographs, Decisions())
        self._batches: list[tuple[Decision, ...]] = []  # since the start, for undo
        self._told: list[tuple[Decision, ...]] = []  # those that undo was refused of

    @property
    def state(self) -> "ReviewState":
        """The photographs with the decisions now on disk; raises KitboxError for a faulty row."""
        with self._lock:
            stamp = self._file_stamp()
            if stamp != self._stamp:
                self._state = ReviewState(self.photographs, decision_file.load(self.path))
                self._stamp = stamp
            return self._state

    def decide(self, requested: Sequence[Decision]) -> tuple[Decision, ...]:
        """Write decisions that belong together, and return those that were not yet in effect.

        Each gets the name of who decides, and the time. Raises KitboxError for an invalid one; then
        none is written.
        """
        return self.decide_by(lambda _: requested)

    def decide_by(
        self, choose: Callable[["ReviewState"], Sequence[Decision]]
    ) -> tuple[Decision, ...]:
        """Write the decisions that a function chooses, as `decide` does.

        It is given the state in which they are written: no other process decides in between.
        """

        def new(decided: Decisions) -> list[Decision]:
            state, found = ReviewState(self.photographs, decided), list[Decision]()
            for decision in choose(state):
                signed = replace(decision, by=self.by, time=self.clock())
                if not state.has(signed):
                    check_decision(signed, state)
                    state = state.with_decision(signed)
                    found.append(signed)
            return found

        with self._lock:
            written = decision_file.add_chosen(self.path, new)
            if written:
                self._batches.append(written)
            return written

    def undo(self) -> tuple[Decision, ...]:
        """Take back the last decisions since the start; return those that were still on disk.

        Raises KitboxError where a later row needs them, and says whose it is; the next call goes
        on with those before them.
        """
        with self._lock:
            if not self._batches:
                raise KitboxError(
                    "nothing was decided since kitbox look started; "
                    "take older decisions back in the list of decisions"
                )
            state = self.state
            for place in reversed(range(len(self._batches))):
                batch = self._batches[place]
                try:
                    check_removal(batch, state)
                except KitboxError:
                    if batch in self._told and place:
                        continue  # told already: an older one is next
                    self._told.append(batch)
                    raise
                # the user may have removed rows by hand
                removed = [row for row in reversed(batch) if decision_file.remove(self.path, row)]
                del self._batches[place]
                return tuple(reversed(removed))
            raise AssertionError("unreachable: the oldest one is undone or refused")

    @property
    def can_undo(self) -> bool:
        """Whether there is something to undo, though it may be refused."""
        with self._lock:
            return bool(self._batches)

    def take_back(self, decision: Decision) -> None:
        """Remove one decision, whenever it was made."""
        with self._lock:
            check_removal([decision], self.state)
            if not decision_file.remove(self.path, decision):
                raise KitboxError(f"{self.path.name} no longer has this row; reload the page")
            for place in reversed(range(len(self._batches))):
                if decision in self._batches[place]:
                    remaining = list(self._batches[place])
                    remaining.remove(decision)
                    self._batches[place : place + 1] = [tuple(remaining)] if remaining else []
                    return

    def _file_stamp(self) -> tuple[int, ...]:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return ()
        return status.st_ino, status.st_size, status.st_mtime_ns


@dataclass(frozen=True)
class ReviewState:
    """Photographs with decisions applied."""

    photographs: Photographs
    decisions: Decisions

    @cached_property
    def dropped(self) -> frozenset[str]:
        """Images that are left out."""
        return self.decisions.dropped

    @cached_property
    def wrong(self) -> frozenset[str]:
        """Images whose label is not trusted."""
        return self.decisions.wrong

    @cached_property
    def assigned(self) -> dict[str, str]:
        """Image id → the label that a user gave it."""
        return self.decisions.labels

    @cached_property
    def training(self) -> frozenset[str]:
        """Images that are never queries of the holdout."""
        return self.decisions.training_only

    @cached_property
    def drawn_boxes(self) -> dict[str, Corners]:
        """Image id → the box that a user drew."""
        return self.decisions.boxes

    @cached_property
    def members(self) -> dict[str, list[str]]:
        """Label → its images that are in use, in the order of the lists."""
        members: dict[str, list[str]] = {}
        for image_id in self.photographs.rows:
            label = self.label(image_id)
            if label and not self.is_excluded(image_id):
                members.setdefault(label, []).append(image_id)
        return members

    @cached_property
    def labels(self) -> frozenset[str]:
        """All labels that are listed or were assigned, before merges."""
        return self.photographs.label_set | set(self.assigned.values())

    def label(self, image_id: str) -> str:
        """Return an image's label, '' if it has none."""
        label = self.assigned.get(image_id) or self.photographs.label(image_id)
        return self.decisions.merged.get(label, label)

    def is_excluded(self, image_id: str) -> bool:
        """Return whether an image is no longer among the labelled images."""
        return image_id in self.dropped or image_id in self.wrong

    def in_use(self, images: Iterable[str]) -> list[str]:
        """Return the given images without excluded ones, in their order."""
        return [image_id for image_id in images if not self.is_excluded(image_id)]

    def box(self, image_id: str) -> Corners | None:
        """Return an image's box: the drawn one, else the listed one."""
        boxes = self.photographs.images.boxes
        if image_id in self.drawn_boxes or boxes is None:
            return self.drawn_boxes.get(image_id)
        x0, y0, x1, y1 = boxes[self.photographs.rows[image_id]].tolist()
        return None if x0 != x0 else (x0, y0, x1, y1)  # NaN: it has none

    @property
    def links(self) -> Links:
        """The links of images, without the rows that contradict each other."""
        return self._sound.links

    @cached_property
    def new_individuals(self) -> dict[int, str]:
        """The number of each new individual → one of its photographs that were called new."""
        number_of, new = self.links.individual_of, self.links.new
        found = {number_of.get(image, -1): image for image in sorted(self.decisions.new)}
        return {number: image for number, image in found.items() if number in new}

    @property
    def contradictions(self) -> tuple[str, ...]:
        """Sentences on rows that contradict each other: typed ones, or of an older catalogue."""
        return self._sound.contradictions

    @property
    def set_aside(self) -> frozenset[int]:
        """The lines of the rows that contradict each other; no other decision waits for them."""
        return self._sound.aside

    @cached_property
    def _sound(self) -> SoundLinks:
        return self.decisions.link_sound(_linked_labels(self))

    @cached_property
    def own_pairs(self) -> dict[tuple[str, frozenset[str]], str]:
        """Who decided and a pair of images → what they think of it now: "same" or "different"."""
        numbered = enumerate(self.decisions.rows)
        return {
            (row.by, frozenset(row.images)): row.kind
            for place, row in numbered
            if row.kind in PAIR_KINDS and place not in self.decisions.withdrawn
        }

    def has(self, decision: Decision) -> bool:
        """Return whether a decision is in effect already, so that it would change nothing.

        Of a pair, and of the kinds that say who a photograph shows, each person has rows of their
        own, also somebody without a name.
        """
        kind, subject, value = decision.kind, decision.subject, decision.value
        match kind:
            case "merge":
                return self.decisions.merged.get(subject) == value
            case "label":
                return self.assigned.get(subject) == value
            case "box":
                return self.drawn_boxes.get(subject) == Decisions((decision,)).boxes[subject]
            case "fine":
                return frozenset({subject, value} - {""}) in self.decisions.fine
            case "same" | "different":
                pair = frozenset({subject, value})
                last = self.decisions.linked.get(pair)
                own = self.own_pairs.get((decision.by, pair))
                return own == kind and last is not None and last[0].kind == kind
            case "new" | "unsure" | "poor":
                return self.decisions.answers.get((decision.by, subject)) == kind
        images = {"drop": self.dropped, "wrong": self.wrong, "train": self.training}
        return subject in images[kind]

    def with_decision(self, decision: Decision) -> "ReviewState":
        """Return the state after one more decision."""
        rows, lines = self.decisions.rows, self.decisions.lines
        line = max(lines, default=1) + 1
        decided = Decisions((*rows, decision), self.decisions.path, (*lines, line))
        return ReviewState(self.photographs, decided)

    def tags(self, image_id: str) -> list[str]:
        """Return the decisions about an image, each in a word or two."""
        label = self.assigned.get(image_id) or self.photographs.label(image_id)
        tags = {
            "merged": label in self.decisions.merged,
            "dropped": image_id in self.dropped,
            "wrong label": image_id in self.wrong,
            "other label": image_id in self.assigned,
            "kept in training": image_id in self.training,
            "box drawn": image_id in self.drawn_boxes,
            "new individual": image_id in self.decisions.new,
            "poor picture": image_id in self.decisions.poor,
        }
        return [tag for tag, applies in tags.items() if applies]


def check_decision(decision: Decision, state: ReviewState) -> None:
    """Raise KitboxError if a decision names unknown images or labels, or makes no sense."""
    kind, subject, value = decision.kind, decision.subject, decision.value
    _check_text("note", decision.note)
    match kind:
        case "merge":
            _check_merge(subject, value, state)
        case "fine":
            _check_fine(subject, value, state)
        case "box":
            _check_listed(subject, state)
            _check_box(subject, value, state)
        case "same" | "different":
            _check_listed(subject, state)
            _check_listed(value, state)
        case "new" | "unsure" | "poor":
            _check_listed(subject, state)
        case _:
            _check_side(kind, subject, state)
    if kind == "label":
        _check_label(value, state)
    if kind == "new":
        _check_new(subject, state)
    if kind != "fine":
        try:
            _check_links(state.with_decision(decision), state.set_aside)
        except ContradictionError as error:  # its line is not written, and rows have no lines here
            fix = error.fix.replace("correct or remove a row", "take an earlier decision back")
            raise KitboxError(error.what, fix=fix) from error


def refusals(image_id: str, state: ReviewState) -> dict[str, str]:
    """Return kind of decision → why it is refused, for those that an image does not take."""
    found = {}
    for kind in ("drop", "wrong", "label", "train"):
        try:
            _check_side(kind, image_id, state)
        except KitboxError as error:
            found[kind] = str(error)
    if image_id in state.photographs.problems:
        found["box"] = f"'{image_id}' cannot be read, so that no box can be drawn"
    return found


def in_effect(image_id: str, state: ReviewState) -> list[str]:
    """Return the kinds of decisions that would change nothing about an image."""
    return [kind for kind in ("drop", "wrong", "train") if state.has(Decision(kind, image_id))]


def check_removal(removed: Sequence[Decision], state: ReviewState) -> None:
    """Raise KitboxError if a remaining row needs the removed ones, and name that row.

    It needs a label that only they introduced, or contradicts what is left without them.
    """
    remaining, lines = list(state.decisions.rows), list(state.decisions.lines)
    first = math.inf
    for decision in removed:
        if decision in remaining:
            place = len(remaining) - 1 - remaining[::-1].index(decision)  # the last one goes
            first = min([first, *lines[place : place + 1]])
            del remaining[place], lines[place : place + 1]
    still_assigned = {row.value for row in remaining if row.kind == "label"}
    assigned = {row.value for row in state.decisions.rows_of("label")}
    lost = assigned - still_assigned - state.photographs.label_set
    for row in remaining:
        if row.kind == "merge" or (row.kind == "fine" and not row.value):
            for label in lost & {row.subject, row.value}:
                raise KitboxError(
                    f"the label '{label}' exists only by this decision, and '{row.words}' needs "
                    f"it; {_since(row)}"
                )
    decided = Decisions(tuple(remaining), state.decisions.path, tuple(lines))
    try:
        _check_links(ReviewState(state.photographs, decided), state.set_aside)
    except ContradictionError as error:
        later = [line for line in error.lines if line > first]
        if not later:
            raise
        row = remaining[lines.index(max(later))]
        raise KitboxError(error.what, where=error.where, fix=_since(row)) from error


def _since(row: Decision) -> str:
    """Return who made a decision that has to be taken back before an earlier one."""
    if row.by:
        return f"{row.by} decided '{row.words}' since; take that back first"
    return f"'{row.words}' was decided since; take that back first"


def _check_links(state: ReviewState, aside: frozenset[int]) -> Links:
    """Return the links of images without those of the lines set `aside`.

    Raises KitboxError if they contradict each other or the labels.
    """
    return state.decisions.without(aside).link(_linked_labels(state))


def _linked_labels(state: ReviewState) -> dict[str, str]:
    """Return the labels of linked images, which alone can contradict a link."""
    linked = {image_id for pair in state.decisions.linked for image_id in pair}
    linked |= state.decisions.new
    linked &= set(state.photographs.rows)
    labels = {image_id: state.label(image_id) for image_id in linked - state.dropped - state.wrong}
    unnamed = ("", state.photographs.unknown)
    return {image: label for image, label in labels.items() if label not in unnamed}


def _check_new(image_id: str, state: ReviewState) -> None:
    """Raise KitboxError for an image that a label or a link makes one of a known individual."""
    links = state.links
    label = state.label(image_id)
    if label in ("", state.photographs.unknown) or state.is_excluded(image_id):
        label = links.label_of.get(links.individual_of.get(image_id, -1), "")
    if label:
        raise KitboxError(
            f"'{image_id}' is '{label}' already; a new individual has no label: "
            "take that decision back, or give the image another label"
        )


def _check_text(name: str, text: str) -> None:
    if len(text) > _MAX_TEXT:
        raise KitboxError(f"{name} '{text[:20]}' … has over {_MAX_TEXT} characters; shorten it")
    for letter in text:
        if unicodedata.category(letter) in ("Cc", "Cs"):
            raise KitboxError(
                f"{name} '{ascii(text)[1:-1]}' has the control character U+{ord(letter):04X}; "
                "remove it"
            )


def _check_label(label: str, state: ReviewState) -> None:
    if label in state.decisions.merged:
        stays = state.decisions.merged[label]
        raise KitboxError(f"'{label}' was merged into '{stays}'; give the image that label")
    if label in state.labels:
        return  # the lists may write labels that a user may not type
    _check_text("label", label)
    if label != label.strip():
        raise KitboxError(f"label '{label}' has a blank at its end; remove it")


def _check_listed(image_id: str, state: ReviewState) -> None:
    if image_id not in state.photographs.rows:
        raise KitboxError(f"there is no image '{image_id}'; choose one of the lists")


def _check_side(kind: str, image_id: str, state: ReviewState) -> None:
    _check_listed(image_id, state)
    side = state.photographs.side(image_id)
    if side == "labelled" or (kind == "drop" and side == "index"):
        return
    if kind == "drop":
        raise KitboxError(
            f"'{image_id}' is a test image and cannot be dropped: a submission has to answer it"
        )
    raise KitboxError(f"'{image_id}' is one of the {side} images, which have no labels")


def _check_merge(subject: str, value: str, state: ReviewState) -> None:
    merged = state.decisions.merged
    for label in (subject, value):
        if label not in state.labels:
            raise KitboxError(f"no image shows '{label}'; merge two labels that images have")
        if label == state.photographs.unknown:
            raise KitboxError(
                f"'{label}' stands for unknown individuals; give the image a label instead"
            )
        if label in merged:  # merged in another browser window, and this page is out of date
            raise KitboxError(f"'{label}' was merged into '{merged[label]}'; reload the page")


def _check_fine(subject: str, value: str, state: ReviewState) -> None:
    if value:
        _check_listed(subject, state)
        _check_listed(value, state)
    elif subject not in state.labels:
        raise KitboxError(f"no image shows '{subject}'; name a label that images have")


def _check_box(image_id: str, value: str, state: ReviewState) -> None:
    x0, y0, x1, y1 = (float(corner) for corner in value.split())  # Decision checked the numbers
    images = state.photographs.images
    width, height = preprocessing.upright_size(images.paths[state.photographs.rows[image_id]])
    # a box thinner than a pixel would be read as the whole image
    if min(x0, y0) < 0 or not (x0 + 1 <= x1 <= width and y0 + 1 <= y1 <= height):
        raise KitboxError(
            f"box '{value}' does not lie within the {width}x{height} pixels of '{image_id}'; "
            "draw it inside the image"
        )
