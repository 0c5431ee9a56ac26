"""Reads one image file into pixels: upright, RGB, cropped and squashed to a size."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from kitbox.errors import KitboxError
from kitbox.images import image_stats
from kitbox.images.image_stats import EXIF_ORIENTATION, ImageStats

# 30000 x 30000 decodes to 2.7 GB; no camera makes more than about 200 million pixels.
MAX_PIXELS = 250_000_000
# Bytes in which a web page says that it is one.
_BEGINNING = 512
# What a photograph may be, whatever its name says; JPEG has MPO in it. Pillow would start other
# programs for some of its other forms (EPS). It came to know AVIF late.
_FORMS = (
    *("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "JPEG2000"),
    *(("AVIF",) if find_spec("PIL.AvifImagePlugin") else ()),
)


class UnreadableImageError(KitboxError):
    """An image file that cannot be decoded; `kind` is unreadable, truncated, empty or bomb."""

    def __init__(self, sentence: str, kind: str = "unreadable") -> None:
        super().__init__(sentence)
        self.kind = kind


@contextmanager
def open_image(path: Path, data: bytes | None = None) -> Iterator[Image.Image]:
    """Give an image, of its bytes where they are given, with no pixel decoded.

    Raises UnreadableImageError. The file is closed with it, whatever is raised: Pillow would leave
    one open whose first byte cannot be read.
    """
    try:
        source = path.open("rb") if data is None else BytesIO(data)
    except OSError as error:
        raise read_error(path, error) from error
    with source, _recognised(path, source) as image:
        yield image


def _recognised(path: Path, source: IO[bytes]) -> Image.Image:
    """Return the image that an open file holds."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd EXIF and of many pixels, counted below
            image = Image.open(source, formats=_FORMS)
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or MAX_PIXELS)  # where Pillow itself refuses
        sentence = f"image {path} is too large: it has more than {most:,} pixels; shrink it"
        raise UnreadableImageError(sentence, "bomb") from error
    except Exception as error:  # of a damaged header Pillow's forms raise whatever they stumble at
        raise _no_image(path, error) from error
    if image.width * image.height > MAX_PIXELS:
        raise UnreadableImageError(
            f"image {path} has {image.width}x{image.height} pixels, "
            f"more than {MAX_PIXELS:,}; shrink it",
            "bomb",
        )
    return image


