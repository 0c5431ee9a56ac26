"""Opens an image file, and says in a sentence what is wrong with one that cannot be decoded."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import IO

from PIL import Image, UnidentifiedImageError

from kitbox.errors import KitboxError

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
def opened(path: Path, data: bytes | None = None) -> Iterator[Image.Image]:
    """Give an image, of its bytes where they are given, with no pixel decoded.

    Raises UnreadableImageError. The file is closed with it, whatever is raised: Pillow would leave
    one open whose first byte cannot be read.
    """
    try:
        source = path.open("rb") if data is None else BytesIO(data)
    except OSError as error:
        raise unread(path, error) from error
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
def naming(path: Path) -> Iterator[None]:
    """Turn whatever Pillow raises of a damaged file into a sentence that names it.

    Each form of it has errors of its own, and none says which.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd EXIF; the pixels are fine
            yield
    except Exception as error:
        raise _damaged(path, error) from error


def unread(path: Path, error: OSError) -> UnreadableImageError:
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
        return unread(path, refusal)
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
        return unread(path, error)
    cut = "truncated" in str(error).lower()
    what = "is truncated" if cut else f"cannot be decoded ({error})"
    sentence = f"image {path} {what}; replace or remove it"
    return UnreadableImageError(sentence, "truncated" if cut else "unreadable")
