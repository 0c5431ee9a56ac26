"""The command data boxes detect: a detector is trained on drawn boxes and finds the others."""

from collections.abc import Generator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kitbox.cli.options import (
    HardwareOptions,
    JsonOption,
    WorkspaceOption,
    with_records,
)
from kitbox.cli.terminal import (
    follow,
    load_collection,
    open_workspace,
    print_json,
    print_line,
    print_table,
)
from kitbox.errors import KitboxError, format_duration

if TYPE_CHECKING:
    from kitbox.boxes.detector import DetectorSettings
    from kitbox.boxes.detector_data import BoxedImages
    from kitbox.boxes.detector_store import TrainedDetector
    from kitbox.boxes.detector_training import DetectorEvent, DetectorOptions
    from kitbox.competition.settings import Competition
    from kitbox.dataset.collection import Collection
    from kitbox.records import Corners, ImageSet, Integers, Progress
    from kitbox.workspace import Workspace

# Intervals over fewer images are too narrow to trust.
_FEW = 20


@with_records
def detect(
    *,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs",
            help="Most epochs over the drawn boxes; default: 6, and more for fewer than 390.",
            min=1,
            max=1000,
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            "--patience",
            help="Stop after this many epochs that are no better on the held-out boxes, 0: never; "
            "default: a fifth of the epochs, at least 3.",
            min=0,
            max=1000,
        ),
    ] = None,
    backbone: Annotated[
        str, typer.Option("--backbone", help="A timm backbone.", metavar="NAME")
    ] = "mobilenetv2_100",
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            help="Backbone weights: FILE, hub, file, package:NAME or none; default: file if it "
            "is there, else hub.",
        ),
    ] = None,
    image_size: Annotated[
        int,
        typer.Option(
            "--image-size", help="Pixels of the longer side.", metavar="S", min=32, max=2048
        ),
    ] = 256,
    threshold: Annotated[
        float,
        typer.Option(
            "--threshold", help="Confidence below which an image is not cropped.", min=0, max=1
        ),
    ] = 0.4,
    held_out: Annotated[
        float,
        typer.Option("--held-out", help="Share of the drawn boxes to measure on.", min=0, max=0.9),
    ] = 0.2,
    seed: Annotated[
        int, typer.Option("--seed", help="Seed of the split and of the training.", min=0)
    ] = 0,
    device: HardwareOptions,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Discard an earlier detector and train again.")
    ] = False,
    as_json: JsonOption = False,
    folder: WorkspaceOption = None,
) -> None:
    """Train a detector on drawn boxes, and run it on all other images.

    Says after a few steps how long it will take. A share of the drawn boxes is held out: their ap
    after each epoch ends the training when it no longer learns, and the best epoch is kept. ap50
    and ap are the average precision at an IoU of .5 and over .5 to .95, crop_iou is the IoU of the
    drawn box with the crop. Detected boxes go to boxes.csv, suspicious ones to a list to look
    through. An interrupted training is resumed; an earlier detector and its boxes are used again.

    \b
    Examples:
      kitbox data boxes detect
      kitbox data boxes detect --epochs 40 --image-size 512 --held-out 0
    """
    import numpy as np

    from kitbox.boxes import detector_data, detector_training
    from kitbox.boxes.detector import DetectorSettings, default_epochs, default_patience
    from kitbox.weights import weight_source

    workspace, competition = open_workspace(folder)
    wanted = weights or weight_source.default_source(backbone, workspace.weights)
    source = weight_source.resolve_source(wanted, backbone, workspace.weights)
    options = detector_training.DetectorOptions(
        device=device.device, precision=device.precision, workers=device.workers, fresh=fresh
    )
    collection = load_collection(workspace, competition)
    images = _readable(collection)
    drawn, beyond = detector_data.clip_boxes(
        detector_data.with_boxes(images, _drawn_boxes(competition, workspace, collection))
    )
    if beyond:
        print_line(
            f"{beyond} drawn boxes reach beyond their images: clipped, or left out where empty"
        )
    detector_data.require_enough(drawn)
    units = follow(detector_data.split_units(drawn, competition.holdout, workspace))
    training, held = detector_data.split(units, held_out, seed)
    epochs = default_epochs(len(training)) if epochs is None else epochs
    patience = default_patience(epochs) if patience is None else patience
    settings = DetectorSettings(
        backbone=backbone,
        image_size=image_size,
        epochs=epochs,
        patience=patience if len(held) else 0,
        seed=seed,
    )
    print_line(f"training on {len(training)} images with drawn boxes; {len(held)} are held out")
    others = images.take(~np.isin(images.image_ids, drawn.images.image_ids))
    trained = follow(
        _in_words(
            detector_training.train(
                drawn.take(training), settings, source, workspace, options, drawn.take(held)
            ),
            len(others),
        )
    )
    figures = _describe(trained, settings, len(training))
    if len(held):
        several = competition.images.several_boxes
        figures |= _evaluate(trained, drawn.take(held), units[held], threshold, several, options)
        _require_detections(figures["held_out"], threshold)
    figures |= _detect_others(trained, drawn, others, threshold, workspace, options)
    if as_json:
        print_json(figures)
    else:
        _print_figures(figures, threshold)


