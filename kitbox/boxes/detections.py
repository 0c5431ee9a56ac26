"""Detections: boxes that a detector predicts, and findings on suspicious ones."""

import tempfile
import warnings
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kitbox.boxes import detector_data
from kitbox.boxes.detector import Detector, JoinedHeads
from kitbox.boxes.detector_data import BoxedImages
from kitbox.competition.boxes import Box
from kitbox.embedding import engine_choice
from kitbox.embedding.engine_choice import ONNX
from kitbox.embedding.onnx_graph import ExportError, OnnxGraph, export
from kitbox.errors import KitboxWarning
from kitbox.images.loader import default_worker_count
from kitbox.network import inference
from kitbox.records import Floats, Strings
from kitbox.tables import write_rows

# The source of detected boxes in boxes.csv.
SOURCE = "detector"
_BATCH = 16
# How far its outputs may be from those of torch: logits, distances in strides.
_TOLERANCE = 1e-3
# Pixels of the image that a box is at least wide and high.
_LEAST_SIDE = 1.0


@dataclass(frozen=True)
class Detections:
    """The detected boxes of an image of `size` (width, height), most confident first.

    `boxes (m, 4)` are in pixels of the upright image; `confidences (m,)` lie in [0, 1].
    """

    size: tuple[int, int]
    boxes: Floats
    confidences: Floats

    @classmethod
    def of(cls, size: tuple[int, int], boxes: Floats, confidences: Floats) -> "Detections":
        """Return the detections that have an area: one beside the image was clipped to a line."""
        inside = (boxes[:, 2:] - boxes[:, :2] >= _LEAST_SIDE).all(axis=1)
        return cls(size, boxes[inside], confidences[inside])

    def best(self, threshold: float) -> Floats | None:
        """Return the most confident box (4,), or None where none reaches the threshold."""
        if not len(self.boxes) or self.confidences[0] < threshold:
            return None
        best: Floats = self.boxes[0]
        return best


def boxes_above(
    image_ids: Strings, detections: Sequence[Detections], threshold: float
) -> list[Box]:
    """Return the boxes that reach the threshold, as rows of a list of boxes."""
    return [
        Box(image_id, (float(x0), float(y0), float(x1), float(y1)), float(confidence), SOURCE)
        for image_id, each in zip(image_ids.tolist(), detections, strict=True)
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
    graph: bool = False,
) -> Generator[tuple[list[int], list[Detections]], None, None]:
    """Yield the rows of each batch of images, and their detections.

    `height_width` is the input size of the detector in pixels. With `graph` ONNX Runtime computes
    the heads' outputs in float32 on a CPU, several times as fast, which differ by rounding.
    """
    detector.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    run: Callable[[Tensor], dict[str, Any]] = detector
    if graph and ONNX in engine_choice.choose("auto", device, precision, len(paths)).engines:
        run = _graph_or_torch(detector, height_width)
    interpolation = detector.pyramid.data_config.interpolation
    rows = np.arange(len(paths))
    batches = [
        [int(row) for row in batch] for batch in np.split(rows, range(_BATCH, len(rows), _BATCH))
    ]
    loader = detector_data.build_loader(
        detector_data.PlainDataset(paths, height_width, interpolation),
        batches if len(rows) else [],
        workers=default_worker_count(device, workers),
    )
    for pixels, sizes, batch_rows in loader:
        with torch.inference_mode():
            with inference.autocast(device, precision):
                outputs = run(pixels.to(device, non_blocking=True))
            batch = detector.boxes(outputs)
        yield (
            batch_rows,
            [
                _in_image_pixels(boxes.cpu().numpy(), confidences.cpu().numpy(), size, height_width)
                for (boxes, confidences), size in zip(batch, sizes, strict=True)
            ],
        )


class _HeadGraph:
    """The heads of a detector in ONNX Runtime, in place of the detector."""

    def __init__(self, detector: Detector, height_width: tuple[int, int]) -> None:
        """Export the heads for images of a size; raises ExportError where that cannot be done."""
        generator = torch.Generator().manual_seed(0)
        example = torch.randint(256, (2, *height_width, 3), generator=generator, dtype=torch.uint8)
        heads = JoinedHeads(detector)
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            file = Path(folder) / "heads.onnx"
            export(heads, height_width, file)
            self._graph = OnnxGraph(file, torch.get_num_threads())
            self._raw, expected = detector(example), heads(example)
        far = float((self._graph(example) - expected).abs().max())
        if not far <= _TOLERANCE:  # it may be NaN
            raise ExportError(f"its outputs are {far:.2g} away from those of torch")

    def __call__(self, pixels: Tensor) -> dict[str, Any]:
        """Return what the detector returns of pixels."""
        outputs = JoinedHeads.split(self._graph(pixels))
        points, shapes = self._raw["points"][:1], self._raw["shapes"][:1]
        count = len(pixels)
        alike = {"points": points * count, "shapes": shapes * count}
        return {"outputs": outputs, "counts": self._raw["counts"], **alike}


