"""Training curves of ensemble members, from the journals of their runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kitbox.ensemble.members import Member
from kitbox.records import Checkpoint
from kitbox.report import plots
from kitbox.report.plots import Plot
from kitbox.scoring import metrics
from kitbox.training.runs import Run

Points = tuple[tuple[int, float], ...]


@dataclass(frozen=True, kw_only=True)
class TrainingCurve:
    """The course of a run as (epoch, value) points, the metric of `scores`, and warnings.

    `hardness` is the one requested of the negatives and `achieved` the actual one; `spread` is the
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


def load_curves(members: Sequence[Member]) -> list[TrainingCurve]:
    """Return the curves of the runs that members' checkpoints come from."""
    return [
        load_curve(member.name, member.checkpoint)
        for member in members
        if member.checkpoint is not None
    ]


def load_curve(name: str, checkpoint: Checkpoint) -> TrainingCurve:
    """Return the curve of the run that the checkpoint of a plugin's name comes from."""
    events = Run(checkpoint.path.parent).events()
    epochs = [event for event in events if event["event"] == "epoch"]
    figures = [{**event.get("figures", {}), "epoch": event["epoch"]} for event in epochs]
    scored = [event for event in events if event["event"] == "score" and event.get("scores")]
    metric = next(iter(scored[-1]["scores"])) if scored else ""
    return TrainingCurve(
        name=name,
        losses=_points(epochs, "loss"),
        scores=tuple(
            (int(event["epoch"]), float(event["scores"][metric]["value"]))
            for event in scored
            if metric in event["scores"]
        ),
        metric=metric,
        hardness=_points(figures, "hardness"),
        achieved=_points(figures, "achieved"),
        spread=_points(figures, "spread"),
        warnings=tuple(
            (int(event["epoch"]), str(event["text"]))
            for event in events
            if event["event"] == "warning"
        ),
    )


def draw_curves(curves: Sequence[TrainingCurve]) -> list[Plot]:
    """Return plots of losses, holdout scores, hardness and spread, of those that have points."""
    return [*_losses(curves), *_scores(curves), *_hardness(curves), *_spread(curves)]


def _losses(curves: Sequence[TrainingCurve]) -> list[Plot]:
    trained = [curve for curve in curves if curve.losses]
    if not trained:
        return []
    last = ", ".join(f"{curve.name} {curve.losses[-1][1]:.3g}" for curve in trained)
    caption = f"Mean loss of each epoch; after the last: {last}.{_warning_sentences(trained)}"
    series = [(curve.name, *_columns(curve.losses)) for curve in trained]
    verticals = _warning_epochs(trained)
    return [plots.lines("Loss", caption, series, labels=("epoch", "loss"), verticals=verticals)]


def _scores(curves: Sequence[TrainingCurve]) -> list[Plot]:
    found = []
    for metric in dict.fromkeys(curve.metric for curve in curves if len(curve.scores) > 1):
        scored = [curve for curve in curves if curve.metric == metric and len(curve.scores) > 1]
        ends = ", ".join(
            f"{curve.name} {curve.scores[0][1]:.3f} → {curve.scores[-1][1]:.3f}" for curve in scored
        )
        series = [(curve.name, *_columns(curve.scores)) for curve in scored]
        name = metrics.title(metric)
        caption = f"{name} on the holdout during training, from epoch 0 before it: {ends}."
        title = f"Holdout score ({name})"
        found.append(plots.lines(title, caption, series, labels=("epoch", name)))
    return found


def _hardness(curves: Sequence[TrainingCurve]) -> list[Plot]:
    """Return a plot for each run with hard negatives: the requested hardness, and the achieved."""
    found = []
    for curve in (curve for curve in curves if curve.hardness):
        most = max(value for _, value in curve.hardness)
        caption = (
            f"Hardness of the negatives of {curve.name}, mean of each epoch: 0 is the furthest "
            f"photograph of another individual, 1 the nearest. Requested: at most {most:.2f}."
        )
        series = [("requested", *_columns(curve.hardness)), ("achieved", *_columns(curve.achieved))]
        title = f"Hardness, {curve.name}"
        found.append(plots.lines(title, caption, series, labels=("epoch", "hardness"), unit=True))
    return found


def _spread(curves: Sequence[TrainingCurve]) -> list[Plot]:
    spread = [curve for curve in curves if curve.spread]
    if not spread:
        return []
    ends = ", ".join(
        f"{curve.name} {curve.spread[0][1]:.2g} → {curve.spread[-1][1]:.2g}" for curve in spread
    )
    caption = (
        f"Mean distance between the embeddings of a batch: 0 if all are equal, 1.41 if they are "
        f"at right angles: {ends}.{_warning_sentences(spread)}"
    )
    series = [(curve.name, *_columns(curve.spread)) for curve in spread]
    labels = ("epoch", "distance")
    verticals = _warning_epochs(spread)
    return [plots.lines("Spread", caption, series, labels=labels, verticals=verticals)]


def _warning_epochs(curves: Sequence[TrainingCurve]) -> list[float]:
    return sorted({float(epoch) for curve in curves for epoch, _ in curve.warnings})


def _warning_sentences(curves: Sequence[TrainingCurve]) -> str:
    """Return sentences that explain the vertical lines of a plot."""
    return "".join(
        f" Vertical line: {curve.name}, epoch {epoch}: {text}."
        for curve in curves
        for epoch, text in curve.warnings
    )


def _points(events: Sequence[dict[str, Any]], name: str) -> Points:
    """Return (epoch, value) of the events that have a value of this name."""
    return tuple(
        (int(event["epoch"]), float(event[name])) for event in events if event.get(name) is not None
    )


def _columns(points: Points) -> tuple[list[float], list[float]]:
    return [float(x) for x, _ in points], [y for _, y in points]
