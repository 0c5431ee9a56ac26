"""Commands about what is asked: init, competitions."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from kitbox.cli.terminal import JsonOption


def init(
    preset: Annotated[str, typer.Option("--preset", help="See 'kitbox competitions'.")],
    data: Annotated[Path, typer.Option("--data", help="The folder of images and lists.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The new workspace.")] = Path(),
    broken: Annotated[
        Literal["stop", "drop"],
        typer.Option("--broken", help="What to do with unreadable images and faulty rows."),
    ] = "stop",
    train_list: Annotated[
        str | None, typer.Option("--train-list", help="Your list of labelled images.")
    ] = None,
    test_list: Annotated[
        str | None, typer.Option("--test-list", help="Your list of images to identify.")
    ] = None,
    image_column: Annotated[
        str | None, typer.Option("--image-column", help="The column of file names in it.")
    ] = None,
    label_column: Annotated[
        str | None, typer.Option("--label-column", help="The column of individuals in it.")
    ] = None,
) -> None:
    """Make a workspace for a known competition, or for photographs of your own.

    \b
    Examples:
      kitbox init whales --preset humpback --data ~/data/humpback
      kitbox init seals --preset csv --data ~/seals --train-list seals.csv --label-column name
    """
    from kitbox.cli.terminal import say
    from kitbox.competition import preset as presets
    from kitbox.workspace import Workspace

    given = {
        "train_list": train_list,
        "test_list": test_list,
        "image_column": image_column,
        "label_column": label_column,
    }
    columns = {name: value for name, value in given.items() if value is not None}
    workspace = Workspace(folder)
    competition = presets.init(workspace, preset, data, broken=broken, columns=columns)
    say(f"wrote {workspace.settings}: {competition.metric} over {competition.task.gallery}")
    images = competition.images
    if images.train_list is not None:
        say(
            f"{images.train_list}: images in column '{images.image_column}', "
            f"individuals in column '{images.label_column}'"
        )
    if images.boxes is None and (data / "boxes.csv").is_file():
        say(
            f"{data / 'boxes.csv'} has no columns image,x0,y0,x1,y1; "
            "'kitbox data boxes import' reads other forms"
        )
    say("next: 'kitbox plugins' shows what can be trained; 'kitbox data holdout' the local test")


def competitions(as_json: JsonOption = False) -> None:
    """Show the presets: form, metric, k, gallery.

    \b
    Example:
      kitbox competitions
    """
    from kitbox.cli.terminal import emit, table
    from kitbox.competition import preset as presets

    rows = [presets.summary(name) for name in presets.names()]
    if as_json:
        emit(rows)
        return
    table(
        ("preset", "answers", "k", "gallery", "metric", "form", "about"),
        [tuple(str(value) for value in row.values()) for row in rows],
    )
