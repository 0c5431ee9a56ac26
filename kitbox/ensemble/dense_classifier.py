"""A classifier of meta-embeddings: PCA, two dense layers, probabilities of labels."""

import itertools
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError
from kitbox.records import Embeddings, Floats, Integers, LabelledImages, Progress, Search, Strings
from kitbox.retrieval.label_similarity import LabelSimilarities
from kitbox.retrieval.neighbour_graph import Block

# Dimensions to which the tenth of Kaggle's humpback whales cut down those of 29 networks.
DIMS = 2048
HIDDEN = 512
DROPOUT = 0.5
STEPS = 480
# A batch is a sixteenth of the vectors, but not above 512: with 2,048 dimensions and 5,000 labels
# a step then takes 0.25 s of a core.
_BATCHES = 16
_MAX_BATCH = 512
_LEARNING_RATE = 2e-3
_WEIGHT_DECAY = 1e-2
_SEED = 0
# Vectors classified at a time: their probabilities of 15,000 labels are 250 MB.
_ROWS = 4096


@dataclass(frozen=True)
class DenseLayers:
    """Two fitted layers on a device: vectors in, probabilities out."""

    layers: nn.Module
    device: str

    def probabilities(self, vectors: Floats) -> Floats:
        """Return the probability (n, c) of each class."""
        found = []
        with torch.inference_mode():
            for rows in torch.split(torch.from_numpy(vectors), _ROWS):
                logits = self.layers(rows.to(self.device)).double()
                found.append(functional.softmax(logits, dim=1).float().cpu().numpy())
        return np.concatenate(found)


@dataclass(frozen=True)
class DenseClassifier:
    """A fitted classifier over `labels (c,)`, which are sorted.

    `pca` is scikit-learn's; `scale` multiplies what it makes of embeddings.
    """

    labels: Strings
    pca: Any
    scale: float
    layers: DenseLayers

    def measure(
        self, embeddings: Embeddings, search: Search, known: LabelledImages
    ) -> LabelSimilarities:
        """Return the probabilities of the labels of some known images, in one block."""
        labels = np.unique(known.labels)
        columns = np.searchsorted(self.labels, labels)

        def blocks() -> Iterator[Block]:
            if len(labels) and len(search.query_images):
                inputs = _inputs(self.pca, self.scale, embeddings.of(search.query_images).vectors)
                yield slice(None), self.layers.probabilities(inputs)[:, columns]

        return LabelSimilarities(search.query_ids, labels, blocks())


def fit(
    embeddings: Embeddings,
    labelled: LabelledImages,
    competition: Competition,
    dims: int | None,
    device: str,
) -> Generator[Progress, None, DenseClassifier]:
    """Return a classifier fitted on labelled images alone; yields Progress.

    The PCA leaves `dims` dimensions (2048, or as many as there are). The networks were trained on
    these images too, so that they lie closer together than new ones; out-of-fold embeddings come
    from other networks, in spaces of their own, and cannot replace them. Images of the unknown
    label or of none are left out. After Sanakoyeu, Pleskov and Shakhray (2019).

    Raises KitboxError for more dimensions than there are.
    """
    from sklearn.decomposition import PCA  # takes a second to load

    named = ~np.isin(labelled.labels, ["", competition.images.unknown_label or ""])
    labels, vectors = labelled.labels[named], embeddings.of(labelled.image_ids[named]).vectors
    most = min(len(labels) - 1, embeddings.dim)
    if dims is not None and dims > most:
        raise KitboxError(
            f"--dims {dims}: {len(labels)} images in {embeddings.dim} dimensions have "
            f"at most {most}"
        )
    names, classes = np.unique(labels, return_inverse=True)
    pca = PCA(dims or min(DIMS, most), random_state=0).fit(vectors)
    # one scale for all directions: what varies little between photographs stays little
    scale = np.sqrt(pca.n_components_ / pca.explained_variance_.sum())
    yield Progress("fit the classifier", 0, 1, "classifiers")
    inputs = _inputs(pca, scale, vectors)
    layers = fit_layers(inputs, classes.astype(np.int64), device=device)
    return DenseClassifier(names, pca, scale, layers)


def fit_layers(vectors: Floats, classes: Integers, *, device: str = "cpu") -> DenseLayers:
    """Return two layers fitted to `vectors (n, d)` of `classes (n,)`, which count from 0.

    AdamW over 480 batches with a cosine schedule, from a fixed seed: the same vectors give the
    same layers on the same machine. The state of torch's random numbers is left as it was.
    """
    inputs, targets = torch.from_numpy(vectors), torch.from_numpy(classes)
    with torch.random.fork_rng():
        torch.manual_seed(_SEED)
        layers = nn.Sequential(
            nn.Linear(inputs.shape[1], HIDDEN),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
            nn.Linear(HIDDEN, int(targets.max()) + 1),
        ).to(device)
        optimiser = torch.optim.AdamW(
            layers.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY, fused=True
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
        for rows in _batches(len(inputs)):
            optimiser.zero_grad()
            logits = layers(inputs[rows].to(device))
            loss = functional.cross_entropy(logits, targets[rows].to(device))
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    return DenseLayers(layers.eval(), device)


def _inputs(pca: Any, scale: float, vectors: Floats) -> Floats:
    return np.asarray(pca.transform(vectors) * scale, dtype=np.float32)


def _batches(count: int) -> Iterator[Tensor]:
    """Yield the rows of each step: every row once before any comes again."""
    size = min(-(-count // _BATCHES), _MAX_BATCH)
    passes = (torch.split(torch.randperm(count), size) for _ in itertools.count())
    return itertools.islice(itertools.chain.from_iterable(passes), STEPS)
