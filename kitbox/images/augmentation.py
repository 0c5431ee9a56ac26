"""Augmentations of training images; the only module that uses albumentations."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from kitbox.errors import KitboxError
from kitbox.images.preprocessing import Pixels
from kitbox.plugin import source_code
from kitbox.plugin.plugin import Plugin
from kitbox.plugin.schedules import side_lengths
from kitbox.plugin.source_code import SourceCode, article
from kitbox.records import Floats

# Otherwise albumentations looks online for a newer release whenever it is imported.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")


class Augmentation:
    """A named pipeline of random changes to an image, repeatable by seed."""

    def __init__(
        self, name: str, height_width: tuple[int, int], code: SourceCode | None = None
    ) -> None:
        """Build the pipeline `name` ("none", "light", "gdsc2020") for images of one size.

        "module:function" is a user's own, in `code`. Raises KitboxError for what goes wrong in it.
        """
        self._own: _OwnAugmentation | None = None
        self._pipeline: Any = None
        if source_code.is_reference(name):
            self._own = _OwnAugmentation(name, height_width, code or SourceCode({}))
        elif name != "none":
            self._pipeline = _PIPELINES[name](height_width)

    def __call__(self, pixels: Pixels, seed: int) -> Pixels:
        """Return the pixels (h, w, 3) uint8, changed at random by this seed."""
        if self._own is not None:
            return self._own(pixels, seed)
        if self._pipeline is None:
            return pixels
        self._pipeline.set_random_seed(seed)
        changed: Pixels = self._pipeline(image=pixels)["image"]
        return changed


class _OwnAugmentation:
    """A user's transform of albumentations, or a function from pixels to pixels."""

    def __init__(self, name: str, height_width: tuple[int, int], code: SourceCode) -> None:
        import albumentations as alb

        self._name = name
        height, width = height_width
        given = {"height": height, "width": width, "image_size": height_width}
        self._transform = code.call(name, given)
        self._is_pipeline = isinstance(self._transform, alb.BasicTransform | alb.BaseCompose)
        if not callable(self._transform):
            raise KitboxError(
                f"it returns {article(type(self._transform).__name__)}",
                where=name,
                fix="return a transform of albumentations, or a function from pixels to pixels",
            )
        if self._is_pipeline and not isinstance(self._transform, alb.BaseCompose):
            self._transform = alb.Compose([self._transform])

    def __call__(self, pixels: Pixels, seed: int) -> Pixels:
        before = pixels.shape
        with source_code.errors_of(self._name), _seeded(seed):
            if self._is_pipeline:
                self._transform.set_random_seed(seed)
                changed = self._transform(image=pixels)["image"]
            else:
                changed = self._transform(pixels)
        if isinstance(changed, np.ndarray) and changed.dtype == np.uint8:
            if changed.shape == before:
                return changed
            kind = f"uint8 pixels of shape {changed.shape}"
        else:
            shape = getattr(changed, "shape", None)
            kind = article(type(changed).__name__)
            kind += "" if shape is None else f" of {changed.dtype}, of shape {tuple(shape)}"
        raise KitboxError(
            f"an image of {before[0]}x{before[1]} became {kind}",
            where=self._name,
            fix=f"return a numpy array of uint8, of shape {before}",
        )


def try_augmentation(plugin: Plugin) -> None:
    """Augment a grey image of each size of a plugin; raises KitboxError for what goes wrong."""
    phased = (side_lengths(phase.image_size) for phase in plugin.phases if phase.image_size)
    for height_width in {plugin.height_width, *phased}:
        augmentation = Augmentation(plugin.augmentation, height_width, plugin.source_code)
        augmentation(np.full((*height_width, 3), 128, dtype=np.uint8), plugin.seed)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the generators of Python, numpy and torch, and give them back as they were."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  a user's code may draw from it
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])


