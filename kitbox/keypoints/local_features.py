"""Local features: the keypoints of a photograph with their descriptors."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kitbox.errors import KitboxError
from kitbox.images import preprocessing
from kitbox.images.preprocessing import Box, Crop, Pixels
from kitbox.records import Floats

# What is read around a box beyond its margin, as a share of its width and height: a keypoint at
# the edge of the box is described by the pixels around it.
_CONTEXT = 0.1


@dataclass(frozen=True)
class LocalFeatures:
    """The keypoints of a picture, best first.

    `points (n, 2) float32` are x and y in pixels of the picture that keypoints were found in,
    whose width and height are `size`. `descriptors (n, d)` are of the matcher's own type,
    `scores (n,) float32` how distinct the keypoints are.
    """

    points: Floats
    descriptors: NDArray[Any]
    scores: Floats
    size: tuple[int, int]

    def __post_init__(self) -> None:
        lengths = {len(self.points), len(self.descriptors), len(self.scores)}
        if len(lengths) > 1 or self.points.shape[1:] != (2,):
            raise KitboxError(
                f"{self.points.shape} points, {self.descriptors.shape} descriptors and "
                f"{self.scores.shape} scores do not fit together"
            )

    def __len__(self) -> int:
        return len(self.points)

    def take(self, rows: NDArray[Any]) -> "LocalFeatures":
        """Return the features of some rows (indices or a mask), in that order."""
        return LocalFeatures(
            self.points[rows], self.descriptors[rows], self.scores[rows], self.size
        )

    def inside(self, box: Box | None) -> "LocalFeatures":
        """Return the features whose points lie in a box of the picture; None is all of it."""
        if box is None:
            return self
        x, y = self.points[:, 0], self.points[:, 1]
        return self.take((x >= box[0]) & (x <= box[2]) & (y >= box[1]) & (y <= box[3]))

    def best(self, count: int) -> "LocalFeatures":
        """Return the `count` features of the highest scores, best first.

        Equals are ordered by x, y and their order before.
        """
        order = np.lexsort((self.points[:, 1], self.points[:, 0], -self.scores))
        return self.take(order[:count])

    def to_bytes(self) -> bytes:
        """Return the features as the bytes of an npz archive."""
        buffer = io.BytesIO()
        np.savez(
            buffer,
            points=self.points,
            descriptors=self.descriptors,
            scores=self.scores,
            size=np.array(self.size),
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "LocalFeatures":
        """Return the features that `to_bytes` wrote."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            width, height = arrays["size"].tolist()
            return cls(arrays["points"], arrays["descriptors"], arrays["scores"], (width, height))


@dataclass(frozen=True)
class Picture:
    """Pixels (h, w, 3) uint8 RGB in which keypoints are found, and the box that they must lie in.

    `box` is in pixels of the picture, None where the whole of it counts.
    """

    pixels: Pixels
    box: Box | None


def read_picture(path: Path, box: Box | None, *, size: int, margin: float) -> Picture:
    """Return a photograph, upright, or what surrounds its box, with the aspect ratio kept.

    The longer side of the photograph, or of the box widened by `margin`, has `size` pixels; what
    is read around the box beyond that comes on top. Raises UnreadableImageError that names the
    file.
    """
    photograph, region = preprocessing.size_and_region(path, box, margin + _CONTEXT)
    kept = preprocessing.widened(box, margin, photograph) if box else region
    scale = size / max(kept[2] - kept[0], kept[3] - kept[1])
    width, height = (
        max(round((end - begin) * scale), 1)
        for begin, end in ((region[0], region[2]), (region[1], region[3]))
    )
    crop = Crop((height, width), box, margin + _CONTEXT)
    [pixels] = preprocessing.read_crops(path, [crop])
    if kept == region:
        return Picture(pixels, None)
    across, down = width / (region[2] - region[0]), height / (region[3] - region[1])
    inner = (
        (kept[0] - region[0]) * across,
        (kept[1] - region[1]) * down,
        (kept[2] - region[0]) * across,
        (kept[3] - region[1]) * down,
    )
    return Picture(pixels, inner)


def points_in_photograph(
    features: LocalFeatures, path: Path, box: Box | None, margin: float
) -> Floats:
    """Return keypoints (n, 2) of a picture that `read_picture` read, in pixels of the photograph.

    `margin` and `box` are those that it was read with.
    """
    _, (left, top, right, bottom) = preprocessing.size_and_region(path, box, margin + _CONTEXT)
    width, height = features.size
    scale = np.array([(right - left) / width, (bottom - top) / height], dtype=np.float32)
    points: Floats = features.points * scale + np.array([left, top], dtype=np.float32)
    return points
