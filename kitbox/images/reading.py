"""Reads one image file into pixels: upright, RGB, cropped and squashed to a size."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from kitbox.errors import KitboxError

Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]

# 30000 x 30000 decodes to 2.7 GB; no camera makes more than about 200 million pixels.
MAX_PIXELS = 250_000_000
# A JPEG may be decoded at 1/2, 1/4 or 1/8 as long as what is kept has this many times the
# pixels per side that are asked for; less shows in the embedding.
KEEP = 2.0
RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# A JPEG's orientation of 5 to 8 swaps width and height.
_EXIF_ORIENTATION = 0x0112
_EXIF_TAKEN = 0x9003  # DateTimeOriginal
# Pixels per side: of a thumbnail, and of the least that a perceptual hash is made of.
_THUMBNAIL = 16
_HASHED = 64


class UnreadableImageError(KitboxError):
    """An image file that cannot be decoded."""


def read(
    path: Path,
    height_width: tuple[int, int],
    box: Box | None = None,
    margin: float = 0.0,
    interpolation: str = "bicubic",
) -> Pixels:
    """Return the pixels (height, width, 3) uint8 of an image, or of its box.

    `box` is x0, y0, x1, y1 in pixels of the upright image, widened on each side by `margin` times
    its width or height and cut at the image's edges. A large JPEG is decoded at reduced scale.
    Raises UnreadableImageError that names the file and what is wrong.
    """
    height, width = height_width
    with opened(path) as image, _naming(path):
        upright_size = _upright_size(image)
        region = _widened(box, margin, upright_size) if box else (0.0, 0.0, *upright_size)
        if image.format == "JPEG":
            _decode_reduced(image, region, (width, height))
        pixels = _rgb(_upright(image))
    scale_x, scale_y = pixels.width / upright_size[0], pixels.height / upright_size[1]
    x0, y0, x1, y1 = region
    part = (x0 * scale_x, y0 * scale_y, x1 * scale_x, y1 * scale_y)
    return np.array(pixels.resize((width, height), RESAMPLING[interpolation], box=part))


@dataclass(frozen=True)
class Glance:
    """What one look at a file tells: how it looks, so that copies are found, and when it was taken.

    `hash` is a perceptual hash of 64 bits (8 bytes), `thumbnail` the grey image of 16 x 16 pixels
    (256 bytes), `taken` seconds since 1970 by the camera's clock, or None.
    """

    hash: bytes
    thumbnail: bytes
    taken: float | None


def glance(path: Path) -> Glance:
    """Return a look at an image after decoding the whole file.

    Raises UnreadableImageError that names the file and what is wrong.
    """
    import imagehash  # loads scipy

    with opened(path) as image, _naming(path):
        taken = _taken(image)
        if image.format == "JPEG":
            image.draft("RGB", (_HASHED, _HASHED))  # all bytes are read, few pixels made
        grey = _rgb(_upright(image)).convert("L")
        small = grey.resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
        bits = imagehash.phash(grey).hash
    return Glance(np.packbits(bits.ravel()).tobytes(), small.tobytes(), taken)


def _taken(image: Image.Image) -> float | None:
    text = str(image.getexif().get_ifd(ExifTags.IFD.Exif).get(_EXIF_TAKEN, ""))
    try:
        moment = datetime.strptime(text.strip("\0 "), "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC).timestamp()  # of the camera; its zone is not written


def opened(path: Path) -> Image.Image:
    """Return an image with its header read and no pixel decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd EXIF and of many pixels, counted below
            image = Image.open(path)
    except FileNotFoundError as error:
        raise UnreadableImageError(f"there is no image {path}") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(f"image {path} is too large: {error}") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        what = "is empty" if path.stat().st_size == 0 else "is not an image"
        raise UnreadableImageError(f"image {path} {what}; replace or remove it") from error
    if image.width * image.height > MAX_PIXELS:
        raise UnreadableImageError(
            f"image {path} has {image.width}x{image.height} pixels, "
            f"more than {MAX_PIXELS:,}; shrink it"
        )
    return image


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    return ImageOps.exif_transpose(image)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn whatever Pillow raises of a damaged file into a sentence that names it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd EXIF; the pixels are fine
            yield
    except (OSError, ValueError, SyntaxError, IndexError, MemoryError) as error:
        what = "is truncated" if "truncated" in str(error) else f"cannot be decoded ({error})"
        raise UnreadableImageError(f"image {path} {what}; replace or remove it") from error


def _rgb(image: Image.Image) -> Image.Image:
    """Return an 8-bit RGB image; 16-bit grey keeps its upper byte, transparency is dropped."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float32)
        # mode I and I;16 hold 16-bit values, F either fractions or 8-bit values
        top = 65535.0 if image.mode != "F" else (1.0 if values.max(initial=0) <= 1 else 255.0)
        grey = np.clip(values * (255.0 / top), 0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _upright_size(image: Image.Image) -> tuple[int, int]:
    swapped = image.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
    return (image.height, image.width) if swapped else (image.width, image.height)


def _widened(box: Box, margin: float, size: tuple[int, int]) -> Box:
    """Return a box widened by a margin and cut at the image's edges; outside it, the image."""
    x0, y0, x1, y1 = box
    dx, dy = margin * (x1 - x0), margin * (y1 - y0)
    cut = (max(x0 - dx, 0.0), max(y0 - dy, 0.0), min(x1 + dx, size[0]), min(y1 + dy, size[1]))
    return cut if cut[0] + 1 <= cut[2] and cut[1] + 1 <= cut[3] else (0.0, 0.0, *size)


def _decode_reduced(image: Image.Image, region: Box, wanted: tuple[int, int]) -> None:
    """Ask the JPEG decoder for the smallest scale that keeps KEEP times the wanted pixels."""
    shrink = min((region[2] - region[0]) / wanted[0], (region[3] - region[1]) / wanted[1]) / KEEP
    if shrink >= 2:
        factor = next(factor for factor in (8, 4, 2) if factor <= shrink)
        image.draft("RGB", (-(-image.width // factor), -(-image.height // factor)))
