"""One individual's fluke: its outline, its skin with pigment and scars, and its pose."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from kitbox.synthetic import fields
from kitbox.synthetic.fields import Field, Pixels

Points = NDArray[np.float64]

STOCK_END = -0.95  # of the tail stock, in half spans; the water always cuts it above this
EDGE_POINTS = 700  # per half: finer than one pixel of the skin


@dataclass(frozen=True)
class Outline:
    """A closed polygon (n, 2) in half spans, and the height of the notch's bottom."""

    points: Points
    notch: float


def draw_outline(rng: np.random.Generator) -> Outline:
    """Draw an individual's outline; nicks and notch differ more than the proportions do."""
    proportions = rng.normal(0, 1.6, 8)
    notch = rng.uniform(0.05, 0.15)  # depth and width in half spans, estimated by eye
    notch_width = rng.uniform(0.02, 0.06)
    halves = []
    for side in (-1, 1):
        # each half varies a little: no fluke is quite symmetric
        own = proportions + 0.3 * rng.normal(0, 1, proportions.size)
        upper = _trailing_edge(rng, own)
        upper[:, 1] -= notch * np.exp(-((upper[:, 0] / notch_width) ** 2))
        half = np.concatenate([upper, _leading_edge(own)])
        halves.append(half * (side, 1))
    left, right = halves
    return Outline(np.concatenate([left[::-1], right]), -notch)


def _trailing_edge(rng: np.random.Generator, own: Points) -> Points:
    """Draw the edge from the notch to the tip, with scallops and nicks."""
    along = np.linspace(0, 1, EDGE_POINTS)
    tip = _tip(own)
    edge = _bezier(
        along,
        (0.0, 0.0),
        (0.33 + 0.03 * own[0], 0.13 + 0.04 * own[1]),
        (0.74 + 0.03 * own[2], tip[1] - 0.08 + 0.02 * own[7]),
        tip,
    )
    # scallops are flatter at the notch and end at the tip
    flatness = np.sin(np.pi * along**0.7) ** 0.5
    for bumps, height in ((9, 0.007), (25, 0.007), (70, 0.005)):
        knots = rng.normal(0, height, bumps)
        edge[:, 1] += flatness * np.interp(along, np.linspace(0, 1, bumps), knots)
    for _ in range(rng.integers(1, 6)):
        edge[:, 1] -= _nick(rng, along)
    return edge


def _nick(rng: np.random.Generator, along: Points) -> Points:
    """Draw the depth of a nick along the edge: sharp or round, leaning to one side."""
    position = rng.uniform(0.08, 0.93)
    width = rng.uniform(0.012, 0.05)
    depth = rng.uniform(0.6, 1.8) * width
    away = (along - position) / width
    lean = rng.uniform(0.4, 1.6)
    away = np.where(away < 0, away * lean, away / lean)
    sharpness = rng.uniform(1, 2.5)  # 1 is a V, higher values are a U
    return depth * np.clip(1 - np.abs(away) ** sharpness, 0, None)


def _leading_edge(own: Points) -> Points:
    """Return the edge from the tip to the tail stock, and down the stock into the water."""
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
    """Return points (n, 2) of the cubic Bézier curve of four control points."""
    rest = 1 - along
    weights = np.stack([rest**3, 3 * rest**2 * along, 3 * rest * along**2, along**3], axis=1)
    curve: Points = weights @ np.array(controls)
    return curve


SPAN = 470  # pixels of the skin per half span: the fluke is 940 of 1,024 wide
WIDTH, HEIGHT = 1024, 640
CENTRE = (WIDTH / 2, HEIGHT + STOCK_END * SPAN - 8)  # pixel of x = 0, y = 0

BLACK, WHITE = 0.07, 0.80  # brightness of wet skin and of pigment
SUBPIXEL = 4  # fractional bits of cv2's polygons


@dataclass(frozen=True)
class Whale:
    """The outline of a fluke, and its skin (height, width, 2) as brightness and opacity."""

    outline: Outline
    skin: Pixels


