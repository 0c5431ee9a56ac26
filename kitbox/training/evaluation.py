"""What a network that is being trained gives for images: vectors, and its score on the holdout."""

from collections.abc import Generator

import numpy as np

from kitbox.images import loader
from kitbox.network import inference
from kitbox.network.network import Network
from kitbox.records import Embeddings, Floats, ImageSet, Progress, Scores
from kitbox.scoring import local_score
from kitbox.training.context import Training

# Images in a batch when nothing is learnt.
_BATCH = 64


def view(training: Training, images: ImageSet) -> loader.ImageDataset:
    """Return images as the plugin embeds them."""
    return training.view(images, training.plugin.height_width)


def vectors(
    training: Training, network: Network, images: ImageSet, title: str, *, pooled: bool = False
) -> Generator[Progress, None, Floats]:
    """Return unit vectors (n, d) of images in their order; yields Progress under a title.

    `pooled` gives what the backbone says, before the neck.
    """
    seen = view(training, images)
    rows = range(len(images))
    batches = [list(rows[at : at + _BATCH]) for at in range(0, len(rows), _BATCH)]
    parts = []
    for found, _ in inference.embed_batches(
        network,
        training.loader(seen, batches),
        device=training.device,
        precision=training.precision,
        backbone_only=pooled,
    ):
        parts.append(found)
        yield Progress(title, min(len(parts) * _BATCH, len(images)), len(images))
    return np.concatenate(parts)


def score(
    training: Training, network: Network, *, frozen: bool
) -> Generator[Progress, None, Scores]:
    """Return the holdout score, by the search that everything else uses; yields Progress.

    `frozen` scores the backbone alone, before the neck.
    """
    collection = training.collection
    holdout = collection.holdout
    asked = np.union1d(holdout.query.image_ids, holdout.gallery.image_ids)
    images = collection.labelled.take(np.isin(collection.labelled.image_ids, asked))
    found = yield from vectors(training, network, images, "embed holdout", pooled=frozen)
    return local_score.evaluate(
        Embeddings(images.image_ids, found),
        holdout,
        training.competition,
        test_has_groups=collection.test_has_groups,
    ).scores
