"""Contact sheets: all images by individual, and samples of the augmentation of a plugin."""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kitbox.competition.settings import Competition
from kitbox.dataset.collection import Collection
from kitbox.images.preprocessing import Pixels
from kitbox.plugin.discovery import NamedPlugin
from kitbox.records import ImageSet, rows_of
from kitbox.report.page import PagePictures

if TYPE_CHECKING:
    from kitbox.images.loader import ImageDataset

# Images in the samples of a plugin, and augmented views of each.
_SAMPLE_IMAGES, _SAMPLE_EPOCHS = 6, 5
_SEED = 0
# The longest side of a sample in pixels; larger views are shrunk.
_MAX_SIDE = 320


def sheets_data(
    parts: Mapping[str, ImageSet],
    pictures: PagePictures,
    collection: Collection,
    competition: Competition,
) -> dict[str, Any]:
    """Return ids, labels, sides, sizes, boxes and duplicates of all images, for the page's script.

    A box is x, y, width, height in thousandths of the upright image. `query` marks the queries of
    the holdout; `duplicate` numbers the groups of copies and near-duplicates, -1 for none.
    """
    unknown = competition.images.unknown_label or ""
    labels = [
        np.full(len(images), "", dtype=np.str_) if side != "labelled" else images.labelled.labels
        for side, images in parts.items()
    ]
    label_set = np.unique(np.concatenate(labels))
    label_set = label_set[label_set != ""]
    query_ids = collection.holdout.query.image_ids
    is_query = [
        np.isin(images.image_ids, query_ids) & (side == "labelled")
        for side, images in parts.items()
    ]
    groups = np.full(len(pictures), -1, dtype=np.int64)
    groups[: len(collection.units)] = collection.units
    counts = np.bincount(collection.units)
    groups[groups >= 0] = np.where(counts[groups[groups >= 0]] > 1, groups[groups >= 0], -1)
    return {
        "sides": list(parts),
        "labels": label_set.tolist(),
        "unknown": unknown,
        "id": [str(image) for images in parts.values() for image in images.image_ids.tolist()],
        "side": [n for n, images in enumerate(parts.values()) for _ in range(len(images))],
        "label": rows_of(np.concatenate(labels), label_set).tolist(),
        "query": np.concatenate(is_query).astype(int).tolist(),
        "duplicate": groups.tolist(),
        "size": np.concatenate([part.sizes for part in pictures.parts]).tolist(),
        "box": [
            box
            for images, part in zip(parts.values(), pictures.parts, strict=True)
            for box in _relative_boxes(images, part.sizes)
        ],
    }


def _relative_boxes(images: ImageSet, sizes: NDArray[np.int64]) -> list[list[int] | None]:
    """Return each image's box in thousandths of its size, None if it has none."""
    if images.boxes is None:
        return [None] * len(images)
    boxes: list[list[int] | None] = []
    for (x0, y0, x1, y1), (width, height) in zip(
        images.boxes.tolist(), sizes.tolist(), strict=True
    ):
        if np.isnan(x0) or not width:
            boxes.append(None)
            continue
        corners = (x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height)
        boxes.append([round(1000 * corner) for corner in corners])
    return boxes


@dataclass(frozen=True)
class SampleStrip:
    """One image, plain and augmented, as (data URL, description) pairs."""

    image_id: str
    pictures: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class AugmentationSamples:
    """Samples of one plugin, with a caption that describes its preprocessing."""

    name: str
    caption: str
    strips: tuple[SampleStrip, ...]


def augmentation_samples(named: NamedPlugin, train: ImageSet) -> AugmentationSamples:
    """Return some training images as a plugin reads them: first plain, then augmented.

    Reading, size, crop, augmentation and the seeds of the first epochs are those of its training.
    """
    # torch and timm take seconds to load, and a page without plugins needs neither
    from kitbox.images.loader import ImageDataset
    from kitbox.network.backbone import input_config

    plugin = named.plugin
    height, width = plugin.height_width
    dataset = ImageDataset(
        train,
        plugin.height_width,
        interpolation=input_config(plugin).interpolation,
        crop_margin=plugin.crop_margin if plugin.crop else None,
        augmentation=plugin.augmentation,
        code=plugin.source_code,
    )
    boxed = train.boxes is not None and plugin.crop
    crop = f"cropped to the box with a margin of {plugin.crop_margin:.0%}" if boxed else "whole"
    caption = (
        f"{height} × {width} pixels (height × width), {crop}, squashed to that shape; "
        f"augmentation '{plugin.augmentation}'. The first of each row is the view for embedding."
    )
    strips = tuple(_strip(dataset, row, plugin.seed) for row in _sample_rows(train))
    return AugmentationSamples(named.name, caption, strips)


def _strip(dataset: "ImageDataset", row: int, seed: int) -> SampleStrip:
    from kitbox.images.loader import BatchItem, augmentation_seed

    image_id = str(dataset.images.image_ids[row])
    pictures = [(_data_url(dataset[row][0]), f"{image_id}, unchanged")]
    for epoch in range(1, _SAMPLE_EPOCHS + 1):
        item = BatchItem(row, augmentation_seed(seed, epoch, image_id))
        pictures.append((_data_url(dataset[item][0]), f"{image_id}, as in epoch {epoch}"))
    return SampleStrip(image_id, tuple(pictures))


def _sample_rows(train: ImageSet) -> list[int]:
    """Return some rows, always the same; up to half of them are images with a box."""
    generator = np.random.default_rng(_SEED)
    order = generator.permutation(len(train))
    if train.boxes is None:
        return sorted(order[:_SAMPLE_IMAGES].tolist())
    boxed = ~np.isnan(train.boxes[order]).any(axis=1)
    first = [*order[boxed][: _SAMPLE_IMAGES // 2].tolist()]
    others = [row for row in order.tolist() if row not in first]
    return first + others[: _SAMPLE_IMAGES - len(first)]


def _data_url(pixels: Pixels) -> str:
    """Return pixels as a data URL, a picture that is part of the page itself."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((_MAX_SIDE, _MAX_SIDE))
    data = io.BytesIO()
    image.save(data, "WEBP", quality=85)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode("ascii")
