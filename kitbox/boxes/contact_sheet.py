"""A contact sheet: a few images with their boxes drawn, for a check by eye."""

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
_TILE = (360, 240)  # largest width and height of an image in pixels
_CAPTION = 22
_GAP = 8
_PAPER, _INK = (250, 250, 248), (30, 30, 30)
# Everybody can distinguish orange and blue; a dark line below shows them on bright water.
_DRAWN, _DETECTED, _SHADOW = (255, 140, 0), (40, 130, 255), (0, 0, 0)


def draw(boxes: Mapping[str, Sequence[Box]], paths: Mapping[str, Path], file: Path) -> int:
    """Write a PNG of at most MAX_IMAGES images, evenly spread over their ids; return their number.

    Drawn boxes are orange, detected ones blue, with their confidence.
    """
    ids = sorted(image_id for image_id in boxes if image_id in paths)
    places = np.unique(np.linspace(0, len(ids) - 1, min(MAX_IMAGES, len(ids))).astype(int))
    shown = [ids[place] for place in places]
    rows = max(1, -(-len(shown) // _COLUMNS))
    width, height = _TILE[0] + _GAP, _TILE[1] + _CAPTION + _GAP
    sheet = Image.new("RGB", (_COLUMNS * width + _GAP, rows * height + _GAP), _PAPER)
    font = ImageFont.load_default(13)
    for place, image_id in enumerate(shown):
        left, top = _GAP + place % _COLUMNS * width, _GAP + place // _COLUMNS * height
        sheet.paste(_tile(paths[image_id], boxes[image_id]), (left, top))
        caption = _shortened(image_id, font)
        ImageDraw.Draw(sheet).text((left, top + _TILE[1] + 3), caption, _INK, font)
    data = io.BytesIO()
    sheet.save(data, "PNG")
    write_bytes(file, data.getvalue())
    return len(shown)


def _tile(path: Path, boxes: Sequence[Box]) -> Image.Image:
    """Return an image with its boxes, as large as fits the tile."""
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


def _shortened(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """Cut the beginning off a text that is wider than a tile; names differ at their ends."""
    while font.getlength(text) > _TILE[0] and len(text) > 1:
        text = "…" + text.lstrip("…")[1:]
    return text
