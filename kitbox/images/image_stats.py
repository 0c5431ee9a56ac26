"""What a person may want to know of an image file: its form, and how bright and sharp it is."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# An orientation of 5 to 8 swaps width and height.
EXIF_ORIENTATION = 0x0112
# Brightness and sharpness are those of a grey picture whose longer side has so many pixels: blur
# of a large photograph that no network sees is no fault.
SIDE = 256
# Of the steepest edges, one pixel in 200: noise is everywhere, edges are few.
_STEEPEST = 0.995
# Grey levels from a pixel to the next; where no edge has more, none tells of blur.
_LEAST_EDGE = 8


class ImageStats(NamedTuple):
    """What one look at a file tells; all is 0 or empty where it cannot be decoded.

    `width` and `height` are those of the upright image. `low` and `high` are the grey levels that
    5 and 95 % of the pixels do not exceed, `contrast` their standard deviation. `sharpness` is how
    abruptly the steepest edges begin: about 2 in a sharp picture, below 1 in a blurred one, 0 where
    there is no edge.
    """

    format: str = ""
    mode: str = ""
    bits: int = 0
    alpha: bool = False
    frames: int = 0
    orientation: int = 0
    width: int = 0
    height: int = 0
    bytes: int = 0
    low: int = 0
    high: int = 0
    contrast: float = 0.0
    sharpness: float = 0.0


DTYPE = np.dtype(
    [
        *(("format", "U8"), ("mode", "U8"), ("bits", "i2"), ("alpha", "?"), ("frames", "i4")),
        *(("orientation", "i2"), ("width", "i4"), ("height", "i4"), ("bytes", "i8")),
        *(("low", "i2"), ("high", "i2"), ("contrast", "f4"), ("sharpness", "f4")),
    ]
)
StatsTable = NDArray[np.void]


def stats_table(rows: list[ImageStats]) -> StatsTable:
    """Return the facts of n images as columns (n,), by the names of Facts."""
    return np.array([tuple(row) for row in rows], dtype=DTYPE)


def read_header(image: Image.Image, length: int) -> ImageStats:
    """Return what an opened image tells before it is decoded; `length` are the file's bytes."""
    # the packing that the decoder is asked for: Pillow makes 8 bits of 16-bit colours
    packed = str([tile[3] for tile in getattr(image, "tile", ())])
    deep = "16" in packed or image.mode.startswith("I")
    # cameras put a preview behind a JPEG (MPO); that is no animation
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    orientation = _orientation(image)  # decodes a PNG, so it comes last
    width, height = image.size if orientation < 5 else image.size[::-1]
    return ImageStats(
        format="JPEG" if image.format == "MPO" else str(image.format),
        mode=image.mode,
        bits=32 if image.mode == "F" else 16 if deep else 8,
        alpha=image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info,
        frames=frames,
        orientation=orientation,
        width=width,
        height=height,
        bytes=length,
    )


def _orientation(image: Image.Image) -> int:
    found = image.getexif().get(EXIF_ORIENTATION, 1)
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def measure_quality(known: ImageStats, grey: Image.Image) -> ImageStats:
    """Return facts and how bright and sharp the grey picture of 8 bits is."""
    shrink = SIDE / max(grey.size)
    if shrink < 1:
        size = (max(1, round(grey.width * shrink)), max(1, round(grey.height * shrink)))
        grey = grey.resize(size, Image.Resampling.BOX)
    pixels = np.asarray(grey, dtype=np.int16)
    below = np.cumsum(grey.histogram())
    low, high = np.searchsorted(below, (0.05 * pixels.size, 0.95 * pixels.size))
    return known._replace(
        low=int(low),
        high=int(high),
        contrast=float(pixels.std(dtype=np.float32)),
        sharpness=_sharpness(pixels),
    )


def _sharpness(pixels: NDArray[np.int16]) -> float:
    """Return the steepest changes of the slope in terms of the steepest slopes.

    Blur makes slopes less steep and their beginnings much less abrupt, whatever the contrast.
    """
    if min(pixels.shape) < 3:
        return 0.0
    across, down = np.diff(pixels, axis=1), np.diff(pixels, axis=0)
    steepest = _steepest(np.concatenate([across.ravel(), down.ravel()]))
    if steepest < _LEAST_EDGE:
        return 0.0
    changes = np.diff(across, axis=1)[1:-1] + np.diff(down, axis=0)[:, 1:-1]
    return _steepest(changes.ravel()) / steepest


def _steepest(values: NDArray[np.int16]) -> int:
    """Return the size that all but a few of the values do not exceed."""
    place = int(_STEEPEST * (values.size - 1))
    return int(np.partition(np.abs(values), place)[place])
