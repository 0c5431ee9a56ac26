"""The losses that a plugin may name, as values."""

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from kitbox.value import Value

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Radians = Annotated[float, Field(ge=0, lt=math.pi / 2)]

# A loss says what it needs: `needs_pairs`, several images of a label in a batch; `takes_dropout`,
# the embedding after dropout rather than the one that is searched with. One that `classifies`
# has outputs for every label: what is not of any (an unknown) is left out of it, or none of them
# where it `takes_unknown`. To the others an unknown is an individual of its own.


class _Loss(Value):
    """What all losses have."""

    weight: Positive = 1.0

    needs_pairs: ClassVar[bool] = False
    takes_dropout: ClassVar[bool] = False
    classifies: ClassVar[bool] = False
    takes_unknown: ClassVar[bool] = False


class PowerMargin(Value):
    """A margin coefficient·n^power + constant of a label with n images (happywhale 2022, 1st)."""

    kind: Literal["PowerMargin"] = "PowerMargin"
    coefficient: Positive = 0.27126
    power: float = Field(default=-0.364399, lt=0)
    constant: NotNegative = 0.05

    @property
    def largest(self) -> float:
        """The margin of a label with one image."""
        return self.coefficient + self.constant


class RarityMargin(Value):
    """A margin from `least`, of the label with most images, to `most`, of the one with fewest.

    In between as n^power lies, after min-max scaling (Landmark Recognition 2020, 3rd). Labels with
    equally many images all have `least`.
    """

    kind: Literal["RarityMargin"] = "RarityMargin"
    least: NotNegative = 0.05
    most: Positive = 0.5
    power: float = Field(default=-0.25, lt=0)

    @model_validator(mode="after")
    def _rising(self) -> "RarityMargin":
        if self.least > self.most:
            raise ValueError(f"least = {self.least} is above most = {self.most}")
        return self

    @property
    def largest(self) -> float:
        """The margin of the label with fewest images."""
        return self.most


class Ramp(Value):
    """Margins begin at `start`, all of them, and reach their own linearly after `epochs`."""

    start: NotNegative = 0.0
    epochs: Positive = 5.0


PerLabel = Annotated[PowerMargin | RarityMargin, Field(discriminator="kind")]


def _check_margins(margin: float | PerLabel, ramp: Ramp | None, limit: float) -> None:
    largest = margin if isinstance(margin, float) else margin.largest
    for name, value in {"margin": largest, "start of a ramp": ramp.start if ramp else 0.0}.items():
        if value >= limit:
            raise ValueError(f"a {name} of {value:g} is not below {limit:.4g}")


class ArcFace(_Loss):
    """Additive angular margin (Deng et al., CVPR 2019): cross-entropy over scale·cos(θ + margin).

    `margin` in radians is added to the angle between an embedding and its own label's direction,
    the nearest of its `centers` (sub-centre ArcFace, Deng et al., ECCV 2020).
    """

    kind: Literal["ArcFace"] = "ArcFace"
    margin: Radians | PerLabel = 0.5
    scale: Positive = 30.0
    centers: int = Field(default=1, ge=1, le=16)
    ramp: Ramp | None = None

    later: ClassVar[frozenset[str]] = frozenset({"centers", "ramp"})
    takes_dropout: ClassVar[bool] = True
    classifies: ClassVar[bool] = True

    @model_validator(mode="after")
    def _below_a_right_angle(self) -> "ArcFace":
        _check_margins(self.margin, self.ramp, math.pi / 2)
        return self


class CosFace(_Loss):
    """Additive cosine margin (Wang et al., CVPR 2018): cross-entropy over scale·(cos θ − margin).

    `margin` is a difference of cosines.
    """

    kind: Literal["CosFace"] = "CosFace"
    margin: Annotated[float, Field(ge=0, lt=2)] | PerLabel = 0.35
    scale: Positive = 30.0
    ramp: Ramp | None = None

    takes_dropout: ClassVar[bool] = True
    classifies: ClassVar[bool] = True

    @model_validator(mode="after")
    def _below_the_widest_difference(self) -> "CosFace":
        _check_margins(self.margin, self.ramp, 2.0)
        return self


class CrossEntropy(_Loss):
    """Cross-entropy of a linear classifier over the labels, on the embedding after dropout."""

    kind: Literal["CrossEntropy"] = "CrossEntropy"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)

    takes_dropout: ClassVar[bool] = True
    classifies: ClassVar[bool] = True


