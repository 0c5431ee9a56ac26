"""Settings of the course of a training: learning rate schedule, phases, averaged weights."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from kitbox.plugin.losses import Share
from kitbox.value import Value

Side = Annotated[int, Field(ge=16, le=4096)]


def side_lengths(size: int | tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) of an image size; one side means a square."""
    return (size, size) if isinstance(size, int) else size


class Cosine(Value):
    """Half a cosine after the warm-up, from the peak rate down to the final one."""

    kind: Literal["Cosine"] = "Cosine"


class Multistep(Value):
    """The peak rate after the warm-up, multiplied by `factor` after each epoch in `milestones`.

    Epochs count from 1. The rate does not fall below the final one.
    """

    kind: Literal["Multistep"] = "Multistep"
    milestones: tuple[int, ...] = Field(min_length=1)
    factor: float = Field(default=0.1, gt=0, lt=1)

    @model_validator(mode="after")
    def _rising(self) -> "Multistep":
        if list(self.milestones) != sorted({*self.milestones}) or self.milestones[0] < 1:
            raise ValueError(f"milestones = {self.milestones} are not rising epochs")
        return self


class Restarts(Value):
    """`cycles` half cosines of equal length after the warm-up (Loshchilov & Hutter, ICLR 2017).

    Each falls from the peak rate to the final one. The first starts at the warm-up's last step.
    """

    kind: Literal["Restarts"] = "Restarts"
    cycles: int = Field(default=2, ge=2)


Schedule = Annotated[Cosine | Multistep | Restarts, Field(discriminator="kind")]


class Phase(Value):
    """Some epochs of a training with settings of their own.

    `image_size` and `min_images_per_label` replace the plugin's unless they are None; the latter
    makes a curriculum that starts with the individuals that have most photographs.
    `frozen_backbone` keeps the backbone fixed, its batch normalisation included. `rate` multiplies
    the learning rates of the plugin's schedule.
    """

    epochs: int = Field(ge=1)
    image_size: Side | tuple[Side, Side] | None = None
    frozen_backbone: bool = False
    rate: Share = 1.0
    min_images_per_label: int | None = Field(default=None, ge=1)


class Ema(Value):
    """An exponential moving average of the weights: decay·average + (1 − decay)·trained each step.

    After t steps the decay is (1 + t) / (10 + t) while that is smaller, as in TensorFlow, so that
    the first weights do not dominate.
    """

    kind: Literal["Ema"] = "Ema"
    decay: float = Field(default=0.998, gt=0, lt=1)


class Swa(Value):
    """The mean of the weights after each epoch from `from_epoch` on (Izmailov et al., UAI 2018)."""

    kind: Literal["Swa"] = "Swa"
    from_epoch: int = Field(ge=1)


Averaging = Annotated[Ema | Swa, Field(discriminator="kind")]
