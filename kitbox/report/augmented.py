"""Samples of what a network is shown in training: its size, its crop, its random changes."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from kitbox.images.loading import Item, View, seed_of
from kitbox.images.reading import Pixels
from kitbox.plugin.discovery import NamedPlugin
from kitbox.records import ImageSet

# Photographs shown, and how often each is changed.
_IMAGES, _TIMES = 6, 5
_SEED = 0
# The longest side in a page, in pixels; larger views are shrunk for show.
_LONGEST = 320


@dataclass(frozen=True)
class Strip:
    """One photograph as it is and changed, as (picture, what it is) pairs; `told` names it."""

    told: str
    pictures: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Samples:
    """The samples of one plugin, and a sentence about how it is shown images."""

    name: str
    told: str
    strips: tuple[Strip, ...]


def samples(named: NamedPlugin, train: ImageSet) -> Samples:
    """Return training images as a plugin sees them: first as they are, then changed.

    By the reader, the size, the crop and the changes that its training takes; the seeds are those
    of the first epochs.
    """
    from kitbox.network.backbone import pixel_form

    plugin = named.plugin
    height, width = plugin.height_width
    view = View(
        train,
        plugin.height_width,
        interpolation=pixel_form(plugin.backbone).interpolation,
        crop_margin=plugin.crop_margin if plugin.crop else None,
        augmentation=plugin.augmentation,
    )
    boxed = train.boxes is not None and plugin.crop
    crop = f"cropped to the box with a margin of {plugin.crop_margin:.0%}" if boxed else "whole"
    told = (
        f"{height} × {width} pixels (height × width), {crop}, squashed to that shape; "
        f"augmentation '{plugin.augmentation}'. The first of each row is as embedding sees it."
    )
    return Samples(
        named.name, told, tuple(_strip(view, row, plugin.seed) for row in _chosen(train))
    )


def _strip(view: View, row: int, seed: int) -> Strip:
    image_id = str(view.images.image_ids[row])
    seeds = [seed_of(seed, epoch, image_id) for epoch in range(1, _TIMES + 1)]
    shown = [(_text(view[row][0]), f"{image_id}, unchanged")]
    shown += [
        (_text(view[Item(row, changed)][0]), f"{image_id}, as in epoch {epoch}")
        for epoch, changed in enumerate(seeds, 1)
    ]
    return Strip(image_id, tuple(shown))


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
