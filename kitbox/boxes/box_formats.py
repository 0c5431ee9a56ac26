"""Reads boxes in the forms that other programs write: corners, sizes, YOLO, outlines."""

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
# The names that lists give four columns of numbers, and the forms that these may have.
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
# YOLO writes of a box its class, four numbers and, where it was detected, the confidence.
_YOLO_NUMBERS = (5, 6)


@dataclass(frozen=True)
class BoxRow:
    """A box as a list writes it: where, of which image, and numbers that a form gives a meaning.

    `numbers` are empty where they cannot be read; `text` is then what stands there.
    """

    where: str
    name: str
    numbers: tuple[float, ...]
    confidence: float | None = None
    text: str = ""


@dataclass(frozen=True)
class BoxList:
    """The rows of a list of boxes, the forms that they may have, and what tells so."""

    rows: tuple[BoxRow, ...]
    forms: tuple[BoxFormat, ...]
    by: str

    @property
    def relative(self) -> bool:
        """Whether numbers are shares of the image's width and height: most are below 1."""
        largest = sorted(max(map(abs, row.numbers)) for row in self.rows if row.numbers)
        # a share is at most 1, a little more where a box was drawn over the edge
        return bool(largest) and largest[len(largest) // 2] <= 1.5


def read(path: Path) -> BoxList:
    """Return the boxes of a list, or of a folder of YOLO labels.

    Raises KitboxError where there is none, and where its form is unknown.
    """
    if path.is_dir():
        return _labels(path)
    if not path.is_file():
        raise KitboxError(f"there is no list of boxes {path}")
    lines = [
        (line, _split(cells)) for line, cells in tables.read_cells(path) if "".join(cells).strip()
    ]
    if not lines:
        raise KitboxError(f"{path} is empty; get the whole file")
    _, (_, *first) = lines[0]
    if first and all(map(_numbers, first)):
        return _headerless(path, lines)
    return _table(path)


def is_complete(numbers: tuple[float, ...], form: BoxFormat) -> bool:
    """Return whether numbers are as many as a form has: four, or two and more points."""
    if form == "points":
        return len(numbers) >= 4 and len(numbers) % 2 == 0
    return len(numbers) == 4


def to_corners(numbers: tuple[float, ...], form: BoxFormat, scale: tuple[float, float]) -> Corners:
    """Return numbers of a form as x0, y0, x1, y1 in pixels; `scale` is what a number 1 stands for.

    The corners come as they are written: the first may be right of the second.
    """
    wide, high = scale
    if form == "points":
        xs, ys = numbers[::2], numbers[1::2]
        return min(xs) * wide, min(ys) * high, max(xs) * wide, max(ys) * high
    a, b, c, d = numbers
    match form:
        case "xywh":
            a, b, c, d = a, b, a + c, b + d
        case "yolo":
            a, b, c, d = a - c / 2, b - d / 2, a + c / 2, b + d / 2
    return a * wide, b * high, c * wide, d * high


def _labels(folder: Path) -> BoxList:
    """Read a folder of YOLO labels: a file an image, a line a box."""
    files = [file for file in sorted(folder.rglob("*.txt")) if file.name != "classes.txt"]
    rows = []
    for file in files:
        name = file.relative_to(folder).with_suffix("").as_posix()
        for line, text in enumerate(read_text(file).splitlines(), 1):
            if text.strip():
                numbers = _numbers(text) if len(text.split()) in _YOLO_NUMBERS else ()
                confidence = numbers[5] if len(numbers) == max(_YOLO_NUMBERS) else None
                where = f"{file.relative_to(folder.parent)} line {line}"
                rows.append(BoxRow(where, name, numbers[1:5], confidence, text.strip()))
    if not rows:
        raise KitboxError(f"{folder} has no labels; a file NAME.txt has 'class cx cy w h' a line")
    return BoxList(tuple(rows), ("yolo",), "a folder of labels")


def _headerless(path: Path, lines: list[tuple[int, list[str]]]) -> BoxList:
    """Read lines of a name and numbers: four of a box, more of an outline."""
    rows = [
        BoxRow(f"{path.name} line {line}", name, _numbers(text), None, text)
        for line, (name, *cells) in lines
        for text in [",".join(cells)]
    ]
    return BoxList(tuple(rows), _forms_of(rows), "no header")


def _table(path: Path) -> BoxList:
    """Read a list with a header: four columns of numbers, or one that has them all."""
    header = tables.read_header(path)
    lower = {name.strip().lower(): name for name in reversed(header)}
    image = next((lower[name.lower()] for name in _IMAGES if name.lower() in lower), None)
    forms, named = _named(lower)
    if image is None or not named:
        lacking = "of images" if image is None else "of four numbers, as x0,y0,x1,y1 or x,y,w,h"
        raise KitboxError(
            f"no column {lacking} among {', '.join(header)}",
            where=f"{path} line 1",
            fix="name them so",
        )
    confidence = next((lower[name] for name in _CONFIDENCES if name in lower), None)
    rows = []
    for line, row in tables.read_rows(path, (image, *named)):
        text = ",".join(row[name] for name in named)
        sure = _numbers(row[confidence]) if confidence is not None else ()
        where = f"{path.name} line {line}"
        rows.append(BoxRow(where, row[image], _numbers(text), sure[0] if sure else None, text))
    if not rows:
        raise KitboxError(f"{path} has a header and no box; get the whole file")
    return BoxList(tuple(rows), forms or _forms_of(rows), f"columns {','.join(named)}")


def _named(lower: dict[str, str]) -> tuple[tuple[BoxFormat, ...], tuple[str, ...]]:
    """Return the columns of a header that have the numbers, and the forms that their names allow.

    A column that has them all does not tell a form.
    """
    kinds: tuple[tuple[tuple[tuple[str, ...], ...], tuple[BoxFormat, ...]], ...] = (
        (_CORNERS, ("xyxy",)),
        (_CENTRES, ("yolo",)),
        (_SIZES, ("xywh", "gdsc", "yolo")),
    )
    for sets, forms in kinds:
        for names in sets:
            if all(name in lower for name in names):
                return forms, tuple(lower[name] for name in names)
    one = next((lower[name] for name in _IN_ONE if name in lower), None)
    return (), () if one is None else (one,)


def _forms_of(rows: list[BoxRow]) -> tuple[BoxFormat, ...]:
    """Return the forms that numbers without names may have, by how many they are."""
    if any(len(row.numbers) > 4 for row in rows):  # four are a box, more are points
        return ("points",)
    return ("xyxy", "xywh", "yolo")


def _numbers(text: str) -> tuple[float, ...]:
    """Return the numbers of a text that has nothing else, but brackets and what parts them."""
    parts = re.sub(r"[\s,;()\[\]]+", " ", text).split()
    if not all(_NUMBER.fullmatch(part) for part in parts):
        return ()
    return tuple(float(part) for part in parts)


def _split(cells: list[str]) -> list[str]:
    """Return the cells of a line that commas part, or blanks where it has no comma."""
    if len(cells) == 1:
        return cells[0].split()
    return cells if cells[-1].strip() else cells[:-1]
