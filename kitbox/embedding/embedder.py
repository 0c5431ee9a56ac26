"""Embeds a set of images by a checkpoint, or takes the embeddings from the cache."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from kitbox.embedding import cache
from kitbox.files import digest_of
from kitbox.images import loading
from kitbox.network import checkpoint as checkpoints
from kitbox.network import folding, inference
from kitbox.network.network import Network
from kitbox.plugin.discovery import NamedPlugin
from kitbox.records import Checkpoint, Embeddings, ImageSet, Progress
from kitbox.workspace import Workspace

_BATCH = 64


@dataclass(frozen=True)
class Options:
    """Where and how a network runs; `reuse` = False computes what the cache has."""

    device: str = "auto"
    precision: str = "auto"
    workers: int | None = None
    reuse: bool = True


def causes_of(
    named: NamedPlugin,
    checkpoint: Checkpoint,
    images: ImageSet,
    blank: frozenset[str],
    precision: str,
) -> dict[str, Any]:
    """Return everything that decides the embeddings of images: the key of the cache.

    The settings with the size and the crop, the bytes of the weights, and of each image its id,
    its bytes and its box.
    """
    assert images.digests is not None  # noqa: S101  images of a collection are inspected
    margin = named.plugin.crop_margin if named.plugin.crop else None
    boxes: list[Any] = [None] * len(images)
    if margin is not None and images.boxes is not None:
        boxes = [None if np.isnan(box).any() else box.tolist() for box in images.boxes]
    rows = [
        [str(image_id), str(digest), box]
        for image_id, digest, box in zip(images.image_ids, images.digests, boxes, strict=True)
    ]
    return {
        "fingerprint": named.plugin.fingerprint,
        "checkpoint": checkpoint.digest,
        "images": digest_of(rows),
        "blank": sorted(blank & set(images.image_ids.tolist())),
        "view": "plain",
        "precision": precision,
    }


def _ready(checkpoint: Checkpoint, named: NamedPlugin, device: str) -> Network:
    """Return the network of a checkpoint on its device, in the form that runs fastest."""
    network = checkpoints.network_of(checkpoint, named)
    generator = torch.Generator().manual_seed(0)
    example = torch.randn(1, 3, *named.plugin.height_width, generator=generator)
    network.backbone, _ = folding.folded(network.backbone, example, network.stages.maps)
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def embed(
    named: NamedPlugin,
    checkpoint: Checkpoint,
    images: ImageSet,
    workspace: Workspace,
    *,
    blank: frozenset[str] = frozenset(),
    options: Options = Options(),
) -> Generator[Progress, None, Embeddings]:
    """Return the unit embeddings of images, in their order; yields Progress where it computes.

    Raises KitboxError where the checkpoint is not this plugin's.
    """
    device = inference.resolve_device(options.device)
    precision = inference.resolve_precision(options.precision, device)
    causes = causes_of(named, checkpoint, images, blank, precision)
    key = cache.key_of(causes)
    if options.reuse and (cached := cache.load(workspace, key)) is not None:
        return cached
    network, plugin = _ready(checkpoint, named, device), named.plugin
    view = loading.View(
        images,
        plugin.height_width,
        interpolation=network.pixel_form.interpolation,
        crop_margin=plugin.crop_margin if plugin.crop else None,
        blank=blank,
        workspace=workspace,
    )
    rows = np.arange(len(images))
    batches = [
        [int(row) for row in batch] for batch in np.split(rows, range(_BATCH, len(rows), _BATCH))
    ]
    workers = loading.workers(view, device, options.workers)
    loader = loading.load(view, batches, workers=workers, pinned=device == "cuda")
    vectors = np.empty((len(images), network.embedding_dim), dtype=np.float32)
    done = 0
    for found, places in inference.unit_vectors(
        network, loader, device=device, precision=precision
    ):
        vectors[places] = found
        done += len(places)
        yield Progress(f"embed {named.name}", done, len(images), note=view.source)
    embeddings = Embeddings(images.image_ids, vectors)
    if options.reuse:
        cache.save(workspace, key, embeddings, causes)
    return embeddings
