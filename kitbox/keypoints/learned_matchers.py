"""Learned matchers: keypoints that a network finds, compared by descriptors or by LightGlue."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kitbox.errors import KitboxError
from kitbox.files import digest_of_file
from kitbox.images.preprocessing import Box, Pixels
from kitbox.keypoints import package_weights
from kitbox.keypoints.classical_matchers import count_inliers
from kitbox.keypoints.learned_features import (
    SIDE_STEP,
    FeatureNetwork,
    build_network,
    feature_file,
    kornia_features,
)
from kitbox.keypoints.local_features import LocalFeatures
from kitbox.keypoints.match_networks import (
    LIGHTGLUE_FILES,
    LOFTR_FILE,
    LightGlueNetwork,
    LoftrNetwork,
    PointSet,
)
from kitbox.keypoints.match_settings import (
    DescriptorSettings,
    LearnedSettings,
    LoftrSettings,
    PairNetworkSettings,
)
from kitbox.keypoints.matcher import MatchCounts, Matcher
from kitbox.records import Floats, Integers

# Of the keypoints around a box some are dropped, so that more of them are looked for.
_FOUND_AROUND_BOX = 2


class LearnedMatcher(Matcher):
    """A matcher whose networks run on a device, on a CPU in a thread for each core.

    Each call uses one of them: small networks gain little from more, and the order in which torch
    sums does not depend on the number of cores then.
    """

    settings: LearnedSettings

    def __init__(self, settings: LearnedSettings, device: str) -> None:
        super().__init__(settings)
        self.features = settings.kind.partition("+")[0]
        self.device = device
        self.single_threaded = device == "cpu"

    @contextmanager
    def one_thread_each(self) -> Iterator[None]:
        """Let torch use one thread for each call."""
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    @cached_property
    def sources(self) -> dict[str, str]:
        """The releases of kornia and OpenCV, and the digest of the weights of features."""
        import cv2  # its homographies count inliers

        return {
            "kornia": metadata.version("kornia"),
            "opencv": cv2.__version__,
            "weights": digest_of_file(self.extractor_path),
        }

    @cached_property
    def extraction(self) -> dict[str, Any]:
        """What determines the features of an image: settings, weights and release of kornia.

        The same keypoints serve matchers with and without LightGlue.
        """
        own = {name: self.sources[name] for name in ("kornia", "weights")}
        return {**self.settings.extraction, "method": self.features, **own}

    @cached_property
    def causes(self) -> dict[str, Any]:
        """What determines the counts of a pair."""
        own = {"method": self.settings.kind, **self.sources}
        return self.settings.causes | self.extraction | own

    @property
    @abstractmethod
    def extractor_path(self) -> Path:
        """The file of weights of the network that sees a photograph."""

    def counts(
        self, first: Floats, second: Floats, confident: NDArray[np.bool_] | None = None
    ) -> MatchCounts:
        """Return the counts of matched points (k, 2) of two pictures.

        Where the matcher has no `confident (k,)` ones, the inliers are.
        """
        agreeing = count_inliers(first, second, self.settings.threshold)
        sure = agreeing if confident is None else int(confident.sum())
        return MatchCounts(
            matches=len(first),
            inliers=agreeing if agreeing >= self.settings.fewest else 0,
            confident=sure,
            ratio=sure / len(first) if len(first) else 0.0,
        )


class KeypointMatcher(LearnedMatcher):
    """A matcher of the keypoints that ALIKED, DISK or XFeat finds in a photograph."""

    def __init__(self, settings: LearnedSettings, device: str) -> None:
        super().__init__(settings, device)
        file = feature_file(self.features, settings.variant)
        self._path = package_weights.find(file, settings.weights or "package")

    @property
    def extractor_path(self) -> Path:
        """The file of weights of the network that finds keypoints."""
        return self._path

    def extract(self, pixels: Pixels, box: Box | None) -> LocalFeatures:
        """Return the features of the best keypoints in the box."""
        height, width = pixels.shape[:2]
        padding = [(0, -side % SIDE_STEP) for side in (height, width)]
        # pictures of few shapes, whose sides no network has to change
        padded = np.pad(pixels, (*padding, (0, 0)), mode="edge")
        whole = (0.0, 0.0, width - 1.0, height - 1.0)
        wanted = self.settings.points * (1 if box is None else _FOUND_AROUND_BOX)
        while True:
            [found] = self._network.extract([padded], wanted)
            features = LocalFeatures(
                found.points,
                found.descriptors.astype(np.float16 if self.features == "xfeat" else np.float32),
                found.scores,
                (width, height),
            )
            kept = features.inside(whole).inside(box)
            if len(kept) >= self.settings.points or len(found.points) < wanted:
                return kept.best(self.settings.points)
            wanted *= 2

    @cached_property
    def _network(self) -> FeatureNetwork:
        return build_network(self.features, self.settings.variant, self._path, self.device)


class NetworkMatcher(KeypointMatcher):
    """Mutual nearest neighbours of the descriptors, verified by MAGSAC.

    The cosine of two descriptors must be above `cosine` of the settings.
    """

    settings: DescriptorSettings

    def match(self, a: LocalFeatures, b: LocalFeatures) -> MatchCounts:
        """Return the matches, and the inliers of the homography that most of them agree with."""
        left, right = (each.descriptors.astype(np.float32) for each in (a, b))
        rows, columns = mutual_nearest(left @ right.T, self.settings.cosine)
        return self.counts(a.points[rows], b.points[columns])


class LightGlueMatcher(KeypointMatcher):
    """Keypoints of ALIKED, DISK or XFeat, matched by LightGlue.

    On photographs of flukes the number of its matches above a confidence of .5 tells individuals
    apart better than that of all its matches.
    """

    settings: PairNetworkSettings
    ranked_by = "confident"

    def __init__(self, settings: PairNetworkSettings, device: str) -> None:
        super().__init__(settings, device)
        self._glue_path = package_weights.find(
            LIGHTGLUE_FILES[self.features], settings.weights or "package"
        )

    @cached_property
    def sources(self) -> dict[str, str]:
        """The releases of kornia and OpenCV, and the digests of both files of weights."""
        return super().sources | {"lightglue": digest_of_file(self._glue_path)}

    def match(self, a: LocalFeatures, b: LocalFeatures) -> MatchCounts:
        """Return LightGlue's matches, those of them above the confidence, and their inliers."""
        first, second = (PointSet(each.points, each.descriptors, *each.size) for each in (a, b))
        found = self._glue.match(first, second)
        rows, columns = found.rows.T
        sure = found.confidences > self.settings.confidence
        return self.counts(a.points[rows], b.points[columns], sure)

    @cached_property
    def _glue(self) -> LightGlueNetwork:
        return LightGlueNetwork(self.features, self._glue_path, self.device)


