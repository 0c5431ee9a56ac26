"""The log of a training: its journal, tensorboard curves, and warnings of a collapse."""

import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any

from kitbox.plugin.losses import Contrastive, Loss, Margin, Triplet
from kitbox.training.context import Training
from kitbox.training.events import EpochDone, HoldoutScored, TrainingEvent, TrainingWarning


class TrainingLog:
    """Writes the journal and the curves of a training, in the first of its processes."""

    def __init__(self, training: Training) -> None:
        """Continue at the end of the journal."""
        self._training = training
        self._curves = _tensorboard(training) if training.first else None
        self._monitor = CollapseMonitor(training.plugin.losses)
        for event in training.run.events():
            figures = event.get("figures", {})
            if event["event"] == "epoch" and "spread" in figures:
                self._monitor.warning(event.get("losses", {}), figures["spread"])

    def epoch(self, done: EpochDone) -> Iterable[TrainingEvent]:
        """Yield an epoch's event and a warning if its embeddings have collapsed; log both."""
        spread = done.figures.get("spread")
        text = None if spread is None else self._monitor.warning(done.losses, spread)
        yield done
        self._log("epoch", **vars(done))
        means = {
            "loss": done.loss,
            "learning_rate": done.learning_rate,
            "images_per_second": done.images_per_second,
        }
        self._draw("train", means | done.losses | done.figures, done.epoch)
        if text is not None:
            yield TrainingWarning(done.epoch, text)
            self._log("warning", epoch=done.epoch, text=text)

    def scores(self, events: Iterable[TrainingEvent]) -> Generator[TrainingEvent, None, None]:
        """Yield events, and draw the scores among them."""
        for event in events:
            yield event
            if isinstance(event, HoldoutScored):
                scores = {name: score.value for name, score in event.scores.by_metric.items()}
                self._draw("holdout", scores, event.epoch)

    def close(self) -> None:
        """Close the curves' file."""
        if self._curves is not None:
            self._curves.close()

    def _log(self, event: str, **values: Any) -> None:
        if self._training.first:
            self._training.run.log(event, **values)

    def _draw(self, group: str, values: Mapping[str, float], epoch: int) -> None:
        if self._curves is not None:
            for name, value in values.items():
                self._curves.add_scalar(f"{group}/{name}", value, epoch)


def _tensorboard(training: Training) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(training.run.folder / "tensorboard")


# A loss within a tenth of its collapsed value, for three epochs; one or two may be chance.
_NEAR = 0.1
_EPOCHS = 3
# Embeddings of different individuals are about √2 apart. A batch has collapsed if its spread is
# below a third of the largest so far, or below 0.05: then all lie within 3 degrees of each other.
_FALLEN = 1 / 3
_TOGETHER = 0.05


class CollapseMonitor:
    """Watches the losses that compare embeddings, epoch by epoch, for a collapse.

    The spread must be measured before a neck's batch normalisation, which spreads any batch.
    The monitor has no state on disk: a resumed training passes it the earlier epochs again.
    """

    def __init__(self, losses: Sequence[Loss]) -> None:
        """Watch those of a plugin's losses that can collapse."""
        self._collapsed: dict[str, float | None] = {}
        for loss in losses:
            if isinstance(loss, Triplet | Margin | Contrastive):
                others = self._collapsed.get(loss.kind, 0.0)
                own = collapsed_loss(loss)
                total = None if others is None or own is None else others + own
                self._collapsed[loss.kind] = total
        self._largest_spread, self._epochs, self._warned = 0.0, 0, False

    def warning(self, losses: Mapping[str, float], spread: float) -> str | None:
        """Return a sentence about an epoch, once per collapse, or None.

        `losses` are the epoch's unweighted means by kind; `spread` is the mean Euclidean distance
        between the projections of a batch, at unit length.
        """
        self._largest_spread = max(self._largest_spread, spread)
        near = spread < max(_FALLEN * self._largest_spread, _TOGETHER)
        collapsed = [
            kind
            for kind, value in self._collapsed.items()
            if near and _is_collapsed(losses.get(kind, math.nan), value)
        ]
        self._epochs = self._epochs + 1 if collapsed else 0
        self._warned = self._warned and bool(collapsed)
        if self._epochs < _EPOCHS or self._warned:
            return None
        self._warned = True
        stands = ", ".join(f"{kind} stands at {losses[kind]:.3g}" for kind in collapsed)
        return (
            f"the embeddings have collapsed: {stands} for {_EPOCHS} epochs, and a batch's "
            f"embeddings are {spread:.2g} apart, {self._largest_spread:.2g} at most so far; lower "
            "learning_rate, or begin with easier negatives"
        )


def collapsed_loss(loss: Triplet | Margin | Contrastive) -> float | None:
    """Return the value of a loss when all embeddings are equal, None if it varies.

    That of a triplet loss is its margin, or ln 2 if it is soft; of a contrastive loss, the margin
    of its negatives. That of a margin loss depends on the learned β and the negatives left.
    """
    match loss:
        case Triplet():
            return math.log(2) if loss.margin == "soft" else loss.margin
        case Contrastive():
            return loss.negative_margin
        case Margin():
            return None


def _is_collapsed(loss: float, collapsed: float | None) -> bool:
    """Return whether a loss is near its collapsed value, or 0 because no pair is left to mine."""
    return collapsed is None or loss == 0 or abs(loss - collapsed) <= _NEAR * collapsed
