"""One photograph of a whale: fluke, sea, light, spray and camera."""

from dataclasses import dataclass

import cv2
import numpy as np

from kitbox.synthetic import fields
from kitbox.synthetic.camera import develop
from kitbox.synthetic.fields import Field, Pixels
from kitbox.synthetic.fluke import SPAN, Pose, Whale, draw_pose

# in blue, green and red: two blues, a greenish and a light grey, and two dull evenings
WATERS = np.array(
    [
        (0.52, 0.34, 0.18),
        (0.58, 0.45, 0.28),
        (0.50, 0.40, 0.28),
        (0.56, 0.49, 0.40),
        (0.44, 0.37, 0.30),
        (0.46, 0.38, 0.27),
    ],
    np.float32,
)
SKY = np.array((1.0, 0.95, 0.88), np.float32)
FOAM = np.array((0.93, 0.91, 0.88), np.float32)
WHITE = np.ones(3, np.float32)
PATCH = 384  # side in pixels of a square of waves, which is repeated


@dataclass(frozen=True)
class Weather:
    """The light and the water of one photograph."""

    water: Field  # blue, green, red
    sky: Field
    waves: float  # contrast, relative to the light of the water
    glare: float  # brightness of the highest crests
    horizon: float  # from the top, relative to the picture's height; out of the picture if below 0
    tilt: float  # of the horizon from left to right, relative to the picture's height


def draw_weather(rng: np.random.Generator) -> Weather:
    """Draw the weather; one in seven photographs shows the horizon, one in three has glare."""
    water = WATERS[rng.integers(len(WATERS))] * rng.uniform(0.85, 1.2) + rng.normal(0, 0.02, 3)
    has_horizon, has_glare = rng.random() < 0.15, rng.random() < 0.3
    return Weather(
        water=np.clip(water, 0.05, 0.95).astype(np.float32),
        sky=np.float32(rng.uniform(0.6, 1)) * SKY,
        waves=rng.uniform(0.1, 0.35),
        glare=rng.uniform(0.4, 1.5) if has_glare else 0.0,
        horizon=rng.uniform(0.02, 0.3) if has_horizon else rng.uniform(-1.5, -0.1),
        tilt=rng.normal(0, 0.05),
    )


def draw_sea(rng: np.random.Generator, weather: Weather, height: int, width: int) -> Field:
    """Draw water up to the horizon and the sky above it, (height, width, 3)."""
    waves = _waves(rng, weather, height, width)
    glints = np.clip(waves - 0.9, 0, None) * np.float32(
        weather.glare
    )  # only crests above 0.9 glint
    swell = np.float32(0.25) * fields.smooth(rng, height, width, 2, 3)
    water = fields.mix_lights(
        (1 + np.float32(weather.waves) * (waves + swell), glints), (weather.water, WHITE)
    )
    below = _below_horizon(weather, height, width)
    air = fields.ramp(-below, 0.015)
    if weather.horizon > 0:
        air = np.maximum(air, np.float32(0.4) * np.exp(-5 * np.abs(below)))  # haze in the distance
    return fields.blend(water, weather.sky, air)


def draw_foam(rng: np.random.Generator, depth: Field) -> Field:
    """Draw the opacity of white water, (height, width) from 0 to 1.

    `depth` is relative to the picture's height, 0 at the surface and negative in the air.
    """
    height, width = depth.shape
    along = np.arange(width, dtype=np.float32) / width
    reach = np.full(width, rng.uniform(0.01, 0.05), np.float32)  # foam along the water line
    for _ in range(rng.poisson(1.2)):  # splashes, some over a large part of the fluke
        middle, spread = rng.uniform(0.05, 0.95), rng.uniform(0.03, 0.15)
        reach += rng.triangular(0.02, 0.05, 0.35) * np.exp(-(((along - middle) / spread) ** 2))
    near = 1 - np.maximum(-depth, 0) / reach - 2 * np.maximum(depth, 0) / (reach + 0.04)
    froth = fields.rough(rng, height, width, 8, 14, 5)
    amount = np.float32(rng.uniform(-2.2, -0.8))
    cover = fields.ramp(froth + np.float32(1.5) * near + amount, 1.6)
    bubbles = fields.rough(rng, height, width, 30, 60, 2)  # foam is never uniformly white
    opacity: Field = cover * np.clip(np.float32(0.75) + np.float32(0.25) * bubbles, 0, 1)
    return opacity


