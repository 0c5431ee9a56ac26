"""Boxes that images are cropped to: given with the data, drawn by people, or detected."""

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kitbox import tables
from kitbox.competition.settings import ImageSettings
from kitbox.errors import KitboxError
from kitbox.files import write_text
from kitbox.records import Corners

COLUMNS = ("image", "x0", "y0", "x1", "y1")
_ALL_COLUMNS = (*COLUMNS, "confidence", "source")


@dataclass(frozen=True)
class Box:
    """A box of an image: x0, y0, x1, y1 in pixels of the upright image.

    A box with a `confidence` in [0, 1] was detected, one without was drawn. `source` names the
    person, list or detector that it comes from.
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
        """The area in pixels."""
        x0, y0, x1, y1 = self.corners
        return (x1 - x0) * (y1 - y0)


def read(images: ImageSettings, file: Path | None = None) -> dict[str, Corners]:
    """Return image id → the box that the image is cropped to, by `images.several_boxes`.

    Raises KitboxError as `read_all` does.
    """
    return {
        image_id: choose(candidates, images.several_boxes)
        for image_id, candidates in read_all(images, file).items()
    }


def read_with_animals(images: ImageSettings, file: Path | None = None) -> dict[str, Corners]:
    """Return what `read` does, and the box of each of the `animals` of a photograph with several.

    Raises KitboxError as `read_all` does.
    """
    of_animals = {
        animal: corners
        for image_id, candidates in read_all(images, file).items()
        if len(candidates) > 1
        for animal, corners in animals(image_id, candidates).items()
    }
    return of_animals | read(images, file)


def animals(image_id: str, boxes: Sequence[Box]) -> dict[str, Corners]:
    """Return the animals of a photograph → their boxes, from left to right.

    They are images of their own, "IMG_1.jpg#1" and "IMG_1.jpg#2"; a single one has the
    photograph's own name.
    """
    corners = sorted(box.corners for box in boxes)
    if len(corners) == 1:
        return {image_id: corners[0]}
    return {f"{image_id}#{number}": one for number, one in enumerate(corners, 1)}


def read_all(images: ImageSettings, file: Path | None = None) -> dict[str, tuple[Box, ...]]:
    """Return image id → all valid boxes of the image, the most confident first.

    `images.boxes` names a list in the data, `file` is the workspace's list. Drawn boxes override
    detected ones, and those in `file` override those in the data; where several sources drew boxes
    in an image, the last of them counts. Raises KitboxError for a missing list of the data and for
    an invalid box.
    """
    files = enumerate(_box_lists(images, file))
    rows = [(number, box) for number, (path, name) in files for box in read_file(path, name)]
    last_row = {(number, box.source): row for row, (number, box) in enumerate(rows)}
    by_image: dict[str, dict[tuple[bool, int], list[Box]]] = {}
    for number, box in rows:
        rank = (box.drawn, last_row[number, box.source])
        by_image.setdefault(box.image_id, {}).setdefault(rank, []).append(box)
    return {
        image_id: tuple(sorted(by_rank[max(by_rank)], key=_descending_confidence))
        for image_id, by_rank in by_image.items()
    }


def read_names(images: ImageSettings, file: Path | None = None) -> Iterator[tuple[str, str]]:
    """Yield (list and line, image name) for every row that `read_all` reads."""
    for path, list_name in _box_lists(images, file):
        for line, (name,) in tables.read_columns(path, COLUMNS[:1]):
            yield f"{list_name} line {line}", name


def _box_lists(images: ImageSettings, file: Path | None) -> list[tuple[Path, str]]:
    """Return the existing lists of boxes, the data's first, each with its name in errors."""
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


def read_file(path: Path, name: str) -> list[Box]:
    """Return the boxes of a list, in its order; errors call the list by `name`.

    The columns are image, x0, y0, x1, y1 and, optionally, confidence and source. Raises KitboxError
    for a missing list and for an invalid box.
    """
    boxes = []
    for line, row in tables.read_rows(path, COLUMNS):
        corners = [row[column] for column in COLUMNS[1:]]
        what, where = f"box {','.join(corners)}", f"{name} line {line}"
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
        boxes.append(Box(row["image"], (x0, y0, x1, y1), confidence, row.get("source", "")))
    return boxes


def is_box_list(path: Path) -> bool:
    """Return whether a file has the header of a list for `read_file`."""
    try:
        return set(COLUMNS) <= set(tables.read_header(path))
    except KitboxError:
        return False


def replace(path: Path, source: str, boxes: list[Box]) -> int:
    """Replace a source's boxes in the file `path`; return how many it had before.

    Boxes of other sources stay; the new ones override them where both were drawn.
    """
    before = read_file(path, str(path)) if path.is_file() else []
    others = [box for box in before if box.source != source]
    text = io.StringIO()
    writer = tables.csv_writer(text)
    writer.writerow(_ALL_COLUMNS)
    for box in [*others, *boxes]:
        confidence = "" if box.confidence is None else _format(box.confidence, 4)
        corners = [_format(corner, 2) for corner in box.corners]
        image_id, own = tables.safe_cell(box.image_id), tables.safe_cell(box.source)
        writer.writerow([image_id, *corners, confidence, own])
    if boxes or before:
        write_text(path, text.getvalue())
    return len(before) - len(others)


def _descending_confidence(box: Box) -> float:
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


def _format(value: float, digits: int) -> str:
    """Return a number with at most `digits` decimals, without trailing zeros."""
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") or "0"
