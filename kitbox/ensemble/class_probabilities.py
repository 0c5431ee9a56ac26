"""Probabilities of labels by the classifiers that networks were trained with."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from kitbox.ensemble.ensemble import Ensemble
from kitbox.errors import KitboxError
from kitbox.network.checkpoint import read_origin
from kitbox.plugin.losses import ArcFace, CosFace, CrossEntropy, Focal, Loss
from kitbox.plugin.plugin import Plugin
from kitbox.records import Checkpoint, Floats, ImageSet, Progress, Strings, strings

Probabilities = NDArray[np.float64]

# Probabilities held at a time: 64 MB of float64.
_BLOCK_SIZE = 8_000_000


@dataclass(frozen=True)
class Predictions:
    """The likeliest label (n,) of each image, '' for none, and its probability `confidence (n,)`.

    `second (n,)` is the probability of the next likeliest label.
    """

    image_ids: Strings
    labels: Strings
    confidence: Probabilities
    second: Probabilities

    @property
    def gap(self) -> Probabilities:
        """The lead (n,) of the likeliest label over the next."""
        return self.confidence - self.second


@dataclass(frozen=True)
class ClassifierHead:
    """Outputs over `labels (l,)`: `directions (outputs, centers, d)`, `biases (outputs,)`.

    Without biases an output is the best cosine to its directions, times `scale`. Outputs beyond
    the labels are of individuals that mirrored images show; they answer nothing.
    """

    labels: Strings
    directions: Floats
    biases: Floats | None
    scale: float

    @property
    def homogeneous(self) -> bool:
        """Whether it takes (x, 1) of each embedding x, scaled to unit length."""
        return self.biases is not None

    def probabilities(self, vectors: Floats) -> Floats:
        """Return the softmax (n, l) over all outputs for unit rows (n, d), or (n, d + 1)."""
        outputs, centers, dim = self.directions.shape
        flat = self.directions.reshape(-1, dim)
        if self.biases is None:
            cosines = (vectors @ flat.T).reshape(len(vectors), outputs, centers).max(axis=2)
            logits = self.scale * cosines
        else:
            logits = (vectors[:, :-1] @ flat.T) / vectors[:, -1:] + self.biases
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        softmax: Floats = (powers / powers.sum(axis=1, keepdims=True))[:, : len(self.labels)]
        return softmax


def predict(
    ensemble: Ensemble, images: ImageSet, image_ids: Strings
) -> Generator[Progress, None, Predictions]:
    """Return predictions by the weighted mean of the members' classifiers, for some of the images.

    Labels are matched by name; a label that a member was not trained on has the probability 0 for
    it. Raises KitboxError for a member without a classifier.
    """
    parts = []
    for member in ensemble.members:
        classifier = load_classifier(member.checkpoint)
        if classifier is None:
            raise KitboxError(f"{member.name} has no classifier of the labels; use --by similarity")
        # plain embeddings of the whole list are in the cache: other commands need them too
        embeddings = yield from member.embed(
            images.of(image_ids) if classifier.homogeneous else images,
            ensemble.workspace,
            ensemble.collection.unreadable,
            ensemble.embed_options,
            homogeneous=classifier.homogeneous,
        )
        parts.append((classifier, embeddings.of(image_ids).vectors))
    weights = np.array([member.weight for member in ensemble.members], dtype=np.float64)
    return mean_predictions(image_ids, parts, weights / weights.sum())


def mean_predictions(
    image_ids: Strings, parts: Sequence[tuple[ClassifierHead, Floats]], weights: Probabilities
) -> Predictions:
    """Return the likeliest labels of images by classifiers, each with vectors (n, d) of its own.

    `weights` add up to 1; of equally likely labels the first by name is taken.
    """
    labels = np.unique(np.concatenate([classifier.labels for classifier, _ in parts]))
    columns = [np.searchsorted(labels, classifier.labels) for classifier, _ in parts]
    first = np.zeros(len(image_ids), dtype=np.int64)
    best = np.zeros((len(image_ids), 2), dtype=np.float64)
    step = max(_BLOCK_SIZE // len(labels), 1)
    for start in range(0, len(image_ids), step):
        rows = slice(start, start + step)
        mean = np.zeros((len(image_ids[rows]), len(labels)), dtype=np.float64)
        for (classifier, vectors), own, weight in zip(parts, columns, weights, strict=True):
            mean[:, own] += weight * classifier.probabilities(vectors[rows])
        first[rows] = mean.argmax(axis=1)
        width = min(2, len(labels))
        best[rows, :width] = -np.sort(-np.partition(mean, -width, axis=1)[:, -width:], axis=1)
    return Predictions(image_ids, labels[first], best[:, 0], best[:, 1])


def load_classifier(checkpoint: Checkpoint | None) -> ClassifierHead | None:
    """Return the classifier of a trained checkpoint, or None where it has none over its labels.

    A linear one (CrossEntropy, Focal) is preferred to one of angles (ArcFace, CosFace, without
    their margins), whose softmax is poorly calibrated.
    """
    if checkpoint is None:
        return None
    origin = read_origin(checkpoint.path)
    plugin = Plugin.read(origin.settings, str(checkpoint.path))
    if not (origin.epoch and origin.labels) or plugin.divide is not None:
        return None
    labels = strings(origin.labels)
    for kinds in ((CrossEntropy, Focal), (ArcFace, CosFace)):
        for number, loss in enumerate(plugin.losses):
            if isinstance(loss, kinds):
                head = _load_head(checkpoint, number, loss, labels)
                if head is not None:
                    return head
    return None


def _load_head(
    checkpoint: Checkpoint, number: int, loss: Loss, labels: Strings
) -> ClassifierHead | None:
    """Return the classifier of a loss by the tensors of its head, None where they are missing."""
    head = f"heads.{number}."
    with safe_open(checkpoint.path, framework="numpy") as file:
        names = set(file.keys())
        if isinstance(loss, ArcFace | CosFace):
            if f"{head}loss.W" not in names:
                return None
            rows = file.get_tensor(f"{head}loss.W").T
            rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
            centers = loss.centers if isinstance(loss, ArcFace) else 1
            directions = rows.reshape(-1, centers, rows.shape[1]).astype(np.float32)
            return ClassifierHead(labels, directions, None, loss.scale)
        if f"{head}classifier.weight" not in names:
            return None
        weight = file.get_tensor(f"{head}classifier.weight").astype(np.float32)
        bias = file.get_tensor(f"{head}classifier.bias").astype(np.float32)
        return ClassifierHead(labels, weight[:, None], bias, 1.0)
