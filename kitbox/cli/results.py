"""Commands about results: score, ensemble, submission lint, reproduce."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kitbox.cli.terminal import (
    CheckpointOption,
    DeviceOption,
    JsonOption,
    PrecisionOption,
    WorkersOption,
    WorkspaceOption,
)

if TYPE_CHECKING:
    from kitbox.plugin.discovery import NamedPlugin
    from kitbox.workspace import Workspace

NamesArgument = Annotated[list[str], typer.Argument(metavar="NAME...", help="Trained plugins.")]
WeightsOption = Annotated[
    str | None, typer.Option("--weights", help="A weight for each plugin, as 2,1.", metavar="W,W")
]
WhitenOption = Annotated[
    int | None,
    typer.Option("--whiten", help="PCA-whiten each plugin's block to DIM.", metavar="DIM", min=2),
]


def score(
    names: NamesArgument,
    weights: WeightsOption = None,
    whiten: WhitenOption = None,
    metric: Annotated[
        str | None, typer.Option("--metric", help="Show this metric alone.", metavar="M")
    ] = None,
    checkpoint: CheckpointOption = "last",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    workers: WorkersOption = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Score a plugin or an ensemble on the local holdout, with 95 % intervals.

    \b
    Example:
      kitbox score resnet34_620 densenet121_480 --weights 2,1
    """
    from kitbox.cli.terminal import collected, emit, follow, opened, score_table
    from kitbox.embedding import embedder
    from kitbox.ensemble import members
    from kitbox.errors import KitboxError, did_you_mean
    from kitbox.records import Scores
    from kitbox.submission import making

    place, competition = opened(workspace)
    plugins = _loaded(names, place)
    collection = collected(place, competition)
    chosen = members.for_holdout(place, plugins, _numbers(weights), collection, checkpoint)
    found = follow(
        making.score(
            chosen,
            making.Recipe(whiten=whiten),
            collection,
            competition,
            place,
            embedder.Options(device=device, precision=precision, workers=workers),
        )
    )
    scores = found.score.scores
    if metric is not None:
        if metric not in scores.by_metric:
            near = did_you_mean(metric, scores.by_metric)
            known = ", ".join(scores.by_metric)
            raise KitboxError(f"no metric {metric}{near}; there are {known}")
        scores = Scores({metric: scores.by_metric[metric]})
    if as_json:
        emit(
            {
                "plugins": [m.as_json(d) for m, d in zip(chosen, found.dims, strict=True)],
                "dim": sum(found.dims),
                "whiten": whiten,
                "threshold": found.score.threshold,
                "scores": scores.as_json(),
            }
        )
    else:
        score_table(scores)


def ensemble(
    names: NamesArgument,
    weights: WeightsOption = None,
    top_k: Annotated[
        int | None, typer.Option("--top-k", help="Answers a query; default: what is asked.", min=1)
    ] = None,
    whiten: WhitenOption = None,
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
    from kitbox.ensemble import members
    from kitbox.network import inference
    from kitbox.submission import making, receipt

    place, competition = opened(workspace)
    plugins = _loaded(names, place)
    collection = collected(place, competition)
    options = embedder.Options(device=device, precision=precision, workers=workers)
    recipe = making.Recipe(whiten=whiten, top_k=top_k)
    numbers = _numbers(weights)
    scored = members.for_holdout(place, plugins, numbers, collection, checkpoint)
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
        "threshold": locally.score.threshold,
        "scores": locally.score.scores.as_json(),
    }
    if submit:
        chosen = members.for_submission(place, plugins, numbers, collection, checkpoint)
        for member in chosen:
            if member.checkpoint.on != "all":
                say(
                    f"{member.named.name} learnt without the holdout; "
                    f"'kitbox train {member.named.name} --on all' refits it on every label"
                )
        made = follow(
            making.make(
                chosen,
                recipe,
                locally.score.threshold,
                collection,
                competition,
                place,
                options,
            )
        )
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
        }
    if as_json:
        emit(report)
        return
    score_table(locally.score.scores)
    if submit:
        say(f"submission: {report['csv']}")
        say(f"receipt:    {package.receipt}")


def lint(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV for the leaderboard.")],
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Say whether the leaderboard would take a file; exit 1 if not.

    \b
    Example:
      kitbox submission lint submissions/2026-01-31_a+b_1f2e3d4c/submission.csv
    """
    from kitbox.cli.terminal import emit, opened, say
    from kitbox.competition import lists
    from kitbox.submission import lint as linting

    _, competition = opened(workspace)
    listed = lists.read(competition)
    findings = linting.lint_file(file, competition, listed.labelled, listed.test)
    if as_json:
        emit([{"line": finding.line, "what": finding.what} for finding in findings])
    for finding in findings:
        say(f"{file} {finding}")
    if findings:
        raise typer.Exit(1)
    say(f"{file}: nothing to complain about")


def reproduce(
    path: Annotated[Path, typer.Argument(metavar="RECEIPT", help="receipt.json or its folder.")],
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train the networks again from the receipt.")
    ] = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Make a submission again from its receipt, and say what is equal and what differs.

    Exit 1 if the list differs.

    \b
    Example:
      kitbox reproduce submissions/2026-01-31_a+b_1f2e3d4c
    """
    from kitbox.cli.terminal import collected, emit, follow, opened, say, table
    from kitbox.submission import reproduction

    place, competition = opened(workspace)
    collection = collected(place, competition)
    found = follow(
        reproduction.reproduce(path, collection, competition, place, retrain=retrain, device=device)
    )
    if as_json:
        emit([vars(c) | {"equal": c.equal} for c in found.comparisons])
    else:
        differing = [c for c in found.comparisons if not c.equal]
        equal = len(found.comparisons) - len(differing)
        say(f"equal: {equal} of {len(found.comparisons)} things compared")
        if differing:
            table(
                ("differs", "recorded", "again"),
                [(c.what, c.recorded[:60], c.again[:60]) for c in differing],
            )
    if found.same_list:
        say("the list is the same, byte for byte")
        return
    folder = path if path.is_dir() else path.parent
    original = folder / "submission.csv"
    if original.exists():
        count = reproduction.rows_that_differ(found.text, original.read_text(encoding="utf-8"))
        say(f"the list differs in {count} rows of {found.text.count(chr(10))}")
    raise typer.Exit(1)


def _loaded(names: list[str], place: "Workspace") -> "list[NamedPlugin]":
    from kitbox.plugin import discovery

    return [discovery.load(name, place) for name in names]


def _numbers(text: str | None) -> list[float] | None:
    from kitbox.errors import KitboxError

    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise KitboxError(f"--weights {text} is not numbers with commas, as 2,1") from error