class LoftrMatcher(LearnedMatcher):
    """LoFTR on the boxes of two photographs; it finds no keypoints before it sees both.

    The features of a photograph are the rows of its grey picture.
    """

    settings: PairNetworkSettings
    symmetric = False

    def __init__(self, settings: PairNetworkSettings, device: str) -> None:
        super().__init__(settings, device)
        self._path = package_weights.find(LOFTR_FILE, settings.weights or "package")

    @property
    def extractor_path(self) -> Path:
        """The file of weights."""
        return self._path

    def extract(self, pixels: Pixels, box: Box | None) -> LocalFeatures:
        """Return the rows of the grey picture of the box as descriptors, one point for each."""
        import cv2

        height, width = pixels.shape[:2]
        left, top, right, bottom = map(round, box or (0, 0, width, height))
        grey = cv2.cvtColor(pixels[top:bottom, left:right], cv2.COLOR_RGB2GRAY)
        rows, columns = grey.shape
        points = np.stack([np.zeros(rows), np.arange(rows)], axis=1).astype(np.float32)
        return LocalFeatures(points, grey, np.zeros(rows, np.float32), (columns, rows))

    def match(self, a: LocalFeatures, b: LocalFeatures) -> MatchCounts:
        """Return LoFTR's matches, those of them above the confidence, and their inliers."""
        found = self._network.match(a.descriptors, b.descriptors)
        best = np.argsort(-found.confidences, kind="stable")[: self.settings.points]
        sure = found.confidences[best] > self.settings.confidence
        return self.counts(found.first[best], found.second[best], sure)

    @cached_property
    def _network(self) -> LoftrNetwork:
        return LoftrNetwork(self._path, self.device)


def mutual_nearest(cosines: Floats, least: float) -> tuple[Integers, Integers]:
    """Return rows and columns (k,) that are each other's nearest, with a cosine above `least`.

    `cosines (n, m)`, of which neither is 0; of equal ones the first counts.
    """
    rows, columns = np.arange(len(cosines)), cosines.argmax(axis=1)
    mutual = cosines.argmax(axis=0)[columns] == rows
    kept = mutual & (cosines[rows, columns] > least)
    return rows[kept], columns[kept]


def learned_matcher(settings: LearnedSettings, device: str) -> LearnedMatcher:
    """Return the learned matcher that settings name; its networks are loaded when they are used.

    Raises KitboxError where kornia or a file of weights is missing.
    """
    from kitbox.network import inference  # torch

    kornia_features()
    device = inference.resolve_device(device)
    match settings:
        case LoftrSettings():
            return LoftrMatcher(settings, device)
        case PairNetworkSettings():
            return LightGlueMatcher(settings, device)
        case _:
            return NetworkMatcher(settings, device)


def weight_packages(settings: LearnedSettings) -> list[str]:
    """Return the packages that carry the weights of a learned matcher.

    Raises KitboxError for weights in a file of their own, which no package carries.
    """
    kind, _, place = (settings.weights or "package").partition(":")
    if kind == "file":
        raise KitboxError(
            f"the weights of {settings.kind} are in the file {place}, which no package carries",
            fix="use those of a package, as weights=package:NAME",
        )
    features, _, glue = settings.kind.partition("+")
    if features == "loftr":
        files = [LOFTR_FILE]
    else:
        files = [feature_file(features, settings.variant)]
        files += [LIGHTGLUE_FILES[features]] if glue else []
    names = [place or file.package for file in files]
    return list(dict.fromkeys(name for name in names if name is not None))
