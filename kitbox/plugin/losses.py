"""Settings of the losses that a plugin can use."""

import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from kitbox.plugin import source_code
from kitbox.value import Value

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Radians = Annotated[float, Field(ge=0, lt=math.pi / 2)]

# `needs_pairs`: a batch must hold several images of a label. `takes_dropout`: computed on the
# embedding after dropout, not on the one used for search. `classifies`: has an output for every
# label. Unknown individuals are left out of a loss that classifies, unless it `takes_unknown`:
# then they belong to none of its labels. Other losses treat each unknown as an individual of its
# own.


class _Loss(Value):
    """Settings that all losses share."""

    weight: Positive = 1.0

    needs_pairs: ClassVar[bool] = False
    takes_dropout: ClassVar[bool] = False
    classifies: ClassVar[bool] = False
    takes_unknown: ClassVar[bool] = False


class PowerMargin(Value):
    """A margin coefficient·n^power + constant for a label of n images (happywhale 2022, 1st)."""

    kind: Literal["PowerMargin"] = "PowerMargin"
    coefficient: Positive = 0.27126
    power: float = Field(default=-0.364399, lt=0)
    constant: NotNegative = 0.05

    @property
    def largest(self) -> float:
        """The margin of a label with one image."""
        return self.coefficient + self.constant


class RarityMargin(Value):
    """A margin from `least` for the label with most images to `most` for the one with fewest.

    A label with n images gets n^power, min-max scaled to that range (Landmark Recognition 2020,
    3rd). Where all labels have equally many images, all get `least`.
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
    """Margins that grow linearly from `start` to their own value over `epochs`."""

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

    `margin`, in radians, is added to the angle between an embedding and its label's direction: the
    nearest of the label's `centers` (sub-centre ArcFace, Deng et al., ECCV 2020).
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

    p is the probability of the image's label, so each image has a weight of its own.
    """

    kind: Literal["Focal"] = "Focal"
    gamma: NotNegative = 2.0

    takes_dropout: ClassVar[bool] = True
    classifies: ClassVar[bool] = True


class BinaryCrossEntropy(_Loss):
    """Binary cross-entropy of a linear classifier over the labels, on the hardest outputs only.

    The loss of an image is that of its own label's output plus the mean over the hardest other
    outputs: the share `hardest` of them with the largest logits (humpback 2019, 1st and 2nd). An
    unknown individual has no own label.
    """

    kind: Literal["BinaryCrossEntropy"] = "BinaryCrossEntropy"
    hardest: Share = 0.01

    takes_dropout: ClassVar[bool] = True
    classifies: ClassVar[bool] = True
    takes_unknown: ClassVar[bool] = True


class Triplet(_Loss):
    """Triplet loss on Euclidean distances of unit embeddings.

    `margin` is a distance, or "soft" for softplus. `mining` selects the triplets of a batch.
    "batch_hard": the furthest positive and the nearest negative of each anchor (Hermans et al.,
    2017). "semi_hard": for each positive pair the nearest negative that is further than the
    positive (Schroff et al., CVPR 2015). "distance_weighted": for each positive pair a negative
    drawn against the density of distances on a sphere (Wu et al., ICCV 2017). "easy_positive": the
    nearest positive with its semi-hard negative (Xuan et al., WACV 2020). "random": a random
    positive and negative for each anchor. "sequence": the triplets of a `Hardness` sampler.
    """

    kind: Literal["Triplet"] = "Triplet"
    margin: Positive | Literal["soft"] = 0.2
    mining: Literal[
        "batch_hard", "semi_hard", "distance_weighted", "easy_positive", "random", "sequence"
    ] = "batch_hard"

    needs_pairs: ClassVar[bool] = True


