"""Augmentation: repeatable by seed, of the same shape, different from seed to seed."""

from pathlib import Path

import numpy as np
import pytest

from kitbox.errors import KitboxError
from kitbox.images import preprocessing
from kitbox.images.augmentation import Augmentation, BoxAugmentation
from tests.own_code import code_of
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


def own(root: Path, text: str) -> Augmentation:
    """Return an augmentation of a user's own, whose function `build` has this text."""
    return Augmentation("myaug:build", (48, 64), code_of(root, "myaug:build", text))


NOISE = """\
import random
import numpy as np
import torch

def build(height, width):
    def change(pixels):
        noise = np.random.randint(0, 9, (height, width, 1)) + random.randrange(9)
        return (pixels + noise + int(torch.randint(9, ()))).astype(np.uint8)
    return change
"""
ALBUMENTATIONS = """\
import albumentations as alb

def build(image_size):
    return alb.{transform}
"""


@pytest.mark.parametrize(
    "text",
    [
        NOISE,
        ALBUMENTATIONS.format(transform="RandomBrightnessContrast(p=1)"),
        ALBUMENTATIONS.format(transform="Compose([alb.Rotate(p=1), alb.GaussNoise(p=1)])"),
    ],
    ids=["function", "transform", "pipeline"],
)
def test_an_own_augmentation_depends_on_the_seed_alone(tmp_path: Path, text: str) -> None:
    pixels = np.full((48, 64, 3), 100, dtype=np.uint8)
    pixels[10:20, 10:40] = 180
    augmentation = own(tmp_path, text)
    state = np.random.get_state()[1].tolist()  # noqa: NPY002
    first = [augmentation(pixels.copy(), seed) for seed in range(4)]
    again = [own(tmp_path, text)(pixels.copy(), seed) for seed in range(4)]
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert len({found.tobytes() for found in first}) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "def build(): return lambda pixels: pixels[::2]",
            "myaug:build: an image of 48x64 became uint8 pixels of shape (24, 64, 3); return a "
            "numpy array of uint8, of shape (48, 64, 3)",
        ),
        (
            "def build(): return lambda pixels: pixels / 255",
            "myaug:build: an image of 48x64 became a ndarray of float64, of shape (48, 64, 3); ",
        ),
        (
            "import torch\ndef build(): return torch.from_numpy",
            "myaug:build: an image of 48x64 became a Tensor of torch.uint8, of shape (48, 64, 3); ",
        ),
        ("def build(): return print", "myaug:build: an image of 48x64 became a NoneType; "),
        ("def build(): pass", "myaug:build: it returns a NoneType; return a transform of albumen"),
        (
            "def build():\n    def change(x):\n        return x.mirror()\n    return change",
            "myaug.py line 3: AttributeError: 'numpy.ndarray' object has no attribute 'mirror'",
        ),
    ],
)
def test_an_own_augmentation_that_returns_something_else_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(KitboxError) as caught:
        own(tmp_path, text)(np.zeros((48, 64, 3), dtype=np.uint8), 1)
    assert str(caught.value).startswith(message)