def _in_words(
    stage: "Generator[DetectorEvent, None, TrainedDetector]", others: int
) -> "Generator[Progress | str, None, TrainedDetector]":
    """Put the events of a training into words; `others` images wait for their boxes."""
    from kitbox.boxes.detector_training import DetectorEpoch, DetectorEstimate

    while True:
        try:
            event = next(stage)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        match event:
            case DetectorEstimate():
                then = format_duration(event.seconds_per_image * others)
                yield (
                    f"training takes about {format_duration(event.seconds)}, at most "
                    f"{event.epochs} epochs of {event.images} images; the boxes of {others} other "
                    f"images about {then} more"
                )
            case DetectorEpoch():
                parts = [f"epoch {event.epoch}/{event.epochs}"]
                if event.ap is not None:
                    parts.append(f"ap {event.ap:.3f} on the held-out images")
                    parts.append(f"best: epoch {event.best_epoch}")
                if event.stopped:
                    parts.append("it no longer learns: stopped")
                elif event.epoch < event.epochs:
                    parts.append(f"about {format_duration(event.seconds_left)} left")
                yield ", ".join(parts)
            case _:
                yield event


def _readable(collection: "Collection") -> "ImageSet":
    """Return every image that can be read, each once."""
    import numpy as np

    from kitbox.records import concatenate

    images: ImageSet = collection.labelled
    for others in (collection.test, collection.index):
        if others is not None:
            new = ~np.isin(others.image_ids, [*images.image_ids, *collection.unreadable])
            images = concatenate(images, others.take(new))
    return images


def _drawn_boxes(
    competition: "Competition", workspace: "Workspace", collection: "Collection"
) -> "dict[str, list[Corners]]":
    """Return image id → the boxes that people drew, without detected ones."""
    from kitbox.competition import boxes

    listed = {
        image_id: [box.corners for box in found]
        for image_id, found in boxes.read_all(competition.images, workspace.boxes).items()
        if found[0].drawn  # effective boxes are all drawn or all detected
    }
    return listed | {image_id: [box] for image_id, box in collection.decisions.boxes.items()}


def _describe(
    trained: "TrainedDetector", settings: "DetectorSettings", images: int
) -> dict[str, Any]:
    return {
        "detector": str(trained.folder.path),
        "backbone": settings.backbone,
        "image_size": list(trained.height_width),
        "epochs": settings.epochs,
        "best_epoch": trained.epoch,
        "trained_on": images,
        "seconds": round(trained.seconds, 1),
    }


