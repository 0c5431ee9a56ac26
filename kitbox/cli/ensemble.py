"""The command that joins plugins and packages the leaderboard's list: ensemble."""

from typing import Annotated, Any

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
    JsonOption,
    PrecisionOption,
    WorkersOption,
    WorkspaceOption,
)


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
    from kitbox.cli.terminal import collected, emit, follow, opened, say, score_table
    from kitbox.embedding import embedder
    from kitbox.ensemble import doubts, members
    from kitbox.network import inference
    from kitbox.submission import making, receipt

    place, competition = opened(workspace)
    competition = with_threshold(competition, threshold)
    plugins = loaded(names, place)
    collection = collected(place, competition)
    options = embedder.Options(device=device, precision=precision, workers=workers)
    way = way_of(combine, dims, new_label)
    recipe = making.Recipe(whiten=whiten, top_k=top_k, way=way)
    if submit:
        making.refuse_top_k(recipe, competition)
    counted = numbers(weights)
    scored = members.for_holdout(place, plugins, counted, collection, checkpoint)
    for line in doubts.told(scored):
        say(line)
    locally = follow(making.score(scored, recipe, collection, competition, place, options))
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
        for line in doubts.told([member for member in chosen if member not in scored]):
            say(line)
        for member in chosen:
            if member.checkpoint.on != "all":
                say(
                    f"{member.named.name} learnt without the holdout; "
                    f"'kitbox train {member.named.name} --on all' refits it on every label"
                )
        made = follow(
            making.make(
                chosen, recipe, locally.score.thresholds, collection, competition, place, options,
                locally.judge,
            )
        )  # fmt: skip
        resolved = inference.resolve_precision(precision, inference.resolve_device(device))
        written = receipt.build(
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
        emit(report)
        return
    score_table(locally.score.scores)
    tell_threshold(locally.score)
    if submit:
        say(f"submission: {report['csv']}")
        say(f"receipt:    {package.receipt}")
