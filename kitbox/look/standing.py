"""What holds of every image after all decisions."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from kitbox.competition.boxes import Corners
from kitbox.competition.decisions import Decision, Decisions
from kitbox.look.photographs import Photographs


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
