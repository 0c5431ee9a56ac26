"""The command that gives test images pseudo-labels to train on: pseudo."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kitbox.cli.options import (
    CheckpointOption,
    CombineOptions,
    DeviceOptions,
    FoldOption,
    JsonOption,
    MemberOptions,
    RerankOption,
    WorkspaceOption,
    choose_recipe,
    complete_members,
    given_options,
    load_sources,
    parse_folds,
    print_unused,
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
from kitbox.errors import KitboxError, more

if TYPE_CHECKING:
    from kitbox.competition.pseudo_labels import PseudoLabel
    from kitbox.competition.settings import Competition
    from kitbox.dataset.collection import Collection
    from kitbox.ensemble.pseudo_labelling import PseudoLabelling, PseudoLabelRule


# Labels by how many images they were given to; the last span has no end.
_SPANS = ((1, 1), (2, 3), (4, 10), (11, None))


@with_records
def pseudo(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME...",
            help="Plugins or imported embeddings.",
            autocompletion=complete_members,
        ),
    ] = None,
    *,
    threshold: Annotated[
        float,
        typer.Option(
            "--threshold", help="Confidence that a label must exceed.", metavar="P", min=0, max=1
        ),
    ] = 0.9,
    gap: Annotated[
        float,
        typer.Option("--gap", help="Least lead over the next label.", metavar="P", min=0, max=1),
    ] = 0.0,
    per_label: Annotated[
        int, typer.Option("--per-label", help="Most images of a label; 0: all of them.", min=0)
    ] = 10,
    by: Annotated[
        Literal["auto", "classifier", "similarity"],
        typer.Option(
            "--by", help="What gives the labels; auto: classifiers, where every plugin has one."
        ),
    ] = "auto",
    on: Annotated[
        Literal["holdout", "all"] | None,
        typer.Option("--on", help="What the plugins were trained on; default: holdout."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--import", help="Import the rows of FILE: folder,full_path,proba."),
    ] = None,
    plugins: MemberOptions,
    rerank: RerankOption = None,
    fold: FoldOption = "1",
    checkpoint: CheckpointOption = "last",
    device: DeviceOptions,
    as_json: JsonOption = False,
    folder: WorkspaceOption = None,
) -> None:
    """Label test images that plugins are sure of, for training.

    The labels go to pseudo.csv; plugins with pseudo_labels = True train on them. The same rule is
    first applied to the holdout, whose answers are known. Labels made --on all are only for
    training --on all, because they know the holdout; the same holds for imported ones, unless
    --on holdout is given.

    \b
    Examples:
      kitbox pseudo resnet34_620 densenet121_480 --threshold 0.95
      kitbox pseudo --import bootstrapped_data.csv
    """
    from kitbox.competition import pseudo_labels
    from kitbox.ensemble import members
    from kitbox.ensemble.ensemble import Ensemble
    from kitbox.ensemble.pseudo_labelling import (
        PseudoLabelOptions,
        PseudoLabelRule,
        default_source,
        label_test_images,
    )

    workspace, competition = open_workspace(folder)
    if fold == "all":
        raise KitboxError("--fold all: pseudo.csv holds the labels of one fold; name it")
    source_given = names or plugins.recipe or competition.ensemble.recipe
    if (names or plugins.recipe) if file is not None else not source_given:
        raise KitboxError("name trained plugins, or a list with --import FILE")
    combine = CombineOptions(checkpoint=checkpoint, rerank=rerank)
    given = (["--by"] if by != "auto" else []) + given_options(plugins, combine)
    if file is not None and given:
        raise KitboxError(f"{given[0]} is about networks, and --import uses none; leave it out")
    if file is None:
        recipe = choose_recipe(names, plugins, combine, workspace, competition)
    [number] = parse_folds(fold, competition)
    collection = load_collection(workspace, competition, number)
    rule = PseudoLabelRule(threshold, gap, per_label or None)
    rows: tuple[PseudoLabel, ...]
    if file is not None:
        rows, report = _import(file, rule, on or "all", competition, collection)
    else:
        sources, weights, which = load_sources(recipe, workspace), recipe.weights, recipe.checkpoint
        whitening = recipe.whitening
        scored = members.for_holdout(
            workspace, sources, weights, collection, which, whitening=whitening, fold=number
        )
        chosen = scored
        if on == "all":
            chosen = members.for_submission(
                workspace, sources, weights, collection, which, whitening=whitening
            )
            for line in members.refit_advice(chosen):
                print_line(line)
        source = default_source([*chosen, *scored]) if by == "auto" else by
        print_unused(recipe, *(["rerank"] if source == "similarity" else []))
        ensemble = Ensemble(
            members=chosen,
            options=recipe.options(),
            collection=collection,
            competition=competition,
            workspace=workspace,
            embed_options=device.for_embedding(),
        )
        options = PseudoLabelOptions(on or "holdout", source, rule)
        made = follow(label_test_images(ensemble, scored, options))
        rows, report = made.rows, _as_json(made)
        _print_summary(made)
        if not as_json:
            _print_precision(made)
    written, kept = workspace.pseudo_labels if rows else None, None
    if written is not None:
        kept = pseudo_labels.save(written, rows)
    if as_json:
        settings = {"threshold": threshold, "gap": gap, "per_label": rule.per_label}
        files = {"file": written and str(written), "kept": kept and str(kept)}
        print_json(report | settings | files)
    _print_written(workspace.pseudo_labels, len(rows), kept)


def _import(
    file: Path,
    rule: "PseudoLabelRule",
    on: str,
    competition: "Competition",
    collection: "Collection",
) -> "tuple[tuple[PseudoLabel, ...], dict[str, Any]]":
    """Return the rows of another program's list, and print which of its names are unknown here."""
    from kitbox.ensemble import pseudo_labelling

    taken = pseudo_labelling.import_gdsc(file, collection, competition, rule, on)
    for what, found in (("test image", taken.unknown_images), ("label", taken.unknown_labels)):
        if found:
            print_line(f"left out: '{found[0]}' is no {what}{more(len(found) - 1)}")
    if on == "all":
        print_line("assuming networks that know every label made them; if not, give --on holdout")
    return taken.rows, {
        "by": "import",
        "on": on,
        "round": 1,
        "images": taken.listed,
        "labelled": len(taken.rows),
        "no_test_images": list(taken.unknown_images),
        "no_labels": list(taken.unknown_labels),
    }


