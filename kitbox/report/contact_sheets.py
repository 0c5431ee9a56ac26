"""Contact sheets: all images of a competition by individual, as the page's script reads them."""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kitbox.competition.settings import Competition
from kitbox.dataset.collection import Collection
from kitbox.images.loader import BatchItem, ImageDataset, augmentation_seed
from kitbox.images.preprocessing import Pixels
from kitbox.plugin.discovery import NamedPlugin
from kitbox.records import ImageSet, rows_of
from kitbox.report.page import PagePictures


def sheets_data(
    parts: Mapping[str, ImageSet],
    made: PagePictures,
    collection: Collection,
    competition: Competition,
) -> dict[str, Any]:
    """Return the images of all sides: ids, labels, sides, sizes, boxes, copies.

    A box is x, y, width, height in thousandths of the upright image. `asked` marks the queries of
    the holdout, `twin` numbers the images that are copies or near-duplicates, -1 for none.
    """
    unknown = competition.images.unknown_label or ""
    labels = [
        np.full(len(images), "", dtype=np.str_) if side != "labelled" else images.labelled.labels
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


# Photographs shown, and how often each is changed.
_IMAGES, _TIMES = 6, 5
_SEED = 0
# The longest side in a page, in pixels; larger views are shrunk for show.
_LONGEST = 320


@dataclass(frozen=True)
class SampleStrip:
    """One photograph as it is and changed, as (picture, what it is) pairs; `told` names it."""

    told: str
    pictures: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class AugmentationSamples:
    """The samples of one plugin, and a sentence about how it is shown images."""

    name: str
    told: str
    strips: tuple[SampleStrip, ...]


def augmentation_samples(named: NamedPlugin, train: ImageSet) -> AugmentationSamples:
    """Return training images as a plugin sees them: first as they are, then changed.

    By the reader, the size, the crop and the changes that its training takes; the seeds are those
    of the first epochs.
    """
    from kitbox.network.backbone import data_config

    plugin = named.plugin
    height, width = plugin.height_width
    view = ImageDataset(
        train,
        plugin.height_width,
        interpolation=data_config(plugin.backbone).interpolation,
        crop_margin=plugin.crop_margin if plugin.crop else None,
        augmentation=plugin.augmentation,
    )
    boxed = train.boxes is not None and plugin.crop
    crop = f"cropped to the box with a margin of {plugin.crop_margin:.0%}" if boxed else "whole"
    told = (
        f"{height} × {width} pixels (height × width), {crop}, squashed to that shape; "
        f"augmentation '{plugin.augmentation}'. The first of each row is as embedding sees it."
    )
    return AugmentationSamples(
        named.name, told, tuple(_strip(view, row, plugin.seed) for row in _chosen(train))
    )


def _strip(view: ImageDataset, row: int, seed: int) -> SampleStrip:
    image_id = str(view.images.image_ids[row])
    seeds = [augmentation_seed(seed, epoch, image_id) for epoch in range(1, _TIMES + 1)]
    shown = [(_text(view[row][0]), f"{image_id}, unchanged")]
    shown += [
        (_text(view[BatchItem(row, changed)][0]), f"{image_id}, as in epoch {epoch}")
        for epoch, changed in enumerate(seeds, 1)
    ]
    return SampleStrip(image_id, tuple(shown))


def _chosen(train: ImageSet) -> list[int]:
    """Return some rows: half of images with a box where there are any, always the same."""
    generator = np.random.default_rng(_SEED)
    order = generator.permutation(len(train))
    if train.boxes is None:
        return sorted(order[:_IMAGES].tolist())
    boxed = ~np.isnan(train.boxes[order]).any(axis=1)
    first = [*order[boxed][: _IMAGES // 2].tolist()]
    return first + [row for row in order.tolist() if row not in first][: _IMAGES - len(first)]


def _text(pixels: Pixels) -> str:
    """Return pixels as the address of a picture that stands in the page itself."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((_LONGEST, _LONGEST))
    data = io.BytesIO()
    image.save(data, "WEBP", quality=85)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode("ascii")