def draw_whale(rng: np.random.Generator) -> Whale:
    """Draw an individual; everything that distinguishes it comes from `rng`."""
    shape = draw_outline(rng)
    mask = _mask(shape)
    skin = _add_scars(rng, _pigmented_skin(rng, mask))
    brightness = np.clip(skin * 255, 0, 255).astype(np.uint8)
    return Whale(shape, np.dstack([brightness, mask]))


def to_skin_pixels(points: Points) -> Points:
    """Return points (n, 2) in half spans as pixels of the skin."""
    return points * (SPAN, -SPAN) + CENTRE


def _mask(shape: Outline) -> Pixels:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    corners = np.rint(to_skin_pixels(shape.points) * 2**SUBPIXEL).astype(np.int32)
    cv2.fillPoly(mask, [corners], 255, cv2.LINE_AA, SUBPIXEL)
    return mask


def _pigmented_skin(rng: np.random.Generator, mask: Pixels) -> Field:
    """Draw white areas on black skin; flukes range from nearly black to nearly white."""
    grain = fields.rough(rng, HEIGHT, WIDTH, 60, 100, 2)
    amount = np.float32(rng.normal(-0.5, 0.9))
    field = (
        amount + _common_pattern(rng) + _patches(rng) + np.float32(0.22) * grain - _rim(rng, mask)
    )
    white = fields.ramp(field, rng.uniform(0.25, 1.2))  # sharp or soft edges
    shade = WHITE + np.float32(0.06) * fields.smooth(rng, HEIGHT, WIDTH, 12, 20)
    skin: Field = BLACK + white * (shade - BLACK) + np.float32(0.012) * grain
    return skin


def _common_pattern(rng: np.random.Generator) -> Field:
    """Draw what all flukes share: white on the blades, black in the middle and on the stock."""
    x, y = _skin_coordinates()
    out = np.abs(x)
    middle, reach = rng.uniform(0.3, 0.9), rng.uniform(0.2, 0.5)
    blade = 1 - ((out - middle) / reach) ** 2 - ((y + 0.1 - 0.1 * out) / 0.35) ** 2
    pattern: Field = blade - 20 * np.clip(-0.45 - y, 0, None)  # the stock begins at -0.45
    return pattern


