"""Commands about local scores: score, compare."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kitbox.cli.choices import (
    CombineOption,
    DimsOption,
    NamesArgument,
    NewLabelOption,
    ThresholdOption,
    WeightsOption,
    WhitenOption,
    loaded,
    numbers,
    tell_threshold,
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
    from kitbox.ensemble.assembly import Member
    from kitbox.scoring.local import LocalScore
    from kitbox.submission.making import Locally, Recipe
    from kitbox.workspace import Workspace


def score(
    names: NamesArgument,
    weights: WeightsOption = None,
    whiten: WhitenOption = None,
    combine: CombineOption = "embeddings",
    dims: DimsOption = None,
    new_label: NewLabelOption = "threshold",
    threshold: ThresholdOption = None,
    metric: Annotated[
        str | None, typer.Option("--metric", help="Show this metric alone.", metavar="M")
    ] = None,
    fold: FoldOption = "1",
    checkpoint: CheckpointOption = "last",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    workers: WorkersOption = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Score a plugin or an ensemble on the local holdout, with 95 % intervals.

    With --fold all every fold is asked by the networks that have not seen it.

    \b
    Example:
      kitbox score resnet34_620 densenet121_480 --weights 2,1
    """
    from kitbox.cli.terminal import emit, opened, score_table
    from kitbox.embedding import embedder
    from kitbox.submission import making

    place, competition = opened(workspace)
    competition = with_threshold(competition, threshold)
    options = embedder.Options(device=device, precision=precision, workers=workers)
    recipe = making.Recipe(whiten=whiten, way=way_of(combine, dims, new_label))
    chosen, found = _scored(place, competition, names, weights, recipe, fold, checkpoint, options)
    scores = _only(metric, found.score)
    if as_json:
        emit(
            {
                "plugins": [m.as_json(d) for m, d in zip(chosen, found.dims, strict=True)],
                "dim": sum(found.dims),
                "whiten": whiten,
                "way": recipe.way.as_json(),
                "threshold": found.score.evidence or None,
                "scores": scores.as_json(),
            }
        )
        return
    score_table(scores)
    tell_threshold(found.score)


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A plugin, or several as x+y.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The one that may be better.")],
    metric: Annotated[
        str | None, typer.Option("--metric", help="Instead of the competition's.", metavar="M")
    ] = None,
    whiten: WhitenOption = None,
    combine: CombineOption = "embeddings",
    dims: DimsOption = None,
    new_label: NewLabelOption = "threshold",
    threshold: ThresholdOption = None,
    changed: Annotated[int, typer.Option("--changed", help="Queries to list each way.", min=0)] = 5,
    fold: FoldOption = "1",
    checkpoint: CheckpointOption = "last",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    workers: WorkersOption = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Say whether B is better than A: paired, by individuals, on the local holdout.

    \b
    Example:
      kitbox compare resnet34_620 resnet34_620+densenet121_480
    """
    from kitbox.cli.terminal import emit, opened, say, table
    from kitbox.embedding import embedder
    from kitbox.scoring import comparison
    from kitbox.submission import making

    place, competition = opened(workspace)
    competition = with_threshold(competition, threshold)
    options = embedder.Options(device=device, precision=precision, workers=workers)
    recipe = making.Recipe(whiten=whiten, way=way_of(combine, dims, new_label))
    outcomes = []
    for names in (a, b):
        _, found = _scored(
            place, competition, names.split("+"), None, recipe, fold, checkpoint, options
        )
        name = next(iter(_only(metric, found.score).by_metric))
        outcomes.append(found.score.outcomes[name])
    difference = comparison.compare(outcomes[0], outcomes[1], found.score.individuals, (a, b))
    moved = difference.changed(changed)
    if as_json:
        lists: dict[str, Any] = {}
        if moved is not None:
            lists = {
                key: [vars(change) for change in part]
                for key, part in zip(("gained", "lost"), moved, strict=True)
            }
        emit({"metric": name, **difference.as_json(), **lists})
        return
    table(("", name), [(a, f"{outcomes[0].value:.4f}"), (b, f"{outcomes[1].value:.4f}")])
    say(difference.sentence)
    for title, part in zip(("gained", "lost"), moved or (), strict=False):
        if part:
            rows = [(c.query_id, f"{c.before:.3f}", f"{c.after:.3f}") for c in part]
            table((f"{title} most by {b}", a, b), rows)


def _scored(
    place: "Workspace",
    competition: "Competition",
    names: list[str],
    weights: str | None,
    recipe: "Recipe",
    fold: str,
    checkpoint: str,
    options: "Options",
) -> "tuple[list[Member], Locally]":
    """Return the members and the local score of some plugins, on one fold or over all."""
    from kitbox.cli.terminal import collected, folds_of, follow, say
    from kitbox.ensemble import doubts, members
    from kitbox.submission import making

    plugins = loaded(names, place)
    found = []
    for number in folds_of(fold, competition):
        collection = collected(place, competition, number)
        chosen = members.for_holdout(
            place, plugins, numbers(weights), collection, checkpoint, fold=number
        )
        for line in doubts.told(chosen):
            say(line)
        stage = making.score(chosen, recipe, collection, competition, place, options)
        found.append(follow(stage))
    return chosen, making.pooled(found)


def _only(metric: str | None, found: "LocalScore") -> Any:
    """Return all scores, or that of one metric."""
    from kitbox.errors import KitboxError, did_you_mean
    from kitbox.records import Scores

    by_metric = found.scores.by_metric
    if metric is None:
        return found.scores
    if metric not in by_metric:
        near = did_you_mean(metric, by_metric)
        raise KitboxError(f"no metric {metric}{near}; there are {', '.join(by_metric)}")
    return Scores({metric: by_metric[metric]})
