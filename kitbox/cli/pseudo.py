"""The command that gives test images labels to learn from: pseudo."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kitbox.cli.options import (
    CheckpointOption,
    DeviceOption,
    FoldOption,
    JsonOption,
    PrecisionOption,
    WeightsOption,
    WorkersOption,
    WorkspaceOption,
    loaded,
    numbers,
    parse_folds,
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
    from kitbox.embedding.embedder import EmbedOptions
    from kitbox.ensemble.class_probabilities import LabelSource, PseudoLabelRule
    from kitbox.ensemble.pseudo_labelling import PseudoLabelling
    from kitbox.workspace import Workspace


# Labels by how many images they were given to; the last span has no end.
_SPANS = ((1, 1), (2, 3), (4, 10), (11, None))


def pseudo(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Trained plugins.")
    ] = None,
    threshold: Annotated[
        float,
        typer.Option("--threshold", help="Labels must be likelier.", metavar="P", min=0, max=1),
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
        typer.Option("--by", help="auto: classifiers, where every plugin has learnt one."),
    ] = "auto",
    on: Annotated[
        Literal["holdout", "all"] | None,
        typer.Option("--on", help="What the plugins have learnt from; default: holdout."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--import", help="Take the rows of FILE: folder,full_path,proba."),
    ] = None,
    weights: WeightsOption = None,
    fold: FoldOption = "1",
    checkpoint: CheckpointOption = "last",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    workers: WorkersOption = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Give test images the labels that plugins are sure of, in pseudo.csv, to learn from next.

    Plugins with pseudo_labels = True take them. The same rule is asked of the holdout first, whose
    answers are known. Labels made --on all serve trainings --on all alone: they know the holdout;
    so do those of an imported list, unless --on holdout says otherwise.

    \b
    Examples:
      kitbox pseudo resnet34_620 densenet121_480 --threshold 0.95
      kitbox pseudo --import bootstrapped_data.csv
    """
    from kitbox.competition import pseudo_labels
    from kitbox.embedding import embedder
    from kitbox.ensemble.class_probabilities import PseudoLabelRule

    place, competition = open_workspace(workspace)
    if fold == "all":
        raise KitboxError("--fold all: pseudo.csv holds the labels of one fold; name it")
    if bool(names) == (file is not None):
        raise KitboxError("name trained plugins, or a list with --import FILE")
    ignored = {"--by": by != "auto", "--weights": weights, "--checkpoint": checkpoint != "last"}
    given = next((option for option, said in ignored.items() if said), None)
    if file is not None and given is not None:
        raise KitboxError(f"{given} is about networks, and --import asks none; leave it out")
    collection = load_collection(place, competition, parse_folds(fold, competition)[0])
    rule = PseudoLabelRule(threshold, gap, per_label or None)
    rows: tuple[PseudoLabel, ...]
    if file is not None:
        rows, report = _imported(file, rule, on or "all", competition, collection)
    else:
        options = embedder.EmbedOptions(device=device, precision=precision, workers=workers)
        made = _made(
            names or [], rule, by, on or "holdout", numbers(weights), int(fold), checkpoint,
            place, competition, collection, options,
        )  # fmt: skip
        rows, report = made.rows, _as_json(made)
        _tell(made)
        if not as_json:
            _show(made)
    written, kept = place.pseudo_labels if rows else None, None
    if written is not None:
        kept = pseudo_labels.save(written, rows)
    if as_json:
        told = {"threshold": threshold, "gap": gap, "per_label": rule.per_label}
        places = {"file": written and str(written), "kept": kept and str(kept)}
        print_json(report | told | places)
    _tell_written(place.pseudo_labels, len(rows), kept)


def _made(
    names: list[str],
    rule: "PseudoLabelRule",
    by: 'LabelSource | Literal["auto"]',
    on: str,
    weights: list[float] | None,
    fold: int,
    checkpoint: str,
    place: "Workspace",
    competition: "Competition",
    collection: "Collection",
    options: "EmbedOptions",
) -> "PseudoLabelling":
    from kitbox.ensemble import members
    from kitbox.ensemble.class_probabilities import default_source
    from kitbox.ensemble.pseudo_labelling import Labeller, label_test_images

    plugins = loaded(names, place)
    scored = members.for_holdout(place, plugins, weights, collection, checkpoint, fold=fold)
    chosen = scored
    if on == "all":
        chosen = members.for_submission(place, plugins, weights, collection, checkpoint)
        for member in chosen:
            if member.checkpoint.on != "all":
                print_line(
                    f"{member.named.name} learnt without the holdout; "
                    f"'kitbox train {member.named.name} --on all' refits it on every label"
                )
    way = default_source([*chosen, *scored]) if by == "auto" else by
    maker = Labeller(chosen, scored, on, way, rule)
    return follow(label_test_images(maker, collection, competition, place, options))


def _imported(
    file: Path,
    rule: "PseudoLabelRule",
    on: str,
    competition: "Competition",
    collection: "Collection",
) -> "tuple[tuple[PseudoLabel, ...], dict[str, Any]]":
    """Return the rows of a list of others, and tell what in it means nothing here."""
    from kitbox.ensemble import pseudo_labelling

    taken = pseudo_labelling.import_gdsc(file, collection, competition, rule, on)
    for what, found in (("test image", taken.no_test_images), ("label", taken.no_labels)):
        if found:
            print_line(f"left out: '{found[0]}' is no {what}{more(len(found) - 1)}")
    if on == "all":
        print_line("taken to be made by networks that know every label; if not, say --on holdout")
    return taken.rows, {
        "by": "import",
        "on": on,
        "round": 1,
        "images": taken.asked,
        "labelled": len(taken.rows),
        "no_test_images": list(taken.no_test_images),
        "no_labels": list(taken.no_labels),
    }


def _as_json(made: "PseudoLabelling") -> dict[str, Any]:
    return {
        "by": made.by,
        "on": made.on,
        "round": made.round,
        "images": made.asked,
        "labelled": len(made.rows),
        "labels": len(made.of_label),
        "expected": None if made.expected is None else round(made.expected, 6),
        "precision": None if made.precision is None else made.precision.as_json(),
        "coverage": made.coverage.as_json(),
    }


def _tell(made: "PseudoLabelling") -> None:
    """Say how many images get a label, and how sure networks are of them."""
    print_line(f"round {made.round}, by {made.by}, networks that learnt from {made.on}")
    sure = "" if made.expected is None else f", {made.expected:.1%} of them right if taken at word"
    print_line(f"{len(made.rows)} of {made.asked} test images get a label{sure}")
    if made.rows:
        print_line(_histogram(list(made.of_label.values())))
    if made.precision is None:
        print_line(
            "no query of the holdout gets a label by this rule; how right they are is not known"
        )


def _show(made: "PseudoLabelling") -> None:
    """Print how right such labels are on the holdout, and how many queries get one."""
    measured = [("coverage", made.coverage)]
    if made.precision is not None:
        measured.insert(0, ("precision", made.precision))
    print_table(
        ("on the holdout", "share", "95 % interval", "queries"),
        [
            (name, f"{s.value:.4f}", f"{s.low:.4f} – {s.high:.4f}", str(s.queries))
            for name, s in measured
        ],
    )


def _tell_written(path: Path, rows: int, kept: Path | None) -> None:
    """Say what pseudo.csv holds now, and where that is which it held before."""
    if not rows:
        print_line("no row to write" + (f"; {path} stays as it is" if path.exists() else ""))
        return
    if kept is not None:
        print_line(f"what was there is kept in {kept}")
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
