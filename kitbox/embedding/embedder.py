"""Embeds a set of images by a checkpoint, or takes the embeddings from the cache."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal

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
# "plain" are embeddings x; "homogeneous" are (x, 1), which keep the length of x when they are made
# to be of unit length: a linear classifier needs it.
Form = Literal["plain", "homogeneous"]


@dataclass(frozen=True)
class EmbedOptions:
    """Where and how a network runs; `reuse` = False computes what the cache has."""

    device: str = "auto"
    precision: str = "auto"
    workers: int | None = None
    reuse: bool = True


def key_parts(
    named: NamedPlugin,
    checkpoint: Checkpoint,
    images: ImageSet,
    unreadable: frozenset[str],
    precision: str,
    form: Form = "plain",
) -> dict[str, Any]:
    """Return everything that decides the embeddings of images: the key of the cache.

    The settings with the size and the crop, the bytes of the weights, and of each image its id,
    its bytes and its box.
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
        "view": form,
        "precision": precision,
    }


def _ready(checkpoint: Checkpoint, named: NamedPlugin, device: str, form: Form) -> Network:
    """Return the network of a checkpoint on its device, as it runs fastest."""
    network = load_network(checkpoint, named)
    generator = torch.Generator().manual_seed(0)
    example = torch.randn(1, 3, *named.plugin.height_width, generator=generator)
    network.backbone, _ = acceleration.fold_batchnorm(
        network.backbone, example, network.feature_maps.compute
    )
    if form == "homogeneous":
        network.register_forward_hook(_with_one)
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _with_one(module: nn.Module, given: tuple[Tensor, ...], embeddings: Tensor) -> Tensor:
    """Return embeddings (n, d) with a column of ones."""
    del module, given
    return torch.cat([embeddings.float(), embeddings.new_ones(len(embeddings), 1).float()], dim=1)


def embed(
    named: NamedPlugin,
    checkpoint: Checkpoint,
    images: ImageSet,
    workspace: Workspace,
    *,
    unreadable: frozenset[str] = frozenset(),
    options: EmbedOptions = EmbedOptions(),
    form: Form = "plain",
) -> Generator[Progress, None, Embeddings]:
    """Return the unit embeddings of images, in their order; yields Progress where it computes.

    Of `form` "homogeneous" they have one dimension more: (x, 1) made to be of unit length.
    Raises KitboxError where the checkpoint is not this plugin's.
    """
    device = inference.resolve_device(options.device)
    precision = inference.resolve_precision(options.precision, device)
    causes = key_parts(named, checkpoint, images, unreadable, precision, form)
    key = cache.cache_key(causes)
    if options.reuse and (cached := cache.load(workspace, key)) is not None:
        return cached
    network, plugin = _ready(checkpoint, named, device, form), named.plugin
    view = ImageDataset(
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
    workers = worker_count(view, device, options.workers)
    loader = build_loader(view, batches, workers=workers, pinned=device == "cuda")
    dim = network.embedding_dim + (form == "homogeneous")
    vectors = np.empty((len(images), dim), dtype=np.float32)
    done = 0
    for found, places in inference.embed_batches(
        network, loader, device=device, precision=precision
    ):
        vectors[places] = found
        done += len(places)
        yield Progress(f"embed {named.name}", done, len(images), note=view.source)
    embeddings = Embeddings(images.image_ids, vectors)
    if options.reuse:
        cache.save(workspace, key, embeddings, causes)
    return embeddings
