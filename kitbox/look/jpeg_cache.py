"""JPEGs of photographs for the review page, with the most recent ones in memory."""

import io
from collections import OrderedDict
from pathlib import Path
from threading import Lock

from PIL import Image

from kitbox.images import preprocessing

# Longest sides in pixels that the page may request: a grid, a strip, a pair, and zoomed in.
SIZES = (200, 480, 1200, 2800)
# JPEGs in memory: a few thousand of a grid, or a hundred of the largest.
_MAX_BYTES = 100_000_000
_QUALITY = 88


class JpegCache:
    """Encodes images as JPEGs and keeps the most recently used ones; safe to use from threads."""

    def __init__(self, max_bytes: int = _MAX_BYTES) -> None:
        """Keep at most `max_bytes` of JPEGs, but always the latest one."""
        self._max_bytes = max_bytes
        self._jpegs: OrderedDict[tuple[Path, int, int], bytes] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def jpeg(self, path: Path, longest: int) -> bytes:
        """Return an image as a JPEG whose longest side is at most `longest` pixels.

        Raises UnreadableImageError that names the file and its fault.
        """
        key = (path, longest, _modified(path))
        with self._lock:
            if key in self._jpegs:
                self._jpegs.move_to_end(key)
                return self._jpegs[key]
        encoded = _encode(path, longest)
        with self._lock:
            if key not in self._jpegs:
                self._jpegs[key] = encoded
                self._bytes += len(encoded)
            while self._bytes > self._max_bytes and len(self._jpegs) > 1:
                self._bytes -= len(self._jpegs.popitem(last=False)[1])
        return encoded

    @property
    def size(self) -> int:
        """Bytes of JPEGs in memory."""
        return self._bytes


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0  # reading the image raises the proper error


def _encode(path: Path, longest: int) -> bytes:
    width, height = preprocessing.upright_size(path)
    scale = min(1.0, longest / max(width, height))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    file = io.BytesIO()
    Image.fromarray(preprocessing.read(path, size)).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
