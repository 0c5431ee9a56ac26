"""What a batch is, and who says which batches an epoch has."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kitbox.records import Floats, Integers

# The label of an image that shows no known individual: losses that classify leave it out, or
# take it for none of the labels; the others keep it away from every other image.
UNKNOWN = -1


@dataclass(frozen=True)
class Batch:
    """Images to learn from in one step: `rows (n,)` of the image set, and their `labels (n,)`.

    Labels are rows of the label map, UNKNOWN for none. Images of `flipped (n,)` are mirrored.
    `learner` is the slice of the embedding that learns, None where all of it does.
    """

    rows: Integers
    labels: Integers
    flipped: NDArray[np.bool_] | None = None
    learner: int | None = None

    def __len__(self) -> int:
        return len(self.rows)


class Planner(Protocol):
    """Says which batches each epoch has; epochs count from 1."""

    def steps(self, epoch: int) -> int:
        """Return how many batches an epoch will have, before it is planned."""

    def needs(self, epoch: int) -> str | None:
        """Return which vectors of the images `plan` needs, if any; their rows are of unit length.

        "embedding" is what the network gives now, "pooled" what its backbone gives before the
        neck, "frozen" the same of the backbone as it came.
        """

    def plan(self, epoch: int, vectors: Floats | None) -> list[Batch]:
        """Return the batches of an epoch, given the vectors (n, d) that it needs."""

    def told(self) -> dict[str, float]:
        """Return what there is to tell of the epoch that was planned last, by name."""

    def state(self) -> dict[str, object]:
        """Return what later epochs need of earlier ones, as plain values and lists."""

    def restore(self, state: dict[str, object]) -> None:
        """Take back what `state` returned, in a training that goes on."""
