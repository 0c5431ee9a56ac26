"""The detector as a torch module: FCOS on a feature pyramid of a timm backbone."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOS, FCOSHead
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FeaturePyramidNetwork

from kitbox.errors import KitboxError
from kitbox.network import pretrained_weights
from kitbox.network.backbone import build_backbone
from kitbox.network.network import Normalisation
from kitbox.value import Value

# The strides in pixels of the feature maps that a backbone must have, finest first.
STRIDES = (8, 16, 32)


class DetectorSettings(Value):
    """A detector: its backbone, input size, heads and training.

    Images are resized to one size, whose longer side is `image_size` pixels and whose shape is that
    of the median image. This keeps the relative place of a box and its IoU with others. A training
    ends after `patience` epochs without a better score on held-out images, with 0 never.
    """

    later: ClassVar[frozenset[str]] = frozenset({"patience"})

    backbone: str = Field(default="mobilenetv2_100", min_length=1)
    image_size: int = Field(default=256, ge=32, le=2048)
    epochs: int = Field(default=6, ge=1, le=1000)
    patience: int = Field(default=0, ge=0, le=1000)
    batch_size: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    channels: int = Field(default=96, ge=32, multiple_of=32)  # of the pyramid and its heads
    convolutions: int = Field(default=2, ge=0)  # of each head before its output layer
    finest: Literal[8, 16] = 16  # stride of the finest map in pixels
    seed: int = Field(default=0, ge=0)

    def height_width(self, shape: float) -> tuple[int, int]:
        """Return (height, width) in pixels for images of a shape, width / height.

        Both are multiples of the coarsest stride, so that every map has whole cells.
        """
        step = STRIDES[-1]
        long = max(round(self.image_size / step), 1) * step
        short = max(round(self.image_size * min(shape, 1 / shape) / step), 1) * step
        return (short, long) if shape >= 1 else (long, short)


# As many images are enough: six epochs of 390. Fewer boxes take more epochs, at the same cost.
_ENOUGH_IMAGES = 2340
_LEAST_PATIENCE = 3


def default_epochs(images: int) -> int:
    """Return the epochs that are enough for this number of training images."""
    fewest = DetectorSettings().epochs
    return min(max(fewest, round(_ENOUGH_IMAGES / max(images, 1))), 1000)


def default_patience(epochs: int) -> int:
    """Return the patience of a training: a fifth of its epochs, as scores of few images jump."""
    return max(_LEAST_PATIENCE, epochs // 5)


# Stages up to this stride are frozen: edges and colours from ImageNet suit any photograph, and
# their gradients are the most expensive part of a step.
_FROZEN_STRIDE = 4
# Boxes below this confidence are dropped.
_LEAST_CONFIDENCE = 0.05
# Of two boxes with more IoU than this one is dropped; around a small fluke several exceed .35.
_NMS_IOU = 0.35
_MOST_BOXES = 5  # of an image
# The heads start from boxes of this half-side, in strides. Torchvision's start from empty boxes,
# half of whose sides get no gradient through their ReLU.
_FIRST_HALF_SIDE = 3.0


class Pyramid(nn.Module):
    """Feature maps of a backbone at several strides, each merged with the coarser ones."""

    def __init__(self, settings: DetectorSettings, *, pretrained: bool = False) -> None:
        """Build the pyramid; `pretrained` downloads the backbone's weights.

        Raises KitboxError for a backbone without feature maps at the strides.
        """
        super().__init__()
        self.backbone, _, self.data_config = build_backbone(
            settings.backbone, pretrained=pretrained
        )
        stages = _stages(self.backbone, settings.backbone)
        strides = [stride for stride in STRIDES if stride >= settings.finest]
        self.indices = [
            max(i for i, s in enumerate(stages) if s["reduction"] == n) for n in strides
        ]
        channels = [stages[i]["num_chs"] for i in self.indices]
        self.merge = FeaturePyramidNetwork(channels, settings.channels)
        self.normalisation = Normalisation(self.data_config)
        self.strides = tuple(strides)
        self.out_channels = settings.channels
        _freeze_first_stages(self.backbone, stages)

    def forward(self, pixels: Tensor) -> "OrderedDict[str, Tensor]":
        """Return the feature maps of pixels (n, h, w, 3) uint8, finest first."""
        maps = self.backbone.forward_intermediates(  # type: ignore[operator]
            self.normalisation(pixels),
            indices=self.indices,
            stop_early=True,
            intermediates_only=True,
        )
        named = OrderedDict((str(stride), m) for stride, m in zip(self.strides, maps, strict=True))
        merged: OrderedDict[str, Tensor] = self.merge(named)
        return merged

    def train(self, mode: bool = True) -> "Pyramid":
        """Switch modes; batch norms stay in eval mode, as batches are too small for their means."""
        super().train(mode)
        for module in self.backbone.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self


class Detector(nn.Module):
    """A network that predicts boxes, in pixels of its input, and their confidences."""

    def __init__(self, settings: DetectorSettings, *, pretrained: bool = False) -> None:
        """Build the detector; `pretrained` weights are those of the backbone."""
        super().__init__()
        pyramid = Pyramid(settings, pretrained=pretrained)
        head = FCOSHead(settings.channels, 1, 1, num_convs=settings.convolutions)
        nn.init.constant_(head.regression_head.bbox_reg.bias, _FIRST_HALF_SIDE)
        # a point for each cell; a level detects boxes whose sides fit its stride
        points = AnchorGenerator(
            tuple((stride,) for stride in pyramid.strides), ((1.0,),) * len(pyramid.strides)
        )
        self.fcos = FCOS(
            pyramid,
            num_classes=1,
            anchor_generator=points,
            head=head,
            score_thresh=_LEAST_CONFIDENCE,
            nms_thresh=_NMS_IOU,
            detections_per_img=_MOST_BOXES,
        )

    @property
    def pyramid(self) -> Pyramid:
        """The backbone with its merged feature maps."""
        pyramid: Pyramid = self.fcos.backbone
        return pyramid

    def load_weights(self, path: Path) -> None:
        """Load the backbone's weights from a file; raises KitboxError if they do not fit."""
        pretrained_weights.load(self.pyramid.backbone, path)

    def forward(self, pixels: Tensor) -> dict[str, Any]:
        """Return the heads' outputs for pixels (n, h, w, 3) uint8, in float32, level by level."""
        maps, outputs = self._heads(pixels)
        height_width = (pixels.shape[1], pixels.shape[2])
        shapes = [height_width] * len(pixels)
        # the generator only uses the sizes
        points = self.fcos.anchor_generator(ImageList(pixels.permute(0, 3, 1, 2), shapes), maps)
        points = [point.float() for point in points]
        counts = [m.shape[2] * m.shape[3] for m in maps]
        return {"outputs": outputs, "points": points, "counts": counts, "shapes": shapes}

    def _heads(self, pixels: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return the maps of pixels, and what each head makes of all their cells (n, cells, d)."""
        maps = list(self.pyramid(pixels).values())
        return maps, {name: output.float() for name, output in self.fcos.head(maps).items()}

    def losses(self, raw: dict[str, Any], boxes: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the loss of each head, given the true boxes (m, 4) of each image.

        These are the focal loss of the class, the GIoU loss of the box and the cross-entropy of
        the centredness (Tian et al., ICCV 2019), each a sum divided by the number of cells on
        objects.
        """
        targets = [
            {"boxes": each, "labels": torch.zeros(len(each), dtype=torch.int64, device=each.device)}
            for each in boxes
        ]
        losses: dict[str, Tensor] = self.fcos.compute_loss(
            targets, raw["outputs"], raw["points"], raw["counts"]
        )
        return losses

    def boxes(self, raw: dict[str, Any]) -> list[tuple[Tensor, Tensor]]:
        """Return boxes (m, 4) and confidences (m,) of each image, most confident first."""
        outputs = {
            name: list(each.split(raw["counts"], dim=1)) for name, each in raw["outputs"].items()
        }
        points = [list(each.split(raw["counts"])) for each in raw["points"]]
        detections = self.fcos.postprocess_detections(outputs, points, raw["shapes"])
        return [(each["boxes"], each["scores"]) for each in detections]


class JoinedHeads(nn.Module):
    """The outputs of a detector's heads side by side, as one tensor of a graph."""

    # The heads in the order of their columns, and how many each has.
    COLUMNS: ClassVar[dict[str, int]] = {"cls_logits": 1, "bbox_regression": 4, "bbox_ctrness": 1}

    def __init__(self, detector: Detector) -> None:
        """Join the heads of a detector."""
        super().__init__()
        self.detector = detector

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the outputs (n, cells, 6) of pixels (n, h, w, 3) uint8."""
        _, outputs = self.detector._heads(pixels)
        return torch.cat([outputs[name] for name in self.COLUMNS], dim=2)

    @classmethod
    def split(cls, joined: Tensor) -> dict[str, Tensor]:
        """Return the outputs of each head in joined ones."""
        parts = torch.split(joined, list(cls.COLUMNS.values()), dim=2)
        return dict(zip(cls.COLUMNS, parts, strict=True))


def _stages(network: nn.Module, name: str) -> list[dict[str, Any]]:
    info = getattr(network, "feature_info", None) or []
    stages = list(info) if hasattr(network, "forward_intermediates") else []
    strides = {stage["reduction"] for stage in stages}
    if not strides.issuperset(STRIDES):
        raise KitboxError(
            f"backbone {name} has no feature maps at strides of 8, 16 and 32 pixels",
            fix="choose another, such as mobilenetv2_100",
        )
    return stages


def _freeze_first_stages(network: nn.Module, stages: list[dict[str, Any]]) -> None:
    frozen = tuple(f"{s['module']}." for s in stages if s["reduction"] <= _FROZEN_STRIDE)
    names = [name for name, _ in network.named_parameters()]
    last = max(i for i, name in enumerate(names) if name.startswith(frozen))
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in names[last + 1 :])
