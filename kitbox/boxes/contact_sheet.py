"""A contact sheet: a few images with their boxes drawn, so that people see that these sit right."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kitbox.competition.boxes import Box
from kitbox.files import write_bytes
from kitbox.images import preprocessing
from kitbox.images.preprocessing import UnreadableImageError

MAX_IMAGES = 24
_COLUMNS = 4
_TILE = (360, 240)  # pixels of an image at most, width and height
_CAPTION = 22
_GAP = 8
_PAPER, _INK = (250, 250, 248), (30, 30, 30)
# Orange and blue are told apart by everybody; a dark line below shows them on bright water.
_DRAWN, _DETECTED, _SHADOW = (255, 140, 0), (40, 130, 255), (0, 0, 0)


def draw(boxes: Mapping[str, Sequence[Box]], paths: Mapping[str, Path], to: Path) -> int:
    """Write a PNG of at most SHOWN images, evenly spread over their ids; return how many.

    Drawn boxes are orange, detected ones blue, with their confidence.
    """
    ids = sorted(image_id for image_id in boxes if image_id in paths)
    places = np.unique(np.linspace(0, len(ids) - 1, min(MAX_IMAGES, len(ids))).astype(int))
    shown = [ids[place] for place in places]
    rows = max(1, -(-len(shown) // _COLUMNS))
    wide, high = _TILE[0] + _GAP, _TILE[1] + _CAPTION + _GAP
    sheet = Image.new("RGB", (_COLUMNS * wide + _GAP, rows * high + _GAP), _PAPER)
    font = ImageFont.load_default(13)
    for place, image_id in enumerate(shown):
        left, top = _GAP + place % _COLUMNS * wide, _GAP + place // _COLUMNS * high
        sheet.paste(_tile(paths[image_id], boxes[image_id]), (left, top))
        caption = _fitting(image_id, font)
        ImageDraw.Draw(sheet).text((left, top + _TILE[1] + 3), caption, _INK, font)
    data = io.BytesIO()
    sheet.save(data, "PNG")
    write_bytes(to, data.getvalue())
    return len(shown)


def _tile(path: Path, boxes: Sequence[Box]) -> Image.Image:
    """Return an image as large as fits the tile, with its boxes."""
    tile = Image.new("RGB", _TILE, _PAPER)
    try:
        width, height = preprocessing.upright_size(path)
        scale = min(_TILE[0] / width, _TILE[1] / height)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = Image.fromarray(preprocessing.read(path, size[::-1]))
    except UnreadableImageError:
        return tile
    pen = ImageDraw.Draw(image)
    for box in boxes:
        x0, y0, x1, y1 = (corner * scale for corner in box.corners)
        edges = (x0, y0, max(x0, x1 - 1), max(y0, y1 - 1))
        pen.rectangle(edges, outline=_SHADOW, width=4)
        pen.rectangle(edges, outline=_DRAWN if box.drawn else _DETECTED, width=2)
        if box.confidence is not None:
            pen.text((x0 + 5, y0 + 3), f"{box.confidence:.2f}", _DETECTED)
    tile.paste(image, ((_TILE[0] - size[0]) // 2, (_TILE[1] - size[1]) // 2))
    return tile


def _fitting(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """Return a text without its beginning where it is wider than a tile; ends tell names apart."""
    while font.getlength(text) > _TILE[0] and len(text) > 1:
        text = "…" + text.lstrip("…")[1:]
    return text