def _as_json(labelling: "PseudoLabelling") -> dict[str, Any]:
    expected = labelling.mean_confidence
    return {
        "by": labelling.source,
        "on": labelling.on,
        "round": labelling.round,
        "images": labelling.candidates,
        "labelled": len(labelling.rows),
        "labels": len(labelling.images_of),
        "expected": None if expected is None else round(expected, 6),
        "precision": None if labelling.precision is None else labelling.precision.as_json(),
        "coverage": labelling.coverage.as_json(),
    }


def _print_summary(labelling: "PseudoLabelling") -> None:
    """Print how many images get a label, and how confident the networks are of them."""
    print_line(
        f"round {labelling.round}, by {labelling.source}, networks trained on {labelling.on}"
    )
    sure = (
        ""
        if labelling.mean_confidence is None
        else f", {labelling.mean_confidence:.1%} right by their own confidence"
    )
    print_line(f"{len(labelling.rows)} of {labelling.candidates} test images get a label{sure}")
    if labelling.rows:
        print_line(_histogram(list(labelling.images_of.values())))
    if labelling.precision is None:
        print_line("no holdout query gets a label by this rule, so their precision is not known")


def _print_precision(labelling: "PseudoLabelling") -> None:
    """Print the share of right labels on the holdout, and the share of queries that get one."""
    measured = [("coverage", labelling.coverage)]
    if labelling.precision is not None:
        measured.insert(0, ("precision", labelling.precision))
    print_table(
        ("on the holdout", "share", "95 % interval", "queries"),
        [
            (name, f"{s.value:.4f}", f"{s.low:.4f} – {s.high:.4f}", str(s.queries))
            for name, s in measured
        ],
    )


def _print_written(path: Path, rows: int, kept: Path | None) -> None:
    """Print what pseudo.csv holds now, and where its former rows are."""
    if not rows:
        print_line("no row to write" + (f"; {path} stays as it is" if path.exists() else ""))
        return
    if kept is not None:
        print_line(f"the former file is kept as {kept}")
    print_line(f"written to {path}: {rows} {'row' if rows == 1 else 'rows'}")


def _histogram(counts: list[int]) -> str:
    """Return in words how many labels have how many images."""
    parts = []
    for least, most in _SPANS:
        of_span = sum(least <= count <= (most or count) for count in counts)
        span = str(least) if least == most else f"{least} to {most}" if most else f"{least} or more"
        if of_span:
            parts.append(f"{of_span} with {span}")
    noun = "label" if len(counts) == 1 else "labels"
    return f"{len(counts)} {noun}: {', '.join(parts)}"
