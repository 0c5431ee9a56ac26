"""A plugin: all settings of one model and its training, as a value with a fingerprint."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_serializer, field_validator, model_validator

from kitbox.files import digest_of
from kitbox.plugin import source_code
from kitbox.plugin.losses import ArcFace, Custom, Loss, NotNegative, Positive, Share, Triplet
from kitbox.plugin.samplers import PK, Divide, Hardness, Sampler, Shuffled
from kitbox.plugin.schedules import (
    Averaging,
    Cosine,
    Multistep,
    Phase,
    Restarts,
    Schedule,
    Side,
    Swa,
    side_lengths,
)
from kitbox.plugin.source_code import SourceCode
from kitbox.plugin.views import parse_views
from kitbox.value import Value, check

Pooling = Literal["average", "gem", "gem_learned", "cls", "cls+mean", "native"]
# How poolings are recorded: before there was a choice by family, "average" was the default, and it
# stays the record of a plugin that sets none.
_RECORDED: Mapping[str | None, str] = {None: "average", "average": "mean"}
# "module:function" of a user's own code.
Reference = Annotated[str, Field(pattern=source_code.PATTERN)]
# Sources of weights.
_WEIGHTS = re.compile(
    r"hub|file|none|file:(?!\.+$)[\w.-]+|package:[a-z0-9_]+|local-dir:.+|hf-hub:[^/\s]+/[^/\s]+"
)
UnknownShare = Annotated[float, Field(ge=0, lt=1)]


class Plugin(Value):
    """One model: its network, its training images and its training.

    `image_size` is (height, width) in pixels, or one side; images are resized to it without regard
    to their aspect ratio. `weights` is the source of the backbone's weights: "hub" (timm downloads
    them), "file" or "file:NAME" (in the workspace's weights folder, named after the backbone or
    otherwise), "package:NAME" (an installed package), "local-dir:FOLDER" (a downloaded folder),
    "hf-hub:OWNER/NAME" (a model of the Hugging Face hub, which may lie in the weights folder) or
    "none" (random). Where `backbone` is such a folder or model itself, "hub" is its own.
    `pooled_maps` are the feature maps of the backbone that are pooled and concatenated, counted
    from 0; () is the last one alone.
    `pooling` is over its map or patch tokens ("average", "gem", "gem_learned"), its class token
    ("cls"), both ("cls+mean"), or its own head before the classifier ("native"); None is what the
    backbone's family is best at.

    Learning rates are per step of the whole batch. `final_learning_rate` is reached at the last
    step, and the heads' rate falls in the same proportion. `layer_decay` multiplies the backbone's
    rate once for each layer below its last. A step sums the gradients of `accumulate` batches.
    `dropout` applies to the embeddings that classifying losses see, not to pairs. `drop_path` is
    the rate of stochastic depth. `frozen_batchnorm` keeps the statistics of the backbone, and
    `synchronised_batchnorm` takes those that are not kept from the images of all processes.
    `checkpointing` computes the backbone twice to save memory.
    `train_last_blocks` freezes the backbone but for its last blocks. `embedding_mixup` is the alpha
    of the beta distribution by which embeddings are mixed in pairs for losses that classify.

    With `flip_identities` a mirrored image shows another individual, which is trained on too.
    With a `box_choice` of "random" one of an image's boxes is drawn each time. `unknown_share` is
    the share of a batch that are images of unknown individuals.

    `views` are the ways in which the trained network looks at an image ("plain", "flip",
    "scale:1.25", "five_crops", "boxes"; () is "plain"): their vectors are averaged. They change no
    training, so that the fingerprint is without them.

    `backbone`, `augmentation` and `Custom` losses may name code of your own, "module:function".
    `code` is not written in a plugin file: kitbox sets it to the sha256 of that code's files and
    the versions of its packages.
    """

    backbone: str = Field(min_length=1)
    image_size: Side | tuple[Side, Side]
    weights: str = "hub"
    pooling: Pooling | None = None
    gem_power: Positive = 3.0
    pooled_maps: tuple[int, ...] = ()
    embedding_dim: int | None = Field(default=256, ge=2)
    neck: Literal["none", "batchnorm", "layernorm"] = "batchnorm"
    dropout: float = Field(default=0.0, ge=0, lt=1)
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    frozen_batchnorm: bool = False
    synchronised_batchnorm: bool = False
    checkpointing: bool = False
    train_last_blocks: int | None = Field(default=None, ge=0)

    losses: tuple[Loss, ...] = (ArcFace(),)
    embedding_mixup: NotNegative = 0.0
    divide: Divide | None = None
    sampler: Sampler = Shuffled()
    unknown_share: UnknownShare = 0.0
    augmentation: Literal["none", "light", "gdsc2020"] | Reference = "light"
    crop: bool = True
    crop_margin: NotNegative = 0.05
    box_choice: Literal["one", "random"] = "one"
    flip_identities: bool = False
    min_images_per_label: int = Field(default=1, ge=1)
    ignored_labels: tuple[str, ...] = ()
    pseudo_labels: bool = False

    epochs: int = Field(ge=0)
    phases: tuple[Phase, ...] = ()
    batch_size: int = Field(default=32, ge=2)
    accumulate: int = Field(default=1, ge=1)
    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    learning_rate: Positive = 3e-4
    head_learning_rate: Positive | None = None
    layer_decay: Share = 1.0
    final_learning_rate: NotNegative = 0.0
    schedule: Schedule = Cosine()
    weight_decay: NotNegative = 1e-3
    warmup_epochs: NotNegative = 1.0
    gradient_clip: Positive | None = 5.0
    averaging: Averaging | None = None
    score_every: int = Field(default=5, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**32)
    views: tuple[str, ...] = ()
    code: dict[str, str] = Field(default={})

    written_as: ClassVar[Mapping[str, str]] = {"phases": "stages"}
    later: ClassVar[frozenset[str]] = frozenset(
        {
            "pooled_maps",
            "drop_path",
            "frozen_batchnorm",
            "synchronised_batchnorm",
            "checkpointing",
            "train_last_blocks",
            "embedding_mixup",
            "divide",
            "unknown_share",
            "box_choice",
            "flip_identities",
            "phases",
            "accumulate",
            "layer_decay",
            "schedule",
            "averaging",
            "views",
            "code",
        }
    )

    @field_validator("weights")
    @classmethod
    def _known_source(cls, weights: str) -> str:
        if not _WEIGHTS.fullmatch(weights):
            raise ValueError(
                f"weights = '{weights}' is none of hub, file, file:NAME, package:NAME, "
                "local-dir:FOLDER, hf-hub:OWNER/NAME and none; a path is given to "
                "'kitbox train NAME --weights FILE'"
            )
        return weights

    @field_validator("views")
    @classmethod
    def _known_views(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(view.name for view in parse_views(names))

    @model_validator(mode="after")
    def _fit_together(self) -> "Plugin":
        for mistake in (self._batch_mistake(), self._course_mistake(), self._network_mistake()):
            if mistake:
                raise ValueError(mistake)
        return self

    def _batch_mistake(self) -> str | None:
        """Return a contradiction between losses, sampler and batch size as a sentence, or None."""
        sampler, size = self.sampler, self.batch_size
        if not self.losses and self.epochs:
            return f"losses is empty but epochs = {self.epochs}; name a loss"
        if isinstance(sampler, PK):
            if size % sampler.images_per_label:
                return (
                    f"batch_size = {size} is not a multiple of "
                    f"images_per_label = {sampler.images_per_label}"
                )
            if size == sampler.images_per_label:
                return "a PK batch needs two labels; raise batch_size"
        sequenced = [
            isinstance(loss, Triplet) and loss.mining == "sequence" for loss in self.losses
        ]
        if isinstance(sampler, Hardness):
            if not all(sequenced):
                return "a Hardness sampler gives triplets; set losses=(Triplet(mining='sequence'),)"
            if size % 3:
                return f"batch_size = {size} is not a multiple of 3; Hardness gives triplets"
            if self.divide or self.unknown_share or self.flip_identities:
                return "a Hardness sampler excludes divide, unknown_share and flip_identities"
        if any(sequenced) and not isinstance(sampler, Hardness):
            return "Triplet(mining='sequence') needs triplets; set sampler=Hardness()"
        if self.divide and self._misses_images():
            return (
                "divide excludes unknown_share, flip_identities and min_images_per_label of a "
                "phase, and needs a sampler that shows every image: Shuffled or PK(coverage='full')"
            )
        pairs = [loss.kind for loss in self.losses if loss.needs_pairs]
        if pairs and not sampler.gives_pairs:
            return f"a {pairs[0]} loss needs several images of a label; set sampler=PK()"
        if self.embedding_mixup and not any(loss.classifies for loss in self.losses):
            return "embedding_mixup needs a loss that classifies; there is none"
        return None

    def _misses_images(self) -> bool:
        """Return whether an epoch may leave out a labelled image or add others."""
        sampler = self.sampler
        return bool(
            self.unknown_share
            or self.flip_identities
            or any(phase.min_images_per_label for phase in self.phases)
            or not isinstance(sampler, Shuffled | PK)
            or (isinstance(sampler, PK) and sampler.coverage != "full")
        )

    def _course_mistake(self) -> str | None:
        """Return what is wrong with the epochs and learning rates, or None."""
        if self.final_learning_rate > self.learning_rate:
            return (
                f"final_learning_rate = {self.final_learning_rate} is above "
                f"learning_rate = {self.learning_rate}"
            )
        if self.epochs and self.warmup_epochs > self.epochs:
            return f"warmup_epochs = {self.warmup_epochs} exceeds epochs = {self.epochs}"
        if isinstance(self.schedule, Restarts) and self.schedule.cycles > self.epochs:
            return f"cycles = {self.schedule.cycles} exceeds epochs = {self.epochs}"
        phased = sum(phase.epochs for phase in self.phases)
        if self.phases and phased != self.epochs:
            return f"phases have {phased} epochs in all, but epochs = {self.epochs}"
        if isinstance(self.averaging, Swa) and self.averaging.from_epoch > self.epochs:
            return (
                f"averaging begins at epoch {self.averaging.from_epoch}, but epochs = {self.epochs}"
            )
        if isinstance(self.schedule, Multistep) and self.schedule.milestones[-1] >= self.epochs:
            return f"milestones = {self.schedule.milestones} reach the last epoch, {self.epochs}"
        return None

    def _network_mistake(self) -> str | None:
        """Return what is wrong with the network, or None."""
        if self.divide and (self.embedding_dim or 1) % self.divide.learners:
            return (
                f"embedding_dim = {self.embedding_dim} does not divide into "
                f"{self.divide.learners} slices"
            )
        if any(place < 0 for place in self.pooled_maps) or list(self.pooled_maps) != sorted(
            {*self.pooled_maps}
        ):
            return f"pooled_maps = {self.pooled_maps} are not rising feature maps, counted from 0"
        return None

    @classmethod
    def read(cls, recorded: Mapping[str, Any], where: str = "") -> "Plugin":
        """Return the plugin of settings that `model_dump(mode="json")` recorded.

        Raises KitboxError, with the place `where` they are recorded, for others.
        """
        pooling: Any = recorded.get("pooling")
        for chosen, written in _RECORDED.items():
            if pooling == written:
                return check(cls, {**recorded, "pooling": chosen}, where=where)
        return check(cls, recorded, where=where)

    @field_serializer("pooling", when_used="json")
    def _recorded_pooling(self, pooling: str | None) -> str | None:
        return _RECORDED.get(pooling, pooling)

    @field_validator("code")
    @classmethod
    def _names_files(cls, code: dict[str, str]) -> dict[str, str]:
        for name in code:
            if not source_code.FILE.fullmatch(name) and not source_code.PACKAGE.fullmatch(name):
                raise ValueError(f"code has '{name}', which is the name of no file or package")
        return code

    @property
    def references(self) -> tuple[str, ...]:
        """The "module:function" that it names, of a user's own code."""
        named = (
            self.backbone,
            self.augmentation,
            *(loss.function for loss in self.losses if isinstance(loss, Custom)),
        )
        return tuple(name for name in named if source_code.is_reference(name))

    @property
    def source_code(self) -> SourceCode:
        """The code that it names; raises KitboxError for what may not be run here."""
        return SourceCode.of(self.references, self.code)

    @property
    def frozen(self) -> bool:
        """Whether nothing is trained: its network has the initial weights, whatever the images."""
        return self.epochs == 0

    @property
    def height_width(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return side_lengths(self.image_size)

    @property
    def pixels(self) -> str:
        """The image size as written in a plugin's name: '620' or '160x320'."""
        height, width = self.height_width
        return str(height) if height == width else f"{height}x{width}"

    @property
    def recorded(self) -> dict[str, Any]:
        """The settings of its network and its training, as runs and checkpoints record them."""
        settings = self.model_dump(mode="json")
        settings.pop("views", None)
        return settings

    @property
    def fingerprint(self) -> str:
        """The sha256 of the recorded settings, as 64 hex digits."""
        return digest_of(self.recorded)
