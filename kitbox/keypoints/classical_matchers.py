"""Matchers of OpenCV: RootSIFT, ORB and KAZE, verified by a homography."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kitbox.errors import KitboxError
from kitbox.images.preprocessing import Box, Pixels
from kitbox.keypoints.local_features import LocalFeatures
from kitbox.keypoints.match_settings import ClassicalSettings
from kitbox.keypoints.matcher import MatchCounts, Matcher
from kitbox.records import Floats, Integers

# Descriptors are kept as whole numbers, whose products are exact in float32 whatever the order of
# summation: at these lengths a dot product stays below 2^24.
_ROOT_SIFT_LENGTH = 512
_KAZE_LENGTH = 2048
# Four points have a homography that fits all of them.
_LEAST_FOR_HOMOGRAPHY = 5
# Pixels of the shorter side: OpenCV's detectors need room for a descriptor, and some fail without.
_LEAST_SIDE = 16
_ITERATIONS = 2000
_CONFIDENCE = 0.999


class ClassicalMatcher(Matcher):
    """Mutual nearest neighbours that pass the ratio test both ways, verified by MAGSAC.

    Lowe, "Distinctive image features from scale-invariant keypoints", 2004; Barath et al.,
    "MAGSAC++, a fast, reliable and accurate robust estimator", 2020.
    """

    settings: ClassicalSettings
    # Distances are squared, so that ratios are too.
    squared = True

    @property
    def sources(self) -> dict[str, str]:
        """The version of OpenCV."""
        return {"opencv": cv2.__version__}

    @property
    def extraction(self) -> dict[str, Any]:
        """What determines the features of an image: also the version of OpenCV."""
        return super().extraction | self.sources

    @property
    def causes(self) -> dict[str, Any]:
        """What determines the counts of a pair: also the version of OpenCV."""
        return super().causes | self.extraction

    def extract(self, pixels: Pixels, box: Box | None) -> LocalFeatures:
        """Return the features of the best keypoints in the box."""
        height, width = pixels.shape[:2]
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        found: Sequence[Any] = ()
        raw = None
        if min(height, width) >= _LEAST_SIDE:
            found, raw = self.detector().detectAndCompute(grey, None)
        if raw is None:
            raw = np.empty((0, 1), dtype=np.float32)
        features = LocalFeatures(
            np.array([one.pt for one in found], dtype=np.float32).reshape(-1, 2),
            raw,
            np.array([one.response for one in found], dtype=np.float32),
            (width, height),
        )
        kept = features.inside(box).best(self.settings.points)
        return LocalFeatures(kept.points, self.describe(kept.descriptors), kept.scores, kept.size)

    def match(self, a: LocalFeatures, b: LocalFeatures) -> MatchCounts:
        """Return the matches, and the inliers of the homography that most of them agree with."""
        fewest = self.settings.fewest
        rows, columns = self.correspond(a, b)
        if len(rows) < max(fewest, _LEAST_FOR_HOMOGRAPHY):
            return MatchCounts(matches=len(rows))
        agreeing = count_inliers(a.points[rows], b.points[columns], self.settings.threshold)
        return MatchCounts(
            matches=len(rows),
            inliers=agreeing if agreeing >= fewest else 0,
            confident=agreeing,
            ratio=agreeing / len(rows),
        )

    def correspond(self, a: LocalFeatures, b: LocalFeatures) -> tuple[Integers, Integers]:
        """Return the rows (k,) of matched keypoints in both photographs."""
        ratio = self.settings.ratio
        distances = self.distances(a.descriptors, b.descriptors)
        return mutual_matches(distances, ratio**2 if self.squared else ratio)

    @abstractmethod
    def detector(self) -> Any:
        """Return OpenCV's detector of all keypoints."""

    @abstractmethod
    def describe(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Return descriptors (n, d) as they are kept, of those that the detector gives."""

    def distances(self, a: NDArray[Any], b: NDArray[Any]) -> Floats:
        """Return the squared Euclidean distances (n, m) of descriptors."""
        left, right = a.astype(np.float32), b.astype(np.float32)
        lengths = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)
        distances: Floats = lengths - 2 * (left @ right.T)
        return distances


class RootSift(ClassicalMatcher):
    """SIFT whose descriptors are compared by Hellinger's distance.

    Arandjelovic and Zisserman, "Three things everyone should know to improve object retrieval",
    2012.
    """

    def detector(self) -> Any:
        """Return OpenCV's SIFT."""
        return cv2.SIFT.create()

    def describe(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Return the roots of descriptors that sum up to 1, times 512, as uint8 (n, 128)."""
        total = np.maximum(raw.sum(axis=1, keepdims=True), 1e-12)
        roots = np.sqrt(raw / total) * _ROOT_SIFT_LENGTH
        kept: NDArray[np.uint8] = np.clip(np.rint(roots), 0, 255).astype(np.uint8)
        return kept


class Orb(ClassicalMatcher):
    """ORB: corners with descriptors of 256 bits (Rublee et al., 2011)."""

    squared = False

    def detector(self) -> Any:
        """Return OpenCV's ORB, which finds twice as many as are kept: some lie outside the box."""
        return cv2.ORB.create(nfeatures=2 * self.settings.points)

    def describe(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Return the descriptors as they are: uint8 (n, 32)."""
        return raw.astype(np.uint8)

    def distances(self, a: NDArray[Any], b: NDArray[Any]) -> Floats:
        """Return the Hamming distances (n, m) of descriptors."""
        left, right = (2 * np.unpackbits(bits, axis=1).astype(np.float32) - 1 for bits in (a, b))
        distances: Floats = (left.shape[1] - left @ right.T) / 2
        return distances


class Kaze(ClassicalMatcher):
    """KAZE: blobs of a scale space that keeps edges (Alcantarilla et al., 2012).

    Its descriptors have signs, so that no root of them can be taken.
    """

    def __init__(self, settings: ClassicalSettings) -> None:
        super().__init__(settings)
        # a module of its own since OpenCV 5
        modules: tuple[Any, ...] = (cv2, getattr(cv2, "xfeatures2d", None))
        self._kaze = next((m.KAZE for m in modules if hasattr(m, "KAZE")), None)
        if self._kaze is None:
            raise KitboxError(
                f"the matcher kaze is not in OpenCV {cv2.__version__} without its extra modules",
                fix="install opencv-contrib-python-headless of that version over "
                "opencv-python-headless, or match with sift",
            )

    def detector(self) -> Any:
        """Return OpenCV's KAZE."""
        assert self._kaze is not None  # noqa: S101  refused at creation
        return self._kaze.create()

    def describe(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Return descriptors of unit length times 2048, as int16 (n, 64)."""
        lengths = np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), 1e-12)
        kept: NDArray[np.int16] = np.rint(raw / lengths * _KAZE_LENGTH).astype(np.int16)
        return kept


MATCHERS: dict[str, type[ClassicalMatcher]] = {"sift": RootSift, "orb": Orb, "kaze": Kaze}


def mutual_matches(distances: Floats, ratio: float) -> tuple[Integers, Integers]:
    """Return rows and columns (k,) that are each other's nearest, and clearly so.

    `distances (n, m)`: the nearest is below `ratio` times the second nearest, from both sides.
    """
    if min(distances.shape) < 2:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    nearest, clear = _nearest(distances, ratio)
    of_column, clear_column = _nearest(distances.T, ratio)
    rows = np.flatnonzero(clear & (of_column[nearest] == np.arange(len(nearest))))
    rows = rows[clear_column[nearest[rows]]]
    return rows, nearest[rows]


def _nearest(distances: Floats, ratio: float) -> tuple[Integers, NDArray[np.bool_]]:
    """Return the nearest column of each row, and whether it is clearly nearer than the second."""
    rows, nearest = np.arange(len(distances)), distances.argmin(axis=1)
    others = distances.copy()
    others[rows, nearest] = np.inf
    return nearest, distances[rows, nearest] < ratio * others.min(axis=1)


def count_inliers(first: Floats, second: Floats, threshold: float) -> int:
    """Return how many of the pairs of points (k, 2) agree with one homography; see `inliers`."""
    return int(inliers(first, second, threshold).sum())


def inliers(first: Floats, second: Floats, threshold: float) -> NDArray[np.bool_]:
    """Return which of the pairs of points (k, 2) agree with one homography (k,).

    It maps the first onto the second, within `threshold` pixels; any four pairs have one, so that
    of fewer than five none does. OpenCV's estimator starts from the same random numbers each time.
    """
    none = np.zeros(len(first), dtype=np.bool_)
    if len(first) < _LEAST_FOR_HOMOGRAPHY:
        return none
    try:
        homography, agreeing = cv2.findHomography(
            first.astype(np.float64),
            second.astype(np.float64),
            cv2.USAC_MAGSAC,
            threshold,
            maxIters=_ITERATIONS,
            confidence=_CONFIDENCE,
        )
    except cv2.error:  # points on a line have no homography
        return none
    return none if homography is None or agreeing is None else np.asarray(agreeing).ravel() != 0
