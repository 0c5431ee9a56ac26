"""Commands that make a workspace: init, demo; and the presets: competitions."""

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from kitbox.cli.options import (
    DeviceOption,
    JsonOption,
    PrecisionOption,
    complete_presets,
)
from kitbox.cli.terminal import (
    follow,
    load_collection,
    open_workspace,
    print_json,
    print_line,
    print_scores,
    print_table,
)
from kitbox.errors import KitboxError, did_you_mean, format_duration
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


PLUGINS = ("tf_efficientnet_lite0_96x192_demo", "resnet10t_64x128_demo")


def demo(
    folder: Annotated[
        Path, typer.Option("--folder", metavar="DIR", help="Folder of the new workspace.")
    ] = Path("kitbox-demo"),
    individuals: Annotated[int, typer.Option("--individuals", min=4, help="Whales to draw.")] = 60,
    photographs: Annotated[
        int, typer.Option("--photographs", min=12, help="Photographs to draw.")
    ] = 900,
    preset: Annotated[
        str,
        typer.Option(
            "--preset",
            help="The competition to draw; see 'kitbox competitions'.",
            autocompletion=complete_presets,
        ),
    ] = "humpback",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed of the drawing.")] = 0,
    draw_only: Annotated[
        bool, typer.Option("--draw-only", help="Draw the competition and train nothing.")
    ] = False,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Play a whole competition on drawn images, in minutes.

    Draws photographs of whales, trains two plugins, packages a submission of their ensemble and
    scores it. If it is interrupted, the same command continues.

    \b
    Example:
      kitbox demo --folder whales
    """
    from kitbox.embedding.embedder import EmbedOptions
    from kitbox.ensemble import answers, members
    from kitbox.ensemble.ensemble import Ensemble
    from kitbox.network import inference
    from kitbox.plugin import discovery
    from kitbox.submission import receipt
    from kitbox.submission.mark import score_submission
    from kitbox.submission.submission import make_submission
    from kitbox.training import trainer
    from kitbox.training.context import TrainOptions, TrainSetup

    began = time.monotonic()
    os.environ.pop("KITBOX_DATA", None)  # the demo brings its own
    workspace = Workspace(folder)
    if not workspace.settings.exists():
        _draw(workspace, preset, individuals, photographs, seed)
    workspace, competition = open_workspace(folder)
    if competition.name != preset:
        raise KitboxError(
            f"{folder} plays {competition.name}; give --preset {competition.name}, "
            "or choose another --folder"
        )
    collection = load_collection(workspace, competition)
    if draw_only:
        print_line(f"next: cd {folder} && kitbox plugins")
        return
    plugins = [discovery.load(name, workspace) for name in PLUGINS]
    options = TrainOptions(device=device, precision=precision)
    setup = TrainSetup(collection, competition, workspace, options)
    for named in plugins:
        follow(trainer.train(named, setup))
    ensemble = Ensemble(
        members=members.for_holdout(workspace, plugins, None, collection),
        collection=collection,
        competition=competition,
        workspace=workspace,
        embed_options=EmbedOptions(device=device, precision=precision),
    )
    report = {}
    for member in ensemble.members:
        alone = replace(ensemble, members=[member])
        report[member.name] = follow(answers.score(alone)).score.scores
    locally = follow(answers.score(ensemble))
    report["ensemble"] = locally.score.scores
    made = follow(make_submission(ensemble, locally.score.thresholds))
    written = receipt.describe(
        made, ensemble, locally, ensemble.members,
        precision=inference.resolve_precision(precision, inference.resolve_device(device)),
        note="kitbox demo",
    )  # fmt: skip
    package = receipt.save(workspace, written, made.text)
    final = score_submission(package.csv, folder / "truth.csv", competition, collection)
    if as_json:
        print_json(
            {
                "submission": str(package.folder),
                "scores": {name: scores.as_json() for name, scores in report.items()},
                "truth": final.as_json(),
                "seconds": round(time.monotonic() - began, 1),
            }
        )
        return
    for name, scores in report.items():
        print_line(f"\n{name}, on the local holdout")
        print_scores(scores)
    print_line("\nthe submission, scored by the true labels")
    print_scores(final.scores)
    print_line(f"\nsubmission: {package.csv}  ({format_duration(time.monotonic() - began)} in all)")
    print_line("what to try next:")
    print_line(f"  cd {folder}")
    print_line(f"  kitbox ensemble {' '.join(PLUGINS)} --weights 2,1 --whiten 128")
    print_line(f"  kitbox plugins new tf_efficientnet_lite0_128x256 --from {PLUGINS[0]}")
    print_line(f"  kitbox reproduce submissions/{package.folder.name}")


def _draw(workspace: Workspace, preset: str, individuals: int, photographs: int, seed: int) -> None:
    """Draw the competition, move it in when it is complete, and write its workspace."""
    from kitbox.competition import presets
    from kitbox.synthetic import layouts, whale_competition

    if preset not in layouts.LAYOUTS:
        raise KitboxError(f"no preset named {preset}{did_you_mean(preset, layouts.LAYOUTS)}")
    data, truth = workspace.root / "data", workspace.root / "truth.csv"
    if workspace.root.is_dir() and any(path.name != ".kitbox" for path in workspace.root.iterdir()):
        raise KitboxError(
            f"{workspace.root} is not empty and not a workspace; choose another --folder"
        )
    aside = workspace.cache / "drawing"
    shutil.rmtree(aside, ignore_errors=True)  # of an interrupted drawing
    print_line(f"drawing {photographs} photographs of {individuals} whales in {data}")
    drawn = follow(
        whale_competition.draw(
            aside / "data", individuals=individuals, photographs=photographs, seed=seed
        )
    )
    layouts.arrange(drawn.folder, drawn.truth, preset)
    drawn.truth.rename(truth)
    drawn.folder.rename(data)
    print_line(f"{len(drawn.broken)} files are broken on purpose; kitbox.toml drops such files")
    columns = {"train_list": "labels.csv", "test_list": "queries.csv"} if preset == "csv" else {}
    presets.init(workspace, preset, data, broken="drop", columns=columns)
