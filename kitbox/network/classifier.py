"""The classifier that a checkpoint carries beside its network: embeddings in, probabilities out."""

from dataclasses import dataclass

import numpy as np
from safetensors import safe_open

from kitbox.network.checkpoint import read_origin
from kitbox.plugin.losses import ArcFace, CosFace, CrossEntropy, Focal, Loss
from kitbox.plugin.settings import Plugin
from kitbox.records import Checkpoint, Floats, Strings, strings


@dataclass(frozen=True)
class Classifier:
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


def of(checkpoint: Checkpoint) -> Classifier | None:
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


def _read(checkpoint: Checkpoint, place: int, loss: Loss, labels: Strings) -> Classifier | None:
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
            return Classifier(labels, shaped, None, loss.scale)
        if f"{head}classifier.weight" not in names:
            return None
        weight = file.get_tensor(f"{head}classifier.weight").astype(np.float32)
        bias = file.get_tensor(f"{head}classifier.bias").astype(np.float32)
        return Classifier(labels, weight[:, None], bias, 1.0)
