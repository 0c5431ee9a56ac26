"""What a training starts from: its images, weights, devices, seeds and optimiser."""

import logging
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kitbox.competition.settings import Competition
from kitbox.dataset.collection import Collection
from kitbox.images import loader
from kitbox.images.preprocessing import Box
from kitbox.network import pretrained_weights
from kitbox.network.backbone import data_config
from kitbox.network.checkpoint import read_origin
from kitbox.plugin.plugin import Plugin
from kitbox.records import ImageSet
from kitbox.training.runs import Run, RunKey
from kitbox.training.training_set import TrainingSet
from kitbox.workspace import Workspace


@dataclass(frozen=True)
class TrainOptions:
    """What a training may be told beside the plugin.

    `pseudo` is the file of pseudo-labels, by default the workspace's.
    """

    on: str = "holdout"
    weights: str | None = None
    init_from: str | None = None
    pseudo: Path | None = None
    seed: int | None = None
    device: str = "auto"
    devices: int = 1
    nodes: int = 1
    precision: str = "auto"
    workers: int | None = None
    fresh: bool = False


# Names of precisions in lightning-fabric.
_PRECISIONS: dict[str, Any] = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


@dataclass(frozen=True)
class Start:
    """Where the weights come from: the backbone's `source`, and a checkpoint that goes over it."""

    source: str | Path
    init_from: Path | None = None

    @property
    def digest(self) -> str:
        """What names the weights among the causes of a run."""
        own = pretrained_weights.source_digest(self.source) if self.init_from is None else ""
        return own or pretrained_weights.source_digest(self.init_from or "none")

    @property
    def plugin(self) -> str | None:
        """The plugin of the checkpoint that it goes on from."""
        return None if self.init_from is None else read_origin(self.init_from).plugin

    @property
    def learned_labels(self) -> dict[str, list[str]] | None:
        """The labels that this and those before it learnt, by the digest of their data."""
        return None if self.init_from is None else read_origin(self.init_from).learned_labels

    def __str__(self) -> str:
        return str(self.init_from or self.source)


@dataclass(frozen=True)
class Training:
    """A training: its plugin, what it learns from, where it is written, and on what it runs."""

    name: str
    plugin: Plugin
    lessons: TrainingSet
    collection: Collection
    competition: Competition
    workspace: Workspace
    options: TrainOptions
    causes: RunKey
    start: Start
    run: Run
    fabric: Any

    @property
    def precision(self) -> str:
        """The precision of its arithmetic: "32", "bf16" or "16"."""
        return self.causes.precision

    @property
    def seed(self) -> int:
        """What its chances follow from."""
        return self.causes.seed

    @property
    def device(self) -> str:
        """The kind of its device: "cpu" or "cuda"."""
        return str(self.fabric.device.type)

    @property
    def first(self) -> bool:
        """Whether this is the first of its processes, which alone writes."""
        return bool(self.fabric.is_global_zero)

    @cached_property
    def _interpolation(self) -> str:
        return data_config(self.plugin.backbone).interpolation

    def view(
        self,
        images: ImageSet,
        height_width: tuple[int, int],
        augmentation: str = "none",
        alternative_boxes: Mapping[str, tuple[Box, ...]] | None = None,
    ) -> loader.ImageDataset:
        """Return what the network sees of images at a size."""
        return loader.ImageDataset(
            images,
            height_width,
            interpolation=self._interpolation,
            crop_margin=self.plugin.crop_margin if self.plugin.crop else None,
            augmentation=augmentation,
            unreadable=self.collection.unreadable,
            workspace=self.workspace,
            alternative_boxes=alternative_boxes,
        )

    def loader(self, view: loader.ImageDataset, batches: Iterable[Any]) -> Any:
        """Return a loader of the batches of a view."""
        workers = loader.worker_count(view, self.device, self.options.workers)
        return loader.build_loader(view, batches, workers=workers, pinned=self.device == "cuda")

    def lesson_loader(self, height_width: tuple[int, int], batches: Iterable[Any]) -> Any:
        """Return a loader of images as they are learnt from at a size, augmented."""
        learnt = self.lessons
        augmentation = self.plugin.augmentation
        view = self.view(learnt.images, height_width, augmentation, learnt.alternative_boxes)
        return self.loader(view, batches)


def fabric(device: str, precision: str, options: TrainOptions, plugin: Plugin) -> Any:
    """Return lightning-fabric over the asked devices; it is not launched yet."""
    from lightning_fabric import Fabric

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it tells the precision
    several = options.devices * options.nodes > 1
    # a backbone that is frozen for some epochs has no gradients there
    partly = any(stage.frozen_backbone for stage in plugin.phases)
    strategy = "ddp_find_unused_parameters_true" if partly else "ddp"
    return Fabric(
        accelerator=device,
        devices=options.devices,
        num_nodes=options.nodes,
        strategy=strategy if several else "auto",
        precision=_PRECISIONS[precision],
    )


def seed_everything(seed: int) -> None:
    """Seed python, numpy and torch; images and batches carry seeds of their own."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  libraries may draw from it
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # every new tensor would be filled with NaN first: a fifth of a step on a CPU, for no number
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
