"""Records of a training: options, setup, training set, initial weights, and all of it together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kitbox.competition import pseudo_labels
from kitbox.competition.pseudo_labels import PseudoLabel
from kitbox.competition.settings import Competition
from kitbox.dataset.collection import Collection
from kitbox.devices.launch import Processes, build_fabric
from kitbox.errors import KitboxError
from kitbox.files import digest_of
from kitbox.images.preprocessing import Box
from kitbox.network.checkpoint import read_origin
from kitbox.plugin.discovery import NamedPlugin
from kitbox.plugin.plugin import Plugin
from kitbox.records import ImageSet, Integers, LabelledImages, Strings
from kitbox.samplers.batch_samplers import UNKNOWN
from kitbox.training.runs import Run, RunKey
from kitbox.weights import weight_source
from kitbox.workspace import Workspace

if TYPE_CHECKING:  # torch and timm take seconds to import, and a finished training needs neither
    from kitbox.images.loader import ImageDataset


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Options of a training beside its plugin, most of them those of `kitbox train`.

    `pseudo` is the file of pseudo-labels, by default the workspace's.
    """

    on: str = "holdout"
    weights: str | None = None
    init_from: str | None = None
    pseudo: Path | None = None
    seed: int | None = None
    device: str = "auto"
    processes: Processes = field(default_factory=Processes)
    precision: str = "auto"
    workers: int | None = None
    fresh: bool = False

    def __post_init__(self) -> None:
        """Raise KitboxError for a seed that generators of random numbers do not take."""
        if self.seed is not None and not 0 <= self.seed < 2**32:
            raise KitboxError(f"the seed {self.seed} is not a number from 0 to {2**32 - 1}")


@dataclass(frozen=True)
class TrainSetup:
    """The data, the workspace and the options that plugins are trained with."""

    collection: Collection
    competition: Competition
    workspace: Workspace
    options: TrainOptions

    @property
    def images(self) -> LabelledImages:
        """The labelled images that may be trained on: all, or those outside the holdout.

        Raises KitboxError where they are to be outside of a holdout that does not exist.
        """
        collection = self.collection
        if self.options.on == "all":
            return collection.labelled
        return collection.require_holdout().train


@dataclass(frozen=True)
class TrainingSet:
    """Images to train on; `label_rows (n,)` index `label_map (L,)`, UNKNOWN without a label.

    `alternative_boxes` holds the boxes of each image that has several, where a plugin draws one
    of them. `pseudo` are the pseudo-labels of the last images, None if the plugin uses none.
    """

    images: ImageSet
    label_map: Strings
    label_rows: Integers
    alternative_boxes: Mapping[str, tuple[Box, ...]] = field(default_factory=dict)
    pseudo: tuple[PseudoLabel, ...] | None = None

    @property
    def counts(self) -> Integers:
        """The number of images of each label, `(L,)`."""
        known = self.label_rows[self.label_rows != UNKNOWN]
        return np.bincount(known, minlength=len(self.label_map)).astype(np.int64)

    @property
    def boxes_digest(self) -> str | None:
        """The digest of the alternative boxes, None without any."""
        boxes = {
            image: [list(box) for box in boxes] for image, boxes in self.alternative_boxes.items()
        }
        return digest_of(boxes) if boxes else None

    @property
    def pseudo_digest(self) -> str | None:
        """The digest of the pseudo-labels, None without any."""
        return pseudo_labels.digest(self.pseudo) if self.pseudo else None

    @property
    def pseudo_round(self) -> int:
        """The round of the pseudo-labels, 0 without any."""
        return max((row.round for row in self.pseudo or ()), default=0)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about the pseudo-labels, if the plugin uses any."""
        if self.pseudo is None:
            return ()
        if not self.pseudo:
            return ("there are no pseudo-labels for it; it is trained on labels alone",)
        count = f"{len(self.pseudo)} of its images are test images with pseudo-labels"
        return (f"{count} of round {self.pseudo_round}",)


@dataclass(frozen=True)
class InitialWeights:
    """Where weights come from: the backbone's `source`, and a checkpoint loaded over it."""

    backbone: str
    source: str | Path
    init_from: Path | None = None

    @property
    def digest(self) -> str:
        """The digest of the weights in a run key."""
        source = self.source if self.init_from is None else self.init_from
        return weight_source.source_digest(source, self.backbone)

    @property
    def plugin(self) -> str | None:
        """The plugin of the checkpoint, None without one."""
        return None if self.init_from is None else read_origin(self.init_from).plugin

    @property
    def earlier_labels(self) -> dict[str, list[str]] | None:
        """The labels that the checkpoint and its ancestors were trained on, by data digest."""
        return None if self.init_from is None else read_origin(self.init_from).learned_labels

    def __str__(self) -> str:
        return str(self.init_from or self.source)


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training of a plugin, with its data loaders and its devices; `device` is cpu or cuda."""

    named: NamedPlugin
    setup: TrainSetup
    training_set: TrainingSet
    weights: InitialWeights
    key: RunKey
    device: str

    @property
    def plugin(self) -> Plugin:
        """The settings of the plugin."""
        return self.named.plugin

    @property
    def run(self) -> Run:
        """The run on disk."""
        return Run(self.setup.workspace.runs / self.key.plugin / self.key.digest)

    @property
    def precision(self) -> str:
        """The precision of the arithmetic: "32", "bf16" or "16"."""
        return self.key.precision

    @property
    def seed(self) -> int:
        """The seed that all random choices follow from."""
        return self.key.seed

    @cached_property
    def fabric(self) -> Any:
        """lightning-fabric over the devices of the options; launched by the training loop."""
        return build_fabric(
            self.setup.options.processes,
            self.device,
            _PRECISIONS[self.precision],
            # a backbone that is frozen in some epochs has no gradients then
            unused_weights=any(phase.frozen_backbone for phase in self.plugin.phases),
        )

    @property
    def first(self) -> bool:
        """Whether this is the first of several processes, the only one that writes."""
        return bool(self.fabric.is_global_zero)

    @cached_property
    def _interpolation(self) -> str:
        from kitbox.network.backbone import input_config

        return input_config(self.plugin).interpolation

    def dataset(
        self,
        images: ImageSet,
        height_width: tuple[int, int],
        augmentation: str = "none",
        alternative_boxes: Mapping[str, tuple[Box, ...]] | None = None,
    ) -> "ImageDataset":
        """Return images as the network sees them at a size in pixels."""
        from kitbox.images.loader import ImageDataset

        return ImageDataset(
            images,
            height_width,
            interpolation=self._interpolation,
            crop_margin=self.plugin.crop_margin if self.plugin.crop else None,
            augmentation=augmentation,
            code=self.plugin.source_code,
            unreadable=self.setup.collection.unreadable,
            workspace=self.setup.workspace,
            alternative_boxes=alternative_boxes,
        )

    def loader(self, dataset: "ImageDataset", batches: Iterable[Any]) -> Any:
        """Return a loader of batches of a dataset."""
        from kitbox.images import loader

        workers = loader.worker_count(dataset, self.device, self.setup.options.workers)
        return loader.build_loader(dataset, batches, workers=workers, pinned=self.device == "cuda")

    def training_loader(self, height_width: tuple[int, int], batches: Iterable[Any]) -> Any:
        """Return a loader of augmented training images at a size in pixels."""
        dataset = self.dataset(
            self.training_set.images,
            height_width,
            self.plugin.augmentation,
            self.training_set.alternative_boxes,
        )
        return self.loader(dataset, batches)


# Names of precisions in lightning-fabric.
_PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
