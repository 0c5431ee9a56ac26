"""The points that two photographs share, for people to look at."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kitbox.errors import KitboxError
from kitbox.images.preprocessing import UnreadableImageError, box_of
from kitbox.keypoints import match_cache
from kitbox.keypoints.feature_source import NO_KEYPOINTS, FeatureSource
from kitbox.keypoints.local_features import LocalFeatures, points_in_photograph
from kitbox.keypoints.match_settings import ClassicalSettings, MatchSettings
from kitbox.records import Floats, ImageSet, strings
from kitbox.workspace import Workspace


@dataclass(frozen=True)
class PointPairs:
    """Matched points of two photographs, `first (k, 2)` and `second (k, 2)` in their pixels.

    `agrees (k,)` are those of one homography, so that they lie on one surface.
    """

    first: Floats
    second: Floats
    agrees: NDArray[np.bool_]


def pair_points(
    settings: MatchSettings, images: ImageSet, first: str, second: str, workspace: Workspace
) -> PointPairs:
    """Return the points that a classical matcher finds in two photographs.

    The cache of pairs has counts alone, so that the points are matched again; keypoints are read
    from the cache, and written to it. Raises KitboxError for a photograph that cannot be read or
    has no keypoints, and for a matcher of networks.
    """
    from kitbox.keypoints import classical_matchers  # OpenCV

    if not isinstance(settings, ClassicalSettings):
        raise KitboxError(
            f"the points of {settings.kind} are not kept, and matching them again needs its "
            "networks",
            fix="show the points of sift",
        )
    matcher = classical_matchers.MATCHERS[settings.kind](settings)
    pair = images.of(strings([first, second]))
    with match_cache.open_features(workspace) as store:
        source = FeatureSource(matcher, pair, store, frozenset())
        for _ in source.find(source.missing([0, 1]), 1, "find keypoints"):
            pass
        for row, why in source.without.items():
            name = pair.image_ids[row]
            reason = f"no keypoints were found in '{name}'" if why == NO_KEYPOINTS else why
            raise KitboxError(f"no points can be matched: {reason}")
        features = source.load(0), source.load(1)
    rows, columns = matcher.correspond(*features)
    found = features[0].take(rows), features[1].take(columns)
    agrees = classical_matchers.inliers(found[0].points, found[1].points, settings.threshold)
    if agrees.sum() < settings.fewest:  # as many agree by chance
        agrees = np.zeros(len(rows), dtype=np.bool_)
    return PointPairs(
        _in_photograph(found[0], pair, 0, settings),
        _in_photograph(found[1], pair, 1, settings),
        agrees,
    )


def _in_photograph(
    features: LocalFeatures, images: ImageSet, row: int, settings: MatchSettings
) -> Floats:
    path, box = images.paths[row], box_of(images, row)
    try:
        return points_in_photograph(features, path, box, settings.margin)
    except UnreadableImageError as error:  # since its keypoints were found
        raise KitboxError(f"no points can be matched: {error}") from error
