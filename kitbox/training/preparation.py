"""What a training starts from: its images, weights, devices, seeds and optimiser."""

import logging
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer

from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError
from kitbox.images.collection import Collection
from kitbox.network import weights
from kitbox.network.heads import TrainedNetwork
from kitbox.plugin.settings import Plugin
from kitbox.records import ImageSet
from kitbox.training.reports import Options
from kitbox.workspace import Workspace

# Names of precisions in lightning-fabric.
_PRECISIONS: dict[str, Any] = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def learnable(
    collection: Collection, competition: Competition, plugin: Plugin, on: str
) -> ImageSet:
    """Return the images that a plugin learns from: known labels with enough photographs."""
    images = collection.labelled if on == "all" else collection.holdout.train
    assert images.labels is not None  # noqa: S101  labelled images
    ignored = [competition.images.unknown_label or "", *plugin.ignored_labels]
    names, counts = np.unique(images.labels, return_counts=True)
    kept = names[(counts >= plugin.min_images_per_label) & ~np.isin(names, ignored)]
    known = names[names != (competition.images.unknown_label or "")]
    if not len(known) and plugin.epochs:
        raise KitboxError(
            "no labelled image shows a known individual; there is nothing to learn from"
        )
    if len(kept) < 2 and plugin.epochs:
        raise KitboxError(
            f"{len(kept)} labels have {plugin.min_images_per_label} or more images to learn from; "
            "lower min_images_per_label"
        )
    return images.take(np.isin(images.labels, kept))


def weights_source(plugin: Plugin, given: str | None, workspace: Workspace) -> str | Path:
    """Return "hub", "none", or the file in which the backbone's weights are."""
    return weights.source(given or plugin.weights, plugin.backbone, workspace.weights)


def fabric(device: str, precision: str, options: Options) -> Any:
    """Return lightning-fabric over the asked devices; it is not launched yet."""
    from lightning_fabric import Fabric

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it tells the precision
    several = options.devices * options.nodes > 1
    return Fabric(
        accelerator=device,
        devices=options.devices,
        num_nodes=options.nodes,
        strategy="ddp" if several else "auto",
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


def optimizer(plugin: Plugin, trained: TrainedNetwork) -> Optimizer:
    """Return the optimiser; what does not come with weights (neck, heads) has its own rate."""
    new = [*trained.network.neck.parameters(), *trained.heads.parameters()]
    groups = [
        {"params": list(trained.network.backbone.parameters()), "lr": plugin.learning_rate},
        {"params": new, "lr": plugin.head_learning_rate or plugin.learning_rate},
    ]
    groups = [group for group in groups if group["params"]]
    decay = plugin.weight_decay
    match plugin.optimizer:
        case "adam":
            return torch.optim.Adam(groups, weight_decay=decay)
        case "adamw":
            return torch.optim.AdamW(groups, weight_decay=decay)
        case "sgd":
            return torch.optim.SGD(groups, momentum=0.9, nesterov=True, weight_decay=decay)
