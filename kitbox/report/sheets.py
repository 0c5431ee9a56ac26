"""Contact sheets: all images of a competition by individual, as the page's script reads them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kitbox.competition.settings import Competition
from kitbox.images.collection import Collection
from kitbox.records import ImageSet, rows_of
from kitbox.report.pictures import Pictures


def pack(
    parts: Mapping[str, ImageSet],
    made: Pictures,
    collection: Collection,
    competition: Competition,
) -> dict[str, Any]:
    """Return the images of all sides: ids, labels, sides, sizes, boxes, copies.

    A box is x, y, width, height in thousandths of the upright image. `asked` marks the queries of
    the holdout, `twin` numbers the images that are copies or near-duplicates, -1 for none.
    """
    unknown = competition.images.unknown_label or ""
    labels = [
        np.full(len(images), "", dtype=np.str_) if side != "labelled" else _labels(images)
        for side, images in parts.items()
    ]
    names = np.unique(np.concatenate(labels))
    names = names[names != ""]
    query = collection.holdout.query.image_ids
    asked = [
        np.isin(images.image_ids, query) & (side == "labelled") for side, images in parts.items()
    ]
    units = np.full(len(made), -1, dtype=np.int64)
    units[: len(collection.units)] = collection.units
    counts = np.bincount(collection.units)
    units[units >= 0] = np.where(counts[units[units >= 0]] > 1, units[units >= 0], -1)
    return {
        "sides": list(parts),
        "labels": names.tolist(),
        "unknown": unknown,
        "id": [str(image) for images in parts.values() for image in images.image_ids.tolist()],
        "side": [n for n, images in enumerate(parts.values()) for _ in range(len(images))],
        "label": rows_of(np.concatenate(labels), names).tolist(),
        "asked": np.concatenate(asked).astype(int).tolist(),
        "twin": units.tolist(),
        "size": np.concatenate([part.sizes for part in made.parts]).tolist(),
        "box": [
            box
            for images, part in zip(parts.values(), made.parts, strict=True)
            for box in _boxes(images, part.sizes)
        ],
    }


def _labels(images: ImageSet) -> NDArray[np.str_]:
    assert images.labels is not None  # noqa: S101  labelled images
    return images.labels


def _boxes(images: ImageSet, sizes: NDArray[np.int64]) -> list[list[int] | None]:
    """Return each image's box in thousandths of its size, None where it has none."""
    if images.boxes is None:
        return [None] * len(images)
    found: list[list[int] | None] = []
    for (x0, y0, x1, y1), (width, height) in zip(
        images.boxes.tolist(), sizes.tolist(), strict=True
    ):
        if np.isnan(x0) or not width:
            found.append(None)
            continue
        corners = (x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height)
        found.append([round(1000 * corner) for corner in corners])
    return found
