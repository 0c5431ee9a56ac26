"""Embeddings and holdout scores of a network during its training."""

from collections.abc import Generator

import numpy as np

from kitbox.images import loader
from kitbox.network import inference
from kitbox.network.network import Network
from kitbox.records import Embeddings, Floats, ImageSet, Progress, Scores
from kitbox.scoring import local_score
from kitbox.training.context import Training

# Images per batch; nothing is kept for gradients.
_BATCH = 64


def score(
    training: Training, network: Network, *, backbone_only: bool
) -> Generator[Progress, None, Scores]:
    """Return the holdout scores, computed as `kitbox score` does; yields Progress.

    `backbone_only` scores the backbone's pooled output.
    """
    collection = training.setup.collection
    holdout = collection.holdout
    image_ids = np.union1d(holdout.query.image_ids, holdout.gallery.image_ids)
    images = collection.labelled.take(np.isin(collection.labelled.image_ids, image_ids))
    vectors = yield from embed(
        training, network, images, "embed holdout", backbone_only=backbone_only
    )
    return local_score.evaluate(
        Embeddings(images.image_ids, vectors),
        holdout,
        training.setup.competition,
        test_has_groups=collection.test_has_groups,
    ).scores


def embed(
    training: Training, network: Network, images: ImageSet, title: str, *, backbone_only: bool
) -> Generator[Progress, None, Floats]:
    """Return unit vectors (n, d) of images in their order; yields Progress with a title.

    `backbone_only` returns the backbone's pooled output, at unit length.
    """
    rows = range(len(images))
    batches = [list(rows[at : at + _BATCH]) for at in range(0, len(rows), _BATCH)]
    parts = []
    for vectors, _ in inference.embed_batches(
        network,
        training.loader(dataset(training, images), batches),
        device=training.device,
        precision=training.precision,
        backbone_only=backbone_only,
    ):
        parts.append(vectors)
        yield Progress(title, min(len(parts) * _BATCH, len(images)), len(images))
    return np.concatenate(parts)


def dataset(training: Training, images: ImageSet) -> loader.ImageDataset:
    """Return images as the plugin embeds them."""
    return training.dataset(images, training.plugin.height_width)
