"""Commands about boxes: data boxes import and detect."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from kitbox.cli.options import (
    DeviceOptions,
    JsonOption,
    WorkspaceOption,
    with_records,
)
from kitbox.cli.terminal import (
    follow,
    format_duration,
    load_collection,
    open_workspace,
    print_json,
    print_line,
    print_table,
)
from kitbox.errors import KitboxError

if TYPE_CHECKING:
    from kitbox.boxes.box_import import BoxImport
    from kitbox.boxes.detector import DetectorSettings
    from kitbox.boxes.detector_data import BoxedImages
    from kitbox.boxes.detector_store import TrainedDetector
    from kitbox.boxes.detector_training import DetectorOptions
    from kitbox.competition.boxes import Corners
    from kitbox.competition.lists import ListedImages
    from kitbox.competition.settings import Competition
    from kitbox.dataset.collection import Collection
    from kitbox.records import ImageSet, Integers
    from kitbox.workspace import Workspace


app = typer.Typer(help="Boxes that images are cropped to.", no_args_is_help=True)

# A heading for each kind of import finding, and how many findings of a kind are printed.
_HEADINGS = {
    "refused": "left out",
    "unmatched": "names no image here",
    "unverified": "check that this image is meant",
    "repeated": "repeated",
    "cut": "cut at the edge",
    "whole": "crops nothing",
    "scaled": "scaled from a copy",
    "without": "no box",
}
_SHOWN = 3
# Intervals over fewer images are too narrow to trust.
_FEW = 20
# The source of predicted boxes in boxes.csv; an import may not use it.
_DETECTOR = "detector"


@app.command("import")
def import_boxes(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A CSV, a JSON file, or a folder of labels.")
    ],
    form: Annotated[
        Literal["auto", "xyxy", "xywh", "yolo", "gdsc", "points"],
        typer.Option("--form", help="Format of the boxes; auto: found from the data."),
    ] = "auto",
    category: Annotated[
        list[str] | None,
        typer.Option(
            "--category",
            help="Take only boxes of this category; repeat it. Default: animal, else all.",
            metavar="NAME",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            help="Take only boxes of this confidence or more. Default: MegaDetector's .2, else 0.",
            min=0,
            max=1,
        ),
    ] = None,
    raw: Annotated[
        bool | None,
        typer.Option(
            "--raw/--upright",
            help="What boxes were drawn on where EXIF turns the photograph: the raw pixels of the "
            "file, or the upright photograph. Default: found from the list and the boxes.",
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option("--images", help="Match only images in this folder.", metavar="DIR"),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--source", help="Name of these boxes' source; default: the file's path."),
    ] = None,
    sheet: Annotated[
        bool, typer.Option("--sheet", help="Also draw 24 images with their boxes, as a PNG.")
    ] = False,
    as_json: JsonOption = False,
    folder: WorkspaceOption = None,
) -> None:
    """Import boxes that people or other programs drew.

    Writes them to boxes.csv. A row of a CSV has an image and x0,y0,x1,y1 or x,y,w,h or YOLO's
    cx,cy,w,h, in pixels or in shares of the image's size, or the points of an outline.
    MegaDetector, COCO and VGG's annotator write JSON; YOLO and labelImg (Pascal VOC) a folder of
    labels. Boxes of the same source are replaced; those of others stay.

    Where EXIF turns a photograph, a box on its raw pixels is turned with it. The width and height
    in the list decide, else whether the box fits only one way; boxes that fit both ways are
    counted.

    \b
    Examples:
      kitbox data boxes import drawn.csv --sheet
      kitbox data boxes import labels/ --form yolo
      kitbox data boxes import megadetector.json --threshold 0.5
      kitbox data boxes import coco.json --category seal --raw
    """
    from kitbox.boxes import box_import
    from kitbox.competition import boxes, decisions, lists

    workspace, competition = open_workspace(folder)
    name = source or _source_name(file.resolve(), workspace)
    if name == _DETECTOR:
        raise KitboxError(
            f"'{name}' is the source of predicted boxes; name yours with --source NAME"
        )
    decided = decisions.load(workspace.decisions)
    stage = box_import.import_boxes(
        file,
        lists.read(competition, workspace.boxes, decided),
        source=name,
        broken=competition.images.broken,
        box_format=None if form == "auto" else form,
        folder=None if images is None else images.resolve(),
        categories=category or (),
        threshold=threshold,
        frame=None if raw is None else "raw" if raw else "upright",
    )
    found = follow(stage)
    replaced = boxes.replace(workspace.boxes, name, list(found.boxes))
    unknown = competition.images.unknown_label
    listed = lists.apply_decisions(
        lists.read(competition, workspace.boxes, decided), decided, unknown
    )
    drawn = _draw_sheet(workspace, competition, listed) if sheet else None
    counts = _counts(listed)
    if as_json:
        print_json(_as_json(found, counts, name, workspace, drawn))
    _print_findings(found, file, competition.images.several_boxes)
    if not as_json:
        rows = [(side, str(of["images"]), str(of["with_box"])) for side, of in counts.items()]
        print_table(("", "images", "with a box"), rows)
    instead = f", in place of {replaced}" if replaced else ""
    print_line(f"written to {workspace.boxes}: {len(found.boxes)} boxes of '{name}'{instead}")
    if drawn is not None:
        print_line(f"look at {drawn}")


def _source_name(file: Path, workspace: "Workspace") -> str:
    """Return a list's path in the workspace, or else its folder and name.

    The name alone is ambiguous: train/labels, test/labels.
    """
    root = workspace.root.resolve()
    inside = file.is_relative_to(root) and file != root
    return (file.relative_to(root) if inside else Path(*file.parts[1:][-2:])).as_posix()


def _print_findings(imported: "BoxImport", file: Path, several_boxes: str) -> None:
    """Print how a list was read, and its findings by kind."""
    from kitbox.boxes.box_formats import DESCRIPTIONS
    from kitbox.boxes.box_import import ImportFindingKind

    unit = "shares of the image's size" if imported.relative else "pixels"
    print_line(
        f"{file}: {DESCRIPTIONS[imported.format]}, in {unit} "
        f"(format {imported.format}, {imported.reason})"
    )
    if len(imported.fits) > 1:
        counts = ", ".join(f"{count} as {form}" for form, count in imported.fits.items())
        print_line(f"several formats are possible; boxes that lie inside their images: {counts}")
    for note in imported.notes(several_boxes):
        print_line(note)
    for kind in get_args(ImportFindingKind):
        findings = imported.of_kind(kind)
        for finding in findings[:_SHOWN]:
            print_line(f"{_HEADINGS[kind]}: {finding}")
        if len(findings) > _SHOWN:
            print_line(f"{_HEADINGS[kind]}: {len(findings) - _SHOWN} more; --json lists all")


def _counts(listed: "ListedImages") -> dict[str, dict[str, int]]:
    """Return, for each list of images, how many there are and how many have a box."""
    import numpy as np

    sides = {"labelled": listed.labelled, "test": listed.test, "index": listed.index}
    return {
        side: {
            "images": len(images),
            "with_box": 0
            if images.boxes is None
            else int((~np.isnan(images.boxes).any(axis=1)).sum()),
        }
        for side, images in sides.items()
        if images is not None
    }


def _draw_sheet(workspace: "Workspace", competition: "Competition", listed: "ListedImages") -> Path:
    """Draw images with their effective boxes; return the picture's path."""
    from kitbox.boxes import contact_sheet
    from kitbox.competition import boxes

    paths = {
        image_id: file
        for images in (listed.labelled, listed.test, listed.index)
        if images is not None
        for image_id, file in zip(images.image_ids.tolist(), images.paths, strict=True)
    }
    path = workspace.reports / "boxes.png"
    contact_sheet.draw(boxes.read_all(competition.images, workspace.boxes), paths, path)
    return path