def _below_horizon(weather: Weather, height: int, width: int) -> Field:
    """Return the distance of each pixel below the horizon, relative to the picture's height."""
    x = np.linspace(-0.5, 0.5, width, dtype=np.float32)
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    return y - np.float32(weather.horizon) - np.float32(weather.tilt) * x


def _waves(rng: np.random.Generator, weather: Weather, height: int, width: int) -> Field:
    """Draw a repeated patch of waves in perspective, up to the horizon."""
    patch = fields.rough(rng, PATCH, PATCH, int(rng.integers(20, 45)), int(rng.integers(6, 18)), 3)
    patch = np.maximum(np.float32(0.8) - np.abs(patch), -1)  # sharp crests, shallow troughs
    patch = np.concatenate([patch, patch[::-1]])  # mirrored, so that patches have no seams
    patch = np.concatenate([patch, patch[:, ::-1]], axis=1)
    # the bottom of the picture is one unit away, the horizon infinitely far
    away = np.float32(1 - weather.horizon) / np.maximum(
        _below_horizon(weather, height, width), 0.01
    )
    away = away.astype(np.float32)
    zoom = np.float32(PATCH / width * rng.uniform(0.5, 1.2))
    x = np.arange(width, dtype=np.float32) - np.float32(width / 2)
    y = (
        np.float32(2.5 * height * (1 - weather.horizon)) * away
    )  # 2.5: the camera is low above the water
    waves: Field = cv2.remap(
        patch, x * away * zoom, y * zoom, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )
    waves /= np.maximum(away, 1) ** np.float32(0.7)  # distant waves blur
    return waves


Box = tuple[int, int, int, int]

DRAWN_SIDE = 896  # pixels; wider photographs are enlarged, as real ones have no more detail
WET_EDGE = 4  # pixels over which the fluke fades into the water


@dataclass(frozen=True)
class DrawnPhotograph:
    """Pixels (height, width, 3) in blue, green, red, and the box x0, y0, x1, y1 of the fluke."""

    pixels: Pixels
    box: Box


