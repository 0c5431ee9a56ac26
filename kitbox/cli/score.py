"""Commands about local scores: score, compare."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kitbox.cli.options import (
    CheckpointOption,
    CombineOption,
    DeviceOption,
    DimsOption,
    FoldOption,
    JsonOption,
    NamesArgument,
    NewLabelOption,
    PrecisionOption,
    ThresholdOption,
    WeightsOption,
    WhitenOption,
    WorkersOption,
    WorkspaceOption,
    loaded,
    numbers,
    parse_folds,
    tell_threshold,
    way_of,
    with_threshold,
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
from kitbox.errors import KitboxError, did_you_mean

if TYPE_CHECKING:
    from kitbox.competition.settings import Competition
    from kitbox.embedding.embedder import EmbedOptions
    from kitbox.ensemble.answers import EnsembleOptions, EnsembleScore
    from kitbox.ensemble.members import Member
    from kitbox.scoring.local_score import LocalScore
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
    from kitbox.embedding import embedder
    from kitbox.ensemble import answers

    place, competition = open_workspace(workspace)
    competition = with_threshold(competition, threshold)
    options = embedder.EmbedOptions(device=device, precision=precision, workers=workers)
    recipe = answers.EnsembleOptions(whiten=whiten, way=way_of(combine, dims, new_label))
    chosen, found = _scored(place, competition, names, weights, recipe, fold, checkpoint, options)
    scores = _only(metric, found.score)
    if as_json:
        print_json(
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
    print_scores(scores)
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
    from kitbox.embedding import embedder
    from kitbox.ensemble import answers
    from kitbox.scoring import comparison

    place, competition = open_workspace(workspace)
    competition = with_threshold(competition, threshold)
    options = embedder.EmbedOptions(device=device, precision=precision, workers=workers)
    recipe = answers.EnsembleOptions(whiten=whiten, way=way_of(combine, dims, new_label))
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
        print_json({"metric": name, **difference.as_json(), **lists})
        return
    print_table(("", name), [(a, f"{outcomes[0].value:.4f}"), (b, f"{outcomes[1].value:.4f}")])
    print_line(difference.sentence)
    for title, part in zip(("gained", "lost"), moved or (), strict=False):
        if part:
            rows = [(c.query_id, f"{c.before:.3f}", f"{c.after:.3f}") for c in part]
            print_table((f"{title} most by {b}", a, b), rows)


def _scored(
    place: "Workspace",
    competition: "Competition",
    names: list[str],
    weights: str | None,
    recipe: "EnsembleOptions",
    fold: str,
    checkpoint: str,
    options: "EmbedOptions",
) -> "tuple[list[Member], EnsembleScore]":
    """Return the members and the local score of some plugins, on one fold or over all."""
    from kitbox.ensemble import answers, members

    plugins = loaded(names, place)
    found = []
    for number in parse_folds(fold, competition):
        collection = load_collection(place, competition, number)
        chosen = members.for_holdout(
            place, plugins, numbers(weights), collection, checkpoint, fold=number
        )
        for line in members.checkpoint_warnings(chosen):
            print_line(line)
        stage = answers.score(chosen, recipe, collection, competition, place, options)
        found.append(follow(stage))
    return chosen, answers.pool_folds(found)


def _only(metric: str | None, found: "LocalScore") -> Any:
    """Return all scores, or that of one metric."""
    from kitbox.records import Scores

    by_metric = found.scores.by_metric
    if metric is None:
        return found.scores
    if metric not in by_metric:
        near = did_you_mean(metric, by_metric)
        raise KitboxError(f"no metric {metric}{near}; there are {', '.join(by_metric)}")
    return Scores({metric: by_metric[metric]})


def ensemble(
    names: NamesArgument,
    weights: WeightsOption = None,
    top_k: Annotated[
        int | None, typer.Option("--top-k", help="Answers a query; default: what is asked.", min=1)
    ] = None,
    whiten: WhitenOption = None,
    combine: CombineOption = "embeddings",
    dims: DimsOption = None,
    new_label: NewLabelOption = "threshold",
    threshold: ThresholdOption = None,
    submit: Annotated[
        bool, typer.Option("--submit", help="Package the leaderboard's CSV.")
    ] = False,
    note: Annotated[str, typer.Option("--note", help="Kept in the receipt.")] = "",
    checkpoint: CheckpointOption = "last",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    workers: WorkersOption = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Join plugins into meta-embeddings, search, score locally; with --submit package the CSV.

    \b
    Example:
      kitbox ensemble resnet34_620 densenet121_480 --submit
    """
    from kitbox.embedding import embedder
    from kitbox.ensemble import answers, members
    from kitbox.network import inference
    from kitbox.submission import receipt, submission

    place, competition = open_workspace(workspace)
    competition = with_threshold(competition, threshold)
    plugins = loaded(names, place)
    collection = load_collection(place, competition)
    options = embedder.EmbedOptions(device=device, precision=precision, workers=workers)
    way = way_of(combine, dims, new_label)
    recipe = answers.EnsembleOptions(whiten=whiten, top_k=top_k, way=way)
    if submit:
        submission.check_top_k(recipe, competition)
    counted = numbers(weights)
    scored = members.for_holdout(place, plugins, counted, collection, checkpoint)
    for line in members.checkpoint_warnings(scored):
        print_line(line)
    locally = follow(answers.score(scored, recipe, collection, competition, place, options))
    report: dict[str, Any] = {
        "submission": None,
        "csv": None,
        "plugins": [m.as_json(d) for m, d in zip(scored, locally.dims, strict=True)],
        "dim": sum(locally.dims),
        "top_k": top_k or competition.task.k,
        "queries": len(collection.holdout.query),
        "gallery": len(collection.holdout.gallery),
        "whiten": whiten,
        "way": way.as_json(),
        "threshold": locally.score.evidence or None,
        "scores": locally.score.scores.as_json(),
    }
    if submit:
        chosen = members.for_submission(place, plugins, counted, collection, checkpoint)
        for line in members.checkpoint_warnings(
            [member for member in chosen if member not in scored]
        ):
            print_line(line)
        for member in chosen:
            if member.checkpoint.on != "all":
                print_line(
                    f"{member.named.name} learnt without the holdout; "
                    f"'kitbox train {member.named.name} --on all' refits it on every label"
                )
        made = follow(
            submission.make_submission(
                chosen, recipe, locally.score.thresholds, collection, competition, place, options,
                locally.judge,
            )
        )  # fmt: skip
        resolved = inference.resolve_precision(precision, inference.resolve_device(device))
        written = receipt.describe(
            made, locally, chosen, scored, recipe, collection, competition, place,
            precision=resolved, note=note,
        )  # fmt: skip
        package = receipt.save(place, written, made.text)
        report |= {
            "submission": str(package.folder),
            "csv": str(package.csv),
            "plugins": [m.as_json(d) for m, d in zip(chosen, made.dims, strict=True)],
            "queries": made.queries,
            "gallery": made.gallery,
            "thresholds": made.thresholds,
        }
    if as_json:
        print_json(report)
        return
    print_scores(locally.score.scores)
    tell_threshold(locally.score)
    if submit:
        print_line(f"submission: {report['csv']}")
        print_line(f"receipt:    {package.receipt}")
