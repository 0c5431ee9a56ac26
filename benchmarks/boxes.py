"""Accuracy and speed of a box detector that is trained on a few hundred boxes.

    python benchmarks/boxes.py --images humpback/train humpback/test --boxes humpback/boxes.csv \\
        --weights WEIGHTS [--learn 300] [--sheets DIR]

Copies and near-duplicates stay on one side. Prints average precision with 95 % intervals over the
held-out images, the seconds of training, images per second of detection (including reading the
files), and the share of images that stay whole at several thresholds. With --sheets it draws
contact sheets of held-out images with both boxes (by hand: orange, detected: blue): an even
selection, and the worst.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from machine import machine

from kitbox.boxes import (
    average_precision,
    box_import,
    contact_sheet,
    detections,
    detector_data,
    detector_training,
)
from kitbox.boxes.detections import Detections
from kitbox.boxes.detector import DetectorSettings
from kitbox.boxes.detector_data import BoxedImages
from kitbox.cli.terminal import follow
from kitbox.competition import image_files
from kitbox.competition.boxes import Box
from kitbox.competition.lists import ListedImages
from kitbox.competition.settings import HoldoutSettings
from kitbox.images import file_index
from kitbox.records import ImageSet, strings
from kitbox.weights import weight_source
from kitbox.workspace import Workspace

os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # as the console script does


THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def drawn_boxes(folders: list[Path], file: Path, workspace: Workspace) -> BoxedImages:
    """Return the images of the folders that have a box in a file of any supported format."""
    paths = [path for folder in folders for path in image_files.list_images(folder)]
    images = ImageSet(strings([path.name for path in paths]), tuple(paths))
    listed = ListedImages(images)
    imported = follow(box_import.import_boxes(file, listed, source=file.name, broken="drop"))
    of_image: dict[str, list[Box]] = {}
    for box in imported.boxes:
        of_image.setdefault(box.image_id, []).append(box)
    boxed = images.take(np.isin(images.image_ids, list(of_image)))
    inspection = follow(file_index.inspect(boxed, workspace))
    return detector_data.with_boxes(
        inspection.images, {i: [box.corners for box in each] for i, each in of_image.items()}
    )


def at_thresholds(test: BoxedImages, found: list[Detections]) -> list[dict[str, float]]:
    """Return, for each threshold, the shares of images left whole and of correct crops."""
    rows = []
    for threshold in THRESHOLDS:
        cropped = [
            (each.best(threshold), true) for each, true in zip(found, test.boxes, strict=True)
        ]
        iou = [
            average_precision.iou(true, box[None]).max() for box, true in cropped if box is not None
        ]
        rows.append(
            {
                "threshold": threshold,
                "whole": 1 - len(iou) / len(found),
                "right at IoU .5": float(np.mean(np.array(iou) >= 0.5)) if iou else float("nan"),
                "mean IoU of boxes": float(np.mean(iou)) if iou else float("nan"),
            }
        )
    return rows


def draw_sheets(test: BoxedImages, found: list[Detections], folder: Path, name: str) -> None:
    """Draw an even selection of 24 held-out images, and the 24 whose best box has the least IoU."""
    ids, paths = test.images.image_ids.tolist(), test.images.paths
    shown = {
        image_id: [
            *(Box(image_id, tuple(box.tolist())) for box in true),
            *detections.boxes_above(strings([image_id]), [each], 0.2)[:2],
        ]
        for image_id, true, each in zip(ids, test.boxes, found, strict=True)
    }
    iou = [
        average_precision.iou(true, average_precision.crop_box(each, 0.2)[None]).max()
        for true, each in zip(test.boxes, found, strict=True)
    ]
    worst = [ids[row] for row in np.argsort(iou)[:24]]
    places = dict(zip(ids, paths, strict=True))
    contact_sheet.draw(shown, places, folder / f"{name}.png")
    contact_sheet.draw({i: shown[i] for i in worst}, places, folder / f"{name}-worst.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, nargs="+", required=True)
    parser.add_argument("--boxes", type=Path, required=True)
    parser.add_argument("--weights", default="file", help="a file, or a folder of files")
    parser.add_argument("--learn", type=int, default=300)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--sheets", type=Path)
    parser.add_argument("--keep", type=Path, help="a folder in which detectors are stored")
    for name, field in DetectorSettings.model_fields.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=field.annotation, default=None)
    given = parser.parse_args()
    values = {
        n: getattr(given, n) for n in DetectorSettings.model_fields if getattr(given, n) is not None
    }
    settings = DetectorSettings.model_validate(values)
    weights = Path(given.weights)
    source = (
        weight_source.find_in_folder(weights, settings.backbone) if weights.is_dir() else weights
    )
    options = detector_training.DetectorOptions(device=given.device)
    print(
        f"{machine('torch', 'torchvision')}, {torch.get_num_threads()} threads, "
        f"GPU {torch.cuda.is_available()}"
    )
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(given.keep or Path(folder))
        drawn = drawn_boxes(given.images, given.boxes, workspace)
        units = follow(detector_data.split_units(drawn, HoldoutSettings(), workspace))
        training, held = detector_data.split(units, 1 - given.learn / len(drawn), settings.seed)
        stage = detector_training.train(drawn.take(training), settings, source, workspace, options)
        trained = follow(stage)
        test = drawn.take(held)
        run = follow(detector_training.detect(trained, test.images, options))
        scores = average_precision.score(test.boxes, run.detections, 0.4, units[held]).by_metric
        figures = {
            "recipe": settings.model_dump(),
            "height_width": trained.height_width,
            "trained_on": len(training),
            "held_out": len(held),
            "seconds": round(trained.seconds),
            "images_per_second": run.images_per_second,
            "scores": {name: score.as_json() for name, score in scores.items()},
            "thresholds": at_thresholds(test, run.detections),
        }
        print(json.dumps(figures, indent=1))
        if given.sheets is not None:
            draw_sheets(test, run.detections, given.sheets, given.boxes.parent.name)


if __name__ == "__main__":
    main()
