"""Scores of detected boxes against drawn ones: average precision and the IoU of crops."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torchvision.ops import box_iou

from kitbox.boxes.detections import Detections, boxes_above
from kitbox.competition.boxes import Box, choose
from kitbox.errors import KitboxError
from kitbox.records import Floats, Integers, Score, Scores, strings
from kitbox.scoring.bootstrap import WeightedMetric, bootstrap_interval
from kitbox.scoring.metrics import Hits, Numbers

# The IoU from which a detected box is correct: the first for AP50, all of them for COCO's AP.
THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


@dataclass(frozen=True)
class BoxMatches:
    """The f detected boxes of n images, most confident first, matched with the drawn ones.

    `rows (f,)` are the rows of their images, `hits (f, t)` marks the boxes that are correct at
    each threshold of IoU, and `drawn (n,)` counts the drawn boxes of each image.
    """

    rows: Integers
    hits: Hits
    drawn: Integers

    def average_precision(self, weights: Numbers) -> Numbers:
        """Return the average precision (r, t) under each weighting (r, n) of the images.

        AP = Σᵢ (Rᵢ − Rᵢ₋₁) · max over j ≥ i of Pⱼ, with precision P and recall R over the i most
        confident boxes of all images: the area under the best precision at each recall or more
        (PASCAL VOC from 2010; COCO samples it at 101 recalls, and differs in the third digit).
        Correct, wrong, correct of two drawn boxes: 1/2 · 1 + 1/2 · 2/3 = .833.
        """
        box_weights = weights[:, self.rows]
        detected = np.cumsum(box_weights, axis=1)
        drawn = (weights @ self.drawn)[:, None]
        scores = np.empty((len(weights), self.hits.shape[1]))
        for threshold, hits in enumerate(self.hits.T):
            correct = box_weights * hits
            with np.errstate(invalid="ignore"):
                precision = np.nan_to_num(np.cumsum(correct, axis=1) / detected)
            best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            scores[:, threshold] = (correct * best / drawn).sum(axis=1)
        return scores


def match_boxes(
    drawn: Sequence[Floats],
    detections: Sequence[Detections],
    thresholds: Sequence[float] = THRESHOLDS,
) -> BoxMatches:
    """Return which detected boxes are correct, given the drawn boxes (m, 4) of each image.

    Most confident first, each detected box is matched with the free drawn box of its image that
    has the largest IoU; it is correct where that IoU reaches the threshold.
    """
    rows = np.repeat(np.arange(len(detections)), [len(each.boxes) for each in detections])
    confidence = np.concatenate([each.confidences for each in detections])
    hits = np.concatenate(
        [
            _hits(boxes, each.boxes, thresholds)
            for boxes, each in zip(drawn, detections, strict=True)
        ]
    )
    order = np.argsort(-confidence, kind="stable")
    counts = np.array([len(boxes) for boxes in drawn], dtype=np.int64)
    return BoxMatches(rows[order].astype(np.int64), hits[order], counts)


def score(
    drawn: Sequence[Floats],
    detections: Sequence[Detections],
    threshold: float,
    units: Integers,
    several_boxes: str = "best",
) -> Scores:
    """Return ap50, ap and crop_iou with intervals; units (n,) of images are resampled whole.

    `ap50` is the average precision where an IoU of .5 is correct, `ap` its mean over .5, .55 … .95
    (COCO's). `crop_iou` is the mean IoU of the drawn box with the crop of its image: the box that
    `several_boxes` (of kitbox.toml) chooses among those that reach the threshold, or the whole
    image where none does. Of several drawn boxes "best" takes the nearest. Raises KitboxError for
    no images.
    """
    if not len(drawn):
        raise KitboxError("no image with a box is held out", fix="raise --held-out")
    matches = match_boxes(drawn, detections)
    crop_iou = np.array(
        [
            iou(
                _targets(boxes, several_boxes), crop_box(each, threshold, several_boxes)[None]
            ).max()
            for boxes, each in zip(drawn, detections, strict=True)
        ]
    )
    over: dict[str, WeightedMetric] = {
        "ap50": lambda weights: matches.average_precision(weights)[:, 0],
        "ap": lambda weights: matches.average_precision(weights).mean(axis=1),
        "crop_iou": lambda weights: weights @ crop_iou / weights.sum(axis=1),
    }
    clusters = np.unique(units, return_inverse=True)[1].astype(np.int64)
    once = np.ones((1, len(drawn)))
    scores = {}
    for name, metric in over.items():
        value = float(metric(once)[0])
        low, high = bootstrap_interval(value, metric, clusters, with_replacement=True)
        scores[name] = Score(value, low, high, len(drawn))
    return Scores(scores)


def crop_box(detections: Detections, threshold: float, several_boxes: str = "best") -> Floats:
    """Return the box (4,) that an image is cropped to: the whole image if nothing is detected."""
    rows = boxes_above(strings([""]), [detections], threshold)
    corners = choose(tuple(rows), several_boxes) if rows else (0, 0, *detections.size)
    return np.array(corners, dtype=np.float32)


def _targets(drawn: Floats, several_boxes: str) -> Floats:
    """Return the drawn boxes (m, 4), any of which is a correct crop."""
    if several_boxes == "best":
        return drawn
    rows = tuple(Box("", (x0, y0, x1, y1)) for x0, y0, x1, y1 in drawn.tolist())
    return np.array([choose(rows, several_boxes)], dtype=np.float32)


def _hits(drawn: Floats, detected: Floats, thresholds: Sequence[float]) -> Hits:
    """Return (f, t) whether one image's detected boxes (f, 4) are correct, most confident first."""
    hits = np.zeros((len(detected), len(thresholds)), dtype=np.bool_)
    overlaps = iou(drawn, detected)
    for column, threshold in enumerate(thresholds):
        free = overlaps.copy()
        for box in range(len(detected)):
            nearest = int(free[:, box].argmax())
            if free[nearest, box] >= threshold:
                hits[box, column] = True
                free[nearest] = -1.0
    return hits


def iou(one: Floats, other: Floats) -> Floats:
    """Return the intersection over union (m, f) of boxes (m, 4) with boxes (f, 4)."""
    overlaps: Floats = box_iou(torch.from_numpy(one), torch.from_numpy(other)).numpy()
    return overlaps
