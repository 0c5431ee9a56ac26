"""Training curves of the members, from the journals of their runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kitbox.ensemble.members import Member
from kitbox.report import plots
from kitbox.report.plots import Plot
from kitbox.training.runs import Run

Points = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class TrainingCurve:
    """What a run's journal tells: (epoch, value) pairs, the metric of `scores`, and warnings.

    `hardness` is what was asked of the negatives and `achieved` what there was; `spread` is the
    mean distance between the embeddings of a batch.
    """

    name: str
    losses: Points
    scores: Points
    metric: str
    hardness: Points = ()
    achieved: Points = ()
    spread: Points = ()
    warnings: tuple[tuple[int, str], ...] = ()


def load_curve(member: Member) -> TrainingCurve:
    """Return the curve of the run that a member's checkpoint comes from."""
    entries = Run(member.checkpoint.path.parent).events()
    epochs = [entry for entry in entries if entry["event"] == "epoch"]
    told = [{**entry.get("figures", {}), "epoch": entry["epoch"]} for entry in epochs]
    scored = [entry for entry in entries if entry["event"] == "score" and entry["scores"]]
    metric = next(iter(scored[-1]["scores"])) if scored else ""
    return TrainingCurve(
        member.named.name,
        _points(epochs, "loss"),
        tuple((int(entry["epoch"]), float(entry["scores"][metric]["value"])) for entry in scored),
        metric,
        _points(told, "hardness"),
        _points(told, "achieved"),
        _points(told, "spread"),
        tuple(
            (int(entry["epoch"]), str(entry["text"]))
            for entry in entries
            if entry["event"] == "warning"
        ),
    )


def draw_curves(curves: Sequence[TrainingCurve]) -> list[Plot]:
    """Return plots of losses, holdout scores, hardness and spread, as far as there are any."""
    return [*_losses(curves), *_scores(curves), *_hardness(curves), *_spread(curves)]


def _losses(curves: Sequence[TrainingCurve]) -> list[Plot]:
    trained = [curve for curve in curves if curve.losses]
    if not trained:
        return []
    last = ", ".join(f"{curve.name} {curve.losses[-1][1]:.3g}" for curve in trained)
    caption = f"Mean loss of each epoch; after the last: {last}.{_warned(trained)}"
    series = [(curve.name, *_columns(curve.losses)) for curve in trained]
    marks = _marks(trained)
    return [plots.lines("Loss", caption, series, labels=("epoch", "loss"), marks=marks)]


def _scores(curves: Sequence[TrainingCurve]) -> list[Plot]:
    found = []
    for metric in dict.fromkeys(curve.metric for curve in curves if len(curve.scores) > 1):
        scored = [curve for curve in curves if curve.metric == metric and len(curve.scores) > 1]
        ends = ", ".join(
            f"{curve.name} {curve.scores[0][1]:.3f} → {curve.scores[-1][1]:.3f}" for curve in scored
        )
        series = [(curve.name, *_columns(curve.scores)) for curve in scored]
        caption = f"{metric} of the holdout while training, epoch 0 before it: {ends}."
        title = f"Holdout score ({metric})"
        found.append(plots.lines(title, caption, series, labels=("epoch", metric)))
    return found


def _hardness(curves: Sequence[TrainingCurve]) -> list[Plot]:
    """Return a plot for each run that had its negatives chosen: what was asked, and achieved."""
    found = []
    for curve in (curve for curve in curves if curve.hardness):
        most = max(value for _, value in curve.hardness)
        caption = (
            f"Hardness of the negatives of {curve.name}, mean of each epoch: 0 is the furthest "
            f"photograph of another individual, 1 the nearest. Asked: {most:.2f} at most."
        )
        series = [("asked", *_columns(curve.hardness)), ("achieved", *_columns(curve.achieved))]
        title = f"Hardness, {curve.name}"
        found.append(plots.lines(title, caption, series, labels=("epoch", "hardness"), unit=True))
    return found


def _spread(curves: Sequence[TrainingCurve]) -> list[Plot]:
    there = [curve for curve in curves if curve.spread]
    if not there:
        return []
    ends = ", ".join(
        f"{curve.name} {curve.spread[0][1]:.2g} → {curve.spread[-1][1]:.2g}" for curve in there
    )
    caption = (
        f"Mean distance between the embeddings of a batch, 0 where all are the same and "
        f"1.41 where they are at right angles: {ends}.{_warned(there)}"
    )
    series = [(curve.name, *_columns(curve.spread)) for curve in there]
    labels = ("epoch", "distance")
    return [plots.lines("Spread", caption, series, labels=labels, marks=_marks(there))]


def _marks(curves: Sequence[TrainingCurve]) -> list[float]:
    return sorted({float(epoch) for curve in curves for epoch, _ in curve.warnings})


def _warned(curves: Sequence[TrainingCurve]) -> str:
    """Return the warnings as sentences that say what the vertical lines of a plot are."""
    return "".join(
        f" Vertical line: {curve.name}, epoch {epoch}: {text}."
        for curve in curves
        for epoch, text in curve.warnings
    )


def _points(entries: Sequence[dict[str, Any]], name: str) -> Points:
    """Return (epoch, value) of the entries that have such a value."""
    return tuple(
        (int(entry["epoch"]), float(entry[name]))
        for entry in entries
        if entry.get(name) is not None
    )


def _columns(points: Points) -> tuple[list[float], list[float]]:
    return [float(x) for x, _ in points], [y for _, y in points]
