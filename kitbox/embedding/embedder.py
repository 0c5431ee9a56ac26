"""Embeds images with a checkpoint, or loads the embeddings from the cache."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kitbox.embedding import cache
from kitbox.files import digest_of
from kitbox.images.loader import ImageDataset, build_loader, worker_count
from kitbox.network import acceleration, inference
from kitbox.network.checkpoint import load_network
from kitbox.network.network import Network
from kitbox.plugin.discovery import NamedPlugin
from kitbox.records import Checkpoint, Embeddings, ImageSet, Progress
from kitbox.workspace import Workspace

_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class EmbedOptions:
    """Where and how a network runs; without `reuse` the cache is neither read nor written."""

    device: str = "auto"
    precision: str = "auto"
    workers: int | None = None
    reuse: bool = True


def embed(
    named: NamedPlugin,
    checkpoint: Checkpoint,
    images: ImageSet,
    workspace: Workspace,
    *,
    unreadable: frozenset[str] = frozenset(),
    options: EmbedOptions = EmbedOptions(),
    homogeneous: bool = False,
) -> Generator[Progress, None, Embeddings]:
    """Return the unit embeddings of images, in their order; yields Progress unless cached.

    `homogeneous` returns (x, 1) at unit length, of one dimension more, for an embedding x: it
    keeps the length of x, which a linear classifier needs.
    Raises KitboxError for a checkpoint of another plugin or of other settings.
    """
    device = inference.resolve_device(options.device)
    precision = inference.resolve_precision(options.precision, device)
    parts = key_parts(named, checkpoint, images, unreadable, precision, homogeneous=homogeneous)
    key = cache.key(parts)
    if options.reuse and (cached := cache.load(workspace, key)) is not None:
        return cached
    network, plugin = _load_network(checkpoint, named, device, homogeneous), named.plugin
    dataset = ImageDataset(
        images,
        plugin.height_width,
        interpolation=network.data_config.interpolation,
        crop_margin=plugin.crop_margin if plugin.crop else None,
        unreadable=unreadable,
        workspace=workspace,
    )
    rows = np.arange(len(images))
    batches = [
        [int(row) for row in batch] for batch in np.split(rows, range(_BATCH, len(rows), _BATCH))
    ]
    workers = worker_count(dataset, device, options.workers)
    loader = build_loader(dataset, batches, workers=workers, pinned=device == "cuda")
    dim = network.embedding_dim + homogeneous
    vectors = np.empty((len(images), dim), dtype=np.float32)
    done = 0
    for batch_vectors, batch_rows in inference.embed_batches(
        network, loader, device=device, precision=precision
    ):
        vectors[batch_rows] = batch_vectors
        done += len(batch_rows)
        yield Progress(f"embed {named.name}", done, len(images), note=dataset.source)
    embeddings = Embeddings(images.image_ids, vectors)
    if options.reuse:
        cache.save(workspace, key, embeddings, parts)
    return embeddings


def key_parts(
    named: NamedPlugin,
    checkpoint: Checkpoint,
    images: ImageSet,
    unreadable: frozenset[str],
    precision: str,
    *,
    homogeneous: bool = False,
) -> dict[str, Any]:
    """Return everything that determines the embeddings of images, for their cache key.

    It covers the plugin's settings, the bytes of the weights, and of each image its id, its bytes
    and the box it is cropped to.
    """
    margin = named.plugin.crop_margin if named.plugin.crop else None
    boxes: list[Any] = [None] * len(images)
    if margin is not None and images.boxes is not None:
        boxes = [None if np.isnan(box).any() else box.tolist() for box in images.boxes]
    rows = [
        [str(image_id), str(digest), box]
        for image_id, digest, box in zip(images.image_ids, images.file_digests, boxes, strict=True)
    ]
    return {
        "fingerprint": named.plugin.fingerprint,
        "checkpoint": checkpoint.digest,
        "images": digest_of(rows),
        "blank": sorted(unreadable & set(images.image_ids.tolist())),
        "view": "homogeneous" if homogeneous else "plain",
        "precision": precision,
    }


def _load_network(
    checkpoint: Checkpoint, named: NamedPlugin, device: str, homogeneous: bool
) -> Network:
    """Return the network of a checkpoint on its device, with batch norms folded for speed."""
    network = load_network(checkpoint, named)
    generator = torch.Generator().manual_seed(0)
    example = torch.randn(1, 3, *named.plugin.height_width, generator=generator)
    network.backbone, _ = acceleration.fold_batchnorm(
        network.backbone, example, network.feature_maps.compute
    )
    if homogeneous:
        network.register_forward_hook(_append_one)
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _append_one(module: nn.Module, given: tuple[Tensor, ...], embeddings: Tensor) -> Tensor:
    """Return embeddings (n, d) with a column of ones."""
    del module, given
    return torch.cat([embeddings.float(), embeddings.new_ones(len(embeddings), 1).float()], dim=1)
