"""Reads lists of boxes of other programs: CSVs, and folders of YOLO or Pascal VOC labels."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from kitbox import tables
from kitbox.boxes import box_json
from kitbox.boxes.box_formats import (
    BoxFormat,
    BoxList,
    BoxRow,
    image_size,
    is_blank,
    parse_numbers,
    shape_corners,
)
from kitbox.competition.presets import IMAGE_COLUMNS
from kitbox.errors import KitboxError, readable
from kitbox.files import parse_json, read_text

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
_CATEGORIES = (
    *("category", "category_name", "class", "class_name", "label", "category_id", "class_id"),
    "detection_category",
)
# Names of columns with the width and height of the image that a box was drawn on.
_IMAGE_SIZES = (
    *(("image_width", "image_height"), ("img_width", "img_height"), ("imagewidth", "imageheight")),
    *(("original_width", "original_height"), ("img_w", "img_h"), ("width", "height")),
)
# VGG's image annotator writes the shape of a box as JSON in this column.
_SHAPE_COLUMN = "region_shape_attributes"
_SHOWN = 60  # characters of a cell in a message
# YOLO writes the class of a box, four numbers and, for a detected box, the confidence.
_YOLO_NUMBERS = (5, 6)


def read(path: Path) -> BoxList:
    """Return the boxes of a CSV, of a JSON file, or of a folder of labels.

    Raises KitboxError for a missing or empty list and for an unknown format.
    """
    if path.is_dir():
        documents = sorted(path.rglob("*.xml"))
        return _read_voc(path, documents) if documents else _read_yolo_folder(path)
    if not path.is_file():
        raise KitboxError(f"there is no list of boxes {path}")
    if path.suffix.lower() == ".xml":
        return _read_voc(path.parent, [path])
    if box_json.is_json(path):
        return box_json.read(path)
    lines = [
        (line, _split(cells)) for line, cells in tables.read_cells(path) if "".join(cells).strip()
    ]
    if not lines:
        raise KitboxError(f"{path} is empty", fix="get the whole file")
    # a row without a box is no header
    filled = (cells[1:] for _, cells in lines if any(cell.strip() for cell in cells[1:]))
    first = next(filled, [])
    has_class = len(first) == 5 and all(map(parse_numbers, first[:4]))
    if first and (has_class or all(map(parse_numbers, first))):
        return _read_without_header(path, lines)
    return _read_with_header(path)


def _read_yolo_folder(folder: Path) -> BoxList:
    """Read a folder of YOLO labels: a file for each image, a line for each box."""
    files = [file for file in sorted(folder.rglob("*.txt")) if file.name != "classes.txt"]
    if not files:
        raise KitboxError(
            f"{folder} has no labels; a file NAME.txt has lines of 'class cx cy w h', NAME.xml is "
            "of Pascal VOC"
        )
    listed = folder / "classes.txt"
    classes = read_text(listed).splitlines() if listed.is_file() else []
    names = {str(number): name.strip() for number, name in enumerate(classes)}
    rows = []
    for file in files:
        name = readable(file.relative_to(folder).with_suffix("").as_posix())
        where = str(file.relative_to(folder.parent))
        lines = [
            (n, text) for n, text in enumerate(read_text(file).splitlines(), 1) if text.strip()
        ]
        if not lines:
            rows.append(BoxRow(where=where, name=name, absent="its file of labels is empty"))
        for line, text in lines:
            numbers = parse_numbers(text) if len(text.split()) in _YOLO_NUMBERS else ()
            number = text.split()[0]
            rows.append(
                BoxRow(
                    where=f"{where} line {line}",
                    name=name,
                    numbers=numbers[1:5],
                    confidence=numbers[5] if len(numbers) == max(_YOLO_NUMBERS) else None,
                    text=text.strip(),
                    category=names.get(number, number),
                )
            )
    return BoxList(tuple(rows), ("yolo",), "a folder of labels")


def _read_voc(folder: Path, documents: list[Path]) -> BoxList:
    """Read a folder of Pascal VOC labels, as labelImg writes them: an XML file for each image."""
    rows = []
    for file in documents:
        where = str(file.relative_to(folder.parent))
        try:
            root = ElementTree.fromstring(file.read_bytes())  # noqa: S314  expat limits expansion
        except ElementTree.ParseError as error:
            raise KitboxError(f"is no XML ({error})", where=where, fix="write it again") from error
        # the file's own name: the one inside may be of the photograph before it was renamed
        name = readable(file.relative_to(folder).with_suffix("").as_posix())
        size = image_size(root.findtext("size/width"), root.findtext("size/height"))
        objects = root.findall("object")
        if not objects:
            rows.append(BoxRow(where=where, name=name, absent="it has no object"))
        for number, each in enumerate(objects, 1):
            cells = [each.findtext(f"bndbox/{tag}", "") for tag in ("xmin", "ymin", "xmax", "ymax")]
            rows.append(
                _box_row(
                    where=f"{where} object {number}",
                    name=name,
                    text=",".join(cells),
                    category=each.findtext("name", "").strip(),
                    size=size,
                )
            )
    return BoxList(tuple(rows), ("xyxy",), "a folder of Pascal VOC labels")


def _read_without_header(path: Path, lines: list[tuple[int, list[str]]]) -> BoxList:
    """Read lines of a name and numbers: four for a box, with or without a class, or an outline."""
    filled = [cells[1:] for _, cells in lines if any(cell.strip() for cell in cells[1:])]
    has_class = all(len(cells) == 5 for cells in filled)  # an outline has an even number
    rows = [
        _box_row(
            where=f"{path.name} line {line}",
            name=name,
            text=",".join(cells[:4] if has_class else cells),
            category=cells[4].strip() if has_class and len(cells) > 4 else "",
        )
        for line, (name, *cells) in lines
    ]
    if has_class:  # Keras-RetinaNet's
        return BoxList(tuple(rows), ("xyxy",), "no header, a class behind")
    return BoxList(tuple(rows), _possible_formats(rows), "no header")


def _read_with_header(path: Path) -> BoxList:
    """Read a list with a header: four columns of numbers, or one column with all of them."""
    header = tables.read_header(path)
    lower = {name.strip().lower(): name for name in reversed(header)}
    # as in bbox_x, bbox_y, bbox_width, bbox_height
    lower = {name.removeprefix("bbox_"): column for name, column in lower.items()} | lower
    image = next((lower[name.lower()] for name in _IMAGES if name.lower() in lower), None)
    formats, columns = _number_columns(lower)
    if image is None or not columns:
        missing = "of images" if image is None else "of four numbers, as x0,y0,x1,y1 or x,y,w,h"
        raise KitboxError(
            f"no column {missing} among {tables.join(header)}",
            where=f"{path} line 1",
            fix="name them so",
        )
    others = {name: column for name, column in lower.items() if column not in (image, *columns)}
    cell_of = _cell_reader(others)
    rows = []
    for line, row in tables.read_rows(path, (image, *columns)):
        numbers = parse_numbers(cell_of(row, _CONFIDENCES))
        sizes = [[row[others[n]] for n in pair] for pair in _IMAGE_SIZES if set(pair) <= {*others}]
        rows.append(
            _box_row(
                where=f"{path.name} line {line}",
                name=row[image],
                text=",".join(row[column] for column in columns),
                confidence=numbers[0] if numbers else None,
                category=cell_of(row, _CATEGORIES).strip(),
                size=image_size(*sizes[0]) if sizes else None,
                shape=columns == (lower.get(_SHAPE_COLUMN),),
            )
        )
    if not rows:
        raise KitboxError(f"{path} has a header and no box", fix="get the whole file")
    # nobody calls a second corner width and height, as they do w and h
    spelled = "xywh" in formats and columns[2:] == (lower.get("width"), lower.get("height"))
    return BoxList(
        tuple(rows),
        formats or _possible_formats(rows),
        f"columns {','.join(columns)}",
        named="xywh" if spelled else None,
    )


def _cell_reader(columns: dict[str, str]) -> Callable[[dict[str, str], Iterable[str]], str]:
    """Return a function that gives a row's cell in the first column of those that exist."""

    def cell_of(row: dict[str, str], names: Iterable[str]) -> str:
        return next((row[columns[name]] for name in names if name in columns), "")

    return cell_of


