"""What a plugin may say of the images in its batches: samplers, clusters, hardness."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from kitbox.plugin.losses import Positive
from kitbox.value import Value

Curve = Literal["logistic", "exponential", "linear", "sine", "tanh", "logarithmic", "constant"]


class Shuffled(Value):
    """Every image once in an epoch, in random order; the last, smaller batch is left out."""

    kind: Literal["Shuffled"] = "Shuffled"

    gives_pairs: ClassVar[bool] = False


class Balanced(Value):
    """As many images in an epoch as there are, each label drawn as often as any other.

    `power` 1 is that; 0 draws labels as often as they have images, 0.5 lies between.
    """

    kind: Literal["Balanced"] = "Balanced"
    power: float = Field(default=1.0, ge=0, le=1)

    gives_pairs: ClassVar[bool] = False


class PK(Value):
    """P labels × K images in a batch.

    K is `images_per_label`, P is batch_size / K. With "full" coverage every label and every image
    is in every epoch; "random" draws P labels and K of their images for each batch. A label with
    fewer than K images repeats them.
    """

    kind: Literal["PK"] = "PK"
    images_per_label: int = Field(default=4, ge=2)
    coverage: Literal["full", "random"] = "full"

    later: ClassVar[frozenset[str]] = frozenset({"coverage"})
    gives_pairs: ClassVar[bool] = True


class Hardness(Value):
    """Triplets whose negatives become harder by a curve (sigmoid hardness sequencing).

    In each pass over the labels every one with two images is an anchor once; an epoch has `passes`
    of them. A batch is batch_size / 3 anchors, then their positives, then their negatives. The
    negative is the nearest image that is at least d_max − (d_max − d_min)·hardness away, by
    embeddings of the network as it is at the epoch's begin ("current"), or before it learnt
    anything ("frozen"). Hardness rises up to `threshold` in each of `cycles` over the training;
    a "constant" curve is at it throughout: 0 the furthest negatives, 1 the nearest.
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
    """Divide and conquer (Sanakoyeu et al., CVPR 2019): a slice of the embedding for each cluster.

    Every `every` epochs the images are clustered into `learners` by what the backbone sees; a
    batch comes from one cluster and teaches its slice. From epoch `whole_from` on batches teach
    the whole embedding, from `undivided_from` on they come from all images; both count from 1,
    None is never.
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
