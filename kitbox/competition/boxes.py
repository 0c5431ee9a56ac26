"""Reads the boxes that images are cropped to."""

import math

from kitbox.competition import tables
from kitbox.competition.settings import Images
from kitbox.errors import KitboxError

Corners = tuple[float, float, float, float]


def read(images: Images) -> dict[str, Corners]:
    """Return image id → (x0, y0, x1, y1) in pixels; empty where `images.boxes` names no list.

    Raises KitboxError for a box that is none.
    """
    if images.boxes is None:
        return {}
    boxes = {}
    path = images.root / images.boxes
    for line, (image_id, *corners) in tables.rows(path, ("image", "x0", "y0", "x1", "y1")):
        where = f"{images.boxes} line {line}: box {','.join(corners)}"
        try:
            x0, y0, x1, y1 = (float(corner) for corner in corners)
        except ValueError as error:
            raise KitboxError(f"{where} is not four numbers; correct the row") from error
        if not (-math.inf < x0 < x1 < math.inf and -math.inf < y0 < y1 < math.inf):
            raise KitboxError(
                f"{where} is empty; the columns are x0,y0,x1,y1 with x0 < x1 and y0 < y1"
            )
        boxes[image_id] = (x0, y0, x1, y1)
    return boxes
