"""The pictures of a page: of which images, how large, and in packs that are read when needed."""

import base64
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kitbox.images import thumbnails
from kitbox.images.thumbnails import Thumbnails
from kitbox.records import ImageSet, Progress
from kitbox.workspace import Workspace

# Pictures in a pack: about 200 kB, the least that is read at a time.
PER_PACK = 64
# Sides in pixels, from the one that shows nicks in a fluke to the one that shows whether it is one.
_SIDES = (256, 192, 144, 112)
# Bytes of a picture as text, for each pixel of its side squared; measured on whale flukes.
_BYTES = 0.1
# What pictures may take of a page of 15 MB.
_ROOM = 12_000_000


@dataclass(frozen=True)
class Pictures:
    """The pictures of a page by their numbers; `shapes` are width / height in hundredths."""

    parts: tuple[Thumbnails, ...]

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    @property
    def bytes(self) -> int:
        """How long the packs are, as base64 in JSON."""
        lengths = [4 * ((part.lengths + 2) // 3) + 3 for part in self.parts]
        return int(sum(length.sum() for length in lengths))

    @property
    def shapes(self) -> list[int]:
        """Width / height of each picture in hundredths; 150 where there is no picture."""
        found: list[int] = []
        for part in self.parts:
            x0, y0, x1, y1 = part.regions.T.astype(np.float64)
            there = part.lengths > 0
            shape = np.where(there, (x1 - x0) / np.where(there, y1 - y0, 1), 1.5)
            found += np.clip(np.round(100 * shape), 20, 900).astype(int).tolist()
        return found

    def packs(self) -> Iterator[tuple[str, list[str]]]:
        """Yield (name, pictures in base64), one pack at a time."""
        rows = [(part, row) for part in self.parts for row in range(len(part))]
        for number, start in enumerate(range(0, len(rows), PER_PACK)):
            yield f"pictures-{number}", _texts(rows[start : start + PER_PACK])


NO_PICTURES = Pictures(())


def of(
    image_sets: Sequence[ImageSet], workspace: Workspace, crop_margin: float | None
) -> Generator[Progress, None, Pictures]:
    """Return the pictures of images, numbered on from set to set; yields Progress.

    They are as large as a page of 15 MB allows, or where that is too small to see anything, of a
    middling size for a folder beside the page.
    """
    side = side_for(sum(len(images) for images in image_sets))
    parts = []
    for images in image_sets:
        part = yield from thumbnails.make(images, workspace, side=side, crop_margin=crop_margin)
        parts.append(part)
    return Pictures(tuple(parts))


def side_for(count: int) -> int:
    """Return the side in pixels of `count` pictures."""
    fitting = (side for side in _SIDES if count * _BYTES * side**2 <= _ROOM)
    return next(fitting, 144)


def _texts(rows: list[tuple[Thumbnails, int]]) -> list[str]:
    texts: list[str] = []
    for part in {id(part): part for part, _ in rows}.values():
        found = part.read([row for other, row in rows if other is part])
        texts += [base64.b64encode(picture).decode("ascii") for picture in found]
    return texts
