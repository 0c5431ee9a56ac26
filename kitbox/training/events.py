"""Events that a training or a sweep yields while it runs."""

from dataclasses import dataclass, field
from pathlib import Path

from kitbox.errors import format_duration
from kitbox.records import Progress, Scores


@dataclass(frozen=True, kw_only=True)
class TrainingStarted:
    """A training is about to start, or to continue after `epoch` finished epochs.

    `source` describes where the pixels come from; `notes` are sentences about the start.
    """

    plugin: str
    images: int
    labels: int
    device: str
    precision: str
    epoch: int
    weights: str
    folder: Path
    source: str
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        resumed = f", resumed after epoch {self.epoch}" if self.epoch else ""
        line = (
            f"{self.plugin}: {self.images} images of {self.labels} labels on "
            f"{self.device} in {self.precision}, weights {Path(self.weights).name}"
            f"{resumed}; images {self.source}"
        )
        return "\n".join((line, *self.notes))


@dataclass(frozen=True, kw_only=True)
class StepDone:
    """One batch of an epoch is done."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    learning_rate: float
    images_per_second: float
    seconds_left: float

    @property
    def stage(self) -> str:
        """The epoch that the step is of."""
        return f"epoch {self.epoch}/{self.epochs}"

    @property
    def note(self) -> str:
        """The figures of the step."""
        return (
            f"loss {self.loss:.3f}  rate {self.learning_rate:.2e}  "
            f"{self.images_per_second:.0f} images/s  {format_duration(self.seconds_left)} left"
        )

    def __str__(self) -> str:
        return f"{self.stage} {self.step}/{self.steps} {self.note}"


@dataclass(frozen=True, kw_only=True)
class EpochDone:
    """An epoch's means: its loss, each loss by kind, and other figures by name.

    `seconds` cover planning and steps; `images_per_second` covers the steps alone.
    """

    epoch: int
    loss: float
    losses: dict[str, float]
    learning_rate: float
    images_per_second: float
    seconds: float
    figures: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        figures = "".join(f", {name} {value:.3f}" for name, value in self.figures.items())
        return (
            f"epoch {self.epoch}: loss {self.loss:.4f}, "
            f"{self.images_per_second:.0f} images/s, {format_duration(self.seconds)}{figures}"
        )


@dataclass(frozen=True)
class TrainingWarning:
    """Something looks wrong after an epoch."""

    epoch: int
    text: str

    def __str__(self) -> str:
        return f"warning: {self.text}"


@dataclass(frozen=True)
class HoldoutScored:
    """The holdout scores after an epoch; epoch 0 is the pretrained backbone without its neck."""

    epoch: int
    scores: Scores
    best: bool

    def __str__(self) -> str:
        scores = "  ".join(f"{n} {s.value:.4f}" for n, s in self.scores.by_metric.items())
        when = "before training (frozen backbone)" if self.epoch == 0 else "holdout"
        return f"{when}: {scores}{'  (best)' if self.best else ''}"


@dataclass(frozen=True)
class SweepMessage:
    """A line about the progress of a sweep."""

    text: str

    def __str__(self) -> str:
        return self.text


TrainingEvent = TrainingStarted | StepDone | EpochDone | TrainingWarning | HoldoutScored | Progress
SweepEvent = TrainingEvent | SweepMessage