def _light(height_width: tuple[int, int]) -> Any:
    """Return small changes of pose and light that keep an individual recognisable.

    Images are not mirrored: a mirrored fluke is another individual.
    """
    import albumentations as alb
    import cv2

    height, width = height_width
    return alb.Compose(
        [
            alb.Affine(
                scale=(0.85, 1.15),
                translate_percent=(-0.06, 0.06),
                rotate=(-12, 12),
                shear=(-8, 8),
                keep_ratio=False,
                border_mode=cv2.BORDER_REPLICATE,
                p=0.9,
            ),
            alb.RandomBrightnessContrast(0.25, 0.25, p=0.6),
            alb.ToGray(p=0.25),
            alb.OneOf([alb.GaussianBlur((3, 5)), alb.MotionBlur((3, 5))], p=0.1),
            alb.CoarseDropout(
                num_holes_range=(1, 2),
                hole_height_range=(max(height // 8, 1), max(height // 3, 2)),
                hole_width_range=(max(width // 16, 1), max(width // 6, 2)),
                p=0.3,
            ),
        ]
    )


def _gdsc2020(height_width: tuple[int, int]) -> Any:
    """Return the pipeline of the third place in GDSC 2020, rewritten for albumentations 2.

    Its imgaug transforms became Sharpen, Emboss, Perspective and Affine, Cutout became
    CoarseDropout. In a OneOf the members' `p` are weights. The blur limit of 10 became 9, since it
    must be odd.
    """
    import albumentations as alb
    import cv2

    height, width = height_width
    hole = max(height // 5, 1), max(width // 5, 1)
    level = 1 / 255  # the solution gives its noise in grey levels
    return alb.Compose(
        [
            alb.OneOf(
                [
                    alb.RandomRain(p=0.1),
                    alb.GaussNoise(
                        std_range=(10**0.5 * level, 50**0.5 * level),  # variance 10 to 50
                        mean_range=(15 * level, 15 * level),
                        p=0.5,
                    ),
                    alb.GaussianBlur(blur_limit=(3, 9), p=0.4),
                    alb.MotionBlur(blur_limit=(3, 7), p=0.2),
                ],
                p=0.5,
            ),
            alb.OneOf(
                [
                    alb.RGBShift((-10, 10), (-10, 10), (-10, 10), p=1.0),
                    alb.RandomBrightnessContrast(0.3, 0.1, p=1.0),
                    alb.HueSaturationValue(20, 30, 20, p=1.0),
                ],
                p=0.6,
            ),
            alb.OneOf(
                [
                    alb.CLAHE(clip_limit=(1, 2), p=0.5),
                    alb.Sharpen(alpha=(0.2, 0.5), lightness=(0.5, 1.0), p=0.5),
                    alb.Emboss(alpha=(0.2, 0.5), strength=(0.2, 0.7), p=0.5),
                ],
                p=0.5,
            ),
            alb.OneOf(
                [
                    alb.Perspective(scale=(0.05, 0.1), p=0.3),
                    alb.ElasticTransform(alpha=1, sigma=50, p=0.1),
                ],
                p=0.5,
            ),
            alb.OneOf(
                [
                    alb.Rotate((-25, 25), border_mode=cv2.BORDER_REFLECT_101, p=0.6),
                    alb.Affine(
                        scale=0.9,
                        translate_px=15,
                        rotate=25,
                        shear=0.2,
                        border_mode=cv2.BORDER_REFLECT_101,
                        p=0.5,
                    ),
                ],
                p=1.0,
            ),
            alb.CoarseDropout(
                num_holes_range=(1, 1),
                hole_height_range=(hole[0], hole[0]),
                hole_width_range=(hole[1], hole[1]),
                p=0.2,
            ),
        ]
    )


_PIPELINES = {"light": _light, "gdsc2020": _gdsc2020}


class BoxAugmentation:
    """Random changes of pose and light that also move boxes, repeatable by seed."""

    def __init__(self) -> None:
        """Build the pipeline: mirroring, scale, shift, changes of light."""
        import albumentations as alb
        import cv2

        self._pipeline = alb.Compose(
            [
                alb.HorizontalFlip(p=0.5),  # a mirrored fluke is still a fluke
                alb.Affine(
                    scale=(0.7, 1.3),
                    translate_percent=(-0.15, 0.15),
                    keep_ratio=False,
                    border_mode=cv2.BORDER_REPLICATE,  # a mirrored border would show more flukes
                    p=0.9,
                ),
                alb.RandomBrightnessContrast(0.3, 0.3, p=0.6),
                alb.HueSaturationValue(10, 30, 15, p=0.4),
                alb.ToGray(p=0.15),
            ],
            # a box is dropped when less than a third of it stays in the image
            bbox_params=alb.BboxParams("pascal_voc", ["rows"], min_visibility=0.33, clip=True),
        )

    def __call__(self, pixels: Pixels, boxes: Floats, seed: int) -> tuple[Pixels, Floats]:
        """Return changed pixels (h, w, 3) uint8, and the boxes (m, 4) that are still visible."""
        self._pipeline.set_random_seed(seed)
        changed = self._pipeline(image=pixels, bboxes=boxes, rows=np.arange(len(boxes)))
        return changed["image"], np.asarray(changed["bboxes"], dtype=np.float32).reshape(-1, 4)
