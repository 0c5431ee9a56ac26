"""Embeddings and holdout scores of a network during its training."""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import torch
from torch import Tensor

from kitbox.devices import process_group
from kitbox.images import loader
from kitbox.network import inference
from kitbox.network.network import Network
from kitbox.plugin import curriculum
from kitbox.plugin.curriculum import CurriculumPhase
from kitbox.records import Embeddings, Floats, ImageSet, Progress, Scores
from kitbox.samplers.planner import BatchSampler
from kitbox.scoring import local_score
from kitbox.training.context import Training

# Images per batch; nothing is kept for gradients.
_BATCH = 64
# Pooled maps of a frozen backbone are kept in memory up to this size: 200,000 images of 1,280.
_POOLED_BYTES = 2**30


def score(
    training: Training, network: Network, *, backbone_only: bool
) -> Generator[Progress, None, Scores | None]:
    """Return the holdout scores, computed as `kitbox score` does; yields Progress.

    `backbone_only` scores the backbone's pooled output. All processes have to come here; the first
    one gets the scores, the others None.
    """
    collection = training.setup.collection
    holdout = collection.holdout
    image_ids = np.union1d(holdout.query.image_ids, holdout.gallery.image_ids)
    images = collection.labelled.take(np.isin(collection.labelled.image_ids, image_ids))
    vectors = yield from embed(
        training, network, images, "embed holdout", backbone_only=backbone_only
    )
    if vectors is None:
        return None
    return local_score.evaluate(
        Embeddings(images.image_ids, vectors),
        holdout,
        training.setup.competition,
        test_has_groups=collection.test_has_groups,
    ).scores


def embed(
    training: Training, network: Network, images: ImageSet, title: str, *, backbone_only: bool
) -> Generator[Progress, None, Floats | None]:
    """Return unit vectors (n, d) of images in their order; yields Progress with a title.

    `backbone_only` returns the backbone's pooled output, at unit length. Of several processes each
    embeds every nth batch; the first one gets all vectors, the others None.
    """
    batches = _share_out(training, network, len(images))
    parts: list[Floats] = []
    for vectors, _ in inference.embed_batches(
        network,
        training.loader(dataset(training, images), batches),
        device=training.device,
        precision=training.precision,
        backbone_only=backbone_only,
    ):
        parts.append(vectors)
        yield Progress(title, _done(training, parts, len(images)), len(images))
    return _put_together(parts)


def _share_out(training: Training, network: Network, count: int) -> list[list[int]]:
    """Return the rows of each batch of this process, of `count` images in the batches of one.

    The network has the statistics of the first process from here on.
    """
    process_group.share_buffers(network)
    rows = list(range(count))
    batches = [rows[at : at + _BATCH] for at in range(0, count, _BATCH)]
    return batches[training.fabric.global_rank :: training.fabric.world_size]


def _done(training: Training, parts: list[Floats], count: int) -> int:
    """Return about how many images all processes are done with, after `parts` of this one."""
    return min(len(parts) * _BATCH * int(training.fabric.world_size), count)


def _put_together(parts: list[Floats]) -> Floats | None:
    """Return the vectors (n, d) of the batches of all processes, None but in the first."""
    found = process_group.gather_to_first(parts)
    if found is None:
        return None
    in_turn = [part for turn in zip_longest(*found) for part in turn if part is not None]
    return np.concatenate(in_turn)


def dataset(training: Training, images: ImageSet) -> loader.ImageDataset:
    """Return images as the plugin embeds them."""
    return training.dataset(images, training.plugin.height_width)


@dataclass(frozen=True)
class PooledBatches:
    """Batches of pooled maps in place of pixels: `vectors (n, c)` of the training images."""

    vectors: Tensor
    sampler: BatchSampler

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (vectors, rows) of each batch of an epoch."""
        for items in self.sampler:
            rows = torch.tensor([item.row for item in items], dtype=torch.int64)
            yield self.vectors[rows], rows


def inputs(
    training: Training, network: Network, phase: CurriculumPhase, sampler: BatchSampler
) -> Generator[Progress, None, Iterable[tuple[Tensor, Tensor]]]:
    """Return (pixels, rows) of each batch of an epoch, for the epochs of a phase; yields Progress.

    Where a frozen backbone sees the same pixels in each of them, the inputs are its pooled maps,
    computed once.
    """
    if not _repeats(phase) or why_pooled_each_epoch(training, network) is not None:
        batches: Iterable[tuple[Tensor, Tensor]] = training.training_loader(
            phase.image_size, sampler
        )
        return batches
    vectors = yield from _pool(training, network, phase.image_size)
    return PooledBatches(torch.from_numpy(training.fabric.broadcast(vectors)), sampler)


def notes_on_frozen(training: Training, network: Network) -> tuple[str, ...]:
    """Return a sentence on how often a backbone runs that is frozen for several epochs."""
    frozen = [phase for phase in curriculum.phases(training.plugin) if _repeats(phase)]
    if not frozen:
        return ()
    why = why_pooled_each_epoch(training, network)
    if why is not None:
        return (f"the frozen backbone runs in every epoch, because {why}",)
    epochs = ", ".join(f"{phase.first_epoch} to {phase.last_epoch}" for phase in frozen)
    return (f"the frozen backbone runs once over the images for epochs {epochs}",)


def why_pooled_each_epoch(training: Training, network: Network) -> str | None:
    """Return why a frozen backbone has to run in every epoch, None where its maps stay the same."""
    plugin, selected = training.plugin, training.training_set
    if plugin.augmentation != "none":
        return f"augmentation = '{plugin.augmentation}' changes the images"
    if selected.alternative_boxes:
        return "box_choice = 'random' changes the images"
    if plugin.flip_identities:
        return "flip_identities mirrors the images"
    if any(True for _ in network.pooling.parameters()):
        return "its pooling is trained"
    if len(selected.images) * network.channels * 4 > _POOLED_BYTES:
        return f"its maps of {len(selected.images)} images would take more than 1 GB of memory"
    return None


def _repeats(phase: CurriculumPhase) -> bool:
    """Return whether a phase has several epochs with a frozen backbone."""
    return phase.frozen_backbone and phase.last_epoch > phase.first_epoch


@torch.no_grad()
def _pool(
    training: Training, network: Network, height_width: tuple[int, int]
) -> Generator[Progress, None, Floats | None]:
    """Return the pooled maps (n, c) of the training images, before the neck; yields Progress.

    They are shared out, and returned, as by `embed`.
    """
    images = training.training_set.images
    batches = _share_out(training, network, len(images))
    parts: list[Floats] = []
    for pixels, _ in training.loader(training.dataset(images, height_width), batches):
        with inference.autocast(training.device, training.precision):
            vectors = network.pool(pixels.to(training.device, non_blocking=True))
        parts.append(vectors.float().cpu().numpy())
        done = _done(training, parts, len(images))
        yield Progress("run the frozen backbone", done, len(images))
    return _put_together(parts)
