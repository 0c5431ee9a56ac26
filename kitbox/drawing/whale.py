"""One individual: its outline, and the skin of the underside with pigment and scars."""

from dataclasses import dataclass

import cv2
import numpy as np

from kitbox.drawing import noise
from kitbox.drawing.camera import Pixels
from kitbox.drawing.noise import Field
from kitbox.drawing.outline import STOCK_END, Outline, Points, outline

SPAN = 470  # pixels of the skin in half a span: 1,024 wide with a margin at the tips
WIDTH, HEIGHT = 1024, 640
CENTRE = (WIDTH / 2, HEIGHT + STOCK_END * SPAN - 8)  # of x = 0, y = 0, in pixels from the top left

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
    return points * (SPAN, -SPAN) + CENTRE


def _mask(shape: Outline) -> Pixels:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    corners = np.rint(in_pixels(shape.points) * 2**SUBPIXEL).astype(np.int32)
    cv2.fillPoly(mask, [corners], 255, cv2.LINE_AA, SUBPIXEL)
    return mask


def _pigmented(rng: np.random.Generator, mask: Pixels) -> Field:
    """Draw white areas on black skin, on a nearly black fluke up to a nearly white one."""
    grain = noise.rough(rng, HEIGHT, WIDTH, 60, 100, 2)
    amount = np.float32(rng.normal(-0.5, 0.9))
    field = amount + _plan(rng) + _patches(rng) + np.float32(0.22) * grain - _rim(rng, mask)
    white = noise.step(field, rng.uniform(0.25, 1.2))  # sharp or fading
    shade = WHITE + np.float32(0.06) * noise.smooth(rng, HEIGHT, WIDTH, 12, 20)
    skin: Field = BLACK + white * (shade - BLACK) + np.float32(0.012) * grain
    return skin


def _plan(rng: np.random.Generator) -> Field:
    """Draw what flukes have in common: white on the blades, black in the middle and the stock."""
    x, y = _flat()
    out = np.abs(x)
    middle, reach = rng.uniform(0.3, 0.9), rng.uniform(0.2, 0.5)
    blade = 1 - ((out - middle) / reach) ** 2 - ((y + 0.1 - 0.1 * out) / 0.35) ** 2
    plan: Field = blade - 20 * np.clip(-0.45 - y, 0, None)  # the stock begins at -0.45
    return plan


def _patches(rng: np.random.Generator) -> Field:
    """Draw patches of the individual, about half of them mirrored from blade to blade."""
    rows = int(rng.integers(3, 9))  # three large ones or eight small ones from top to bottom
    size = HEIGHT // 4, WIDTH // 4, rows, 2 * rows, 3
    own, shared = noise.rough(rng, *size), noise.rough(rng, *size)
    both = 0.67 * own + 0.41 * (shared + shared[:, ::-1])
    patches: Field = cv2.resize(both, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return patches


def _rim(rng: np.random.Generator, mask: Pixels) -> Field:
    """Draw black along the edges, 2 to 6 % of half a span wide."""
    inwards = cv2.distanceTransform(mask, cv2.DIST_L2, 3) / np.float32(SPAN)
    rim: Field = 2 * np.clip(1 - inwards / rng.uniform(0.02, 0.06), 0, None)
    return rim


def _flat() -> tuple[Field, Field]:
    """Return the coordinates of every pixel in half spans, (width,) and (height, 1)."""
    x = np.arange(WIDTH, dtype=np.float32) - np.float32(CENTRE[0])
    y = np.float32(CENTRE[1]) - np.arange(HEIGHT, dtype=np.float32)
    return x / np.float32(SPAN), y[:, None] / np.float32(SPAN)


def _scarred(rng: np.random.Generator, skin: Field) -> Field:
    """Draw scars, light on black skin and dark on white skin."""
    marks = np.zeros((HEIGHT, WIDTH), np.uint8)
    for _ in range(rng.integers(3, 14)):
        _line(rng, marks, rng.uniform(0.05, 0.3), int(rng.integers(1, 3)))
    for _ in range(rng.integers(0, 4)):
        _rake(rng, marks)
    for _ in range(rng.integers(2, 12)):
        _ring(rng, marks)
    for _ in range(rng.integers(10, 60)):
        cv2.circle(
            marks, _place(rng), int(rng.integers(1, 4)), int(rng.integers(80, 255)), cv2.FILLED
        )
    _barnacles(rng, marks)
    strength = marks.astype(np.float32) / 255
    target = np.where(skin > (BLACK + WHITE) / 2, 0.12, 0.7).astype(np.float32)
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
    cv2.polylines(marks, [np.rint(points).astype(np.int32)], False, tone, thickness, cv2.LINE_AA)


def _rake(rng: np.random.Generator, marks: Pixels) -> None:
    """Draw parallel lines, as teeth leave them."""
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
    cv2.circle(marks, _place(rng), radius, int(rng.integers(70, 200)), 2, cv2.LINE_AA)


def _barnacles(rng: np.random.Generator, marks: Pixels) -> None:
    """Crowd specks at the tips."""
    for side in (-1, 1):
        for _ in range(rng.integers(5, 40)):
            x = side * (1 - abs(rng.normal(0, 0.06)))
            at = in_pixels(np.array([(x, rng.normal(0.03, 0.07))]))[0]
            cv2.circle(marks, (int(at[0]), int(at[1])), int(rng.integers(1, 5)), 220, cv2.FILLED)


def _place(rng: np.random.Generator) -> tuple[int, int]:
    at = in_pixels(np.array([(rng.uniform(-0.95, 0.95), rng.uniform(-0.4, 0.15))]))[0]
    return int(at[0]), int(at[1])
