"""The command that learns boxes from a few drawn ones and finds the others."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kitbox.cli.terminal import (
    DeviceOption,
    JsonOption,
    PrecisionOption,
    WorkersOption,
    WorkspaceOption,
)

if TYPE_CHECKING:
    from kitbox.competition.boxes import Corners
    from kitbox.competition.settings import Competition
    from kitbox.detection.boxed import Boxed
    from kitbox.detection.detectors import Options, Trained
    from kitbox.detection.recipe import Recipe
    from kitbox.images.collection import Collection
    from kitbox.records import ImageSet, Integers
    from kitbox.workspace import Workspace

# Intervals of fewer images are too narrow to believe.
_FEW = 20


def detect(
    epochs: Annotated[
        int, typer.Option("--epochs", help="Rounds over the drawn boxes.", min=1, max=1000)
    ] = 16,
    backbone: Annotated[
        str, typer.Option("--backbone", help="A timm network.", metavar="NAME")
    ] = "mobilenetv2_100",
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            help="FILE, hub, file, package:NAME or none; default: file where it is, else hub.",
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
            "--threshold", help="Confidence below which an image stays whole.", min=0, max=1
        ),
    ] = 0.4,
    held_out: Annotated[
        float,
        typer.Option("--held-out", help="Share of the drawn boxes to measure on.", min=0, max=0.9),
    ] = 0.2,
    seed: Annotated[
        int, typer.Option("--seed", help="Of what is held out and of learning.", min=0)
    ] = 0,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    workers: WorkersOption = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what was learnt before.")] = False,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Learn boxes from those that people drew, and find them in all other images.

    A share of the drawn boxes is held out to measure by: ap50 and ap are the average precision at
    an IoU of .5 and over .5 to .95, crop_iou the IoU of the drawn box with what is cropped. Found
    boxes go to boxes.csv, doubtful ones to a list to look through. Stopped, it goes on where it
    was; what was learnt and found before is used again.

    \b
    Examples:
      kitbox data boxes detect
      kitbox data boxes detect --epochs 40 --image-size 512 --held-out 0
    """
    import numpy as np

    from kitbox.cli.terminal import collected, emit, follow, opened, say
    from kitbox.detection import boxed, detectors
    from kitbox.detection.recipe import Recipe
    from kitbox.network import weights as starting

    place, competition = opened(workspace)
    recipe = Recipe(backbone=backbone, image_size=image_size, epochs=epochs, seed=seed)
    asked = weights or starting.near_or_hub(recipe.backbone, place.weights)
    source = starting.source(asked, recipe.backbone, place.weights)
    options = detectors.Options(device, precision, workers, fresh)
    collection = collected(place, competition)
    images = _readable(collection)
    drawn, beyond = boxed.inside(boxed.of(images, _drawn(competition, place, collection)))
    if beyond:
        say(f"{beyond} drawn boxes reach beyond their images: clipped, or left out where empty")
    boxed.require(drawn)
    units = follow(boxed.units(drawn, competition.holdout, place))
    learnt, held = boxed.part(units, held_out, recipe.seed)
    say(f"learns from {len(learnt)} images with drawn boxes; {len(held)} are held out")
    trained = follow(detectors.train(drawn.take(learnt), recipe, source, place, options))
    figures = _about(trained, recipe, len(learnt))
    if len(held):
        several = competition.images.several_boxes
        figures |= _measured(trained, drawn.take(held), units[held], threshold, several, options)
        _require_some(figures["held_out"], threshold)
    others = images.take(~np.isin(images.image_ids, drawn.images.image_ids))
    figures |= _sought(trained, drawn, others, threshold, place, options)
    if as_json:
        emit(figures)
    else:
        _tell(figures, threshold)


def _readable(collection: "Collection") -> "ImageSet":
    """Return every image that can be read, each once."""
    import numpy as np

    images = collection.labelled
    for others in (collection.test, collection.index):
        if others is not None:
            new = ~np.isin(others.image_ids, [*images.image_ids, *collection.blank])
            images = images.together_with(others.take(new))
    return images