def draw_photograph(
    rng: np.random.Generator, subject: Whale, height: int, width: int, variety: float = 1.0
) -> DrawnPhotograph:
    """Draw one photograph of a whale; pose, light, water and camera come from `rng`.

    `variety` is 1 where photographs are as different as in a competition, less where poses and
    cameras are more alike.
    """
    scale = min(1.0, DRAWN_SIDE / width)
    size = round(height * scale), round(width * scale)
    half = -(-size[0] // 2), -(-size[1] // 2)  # waves and foam are soft: half the size is enough
    pose = draw_pose(rng, subject.outline, *size, variety)
    weather = draw_weather(rng)
    brightness, opacity = _project_skin(subject, pose, *size)
    depth = _depth(rng, pose, *size)
    dry = opacity * fields.ramp(-depth * size[0], WET_EDGE)
    foam = draw_foam(rng, depth[::2, ::2])
    water = fields.blend(draw_sea(rng, weather, *half), FOAM, foam)
    # foam is drawn below a translucent fluke: one pass over all pixels instead of two
    shown = dry * (1 - fields.enlarge(foam, *size))
    skin = _light_skin(rng, brightness, weather, pose)
    picture = fields.blend(fields.enlarge(water, *size), skin, shown)
    _add_spray(rng, picture)
    return DrawnPhotograph(develop(rng, picture, height, width, variety), _box(dry, height, width))


def draw_near_duplicate(rng: np.random.Generator, original: DrawnPhotograph) -> DrawnPhotograph:
    """Return a photograph slightly cropped and resized, as happens to pictures that are shared."""
    height, width = original.pixels.shape[:2]
    x0, y0, x1, y1 = original.box
    # at most 3 % of a side, and never into the box
    left, right = (int(min(rng.uniform(0, 0.03) * width, room)) for room in (x0, width - x1))
    above, below = (int(min(rng.uniform(0, 0.03) * height, room)) for room in (y0, height - y1))
    cut = original.pixels[above : height - below, left : width - right]
    scale = rng.uniform(0.6, 1)
    size = round(cut.shape[1] * scale), round(cut.shape[0] * scale)
    pixels: Pixels = cv2.resize(cut, size, interpolation=cv2.INTER_AREA)
    corners = np.array([(x0 - left, y0 - above), (x1 - left, y1 - above)])
    corners = np.rint(corners * size / (cut.shape[1], cut.shape[0])).astype(int)
    return DrawnPhotograph(pixels, (*corners[0].tolist(), *corners[1].tolist()))


def _project_skin(subject: Whale, pose: Pose, height: int, width: int) -> tuple[Field, Field]:
    """Return brightness and opacity of the fluke, each (height, width) from 0 to 1."""
    x, y = pose.lookup(height, width)
    skin = subject.skin
    if pose.size < 0.7 * SPAN:  # shrink the skin first, so that fine lines do not break up
        scale = pose.size / SPAN
        skin = cv2.resize(skin, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        x, y = x * np.float32(scale), y * np.float32(scale)
    seen = cv2.remap(skin, x, y, cv2.INTER_LINEAR)
    both: Field = seen.astype(np.float32) / np.float32(255)
    return both[..., 0], both[..., 1]


def _depth(rng: np.random.Generator, pose: Pose, height: int, width: int) -> Field:
    """Draw depth below a wavy surface, relative to the height and negative in the air."""
    swell = np.clip(fields.rough(rng, 1, width, 2, int(rng.integers(5, 12)), 3), -3, 3)
    surface = np.float32(pose.surface / height) + np.float32(rng.uniform(0.005, 0.03)) * swell
    rows = np.arange(height, dtype=np.float32)[:, None] / np.float32(height)
    depth: Field = rows - surface
    return depth


def _light_skin(rng: np.random.Generator, brightness: Field, weather: Weather, pose: Pose) -> Field:
    """Return coloured skin: the halves differ in light, and wet skin mirrors sky and water."""
    height, width = brightness.shape
    x = np.linspace(-1, 1, width, dtype=np.float32)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    middle = 2 * pose.to_picture(np.zeros((1, 2)))[0, 0] / width - 1
    half = np.clip(
        (x - np.float32(middle)) / np.float32(0.04), -1, 1
    )  # a soft fold between the halves
    across, down, fold = rng.normal(0, 0.12, 3).astype(np.float32)
    light = np.exp(across * x + fold * half) * np.exp(down * y)
    # haze and light from behind lower the contrast
    strength, contrast = rng.uniform(0.7, 1.15), rng.uniform(0.65, 1)
    lit = (brightness * np.float32(contrast * strength) + np.float32(0.02 * strength)) * light
    patchy = 1 + np.float32(0.8) * fields.rough(rng, height // 4, width // 4, 3, 6, 2)
    veil = fields.enlarge(np.clip(patchy, 0, None), height, width)
    warm = np.array((rng.uniform(0.9, 1.05), 1, rng.uniform(0.95, 1.1)), np.float32)
    mirrored = np.float32(rng.uniform(0, 0.08)) * (weather.sky + weather.water)
    return fields.mix_lights((lit, veil), (warm, mirrored))


def _add_spray(rng: np.random.Generator, picture: Field) -> None:
    """Draw drops of spray into a picture, in up to two clouds."""
    height, width = picture.shape[:2]
    for _ in range(rng.integers(0, 3)):
        middle = rng.uniform((0, 0.3), 1) * (width, height)
        places = rng.normal(middle, (0.12 * width, 0.2 * height), (rng.integers(10, 150), 2))
        radii = rng.integers(1, max(2, width // 250) + 1, len(places))  # up to 0.4 % of the width
        for place, radius in zip(places.astype(int).tolist(), radii.tolist(), strict=True):
            cv2.circle(picture, place, radius, FOAM.tolist(), cv2.FILLED)


def _box(dry: Field, height: int, width: int) -> Box:
    """Return the box of the fluke above the water, in pixels of the photograph."""
    seen = dry > 0.5
    columns, rows = (np.flatnonzero(seen.any(axis)) for axis in (0, 1))
    wide, high = width / seen.shape[1], height / seen.shape[0]
    x0, x1 = round(columns[0] * wide), round((columns[-1] + 1) * wide)
    y0, y1 = round(rows[0] * high), round((rows[-1] + 1) * high)
    return x0, y0, x1, y1
