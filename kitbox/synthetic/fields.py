"""Smooth random fields for skin, waves and foam, and the blending of pictures."""

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Pixels = NDArray[np.uint8]


def smooth(rng: np.random.Generator, height: int, width: int, rows: int, columns: int) -> Field:
    """Draw a field of mean 0 and deviation near 1 with a grid of rows x columns blobs."""
    coarse = rng.standard_normal((max(rows, 2), max(columns, 2)), dtype=np.float32)
    field: Field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return field


def rough(
    rng: np.random.Generator, height: int, width: int, rows: int, columns: int, octaves: int
) -> Field:
    """Draw a sum of smooth fields; each octave has blobs of half the size and half the height."""
    field = smooth(rng, height, width, rows, columns)
    for octave in range(1, octaves):
        finer = 2**octave
        field += smooth(rng, height, width, rows * finer, columns * finer) / finer
    return field


def ramp(field: Field, softness: float) -> Field:
    """Return an opacity from 0 to 1 that is 0.5 where the field is 0, with a ramp of `softness`."""
    opacity: Field = np.clip(field / np.float32(softness) + np.float32(0.5), 0, 1)
    return opacity


def blend(below: Field, above: Field, opacity: Field) -> Field:
    """Return a picture, or one colour (3,), over another; opacity (height, width) is 0 to 1."""
    both: Field = cv2.blendLinear(below, np.broadcast_to(above, below.shape), 1 - opacity, opacity)
    return both


def mix_lights(lights: tuple[Field, ...], colours: tuple[Field, ...]) -> Field:
    """Return the sum of lights (height, width), each in its colour (3,)."""
    picture: Field = cv2.transform(cv2.merge(lights), np.stack(colours, 1))
    return picture


def enlarge(field: Field, height: int, width: int) -> Field:
    """Return a soft field or picture enlarged to a size in pixels."""
    larger: Field = cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR)
    return larger
