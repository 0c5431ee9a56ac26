"""Augmentation: repeatable by seed, of the same shape, different from seed to seed."""

from pathlib import Path

import numpy as np
import pytest

from kitbox.images import preprocessing
from kitbox.images.augmentation import Augmentation, BoxAugmentation
from tests.photographs import picture


@pytest.mark.parametrize("name", ["light", "gdsc2020"])
def test_an_augmentation_depends_on_the_seed_alone(tmp_path: Path, name: str) -> None:
    pixels = preprocessing.read(picture(tmp_path / "a.png", 1, 1), (48, 64))
    augmentation = Augmentation(name, (48, 64))
    first = [augmentation(pixels, seed) for seed in range(12)]
    again = [Augmentation(name, (48, 64))(pixels, seed) for seed in range(12)]
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert all(found.shape == (48, 64, 3) and found.dtype == np.uint8 for found in first)
    assert sum(bool((found != pixels).any()) for found in first) >= 10


def test_without_an_augmentation_the_pixels_do_not_change(tmp_path: Path) -> None:
    pixels = preprocessing.read(picture(tmp_path / "a.png", 1, 1), (48, 64))
    assert Augmentation("none", (48, 64))(pixels, 3) is pixels


def test_boxes_move_with_their_content() -> None:
    augmentation = BoxAugmentation()
    for seed in range(20):
        pixels = np.zeros((64, 96, 3), dtype=np.uint8)
        pixels[20:40, 30:70] = 200
        box = np.array([[30, 20, 70, 40]], dtype=np.float32)
        changed, boxes = augmentation(pixels, box, seed)
        again, same = augmentation(pixels, box, seed)
        assert (changed == again).all()
        assert (boxes == same).all()
        if not len(boxes):
            continue
        grey = changed.mean(axis=2)
        rows, columns = np.nonzero(grey > (grey.min() + grey.max()) / 2)
        visible = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(boxes[0], visible, atol=2)


def test_a_box_that_leaves_the_image_is_dropped() -> None:
    augmentation = BoxAugmentation()
    pixels = np.zeros((64, 96, 3), dtype=np.uint8)
    corner = np.array([[0, 0, 4, 4]], dtype=np.float32)
    counts = {len(augmentation(pixels, corner, seed)[1]) for seed in range(40)}
    assert counts == {0, 1}
