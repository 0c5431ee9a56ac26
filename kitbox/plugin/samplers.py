"""Settings of samplers, of divide and conquer, and of hardness sequencing."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from kitbox.plugin.losses import Positive
from kitbox.value import Value

Curve = Literal["logistic", "exponential", "linear", "sine", "tanh", "logarithmic", "constant"]


class Shuffled(Value):
    """Every image once an epoch, in random order; a last, smaller batch is dropped."""

    kind: Literal["Shuffled"] = "Shuffled"

    gives_pairs: ClassVar[bool] = False


class Balanced(Value):
    """As many draws an epoch as there are images, with labels balanced.

    With `power` 1 every label is drawn equally often, with 0 in proportion to its images; values
    between interpolate.
    """

    kind: Literal["Balanced"] = "Balanced"
    power: float = Field(default=1.0, ge=0, le=1)

    gives_pairs: ClassVar[bool] = False


class PK(Value):
    """P labels × K images in a batch.

    K is `images_per_label`, P is batch_size / K. With "full" coverage an epoch contains every label
    and every image; "random" draws P labels and K images of each for every batch. A label with
    fewer than K images repeats them.
    """

    kind: Literal["PK"] = "PK"
    images_per_label: int = Field(default=4, ge=2)
    coverage: Literal["full", "random"] = "full"

    later: ClassVar[frozenset[str]] = frozenset({"coverage"})
    gives_pairs: ClassVar[bool] = True


class Hardness(Value):
    """Triplets whose negatives become harder along a curve (sigmoid hardness sequencing).

    An epoch makes `passes` passes over the labels; in each, every label with two images or more is
    an anchor once. A batch is batch_size / 3 anchors, then their positives, then their negatives.
    The negative is the nearest image of another label at a distance of at least
    d_max − (d_max − d_min)·hardness, by embeddings of the network at the start of the epoch
    ("current") or before the training ("frozen"). Hardness rises to `threshold` in each of
    `cycles`; a "constant" curve stays there. 0 takes the furthest negatives, 1 the nearest.
    """

    kind: Literal["Hardness"] = "Hardness"
    curve: Curve = "logistic"
    threshold: float = Field(default=0.85, ge=0, le=1)
    growth: Positive = 3.0
    cycles: int = Field(default=1, ge=1)
    mined_on: Literal["current", "frozen"] = "current"
    passes: int = Field(default=1, ge=1)

    gives_pairs: ClassVar[bool] = True


class Divide(Value):
    """Divide and conquer (Sanakoyeu et al., CVPR 2019): each cluster trains its slice.

    Every `every` epochs the images are clustered into `learners` clusters by the backbone's
    features. A batch comes from one cluster and trains its slice. From epoch `whole_from` on
    batches train the whole embedding, from `undivided_from` on they are drawn from all images.
    Epochs count from 1; None means never.
    """

    learners: int = Field(default=8, ge=2)
    every: int = Field(default=2, ge=1)
    whole_from: int | None = Field(default=None, ge=2)
    undivided_from: int | None = Field(default=None, ge=2)

    @model_validator(mode="after")
    def _in_order(self) -> "Divide":
        if self.whole_from and self.undivided_from and self.whole_from > self.undivided_from:
            raise ValueError(
                f"whole_from = {self.whole_from} is after undivided_from = {self.undivided_from}"
            )
        return self


Sampler = Annotated[Shuffled | Balanced | PK | Hardness, Field(discriminator="kind")]
