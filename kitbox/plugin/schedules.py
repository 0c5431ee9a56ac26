"""What a plugin may say of the course of its training: rate, phases, averaged weights."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from kitbox.plugin.losses import Share
from kitbox.value import Value

Side = Annotated[int, Field(ge=16, le=4096)]


def side_lengths(size: int | tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) of an image size, which may be one side."""
    return (size, size) if isinstance(size, int) else size


class Cosine(Value):
    """After the warm-up half a cosine, from the peak rate down to the final one."""

    kind: Literal["Cosine"] = "Cosine"


class Multistep(Value):
    """After the warm-up the peak rate, times `factor` after each of the epochs `milestones`.

    Epochs count from 1; the rate falls no lower than the final one.
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
    """After the warm-up `cycles` half cosines of equal length (Loshchilov & Hutter, ICLR 2017).

    Each falls from the peak rate to the final one; the first begins with the warm-up's last step.
    """

    kind: Literal["Restarts"] = "Restarts"
    cycles: int = Field(default=2, ge=2)


Schedule = Annotated[Cosine | Multistep | Restarts, Field(discriminator="kind")]


class Phase(Value):
    """Some epochs in which a training differs from what the plugin says.

    `image_size` is another one, `frozen_backbone` leaves the backbone as it is (its batch
    normalisation too), `rate` multiplies the rates that the plugin's schedule gives these epochs,
    `min_images_per_label` is another one (a curriculum from the individuals with most photographs
    to all).
    """

    epochs: int = Field(ge=1)
    image_size: Side | tuple[Side, Side] | None = None
    frozen_backbone: bool = False
    rate: Share = 1.0
    min_images_per_label: int | None = Field(default=None, ge=1)


class Ema(Value):
    """Weights that follow the trained ones: decay·followed + (1 − decay)·trained at each step.

    After t steps the decay is (1 + t) / (10 + t) as long as that is less (as in TensorFlow), so
    that they do not hang on the first ones.
    """

    kind: Literal["Ema"] = "Ema"
    decay: float = Field(default=0.998, gt=0, lt=1)


class Swa(Value):
    """The mean of the weights after each epoch from `from_epoch` on (Izmailov et al., UAI 2018)."""

    kind: Literal["Swa"] = "Swa"
    from_epoch: int = Field(ge=1)


Averaging = Annotated[Ema | Swa, Field(discriminator="kind")]