def _evaluate(
    trained: "TrainedDetector",
    held: "BoxedImages",
    units: "Integers",
    threshold: float,
    several: str,
    options: "DetectorOptions",
) -> dict[str, Any]:
    """Return the scores of detected boxes on the held-out images."""
    from kitbox.boxes import average_precision, detector_training

    detected = follow(detector_training.detect(trained, held.images, options))
    scores = average_precision.score(held.boxes, detected.detections, threshold, units, several)
    whole = sum(each.best(threshold) is None for each in detected.detections)
    return {
        "held_out": {
            "images": len(held),
            "whole": whole,
            "scores": {
                name: {"value": s.value, "low": s.low, "high": s.high}
                for name, s in scores.by_metric.items()
            },
        }
    }


def _require_detections(held: dict[str, Any], threshold: float) -> None:
    """Raise KitboxError where the detector finds nothing in any held-out image."""
    if held["whole"] == held["images"]:
        raise KitboxError(
            f"each of the {held['images']} held-out images stays whole below a confidence of "
            f"{threshold:g} (ap50 {held['scores']['ap50']['value']:.3f}), so no boxes are written; "
            "train longer by --epochs, lower --threshold, or give --held-out 0"
        )


def _detect_others(
    trained: "TrainedDetector",
    drawn: "BoxedImages",
    others: "ImageSet",
    threshold: float,
    workspace: "Workspace",
    options: "DetectorOptions",
) -> dict[str, Any]:
    """Detect boxes in images that have none, and write them; return the counts."""
    from kitbox.boxes import detections, detector_training
    from kitbox.competition import boxes

    detected = follow(detector_training.detect(trained, others, options))
    rows = detections.boxes_above(others.image_ids, detected.detections, threshold)
    before = boxes.replace(workspace.boxes, detections.SOURCE, rows)
    suspicious = detections.review(
        others.image_ids, detected.detections, threshold, detections.extent_bounds(drawn)
    )
    listed = workspace.reports / "boxes-suspicious.csv"
    detections.save_findings(listed, suspicious)
    speed = detected.images_per_second
    return {
        "images": len(others),
        "boxes": len(rows),
        "replaced": before,
        "whole": sum(each.best(threshold) is None for each in detected.detections),
        "images_per_second": None if speed is None else round(speed, 1),
        "suspicious": len(suspicious),
        "suspicious_list": str(listed),
        "written": str(workspace.boxes),
    }


def _print_figures(figures: dict[str, Any], threshold: float) -> None:
    """Print the figures for people."""
    height, width = figures["image_size"]
    print_line(
        f"{figures['backbone']} at {height}x{width}: trained on {figures['trained_on']} images in "
        f"{format_duration(figures['seconds'])}, weights of epoch {figures['best_epoch']}, "
        f"{figures['detector']}"
    )
    held = figures.get("held_out")
    if held is not None:
        print_table(
            ("metric", "score", "95 % interval", "images"),
            [
                (
                    name,
                    f"{s['value']:.4f}",
                    f"{s['low']:.4f} – {s['high']:.4f}",
                    str(held["images"]),
                )
                for name, s in held["scores"].items()
            ],
        )
        if held["images"] < _FEW:
            print_line(f"{held['images']} held-out images are few: scores and intervals are rough")
        share = held["whole"] / held["images"]
        print_line(
            f"{share:.1%} of the held-out images stay whole, below a confidence of {threshold:g}"
        )
    if figures["images_per_second"] is not None:
        print_line(f"detected boxes in {figures['images_per_second']:.0f} images a second")
    if figures["images"]:
        share = figures["whole"] / figures["images"]
        print_line(f"{share:.1%} of the {figures['images']} images without a drawn box stay whole")
    before = f", in place of {figures['replaced']}" if figures["replaced"] else ""
    print_line(f"written to {figures['written']}: {figures['boxes']} boxes of 'detector'{before}")
    print_line(f"{figures['suspicious']} are suspicious: {figures['suspicious_list']}")
