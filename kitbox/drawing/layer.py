"""Pictures laid over one another: (height, width, 3) of blue, green and red, light from 0 to 1."""

import cv2
import numpy as np

from kitbox.drawing.noise import Field


def over(below: Field, above: Field, opacity: Field) -> Field:
    """Lay a picture, or one colour (3,), over another; opacity (height, width) is from 0 to 1."""
    both: Field = cv2.blendLinear(below, np.broadcast_to(above, below.shape), 1 - opacity, opacity)
    return both


def mixed(lights: tuple[Field, ...], colours: tuple[Field, ...]) -> Field:
    """Add up lights (height, width), each in its colour (3,)."""
    picture: Field = cv2.transform(cv2.merge(lights), np.stack(colours, 1))
    return picture


def enlarged(field: Field, height: int, width: int) -> Field:
    """Stretch a soft field or picture to a size in pixels."""
    larger: Field = cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR)
    return larger
