"""Training curves of the members, from the journals of their runs."""

from collections.abc import Sequence
from dataclasses import dataclass

from kitbox.ensemble.assembly import Member
from kitbox.report import plots
from kitbox.report.plots import Plot
from kitbox.training.runs import Run


@dataclass(frozen=True)
class Curve:
    """What a run's journal tells: (epoch, loss) pairs, (epoch, score) pairs, and the metric."""

    name: str
    losses: tuple[tuple[int, float], ...]
    scores: tuple[tuple[int, float], ...]
    metric: str


def of(member: Member) -> Curve:
    """Return the curve of the run that a member's checkpoint comes from."""
    losses, scores, metric = [], [], ""
    for entry in Run(member.checkpoint.path.parent).entries():
        if entry["event"] == "epoch":
            losses.append((int(entry["epoch"]), float(entry["loss"])))
        if entry["event"] == "score" and entry["scores"]:
            metric = next(iter(entry["scores"]))
            scores.append((int(entry["epoch"]), float(entry["scores"][metric]["value"])))
    return Curve(member.named.name, tuple(losses), tuple(scores), metric)


def draw(curves: Sequence[Curve]) -> list[Plot]:
    """Return a plot of the losses and one of the holdout scores, as far as there are any."""
    found = []
    trained = [curve for curve in curves if curve.losses]
    if trained:
        last = ", ".join(f"{curve.name} {curve.losses[-1][1]:.3g}" for curve in trained)
        series = [(curve.name, *_columns(curve.losses)) for curve in trained]
        caption = f"Mean loss of each epoch; after the last: {last}."
        found.append(plots.lines("Loss", caption, series, labels=("epoch", "loss")))
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


def _columns(points: Sequence[tuple[int, float]]) -> tuple[list[float], list[float]]:
    return [float(x) for x, _ in points], [y for _, y in points]
