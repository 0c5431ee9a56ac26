"""Memory for very large images: how many of them are decoded at a time on a machine."""

import ctypes
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path

from kitbox import locks
from kitbox.errors import KitboxError
from kitbox.files import digest_of, is_own

# Pixels of a share of the memory. Smaller images never wait: of them a core decodes one.
SHARE_PIXELS = 50_000_000
# Bytes of the machine's memory for each share, a quarter of which decoding takes: ten for a pixel.
_SHARE_BYTES = 2e9
# What the largest image takes that is read.
_FEWEST_SHARES = 5
_HELD = "another image is decoded"
_POLL_SECONDS = 0.05


@contextmanager
def hold(pixels: int) -> Iterator[None]:
    """Hold the memory in which an image of so many pixels is decoded.

    Waits while other images of 50 megapixels or more, of all processes of this user on this
    machine, hold a quarter of its memory; one image is always let in. A process that ends, however
    it ends, holds nothing. Without a temporary folder that has locks, nothing is waited for. What
    the body has freed is given back to the system.
    """
    needed = min(pixels // SHARE_PIXELS, shares())
    folder = _folder() if needed else None
    if folder is None:
        yield
        return
    with ExitStack() as held:
        with suppress(KitboxError):  # the folder was removed meanwhile, or the disk is full
            _take(folder, needed, held)
        try:
            yield
        finally:
            _give_back()


@cache
def shares() -> int:
    """Return how many shares the memory of this machine, or of this container, has."""
    amounts = []
    with suppress(ValueError, OSError, AttributeError):  # not on Windows
        amounts.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with suppress(ValueError, OSError):  # "max" without a limit
        amounts.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return max(int(min(amounts, default=0) / _SHARE_BYTES), _FEWEST_SHARES)


def _take(folder: Path, needed: int, held: ExitStack) -> None:
    """Take shares, one image after the other, so that none waits for one that waits for it."""
    free = [folder / f"share-{number}" for number in range(shares())]
    with locks.lock(folder / "entrance"):
        while True:
            for share in [*free]:
                with suppress(locks.HeldError):
                    held.enter_context(locks.lock(share, _HELD))
                    free.remove(share)
                    needed -= 1
                if not needed:
                    return
            time.sleep(_POLL_SECONDS)


def _give_back() -> None:
    """Return freed memory to the system, which kitbox keeps for the next batch of a network."""
    with suppress(AttributeError, OSError, TypeError):  # macOS, musl, Windows
        ctypes.CDLL(None).malloc_trim(0)


@cache
def _folder() -> Path | None:
    """Return the folder of this user's locks, None where there can be none.

    One that somebody else has made is not used, since they could hold its locks for ever.
    """
    user = digest_of([os.path.expanduser("~")])[:12]
    try:
        folder = Path(tempfile.gettempdir()) / f"kitbox-{user}"
        folder.mkdir(mode=0o700, exist_ok=True)
        if not is_own(folder):
            return None
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) and locks.has_locks(folder) else None