def _graph_or_torch(
    detector: Detector, height_width: tuple[int, int]
) -> Callable[[Tensor], dict[str, Any]]:
    """Return the heads in ONNX Runtime; with a warning the detector, where that cannot run it."""
    try:
        return _HeadGraph(detector, height_width)
    except ExportError as error:
        what = f"torch detects, because ONNX Runtime cannot run this detector ({error})"
        warnings.warn(what, KitboxWarning, stacklevel=2)
        return detector


def _in_image_pixels(
    boxes: Floats, confidences: Floats, size: tuple[int, int], height_width: tuple[int, int]
) -> Detections:
    scale = np.array([size[0] / height_width[1], size[1] / height_width[0]] * 2, dtype=np.float32)
    return Detections.of(size, boxes * scale, confidences)


# A confidence less than this above the threshold is low.
_LOW_MARGIN = 0.1
# A second box is a rival if its confidence is at least this share of the first one's.
_RIVAL_SHARE = 0.8
# An odd size exceeds the extremes of drawn boxes by this factor.
_ODD_FACTOR = 1.25


@dataclass(frozen=True, kw_only=True)
class DetectionFinding:
    """An image with suspicious boxes; `box` and `other_box` are (4,), or empty if there is none."""

    image_id: str
    reason: str
    confidence: float
    box: Floats
    other_box: Floats


def review(
    image_ids: Strings,
    detections: Sequence[Detections],
    threshold: float,
    bounds: tuple[Floats, Floats],
) -> list[DetectionFinding]:
    """Return findings on images with suspicious boxes, the least confident first.

    These are images with no box at the threshold, a box just above it, two disjoint boxes of
    similar confidence, or a box whose width, height or shape is outside the `bounds`.
    """
    findings = []
    for image_id, each in zip(image_ids.tolist(), detections, strict=True):
        rival = _rival(each, threshold)
        reasons = _reasons(each, threshold, bounds, rival)
        if reasons:
            findings.append(
                DetectionFinding(
                    image_id=image_id,
                    reason=", ".join(reasons),
                    confidence=float(each.confidences[0]) if len(each.boxes) else 0.0,
                    box=each.boxes[:1].ravel(),
                    other_box=rival,
                )
            )
    return sorted(findings, key=lambda finding: finding.confidence)


def extent_bounds(boxed: BoxedImages) -> tuple[Floats, Floats]:
    """Return the least and the largest usual (width, height, shape) of drawn boxes, each (3,).

    Width and height are shares of the image's, the shape is width / height in pixels.
    """
    extents = np.concatenate(
        [
            _extents(boxes, (int(width), int(height)))
            for boxes, (width, height) in zip(boxed.boxes, boxed.sizes, strict=True)
        ]
    )
    return extents.min(axis=0) / _ODD_FACTOR, extents.max(axis=0) * _ODD_FACTOR


def save_findings(path: Path, findings: Sequence[DetectionFinding]) -> None:
    """Write findings to a CSV, a row for each; the corners of boxes are pixels."""
    rows: list[tuple[object, ...]] = [("image", "reason", "confidence", "box", "other_box")]
    for finding in findings:
        corners = [" ".join(f"{x:.0f}" for x in box) for box in (finding.box, finding.other_box)]
        rows.append((finding.image_id, finding.reason, f"{finding.confidence:.4f}", *corners))
    write_rows(path, rows)


def _reasons(
    detections: Detections, threshold: float, bounds: tuple[Floats, Floats], rival: Floats
) -> list[str]:
    if not len(detections.boxes) or detections.confidences[0] < threshold:
        return ["no confident box"]
    reasons = []
    if detections.confidences[0] < threshold + _LOW_MARGIN:
        reasons.append("low confidence")
    if len(rival):
        reasons.append("two boxes apart")
    extents = _extents(detections.boxes[:1], detections.size)[0]
    if (extents < bounds[0]).any() or (extents > bounds[1]).any():
        reasons.append("odd size")
    return reasons


def _rival(detections: Detections, threshold: float) -> Floats:
    """Return the nearly as confident box (4,) that is disjoint from the first, or an empty one."""
    for box, confidence in zip(detections.boxes[1:], detections.confidences[1:], strict=True):
        if confidence < max(_RIVAL_SHARE * detections.confidences[0], threshold):
            break
        first = detections.boxes[0]
        apart = (box[:2] >= first[2:]).any() or (box[2:] <= first[:2]).any()
        if apart:
            rival: Floats = box
            return rival
    return np.empty(0, dtype=np.float32)


def _extents(boxes: Floats, size: tuple[int, int]) -> Floats:
    """Return (m, 3): width and height as shares of the image's, and width / height."""
    sides = boxes[:, 2:] - boxes[:, :2]
    shares = sides / np.array(size, dtype=np.float32)
    shape = sides[:, :1] / np.maximum(sides[:, 1:], 1e-3)
    return np.concatenate([shares, shape], axis=1).astype(np.float32)
