"""Synthetic scenes: a bright rectangle on dark noise, with its box."""

from pathlib import Path

import numpy as np
from PIL import Image

from kitbox.boxes.detections import Detections
from kitbox.boxes.detector import DetectorSettings
from kitbox.boxes.detector_data import BoxedImages
from kitbox.files import digest_of_file
from kitbox.records import ImageSet, strings
from tests.photographs import TINY

Corners = tuple[int, int, int, int]


def scene(path: Path, box: Corners, size: tuple[int, int] = (96, 64), seed: int = 0) -> Path:
    """Save noise of width and height `size`, brightened within a box."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 90, (size[1], size[0], 3))
    x0, y0, x1, y1 = box
    pixels[y0:y1, x0:x1] += 150
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def scenes(
    folder: Path, count: int, size: tuple[int, int] = (96, 64), seed: int = 0
) -> BoxedImages:
    """Save scenes with a rectangle each, of a fifth to a half of their width and height."""
    generator = np.random.default_rng([seed, 1])
    paths, boxes = [], []
    for number in range(count):
        width, height = (generator.uniform(0.2, 0.5, 2) * size).astype(int)
        left, top = generator.integers(0, size[0] - width), generator.integers(0, size[1] - height)
        box = (int(left), int(top), int(left + width), int(top + height))
        paths.append(scene(folder / f"{number}.png", box, size, seed=1000 * seed + number))
        boxes.append(np.array([box], dtype=np.float32))
    ids = strings([path.name for path in paths])
    digests = strings([digest_of_file(path) for path in paths])
    images = ImageSet(ids, tuple(paths), digests=digests)
    return BoxedImages(images, np.array([size] * count), tuple(boxes))


def tiny(**settings: object) -> DetectorSettings:
    """Return settings of a detector that trains in seconds."""
    defaults = {"backbone": TINY, "image_size": 64, "epochs": 2, "channels": 32, "convolutions": 0}
    return DetectorSettings.model_validate(defaults | settings)


def detected(*boxes: tuple[float, Corners], size: tuple[int, int] = (100, 100)) -> Detections:
    """Return the detections of an image from (confidence, box), most confident first."""
    return Detections(
        size,
        np.array([box for _, box in boxes], dtype=np.float32).reshape(-1, 4),
        np.array([confidence for confidence, _ in boxes], dtype=np.float32),
    )
