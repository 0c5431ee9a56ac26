"""Statistics and signature of an image file: format, brightness, sharpness, perceptual hash."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from kitbox.images.preprocessing import (
    SWAPPED,
    load,
    load_grey,
    open_image,
    raw_size_of,
    reduced_memory,
)

# Brightness and sharpness are measured on a grey image whose longer side has this many pixels: no
# network sees blur that appears only at full size.
QUALITY_SIDE = 256
# Sharpness is measured at the steepest edges, one pixel in 200: noise is everywhere, edges are few.
_STEEPEST = 0.995
# Grey levels between neighbouring pixels; without an edge this steep, sharpness cannot be measured.
_LEAST_EDGE = 8
# Pixels per side: of a thumbnail, and at least of the image that a perceptual hash is computed on.
_THUMBNAIL_SIDE = 16
_HASHED_SIDE = 64
_EXIF_DATE = 0x9003  # DateTimeOriginal


class ImageStats(NamedTuple):
    """Measurements of an image file; all are 0 or empty where it cannot be decoded.

    `width` and `height` are those of the upright image, whose `orientation` is 0 where EXIF is
    damaged. `low` and `high` are the grey levels that
    5 and 95 % of the pixels do not exceed, `contrast` their standard deviation. `sharpness` is how
    abruptly the steepest edges begin: about 2 in a sharp image, below 1 in a blurred one, 0 where
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


@dataclass(frozen=True)
class ImageSummary:
    """All that is computed from an image file in one decoding.

    `hash` is a perceptual hash of 64 bits (8 bytes), `thumbnail` the grey image at 16 x 16 pixels
    (256 bytes), `taken` seconds since 1970 by the camera's clock, None where it is not recorded.
    """

    hash: bytes
    thumbnail: bytes
    taken: float | None
    stats: ImageStats


def stats_table(rows: list[ImageStats]) -> StatsTable:
    """Return the statistics of n images as columns (n,), named like the fields of ImageStats."""
    return np.array([tuple(row) for row in rows], dtype=DTYPE)


def summarise(path: Path, data: bytes | None = None, *, partial: bool = False) -> ImageSummary:
    """Return the summary of an image after decoding all of its file, or `data`, the file's bytes.

    With `partial`, that of a truncated file is of what is there. Raises UnreadableImageError that
    names the file and what is wrong.
    """
    import imagehash  # loads scipy

    with open_image(path, data) as image:
        if partial and image.format == "PNG":
            load(image, partial=True)  # its EXIF may stand behind the pixels
        stats = read_header(image, path.stat().st_size if data is None else len(data))
        taken = _time_taken(image)
        shrink = _draft(image)  # all bytes are read, few pixels decoded
        with reduced_memory(image):
            grey = load_grey(image, partial=partial)
        stats = measure_quality(stats, grey)
        grey = grey.reduce(shrink) if shrink > 1 else grey
        small = grey.resize((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), Image.Resampling.BOX)
        bits = imagehash.phash(grey).hash
    return ImageSummary(np.packbits(bits.ravel()).tobytes(), small.tobytes(), taken, stats)


def read_header(image: Image.Image, length: int) -> ImageStats:
    """Return the statistics of an open image that need no decoding; `length` is in bytes."""
    # what the decoder unpacks: Pillow turns 16-bit colours into 8 bits; numbers here are lengths
    arguments = [tile[3] for tile in getattr(image, "tile", ())]
    packed = [arg if isinstance(arg, tuple) else (arg,) for arg in arguments]
    words = [word for part in packed for word in part if isinstance(word, str)]
    deep = any("16" in word for word in words) or image.mode.startswith("I")
    # cameras put a preview behind a JPEG (MPO), which is no animation
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    size, orientation = raw_size_of(image)  # decodes a PNG, so it comes last
    width, height = size[::-1] if orientation in SWAPPED else size
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


def measure_quality(stats: ImageStats, grey: Image.Image) -> ImageStats:
    """Return the statistics with brightness, contrast and sharpness of the 8-bit grey image."""
    shrink = QUALITY_SIDE / max(grey.size)
    if shrink < 1:
        size = (max(1, round(grey.width * shrink)), max(1, round(grey.height * shrink)))
        grey = grey.resize(size, Image.Resampling.BOX)
    pixels = np.asarray(grey, dtype=np.int16)
    below = np.cumsum(grey.histogram())
    low, high = np.searchsorted(below, (0.05 * pixels.size, 0.95 * pixels.size))
    return stats._replace(
        low=int(low),
        high=int(high),
        contrast=float(pixels.std(dtype=np.float32)),
        sharpness=_sharpness(pixels),
    )


def exif_date(image: Image.Image) -> str:
    """Return when a photograph was taken, as its EXIF has it; "" without or with damaged EXIF."""
    try:
        return str(image.getexif().get_ifd(ExifTags.IFD.Exif).get(_EXIF_DATE) or "")
    except Exception:  # damaged EXIF: Pillow raises many kinds
        return ""


def _time_taken(image: Image.Image) -> float | None:
    try:
        moment = datetime.strptime(exif_date(image).strip("\0 "), "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC).timestamp()  # EXIF does not record the camera's time zone


def _draft(image: Image.Image) -> int:
    """Set the JPEG decoder to the scale that sharpness needs; return the factor left for the hash.

    The hash of an image shrunk by averaging, as the decoder does, is the same and quicker.
    """
    if image.format != "JPEG":
        return 1
    shortest, longest = min(image.size), max(image.size)
    hashed = next(
        factor for factor in (8, 4, 2, 1) if shortest >= factor * _HASHED_SIDE or factor == 1
    )
    measured = next(
        factor for factor in (8, 4, 2, 1) if longest >= factor * QUALITY_SIDE or factor == 1
    )
    factor = min(hashed, measured)
    image.draft("RGB", (-(-image.width // factor), -(-image.height // factor)))
    return hashed // factor


def _sharpness(pixels: NDArray[np.int16]) -> float:
    """Return the steepest changes of slope divided by the steepest slopes.

    Blur flattens slopes, and their beginnings even more, whatever the contrast.
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
    """Return the magnitude that all but one in 200 of the values do not exceed."""
    place = int(_STEEPEST * (values.size - 1))
    return int(np.partition(np.abs(values), place)[place])
