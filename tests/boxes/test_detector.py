"""The detector: feature maps at its strides, boxes inside the image, frozen first stages."""

import pytest
import torch

from kitbox.boxes.detector import Detector, DetectorSettings
from kitbox.errors import KitboxError
from tests.boxes.scenes import tiny


def pixels(height: int = 64, width: int = 96) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (2, height, width, 3)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize(("finest", "cells"), [(8, 96 + 24 + 6), (16, 24 + 6)])
def test_each_cell_of_each_map_has_outputs(finest: int, cells: int) -> None:
    outputs = Detector(tiny(finest=finest)).eval()(pixels())
    assert outputs["outputs"]["cls_logits"].shape == (2, cells, 1)
    assert outputs["outputs"]["bbox_regression"].shape == (2, cells, 4)
    assert sum(outputs["counts"]) == cells


def test_boxes_lie_in_the_image_sorted_by_confidence() -> None:
    torch.manual_seed(0)
    detector = Detector(tiny()).eval()
    torch.nn.init.constant_(detector.fcos.head.classification_head.cls_logits.bias, 2.0)
    for boxes, confidences in detector.boxes(detector(pixels())):
        assert 1 <= len(boxes) == len(confidences) <= 5
        assert (boxes >= 0).all()
        assert (boxes[:, [0, 2]] <= 96).all()
        assert (boxes[:, [1, 3]] <= 64).all()
        assert (confidences.diff() <= 0).all()


def test_the_first_stages_and_all_batch_norms_stay_frozen() -> None:
    detector = Detector(tiny()).train()
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    trainable = [p for p in detector.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trainable, lr=0.1)
    true = [torch.tensor([[8.0, 8.0, 40.0, 40.0]])] * 2
    sum(detector.losses(detector(pixels()), true).values()).backward()
    optimizer.step()
    changed = {n for n, t in detector.state_dict().items() if not torch.equal(t, before[n])}
    prefix = "fcos.backbone.backbone."
    assert not any(n.startswith((f"{prefix}conv_stem", f"{prefix}blocks.1.")) for n in changed)
    assert not any(n.endswith(("running_mean", "running_var")) for n in changed)
    assert any(n.startswith(f"{prefix}blocks.2.") for n in changed)


def test_an_image_without_a_box_is_all_background() -> None:
    detector = Detector(tiny()).train()
    losses = detector.losses(detector(pixels()), [torch.empty(0, 4)] * 2)
    assert losses["bbox_regression"] == 0
    assert losses["classification"] > 0


def test_a_backbone_without_feature_maps_is_refused() -> None:
    assert Detector(tiny(backbone="test_resnet")).pyramid.strides == (16, 32)
    with pytest.raises(KitboxError, match="test_vit has no feature maps at strides of 8, 16"):
        Detector(tiny(backbone="test_vit"))


@pytest.mark.parametrize(
    ("shape", "height_width"),
    [(1.5, (256, 384)), (1.0, (384, 384)), (0.5, (384, 192)), (100.0, (32, 384))],
)
def test_images_are_resized_to_the_shape_of_the_median_one(
    shape: float, height_width: tuple[int, int]
) -> None:
    assert DetectorSettings(image_size=384).height_width(shape) == height_width
