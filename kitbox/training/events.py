"""What a training may be told, and what it tells while it runs."""

from dataclasses import dataclass, field
from pathlib import Path

from kitbox.records import Progress, Scores


@dataclass(frozen=True)
class Begun:
    """What is about to be learnt; `epoch` epochs of it are done already.

    `source` is where the pixels of the images come from, in words, and `notes` are sentences on
    what else it starts from.
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


@dataclass(frozen=True)
class Step:
    """One step of the optimiser."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    learning_rate: float
    images_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class EpochDone:
    """The means of one epoch, and what else there is to tell of it by name.

    `seconds` are those of its planning and its steps, `images_per_second` of the steps alone.
    """

    epoch: int
    loss: float
    losses: dict[str, float]
    learning_rate: float
    images_per_second: float
    seconds: float
    told: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Warned:
    """What looks wrong after an epoch, in a sentence."""

    epoch: int
    text: str


@dataclass(frozen=True)
class Scored:
    """The holdout score after an epoch; epoch 0 is the backbone as it came, without its neck."""

    epoch: int
    scores: Scores
    best: bool


Report = Begun | Step | EpochDone | Warned | Scored | Progress
