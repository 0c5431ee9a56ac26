"""Events that a training or a sweep yields while it runs."""

from dataclasses import dataclass, field
from pathlib import Path

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


@dataclass(frozen=True)
class TrainingWarning:
    """Something looks wrong after an epoch."""

    epoch: int
    text: str


@dataclass(frozen=True)
class HoldoutScored:
    """The holdout scores after an epoch; epoch 0 is the pretrained backbone without its neck."""

    epoch: int
    scores: Scores
    best: bool


@dataclass(frozen=True)
class SweepMessage:
    """A line about the progress of a sweep."""

    text: str


TrainingEvent = TrainingStarted | StepDone | EpochDone | TrainingWarning | HoldoutScored | Progress
SweepEvent = TrainingEvent | SweepMessage
