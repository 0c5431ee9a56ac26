"""Smooth random fields, from which skin, waves and foam are made."""

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


def smooth(rng: np.random.Generator, height: int, width: int, rows: int, columns: int) -> Field:
    """Draw a field of mean 0 and deviation near 1 whose blobs are one of rows x columns large."""
    coarse = rng.standard_normal((max(rows, 2), max(columns, 2)), dtype=np.float32)
    field: Field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return field


def rough(
    rng: np.random.Generator, height: int, width: int, rows: int, columns: int, octaves: int
) -> Field:
    """Add smooth fields: each octave has blobs half as large and half as high as the one before."""
    field = smooth(rng, height, width, rows, columns)
    for octave in range(1, octaves):
        finer = 2**octave
        field += smooth(rng, height, width, rows * finer, columns * finer) / finer
    return field


def ramp(field: Field, softness: float) -> Field:
    """Turn a field into an opacity from 0 to 1: one half at 0, over a ramp of width `softness`."""
    opacity: Field = np.clip(field / np.float32(softness) + np.float32(0.5), 0, 1)
    return opacity


Pixels = NDArray[np.uint8]

SMALLEST = 300  # pixels of width that any photograph has, where long_side allows
TILE = 128  # pixels of a square of grain, which is repeated
LUMA = np.array([(0.11, 0.59, 0.30)])  # of blue, green and red (ITU-R BT.601)


def draw_size(rng: np.random.Generator, long_side: int) -> tuple[int, int]:
    """Draw height and width in pixels; widths are log-uniform, so most are far below `long_side`.

    By default, from 600 x 230 or 600 x 310 to 3,000 x 1,200.
    """
    smallest = max(long_side / 5, min(long_side, SMALLEST))
    width = np.exp(rng.uniform(np.log(smallest), np.log(long_side)))
    height = min(width * rng.uniform(0.38, 0.52), 0.4 * long_side)
    return round(height), round(width)


def develop(rng: np.random.Generator, picture: Field, height: int, width: int) -> Pixels:
    """Turn light from 0 to 1 into pixels: colour cast or grey, exposure, blur, grain, size."""
    channels = np.diag(rng.uniform(0.94, 1.06, 3))
    if rng.random() < 0.25:  # a quarter of old catalogues is grey
        channels = LUMA @ channels
    light = cv2.convertScaleAbs(cv2.transform(picture, channels), alpha=255)  # 1 and more is 255
    pixels = _grainy(rng, _blurred(rng, cv2.LUT(light, _film(rng))))
    pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    coloured: Pixels = pixels if pixels.ndim > 2 else cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    return coloured


def encode_jpeg(pixels: Pixels, quality: int) -> bytes:
    """Return a JPEG file of pixels (height, width, 3) in the order blue, green, red."""
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return bytes(data)


def _film(rng: np.random.Generator) -> Pixels:
    """Answer each of 256 steps of light: exposure, a flat or hard gamma, sometimes fog."""
    exposure, gamma = np.exp(rng.normal(0.15, 0.12)), rng.uniform(0.8, 1.2)
    fog = rng.uniform(0, 0.1) if rng.random() < 0.3 else 0.0
    answer = np.clip(np.linspace(0, 1, 256) * exposure, 0, 1) ** gamma
    steps: Pixels = np.rint((answer * (1 - fog) + fog) * 255).astype(np.uint8)
    return steps


def _blurred(rng: np.random.Generator, pixels: Pixels) -> Pixels:
    """Out of focus (one in five), moved (one in seven) or sharp."""
    kind, strength = rng.random(), rng.uniform(0.001, 0.005) * pixels.shape[1]
    blurred: Pixels = pixels
    if kind < 0.2:
        blurred = cv2.GaussianBlur(pixels, (0, 0), max(strength, 0.5))
    elif kind < 0.35:
        blurred = cv2.filter2D(pixels, -1, _movement(rng, max(3, round(2 * strength))))
    return blurred


def _movement(rng: np.random.Generator, reach: int) -> Field:
    """Draw a kernel that smears by `reach` pixels to both sides."""
    angle = rng.uniform(0, np.pi)
    ahead = np.array([np.cos(angle), np.sin(angle)]) * reach
    start, end = (tuple(np.rint(reach + sign * ahead).astype(int).tolist()) for sign in (-1, 1))
    kernel: Field = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    cv2.line(kernel, start, end, 1.0)
    kernel /= kernel.sum()
    return kernel


def _grainy(rng: np.random.Generator, pixels: Pixels) -> Pixels:
    """Add one tile of grain over and over: nobody sees the repeat, and it is quick."""
    height, width = pixels.shape[:2]
    tile = rng.normal(0, rng.uniform(0.5, 8), (TILE, TILE)).astype(np.int16)
    grain = cv2.repeat(tile, -(-height // TILE), -(-width // TILE))[:height, :width]
    channels = pixels.size // grain.size
    grainy: Pixels = cv2.add(pixels, cv2.merge([grain] * channels), dtype=cv2.CV_8U)
    return grainy


def blend(below: Field, above: Field, opacity: Field) -> Field:
    """Lay a picture, or one colour (3,), over another; opacity (height, width) is from 0 to 1."""
    both: Field = cv2.blendLinear(below, np.broadcast_to(above, below.shape), 1 - opacity, opacity)
    return both


def mix_lights(lights: tuple[Field, ...], colours: tuple[Field, ...]) -> Field:
    """Add up lights (height, width), each in its colour (3,)."""
    picture: Field = cv2.transform(cv2.merge(lights), np.stack(colours, 1))
    return picture


def enlarge(field: Field, height: int, width: int) -> Field:
    """Stretch a soft field or picture to a size in pixels."""
    larger: Field = cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR)
    return larger
