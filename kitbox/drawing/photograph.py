"""One photograph of a whale: fluke, sea, light and spray, seen through a camera."""

from dataclasses import dataclass

import cv2
import numpy as np

from kitbox.drawing import layer, noise, sea
from kitbox.drawing.camera import Pixels, developed
from kitbox.drawing.noise import Field
from kitbox.drawing.pose import Pose, pose
from kitbox.drawing.whale import SPAN, Whale

Box = tuple[int, int, int, int]

DRAWN_SIDE = 896  # wider photographs are enlarged from this: a long lens shows no more detail
WET_EDGE = 4  # pixels over which the fluke goes under


@dataclass(frozen=True)
class Photograph:
    """Pixels (height, width, 3) of blue, green and red, and the box x0, y0, x1, y1 of the fluke."""

    pixels: Pixels
    box: Box


def photograph(rng: np.random.Generator, subject: Whale, height: int, width: int) -> Photograph:
    """Photograph a whale once; pose, light, water and camera all come out of `rng`."""
    scale = min(1.0, DRAWN_SIDE / width)
    size = round(height * scale), round(width * scale)
    soft = -(-size[0] // 2), -(-size[1] // 2)  # waves and foam are soft: half the size will do
    stance = pose(rng, subject.outline, *size)
    day = sea.weather(rng)
    brightness, opacity = _projected(subject, stance, *size)
    depth = _depth(rng, stance, *size)
    dry = opacity * noise.step(-depth * size[0], WET_EDGE)
    white_water = sea.foam(rng, depth[::2, ::2])
    water = layer.over(sea.sea(rng, day, *soft), sea.FOAM, white_water)
    # foam is laid under the fluke and the fluke shines through: one pass over all pixels, not two
    shown = dry * (1 - layer.enlarged(white_water, *size))
    skin = _lit(rng, brightness, day, stance)
    picture = layer.over(layer.enlarged(water, *size), skin, shown)
    _sprinkle(rng, picture)
    return Photograph(developed(rng, picture, height, width), _box(dry, height, width))


def near_duplicate(rng: np.random.Generator, original: Photograph) -> Photograph:
    """Crop a little and resize, as pictures change on their way through other people's hands."""
    height, width = original.pixels.shape[:2]
    x0, y0, x1, y1 = original.box
    # up to 3 % of a side, and never into the box
    left, right = (int(min(rng.uniform(0, 0.03) * width, room)) for room in (x0, width - x1))
    above, below = (int(min(rng.uniform(0, 0.03) * height, room)) for room in (y0, height - y1))
    cut = original.pixels[above : height - below, left : width - right]
    scale = rng.uniform(0.6, 1)
    size = round(cut.shape[1] * scale), round(cut.shape[0] * scale)
    pixels: Pixels = cv2.resize(cut, size, interpolation=cv2.INTER_AREA)
    corners = np.array([(x0 - left, y0 - above), (x1 - left, y1 - above)])
    corners = np.rint(corners * size / (cut.shape[1], cut.shape[0])).astype(int)
    return Photograph(pixels, (*corners[0].tolist(), *corners[1].tolist()))


def _projected(subject: Whale, stance: Pose, height: int, width: int) -> tuple[Field, Field]:
    """Brightness and opacity of the fluke, each (height, width) from 0 to 1."""
    x, y = stance.lookup(height, width)
    skin = subject.skin
    if stance.size < 0.7 * SPAN:  # then a smaller skin first, lest fine lines break up
        shrunk = stance.size / SPAN
        skin = cv2.resize(skin, None, fx=shrunk, fy=shrunk, interpolation=cv2.INTER_AREA)
        x, y = x * np.float32(shrunk), y * np.float32(shrunk)
    seen = cv2.remap(skin, x, y, cv2.INTER_LINEAR)
    both: Field = seen.astype(np.float32) / np.float32(255)
    return both[..., 0], both[..., 1]


def _depth(rng: np.random.Generator, stance: Pose, height: int, width: int) -> Field:
    """Depth below the water in shares of the height, negative in the air; the surface is wavy."""
    swell = np.clip(noise.rough(rng, 1, width, 2, int(rng.integers(5, 12)), 3), -3, 3)
    surface = np.float32(stance.surface / height) + np.float32(rng.uniform(0.005, 0.03)) * swell
    rows = np.arange(height, dtype=np.float32)[:, None] / np.float32(height)
    depth: Field = rows - surface
    return depth


def _lit(rng: np.random.Generator, brightness: Field, day: sea.Weather, stance: Pose) -> Field:
    """Colour the skin: each half has its own light, wet black skin mirrors sky and water."""
    height, width = brightness.shape
    x = np.linspace(-1, 1, width, dtype=np.float32)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    middle = 2 * stance.seen(np.zeros((1, 2)))[0, 0] / width - 1
    half = np.clip((x - np.float32(middle)) / np.float32(0.04), -1, 1)  # with a soft fold between
    across, down, fold = rng.normal(0, 0.12, 3).astype(np.float32)
    light = np.exp(across * x + fold * half) * np.exp(down * y)
    # pigment stands out less in haze and against the light
    strength, contrast = rng.uniform(0.7, 1.15), rng.uniform(0.65, 1)
    lit = (brightness * np.float32(contrast * strength) + np.float32(0.02 * strength)) * light
    patchy = 1 + np.float32(0.8) * noise.rough(rng, height // 4, width // 4, 3, 6, 2)
    veil = layer.enlarged(np.clip(patchy, 0, None), height, width)
    warm = np.array((rng.uniform(0.9, 1.05), 1, rng.uniform(0.95, 1.1)), np.float32)
    mirrored = np.float32(rng.uniform(0, 0.08)) * (day.sky + day.water)
    return layer.mixed((lit, veil), (warm, mirrored))


def _sprinkle(rng: np.random.Generator, picture: Field) -> None:
    """Scatter drops of spray over a picture, in no, one or two clouds."""
    height, width = picture.shape[:2]
    for _ in range(rng.integers(0, 3)):
        middle = rng.uniform((0, 0.3), 1) * (width, height)
        places = rng.normal(middle, (0.12 * width, 0.2 * height), (rng.integers(10, 150), 2))
        radii = rng.integers(1, max(2, width // 250) + 1, len(places))  # up to 0.4 % of the width
        for place, radius in zip(places.astype(int).tolist(), radii.tolist(), strict=True):
            cv2.circle(picture, place, radius, sea.FOAM.tolist(), cv2.FILLED)


def _box(dry: Field, height: int, width: int) -> Box:
    """Bound what the water leaves of the fluke, in pixels of the finished photograph."""
    seen = dry > 0.5
    columns, rows = (np.flatnonzero(seen.any(axis)) for axis in (0, 1))
    wide, high = width / seen.shape[1], height / seen.shape[0]
    x0, x1 = round(columns[0] * wide), round((columns[-1] + 1) * wide)
    y0, y1 = round(rows[0] * high), round((rows[-1] + 1) * high)
    return x0, y0, x1, y1
