"""Reads the lists of a competition: labelled images, test images, boxes."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kitbox.competition.settings import Competition, Images
from kitbox.errors import KitboxError, more
from kitbox.files import read_text
from kitbox.records import Floats, ImageSet, strings

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True)
class Fault:
    """A faulty row or file: where it stands, what is wrong and what a person can do."""

    where: str
    what: str
    image_id: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class Listed:
    """What the lists name: labelled images, test images (or None), and what was left out."""

    labelled: ImageSet
    test: ImageSet | None
    faults: tuple[Fault, ...]


def read(competition: Competition) -> Listed:
    """Return the labelled and the test images of a competition, in the order of the lists.

    Raises KitboxError for the first faulty row where `images.broken` is "stop"; otherwise faulty
    rows are left out and returned as faults.
    """
    images = competition.images
    faults: list[Fault] = []
    labelled = _labelled(images, faults)
    if not labelled:
        raise KitboxError(_nothing(images, faults))
    test = _test(images) if images.test_folder else None
    if faults and images.broken == "stop":
        raise KitboxError(stop_message(faults))
    boxes = _boxes(images)
    labelled_set = _image_set(labelled, boxes, [label for _, _, label in labelled])
    test_set = _image_set(test, boxes, None) if test is not None else None
    if test_set is not None:
        both = np.intersect1d(labelled_set.image_ids, test_set.image_ids)
        if len(both):
            raise KitboxError(
                f"image '{both[0]}' is in the training images and in the test images"
                f"{more(len(both) - 1)}; rename it in one of them"
            )
    return Listed(labelled_set, test_set, tuple(faults))


def stop_message(faults: list[Fault]) -> str:
    """Return the sentence that stops a run at faulty rows or files."""
    kept = 'set broken = "drop" in kitbox.toml to go on without'
    return f"{faults[0]}{more(len(faults) - 1)}; mend it, or {kept}"


def rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, values of `columns`) of a CSV; a byte-order mark and CRLF do no harm.

    Raises KitboxError for a missing file, a missing column, and bytes that are not UTF-8.
    """
    try:
        text = read_text(path)
    except FileNotFoundError as error:
        raise KitboxError(f"there is no list {path}; correct its name in kitbox.toml") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        missing = [name for name in columns if name not in header]
        if missing:
            raise KitboxError(
                f"{path} line 1: no column '{missing[0]}' among {', '.join(header) or 'nothing'}; "
                "correct the header, or the column's name in kitbox.toml"
            )
        places = [header.index(name) for name in columns]
        for row in reader:
            if row:
                yield reader.line_num, [row[i] if i < len(row) else "" for i in places]
    except csv.Error as error:
        raise KitboxError(f"{path} line {reader.line_num}: {error}") from error


def _labelled(images: Images, faults: list[Fault]) -> list[tuple[str, Path, str]]:
    folder = images.root / images.train_folder
    if images.train_list is None:
        return _by_folder(folder)
    path = images.root / images.train_list
    found: dict[str, tuple[int, Path, str]] = {}
    conflicting: set[str] = set()
    for line, (image_id, label) in rows(path, (images.image_column, images.label_column)):
        where = f"{images.train_list} line {line}"
        if label != label.strip():
            what = f"label '{label}' has a blank at its end; read as '{label.strip()}'"
            faults.append(Fault(where, what))
            label = label.strip()
        file, fault = _file(folder, images.train_folder, image_id)
        if file is None or not label:
            what = fault or f"image '{image_id}' has an empty label; fill it in or remove the row"
            faults.append(Fault(where, what, image_id))
        elif image_id in found:
            first, _, known = found[image_id]
            conflict = "" if known == label else f" as '{known}', here as '{label}'"
            what = f"image '{image_id}' is on line {first} already{conflict}; remove one row"
            faults.append(Fault(where, what, image_id if conflict else ""))
            if conflict:
                conflicting.add(image_id)
        else:
            found[image_id] = (line, file, label)
    return [
        (image_id, file, label)
        for image_id, (_, file, label) in found.items()
        if image_id not in conflicting
    ]


