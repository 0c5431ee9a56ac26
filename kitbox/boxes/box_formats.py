"""Reads lists of boxes in the formats of other programs: corners, sizes, YOLO, outlines."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kitbox import tables
from kitbox.competition.boxes import Corners
from kitbox.competition.presets import IMAGE_COLUMNS
from kitbox.errors import KitboxError
from kitbox.files import read_text

BoxFormat = Literal["xyxy", "xywh", "yolo", "gdsc", "points"]
DESCRIPTIONS: dict[BoxFormat, str] = {
    "xyxy": "two corners x0,y0,x1,y1",
    "xywh": "the upper left corner and the size x,y,w,h",
    "yolo": "the centre and the size cx,cy,w,h",
    "gdsc": "two corners, though the columns are called x,y,w,h",
    "points": "the points of an outline",
}
# Usual names of four columns of numbers.
_CORNERS = (
    *(("x0", "y0", "x1", "y1"), ("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax")),
    *(("x_min", "y_min", "x_max", "y_max"), ("left", "top", "right", "bottom")),
)
_CENTRES = (
    *(("cx", "cy", "w", "h"), ("xc", "yc", "w", "h"), ("x_center", "y_center", "width", "height")),
    *(("xcenter", "ycenter", "width", "height"), ("cx", "cy", "width", "height")),
)
_SIZES = (
    *(("x", "y", "w", "h"), ("x", "y", "width", "height"), ("left", "top", "width", "height")),
    *(("xmin", "ymin", "width", "height"), ("x_min", "y_min", "width", "height")),
)
_IN_ONE = ("bbox", "box", "points", "outline")
_IMAGES = ("new_path", *IMAGE_COLUMNS, "img", "image_name", "imageid")
_CONFIDENCES = ("confidence", "conf", "score", "probability")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
# YOLO writes the class of a box, four numbers and, for a detected box, the confidence.
_YOLO_NUMBERS = (5, 6)


@dataclass(frozen=True, kw_only=True)
class BoxRow:
    """A box in a list: its place, the name of its image, and numbers as the format defines them.

    `numbers` are empty where `text` cannot be read as numbers.
    """

    where: str
    name: str
    numbers: tuple[float, ...]
    confidence: float | None = None
    text: str = ""


@dataclass(frozen=True)
class BoxList:
    """The rows of a list of boxes, their possible formats, and the reason for these."""

    rows: tuple[BoxRow, ...]
    formats: tuple[BoxFormat, ...]
    reason: str

    @property
    def relative(self) -> bool:
        """Whether most numbers are shares of the image's width and height, at most about 1."""
        largest = sorted(max(map(abs, row.numbers)) for row in self.rows if row.numbers)
        # a share is at most 1, or a little more for a box drawn over the edge
        return bool(largest) and largest[len(largest) // 2] <= 1.5


def read(path: Path) -> BoxList:
    """Return the boxes of a list, or of a folder of YOLO labels.

    Raises KitboxError for a missing or empty list and for an unknown format.
    """
    if path.is_dir():
        return _read_yolo_folder(path)
    if not path.is_file():
        raise KitboxError(f"there is no list of boxes {path}")
    lines = [
        (line, _split(cells)) for line, cells in tables.read_cells(path) if "".join(cells).strip()
    ]
    if not lines:
        raise KitboxError(f"{path} is empty", fix="get the whole file")
    _, (_, *first) = lines[0]
    if first and all(map(_numbers, first)):
        return _read_without_header(path, lines)
    return _read_with_header(path)


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


def _read_yolo_folder(folder: Path) -> BoxList:
    """Read a folder of YOLO labels: a file for each image, a line for each box."""
    files = [file for file in sorted(folder.rglob("*.txt")) if file.name != "classes.txt"]
    rows = []
    for file in files:
        name = file.relative_to(folder).with_suffix("").as_posix()
        for line, text in enumerate(read_text(file).splitlines(), 1):
            if text.strip():
                numbers = _numbers(text) if len(text.split()) in _YOLO_NUMBERS else ()
                confidence = numbers[5] if len(numbers) == max(_YOLO_NUMBERS) else None
                where = f"{file.relative_to(folder.parent)} line {line}"
                rows.append(
                    BoxRow(
                        where=where,
                        name=name,
                        numbers=numbers[1:5],
                        confidence=confidence,
                        text=text.strip(),
                    )
                )
    if not rows:
        raise KitboxError(f"{folder} has no labels; a file NAME.txt has lines of 'class cx cy w h'")
    return BoxList(tuple(rows), ("yolo",), "a folder of labels")


def _read_without_header(path: Path, lines: list[tuple[int, list[str]]]) -> BoxList:
    """Read lines of a name and numbers: four for a box, more for an outline."""
    rows = [
        BoxRow(where=f"{path.name} line {line}", name=name, numbers=_numbers(text), text=text)
        for line, (name, *cells) in lines
        for text in [",".join(cells)]
    ]
    return BoxList(tuple(rows), _possible_formats(rows), "no header")


def _read_with_header(path: Path) -> BoxList:
    """Read a list with a header: four columns of numbers, or one column with all of them."""
    header = tables.read_header(path)
    lower = {name.strip().lower(): name for name in reversed(header)}
    image = next((lower[name.lower()] for name in _IMAGES if name.lower() in lower), None)
    formats, columns = _number_columns(lower)
    if image is None or not columns:
        missing = "of images" if image is None else "of four numbers, as x0,y0,x1,y1 or x,y,w,h"
        raise KitboxError(
            f"no column {missing} among {', '.join(header)}",
            where=f"{path} line 1",
            fix="name them so",
        )
    confidence = next((lower[name] for name in _CONFIDENCES if name in lower), None)
    rows = []
    for line, row in tables.read_rows(path, (image, *columns)):
        text = ",".join(row[column] for column in columns)
        confidences = _numbers(row[confidence]) if confidence is not None else ()
        where = f"{path.name} line {line}"
        value = confidences[0] if confidences else None
        rows.append(
            BoxRow(
                where=where,
                name=row[image],
                numbers=_numbers(text),
                confidence=value,
                text=text,
            )
        )
    if not rows:
        raise KitboxError(f"{path} has a header and no box", fix="get the whole file")
    return BoxList(tuple(rows), formats or _possible_formats(rows), f"columns {','.join(columns)}")


def _number_columns(lower: dict[str, str]) -> tuple[tuple[BoxFormat, ...], tuple[str, ...]]:
    """Return the formats that a header's columns allow, and the columns with the numbers.

    A single column with all numbers leaves the format open: no formats are returned.
    """
    kinds: tuple[tuple[tuple[tuple[str, ...], ...], tuple[BoxFormat, ...]], ...] = (
        (_CORNERS, ("xyxy",)),
        (_CENTRES, ("yolo",)),
        (_SIZES, ("xywh", "gdsc", "yolo")),
    )
    for sets, formats in kinds:
        for names in sets:
            if all(name in lower for name in names):
                return formats, tuple(lower[name] for name in names)
    one = next((lower[name] for name in _IN_ONE if name in lower), None)
    return (), () if one is None else (one,)


def _possible_formats(rows: list[BoxRow]) -> tuple[BoxFormat, ...]:
    """Return the formats that numbers without column names may have, by their count."""
    if any(len(row.numbers) > 4 for row in rows):  # four are a box, more are points
        return ("points",)
    return ("xyxy", "xywh", "yolo")


def _numbers(text: str) -> tuple[float, ...]:
    """Return the numbers of a text, none if it has anything but brackets and separators beside."""
    parts = re.sub(r"[\s,;()\[\]]+", " ", text).split()
    if not all(_NUMBER.fullmatch(part) for part in parts):
        return ()
    return tuple(float(part) for part in parts)


def _split(cells: list[str]) -> list[str]:
    """Return the cells of a line, separated by commas, or by blanks if it has no comma."""
    if len(cells) == 1:
        return cells[0].split()
    return cells if cells[-1].strip() else cells[:-1]