def _drawn(
    competition: "Competition", place: "Workspace", collection: "Collection"
) -> "dict[str, list[Corners]]":
    """Return image id → the boxes that people drew; what a detector found is none of theirs."""
    from kitbox.competition import boxes

    listed = {
        image_id: [box.corners for box in found]
        for image_id, found in boxes.counted(competition.images, place.boxes).items()
        if found[0].drawn  # those that count are all drawn or all detected
    }
    return listed | {image_id: [box] for image_id, box in collection.decided.boxes.items()}


def _about(trained: "Trained", recipe: "Recipe", learnt: int) -> dict[str, Any]:
    return {
        "detector": str(trained.kept.folder),
        "backbone": recipe.backbone,
        "image_size": list(trained.height_width),
        "epochs": recipe.epochs,
        "learnt": learnt,
        "seconds": round(trained.seconds, 1),
    }


def _measured(
    trained: "Trained",
    held: "Boxed",
    units: "Integers",
    threshold: float,
    several: str,
    options: "Options",
) -> dict[str, Any]:
    """Return what is found in held-out images beside what people drew there."""
    from kitbox.cli.terminal import follow
    from kitbox.detection import detectors
    from kitbox.scoring import boxes

    sought = follow(detectors.find(trained, held.images, options))
    scores = boxes.score(held.boxes, sought.found, threshold, units, several)
    whole = sum(each.best(threshold) is None for each in sought.found)
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


def _require_some(held: dict[str, Any], threshold: float) -> None:
    """Raise KitboxError where the detector finds nothing in any held-out image."""
    from kitbox.errors import KitboxError

    if held["whole"] == held["images"]:
        raise KitboxError(
            f"each of the {held['images']} held-out images stays whole below a confidence of "
            f"{threshold:g} (ap50 {held['scores']['ap50']['value']:.3f}), so no boxes are written; "
            "learn longer by --epochs, lower --threshold, or say --held-out 0"
        )


def _sought(
    trained: "Trained",
    drawn: "Boxed",
    others: "ImageSet",
    threshold: float,
    place: "Workspace",
    options: "Options",
) -> dict[str, Any]:
    """Find boxes in images that have none, and write them; return how many of each kind."""
    from kitbox.cli.terminal import follow
    from kitbox.competition import boxes
    from kitbox.detection import detectors, doubts, finding

    sought = follow(detectors.find(trained, others, options))
    rows = finding.above(others.image_ids, sought.found, threshold)
    before = boxes.replace(place.boxes, finding.SOURCE, rows)
    doubtful = doubts.doubts(others.image_ids, sought.found, threshold, doubts.usual(drawn))
    listed = place.reports / "boxes-doubtful.csv"
    doubts.write(listed, doubtful)
    speed = sought.images_per_second
    return {
        "images": len(others),
        "boxes": len(rows),
        "replaced": before,
        "whole": sum(each.best(threshold) is None for each in sought.found),
        "images_per_second": None if speed is None else round(speed, 1),
        "doubtful": len(doubtful),
        "doubtful_list": str(listed),
        "written": str(place.boxes),
    }


def _tell(figures: dict[str, Any], threshold: float) -> None:
    """Print the figures for people."""
    from kitbox.cli.terminal import duration, say, table

    height, width = figures["image_size"]
    say(
        f"{figures['backbone']} at {height}x{width}: learnt from {figures['learnt']} images in "
        f"{duration(figures['seconds'])}, {figures['detector']}"
    )
    held = figures.get("held_out")
    if held is not None:
        table(
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
            say(f"{held['images']} held-out images are few: scores and intervals are rough")
        share = held["whole"] / held["images"]
        say(f"{share:.1%} of the held-out images stay whole, below a confidence of {threshold:g}")
    if figures["images_per_second"] is not None:
        say(f"found boxes in {figures['images_per_second']:.0f} images a second")
    if figures["images"]:
        share = figures["whole"] / figures["images"]
        say(f"{share:.1%} of the {figures['images']} images without a drawn box stay whole")
    before = f", in place of {figures['replaced']}" if figures["replaced"] else ""
    say(f"written to {figures['written']}: {figures['boxes']} boxes of 'detector'{before}")
    say(f"{figures['doubtful']} are doubtful: {figures['doubtful_list']}")
