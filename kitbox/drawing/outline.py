"""The outline of a fluke seen flat from below: proportions, median notch and trailing edge.

Coordinates are half spans: x from -1 (left tip) to 1 (right tip), y upwards from the notch's
shoulders, so the tail stock hangs below zero.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

STOCK_END = -0.95  # the tail stock is always cut by the water above this
EDGE_POINTS = 700  # per side: finer than one pixel of the skin


@dataclass(frozen=True)
class Outline:
    """A closed polygon (n, 2), and the height of the notch's bottom."""

    points: Points
    notch: float


def outline(rng: np.random.Generator) -> Outline:
    """Draw an individual's outline; nicks and notch differ more than the proportions do."""
    proportions = rng.normal(0, 1.6, 8)
    notch = rng.uniform(0.05, 0.15)  # depth and width in half spans, as measured by eye
    notch_width = rng.uniform(0.02, 0.06)
    halves = []
    for side in (-1, 1):
        # a little of the proportions is the side's own: no fluke is quite symmetric
        own = proportions + 0.3 * rng.normal(0, 1, proportions.size)
        upper = _trailing_edge(rng, own)
        upper[:, 1] -= notch * np.exp(-((upper[:, 0] / notch_width) ** 2))
        half = np.concatenate([upper, _leading_edge(own)])
        halves.append(half * (side, 1))
    left, right = halves
    return Outline(np.concatenate([left[::-1], right]), -notch)


def _trailing_edge(rng: np.random.Generator, own: Points) -> Points:
    """From the notch to the tip, with scallops and nicks cut into it."""
    along = np.linspace(0, 1, EDGE_POINTS)
    tip = _tip(own)
    edge = _bezier(
        along,
        (0.0, 0.0),
        (0.33 + 0.03 * own[0], 0.13 + 0.04 * own[1]),
        (0.74 + 0.03 * own[2], tip[1] - 0.08 + 0.02 * own[7]),
        tip,
    )
    # scallops are quieter at the notch and end at the tip
    quiet = np.sin(np.pi * along**0.7) ** 0.5
    for bumps, height in ((9, 0.007), (25, 0.007), (70, 0.005)):
        knots = rng.normal(0, height, bumps)
        edge[:, 1] += quiet * np.interp(along, np.linspace(0, 1, bumps), knots)
    for _ in range(rng.integers(1, 6)):
        edge[:, 1] -= _nick(rng, along)
    return edge


def _nick(rng: np.random.Generator, along: Points) -> Points:
    """Bite a piece out of the edge: sharp or round, leaning to one side."""
    place = rng.uniform(0.08, 0.93)
    width = rng.uniform(0.012, 0.05)
    depth = rng.uniform(0.6, 1.8) * width
    away = (along - place) / width
    lean = rng.uniform(0.4, 1.6)
    away = np.where(away < 0, away * lean, away / lean)
    sharpness = rng.uniform(1, 2.5)  # 1 is a V, more is a U
    return depth * np.clip(1 - np.abs(away) ** sharpness, 0, None)


def _leading_edge(own: Points) -> Points:
    """From the tip to the tail stock, and down the stock into the water."""
    along = np.linspace(1, 0, EDGE_POINTS // 4)
    stock = (0.10 + 0.01 * own[6], -0.62)
    edge = _bezier(
        along,
        stock,
        (0.30 + 0.04 * own[4], -0.36 + 0.02 * own[5]),
        (0.96 + 0.02 * own[6], -0.36 + 0.03 * own[7]),
        _tip(own),
    )
    return np.concatenate([edge, [(stock[0] + 0.03, STOCK_END)]])


def _tip(own: Points) -> tuple[float, float]:
    return 1.0, 0.15 + 0.035 * float(own[3])


def _bezier(along: Points, *controls: tuple[float, float]) -> Points:
    """Points (n, 2) of the cubic curve through the first and the last of four controls."""
    rest = 1 - along
    weights = np.stack([rest**3, 3 * rest**2 * along, 3 * rest * along**2, along**3], axis=1)
    curve: Points = weights @ np.array(controls)
    return curve
