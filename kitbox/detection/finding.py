"""Finds boxes in images by a detector."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from kitbox.competition.boxes import Box
from kitbox.detection import examples
from kitbox.detection.network import Detector
from kitbox.images import loading
from kitbox.network import inference
from kitbox.records import Floats, Strings

# Whose boxes these are, in a list of boxes.
SOURCE = "detector"
_BATCH = 16


@dataclass(frozen=True)
class Found:
    """What a detector found in an image of `size` (width, height).

    `boxes (m, 4)` in pixels of the upright image and `confidences (m,)`, most confident first.
    """

    size: tuple[int, int]
    boxes: Floats
    confidences: Floats

    def best(self, threshold: float) -> Floats | None:
        """Return the most confident box (4,), or None where none reaches the threshold."""
        if not len(self.boxes) or self.confidences[0] < threshold:
            return None
        best: Floats = self.boxes[0]
        return best


def above(image_ids: Strings, found: Sequence[Found], threshold: float) -> list[Box]:
    """Return all boxes of the images that reach the threshold, as rows of a list of boxes."""
    return [
        Box(image_id, (float(x0), float(y0), float(x1), float(y1)), float(confidence), SOURCE)
        for image_id, each in zip(image_ids.tolist(), found, strict=True)
        for (x0, y0, x1, y1), confidence in zip(each.boxes, each.confidences, strict=True)
        if confidence >= threshold
    ]


def find(
    detector: Detector,
    paths: Sequence[Path],
    height_width: tuple[int, int],
    *,
    device: str,
    precision: str,
    workers: int | None = None,
) -> Generator[tuple[list[int], list[Found]], None, None]:
    """Yield the rows of each batch of images and what was found in them."""
    detector.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    form = detector.pyramid.pixel_form
    rows = np.arange(len(paths))
    batches = [
        [int(row) for row in batch] for batch in np.split(rows, range(_BATCH, len(rows), _BATCH))
    ]
    loader = examples.loader(
        examples.Sights(paths, height_width, form.interpolation),
        batches if len(rows) else [],
        workers=loading.usual_workers(device, workers),
    )
    for pixels, sizes, at in loader:
        with torch.inference_mode():
            with inference.autocast(device, precision):
                said = detector(pixels.to(device, non_blocking=True))
            found = detector.boxes(said)
        yield (
            at,
            [
                _found(boxes.cpu().numpy(), scores.cpu().numpy(), size, height_width)
                for (boxes, scores), size in zip(found, sizes, strict=True)
            ],
        )


def _found(
    boxes: Floats, confidences: Floats, size: tuple[int, int], height_width: tuple[int, int]
) -> Found:
    scale = np.array([size[0] / height_width[1], size[1] / height_width[0]] * 2, dtype=np.float32)
    return Found(size, boxes * scale, confidences)
