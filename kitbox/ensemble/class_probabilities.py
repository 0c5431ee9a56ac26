"""Asks the classifiers that networks have learnt whom images show, and joins their answers."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from kitbox.dataset.collection import Collection
from kitbox.embedding import embedder
from kitbox.ensemble.members import Member
from kitbox.errors import KitboxError
from kitbox.network.checkpoint import read_origin
from kitbox.plugin.losses import ArcFace, CosFace, CrossEntropy, Focal, Loss
from kitbox.plugin.plugin import Plugin
from kitbox.records import Checkpoint, Floats, ImageSet, Progress, Strings, strings
from kitbox.workspace import Workspace

Shares = NDArray[np.float64]


@dataclass(frozen=True)
class Predictions:
    """The likeliest label (n,) of each image, '' for none, its probability and the next one's."""

    image_ids: Strings
    labels: Strings
    confidence: Shares
    second: Shares

    @property
    def gap(self) -> Shares:
        """By how much the likeliest label leads (n,)."""
        return self.confidence - self.second


@dataclass(frozen=True)
class PseudoLabelRule:
    """A guess counts above `threshold`, with a lead of at least `gap`.

    Of a label the `per_label` most confident images count; None: all of them.
    """

    threshold: float = 0.9
    gap: float = 0.0
    per_label: int | None = 10


def select(guesses: Predictions, rule: PseudoLabelRule, unknown: str | None) -> NDArray[np.bool_]:
    """Return which guesses (n,) count; one for nobody or for the unknown label never does.

    Of equally confident images of a label those that come first by id are taken.
    """
    sure = (guesses.confidence > rule.threshold) & (guesses.gap >= rule.gap)
    sure &= ~np.isin(guesses.labels, ["", unknown or ""])
    if rule.per_label is None:
        return sure
    rows = np.flatnonzero(sure)
    order = rows[
        np.lexsort((guesses.image_ids[rows], -guesses.confidence[rows], guesses.labels[rows]))
    ]
    _, starts, sizes = np.unique(guesses.labels[order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(starts, sizes)
    kept = np.zeros(len(sure), dtype=np.bool_)
    kept[order[place < rule.per_label]] = True
    return kept


@dataclass(frozen=True)
class ClassifierHead:
    """Outputs over `labels (l,)`: `directions (outputs, centers, d)`, `biases (outputs,)`.

    Without biases an output is the best cosine to its directions, times `scale`. Outputs beyond
    the labels are of individuals that nobody asks for: those that mirrored images show.
    """

    labels: Strings
    directions: Floats
    biases: Floats | None
    scale: float

    @property
    def homogeneous(self) -> bool:
        """Whether it wants (x, 1) of each embedding x, made to be of unit length."""
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
        shares: Floats = (powers / powers.sum(axis=1, keepdims=True))[:, : len(self.labels)]
        return shares


def load_classifier(checkpoint: Checkpoint) -> ClassifierHead | None:
    """Return the classifier of a trained checkpoint, or None where it has none over its labels.

    A linear one (CrossEntropy, Focal) goes before one of angles (ArcFace, CosFace, without their
    margins), whose softmax says little of how sure it is.
    """
    origin = read_origin(checkpoint.path)
    plugin = Plugin.model_validate(origin.settings)
    if not (origin.epoch and origin.labels) or plugin.divide is not None:
        return None
    labels = strings(origin.labels)
    for kinds in ((CrossEntropy, Focal), (ArcFace, CosFace)):
        for place, loss in enumerate(plugin.losses):
            if isinstance(loss, kinds):
                found = _read(checkpoint, place, loss, labels)
                if found is not None:
                    return found
    return None


def _read(checkpoint: Checkpoint, place: int, loss: Loss, labels: Strings) -> ClassifierHead | None:
    """Return the classifier in the tensors of the head of a loss, None where they are not there."""
    head = f"heads.{place}."
    with safe_open(checkpoint.path, framework="numpy") as file:
        names = set(file.keys())
        if isinstance(loss, ArcFace | CosFace):
            if f"{head}loss.W" not in names:
                return None
            rows = file.get_tensor(f"{head}loss.W").T
            rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
            centers = loss.centers if isinstance(loss, ArcFace) else 1
            shaped = rows.reshape(-1, centers, rows.shape[1]).astype(np.float32)
            return ClassifierHead(labels, shaped, None, loss.scale)
        if f"{head}classifier.weight" not in names:
            return None
        weight = file.get_tensor(f"{head}classifier.weight").astype(np.float32)
        bias = file.get_tensor(f"{head}classifier.bias").astype(np.float32)
        return ClassifierHead(labels, weight[:, None], bias, 1.0)


LabelSource = Literal["classifier", "similarity"]

# Probabilities held at a time: 64 MB of float64.
_HELD = 8_000_000


def default_source(members: Sequence[Member]) -> LabelSource:
    """Return "classifier" where every member has one, else "similarity"."""
    every = all(load_classifier(member.checkpoint) is not None for member in members)
    return "classifier" if every else "similarity"


def predict(
    members: Sequence[Member],
    asked: Strings,
    images: ImageSet,
    collection: Collection,
    workspace: Workspace,
    options: embedder.EmbedOptions,
) -> Generator[Progress, None, Predictions]:
    """Return the guesses of the members' classifiers, the weighted mean of their probabilities.

    Of the images those with the ids `asked (n,)`. Labels are matched by name; to a member that does
    not know one it has the probability 0.
    """
    parts = []
    for member in members:
        own = load_classifier(member.checkpoint)
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
            unreadable=collection.unreadable,
            options=options,
            homogeneous=own.homogeneous,
        )
        parts.append((own, found.of(asked).vectors))
    weights = np.array([member.weight for member in members], dtype=np.float64)
    return mean_predictions(asked, parts, weights / weights.sum())


def mean_predictions(
    image_ids: Strings,
    parts: Sequence[tuple[ClassifierHead, Floats]],
    weights: NDArray[np.float64],
) -> Predictions:
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
    return Predictions(image_ids, names[first], best[:, 0], best[:, 1])
