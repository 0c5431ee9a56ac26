"""The boxes that images are cropped to: those of the data, of people and of a detector."""

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kitbox import tables
from kitbox.competition.settings import ImageSettings
from kitbox.errors import KitboxError
from kitbox.files import write_text

Corners = tuple[float, float, float, float]
COLUMNS = ("image", "x0", "y0", "x1", "y1")
_WRITTEN = (*COLUMNS, "confidence", "source")


@dataclass(frozen=True)
class Box:
    """A box of an image: x0, y0, x1, y1 in pixels of the upright image, and who says so.

    A box with a `confidence` in [0, 1] was detected, one without was drawn.
    """

    image_id: str
    corners: Corners
    confidence: float | None = None
    source: str = ""

    @property
    def drawn(self) -> bool:
        """Whether a person drew it."""
        return self.confidence is None

    @property
    def area(self) -> float:
        """Its pixels."""
        x0, y0, x1, y1 = self.corners
        return (x1 - x0) * (y1 - y0)


def read(images: ImageSettings, file: Path | None = None) -> dict[str, Corners]:
    """Return image id → the box that each image is cropped to, by `images.several_boxes`.

    Raises KitboxError as `read_all` does.
    """
    return {
        image_id: choose(found, images.several_boxes)
        for image_id, found in read_all(images, file).items()
    }


def read_all(images: ImageSettings, file: Path | None = None) -> dict[str, tuple[Box, ...]]:
    """Return image id → all boxes that count of the image, the most confident first.

    `images.boxes` names a list of the data, `file` is the workspace's. Drawn boxes hide detected
    ones, and those of `file` hide those of the data; where several sources drew an image, the last
    of them counts. Raises KitboxError for a missing list of the data and for a box that is none.
    """
    files = enumerate(_files(images, file))
    written = [(number, box) for number, (path, shown) in files for box in read_file(path, shown)]
    # the source that stands last counts most
    place_of = {(number, box.source): place for place, (number, box) in enumerate(written)}
    of_image: dict[str, dict[tuple[bool, int], list[Box]]] = {}
    for number, box in written:
        weight = (box.drawn, place_of[number, box.source])
        of_image.setdefault(box.image_id, {}).setdefault(weight, []).append(box)
    return {
        image_id: tuple(sorted(by_weight[max(by_weight)], key=_doubt))
        for image_id, by_weight in of_image.items()
    }


def read_names(images: ImageSettings, file: Path | None = None) -> Iterator[tuple[str, str]]:
    """Yield of every row that `read_all` reads its list and line, and the image that it names."""
    for path, shown in _files(images, file):
        for line, (name,) in tables.read_columns(path, COLUMNS[:1]):
            yield f"{shown} line {line}", name


def _files(images: ImageSettings, file: Path | None) -> list[tuple[Path, str]]:
    """Return the lists of boxes that there are, the data's first, and what errors call them."""
    given = [] if images.boxes is None else [(images.root / images.boxes, images.boxes)]
    return given if file is None or not file.is_file() else [*given, (file, str(file))]


def choose(boxes: tuple[Box, ...], rule: str) -> Corners:
    """Return the "best" (the first), the "largest" or the "union" of one image's boxes."""
    if rule == "largest":
        return max(boxes, key=lambda box: box.area).corners
    if rule == "union":
        x0, y0, x1, y1 = zip(*(box.corners for box in boxes), strict=True)
        return min(x0), min(y0), max(x1), max(y1)
    return boxes[0].corners


def read_file(path: Path, shown: str) -> list[Box]:
    """Return the boxes of a list, in its order; errors call it `shown`.

    Its columns are image, x0, y0, x1, y1, and perhaps confidence and source. Raises KitboxError for
    a missing list and for a box that is none.
    """
    found = []
    for line, row in tables.read_rows(path, COLUMNS):
        corners = [row[name] for name in COLUMNS[1:]]
        what, where = f"box {','.join(corners)}", f"{shown} line {line}"
        try:
            x0, y0, x1, y1 = (float(corner) for corner in corners)
        except ValueError as error:
            raise KitboxError(
                f"{what} is not four numbers", where=where, fix="correct the row"
            ) from error
        if not (-math.inf < x0 < x1 < math.inf and -math.inf < y0 < y1 < math.inf):
            raise KitboxError(
                f"{what} is empty; the columns are x0,y0,x1,y1 with x0 < x1 and y0 < y1",
                where=where,
            )
        try:
            confidence = _confidence(row.get("confidence", ""))
        except ValueError as error:
            raise KitboxError(f"{what} has {error}", where=where) from error
        found.append(Box(row["image"], (x0, y0, x1, y1), confidence, row.get("source", "")))
    return found


def is_box_list(path: Path) -> bool:
    """Return whether a file is a list as `read_file` reads it, by its header."""
    try:
        return set(COLUMNS) <= set(tables.read_header(path))
    except KitboxError:
        return False


def replace(path: Path, source: str, boxes: list[Box]) -> int:
    """Write a source's boxes in place of those that it had before; return how many it had.

    Boxes of other sources stay as they are, and count less than these where both were drawn.
    """
    there = read_file(path, str(path)) if path.is_file() else []
    kept = [box for box in there if box.source != source]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_WRITTEN)
    for box in [*kept, *boxes]:
        confidence = "" if box.confidence is None else _shortest(box.confidence, 4)
        corners = [_shortest(corner, 2) for corner in box.corners]
        writer.writerow([box.image_id, *corners, confidence, box.source])
    if kept or boxes or there:
        write_text(path, text.getvalue())
    return len(there) - len(kept)


def _doubt(box: Box) -> float:
    return 0.0 if box.confidence is None else -box.confidence


def _confidence(text: str) -> float | None:
    """Return a confidence, None for an empty cell; raises ValueError outside [0, 1]."""
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise ValueError(f"confidence '{text}', which is not between 0 and 1")
    return value


def _shortest(value: float, digits: int) -> str:
    """Return a number with at most so many digits after the point, and none that says nothing."""
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") or "0"
