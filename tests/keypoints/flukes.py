"""Drawn photographs of flukes: several views of each individual."""

from pathlib import Path

import numpy as np
from PIL import Image

from kitbox.files import digest_of_file
from kitbox.records import ImageSet, strings
from kitbox.synthetic import fluke, scene


def draw_flukes(
    folder: Path, individuals: int = 4, views: int = 2, size: tuple[int, int] = (300, 480)
) -> list[Path]:
    """Write photographs i_v.png of individuals; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for individual in range(individuals):
        whale = fluke.draw_whale(np.random.default_rng(individual))
        for view in range(views):
            drawn = scene.draw_photograph(np.random.default_rng([individual, view]), whale, *size)
            paths.append(folder / f"{individual}_{view}.png")
            Image.fromarray(drawn.pixels).save(paths[-1])
    return paths


def images_of(paths: list[Path], boxes: list[tuple[float, ...] | None] | None = None) -> ImageSet:
    """Return files as images that have been read, named like the files."""
    corners = None
    if boxes is not None:
        rows = [[np.nan] * 4 if box is None else [*box] for box in boxes]
        corners = np.array(rows, dtype=np.float32)
    return ImageSet(
        strings([path.name for path in paths]),
        tuple(paths),
        boxes=corners,
        digests=strings([digest_of_file(path) for path in paths]),
    )
