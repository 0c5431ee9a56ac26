"""The command that makes pages for people: report."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kitbox.cli.choices import (
    CombineOption,
    DimsOption,
    NewLabelOption,
    ThresholdOption,
    WeightsOption,
    WhitenOption,
    loaded,
    numbers,
    way_of,
    with_threshold,
)
from kitbox.cli.terminal import (
    CheckpointOption,
    DeviceOption,
    FoldOption,
    JsonOption,
    PrecisionOption,
    WorkersOption,
    WorkspaceOption,
)

if TYPE_CHECKING:
    from kitbox.competition.settings import Competition
    from kitbox.embedding.embedder import Options
    from kitbox.report.asked import Asked
    from kitbox.report.page import Written
    from kitbox.workspace import Workspace


def report(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME...|ID]", help="Trained plugins, or a submission; none: the data."
        ),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option("--by", help="Of the data: show it as this plugin sees it.", metavar="NAME"),
    ] = None,
    weights: WeightsOption = None,
    whiten: WhitenOption = None,
    combine: CombineOption = "embeddings",
    dims: DimsOption = None,
    new_label: NewLabelOption = "threshold",
    threshold: ThresholdOption = None,
    fold: FoldOption = "1",
    checkpoint: CheckpointOption = "last",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    workers: WorkersOption = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Make a page that opens from disk: of the data, or of what plugins answer on the holdout.

    Without a name the data: sizes, individuals, contact sheets, boxes. With plugins or a
    submission: every query with its nearest pictures, failures, confusable pairs, a map.

    \b
    Example:
      kitbox report resnet34_620 densenet121_480 --weights 2,1
    """
    from kitbox.cli.terminal import emit, opened, say
    from kitbox.embedding import embedder
    from kitbox.errors import KitboxError

    place, competition = opened(workspace)
    options = embedder.Options(device=device, precision=precision, workers=workers)
    if names:
        if by:
            raise KitboxError("--by shows the data; leave it out, or the names before it")
        from kitbox.report import asked
        from kitbox.submission import making

        recipe = making.Recipe(whiten=whiten, way=way_of(combine, dims, new_label))
        wanted = asked.of_names(names, place, numbers(weights), recipe, threshold, checkpoint)
        written, scores = _results(wanted, place, competition, fold, options)
    else:
        _refuse(
            {
                "--weights": weights,
                "--whiten": whiten,
                "--combine": None if combine == "embeddings" else combine,
                "--dims": dims,
                "--new-label": None if new_label == "threshold" else new_label,
                "--threshold": threshold,
                "--fold": None if fold == "1" else fold,
                "--checkpoint": None if checkpoint == "last" else checkpoint,
            }
        )
        written, scores = _data(by or [], place, competition), None
    if as_json:
        emit(
            {
                "page": str(written.path),
                "bytes": written.bytes,
                "files_beside": written.beside,
                **({} if scores is None else {"scores": scores}),
            }
        )
    beside = f", with {written.beside} files beside it" if written.beside else ""
    say(f"written to {written.path}{beside}; open it in a browser")


def _results(
    wanted: "Asked", place: "Workspace", competition: "Competition", fold: str, options: "Options"
) -> "tuple[Written, dict[str, Any]]":
    from kitbox.cli.terminal import collected, folds_of, follow
    from kitbox.ensemble import members
    from kitbox.errors import KitboxError
    from kitbox.report import results

    folds = folds_of(fold, competition)
    if len(folds) > 1:
        raise KitboxError("a page shows one fold; name it with --fold")
    competition = with_threshold(competition, wanted.threshold)
    collection = collected(place, competition, folds[0])
    chosen = members.for_holdout(
        place, wanted.plugins, wanted.weights, collection, wanted.checkpoint, fold=folds[0]
    )
    found = follow(results.evaluate(chosen, wanted.recipe, collection, competition, place, options))
    part = "" if folds[0] == 1 else f"_fold{folds[0]}"
    path = place.reports / f"results_{wanted.name}{part}.html"
    stage = results.write(
        found, chosen, collection, competition, place, path, about=wanted.told(chosen, folds[0])
    )
    return follow(stage), found.score.scores.as_json()


def _refuse(options: dict[str, Any]) -> None:
    """Raise KitboxError for an option that says how named plugins are put together."""
    from kitbox.errors import KitboxError

    for name, value in options.items():
        if value is not None:
            raise KitboxError(f"{name} is about plugins; name them, or leave it out")


def _data(by: list[str], place: "Workspace", competition: "Competition") -> "Written":
    from kitbox.cli.terminal import collected, follow
    from kitbox.report import dataset

    collection = collected(place, competition)
    path = place.reports / "data.html"
    return follow(dataset.write(collection, competition, place, path, loaded(by, place)))
