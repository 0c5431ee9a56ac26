"""The sea around a fluke: waves, foam, sometimes a horizon; none of it tells individuals apart."""

from dataclasses import dataclass

import cv2
import numpy as np

from kitbox.drawing import layer, noise
from kitbox.drawing.noise import Field

# blue, green and red: two blues, a greenish and a light grey, and two dull evenings
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
PATCH = 384  # pixels of a square of waves, which is repeated


@dataclass(frozen=True)
class Weather:
    """What light and water are like on the day of a photograph."""

    water: Field  # blue, green, red
    sky: Field
    waves: float  # contrast in shares of the water's light
    glare: float  # light of the brightest crests
    horizon: float  # height in shares of the picture from the top; below 0, out of the picture
    tilt: float  # fall of the horizon from left to right in shares of the picture's height


def weather(rng: np.random.Generator) -> Weather:
    """Draw a day at sea; one in seven photographs shows the horizon, one in three has glare."""
    water = WATERS[rng.integers(len(WATERS))] * rng.uniform(0.85, 1.2) + rng.normal(0, 0.02, 3)
    shown, dazzling = rng.random() < 0.15, rng.random() < 0.3
    return Weather(
        water=np.clip(water, 0.05, 0.95).astype(np.float32),
        sky=np.float32(rng.uniform(0.6, 1)) * SKY,
        waves=rng.uniform(0.1, 0.35),
        glare=rng.uniform(0.4, 1.5) if dazzling else 0.0,
        horizon=rng.uniform(0.02, 0.3) if shown else rng.uniform(-1.5, -0.1),
        tilt=rng.normal(0, 0.05),
    )


def sea(rng: np.random.Generator, day: Weather, height: int, width: int) -> Field:
    """Draw water up to the horizon and the sky above it, (height, width, 3)."""
    waves = _waves(rng, day, height, width)
    glints = np.clip(waves - 0.9, 0, None) * np.float32(day.glare)  # 0.9: only crests glint
    swell = np.float32(0.25) * noise.smooth(rng, height, width, 2, 3)
    water = layer.mixed((1 + np.float32(day.waves) * (waves + swell), glints), (day.water, WHITE))
    below = _below_horizon(day, height, width)
    air = noise.step(-below, 0.015)
    if day.horizon > 0:
        air = np.maximum(air, np.float32(0.4) * np.exp(-5 * np.abs(below)))  # haze far out
    return layer.over(water, day.sky, air)


def foam(rng: np.random.Generator, depth: Field) -> Field:
    """Draw the opacity of white water, (height, width) from 0 to 1.

    `depth` is 0 at the surface and negative in the air, in shares of the picture's height.
    """
    height, width = depth.shape
    along = np.arange(width, dtype=np.float32) / width
    reach = np.full(width, rng.uniform(0.01, 0.05), np.float32)  # a line along the water
    for _ in range(rng.poisson(1.2)):  # splashes, some of them over a good part of the fluke
        middle, spread = rng.uniform(0.05, 0.95), rng.uniform(0.03, 0.15)
        reach += rng.triangular(0.02, 0.05, 0.35) * np.exp(-(((along - middle) / spread) ** 2))
    near = 1 - np.maximum(-depth, 0) / reach - 2 * np.maximum(depth, 0) / (reach + 0.04)
    froth = noise.rough(rng, height, width, 8, 14, 5)
    amount = np.float32(rng.uniform(-2.2, -0.8))
    cover = noise.step(froth + np.float32(1.5) * near + amount, 1.6)
    bubbles = noise.rough(rng, height, width, 30, 60, 2)  # white water is never all white
    opacity: Field = cover * np.clip(np.float32(0.75) + np.float32(0.25) * bubbles, 0, 1)
    return opacity


def _below_horizon(day: Weather, height: int, width: int) -> Field:
    """How far each pixel is below the horizon, in shares of the picture's height."""
    x = np.linspace(-0.5, 0.5, width, dtype=np.float32)
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    return y - np.float32(day.horizon) - np.float32(day.tilt) * x


def _waves(rng: np.random.Generator, day: Weather, height: int, width: int) -> Field:
    """Lay a repeated patch of waves out to the horizon."""
    patch = noise.rough(rng, PATCH, PATCH, int(rng.integers(20, 45)), int(rng.integers(6, 18)), 3)
    patch = np.maximum(np.float32(0.8) - np.abs(patch), -1)  # sharp crests, shallow troughs
    patch = np.concatenate([patch, patch[::-1]])  # mirrored, so that patches meet without a seam
    patch = np.concatenate([patch, patch[:, ::-1]], axis=1)
    # the bottom of the picture is one unit away, the horizon infinitely far
    away = np.float32(1 - day.horizon) / np.maximum(_below_horizon(day, height, width), 0.01)
    away = away.astype(np.float32)
    zoom = np.float32(PATCH / width * rng.uniform(0.5, 1.2))
    x = np.arange(width, dtype=np.float32) - np.float32(width / 2)
    y = np.float32(2.5 * height * (1 - day.horizon)) * away  # 2.5: seen from low above the water
    waves: Field = cv2.remap(
        patch, x * away * zoom, y * zoom, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )
    waves /= np.maximum(away, 1) ** np.float32(0.7)  # far waves blur into each other
    return waves
