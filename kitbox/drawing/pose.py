"""How a fluke stands before the camera: the way from skin to picture, and back.

Forwards, a point of the flat outline is bent (each half on its own: foreshortening, curl, lift),
then sent through one homography (roll, perspective, size, place). Every step can be undone in
closed form, so the picture is drawn by a single lookup.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from kitbox.drawing import whale
from kitbox.drawing.noise import Field
from kitbox.drawing.outline import STOCK_END, Outline, Points

GRID = 8  # pixels between the points where the lookup is computed; linear between them


@dataclass(frozen=True)
class Bend:
    """The two halves out of their plane; the tuples are left and right, lengths in half spans."""

    spread: tuple[float, float]  # foreshortening of each half
    lift: tuple[float, float]  # how high the tips are raised
    curl: tuple[float, float]  # share by which the tips are shortened
    height: float  # foreshortening from notch to stock
    twist: float  # one half shows more of its height than the other
    flutter: tuple[float, float]  # height and phase of a wave along the span

    def undone(self, x: Points, y: Points) -> tuple[Points, Points]:
        """Find the flat point that is seen at (x, y)."""
        spread, lift, curl = (
            np.where(x < 0, left, right) for left, right in (self.spread, self.lift, self.curl)
        )
        out = np.clip(x / spread, -1.5, 1.5)  # beyond the tips any value will do
        flat = out * (1 + curl * out**2) / (1 + curl)
        return flat, (y - self._raised(flat, lift)) / self._height(flat)

    def done(self, points: Points) -> Points:
        """Bend flat points (n, 2); the inverse of `undone`."""
        seen = np.linspace(-1.2, 1.2, 1201)  # the tips are at 1, give or take the foreshortening
        flat, _ = self.undone(seen, np.zeros_like(seen))
        x, y = points.T
        lift = np.where(x < 0, *self.lift)
        risen = y * self._height(x) + self._raised(x, lift)
        return np.stack([np.interp(x, flat, seen), risen], 1)

    def _raised(self, flat: Points, lift: Points) -> Points:
        height, phase = self.flutter
        wave = height * np.sin(5 * flat + phase)  # five radians: less than one wave in the span
        return lift * np.abs(flat) ** 1.3 + wave  # nearly straight, as flukes are

    def _height(self, flat: Points) -> Points:
        return self.height * (1 + self.twist * np.clip(flat, -1, 1))


@dataclass(frozen=True)
class Pose:
    """A bend and the homography (3, 3) from bent half spans to pixels of the picture."""

    bend: Bend
    homography: Points
    surface: float  # height of the water in pixels from the top
    size: float  # pixels of the picture in half a span

    def lookup(self, height: int, width: int) -> tuple[Field, Field]:
        """Find for every pixel the pixel of the skin that is seen there."""
        rows, columns = -(-height // GRID) + 2, -(-width // GRID) + 2
        x, y = np.meshgrid(*((np.arange(n) - 0.5) * GRID - 0.5 for n in (columns, rows)))
        backwards = np.linalg.inv(self.homography).astype(np.float64)
        plane = _through(backwards, np.stack([x.ravel(), y.ravel()], 1))
        flat = np.stack(self.bend.undone(plane[:, 0], plane[:, 1]), 1)
        coarse = whale.in_pixels(flat).astype(np.float32).reshape(rows, columns, 2)
        fine: Field = cv2.resize(coarse, (columns * GRID, rows * GRID))
        # the outermost half cell has no neighbour to be interpolated with, and is cut off
        fine = fine[GRID : GRID + height, GRID : GRID + width]
        return fine[..., 0], fine[..., 1]

    def seen(self, points: Points) -> Points:
        """Send flat points (n, 2) to pixels of the picture."""
        return _through(self.homography, self.bend.done(points))


def pose(rng: np.random.Generator, shape: Outline, height: int, width: int) -> Pose:
    """Stand a fluke into a picture: whole above the water, 40 to 95 % as wide as the picture."""
    bend = _bend(rng)
    turned = _turn(rng)
    corners = _through(turned, bend.done(shape.points))
    notch, stock = _through(turned, bend.done(np.array([(0, shape.notch), (0, STOCK_END)])))[:, 1]
    water = notch + rng.uniform(0.2, 0.7) * (stock - notch)
    dry = corners[corners[:, 1] < water]
    (left, top), (right, _) = dry.min(0), dry.max(0)
    # wide pictures of a high fluke are filled by its height: 92 % leaves air above and below
    share = 0.42 + 0.53 * rng.random() ** 0.4  # most pictures are cropped close to the fluke
    size = min(share * width / (right - left), 0.92 * height / (water - top))
    air, sides = height - size * (water - top), width - size * (right - left)
    moved = np.array(
        [
            (size, 0, rng.triangular(0, 0.5, 1) * sides - size * left),
            (0, size, rng.uniform(0.25, 0.85) * air - size * top),
            (0, 0, 1),
        ]
    )
    return Pose(bend, moved @ turned, float(size * water + moved[1, 2]), float(size))


def _bend(rng: np.random.Generator) -> Bend:
    yaw = np.clip(rng.normal(0, 0.22), -0.7, 0.7)  # radians
    near = 0.35 * np.sin(yaw)  # raised halves turn one to the camera and one away
    lift = rng.triangular(0, 0.22, 0.45)
    lean = rng.normal(0, 0.05)
    return Bend(
        spread=(float(np.cos(yaw) + near), float(np.cos(yaw) - near)),
        lift=(float(lift + lean), float(lift - lean)),
        curl=(float(rng.uniform(0, 0.3)), float(rng.uniform(0, 0.3))),
        height=float(rng.triangular(0.5, 1.0, 1.1)),
        twist=float(np.clip(rng.normal(0, 0.1), -0.3, 0.3)),
        flutter=(float(rng.normal(0, 0.02)), float(rng.uniform(0, 6.28))),
    )


def _turn(rng: np.random.Generator) -> Points:
    """Draw roll and perspective, with y turned downwards."""
    roll = rng.normal(0, 0.07)  # radians: 4 degrees
    cos, sin = np.cos(roll), np.sin(roll)
    rotation = np.array([(cos, -sin, 0), (sin, cos, 0), (0, 0, 1)])
    tilt = np.array([(1, 0, 0), (rng.normal(0, 0.06), 1, 0), (*rng.normal(0, 0.06, 2), 1)])
    turned: Points = rotation @ tilt @ np.diag((1.0, -1.0, 1.0))
    return turned


def _through(homography: Points, points: Points) -> Points:
    moved = points @ homography[:, :2].T + homography[:, 2]
    flat: NDArray[np.float64] = moved[:, :2] / moved[:, 2:]
    return flat
