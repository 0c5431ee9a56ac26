"""Pictures for the page: upright JPEGs of a wanted size, the last ones kept in memory."""

import io
from collections import OrderedDict
from pathlib import Path
from threading import Lock

from PIL import Image

from kitbox.images import reading

# Longest sides that a page may ask for: a grid, a strip, a pair, and zoomed in.
SIZES = (200, 480, 1200, 2800)
# JPEGs in memory: a few thousand of a grid, or a hundred of the largest.
_MOST_BYTES = 100_000_000
_QUALITY = 88


class Pictures:
    """Makes pictures and remembers the last ones; several threads may ask at once."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        """Remember pictures of at most so many bytes together."""
        self._most = most_bytes
        self._kept: OrderedDict[tuple[Path, int, int], bytes] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def jpeg(self, path: Path, longest: int) -> bytes:
        """Return an image as a JPEG whose longest side is at most `longest` pixels.

        Raises UnreadableImageError that names the file and what is wrong.
        """
        key = (path, longest, _changed(path))
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = _encoded(path, longest)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = made
                self._bytes += len(made)
            while self._bytes > self._most and len(self._kept) > 1:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return made

    @property
    def held(self) -> int:
        """How many bytes of pictures are in memory."""
        return self._bytes


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0  # reading it will say what is wrong


def _encoded(path: Path, longest: int) -> bytes:
    width, height = reading.upright_size(path)
    scale = min(1.0, longest / max(width, height))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    file = io.BytesIO()
    Image.fromarray(reading.read(path, size)).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
