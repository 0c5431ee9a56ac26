"""A small classifier of vectors: two dense layers with dropout between them."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kitbox.records import Floats, Integers

HIDDEN = 512
DROPOUT = 0.5
STEPS = 480
# A batch is a sixteenth of the vectors, but not above 512: with 2,048 dimensions and 5,000 labels
# a step then takes 0.25 s of a core.
_BATCHES = 16
_MOST = 512
_RATE = 2e-3
_DECAY = 1e-2
_SEED = 0
# Vectors classified at a time: their probabilities of 15,000 labels are 250 MB.
_ROWS = 4096


@dataclass(frozen=True)
class Dense:
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


def fit(vectors: Floats, classes: Integers, *, device: str = "cpu") -> Dense:
    """Return two layers fitted to `vectors (n, d)` of `classes (n,)`, which count from 0.

    AdamW over 480 batches, its rate falling as a cosine, from a fixed seed: the same vectors give
    the same layers on the same machine. Random numbers of the caller stay what they were.
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
            layers.parameters(), lr=_RATE, weight_decay=_DECAY, fused=True
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
        for rows in _batches(len(inputs)):
            optimiser.zero_grad()
            logits = layers(inputs[rows].to(device))
            loss = functional.cross_entropy(logits, targets[rows].to(device))
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    return Dense(layers.eval(), device)


def _batches(count: int) -> Iterator[Tensor]:
    """Yield the rows of each step: every row once before any comes again."""
    size = min(-(-count // _BATCHES), _MOST)
    passes = (torch.split(torch.randperm(count), size) for _ in itertools.count())
    return itertools.islice(itertools.chain.from_iterable(passes), STEPS)