def _by_folder(folder: Path) -> list[tuple[str, Path, str]]:
    if not folder.is_dir():
        raise KitboxError(f"there is no folder {folder}; correct images.train_folder")
    reserved = {"test"} if (folder / "test").is_dir() else set()
    return [
        (file.relative_to(folder).as_posix(), file, label.name)
        for label in sorted(folder.iterdir())
        if label.is_dir() and not label.name.startswith(".") and label.name not in reserved
        for file in _image_files(label)
    ]


def _test(images: Images) -> list[tuple[str, Path, str]]:
    assert images.test_folder is not None  # noqa: S101  narrowed by the caller
    folder = images.root / images.test_folder
    if images.test_list is None:
        if not folder.is_dir():
            raise KitboxError(f"there is no folder {folder}; correct images.test_folder")
        return [(file.name, file, "") for file in _image_files(folder)]
    path = images.root / images.test_list
    found: dict[str, tuple[str, Path, str]] = {}
    for line, (image_id,) in rows(path, (images.image_column,)):
        file, fault = _file(folder, images.test_folder, image_id)
        if fault is None and image_id in found:
            fault = f"image '{image_id}' is listed twice; remove one row"
        if fault is not None or file is None:
            # A query that cannot be answered is never left out: the leaderboard would miss it.
            raise KitboxError(f"{images.test_list} line {line}: {fault}")
        found[image_id] = (image_id, file, "")
    return list(found.values())


def _file(folder: Path, shown: str, image_id: str) -> tuple[Path | None, str | None]:
    """Return the image's file, or what is wrong with its name."""
    path = Path(image_id)
    if not image_id or path.is_absolute() or ".." in path.parts:
        return None, f"image '{image_id}' leaves the folder {shown}; correct the name"
    if not (folder / path).is_file():
        return None, f"image '{image_id}' is not in {shown}; correct the row or remove it"
    return folder / path, None


def _image_files(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in IMAGE_SUFFIXES
        and not file.name.startswith(".")
        and file.is_file()
    )


def _boxes(images: Images) -> dict[str, tuple[float, float, float, float]]:
    """Return image id → (x0, y0, x1, y1) in pixels."""
    if images.boxes is None:
        return {}
    boxes = {}
    path = images.root / images.boxes
    for line, (image_id, *corners) in rows(path, ("image", "x0", "y0", "x1", "y1")):
        try:
            x0, y0, x1, y1 = (float(corner) for corner in corners)
        except ValueError as error:
            raise KitboxError(
                f"{images.boxes} line {line}: box {','.join(corners)} is not four numbers"
            ) from error
        if not (-np.inf < x0 < x1 < np.inf and -np.inf < y0 < y1 < np.inf):
            raise KitboxError(
                f"{images.boxes} line {line}: box {','.join(corners)} is empty; "
                "the columns are x0,y0,x1,y1 with x0 < x1 and y0 < y1"
            )
        boxes[image_id] = (x0, y0, x1, y1)
    return boxes


def _image_set(
    found: list[tuple[str, Path, str]],
    boxes: dict[str, tuple[float, float, float, float]],
    labels: list[str] | None,
) -> ImageSet:
    nowhere = (np.nan,) * 4
    corners: Floats | None = None
    if boxes:
        corners = np.array(
            [boxes.get(image_id, nowhere) for image_id, _, _ in found], dtype=np.float32
        ).reshape(-1, 4)
    return ImageSet(
        strings([image_id for image_id, _, _ in found]),
        tuple(path for _, path, _ in found),
        None if labels is None else strings(labels),
        corners,
    )


def _nothing(images: Images, faults: list[Fault]) -> str:
    where = images.root / (images.train_list or images.train_folder)
    return f"{where} names no usable image" + (f": {faults[0]}" if faults else "")
