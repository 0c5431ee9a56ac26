"""EXIF orientations: photographs and their boxes before and after they are turned upright."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from kitbox.images.preprocessing import SWAPPED
from kitbox.records import Corners

Size = tuple[int, int]
# What a box is drawn on: the pixels as they are in the file, or those of the upright photograph.
Frame = Literal["raw", "upright"]

# How far width / height may be apart for two sizes of one photograph; sides are whole pixels.
_SAME_SHAPE = 0.02


@dataclass(frozen=True)
class PhotographSize:
    """The raw (width, height) of a photograph, and the EXIF orientation that turns it upright."""

    raw: Size
    orientation: int = 1

    @property
    def upright(self) -> Size:
        """Width and height of the upright photograph."""
        width, height = self.raw
        return (height, width) if self.orientation in SWAPPED else (width, height)

    @property
    def frames(self) -> tuple[Frame, ...]:
        """What a box may be drawn on: both are the same where EXIF turns nothing."""
        return ("upright",) if self.orientation == 1 else ("upright", "raw")

    def of(self, frame: Frame) -> Size:
        """Return width and height of a frame."""
        return self.raw if frame == "raw" else self.upright

    def turn(self, corners: Corners) -> Corners:
        """Return a box x0, y0, x1, y1 of the raw pixels as a box of the upright photograph.

        An orientation is a swap of x and y, or none, and then a reflection of each.
        """
        x0, y0, x1, y1 = corners
        if self.orientation in SWAPPED:
            x0, y0, x1, y1 = y0, x0, y1, x1
        width, height = self.upright
        if self.orientation in (2, 3, 6, 7):
            x0, x1 = width - x1, width - x0
        if self.orientation in (3, 4, 7, 8):
            y0, y1 = height - y1, height - y0
        return x0, y0, x1, y1

    def frames_of_size(self, size: Size) -> tuple[Frame, ...]:
        """Return the frames that have this size or, if none has, its shape: a smaller copy."""
        exact = tuple(frame for frame in self.frames if self.of(frame) == size)
        return exact or tuple(
            frame for frame in self.frames if _shape_difference(self.of(frame), size) < _SAME_SHAPE
        )


@dataclass(frozen=True)
class TurnedBoxes:
    """How many boxes of turned photographs were drawn on raw and on upright pixels.

    `followed` of them show it only by the other boxes of their list; `unclear` ones are read as
    upright, as nothing shows it.
    """

    raw: int = 0
    upright: int = 0
    followed: int = 0
    unclear: int = 0

    @property
    def total(self) -> int:
        """The number of boxes on photographs that EXIF turns."""
        return self.raw + self.upright + self.unclear

    def __str__(self) -> str:
        follow = f" ({self.followed} of them like the other boxes)" if self.followed else ""
        return (
            f"boxes on photographs that EXIF turns: {self.raw} drawn on the raw pixels, "
            f"{self.upright} on the upright photograph{follow}, {self.unclear} unclear"
        )


def decide(evidence: Iterable[Frame | None]) -> tuple[list[Frame], TurnedBoxes]:
    """Return the frame of each box of turned photographs, and their counts.

    A box without evidence of its own is like the others of its list where these agree, and else
    upright.
    """
    own = list(evidence)
    counts: dict[Frame, int] = {"raw": own.count("raw"), "upright": own.count("upright")}
    agreed = {frame for frame in own if frame is not None}
    common = agreed.pop() if len(agreed) == 1 else None
    without = own.count(None)
    if common is not None:
        counts[common] += without
    frames = [frame or common or "upright" for frame in own]
    followed, unclear = (without, 0) if common is not None else (0, without)
    return frames, TurnedBoxes(counts["raw"], counts["upright"], followed, unclear)


def _shape_difference(one: Size, other: Size) -> float:
    return abs(one[0] * other[1] / (one[1] * other[0]) - 1) if min(*one, *other) > 0 else 1.0
