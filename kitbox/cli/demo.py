"""The command demo: a whole competition, or a catalogue with two seasons, on drawn whales."""

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from kitbox.cli import catalogue_demo
from kitbox.cli.catalogue_demo import DrawnCounts
from kitbox.cli.options import DeviceOption, JsonOption, PrecisionOption, complete_presets
from kitbox.cli.terminal import (
    follow,
    load_collection,
    open_workspace,
    print_json,
    print_line,
    print_scores,
)
from kitbox.errors import KitboxError, did_you_mean, format_duration
from kitbox.workspace import Workspace

DEFAULT_PRESET = "humpback"
PLUGINS = ("tf_efficientnet_lite0_96x192_demo", "resnet10t_64x128_demo")


def demo(
    catalogue: Annotated[
        bool,
        typer.Option("--catalogue", help="Play a catalogue and two seasons, without training."),
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder",
            metavar="DIR",
            help="Where to play; default: kitbox-demo, or kitbox-catalogue-demo.",
            show_default=False,
        ),
    ] = None,
    individuals: Annotated[
        int | None,
        typer.Option(
            "--individuals",
            min=4,
            help="Known whales to draw; default: 60, with --catalogue 24.",
            show_default=False,
        ),
    ] = None,
    photographs: Annotated[
        int | None,
        typer.Option(
            "--photographs",
            min=12,
            help="Photographs to draw; default: 900, with --catalogue 10 for each whale.",
            show_default=False,
        ),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            "--preset",
            help="The competition to draw; see 'kitbox competitions'.",
            autocompletion=complete_presets,
        ),
    ] = DEFAULT_PRESET,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed of the drawing.")] = 0,
    draw_only: Annotated[
        bool, typer.Option("--draw-only", help="Draw the competition and train nothing.")
    ] = False,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Play a competition or a catalogue on drawn images.

    Draws photographs of whales, trains two plugins, packages a submission of their ensemble and
    scores it. With --catalogue it trains nothing: it identifies the photographs of two seasons by a
    catalogue, as a biologist would, and compares the answers with the truth. If it is interrupted,
    the same command continues; it deletes nothing.

    \b
    Examples:
      kitbox demo --folder whales
      kitbox demo --catalogue
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
    if catalogue:
        if preset != DEFAULT_PRESET:
            raise KitboxError("--preset is of a competition", fix="leave it or --catalogue out")
        catalogue_demo.play(
            folder or Path("kitbox-catalogue-demo"),
            DrawnCounts(known := individuals or 24, photographs or 10 * known, seed),
            draw_only=draw_only,
            device=device,
            precision=precision,
            as_json=as_json,
        )
        return
    folder = folder or Path("kitbox-demo")
    os.environ.pop("KITBOX_DATA", None)  # the demo brings its own
    workspace = Workspace(folder)
    if not workspace.settings.exists():
        _draw(workspace, preset, individuals or 60, photographs or 900, seed)
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
