"""Formats of boxes: rows of a list as the format defines them, and their corners in pixels."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kitbox.boxes.orientation import Frame, PhotographSize, Size
from kitbox.errors import KitboxError, counted, did_you_mean
from kitbox.records import Corners

BoxFormat = Literal["xyxy", "xywh", "yolo", "gdsc", "points"]
DESCRIPTIONS: dict[BoxFormat, str] = {
    "xyxy": "two corners x0,y0,x1,y1",
    "xywh": "the upper left corner and the size x,y,w,h",
    "yolo": "the centre and the size cx,cy,w,h",
    "gdsc": "two corners, though the columns are called x,y,w,h",
    "points": "the points of an outline",
}
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
# What spreadsheets and table programs write for an image that has no box.
_BLANKS = {"", "nan", "none", "null", "na", "n/a", "<na>", "#n/a"}
# How far boxes may reach over the edge: in image sides, where formats are compared, and in pixels,
# as shares are written with few digits.
NEARLY, ROUNDING = 0.01, 1.0
_ANIMAL = "animal"  # of several categories, the one that is meant
_CATEGORIES_SHOWN = 6


@dataclass(frozen=True, kw_only=True)
class BoxRow:
    """A box in a list: its place, the name of its image, and numbers as the format defines them.

    `numbers` are empty where `text` cannot be read as numbers. `category` is what the box shows,
    `size` the (width, height) of the image that it was drawn on, where the list has them. A row
    with `absent` has no box: this is why.
    """

    where: str
    name: str
    numbers: tuple[float, ...] = ()
    confidence: float | None = None
    text: str = ""
    category: str = ""
    size: Size | None = None
    absent: str = ""


@dataclass(frozen=True)
class BoxList:
    """The rows of a list of boxes, their possible formats, and the reason for these.

    `threshold` is the confidence from which the program's boxes are usually taken, `frame` what it
    draws boxes on, where it is known. `named` is the format that the column names spell out.
    """

    rows: tuple[BoxRow, ...]
    formats: tuple[BoxFormat, ...]
    reason: str
    threshold: float | None = None
    frame: Frame | None = None
    named: BoxFormat | None = None

    @property
    def relative(self) -> bool:
        """Whether most numbers are shares of the image's width and height, at most about 1."""
        largest = sorted(max(map(abs, row.numbers)) for row in self.rows if row.numbers)
        # a share is at most 1, or a little more for a box drawn over the edge
        return bool(largest) and largest[len(largest) // 2] <= 1.5


def is_complete(numbers: tuple[float, ...], box_format: BoxFormat) -> bool:
    """Return whether a box has as many numbers as its format needs: four, or two or more points."""
    if box_format == "points":
        return len(numbers) >= 4 and len(numbers) % 2 == 0
    return len(numbers) == 4


def to_corners(
    numbers: tuple[float, ...], box_format: BoxFormat, scale: tuple[float, float]
) -> Corners:
    """Return a box as x0, y0, x1, y1 in pixels; `scale` is (width, height) of a number 1.

    Corners keep the order of the list: the first may be right of the second.
    """
    width, height = scale
    if box_format == "points":
        xs, ys = numbers[::2], numbers[1::2]
        return min(xs) * width, min(ys) * height, max(xs) * width, max(ys) * height
    a, b, c, d = numbers
    match box_format:
        case "xywh":
            a, b, c, d = a, b, a + c, b + d
        case "yolo":
            a, b, c, d = a - c / 2, b - d / 2, a + c / 2, b + d / 2
    return a * width, b * height, c * width, d * height


def image_size(width: Any, height: Any) -> Size | None:
    """Return (width, height) from two cells of a list, None where they are no size."""
    try:
        size = int(float(width)), int(float(height))
    except (TypeError, ValueError, OverflowError):
        return None
    return size if min(size) > 0 else None


def shape_corners(shape: Any) -> tuple[float, ...]:
    """Return the corners x0, y0, x1, y1 around a shape of VGG's image annotator, () if it is none.

    Shapes are rectangles, polygons, lines, circles and ellipses.
    """
    try:
        if "width" in shape:
            x, y = float(shape["x"]), float(shape["y"])
            return x, y, x + float(shape["width"]), y + float(shape["height"])
        if "all_points_x" in shape:
            xs, ys = ([float(n) for n in shape[f"all_points_{axis}"]] for axis in "xy")
            return min(xs), min(ys), max(xs), max(ys)
        x, y = float(shape["cx"]), float(shape["cy"])
        across, down = (float(shape.get(name, shape.get("r"))) for name in ("rx", "ry"))
        return x - across, y - down, x + across, y + down
    except (TypeError, ValueError, OverflowError, LookupError, AttributeError):
        return ()


@dataclass(frozen=True, kw_only=True)
class BoxSelection:
    """Which boxes of a list are taken: those of some categories, from a confidence on.

    `taken` and `left_out` count boxes by category; `below` of the taken categories have less
    confidence than the `threshold`. `rows` are the boxes, `without` the other rows.
    """

    rows: tuple[BoxRow, ...]
    without: tuple[BoxRow, ...]
    taken: dict[str, int]
    left_out: dict[str, int]
    threshold: float | None
    below: int

    def notes(self) -> list[str]:
        """Return sentences on boxes that are left out, and how to take them."""
        notes = []
        if self.left_out:
            notes.append(
                f"categories: {_counted(self.taken)}; left out: {_counted(self.left_out)}; "
                "--category takes others"
            )
        elif len(self.taken) > 1:
            notes.append(f"categories: {_counted(self.taken)}; --category takes some of them")
        if self.threshold is not None and self.below:
            notes.append(
                f"left out: {counted(self.below, 'box', 'boxes')} with a confidence below "
                f"{self.threshold:g}; --threshold sets another"
            )
        return notes


@dataclass(frozen=True)
class CornerReader:
    """Reads the numbers of a box as corners in pixels of the upright image.

    `chosen` is the frame that the boxes are said to be drawn on, `usual` that of their program.
    """

    relative: bool
    chosen: Frame | None = None
    usual: Frame | None = None

    def corners(
        self, row: BoxRow, image: PhotographSize, box_format: BoxFormat, frame: Frame
    ) -> Corners:
        """Return the corners of a box that is drawn on a frame."""
        width, height = image.of(frame)
        scale = (float(width), float(height))
        if not self.relative:
            drawn = row.size if row.size and frame in image.frames_of_size(row.size) else None
            scale = (width / drawn[0], height / drawn[1]) if drawn else (1.0, 1.0)
        corners = to_corners(row.numbers, box_format, scale)
        return image.turn(corners) if frame == "raw" else corners

    def evidence(self, row: BoxRow, image: PhotographSize, box_format: BoxFormat) -> Frame | None:
        """Return the frame that a box must be drawn on, None where it may be either."""
        frames = self.possible_frames(row, image)
        if len(frames) == 1:
            return frames[0]
        inside = [
            frame
            for frame in frames
            if _fits(self.corners(row, image, box_format, frame), image.upright, NEARLY)
        ]
        return inside[0] if len(inside) == 1 else None

    def differs(self, row: BoxRow, image: PhotographSize, box_format: BoxFormat) -> bool:
        """Return whether it matters what a box is drawn on: EXIF turns the image, and the box."""
        first, *others = (self.corners(row, image, box_format, frame) for frame in image.frames)
        distances = [abs(a - b) for other in others for a, b in zip(first, other, strict=True)]
        return max(distances, default=0.0) > ROUNDING

    def possible_frames(self, row: BoxRow, image: PhotographSize) -> tuple[Frame, ...]:
        """Return the frames that a box may be drawn on, whatever its numbers."""
        if self.chosen in image.frames:
            return (self.chosen,)
        of_size = image.frames_of_size(row.size) if row.size else ()
        if len(of_size) == 1:
            return of_size
        return (self.usual,) if self.usual in image.frames else image.frames


def count_fits(
    reader: CornerReader,
    rows: list[tuple[BoxRow, PhotographSize]],
    box_format: BoxFormat,
    tolerance: float = NEARLY,
) -> int:
    """Count the boxes that lie inside their images when read in a format."""
    return sum(
        any(
            _fits(reader.corners(row, image, box_format, frame), image.upright, tolerance)
            for frame in reader.possible_frames(row, image)
        )
        for row, image in rows
        if is_complete(row.numbers, box_format)
    )


def _fits(corners: Corners, size: Size, tolerance: float) -> bool:
    x0, y0, x1, y1 = corners
    over_x, over_y = (tolerance * side + ROUNDING for side in size)
    fits_x = -over_x <= x0 < x1 <= size[0] + over_x
    return fits_x and -over_y <= y0 < y1 <= size[1] + over_y


def select(
    path: Path, rows: Sequence[BoxRow], categories: Sequence[str], threshold: float | None
) -> BoxSelection:
    """Return the boxes of the wanted categories and confidence.

    Without `categories` all are taken, but of several categories only animals, if there are any.
    Raises KitboxError for a category that no box has, and where no box is left.
    """
    counts = Counter(row.category for row in rows if not row.absent)
    known = {name.casefold() for name in counts}
    wanted = {name.strip().casefold() for name in categories}
    unknown = next((name for name in categories if name.strip().casefold() not in known), None)
    if unknown is not None:
        raise KitboxError(
            f"no box is of category '{unknown}'{did_you_mean(unknown, counts)}",
            where=str(path),
            fix=f"its categories are {_counted(counts) or 'not named'}",
        )
    wanted = wanted or ({_ANIMAL} if _ANIMAL in known else known)
    taken, without, below = [], [], 0
    for row in rows:
        if row.absent or row.category.casefold() not in wanted:
            without.append(row)
        elif threshold is not None and row.confidence is not None and row.confidence < threshold:
            without.append(row)
            below += 1
        else:
            taken.append(row)
    if not taken and not below:
        absent = next(row for row in rows if row.absent)
        what = f"{path} has no box for any image here: {absent.where}: {absent.absent}"
        raise KitboxError(what)
    if not taken:
        raise KitboxError(
            f"all {below} boxes have a confidence below {threshold:g}",
            where=str(path),
            fix="lower --threshold",
        )
    ordered = counts.most_common() if any(counts) else []
    return BoxSelection(
        rows=tuple(taken),
        without=tuple(without),
        taken={name: count for name, count in ordered if name.casefold() in wanted},
        left_out={name: count for name, count in ordered if name.casefold() not in wanted},
        threshold=threshold,
        below=below,
    )


def _counted(counts: dict[str, int]) -> str:
    """Return the most frequent categories with their numbers of boxes."""
    shown = [
        f"{name or 'none'} {count}"
        for name, count in Counter(counts).most_common(_CATEGORIES_SHOWN)
    ]
    return ", ".join([*shown, *(["…"] if len(counts) > _CATEGORIES_SHOWN else [])])


def is_blank(text: str) -> bool:
    """Return whether a cell, or all cells of a list, say that there is no box."""
    return set(_parts(text.lower())) <= _BLANKS


def parse_numbers(text: str) -> tuple[float, ...]:
    """Return the numbers of a text, none if it has anything but brackets and separators beside."""
    parts = _parts(text)
    if not all(_NUMBER.fullmatch(part) for part in parts):
        return ()
    numbers = tuple(float(part) for part in parts)
    return numbers if all(map(math.isfinite, numbers)) else ()


def _parts(text: str) -> list[str]:
    return re.sub(r"[\s,;()\[\]{}]+", " ", text).split()