class Focal(_Loss):
    """Focal loss (Lin et al., ICCV 2017) of a linear classifier: (1 − p)^gamma·(−log p).

    p is the probability of an image's own label: each image is weighted by its own, not the batch.
    """

    kind: Literal["Focal"] = "Focal"
    gamma: NotNegative = 2.0

    takes_dropout: ClassVar[bool] = True
    classifies: ClassVar[bool] = True


class BinaryCrossEntropy(_Loss):
    """Binary cross-entropy over the labels of a linear classifier, on the hardest outputs only.

    Of each image the output of its own label counts, and as much as that the mean over the share
    `hardest` of the others, those with the largest logits (humpback 2019, 1st and 2nd). An unknown
    is none of the labels.
    """

    kind: Literal["BinaryCrossEntropy"] = "BinaryCrossEntropy"
    hardest: Share = 0.01

    takes_dropout: ClassVar[bool] = True
    classifies: ClassVar[bool] = True
    takes_unknown: ClassVar[bool] = True


class Triplet(_Loss):
    """Triplet loss on unit embeddings, Euclidean; `margin` is a distance, or "soft" for softplus.

    `mining` says which triplets of a batch count. "batch_hard": of each anchor the furthest
    positive and the nearest negative (Hermans et al., 2017). "semi_hard": of each positive pair
    the nearest negative that is further than the positive (Schroff et al., CVPR 2015).
    "distance_weighted": of each positive pair a negative drawn against the density of distances on
    a sphere (Wu et al., ICCV 2017). "easy_positive": the nearest positive with its semi-hard
    negative (Xuan et al., WACV 2020). "random": a positive and a negative by chance for each
    anchor. "sequence": those that a `Hardness` sampler has put together.
    """

    kind: Literal["Triplet"] = "Triplet"
    margin: Positive | Literal["soft"] = 0.2
    mining: Literal[
        "batch_hard", "semi_hard", "distance_weighted", "easy_positive", "random", "sequence"
    ] = "batch_hard"

    needs_pairs: ClassVar[bool] = True


class Margin(_Loss):
    """Margin loss (Wu et al., ICCV 2017) on unit embeddings, Euclidean, with boundary `beta`.

    Pairs of a label are drawn nearer than beta − margin, others pushed further than beta +
    margin, over the pairs that are not yet there. `learn_beta`: one for "all", or one "per_label",
    with the heads' learning rate. `mining`: negatives are "distance_weighted", or the "closest"
    that are at least 0.5 away, as many as an anchor has positives (divide and conquer, 2019);
    where fewer are that far, the furthest of the others.
    """

    kind: Literal["Margin"] = "Margin"
    margin: Positive = 0.2
    beta: Positive = 1.2
    learn_beta: Literal["no", "all", "per_label"] = "no"
    mining: Literal["distance_weighted", "closest"] = "distance_weighted"

    needs_pairs: ClassVar[bool] = True


class Contrastive(_Loss):
    """Contrastive loss on unit embeddings, Euclidean, in the linear form.

    Pairs of a label are drawn within `positive_margin`, others pushed beyond `negative_margin`; of
    each kind the mean is over those that are not there yet. (Hadsell et al., CVPR 2006, have
    squares, and one mean over all pairs.)
    """

    kind: Literal["Contrastive"] = "Contrastive"
    positive_margin: NotNegative = 0.0
    negative_margin: Positive = 1.0

    needs_pairs: ClassVar[bool] = True


class MultiSimilarity(_Loss):
    """Multi-similarity loss with its mining (Wang et al., CVPR 2019) on cosines.

    `epsilon` is the slack of mining, `base` the similarity that pairs are weighed against.
    """

    kind: Literal["MultiSimilarity"] = "MultiSimilarity"
    alpha: Positive = 2.0
    beta: Positive = 50.0
    base: float = Field(default=0.5, ge=-1, le=1)
    epsilon: NotNegative = 0.1

    needs_pairs: ClassVar[bool] = True


Loss = Annotated[
    ArcFace
    | CosFace
    | CrossEntropy
    | Focal
    | BinaryCrossEntropy
    | Triplet
    | Margin
    | Contrastive
    | MultiSimilarity,
    Field(discriminator="kind"),
]
