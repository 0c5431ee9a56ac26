"""Tells how a training goes: what looks wrong, the journal's lines, and tensorboard's curves."""

import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kitbox.plugin.losses import Contrastive, Loss, Margin, Triplet
from kitbox.training.context import Training
from kitbox.training.events import EpochDone, HoldoutScored, TrainingEvent, TrainingWarning

# A loss within a tenth of where it stands in a collapse, for three epochs: one or two may be
# chance.
_NEAR = 0.1
_EPOCHS = 3
# Embeddings of different individuals are about √2 apart. What lost two thirds of its spread while
# the loss stands still, or is within 3 degrees of each other (0.05), tells no individuals apart.
_FALLEN = 1 / 3
_TOGETHER = 0.05


class CollapseMonitor:
    """Follows the losses that compare embeddings with each other, epoch by epoch.

    The spread it is told is to be of what comes before a neck's batch normalisation, which would
    spread every batch. What is said follows from what was told: to go on with a training, tell the
    epochs that were done once more.
    """

    def __init__(self, losses: Sequence[Loss]) -> None:
        """Follow those of a plugin's losses that can collapse."""
        self._collapsed_at: dict[str, float | None] = {}
        for loss in losses:
            if isinstance(loss, Triplet | Margin | Contrastive):
                before = self._collapsed_at.get(loss.kind, 0.0)
                own = collapsed_loss(loss)
                both = None if before is None or own is None else before + own
                self._collapsed_at[loss.kind] = both
        self._most, self._epochs, self._said = 0.0, 0, False

    def warning(self, terms: Mapping[str, float], spread: float) -> str | None:
        """Return what to say after an epoch, once for each collapse, or None.

        `terms` are the mean losses of the epoch by kind, without their weights; `spread` is the
        mean Euclidean distance between the projections of a batch, at unit length.
        """
        self._most = max(self._most, spread)
        near = spread < max(_FALLEN * self._most, _TOGETHER)
        fallen = [
            kind for kind, at in self._collapsed_at.items() if near and _stands(terms[kind], at)
        ]
        self._epochs = self._epochs + 1 if fallen else 0
        self._said = self._said and bool(fallen)
        if self._epochs < _EPOCHS or self._said:
            return None
        self._said = True
        stands = ", ".join(f"{kind} stands at {terms[kind]:.3g}" for kind in fallen)
        return (
            f"the embeddings have collapsed: {stands} for {_EPOCHS} epochs, and a batch's "
            f"embeddings are {spread:.2g} apart, {self._most:.2g} at most so far; lower "
            "learning_rate, or begin with easier negatives"
        )


def collapsed_loss(loss: Triplet | Margin | Contrastive) -> float | None:
    """Return the value of a loss whose embeddings are all the same, None where that varies.

    A triplet loss is then its margin, or ln 2 where it is soft; a contrastive one what its
    negatives lack. A margin loss depends on what β is by then, and on which negatives are left.
    """
    match loss:
        case Triplet():
            return math.log(2) if loss.margin == "soft" else loss.margin
        case Contrastive():
            return loss.negative_margin
        case Margin():
            return None


def _stands(value: float, collapsed_at: float | None) -> bool:
    """Return whether a loss stands where it does in a collapse; 0 where no pair is left to mine."""
    return collapsed_at is None or value == 0 or abs(value - collapsed_at) <= _NEAR * collapsed_at


class TrainingLog:
    """Writes down what is told of a training, in the first of its processes."""

    def __init__(self, training: Training) -> None:
        """Go on where the journal ends."""
        self._training = training
        self._curves = _tensorboard(training) if training.first else None
        self._monitor = CollapseMonitor(training.plugin.losses)
        for entry in training.run.events():
            if entry["event"] == "epoch" and "spread" in entry.get("figures", {}):
                self._monitor.warning(entry["losses"], entry["figures"]["spread"])

    def epoch(self, report: EpochDone, planned: dict[str, float]) -> Iterable[TrainingEvent]:
        """Yield an epoch's report with what its planner says, and what looks wrong in it."""
        report = replace(report, figures=report.figures | planned)
        spread = report.figures.get("spread")
        text = None if spread is None else self._monitor.warning(report.losses, spread)
        yield report
        self._note("epoch", **vars(report))
        means = ("loss", "learning_rate", "images_per_second")
        drawn = {name: getattr(report, name) for name in means} | report.losses | report.figures
        self._draw("train", drawn, report.epoch)
        if text is not None:
            yield TrainingWarning(report.epoch, text)
            self._note("warning", epoch=report.epoch, text=text)

    def scores(self, reports: Iterable[TrainingEvent]) -> Generator[TrainingEvent, None, None]:
        """Yield reports, and draw the scores among them."""
        for report in reports:
            yield report
            if isinstance(report, HoldoutScored):
                scores = {name: score.value for name, score in report.scores.by_metric.items()}
                self._draw("holdout", scores, report.epoch)

    def close(self) -> None:
        """Finish the curves."""
        if self._curves is not None:
            self._curves.close()

    def _note(self, event: str, **values: Any) -> None:
        if self._training.first:
            self._training.run.log(event, **values)

    def _draw(self, group: str, values: Mapping[str, float], epoch: int) -> None:
        if self._curves is not None:
            for name, value in values.items():
                self._curves.add_scalar(f"{group}/{name}", value, epoch)


def _tensorboard(training: Training) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(training.run.folder / "tensorboard")
