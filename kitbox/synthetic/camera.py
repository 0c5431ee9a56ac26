"""The camera: size of a photograph, exposure, blur, grain, and the JPEG file."""

import cv2
import numpy as np

from kitbox.synthetic.fields import Field, Pixels

MIN_WIDTH = 300  # pixels, if long_side allows
TILE = 128  # side in pixels of a square of grain, which is repeated
LUMA = np.array([(0.11, 0.59, 0.30)])  # weights of blue, green and red (ITU-R BT.601)


def draw_size(rng: np.random.Generator, long_side: int) -> tuple[int, int]:
    """Draw height and width in pixels; widths are log-uniform, most far below `long_side`.

    With the default `long_side` of 3,000 they range from 600 x 230 to 3,000 x 1,200.
    """
    smallest = max(long_side / 5, min(long_side, MIN_WIDTH))
    width = np.exp(rng.uniform(np.log(smallest), np.log(long_side)))
    height = min(width * rng.uniform(0.38, 0.52), 0.4 * long_side)
    return round(height), round(width)


def develop(
    rng: np.random.Generator, picture: Field, height: int, width: int, variety: float = 1.0
) -> Pixels:
    """Return light from 0 to 1 as pixels: colour cast or grey, exposure, blur, grain, size.

    With less `variety` fewer photographs are grey or blurred.
    """
    channels = np.diag(rng.uniform(0.94, 1.06, 3))
    if rng.random() < 0.25 * variety:  # a quarter of the photographs in old catalogues are grey
        channels = LUMA @ channels
    light = cv2.convertScaleAbs(cv2.transform(picture, channels), alpha=255)  # clipped to 255
    pixels = _add_grain(rng, _blur(rng, cv2.LUT(light, _exposure_curve(rng)), variety))
    pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    coloured: Pixels = pixels if pixels.ndim > 2 else cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    return coloured


def encode_jpeg(pixels: Pixels, quality: int) -> bytes:
    """Return a JPEG file of pixels (height, width, 3) in the order blue, green, red."""
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return bytes(data)


def _exposure_curve(rng: np.random.Generator) -> Pixels:
    """Draw a lookup table of 256 steps of light: exposure, gamma and sometimes fog."""
    exposure, gamma = np.exp(rng.normal(0.15, 0.12)), rng.uniform(0.8, 1.2)
    fog = rng.uniform(0, 0.1) if rng.random() < 0.3 else 0.0
    response = np.clip(np.linspace(0, 1, 256) * exposure, 0, 1) ** gamma
    steps: Pixels = np.rint((response * (1 - fog) + fog) * 255).astype(np.uint8)
    return steps


def _blur(rng: np.random.Generator, pixels: Pixels, variety: float) -> Pixels:
    """Return pixels out of focus (one in five), motion-blurred (one in seven) or sharp."""
    kind, strength = rng.random(), rng.uniform(0.001, 0.005) * pixels.shape[1]
    blurred: Pixels = pixels
    if kind < 0.2 * variety:
        blurred = cv2.GaussianBlur(pixels, (0, 0), max(strength, 0.5))
    elif kind < 0.35 * variety:
        blurred = cv2.filter2D(pixels, -1, _motion_kernel(rng, max(3, round(2 * strength))))
    return blurred


def _motion_kernel(rng: np.random.Generator, reach: int) -> Field:
    """Draw a kernel that blurs by `reach` pixels in both directions."""
    angle = rng.uniform(0, np.pi)
    ahead = np.array([np.cos(angle), np.sin(angle)]) * reach
    start, end = (tuple(np.rint(reach + sign * ahead).astype(int).tolist()) for sign in (-1, 1))
    kernel: Field = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    cv2.line(kernel, start, end, 1.0)
    kernel /= kernel.sum()
    return kernel


def _add_grain(rng: np.random.Generator, pixels: Pixels) -> Pixels:
    """Return pixels with one tile of grain repeated: fast, and the repeat is not visible."""
    height, width = pixels.shape[:2]
    tile = rng.normal(0, rng.uniform(0.5, 8), (TILE, TILE)).astype(np.int16)
    grain = cv2.repeat(tile, -(-height // TILE), -(-width // TILE))[:height, :width]
    channels = pixels.size // grain.size
    grainy: Pixels = cv2.add(pixels, cv2.merge([grain] * channels), dtype=cv2.CV_8U)
    return grainy