def _box_row(*, shape: bool = False, text: str, **given: Any) -> BoxRow:
    """Return a row with the numbers of a text, or the reason why it has none."""
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    if is_blank(text):
        return BoxRow(text=shown, absent="its cells are empty", **given)
    numbers = _shape_numbers(text) if shape else parse_numbers(text)
    return BoxRow(text=shown, numbers=numbers, **given)


def _shape_numbers(text: str) -> tuple[float, ...]:
    try:
        return shape_corners(parse_json(text))
    except ValueError:
        return ()


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
    if _SHAPE_COLUMN in lower:
        return ("xyxy",), (lower[_SHAPE_COLUMN],)
    one = next((lower[name] for name in _IN_ONE if name in lower), None)
    return (), () if one is None else (one,)


def _possible_formats(rows: list[BoxRow]) -> tuple[BoxFormat, ...]:
    """Return the formats that numbers without column names may have, by their count."""
    if any(len(row.numbers) > 4 for row in rows):  # four are a box, more are points
        return ("points",)
    return ("xyxy", "xywh", "yolo")


def _split(cells: list[str]) -> list[str]:
    """Return the cells of a line, separated by commas, or by blanks if it has no comma."""
    if len(cells) == 1:
        return cells[0].split()
    return cells if cells[-1].strip() else cells[:-1]
