"""A small classifier of vectors: two dense layers with dropout between them."""

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kitbox.records import Floats, Integers, Progress

HIDDEN = 512
DROPOUT = 0.5
EPOCHS = 30
_BATCH = 128
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
        self.layers.eval()
        found = []
        with torch.inference_mode():
            for rows in torch.split(torch.from_numpy(vectors), _ROWS):
                logits = self.layers(rows.to(self.device)).double()
                found.append(functional.softmax(logits, dim=1).float().cpu().numpy())
        return np.concatenate(found)


def fit(
    vectors: Floats, classes: Integers, *, device: str = "cpu"
) -> Generator[Progress, None, Dense]:
    """Return two layers fitted to `vectors (n, d)` of `classes (n,)`, from 0; yields Progress.

    AdamW under one cosine cycle, from a fixed seed: the same vectors give the same layers on the
    same machine. Random numbers of the caller are left as they were.
    """
    inputs = torch.from_numpy(vectors)
    targets = torch.from_numpy(classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        layers = nn.Sequential(
            nn.Linear(inputs.shape[1], HIDDEN),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
            nn.Linear(HIDDEN, int(targets.max()) + 1),
        ).to(device)
        dense = Dense(layers, device)
        optimiser = torch.optim.AdamW(layers.parameters(), lr=_RATE, weight_decay=_DECAY)
        steps = EPOCHS * -(-len(inputs) // _BATCH)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for epoch in range(EPOCHS):
            yield Progress("fit the classifier", epoch, EPOCHS, "epochs")
            layers.train()
            for rows in torch.split(torch.randperm(len(inputs)), _BATCH):
                _step(layers, inputs[rows].to(device), targets[rows].to(device), optimiser)
                schedule.step()
    return dense


def _step(
    layers: nn.Module, inputs: Tensor, targets: Tensor, optimiser: torch.optim.Optimizer
) -> None:
    optimiser.zero_grad()
    functional.cross_entropy(layers(inputs), targets).backward()
    optimiser.step()
