"""Commands about boxes: data boxes import, and detect of another module."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from kitbox.cli import box_detection
from kitbox.cli.options import (
    JsonOption,
    WorkspaceOption,
)
from kitbox.cli.terminal import (
    follow,
    open_workspace,
    print_json,
    print_line,
    print_table,
)
from kitbox.errors import KitboxError, counted

if TYPE_CHECKING:
    from kitbox.boxes.box_import import BoxImport
    from kitbox.competition.lists import ListedImages
    from kitbox.competition.settings import Competition
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
# The source of predicted boxes in boxes.csv; an import may not use it.
_DETECTOR = "detector"


@app.command("import")
def import_boxes(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A CSV, workbook or JSON, or a folder of labels.")
    ],
    form: Annotated[
        Literal["auto", "xyxy", "xywh", "yolo", "gdsc", "points"],
        typer.Option("--form", help="Format of the boxes; auto: found from the data."),
    ] = "auto",
    category: Annotated[
        list[str] | None,
        typer.Option(
            "--category",
            help="Take only boxes of this category; may be repeated. Default: animal, else all.",
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
    from kitbox.competition import boxes, lists
    from kitbox.decisions import decision_file

    workspace, competition = open_workspace(folder)
    name = source or box_import.source_name(file.resolve(), workspace)
    if name == _DETECTOR:
        raise KitboxError(
            f"'{name}' is the source of predicted boxes; name yours with --source NAME"
        )
    decided = decision_file.load(workspace.decisions)
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
    listed = lists.apply_decisions(
        lists.read(competition, workspace.boxes, decided), decided, competition.images
    )
    drawn = _draw_sheet(workspace, competition, listed) if sheet else None
    counts = _counts(listed)
    if as_json:
        print_json(_as_json(found, counts, name, workspace, drawn))
    _print_findings(
        found, file, competition.images.several_boxes, catalogue=workspace.catalogue.is_file()
    )
    if not as_json:
        rows = [(side, str(of["images"]), str(of["with_box"])) for side, of in counts.items()]
        print_table(("", "images", "with a box"), rows)
    instead = f", in place of {replaced}" if replaced else ""
    count = counted(len(found.boxes), "box", "boxes")
    print_line(f"written to {workspace.boxes}: {count} of '{name}'{instead}")
    if drawn is not None:
        print_line(f"look at {drawn}")


def _print_findings(
    imported: "BoxImport", file: Path, several_boxes: str, *, catalogue: bool
) -> None:
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
    for note in imported.notes(several_boxes, catalogue=catalogue):
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


app.command("detect")(box_detection.detect)
