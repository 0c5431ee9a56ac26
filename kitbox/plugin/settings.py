"""The vocabulary of a plugin: one model and its training, as a value."""

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from kitbox.files import digest_of
from kitbox.value import Value

# A loss says what it needs: `needs_pairs`, several images of a label in a batch; `takes_dropout`,
# the embedding after dropout rather than the one that is searched with.
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


class ArcFace(Value):
    """Additive angular margin (Deng et al., CVPR 2019): cross-entropy over scale·cos(θ + margin).

    `margin` in radians is added to the angle between an embedding and its own label's direction.
    """

    kind: Literal["ArcFace"] = "ArcFace"
    margin: float = Field(default=0.5, ge=0, lt=math.pi / 2)
    scale: Positive = 30.0
    weight: Positive = 1.0

    needs_pairs: ClassVar[bool] = False
    takes_dropout: ClassVar[bool] = True


class CrossEntropy(Value):
    """Cross-entropy of a linear classifier over the labels, on the embedding after dropout."""

    kind: Literal["CrossEntropy"] = "CrossEntropy"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    weight: Positive = 1.0

    needs_pairs: ClassVar[bool] = False
    takes_dropout: ClassVar[bool] = True


class Triplet(Value):
    """Triplet loss on unit embeddings with batch-hard mining (Hermans et al., 2017).

    For each anchor of a batch the furthest positive and the nearest negative, Euclidean; `margin`
    is a distance, or "soft" for softplus.
    """

    kind: Literal["Triplet"] = "Triplet"
    margin: Positive | Literal["soft"] = 0.2
    mining: Literal["batch_hard"] = "batch_hard"
    weight: Positive = 1.0

    needs_pairs: ClassVar[bool] = True
    takes_dropout: ClassVar[bool] = False


class Shuffled(Value):
    """Every image once in an epoch, in random order; the last, smaller batch is left out."""

    kind: Literal["Shuffled"] = "Shuffled"


class PK(Value):
    """P labels × K images in a batch, every label and every image in every epoch.

    K is `images_per_label`, P is batch_size / K. A label with fewer than K images repeats them.
    """

    kind: Literal["PK"] = "PK"
    images_per_label: int = Field(default=4, ge=2)


Loss = Annotated[ArcFace | CrossEntropy | Triplet, Field(discriminator="kind")]
Sampler = Annotated[Shuffled | PK, Field(discriminator="kind")]
Side = Annotated[int, Field(ge=16, le=4096)]


class Plugin(Value):
    """One model: its network, what it learns from, and how.

    `image_size` is (height, width) in pixels, or one side; images are squashed to it.
    `weights` says where the backbone starts: "hub" (timm downloads them), "file" (a file named
    after the backbone in the workspace's weights folder), "package:NAME" (carried by an installed
    package), or "none". Learning rates are per step of the whole batch; `final_learning_rate` is
    reached at the last step, and the heads' rate falls in the same proportion.
    """

    backbone: str = Field(min_length=1)
    image_size: Side | tuple[Side, Side]
    weights: str = Field(default="hub", pattern=r"^(hub|file|none|package:[a-z0-9_]+)$")
    pooling: Literal["average", "gem"] = "average"
    gem_power: Positive = 3.0
    embedding_dim: int | None = Field(default=256, ge=2)
    neck: Literal["none", "batchnorm"] = "batchnorm"
    dropout: float = Field(default=0.0, ge=0, lt=1)

    losses: tuple[Loss, ...] = (ArcFace(),)
    sampler: Sampler = Shuffled()
    augmentation: Literal["none", "light", "gdsc2020"] = "light"
    crop: bool = True
    crop_margin: NotNegative = 0.05
    min_images_per_label: int = Field(default=1, ge=1)
    ignored_labels: tuple[str, ...] = ()
    pseudo_labels: bool = False

    epochs: int = Field(ge=0)
    batch_size: int = Field(default=32, ge=2)
    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    learning_rate: Positive = 3e-4
    head_learning_rate: Positive | None = None
    final_learning_rate: NotNegative = 0.0
    weight_decay: NotNegative = 1e-3
    warmup_epochs: NotNegative = 1.0
    gradient_clip: Positive | None = 5.0
    score_every: int = Field(default=5, ge=1)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _fit_together(self) -> "Plugin":
        if not self.losses and self.epochs:
            raise ValueError(f"losses is empty but epochs = {self.epochs}; name a loss")
        if isinstance(self.sampler, PK):
            if self.batch_size % self.sampler.images_per_label:
                raise ValueError(
                    f"batch_size = {self.batch_size} is not a multiple of "
                    f"images_per_label = {self.sampler.images_per_label}"
                )
            if self.batch_size == self.sampler.images_per_label:
                raise ValueError("a PK batch needs two labels; raise batch_size")
        elif any(loss.needs_pairs for loss in self.losses):
            raise ValueError("a Triplet loss needs several images of a label; say sampler=PK()")
        if self.final_learning_rate > self.learning_rate:
            raise ValueError(
                f"final_learning_rate = {self.final_learning_rate} is above "
                f"learning_rate = {self.learning_rate}"
            )
        if self.epochs and self.warmup_epochs > self.epochs:
            raise ValueError(f"warmup_epochs = {self.warmup_epochs} exceeds epochs = {self.epochs}")
        return self

    @property
    def height_width(self) -> tuple[int, int]:
        """Height and width in pixels."""
        size = self.image_size
        return (size, size) if isinstance(size, int) else size

    @property
    def pixels(self) -> str:
        """The image size as a plugin's name writes it: '620' or '160x320'."""
        height, width = self.height_width
        return str(height) if height == width else f"{height}x{width}"

    @property
    def fingerprint(self) -> str:
        """The sha256 of all settings, as 64 hex digits."""
        return digest_of(self.model_dump(mode="json"))
