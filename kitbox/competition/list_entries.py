"""Turns the rows of a list, or the files of a folder, into entries, and notes faulty rows."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kitbox import tables
from kitbox.competition import image_files
from kitbox.competition.boxes import Corners
from kitbox.competition.findings import FindingCollector, ListFinding
from kitbox.competition.settings import ImageSettings
from kitbox.errors import KitboxError
from kitbox.records import Floats, ImageSet, strings


@dataclass(slots=True)
class ListEntry:
    """An image as a list names it; `line` is 0 where a folder does.

    `extra` are the values of its row that are neither its name nor its label.
    """

    line: int
    image_id: str
    path: Path
    label: str = ""
    extra: dict[str, str] = field(default_factory=dict)


def extra_columns(images: ImageSettings) -> list[str]:
    """Return the columns that tell of an image what is neither its name nor its label."""
    columns = (images.group_column, images.encounter_column, images.time_column)
    return [column for column in columns if column is not None]


def extra_values(row: dict[str, str], images: ImageSettings) -> dict[str, str]:
    """Return what a row tells of an image that is neither its name nor its label."""
    return {column: row[column] for column in extra_columns(images) if column in row}


def to_image_set(
    found: list[ListEntry],
    images: ImageSettings,
    corners: dict[str, Corners],
    *,
    labels: bool = False,
) -> ImageSet:
    """Return the images of entries, with boxes, groups, encounters and times where lists tell them.

    Raises KitboxError for a column of times that holds none.
    """
    groups = _values(found, images.group_column)
    encounters = _values(found, images.encounter_column)
    times = _values(found, images.time_column)
    return ImageSet(
        strings([image.image_id for image in found]),
        tuple(image.path for image in found),
        strings([image.label for image in found]) if labels else None,
        _corners(found, corners),
        groups=None if groups is None else strings([images.group_names.get(g, g) for g in groups]),
        encounters=None if encounters is None else strings(encounters),
        times=None if times is None else _times(times, images),
    )


def _corners(found: list[ListEntry], corners: dict[str, Corners]) -> Floats | None:
    if not any(image.image_id in corners for image in found):
        return None
    nowhere = (np.nan,) * 4
    return np.array([corners.get(image.image_id, nowhere) for image in found], dtype=np.float32)


def _values(found: list[ListEntry], column: str | None) -> list[str] | None:
    """Return the values of a column, or None where this list has no such column."""
    if column is None or not any(column in image.extra for image in found):
        return None
    return [image.extra.get(column, "") for image in found]


def _times(texts: list[str], images: ImageSettings) -> NDArray[np.float64]:
    """Return dates or times as seconds since 1970, NaN where there is none.

    Raises KitboxError where there are values and none of them is a time.
    """
    times = np.array([_seconds(text) for text in texts], dtype=np.float64)
    given = [text for text in texts if text.strip()]
    if given and np.isnan(times).all():
        raise KitboxError(
            f"images.time_column = '{images.time_column}': '{given[0]}' is neither a date as "
            "2022-05-31 nor a time as 2022-05-31 14:05; correct the column"
        )
    return times


def _seconds(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return np.nan
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def read_labelled(images: ImageSettings, collector: FindingCollector) -> list[ListEntry]:
    """Return the labelled images; raises KitboxError where there is none."""
    found = _by_folder(images) if images.train_list is None else _by_list(images, collector)
    if not found:
        raise KitboxError(_nothing(images, collector.findings))
    return found


def read_test(images: ImageSettings, collector: FindingCollector) -> list[ListEntry] | None:
    """Return the test images, or None where there are none to come."""
    listed = test_list(images)
    shown = images.test_folder or (images.train_folder if listed else None)
    if shown is None:
        return None
    if listed is None:
        return _unlisted(images, shown, "test_folder")
    folder = image_files.ImageFolder(images.root / shown, shown, "test_folder")
    template = images.test_file
    found: dict[str, ListEntry] = {}
    columns = tuple(image_files.template_columns(template, "test_file"))
    for line, row in _rows(images, listed, images.test_split, columns, collector):
        image_id = row[images.image_column]
        note = partial(collector.add, side="test", where=f"{listed} line {line}")
        placed = folder.file_of(template, image_id, row)
        if not image_id.strip():
            note("no-name", what=_unnamed(images))
        elif image_id in found:
            what = f"image '{image_id}' is listed twice; remove one row"
            note("asked-twice", what=what, image_id=image_id)
        elif placed.kind:
            note(placed.kind, what=placed.what, image_id=image_id)
        if placed.file is not None and image_id not in found:
            collector.add_file(placed.file)
            found[image_id] = ListEntry(
                line, image_id, placed.file, extra=extra_values(row, images)
            )
    if not found and images.split_column is not None and listed == images.train_list:
        raise KitboxError(f"{images.root / listed} {_no_row(images, 'test_split')}")
    return list(found.values())


def read_index(images: ImageSettings) -> list[ListEntry] | None:
    """Return the images of a gallery that is neither train nor test, or None."""
    shown = images.index_folder
    return None if shown is None else _unlisted(images, shown, "index_folder")


def test_list(images: ImageSettings) -> str | None:
    """Return the name of the list of test images, or None where a folder holds them."""
    return images.test_list or (images.train_list if images.split_column else None)


def _by_list(images: ImageSettings, collector: FindingCollector) -> list[ListEntry]:
    assert images.train_list is not None  # noqa: S101  narrowed by the caller
    folder = image_files.ImageFolder(
        images.root / images.train_folder, images.train_folder, "train_folder"
    )
    template = images.train_file
    columns = (
        images.label_column,
        *image_files.template_columns(template, "train_file"),
        *extra_columns(images),
    )
    found: dict[str, ListEntry] = {}
    conflicting: set[str] = set()
    left_out, settled = collector.decisions.left_out, collector.decisions.settled
    named = collector.decisions.labels
    for line, row in _rows(images, images.train_list, images.train_split, columns, collector):
        image_id, label = row[images.image_column], row[images.label_column]
        note = partial(collector.add, side="labelled", where=f"{images.train_list} line {line}")
        placed = folder.file_of(template, image_id, row)
        if not image_id.strip():
            note("no-name", what=_unnamed(images))
            continue
        if placed.file is None and image_id.strip() in left_out:
            collector.settled.add(image_id.strip())
            continue
        if placed.file is None:
            note(placed.kind, what=placed.what, image_id=image_id)
            continue
        collector.add_file(placed.file)
        if placed.kind:
            image_id = image_id.strip()
            note(placed.kind, what=placed.what, image_id=image_id)
        if label != label.strip() != "":
            what = f"label '{label}' has a blank at its end; read as '{label.strip()}'"
            note("blank-in-label", what=what, image_id=image_id)
        label = label.strip()
        if not label and image_id not in settled:
            what = f"image '{image_id}' has an empty label; fill it in or remove the row"
            note("no-label", what=what, image_id=image_id)
        elif image_id in found and image_id in settled:
            # the decided one of its labels is no new individual's
            if label == named.get(image_id):
                found[image_id].label = label
        elif image_id in found:
            first = found[image_id]
            conflict = "" if first.label == label else f" as '{first.label}', here as '{label}'"
            what = f"image '{image_id}' is on line {first.line} already{conflict}; remove one row"
            note("two-labels" if conflict else "repeated", what=what, image_id=image_id)
            if conflict:
                conflicting.add(image_id)
        else:
            found[image_id] = ListEntry(
                line, image_id, placed.file, label, extra_values(row, images)
            )
    return [image for image in found.values() if image.image_id not in conflicting]


def _unnamed(images: ImageSettings) -> str:
    return f"the column '{images.image_column}' is empty; fill it in or remove the row"


def _by_folder(images: ImageSettings) -> list[ListEntry]:
    folder = images.root / images.train_folder
    image_files.require_folder(folder, "train_folder")
    # the folder of all folders may hold those of other images; they are no individuals
    others = {images.root / name for name in (images.test_folder, images.index_folder) if name}
    if images.unlabelled:
        return [
            ListEntry(0, file.relative_to(folder).as_posix(), file, images.unknown_label or "")
            for file in image_files.list_images(folder)
            if not others & set(file.parents)
        ]
    return [
        ListEntry(0, file.relative_to(folder).as_posix(), file, label.name)
        for label in sorted(folder.iterdir())
        if label.is_dir() and not label.name.startswith(".") and label not in others
        for file in image_files.list_images(label)
    ]


def _rows(
    images: ImageSettings,
    listed: str,
    split: str,
    columns: tuple[str, ...],
    collector: FindingCollector,
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a list; of the list of all images, those of one split."""
    parted = images.split_column if listed == images.train_list else None
    wanted = (images.image_column, *columns, *([parted] if parted else []))
    for line, row in tables.read_rows(images.root / listed, wanted, collector.on_bad_row(listed)):
        if parted is None or row[parted] == split:
            yield line, row


def _unlisted(images: ImageSettings, shown: str, setting: str) -> list[ListEntry]:
    image_files.require_folder(images.root / shown, setting)
    found = []
    seen: dict[str, Path] = {}
    for file in image_files.list_images(images.root / shown):
        name = file.stem if images.bare_ids else file.name
        if name in seen:
            raise KitboxError(f"{file} and {seen[name]} have the same name; rename one of them")
        seen[name] = file
        found.append(ListEntry(0, name, file))
    return found


def _nothing(images: ImageSettings, findings: list[ListFinding]) -> str:
    where = images.root / (images.train_list or images.train_folder)
    if images.split_column is not None and images.train_list is not None and not findings:
        return f"{where} {_no_row(images, 'train_split')}"
    return f"{where} names no usable image" + (f": {findings[0]}" if findings else "")


def _no_row(images: ImageSettings, setting: str) -> str:
    return (
        f"has no row where {images.split_column} is '{getattr(images, setting)}'; "
        f"correct images.{setting}"
    )
