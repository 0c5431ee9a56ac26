"""Asks the classifiers that networks have learnt whom images show, and joins their answers."""

from collections.abc import Generator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kitbox.embedding import embedder
from kitbox.ensemble.assembly import Member
from kitbox.ensemble.guesses import Guesses
from kitbox.errors import KitboxError
from kitbox.images.collection import Collection
from kitbox.network import classifier
from kitbox.network.classifier import Classifier
from kitbox.records import Floats, ImageSet, Progress, Strings
from kitbox.workspace import Workspace

By = Literal["classifier", "similarity"]

# Probabilities held at a time: 64 MB of float64.
_HELD = 8_000_000


def way_of(members: Sequence[Member]) -> By:
    """Return "classifier" where every member has one, else "similarity"."""
    every = all(classifier.of(member.checkpoint) is not None for member in members)
    return "classifier" if every else "similarity"


def by_classifier(
    members: Sequence[Member],
    asked: Strings,
    images: ImageSet,
    collection: Collection,
    workspace: Workspace,
    options: embedder.Options,
) -> Generator[Progress, None, Guesses]:
    """Return the guesses of the members' classifiers, the weighted mean of their probabilities.

    Of the images those with the ids `asked (n,)`. Labels are matched by name; to a member that does
    not know one it has the probability 0.
    """
    parts = []
    for member in members:
        own = classifier.of(member.checkpoint)
        if own is None:
            raise KitboxError(
                f"{member.named.name} has learnt no classifier of the labels; use --by similarity"
            )
        # plain embeddings of the whole list are in the cache: other commands need them too
        found = yield from embedder.embed(
            member.named,
            member.checkpoint,
            images.of(asked) if own.homogeneous else images,
            workspace,
            blank=collection.blank,
            options=options,
            form="homogeneous" if own.homogeneous else "plain",
        )
        parts.append((own, found.of(asked).vectors))
    weights = np.array([member.weight for member in members], dtype=np.float64)
    return mixed(asked, parts, weights / weights.sum())


def mixed(
    image_ids: Strings,
    parts: Sequence[tuple[Classifier, Floats]],
    weights: NDArray[np.float64],
) -> Guesses:
    """Return the likeliest labels of images by classifiers, each over vectors (n, d) of its own.

    `weights` add up to 1; of equally likely labels the first by name is taken.
    """
    names = np.unique(np.concatenate([own.labels for own, _ in parts]))
    columns = [np.searchsorted(names, own.labels) for own, _ in parts]
    first = np.zeros(len(image_ids), dtype=np.int64)
    best = np.zeros((len(image_ids), 2), dtype=np.float64)
    step = max(_HELD // len(names), 1)
    for start in range(0, len(image_ids), step):
        rows = slice(start, start + step)
        mean = np.zeros((len(image_ids[rows]), len(names)), dtype=np.float64)
        for (own, vectors), places, weight in zip(parts, columns, weights, strict=True):
            mean[:, places] += weight * own.probabilities(vectors[rows])
        first[rows] = mean.argmax(axis=1)
        width = min(2, len(names))
        best[rows, :width] = -np.sort(-np.partition(mean, -width, axis=1)[:, -width:], axis=1)
    return Guesses(image_ids, names[first], best[:, 0], best[:, 1])