def _patches(rng: np.random.Generator) -> Field:
    """Draw the individual's patches; about half are mirrored from blade to blade."""
    rows = int(rng.integers(3, 9))  # of blobs: three large ones to eight small ones
    size = HEIGHT // 4, WIDTH // 4, rows, 2 * rows, 3
    own, shared = fields.rough(rng, *size), fields.rough(rng, *size)
    both = 0.67 * own + 0.41 * (shared + shared[:, ::-1])
    patches: Field = cv2.resize(both, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return patches


def _rim(rng: np.random.Generator, mask: Pixels) -> Field:
    """Draw a black rim along the edges, 2 to 6 % of half a span wide."""
    inwards = cv2.distanceTransform(mask, cv2.DIST_L2, 3) / np.float32(SPAN)
    rim: Field = 2 * np.clip(1 - inwards / rng.uniform(0.02, 0.06), 0, None)
    return rim


def _skin_coordinates() -> tuple[Field, Field]:
    """Return the coordinates of every pixel in half spans, (width,) and (height, 1)."""
    x = np.arange(WIDTH, dtype=np.float32) - np.float32(CENTRE[0])
    y = np.float32(CENTRE[1]) - np.arange(HEIGHT, dtype=np.float32)
    return x / np.float32(SPAN), y[:, None] / np.float32(SPAN)


def _add_scars(rng: np.random.Generator, skin: Field) -> Field:
    """Return skin with scars, light on black skin and dark on white skin."""
    marks = np.zeros((HEIGHT, WIDTH), np.uint8)
    for _ in range(rng.integers(3, 14)):
        _scratch(rng, marks, rng.uniform(0.05, 0.3), int(rng.integers(1, 3)))
    for _ in range(rng.integers(0, 4)):
        _rake(rng, marks)
    for _ in range(rng.integers(2, 12)):
        _ring(rng, marks)
    for _ in range(rng.integers(10, 60)):
        cv2.circle(
            marks,
            _random_position(rng),
            int(rng.integers(1, 4)),
            int(rng.integers(80, 255)),
            cv2.FILLED,
        )
    _barnacles(rng, marks)
    strength = marks.astype(np.float32) / 255
    target = np.where(skin > (BLACK + WHITE) / 2, 0.12, 0.7).astype(np.float32)
    scarred: Field = skin + strength * (target - skin)
    return scarred


def _scratch(rng: np.random.Generator, marks: Pixels, length: float, thickness: int) -> None:
    start = np.array(_random_position(rng))
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
    """Draw parallel lines: the marks of teeth."""
    start = np.array(_random_position(rng))
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
    cv2.circle(marks, _random_position(rng), radius, int(rng.integers(70, 200)), 2, cv2.LINE_AA)


def _barnacles(rng: np.random.Generator, marks: Pixels) -> None:
    """Draw barnacles, clustered at the tips."""
    for side in (-1, 1):
        for _ in range(rng.integers(5, 40)):
            x = side * (1 - abs(rng.normal(0, 0.06)))
            at = to_skin_pixels(np.array([(x, rng.normal(0.03, 0.07))]))[0]
            cv2.circle(marks, (int(at[0]), int(at[1])), int(rng.integers(1, 5)), 220, cv2.FILLED)


def _random_position(rng: np.random.Generator) -> tuple[int, int]:
    at = to_skin_pixels(np.array([(rng.uniform(-0.95, 0.95), rng.uniform(-0.4, 0.15))]))[0]
    return int(at[0]), int(at[1])


GRID = 8  # pixels between the points where the lookup is computed; it is interpolated linearly


@dataclass(frozen=True)
class Bend:
    """The bend of both halves out of their plane; tuples are (left, right), in half spans."""

    spread: tuple[float, float]  # foreshortening of each half
    lift: tuple[float, float]  # how high the tips are raised
    curl: tuple[float, float]  # foreshortening of the tips
    height: float  # foreshortening from notch to stock
    twist: float  # difference in height between the halves
    flutter: tuple[float, float]  # height and phase of a wave along the span

    def unbend(self, x: Points, y: Points) -> tuple[Points, Points]:
        """Return the flat points that are seen at (x, y)."""
        spread, lift, curl = (
            np.where(x < 0, left, right) for left, right in (self.spread, self.lift, self.curl)
        )
        out = np.clip(x / spread, -1.5, 1.5)  # values beyond the tips do not matter
        flat = out * (1 + curl * out**2) / (1 + curl)
        return flat, (y - self._elevation(flat, lift)) / self._height(flat)

    def bend(self, points: Points) -> Points:
        """Return flat points (n, 2) bent; the inverse of `unbend`."""
        seen = np.linspace(-1.2, 1.2, 1201)  # the tips are near 1
        flat, _ = self.unbend(seen, np.zeros_like(seen))
        x, y = points.T
        lift = np.where(x < 0, *self.lift)
        raised = y * self._height(x) + self._elevation(x, lift)
        return np.stack([np.interp(x, flat, seen), raised], 1)

    def _elevation(self, flat: Points, lift: Points) -> Points:
        height, phase = self.flutter
        wave = height * np.sin(5 * flat + phase)  # 5 radians per half span: 1.6 waves in all
        return lift * np.abs(flat) ** 1.3 + wave  # 1.3: nearly straight, like real flukes

    def _height(self, flat: Points) -> Points:
        return self.height * (1 + self.twist * np.clip(flat, -1, 1))


@dataclass(frozen=True)
class Pose:
    """A bend, and the homography (3, 3) from bent half spans to pixels of the picture."""

    bend: Bend
    homography: Points
    surface: float  # of the water, in pixels from the top
    size: float  # pixels of the picture per half span

    def lookup(self, height: int, width: int) -> tuple[Field, Field]:
        """Return, for every pixel of the picture, x and y of the skin's pixel seen there."""
        rows, columns = -(-height // GRID) + 2, -(-width // GRID) + 2
        x, y = np.meshgrid(*((np.arange(n) - 0.5) * GRID - 0.5 for n in (columns, rows)))
        inverse = np.linalg.inv(self.homography).astype(np.float64)
        plane = _project(inverse, np.stack([x.ravel(), y.ravel()], 1))
        flat = np.stack(self.bend.unbend(plane[:, 0], plane[:, 1]), 1)
        coarse = to_skin_pixels(flat).astype(np.float32).reshape(rows, columns, 2)
        fine: Field = cv2.resize(coarse, (columns * GRID, rows * GRID))
        # the outermost half cell cannot be interpolated and is cut off
        fine = fine[GRID : GRID + height, GRID : GRID + width]
        return fine[..., 0], fine[..., 1]

    def to_picture(self, points: Points) -> Points:
        """Return flat points (n, 2) as pixels of the picture."""
        return _project(self.homography, self.bend.bend(points))


def draw_pose(
    rng: np.random.Generator, shape: Outline, height: int, width: int, variety: float = 1.0
) -> Pose:
    """Draw a pose in which the dry part is inside the picture and 40 to 95 % as wide.

    With less `variety` flukes are seen more from behind, and less bent.
    """
    bend = _draw_bend(rng, variety)
    turned = _draw_rotation(rng, variety)
    corners = _project(turned, bend.bend(shape.points))
    notch, stock = _project(turned, bend.bend(np.array([(0, shape.notch), (0, STOCK_END)])))[:, 1]
    water = notch + rng.uniform(0.2, 0.7) * (stock - notch)
    dry = corners[corners[:, 1] < water]
    (left, top), (right, _) = dry.min(0), dry.max(0)
    # a high fluke in a wide picture is limited by its height: 92 % leaves air above and below
    share = 0.42 + 0.53 * rng.random() ** 0.4  # most pictures are cropped close to the fluke
    size = min(share * width / (right - left), 0.92 * height / (water - top))
    air, sides = height - size * (water - top), width - size * (right - left)
    moved = np.array(
        [
            (size, 0, rng.triangular(0, 0.5, 1) * sides - size * left),
            (0, size, rng.uniform(0.25, 0.85) * air - size * top),
            (0, 0, 1),
        ]
    )
    return Pose(bend, moved @ turned, float(size * water + moved[1, 2]), float(size))


def _draw_bend(rng: np.random.Generator, variety: float) -> Bend:
    yaw = np.clip(rng.normal(0, 0.22 * variety), -0.7, 0.7)  # radians
    near = 0.35 * np.sin(yaw)  # yaw turns one raised half to the camera and one away
    lift = rng.triangular(0.22 - 0.22 * variety, 0.22, 0.22 + 0.23 * variety)
    lean = rng.normal(0, 0.05 * variety)
    return Bend(
        spread=(float(np.cos(yaw) + near), float(np.cos(yaw) - near)),
        lift=(float(lift + lean), float(lift - lean)),
        curl=(float(rng.uniform(0, 0.3)), float(rng.uniform(0, 0.3))),
        height=float(rng.triangular(1.0 - 0.5 * variety, 1.0, 1.0 + 0.1 * variety)),
        twist=float(np.clip(rng.normal(0, 0.1 * variety), -0.3, 0.3)),
        flutter=(float(rng.normal(0, 0.02 * variety)), float(rng.uniform(0, 6.28))),
    )


def _draw_rotation(rng: np.random.Generator, variety: float) -> Points:
    """Draw a homography (3, 3) of roll and perspective, with y pointing down."""
    roll = rng.normal(0, 0.07 * variety)  # radians: 4 degrees
    cos, sin = np.cos(roll), np.sin(roll)
    rotation = np.array([(cos, -sin, 0), (sin, cos, 0), (0, 0, 1)])
    off = 0.06 * variety
    tilt = np.array([(1, 0, 0), (rng.normal(0, off), 1, 0), (*rng.normal(0, off, 2), 1)])
    turned: Points = rotation @ tilt @ np.diag((1.0, -1.0, 1.0))
    return turned


def _project(homography: Points, points: Points) -> Points:
    moved = points @ homography[:, :2].T + homography[:, 2]
    flat: NDArray[np.float64] = moved[:, :2] / moved[:, 2:]
    return flat
