"""Finds boxes in images by a detector."""

import csv
import io
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from kitbox.boxes import detector_data
from kitbox.boxes.detector import Detector
from kitbox.boxes.detector_data import BoxedImages
from kitbox.competition.boxes import Box
from kitbox.files import write_text
from kitbox.images.loader import default_worker_count
from kitbox.network import inference
from kitbox.records import Floats, Strings

# Whose boxes these are, in a list of boxes.
SOURCE = "detector"
_BATCH = 16


@dataclass(frozen=True)
class Detections:
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


def boxes_above(image_ids: Strings, found: Sequence[Detections], threshold: float) -> list[Box]:
    """Return all boxes of the images that reach the threshold, as rows of a list of boxes."""
    return [
        Box(image_id, (float(x0), float(y0), float(x1), float(y1)), float(confidence), SOURCE)
        for image_id, each in zip(image_ids.tolist(), found, strict=True)
        for (x0, y0, x1, y1), confidence in zip(each.boxes, each.confidences, strict=True)
        if confidence >= threshold
    ]


def detect(
    detector: Detector,
    paths: Sequence[Path],
    height_width: tuple[int, int],
    *,
    device: str,
    precision: str,
    workers: int | None = None,
) -> Generator[tuple[list[int], list[Detections]], None, None]:
    """Yield the rows of each batch of images and what was found in them."""
    detector.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    form = detector.pyramid.data_config
    rows = np.arange(len(paths))
    batches = [
        [int(row) for row in batch] for batch in np.split(rows, range(_BATCH, len(rows), _BATCH))
    ]
    loader = detector_data.build_loader(
        detector_data.PlainDataset(paths, height_width, form.interpolation),
        batches if len(rows) else [],
        workers=default_worker_count(device, workers),
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
) -> Detections:
    scale = np.array([size[0] / height_width[1], size[1] / height_width[0]] * 2, dtype=np.float32)
    return Detections(size, boxes * scale, confidences)


# Above the threshold by less than this is not much above.
_CLOSE = 0.1
# A second box this nearly as confident as the first is a question.
_RIVAL = 0.8
# A box is of an odd size beyond the drawn ones' extremes, by this factor.
_ODD = 1.25


@dataclass(frozen=True)
class DetectionFinding:
    """An image whose boxes a person should look at; `box` and `rival` are (4,), empty if none."""

    image_id: str
    why: str
    confidence: float
    box: Floats
    rival: Floats


def review(
    image_ids: Strings, found: Sequence[Detections], threshold: float, bounds: tuple[Floats, Floats]
) -> list[DetectionFinding]:
    """Return the doubtful of the images, the least confident first.

    Doubtful is an image without a box at the threshold, with one just above it, with two far
    apart of similar confidence, or with one whose width, height or shape is beyond the `bounds`.
    """
    listed = []
    for image_id, each in zip(image_ids.tolist(), found, strict=True):
        rival = _rival(each, threshold)
        why = _reasons(each, threshold, bounds, rival)
        if why:
            first = float(each.confidences[0]) if len(each.boxes) else 0.0
            listed.append(
                DetectionFinding(image_id, ", ".join(why), first, each.boxes[:1].ravel(), rival)
            )
    return sorted(listed, key=lambda doubt: doubt.confidence)


def extent_bounds(boxed: BoxedImages) -> tuple[Floats, Floats]:
    """Return the least and the largest width and height, as shares, and shape of drawn boxes."""
    extents = np.concatenate(
        [
            _extents(boxes, (int(width), int(height)))
            for boxes, (width, height) in zip(boxed.boxes, boxed.sizes, strict=True)
        ]
    )
    return extents.min(axis=0) / _ODD, extents.max(axis=0) * _ODD


def save_findings(path: Path, doubts: Sequence[DetectionFinding]) -> None:
    """Write a list of doubts, a row for each; the corners of boxes are pixels."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("image", "why", "confidence", "box", "other_box"))
    for doubt in doubts:
        corners = [" ".join(f"{x:.0f}" for x in box) for box in (doubt.box, doubt.rival)]
        writer.writerow((doubt.image_id, doubt.why, f"{doubt.confidence:.4f}", *corners))
    write_text(path, text.getvalue())


def _reasons(
    found: Detections, threshold: float, bounds: tuple[Floats, Floats], rival: Floats
) -> list[str]:
    if not len(found.boxes) or found.confidences[0] < threshold:
        return ["no confident box"]
    why = []
    if found.confidences[0] < threshold + _CLOSE:
        why.append("low confidence")
    if len(rival):
        why.append("two boxes apart")
    extents = _extents(found.boxes[:1], found.size)[0]
    if (extents < bounds[0]).any() or (extents > bounds[1]).any():
        why.append("odd size")
    return why


def _rival(found: Detections, threshold: float) -> Floats:
    """Return the box (4,) that lies apart from the first and is nearly as confident, or none."""
    for box, confidence in zip(found.boxes[1:], found.confidences[1:], strict=True):
        if confidence < max(_RIVAL * found.confidences[0], threshold):
            break
        first = found.boxes[0]
        apart = (box[:2] >= first[2:]).any() or (box[2:] <= first[:2]).any()
        if apart:
            rival: Floats = box
            return rival
    return np.empty(0, dtype=np.float32)


def _extents(boxes: Floats, size: tuple[int, int]) -> Floats:
    """Return width and height as shares of the image, and width / height: (m, 3)."""
    sides = boxes[:, 2:] - boxes[:, :2]
    shares = sides / np.array(size, dtype=np.float32)
    shape = sides[:, :1] / np.maximum(sides[:, 1:], 1e-3)
    return np.concatenate([shares, shape], axis=1).astype(np.float32)