def _as_json(
    imported: "BoxImport",
    counts: dict[str, dict[str, int]],
    name: str,
    workspace: "Workspace",
    drawn: Path | None,
) -> dict[str, Any]:
    from kitbox.boxes.box_import import ImportFindingKind

    return {
        "format": imported.format,
        "relative": imported.relative,
        "inside": imported.fits,
        "source": name,
        "boxes": len(imported.boxes),
        "images": counts,
        "several": imported.several,
        "categories": imported.selection.taken,
        "other_categories": imported.selection.left_out,
        "threshold": imported.selection.threshold,
        "below": imported.selection.below,
        "turned": vars(imported.turned),
        **{kind: len(imported.of_kind(kind)) for kind in get_args(ImportFindingKind)},
        "findings": [vars(finding) for finding in imported.findings],
        "written": str(workspace.boxes),
        "sheet": None if drawn is None else str(drawn),
    }


@app.command("detect")
@with_records
def detect(
    *,
    epochs: Annotated[
        int, typer.Option("--epochs", help="Epochs over the drawn boxes.", min=1, max=1000)
    ] = 16,
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
    ] = 384,
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
    device: DeviceOptions,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Discard an earlier detector and train again.")
    ] = False,
    as_json: JsonOption = False,
    folder: WorkspaceOption = None,
) -> None:
    """Train a detector on drawn boxes, and run it on all other images.

    A share of the drawn boxes is held out for scores: ap50 and ap are the average precision at an
    IoU of .5 and over .5 to .95, crop_iou is the IoU of the drawn box with the crop. Detected boxes
    go to boxes.csv, suspicious ones to a list to look through. An interrupted training is resumed;
    an earlier detector and its boxes are used again.

    \b
    Examples:
      kitbox data boxes detect
      kitbox data boxes detect --epochs 40 --image-size 512 --held-out 0
    """
    import numpy as np

    from kitbox.boxes import detector_data, detector_training
    from kitbox.boxes.detector import DetectorSettings
    from kitbox.network import pretrained_weights

    workspace, competition = open_workspace(folder)
    settings = DetectorSettings(backbone=backbone, image_size=image_size, epochs=epochs, seed=seed)
    wanted = weights or pretrained_weights.default_source(settings.backbone, workspace.weights)
    source = pretrained_weights.resolve_source(wanted, settings.backbone, workspace.weights)
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
    training, held = detector_data.split(units, held_out, settings.seed)
    print_line(f"training on {len(training)} images with drawn boxes; {len(held)} are held out")
    trained = follow(
        detector_training.train(drawn.take(training), settings, source, workspace, options)
    )
    figures = _describe(trained, settings, len(training))
    if len(held):
        several = competition.images.several_boxes
        figures |= _evaluate(trained, drawn.take(held), units[held], threshold, several, options)
        _require_detections(figures["held_out"], threshold)
    others = images.take(~np.isin(images.image_ids, drawn.images.image_ids))
    figures |= _detect_others(trained, drawn, others, threshold, workspace, options)
    if as_json:
        print_json(figures)
    else:
        _print_figures(figures, threshold)


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
        f"{format_duration(figures['seconds'])}, {figures['detector']}"
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
