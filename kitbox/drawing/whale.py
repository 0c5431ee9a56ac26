"""One individual: its outline, and the skin of the underside with pigment and scars."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from kitbox.drawing import noise
from kitbox.drawing.noise import Field
from kitbox.drawing.outline import STOCK_END, Outline, Points, outline

Pixels = NDArray[np.uint8]

SPAN = 470  # pixels of the skin in half a span: 1,024 wide with a margin at the tips
WIDTH, HEIGHT = 1024, 640
CENTER = (WIDTH / 2, HEIGHT + STOCK_END * SPAN - 8)  # of x = 0, y = 0, in pixels from the top left

BLACK, WHITE = 0.07, 0.80  # brightness of wet skin and of pigment
SUBPIXEL = 4  # bits behind the point in cv2's polygons


@dataclass(frozen=True)
class Whale:
    """The outline of a fluke and its skin: (height, width, 2) of brightness and opacity."""

    outline: Outline
    skin: Pixels


def whale(rng: np.random.Generator) -> Whale:
    """Draw an individual; all that tells it from others comes out of `rng`."""
    shape = outline(rng)
    mask = _mask(shape)
    skin = _scarred(rng, _pigmented(rng, mask))
    brightness = np.clip(skin * 255, 0, 255).astype(np.uint8)
    return Whale(shape, np.dstack([brightness, mask]))


def in_pixels(points: Points) -> Points:
    """Move points (n, 2) from half spans to pixels of the skin."""
    return points * (SPAN, -SPAN) + CENTER


def _mask(shape: Outline) -> Pixels:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    corners = np.rint(in_pixels(shape.points) * 2**SUBPIXEL).astype(np.int32)
    cv2.fillPoly(mask, [corners], 255, cv2.LINE_AA, SUBPIXEL)
    return mask


def _pigmented(rng: np.random.Generator, mask: Pixels) -> Field:
    """White areas on black skin: a common plan, patches of the individual, half of them mirrored."""
    x = (np.arange(WIDTH, dtype=np.float32) - CENTER[0]) / SPAN
    y = (CENTER[1] - np.arange(HEIGHT, dtype=np.float32)[:, None]) / SPAN
    out = np.abs(x)
    # the plan: white in the middle of each half, nearer to the leading edge, black in the center
    middle, reach = rng.uniform(0.3, 0.9), rng.uniform(0.2, 0.5)
    plan = 1 - ((out - middle) / reach) ** 2 - ((y + 0.1 - 0.1 * out) / 0.35) ** 2
    rows = int(rng.integers(3, 9))  # few: large patches
    patches = noise.rough(rng, HEIGHT, WIDTH, rows, 2 * rows, 3)
    common = noise.rough(rng, HEIGHT, WIDTH, rows, 2 * rows, 3)
    patches = 0.75 * patches + 0.65 * (common + common[:, ::-1]) / 2**0.5
    grain = noise.rough(rng, HEIGHT, WIDTH, 60, 100, 2)
    amount = rng.normal(-0.3, 0.9)  # from nearly black to nearly white
    margin = cv2.distanceTransform(mask, cv2.DIST_L2, 3) / np.float32(SPAN)
    edge = rng.uniform(0.02, 0.06)  # the black rim along the edges
    rim = np.clip(1 - margin / edge, 0, 1) * 2 + np.clip(-0.45 - y, 0, None) * 20  # and the stock
    field = np.float32(amount) + plan + 0.9 * patches + 0.22 * grain - rim
    white = noise.step(field.astype(np.float32), rng.uniform(0.25, 1.2))
    shade = WHITE + 0.06 * noise.smooth(rng, HEIGHT, WIDTH, 12, 20)
    skin: Field = BLACK + white * (shade - BLACK) + 0.012 * grain
    return skin


def _scarred(rng: np.random.Generator, skin: Field) -> Field:
    """Scars are light on black skin and dark on white skin."""
    marks = np.zeros((HEIGHT, WIDTH), np.uint8)
    for _ in range(rng.integers(3, 14)):
        _line(rng, marks, rng.uniform(0.05, 0.3), rng.integers(1, 4))
    for _ in range(rng.integers(0, 4)):
        _rake(rng, marks)
    for _ in range(rng.integers(2, 12)):
        _ring(rng, marks)
    for _ in range(rng.integers(10, 60)):
        cv2.circle(marks, _place(rng), int(rng.integers(1, 4)), int(rng.integers(80, 255)), -1)
    _barnacles(rng, marks)
    strength = marks.astype(np.float32) / 255
    target = np.where(skin > 0.4, 0.12, 0.7).astype(np.float32)  # 0.4: halfway to white
    scarred: Field = skin + strength * (target - skin)
    return scarred


def _line(rng: np.random.Generator, marks: Pixels, length: float, thickness: int) -> None:
    start = np.array(_place(rng))
    angle = rng.uniform(0, np.pi)
    reach = length * SPAN
    bow = rng.normal(0, 0.12) * reach
    along = np.linspace(0, 1, 12)[:, None]
    ahead = np.array([np.cos(angle), np.sin(angle)])
    aside = ahead[::-1] * (-1, 1)
    points = start + along * reach * ahead + along * (1 - along) * 4 * bow * aside
    tone = int(rng.integers(110, 255))
    cv2.polylines(
        marks, [np.rint(points).astype(np.int32)], False, tone, int(thickness), cv2.LINE_AA
    )


def _rake(rng: np.random.Generator, marks: Pixels) -> None:
    """Parallel lines that teeth have left."""
    start = np.array(_place(rng))
    angle, gap = rng.uniform(0, np.pi), rng.uniform(7, 14)
    ahead = np.array([np.cos(angle), np.sin(angle)]) * rng.uniform(0.08, 0.25) * SPAN
    aside = np.array([-np.sin(angle), np.cos(angle)]) * gap
    for tooth in range(rng.integers(3, 7)):
        first = start + tooth * aside + rng.normal(0, 3, 2)
        last = first + ahead * rng.uniform(0.7, 1.1)
        ends = [tuple(int(v) for v in np.rint(end)) for end in (first, last)]
        cv2.line(marks, ends[0], ends[1], 200, 2, cv2.LINE_AA)


def _ring(rng: np.random.Generator, marks: Pixels) -> None:
    radius = int(rng.integers(4, 14))
    cv2.circle(marks, _place(rng), radius, int(rng.integers(120, 255)), 2, cv2.LINE_AA)


def _barnacles(rng: np.random.Generator, marks: Pixels) -> None:
    """Specks crowd at the tips."""
    for side in (-1, 1):
        for _ in range(rng.integers(5, 40)):
            x = side * (1 - abs(rng.normal(0, 0.06)))
            at = in_pixels(np.array([(x, rng.normal(0.03, 0.07))]))[0]
            cv2.circle(marks, (int(at[0]), int(at[1])), int(rng.integers(1, 5)), 220, -1)


def _place(rng: np.random.Generator) -> tuple[int, int]:
    at = in_pixels(np.array([(rng.uniform(-0.95, 0.95), rng.uniform(-0.4, 0.15))]))[0]
    return int(at[0]), int(at[1])
