"""Commands that score plugins: score, compare, ensemble."""

from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kitbox.cli.options import (
    CombineOptions,
    FoldOption,
    JsonOption,
    MatchDeviceOptions,
    MemberOptions,
    NamesArgument,
    ViewOption,
    WorkspaceOption,
    choose_recipe,
    load_sources,
    parse_folds,
    split_names,
    with_records,
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
    from collections.abc import Sequence

    from kitbox.competition.settings import Competition
    from kitbox.ensemble.answers import EnsembleScore
    from kitbox.ensemble.ensemble import Ensemble
    from kitbox.ensemble.gains import Gain
    from kitbox.ensemble.members import Member
    from kitbox.ensemble.recipe import Recipe
    from kitbox.records import Scores
    from kitbox.scoring.local_score import LocalScore
    from kitbox.workspace import Workspace


@with_records
def score(
    names: NamesArgument = None,
    *,
    plugins: MemberOptions,
    combine: CombineOptions,
    metric: Annotated[
        str | None, typer.Option("--metric", help="Show this metric alone.", metavar="M")
    ] = None,
    fold: FoldOption = "1",
    device: MatchDeviceOptions,
    as_json: JsonOption = False,
    folder: WorkspaceOption = None,
) -> None:
    """Score plugins on the local holdout, with 95 % intervals.

    Several plugins are scored as an ensemble. With --fold all, each fold is answered by the
    networks that have not seen it. With views the score is compared with that of the plain view,
    with --rerank, --fusion or --balance with that without, and where whitening helps, it is
    offered. Without a name, the recipe of --recipe or of kitbox.toml is scored.

    \b
    Examples:
      kitbox score resnet34_620 densenet121_480 --weights 2,1
      kitbox score --recipe best.toml
      kitbox score mobilenetv2_100_128x256 --view plain --view scale:1.25
    """
    workspace, competition = open_workspace(folder)
    recipe = choose_recipe(names, plugins, combine, workspace, competition)
    ensembles, found = _score(recipe, workspace, competition, fold, device)
    members, scores = ensembles[0].members, _only(metric, found.score)
    gains = _gains(ensembles, found, metric)
    if as_json:
        print_json(
            {
                "plugins": [m.as_json(d) for m, d in zip(members, found.dims, strict=True)],
                "dim": sum(found.dims),
                "whiten": ensembles[0].options.whiten,
                "way": ensembles[0].options.method_json(),
                "threshold": found.score.evidence or None,
                **({"fusion": list(found.fusions)} if found.fusions else {}),
                "scores": scores.as_json(),
                **_gains_json(gains),
            }
        )
        return
    print_scores(scores)
    print_threshold(found.score)
    _print_fusions(found)
    _print_gains(gains)


@with_records
def compare(
    a: Annotated[
        str, typer.Argument(metavar="A", help="A plugin, several as x+y, or a recipe as x.toml.")
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The one that may be better.")],
    *,
    view: ViewOption = None,
    combine: CombineOptions,
    metric: Annotated[
        str | None,
        typer.Option("--metric", help="Metric; default: the competition's.", metavar="M"),
    ] = None,
    changed: Annotated[
        int, typer.Option("--changed", help="Gained and lost queries to list.", min=0)
    ] = 5,
    fold: FoldOption = "1",
    device: MatchDeviceOptions,
    as_json: JsonOption = False,
    folder: WorkspaceOption = None,
) -> None:
    """Test whether B is better than A on the local holdout.

    The comparison is paired, query by query, and resamples individuals. Options are for both sides;
    recipes have their own.

    \b
    Examples:
      kitbox compare resnet34_620 resnet34_620+densenet121_480
      kitbox compare resnet34_620 best.toml
      kitbox compare resnet34_620 resnet34_620@views=plain+flip
    """
    from kitbox.scoring import comparison

    workspace, competition = open_workspace(folder)
    outcomes = []
    sides = [_side(text, view, combine, workspace, competition) for text in (a, b)]
    for recipe in sides:
        _, found = _score(recipe, workspace, competition, fold, device)
        name = next(iter(_only(metric, found.score).by_metric))
        outcomes.append(found.score.outcomes[name])
    difference = comparison.compare(outcomes[0], outcomes[1], found.score.individuals, (a, b))
    moved = difference.largest_changes(changed)
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


@with_records
def ensemble(
    names: NamesArgument = None,
    *,
    plugins: MemberOptions,
    combine: CombineOptions,
    top_k: Annotated[
        int | None,
        typer.Option("--top-k", help="Answers to a query; default: the competition's k.", min=1),
    ] = None,
    submit: Annotated[
        bool, typer.Option("--submit", help="Package a submission for the leaderboard.")
    ] = False,
    note: Annotated[str, typer.Option("--note", help="A note to keep in the receipt.")] = "",
    device: MatchDeviceOptions,
    as_json: JsonOption = False,
    folder: WorkspaceOption = None,
) -> None:
    """Join plugins, score them locally, and package a submission.

    Without --submit nothing is written. Where the labelled images leave no holdout, a submission
    has no local score. Without a name, the recipe of --recipe or of kitbox.toml answers.

    \b
    Examples:
      kitbox ensemble resnet34_620 densenet121_480 --submit
      kitbox ensemble --recipe best.toml --submit
    """
    from kitbox.ensemble import answers
    from kitbox.ensemble.ensemble import Ensemble
    from kitbox.formats import csv_format
    from kitbox.submission import receipt

    workspace, competition = open_workspace(folder)
    recipe = choose_recipe(names, plugins, combine, workspace, competition)
    competition, options = recipe.set_threshold(competition), recipe.options(top_k)
    sources = load_sources(recipe, workspace)
    collection = load_collection(workspace, competition)
    setup = Ensemble(
        collection=collection,
        competition=competition,
        workspace=workspace,
        options=options,
        embed_options=device.for_embedding(),
    )
    package: receipt.Package | None = None
    gains: dict[str, list[Gain]] = {}
    locally: EnsembleScore | None
    chosen: Sequence[Member]
    dims: tuple[int, ...]
    if submit:
        package = follow(
            receipt.submit(
                setup,
                sources,
                recipe.weights,
                recipe.checkpoint,
                whitening=recipe.whitening,
                note=note,
                recipe=recipe.text(),
            )
        )
        locally, chosen, dims = package.score, package.members, package.submission.dims
    else:
        chosen, locally = follow(
            answers.score_plugins(
                setup, sources, recipe.weights, recipe.checkpoint, whitening=recipe.whitening
            )
        )
        dims = locally.dims
        gains = _gains([replace(setup, members=chosen)], locally)
    report: dict[str, Any] = {
        "submission": None,
        "csv": None,
        "plugins": [m.as_json(d) for m, d in zip(chosen, dims, strict=True)],
        "dim": sum(dims),
        "top_k": top_k or competition.task.k,
        "queries": len(collection.holdout.query),
        "gallery": len(collection.holdout.gallery),
        "whiten": options.whiten,
        "way": options.method_json(),
        "threshold": (locally.score.evidence or None) if locally else None,
        **({"fusion": list(locally.fusions)} if locally and locally.fusions else {}),
        "scores": locally.score.scores.as_json() if locally else {},
    }
    missing = None
    if package is not None:
        made, missing = package.submission, package.missing
        report |= {
            "submission": str(package.folder.folder),
            "csv": str(package.folder.csv),
            "queries": made.queries,
            "gallery": made.gallery,
            "thresholds": made.thresholds,
            **({"no_local_score": missing} if missing else {}),
        }
    if as_json:
        print_json(report | _gains_json(gains))
        return
    if locally is not None:
        print_scores(locally.score.scores)
        print_threshold(locally.score)
        _print_fusions(locally)
        _print_gains(gains)
    elif missing is not None:
        why = ", because there is no holdout" if collection.absent_holdout else ""
        print_line(f"no local score{why}: {missing}")
    if package is not None:
        print_line(f"submission: {report['csv']}")
        note_on_scale = csv_format.scale_note(competition)
        for line in (*([note_on_scale] if note_on_scale else []), *package.submission.notes):
            print_line(line)
        print_line(f"receipt:    {package.folder.receipt}")


def _side(
    text: str,
    views: list[str] | None,
    combine: CombineOptions,
    workspace: "Workspace",
    competition: "Competition",
) -> "Recipe":
    """Return the recipe of one side of a comparison: a file, or plugins as x+y with options."""
    if text.endswith(".toml"):
        options = MemberOptions(view=views, recipe=Path(text))
        return choose_recipe(None, options, combine, workspace, competition)
    return combine.recipe_of(split_names(text), MemberOptions(view=views))


def _score(
    recipe: "Recipe",
    workspace: "Workspace",
    competition: "Competition",
    fold: str,
    device: MatchDeviceOptions,
) -> "tuple[list[Ensemble], EnsembleScore]":
    """Return the ensemble of each fold, of one or of all, and their local score."""
    from kitbox.ensemble import answers
    from kitbox.ensemble.ensemble import Ensemble

    competition, options = recipe.set_threshold(competition), recipe.options()
    sources = load_sources(recipe, workspace)
    ensembles, found = [], []
    for number in parse_folds(fold, competition):
        collection = load_collection(workspace, competition, number)
        setup = Ensemble(
            collection=collection,
            competition=competition,
            workspace=workspace,
            options=options,
            embed_options=device.for_embedding(),
        )
        chosen, one = follow(
            answers.score_plugins(
                setup,
                sources,
                recipe.weights,
                recipe.checkpoint,
                whitening=recipe.whitening,
                fold=number,
            )
        )
        ensembles.append(replace(setup, members=chosen))
        found.append(one)
    return ensembles, answers.pool_folds(found)


def _gains(
    folds: "Sequence[Ensemble]", found: "EnsembleScore", metric: str | None = None
) -> "dict[str, list[Gain]]":
    """Return what views and steps gained, and what whitening would gain if it helps.

    By the metric, or else by the competition's own and by that of image retrieval.
    """
    from kitbox.ensemble import gains

    own = metric or next(iter(found.score.outcomes))
    retrieval = gains.RETRIEVAL in found.score.outcomes and metric is None
    both = [*dict.fromkeys([own, gains.RETRIEVAL] if retrieval else [own])]
    views = follow(gains.by_views(folds, found, own))
    whitening = follow(gains.by_whitening(folds, found, both))
    return {
        "views": [] if views is None else [views],
        "steps": follow(gains.by_steps(folds, found, both)),
        "whitening": [] if whitening is None else [whitening],
    }


def _gains_json(gains: "dict[str, list[Gain]]") -> dict[str, Any]:
    """Return the steps as a list, and the others, of which there is one at most, each by name."""
    return {
        name: [gain.as_json() for gain in found] if name == "steps" else found[0].as_json()
        for name, found in gains.items()
        if found
    }


def _print_gains(gains: "dict[str, list[Gain]]") -> None:
    for gain in chain.from_iterable(gains.values()):
        print_line(gain.sentence)


def _only(metric: str | None, score: "LocalScore") -> "Scores":
    """Return all scores, or that of one metric."""
    from kitbox.records import Scores

    by_metric = score.scores.by_metric
    if metric is None:
        return score.scores
    if metric not in by_metric:
        near = did_you_mean(metric, by_metric)
        raise KitboxError(f"no metric {metric}{near}; there are {', '.join(by_metric)}")
    return Scores({metric: by_metric[metric]})


def _print_fusions(found: "EnsembleScore") -> None:
    """Print what is fused, and how right its probabilities are."""
    from kitbox.fusion.fused_graphs import fusion_sentences

    for evidence in found.fusions:
        for sentence in fusion_sentences(evidence):
            print_line(sentence)


def print_threshold(score: "LocalScore") -> None:
    """Print the thresholds of a local score, and their effect."""
    from kitbox.scoring import local_score

    for sentence in local_score.threshold_sentences(score):
        print_line(sentence)
