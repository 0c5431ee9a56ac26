"""Commands about what is asked: init, competitions, data holdout."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from kitbox.cli.terminal import JsonOption, WorkspaceOption


def init(
    preset: Annotated[str, typer.Option("--preset", help="See 'kitbox competitions'.")],
    data: Annotated[Path, typer.Option("--data", help="The folder of images and lists.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The new workspace.")] = Path(),
    broken: Annotated[
        Literal["stop", "drop"],
        typer.Option("--broken", help="What to do with unreadable images and faulty rows."),
    ] = "stop",
) -> None:
    """Make a workspace for a known competition.

    \b
    Example:
      kitbox init whales --preset humpback --data ~/data/humpback
    """
    from kitbox.cli.terminal import say
    from kitbox.competition import preset as presets
    from kitbox.workspace import Workspace

    workspace = Workspace(folder)
    competition = presets.init(workspace, preset, data, broken=broken)
    say(f"wrote {workspace.settings}: {competition.metric} over {competition.task.gallery}")
    say("next: 'kitbox plugins' shows what can be trained; 'kitbox data holdout' the local test")


def competitions(as_json: JsonOption = False) -> None:
    """Show the presets: form, metric, k, gallery.

    \b
    Example:
      kitbox competitions
    """
    from kitbox.cli.terminal import emit, table
    from kitbox.competition import preset as presets

    rows = [presets.summary(name) for name in presets.ABOUT]
    if as_json:
        emit(rows)
        return
    table(
        ("preset", "answers", "k", "gallery", "metric", "form", "about"),
        [tuple(str(value) for value in row.values()) for row in rows],
    )


def holdout(as_json: JsonOption = False, workspace: WorkspaceOption = None) -> None:
    """Show the split that local scores use, and write it to holdout.csv.

    \b
    Example:
      kitbox data holdout
    """
    import numpy as np

    from kitbox.cli.terminal import collected, emit, opened, say, table

    place, competition = opened(workspace)
    collection = collected(place, competition)
    split, unknown = collection.holdout, competition.images.unknown_label or ""
    figures = {
        "labelled images": len(collection.labelled),
        "train images": len(split.train),
        "train labels": len(set(np.asarray(split.train.labels).tolist()) - {unknown}),
        "queries": len(split.query),
        "gallery images": len(split.gallery),
        "share of unknown queries": round(float((split.query_answers == unknown).mean()), 4),
        "test images": 0 if collection.test is None else len(collection.test),
    }
    if as_json:
        emit(figures)
    else:
        table(("", ""), [(name, str(value)) for name, value in figures.items()])
    say(f"written to {place.holdout}")
