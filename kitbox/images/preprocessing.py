"""Decoding of image files into a network's pixels: upright, RGB, cropped and resized."""

import ctypes
import logging
import math
import re
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError, _imaging
from PIL.TiffImagePlugin import TiffImageFile

from kitbox.competition.folder_scan import INSTALL_HEIF, RAW_SUFFIXES
from kitbox.errors import KitboxError
from kitbox.images import image_memory
from kitbox.plugin.plugin import Plugin
from kitbox.plugin.schedules import side_lengths
from kitbox.records import ImageSet

Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]

# Incremented when a file gives other pixels: decoding, orientation, cropping, resampling.
RECIPE_VERSION = 2
# Telephones make 200 million pixels. Pillow holds four bytes of each: 1 GB for the most that are
# read, of which a JPEG needs a part.
MAX_PIXELS = 250_000_000
# From here on an image is reduced before it is turned or converted, and in stripes.
_MANY_PIXELS, _STRIPE_PIXELS = 100_000_000, 4_000_000
EXIF_ORIENTATION = 0x0112
SWAPPED = (5, 6, 7, 8)  # orientations that swap width and height
_UPSIDE_DOWN = (3, 4, 7, 8)  # orientations whose first row or column is the lowest row
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257  # tags
INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# A JPEG may be decoded at 1/2, 1/4 or 1/8 as long as the region keeps this many times the target
# pixels per side; with fewer the embedding changes.
_OVERSAMPLING = 2.0
# Pixels around a region that resizing reads, in units of its scale: lanczos has the widest filter.
_REACH = 3
# Bytes in which to look for the first tag of a web page.
_HEAD_BYTES = 512
# Formats of photographs, whatever the file's suffix; JPEG includes MPO. For some others (EPS)
# Pillow would start external programs. AVIF is missing from older Pillows.
_FORMATS = (
    *("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "JPEG2000"),
    *(("AVIF",) if find_spec("PIL.AvifImagePlugin") else ()),
)

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow logs what is wrong with some TIFFs before it raises it, and logging prints that by itself.
logging.getLogger("PIL").addHandler(logging.NullHandler())
_JPEG_END = b"\xff\xd9"
_PNG_START = b"\x89PNG\r\n\x1a\n"
# The note in `Image.info` on a PNG whose EXIF was left out because its checksum is wrong.
_DAMAGED_EXIF = "damaged EXIF"
# The first brands of a HEIF file: those of telephones and cameras, and of libheif.
_TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_HEIF_BRANDS = frozenset(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
)


class UnreadableImageError(KitboxError):
    """An image file that cannot be decoded; `kind` is unreadable, truncated, empty or bomb.

    One that is not `lasting` may be decoded the next time: a server is back, a reader installed.
    """

    def __init__(self, sentence: str, kind: str = "unreadable", *, lasting: bool = True) -> None:
        super().__init__(sentence)
        self.kind = kind
        self.lasting = lasting


@dataclass(frozen=True, slots=True)
class Crop:
    """The part of an image to read: all of it, or a box with a margin, at (height, width).

    `part` is what of that region is read, as shares of its width and height.
    """

    height_width: tuple[int, int]
    box: Box | None = None
    margin: float = 0.0
    interpolation: str = "bicubic"
    part: Box | None = None


@dataclass(frozen=True)
class InputSpec:
    """Size (height, width), interpolation and margin around boxes of a network's input.

    With a `margin` of None whole images are read, not boxes. `part` is what of each is read, as
    shares of its width and height; None is all of it.
    """

    height_width: tuple[int, int]
    interpolation: str
    margin: float | None
    part: Box | None = None

    @classmethod
    def from_plugin(cls, plugin: Plugin, interpolation: str) -> "InputSpec":
        """Return the input spec of a plugin's network, given its backbone's interpolation."""
        margin = plugin.crop_margin if plugin.crop else None
        return cls(plugin.height_width, interpolation, margin)

    @classmethod
    def for_training(cls, plugin: Plugin, interpolation: str) -> "list[InputSpec]":
        """Return the distinct input specs of a plugin's training phases, the final one first."""
        own = cls.from_plugin(plugin, interpolation)
        sizes = [side_lengths(phase.image_size) for phase in plugin.phases if phase.image_size]
        return list(dict.fromkeys([own, *(replace(own, height_width=size) for size in sizes)]))

    def crop(self, images: ImageSet, row: int) -> Crop:
        """Return the crop that is read of the image in a row."""
        box = box_of(images, row) if self.margin is not None else None
        margin = 0.0 if box is None or self.margin is None else self.margin
        return Crop(self.height_width, box, margin, self.interpolation, self.part)


def box_of(images: ImageSet, row: int) -> Box | None:
    """Return the box of the image in a row, None where it has none."""
    if images.boxes is None or np.isnan(images.boxes[row]).any():
        return None
    x0, y0, x1, y1 = (float(corner) for corner in images.boxes[row])
    return x0, y0, x1, y1


def read(
    path: Path,
    height_width: tuple[int, int],
    box: Box | None = None,
    margin: float = 0.0,
    interpolation: str = "bicubic",
) -> Pixels:
    """Return the pixels (height, width, 3) uint8 of an image, or of its box.

    `box` is x0, y0, x1, y1 in pixels of the upright image, widened on each side by `margin` times
    its width or height and clipped to the image. A large JPEG is decoded at a reduced scale.
    Raises UnreadableImageError that names the file and what is wrong.
    """
    return read_crops(path, [Crop(height_width, box, margin, interpolation)])[0]


def read_crops(path: Path, crops: Sequence[Crop], data: bytes | None = None) -> list[Pixels]:
    """Return the pixels of several crops of one image, each equal to what `read` returns.

    The file is decoded once for each scale that is needed. `data` are its bytes, if they have been
    read already. Of a truncated file what is there is read: whether it may be used is decided by
    the file index, which finds it. Raises UnreadableImageError that names the file and what is
    wrong.
    """
    found: dict[int, Pixels] = {}
    while len(found) < len(crops):  # an open JPEG can be decoded at one scale only
        left = [place for place in range(len(crops)) if place not in found]
        with open_image(path, data) as image:
            size = _upright_size(image)
            regions = [_region(crop, size) for crop in crops]
            scales = [
                _scale(image, region, crop.height_width)
                for region, crop in zip(regions, crops, strict=True)
            ]
            scale = scales[left[0]]
            if scale > 1 and image.format == "JPEG":
                image.draft("RGB", (-(-image.width // scale), -(-image.height // scale)))
            wanted = {
                place: (regions[place], crops[place]) for place in left if scales[place] == scale
            }
            with reduced_memory(image):
                load(image, partial=True)
                turn = orientation_of(image)  # none where the decoder has turned it
                reduces = scale > 1 and image.format != "JPEG"
                pixels = _reduced(image, scale) if reduces else image
                found |= zip(wanted, _resized(pixels, turn, size, [*wanted.values()]), strict=True)
                del pixels
    return [found[place] for place in range(len(crops))]


def upright_size(path: Path) -> tuple[int, int]:
    """Return the width and height of the upright image, read from the header alone."""
    with open_image(path) as image:
        return _upright_size(image)


def raw_size(path: Path) -> tuple[tuple[int, int], int]:
    """Return width and height before EXIF turns an image, and its orientation, 1 to 8.

    Only the header is read.
    """
    with open_image(path) as image:
        _load_header(image)
        size, orientation = raw_size_of(image)
        return size, orientation or 1


def size_and_region(
    path: Path, box: Box | None = None, margin: float = 0.0
) -> tuple[tuple[int, int], Box]:
    """Return width and height of the upright image, and the region of it that `read` returns.

    Only the header is read. Raises UnreadableImageError that names the file and what is wrong.
    """
    size = upright_size(path)
    return size, widened(box, margin, size) if box else (0.0, 0.0, *size)


@contextmanager
def reuse_memory(megabytes: int) -> Iterator[None]:
    """Let Pillow keep and reuse this much memory instead of allocating anew for every image.

    Threads wait for each other while they allocate: a sixth of the time of large photographs.
    """
    pillow = Image.core  # type: ignore[attr-defined]
    before = pillow.get_blocks_max()
    pillow.set_blocks_max(megabytes * 2**20 // pillow.get_block_size())
    try:
        yield
    finally:
        pillow.set_blocks_max(before)
        pillow.clear_cache()


@contextmanager
def reduced_memory(image: Image.Image) -> Iterator[None]:
    """Hold the memory in which a JPEG is decoded at the scale that was set; then free its pixels.

    The image cannot be used afterwards.
    """
    with image_memory.hold(0 if _decoded_whole(image) else image.width * image.height):
        try:
            yield
        finally:
            image.close()


def _decoded_whole(image: Image.Image) -> bool:
    """Return whether all pixels are in memory whatever the scale; a JPEG's are its coefficients."""
    return image.format != "JPEG" or "progressive" in image.info


def load(image: Image.Image, *, partial: bool = False) -> None:
    """Decode all pixels of an image, as the file has them: EXIF does not turn them.

    With `partial`, the missing part of a truncated file is grey, or black in other formats than
    JPEG.
    """
    if partial:
        _load_partial(image)
    else:
        _load(image)


def load_grey(image: Image.Image, *, partial: bool = False) -> Image.Image:
    """Return a decoded image in 8 bits of grey, turned upright; `partial` as in `load`.

    It is made in stripes, so that beside the decoded pixels there is one byte for each of them.
    """
    load(image, partial=partial)
    turn = _TURNS.get(orientation_of(image))
    if image.mode.startswith("I") or image.mode == "F":  # its range is that of all pixels
        grey = to_rgb(image).convert("L")
    else:
        grey = Image.new("L", image.size)
        rows = max(1, _STRIPE_PIXELS // image.width)
        for top in range(0, image.height, rows):
            stripe = image.crop((0, top, image.width, min(top + rows, image.height)))
            grey.paste(to_rgb(stripe).convert("L"), (0, top))
    return grey if turn is None else grey.transpose(turn)


def _reduced(image: Image.Image, shrink: int) -> Image.Image:
    """Return the RGB image of the means of `shrink` x `shrink` pixels, made in stripes."""
    width, height = (-(-side // shrink) for side in image.size)
    reduced = Image.new("RGB", (width, height))
    rows = max(1, _STRIPE_PIXELS // (image.width * shrink))
    for top in range(0, height, rows):
        end = min((top + rows) * shrink, image.height)
        stripe = image.crop((0, top * shrink, image.width, end))
        reduced.paste(to_rgb(stripe).reduce(shrink), (0, top))
    return reduced


def _load(image: Image.Image) -> None:
    """Decode all pixels; damaged blocks behind those of a PNG do not matter."""
    try:
        image.load()
    except Exception:
        if image.format != "PNG" or image.tile:  # type: ignore[attr-defined]  # pixels are missing
            raise


def _load_partial(image: Image.Image) -> None:
    """Decode as much as there is; raise what Pillow raises where there is nothing."""
    if image.format in ("JPEG", "MPO"):
        # the marker at the end of a JPEG: libjpeg fills what is missing before it with grey
        end, read = [_JPEG_END], image.load_read  # type: ignore[attr-defined]
        image.load_read = lambda count: read(count) or (end.pop() if end else b"")  # type: ignore[attr-defined]
    try:
        _load(image)
    except OSError as error:
        if error.errno is not None or "truncated" not in str(error):
            raise
        image.tile = []  # type: ignore[attr-defined]  # so that Pillow does not read on
        image.load()


def _load_header(image: Image.Image) -> None:
    """Decode a PNG whose EXIF may stand behind the pixels, as much of it as there is."""
    if image.format == "PNG" and "exif" not in image.info:
        _load_partial(image)


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation from 1 to 8; 1 where there is none, 0 where EXIF is damaged."""
    if image.format == "PNG" and "exif" not in image.info:
        _load(image)  # EXIF may stand behind the pixels
    if _DAMAGED_EXIF in image.info:
        return 0
    try:
        found = image.getexif().get(EXIF_ORIENTATION, 1)
        return int(found) if found in _TURNS else 1
    except Exception:  # Pillow raises many kinds; the pixels are whole
        return 0


def to_rgb(image: Image.Image) -> Image.Image:
    """Return an 8-bit RGB image; 16-bit grey keeps its upper byte, transparency is dropped."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        # modes I and I;16 hold 16-bit values, F either fractions or 8-bit values
        top = 65535.0 if image.mode != "F" else (1.0 if values.max(initial=0) <= 1 else 255.0)
        grey = np.empty(values.shape, dtype=np.uint8)
        rows = max(1, _STRIPE_PIXELS // max(1, image.width))
        for start in range(0, len(values), rows):
            part = values[start : start + rows].astype(np.float32)
            grey[start : start + rows] = np.clip(part * (255.0 / top), 0, 255)
        return Image.fromarray(grey).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _upright_size(image: Image.Image) -> tuple[int, int]:
    _load_header(image)
    (width, height), orientation = raw_size_of(image)
    return (height, width) if orientation in SWAPPED else (width, height)


def raw_size_of(image: Image.Image) -> tuple[tuple[int, int], int]:
    """Return width and height of an image before EXIF turns it, and its `orientation_of`."""
    orientation = orientation_of(image)
    size = image.size
    if isinstance(image, TiffImageFile):  # newer Pillows give a TIFF's upright size
        size = (image.tag_v2[_TIFF_WIDTH], image.tag_v2[_TIFF_HEIGHT])
    return size, orientation


def _region(crop: Crop, size: tuple[int, int]) -> Box:
    x0, y0, x1, y1 = widened(crop.box, crop.margin, size) if crop.box else (0.0, 0.0, *size)
    if crop.part is None:
        return x0, y0, x1, y1
    left, top, right, bottom = crop.part
    width, height = x1 - x0, y1 - y0
    ends = min(x0 + right * width, x1), min(y0 + bottom * height, y1)  # not beyond by rounding
    return x0 + left * width, y0 + top * height, *ends


def widened(box: Box, margin: float, size: tuple[int, int]) -> Box:
    """Return a box widened by a margin and clipped to the image; the whole image if outside it."""
    x0, y0, x1, y1 = box
    dx, dy = margin * (x1 - x0), margin * (y1 - y0)
    cut = (max(x0 - dx, 0.0), max(y0 - dy, 0.0), min(x1 + dx, size[0]), min(y1 + dy, size[1]))
    return cut if cut[0] + 1 <= cut[2] and cut[1] + 1 <= cut[3] else (0.0, 0.0, *size)


def _scale(image: Image.Image, region: Box, height_width: tuple[int, int]) -> int:
    """Return n of the smallest scale 1/n that keeps _OVERSAMPLING times the target pixels.

    A JPEG is decoded at it; of other formats only images of very many pixels have one.
    """
    if image.format != "JPEG" and image.width * image.height <= _MANY_PIXELS:
        return 1
    height, width = height_width
    shrink = min((region[2] - region[0]) / width, (region[3] - region[1]) / height) / _OVERSAMPLING
    return next(factor for factor in (8, 4, 2, 1) if factor <= max(shrink, 1))


def _resized(
    pixels: Image.Image, orientation: int, size: tuple[int, int], crops: list[tuple[Box, Crop]]
) -> list[Pixels]:
    """Return regions at the sizes of their crops; `size` and regions are upright, at full scale.

    `pixels` are as the file has them, at any scale. Only the rows that are needed are turned and
    converted, since a second image of this size may not fit into memory.
    """
    width, height = pixels.size[::-1] if orientation in SWAPPED else pixels.size
    scales = np.array([width / size[0], height / size[1]] * 2)
    # Pillow rounds so, too: moved by whole pixels, a box stays the same to the last bit
    boxes = (np.array([region for region, _ in crops]) * scales).astype(np.float32)
    targets = [crop.height_width[::-1] for _, crop in crops]
    reach = [
        _REACH * max((bottom - top) / rows, 1) + 1
        for (_, top, _, bottom), (_, rows) in zip(boxes, targets, strict=True)
    ]
    first, last = 0, height
    # Pillow 13 begins with the columns of a high and narrow image: with fewer rows it would not,
    # and round otherwise
    if all(height - rows <= 2 * max(width - columns, 0) for columns, rows in targets):
        first = max(math.floor((boxes[:, 1] - reach).min()), 0)
        last = min(math.ceil((boxes[:, 3] + reach).max()), height)
    upright = to_rgb(_upright_rows(pixels, orientation, first, last))
    boxes[:, 1::2] -= first
    return [
        np.array(upright.resize(target, INTERPOLATIONS[crop.interpolation], box=box.tolist()))
        for target, box, (_, crop) in zip(targets, boxes, crops, strict=True)
    ]


def _upright_rows(pixels: Image.Image, orientation: int, first: int, last: int) -> Image.Image:
    """Return upright rows, but for the last, of an image that EXIF has not turned yet."""
    if pixels.mode == "F":  # its range is that of all pixels
        pixels = to_rgb(pixels)
    sides = orientation in SWAPPED  # rows are columns of the file
    count = pixels.width if sides else pixels.height
    if orientation in _UPSIDE_DOWN:
        first, last = count - last, count - first
    if (first, last) != (0, count):
        box = (first, 0, last, pixels.height) if sides else (0, first, pixels.width, last)
        pixels = pixels.crop(box)
    turn = _TURNS.get(orientation)
    return pixels if turn is None else pixels.transpose(turn)


_PILLOW = re.compile(r"(PIL|pillow_heif)\b")


@contextmanager
def open_image(path: Path, data: bytes | None = None) -> Iterator[Image.Image]:
    """Open an image, or the bytes `data` of its file; pixels are decoded when first used.

    Raises UnreadableImageError, also for any error of Pillow inside the `with` block: its decoders
    raise many kinds, and none names the file. The file is always closed: Pillow leaves a file open
    if its first byte cannot be read.
    """
    try:
        source = path.open("rb") if data is None else BytesIO(data)
    except OSError as error:
        raise read_error(path, error) from error
    _silence_pillow()
    with source, _identify(path, source) as image:
        whole = image.width * image.height if _decoded_whole(image) else 0
        try:
            with image_memory.hold(whole):
                try:
                    yield image
                finally:
                    image.close()  # its pixels are freed before others take their place
        except Exception as error:
            raise _damaged(path, error) from error


def _silence_pillow() -> None:
    """Ignore warnings of Pillow: of odd EXIF, and of many pixels, which are counted here.

    For good: leaving `warnings.catch_warnings` in threads may leave all warnings ignored.
    """
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # Pillow's own limit refuses 200 million, too
    if ("ignore", None, Warning, _PILLOW, 0) not in warnings.filters:
        warnings.filterwarnings("ignore", module=_PILLOW.pattern)


def read_error(path: Path, error: OSError) -> UnreadableImageError:
    """Return the error of a file whose bytes the system cannot read."""
    if isinstance(error, FileNotFoundError):
        return UnreadableImageError(f"there is no image {path}", lasting=False)
    why = error.strerror or error
    sentence = f"image {path} cannot be read ({why}); replace or remove it"
    return UnreadableImageError(sentence, lasting=False)


def _identify(path: Path, source: IO[bytes]) -> Image.Image:
    """Return the image in an open file, without decoding its pixels."""
    try:
        head = source.read(_HEAD_BYTES)
        source.seek(0)
        formats = (*_FORMATS, *_register_heif()) if _is_heif(head) else _FORMATS
        if head.startswith(_TIFF_HEADS):
            _silence_libtiff()
        image = _open(source, head, formats)
    except Image.DecompressionBombError as error:
        what = f"is too large: it has more than the {MAX_PIXELS:,} pixels that are read"
        raise UnreadableImageError(f"image {path} {what}; shrink it", "bomb") from error
    except Exception as error:  # a damaged header makes Pillow's decoders raise almost anything
        raise _no_image(path, error) from error
    if image.width * image.height > MAX_PIXELS:
        raise UnreadableImageError(
            f"image {path} has {image.width}x{image.height} pixels, "
            f"more than the {MAX_PIXELS:,} that are read; shrink it",
            "bomb",
        )
    if path.suffix.lower() in RAW_SUFFIXES and image.format == "TIFF":  # a preview of few pixels
        raise _raw(path)
    return image


def _open(source: IO[bytes], head: bytes, formats: tuple[str, ...]) -> Image.Image:
    """Return the image in an open file; a PNG without its damaged blocks that are not pixels."""
    try:
        return Image.open(source, formats=formats)
    except Image.DecompressionBombError:
        raise
    except Exception:
        if not head.startswith(_PNG_START):
            raise
        source.seek(0)
        data, exif_is_damaged = _essential_blocks(source.read())
        image = Image.open(BytesIO(data), formats=formats)
        if exif_is_damaged:
            image.info[_DAMAGED_EXIF] = True
        return image


def _essential_blocks(data: bytes) -> tuple[bytes, bool]:
    """Return a PNG without texts and profiles, and whether its EXIF was damaged and left out."""
    kept, at, exif_is_damaged = [data[:8]], 8, False
    while at + 8 <= len(data):
        (length,), name = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        block = data[at : at + length + 12]
        whole = block[-4:] == struct.pack(">I", zlib.crc32(block[4:-4]))
        if name[:1].isupper() or (name in (b"tRNS", b"eXIf") and whole):
            kept.append(block)
        exif_is_damaged |= name == b"eXIf" and not whole
        at += length + 12
    return b"".join(kept), exif_is_damaged


def _is_heif(head: bytes) -> bool:
    """Return whether a file begins as HEIF, which Pillow reads with an extra only."""
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS


@cache
def _register_heif() -> tuple[str, ...]:
    """Register the reader of HEIF with Pillow; return its format, nothing if not installed."""
    if find_spec("pillow_heif") is None:
        return ()
    import pillow_heif  # its codecs take a tenth of a second to load

    pillow_heif.register_heif_opener(thumbnails=False)
    return ("HEIF",)


@cache
def _silence_libtiff() -> None:
    """Keep libtiff from printing what Pillow raises as an error.

    The handler is that of the library which Pillow is linked to, whichever that is. Windows does
    not find it there, and its lines stay.
    """
    with suppress(OSError, AttributeError):
        set_handler = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
        set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
        set_handler(None)


def _raw(path: Path) -> UnreadableImageError:
    what = "is a raw camera file, which kitbox does not read; save it as JPEG or TIFF"
    return UnreadableImageError(f"image {path} {what}, or remove it")


def _no_image(path: Path, error: Exception) -> UnreadableImageError:
    """Return the error of a file that is no image: it is empty, a web page or another format."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as refusal:
        return read_error(path, refusal)
    if not head:
        return UnreadableImageError(f"image {path} is empty; replace or remove it", "empty")
    missing = _missing_reader(head)
    if missing is not None:
        sentence = f"image {path} is in the format {missing}, or save it as JPEG"
        return UnreadableImageError(sentence, lasting=False)
    if path.suffix.lower() in RAW_SUFFIXES:
        return _raw(path)
    other = _other_format(head)
    if other is not None:
        what = f"is in the format {other}, which kitbox does not read; save it as PNG"
        return UnreadableImageError(f"image {path} {what}, or remove it")
    if not isinstance(error, UnidentifiedImageError):
        return _damaged(path, error)
    if _is_heif(head):
        return UnreadableImageError(f"image {path} is a damaged HEIF file; replace or remove it")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    web = text.startswith((b"<!doctype html", b"<html", b"<head", b"<body"))
    what = "is not an image but a web page" if web else "is not an image"
    return UnreadableImageError(f"image {path} {what}; replace or remove it")


def _missing_reader(head: bytes) -> str | None:
    """Return the format of a file whose reader is not installed, with the command, or None."""
    if _is_heif(head) and not _register_heif():
        return f"HEIF; {INSTALL_HEIF} to have it read"
    if head[4:12] in (b"ftypavif", b"ftypavis") and "AVIF" not in _FORMATS:
        return "AVIF; pip install 'pillow>=11.3' to have it read"
    return None


def _other_format(head: bytes) -> str | None:
    """Return the unsupported format that a file's first bytes belong to, or None."""
    first = head[:16].ljust(16, b"\0")  # as many as Pillow examines
    others = [name for name in Image.OPEN if name not in (*_FORMATS, "HEIF")]
    return next(
        (name for name in others if (accepts := Image.OPEN[name][1]) and accepts(first)), None
    )


def _damaged(path: Path, error: Exception) -> UnreadableImageError:
    """Return the error of a file at which a decoder failed."""
    if isinstance(error, OSError) and error.errno is not None:
        return read_error(path, error)
    cut = "truncated" in str(error).lower()
    what = "is truncated" if cut else f"cannot be decoded ({error})"
    sentence = f"image {path} {what}; replace or remove it"
    return UnreadableImageError(sentence, "truncated" if cut else "unreadable")
