"""Commands about boxes: read those that people or other programs drew."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from kitbox.cli.terminal import JsonOption, WorkspaceOption

if TYPE_CHECKING:
    from kitbox.competition.lists import Listed
    from kitbox.competition.settings import Competition
    from kitbox.images.boxes import Imported
    from kitbox.workspace import Workspace

app = typer.Typer(help="Boxes that images are cropped to.", no_args_is_help=True)

# What is said of each kind of remark, and how many of a kind are shown.
_SAID = {
    "refused": "left out",
    "unmatched": "names no image here",
    "guessed": "look whether it is meant",
    "repeated": "repeated",
    "cut": "cut at the edge",
    "whole": "crops nothing",
}
_SHOWN = 3
# What marks predicted boxes in boxes.csv; nobody else may write or replace them.
_DETECTOR = "detector"


@app.command("import")
def read(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A list, or a folder of labels.")],
    form: Annotated[
        Literal["auto", "xyxy", "xywh", "yolo", "gdsc", "points"],
        typer.Option("--form", help="What the numbers of a row mean; auto: as the data tells."),
    ] = "auto",
    images: Annotated[
        Path | None,
        typer.Option("--images", help="Only images in this folder are meant.", metavar="DIR"),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--source", help="Whose boxes these are; default: the file's path."),
    ] = None,
    sheet: Annotated[
        bool, typer.Option("--sheet", help="Draw 24 images with their boxes, as a PNG.")
    ] = False,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Read boxes that people or other programs drew, and write them to boxes.csv.

    A row has an image and x0,y0,x1,y1 or x,y,w,h or YOLO's cx,cy,w,h, in pixels of the upright
    image or in shares of its size, or the points of an outline. Boxes of the same source are
    replaced, those of others stay.

    \b
    Examples:
      kitbox data boxes import drawn.csv --sheet
      kitbox data boxes import labels/ --form yolo
    """
    from kitbox.cli.terminal import emit, follow, opened, say, table
    from kitbox.competition import boxes, decision_file, lists, obeying
    from kitbox.errors import KitboxError
    from kitbox.images import boxes as importing

    place, competition = opened(workspace)
    name = source or _called(file.resolve(), place)
    if name == _DETECTOR:
        raise KitboxError(f"'{name}' marks predicted boxes; name your source with --source NAME")
    decided = decision_file.read(place.decisions)
    stage = importing.understand(
        file,
        lists.read(competition, place.boxes, decided),
        source=name,
        broken=competition.images.broken,
        form=None if form == "auto" else form,
        inside=None if images is None else images.resolve(),
    )
    found = follow(stage)
    replaced = boxes.replace(place.boxes, name, list(found.boxes))
    unknown = competition.images.unknown_label
    listed = obeying.apply(lists.read(competition, place.boxes, decided), decided, unknown)
    drawn = _draw_sheet(place, competition, listed) if sheet else None
    counts = _counts(listed)
    if as_json:
        emit(_as_json(found, counts, name, place, drawn))
    _tell(found, file)
    if not as_json:
        rows = [(side, str(of["images"]), str(of["with_box"])) for side, of in counts.items()]
        table(("", "images", "with a box"), rows)
    instead = f", in place of {replaced}" if replaced else ""
    say(f"written to {place.boxes}: {len(found.boxes)} boxes of '{name}'{instead}")
    if drawn is not None:
        say(f"look at {drawn}")


def _called(file: Path, place: "Workspace") -> str:
    """Return a list's path in the workspace, or its folder and name where it lies elsewhere.

    The name alone is that of many: train/labels, test/labels.
    """
    root = place.root.resolve()
    inside = file.is_relative_to(root) and file != root
    return (file.relative_to(root) if inside else Path(*file.parts[1:][-2:])).as_posix()


def _tell(found: "Imported", file: Path) -> None:
    """Say how a list was read, and what was not taken as it stands."""
    from kitbox.cli.terminal import say
    from kitbox.competition.box_forms import MEANINGS
    from kitbox.images.boxes import Kind

    unit = "shares of the image's size" if found.relative else "pixels"
    say(f"{file}: {MEANINGS[found.form]}, in {unit} (form {found.form}, {found.by})")
    if len(found.inside) > 1:
        told = ", ".join(f"{count} as {form}" for form, count in found.inside.items())
        say(f"it could have several forms; boxes that lie inside their images: {told}")
    for kind in get_args(Kind):
        remarks = found.of_kind(kind)
        for remark in remarks[:_SHOWN]:
            say(f"{_SAID[kind]}: {remark}")
        if len(remarks) > _SHOWN:
            say(f"{_SAID[kind]}: {len(remarks) - _SHOWN} more; --json lists all")


def _counts(listed: "Listed") -> dict[str, dict[str, int]]:
    """Return for each list of images how many there are and how many have a box."""
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


def _draw_sheet(place: "Workspace", competition: "Competition", listed: "Listed") -> Path:
    """Draw images with all the boxes that count of them."""
    from kitbox.competition import boxes
    from kitbox.images import box_sheet

    paths = {
        image_id: path
        for images in (listed.labelled, listed.test, listed.index)
        if images is not None
        for image_id, path in zip(images.image_ids.tolist(), images.paths, strict=True)
    }
    to = place.reports / "boxes.png"
    box_sheet.draw(boxes.counted(competition.images, place.boxes), paths, to)
    return to


def _as_json(
    found: "Imported",
    counts: dict[str, dict[str, int]],
    name: str,
    place: "Workspace",
    drawn: Path | None,
) -> dict[str, Any]:
    from kitbox.images.boxes import Kind

    return {
        "form": found.form,
        "relative": found.relative,
        "inside": found.inside,
        "source": name,
        "boxes": len(found.boxes),
        "images": counts,
        **{kind: len(found.of_kind(kind)) for kind in get_args(Kind)},
        "remarks": [vars(remark) for remark in found.remarks],
        "written": str(place.boxes),
        "sheet": None if drawn is None else str(drawn),
    }
