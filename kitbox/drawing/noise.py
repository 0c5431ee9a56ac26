"""Smooth random fields, from which skin, waves and foam are made."""

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


def smooth(rng: np.random.Generator, height: int, width: int, rows: int, columns: int) -> Field:
    """Draw a field of mean 0 and deviation near 1 whose blobs are one of rows x columns large."""
    coarse = rng.standard_normal((max(rows, 2), max(columns, 2)), dtype=np.float32)
    field: Field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return field


def rough(
    rng: np.random.Generator, height: int, width: int, rows: int, columns: int, octaves: int
) -> Field:
    """Add smooth fields: each octave has blobs half as large and half as high as the one before."""
    field = smooth(rng, height, width, rows, columns)
    for octave in range(1, octaves):
        finer = 2**octave
        field += smooth(rng, height, width, rows * finer, columns * finer) / finer
    return field


def step(field: Field, softness: float) -> Field:
    """Turn a field into an opacity from 0 to 1: one half at 0, over a ramp of width `softness`."""
    opacity: Field = np.clip(field / np.float32(softness) + np.float32(0.5), 0, 1)
    return opacity
