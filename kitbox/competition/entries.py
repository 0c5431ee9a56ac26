"""An image as a list names it, and all that a list names as a set of images."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kitbox.competition.boxes import Corners
from kitbox.competition.settings import Images
from kitbox.errors import KitboxError
from kitbox.records import Floats, ImageSet, strings


@dataclass(slots=True)
class Entry:
    """An image as a list names it; `line` is 0 where a folder does.

    `told` are the values of its row that are neither its name nor its label.
    """

    line: int
    image_id: str
    path: Path
    label: str = ""
    told: dict[str, str] = field(default_factory=dict)


def told(images: Images) -> list[str]:
    """Return the columns that tell of an image what is neither its name nor its label."""
    columns = (images.group_column, images.encounter_column, images.time_column)
    return [column for column in columns if column is not None]


def told_by(row: dict[str, str], images: Images) -> dict[str, str]:
    """Return what a row tells of an image that is neither its name nor its label."""
    return {column: row[column] for column in told(images) if column in row}


def image_set(
    found: list[Entry], images: Images, corners: dict[str, Corners], *, labels: bool = False
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


def _corners(found: list[Entry], corners: dict[str, Corners]) -> Floats | None:
    if not any(image.image_id in corners for image in found):
        return None
    nowhere = (np.nan,) * 4
    return np.array([corners.get(image.image_id, nowhere) for image in found], dtype=np.float32)


def _values(found: list[Entry], column: str | None) -> list[str] | None:
    """Return the values of a column, or None where this list has no such column."""
    if column is None or not any(column in image.told for image in found):
        return None
    return [image.told.get(column, "") for image in found]


def _times(texts: list[str], images: Images) -> NDArray[np.float64]:
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
