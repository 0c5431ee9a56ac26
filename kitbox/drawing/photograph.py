"""One photograph of a whale: sea, light, splash, and what the camera adds."""

from dataclasses import dataclass

import cv2
import numpy as np

from kitbox.drawing import layer, noise, sea
from kitbox.drawing.noise import Field
from kitbox.drawing.pose import Pose, pose
from kitbox.drawing.whale import SPAN, Pixels, Whale

Box = tuple[int, int, int, int]

DRAWN_SIDE = 1024  # larger photographs are enlarged from this width: a long lens has no more detail


@dataclass(frozen=True)
class Photograph:
    """Pixels (height, width, 3) of blue, green and red, and the box x0, y0, x1, y1 of the fluke."""

    pixels: Pixels
    box: Box


def photograph(rng: np.random.Generator, subject: Whale, height: int, width: int) -> Photograph:
    """Photograph a whale once; pose, light, water and camera come out of `rng`."""
    scale = min(1.0, DRAWN_SIDE / width)
    drawn_height, drawn_width = round(height * scale), round(width * scale)
    stance = pose(rng, subject.outline, drawn_height, drawn_width)
    brightness, opacity = _projected(subject, stance, drawn_height, drawn_width)
    day = sea.weather(rng)
    half = (-(-drawn_height // 2), -(-drawn_width // 2))  # the sea is soft: half the size will do
    background = layer.enlarged(sea.sea(rng, day, *half), drawn_height, drawn_width)
    depth = _depth(rng, stance, drawn_height, drawn_width)
    dry = opacity * noise.step(-depth * drawn_height, 4)  # four pixels of wet edge
    white_water = layer.enlarged(sea.foam(rng, depth[::2, ::2], half[1]), drawn_height, drawn_width)
    skin = _lit(rng, brightness, day, stance)
    picture = layer.over(layer.over(background, skin, dry), sea.FOAM, white_water)
    _drops(rng, picture)
    pixels = _camera(rng, picture, height, width)
    return Photograph(pixels, _box(dry, height, width))


def near_duplicate(rng: np.random.Generator, original: Photograph) -> Photograph:
    """Crop a little and resize, as pictures change on their way through other people's hands."""
    height, width = original.pixels.shape[:2]
    x0, y0, x1, y1 = original.box
    # up to 3 % of a side, and never into the box
    left, right = (int(min(rng.uniform(0, 0.03) * width, room)) for room in (x0, width - x1))
    above, below = (int(min(rng.uniform(0, 0.03) * height, room)) for room in (y0, height - y1))
    cut = original.pixels[above : height - below, left : width - right]
    scale = rng.uniform(0.6, 1)
    size = max(round(cut.shape[1] * scale), 1), max(round(cut.shape[0] * scale), 1)
    pixels: Pixels = cv2.resize(cut, size, interpolation=cv2.INTER_AREA)
    inside = np.array([(x0 - left, y0 - above), (x1 - left, y1 - above)])
    corners = np.rint(inside * np.array(size) / (cut.shape[1], cut.shape[0])).astype(int)
    return Photograph(pixels, (*corners[0].tolist(), *corners[1].tolist()))


def encoded(picture: Photograph, quality: int) -> bytes:
    """Return the photograph as a JPEG file."""
    _, data = cv2.imencode(".jpg", picture.pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return bytes(data)


def _projected(subject: Whale, stance: Pose, height: int, width: int) -> tuple[Field, Field]:
    """Brightness and opacity of the fluke, each (height, width) from 0 to 1."""
    x, y = stance.lookup(height, width)
    shrunk = min(1.0, stance.size / SPAN)  # a smaller skin first, lest fine lines flicker
    skin = cv2.resize(subject.skin, None, fx=shrunk, fy=shrunk, interpolation=cv2.INTER_AREA)
    seen = cv2.remap(skin, x * np.float32(shrunk), y * np.float32(shrunk), cv2.INTER_LINEAR)
    both: Field = seen.astype(np.float32) / np.float32(255)
    return both[..., 0], both[..., 1]


def _depth(rng: np.random.Generator, stance: Pose, height: int, width: int) -> Field:
    """Depth below the water in shares of the height, negative in the air; the surface is wavy."""
    swell = noise.rough(rng, 1, width, 2, int(rng.integers(5, 12)), 3)[:1]
    surface = np.float32(stance.surface / height) + np.float32(rng.uniform(0.005, 0.03)) * swell
    rows = np.arange(height, dtype=np.float32)[:, None] / np.float32(height)
    depth: Field = rows - surface
    return depth


def _lit(rng: np.random.Generator, brightness: Field, day: sea.Weather, stance: Pose) -> Field:
    """Colour the skin: each half has its own light, black skin mirrors the sky."""
    height, width = brightness.shape
    x = np.linspace(-1, 1, width, dtype=np.float32)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    middle = 2 * stance.seen(np.zeros((1, 2)))[0, 0] / width - 1
    side = np.clip((x - np.float32(middle)) / np.float32(0.04), -1, 1)
    across, down, fold = rng.normal(0, 0.12, 3).astype(np.float32)
    light = np.exp(across * x + fold * side) * np.exp(down * y)
    # pigment stands out less in haze and against the light
    strength, contrast = rng.uniform(0.7, 1.15), rng.uniform(0.65, 1.0)
    lit = (brightness * np.float32(contrast * strength) + np.float32(0.02 * strength)) * light
    patchy = noise.rough(rng, height // 4, width // 4, 3, 6, 2)  # a quarter: it is smooth
    veil = layer.enlarged(np.clip(1 + np.float32(0.8) * patchy, 0, None), height, width)
    warm = np.array((rng.uniform(0.9, 1.05), 1.0, rng.uniform(0.95, 1.1)), np.float32)
    mirrored = np.float32(rng.uniform(0, 0.16)) * (day.sky + day.water) / 2
    return layer.mixed((lit, veil), (warm, mirrored))


def _drops(rng: np.random.Generator, picture: Field) -> None:
    """Scatter drops of spray, in one or two clouds."""
    height, width = picture.shape[:2]
    for _ in range(rng.integers(0, 3)):
        middle = rng.uniform((0, 0.3), (1, 1)) * (width, height)
        places = rng.normal(middle, (0.12 * width, 0.2 * height), (rng.integers(10, 150), 2))
        radii = rng.integers(1, max(2, width // 250) + 1, len(places))
        for (x, y), radius in zip(places.astype(int).tolist(), radii.tolist(), strict=True):
            cv2.circle(picture, (x, y), radius, sea.FOAM.tolist(), -1)


def _camera(rng: np.random.Generator, picture: Field, height: int, width: int) -> Pixels:
    """Exposure, colour cast or grey, blur, size and grain."""
    channels = np.diag(rng.uniform(0.94, 1.06, 3))
    if rng.random() < 0.25:
        channels = np.array([(0.11, 0.59, 0.30)]) @ channels  # the luma of blue, green, red
    exposure, curve = np.exp(rng.normal(0.15, 0.12)), rng.uniform(0.8, 1.2)  # curve: flat to hard
    fog = rng.uniform(0, 0.1) if rng.random() < 0.3 else 0
    film = np.clip(np.linspace(0, 1, 256) * exposure, 0, 1) ** curve * (1 - fog) + fog
    light = np.clip(cv2.transform(picture, channels * 255), 0, 255).astype(np.uint8)
    pixels = cv2.LUT(light, np.rint(film * 255).astype(np.uint8))
    pixels = _grainy(rng, _blurred(rng, pixels))
    pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    return pixels if pixels.ndim == 3 else cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)


def _blurred(rng: np.random.Generator, pixels: Pixels) -> Pixels:
    """Out of focus, moved, or sharp."""
    kind, strength = rng.random(), rng.uniform(0.001, 0.005) * pixels.shape[1]
    blurred: Pixels = pixels
    if kind < 0.2:
        blurred = cv2.GaussianBlur(pixels, (0, 0), max(strength, 0.5))
    elif kind < 0.35:
        reach = max(3, round(2 * strength))
        angle = rng.uniform(0, np.pi)
        kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
        ahead = np.array([np.cos(angle), np.sin(angle)]) * reach
        ends = [tuple(np.rint(reach + sign * ahead).astype(int).tolist()) for sign in (-1, 1)]
        cv2.line(kernel, ends[0], ends[1], 1.0, 1)
        blurred = cv2.filter2D(pixels, -1, kernel / kernel.sum())
    return blurred


def _grainy(rng: np.random.Generator, pixels: Pixels) -> Pixels:
    """Add one tile of grain over and over: nobody sees the repeat, and it is quick."""
    height, width = pixels.shape[:2]
    tile = rng.normal(0, rng.uniform(0.5, 8), (128, 128)).astype(np.int16)
    grain = cv2.repeat(tile, -(-height // 128), -(-width // 128))[:height, :width]
    grainy: Pixels = cv2.add(
        pixels, cv2.merge([grain] * (pixels.size // grain.size)), dtype=cv2.CV_8U
    )
    return grainy


def _box(dry: Field, height: int, width: int) -> Box:
    """The box of what is seen of the fluke, in pixels of the finished photograph."""
    seen = dry > 0.5
    columns, rows = (np.flatnonzero(seen.any(axis)) for axis in (0, 1))
    wide, high = width / seen.shape[1], height / seen.shape[0]
    x0, x1 = round(columns[0] * wide), round((columns[-1] + 1) * wide)
    y0, y1 = round(rows[0] * high), round((rows[-1] + 1) * high)
    return x0, y0, min(x1, width), min(y1, height)


def frame(rng: np.random.Generator, long_side: int) -> tuple[int, int]:
    """Draw the height and width of a photograph; widths are log-uniform, so most are small."""
    smallest = max(long_side / 5, min(long_side, 300))  # 600 px of the default 3,000
    width = np.exp(rng.uniform(np.log(smallest), np.log(long_side)))
    height = min(width * rng.uniform(0.38, 0.52), 0.4 * long_side)
    return round(height), round(width)
