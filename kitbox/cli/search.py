"""Commands that choose what to combine: search, and explain."""

import shlex
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kitbox.cli.options import (
    CombineOptions,
    FoldOption,
    JsonOption,
    MatchDeviceOptions,
    MemberOptions,
    NamesArgument,
    RecipeOption,
    ViewOption,
    WorkspaceOption,
    choose_recipe,
    load_sources,
    parse_folds,
    with_records,
)
from kitbox.cli.terminal import (
    follow,
    load_collection,
    open_workspace,
    print_json,
    print_line,
    print_table,
)
from kitbox.errors import KitboxError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kitbox.competition.settings import Competition
    from kitbox.scoring.comparison import Difference
    from kitbox.selection.effects import Effect, Explanation
    from kitbox.selection.recipe_search import HoldoutFolds
    from kitbox.selection.search_result import SearchResult, SearchSettings
    from kitbox.workspace import Workspace

MetricOption = Annotated[
    str | None, typer.Option("--metric", help="Metric; default: the competition's.", metavar="M")
]
_DEFAULT_FILE = Path("best.toml")


@with_records
def search(
    names: NamesArgument = None,
    *,
    view: ViewOption = None,
    combine: CombineOptions,
    metric: MetricOption = None,
    trials: Annotated[
        int,
        typer.Option("--trials", help="Candidates drawn by each search for parameters.", min=0),
    ] = 60,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", help="End the trials after this time.", metavar="S"),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of all draws.", min=0)] = 0,
    out: Annotated[
        Path, typer.Option("--out", help="Where to write the recipe.", metavar="FILE")
    ] = _DEFAULT_FILE,
    fold: FoldOption = "1",
    device: MatchDeviceOptions,
    as_json: JsonOption = False,
    folder: WorkspaceOption = None,
) -> None:
    """Search for the best members, weights and steps.

    Members are selected one by one, then weights, whitening, cached views, re-ranking and, with
    --match, its fusion are searched. The gain is out of sample: each part of the individuals is
    answered by what the search chose without it. It writes the simplest level that no other is
    shown to beat: where nothing pays, the best plugin alone, whitened or not.

    \b
    Examples:
      kitbox search resnet34_620 densenet121_480 mobilenetv2_100_128x256
      kitbox search resnet34_620 densenet121_480 --trials 200 --out wide.toml
    """
    from kitbox.files import check_writable
    from kitbox.selection import recipe_search
    from kitbox.selection.search_result import SearchSettings

    workspace, competition = open_workspace(folder)
    if not names and competition.ensemble.recipe is None:
        raise KitboxError("name plugins to search among", fix="'kitbox plugins' lists plugins")
    settings = SearchSettings(metric=metric, trials=trials, seconds=seconds, seed=seed)
    check_writable(out)
    given = choose_recipe(names, MemberOptions(view=view), combine, workspace, competition)
    sources = load_sources(given, workspace)
    folds = _load_folds(workspace, competition, fold, device)
    found = follow(recipe_search.search_recipe(given, sources, folds, settings))
    written = found.recipe
    assert written is not None  # noqa: S101  plugins have one
    command = _command(names or given.names, view, combine, settings, fold, out)
    written.write(out, "\n".join([*found.comment, f"Made by: {command}"]))
    if as_json:
        print_json({**found.as_json(), "recipe": str(out), "fold": fold})
        return
    _print_levels(found)
    for sentence in found.sentences:
        print_line(sentence)
    print_line(f"recipe: {out}, {written.summary}")


@with_records
def explain(
    names: NamesArgument = None,
    *,
    view: ViewOption = None,
    recipe: RecipeOption = None,
    combine: CombineOptions,
    metric: MetricOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Where to write the page; default: in .kitbox/reports.", metavar="FILE"
        ),
    ] = None,
    fold: FoldOption = "1",
    device: MatchDeviceOptions,
    as_json: JsonOption = False,
    folder: WorkspaceOption = None,
) -> None:
    """Show what each part of an ensemble adds to its score.

    Each part that the ensemble has is left out, and each that it has not is added; the differences
    are paired on the same queries. Steps are tried with their default parameters. Plugins beside a
    recipe are those that could be added to it. Also writes a page with plots.

    \b
    Examples:
      kitbox explain resnet34_620 densenet121_480
      kitbox explain --recipe best.toml
    """
    from kitbox.files import check_writable
    from kitbox.report import effects_page
    from kitbox.selection import recipe_search

    workspace, competition = open_workspace(folder)
    others = None
    if recipe is None:
        base = choose_recipe(names, MemberOptions(view=view), combine, workspace, competition)
    else:  # views are those of the plugins beside it
        own = MemberOptions(view=None if names else view, recipe=recipe)
        base = choose_recipe(None, own, combine, workspace, competition)
    shown = names or (base.names if recipe is None else ())
    path = out or workspace.reports / effects_page.file_name(shown, recipe)
    check_writable(path)
    if recipe is not None and names:
        added = combine.recipe_of(names, MemberOptions(view=view))
        others = added, load_sources(added, workspace)
    sources = load_sources(base, workspace)
    folds = _load_folds(workspace, competition, fold, device)
    stage = recipe_search.explain_recipe(base, sources, folds, others=others, metric=metric)
    found = follow(stage)
    written = effects_page.write(found, competition, path)
    if as_json:
        print_json({**found.as_json(), "page": str(written.path), "fold": fold})
        return
    _print_effects(found)
    print_line(f"written to {written.path}; open it in a browser")