@contextmanager
def _naming_file(path: Path) -> Iterator[None]:
    """Turn whatever Pillow raises of a damaged file into a sentence that names it.

    Each form of it has errors of its own, and none says which.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd EXIF; the pixels are fine
            yield
    except Exception as error:
        raise _damaged(path, error) from error


def read_error(path: Path, error: OSError) -> UnreadableImageError:
    """Return what is wrong with a file whose bytes the system does not give."""
    if isinstance(error, FileNotFoundError):
        return UnreadableImageError(f"there is no image {path}")
    why = error.strerror or error
    return UnreadableImageError(f"image {path} cannot be read ({why}); replace or remove it")


def _no_image(path: Path, error: Exception) -> UnreadableImageError:
    """Return what is wrong with a file that is no image: nothing in it, or a web page for one."""
    try:
        with path.open("rb") as file:
            begins = file.read(_BEGINNING)
    except OSError as refusal:
        return read_error(path, refusal)
    if not begins:
        return UnreadableImageError(f"image {path} is empty; replace or remove it", "empty")
    other = _other_form(begins)
    if other is not None:
        what = f"is a file of the form {other}, which is not read; save it as PNG"
        return UnreadableImageError(f"image {path} {what}, or remove it")
    if not isinstance(error, UnidentifiedImageError):
        return _damaged(path, error)
    text = begins.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    web = text.startswith((b"<!doctype html", b"<html", b"<head", b"<body"))
    what = "is not an image but a web page" if web else "is not an image"
    return UnreadableImageError(f"image {path} {what}; replace or remove it")


def _other_form(begins: bytes) -> str | None:
    """Return which form that is not read a file has by its first bytes, or None."""
    if begins[4:8] == b"ftyp" and begins[8:11] in (b"hei", b"hev"):
        return "HEIF"
    first = begins[:16].ljust(16, b"\0")  # as many as Pillow looks at
    forms = Image.OPEN.items()
    return next((name for name, (_, of) in forms if name not in _FORMS and of and of(first)), None)


def _damaged(path: Path, error: Exception) -> UnreadableImageError:
    """Return what is wrong with a file at which a decoder stumbled."""
    if isinstance(error, OSError) and error.errno is not None:
        return read_error(path, error)
    cut = "truncated" in str(error).lower()
    what = "is truncated" if cut else f"cannot be decoded ({error})"
    sentence = f"image {path} {what}; replace or remove it"
    return UnreadableImageError(sentence, "truncated" if cut else "unreadable")


Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]

# Counts up when the pixels that a file gives change: reading, orienting, cropping, resampling.
RECIPE_VERSION = 1
# A JPEG may be decoded at 1/2, 1/4 or 1/8 as long as what is kept has this many times the
# pixels per side that are asked for; less shows in the embedding.
_OVERSAMPLING = 2.0
INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_EXIF_TAKEN = 0x9003  # DateTimeOriginal
# Pixels per side: of a thumbnail, and of the least that a perceptual hash is made of.
_THUMBNAIL = 16
_HASHED = 64


@dataclass(frozen=True, slots=True)
class Crop:
    """What is asked of an image: all of it, or its box with a margin, at (height, width) pixels."""

    height_width: tuple[int, int]
    box: Box | None = None
    margin: float = 0.0
    interpolation: str = "bicubic"


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
    return read_crops(path, [Crop(height_width, box, margin, interpolation)])[0]


def read_crops(path: Path, cuts: Sequence[Crop], data: bytes | None = None) -> list[Pixels]:
    """Return the pixels of several cuts of one image, each as `read` gives it.

    The file is decoded once for each scale that they need. `data` are its bytes, where they have
    been read. Raises UnreadableImageError that names the file and what is wrong.
    """
    found: dict[int, Pixels] = {}
    while len(found) < len(cuts):  # an opened JPEG is decoded at one scale only
        left = [place for place in range(len(cuts)) if place not in found]
        with open_image(path, data) as image, _naming_file(path):
            size = _upright_size(image)
            regions = [_region(cut, size) for cut in cuts]
            scales = [
                _scale(image, region, cut.height_width)
                for region, cut in zip(regions, cuts, strict=True)
            ]
            scale = scales[left[0]]
            if scale > 1:
                image.draft("RGB", (-(-image.width // scale), -(-image.height // scale)))
            pixels = _rgb(_upright(image))
        for place in left:
            if scales[place] == scale:
                found[place] = _resized(pixels, size, regions[place], cuts[place])
    return [found[place] for place in range(len(cuts))]


def _region(cut: Crop, size: tuple[int, int]) -> Box:
    return _widened(cut.box, cut.margin, size) if cut.box else (0.0, 0.0, *size)


def _resized(pixels: Image.Image, size: tuple[int, int], region: Box, cut: Crop) -> Pixels:
    """Return a region, in pixels of the undecoded image of this size, at the size of the cut."""
    height, width = cut.height_width
    scale_x, scale_y = pixels.width / size[0], pixels.height / size[1]
    x0, y0, x1, y1 = region
    part = (x0 * scale_x, y0 * scale_y, x1 * scale_x, y1 * scale_y)
    return np.array(pixels.resize((width, height), INTERPOLATIONS[cut.interpolation], box=part))


@contextmanager
def reuse_memory(megabytes: int) -> Iterator[None]:
    """Let Pillow reuse so much memory meanwhile, instead of asking the system for every image.

    Threads that decode wait for each other there: a sixth of the time of large photographs.
    """
    pillow = Image.core  # type: ignore[attr-defined]
    before = pillow.get_blocks_max()
    pillow.set_blocks_max(megabytes * 2**20 // pillow.get_block_size())
    try:
        yield
    finally:
        pillow.set_blocks_max(before)
        pillow.clear_cache()


def size_and_region(
    path: Path, box: Box | None = None, margin: float = 0.0
) -> tuple[tuple[int, int], Box]:
    """Return width and height of the upright image, and the part of it that `read` takes.

    Only the header is read. Raises UnreadableImageError that names the file and what is wrong.
    """
    size = upright_size(path)
    return size, _widened(box, margin, size) if box else (0.0, 0.0, *size)


@dataclass(frozen=True)
class ImageSummary:
    """What one look at a file tells: how it looks, so that copies are found, and when it was taken.

    `hash` is a perceptual hash of 64 bits (8 bytes), `thumbnail` the grey image of 16 x 16 pixels
    (256 bytes), `taken` seconds since 1970 by the camera's clock, or None; `facts` are for people.
    """

    hash: bytes
    thumbnail: bytes
    taken: float | None
    stats: ImageStats


def summarise(path: Path, data: bytes | None = None) -> ImageSummary:
    """Return a look at an image after decoding the whole file, or its bytes where these are given.

    Raises UnreadableImageError that names the file and what is wrong.
    """
    import imagehash  # loads scipy

    with open_image(path, data) as image, _naming_file(path):
        known = image_stats.read_header(image, path.stat().st_size if data is None else len(data))
        taken = _taken(image)
        shrink = _draft(image)  # all bytes are read, few pixels made
        grey = _rgb(_upright(image)).convert("L")
        known = image_stats.measure_quality(known, grey)
        grey = grey.reduce(shrink) if shrink > 1 else grey
        small = grey.resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
        bits = imagehash.phash(grey).hash
    return ImageSummary(np.packbits(bits.ravel()).tobytes(), small.tobytes(), taken, known)


def _draft(image: Image.Image) -> int:
    """Ask the JPEG decoder for what sharpness is measured on; return how far a hash may shrink it.

    A hash of few pixels, averaged as the decoder does it, is the same and quickly made.
    """
    if image.format != "JPEG":
        return 1
    shortest, longest = min(image.size), max(image.size)
    hashed = next(factor for factor in (8, 4, 2, 1) if shortest >= factor * _HASHED or factor == 1)
    kept = next(
        factor for factor in (8, 4, 2, 1) if longest >= factor * image_stats.SIDE or factor == 1
    )
    factor = min(hashed, kept)
    image.draft("RGB", (-(-image.width // factor), -(-image.height // factor)))
    return hashed // factor


def _taken(image: Image.Image) -> float | None:
    text = str(image.getexif().get_ifd(ExifTags.IFD.Exif).get(_EXIF_TAKEN, ""))
    try:
        moment = datetime.strptime(text.strip("\0 "), "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC).timestamp()  # of the camera; its zone is not written


def upright_size(path: Path) -> tuple[int, int]:
    """Return the width and height of the upright image, from the header alone."""
    with open_image(path) as image, _naming_file(path):
        return _upright_size(image)


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    ImageOps.exif_transpose(image, in_place=True)  # else it copies what is upright already
    return image


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
    swapped = image.getexif().get(EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
    return (image.height, image.width) if swapped else (image.width, image.height)


def _widened(box: Box, margin: float, size: tuple[int, int]) -> Box:
    """Return a box widened by a margin and cut at the image's edges; outside it, the image."""
    x0, y0, x1, y1 = box
    dx, dy = margin * (x1 - x0), margin * (y1 - y0)
    cut = (max(x0 - dx, 0.0), max(y0 - dy, 0.0), min(x1 + dx, size[0]), min(y1 + dy, size[1]))
    return cut if cut[0] + 1 <= cut[2] and cut[1] + 1 <= cut[3] else (0.0, 0.0, *size)


def _scale(image: Image.Image, region: Box, height_width: tuple[int, int]) -> int:
    """Return the n of the smallest scale 1/n of a JPEG that keeps KEEP times the wanted pixels."""
    if image.format != "JPEG":
        return 1
    height, width = height_width
    shrink = min((region[2] - region[0]) / width, (region[3] - region[1]) / height) / _OVERSAMPLING
    return next(factor for factor in (8, 4, 2, 1) if factor <= max(shrink, 1))
