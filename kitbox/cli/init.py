"""The command init, which makes a workspace, and the presets: competitions."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from kitbox.cli.options import JsonOption, complete_presets
from kitbox.cli.terminal import print_json, print_line, print_table
from kitbox.workspace import Workspace


def init(
    preset: Annotated[
        str,
        typer.Option(
            "--preset",
            help="The competition; see 'kitbox competitions'.",
            autocompletion=complete_presets,
        ),
    ],
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
        str | None, typer.Option("--image-column", help="The list's column of file names.")
    ] = None,
    label_column: Annotated[
        str | None, typer.Option("--label-column", help="The list's column of individuals.")
    ] = None,
    train_folder: Annotated[
        str | None,
        typer.Option("--train-folder", help="Your folder of labelled images, below --data."),
    ] = None,
    test_folder: Annotated[
        str | None,
        typer.Option("--test-folder", help="Your folder of images to identify, below --data."),
    ] = None,
    individual_level: Annotated[
        int | None,
        typer.Option(
            "--individual-level",
            min=1,
            help="2 where individuals' folders are in folders of species.",
        ),
    ] = None,
    folder_column: Annotated[
        str | None, typer.Option("--folder-column", help="The list's column of folders.")
    ] = None,
) -> None:
    """Make a workspace for a competition or your own photographs.

    \b
    Examples:
      kitbox init whales --preset humpback --data ~/data/humpback
      kitbox init seals --preset csv --data ~/seals --train-list seals.csv --label-column name
    """
    from kitbox.competition import presets
    from kitbox.dataset.inventory import inventory_lines

    given = {
        "train_list": train_list,
        "test_list": test_list,
        "image_column": image_column,
        "label_column": label_column,
        "train_folder": train_folder,
        "test_folder": test_folder,
        "individual_level": None if individual_level is None else str(individual_level),
        "folder_column": folder_column,
    }
    columns = {name: value for name, value in given.items() if value is not None}
    workspace = Workspace(folder)
    prepared = presets.prepare(workspace, preset, data, broken=broken, columns=columns)
    competition = prepared.competition
    if preset == "folder":
        presets.refuse_folder_without_images(competition.images)
    prepared.save()
    print_line(f"wrote {workspace.settings}: {competition.metric} over {competition.task.gallery}")
    images = competition.images
    if images.train_list is not None:
        print_line(
            f"{images.train_list}: images in column '{images.image_column}', "
            f"individuals in column '{images.label_column}'"
            + (f", folders in column '{images.folder_column}'" if images.folder_column else "")
        )
    for line in (*inventory_lines(prepared.survey, competition), *prepared.notes):
        print_line(line)
    if images.boxes is None and (data / "boxes.csv").is_file():
        print_line(
            f"{data / 'boxes.csv'} has no columns image,x0,y0,x1,y1; "
            "'kitbox data boxes import' reads other formats"
        )
    print_line(
        "next: 'kitbox plugins' lists the networks, trained and frozen; 'kitbox data holdout' "
        "shows the holdout"
    )


def competitions(as_json: JsonOption = False) -> None:
    """List the presets of known competitions.

    Shows what each asks for: answers, k, gallery, metric, format.

    \b
    Example:
      kitbox competitions
    """
    from kitbox.competition import presets

    rows = [presets.summary(name) for name in presets.names()]
    if as_json:
        print_json(rows)
        return
    columns = ("preset", "answers", "k", "gallery", "metric", "format", "about")
    table = [tuple(str(row[column]) for column in columns) for row in rows]
    print_table(columns, table, left=(0, 1, 6), spare=(3, 5))
    for sent_as, what in (("notebook", "a notebook"), ("code", "code of yours")):
        names = ", ".join(str(row["preset"]) for row in rows if row["sent_as"] == sent_as)
        print_line(
            f"{names}: no file is taken, {what} answers hidden images; 'kitbox bundle' packs it"
        )
