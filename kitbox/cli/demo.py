"""The demo: a whole competition in minutes, on images that kitbox draws itself."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kitbox.cli.terminal import DeviceOption, JsonOption, PrecisionOption

if TYPE_CHECKING:
    from kitbox.workspace import Workspace

PLUGINS = ("tf_efficientnet_lite0_96x192_demo", "resnet10t_64x128_demo")


def demo(
    folder: Annotated[Path, typer.Option("--folder", metavar="DIR", help="Where to play.")] = Path(
        "kitbox-demo"
    ),
    individuals: Annotated[int, typer.Option("--individuals", min=4, help="Whales to draw.")] = 60,
    photographs: Annotated[
        int, typer.Option("--photographs", min=12, help="Photographs to draw.")
    ] = 900,
    preset: Annotated[
        str, typer.Option("--preset", help="The competition to play; see 'kitbox competitions'.")
    ] = "humpback",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Draws other whales.")] = 0,
    draw_only: Annotated[
        bool, typer.Option("--draw-only", help="Draw the competition, train nothing.")
    ] = False,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Play a whole competition: draw it, train two plugins, submit their ensemble, score it.

    The same command goes on where it was stopped.

    \b
    Example:
      kitbox demo --folder whales
    """
    import os
    import time

    from kitbox import workspace as workspaces
    from kitbox.cli.terminal import collected, duration, emit, follow, opened, say, score_table
    from kitbox.embedding import embedder
    from kitbox.ensemble import members
    from kitbox.errors import KitboxError
    from kitbox.network import inference
    from kitbox.plugin import discovery
    from kitbox.submission import making, marking, receipt
    from kitbox.training import reports, runner

    began = time.monotonic()
    os.environ.pop("KITBOX_DATA", None)  # the demo brings its own
    place = workspaces.Workspace(folder)
    if not place.settings.exists():
        _draw(place, preset, individuals, photographs, seed)
    place, competition = opened(folder)
    if competition.name != preset:
        raise KitboxError(
            f"{folder} plays {competition.name}; give --preset {competition.name}, "
            "or choose another --folder"
        )
    collection = collected(place, competition)
    if draw_only:
        say(f"next: cd {folder} && kitbox plugins")
        return
    plugins = [discovery.load(name, place) for name in PLUGINS]
    options = reports.Options(device=device, precision=precision)
    for named in plugins:
        follow(runner.train(named, collection, competition, place, options))
    running = embedder.Options(device=device, precision=precision)
    report = {}
    recipe = making.Recipe()
    for named in plugins:
        alone = members.for_holdout(place, [named], None, collection)
        report[named.name] = follow(
            making.score(alone, recipe, collection, competition, place, running)
        ).score.scores
    chosen = members.for_holdout(place, plugins, None, collection)
    locally = follow(making.score(chosen, recipe, collection, competition, place, running))
    report["ensemble"] = locally.score.scores
    made = follow(
        making.make(
            chosen, recipe, locally.score.thresholds, collection, competition, place, running
        )
    )
    written = receipt.build(
        made, locally, chosen, chosen, recipe, collection, competition, place,
        precision=inference.resolve_precision(precision, inference.resolve_device(device)),
        note="kitbox demo",
    )  # fmt: skip
    package = receipt.save(place, written, made.text)
    final = marking.mark(package.csv, folder / "truth.csv", competition, collection)
    if as_json:
        emit(
            {
                "submission": str(package.folder),
                "scores": {name: scores.as_json() for name, scores in report.items()},
                "truth": final.as_json(),
                "seconds": round(time.monotonic() - began, 1),
            }
        )
        return
    for name, scores in report.items():
        say(f"\n{name}, on the local holdout")
        score_table(scores)
    say("\nthe submission, scored against the truth that the demo kept")
    score_table(final)
    say(f"\nsubmission: {package.csv}  ({duration(time.monotonic() - began)} in all)")
    say("what to try next:")
    say(f"  cd {folder}")
    say(f"  kitbox ensemble {' '.join(PLUGINS)} --weights 2,1 --whiten 128")
    say(f"  kitbox plugins new tf_efficientnet_lite0_128x256 --from {PLUGINS[0]}")
    say(f"  kitbox reproduce submissions/{package.folder.name}")


def _draw(place: "Workspace", preset: str, individuals: int, photographs: int, seed: int) -> None:
    """Draw the competition aside and move it in when it is whole; then write its workspace."""
    import shutil

    from kitbox.cli.terminal import follow, say
    from kitbox.competition import preset as presets
    from kitbox.drawing import competition as drawing
    from kitbox.drawing import forms
    from kitbox.errors import KitboxError, did_you_mean

    if preset not in forms.FORMS:
        raise KitboxError(f"no preset named {preset}{did_you_mean(preset, forms.FORMS)}")
    data, truth = place.root / "data", place.root / "truth.csv"
    if place.root.is_dir() and any(path.name != ".kitbox" for path in place.root.iterdir()):
        raise KitboxError(f"{place.root} is not empty and no workspace; choose another --folder")
    aside = place.made / "drawing"
    shutil.rmtree(aside, ignore_errors=True)  # of a drawing that was stopped
    say(f"drawing {photographs} photographs of {individuals} whales in {data}")
    drawn = follow(
        drawing.draw(aside / "data", individuals=individuals, photographs=photographs, seed=seed)
    )
    forms.arrange(drawn.folder, drawn.truth, preset)
    drawn.truth.rename(truth)
    drawn.folder.rename(data)
    say(f"{len(drawn.broken)} files are broken on purpose; kitbox.toml says to drop such files")
    columns = {"train_list": "labels.csv", "test_list": "queries.csv"} if preset == "csv" else {}
    presets.init(place, preset, data, broken="drop", columns=columns)