class Margin(_Loss):
    """Margin loss (Wu et al., ICCV 2017) on Euclidean distances of unit embeddings.

    Pairs of one label are pulled closer than beta − margin, other pairs pushed further apart than
    beta + margin; the mean is over the pairs that violate this. `learn_beta` learns one boundary
    for "all" labels or one "per_label", at the heads' learning rate. `mining` takes negatives
    "distance_weighted", or the "closest" at a distance of at least 0.5, as many as the anchor has
    positives (divide and conquer, 2019), filled up with the furthest of the others.
    """

    kind: Literal["Margin"] = "Margin"
    margin: Positive = 0.2
    beta: Positive = 1.2
    learn_beta: Literal["no", "all", "per_label"] = "no"
    mining: Literal["distance_weighted", "closest"] = "distance_weighted"

    needs_pairs: ClassVar[bool] = True


class Contrastive(_Loss):
    """Contrastive loss on Euclidean distances of unit embeddings, in its linear form.

    Pairs of one label are pulled within `positive_margin`, other pairs pushed beyond
    `negative_margin`. The means are taken over the violating pairs of each kind. (Hadsell et al.,
    CVPR 2006, use squares and one mean over all pairs.)
    """

    kind: Literal["Contrastive"] = "Contrastive"
    positive_margin: NotNegative = 0.0
    negative_margin: Positive = 1.0

    needs_pairs: ClassVar[bool] = True


class MultiSimilarity(_Loss):
    """Multi-similarity loss with its mining (Wang et al., CVPR 2019) on cosines.

    `epsilon` is the slack of mining, `base` the similarity that pairs are compared with.
    """

    kind: Literal["MultiSimilarity"] = "MultiSimilarity"
    alpha: Positive = 2.0
    beta: Positive = 50.0
    base: float = Field(default=0.5, ge=-1, le=1)
    epsilon: NotNegative = 0.1

    needs_pairs: ClassVar[bool] = True


class Custom(_Loss):
    """A loss of your own: `function`, written "module:function", is a module's function or class.

    It is called with those of `embedding_dim` (or `embedding_size`), `label_counts` (the number of
    images of each label) and `label_count` (or `num_classes`) that it has parameters for, and with
    `settings`. It returns a torch module from embeddings (n, d) float32 and label rows (n,) to the
    mean loss. With `pairs` a batch must hold several images of a label, and unknowns are labels of
    their own, not below the number of labels; else it classifies and sees no unknowns.
    """

    kind: Literal["Custom"] = "Custom"
    function: str
    settings: dict[str, JsonValue] = Field(default={})
    pairs: bool = False

    def __init__(self, function: str | None = None, /, **settings: Any) -> None:
        """Take the function as the first argument, or by name."""
        given: dict[str, Any] = {} if function is None else {"function": function}
        super().__init__(**given, **settings)

    @field_validator("settings", mode="before")
    @classmethod
    def _with_lists(cls, settings: Any) -> Any:
        return _listed(settings)

    @model_validator(mode="after")
    def _names_a_function(self) -> "Custom":
        if not source_code.is_reference(self.function):
            raise ValueError(
                f"function = {self.function!r} should name a module and its function or class, as "
                "'mylosses:Circle' does"
            )
        return self

    @property
    def needs_pairs(self) -> bool:  # type: ignore[override]
        """Whether a batch must hold several images of a label."""
        return self.pairs

    @property
    def classifies(self) -> bool:  # type: ignore[override]
        """Whether it has an output for every label."""
        return not self.pairs

    @property
    def takes_dropout(self) -> bool:  # type: ignore[override]
        """Whether it is computed on the embedding after dropout."""
        return not self.pairs


def _listed(value: Any) -> Any:
    """Return a setting with lists in place of tuples, as JSON has it."""
    if isinstance(value, list | tuple):
        return [_listed(each) for each in value]
    return {name: _listed(of) for name, of in value.items()} if isinstance(value, dict) else value


Loss = Annotated[
    ArcFace
    | CosFace
    | CrossEntropy
    | Focal
    | BinaryCrossEntropy
    | Triplet
    | Margin
    | Contrastive
    | MultiSimilarity
    | Custom,
    Field(discriminator="kind"),
]
