"""How well found boxes agree with drawn ones: average precision, and the IoU of what is cropped."""

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

# The IoU from which a found box is right: one for AP50, all of them for COCO's AP.
THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


@dataclass(frozen=True)
class BoxMatches:
    """The found boxes of all images, most confident first: `rows (f,)` of their images, and hits.

    `hits (f, t)` marks at each threshold of IoU those that are right; `drawn (n,)` counts the
    drawn boxes of each image.
    """

    rows: Integers
    hits: Hits
    drawn: Integers

    def average_precision(self, weights: Numbers) -> Numbers:
        """Return the average precision (r, t) under each weighting (r, n) of the images.

        AP = Σᵢ (Rᵢ − Rᵢ₋₁) · max over j ≥ i of Pⱼ, with precision P and recall R over the i most
        confident boxes of all images: the area under the precision that can be had at a recall or
        more (PASCAL VOC from 2010; COCO reads it at 101 recalls, and differs in the third digit).
        Right, wrong, right of two drawn boxes: 1/2 · 1 + 1/2 · 2/3 = .833.
        """
        of_box = weights[:, self.rows]
        counted = np.cumsum(of_box, axis=1)
        total = (weights @ self.drawn)[:, None]
        found = np.empty((len(weights), self.hits.shape[1]))
        for threshold, hits in enumerate(self.hits.T):
            right = of_box * hits
            with np.errstate(invalid="ignore"):
                precision = np.nan_to_num(np.cumsum(right, axis=1) / counted)
            best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            found[:, threshold] = (right * best / total).sum(axis=1)
        return found


def match_boxes(
    drawn: Sequence[Floats], found: Sequence[Detections], thresholds: Sequence[float] = THRESHOLDS
) -> BoxMatches:
    """Return which found boxes are right, given the drawn boxes (m, 4) of each image.

    The most confident first, each takes the drawn box of its image with which it has the largest
    IoU, of those that are not taken; it is right where that IoU reaches the threshold.
    """
    rows = np.repeat(np.arange(len(found)), [len(each.boxes) for each in found])
    confidence = np.concatenate([each.confidences for each in found])
    hits = np.concatenate(
        [_hits(boxes, each.boxes, thresholds) for boxes, each in zip(drawn, found, strict=True)]
    )
    order = np.argsort(-confidence, kind="stable")
    counts = np.array([len(boxes) for boxes in drawn], dtype=np.int64)
    return BoxMatches(rows[order].astype(np.int64), hits[order], counts)


def score(
    drawn: Sequence[Floats],
    found: Sequence[Detections],
    threshold: float,
    units: Integers,
    several: str = "best",
) -> Scores:
    """Return ap50, ap and crop_iou with intervals over the units (n,), which are drawn whole.

    `ap50` is the average precision where an IoU of .5 is right, `ap` its mean over .5, .55 … .95
    (COCO's). `crop_iou` is the mean IoU of the drawn box with what an image is cropped to: the
    box that `several` (images.several_boxes) makes of those that reach the threshold, or the whole
    image where none does. Of several drawn boxes "best" takes the nearest.
    """
    if not len(drawn):
        raise KitboxError("no image with a box is held out; raise --held-out")
    matches = match_boxes(drawn, found)
    agreed = np.array(
        [
            iou(_wanted(boxes, several), crop_box(each, threshold, several)[None]).max()
            for boxes, each in zip(drawn, found, strict=True)
        ]
    )
    over: dict[str, WeightedMetric] = {
        "ap50": lambda weights: matches.average_precision(weights)[:, 0],
        "ap": lambda weights: matches.average_precision(weights).mean(axis=1),
        "crop_iou": lambda weights: weights @ agreed / weights.sum(axis=1),
    }
    clusters = np.unique(units, return_inverse=True)[1].astype(np.int64)
    once = np.ones((1, len(drawn)))
    scores = {}
    for name, metric in over.items():
        value = float(metric(once)[0])
        low, high = bootstrap_interval(value, metric, clusters, with_replacement=True)
        scores[name] = Score(value, low, high, len(drawn))
    return Scores(scores)


def crop_box(found: Detections, threshold: float, several: str = "best") -> Floats:
    """Return the box (4,) that an image is cropped to, the whole image where nothing is found."""
    rows = boxes_above(strings([""]), [found], threshold)
    corners = choose(tuple(rows), several) if rows else (0, 0, *found.size)
    return np.array(corners, dtype=np.float32)


def _wanted(drawn: Floats, several: str) -> Floats:
    """Return the drawn boxes (m, 4) of which any is right to crop to."""
    if several == "best":
        return drawn
    rows = tuple(Box("", (x0, y0, x1, y1)) for x0, y0, x1, y1 in drawn.tolist())
    return np.array([choose(rows, several)], dtype=np.float32)


def _hits(drawn: Floats, found: Floats, thresholds: Sequence[float]) -> Hits:
    """Return the right ones (f, t) of one image's found boxes (f, 4), most confident first."""
    hits = np.zeros((len(found), len(thresholds)), dtype=np.bool_)
    shares = iou(drawn, found)
    for column, threshold in enumerate(thresholds):
        free = shares.copy()
        for place in range(len(found)):
            nearest = int(free[:, place].argmax())
            if free[nearest, place] >= threshold:
                hits[place, column] = True
                free[nearest] = -1.0
    return hits


def iou(one: Floats, other: Floats) -> Floats:
    """Return the intersection over union (m, f) of each of `one (m, 4)` with each `other`."""
    shares: Floats = box_iou(torch.from_numpy(one), torch.from_numpy(other)).numpy()
    return shares
