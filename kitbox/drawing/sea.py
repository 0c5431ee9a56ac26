"""The sea around a fluke: waves, glare, sometimes a horizon; none of it tells individuals apart."""

from dataclasses import dataclass

import cv2
import numpy as np

from kitbox.drawing import layer, noise
from kitbox.drawing.noise import Field

# blue, green, red of water, from tropical blue over grey to a dark evening
WATERS = np.array(
    [(0.52, 0.34, 0.18), (0.50, 0.40, 0.28), (0.56, 0.49, 0.40), (0.44, 0.37, 0.30),
     (0.58, 0.45, 0.28), (0.46, 0.38, 0.27)],
    np.float32,
)  # fmt: skip
TILE = 512  # pixels of a patch of waves, which is repeated
FOAM = np.array((0.93, 0.91, 0.88), np.float32)


@dataclass(frozen=True)
class Weather:
    """What light and water are on the day of a photograph."""

    water: Field  # blue, green, red
    sky: Field
    waves: float  # contrast
    glare: float
    horizon: float  # height of the horizon in shares of the picture; negative: out of it
    tilt: float  # slope of the horizon


def weather(rng: np.random.Generator) -> Weather:
    """Draw a day at sea."""
    water = WATERS[rng.integers(len(WATERS))] * rng.uniform(0.85, 1.2)
    water = water + rng.normal(0, 0.02, 3)
    horizon = rng.uniform(0.02, 0.3) if rng.random() < 0.15 else -rng.uniform(0.1, 1.5)
    return Weather(
        water=np.clip(water, 0.05, 0.95).astype(np.float32),
        sky=np.float32(rng.uniform(0.6, 1)) * np.array((1.0, 0.95, 0.88), np.float32),
        waves=float(rng.uniform(0.1, 0.35)),
        glare=float(rng.uniform(0.3, 1) if rng.random() < 0.3 else 0),
        horizon=float(horizon),
        tilt=float(rng.normal(0, 0.05)),
    )


def sea(rng: np.random.Generator, day: Weather, height: int, width: int) -> Field:
    """Draw water up to the horizon, (height, width, 3) of blue, green and red from 0 to 1."""
    waves = _seen_from_a_boat(rng, day, height, width)
    glints = np.clip(waves - 0.9, 0, None) * np.float32(1.5 * day.glare)  # only crests glint
    shine = np.float32(day.waves) * waves
    shine += np.float32(0.25) * noise.smooth(rng, height, width, 2, 3) * np.float32(day.waves)
    picture = layer.mixed((1 + shine, glints), (day.water, np.ones(3, np.float32)))
    x = np.linspace(-0.5, 0.5, width, dtype=np.float32)
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    above = noise.step((np.float32(day.horizon) + np.float32(day.tilt) * x - y), 0.015)
    haze = np.float32(0.4) * np.exp(-np.abs(y - np.float32(max(day.horizon, 0))) * 5)
    haze = haze * np.float32(day.horizon > 0)
    return layer.over(picture, day.sky, np.maximum(above, haze))


def foam(rng: np.random.Generator, depth: Field, width: int) -> Field:
    """Draw the opacity of white water; `depth` is 0 at the surface, below 0 in the air, in shares
    of the picture's height.
    """
    height = depth.shape[0]
    along = np.arange(width, dtype=np.float32) / width
    reach = np.full(width, rng.uniform(0.01, 0.05), np.float32)  # a line along the water
    for _ in range(rng.poisson(1.2)):  # splashes, some of them over a good part of the fluke
        middle, spread = rng.uniform(0.05, 0.95), rng.uniform(0.03, 0.15)
        reach += rng.triangular(0.02, 0.05, 0.35) * np.exp(-(((along - middle) / spread) ** 2))
    above = 1 - np.maximum(-depth, 0) / reach - 2 * np.maximum(depth, 0) / (reach + 0.04)
    froth = noise.rough(rng, height, width, 8, 14, 5)
    amount = rng.uniform(-1.2, 0.2)
    cover = noise.step((froth + 1.5 * above + np.float32(amount) - 1).astype(np.float32), 1.6)
    spray = noise.rough(rng, height, width, 30, 60, 2)  # white water is never all white
    return cover * np.clip(np.float32(0.75) + np.float32(0.25) * spray, 0, 1)


def _seen_from_a_boat(rng: np.random.Generator, day: Weather, height: int, width: int) -> Field:
    """Lay a repeated patch of waves out to the horizon."""
    patch = noise.rough(rng, TILE, TILE, int(rng.integers(24, 60)), int(rng.integers(8, 24)), 4)
    patch = np.float32(0.8) - np.abs(patch)  # ridges, as waves have
    patch = np.concatenate([patch, patch[::-1]])  # mirrored, so that rows meet without a seam
    patch = np.concatenate([patch, patch[:, ::-1]], axis=1)
    top, steep = day.horizon * height, rng.uniform(0.5, 1.2)
    x, y = np.meshgrid(
        np.arange(width, dtype=np.float32) - width / 2, np.arange(height, dtype=np.float32)
    )
    # a point at the bottom of the picture is one unit away; one at the horizon without end
    y += np.float32(day.tilt) * x * np.float32(-1)
    away = np.float32(height - top) / np.maximum(y - np.float32(top), np.float32(3))
    zoom = np.float32(TILE / width * steep)
    far = away * np.float32((height - top) * zoom * 2.5)
    waves: Field = cv2.remap(
        patch, x * away * zoom, far, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )
    return waves / np.maximum(away, 1) ** np.float32(0.7)  # far waves blur into each other