def _load_folds(
    workspace: "Workspace", competition: "Competition", fold: str, device: MatchDeviceOptions
) -> "HoldoutFolds":
    from kitbox.selection.recipe_search import HoldoutFolds

    numbers = parse_folds(fold, competition)
    return HoldoutFolds(
        collections={n: load_collection(workspace, competition, n) for n in numbers},
        competition=competition,
        workspace=workspace,
        embed_options=device.for_embedding(),
    )


def _command(
    names: "Sequence[str]",
    view: list[str] | None,
    combine: CombineOptions,
    settings: "SearchSettings",
    fold: str,
    out: Path,
) -> str:
    """Return the command line that makes the recipe again."""
    words = ["kitbox", "search", *names]
    for option in view or ():
        words += ["--view", option]
    for field in fields(combine):
        value = getattr(combine, field.name)
        if value not in (field.default, []):
            several = value if isinstance(value, list) else [value]
            for one in several:
                words += [f"--{field.name.replace('_', '-')}", str(one)]
    words += ["--metric", settings.metric] if settings.metric else []
    words += ["--trials", str(settings.trials), "--seed", str(settings.seed)]
    words += ["--seconds", f"{settings.seconds:g}"] if settings.seconds is not None else []
    words += ["--fold", fold] if fold != "1" else []
    return shlex.join([*words, "--out", str(out)])


def _print_levels(found: "SearchResult") -> None:
    from kitbox.selection.search_result import TITLES

    choice = found.choice
    rows = [
        (
            TITLES[level.level] + (" *" if level is found.chosen else ""),
            f"{level.in_sample:.4f}",
            f"{level.out_of_sample:.4f}",
            _interval(level.gain),
            _interval(level.over_whitened),
        )
        for level in found.levels
    ]
    rows.append(
        (
            "* with the choice out of sample too",
            "",
            f"{choice.out_of_sample:.4f}",
            _interval(choice.gain),
            _interval(choice.over_whitened),
        )
    )
    heads = (found.metric, "on all", "out of sample", "gain over the best", "over it whitened")
    print_table(heads, rows)
    for level in found.levels:
        if level.level in ("members", "tuned"):
            print_line(f"{TITLES[level.level]}: {level.candidate.summary}")


def _interval(difference: "Difference | None") -> str:
    if difference is None:
        return ""
    return f"{difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"


def _print_effects(found: "Explanation") -> None:
    first = found.metrics[0]
    print_table(
        ("", *found.metrics),
        [("the ensemble", *(f"{value:.4f}" for value in found.scores.values()))]
        + [
            (f"{name} alone", *(f"{values[metric]:.4f}" for metric in found.metrics))
            for name, values in found.alone.items()
        ],
    )
    heads = ("what it adds", "", "there", *found.metrics, "verdict")
    print_table(heads, [_effect_row(effect) for effect in found.effects], left=(0, 1, 2))
    if found.agreements:
        print_table(
            ("right first answers", "both", "first alone", "second alone", "neither", "Q"),
            [
                (
                    f"{pair.first}, {pair.second}",
                    *map(str, (pair.both, pair.first_alone, pair.second_alone, pair.neither)),
                    "" if pair.q is None else f"{pair.q:.2f}",
                )
                for pair in found.agreements
            ],
        )
    for sentence in (*found.left_out, *found.advice):
        print_line(sentence)
    if not found.advice:
        print_line(f"no part harms that is there, and none helps that is not, by {first}")


def _effect_row(effect: "Effect") -> tuple[str, ...]:
    name = f"{effect.name} {effect.place}".rstrip()
    differences = [_interval(difference) for difference in effect.differences.values()]
    return (effect.kind, name, "yes" if effect.present else "no", *differences, effect.verdict)
