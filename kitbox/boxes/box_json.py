"""Reads boxes in JSON: MegaDetector's, COCO's (camera traps too) and VGG annotator's."""

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from kitbox.boxes.box_formats import BoxList, BoxRow, image_size, shape_corners
from kitbox.errors import KitboxError
from kitbox.files import read_text

# MegaDetector's categories where its file does not name them, and the confidence from which its
# boxes are usually taken: it writes everything from .005.
_MEGADETECTOR_CATEGORIES = {"1": "animal", "2": "person", "3": "vehicle"}
_MEGADETECTOR_THRESHOLD = 0.2
_KNOWN = (
    "kitbox reads MegaDetector's (images with detections), COCO's (images and annotations) and "
    "VGG's image annotator's; export one of them, or a CSV"
)
_HEAD_BYTES = 64
_SHOWN = 60  # characters of a box in a message


def is_json(path: Path) -> bool:
    """Return whether a file is JSON, by its suffix or its first character."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES).removeprefix(b"\xef\xbb\xbf").lstrip()
    return path.suffix.lower() == ".json" or head.startswith((b"{", b"["))


def read(path: Path) -> BoxList:
    """Return the boxes of a JSON file; raises KitboxError for one of an unknown kind."""
    document = _parse(path)
    if isinstance(document, dict):
        images = document.get("images")
        if isinstance(images, list) and isinstance(document.get("annotations"), list):
            return _read_coco(path, document)
        if isinstance(images, list) and any("detections" in each for each in _objects(images)):
            return _read_megadetector(path, document)
        project = document.get("_via_img_metadata", document)
        if isinstance(project, dict) and any("regions" in each for each in _objects(project)):
            return _read_via(path, project)
    elif isinstance(document, list):
        first = next(iter(_objects(document)), {})
        if {"image_id", "bbox"} <= set(first):
            return _read_coco(path, {"annotations": document})
    raise KitboxError("this JSON has no boxes of a known kind", where=str(path), fix=_KNOWN)


def _parse(path: Path) -> Any:
    """Return the document of a file; no error repeats its content, which may be one long line."""
    text = read_text(path)
    if not text.strip():
        raise KitboxError(f"{path} is empty", fix="get the whole file")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{path} line {error.lineno} column {error.colno}"
        raise KitboxError(f"no JSON: {error.msg}", where=where, fix="get the whole file") from error
    except (RecursionError, ValueError) as error:
        raise KitboxError("this JSON cannot be read", where=str(path), fix=_KNOWN) from error


def _read_megadetector(path: Path, document: dict[str, Any]) -> BoxList:
    """Read a file of MegaDetector's, format 1: shares of photographs that it turned upright."""
    names = document.get("detection_categories")
    categories = names if isinstance(names, dict) else _MEGADETECTOR_CATEGORIES
    rows = []
    for number, image in enumerate(_objects(document["images"]), 1):
        where = f"{path.name} image {number}"
        name = str(image.get("file", ""))
        size = image_size(image.get("width"), image.get("height"))
        detections = image.get("detections")
        if image.get("failure") or not isinstance(detections, list):
            absent = f"MegaDetector failed: {image.get('failure') or 'it has no detections'}"
            rows.append(BoxRow(where=where, name=name, absent=absent))
        elif not detections:
            rows.append(BoxRow(where=where, name=name, absent="MegaDetector found nothing"))
        for each in _objects(detections):
            category = str(each.get("category", ""))
            rows.append(
                BoxRow(
                    where=where,
                    name=name,
                    numbers=_box(each.get("bbox")),
                    confidence=_number(each.get("conf")),
                    text=_text(each.get("bbox")),
                    category=str(categories.get(category, category)),
                    size=size,
                )
            )
    information = document.get("info")
    metadata = information.get("detector_metadata") if isinstance(information, dict) else None
    usual = metadata.get("typical_detection_threshold") if isinstance(metadata, dict) else None
    threshold = _number(usual)
    return BoxList(
        tuple(rows),
        ("xywh",),
        "MegaDetector's JSON",
        threshold=_MEGADETECTOR_THRESHOLD if threshold is None else threshold,
        frame="upright",
    )


def _read_coco(path: Path, document: dict[str, Any]) -> BoxList:
    """Read COCO's annotations, those of camera traps, or COCO's results, which have no images."""
    images = {str(each.get("id")): each for each in _objects(document.get("images"))}
    categories = {
        str(each.get("id")): str(each.get("name")) for each in _objects(document.get("categories"))
    }
    rows, annotated = [], set()
    for number, each in enumerate(_objects(document["annotations"]), 1):
        image_id, category = str(each.get("image_id")), str(each.get("category_id", ""))
        image, bbox = images.get(image_id, {}), each.get("bbox")
        annotated.add(image_id)
        rows.append(
            BoxRow(
                where=f"{path.name} annotation {each.get('id', number)}",
                name=str(image.get("file_name", image_id)),
                numbers=_box(bbox),
                confidence=_number(each.get("score")),
                text=_text(bbox),
                category=categories.get(category, category),
                size=image_size(image.get("width"), image.get("height")),
                absent="" if bbox else "its annotation has no bbox",
            )
        )
    rows += [
        BoxRow(
            where=f"{path.name} image {image_id}",
            name=str(image.get("file_name", image_id)),
            absent="it has no annotation",
        )
        for image_id, image in images.items()
        if image_id not in annotated
    ]
    return BoxList(tuple(rows), ("xywh",), "COCO's JSON")


def _read_via(path: Path, project: dict[str, Any]) -> BoxList:
    """Read a project, or an export, of VGG's image annotator."""
    rows = []
    for number, image in enumerate(_objects(project), 1):
        name, where = str(image.get("filename", "")), f"{path.name} image {number}"
        regions = list(_objects(image.get("regions")))
        if not regions:
            rows.append(BoxRow(where=where, name=name, absent="it has no region"))
        for region in regions:
            shape = region.get("shape_attributes")
            numbers = shape_corners(shape)
            rows.append(BoxRow(where=where, name=name, numbers=numbers, text=_text(shape)))
    return BoxList(tuple(rows), ("xyxy",), "VGG image annotator's JSON")


def _objects(values: Any) -> Iterator[dict[str, Any]]:
    """Yield the objects among the members of an array or an object."""
    members = values.values() if isinstance(values, dict) else values
    if isinstance(members, Iterable):
        yield from (each for each in members if isinstance(each, dict))


def _number(value: Any) -> float | None:
    """Return a finite number, None for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _box(values: Any) -> tuple[float, ...]:
    """Return the numbers of an array, () if it has anything else."""
    numbers = [_number(value) for value in values] if isinstance(values, list) else [None]
    found = tuple(number for number in numbers if number is not None)
    return found if len(found) == len(numbers) else ()


def _text(value: Any) -> str:
    """Return the beginning of a value as it is shown in a message."""
    text = ",".join(map(str, value)) if isinstance(value, list) else json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
