"""The command that trains and compares variants of a plugin: sweep."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kitbox.cli.options import (
    HardwareOptions,
    JsonOption,
    WorkspaceOption,
    complete_plugins,
    parse_fold,
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
from kitbox.errors import KitboxError, format_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kitbox.plugin.discovery import NamedPlugin
    from kitbox.plugin.variants import Budget, Variant
    from kitbox.training.sweep import VariantResult


@with_records
def sweep(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="The plugin to vary.", autocompletion=complete_plugins),
    ],
    *,
    image_size: Annotated[
        str | None,
        typer.Option("--image-size", help="Image sizes, as 96x192,160x320.", metavar="S,S"),
    ] = None,
    backbone: Annotated[
        str | None, typer.Option("--backbone", help="Backbones, with commas.", metavar="B,B")
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            "--loss",
            help="Losses, as ArcFace,Triplet(mining=semi_hard),ArcFace+CrossEntropy.",
            metavar="L",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Values of any setting, as learning_rate=1e-3,3e-4; can be repeated.",
            metavar="K=V",
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="Epochs of each training.", min=1)
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes", help="Minutes of each training, for as many epochs as fit.", min=0.01
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", help="Trainings of each variant, with a seed each.", min=1)
    ] = 1,
    fold: Annotated[
        str, typer.Option("--fold", help="One fold of holdout.folds.", metavar="K")
    ] = "1",
    weights: Annotated[
        str | None,
        typer.Option("--weights", help="Weights for every backbone, as in 'kitbox train'."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plugins and their cost; write nothing.")
    ] = False,
    device: HardwareOptions,
    as_json: JsonOption = False,
    folder: WorkspaceOption = None,
) -> None:
    """Train variants of a plugin and compare scores and costs.

    All variants get the same budget. The word base stands for the plugin's own value. Finished
    trainings are not repeated.

    \b
    Example:
      kitbox sweep tf_efficientnet_lite0_96x192 --image-size base,160x320 --epochs 3
    """
    from kitbox.plugin import discovery
    from kitbox.plugin.variants import Budget, combine
    from kitbox.training.context import TrainOptions, TrainSetup
    from kitbox.training.sweep import Sweep, seed_spread

    if epochs is not None and minutes is not None:
        raise KitboxError("--epochs and --minutes are both budgets; give one of them")
    workspace, competition = open_workspace(folder)
    base = discovery.load(name, workspace)
    named = {"image_size": image_size, "backbone": backbone, "losses": loss}
    axes = _axes(base, named, settings or [], epochs, minutes, seeds)
    budget = Budget(epochs, minutes)
    variants = combine(base, axes, budget, seeds, workspace.root)
    if dry_run:
        _preview(variants, budget, as_json=as_json)
        return
    number = parse_fold(fold, competition, "a sweep is about one fold")
    collection = load_collection(workspace, competition, number)
    collection.require_holdout()  # before anything is written
    options = TrainOptions(
        weights=weights,
        device=device.device,
        precision=device.precision,
        workers=device.workers,
    )
    setup = TrainSetup(collection, competition, workspace, options)
    results = follow(Sweep(budget, setup).run(variants))
    path = workspace.reports / f"sweep_{name}.csv"
    _write_csv(path, results)
    spread = seed_spread(results)
    if as_json:
        print_json(
            {
                "base": name,
                "epochs": epochs,
                "minutes": minutes,
                "fold": number,
                "seed_spread": spread,
                "csv": str(path),
                "plugins": [_figures(each) for each in results],
            }
        )
    else:
        _print_results(results)
    if spread is not None:
        print_line(f"seeds alone move the score by up to {spread:.4f}")
    print_line(f"written to {path}")
    if any(each.problem is not None for each in results):
        raise typer.Exit(1)


def _axes(
    base: "NamedPlugin",
    named: dict[str, str | None],
    settings: list[str],
    epochs: int | None,
    minutes: float | None,
    seeds: int,
) -> dict[str, list[Any]]:
    """Return setting → values, in the order of the options."""
    from kitbox.plugin import variants

    given = [(setting, text) for setting, text in named.items() if text is not None]
    for option in settings:
        setting, equals, text = option.partition("=")
        if not equals:
            raise KitboxError(f"--set {option} has no value; write it as learning_rate=1e-3,3e-4")
        given.append((setting.strip(), text))
    elsewhere = {"epochs": epochs or minutes, "seed": seeds > 1}
    axes: dict[str, list[Any]] = {}
    for setting, text in given:
        if setting in axes or elsewhere.get(setting):
            raise KitboxError(f"{setting} is given twice; give all its values in one option")
        axes[setting] = variants.axis_values(base.plugin, setting, text)
    if not axes and seeds == 1:
        raise KitboxError(
            "a sweep varies something; give --image-size, --backbone, --loss or --set"
        )
    return axes


def _preview(variants: "Sequence[Variant]", budget: "Budget", *, as_json: bool) -> None:
    """Print the plugins that would be written, with their cost."""
    from kitbox.network.network import measure_cost

    rows: list[dict[str, Any]] = []
    problems = []
    for one in variants:
        try:
            price = measure_cost(one.plugin)
        except KitboxError as error:
            problems.append(f"{one.name}: {error}")
            continue
        rows.append(
            {
                "name": one.name,
                "differs": list(one.differs),
                "notes": list(one.notes),
                "epochs": None if budget.minutes is not None else one.plugin.epochs,
                "parameters": price.parameters,
                "multiply_adds": price.multiply_adds,
            }
        )
    if as_json:
        print_json(rows)
    else:
        print_table(
            ("plugin", "what differs", "epochs", "parameters", "multiply-adds"),
            [
                (
                    row["name"],
                    ", ".join(row["differs"]),
                    "as fit" if row["epochs"] is None else str(row["epochs"]),
                    f"{row['parameters'] / 1e6:.1f} M",
                    _giga(row["multiply_adds"]),
                )
                for row in rows
            ],
            left=(0, 1),
        )
    for note in dict.fromkeys(note for one in variants for note in one.notes):
        print_line(note)
    for problem in problems:
        print_line(f"error: {problem}")
    if problems:
        raise typer.Exit(1)


def _print_results(results: "Sequence[VariantResult]") -> None:
    """Print the table, the best first; the CSV has all figures."""
    metric, rows = "", []
    for each in results:
        if each.score is None or each.cost is None:
            continue
        metric = next(iter(each.score.scores.by_metric))
        main, seconds = each.score.scores.main, each.embedding_seconds
        rows.append(
            (
                each.name,
                ", ".join(each.differs),
                f"{main.value:.4f} [{main.low:.3f}, {main.high:.3f}]",
                _against_best(each),
                f"{each.cost.parameters / 1e6:.1f} M",
                _giga(each.cost.multiply_adds),
                format_duration(each.training_seconds or 0.0),
                "" if seconds is None else f"{seconds:.1f} s",
            )
        )
    if rows:
        print_table(
            (
                "plugin", "what differs", metric, "against the best", "parameters",
                "multiply-adds", "trained", "1,000 embedded",
            ),
            rows,
            left=(0, 1, 3),
        )  # fmt: skip
    for each in results:
        if each.problem is not None:
            print_line(f"error: {each.name}: {each.problem}")


def _against_best(each: "VariantResult") -> str:
    if each.difference is None:
        return "the best"
    return "worse" if each.difference.significant else "no difference shown"


def _giga(operations: float | None) -> str:
    """Return operations in units of 1e9, with two significant digits."""
    if operations is None:
        return "not known"
    return f"{float(f'{operations / 1e9:.2g}'):g} G"


def _figures(each: "VariantResult") -> dict[str, Any]:
    """Return all figures of a variant, as plain values."""
    price, score, difference = each.cost, each.score, each.difference
    return {
        "name": each.name,
        "differs": list(each.differs),
        "problem": each.problem,
        "epochs": each.plugin.epochs,
        "fingerprint": each.plugin.fingerprint,
        "scores": None if score is None else score.scores.as_json(),
        "against_best": None if difference is None else difference.as_json(),
        "beyond_noise": None if difference is None else difference.significant,
        "parameters": None if price is None else price.parameters,
        "multiply_adds": None if price is None else price.multiply_adds,
        "training_seconds": _rounded(each.training_seconds),
        "images_per_second": _rounded(each.images_per_second),
        "embedding_seconds_per_1000": _rounded(each.embedding_seconds),
    }


def _write_csv(path: Path, results: "Sequence[VariantResult]") -> None:
    """Write a table with a row for each variant, and with every metric."""
    from kitbox.tables import write_rows

    rows: list[dict[str, Any]] = []
    for each in results:
        row = _figures(each)
        scores, against = row.pop("scores") or {}, row.pop("against_best") or {}
        row["differs"] = ", ".join(row["differs"])
        for metric, score in scores.items():
            row |= {metric: score["value"], f"{metric}_low": score["low"]}
            row[f"{metric}_high"] = score["high"]
        row |= {f"{key}_to_best": against[key] for key in ("difference", "low", "high", "p")
                if key in against}  # fmt: skip
        rows.append(row)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    table = [["" if row.get(column) is None else row[column] for column in columns] for row in rows]
    write_rows(path, [columns, *table])


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
